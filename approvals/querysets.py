"""Reads that chain, of requests, tasks and what rules them."""

import datetime
from typing import TYPE_CHECKING, Self

from django.apps import apps
from django.contrib.postgres.fields import ArrayField
from django.db.models import CharField, Exists, Expression, Func, OuterRef, Q, QuerySet, Value

from core import clock
from entities.querysets import (
    DepartmentScopedQuerySet,
    department_ids_visible_to,
    entity_ids_visible_to,
    sees_everything,
)

if TYPE_CHECKING:
    from core.models import User


class _ArrayOf(Func):
    """ARRAY[expression] of texts, for containment tests."""

    template = "ARRAY[%(expressions)s]::varchar[]"
    output_field = ArrayField(CharField())


class ApprovalRequestQuerySet(DepartmentScopedQuerySet):
    def visible_to(self, user: "User", permission: str | None = None) -> Self:
        """Requests of the places that the user sees whole, one's own, and those one is or was asked about."""
        if sees_everything(user):
            return self
        permission = permission or "approvals.view_approvalrequest"
        stood_for = (
            apps.get_model("approvals", "Delegation")
            .objects.in_force()
            .filter(delegate_id=user.pk, delegator_id=OuterRef("approver_id"))
            .reaching(
                request_type=OuterRef("request__request_type"),
                department_id=OuterRef("request__department_id"),
            )
        )
        delegators = (
            apps.get_model("approvals", "Delegation")
            .objects.in_force()
            .filter(delegate_id=user.pk)
            .values("delegator_id")
        )
        # One subquery for each way of being asked, so that each goes by an index of its own.
        tasks = apps.get_model("approvals", "ApprovalTask").objects.exclude(status="waiting")
        asked, acted, stands_in = (
            found.values("request_id")
            for found in (
                tasks.filter(approver_id=user.pk),
                tasks.filter(acted_by_id=user.pk),
                tasks.filter(approver_id__in=delegators).filter(Exists(stood_for)),
            )
        )
        return self.filter(
            Q(entity_id__in=entity_ids_visible_to(user, permission))
            | Q(department_id__in=department_ids_visible_to(user, permission))
            | Q(requester_id=user.pk)
            | Q(created_by_id=user.pk)
            | Q(pk__in=asked)
            | Q(pk__in=acted)
            | Q(pk__in=stands_in)
        )

    def open(self) -> Self:
        return self.filter(status__in=["pending", "blocked", "changes_requested"])

    def overdue_at(self, moment: datetime.datetime) -> Self:
        """Open past their expiry (APR-20)."""
        return self.open().filter(expires_at__lte=moment)


class OfRequestQuerySet(QuerySet):
    """For rows that belong to a request: seen by whoever sees it."""

    def visible_to(self, user: "User", permission: str | None = None) -> Self:
        if sees_everything(user):
            return self
        requests = apps.get_model("approvals", "ApprovalRequest").objects.visible_to(user, permission)
        return self.filter(request_id__in=requests.values("pk"))


class ApprovalStepQuerySet(OfRequestQuerySet):
    def due_to_escalate(self, moment: datetime.datetime) -> Self:
        return self.filter(status="open", escalates_at__lte=moment)


class ApprovalTaskQuerySet(OfRequestQuerySet):
    def open(self) -> Self:
        """Waiting for somebody's decision now."""
        return self.filter(status="open", request__status="pending")

    def waiting_for(self, user: "User", at: datetime.datetime | None = None) -> Self:
        """What the user may decide now: their own tasks, and those of whom they stand for (APR-18).

        A delegation narrows itself to types, cost centres and an amount; nobody decides on what they asked for,
        entered, changed or are paid by (APR-13), nor twice at one level (APR-07).
        """
        moment = at or clock.now()
        delegations = (
            apps.get_model("approvals", "Delegation")
            .objects.in_force(moment)
            .filter(delegate_id=user.pk, delegator_id=OuterRef("approver_id"))
            .filter(
                # In another currency the vote itself compares, at the rate of its day.
                Q(max_amount__isnull=True)
                | ~Q(currency=OuterRef("request__base_currency"))
                | Q(max_amount__gte=OuterRef("request__base_amount"))
            )
            .reaching(
                request_type=OuterRef("request__request_type"),
                department_id=OuterRef("request__department_id"),
            )
        )
        standing_in = Exists(delegations) & ~Q(origin="delegated")
        voted = apps.get_model("approvals", "ApprovalTask").objects.filter(
            step_id=OuterRef("step_id"), acted_by_id=user.pk, status__in=["approved", "rejected"]
        )
        own = Q()
        for name in ("requester", "created_by", "edited_by", "payee"):
            own |= Q(**{f"request__{name}_id": user.pk})
        return (
            self.open()
            .filter(Q(approver_id=user.pk) | standing_in)
            .filter(Q(request__expires_at__isnull=True) | Q(request__expires_at__gt=moment))
            .exclude(own)
            .exclude(Exists(voted))
        )


