"""Memberships in the back-office: who may act where. Roles are given and ended by the services."""

from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from django.utils.safestring import SafeString
from unfold.widgets import UnfoldAdminDateWidget

from core import clock
from core.admin.actions import ActionCall, ObjectAction
from core.admin.badges import badge_html
from core.admin.base import EmptyState
from core.admin.filters import QuickFilter
from core.admin.scoping import may
from core.models import User
from entities.admin.base import ScopedForm, ServiceModelAdmin
from entities.models import Membership, Role
from entities.services import membership_end, membership_grant, membership_update


class EndForm(ScopedForm):
    """When a membership ends."""

    on = forms.DateField(
        label="Ends on",
        required=False,
        widget=UnfoldAdminDateWidget(),
        help_text="The first day without it. Empty: today.",
    )


def _end(call: ActionCall) -> Membership | None:
    return membership_end(actor=call.actor, membership=call.obj, on=call.data["on"], reason=call.reason)


def _not_ended(membership: Membership, user: Any) -> str | None:
    if membership.valid_to is not None and membership.valid_to <= clock.today():
        return "It has ended."
    return None


@admin.register(Membership)
class MembershipAdmin(ServiceModelAdmin):
    """A user's role at an entity, or at one department of it."""

    list_display = [
        "person",
        "role",
        "entity",
        "department",
        "include_descendants",
        "valid_from",
        "valid_to",
        "state",
    ]
    list_display_links = ["person"]
    list_filter = ["role", "entity", "department", "user", "valid_to"]
    list_select_related = ["user", "entity", "department"]
    search_fields = [
        "user__username",
        "user__first_name",
        "user__last_name",
        "user__email",
        "entity__name",
        "department__name",
    ]
    ordering = ["user__last_name", "user__username", "entity__name"]
    quick_filters = [
        QuickFilter("Administrators", f"role__exact={Role.ADMINISTRATOR}", icon="shield_person"),
        QuickFilter("Auditors", f"role__exact={Role.AUDITOR}", icon="policy"),
        QuickFilter("With an end", "valid_to__isnull=False", icon="event"),
    ]
    autocomplete_fields = ["user", "entity", "department"]
    guarded_relations = ()
    empty_state = EmptyState(
        "Nobody acts here yet",
        "A membership gives a user a role at an entity or at one department of it.",
        "Give a role",
        "admin:entities_membership_add",
    )
    fieldsets = (
        (
            None,
            {
                "fields": (
                    ("user", "role"),
                    ("entity", "department"),
                    "include_descendants",
                    ("valid_from", "valid_to"),
                    "change_reason",
                ),
                "description": "Without a department the role covers the entity as a whole. You can only give roles "
                "whose rights you have there yourself.",
            },
        ),
    )
    actions_bar = [
        ObjectAction(
            name="end",
            label="End",
            icon="person_remove",
            perm="entities.manage_membership",
            needs_reason=True,
            danger=True,
            form=EndForm,
            possible=_not_ended,
            consequence="From that day the user has no rights by this membership. What they did keeps their name.",
            run=_end,
            done="The membership is ended.",
        )
    ]

    def get_queryset(self, request: HttpRequest) -> Any:
        user: Any = request.user
        return (
            super()
            .get_queryset(request)
            .filter(pk__in=Membership.objects.visible_to(user, "entities.view_membership").values("pk"))
        )

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return may(request.user, "entities.manage_membership")

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return may(request.user, "entities.manage_membership", obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Memberships are ended, so that one sees later who had which right."""
        return False

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return ["user", "role", "entity", "department"] if obj is not None else []

    @admin.display(description="User", ordering="user__last_name")
    def person(self, obj: Membership) -> str:
        user: User = obj.user
        return user.display_name

    @admin.display(description="State", ordering="valid_to")
    def state(self, obj: Membership) -> SafeString:
        today = clock.today()
        if obj.valid_to is not None and obj.valid_to <= today:
            return badge_html("expired", "Ended")
        if obj.valid_from is not None and obj.valid_from > today:
            return badge_html("pending", "Not yet")
        return badge_html("active")

    def create(self, actor: User, data: dict[str, Any], reason: str) -> Membership:
        return membership_grant(actor=actor, reason=reason, **data)

    def change(self, actor: User, obj: Any, data: dict[str, Any], reason: str) -> Membership:
        dates = {"valid_from": obj.valid_from, "valid_to": obj.valid_to}
        return membership_update(actor=actor, membership=obj, reason=reason, **{**dates, **data})
