"""Issued invoices of a payer, on the days that a test names."""

from collections.abc import Callable
from datetime import date, timedelta

import pytest

from invoicing.models import Invoice
from invoicing.services.consolidation import consolidated_invoice_draft
from invoicing.services.invoice import invoice_issue
from tests.invoicing.invoices.builders import Group, build_group

Bill = Callable[..., Invoice]


@pytest.fixture
def group(db: None) -> Group:
    return build_group()


@pytest.fixture
def bill(group: Group) -> Bill:
    """``bill("100", date(2024, 10, 5))``: an invoice over one charge, due 30 days after that day.

    Each is of a later day of the group's life, as the series of numbers demands.
    """
    days = iter(date(2024, 9, 1) + timedelta(days=number) for number in range(28))

    def make(amount: str, issued: date) -> Invoice:
        day = next(days)
        group.use(amount, day=day)
        draft = consolidated_invoice_draft(
            actor=group.manager, payer=group.root, period_start=day, period_end=day + timedelta(days=1)
        )
        return invoice_issue(actor=group.manager, invoice=draft.invoice, issue_date=issued)

    return make
