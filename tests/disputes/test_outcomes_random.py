"""Whatever is disputed, credited, paid, refunded and decided in whatever order, the sums hold (DSP-02, DSP-11, DSP-12)."""

import random
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
import time_machine
from django.db.models import Sum

from approvals.services.votes import request_approve, request_reject
from core.access import system_actor
from core.errors import BillingError
from core.models import ExchangeRate
from core.money import quantum
from core.outbox import dispatch_pending
from disputes.models import BillingDispute, DisputeResolution, Outcome, ResolutionType
from disputes.services.ending import dispute_reopen, dispute_withdraw
from disputes.services.proposals import proposal_withdraw
from invoicing.models import BilledItem, CollectionHold, Invoice, InvoiceLine, Refund, Settlement
from invoicing.selectors.settlements import settlement_differences
from invoicing.services.invoice import invoice_void
from invoicing.services.payments import Application, refund_make
from invoicing.services.settlement import cash_received, settlement_reverse, write_off
from tests.disputes.builders import MONDAY, Desk
from tests.disputes.resolving import credit_notes, desk_in, resolve, rule

D = Decimal
SEEDS = range(2)
ACTS = 45
CURRENCIES = {
    "EUR": ("19", ("100", "50", "10.07")),
    "JPY": ("10", ("1000", "501", "33")),
    "KWD": ("5", ("10.005", "4.2", "1.001")),
}
RESOLUTIONS = (
    (ResolutionType.CREDIT, ""),
    (ResolutionType.CREDIT, Outcome.GOODWILL),
    (ResolutionType.REFUND, ""),
    (ResolutionType.REFUND, ""),
    (ResolutionType.ADJUSTMENT, Outcome.WRITE_OFF),
    (ResolutionType.ADJUSTMENT, Outcome.DEBIT_NOTE),
    (ResolutionType.ADJUSTMENT, Outcome.CREDIT_AND_REBILL),
    (ResolutionType.NO_ACTION, ""),
)


