"""Two runs of reminders at once with real connections: each document is reminded of once per level (DSP-03)."""

from datetime import date
from decimal import Decimal

import pytest

from core.access import system_actor
from core.models import OutboxEvent
from entities.models import Entity
from invoicing.models import DunnedDocument, DunningNotice
from invoicing.services.dunning import dunning_level_save, dunning_run
from invoicing.services.payments import Application
from tests.concurrency.test_budgets import together
from tests.invoicing.settlement.conftest import Account, make_account

pytestmark = pytest.mark.concurrency

OVERDUE = date(2024, 12, 1)


def overdue() -> Account:
    """Three overdue documents of a payer, reminded of after seven days."""
    account = make_account()
    group = account.group
    Entity.objects.filter(pk=group.root.pk).update(billing_email="pay@example.com")
    dunning_level_save(actor=group.manager, issuer=group.issuer, level=1, days_overdue=7)
    return account


def run() -> int:
    return len(dunning_run(actor=system_actor(), on=OVERDUE))


def test_dsp_03_two_runs_at_once_remind_once() -> None:
    account = overdue()
    for number in range(3):
        account.issued("100", on=date(2024, 10, 1 + number))
    assert sorted(together(run, run, run)) == [0, 0, 1]
    notice = DunningNotice.objects.get()
    assert (notice.amount, notice.documents.count()) == (Decimal("357.00"), 3)
    assert DunnedDocument.objects.count() == 3
    assert OutboxEvent.objects.filter(topic="dunning.notice_made").count() == 1
    assert run() == 0


def test_dsp_03_a_payment_at_once_is_demanded_or_not_but_never_wrongly() -> None:
    account = overdue()
    invoice = account.issued("100", on=date(2024, 10, 1))

    def pay() -> str:
        account.pay("119", applications=[Application(invoice.pk)])
        return "paid"

    made, paid = together(run, pay)
    assert paid == "paid"
    assert DunningNotice.objects.count() == made
    # Whoever came first: a notice demands what was open then, all of it.
    assert [row.demanded_amount for row in DunnedDocument.objects.all()] == [Decimal("119.00")] * made
