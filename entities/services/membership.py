"""Memberships: who may act where (ENT-04, ENT-05)."""

import datetime

from django.db import transaction
from django.db.models import Q

from core import clock
from core.access import is_system, require
from core.errors import Conflict, Forbidden
from core.history import record_as
from core.models import User
from core.outbox import publish
from entities.access import STAFF_ROLES, memberships_covering, permissions_of
from entities.grant_checks import check_grant
from entities.models import Department, Entity, Membership, Role
from entities.services.records import check_fields, field_error, save_record

# What an external system may be: it never works in the back-office.
SERVICE_ROLES = frozenset({Role.SERVICE_ACCOUNT, Role.AUDITOR})


@transaction.atomic
def membership_grant(
    *,
    actor: User,
    user: User,
    entity: Entity,
    role: str,
    department: Department | None = None,
    include_descendants: bool = True,
    valid_from: datetime.date | None = None,
    valid_to: datetime.date | None = None,
    reason: str = "",
) -> Membership:
    """Let ``user`` act as ``role`` at an entity, or at one department of it (ENT-04).

    The actor needs ``entities.manage_membership`` there, and every right that the role gives: nobody raises
    others above themselves. A membership that had ended is taken up again. Raises Forbidden ``role_above_own``,
    Invalid ``department_of_other_entity``, ``role_of_service_accounts``, Conflict ``already_granted``, and what
    apps above refuse, such as ``incompatible_duties`` (APR-15).
    """
    place = department or entity
    require(actor, "entities.manage_membership", place)
    membership = Membership.objects.select_for_update(of=("self",)).filter(
        user=user, entity=entity, department=department, role=role
    ).first() or Membership(user=user, entity=entity, department=department, role=role)
    if membership.pk is not None and (membership.valid_to is None or membership.valid_to > clock.today()):
        raise Conflict(
            "already_granted",
            f"{user} is {membership.get_role_display()} there already. Change or end that membership instead.",
            extra={"membership_id": membership.pk},
        )
    membership.include_descendants = include_descendants
    membership.valid_from, membership.valid_to = valid_from, valid_to
    _check(membership)
    _check_not_above(actor, role, place)
    check_grant(membership, actor)
    granted = Conflict("already_granted", f"{user} was given this role by somebody else just now.")
    with record_as(actor, reason):
        save_record(membership, {"membership_once": granted})
        staff_flag_refresh(user)
    _publish("membership.granted", membership)
    return membership


@transaction.atomic
def membership_update(
    *,
    actor: User,
    membership: Membership,
    include_descendants: bool | None = None,
    valid_from: datetime.date | None = None,
    valid_to: datetime.date | None = None,
    reason: str = "",
) -> Membership:
    """Change how far and how long a membership reaches. Another role or place is another membership."""
    locked = _lock_for_change(actor, membership)
    _check_not_above(actor, locked.role, locked.department or locked.entity)
    narrows = include_descendants is False and locked.include_descendants
    ends = valid_to is not None and locked.valid_to is None
    if narrows or ends:
        _check_not_last_administrator(locked)
    widens = (
        (include_descendants is True and not locked.include_descendants)
        or (locked.valid_to is not None and (valid_to is None or valid_to > locked.valid_to))
        or (locked.valid_from is not None and (valid_from is None or valid_from < locked.valid_from))
    )
    if include_descendants is not None:
        locked.include_descendants = include_descendants
    locked.valid_from, locked.valid_to = valid_from, valid_to
    _check(locked)
    if widens:
        check_grant(locked, actor)
    with record_as(actor, reason):
        locked.save()
        staff_flag_refresh(locked.user)
    _publish("membership.updated", locked)
    return locked


@transaction.atomic
def membership_end(
    *, actor: User, membership: Membership, on: datetime.date | None = None, reason: str = ""
) -> Membership | None:
    """End a membership: ``on`` (today) is the first day without it. One that was never in force is deleted (None).

    Raises Conflict ``last_administrator`` for the last one of a root, ``already_ended``.
    """
    locked = _lock_for_change(actor, membership)
    end = on or clock.today()
    if locked.valid_to is not None and locked.valid_to <= end:
        raise Conflict("already_ended", f"The membership ends on {locked.valid_to} already.")
    _check_not_last_administrator(locked)
    user = locked.user
    ended: Membership | None = locked
    with record_as(actor, reason):
        if locked.valid_from is not None and end <= locked.valid_from:
            locked.delete()
            ended = None
        else:
            locked.valid_to = end
            locked.save()
        staff_flag_refresh(user)
    _publish("membership.ended", membership)
    return ended


