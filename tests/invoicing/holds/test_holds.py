"""Amounts that are held back from collection while they are disputed (DSP-01 to DSP-03, DSP-14)."""

from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connection, transaction

from core.errors import Conflict, Invalid
from invoicing.models import CollectionHold, Invoice, InvoiceLine
from invoicing.selectors.holds import Held, creditable_including_tax, held_amounts, refundable
from invoicing.selectors.settlements import settlement_differences
from invoicing.services.credit_notes import credit_note_issue
from invoicing.services.debit_notes import DebitLine, debit_note_issue
from invoicing.services.holds import hold_change, hold_defer, hold_place, hold_release
from invoicing.services.invoice import invoice_void
from invoicing.services.payments import Application, refund_make
from tests.invoicing.settlement.conftest import Account
from tests.invoicing.settlement.test_payments import refused, state


def held(account: Account, invoice: Invoice, amount: str, **how: Any) -> CollectionHold:
    fields = {"reference": "D-000001", "reason": "Billed twice", **how}
    return hold_place(actor=account.group.manager, invoice=invoice, amount=amount, **fields)


def line_of(invoice: Invoice, number: int) -> InvoiceLine:
    return invoice.lines.get(line_number=number)


def stored(invoice: Invoice) -> Decimal:
    """What the document says is disputed; it is what the holds say."""
    assert list(settlement_differences()) == []
    return Invoice.objects.get(pk=invoice.pk).disputed_amount


class TestPlace:
    def test_dsp_01_at_most_what_is_left_of_the_line_including_tax(self, account: Account) -> None:
        invoice = account.issued("100", "50")
        line = line_of(invoice, 1)
        credit_note_issue(
            actor=account.group.manager, invoice=invoice, reason="Outage", amount="60"
        )  # 40.00 of the first, 20.00 of the second line, before tax
        error = refused(
            "hold_exceeds_line", Conflict, held,
            account=account, invoice=invoice, amount="71.41", invoice_line=line,
        )  # fmt: skip
        assert error.extra == {"left": "71.40", "currency": "USD"}
        assert stored(invoice) == 0 and not CollectionHold.objects.exists()
        hold = held(account, invoice, "71.40", invoice_line=line)
        assert (hold.is_disputed, hold.due_date, stored(invoice)) == (True, None, Decimal("71.40"))
        assert hold.history.get().history_user == account.group.manager

    def test_dsp_02_what_is_disputed_already_counts(self, account: Account) -> None:
        invoice = account.issued("100", "50")  # 178.50
        held(account, invoice, "100", invoice_line=line_of(invoice, 1))
        error = refused(
            "hold_exceeds_line", Conflict, held,
            account=account, invoice=invoice, amount="19.01", invoice_line=line_of(invoice, 1),
        )  # fmt: skip
        assert error.extra["left"] == "19.00"
        error = refused(
            "hold_exceeds_invoice", Conflict, held, account=account, invoice=invoice, amount="78.51"
        )
        assert error.extra["left"] == "78.50"
        held(account, invoice, "78.50", reference="D-000002")
        assert stored(invoice) == Decimal("178.50")

    def test_dsp_02_negative_lines_lower_what_can_be_disputed(self, account: Account) -> None:
        invoice = account.issued("100", "-40")  # 71.40
        negative = invoice.lines.get(amount=-40)
        refused(
            "hold_exceeds_line", Conflict, held,
            account=account, invoice=invoice, amount="0.01", invoice_line=negative,
        )  # fmt: skip
        positive = invoice.lines.get(amount=100)
        refused(
            "hold_exceeds_invoice", Conflict, held,
            account=account, invoice=invoice, amount="71.41", invoice_line=positive,
        )  # fmt: skip
        held(account, invoice, "71.40", invoice_line=positive)
        assert stored(invoice) == Decimal("71.40")

    def test_only_what_is_issued_and_asked_for(self, account: Account) -> None:
        manager, invoice = account.group.manager, account.issued("100")
        note = credit_note_issue(actor=manager, invoice=invoice, reason="Outage", amount="10")
        void = invoice_void(actor=manager, invoice=account.issued("5"), reason="Wrong")
        for document in (account.draft("1"), void, note):
            refused("not_receivable", Conflict, held, account=account, invoice=document, amount="1")
        debit = debit_note_issue(
            actor=manager, invoice=invoice, reason="Late", lines=[DebitLine("Fee", "10")],
            issue_date=date(2024, 10, 5),
        )  # fmt: skip
        assert stored(held(account, debit, "11.90").invoice) == Decimal("11.90")

    def test_a_paid_invoice_is_disputed_too(self, account: Account) -> None:
        invoice = account.issued("100")
        account.pay("119")
        held(account, invoice, "119")
        assert (state(invoice), stored(invoice)) == (("paid", "0.00"), Decimal(119))

    def test_bad_input_changes_nothing(self, account: Account) -> None:
        invoice, other = account.issued("100"), account.issued("5")
        how: dict[str, Any] = {"account": account, "invoice": invoice}
        refused("amount_not_positive", Invalid, held, amount="0", **how)
        refused("amount_too_precise", Invalid, held, amount="0.001", **how)
        refused("invalid_amount", Invalid, held, amount="1,00", **how)
        refused("reason_required", Invalid, held, amount="1", reason=" ", **how)
        refused("line_of_another_invoice", Invalid, held, amount="1", invoice_line=line_of(other, 1), **how)
        with pytest.raises(Invalid):
            held(account, invoice, "1", reference="D" * 41)
        assert stored(invoice) == 0 and not CollectionHold.objects.exists()


