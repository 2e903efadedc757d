"""Delegations: who stands in for whom, now, later and before (APR-18)."""

from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString
from unfold.widgets import UnfoldAdminSelectMultipleWidget, UnfoldAdminTextareaWidget

from approvals.admin.base import ServiceCheckedForm
from approvals.models import Delegation
from approvals.registry import approval_types, type_label
from approvals.services.delegations import delegation_create, delegation_end
from core import clock
from core.admin.actions import ActionCall, ObjectAction
from core.admin.badges import badge_html
from core.admin.base import EmptyState
from core.admin.columns import amount_html
from core.admin.filters import QuickFilter
from core.admin.scoping import may
from core.models import User
from entities.admin.base import ServiceModelAdmin

OVERRIDE = "approvals.override_approvalrequest"


class DelegationForm(ServiceCheckedForm):
    """Who for whom; the types by their names."""

    request_types = forms.MultipleChoiceField(
        required=False,
        choices=lambda: [(kind.code, kind.label) for kind in approval_types()],
        widget=UnfoldAdminSelectMultipleWidget(),
        help_text="None chosen: every type.",
    )
    reason = forms.CharField(
        max_length=500,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 2}),
        help_text="For example: on leave. Both of them read it.",
    )


class RunningFilter(admin.SimpleListFilter):
    """Whether it is in force, seen from now."""

    title = "state"
    parameter_name = "running"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("now", "In force"), ("next", "Coming"), ("past", "Over")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        now = clock.now()
        conditions = {
            "now": Q(ended_at=None, valid_from__lte=now, valid_to__gt=now),
            "next": Q(ended_at=None, valid_from__gt=now),
            "past": Q(ended_at__isnull=False) | Q(valid_to__lte=now),
        }
        condition = conditions.get(str(self.value()))
        return queryset if condition is None else queryset.filter(condition)


def state_of(delegation: Delegation) -> str:
    """ "in_force", "coming" or "over"."""
    now = clock.now()
    if delegation.ended_at is not None or delegation.valid_to <= now:
        return "over"
    return "coming" if delegation.valid_from > now else "in_force"


def _endable(delegation: Delegation, user: Any) -> str | None:
    return "It is over already." if state_of(delegation) == "over" else None


def _end(call: ActionCall) -> Delegation:
    return delegation_end(actor=call.actor, delegation_id=call.obj.pk)


@admin.register(Delegation)
class DelegationAdmin(ServiceModelAdmin):
    """Made by whoever goes away, or for them by whoever looks after approvals; ended, never edited."""

    class Media:
        css = {"all": ["approvals/admin.css"]}

    form = DelegationForm
    list_display = ["delegator", "delegate", "state", "valid_from", "valid_to", "scope", "limit", "reason"]
    list_display_links = ["delegator", "delegate"]
    list_filter = [RunningFilter, "delegator", "delegate", "valid_from", "valid_to"]
    list_select_related = ["delegator", "delegate"]
    search_fields = [
        "delegator__first_name", "delegator__last_name", "delegator__username",
        "delegate__first_name", "delegate__last_name", "delegate__username", "reason",
    ]  # fmt: skip
    ordering = ["-valid_from", "-id"]
    quick_filters = [
        QuickFilter("In force", "running=now", icon="check_circle"),
        QuickFilter("Coming", "running=next", icon="event_upcoming"),
        QuickFilter("Over", "running=past", icon="event_busy"),
    ]
    autocomplete_fields = ["delegator", "delegate", "departments"]
    empty_state = EmptyState(
        "Nobody stands in for anybody",
        "Who goes on leave lets somebody decide in their place, from one moment to another. People do so on their own "
        "pages; here it is done for somebody who is away already.",
        "Add a delegation",
        "admin:approvals_delegation_add",
    )
    fieldsets = (
        (
            None,
            {
                "fields": (
                    ("delegator", "delegate"),
                    ("valid_from", "valid_to"),
                    ("request_types", "departments"),
                    ("max_amount", "currency"),
                    "reason",
                ),
                "description": "Until the second it ends the delegate may decide what waits for the other one. What "
                "they have not decided by then is the other one's again.",
            },
        ),
    )
    readonly_fields = ["state", "ended_at", "created_by"]
    locked_reason = staticmethod(
        lambda delegation: "A delegation is not edited: end it, and make another one."
    )
    actions_bar = [
        ObjectAction(
            name="end",
            label="End now",
            icon="event_busy",
            perm="approvals.change_delegation",
            danger=True,
            possible=_endable,
            consequence="From this moment the delegate decides nothing more in the other one's place.",
            run=_end,
            done="The delegation is ended.",
        )
    ]

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).prefetch_related("departments")

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return may(request.user, "approvals.add_delegation")

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """They are ended: the trail says who decided for whom."""
        return False

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        shown = super().get_fieldsets(request, obj)
        if obj is None:
            return shown
        fields = (*shown[0][1]["fields"], ("state", "ended_at", "created_by"))
        return [(None, {"fields": fields})]

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        return {"delegator": request.user.pk, "valid_from": clock.now().replace(second=0, microsecond=0)}

    @admin.display(description="State", ordering="valid_from")
    def state(self, delegation: Delegation) -> SafeString:
        return badge_html(state_of(delegation))

    @admin.display(description="For")
    def scope(self, delegation: Delegation) -> str:
        types = ", ".join(type_label(code) for code in delegation.request_types) or "everything"
        places = ", ".join(department.name for department in delegation.departments.all())
        return f"{types}{f' of {places}' if places else ''}"

    @admin.display(description="Up to", ordering="max_amount")
    def limit(self, delegation: Delegation) -> SafeString | str:
        if delegation.max_amount is None:
            return "own limit"
        return amount_html(delegation.max_amount, delegation.currency)

    def create(self, actor: User, data: dict[str, Any], reason: str) -> Delegation:
        return delegation_create(actor=actor, **data)

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        """The service has saved the departments with it."""
