"""Payments, balances, write-offs and refunds (INV-01, INV-06, DSP-12)."""

from collections.abc import Callable
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction

from core.errors import BillingError, Conflict, Forbidden, Invalid
from core.models import Notification, OutboxEvent
from core.outbox import dispatch_pending
from invoicing.models import Invoice, Payment, Refund, Settlement
from invoicing.selectors.settlements import settlement_differences
from invoicing.services.credit_notes import credit_note_issue
from invoicing.services.invoice import invoice_void
from invoicing.services.payments import (
    Application,
    payment_apply,
    payment_record,
    payment_reverse,
    refund_make,
)
from invoicing.services.settlement import balance_apply, settlement_reverse, write_off
from tests.invoicing.settlement.conftest import Account


def state(invoice: Invoice) -> tuple[str, str]:
    """Status and open amount as they are stored."""
    now = Invoice.objects.get(pk=invoice.pk)
    return now.status, f"{now.open_amount:.2f}"


def refused(code: str, kind: type[BillingError], call: Callable[..., Any], **arguments: Any) -> BillingError:
    """The call raises `code` and changes nothing."""

    def everything() -> list[Any]:
        kept = (Invoice, Payment, Settlement, Refund, OutboxEvent)
        return [list(model.objects.order_by("pk").values()) for model in kept]

    before = everything()
    with pytest.raises(kind) as caught:
        call(**arguments)
    assert caught.value.code == code
    assert everything() == before
    return caught.value


