"""Reads that chain: what a user may see (ENT-04), and the pieces lists need."""

import datetime
from typing import TYPE_CHECKING, Self

from django.apps import apps
from django.db.models import Exists, OuterRef, Q, QuerySet, Value

from core import clock

if TYPE_CHECKING:
    from core.models import User


def sees_everything(user: "User") -> bool:
    """The system's own jobs, and superusers."""
    return user.is_superuser or user.is_system


def memberships_in_force(user: "User", on: datetime.date | None = None) -> QuerySet:
    """The memberships by which ``user`` acts today (or ``on`` that day)."""
    return apps.get_model("entities", "Membership").objects.filter(user_id=user.pk).in_force(on)


def _entities_covered(user: "User", *, whole_entities_only: bool, permission: str | None) -> QuerySet:
    """Ids of the entities that the user's memberships reach, as a subquery over the closure."""
    from entities.access import roles_granting

    memberships = memberships_in_force(user).filter(entity_id=OuterRef("ancestor_id"))
    if whole_entities_only:
        memberships = memberships.filter(department__isnull=True)
    if permission is not None:
        memberships = memberships.filter(role__in=roles_granting(permission))
    # A membership at one department reaches no other entity, whatever lies below its own.
    memberships = memberships.filter(
        Q(entity_id=OuterRef("descendant_id")) | Q(include_descendants=True, department__isnull=True)
    )
    return (
        apps.get_model("entities", "EntityClosure")
        .objects.filter(Exists(memberships))
        .values("descendant_id")
    )


def entity_ids_visible_to(user: "User", permission: str | None = None) -> QuerySet:
    """Entities the user may read whole: department-bound memberships do not count.

    With ``permission`` only memberships whose role grants it count.
    """
    return _entities_covered(user, whole_entities_only=True, permission=permission)


def department_ids_visible_to(user: "User", permission: str | None = None) -> QuerySet:
    """Departments that a department-bound membership reaches, with those below it where it includes them."""
    from entities.access import roles_granting

    memberships = (
        memberships_in_force(user)
        .filter(department_id=OuterRef("ancestor_id"))
        .filter(Q(department_id=OuterRef("descendant_id")) | Q(include_descendants=True))
    )
    if permission is not None:
        memberships = memberships.filter(role__in=roles_granting(permission))
    return (
        apps.get_model("entities", "DepartmentClosure")
        .objects.filter(Exists(memberships))
        .values("descendant_id")
    )


class EntityScopedQuerySet(QuerySet):
    """For records that belong to an entity as a whole: seen by those who see the whole entity."""

    entity_path = "entity_id"

    def visible_to(self, user: "User", permission: str | None = None) -> Self:
        if sees_everything(user):
            return self
        return self.filter(**{f"{self.entity_path}__in": entity_ids_visible_to(user, permission)})


class DepartmentScopedQuerySet(QuerySet):
    """For records that belong to a department: seen from the entity, or from that department."""

    entity_path = "entity_id"
    department_path = "department_id"

    def visible_to(self, user: "User", permission: str | None = None) -> Self:
        if sees_everything(user):
            return self
        return self.filter(
            Q(**{f"{self.entity_path}__in": entity_ids_visible_to(user, permission)})
            | Q(**{f"{self.department_path}__in": department_ids_visible_to(user, permission)})
        )


class EntityQuerySet(QuerySet):
    def visible_to(self, user: "User", permission: str | None = None) -> Self:
        """Entities the user may name: those seen whole, and the entity of each department seen."""
        if sees_everything(user):
            return self
        return self.filter(pk__in=_entities_covered(user, whole_entities_only=False, permission=permission))

    def seen_whole_by(self, user: "User", permission: str | None = None) -> Self:
        """Entities of which the user sees everything: a membership at one department shows the name only."""
        if sees_everything(user):
            return self
        return self.filter(pk__in=entity_ids_visible_to(user, permission))

    def marked_for(self, user: "User") -> Self:
        """Each with ``seen_whole``: whether the user sees more of it than its name."""
        if sees_everything(user):
            return self.annotate(seen_whole=Value(True))
        whole = entity_ids_visible_to(user).filter(descendant_id=OuterRef("pk"))
        return self.annotate(seen_whole=Exists(whole))

    def descendants_of(self, entity_id: int, *, include_self: bool = True) -> Self:
        found = self.filter(above__ancestor_id=entity_id)
        return found if include_self else found.exclude(pk=entity_id)

    def ancestors_of(self, entity_id: int, *, include_self: bool = False) -> Self:
        """From the root downwards."""
        found = self.filter(below__descendant_id=entity_id).order_by("-below__depth")
        return found if include_self else found.exclude(pk=entity_id)

    def issuers(self) -> Self:
        return self.filter(is_issuer=True, is_active=True)


class EntityLinkQuerySet(EntityScopedQuerySet):
    def in_force(self, on: datetime.date) -> Self:
        return self.filter(Q(valid_from__lte=on), Q(valid_to__isnull=True) | Q(valid_to__gt=on))

    def touching(self, start: datetime.date, end: datetime.date) -> Self:
        """Links in force on some day of ``[start, end)``."""
        return self.filter(Q(valid_from__lt=end), Q(valid_to__isnull=True) | Q(valid_to__gt=start))


class DepartmentQuerySet(DepartmentScopedQuerySet):
    department_path = "pk"

    def descendants_of(self, department_id: int, *, include_self: bool = True) -> Self:
        found = self.filter(above__ancestor_id=department_id)
        return found if include_self else found.exclude(pk=department_id)

    def taking_cost_on(self, day: datetime.date) -> Self:
        return self.filter(Q(is_active=True), Q(closed_on__isnull=True) | Q(closed_on__gt=day))


class MembershipQuerySet(DepartmentScopedQuerySet):
    def in_force(self, on: datetime.date | None = None) -> Self:
        day = on or clock.today()
        return self.filter(
            Q(valid_from__isnull=True) | Q(valid_from__lte=day),
            Q(valid_to__isnull=True) | Q(valid_to__gt=day),
        )


class AllocationRuleQuerySet(EntityScopedQuerySet):
    pass


class AllocationRuleVersionQuerySet(EntityScopedQuerySet):
    entity_path = "rule__entity_id"

    def in_force(self, on: datetime.date) -> Self:
        return self.filter(Q(valid_from__lte=on), Q(valid_to__isnull=True) | Q(valid_to__gt=on))

    def touching(self, start: datetime.date, end: datetime.date | None) -> Self:
        """Versions in force on some day of ``[start, end)``; without ``end`` on some day from ``start``."""
        found = self.filter(Q(valid_to__isnull=True) | Q(valid_to__gt=start))
        return found if end is None else found.filter(valid_from__lt=end)


class AllocationPostingQuerySet(EntityScopedQuerySet):
    def standing(self) -> Self:
        """Acts of allocating that have not been reversed: no reversals, no credits."""
        return self.filter(reverses__isnull=True, credits__isnull=True, reversed_by__isnull=True)


class CostAllocationQuerySet(DepartmentScopedQuerySet):
    def in_period(self, start: datetime.date, end: datetime.date) -> Self:
        """Parts whose period starts within ``[start, end)``."""
        return self.filter(period_start__gte=start, period_start__lt=end)

    def not_reversed(self) -> Self:
        return self.filter(reverses__isnull=True, reversed_by__isnull=True)