class TestChange:
    def test_more_is_tested_and_less_always_possible(self, account: Account) -> None:
        invoice, manager = account.issued("100"), account.group.manager
        hold = held(account, invoice, "60")
        hold_change(actor=manager, hold=hold, amount="119")
        refused("hold_exceeds_invoice", Conflict, hold_change, actor=manager, hold=hold, amount="119.01")
        assert (hold.amount, stored(invoice)) == (119, 119)
        credit_note_issue(actor=manager, invoice=invoice, reason="Outage", amount="90")  # 11.90 are left
        hold_change(actor=manager, hold=hold, amount="50")
        assert stored(invoice) == 50
        refused("hold_exceeds_invoice", Conflict, hold_change, actor=manager, hold=hold, amount="50.01")
        assert [row.amount for row in hold.history.order_by("history_id")] == [60, 119, 50]

    def test_dsp_17_the_hold_of_a_line_becomes_one_of_the_invoice(self, account: Account) -> None:
        invoice, manager = account.issued("100", "50"), account.group.manager
        hold = held(account, invoice, "119", invoice_line=line_of(invoice, 1))
        refused("hold_exceeds_line", Conflict, hold_change, actor=manager, hold=hold, amount="120")
        hold_change(actor=manager, hold=hold, amount="178.50", invoice_line=None)
        assert (hold.invoice_line, stored(invoice)) == (None, Decimal("178.50"))


class TestRelease:
    def test_dsp_03_nothing_is_held_back_any_more(self, account: Account) -> None:
        invoice, manager = account.issued("100"), account.group.manager
        hold = held(account, invoice, "60")
        hold_release(actor=manager, hold=hold, reason="Withdrawn")
        assert (hold.is_disputed, hold.released_by, hold.release_reason) == (False, manager, "Withdrawn")
        assert stored(invoice) == 0
        how: dict[str, Any] = {"actor": manager, "hold": hold}
        refused("hold_released", Conflict, hold_release, reason="Again", **how)
        refused("hold_released", Conflict, hold_change, amount="1", **how)
        refused(
            "hold_released", Conflict, hold_defer, amount="1", due_date=date(2024, 12, 1), reason="x", **how
        )
        held(account, invoice, "119")
        assert stored(invoice) == 119

    def test_dsp_17_also_of_an_invoice_that_became_void(self, account: Account) -> None:
        invoice, manager = account.issued("100"), account.group.manager
        hold = held(account, invoice, "60")
        invoice_void(actor=manager, invoice=invoice, reason="Wrong")
        assert stored(invoice) == 60
        refused("not_receivable", Conflict, hold_change, actor=manager, hold=hold, amount="50")
        hold_release(actor=manager, hold=hold, reason="The invoice is void")
        assert stored(invoice) == 0

    def test_inv_01_nothing_else_of_a_void_invoice_changes(self, account: Account) -> None:
        invoice = account.issued("100")
        invoice_void(actor=account.group.manager, invoice=invoice, reason="Wrong")
        for change in ({"disputed_amount": 1}, {"void_reason": "Other"}, {"total": 1}):
            with pytest.raises(IntegrityError), transaction.atomic():
                Invoice.objects.filter(pk=invoice.pk).update(**change)


