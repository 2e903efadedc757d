"""Issued, credited and void documents move the budgets of their departments (BUD-07, BUD-16, ALC-07, USE-05)."""

from datetime import date
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from budgets.models import BudgetEntry
from budgets.services.budget import budget_close
from budgets.services.commitments import budget_commit
from core.models import Notification, OutboxEvent
from core.money import round_money
from entities.models import Department
from invoicing.models import Invoice, InvoiceLine, InvoiceLineShare, UsageBudgetCharge
from invoicing.services.credit_notes import credit_note_issue
from invoicing.services.credited_lines import LineAmount
from invoicing.services.invoice import invoice_void
from invoicing.services.line_shares import (
    _given_back,
    document_shares_apply,
    line_left,
    share_retry,
    share_undo,
)
from invoicing.services.payments import payment_record
from invoicing.services.settlement import settlement_reverse
from invoicing.services.usage_charging import UsageCharged, usage_budgets_charge
from tests.budgets.builders import figures, money, refused
from tests.invoicing.shares.conftest import Desk

D = Decimal


def shares(invoice: Invoice) -> list[tuple[str, Decimal, str, str]]:
    """Department, amount, state and refusal of each share, in the order of the lines."""
    rows = InvoiceLineShare.objects.filter(invoice_line__invoice=invoice).order_by(
        "invoice_line__line_number", "pk"
    )
    return [(row.department.code, row.amount, row.status, row.refusal_code) for row in rows]


def credit(desk: Desk, line: InvoiceLine, amount: str | None = None) -> Invoice:
    note = credit_note_issue(
        actor=desk.group.manager,
        invoice=line.invoice,
        reason="Too much",
        lines=[LineAmount(line.pk, amount)],
    )
    desk.deliver()
    return note


class TestIssue:
    def test_the_departments_of_the_lines_are_charged_once_however_often_the_event_comes(
        self, desk: Desk
    ) -> None:
        budget = desk.budget("1000")
        desk.allocation("182.25")
        desk.allocation("17.75")
        desk.allocation("5", desk.group.tokyo)
        invoice = desk.issued()
        assert figures(budget)[2] == 0, "issuing itself stays quick"
        desk.deliver()
        # Tokyo has no budget at all and is left out.
        assert shares(invoice) == [("100", D("182.25"), "charged", ""), ("100", D("17.75"), "charged", "")]
        assert figures(budget) == money("1000", "0", "200.00", "800.00")
        document_shares_apply(invoice_id=invoice.pk)
        assert figures(budget)[2] == D("200.00")
        assert InvoiceLineShare.objects.count() == BudgetEntry.objects.filter(kind="charge").count() == 2

    def test_what_budgets_refuse_is_listed_with_its_reason_and_finance_is_told(self, desk: Desk) -> None:
        for amount in ("60", "60", "40"):
            desk.allocation(amount)
        desk.allocation("7", desk.group.research)
        sales = desk.budget("100")
        closed = desk.budget("100", desk.group.research)
        budget_close(actor=desk.group.manager, budget_id=closed.pk)
        invoice = desk.issued()
        desk.deliver()
        assert shares(invoice) == [
            ("100", D("60"), "charged", ""),
            ("100", D("60"), "refused", "insufficient_budget"),
            ("100", D("40"), "charged", ""),
            ("200", D("7"), "refused", "no_budget"),
        ]
        assert "short by 20.00" in InvoiceLineShare.objects.listed().order_by("pk")[0].refusal_message
        assert figures(sales)[3] == 0
        event = OutboxEvent.objects.get(topic="invoice_line_share.refused")
        assert event.payload == {"invoice_id": invoice.pk, "count": 2, "code": "insufficient_budget"}
        told = Notification.objects.filter(user=desk.group.manager, kind="line_shares_refused")
        assert [each.title for each in told] == [f"{invoice.number}: budgets refused 2 lines"]

    def test_use_05_import_and_invoice_never_charge_twice(self, desk: Desk) -> None:
        budget = desk.budget("1000", category="Cloud")
        desk.group.use("40.005", department=desk.group.sales)
        desk.group.use("0.0101", department=desk.group.sales, service_name="Storage")
        desk.group.use("5", department=desk.group.tokyo)
        invoice = desk.issued()
        desk.deliver()
        assert figures(budget)[2] == D("40.02")
        assert shares(invoice) == [], "usage is charged with its import"
        import_id = desk.group.usage_import.pk
        # Tokyo, without any budget, was left out by the invoice; charging the import lists it.
        assert usage_budgets_charge(actor=desk.group.manager, import_id=import_id) == UsageCharged(0, 1, 1)
        desk.group.use("10", department=desk.group.sales)
        assert usage_budgets_charge(actor=desk.group.manager, import_id=import_id) == UsageCharged(1, 0, 1)
        desk.issued()
        desk.deliver()
        assert figures(budget)[2] == D("50.02")


