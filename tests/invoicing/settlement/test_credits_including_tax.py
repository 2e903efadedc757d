"""Credits of amounts that include tax: exact, in proportion, together with those before tax (DSP-11, INV-08, ALC-02)."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import Conflict, Invalid
from core.models import OutboxEvent
from core.money import quantum, round_money
from invoicing.models import Invoice, InvoiceLine
from invoicing.selectors.settlements import settlement_differences
from invoicing.services.credit_notes import credit_note_preview
from invoicing.services.credited_lines import (
    CreditedLine,
    LineAmount,
    credit_amount_including_tax,
    creditable,
    creditable_tax,
    creditable_with_tax,
    line_credit,
    line_credit_including_tax,
)
from invoicing.services.invoice import invoice_void
from tests.invoicing.invoices.test_api import BASE, client
from tests.invoicing.settlement.conftest import Account
from tests.invoicing.settlement.test_credit_notes import credit, line_of
from tests.invoicing.settlement.test_payments import refused, state

currencies = st.sampled_from(["JPY", "EUR", "KWD"])
rates = st.decimals("0", "100", places=3)


def taxed_line(units: int, rate: Decimal, currency: str, **fields: Any) -> InvoiceLine:
    amount = units * quantum(currency)
    return InvoiceLine(amount=amount, tax_amount=round_money(amount * rate / 100, currency), **fields)


def take(line: InvoiceLine, given_back: CreditedLine, currency: str) -> None:
    """Count a credit on the line, as the service does, after testing what the database holds."""
    assert given_back.amount == round_money(given_back.amount, currency) >= 0
    assert given_back.tax == round_money(given_back.tax, currency) >= 0
    line.credited_amount, line.credited_tax = given_back.credited_amount, given_back.credited_tax
    assert line.credited_amount <= line.amount
    assert line.credited_tax <= line.tax_amount


class TestProperties:
    """In currencies of 0, 2 and 3 decimals."""

    @settings(max_examples=400, deadline=None)
    @given(
        currency=currencies,
        units=st.one_of(st.integers(1, 30), st.integers(1, 10**6)),
        rate=rates,
        steps=st.lists(
            st.tuples(st.sampled_from(["net", "total", "void"]), st.integers(1, 10**6)), max_size=10
        ),
    )
    def test_dsp_11_credits_before_and_including_tax_give_back_exactly_the_line(
        self, currency: str, units: int, rate: Decimal, steps: list[tuple[str, int]]
    ) -> None:
        """Also where credit notes became void meanwhile, with their part of the rounding."""
        line, given_back = taxed_line(units, rate, currency), []
        for kind, number in steps:
            if kind == "void":
                if given_back:
                    amount, tax = given_back.pop(number % len(given_back))
                    line.credited_amount -= amount
                    line.credited_tax -= tax
                continue
            rest = creditable_with_tax(line) if kind == "total" else creditable(line)
            if not rest:
                continue
            asked = number % (int(rest / quantum(currency)) + 1) * quantum(currency) or rest
            credit_of = line_credit_including_tax if kind == "total" else line_credit
            credited = credit_of(line, asked, currency)
            assert kind == "net" or credited.amount + credited.tax == asked
            take(line, credited, currency)
            given_back.append((credited.amount, credited.tax))
        if creditable_with_tax(line):
            take(line, line_credit_including_tax(line, creditable_with_tax(line), currency), currency)
        assert (creditable(line), creditable_tax(line)) == (0, 0)

    @pytest.mark.parametrize("void", [Decimal(0), Decimal("0.01")])
    def test_dsp_11_many_small_credits_of_which_those_with_or_without_tax_became_void(
        self, void: Decimal
    ) -> None:
        """What is left has far more or less tax than its part: the next credit has none, or is nothing but tax."""
        line = taxed_line(1000, Decimal(19), "EUR")
        given_back = []
        for _ in range(40):
            given_back.append(line_credit_including_tax(line, Decimal("0.03"), "EUR"))
            take(line, given_back[-1], "EUR")
        for credited in given_back:
            if credited.tax == void:
                line.credited_amount -= credited.amount
                line.credited_tax -= credited.tax
        following = line_credit_including_tax(line, Decimal("0.02"), "EUR")
        take(line, following, "EUR")
        assert (following.amount, following.tax) == (
            (Decimal("0.02"), 0) if void == 0 else (0, Decimal("0.02"))
        )
        take(line, line_credit_including_tax(line, creditable_with_tax(line), "EUR"), "EUR")
        assert (creditable(line), creditable_tax(line)) == (0, 0)

    @settings(max_examples=200, deadline=None)
    @given(
        currency=currencies,
        units=st.integers(1, 10**9),
        rate=rates,
        cuts=st.lists(st.integers(1, 10**9), max_size=6),
    )
    def test_dsp_11_tax_is_in_proportion_at_the_original_rate(
        self, currency: str, units: int, rate: Decimal, cuts: list[int]
    ) -> None:
        """No net amount of the currency may have that total, so net and tax share one rounding of at most a half."""
        line = taxed_line(units, rate, currency)
        whole = line.amount + line.tax_amount
        for cut in cuts:
            asked = min(cut * quantum(currency), creditable_with_tax(line))
            if not asked:
                break
            take(line, line_credit_including_tax(line, asked, currency), currency)
            exact = line.tax_amount * (line.credited_amount + line.credited_tax) / whole
            assert abs(line.credited_tax - exact) <= quantum(currency) / 2

    @settings(max_examples=100, deadline=None)
    @given(
        currency=currencies,
        lines=st.lists(st.tuples(st.integers(0, 10**6), rates), min_size=1, max_size=8),
        data=st.data(),
    )
    def test_alc_02_an_amount_is_spread_over_the_lines_and_is_the_total(
        self, currency: str, lines: list[tuple[int, Decimal]], data: st.DataObject
    ) -> None:
        billed = [taxed_line(units, rate, currency, pk=pk) for pk, (units, rate) in enumerate(lines)]
        most = sum(creditable_with_tax(line) for line in billed)
        if not most:
            return
        asked = data.draw(st.integers(1, int(most / quantum(currency)))) * quantum(currency)
        for amount in (asked, most - asked):
            if not amount:
                continue
            credits = credit_amount_including_tax(billed, amount, currency)
            assert sum(each.amount + each.tax for each in credits) == amount
            for each in credits:
                take(each.line, each, currency)
        assert sum(creditable_with_tax(line) for line in billed) == 0


class TestStored:
    def test_dsp_11_a_third_each_of_a_line(self, account: Account) -> None:
        """Worked by hand: 1.00 and 19 %; of 0.40 including tax 0.0639 is tax, of 0.80 0.1277, of 1.19 0.19."""
        invoice = account.issued("1", "10")
        number = invoice.lines.get(amount=1).pk
        notes = [
            credit(account, invoice, lines=[LineAmount(number, including_tax=part)])
            for part in ("0.40", "0.40", "0.39")
        ]
        assert [(note.subtotal, note.tax_total, note.total) for note in notes] == [
            (Decimal("0.34"), Decimal("0.06"), Decimal("0.40")),
            (Decimal("0.33"), Decimal("0.07"), Decimal("0.40")),
            (Decimal("0.33"), Decimal("0.06"), Decimal("0.39")),
        ]
        refused(
            "credit_exceeds_line", Conflict, credit,
            account=account, invoice=invoice, lines=[LineAmount(number, including_tax="0.01")],
        )  # fmt: skip
        given_back = InvoiceLine.objects.filter(invoice__in=notes)
        assert sum(row.original_amount for row in given_back) == 1
        assert list(settlement_differences()) == []

    def test_dsp_11_a_total_that_no_net_amount_has(self, account: Account) -> None:
        """0.03 + 19 % is 0.04, 0.02 + 19 % is 0.02: 0.03 is 0.03 and nothing, and the rest has all of the tax."""
        invoice = account.issued("1")
        note = credit(account, invoice, amount_including_tax="0.03")
        assert (note.subtotal, note.tax_total, note.total) == (Decimal("0.03"), 0, Decimal("0.03"))
        note = credit(account, invoice, amount_including_tax="1.16")
        assert (note.subtotal, note.tax_total) == (Decimal("0.97"), Decimal("0.19"))
        assert state(invoice) == ("paid", "0.00")

    def test_alc_02_an_amount_of_the_invoice(self, account: Account) -> None:
        """100.00 of 178.50 including tax: two thirds and one third of it, exactly."""
        invoice = account.issued("100", "50")
        content = credit_note_preview(
            actor=account.group.manager, invoice=invoice, amount_including_tax="100"
        )
        assert (content.total, content.set_off, content.is_whole) == (100, 100, False)
        note = credit(account, invoice, amount_including_tax="100")
        assert [(line.amount, line.tax_amount) for line in note.lines.all()] == [
            (Decimal("56.03"), Decimal("10.64")), (Decimal("28.01"), Decimal("5.32")),
        ]  # fmt: skip
        assert (note.total, state(invoice)) == (100, ("partially_paid", "78.50"))
        rest = credit(account, invoice)
        assert (rest.total, state(invoice)) == (Decimal("78.50"), ("paid", "0.00"))
        assert list(settlement_differences()) == []

    def test_lines_that_are_credits_only_in_the_whole(self, account: Account) -> None:
        invoice = account.issued("100", "-40")
        how: dict[str, Any] = {"account": account, "invoice": invoice}
        negative = invoice.lines.get(amount=-40)
        refused("negative_line", Invalid, credit, lines=[LineAmount(negative.pk, including_tax="1")], **how)
        error = refused("credit_exceeds_invoice", Conflict, credit, amount_including_tax="71.41", **how)
        assert error.extra["creditable"] == "71.40"
        error = refused("credit_exceeds_line", Conflict, credit, amount_including_tax="119.01", **how)
        assert error.extra["creditable"] == "119.00"
        assert credit(amount_including_tax="71.40", **how).total == Decimal("71.40")
        assert state(invoice) == ("paid", "0.00")

    def test_refusals_change_nothing(self, account: Account) -> None:
        invoice = account.issued("100")
        line = line_of(invoice, 1)
        how: dict[str, Any] = {"account": account, "invoice": invoice}
        refused("one_amount", Invalid, credit, lines=[LineAmount(line.pk, "1", "1")], **how)
        refused("lines_or_amount", Invalid, credit, amount="1", amount_including_tax="1", **how)
        refused(
            "lines_or_amount", Invalid, credit, amount_including_tax="1", lines=[LineAmount(line.pk)], **how
        )
        refused("amount_not_positive", Invalid, credit, amount_including_tax="-1", **how)
        refused(
            "amount_too_precise", Invalid, credit, lines=[LineAmount(line.pk, including_tax="1.001")], **how
        )
        refused("credit_exceeds_line", Conflict, credit, amount_including_tax="119.01", **how)
        refused(
            "credit_exceeds_line",
            Conflict,
            credit,
            lines=[LineAmount(line.pk, including_tax="119.01")],
            **how,
        )
        refused("not_whole", Conflict, credit, amount_including_tax="118.99", release_items=True, **how)
        assert not Invoice.objects.of_type("credit_note").exists() and state(invoice) == ("issued", "119.00")

    def test_a_note_that_becomes_void_gives_its_credit_back(self, account: Account) -> None:
        """Afterwards what is left is less even; it is still given back exactly."""
        invoice = account.issued("1")
        account.pay("1.19")
        first = credit(account, invoice, amount_including_tax="0.03")
        credit(account, invoice, amount="0.50")
        invoice_void(actor=account.group.manager, invoice=first, reason="Wrong")
        line = line_of(invoice, 1)
        assert (line.credited_amount, line.credited_tax) == (Decimal("0.50"), Decimal("0.10"))
        last = credit(account, invoice, amount_including_tax="0.59")
        assert (last.subtotal, last.tax_total) == (Decimal("0.50"), Decimal("0.09"))
        assert list(settlement_differences()) == []


class TestEvent:
    def test_dsp_17_the_event_says_which_lines_and_whether_anything_is_left(self, account: Account) -> None:
        invoice = account.issued("100", "50")
        line = line_of(invoice, 2)
        numbers = [
            credit(account, invoice, lines=[LineAmount(line.pk, including_tax="59.50")]).number,
            credit(account, invoice).number,
        ]
        events = OutboxEvent.objects.filter(topic="credit_note.issued").order_by("pk")
        told = [event.payload for event in events]
        assert [(each["credited_lines"], each["nothing_left"]) for each in told] == [
            ([line.pk], False), ([line_of(invoice, 1).pk], True),
        ]  # fmt: skip
        assert [each["number"] for each in told] == numbers
        assert [each["corrects_id"] for each in told] == [invoice.pk, invoice.pk]


@pytest.fixture
def post(account: Account) -> Callable[..., Any]:
    api = client(account.group.manager)

    def send(path: str, **body: Any) -> Any:
        return api.post(f"{BASE}/{path}", {"reason": "Outage", **body}, format="json")

    return send


class TestApi:
    def test_dsp_11_lines_and_totals_including_tax(self, account: Account, post: Callable[..., Any]) -> None:
        invoice = account.issued("100", "50")
        path = f"invoices/{invoice.pk}/credit-notes"
        shown = post(path, amount_including_tax="100.00", preview=True).json()
        assert (shown["total"], shown["subtotal"], shown["tax_total"]) == ("100.00", "84.04", "15.96")
        made = post(path, lines=[{"line_number": 1, "including_tax": "10.00"}])
        assert (made.status_code, made.json()["total"], made.json()["tax_total"]) == (201, "10.00", "1.60")
        made = post("credit-notes", invoice_id=invoice.pk, amount_including_tax="20.00")
        assert (made.status_code, made.json()["total"]) == (201, "20.00")
        both = post(path, lines=[{"line_number": 1, "including_tax": "1.00", "amount": "1.00"}])
        assert (both.status_code, both.json()["code"]) == (400, "one_amount")
        assert both.json()["errors"][0]["pointer"] == "/lines/0/including_tax"
        more = post(path, amount_including_tax="148.51")
        assert (more.status_code, more.json()["creditable"]) == (409, "148.50")
