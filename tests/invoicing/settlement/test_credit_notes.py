"""Credit and debit notes (INV-01, INV-02, INV-08, BUD-16, ALC-07)."""

from datetime import date
from decimal import Decimal
from typing import Any

import pytest
import time_machine
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connection, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from budgets.models import Budget, BudgetEntry
from budgets.services.budget import budget_create
from contracts.services.billing import fees_prepare
from core.errors import Conflict, Forbidden, Invalid
from core.money import exact_sum, minor_units, quantum, round_money
from invoicing.models import BilledItem, Invoice, InvoiceLine, NumberSeries
from invoicing.selectors.invoice import numbering_proof
from invoicing.selectors.settlements import settlement_differences
from invoicing.services.consolidation import consolidated_invoice_draft
from invoicing.services.credit_notes import credit_note_issue, credit_note_preview
from invoicing.services.credited_lines import LineAmount, credit_amount, line_credit
from invoicing.services.debit_notes import DebitLine, debit_note_issue
from invoicing.services.invoice import invoice_issue, invoice_void
from invoicing.services.settlement import settlement_reverse
from tests.contracts.builders import place
from tests.invoicing.invoices.builders import SEPTEMBER, rate
from tests.invoicing.invoices.test_contract_fees import CALLS, PLATFORM, Used
from tests.invoicing.settlement.conftest import Account
from tests.invoicing.settlement.test_payments import refused, state


def credit(account: Account, invoice: Invoice, **how: Any) -> Invoice:
    return credit_note_issue(actor=account.group.manager, invoice=invoice, **{"reason": "Outage", **how})


def line_of(invoice: Invoice, number: int) -> InvoiceLine:
    return invoice.lines.get(line_number=number)


class TestExactness:
    @settings(
        max_examples=60,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )
    @given(
        currency=st.sampled_from(["JPY", "EUR", "KWD"]),
        units=st.integers(1, 10**9),
        rate=st.decimals("0", "30", places=3),
        cuts=st.lists(st.integers(1, 10**9), max_size=6),
    )
    def test_inv_08_credits_of_a_line_never_exceed_it_and_the_last_gives_the_rest(
        self, currency: str, units: int, rate: Decimal, cuts: list[int]
    ) -> None:
        """In currencies of 0, 2 and 3 decimals; tax in proportion at the original rate."""
        amount = units * quantum(currency)
        line = InvoiceLine(amount=amount, tax_amount=round_money(amount * rate / 100, currency))
        parts = [min(cut, units) * quantum(currency) for cut in cuts]
        for part in [*parts, amount]:
            asked = min(part, line.amount - line.credited_amount)
            if not asked:
                break
            given_back = line_credit(line, asked, currency)
            exact = line.tax_amount * given_back.credited_amount / line.amount
            assert abs(given_back.credited_tax - exact) <= quantum(currency) / 2
            assert 0 <= given_back.tax == round_money(given_back.tax, currency)
            line.credited_amount, line.credited_tax = given_back.credited_amount, given_back.credited_tax
            assert line.credited_amount <= line.amount
            assert line.credited_tax <= line.tax_amount
        assert (line.credited_amount, line.credited_tax) == (line.amount, line.tax_amount)

    @settings(max_examples=60, deadline=None)
    @given(
        currency=st.sampled_from(["JPY", "EUR", "KWD"]),
        units=st.lists(st.integers(0, 10**7), min_size=1, max_size=8).filter(any),
        data=st.data(),
    )
    def test_alc_07_an_amount_is_spread_over_what_is_left(
        self, currency: str, units: list[int], data: st.DataObject
    ) -> None:
        lines = [InvoiceLine(pk=pk, amount=part * quantum(currency)) for pk, part in enumerate(units)]
        asked = data.draw(st.integers(1, sum(units))) * quantum(currency)
        credits = credit_amount(lines, asked, currency)
        assert sum(each.amount for each in credits) == asked
        assert all(0 < each.amount <= each.line.amount for each in credits)
        assert minor_units(currency) in (0, 2, 3)

    def test_inv_08_three_thirds_of_a_stored_line(self, account: Account) -> None:
        """Worked by hand: 19 % of 1.00 is 0.19; a third each is 0.33 + 0.06, 0.33 + 0.07, 0.34 + 0.06."""
        invoice = account.issued("1", "10")
        number = invoice.lines.get(amount=1).pk
        notes = [
            credit(account, invoice, lines=[LineAmount(number, part)]) for part in ("0.33", "0.33", None)
        ]
        assert [(note.subtotal, note.tax_total) for note in notes] == [
            (Decimal("0.33"), Decimal("0.06")),
            (Decimal("0.33"), Decimal("0.07")),
            (Decimal("0.34"), Decimal("0.06")),
        ]
        refused(
            "credit_exceeds_line", Conflict, credit,
            account=account, invoice=invoice, lines=[LineAmount(number, "0.01")],
        )  # fmt: skip
        assert state(invoice) == ("partially_paid", "11.90")
        given_back = InvoiceLine.objects.filter(invoice__in=notes)
        assert sum(row.original_amount for row in given_back) == 1
        assert list(settlement_differences()) == []

    def test_inv_08_the_database_refuses_more(self, account: Account) -> None:
        line = line_of(account.issued("1"), 1)
        for change in ("credited_amount = 1.0001", "credited_amount = -0.01", "credited_tax = 0.20"):
            with pytest.raises(IntegrityError), transaction.atomic(), connection.cursor() as cursor:
                cursor.execute(f"UPDATE invoice_lines SET {change} WHERE id = %s", [line.pk])