class TestPayment:
    def test_inv_06_the_oldest_due_first_and_the_rest_is_a_balance(self, account: Account) -> None:
        second = account.issued("100", on=date(2024, 10, 5))
        first = account.issued("50", on=date(2024, 10, 5))
        Invoice.objects.filter(pk=first.pk).update(status="issued")
        assert (second.total, first.total) == (Decimal("119.00"), Decimal("59.50"))
        paid = account.pay("150")
        # Both are due on one day: the one that was made first is the older.
        assert (state(second), state(first)) == (("paid", "0.00"), ("partially_paid", "28.50"))
        assert paid.unapplied_amount == 0
        more = account.pay("40", received_on=date(2024, 10, 21))
        assert state(first) == ("paid", "0.00")
        assert more.unapplied_amount == Decimal("11.50")
        assert [(row.invoice_id, str(row.amount), row.settled_on) for row in Settlement.objects.all()] == [
            (second.pk, "119.0000", date(2024, 10, 20)),
            (first.pk, "31.0000", date(2024, 10, 20)),
            (first.pk, "28.5000", date(2024, 10, 21)),
        ]
        assert list(OutboxEvent.objects.filter(topic="invoice.paid").values_list("payload__invoice_id", flat=True)) == [
            second.pk, first.pk,
        ]  # fmt: skip
        assert list(settlement_differences()) == []
        history = Invoice.history.filter(id=first.pk).latest()
        assert (history.status, history.settled_amount, history.history_user) == (
            "paid", Decimal("59.50"), account.group.manager,
        )  # fmt: skip

    def test_what_is_disputed_is_left_out_of_the_automatic_application(self, account: Account) -> None:
        invoice = account.issued("100")
        Invoice.objects.filter(pk=invoice.pk).update(disputed_amount=Decimal("19"))
        assert account.pay("119").unapplied_amount == 19
        assert state(invoice) == ("partially_paid", "19.00")

    def test_named_documents_and_none(self, account: Account) -> None:
        first, second = account.issued("100"), account.issued("10")
        kept = account.pay("30", applications=[])
        assert kept.unapplied_amount == 30
        named = account.pay("20", applications=[Application(second.pk), Application(first.pk, "8.10")])
        assert (f"{named.unapplied_amount:f}", state(second), state(first)) == (
            "0.0000", ("paid", "0.00"), ("partially_paid", "110.90"),
        )  # fmt: skip
        payment_apply(actor=account.group.manager, payment=kept, applications=[Application(first.pk, "10")])
        applied = payment_apply(actor=account.group.manager, payment=kept)
        assert applied.unapplied_amount == 0
        assert state(first) == ("partially_paid", "80.90")

    def test_refusals_change_nothing(self, account: Account) -> None:
        invoice = account.issued("100")
        draft = account.draft("1")
        other = account.group.germany
        over = refused(
            "amount_exceeds_open", Conflict, account.pay, amount="200", applications=[Application(invoice.pk, "119.01")]
        )  # fmt: skip
        assert over.extra["open_amount"] == "119.00"
        ask = [Application(invoice.pk, "5")]
        refused("balance_exceeded", Conflict, account.pay, amount="4", applications=ask)
        refused("currency_mismatch", Invalid, account.pay, amount="4", currency="EUR", applications=ask)
        refused("currency_mismatch", Invalid, account.pay, amount="4", currency="EUR")
        refused("not_receivable", Conflict, account.pay, amount="5", applications=[Application(draft.pk)])
        refused("duplicate_application", Invalid, account.pay, amount="9", applications=[*ask, *ask])
        refused("amount_not_positive", Invalid, account.pay, amount="0")
        refused("amount_too_precise", Invalid, account.pay, amount="1.001")
        refused("date_in_future", Invalid, account.pay, amount="1", received_on=date(2999, 1, 1))
        account.pay("1", external_id="B-1")
        refused("payment_known", Conflict, account.pay, amount="1", external_id="B-1")
        arguments = {"issuer": account.group.issuer, "amount": "5", "currency": "USD", "applications": ask}
        refused(
            "other_account", Conflict, payment_record, actor=account.group.manager, entity=other, **arguments
        )  # fmt: skip
        reader = account.group.person("auditor")
        refused(
            "permission_denied",
            Forbidden,
            payment_record,
            actor=reader,
            entity=account.group.root,
            **arguments,
        )

    def test_inv_06_a_payment_that_bounced_takes_all_back_and_stays(self, account: Account) -> None:
        invoice = account.issued("100")
        other = account.issued("10")
        payment = account.pay("125", external_id="B-2")
        manager = account.group.manager
        refused("reason_required", Invalid, payment_reverse, actor=manager, payment=payment, reason=" ")
        payment_reverse(actor=manager, payment=payment, reason="Returned by the bank")
        assert (state(invoice), state(other)) == (("issued", "119.00"), ("issued", "11.90"))
        payment.refresh_from_db()
        assert payment.status == "reversed"
        assert payment.applied_amount == payment.unapplied_amount == 0
        assert sum(row.amount for row in Settlement.objects.all()) == 0
        refused("payment_reversed", Conflict, payment_reverse, actor=manager, payment=payment, reason="Again")
        refused("payment_reversed", Conflict, payment_apply, actor=manager, payment=payment)
        account.pay("125", external_id="B-2")
        assert state(invoice) == ("paid", "0.00")
        assert list(settlement_differences()) == []

    def test_settlements_and_payments_are_never_rewritten(self, account: Account) -> None:
        """INV-01, INV-06: whoever asks."""
        account.issued("100")
        account.pay("119")
        for statement in (
            "UPDATE settlements SET amount = 1", "DELETE FROM settlements", "DELETE FROM payments",
            "UPDATE payments SET amount = 1", "UPDATE invoices SET settled_amount = 120 WHERE status = 'paid'",
        ):  # fmt: skip
            with pytest.raises(IntegrityError), transaction.atomic(), connection.cursor() as cursor:
                cursor.execute(statement)


class TestVoid:
    def test_inv_01_not_while_something_settles_it(self, account: Account) -> None:
        invoice, manager = account.issued("100"), account.group.manager
        payment = account.pay("1")
        error = refused("settled", Conflict, invoice_void, actor=manager, invoice=invoice, reason="Wrong")
        assert "reverse the payment" in error.message
        payment_reverse(actor=manager, payment=payment, reason="Bounced")
        assert invoice_void(actor=manager, invoice=invoice, reason="Wrong").status == "void"
        refused("not_receivable", Conflict, account.pay, amount="1", applications=[Application(invoice.pk)])

    def test_inv_01_nothing_to_pay_is_paid_at_issue_and_may_be_void(self, account: Account) -> None:
        invoice = account.issued("5", "-5")
        assert state(invoice) == ("paid", "0.00")
        assert invoice_void(actor=account.group.manager, invoice=invoice, reason="Wrong").status == "void"


