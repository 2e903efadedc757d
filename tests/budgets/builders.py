"""A department with people and budgets, built through the services, and what tests ask of them."""

import datetime
import itertools
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest

from budgets.models import Budget, BudgetEntry, Commitment
from budgets.services.budget import budget_create
from budgets.services.charges import ChargeLine, budget_charge
from budgets.services.commitments import budget_commit
from budgets.services.ledger import Posting
from budgets.services.proof import ledger_differences
from core.access import system_actor
from core.errors import BillingError
from core.models import ExchangeRate, User
from entities.models import Department, Entity, Role
from tests.entities import factories

TODAY = datetime.date(2026, 6, 15)
YEAR = (datetime.date(2026, 1, 1), datetime.date(2027, 1, 1))
NEXT_YEAR = (datetime.date(2027, 1, 1), datetime.date(2028, 1, 1))
_names = itertools.count(1)


@dataclass
class Place:
    """An entity in USD with a department, a finance manager and a colleague, staff, a department manager."""

    entity: Entity
    department: Department
    finance: User
    colleague: User
    staff: User
    manager: User
    outsider: User

    def budget(self, amount: Any = "100.00", *, actor: User | None = None, **fields: Any) -> Budget:
        """An open annual budget of the department for 2026, 100.00 USD unless told."""
        values: dict[str, Any] = {
            "name": f"Budget {next(_names)}",
            "department": self.department,
            "period_start": YEAR[0],
            "period_end": YEAR[1],
            **fields,
        }
        if values["department"] is None:
            values["entity"] = values.get("entity", self.entity)
        return budget_create(actor=actor or self.finance, allocated_amount=amount, **values)

    def next_year(self, budget: Budget, amount: Any = "100.00", **fields: Any) -> Budget:
        """The budget of the same purpose for 2027."""
        fields = {"name": budget.name, "category": budget.category, **fields}
        return self.budget(amount, period_start=NEXT_YEAR[0], period_end=NEXT_YEAR[1], **fields)

    def charge(self, budget: Budget, amount: Any, *, actor: User | None = None, **fields: Any) -> Posting:
        line = ChargeLine(budget_id=budget.pk, amount=amount, description="Cloud", **fields)
        return budget_charge(actor=actor or self.finance, line=line)

    def commit(self, budget: Budget, amount: Any, *, actor: User | None = None, **fields: Any) -> Commitment:
        fields.setdefault("description", "Laptops")
        return budget_commit(actor=actor or self.finance, budget_id=budget.pk, amount=amount, **fields)


def place(currency: str = "USD") -> Place:
    entity = factories.entity("Contoso", currency=currency)
    department = factories.department(entity, f"D{next(_names)}", "Engineering")
    return Place(
        entity=entity,
        department=department,
        finance=factories.member(entity, Role.FINANCE_MANAGER),
        colleague=factories.member(entity, Role.FINANCE_MANAGER),
        staff=factories.member(entity, Role.FINANCE_STAFF),
        manager=factories.member(entity, Role.DEPARTMENT_MANAGER, department=department),
        outsider=factories.member(factories.entity("Fabrikam"), Role.ADMINISTRATOR),
    )


def figures(budget: Budget) -> tuple[Decimal, Decimal, Decimal, Decimal]:
    """Allocated, committed, spent and available as they are stored."""
    stored = Budget.objects.get(pk=budget.pk)
    return (
        stored.allocated_amount,
        stored.committed_amount,
        stored.spent_amount,
        stored.available_amount,
    )


def money(*amounts: str) -> tuple[Decimal, ...]:
    return tuple(Decimal(amount) for amount in amounts)


def rate(base: str, quote: str, value: str, day: datetime.date = TODAY) -> ExchangeRate:
    return ExchangeRate.objects.create(date=day, base=base, quote=quote, rate=Decimal(value), source="test")


class Refused:
    """``with refused("code") as refusal:`` expects that refusal, and that no budget and no entry has changed."""

    def __init__(self, code: str) -> None:
        self.code = code
        self.error: BillingError | None = None

    def __enter__(self) -> "Refused":
        self.before = _everything()
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> bool:
        if error is None:
            pytest.fail(f"{self.code} was expected; nothing was refused")
        if not isinstance(error, BillingError):
            return False
        assert error.code == self.code, repr(error)
        assert _everything() == self.before
        self.error = error
        return True

    @property
    def extra(self) -> dict[str, Any]:
        assert self.error is not None
        return self.error.extra


def refused(code: str) -> Refused:
    return Refused(code)


def _everything() -> tuple:
    return (
        BudgetEntry.objects.count(),
        list(
            Commitment.objects.order_by("pk").values_list(
                "pk", "status", "amount", "consumed_amount", "released_amount"
            )
        ),
        list(
            Budget.objects.order_by("pk").values_list(
                "pk", "status", "allocated_amount", "committed_amount", "spent_amount", "override_amount"
            )
        ),
    )


def assert_proven() -> None:
    """The ledger proves every counter (BUD-01)."""
    assert [str(each) for each in ledger_differences()] == []


__all__ = [
    "NEXT_YEAR",
    "TODAY",
    "YEAR",
    "Place",
    "assert_proven",
    "figures",
    "money",
    "place",
    "rate",
    "refused",
    "system_actor",
]
