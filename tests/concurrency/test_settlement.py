"""Real connections at once: what settles and credits a document never exceeds it (INV-01, INV-06, INV-08)."""

from decimal import Decimal

import pytest

from invoicing.models import Invoice, NumberSeries, Settlement
from invoicing.selectors.invoice import numbering_proof
from invoicing.selectors.settlements import settlement_differences
from invoicing.services.credit_notes import credit_note_issue
from invoicing.services.invoice import invoice_void
from invoicing.services.payments import Application
from tests.concurrency.test_budgets import together
from tests.invoicing.settlement.conftest import Account, make_account

pytestmark = pytest.mark.concurrency


def exact() -> None:
    assert list(settlement_differences()) == []
    for series in NumberSeries.objects.all():
        assert numbering_proof(series).holds


def test_inv_06_two_payments_at_once_settle_no_more_than_is_open() -> None:
    account = make_account()
    invoice = account.issued("100")

    def named() -> str:
        account.pay("100", applications=[Application(invoice.pk, "100")])
        return "settled"

    assert sorted(together(named, named)) == ["amount_exceeds_open", "settled"]
    # Without a name what one leaves is the other's, and the rest of it a balance.
    assert sorted(together(lambda: left(account), lambda: left(account))) == [Decimal("1"), Decimal("20")]
    assert Invoice.objects.get().settled_amount == Decimal("119.00")
    exact()


def left(account: Account) -> Decimal:
    return account.pay("20").unapplied_amount


def test_inv_01_a_payment_and_a_void_at_once_one_wins() -> None:
    account = make_account()
    invoice = account.issued("100")

    def pay() -> str:
        account.pay("119", applications=[Application(invoice.pk)])
        return "paid"

    def void() -> str:
        return invoice_void(actor=account.group.manager, invoice=invoice, reason="Wrong").status

    outcomes = sorted(together(pay, void))
    assert outcomes in (["paid", "settled"], ["not_receivable", "void"])
    assert Settlement.objects.count() == (1 if "paid" in outcomes else 0)
    exact()


def test_inv_08_two_credits_of_a_line_at_once_never_exceed_it() -> None:
    account = make_account()
    invoice = account.issued("100")

    def credit() -> str:
        credit_note_issue(actor=account.group.manager, invoice=invoice, amount="60", reason="Outage")
        return "credited"

    assert sorted(together(credit, credit)) == ["credit_exceeds_line", "credited"]
    assert Invoice.objects.get(pk=invoice.pk).settled_amount == Decimal("71.40")
    exact()
