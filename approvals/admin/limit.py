"""Authority limits: up to which amount somebody's word is enough (APR-16)."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils.safestring import SafeString

from approvals.admin.base import ServiceCheckedForm, type_field
from approvals.models import AuthorityLimit
from approvals.registry import type_label
from approvals.services.limits import (
    authority_limit_create,
    authority_limit_delete,
    authority_limit_update,
)
from core.admin.base import EmptyState
from core.admin.columns import amount_html
from core.admin.filters import QuickFilter
from core.history import record_as
from core.models import User
from entities.admin.base import ServiceModelAdmin


class LimitForm(ServiceCheckedForm):
    """A limit; the type by its name."""

    request_type = type_field()


@admin.register(AuthorityLimit)
class AuthorityLimitAdmin(ServiceModelAdmin):
    """A person's own limit goes before that of their roles; whom none is set for may approve any amount."""

    form = LimitForm
    list_display = ["who", "limit", "place", "kind", "is_ultimate", "updated_at"]
    list_filter = ["role", "user", "entity", "currency", "is_ultimate"]
    list_select_related = ["user", "entity"]
    search_fields = ["user__first_name", "user__last_name", "user__username", "entity__name"]
    ordering = ["entity__name", "role", "user__last_name"]
    quick_filters = [
        QuickFilter("Of roles", "user__isnull=True", icon="badge"),
        QuickFilter("Of people", "user__isnull=False", icon="person"),
        QuickFilter("Ultimate approvers", "is_ultimate__exact=1", icon="verified"),
    ]
    autocomplete_fields = ["user", "entity"]
    guarded_relations = ("user", "entity")
    show_activity = True
    empty_state = EmptyState(
        "No limits yet",
        "Until there are, everyone who is asked may approve any amount. Set one per role, and name who decides when "
        "nobody up the line has the authority.",
        "Add a limit",
        "admin:approvals_authoritylimit_add",
    )
    fieldsets = (
        (
            None,
            {
                "fields": (
                    ("user", "role"),
                    ("max_amount", "currency"),
                    ("entity", "request_type"),
                    "is_ultimate",
                    "change_reason",
                ),
                "description": "For a person or for everyone with a role; at an entity with all below it, or "
                "everywhere. An empty amount is without limit. Nobody sets their own.",
            },
        ),
    )

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        given = list(super().get_readonly_fields(request, obj))
        return given if obj is None else [*given, "user", "role", "entity"]

    @admin.display(description="Who", ordering="user__last_name")
    def who(self, limit: AuthorityLimit) -> str:
        return limit.user.display_name if limit.user else f"Every {limit.get_role_display().lower()}"

    @admin.display(description="Up to", ordering="max_amount")
    def limit(self, limit: AuthorityLimit) -> SafeString | str:
        return "any amount" if limit.max_amount is None else amount_html(limit.max_amount, limit.currency)

    @admin.display(description="Where", ordering="entity__name")
    def place(self, limit: AuthorityLimit) -> str:
        return str(limit.entity) if limit.entity is not None else "Everywhere"

    @admin.display(description="Type", ordering="request_type")
    def kind(self, limit: AuthorityLimit) -> str:
        return type_label(limit.request_type) if limit.request_type else "Every type"

    def create(self, actor: User, data: dict[str, Any], reason: str) -> AuthorityLimit:
        with record_as(actor, reason):
            return authority_limit_create(actor=actor, **data)

    def change(self, actor: User, obj: Any, data: dict[str, Any], reason: str) -> AuthorityLimit:
        with record_as(actor, reason):
            return authority_limit_update(actor=actor, limit_id=obj.pk, changes=data)

    def remove(self, actor: User, obj: AuthorityLimit) -> None:
        authority_limit_delete(actor=actor, limit_id=obj.pk)
