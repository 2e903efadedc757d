"""What each outcome does to the money, to the last minor unit (DSP-01, DSP-11, DSP-12, DSP-14, DSP-15)."""

from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal

import pytest
import time_machine

from approvals.services.votes import request_approve
from contracts.services.amendments import amendment_void
from core.access import system_actor
from core.models import ExchangeRate
from disputes.models import BillingDispute, DisputeResolution
from invoicing.models import BilledItem, CollectionHold, Invoice, Refund, Settlement
from invoicing.selectors.settlements import settlement_differences
from invoicing.services.consolidation import consolidated_invoice_draft
from invoicing.services.credit_notes import credit_note_issue
from invoicing.services.debit_notes import DebitLine, debit_note_issue
from invoicing.services.invoice import invoice_issue, invoice_void
from invoicing.services.settlement import settlement_reverse, write_off
from tests.contracts.builders import Place
from tests.disputes.builders import MONDAY, Desk, refused
from tests.disputes.resolving import (
    amounts_of,
    carried_out,
    credit_notes,
    desk_in,
    figures,
    proposed,
    resolve,
    rule,
)

D = Decimal


def money(*amounts: str) -> tuple[Decimal, ...]:
    return tuple(map(Decimal, amounts))


@pytest.fixture
def desk(desk: Desk) -> Iterator[Desk]:
    """The manager decides; what settles documents is proven after each test."""
    rule(desk, desk.manager)
    yield desk
    assert list(settlement_differences()) == []


@pytest.fixture
def rates(desk: Desk) -> None:
    for quote, rate in (("JPY", "160"), ("KWD", "0.36")):
        ExchangeRate.objects.create(
            base="EUR", quote=quote, rate=D(rate), date=MONDAY.date() - timedelta(days=1), source="ECB"
        )


def stored(document: Invoice) -> Invoice:
    return Invoice.objects.get(pk=document.pk)


def hold_of(dispute: BillingDispute) -> tuple[Decimal, date | None, bool]:
    """What is held for the dispute: the amount, from when it is collected, and whether it is let go."""
    hold = CollectionHold.objects.get(pk=BillingDispute.objects.get(pk=dispute.pk).hold_id)
    return hold.amount, hold.due_date, hold.released_at is not None


# --- Credits (DSP-11) ------------------------------------------------------------------------------------


