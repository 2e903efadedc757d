"""Allocation rules in the back-office: versions with their targets, new terms, runs with a preview."""

from decimal import Decimal
from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import path, reverse
from django.utils.html import format_html_join
from django.utils.safestring import SafeString
from unfold.widgets import (
    UnfoldAdminDateWidget,
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextInputWidget,
)

from core import clock
from core.admin.actions import BarItem, ObjectAction
from core.admin.badges import badge_html
from core.admin.base import EmptyState
from core.admin.columns import number_text
from core.admin.filters import QuickFilter
from core.admin.scoping import may
from core.models import User
from core.money import allocate, exact_sum
from entities.admin.allocation import ShareForm
from entities.admin.base import ReadOnlyInline, ScopedForm, ServiceModelAdmin, actor_of, picker
from entities.admin.pages import Page, page_view
from entities.models import AllocationBasis, AllocationRule, AllocationRuleVersion, Department
from entities.periods import ONE_DAY, month_of
from entities.services import (
    AllocationPart,
    AllocationPlan,
    Target,
    VersionTerms,
    allocation_rule_create,
    allocation_rule_delete,
    allocation_rule_preview,
    allocation_rule_run,
    allocation_rule_update,
    allocation_rule_version_create,
)


class TermsForm(ScopedForm):
    """How a rule spreads, and from when."""

    basis = forms.ChoiceField(
        choices=AllocationBasis.choices, initial=AllocationBasis.PERCENT, widget=UnfoldAdminSelectWidget()
    )
    driver = forms.CharField(
        max_length=50,
        required=False,
        widget=UnfoldAdminTextInputWidget(),
        help_text="For a driver: what is counted, such as headcount or m². The values used are kept with each posting.",
    )
    valid_from = forms.DateField(label="Valid from", widget=UnfoldAdminDateWidget())
    valid_to = forms.DateField(
        label="Valid until before",
        required=False,
        widget=UnfoldAdminDateWidget(),
        help_text="Empty: until further notice.",
    )


class RuleForm(TermsForm):
    """A new rule with its first version."""

    name = forms.CharField(max_length=200, widget=UnfoldAdminTextInputWidget())
    source = forms.ModelChoiceField(
        Department.objects.select_related("entity"), help_text="The department whose cost is spread."
    )
    step = forms.IntegerField(
        min_value=1,
        max_value=32767,
        initial=1,
        widget=UnfoldAdminIntegerFieldWidget(),
        help_text="Rules run in ascending steps: what gives to a department runs before its own rule.",
    )
    field_order = ["name", "source", "step"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field: Any = self.fields["source"]
        field.widget = picker(AllocationRule, "source")
        field.widget.choices = field.choices


class PeriodForm(ScopedForm):
    """The period of a run."""

    period_start = forms.DateField(label="Period from", widget=UnfoldAdminDateWidget())
    period_end = forms.DateField(
        label="Period until before",
        widget=UnfoldAdminDateWidget(),
        help_text="The first day after the period.",
    )


class VersionsInline(ReadOnlyInline):
    model = AllocationRuleVersion
    tab = False
    show_change_link = False
    verbose_name_plural = "Versions"
    shown = ["number", "valid_from", "valid_to", "basis", "driver", "targets_table"]
    ordering = ["-valid_from"]

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return may(request.user, "entities.view_allocationrule", obj)

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).prefetch_related("targets__department")

    @admin.display(description="Targets")
    def targets_table(self, obj: AllocationRuleVersion) -> SafeString:
        rows = ((target.department, number_text(target.weight)) for target in obj.targets.all())
        return format_html_join(SafeString("<br>"), '{}: <span class="eb-num">{}</span>', rows)


def _page_action(name: str, label: str, icon: str, perm: str) -> ObjectAction:
    return ObjectAction(name=name, label=label, icon=icon, perm=perm, consequence="", run=lambda call: None)


RUN = _page_action("run", "Run for a period", "play_arrow", "entities.run_allocationrule")
NEW_VERSION = _page_action("version", "New version", "add_notes", "entities.change_allocationrule")


