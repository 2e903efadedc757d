"""Two people allocate the same invoice line at once: never more than the line (ALC-01)."""

from datetime import timedelta
from decimal import Decimal

import pytest

from core import clock
from core.clock import month_after
from entities.models import Department
from invoicing.models import InvoiceLineShare
from invoicing.services.consolidation import consolidated_invoice_draft
from invoicing.services.invoice import invoice_issue
from invoicing.services.line_shares import LineSplit, document_shares_apply, line_allocate
from tests.budgets.builders import assert_proven, figures
from tests.concurrency.test_budgets import together
from tests.invoicing.invoices.builders import Group, build_group
from tests.invoicing.shares.conftest import Desk

pytestmark = pytest.mark.concurrency

D = Decimal


def invoiced(group: Group) -> int:
    """The line over 100.00 of unallocated usage of the last month."""
    first = month_after(clock.today().replace(day=1), -1)
    group.use("100.00", group.germany, day=first)
    draft = consolidated_invoice_draft(
        actor=group.manager, payer=group.root, period_start=first, period_end=month_after(first)
    )
    return int(invoice_issue(actor=group.manager, invoice=draft.invoice).lines.get().pk)


def test_alc_01_two_allocations_at_once_never_exceed_the_line() -> None:
    desk = Desk(build_group())
    group = desk.group
    line_id = invoiced(group)
    year = {
        "period_start": clock.today() - timedelta(days=90),
        "period_end": clock.today() + timedelta(days=90),
    }
    budgets = [desk.budget("1000", department, **year) for department in (group.sales, group.research)]

    def allocate(department: Department) -> str:
        split = LineSplit(department=department, percent=D(100))
        line_allocate(actor=group.manager, line_id=line_id, splits=[split], amount=D("60.00"))
        return "allocated"

    outcomes = together(lambda: allocate(group.sales), lambda: allocate(group.research))
    assert sorted(outcomes) == ["allocated", "exceeds_line"]
    assert (
        InvoiceLineShare.objects.get().amount == sum(figures(budget)[2] for budget in budgets) == D("60.00")
    )
    assert_proven()


def test_bud_08_an_event_that_two_workers_deliver_at_once_charges_once() -> None:
    desk = Desk(build_group())
    group = desk.group
    first = month_after(clock.today().replace(day=1), -1)
    year = {"period_start": first, "period_end": clock.today() + timedelta(days=90)}
    budget = desk.budget("1000", group.sales, **year)
    group.use("100.00", department=group.sales, day=first)
    draft = consolidated_invoice_draft(
        actor=group.manager, payer=group.root, period_start=first, period_end=month_after(first)
    )
    invoice = invoice_issue(actor=group.manager, invoice=draft.invoice)

    def deliver() -> str:
        document_shares_apply(invoice_id=invoice.pk)
        return "delivered"

    assert together(deliver, deliver) == ["delivered", "delivered"]
    assert figures(budget)[2] == D("100.00")
    assert_proven()