class TestWriteOff:
    def test_inv_06_a_part_and_the_rest(self, account: Account) -> None:
        invoice, manager = account.issued("100"), account.group.manager
        row = write_off(actor=manager, invoice=invoice, amount="19", reason="Goodwill")
        assert state(invoice) == ("partially_paid", "100.00")
        write_off(actor=manager, invoice=invoice, reason="Insolvent")
        assert state(invoice) == ("paid", "0.00")
        refused("nothing_open", Conflict, write_off, actor=manager, invoice=invoice, reason="Again")
        settlement_reverse(actor=manager, settlement=row, reason="They pay after all")
        assert state(invoice) == ("partially_paid", "19.00")
        refused(
            "already_reversed", Conflict, settlement_reverse, actor=manager, settlement=row, reason="Again"
        )
        back = row.reversal
        refused("is_reversal", Conflict, settlement_reverse, actor=manager, settlement=back, reason="Again")
        staff = account.group.person("finance_staff")
        refused("permission_denied", Forbidden, write_off, actor=staff, invoice=invoice, reason="Mine")
        assert list(settlement_differences()) == []


class TestBalanceAndRefund:
    def test_inv_06_a_credit_notes_balance_settles_another_invoice(self, account: Account) -> None:
        first, second = account.issued("100"), account.issued("200")
        account.pay("119", applications=[Application(first.pk)])
        manager = account.group.manager
        note = credit_note_issue(actor=manager, invoice=first, amount="50", reason="Outage")
        assert (state(first), state(note)) == (("paid", "0.00"), ("issued", "59.50"))
        row = balance_apply(actor=manager, credit_note=note, invoice=second)
        assert (row.amount, state(note), state(second)) == (
            Decimal("59.50"), ("paid", "0.00"), ("partially_paid", "178.50"),
        )  # fmt: skip
        refused("balance_exceeded", Conflict, balance_apply, actor=manager, credit_note=note, invoice=second)
        refused("settled", Conflict, invoice_void, actor=manager, invoice=note, reason="Wrong")
        settlement_reverse(actor=manager, settlement=row, reason="Wrong invoice")
        assert (state(note), state(second)) == (("issued", "59.50"), ("issued", "238.00"))
        assert list(settlement_differences()) == []

    def test_dsp_12_what_was_not_paid_is_not_refunded(self, account: Account) -> None:
        invoice, manager = account.issued("100"), account.group.manager
        payment = account.pay("80")
        note = credit_note_issue(actor=manager, invoice=invoice, amount="90", reason="Outage")
        # 39.00 was open: the credit note of 107.10 settles it, 68.10 is left, and 80.00 was paid.
        assert (state(invoice), state(note)) == (("paid", "0.00"), ("partially_paid", "68.10"))
        source: dict[str, Any] = {"actor": manager, "source": note, "reason": "Asked for"}
        refused("balance_exceeded", Conflict, refund_make, amount="68.11", **source)
        refund_make(amount="50", **source)
        row = payment.settlements.get()
        error = refused("refunded", Conflict, settlement_reverse, actor=manager, settlement=row, reason="No")
        assert error.extra["refunded"] == "50.00"
        payment_reverse(actor=manager, payment=payment, reason="Returned by the bank")
        error = refused("refund_exceeds_cash", Conflict, refund_make, **source)
        assert error.extra["refundable"] == "0.00"
        assert state(note) == ("partially_paid", "18.10")
        staff = account.group.person("finance_staff")
        refused("permission_denied", Forbidden, refund_make, actor=staff, source=note, reason="Mine")
        assert list(settlement_differences()) == []

    def test_an_overpayment_is_refunded(self, account: Account) -> None:
        account.issued("100")
        payment, manager = account.pay("130"), account.group.manager
        assert refund_make(actor=manager, source=payment, reason="Paid too much").amount == 11
        payment.refresh_from_db()
        refused("balance_exceeded", Conflict, refund_make, actor=manager, source=payment, reason="Again")
        refused("refunded", Conflict, payment_reverse, actor=manager, payment=payment, reason="Bounced")


def test_finance_hears_of_money_that_comes_and_goes(account: Account) -> None:
    staff = account.group.person("finance_staff")
    account.issued("100")
    dispatch_pending()
    Notification.objects.all().delete()
    payment = account.pay("130")
    refund_make(actor=account.group.manager, source=payment, amount="1", reason="Paid too much")
    dispatch_pending()
    told = Notification.objects.filter(user=staff).order_by("pk").values_list("kind", "title")
    assert list(told) == [
        ("payment_received", "Payment of 130.00 USD from Northwind Group"),
        ("refund_made", "Refund of 1.00 USD to Northwind Group"),
    ]
