"""Incompatible duties and the exceptions from them (APR-15)."""

from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.auth.models import Permission
from django.db.models import OuterRef, Q, QuerySet, Subquery, Value
from django.db.models.functions import Concat
from django.http import HttpRequest
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextareaWidget

from approvals.admin.base import ServiceCheckedForm
from approvals.models import DutyException, IncompatibleDuties
from approvals.services.duties import (
    duty_exception_create,
    duty_exception_end,
    holders_of_both,
    incompatible_duties_create,
    incompatible_duties_delete,
    incompatible_duties_update,
    roles_with_both,
)
from core import clock
from core.admin.actions import ActionCall, ObjectAction
from core.admin.badges import badge_html
from core.admin.base import EmptyState
from core.admin.filters import QuickFilter
from core.admin.scoping import visible
from core.history import current
from core.models import User
from entities.access import roles_granting
from entities.admin.base import ServiceModelAdmin

SHOWN_PEOPLE = 20


def _right_choices() -> list[tuple[str, str]]:
    """The rights that some role carries, by their names."""
    rows = Permission.objects.select_related("content_type").order_by("name")
    named = [(f"{row.content_type.app_label}.{row.codename}", row.name) for row in rows]
    return [("", "Choose a right"), *((code, name) for code, name in named if roles_granting(code))]


def _name_of(field: str) -> Subquery:
    """The name of the right that a column holds."""
    code = Concat("content_type__app_label", Value("."), "codename")
    rows = Permission.objects.annotate(code=code).filter(code=OuterRef(field))
    return Subquery(rows.values("name")[:1])


class DutiesForm(ServiceCheckedForm):
    """Two rights by their names."""

    first_permission = forms.ChoiceField(
        label="One right", choices=_right_choices, widget=UnfoldAdminSelectWidget()
    )
    second_permission = forms.ChoiceField(
        label="The other right", choices=_right_choices, widget=UnfoldAdminSelectWidget()
    )


@admin.register(IncompatibleDuties)
class IncompatibleDutiesAdmin(ServiceModelAdmin):
    """Pairs of rights that nobody holds together, or exercises on the same document."""

    form = DutiesForm
    list_display = ["name", "first", "second", "at_grant", "at_action", "exceptions_now", "state"]
    list_filter = ["is_active", "at_grant", "at_action"]
    search_fields = ["name", "first_permission", "second_permission"]
    ordering = ["name"]
    show_activity = True
    readonly_fields = ["holders"]
    empty_state = EmptyState(
        "No incompatible duties",
        "Name two rights that nobody should hold together, such as entering bank details and approving. Whatever "
        "stands here, nobody approves what they asked for.",
        "Add a pair",
        "admin:approvals_incompatibleduties_add",
    )
    fieldsets = (
        (
            None,
            {
                "fields": (
                    ("name", "is_active"),
                    ("first_permission", "second_permission"),
                    ("at_grant", "at_action"),
                    "change_reason",
                ),
                "description": "Two rights that one role brings together can be kept apart on each document only. "
                "Nobody ever approves what they asked for, whatever stands here.",
            },
        ),
        ("Who holds both", {"fields": ("holders",)}),
    )

    def get_queryset(self, request: HttpRequest) -> Any:
        return (
            super()
            .get_queryset(request)
            .annotate(first_name=_name_of("first_permission"), second_name=_name_of("second_permission"))
            .prefetch_related("exceptions")
        )

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        shown = super().get_fieldsets(request, obj)
        return shown if obj is not None else shown[:1]

    @admin.display(description="One right", ordering="first_permission")
    def first(self, duties: Any) -> str:
        return duties.first_name or duties.first_permission

    @admin.display(description="The other right", ordering="second_permission")
    def second(self, duties: Any) -> str:
        return duties.second_name or duties.second_permission

    @admin.display(description="Exceptions now")
    def exceptions_now(self, duties: IncompatibleDuties) -> int:
        today = clock.today()
        return sum(each.valid_from <= today < each.valid_to for each in duties.exceptions.all())

    @admin.display(description="State", ordering="is_active")
    def state(self, duties: IncompatibleDuties) -> SafeString:
        return badge_html("in_force") if duties.is_active else badge_html("inactive", "Out of force")

    @admin.display(description="Today")
    def holders(self, duties: IncompatibleDuties) -> SafeString | str:
        """Who must be looked at: people who hold both, and whether an exception covers them."""
        viewer = current().actor
        people = holders_of_both(duties, viewer) if viewer is not None else []
        roles = roles_with_both(duties)
        excepted = set(
            DutyException.objects.in_force().filter(duties=duties).values_list("user_id", flat=True)
        )
        by_role = f"These roles bring both: {', '.join(roles)}. " if roles else ""
        if not people:
            return f"{by_role}Nobody whom you see holds both at one place."
        names = format_html_join(
            ", ",
            "{}{}",
            (
                (person.display_name, " (excepted)" if person.pk in excepted else "")
                for person in people[:SHOWN_PEOPLE]
            ),
        )
        more = f" and {len(people) - SHOWN_PEOPLE} more" if len(people) > SHOWN_PEOPLE else ""
        return format_html("{}{}{}", by_role, names, more)

    def create(self, actor: User, data: dict[str, Any], reason: str) -> IncompatibleDuties:
        return incompatible_duties_create(actor=actor, **data)

    def change(self, actor: User, obj: Any, data: dict[str, Any], reason: str) -> IncompatibleDuties:
        return incompatible_duties_update(actor=actor, duties_id=obj.pk, changes=data, reason=reason)

    def remove(self, actor: User, obj: IncompatibleDuties) -> None:
        incompatible_duties_delete(actor=actor, duties_id=obj.pk)


