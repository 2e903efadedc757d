"""What the database itself refuses, whatever code writes (architecture, convention 3; BUD-05, BUD-12, BUD-32)."""

from collections.abc import Callable
from decimal import Decimal

import pytest
from django.db import DatabaseError, connection, transaction
from django.db.models import F

from budgets.models import (
    Budget,
    BudgetAlert,
    BudgetEntry,
    BudgetException,
    BudgetOverride,
    BudgetRevision,
    BudgetTransfer,
    Commitment,
)
from budgets.services.changes import override_propose, revision_propose, transfer_propose
from core import clock
from tests.budgets.builders import NEXT_YEAR, Place
from tests.entities import factories

Break = Callable[[Place, Budget], object]


def of(model: type, **values: object) -> Break:
    return lambda here, budget: model.objects.update(**values)  # type: ignore[attr-defined]


def sql(statement: str) -> Break:
    def run(here: Place, budget: Budget) -> None:
        with connection.cursor() as cursor:
            cursor.execute(statement)

    return run


def transfer(here: Place, budget: Budget, **values: object) -> object:
    other = here.budget()
    made = transfer_propose(
        actor=here.staff, from_budget_id=budget.pk, to_budget_id=other.pk, amount="1", reason="x"
    )
    return BudgetTransfer.objects.filter(pk=made.pk).update(**values)


def revision(here: Place, budget: Budget, **values: object) -> object:
    made = revision_propose(actor=here.staff, budget_id=budget.pk, delta="1", reason="x")
    return BudgetRevision.objects.filter(pk=made.pk).update(**values)


def override(here: Place, budget: Budget, **values: object) -> object:
    made = override_propose(actor=here.staff, budget_id=budget.pk, limit="1", reason="x")
    return BudgetOverride.objects.filter(pk=made.pk).update(**values)


def advisory(here: Place, budget: Budget) -> object:
    return Budget.objects.update(control="advisory", overspend_limit=5, spent_amount=Decimal("105.01"))


def overlap(here: Place, budget: Budget) -> object:
    later = here.next_year(budget)
    return Budget.objects.filter(pk=later.pk).update(
        period_start=NEXT_YEAR[0] - (NEXT_YEAR[1] - NEXT_YEAR[0])
    )


def other_department(here: Place, budget: Budget) -> object:
    foreign = factories.department(factories.entity("Elsewhere"), "X")
    return Budget.objects.update(department=foreign)


def same_entry(here: Place, budget: Budget) -> object:
    entry = BudgetEntry.objects.latest("pk")
    values = {
        "budget": budget, "kind": "charge", "document_amount": 1, "document_currency": "USD",
        "posting_date": entry.posting_date, "description": "x", "actor": here.finance, "created_at": clock.now(),
        "source_type": "a", "source_id": "1",
    }  # fmt: skip
    BudgetEntry.objects.create(**values)
    return BudgetEntry.objects.create(**values)


def same_alert(here: Place, budget: Budget) -> object:
    values = {
        "budget": budget, "level": "alert", "threshold_percent": 80, "utilization_percent": 80, "used_amount": 80,
        "allocated_amount": 100, "created_at": clock.now(),
    }  # fmt: skip
    BudgetAlert.objects.create(**values)
    return BudgetAlert.objects.create(**values)


BREAKS: list[tuple[str, Break]] = [
    ("budget_never_overspent", of(Budget, spent_amount=Decimal("80.01"))),
    ("budget_never_overspent", of(Budget, allocated_amount=Decimal("29.99"))),
    ("budget_within_overspend_limit", advisory),
    ("budget_allocated_not_negative", of(Budget, control="off", allocated_amount=-1)),
    ("budget_committed_not_negative", of(Budget, committed_amount=-1)),
    ("budget_override_not_negative", of(Budget, override_amount=-1)),
    ("budget_overspend_limit_not_negative", of(Budget, overspend_limit=-1)),
    ("budget_over_invoice_not_negative", of(Budget, over_invoice_percent=-1)),
    ("budget_over_invoice_not_negative", of(Budget, over_invoice_amount=-1)),
    ("budget_period_ordered", of(Budget, period_end=F("period_start"))),
    ("budget_no_overlap", overlap),
    ("budgets_department_same_entity", other_department),
    ("append-only|cannot be|rewritten|never", of(BudgetEntry, spent_delta=0)),
    ("append-only|cannot be|rewritten|never", lambda here, budget: BudgetEntry.objects.all()._raw_delete("default")),
    ("append-only|cannot be|rewritten|never", sql("DELETE FROM budget_entries")),
    ("budget_entry_source_once", same_entry),
    ("budget_alert_once_per_crossing", same_alert),
    ("commitment_positive", of(Commitment, amount=0, status="released")),
    ("commitment_not_overused|commitment_open", of(Commitment, consumed_amount=F("amount"), released_amount=1)),
    ("commitment_use_not_negative", of(Commitment, released_amount=-1)),
    ("commitment_open_while", of(Commitment, status="released")),
    ("commitment_open_while", of(Commitment, consumed_amount=F("amount"))),
    ("budget_exception_positive", lambda here, budget: BudgetException.objects.create(
        entry=BudgetEntry.objects.latest("pk"), budget=budget, over_by=0, created_at=clock.now())),
    ("budget_transfer_positive", lambda here, budget: transfer(here, budget, amount=0)),
    ("budget_transfer_between_two", lambda here, budget: transfer(here, budget, to_budget=budget)),
    ("budget_transfer_decided_by_another", lambda here, budget: transfer(here, budget, decided_by=here.staff)),
    ("budget_transfer_owner_is_another",
     lambda here, budget: transfer(here, budget, owner_approved_by=here.staff)),
    ("budget_transfer_finance_is_another",
     lambda here, budget: transfer(here, budget, finance_approved_by=here.staff)),
    ("budget_transfer_finance_is_another", lambda here, budget: transfer(
        here, budget, owner_approved_by=here.finance, finance_approved_by=here.finance)),
    ("budget_transfer_approved_by_owner", lambda here, budget: transfer(here, budget, status="approved")),
    ("budget_revision_changes_something", lambda here, budget: revision(here, budget, delta=0)),
    ("budget_revision_decided_by_another", lambda here, budget: revision(here, budget, decided_by=here.staff)),
    ("budget_override_positive", lambda here, budget: override(here, budget, limit=0)),
    ("budget_override_within_limit", lambda here, budget: override(here, budget, used_amount=Decimal("1.01"))),
    ("budget_override_decided_by_another", lambda here, budget: override(here, budget, decided_by=here.staff)),
]  # fmt: skip


@pytest.mark.parametrize(
    ("guard", "breaking"), BREAKS, ids=[f"{n}-{name}" for n, (name, _) in enumerate(BREAKS)]
)
def test_the_database_refuses(here: Place, guard: str, breaking: Break) -> None:
    budget = here.budget("100.00")
    here.charge(budget, "10.00")
    here.commit(budget, "20.00")
    with pytest.raises(DatabaseError, match=guard), transaction.atomic():
        breaking(here, budget)
