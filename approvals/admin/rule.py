"""Approval rules: the list with what is wrong with it, the editor with levels, and the page that tries them out."""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.widgets import UnfoldAdminTextareaWidget

from approvals.admin.base import ServiceCheckedForm, type_choices, type_field
from approvals.admin.tester import tester_view
from approvals.models import (
    ApprovalLevel,
    ApprovalRule,
    ApproverKind,
    EscalationTarget,
)
from approvals.registry import type_label
from approvals.selectors.rule_warnings import rule_warnings
from approvals.services.rules import (
    LevelTerms,
    approval_rule_create,
    approval_rule_retire,
    approval_rule_update,
    band_text,
)
from core import clock
from core.admin.actions import ActionCall, ObjectAction
from core.admin.badges import badge_html
from core.admin.base import EmptyState
from core.admin.columns import amount_html, amount_text
from core.admin.filters import QuickFilter
from core.admin.inlines import BillingStackedInline
from core.admin.scoping import may
from core.history import record_as
from core.models import User
from entities.admin.base import ServiceModelAdmin, actor_of
from entities.models import Role

LEVEL_SETTINGS = (
    "name", "role", "entity", "veto", "comment_required", "fallback_role", "reminder_hours", "escalation_hours",
    "escalation_target", "escalation_user", "escalation_role", "escalation_mode", "escalation_hops", "timer_basis",
)  # fmt: skip


class RuleForm(ServiceCheckedForm):
    """A rule; the type by its name."""

    request_type = type_field(help_text="Which requests it is for.")

    class Meta:
        labels = {
            "also": "Adds its levels",
            "auto_approve": "Approves by itself",
            "may_exceed_budget": "Beyond the budget",
            "flow": "Levels are asked",
            "skip_repeated": "Not twice in a row",
            "amount_from": "From",
            "amount_to": "Up to",
            "is_active": "In force",
        }
        widgets = {"description": UnfoldAdminTextareaWidget(attrs={"rows": 2})}


class LevelForm(forms.ModelForm):
    """A level; what must be named is asked for here already, beside its field."""

    class Meta:
        labels = {
            "approver_kind": "Who is asked",
            "users": "Named people",
            "required_approvals": "How many must approve",
            "entity": "Role held at",
            "fallback_role": "Fallback",
            "reminder_hours": "Reminds after hours",
            "escalation_hours": "Escalates after hours",
            "escalation_target": "Escalates to",
            "escalation_user": "That person",
            "escalation_role": "That role",
            "escalation_mode": "How",
            "escalation_hops": "At most times",
            "timer_basis": "Hours of",
        }

    def _get_validation_exclusions(self) -> set[str]:
        return {field.name for field in self.instance._meta.fields}

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        kind = cleaned.get("approver_kind")
        if kind == ApproverKind.ROLE and not cleaned.get("role"):
            self._ask("role", "Name the role that is asked.")
        if kind == ApproverKind.USERS and not cleaned.get("users"):
            self._ask("users", "Name the people to ask.")
        if cleaned.get("escalation_target") == EscalationTarget.USER and not cleaned.get("escalation_user"):
            self._ask("escalation_user", "Name whom it escalates to.")
        if cleaned.get("escalation_target") == EscalationTarget.ROLE and not cleaned.get("escalation_role"):
            self._ask("escalation_role", "Name the role it escalates to.")
        return cleaned

    def _ask(self, name: str, sentence: str) -> None:
        if name not in self.errors:
            self.add_error(name, sentence)


class LevelsInline(BillingStackedInline):
    """The levels, in their order; who may change the rule may change them."""

    model = ApprovalLevel
    form = LevelForm
    verbose_name = "level"
    verbose_name_plural = "Levels, asked from the lowest number on"
    show_change_link = False
    autocomplete_fields = ["users", "entity", "escalation_user"]
    ordering = ["order"]
    fieldsets = (
        (
            None,
            {
                "fields": (
                    ("order", "name"),
                    ("approver_kind", "required_approvals"),
                    "users",
                    ("role", "entity"),
                    ("fallback_role", "veto"),
                    "comment_required",
                    ("reminder_hours", "escalation_hours"),
                    ("timer_basis", "escalation_hops"),
                    ("escalation_target", "escalation_mode"),
                    ("escalation_user", "escalation_role"),
                )
            },
        ),
    )

    def _allowed(self, request: HttpRequest, action: str, obj: Any) -> bool:
        user: Any = request.user
        if action == "view":
            return may(user, "approvals.view_approvalrule", obj)
        return may(user, "approvals.change_approvalrule", obj) or (
            obj is None and may(user, "approvals.add_approvalrule")
        )

    def get_formset(self, request: HttpRequest, obj: Any = None, **kwargs: Any) -> Any:
        formset: Any = super().get_formset(request, obj, **kwargs)

        class Levels(formset):  # type: ignore[misc]  # the base is made at run time
            """The numbers say the order only: two levels of the same number keep that of the page."""

            def validate_unique(self) -> None:
                return

        return Levels

    def get_extra(self, request: HttpRequest, obj: Any = None, **kwargs: Any) -> int:
        return 1 if obj is None else 0


