"""Keeping authority limits (APR-16)."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from django.db import transaction

from approvals.models import AuthorityLimit
from approvals.registry import approval_type
from approvals.services.people import require_at_place
from core.access import get_visible
from core.errors import Conflict
from core.history import record_as
from core.models import User
from entities.models import Entity
from entities.services.records import apply_changes, check_fields, delete_record, field_error, save_record

CHANGEABLE = frozenset({"max_amount", "currency", "is_ultimate", "request_type"})


def authority_limit_create(
    *,
    actor: User,
    max_amount: Decimal | None,
    currency: str,
    user: User | None = None,
    role: str = "",
    entity: Entity | None = None,
    request_type: str = "",
    is_ultimate: bool = False,
) -> AuthorityLimit:
    """Set up to which amount the word of a person, or of everyone with a role, is enough; None is any amount.

    Nobody sets a limit of their own. Raises Conflict ``limit_exists`` and ``ultimate_exists``.
    """
    limit = AuthorityLimit(
        user=user,
        role=role,
        entity=entity,
        request_type=request_type,
        max_amount=max_amount,
        currency=currency,
        is_ultimate=is_ultimate,
    )
    with transaction.atomic(), record_as(actor):
        require_at_place(actor, "approvals.add_authoritylimit", limit)
        _save(limit, actor)
        return limit


def authority_limit_update(
    *, actor: User, limit_id: int, changes: Mapping[str, Any], expected_version: int | None = None
) -> AuthorityLimit:
    """Change a limit; requests in flight are measured by what holds when they are decided."""
    with transaction.atomic(), record_as(actor):
        limit = _lock(actor, limit_id, "approvals.change_authoritylimit")
        limit.expect_version(expected_version)
        if apply_changes(limit, changes, allowed=CHANGEABLE):
            _save(limit, actor)
        return limit


def authority_limit_delete(*, actor: User, limit_id: int) -> None:
    """Remove a limit."""
    with transaction.atomic(), record_as(actor):
        limit = _lock(actor, limit_id, "approvals.delete_authoritylimit")
        _refuse_own(limit, actor)
        delete_record(limit, name="authority limit", instead="Change its amount.")


def _lock(actor: User, limit_id: int, permission: str) -> AuthorityLimit:
    seen = get_visible(AuthorityLimit.objects.all(), actor, limit_id, name="authority limit")
    require_at_place(actor, permission, seen)
    return AuthorityLimit.objects.select_for_update(of=("self",)).get(pk=seen.pk)


def _save(limit: AuthorityLimit, actor: User) -> None:
    if (limit.user is None) == (not limit.role):
        raise field_error("user", "person_or_role", "Name either a person or a role.")
    if limit.is_ultimate and (limit.user is None or limit.max_amount is not None):
        raise field_error(
            "is_ultimate",
            "ultimate_is_a_person_without_limit",
            "The ultimate approver is a person without limit: name them, and leave the amount empty.",
        )
    if limit.max_amount is not None and limit.max_amount < 0:
        raise field_error("max_amount", "amount_not_positive", "A limit cannot be negative.")
    if limit.request_type:
        approval_type(limit.request_type)
    _refuse_own(limit, actor)
    check_fields(limit)
    who = limit.user.display_name if limit.user else limit.get_role_display()
    save_record(
        limit,
        {
            "approval_limit_once": Conflict(
                "limit_exists", f"{who} has a limit there already: change that one."
            ),
            "approval_one_ultimate_approver": Conflict(
                "ultimate_exists", "There is an ultimate approver for that already: change who it is there."
            ),
        },
    )


def _refuse_own(limit: AuthorityLimit, actor: User) -> None:
    """Nobody decides how much they may decide."""
    if limit.user_id is not None and limit.user_id == actor.pk:
        raise Conflict("own_limit", "Nobody sets their own limit. Ask another finance manager.")
