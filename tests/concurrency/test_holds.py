"""Real connections at once: what is disputed never exceeds what can still be credited (DSP-01, DSP-02, DSP-11)."""

from decimal import Decimal

import pytest

from invoicing.models import CollectionHold, Invoice
from invoicing.selectors.holds import creditable_including_tax
from invoicing.selectors.settlements import settlement_differences
from invoicing.services.credit_notes import credit_note_issue
from invoicing.services.holds import hold_change, hold_defer, hold_place, hold_release
from tests.concurrency.test_budgets import together
from tests.invoicing.settlement.conftest import Account, make_account

pytestmark = pytest.mark.concurrency


def held(account: Account, invoice: Invoice, amount: str, reference: str = "D-000001") -> CollectionHold:
    return hold_place(
        actor=account.group.manager, invoice=invoice, invoice_line=invoice.lines.get(), amount=amount,
        reference=reference, reason="Billed twice",
    )  # fmt: skip


def disputed(invoice: Invoice) -> Decimal:
    assert list(settlement_differences()) == []
    return Invoice.objects.get(pk=invoice.pk).disputed_amount


def test_dsp_01_two_holds_at_once_never_exceed_the_line() -> None:
    account = make_account()
    for _ in range(5):
        invoice = account.issued("100")

        def hold(invoice: Invoice = invoice) -> str:
            return str(held(account, invoice, "60").amount)

        assert sorted(together(hold, hold)) == ["60", "hold_exceeds_line"]
        assert disputed(invoice) == 60


def test_dsp_01_a_hold_and_a_credit_at_once() -> None:
    """Whichever comes first: the credit always passes, the hold only before it."""
    account = make_account()
    for _ in range(5):
        invoice = account.issued("100")

        def hold(invoice: Invoice = invoice) -> str:
            return str(held(account, invoice, "119").amount)

        def credit(invoice: Invoice = invoice) -> str:
            note = credit_note_issue(
                actor=account.group.manager, invoice=invoice, amount_including_tax="19", reason="Outage"
            )
            return str(note.total)

        outcomes = together(hold, credit)
        assert outcomes[0] in ("119", "hold_exceeds_line") and Decimal(outcomes[1]) == 19
        assert disputed(invoice) == (119 if outcomes[0] == "119" else 0)
        assert creditable_including_tax(Invoice.objects.get(pk=invoice.pk)) == 100


def test_dsp_14_a_hold_is_decided_once() -> None:
    account = make_account()
    manager = account.group.manager
    for _ in range(5):
        invoice = account.issued("100")
        hold = held(account, invoice, "60")

        def defer(hold: CollectionHold = hold, invoice: Invoice = invoice) -> str:
            assert invoice.due_date is not None
            hold_defer(
                actor=manager, hold=CollectionHold.objects.get(pk=hold.pk), amount="20",
                due_date=invoice.due_date, reason="Right",
            )  # fmt: skip
            return "deferred"

        def change(hold: CollectionHold = hold) -> str:
            hold_change(actor=manager, hold=CollectionHold.objects.get(pk=hold.pk), amount="80")
            return "changed"

        def release(hold: CollectionHold = hold) -> str:
            hold_release(actor=manager, hold=CollectionHold.objects.get(pk=hold.pk), reason="Withdrawn")
            return "released"

        outcomes = together(defer, defer, change, release)
        assert outcomes.count("deferred") <= 1
        assert outcomes[3] == "released"
        assert disputed(invoice) == 0
