"""Duties that nobody holds together, and the exceptions from that (APR-15).

The matrix is asked twice: when somebody is given a role (``refuse_incompatible_grant``, registered with entities), and
when somebody acts on a document (``require_separate_duties``, and ``apart_from_approving`` for requests). Who asks for
something never approves it, whatever the matrix says (APR-13).
"""

import datetime
from collections.abc import Collection, Mapping
from typing import Any

from django.contrib.auth.models import Permission
from django.db import transaction
from django.db.models import Q

from approvals.models import ApprovalRequest, DutyException, IncompatibleDuties
from core import clock
from core.access import get_visible, permission_name, require
from core.errors import Conflict, Forbidden, NotFound
from core.history import record_as
from core.models import User
from entities.access import permissions_of
from entities.models import DepartmentClosure, EntityClosure, Membership, Role
from entities.services.records import apply_changes, check_fields, delete_record, field_error, save_record

DECIDE = "approvals.decide_approvalrequest"
ENTER_ACCOUNT = "approvals.maintain_payee"
CHANGEABLE = frozenset(
    {"name", "first_permission", "second_permission", "at_grant", "at_action", "is_active"}
)


# --- Keeping the matrix ----------------------------------------------------------------------------------


def incompatible_duties_create(
    *,
    actor: User,
    name: str,
    first_permission: str,
    second_permission: str,
    at_grant: bool = True,
    at_action: bool = True,
    is_active: bool = True,
) -> IncompatibleDuties:
    """Say that nobody holds two rights together.

    It holds for roles and acts from now on; who holds both already keeps them, and ``holders_of_both`` names them.
    Raises Invalid ``unknown_permission``, ``same_duty``, ``never_tested``; Conflict ``duties_exist``.
    """
    duties = IncompatibleDuties(
        name=name.strip(),
        first_permission=first_permission,
        second_permission=second_permission,
        at_grant=at_grant,
        at_action=at_action,
        is_active=is_active,
    )
    with transaction.atomic(), record_as(actor):
        _require_everywhere(actor, "approvals.add_incompatibleduties", duties)
        _save_duties(duties)
        return duties


def incompatible_duties_update(
    *,
    actor: User,
    duties_id: int,
    changes: Mapping[str, Any],
    expected_version: int | None = None,
    reason: str = "",
) -> IncompatibleDuties:
    """Change a pair of duties, or put it out of force."""
    with transaction.atomic(), record_as(actor, reason):
        duties = _lock_duties(actor, duties_id, "approvals.change_incompatibleduties")
        duties.expect_version(expected_version)
        if apply_changes(duties, changes, allowed=CHANGEABLE):
            _save_duties(duties)
        return duties


def incompatible_duties_delete(*, actor: User, duties_id: int) -> None:
    """Remove a pair that nobody was ever excepted from; raises Conflict ``in_use`` otherwise."""
    with transaction.atomic(), record_as(actor):
        duties = _lock_duties(actor, duties_id, "approvals.delete_incompatibleduties")
        delete_record(duties, name=duties.name, instead="Put it out of force.")


def _lock_duties(actor: User, duties_id: int, permission: str) -> IncompatibleDuties:
    require(actor, "approvals.view_incompatibleduties")
    duties = IncompatibleDuties.objects.select_for_update().filter(pk=duties_id).first()
    if duties is None:
        raise NotFound("not_found", f"There are no incompatible duties {duties_id}.")
    _require_everywhere(actor, permission, duties)
    return duties


def _require_everywhere(actor: User, permission: str, duties: IncompatibleDuties) -> None:
    # Imported here: who may be asked depends on the duties themselves.
    from approvals.services.people import require_at_place

    try:
        require_at_place(actor, permission, duties)
    except Forbidden as refusal:
        if refusal.code != "holds_everywhere":
            raise
        raise Forbidden(
            "holds_everywhere",
            "Incompatible duties hold in every group of companies, and you are administrator of some of them only. "
            "Ask somebody who is administrator of all.",
        ) from refusal


def _save_duties(duties: IncompatibleDuties) -> None:
    check_fields(duties)
    if duties.first_permission == duties.second_permission:
        raise field_error("second_permission", "same_duty", "Name two different rights.")
    for field in ("first_permission", "second_permission"):
        app_label, _, codename = str(getattr(duties, field)).partition(".")
        if not Permission.objects.filter(content_type__app_label=app_label, codename=codename).exists():
            raise field_error(field, "unknown_permission", "There is no such right. Choose one of the list.")
    if not duties.at_grant and not duties.at_action:
        raise field_error(
            "at_action", "never_tested", "Say when it is tested, or put the pair out of force instead."
        )
    exists = Conflict("duties_exist", "These two duties are in the matrix already: change that entry.")
    turned = IncompatibleDuties.objects.filter(
        first_permission=duties.second_permission, second_permission=duties.first_permission
    ).exclude(pk=duties.pk)
    if turned.exists():
        raise exists
    save_record(duties, {"approval_duties_once": exists})