class TestCredit:
    @pytest.mark.parametrize(
        ("currency", "rate", "lines", "amount", "note"),
        [
            # 119.00 of which 19.00 are tax: 19.00 × 33.33 / 119.00 = 5.3216…
            ("EUR", "19", ("100", "50", "10"), "33.33", ("28.01", "5.32")),
            # 1100 of which 100 are tax: 100 × 333 / 1100 = 30.27…
            ("JPY", "10", ("1000", "501", "33"), "333", ("303", "30")),
            # 10.505 of which 0.500 are tax: 0.500 × 3.333 / 10.505 = 0.15863…
            ("KWD", "5", ("10.005", "4.2", "1.001"), "3.333", ("3.174", "0.159")),
        ],
    )  # fmt: skip
    def test_dsp_11_of_a_line_exactly_with_tax_in_proportion(
        self,
        desk: Desk,
        rates: None,
        currency: str,
        rate: str,
        lines: tuple[str, ...],
        amount: str,
        note: tuple[str, str],
    ) -> None:
        there = desk if currency == "EUR" else desk_in(desk, currency, rate)
        invoice = there.invoice(*lines, currency=currency)
        dispute = there.open(invoice, amount=amount)
        resolution = carried_out(desk, dispute)
        net, tax = money(*note)
        assert resolution.credit_note is not None
        assert figures(resolution.credit_note) == (net, tax, D(amount))
        assert amounts_of(resolution.credit_note) == [(net, tax)]
        assert resolution.credit_note.corrects == invoice
        line = there.line(invoice)
        assert (line.credited_amount, line.credited_tax) == (net, tax)
        assert (stored(invoice).settled_amount, stored(invoice).disputed_amount) == (D(amount), 0)
        assert BillingDispute.objects.get().approved_amount == D(amount)

    @pytest.mark.parametrize(
        ("currency", "rate", "lines", "amount", "parts"),
        [
            # 190.40: 119.00 + 59.50 + 11.90 share 100.00 by what is left of them.
            ("EUR", "19", ("100", "50", "10"), "100", ("62.50", "31.25", "6.25")),
            # 1688: 1100 + 551 + 37 share 500: 325.8, 163.2, 10.9.
            ("JPY", "10", ("1000", "501", "34"), "500", ("326", "163", "11")),
            # 15.966: 10.505 + 4.410 + 1.051 share 5.000: 3.2898, 1.3811, 0.3291.
            ("KWD", "5", ("10.005", "4.2", "1.001"), "5", ("3.290", "1.381", "0.329")),
        ],
    )  # fmt: skip
    def test_dsp_11_of_an_invoice_exactly_over_its_lines(
        self,
        desk: Desk,
        rates: None,
        currency: str,
        rate: str,
        lines: tuple[str, ...],
        amount: str,
        parts: tuple[str, ...],
    ) -> None:
        there = desk if currency == "EUR" else desk_in(desk, currency, rate)
        invoice = there.invoice(*lines, currency=currency)
        dispute = there.open(invoice, line=None, amount=amount)
        note = carried_out(desk, dispute).credit_note
        assert note is not None
        assert note.total == D(amount)
        assert [net + tax for net, tax in amounts_of(note)] == list(money(*parts))

    def test_dsp_11_less_may_be_approved_than_is_disputed(self, desk: Desk) -> None:
        dispute = desk.open(amount="59.50")
        assert figures(carried_out(desk, dispute, amount="20").credit_note)[2] == D(20)  # type: ignore[arg-type]
        assert BillingDispute.objects.get().approved_amount == D(20)

    def test_dsp_11_what_was_credited_elsewhere_counts_when_it_is_proposed(self, desk: Desk) -> None:
        invoice = desk.invoice()
        dispute = desk.open(invoice, amount="59.50")
        desk.credit(desk.line(invoice), "70")
        with refused("exceeds_creditable") as caught:
            resolve(desk, dispute)
        assert caught.value.extra == {"creditable": "49.00", "currency": "EUR"}
        assert "49.00 EUR" in caught.value.message
        assert carried_out(desk, dispute, amount="49").amount == D(49)
        line = desk.line(invoice)
        assert (
            (line.credited_amount, line.credited_tax) == (line.amount, line.tax_amount) == money("100", "19")
        )

    def test_dsp_11_what_is_credited_while_it_waits_counts_when_it_is_approved(self, desk: Desk) -> None:
        """The last vote is refused as a whole; the request says why, and nothing was credited."""
        invoice = desk.invoice()
        dispute = desk.open(invoice, amount="59.50")
        request = proposed(desk, dispute)
        desk.credit(desk.line(invoice), "60")
        voted = request_approve(actor=desk.manager, request_id=request.pk)
        assert voted.status == "pending"
        assert "Only 59.00 EUR can still be credited" in voted.effect_error
        assert BillingDispute.objects.get().status == "proposed"
        assert DisputeResolution.objects.get().status == "pending"
        assert [note.total for note in credit_notes(invoice)] == [D(60)]
        assert stored(invoice).disputed_amount == D("59.5")

    def test_dsp_11_a_line_is_worth_no_more_than_its_invoice(self, desk: Desk) -> None:
        """An invoice with a line that is a credit: 119.00 − 59.50 are owed."""
        invoice = desk.invoice("100", "-50")
        number = next(line.line_number for line in invoice.lines.all() if line.amount > 0)
        dispute = desk.open(invoice, line=number, amount="59.50")
        desk.credit(desk.line(invoice, number), "30")
        with refused("exceeds_creditable") as caught:
            resolve(desk, dispute)
        assert caught.value.extra["creditable"] == "29.50"
        assert carried_out(desk, dispute, amount="29.50").amount == D("29.5")

    def test_dsp_15_goodwill_is_a_credit_note_by_another_name(self, desk: Desk) -> None:
        dispute = desk.open(amount="10")
        resolution = carried_out(desk, dispute, "credit", outcome="goodwill")
        assert (resolution.outcome, figures(resolution.credit_note)) == (  # type: ignore[arg-type]
            "goodwill", money("8.40", "1.60", "10"),
        )  # fmt: skip

    def test_sec_02_the_history_of_the_credit_note_names_who_decided(self, desk: Desk) -> None:
        dispute = desk.open(amount="10")
        note = carried_out(desk, dispute).credit_note
        assert note is not None
        assert note.reason == f"{dispute.number}: Half of it was not agreed."
        first, last = note.history.earliest("history_id"), note.history.latest("history_id")
        assert (first.history_user, first.history_change_reason) == (system_actor(), note.reason)
        assert (last.history_user, last.history_change_reason) == (
            desk.manager,
            f"{dispute.number}: Credit note, proposed by {desk.staff.display_name}, decided by "
            f"{desk.manager.display_name}",
        )
        assert last.version == note.version
        assert BillingDispute.history.latest("history_id").history_user == desk.manager