class TestCreditNote:
    def test_inv_02_a_series_of_its_own_without_gaps(self, account: Account) -> None:
        invoice = account.issued("100", "50")
        first = credit(account, invoice, amount="30", issue_date=date(2024, 10, 2))
        refused(
            "issue_date_before_invoice",
            Invalid,
            credit,
            account=account,
            invoice=invoice,
            issue_date=date(2024, 9, 30),
        )
        refused(
            "issue_date_before_last",
            Conflict,
            credit,
            account=account,
            invoice=invoice,
            issue_date=date(2024, 10, 1),
        )
        second = credit(account, invoice, issue_date=date(2024, 10, 2))
        assert (first.number, second.number) == ("SHS-CN-2024-000001", "SHS-CN-2024-000002")
        assert (first.document_type, first.corrects, first.due_date) == (
            "credit_note",
            invoice,
            date(2024, 10, 2),
        )
        assert first.snapshot["corrects"] == {
            "id": invoice.pk, "number": "SHS-INV-2024-000001", "issue_date": "2024-10-01",
        }  # fmt: skip
        # 30.00 over what is left: two thirds and one third; the second note gives exactly the rest.
        assert [line.amount for line in first.lines.all()] == [20, 10]
        assert [line.amount for line in second.lines.all()] == [80, 40]
        assert (first.total, second.total) == (Decimal("35.70"), Decimal("142.80"))
        assert (state(invoice), state(first), state(second)) == (("paid", "0.00"),) * 3
        for series in NumberSeries.objects.all():
            assert numbering_proof(series).holds
        call_command("verify_settlements")

    def test_what_exceeds_the_open_part_stays_as_a_balance(self, account: Account) -> None:
        invoice = account.issued("100")
        account.pay("100")
        content = credit_note_preview(actor=account.group.manager, invoice=invoice, amount="50")
        assert (content.total, content.set_off, content.balance, content.is_whole) == (
            Decimal("59.50"), Decimal("19.00"), Decimal("40.50"), False,
        )  # fmt: skip
        note = credit(account, invoice, amount="50")
        assert (state(invoice), state(note)) == (("paid", "0.00"), ("partially_paid", "40.50"))

    def test_lines_that_are_credits_only_in_the_whole(self, account: Account) -> None:
        invoice = account.issued("100", "-40")
        negative = invoice.lines.get(amount=-40)
        how = {"account": account, "invoice": invoice}
        refused("negative_line", Invalid, credit, lines=[LineAmount(negative.pk)], **how)
        # 60.00 with 11.40 of tax is the invoice; a credit of 61.00 of the positive line would exceed it.
        error = refused("credit_exceeds_invoice", Conflict, credit, amount="61", **how)
        assert error.extra["creditable"] == "71.40"
        credit(account, invoice, amount="10")
        note = credit(account, invoice)
        assert sorted(line.amount for line in note.lines.all()) == [-40, 90]
        assert (state(invoice), note.total) == (("paid", "0.00"), Decimal("59.50"))
        refused("nothing_to_credit", Conflict, credit, **how)

    def test_refusals_change_nothing(self, account: Account) -> None:
        invoice, draft = account.issued("100"), account.draft("1")
        line = line_of(invoice, 1)
        how = {"account": account, "invoice": invoice}
        refused("reason_required", Invalid, credit, reason="", **how)
        refused("lines_or_amount", Invalid, credit, amount="1", lines=[LineAmount(line.pk)], **how)
        refused("duplicate_line", Invalid, credit, lines=[LineAmount(line.pk, "1")] * 2, **how)
        refused("not_found", Invalid, credit, lines=[LineAmount(0, "1")], **how)
        refused("credit_exceeds_line", Conflict, credit, amount="100.01", **how)
        refused("not_whole", Conflict, credit, amount="1", release_items=True, **how)
        refused("not_creditable", Conflict, credit, account=account, invoice=draft)
        auditor = account.group.person("auditor")
        refused(
            "permission_denied", Forbidden, credit_note_issue, actor=auditor, invoice=invoice, reason="Mine"
        )

    def test_inv_01_a_credit_note_is_void_only_while_unused(self, account: Account) -> None:
        invoice, manager = account.issued("100"), account.group.manager
        note = credit(account, invoice, amount="100")
        refused("settled", Conflict, invoice_void, actor=manager, invoice=invoice, reason="Wrong")
        refused("settled", Conflict, invoice_void, actor=manager, invoice=note, reason="Wrong")
        settlement_reverse(actor=manager, settlement=invoice.settlements.get(), reason="Wrong")
        error = refused("corrected", Conflict, invoice_void, actor=manager, invoice=invoice, reason="Wrong")
        assert error.extra["notes"] == [note.number]
        assert invoice_void(actor=manager, invoice=note, reason="Wrong").status == "void"
        line = line_of(invoice, 1)
        assert line.credited_amount == line.credited_tax == 0
        assert credit(account, invoice).total == Decimal("119.00")
        assert list(settlement_differences()) == []

    def test_a_whole_credit_frees_what_was_billed(self, account: Account) -> None:
        """INV-03: it is billed again, once."""
        invoice, manager = account.issued("100"), account.group.manager
        credit(account, invoice, amount="40")
        with pytest.raises(IntegrityError), transaction.atomic():
            BilledItem.objects.update(released_at=invoice.issued_at)
        note = credit(account, invoice, release_items=True)
        again = consolidated_invoice_draft(
            actor=manager, payer=account.group.root, period_start=SEPTEMBER[0], period_end=SEPTEMBER[1]
        ).invoice
        assert (again.total, invoice_issue(actor=manager, invoice=again).status) == (
            Decimal("119.00"),
            "issued",
        )
        settlement_reverse(actor=manager, settlement=note.set_off.get(), reason="Wrong")
        refused("items_released", Conflict, invoice_void, actor=manager, invoice=note, reason="Wrong")

    def test_verify_settlements_names_what_differs(self, account: Account) -> None:
        invoice = account.issued("100")
        credit(account, invoice, amount="40")
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL session_replication_role = replica")
            cursor.execute(
                "UPDATE invoice_lines SET credited_amount = 39 WHERE invoice_id = %s", [invoice.pk]
            )
            cursor.execute("SET LOCAL session_replication_role = origin")
        line = line_of(invoice, 1)
        with pytest.raises(
            CommandError, match=f"1 differences; the first: line {line.pk}: credited is stored as 39.0000"
        ):
            call_command("verify_settlements")