class ApprovalRuleQuerySet(QuerySet):
    def visible_to(self, user: "User", permission: str | None = None) -> Self:
        """Rules of the entities one sees, and those that hold everywhere."""
        if sees_everything(user):
            return self
        return self.filter(Q(entity__isnull=True) | Q(entity_id__in=entity_ids_visible_to(user, permission)))

    def in_force(self, on: datetime.date) -> Self:
        return self.filter(
            Q(is_active=True),
            Q(valid_from__isnull=True) | Q(valid_from__lte=on),
            Q(valid_to__isnull=True) | Q(valid_to__gt=on),
        )

    def applying_to(
        self, *, request_type: str, entity_id: int, department_id: int | None, currency: str
    ) -> Self:
        """Rules for that type, at the entity or above it, at the department or above it (APR-01)."""
        entities = apps.get_model("entities", "EntityClosure").objects.filter(descendant_id=entity_id)
        departments = apps.get_model("entities", "DepartmentClosure").objects.filter(
            descendant_id=department_id
        )
        return self.filter(
            Q(request_type__in=["", request_type]),
            Q(currency=currency),
            Q(entity__isnull=True) | Q(entity_id__in=entities.values("ancestor_id")),
            Q(department__isnull=True) | Q(department_id__in=departments.values("ancestor_id")),
        )


class ApprovalLevelQuerySet(QuerySet):
    def visible_to(self, user: "User", permission: str | None = None) -> Self:
        rules = apps.get_model("approvals", "ApprovalRule").objects.visible_to(user, permission)
        return self if sees_everything(user) else self.filter(rule_id__in=rules.values("pk"))


class DelegationQuerySet(QuerySet):
    def visible_to(self, user: "User", permission: str | None = None) -> Self:
        """One's own, given and held; those of people one may see, for who looks after delegations."""
        if sees_everything(user):
            return self
        own = Q(delegator_id=user.pk) | Q(delegate_id=user.pk)
        if user.has_perm("approvals.view_delegation"):
            people = apps.get_model("core", "User").objects.visible_to(user).values("pk")
            own |= Q(delegator_id__in=people)
        return self.filter(own)

    def in_force(self, at: datetime.datetime | None = None) -> Self:
        moment = at or clock.now()
        return self.filter(valid_from__lte=moment, valid_to__gt=moment, ended_at__isnull=True)

    def touching(self, start: datetime.datetime, end: datetime.datetime) -> Self:
        """In force at some moment of ``[start, end)``."""
        return self.filter(valid_from__lt=end, valid_to__gt=start, ended_at__isnull=True)

    def reaching(
        self, *, request_type: str | Expression | OuterRef, department_id: int | OuterRef | None
    ) -> Self:
        """Those that cover the type, and the cost centre with all below the named ones."""
        above = (
            apps.get_model("entities", "DepartmentClosure")
            .objects.filter(descendant_id=_outer(department_id))
            .values("ancestor_id")
        )
        typed = Value(request_type) if isinstance(request_type, str) else request_type
        delegation = apps.get_model("approvals", "Delegation")
        named = delegation.departments.through.objects.filter(delegation_id=OuterRef("pk"))
        return self.filter(
            Q(request_types=[]) | Q(request_types__contains=_ArrayOf(typed)),
            ~Exists(named) | Exists(named.filter(department_id__in=above)),
        )


def _outer(value: int | OuterRef | None) -> int | OuterRef | None:
    """The same reference, seen from two queries further inside."""
    return OuterRef(OuterRef(value)) if isinstance(value, OuterRef) else value


class AuthorityLimitQuerySet(QuerySet):
    def visible_to(self, user: "User", permission: str | None = None) -> Self:
        if sees_everything(user):
            return self
        return self.filter(Q(entity__isnull=True) | Q(entity_id__in=entity_ids_visible_to(user, permission)))


class DutyExceptionQuerySet(QuerySet):
    def visible_to(self, user: "User", permission: str | None = None) -> Self:
        """Those of people one may see."""
        if sees_everything(user):
            return self
        people = apps.get_model("core", "User").objects.visible_to(user).values("pk")
        return self.filter(user_id__in=people)

    def in_force(self, on: datetime.date | None = None) -> Self:
        day = on or clock.today()
        return self.filter(valid_from__lte=day, valid_to__gt=day)