class TypeFilter(admin.SimpleListFilter):
    """The type that a rule is for."""

    title = "type"
    parameter_name = "request_type"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return type_choices("")[1:]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(request_type=self.value()) if self.value() else queryset


def levels_words(rule: ApprovalRule) -> str:
    """ "Department manager → 2 of 3: A, B, C → Finance manager"; wants the levels prefetched."""
    if rule.auto_approve:
        return "Approves by itself"
    return " → ".join(_level_words(level) for level in rule.levels.all()) or "–"


def _level_words(level: ApprovalLevel) -> str:
    if level.approver_kind == ApproverKind.USERS:
        people = [user.display_name for user in level.users.all()]
        more = f" and {len(people) - 3} more" if len(people) > 3 else ""
        named = f"{', '.join(people[:3])}{more}"
        if len(people) == 1:
            return named
        needed = level.required_approvals
        return f"{'all' if needed is None else needed} of {len(people)}: {named}"
    if level.approver_kind == ApproverKind.ROLE:
        label = Role(level.role).label
        needed = level.required_approvals
        return label if needed == 1 else f"{'all' if needed is None else needed} × {label.lower()}"
    if level.approver_kind == ApproverKind.DEPARTMENT_MANAGER:
        return "Department manager"
    return "Managers of the requester"


def _retirable(rule: ApprovalRule, user: Any) -> str | None:
    return None if rule.is_active else "It is out of force already."


def _retire(call: ActionCall) -> ApprovalRule:
    return approval_rule_retire(actor=call.actor, rule_id=call.obj.pk, reason=call.reason)


Bands = dict[int, tuple[Decimal, Decimal | None]]