# --- Exceptions ------------------------------------------------------------------------------------------


def duty_exception_create(
    *,
    actor: User,
    duties: IncompatibleDuties,
    user: User,
    owner: User,
    reason: str,
    valid_to: datetime.date,
    valid_from: datetime.date | None = None,
) -> DutyException:
    """Let somebody hold incompatible duties in ``[valid_from, valid_to)``; ``owner`` answers for it.

    Begins today unless said. Raises Forbidden ``own_exception``, Invalid for dates, owner and reason, Conflict
    ``exception_exists``.
    """
    exception = DutyException(
        duties=duties,
        user=user,
        owner=owner,
        reason=reason.strip(),
        valid_from=valid_from or clock.today(),
        valid_to=valid_to,
    )
    with transaction.atomic(), record_as(actor, reason):
        require(actor, "approvals.add_dutyexception")
        get_visible(User.objects.all(), actor, user.pk, name="user")
        # Two exceptions for the same at once are told apart here.
        IncompatibleDuties.objects.select_for_update().get(pk=duties.pk)
        if user.pk == actor.pk:
            raise Forbidden("own_exception", "Nobody excepts themselves. Ask another administrator.")
        _check_exception(exception)
        exception.save()
        return exception


def duty_exception_end(*, actor: User, exception_id: int, reason: str = "") -> DutyException | None:
    """End it today; one that began today or has not begun is taken back altogether (None)."""
    with transaction.atomic(), record_as(actor, reason):
        seen = get_visible(DutyException.objects.all(), actor, exception_id, name="exception")
        require(actor, "approvals.change_dutyexception", seen)
        exception = DutyException.objects.select_for_update(of=("self",)).get(pk=seen.pk)
        today = clock.today()
        if exception.valid_to <= today:
            raise Conflict("exception_over", "That exception is over already.")
        if exception.valid_from >= today:
            exception.delete()
            return None
        exception.valid_to = today
        exception.save()
        return exception


def _check_exception(exception: DutyException) -> None:
    if exception.owner_id == exception.user_id:
        raise field_error("owner", "owner_is_user", "Somebody else answers for the exception.")
    if not exception.owner.is_active or exception.owner.is_service_account:
        raise field_error("owner", "owner_inactive", "Name an active person who answers for it.")
    if not exception.reason:
        raise field_error(
            "reason", "required", "Say why, and what is done instead, such as a monthly review."
        )
    if exception.valid_to <= exception.valid_from:
        raise field_error("valid_to", "dates_not_ordered", "It must end after the day on which it starts.")
    if exception.valid_to <= clock.today():
        raise field_error("valid_to", "in_the_past", "It would be over already. Give a later end.")
    check_fields(exception)
    standing = DutyException.objects.filter(
        duties=exception.duties,
        user=exception.user,
        valid_from__lt=exception.valid_to,
        valid_to__gt=exception.valid_from,
    ).first()
    if standing is not None:
        raise Conflict(
            "exception_exists",
            f"{exception.user.display_name} has that exception until {standing.valid_to} already.",
            extra={"exception_id": standing.pk},
        )


# --- At the action ---------------------------------------------------------------------------------------


def held_back(permission: str, exercised: Mapping[str, Collection[int]]) -> dict[int, IncompatibleDuties]:
    """Users who may not exercise a right on a document, because of another that they exercised on it.

    ``exercised`` says who exercised which right on the document. Exceptions in force today count.
    """
    rows = IncompatibleDuties.objects.filter(is_active=True, at_action=True).filter(
        Q(first_permission=permission, second_permission__in=exercised)
        | Q(second_permission=permission, first_permission__in=exercised)
    )
    found: dict[int, IncompatibleDuties] = {}
    for duties in rows:
        (other,) = duties.pair - {permission}
        found |= dict.fromkeys(exercised[other], duties)
    if found:
        excepted = DutyException.objects.in_force().filter(user_id__in=found)
        for user_id, duties_id in excepted.values_list("user_id", "duties_id"):
            if found[user_id].pk == duties_id:
                del found[user_id]
    return found


