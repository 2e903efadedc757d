"""October 2024: September can be invoiced, and the year's budgets are open."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
import time_machine

from budgets.models import Budget
from budgets.services.budget import budget_create
from core.outbox import dispatch_pending
from entities.models import Department
from entities.services.allocation import cost_allocate
from invoicing.models import Invoice, InvoiceLine, InvoiceLineShare
from invoicing.services.consolidation import consolidated_invoice_draft
from invoicing.services.invoice import invoice_issue
from invoicing.services.line_shares import LineSplit, line_allocate
from tests.budgets.builders import assert_proven
from tests.invoicing.invoices.builders import SEPTEMBER, Group, build_group

YEAR = (date(2024, 1, 1), date(2025, 1, 1))
_names = itertools.count(1)


@dataclass
class Desk:
    """The finance manager's desk: a group whose departments have budgets, and invoices of its root for September."""

    group: Group

    def budget(self, amount: str, department: Department | None = None, **fields: Any) -> Budget:
        """An open budget for 2024 in USD, of the sales department unless told."""
        values: dict[str, Any] = {"period_start": YEAR[0], "period_end": YEAR[1], "currency": "USD", **fields}
        return budget_create(
            actor=self.group.manager,
            name=f"Budget {next(_names)}",
            department=department or self.group.sales,
            allocated_amount=amount,
            **values,
        )

    def allocation(self, amount: str, department: Department | None = None) -> None:
        """A billable cost of September, in USD."""
        cost_allocate(
            actor=self.group.manager,
            department=department or self.group.sales,
            amount=Decimal(amount),
            currency="USD",
            description="Desks",
            period_start=SEPTEMBER[0],
            period_end=SEPTEMBER[1],
            billable=True,
        )

    def issued(self) -> Invoice:
        """The invoice of September over all that is there, issued; its events wait."""
        draft = consolidated_invoice_draft(
            actor=self.group.manager,
            payer=self.group.root,
            period_start=SEPTEMBER[0],
            period_end=SEPTEMBER[1],
        )
        return invoice_issue(actor=self.group.manager, invoice=draft.invoice)

    def line(self, amount: str) -> InvoiceLine:
        """The only line, over usage of Germany that names no department, of an issued invoice."""
        self.group.use(amount, self.group.germany)
        return self.issued().lines.get()

    def allocate(self, line: InvoiceLine, *splits: LineSplit, **fields: Any) -> list[InvoiceLineShare]:
        return line_allocate(
            actor=fields.pop("actor", self.group.manager), line_id=line.pk, splits=splits, **fields
        )

    def halves(self, line: InvoiceLine, **fields: Any) -> list[InvoiceLineShare]:
        return self.allocate(
            line, self.part(self.group.sales, ratio=1), self.part(self.group.research, ratio=1), **fields
        )

    @staticmethod
    def part(department: Department, **fields: Any) -> LineSplit:
        weights = {
            key: Decimal(value) for key, value in fields.items() if key in ("percent", "amount", "ratio")
        }
        return LineSplit(department=department, **{**fields, **weights})

    @staticmethod
    def deliver() -> None:
        """Everybody concerned has the events."""
        assert dispatch_pending().failed == 0


@pytest.fixture
def desk(db: None) -> Iterator[Desk]:
    """At the end of every test the ledger is proven (BUD-01)."""
    with time_machine.travel("2024-10-05T12:00:00Z", tick=False):
        yield Desk(build_group())
    assert_proven()