# --- Exceptions ------------------------------------------------------------------------------------------


class ExceptionForm(ServiceCheckedForm):
    """Who is excepted, until when, and who answers for it."""

    reason = forms.CharField(
        max_length=500,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        help_text="Why, and what is done instead, such as a monthly review by the owner.",
    )


class RunningFilter(admin.SimpleListFilter):
    """Whether it is in force, seen from today."""

    title = "state"
    parameter_name = "running"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("now", "In force"), ("next", "Coming"), ("past", "Over")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        today = clock.today()
        conditions = {
            "now": Q(valid_from__lte=today, valid_to__gt=today),
            "next": Q(valid_from__gt=today),
            "past": Q(valid_to__lte=today),
        }
        condition = conditions.get(str(self.value()))
        return queryset if condition is None else queryset.filter(condition)


def _state_of(exception: DutyException) -> str:
    today = clock.today()
    if exception.valid_to <= today:
        return "over"
    return "coming" if exception.valid_from > today else "in_force"


def _endable(exception: DutyException, user: Any) -> str | None:
    return "It is over already." if _state_of(exception) == "over" else None


def _end(call: ActionCall) -> DutyException | None:
    return duty_exception_end(actor=call.actor, exception_id=call.obj.pk, reason=call.reason)


@admin.register(DutyException)
class DutyExceptionAdmin(ServiceModelAdmin):
    """Each ends by itself on its day; it is ended earlier, never prolonged in silence."""

    form = ExceptionForm
    list_display = ["user", "duties", "owner", "state", "valid_from", "valid_to", "reason"]
    list_display_links = ["user"]
    list_filter = [RunningFilter, "duties", "user", "owner", "valid_to"]
    list_select_related = ["user", "duties", "owner"]
    search_fields = ["user__first_name", "user__last_name", "user__username", "duties__name", "reason"]
    ordering = ["-valid_to", "-id"]
    quick_filters = [
        QuickFilter("In force", "running=now", icon="check_circle"),
        QuickFilter("Over", "running=past", icon="event_busy"),
    ]
    autocomplete_fields = ["user", "owner"]
    show_activity = True
    empty_state = EmptyState(
        "No exceptions",
        "Nobody may hold incompatible duties. Where a small team needs it, an exception has an owner and an end.",
        "Add an exception",
        "admin:approvals_dutyexception_add",
    )
    fieldsets = (
        (
            None,
            {
                "fields": (
                    ("duties",),
                    ("user", "owner"),
                    ("valid_from", "valid_to"),
                    "reason",
                )
            },
        ),
    )
    readonly_fields = ["state"]
    locked_reason = staticmethod(
        lambda exception: "An exception is not edited: end it, and make another one with a reason of its own."
    )
    actions_bar = [
        ObjectAction(
            name="end",
            label="End today",
            icon="event_busy",
            perm="approvals.change_dutyexception",
            needs_reason=True,
            danger=True,
            possible=_endable,
            consequence="From today the two duties are kept apart again. Roles that the person holds stay until "
            "somebody ends them.",
            run=_end,
            done="The exception is ended.",
        )
    ]

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """They are ended: auditors look at what was excepted."""
        return False

    def get_queryset(self, request: HttpRequest) -> Any:
        return visible(super().get_queryset(request), request.user)

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        return {"valid_from": clock.today(), "owner": request.user.pk}

    @admin.display(description="State", ordering="valid_to")
    def state(self, exception: DutyException) -> SafeString:
        return badge_html(_state_of(exception))

    def create(self, actor: User, data: dict[str, Any], reason: str) -> DutyException:
        data.pop("change_reason", None)
        return duty_exception_create(actor=actor, **data)