class TestVoid:
    def test_bud_16_all_shares_return_to_zero_and_open_commitments_are_promised_again(
        self, desk: Desk
    ) -> None:
        budget, research = desk.budget("1000"), desk.budget("1000", desk.group.research)
        order = budget_commit(
            actor=desk.group.manager, budget_id=budget.pk, amount="500", description="C", currency="USD"
        )
        desk.group.use("182.25", desk.group.germany)
        desk.allocation("60", desk.group.research)
        invoice = desk.issued()
        desk.deliver()
        line = invoice.lines.get(department=None)
        desk.allocate(line, desk.part(desk.group.sales, percent=100, commitment_id=order.pk))
        assert figures(budget) == money("1000", "317.75", "182.25", "500")
        invoice_void(actor=desk.group.manager, invoice=invoice, reason="Wrong payer")
        desk.deliver()
        assert {status for _, _, status, _ in shares(invoice)} == {"taken_back"}
        assert figures(budget) == money("1000", "500", "0", "500")
        assert figures(research) == money("1000", "0", "0", "1000")
        document_shares_apply(invoice_id=invoice.pk)
        assert figures(budget) == money("1000", "500", "0", "500")

    def test_void_before_the_budgets_heard_of_the_issue(self, desk: Desk) -> None:
        budget = desk.budget("1000")
        desk.allocation("60")
        invoice = desk.issued()
        invoice_void(actor=desk.group.manager, invoice=invoice, reason="Wrong payer")
        desk.deliver()
        assert (shares(invoice), figures(budget)[2]) == ([], 0)

    def test_what_a_closed_budget_keeps_is_listed_until_another_takes_it(self, desk: Desk) -> None:
        budget = desk.budget("1000")
        desk.allocation("60")
        invoice = desk.issued()
        desk.deliver()
        budget_close(actor=desk.group.manager, budget_id=budget.pk)
        invoice_void(actor=desk.group.manager, invoice=invoice, reason="Wrong payer")
        desk.deliver()
        assert shares(invoice) == [("100", D("60"), "still_borne", "budget_closed")]
        following = desk.budget("1000", period_start=date(2025, 1, 1), period_end=date(2026, 1, 1))
        share = InvoiceLineShare.objects.get()
        assert share_retry(actor=desk.group.manager, share_id=share.pk).status == "taken_back"
        assert (figures(budget)[2], figures(following)[2]) == (D("60"), D("-60"))

    def test_use_05_usage_stays_charged_as_the_next_invoice_bills_it(self, desk: Desk) -> None:
        budget = desk.budget("1000")
        desk.group.use("40.00", department=desk.group.sales)
        invoice = desk.issued()
        desk.deliver()
        invoice_void(actor=desk.group.manager, invoice=invoice, reason="Wrong payer")
        desk.deliver()
        assert figures(budget)[2] == D("40.00")
        desk.issued()
        desk.deliver()
        assert figures(budget)[2] == D("40.00")