# --- Refunds (DSP-12) ------------------------------------------------------------------------------------


class TestRefund:
    def test_dsp_12_of_a_paid_invoice(self, desk: Desk) -> None:
        invoice = desk.invoice()
        desk.pay(invoice, "190.40")
        dispute = desk.open(invoice, amount="59.50")
        resolution = carried_out(desk, dispute, "refund")
        assert resolution.refund is not None and resolution.credit_note is not None
        assert (resolution.refund.amount, resolution.refund.credit_note) == (
            D("59.5"),
            resolution.credit_note,
        )
        assert stored(resolution.credit_note).open_amount == 0
        assert (stored(invoice).status, stored(invoice).disputed_amount) == ("paid", 0)

    def test_dsp_12_of_an_unpaid_invoice_nothing_is_refunded(self, desk: Desk) -> None:
        dispute = desk.open(amount="59.50")
        with refused("refund_exceeds_cash") as caught:
            resolve(desk, dispute, "refund")
        assert caught.value.extra == {"refundable": "0.00", "currency": "EUR"}
        assert "0.00 EUR was received" in caught.value.message
        assert "give a credit instead" in caught.value.message

    def test_dsp_12_of_a_partly_paid_invoice_the_open_part_is_set_off_and_the_rest_refunded(
        self, desk: Desk
    ) -> None:
        invoice = desk.invoice()  # 190.40
        desk.pay(invoice, "170.40")
        dispute = desk.open(invoice, amount="50")
        resolution = carried_out(desk, dispute, "refund")
        assert resolution.refund is not None and resolution.credit_note is not None
        assert (resolution.credit_note.total, resolution.refund.amount) == money("50", "30")
        assert (stored(invoice).status, stored(invoice).open_amount) == ("paid", 0)
        set_off = Settlement.objects.get(credit_note=resolution.credit_note)
        assert (set_off.invoice, set_off.amount) == (invoice, D(20))

    def test_dsp_12_what_is_set_off_as_a_whole_is_no_refund(self, desk: Desk) -> None:
        invoice = desk.invoice()
        desk.pay(invoice, "130.40")  # 60.00 open
        dispute = desk.open(invoice, amount="59.50")
        with refused("refund_exceeds_cash") as caught:
            resolve(desk, dispute, "refund")
        assert "60.00 EUR of it is still to be paid" in caught.value.message

    def test_dsp_12_what_was_settled_without_cash_is_not_refunded(self, desk: Desk) -> None:
        """190.40: 40.00 received, the rest written off; 59.50 can be credited, 40.00 refunded."""
        invoice = desk.invoice()
        desk.pay(invoice, "40")
        write_off(actor=system_actor(), invoice=invoice, reason="Insolvent")
        dispute = desk.open(invoice, amount="59.50")
        with refused("refund_exceeds_cash") as caught:
            resolve(desk, dispute, "refund")
        assert caught.value.extra["refundable"] == "40.00"
        assert "Refund at most 40.00 EUR" in caught.value.message
        assert carried_out(desk, dispute, "refund", amount="40").refund.amount == D(40)  # type: ignore[union-attr]

    def test_dsp_12_earlier_refunds_count(self, desk: Desk) -> None:
        invoice = desk.invoice()
        desk.pay(invoice, "100")
        write_off(actor=system_actor(), invoice=invoice, reason="Insolvent")
        carried_out(desk, desk.open(invoice, line=1, amount="70"), "refund")
        other = desk.open(invoice, line=2, amount="40")
        with refused("refund_exceeds_cash") as caught:
            resolve(desk, other, "refund")
        assert caught.value.extra["refundable"] == "30.00"
        carried_out(desk, other, "refund", amount="30")
        assert sum(Refund.objects.values_list("amount", flat=True)) == D(100)

    def test_dsp_12_in_a_currency_without_decimals(self, desk: Desk, rates: None) -> None:
        japan = desk_in(desk, "JPY", "10")
        invoice = japan.invoice("1000", currency="JPY")
        japan.pay(invoice, "1100")
        resolution = carried_out(desk, japan.open(invoice, amount="333"), "refund")
        assert figures(resolution.credit_note) == money("303", "30", "333")  # type: ignore[arg-type]
        assert (resolution.refund.amount, resolution.refund.currency) == (D(333), "JPY")  # type: ignore[union-attr]