class TestDefer:
    def test_dsp_14_the_rest_is_to_be_paid_from_the_later_day(self, account: Account) -> None:
        invoice, manager = account.issued("100"), account.group.manager  # due on 31 October
        first = held(account, invoice, "60", reference="D-000001")
        second = held(account, invoice, "40", reference="D-000002")
        how: dict[str, Any] = {"actor": manager, "reason": "Half of it was right"}
        error = refused(
            "deferred_exceeds_hold", Conflict, hold_defer,
            hold=first, amount="60.01", due_date=date(2024, 12, 1), **how,
        )  # fmt: skip
        assert (error.extra["held"], stored(invoice)) == ("60.00", 100)
        hold_defer(hold=first, amount="25", due_date=date(2024, 12, 1), **how)
        hold_defer(hold=second, amount="40", due_date=date(2024, 10, 15), **how)
        assert [(hold.amount, hold.due_date) for hold in (first, second)] == [
            (25, date(2024, 12, 1)), (40, date(2024, 10, 31)),
        ]  # fmt: skip
        assert stored(invoice) == 0
        refused("hold_deferred", Conflict, hold_change, actor=manager, hold=first, amount="1")
        refused(
            "hold_deferred", Conflict, hold_defer, hold=first, amount="1", due_date=date(2025, 1, 1), **how
        )
        hold_release(actor=manager, hold=second, reason="Paid meanwhile")
        assert stored(invoice) == 0

    def test_dsp_03_what_is_held_on_a_day(self, account: Account) -> None:
        manager = account.group.manager
        invoice, other, free = account.issued("100"), account.issued("10"), account.issued("1")
        held(account, invoice, "30")
        hold = held(account, invoice, "20", reference="D-000002")
        hold_defer(actor=manager, hold=hold, amount="20", due_date=date(2024, 12, 1), reason="Right")
        held(account, other, "5", reference="D-000003")
        ids = [invoice.pk, other.pk, free.pk]
        before = held_amounts(ids, on=date(2024, 11, 30))
        assert before == {
            invoice.pk: Held(Decimal(30), Decimal(20)), other.pk: Held(Decimal(5), Decimal(0)),
        }  # fmt: skip
        assert before[invoice.pk].total == 50
        assert held_amounts(ids, on=date(2024, 12, 1))[invoice.pk] == Held(Decimal(30), Decimal(0))


class TestDatabase:
    def test_a_hold_is_kept_as_it_is(self, account: Account) -> None:
        invoice, other = account.issued("100"), account.issued("5")
        hold = held(account, invoice, "60")
        rows = CollectionHold.objects.filter(pk=hold.pk)
        for change in (
            {"amount": 0}, {"reference": "D-2"}, {"invoice": other}, {"released_at": hold.held_at},
            {"invoice_line": line_of(other, 1)},
        ):  # fmt: skip
            with pytest.raises(IntegrityError), transaction.atomic():
                rows.update(**change)
        with pytest.raises(IntegrityError, match="is kept as it is"), transaction.atomic():
            rows.delete()
        hold_release(actor=account.group.manager, hold=hold, reason="Withdrawn")
        for change in ({"amount": 1}, {"released_at": None, "released_by": None, "release_reason": ""}):
            with pytest.raises(IntegrityError, match="is kept as it is"), transaction.atomic():
                rows.update(**change)

    def test_verify_settlements_names_what_is_not_the_sum_of_its_holds(self, account: Account) -> None:
        invoice = account.issued("100")
        held(account, invoice, "60")
        call_command("verify_settlements")
        with connection.cursor() as cursor:
            cursor.execute("UPDATE invoices SET disputed_amount = 59 WHERE id = %s", [invoice.pk])
        message = f"document {invoice.pk}: disputed is stored as 59.0000, its rows prove 60.0000"
        with pytest.raises(CommandError, match=message):
            call_command("verify_settlements")


class TestMoney:
    def test_dsp_03_payments_go_to_the_undisputed_part_first(self, account: Account) -> None:
        invoice = account.issued("100")
        held(account, invoice, "30")
        payment = account.pay("119")
        assert (state(invoice), payment.unapplied_amount) == (("partially_paid", "30.00"), 30)
        account.pay("30", applications=[Application(invoice.pk)])
        assert (state(invoice), stored(invoice)) == (("paid", "0.00"), 30)

    def test_dsp_14_what_is_deferred_is_owed(self, account: Account) -> None:
        invoice = account.issued("100")
        hold = held(account, invoice, "30")
        hold_defer(
            actor=account.group.manager, hold=hold, amount="30", due_date=date(2030, 1, 1), reason="Right"
        )
        account.pay("119")
        assert state(invoice) == ("paid", "0.00")

    def test_dsp_11_what_is_left_to_be_credited_counts_every_source(self, account: Account) -> None:
        manager, invoice = account.group.manager, account.issued("100", "-40")  # 119.00 and -47.60
        line = invoice.lines.get(amount=100)
        assert creditable_including_tax(invoice) == Decimal("71.40")
        assert creditable_including_tax(invoice, line) == 119
        note = credit_note_issue(actor=manager, invoice=invoice, reason="Outage", amount="10")
        assert creditable_including_tax(invoice) == Decimal("59.50")
        assert creditable_including_tax(invoice, line) == Decimal("107.10")
        for nothing in (note, account.draft("1")):
            assert creditable_including_tax(nothing) == 0

    def test_dsp_12_refundable_is_the_cash_less_refunds(self, account: Account) -> None:
        manager, invoice = account.group.manager, account.issued("100")
        assert refundable(invoice) == 0
        account.pay("50")
        assert refundable(invoice) == 50
        note = credit_note_issue(actor=manager, invoice=invoice, reason="Outage")
        refund_make(actor=manager, source=note, reason="Moved away", amount="20")
        assert refundable(invoice) == 30