class Life:
    """Customers, staff and approvers who act at random on two invoices, by one seed."""

    def __init__(self, desk: Desk, travel: time_machine.Traveller, seed: int) -> None:
        self.desk, self.travel, self.dice = desk, travel, random.Random(seed)
        self.day = MONDAY
        self.currency = desk.payer.currency
        lines = CURRENCIES[self.currency][1]
        self.invoices = [desk.invoice(*lines, currency=self.currency) for _ in range(2)]
        self.outcomes: Counter[str] = Counter()

    def act(self) -> None:
        weights: dict[Callable[[], Any], int] = {
            self.open: 8, self.resolve: 10, self.approve: 12, self.reject: 1, self.take_back: 1, self.withdraw: 1,
            self.reopen: 2, self.credit: 2, self.pay: 4, self.refund: 2, self.write_off: 1, self.reverse: 2,
            self.void: 1, self.deliver: 2, self.wait: 1,
        }  # fmt: skip
        (chosen,) = self.dice.choices(list(weights), list(weights.values()))
        try:
            chosen()
            self.outcomes[chosen.__name__] += 1
        except BillingError as error:
            self.outcomes[f"{chosen.__name__}: {error.code}"] += 1

    # --- Choosing ------------------------------------------------------------------------------------

    def invoice(self) -> Invoice:
        return Invoice.objects.get(pk=self.dice.choice(self.invoices).pk)

    def line(self, invoice: Invoice) -> InvoiceLine:
        return self.dice.choice(list(InvoiceLine.objects.filter(invoice=invoice).order_by("pk")))

    def part(self, amount: Decimal) -> Decimal:
        """Up to a bit more than the amount, often all of it."""
        share = self.dice.choice([D(1), D("0.5"), D("0.3333"), D("0.91"), D("1.05")])
        step = quantum(self.currency)
        return max((amount * share).quantize(step), step)

    def one_of(self, rows: Any) -> Any:
        found = list(rows.order_by("pk"))
        return self.dice.choice(found) if found else None

    # --- Acts ----------------------------------------------------------------------------------------

    def open(self) -> None:
        invoice = self.invoice()
        line = self.line(invoice) if self.dice.random() < 0.75 else None
        whole = line.amount + line.tax_amount if line is not None else invoice.total
        self.desk.open(
            invoice, line=line.line_number if line is not None else None, amount=str(self.part(whole)),
            direction=self.dice.choice(["over"] * 5 + ["under"]),
        )  # fmt: skip

    def resolve(self) -> None:
        dispute = self.one_of(BillingDispute.objects.open())
        if dispute is None:
            return
        kind, outcome = self.dice.choice(RESOLUTIONS)
        amount = None if kind == ResolutionType.NO_ACTION else self.part(dispute.amount)
        resolve(self.desk, dispute, kind, outcome=outcome, amount=amount)

    def approve(self) -> None:
        pending = self.one_of(DisputeResolution.objects.pending())
        if pending is not None:
            voted = request_approve(actor=self.desk.manager, request_id=pending.approval_request_id)
            if voted.effect_error:
                self.outcomes["refused effect"] += 1

    def reject(self) -> None:
        pending = self.one_of(DisputeResolution.objects.pending())
        if pending is not None and self.dice.random() < 0.4:
            request_reject(
                actor=self.desk.manager, request_id=pending.approval_request_id, comment="Not like that"
            )

    def take_back(self) -> None:
        pending = self.one_of(DisputeResolution.objects.pending())
        if pending is not None and self.dice.random() < 0.4:
            proposal_withdraw(actor=self.desk.staff, dispute_id=pending.dispute_id, reason="Think again")

    def withdraw(self) -> None:
        dispute = self.one_of(BillingDispute.objects.open())
        if dispute is not None and self.dice.random() < 0.4:
            dispute_withdraw(actor=self.desk.customer, dispute_id=dispute.pk)

    def reopen(self) -> None:
        dispute = self.one_of(BillingDispute.objects.filter(status__in=["resolved", "closed"]))
        if dispute is not None:
            dispute_reopen(actor=self.desk.customer, dispute_id=dispute.pk, reason="Look again")

    def credit(self) -> None:
        line = self.line(self.invoice())
        left = line.amount + line.tax_amount - line.credited_amount - line.credited_tax
        self.desk.credit(line, str(self.part(left * D("0.4"))))

    def pay(self) -> None:
        invoice = self.invoice()
        named = [Application(invoice.pk)] if self.dice.random() < 0.5 else None
        self.desk.pay(invoice, str(self.part(invoice.total)), applications=named)

    def refund(self) -> None:
        note = self.dice.choice(
            [note for invoice in self.invoices for note in credit_notes(invoice)] or [None]
        )
        if note is not None:
            refund_make(actor=system_actor(), source=note, reason="Asked for")

    def write_off(self) -> None:
        if self.dice.random() < 0.3:
            invoice = self.invoice()
            write_off(
                actor=system_actor(), invoice=invoice, amount=self.part(invoice.open_amount), reason="Small"
            )

    def reverse(self) -> None:
        row = self.one_of(Settlement.objects.filter(reverses__isnull=True))
        if row is not None and self.dice.random() < 0.5:
            settlement_reverse(actor=system_actor(), settlement=row, reason="By mistake")

    def void(self) -> None:
        if sum(self.outcomes.values()) > ACTS * 2 // 3 and self.dice.random() < 0.5:
            invoice_void(actor=system_actor(), invoice=self.invoice(), reason="Wrong")

    def deliver(self) -> None:
        while dispatch_pending().delivered:
            pass

    def wait(self) -> None:
        self.day += timedelta(days=self.dice.randint(0, 1))
        self.travel.move_to(self.day)

    # --- What always holds ---------------------------------------------------------------------------

    def assert_sums(self) -> None:
        assert list(settlement_differences()) == []
        for invoice in Invoice.objects.filter(pk__in=[each.pk for each in self.invoices]):
            notes = sum((note.total for note in credit_notes(invoice)), D(0))
            assert notes <= invoice.total
            for line in InvoiceLine.objects.filter(invoice=invoice):
                assert 0 <= line.credited_amount <= line.amount
                assert 0 <= line.credited_tax <= line.tax_amount
            refunded = Refund.objects.filter(credit_note__corrects=invoice).aggregate(sum=Sum("amount"))[
                "sum"
            ]
            assert (refunded or 0) <= cash_received(invoice)
            holds = CollectionHold.objects.filter(invoice=invoice, released_at__isnull=True)
            disputed = holds.filter(due_date__isnull=True).aggregate(sum=Sum("amount"))["sum"]
            assert invoice.disputed_amount == (disputed or 0)
        for dispute in BillingDispute.objects.select_related("hold"):
            held = dispute.hold is not None and dispute.hold.is_disputed
            assert held == (dispute.is_open and dispute.direction == "over"), dispute.status
            if held:
                assert dispute.hold.amount == dispute.amount
        for resolution in DisputeResolution.objects.filter(status="applied").select_related("credit_note"):
            if resolution.credit_note is not None and resolution.outcome != Outcome.CREDIT_AND_REBILL:
                assert resolution.credit_note.total == resolution.amount
        held_items = BilledItem.objects.filter(released_at__isnull=True, usage_record__isnull=False)
        assert held_items.count() == held_items.values("usage_record").distinct().count()


@pytest.mark.parametrize("currency", CURRENCIES)
@pytest.mark.parametrize("seed", SEEDS)
def test_dsp_11_whatever_happens_the_sums_hold(
    desk: Desk, travel: time_machine.Traveller, currency: str, seed: int
) -> None:
    rule(desk, desk.manager)
    if currency != "EUR":
        ExchangeRate.objects.create(
            base="EUR", quote=currency, rate=D(7), date=MONDAY.date() - timedelta(days=1), source="ECB"
        )
        desk = desk_in(desk, currency, CURRENCIES[currency][0])
    life = Life(desk, travel, seed)
    for _ in range(ACTS):
        life.act()
        life.assert_sums()
    life.deliver()
    life.assert_sums()
    decided = DisputeResolution.objects.filter(status="applied", credit_note__isnull=False)
    assert life.outcomes["open"] and decided.exists(), life.outcomes