# --- Write-off, debit note, price fix, rejected -----------------------------------------------------------


class TestAdjustment:
    def test_dsp_15_written_off(self, desk: Desk) -> None:
        invoice = desk.invoice()
        dispute = desk.open(invoice, amount="59.50")
        resolution = carried_out(desk, dispute, "adjustment", outcome="write_off", amount="50")
        assert resolution.write_off is not None
        assert (resolution.write_off.kind, resolution.write_off.amount) == ("write_off", D(50))
        assert stored(invoice).open_amount == D("140.4")
        assert hold_of(dispute) == (D("9.5"), date(2026, 4, 1), False)

    def test_dsp_15_what_is_paid_is_not_written_off(self, desk: Desk) -> None:
        invoice = desk.invoice()
        desk.pay(invoice, "150.40")
        dispute = desk.open(invoice, amount="59.50")
        with refused("exceeds_open") as caught:
            resolve(desk, dispute, "adjustment", outcome="write_off")
        assert caught.value.extra == {"open_amount": "40.00", "currency": "EUR"}

    @pytest.mark.parametrize(
        ("currency", "rate", "amount", "note"),
        [
            ("EUR", "19", "59.50", ("50.00", "9.50")),
            ("EUR", "19", "33.33", ("28.01", "5.32")),
            # No net amount has 0.03 with its tax: 0.02 + 0.00 and 0.03 + 0.01.
            ("EUR", "19", "0.03", ("0.02", "0.00")),
            ("EUR", "19", "0.01", ("0.01", "0.00")),
            ("JPY", "10", "333", ("303", "30")),
            ("KWD", "5", "3.333", ("3.174", "0.159")),
        ],
    )  # fmt: skip
    def test_dsp_01_an_undercharge_is_asked_for_with_its_tax(
        self, desk: Desk, rates: None, currency: str, rate: str, amount: str, note: tuple[str, str]
    ) -> None:
        there = desk if currency == "EUR" else desk_in(desk, currency, rate)
        invoice = there.invoice("1000", currency=currency)
        dispute = there.open(invoice, amount=amount, direction="under")
        assert dispute.hold is None and stored(invoice).disputed_amount == 0
        resolution = carried_out(desk, dispute, "adjustment")
        net, tax = money(*note)
        assert (resolution.outcome, resolution.debit_note.document_type) == ("debit_note", "debit_note")  # type: ignore[union-attr]
        assert figures(resolution.debit_note) == (net, tax, net + tax)  # type: ignore[arg-type]
        (line,) = resolution.debit_note.lines.all()  # type: ignore[union-attr]
        billed = there.line(invoice)
        assert (line.department, line.entity, line.tax_rate) == (
            billed.department,
            billed.entity,
            billed.tax_rate,
        )
        assert stored(invoice).open_amount == invoice.total

    def test_dsp_01_of_an_invoice_as_a_whole_at_the_payers_rate(self, desk: Desk) -> None:
        dispute = desk.open(line=None, amount="119", direction="under")
        resolution = carried_out(desk, dispute, "adjustment")
        assert figures(resolution.debit_note) == money("100", "19", "119")  # type: ignore[arg-type]

    def test_a_debit_note_is_neither_billed_again_nor_added_to(self, desk: Desk) -> None:
        invoice = desk.invoice()
        debit = debit_note_issue(
            actor=system_actor(), invoice=invoice, reason="Forgotten", lines=[DebitLine("Setup", "100")]
        )
        over = desk.open(debit, amount="10")
        with refused("not_correctable"):
            resolve(desk, over, "adjustment")
        assert carried_out(desk, over).credit_note.corrects == debit  # type: ignore[union-attr]
        under = desk.open(debit, amount="10", direction="under")
        with refused("not_correctable"):
            resolve(desk, under, "adjustment")

    def test_dsp_15_rejected_with_a_reason_and_without_money(self, desk: Desk) -> None:
        dispute = desk.open(amount="59.50")
        resolution = resolve(desk, dispute, "no_action", note="The price list of January applies.")
        assert (resolution.outcome, resolution.amount, resolution.status, resolution.decided_by) == (
            "rejected", 0, "applied", desk.staff,
        )  # fmt: skip
        now = BillingDispute.objects.get()
        assert (now.status, now.approved_amount, now.resolved_at) == ("resolved", 0, MONDAY)
        assert not credit_notes(dispute.invoice)
        told = now.events.get(kind="resolved")
        assert (told.is_public, told.note) == (True, "The price list of January applies.")