@admin.register(AllocationRule)
class AllocationRuleAdmin(ServiceModelAdmin):
    """Standing instructions to spread the cost of a department over others."""

    list_display = ["name", "entity", "source", "step", "current_terms", "state"]
    list_filter = ["entity", "source", "is_active"]
    list_select_related = ["entity", "source"]
    search_fields = ["name", "source__name", "source__code"]
    ordering = ["entity__name", "step", "name"]
    quick_filters = [QuickFilter("Active", "is_active__exact=1", icon="play_circle")]
    guarded_relations = ()
    inlines = [VersionsInline]
    readonly_fields = ["entity", "source"]
    empty_state = EmptyState(
        "No allocation rules yet",
        "A rule spreads the cost of a service department over those that use it, once per period.",
        "Add a rule",
        "admin:entities_allocationrule_add",
    )
    fieldsets = (
        (None, {"fields": (("name", "is_active"), ("entity", "source"), ("step", "change_reason"))}),
    )
    change_actions = (RUN, NEW_VERSION)

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).prefetch_related("versions__targets__department")

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view
        own = [
            path("<int:object_id>/run/", view(self.run_view), name="entities_allocationrule_run"),
            path(
                "<int:object_id>/new-version/",
                view(self.version_view),
                name="entities_allocationrule_version",
            ),
        ]
        return own + super().get_urls()

    def bar_of(self, request: HttpRequest, obj: Any) -> list[BarItem]:
        items = super().bar_of(request, obj)
        for action in self.change_actions:
            if may(request.user, action.perm, obj):
                url = reverse(f"admin:entities_allocationrule_{action.name}", args=[obj.pk])
                off = "" if obj.is_active or action is not RUN else "The rule is switched off."
                items.append(BarItem(action, url, off))
        return items

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> Any:
        obj = kwargs.get("obj")
        response = super().render_change_form(request, context, *args, **kwargs)
        if obj is not None and obj.pk:
            response.context_data["actions_bar"] = self.bar_of(request, obj)
        return response

    @admin.display(description="Spreads today")
    def current_terms(self, obj: AllocationRule) -> str:
        today = clock.today()
        for version in obj.versions.all():
            if version.valid_from <= today and (version.valid_to is None or today < version.valid_to):
                names = [
                    f"{target.department.code} {number_text(target.weight)}"
                    for target in version.targets.all()
                ]
                more = f" and {len(names) - 4} more" if len(names) > 4 else ""
                return f"{version.get_basis_display().split(' (')[0]}: {', '.join(names[:4])}{more}"
        return "Nothing: no version is valid today"

    @admin.display(description="State", ordering="is_active")
    def state(self, obj: AllocationRule) -> SafeString:
        return badge_html("active" if obj.is_active else "inactive")

    def change(self, actor: User, obj: Any, data: dict[str, Any], reason: str) -> AllocationRule:
        return allocation_rule_update(actor=actor, rule=obj, reason=reason, **data)

    def remove(self, actor: User, obj: AllocationRule) -> None:
        allocation_rule_delete(actor=actor, rule=obj)

    # --- Pages ---

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        """A new rule with its first version."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        actor = actor_of(request)

        def create(data: dict[str, Any], lines: list[dict[str, Any]]) -> AllocationRule:
            own = {name: data.pop(name) for name in ("name", "source", "step")}
            terms = _terms(data, lines)
            return allocation_rule_create(actor=actor, entity=own["source"].entity, terms=terms, **own)

        page = _terms_page(
            title="Add an allocation rule",
            intro="The rule moves what the source department costs in a period to the targets, when it is run.",
            form_class=RuleForm,
            back=reverse("admin:entities_allocationrule_changelist"),
            write=create,
            rule_of=lambda rule: rule,
        )
        return page_view(request, self, page)

    def version_view(self, request: HttpRequest, object_id: int) -> HttpResponse:
        """New terms for a rule from a day on."""
        rule = self._rule(request, object_id, NEW_VERSION)
        actor = actor_of(request)

        def create(data: dict[str, Any], lines: list[dict[str, Any]]) -> AllocationRuleVersion:
            return allocation_rule_version_create(actor=actor, rule=rule, terms=_terms(data, lines))

        page = _terms_page(
            title=f"New version of {rule}",
            intro="The version before ends on the day the new one begins. What was posted keeps its version.",
            form_class=TermsForm,
            back=reverse("admin:entities_allocationrule_change", args=[rule.pk]),
            write=create,
            rule_of=lambda version: version.rule,
        )
        return page_view(request, self, page)

    def run_view(self, request: HttpRequest, object_id: int) -> HttpResponse:
        """Run a rule for a period, after a look at what it will post."""
        rule = self._rule(request, object_id, RUN)
        actor = actor_of(request)

        def preview(data: dict[str, Any], lines: list[dict[str, Any]]) -> list[AllocationPlan]:
            run = allocation_rule_preview(actor=actor, rule=rule, **data)
            return [
                AllocationPlan(
                    plan.entity,
                    plan.amount,
                    plan.currency,
                    plan.basis,
                    [AllocationPart(rule.source, None, -plan.amount), *plan.parts],
                )
                for plan in run.plans
            ]

        def write(data: dict[str, Any], lines: list[dict[str, Any]]) -> tuple[str, str]:
            postings = allocation_rule_run(actor=actor, rule=rule, **data)
            url = reverse("admin:entities_allocationposting_change", args=[postings[-1].pk])
            return f"{rule} has been run: {len(postings)} posting(s).", url

        last_month = month_of(month_of(clock.today()) - ONE_DAY)
        page = Page(
            title=f"Run {rule}",
            intro=f"Moves what {rule.source} costs in the period to the targets. Each period is run once; to run it "
            "again with cost that came later, reverse its posting first.",
            button="Run",
            back=reverse("admin:entities_allocationrule_change", args=[rule.pk]),
            form_class=PeriodForm,
            preview=preview,
            write=write,
            initial={"period_start": last_month, "period_end": month_of(clock.today())},
        )
        return page_view(request, self, page)

    def _rule(self, request: HttpRequest, object_id: int, action: ObjectAction) -> AllocationRule:
        rule = self.get_object(request, str(object_id))
        if rule is None:
            raise Http404("There is no such rule, or it is outside your scope.")
        if not may(request.user, action.perm, rule):
            raise PermissionDenied
        return rule


def _terms(data: dict[str, Any], lines: list[dict[str, Any]]) -> VersionTerms:
    return VersionTerms(targets=[Target(line["department"], line["share"]) for line in lines], **data)


def _terms_page(*, title: str, intro: str, form_class: Any, back: str, write: Any, rule_of: Any) -> Page:
    def preview(data: dict[str, Any], lines: list[dict[str, Any]]) -> list[AllocationPlan]:
        """What 100.00 of cost would become; the same checks as saving, which is then rolled back."""
        with transaction.atomic():
            saved = write(dict(data), lines)
            rule = rule_of(saved)
            transaction.set_rollback(True)
        return [_example(rule.entity, data["basis"], lines)]

    def save(data: dict[str, Any], lines: list[dict[str, Any]]) -> tuple[str, str]:
        rule = rule_of(write(dict(data), lines))
        return f"{rule} is saved.", reverse("admin:entities_allocationrule_change", args=[rule.pk])

    return Page(
        title=title,
        intro=intro,
        button="Save",
        back=back,
        form_class=form_class,
        line_class=ShareForm,
        lines_title="Targets",
        lines_help="Percentages sum to exactly 100. Preview shows what 100.00 of cost would become.",
        preview=preview,
        write=save,
    )


def _example(entity: Any, basis: str, lines: list[dict[str, Any]]) -> AllocationPlan:
    weights = [line["share"] for line in lines]
    total = exact_sum(weights) if basis == AllocationBasis.AMOUNT else Decimal(100)
    parts = weights if basis == AllocationBasis.AMOUNT else allocate(total, weights, entity.currency)
    rows = [
        AllocationPart(line["department"], line["share"], part)
        for line, part in zip(lines, parts, strict=True)
    ]
    return AllocationPlan(entity, total, entity.currency, basis, rows)
