"""A department whose requests have somebody to decide them, built through the services."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from approvals.models import ApprovalAction, ApprovalRequest, ApprovalRule, ApprovalTask, TaskStatus
from approvals.services.requests import request_submit
from approvals.services.rules import LevelTerms, approval_rule_create
from approvals.services.votes import request_approve
from budgets.models import Budget
from core.errors import BillingError
from core.models import OutboxEvent, User
from entities.models import Role
from tests.budgets.builders import Place, place
from tests.entities import factories

ROLE_LEVEL = LevelTerms(settings={"role": Role.APPROVER})


def people(*users: User, required: int | None = 1, **settings: Any) -> LevelTerms:
    """A level of named people."""
    kind = settings.pop("approver_kind", "users")
    return LevelTerms(approver_kind=kind, users=users, required_approvals=required, settings=settings)


@dataclass
class House:
    """A place of budgets, with approvers A to D, their chief, and a requester who only asks."""

    place: Place
    anna: User
    ben: User
    cleo: User
    dan: User
    chief: User
    asker: User

    def rule(self, *levels: LevelTerms, **fields: Any) -> ApprovalRule:
        """A rule for everything at the entity, unless told."""
        values = {"name": "Purchases", "currency": "USD", "entity": self.place.entity, **fields}
        if not levels and not values.get("auto_approve"):
            levels = (people(self.anna),)
        return approval_rule_create(actor=self.place.finance, levels=levels, **values)

    def ask(self, amount: Any = "100.00", *, actor: User | None = None, **fields: Any) -> ApprovalRequest:
        """A submitted purchase of the department."""
        values: dict[str, Any] = {"request_type": "purchase", "title": "Laptops", **fields}
        if not {"budget_id", "department_id", "entity_id"} & set(values):
            values["department_id"] = self.place.department.pk
        return request_submit(actor=actor or self.asker, amount=amount, **values)

    def approve(self, request: ApprovalRequest, *voters: User) -> ApprovalRequest:
        """Each of them approves in turn."""
        for voter in voters:
            request = request_approve(actor=voter, request_id=request.pk)
        return request

    def again(self, request: ApprovalRequest) -> ApprovalRequest:
        """As it is stored now: a protected status is never refreshed in place."""
        return ApprovalRequest.objects.get(pk=request.pk)


def house() -> House:
    where = place()
    entity = where.entity
    chief = factories.member(entity, Role.APPROVER)
    anna, ben, cleo, dan = (factories.member(entity, Role.APPROVER) for _ in range(4))
    for each in (anna, ben, cleo, dan):
        each.manager = chief
        each.save()
    asker = factories.member(entity, Role.DEPARTMENT_MANAGER, department=where.department)
    return House(where, anna, ben, cleo, dan, chief, asker)


def asked(request: ApprovalRequest) -> list[str]:
    """User names of those who are asked now."""
    open_tasks = request.tasks.filter(status=TaskStatus.OPEN).order_by("approver__username")
    return [task.approver.username for task in open_tasks]


def trail(request: ApprovalRequest) -> list[str]:
    """The kinds of what happened, in order."""
    return list(request.actions.order_by("id").values_list("kind", flat=True))


def waiting_on(request: ApprovalRequest) -> set[User]:
    """The people who are asked now."""
    return {task.approver for task in request.tasks.filter(status=TaskStatus.OPEN).select_related("approver")}


@contextlib.contextmanager
def refused(code: str) -> Iterator[pytest.ExceptionInfo[BillingError]]:
    """Expect that refusal, and that no request, task, trail, rule or budget has changed."""
    before = _everything()
    with pytest.raises(BillingError) as caught:
        yield caught
    assert caught.value.code == code, repr(caught.value)
    assert _everything() == before


def _everything() -> list[list[tuple[Any, ...]]]:
    return [
        list(
            ApprovalRequest.objects.order_by("pk").values_list("pk", "status", "round", "amount", "version")
        ),
        list(ApprovalTask.objects.order_by("pk").values_list("pk", "status", "acted_by_id")),
        list(ApprovalRule.objects.order_by("pk").values_list("pk", "amount_from", "amount_to", "version")),
        list(Budget.objects.order_by("pk").values_list("pk", "committed_amount", "spent_amount")),
        [(ApprovalAction.objects.count(), OutboxEvent.objects.count())],
    ]