class TestPriceFix:
    def test_dsp_15_by_an_amendment_of_the_contract_that_the_line_bills(self, desk: Desk) -> None:
        system = system_actor()
        there = Place(
            desk.root, desk.issuer, desk.payer, finance=system, staff=system, outsider=desk.stranger
        )
        billed, other = there.active(), there.active(title="Another agreement")
        fixed, given_up, elsewhere = (
            there.amendment(contract, "2026-04-01", fields={"discount_percent": "10"})
            for contract in (billed, billed, other)
        )
        amendment_void(actor=system, amendment_id=given_up.pk, reason="Wrong")
        draft = consolidated_invoice_draft(
            actor=system, payer=desk.payer, period_start=date(2026, 2, 1), period_end=date(2026, 3, 1)
        )
        invoice = invoice_issue(actor=system, invoice=draft.invoice)
        number = invoice.lines.filter(contract=billed).earliest("line_number").line_number
        dispute = desk.open(invoice, line=number, amount="100")
        for wrong in (None, given_up, elsewhere):
            with refused("amendment_required"):
                resolve(desk, dispute, "adjustment", outcome="price_fix", amendment=wrong)
        resolution = resolve(desk, dispute, "adjustment", outcome="price_fix", amendment=fixed)
        assert (resolution.status, resolution.amount, resolution.amendment) == ("applied", 0, fixed)
        assert not credit_notes(invoice)
        assert hold_of(dispute) == (D(100), date(2026, 4, 1), False)


# --- What stays owed (DSP-14) -----------------------------------------------------------------------------


class TestRemainder:
    def test_dsp_14_it_is_due_as_the_invoice_where_that_is_later(self, desk: Desk) -> None:
        dispute = desk.open(amount="59.50")
        carried_out(desk, dispute, amount="20")
        assert hold_of(dispute) == (D("39.5"), date(2026, 4, 1), False)
        assert stored(dispute.invoice).disputed_amount == 0

    def test_dsp_14_else_some_days_after_the_decision(
        self, desk: Desk, travel: time_machine.Traveller
    ) -> None:
        desk.policy(collectible_days=10)
        dispute = desk.open(amount="59.50")
        travel.move_to(MONDAY + timedelta(days=40))
        carried_out(desk, dispute, amount="20")
        assert hold_of(dispute) == (D("39.5"), date(2026, 4, 21), False)

    def test_dsp_14_nothing_stays_of_what_was_granted_as_a_whole(self, desk: Desk) -> None:
        dispute = desk.open(amount="59.50")
        carried_out(desk, dispute)
        assert hold_of(dispute) == (D("59.5"), None, True)

    def test_dsp_14_rejected_all_of_it(self, desk: Desk, travel: time_machine.Traveller) -> None:
        dispute = desk.open(amount="59.50")
        travel.move_to(MONDAY + timedelta(days=40))
        resolve(desk, dispute, "no_action")
        assert hold_of(dispute) == (D("59.5"), date(2026, 4, 25), False)

    def test_dsp_03_rejected_and_overdue_since_the_original_date_if_the_policy_says_so(
        self, desk: Desk
    ) -> None:
        desk.policy(late_fees_from_original_date=True)
        rejected, partly = desk.open(amount="59.50"), desk.open(amount="59.50")
        resolve(desk, rejected, "no_action")
        assert hold_of(rejected) == (D("59.5"), None, True)
        carried_out(desk, partly, amount="20")
        assert hold_of(partly) == (D("39.5"), date(2026, 4, 1), False)

    def test_dsp_14_what_was_credited_elsewhere_is_not_owed_any_more(self, desk: Desk) -> None:
        """119.00 disputed, 90.00 credited elsewhere, 9.00 granted: 20.00 stay."""
        invoice = desk.invoice()
        dispute = desk.open(invoice, amount="119")
        desk.credit(desk.line(invoice), "90")
        carried_out(desk, dispute, amount="9")
        assert hold_of(dispute) == (D(20), date(2026, 4, 1), False)