def membership_appoint_founder(*, actor: User, entity: Entity) -> None:
    """Make whoever founded a root its administrator; a service account keeps the role of its kind."""
    role = Role.SERVICE_ACCOUNT if actor.is_service_account else Role.ADMINISTRATOR
    place = {"user": actor, "entity": entity, "department": None, "role": role}
    membership = Membership.objects.filter(**place).first() or Membership(**place)
    membership.valid_from = membership.valid_to = None
    membership.include_descendants = True
    membership.save()
    staff_flag_refresh(actor)


def staff_flag_refresh(user: User) -> None:
    """Let a person into the back-office while a role of theirs works there, now or later (ENT-05).

    Superusers keep their access, service accounts never get it.
    """
    if user.is_superuser:
        return
    holds = (
        not user.is_service_account
        and Membership.objects.filter(user=user, role__in=STAFF_ROLES)
        .filter(Q(valid_to__isnull=True) | Q(valid_to__gt=clock.today()))
        .exists()
    )
    if user.is_staff != holds:
        user.is_staff = holds
        user.save(update_fields=["is_staff"])


def refuse_last_administrator(user: User) -> None:
    """Core's question before it deactivates somebody: raises Conflict ``last_administrator`` (ENT-05)."""
    held = Membership.objects.in_force().filter(
        user=user, role=Role.ADMINISTRATOR, department__isnull=True, entity__parent__isnull=True
    )
    # The entities first, as above: two administrators who deactivate each other at once are told apart here.
    roots = (
        Entity.objects.select_for_update(no_key=True).filter(pk__in=held.values("entity_id")).order_by("pk")
    )
    list(roots)
    for membership in held.select_related("entity", "user"):
        _check_not_last_administrator(membership)


def grantable_roles(actor: User, place: Entity | Department) -> list[str]:
    """The roles that the actor may give at a place, in the order of the choices."""
    if not actor.has_perm("entities.manage_membership", place):
        return []
    own = _rights_at(actor, place)
    return [role for role in Role.values if own is None or permissions_of(role) <= own]


def _rights_at(actor: User, place: Entity | Department) -> frozenset[str] | None:
    """Every right the actor has at a place; None stands for all of them."""
    if is_system(actor) or actor.is_superuser:
        return None
    held = memberships_covering(actor, place).values_list("role", flat=True)
    return frozenset().union(*(permissions_of(role) for role in held))


def _check_not_above(actor: User, role: str, place: Entity | Department) -> None:
    own = _rights_at(actor, place)
    if own is not None and not permissions_of(role) <= own:
        raise Forbidden(
            "role_above_own",
            f"You cannot give the role {Role(role).label}: it has rights that you do not have here. "
            "Ask an administrator of the entity.",
            extra={"role": role},
        )


def _check(membership: Membership) -> None:
    check_fields(membership)
    department, user = membership.department, membership.user
    if department is not None and department.entity_id != membership.entity_id:
        detail = f"{department} belongs to another entity than {membership.entity}."
        raise field_error("department_id", "department_of_other_entity", detail)
    start, end = membership.valid_from, membership.valid_to
    if start is not None and end is not None and end <= start:
        raise field_error("valid_to", "dates_not_ordered", "valid_to must be later than valid_from.")
    if user.is_service_account and membership.role not in SERVICE_ROLES:
        detail = f"{user} is a service account: it can be Service account or Auditor only."
        raise field_error("role", "role_of_people", detail)
    if not user.is_service_account and membership.role == Role.SERVICE_ACCOUNT:
        detail = f"{user} is a person: the role Service account is for external systems."
        raise field_error("role", "role_of_service_accounts", detail)
    if user.is_system or not user.is_active:
        raise field_error("user_id", "user_inactive", f"{user} is not active. Activate the user first.")


def _lock_for_change(actor: User, membership: Membership) -> Membership:
    require(actor, "entities.manage_membership", membership)
    # The entity first: two administrators who remove each other at once are told apart here.
    Entity.objects.select_for_update(no_key=True).get(pk=membership.entity_id)
    return (
        Membership.objects.select_for_update(of=("self",))
        .select_related("user", "entity", "department")
        .get(pk=membership.pk)
    )


def _check_not_last_administrator(membership: Membership) -> None:
    entity = membership.entity
    if (
        membership.role != Role.ADMINISTRATOR
        or membership.department_id is not None
        or entity.parent_id is not None
    ):
        return
    others = (
        Membership.objects.in_force()
        .filter(entity=entity, department__isnull=True, role=Role.ADMINISTRATOR)
        .filter(valid_to__isnull=True, include_descendants=True, user__is_active=True)
        .exclude(user_id=membership.user_id)
    )
    if not others.exists():
        raise Conflict(
            "last_administrator",
            f"{membership.user} is the last administrator of {entity}. Make somebody else administrator first.",
        )


def _publish(topic: str, membership: Membership) -> None:
    payload = {
        "membership_id": membership.pk,
        "user_id": membership.user_id,
        "entity_id": membership.entity_id,
        "role": str(membership.role),
    }
    publish(topic, payload, key=f"user:{membership.user_id}")
