"""What is demanded, paid and shown while an amount is disputed, and after it is decided (DSP-03, DSP-14)."""

from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal

import pytest
import time_machine

from core.access import system_actor
from disputes.models import BillingDispute
from disputes.services.ending import dispute_withdraw
from invoicing.models import DunningNotice, Invoice
from invoicing.selectors.receivables import AgeingRow, receivables_ageing
from invoicing.selectors.settlements import settlement_differences
from invoicing.services.dunning import dunning_level_save, dunning_plan, dunning_run
from invoicing.services.payments import Application, payment_apply
from tests.disputes.builders import MONDAY, Desk
from tests.disputes.resolving import carried_out, resolve, rule

D = Decimal
APRIL_10 = MONDAY + timedelta(days=39)
"""The invoices of 2 March are due on 1 April."""


@pytest.fixture
def desk(desk: Desk) -> Iterator[Desk]:
    """Reminders 7 and 21 days after the due date; the manager decides."""
    for level, days in ((1, 7), (2, 21)):
        dunning_level_save(actor=desk.manager, issuer=desk.issuer, level=level, days_overdue=days)
    rule(desk, desk.manager)
    yield desk
    assert list(settlement_differences()) == []


def demanded(on: date) -> list[tuple[int, date, Decimal]]:
    """What would be demanded on that day: at which level, as due since when, how much."""
    return [
        (planned.level.level, demand.due_date, demand.demanded)
        for planned in dunning_plan(actor=system_actor(), on=on)
        for demand in planned.demands
    ]


def ageing(desk: Desk) -> AgeingRow:
    (row,) = receivables_ageing(user=desk.manager, today=APRIL_10.date(), on=None)
    return row


def test_dsp_03_what_is_disputed_is_not_demanded_and_the_rest_is(desk: Desk) -> None:
    desk.open(desk.invoice(), amount="59.50")
    assert demanded(date(2026, 4, 10)) == [(1, date(2026, 4, 1), D("130.9"))]
    row = ageing(desk)
    assert (row.open, row.overdue, row.disputed) == (D("190.4"), D("190.4"), D("59.5"))
    desk.open(desk.invoice("50"), amount="59.50")
    assert [amount for _, _, amount in demanded(date(2026, 4, 10))] == [D("130.9")]


@pytest.mark.parametrize("granted", ["0", "19.50"])
def test_dsp_14_what_is_not_granted_is_demanded_from_its_new_day(
    desk: Desk, travel: time_machine.Traveller, granted: str
) -> None:
    """Decided on 10 April: 14 days later it is due, and 7 days after that it is reminded of."""
    dispute = desk.open(desk.invoice(), amount="59.50")
    travel.move_to(APRIL_10)
    if D(granted):
        carried_out(desk, dispute, amount=granted)
    else:
        resolve(desk, dispute, "no_action")
    rest = D("59.5") - D(granted)
    assert ageing(desk).disputed == 0
    assert demanded(date(2026, 4, 10)) == [(1, date(2026, 4, 1), D("130.9"))]
    (notice,) = dunning_run(actor=system_actor(), on=date(2026, 4, 10))
    assert DunningNotice.objects.get() == notice
    assert demanded(date(2026, 4, 21)) == []
    assert demanded(date(2026, 4, 30)) == [(2, date(2026, 4, 1), D("130.9"))]
    assert sorted(demanded(date(2026, 5, 1))) == [
        (1, date(2026, 4, 24), rest), (2, date(2026, 4, 1), D("130.9")),
    ]  # fmt: skip


def test_dsp_03_rejected_with_the_original_date_is_demanded_at_once(
    desk: Desk, travel: time_machine.Traveller
) -> None:
    desk.policy(late_fees_from_original_date=True)
    dispute = desk.open(desk.invoice(), amount="59.50")
    travel.move_to(APRIL_10)
    assert demanded(APRIL_10.date()) == [(1, date(2026, 4, 1), D("130.9"))]
    resolve(desk, dispute, "no_action")
    assert demanded(APRIL_10.date()) == [(1, date(2026, 4, 1), D("190.4"))]


def test_dsp_08_what_is_given_up_is_demanded_as_before(desk: Desk) -> None:
    dispute = desk.open(desk.invoice(), amount="59.50")
    dispute_withdraw(actor=desk.customer, dispute_id=dispute.pk)
    assert demanded(date(2026, 4, 10)) == [(1, date(2026, 4, 1), D("190.4"))]


def test_dsp_03_payments_go_to_what_is_not_disputed_first(desk: Desk) -> None:
    invoice = desk.invoice()
    dispute = desk.open(invoice, amount="59.50")
    payment = desk.pay(invoice, "190.40")
    assert (payment.applied_amount, payment.unapplied_amount) == (D("130.9"), D("59.5"))
    assert Invoice.objects.get().status == "partially_paid"
    assert demanded(date(2026, 4, 10)) == []
    # Once it is rejected the balance settles it.
    resolve(desk, dispute, "no_action")
    assert payment_apply(actor=system_actor(), payment=payment).unapplied_amount == 0
    assert Invoice.objects.get().status == "paid"


def test_dsp_03_who_pays_what_is_disputed_may_and_the_dispute_goes_on(desk: Desk) -> None:
    invoice = desk.invoice()
    dispute = desk.open(invoice, amount="59.50")
    payment = desk.pay(invoice, "190.40", applications=[Application(invoice.pk)])
    assert payment.unapplied_amount == 0
    paid = Invoice.objects.get()
    assert (paid.status, paid.disputed_amount) == ("paid", D("59.5"))
    assert BillingDispute.objects.get().status == "open"
    resolution = carried_out(desk, dispute, "refund")
    assert resolution.refund is not None and resolution.refund.amount == D("59.5")
    assert Invoice.objects.get(pk=invoice.pk).disputed_amount == 0