# --- Credit and bill again (DSP-15) ------------------------------------------------------------------------


class TestCreditAndRebill:
    def test_dsp_15_all_is_credited_and_a_draft_holds_the_items_again(self, desk: Desk) -> None:
        invoice = desk.invoice()
        before = set(
            BilledItem.objects.filter(invoice_line__invoice=invoice).values_list("usage_record_id", flat=True)
        )
        dispute = desk.open(invoice, amount="59.50")
        resolution = carried_out(desk, dispute, "adjustment", outcome="credit_and_rebill")
        assert resolution.credit_note is not None and resolution.rebilled_as is not None
        assert figures(resolution.credit_note) == money("160", "30.40", "190.40")
        draft = resolution.rebilled_as
        assert (draft.status, draft.entity, draft.period_start, draft.period_end) == (
            "draft", invoice.entity, invoice.period_start, invoice.period_end,
        )  # fmt: skip
        assert draft.total == D("190.4")
        held = BilledItem.objects.filter(released_at__isnull=True)
        assert {item.usage_record_id for item in held} == before
        assert {item.invoice_line.invoice_id for item in held.select_related("invoice_line")} == {draft.pk}
        assert (stored(invoice).status, stored(invoice).disputed_amount) == ("paid", 0)
        assert hold_of(dispute) == (D("59.5"), None, True)
        again = invoice_issue(actor=system_actor(), invoice=draft)
        assert (again.total, again.open_amount) == money("190.4", "190.4")

    def test_dsp_15_where_another_invoice_cannot_follow_nothing_is_credited(self, desk: Desk) -> None:
        """What it billed was credited twice over already: there is nothing left to credit or to bill again."""
        invoice = desk.invoice("100")
        dispute = desk.open(invoice, amount="59.50")
        credit_note_issue(actor=system_actor(), invoice=invoice, reason="Agreed")
        with refused("exceeds_creditable"):
            resolve(desk, dispute, "adjustment", outcome="credit_and_rebill")

    def test_dsp_11_more_than_was_decided_on_is_not_credited(self, desk: Desk) -> None:
        """A credit note that becomes void while it waits leaves more to be credited than the approver saw."""
        invoice = desk.invoice()
        note = desk.credit(desk.line(invoice, 2), "59.50")
        dispute = desk.open(invoice, amount="59.50")
        request = proposed(desk, dispute, "adjustment")
        assert request.amount == D("130.9")
        settlement_reverse(
            actor=system_actor(), settlement=Settlement.objects.get(credit_note=note), reason="By mistake"
        )
        invoice_void(actor=system_actor(), invoice=note, reason="By mistake")
        voted = request_approve(actor=desk.manager, request_id=request.pk)
        assert (voted.status, BillingDispute.objects.get().status) == ("pending", "proposed")
        assert "190.40 EUR would be given back" in voted.effect_error
        assert not credit_notes(invoice)


# --- Once, in one moment (DSP-15) --------------------------------------------------------------------------


class TestTogether:
    def test_dsp_17_on_a_void_invoice_nothing_is_resolved(self, desk: Desk) -> None:
        """In the moment before the dispute hears of it, also not by the last vote."""
        invoice = desk.invoice()
        one, other = desk.open(invoice, line=1, amount="10"), desk.open(invoice, line=2, amount="10")
        request = proposed(desk, one)
        invoice_void(actor=system_actor(), invoice=invoice, reason="Wrong address")
        voted = request_approve(actor=desk.manager, request_id=request.pk)
        assert voted.status == "pending"
        assert "is void: nothing is to be decided about it" in voted.effect_error
        for kind in ("credit", "no_action"):
            with refused("not_disputable"):
                resolve(desk, other, kind)
        assert not credit_notes(invoice)

    def test_dsp_15_document_and_state_stand_together(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from disputes.services import proposals

        def fail(*args: object, **kwargs: object) -> None:
            raise RuntimeError("after the credit note")

        desk.policy(small_claims_amount="1000")
        dispute = desk.open(amount="59.50")
        monkeypatch.setattr(proposals, "name_who_decided", fail)
        with pytest.raises(RuntimeError, match="after the credit note"):
            resolve(desk, dispute)
        assert not credit_notes(dispute.invoice) and not DisputeResolution.objects.exists()
        assert BillingDispute.objects.get().status == "open"
        assert stored(dispute.invoice).disputed_amount == D("59.5")
