"""What each role may do, and the backend that answers ``user.has_perm`` from memberships (ENT-04, ENT-05).

A right is a Django permission name such as ``invoicing.issue_invoice``. Roles grant rights; memberships say
where. ``has_perm(name)`` asks "anywhere?"; ``has_perm(name, obj)`` asks "there?", by ``obj.access_entity_id``
and ``obj.access_department_id``. Superusers are answered yes by Django before this backend is asked.
"""

import datetime
from collections.abc import Iterable
from functools import cache
from typing import Any

from django.contrib.auth.backends import BaseBackend, ModelBackend
from django.contrib.auth.models import AnonymousUser
from django.db import connection
from django.db.models import Model, Q, QuerySet

from core import clock
from core.history import current
from core.models import User
from entities.models import DepartmentClosure, EntityClosure, Membership, Role
from entities.querysets import entity_ids_visible_to, memberships_in_force
from entities.reach_sql import holds

# Roles whose holders work in the admin.
STAFF_ROLES = frozenset({Role.ADMINISTRATOR, Role.FINANCE_MANAGER, Role.FINANCE_STAFF, Role.AUDITOR})

_HOLDS = f"SELECT {holds('%(user)s::bigint', 'roles', '%(entity)s::bigint', '%(department)s::bigint')}"

_granted: dict[str, set[str]] = {role: set() for role in Role.values}


def grant(permissions: Iterable[str], *, to: Iterable[str]) -> None:
    """Let roles carry permissions. Each app declares its own in its ``roles.py``, loaded when the app is ready."""
    names = frozenset(permissions)
    for role in to:
        _granted[role] |= names
    roles_granting.cache_clear()


def permissions_of(role: str) -> frozenset[str]:
    """The permissions that a role carries."""
    return frozenset(_granted[role])


@cache
def roles_granting(permission: str) -> tuple[str, ...]:
    """The roles that carry ``permission``."""
    return tuple(role for role, granted in _granted.items() if permission in granted)


class PasswordBackend(ModelBackend):
    """Signs people in by password and grants nothing: rights come from memberships alone."""

    def _get_permissions(self, user_obj: User, obj: Model | None, from_name: str) -> set[str]:
        return set()


class MembershipBackend(BaseBackend):
    """Answers permission questions from the memberships in force today; signs nobody in."""

    def has_perm(self, user_obj: User | AnonymousUser, perm: str, obj: Model | None = None) -> bool:
        if not isinstance(user_obj, User) or not user_obj.is_active:
            return False
        roles = roles_granting(perm)
        if not roles:
            return False
        # Records of no entity (exchange rates, users) are ruled by a role held anywhere.
        entity_id = getattr(obj, "access_entity_id", None)
        if obj is None or entity_id is None:
            return not _roles_held(user_obj).isdisjoint(roles)
        return _holds_there(user_obj, roles, entity_id, obj.access_department_id)  # type: ignore[attr-defined]

    def has_module_perms(self, user_obj: User | AnonymousUser, app_label: str) -> bool:
        if not isinstance(user_obj, User) or not user_obj.is_active:
            return False
        prefix = f"{app_label}."
        held = _roles_held(user_obj)
        return any(name.startswith(prefix) for role in held for name in permissions_of(role))


def _holds_there(user: User, roles: Iterable[str], entity_id: int, department_id: int | None) -> bool:
    """Whether a membership in force with one of the roles reaches the place.

    Every service asks it: as SQL it takes a tenth of the time that a queryset takes to be built.
    """
    place = {"entity": entity_id, "department": department_id}
    with connection.cursor() as cursor:
        cursor.execute(_HOLDS, place | {"user": user.pk, "roles": list(roles), "today": clock.today()})
        return bool(cursor.fetchone()[0])


def _roles_held(user: User) -> frozenset[str]:
    """The roles that the user holds anywhere today; while a page is only read, they are asked for once.

    The navigation of a page asks some eighty times. A request that writes asks anew each time, because it may
    change who holds what.
    """
    request = current().request
    if request is None or request.method not in ("GET", "HEAD"):
        return _roles_now(user)
    known: dict[int, frozenset[str]] = request.__dict__.setdefault("_roles_held", {})
    if user.pk not in known:
        known[user.pk] = _roles_now(user)
    return known[user.pk]


def _roles_now(user: User) -> frozenset[str]:
    return frozenset(memberships_in_force(user).values_list("role", flat=True))


def _covers(entity_id: int, department_id: int | None) -> Q:
    """Memberships that reach the entity as a whole or, given one, the department."""
    entities_above = EntityClosure.objects.filter(descendant_id=entity_id).values("ancestor_id")
    reaches = Q(department__isnull=True) & (
        Q(entity_id=entity_id) | Q(include_descendants=True, entity_id__in=entities_above)
    )
    if department_id is not None:
        departments_above = DepartmentClosure.objects.filter(descendant_id=department_id).values(
            "ancestor_id"
        )
        reaches |= Q(department_id=department_id) | Q(
            include_descendants=True, department_id__in=departments_above
        )
    return reaches


def memberships_covering(user: User, place: Any) -> QuerySet[Membership]:
    """The user's memberships in force that reach a record which says where it is (``access_entity_id``)."""
    return memberships_in_force(user).filter(_covers(place.access_entity_id, place.access_department_id))


def holders_of_role(role: str, place: Any) -> QuerySet[User]:
    """Active people who act in that role where a record is (``access_entity_id``, ``access_department_id``)."""
    memberships = Membership.objects.in_force().filter(role=role)
    reaching = memberships.filter(_covers(place.access_entity_id, place.access_department_id))
    return User.objects.filter(
        is_active=True, is_service_account=False, pk__in=reaching.values("user_id")
    ).order_by("pk")


def holders_among(user_ids: Iterable[int], permission: str, place: Any) -> set[int]:
    """Those of the users who are active people with the right where a record is; anywhere if it is None (one query)."""
    reaching = (
        Membership.objects.in_force()
        .filter(role__in=roles_granting(permission), user_id__in=set(user_ids))
        .filter(user__is_active=True, user__is_service_account=False)
    )
    if place is not None:
        reaching = reaching.filter(_covers(place.access_entity_id, place.access_department_id))
    return set(reaching.values_list("user_id", flat=True))


def users_shown_to(users: Any, actor: User) -> Any:
    """Which users an actor may name: those who act somewhere in the actor's entities, and those the actor made.

    Counts where the actor's role may see users. Somebody whom nobody has given a membership yet is known to
    whoever created them only.
    """
    entities = entity_ids_visible_to(actor, "core.view_user")
    acting_there = Membership.objects.filter(entity_id__in=entities).values("user_id")
    created = User.history.filter(history_type="+", history_user_id=actor.pk).values("id")
    unplaced = Q(pk__in=created) & ~Q(pk__in=Membership.objects.values("user_id"))
    return users.filter(Q(pk__in=acting_there) | unplaced).exclude(is_system=True)


def role_names_granting(permission: str) -> list[str]:
    """The roles that carry the right in people's words, for the sentence of a refusal."""
    return [Role(role).label for role in roles_granting(permission)]


def users_holding(permission: str, *, entity_id: int, on: datetime.date | None = None) -> list[User]:
    """Active people who have ``permission`` at the entity, for notifications."""
    memberships = (
        Membership.objects.in_force(on)
        .filter(role__in=roles_granting(permission))
        .filter(_covers(entity_id, None))
    )
    return list(User.objects.filter(is_active=True, pk__in=memberships.values("user_id")).order_by("pk"))