class TestDebitNote:
    def test_inv_02_asks_for_more_under_a_number_of_its_own(self, account: Account) -> None:
        invoice, manager = account.issued("100"), account.group.manager
        note = debit_note_issue(
            actor=manager,
            invoice=invoice,
            reason="Paid late",
            issue_date=date(2024, 10, 3),
            lines=[
                DebitLine("Late payment fee", "40"),
                DebitLine("Compensation", "10.03", tax_category="E", tax_rate=Decimal(0)),
            ],
        )
        assert (note.number, note.document_type, note.total) == (
            "SHS-DN-2024-000001", "debit_note", Decimal("57.63"),
        )  # fmt: skip
        assert [(line.tax_category, line.tax_amount) for line in note.lines.all()] == [
            ("S", Decimal("7.60")), ("E", 0),
        ]  # fmt: skip
        refused("corrected", Conflict, invoice_void, actor=manager, invoice=invoice, reason="Wrong")
        account.pay("176.63")
        assert (state(invoice), state(note)) == (("paid", "0.00"), ("paid", "0.00"))
        line = DebitLine("Fee", "1", department=account.group.tokyo)
        arguments = {"actor": manager, "invoice": invoice, "reason": "Fee"}
        refused("department_of_another_entity", Invalid, debit_note_issue, lines=[line], **arguments)
        refused("no_lines", Invalid, debit_note_issue, lines=[], **arguments)