def require_separate_duties(
    *, actor: User, permission: str, exercised: Mapping[str, Collection[int]]
) -> None:
    """Raise Forbidden ``incompatible_duties`` if the actor exercised an incompatible right on the document."""
    duties = held_back(permission, exercised).get(actor.pk)
    if duties is None:
        return
    (other,) = duties.pair - {permission}
    raise Forbidden(
        "incompatible_duties",
        f"“{duties.name}”: you did the one here (“{permission_name(other)}”), so somebody else does the other.",
        extra={"duties_id": duties.pk},
    )


def apart_from_approving(request: ApprovalRequest) -> set[int]:
    """Users who must not decide on a request because they entered the supplier's bank details on it."""
    if not request.supplier_account or request.pk is None:
        return set()
    entered = set(
        request.actions.filter(details__changes__has_key="supplier_account").values_list(
            "actor_id", flat=True
        )
    )
    return set(held_back(DECIDE, {ENTER_ACCOUNT: entered})) if entered else set()


# --- At the grant ----------------------------------------------------------------------------------------


def refuse_incompatible_grant(membership: Membership, actor: User) -> None:
    """Raise Conflict ``incompatible_duties`` if somebody would hold two incompatible rights at one place."""
    gained = permissions_of(membership.role)
    rows = [
        duties
        for duties in IncompatibleDuties.objects.filter(is_active=True, at_grant=True)
        if duties.pair & gained
    ]
    if not rows:
        return
    others = [other for other in _others_then(membership) if _meet(membership, other)]
    excepted = set(
        DutyException.objects.in_force().filter(user=membership.user).values_list("duties_id", flat=True)
    )
    for duties in rows:
        together = gained.union(*(permissions_of(other.role) for other in others))
        if duties.pk in excepted or not duties.pair <= together:
            continue
        roles = [membership.get_role_display()]
        if not duties.pair <= gained:
            roles += [
                str(other.get_role_display()) for other in others if duties.pair & permissions_of(other.role)
            ]
        raise Conflict(
            "incompatible_duties",
            f"“{duties.name}”: as {' and '.join(dict.fromkeys(roles))} {membership.user.display_name} would hold both "
            f"“{permission_name(duties.first_permission)}” and “{permission_name(duties.second_permission)}”. Give the "
            "role to somebody else, end the other one, or have an administrator make an exception with an end.",
            extra={"duties_id": duties.pk, "roles": roles},
        )


def _others_then(membership: Membership) -> list[Membership]:
    """The person's other memberships that are in force at some time when this one is."""
    today = clock.today()
    others = Membership.objects.filter(user_id=membership.user_id).exclude(pk=membership.pk)
    others = others.filter(
        Q(valid_to__isnull=True) | Q(valid_to__gt=max(membership.valid_from or today, today))
    )
    if membership.valid_to is not None:
        others = others.filter(Q(valid_from__isnull=True) | Q(valid_from__lt=membership.valid_to))
    return list(others)


def _meet(one: Membership, other: Membership) -> bool:
    """Whether there is a place that both reach."""
    return _reaches(one, other) or _reaches(other, one)


def _reaches(upper: Membership, lower: Membership) -> bool:
    if upper.department_id is not None:
        if lower.department_id is None:
            return False
        if upper.department_id == lower.department_id:
            return True
        return upper.include_descendants and _is_above(
            DepartmentClosure, upper.department_id, lower.department_id
        )
    if upper.entity_id == lower.entity_id:
        return True
    return upper.include_descendants and _is_above(EntityClosure, upper.entity_id, lower.entity_id)


def _is_above(closure: Any, upper: int, lower: int) -> bool:
    return bool(closure.objects.filter(ancestor_id=upper, descendant_id=lower).exists())


def roles_with_both(duties: IncompatibleDuties) -> list[str]:
    """Roles that bring both rights by themselves, in people's words."""
    return [Role(role).label for role in Role.values if duties.pair <= permissions_of(role)]


def holders_of_both(duties: IncompatibleDuties, user: User) -> list[User]:
    """People whom the user may see who hold both rights at one place today, whether excepted or not."""
    rights = {role: duties.pair & permissions_of(role) for role in Role.values}
    wanted = [role for role, some in rights.items() if some]
    by_user: dict[int, list[Membership]] = {}
    held = Membership.objects.in_force().filter(
        role__in=wanted, user__is_active=True, user__is_service_account=False
    )
    for membership in held.filter(user__in=User.objects.visible_to(user).values("pk")):
        by_user.setdefault(membership.user_id, []).append(membership)
    both = [
        pk
        for pk, own in by_user.items()
        if any(
            duties.pair <= rights[one.role]
            or any(duties.pair <= rights[one.role] | rights[two.role] and _meet(one, two) for two in own)
            for one in own
        )
    ]
    return list(User.objects.filter(pk__in=both).order_by("last_name", "username"))
