"""Disputes about invoices that become void or are credited elsewhere (DSP-17)."""

import pytest

from approvals.models import ApprovalRequest
from core.access import system_actor
from core.models import OutboxEvent
from core.outbox import dispatch_pending
from disputes.invoice_events import end_disputes_of_credited_lines, end_disputes_of_void_invoice
from disputes.models import BillingDispute
from invoicing.models import CollectionHold, Invoice, Settlement
from invoicing.selectors.settlements import settlement_differences
from invoicing.services.credit_notes import credit_note_issue
from invoicing.services.invoice import invoice_void
from invoicing.services.settlement import settlement_reverse
from tests.disputes.builders import Desk, everything, log, refused
from tests.disputes.resolving import carried_out, credit_notes, proposed, resolve, rule


def deliver() -> None:
    """As the worker does."""
    while dispatch_pending().delivered:
        pass
    assert not OutboxEvent.objects.exclude(last_error="").exists()


def void(invoice: Invoice) -> None:
    invoice_void(actor=system_actor(), invoice=invoice, reason="Wrong address")


def state(dispute: BillingDispute) -> tuple[str, str]:
    now = BillingDispute.objects.get(pk=dispute.pk)
    return now.status, now.end_reason


def nothing_held(invoice: Invoice) -> bool:
    assert list(settlement_differences()) == []
    held = CollectionHold.objects.filter(invoice=invoice, released_at__isnull=True)
    return not held.exists() and Invoice.objects.get(pk=invoice.pk).disputed_amount == 0


def test_dsp_17_a_void_invoice_ends_its_disputes(desk: Desk) -> None:
    rule(desk, desk.manager)
    invoice = desk.invoice()
    other = desk.open()
    disputes = [
        desk.open(invoice, line=1, amount="10"),
        desk.open(invoice, line=2, amount="10"),
        desk.open(invoice, line=3, amount="5", direction="under"),
    ]
    request = proposed(desk, disputes[0])
    void(invoice)
    assert [state(dispute)[0] for dispute in disputes] == ["proposed", "open", "open"]
    deliver()
    assert {state(dispute) for dispute in disputes} == {("moot", f"{invoice} was voided.")}
    assert log(disputes[1])[-1] == "moot"
    assert disputes[1].events.get(kind="moot").is_public
    assert ApprovalRequest.objects.get(pk=request.pk).status == "withdrawn"
    assert disputes[0].resolutions.get().status == "returned"
    assert nothing_held(invoice)
    assert state(other)[0] == "open"
    with refused("dispute_over"):
        resolve(desk, disputes[1], "no_action")


def test_dsp_17_what_is_credited_as_a_whole_elsewhere_is_moot_and_the_rest_is_not(desk: Desk) -> None:
    invoice = desk.invoice()
    first, second = desk.open(invoice, line=1, amount="10"), desk.open(invoice, line=2, amount="10")
    note = desk.credit(desk.line(invoice, 1), "119")
    deliver()
    assert state(first) == ("moot", f"{note} credited all of it.")
    assert state(second) == ("open", "")
    desk.credit(desk.line(invoice, 2), "59.49")
    deliver()
    assert state(second) == ("open", "")
    desk.credit(desk.line(invoice, 2), "0.01")
    deliver()
    assert state(second)[0] == "moot"
    assert nothing_held(invoice)


def test_dsp_17_of_an_invoice_only_when_nothing_is_left(desk: Desk) -> None:
    invoice = desk.invoice()
    dispute = desk.open(invoice, line=None, amount="10")
    desk.credit(desk.line(invoice, 1), "119")
    deliver()
    assert state(dispute) == ("open", "")
    credit_note_issue(actor=system_actor(), invoice=invoice, reason="Goodwill")
    deliver()
    assert state(dispute)[0] == "moot"


def test_dsp_17_where_credits_on_the_invoice_use_it_up_its_lines_are_moot_too(desk: Desk) -> None:
    """119.00 − 59.50: after a credit of 59.50 nothing is owed, though half of the line is not credited."""
    invoice = desk.invoice("100", "-50")
    number = next(line.line_number for line in invoice.lines.all() if line.amount > 0)
    dispute = desk.open(invoice, line=number, amount="10")
    desk.credit(desk.line(invoice, number), "59.50")
    deliver()
    assert state(dispute)[0] == "moot"


def test_dsp_17_the_other_disputes_of_an_invoice_that_is_billed_again(desk: Desk) -> None:
    rule(desk, desk.manager)
    invoice = desk.invoice()
    one, other = desk.open(invoice, line=1, amount="10"), desk.open(invoice, line=2, amount="10")
    resolution = carried_out(desk, one, "adjustment", outcome="credit_and_rebill")
    with refused("exceeds_creditable"):
        resolve(desk, other)
    deliver()
    assert state(one)[0] == "resolved"
    assert state(other) == ("moot", f"{resolution.credit_note} credited all of it.")
    assert nothing_held(invoice)
    assert len(credit_notes(invoice)) == 1


def test_dsp_17_an_own_credit_of_all_resolves_it(desk: Desk) -> None:
    desk.policy(small_claims_amount="1000")
    invoice = desk.invoice()
    dispute = desk.open(invoice, amount="119")
    assert resolve(desk, dispute).status == "applied"
    deliver()
    assert state(dispute) == ("resolved", "")


@pytest.mark.parametrize("how", ["void", "credited"])
def test_int_01_an_event_that_comes_twice_or_late_does_nothing_more(desk: Desk, how: str) -> None:
    invoice = desk.invoice("100")
    dispute = desk.open(invoice, amount="10")
    if how == "void":
        void(invoice)
        consumer = end_disputes_of_void_invoice
    else:
        desk.credit(desk.line(invoice, 1), "119")
        consumer = end_disputes_of_credited_lines
    deliver()
    event = OutboxEvent.objects.filter(
        topic="invoice.voided" if how == "void" else "credit_note.issued"
    ).latest("pk")
    before = everything()
    consumer(event)
    assert everything() == before
    assert state(dispute)[0] == "moot"


def test_int_01_a_credit_note_that_is_void_when_it_is_heard_of_ends_nothing(desk: Desk) -> None:
    invoice = desk.invoice()
    dispute = desk.open(invoice, amount="10")
    note = desk.credit(desk.line(invoice, 1), "119")
    settlement_reverse(
        actor=system_actor(), settlement=Settlement.objects.get(credit_note=note), reason="By mistake"
    )
    void(note)
    deliver()
    assert state(dispute) == ("open", "")