@pytest.mark.django_db
@time_machine.travel("2026-01-01T12:00:00Z", tick=False)
def test_bud_16_a_credit_note_lowers_what_contract_fees_spent() -> None:
    here = place()
    budget = budget_create(
        actor=here.finance, entity=here.entity, department=None, name="Software", allocated_amount="20000.00",
        period_start=date(2026, 1, 1), period_end=date(2027, 1, 1),
    )  # fmt: skip
    here.active(budget=budget)
    draft = consolidated_invoice_draft(
        actor=here.finance, payer=here.root, period_start=date(2026, 1, 1), period_end=date(2026, 2, 1)
    ).invoice
    invoice = invoice_issue(actor=here.finance, invoice=draft)

    def figures() -> tuple[Any, Any]:
        return figures_of(budget)

    how: dict[str, Any] = {"actor": here.finance, "invoice": invoice, "reason": "Outage"}
    assert figures() == (11000, 1000)
    first = credit_note_issue(amount="300", **how)
    assert figures() == (11000, 700)
    credit_note_issue(amount="200", **how)
    assert figures() == (11000, 500)
    settlement_reverse(actor=here.finance, settlement=first.set_off.get(), reason="Wrong")
    invoice_void(actor=here.finance, invoice=first, reason="Wrong")
    assert figures() == (11000, 800)
    credit_note_issue(release_items=True, **how)
    # What credit notes gave back for good, 200.00, is not promised again.
    assert figures() == (11800, 0)


@pytest.mark.django_db
@pytest.mark.parametrize("currency", ["USD", "EUR"])
def test_bud_16_a_void_credit_note_leaves_budget_and_commitment_as_they_were(currency: str) -> None:
    """Also at a rate that has changed since: the void invoice promises its whole commitment again."""
    with time_machine.travel("2026-01-01T12:00:00Z", tick=False):
        rate("EUR", "USD", "1.1", on=date(2025, 12, 31))
        rate("EUR", "USD", "1.2", on=date(2026, 1, 30))
        here = place()
        budget = budget_create(
            actor=here.finance, entity=here.entity, department=None, name="Software", allocated_amount="20000.00",
            period_start=date(2026, 1, 1), period_end=date(2027, 1, 1), currency="USD",
        )  # fmt: skip
        here.active(budget=budget, currency=currency, prices=[{**PLATFORM, "price": "999.99"}])
        start = figures_of(budget)
        assert start[0] == Decimal("13199.87" if currency == "EUR" else "11999.88")
        draft = consolidated_invoice_draft(
            actor=here.finance, payer=here.root, period_start=date(2026, 1, 1), period_end=date(2026, 2, 1)
        ).invoice
        invoice = invoice_issue(actor=here.finance, invoice=draft)
        billed = figures_of(budget)
    with time_machine.travel("2026-01-20T12:00:00Z", tick=False):
        rate("EUR", "USD", "1.3", on=date(2026, 1, 19))
        for amount in ("333.33", None):
            note = credit_note_issue(actor=here.finance, invoice=invoice, reason="Outage", amount=amount)
            assert figures_of(budget)[1] < billed[1]
            settlement_reverse(actor=here.finance, settlement=note.set_off.get(), reason="Wrong")
            invoice_void(actor=here.finance, invoice=note, reason="Wrong")
            assert figures_of(budget) == billed
        entry = BudgetEntry.objects.get(source_type="contract_fee")
        assert sorted(entry.reversed_by.values_list("kind", flat=True)) == [
            "charge",
            "charge",
            "refund",
            "refund",
        ]
        assert exact_sum(list(entry.reversed_by.values_list("spent_delta", flat=True))) == 0
        invoice_void(actor=here.finance, invoice=invoice, reason="Wrong payer")
        assert figures_of(budget) == start