class TestCredit:
    def test_alc_07_by_what_is_left_of_each_share_and_zero_in_the_end(self, desk: Desk) -> None:
        sales, research = desk.budget("1000"), desk.budget("1000", desk.group.research)
        line = desk.line("100.00")
        desk.deliver()
        desk.allocate(
            line,
            desk.part(desk.group.sales, amount="60"),
            desk.part(desk.group.research, amount="30"),
            amount=D("90"),
        )
        # Nobody bears the last 10: they take their part of the credit too.
        note = credit(desk, line, "33.33")
        assert shares(note) == [("100", D("20.00"), "charged", ""), ("200", D("10.00"), "charged", "")]
        assert (figures(sales)[2], figures(research)[2]) == (D("40.00"), D("20.00"))
        document_shares_apply(invoice_id=note.pk)
        assert figures(sales)[2] == D("40.00"), "a second time changes nothing"
        line.refresh_from_db()
        assert line_left(line) == D("6.67")
        credit(desk, line)
        assert (figures(sales)[2], figures(research)[2]) == (0, 0)
        assert all(share.remaining == 0 for share in InvoiceLineShare.objects.filter(invoice_line=line))
        with refused("exceeds_line"):
            desk.allocate(line, desk.part(desk.group.tokyo, percent=100))

    def test_a_credit_of_a_share_that_was_refused_lowers_what_is_tried_again(self, desk: Desk) -> None:
        desk.allocation("60")
        budget = desk.budget("10")
        invoice = desk.issued()
        desk.deliver()
        line = invoice.lines.get()
        note = credit(desk, line, "50")
        assert shares(note) == [("100", D("50"), "not_booked", "")]
        share = InvoiceLineShare.objects.get(invoice_line=line)
        assert share_retry(actor=desk.group.manager, share_id=share.pk).status == "charged"
        assert figures(budget)[2] == D("10")

    def test_a_void_credit_note_is_borne_again_and_what_follows_ends_at_zero(self, desk: Desk) -> None:
        budget = desk.budget("1000")
        line = desk.line("100.00")
        desk.deliver()
        (share,) = desk.allocate(line, desk.part(desk.group.sales, percent=100))
        payment_record(
            actor=desk.group.manager,
            entity=desk.group.root,
            issuer=desk.group.issuer,
            amount="100",
            currency="USD",
        )
        note = credit(desk, line, "30")
        assert figures(budget)[2] == D("70")
        invoice_void(actor=desk.group.manager, invoice=note, reason="Mistake")
        desk.deliver()
        assert figures(budget)[2] == D("100")
        share.refresh_from_db()
        assert share.credited_amount == 0
        share_undo(actor=desk.group.manager, share_id=share.pk, reason="Wrong department")
        assert figures(budget)[2] == 0

    def test_bud_16_after_a_void_credit_note_a_void_invoice_promises_the_whole_commitment_again(
        self, desk: Desk
    ) -> None:
        budget = desk.budget("1000")
        order = budget_commit(
            actor=desk.group.manager, budget_id=budget.pk, amount="500", description="C", currency="USD"
        )
        line = desk.line("182.25")
        desk.deliver()
        desk.allocate(line, desk.part(desk.group.sales, percent=100, commitment_id=order.pk))
        note = credit(desk, line, "30.01")
        assert figures(budget) == money("1000", "317.75", "152.24", "530.01")
        for settlement in note.set_off.all():
            settlement_reverse(actor=desk.group.manager, settlement=settlement, reason="Mistake")
        invoice_void(actor=desk.group.manager, invoice=note, reason="Mistake")
        desk.deliver()
        assert figures(budget) == money("1000", "317.75", "182.25", "500")
        invoice_void(actor=desk.group.manager, invoice=line.invoice, reason="Wrong payer")
        desk.deliver()
        assert figures(budget) == money("1000", "500", "0", "500")

    def test_a_credit_that_comes_before_the_charge_leaves_the_rest(self, desk: Desk) -> None:
        budget = desk.budget("1000")
        desk.allocation("60")
        line = desk.issued().lines.get()
        note = credit_note_issue(
            actor=desk.group.manager, invoice=line.invoice, reason="Late", lines=[LineAmount(line.pk, "20")]
        )
        document_shares_apply(invoice_id=note.pk)
        document_shares_apply(invoice_id=line.invoice_id)
        assert figures(budget)[2] == D("40")

    def test_use_05_usage_that_is_charged_is_given_back(self, desk: Desk) -> None:
        budget = desk.budget("1000", category="Cloud")
        desk.group.use("40.00", department=desk.group.sales)
        desk.group.use("9.00", department=desk.group.tokyo)
        invoice = desk.issued()
        desk.deliver()
        line = invoice.lines.get(department=desk.group.sales)
        assert shares(credit(desk, line, "15")) == [("100", D("15"), "charged", "")]
        assert figures(budget)[2] == D("25")
        assert shares(credit(desk, invoice.lines.get(department=desk.group.tokyo), "1")) == []
        line.refresh_from_db()
        credit_note_issue(
            actor=desk.group.manager, invoice=line.invoice, reason="All wrong", release_items=True
        )
        desk.deliver()
        # It can be billed anew, and its department has borne it all the while.
        assert figures(budget)[2] == D("40")
        assert UsageBudgetCharge.objects.get().charged_amount == D("40")


@given(
    currency=st.sampled_from(["JPY", "USD", "BHD"]),
    units=st.lists(st.integers(1, 10**6), min_size=1, max_size=5),
    unborne=st.integers(0, 1000),
    steps=st.lists(st.integers(1, 10**6), max_size=6),
    sign=st.sampled_from([1, -1]),
)
def test_alc_07_no_share_falls_below_zero_and_all_end_at_zero(
    currency: str, units: list[int], unborne: int, steps: list[int], sign: int
) -> None:
    unit = {"JPY": D(1), "USD": D("0.01"), "BHD": D("0.001")}[currency] * sign
    line = InvoiceLine(amount=unit * (sum(units) + unborne), credited_amount=D(0))
    note = Invoice(currency=currency)
    borne = [
        InvoiceLineShare(invoice_line=line, department=Department(), amount=unit * each, credited_amount=D(0))
        for each in units
    ]
    while line.credited_amount != line.amount:
        rest = abs(line.amount - line.credited_amount)
        step = min(steps.pop() * abs(unit), rest) if steps else rest
        line.credited_amount += step * sign
        given_back = _given_back(InvoiceLine(amount=step * sign), line, borne, note)
        assert abs(sum(each.amount for each in given_back)) <= step
        for share in borne:
            assert share.remaining * sign >= 0
            assert round_money(share.remaining, currency) == share.remaining
        assert abs(sum(share.remaining for share in borne)) <= abs(line.amount - line.credited_amount)
    assert all(share.remaining == 0 for share in borne)