@admin.register(ApprovalRule)
class ApprovalRuleAdmin(ServiceModelAdmin):
    """Who decides on what."""

    class Media:
        css = {"all": ["approvals/admin.css"]}

    form = RuleForm
    list_display = ["name", "state", "kind", "where", "band", "priority", "asked"]
    list_display_links = ["name"]
    list_filter = [TypeFilter, "entity", "department", "is_active", "also", "auto_approve", "currency"]
    list_select_related = ["entity", "department"]
    search_fields = ["name", "description", "entity__name", "department__name"]
    ordering = ["-is_active", "entity__name", "department__name", "request_type", "-priority", "amount_from"]
    list_before_template = "admin/approvals/rules_before.html"
    quick_filters = [
        QuickFilter("In force", "is_active__exact=1", icon="check_circle"),
        QuickFilter("Add levels", "also__exact=1", icon="add"),
        QuickFilter("Approve by themselves", "auto_approve__exact=1", icon="bolt"),
        QuickFilter("Out of force", "is_active__exact=0", icon="pause_circle"),
    ]
    autocomplete_fields = ["entity", "department"]
    guarded_relations = ("entity", "department")
    history_lines = ["levels"]
    show_activity = True
    inlines = [LevelsInline]
    empty_state = EmptyState(
        "No rules yet",
        "Until a rule says who decides, every request is blocked. Begin with one for everything at the group's top.",
        "Add a rule",
        "admin:approvals_approvalrule_add",
    )
    fieldsets = (
        (
            None,
            {
                "fields": (
                    ("name", "is_active"),
                    "description",
                )
            },
        ),
        (
            "Which requests",
            {
                "fields": (
                    ("request_type", "priority"),
                    ("entity", "department"),
                    ("amount_from", "amount_to"),
                    "currency",
                    ("valid_from", "valid_to"),
                ),
                "description": "Bands of the same priority for the same requests touch each other: where you move an "
                "end, the neighbour moves with it.",
            },
        ),
        (
            "What it does",
            {
                "fields": (
                    ("flow", "skip_repeated"),
                    ("also", "auto_approve"),
                    ("may_exceed_budget", "change_reason"),
                ),
                "description": "Requests in flight keep the people and levels that they were submitted with, until "
                "they are recalculated.",
            },
        ),
    )
    actions_bar = [
        ObjectAction(
            name="retire",
            label="Put out of force",
            icon="pause_circle",
            perm="approvals.change_approvalrule",
            needs_reason=True,
            danger=True,
            possible=_retirable,
            consequence="New requests are no longer decided by it; those in flight keep their levels. It is refused "
            "where it would leave a gap between two other bands.",
            run=_retire,
            done=lambda rule: f"“{rule.name}” is out of force.",
        )
    ]

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Rules are put out of force: requests that they decided name them."""
        return False

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view(self.tester)
        return [path("which/", view, name="approvals_approvalrule_which"), *super().get_urls()]

    def tester(self, request: HttpRequest) -> HttpResponse:
        """Which rule would decide on a request like this (APR-01 to APR-05)."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        return tester_view(request, self)

    # --- The list ---

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).prefetch_related("levels__users")

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        response = super().changelist_view(request, extra_context)
        context = getattr(response, "context_data", None)
        if context and "cl" in context:
            context["rule_warnings"] = rule_warnings(actor_of(request), on=clock.today())
            context["tester_url"] = reverse("admin:approvals_approvalrule_which")
        return response

    @admin.display(description="Type", ordering="request_type")
    def kind(self, rule: ApprovalRule) -> str:
        return type_label(rule.request_type) if rule.request_type else "Every type"

    @admin.display(description="Where", ordering="entity__name")
    def where(self, rule: ApprovalRule) -> SafeString | str:
        if rule.department is not None:
            return format_html(
                '{} <span class="eb-quiet-text">{}</span>',
                rule.department.name,
                rule.entity,
            )
        return str(rule.entity) if rule.entity is not None else "Everywhere"

    @admin.display(description="Band", ordering="amount_from")
    def band(self, rule: ApprovalRule) -> SafeString:
        if rule.amount_to is None:
            if rule.amount_from == 0:
                return format_html('Any amount <span class="eb-cur">{}</span>', rule.currency)
            return format_html("from {}", amount_html(rule.amount_from, rule.currency))
        if rule.amount_from == 0:
            return format_html("below {}", amount_html(rule.amount_to, rule.currency))
        return format_html(
            '<span class="eb-num">{}</span> to below {}',
            amount_text(rule.amount_from, rule.currency),
            amount_html(rule.amount_to, rule.currency),
        )

    @admin.display(description="Who decides")
    def asked(self, rule: ApprovalRule) -> str:
        return f"adds: {levels_words(rule)}" if rule.also else levels_words(rule)

    @admin.display(description="State", ordering="is_active")
    def state(self, rule: ApprovalRule) -> SafeString:
        today = clock.today()
        if not rule.is_active:
            return badge_html("inactive", "Out of force")
        if rule.valid_from is not None and rule.valid_from > today:
            return badge_html("coming", f"From {rule.valid_from}")
        if rule.valid_to is not None and rule.valid_to <= today:
            return badge_html("over")
        return badge_html("in_force")

    # --- Saving ---

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """The service saves rule and levels together: `save_related` has both."""

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        """Call the service with the rule and its levels; tell which neighbours moved."""
        (levels,) = formsets
        obj = form.instance
        levels.save(commit=False)  # sets what the message of the log names
        names = form.changed_data if change else list(form.cleaned_data)
        data = {name: form.cleaned_data[name] for name in names if name != "change_reason"}
        actor = actor_of(request)
        terms = _terms(levels) if levels.has_changed() else None
        if not change:
            saved = self.create(actor, {**data, "levels": terms or []}, "")
        else:
            before = self._neighbours(obj.pk)
            reason = form.cleaned_data.get("change_reason", "")
            saved = self.change(actor, obj, {"changes": data, "levels": terms}, reason)
            self._tell_of_neighbours(request, before)
        obj.__dict__.update(saved.__dict__)

    def create(self, actor: User, data: dict[str, Any], reason: str) -> ApprovalRule:
        return approval_rule_create(actor=actor, **data)

    def change(self, actor: User, obj: Any, data: dict[str, Any], reason: str) -> ApprovalRule:
        with record_as(actor, reason):
            return approval_rule_update(actor=actor, rule_id=obj.pk, **data)

    @staticmethod
    def _neighbours(rule_id: int) -> Bands:
        rule = ApprovalRule.objects.get(pk=rule_id)
        same = ApprovalRule.objects.exclude(pk=rule_id).filter(
            request_type=rule.request_type,
            entity=rule.entity,
            department=rule.department,
            currency=rule.currency,
            priority=rule.priority,
        )
        return {pk: (start, end) for pk, start, end in same.values_list("pk", "amount_from", "amount_to")}

    @staticmethod
    def _tell_of_neighbours(request: HttpRequest, before: Bands) -> None:
        """Bands touch each other: where one moves its neighbours move, and the person is told (APR-02)."""
        for rule in ApprovalRule.objects.filter(pk__in=before).order_by("amount_from"):
            if (rule.amount_from, rule.amount_to) != before[rule.pk]:
                messages.info(request, f"“{rule.name}” moved with it: it now goes {band_text(rule)}.")


def _terms(levels: Any) -> Sequence[LevelTerms]:
    """The levels of the page in their order, as the service takes them."""
    rows: Iterable[dict[str, Any]] = [
        form.cleaned_data
        for form in levels.forms
        if form.cleaned_data
        and not form.cleaned_data.get("DELETE")
        and (form.has_changed() or form.instance.pk)
    ]
    return [
        LevelTerms(
            approver_kind=row["approver_kind"],
            users=list(row["users"]),
            required_approvals=row["required_approvals"],
            settings={name: row[name] for name in LEVEL_SETTINGS},
        )
        for row in sorted(rows, key=lambda row: row["order"] or 0)
    ]