def figures_of(budget: Budget) -> tuple[Any, Any]:
    current = Budget.objects.get(pk=budget.pk)
    return current.committed_amount, current.spent_amount


@pytest.mark.django_db
@time_machine.travel("2026-01-01T12:00:00Z", tick=False)
def test_bud_16_of_a_fee_that_departments_share_what_adds_and_what_lowers_count_apart() -> None:
    """Usage of 60.00 shared 36.00 and 24.00, a correction of −10.00 shared −6.00 and −4.00, on one invoice."""
    here = place()
    budget = budget_create(
        actor=here.finance, entity=here.entity, department=None, name="Software", allocated_amount="20000.00",
        period_start=date(2026, 1, 1), period_end=date(2027, 1, 1),
    )  # fmt: skip
    used = Used(here)
    contract = here.active(budget=budget, prices=[PLATFORM, CALLS])
    used.use("90", "2026-01-05", used.sales)
    used.use("60", "2026-01-31", used.research)
    with time_machine.travel("2026-02-01T12:00:00Z", tick=False):
        fees_prepare(contract_id=contract.pk, until=date(2026, 1, 31))
        here.amend(
            contract,
            "2026-01-01",
            prices={"set": [{**CALLS, "tiers": [
                {"up_to": "100", "unit_price": "0.40"}, {"up_to": None, "unit_price": "0.20"},
            ]}]},
        )  # fmt: skip
        draft = consolidated_invoice_draft(
            actor=here.finance, payer=here.root, period_start=date(2026, 2, 1), period_end=date(2026, 3, 1)
        ).invoice
        invoice = invoice_issue(actor=here.finance, invoice=draft)
        calls = invoice.lines.filter(contract_line="calls").order_by("-amount")
        assert [line.amount for line in calls] == [36, 24, -4, -6]
        assert figures_of(budget)[1] == 2050
        how: dict[str, Any] = {"actor": here.finance, "invoice": invoice, "reason": "Outage"}
        credit_note_issue(lines=[LineAmount(calls[0].pk, "18.00")], **how)
        assert figures_of(budget)[1] == 2032
        credit_note_issue(lines=[LineAmount(calls[0].pk), LineAmount(calls[1].pk, "4.00")], **how)
        assert figures_of(budget)[1] == 2010
        credit_note_issue(**how)
        assert figures_of(budget)[1] == 0


@pytest.mark.django_db
@time_machine.travel("2026-01-01T12:00:00Z", tick=False)
def test_bud_16_a_whole_credit_that_frees_the_fees_promises_their_commitment_again() -> None:
    here = place()
    budget = budget_create(
        actor=here.finance, entity=here.entity, department=None, name="Software", allocated_amount="20000.00",
        period_start=date(2026, 1, 1), period_end=date(2027, 1, 1),
    )  # fmt: skip
    here.active(budget=budget)
    draft = consolidated_invoice_draft(
        actor=here.finance, payer=here.root, period_start=date(2026, 2, 1), period_end=date(2026, 3, 1)
    ).invoice
    invoice = invoice_issue(actor=here.finance, invoice=draft)
    credit_note_issue(actor=here.finance, invoice=invoice, reason="Outage", amount="300")
    credit_note_issue(actor=here.finance, invoice=invoice, reason="Cancelled", release_items=True)
    current = Budget.objects.get(pk=budget.pk)
    assert current.committed_amount == 11700
    assert current.spent_amount == 0
