"""Opening disputes (DSP-01 to DSP-03, DSP-05)."""

from datetime import date, timedelta
from decimal import Decimal

import pytest
import time_machine

from core.access import system_actor
from disputes.models import BillingDispute, DisputeComment, DisputeEvent
from disputes.services.opening import dispute_open
from invoicing.models import Invoice
from invoicing.services.credit_notes import credit_note_issue
from invoicing.services.invoice import invoice_void
from tests.disputes.builders import MONDAY, Desk, berlin, log, refused, round_now

D = Decimal


def disputed(invoice: Invoice) -> Decimal:
    return Invoice.objects.get(pk=invoice.pk).disputed_amount


def test_dsp_01_a_line_is_disputed_and_its_amount_held_back(desk: Desk) -> None:
    invoice = desk.invoice("100", "50")
    dispute = desk.open(invoice, line=1, amount="119.00", severity="high", customer_reference="PO 7")
    stored = desk.again(dispute)
    assert (stored.status, stored.amount, stored.currency) == ("open", D("119"), "EUR")
    assert (stored.issuer_id, stored.entity_id, stored.department_id) == (
        desk.issuer.pk,
        desk.payer.pk,
        desk.sales.pk,
    )
    assert (stored.opened_by_id, stored.opened_at) == (desk.customer.pk, MONDAY)
    assert stored.number == f"D-{stored.pk:06d}" and stored.customer_reference == "PO 7"
    assert log(dispute) == ["opened"]
    assert disputed(invoice) == D("119.00")
    assert stored.hold is not None and (stored.hold.amount, stored.hold.reference) == (
        D("119"),
        stored.number,
    )


def test_dsp_01_at_most_what_the_line_still_has_including_tax(desk: Desk) -> None:
    invoice = desk.invoice("100", "50")
    desk.credit(desk.line(invoice), "19.00")
    with refused("hold_exceeds_line"):
        desk.open(invoice, line=1, amount="100.01")
    desk.open(invoice, line=1, amount="100.00")


def test_dsp_01_at_most_what_the_invoice_still_has(desk: Desk) -> None:
    invoice = desk.invoice("100", "50")
    with refused("hold_exceeds_invoice"):
        desk.open(invoice, line=None, amount="178.51")
    desk.open(invoice, line=None, amount="178.50")


@pytest.mark.parametrize(
    ("amount", "code"),
    [("0", "amount_not_positive"), ("-1", "amount_not_positive"), ("1.001", "amount_too_precise")],
)
def test_dsp_01_amounts_that_are_none(desk: Desk, amount: str, code: str) -> None:
    invoice = desk.invoice()
    with refused(code):
        desk.open(invoice, amount=amount)


def test_dsp_01_a_reason_is_given(desk: Desk) -> None:
    invoice = desk.invoice()
    with refused("reason_required"):
        desk.open(invoice, reason="  ")


def test_dsp_01_neither_drafts_nor_void_invoices_nor_credit_notes(desk: Desk) -> None:
    invoice = desk.invoice()
    note = credit_note_issue(actor=system_actor(), invoice=invoice, reason="All wrong")
    void = desk.invoice()
    invoice_void(actor=system_actor(), invoice=void, reason="Twice")
    for each in (note, void):
        with refused("not_disputable"):
            desk.open(each, line=None, amount="1")


def test_dsp_01_a_line_of_another_invoice(desk: Desk) -> None:
    invoice, other = desk.invoice(), desk.invoice()
    with refused("line_of_another_invoice"):
        dispute_open(
            actor=desk.customer, invoice=invoice, invoice_line=desk.line(other), category="other", amount="1",
            reason="R",
        )  # fmt: skip


def test_dsp_01_the_window_ends_after_the_policys_days(desk: Desk, travel: time_machine.Traveller) -> None:
    desk.policy(window_days=10)
    invoice = desk.invoice(on=date(2026, 3, 2))
    travel.move_to(berlin("2026-03-12 23:59"))
    desk.open(invoice, line=1)
    travel.move_to(berlin("2026-03-13 00:00"))
    with refused("dispute_window_closed") as caught:
        desk.open(invoice, line=2)
    assert caught.value.extra["last_day"] == "2026-03-12"


def test_dsp_01_an_undercharge_holds_nothing_back(desk: Desk) -> None:
    invoice = desk.invoice()
    dispute = desk.open(invoice, direction="under", amount="500")
    assert dispute.hold is None and disputed(invoice) == 0


def test_dsp_02_a_line_is_disputed_once_at_a_time(desk: Desk) -> None:
    invoice = desk.invoice()
    first = desk.open(invoice, line=1, amount="1")
    with refused("disputed_already") as caught:
        desk.open(invoice, line=1, amount="1", actor=desk.buyer)
    assert caught.value.extra["disputes"] == [first.number]
    desk.open(invoice, line=2, amount="1")


def test_dsp_02_an_invoice_is_disputed_as_a_whole_or_by_its_lines(desk: Desk) -> None:
    by_line, whole = desk.invoice(), desk.invoice()
    desk.open(by_line, line=1, amount="1")
    desk.open(whole, line=None, amount="1")
    with refused("disputed_already"):
        desk.open(by_line, line=None, amount="1")
    with refused("disputed_already"):
        desk.open(whole, line=2, amount="1")
    with refused("disputed_already"):
        desk.open(whole, line=None, amount="1")


def test_ent_05_who_may_open(desk: Desk) -> None:
    """The payer's finance, the department of the line, staff for them; nobody else."""
    invoice = desk.invoice()
    for actor, number in ((desk.customer, 1), (desk.buyer, 2), (desk.staff, 3)):
        desk.open(invoice, line=number, amount="1", actor=actor)
    other = desk.invoice()
    for actor in (desk.auditor, desk.stranger, desk.neighbour):
        with refused("permission_denied"):
            desk.open(other, line=1, amount="1", actor=actor)
    with refused("permission_denied"):
        desk.open(other, line=None, amount="1", actor=desk.buyer)


def test_dsp_05_the_receipt_is_automatic_and_no_answer(desk: Desk) -> None:
    dispute = desk.open()
    receipt = DisputeComment.objects.get(dispute=dispute)
    assert (receipt.speaker, receipt.visibility) == ("system", "customer")
    assert round_now(dispute).response_met_at is None


def test_dsp_05_without_a_policy_the_defaults_hold(desk: Desk) -> None:
    for severity, days in (("low", 15), ("medium", 10), ("high", 5), ("critical", 2)):
        current = round_now(desk.open(severity=severity))
        assert current.response_due_at == MONDAY + timedelta(hours=24)
        assert current.resolution_due_at == MONDAY + timedelta(days=days)
        assert current.policy is None and current.terms["policy"]["name"] == "Defaults"


def test_dsp_09_the_clocks_of_a_ticking_day_are_what_the_log_says(desk: Desk) -> None:
    """The round begins at the very moment of the event that opens it."""
    with time_machine.travel(MONDAY, tick=True):
        dispute = desk.open()
        assert DisputeEvent.objects.get(dispute=dispute).at == round_now(dispute).started_at


def test_ent_04_who_sees_it(desk: Desk) -> None:
    dispute = desk.open()
    seeing = {
        name: BillingDispute.objects.visible_to(getattr(desk, name)).filter(pk=dispute.pk).exists()
        for name in ("customer", "buyer", "staff", "auditor", "neighbour", "stranger")
    }
    assert seeing == {
        "customer": True, "buyer": True, "staff": True, "auditor": True, "neighbour": False, "stranger": False,
    }  # fmt: skip
