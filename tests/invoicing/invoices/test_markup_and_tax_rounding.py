"""Passed-through usage with a mark-up, and tax rounded as the issuer says (INV-05)."""

from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from django.db import IntegrityError, transaction

from core.access import system_actor
from core.errors import Invalid
from core.money import exact_sum
from entities.models import Entity, TaxRounding
from entities.services.allocation import cost_allocate
from entities.services.entity import entity_update
from invoicing.documents.content import amount_made_of, invoice_content
from invoicing.documents.formats import words_for
from invoicing.einvoice.mapping import e_invoice_of
from invoicing.einvoice.rules import breaches
from invoicing.models import Invoice, InvoiceLine
from invoicing.services.consolidation import consolidated_invoice_draft, consolidation_preview
from invoicing.services.credit_notes import credit_note_issue
from invoicing.services.debit_notes import DebitLine, debit_note_issue
from invoicing.services.invoice import invoice_issue
from invoicing.services.tax import Taxable, line_taxes
from tests.invoicing.invoices.builders import SEPTEMBER, Group, rate

D = Decimal
PERIOD: dict[str, Any] = {"period_start": SEPTEMBER[0], "period_end": SEPTEMBER[1]}


def change(entity: Entity, **changes: Any) -> None:
    entity_update(actor=system_actor(), entity=Entity.objects.get(pk=entity.pk), **changes)
    entity.refresh_from_db()


def draft(group: Group) -> Invoice:
    payer = Entity.objects.get(pk=group.root.pk)
    return consolidated_invoice_draft(actor=group.manager, payer=payer, **PERIOD).invoice


class TestMarkup:
    """INV-05: usage without a price term is passed through at cost, with the mark-up of the entity that used it."""

    def use_some(self, group: Group) -> None:
        rate("EUR", "USD", "1.1196", date(2024, 9, 30))
        change(group.root, usage_markup_percent=D(50))
        change(group.germany, usage_markup_percent=D("7.125"))
        group.use("100.005", department=group.sales, currency="EUR")
        group.use("-10", department=group.sales, charge_category="Credit")
        group.use("3", entity=group.japan)
        cost_allocate(
            actor=group.manager, department=group.sales, amount=D(40), currency="USD", description="Desk",
            billable=True, **PERIOD,
        )  # fmt: skip

    def test_of_who_used_it_on_charges_and_credits_not_on_allocations(self, group: Group) -> None:
        self.use_some(group)
        invoice = draft(group)
        assert [
            (line.original_amount, line.markup_percent, line.exact_amount, line.amount)
            for line in invoice.lines.all()
        ] == [
            (D("100.005"), D("7.125"), D("119.9431468575"), D("119.94")),
            (D(-10), D("7.125"), D("-10.7125"), D("-10.71")),
            (D(40), 0, D(40), D(40)),
            (D(3), 0, D(3), D(3)),
        ]
        assert (invoice.subtotal, invoice.total) == (D("152.23"), D("152.23"))
        preview = consolidation_preview(actor=group.manager, payer=group.root, **PERIOD)
        assert [(line.markup_percent, line.exact_amount) for line in preview.lines] == [
            (line.markup_percent, line.exact_amount) for line in invoice.lines.all()
        ]

    def test_is_told_on_the_document_and_given_back_exactly(self, group: Group) -> None:
        self.use_some(group)
        invoice = invoice_issue(actor=group.manager, invoice=draft(group))
        rows = [
            row
            for entity in invoice_content(invoice).entities
            for department in entity.departments
            for row in department.rows
        ]
        notes = ["100.005 EUR × 1.1196 (Sep 30, 2024, ECB) + 7.125% mark-up", "-10 USD + 7.125% mark-up"]
        notes[1] = notes[1].replace("-", "\N{MINUS SIGN}", 1)
        assert [row.note for row in rows][:2] == notes
        assert [line.note for line in e_invoice_of(invoice).lines] == [*notes, "", ""]
        german = amount_made_of(invoice.lines.get(line_number=1), words_for("de", "DE"))
        assert german == "100,005 EUR × 1,1196 (30.09.2024, ECB) + 7,125\N{NO-BREAK SPACE}% Aufschlag"
        for amount in ("33.33", None):
            credit_note_issue(actor=system_actor(), invoice=invoice, reason="Wrong price", amount=amount)
        for line in invoice.lines.all():
            given_back = list(line.corrections.all())
            assert {row.markup_percent for row in given_back} == {line.markup_percent}
            assert exact_sum([row.exact_amount for row in given_back]) == line.exact_amount

    @pytest.mark.parametrize(
        ("currency", "billed"), [("JPY", "1389"), ("USD", "1388.89"), ("KWD", "1388.889")]
    )
    def test_is_exact_in_each_currency(self, group: Group, currency: str, billed: str) -> None:
        change(group.root, currency=currency)
        change(group.japan, usage_markup_percent=D("12.5"))
        group.use("1234.567800000000001", entity=group.japan, currency=currency)
        line = draft(group).lines.get()
        assert (line.exact_amount, line.amount) == (D("1388.888775000000001125"), D(billed))

    def test_no_digit_is_lost(self, group: Group) -> None:
        rate("EUR", "USD", "1.0000000001")
        change(group.japan, usage_markup_percent=D("0.001"))
        group.use("1.000000000000001", entity=group.japan, currency="EUR")
        # 1.000000000000001 × 1.0000000001 × 1.00001
        assert str(draft(group).lines.get().exact_amount) == "1.000010000100002000010000100001"

    @pytest.mark.parametrize("percent", ["-0.001", "1000.001", "1.0001"])
    def test_is_a_percentage_up_to_a_thousand(self, group: Group, percent: str) -> None:
        with pytest.raises(Invalid) as caught:
            change(group.japan, usage_markup_percent=D(percent))
        assert [problem.pointer for problem in caught.value.errors] == ["/usage_markup_percent"]

    def test_the_database_keeps_the_bounds(self, group: Group) -> None:
        rows = Entity.objects.filter(pk=group.japan.pk)
        for broken in ({"usage_markup_percent": 1001}, {"tax_rounding": "never"}):
            with pytest.raises(IntegrityError), transaction.atomic():
                rows.update(**broken)
        cost_allocate(
            actor=group.manager, department=group.sales, amount=D(4), currency="USD", description="Desk",
            billable=True, **PERIOD,
        )  # fmt: skip
        draft(group)
        with pytest.raises(IntegrityError, match="invoice_line_markup_on_usage"), transaction.atomic():
            InvoiceLine.objects.update(markup_percent=5)


def taxes(currency: str, rounding: str, *lines: tuple[str, str]) -> list[Decimal]:
    return line_taxes([Taxable(D(amount), "S", D(percent)) for amount, percent in lines], currency, rounding)


class TestTaxRounding:
    """INV-05: tax is rounded per line or per document as the issuer says, and the lines always sum to it."""

    @pytest.mark.parametrize(
        ("currency", "amount", "per_line", "per_document"),
        [
            ("JPY", "3", ["1", "1", "1"], ["1", "1", "0"]),
            ("USD", "0.33", ["0.06", "0.06", "0.06"], ["0.07", "0.06", "0.06"]),
            ("KWD", "0.003", ["0.001", "0.001", "0.001"], ["0.001", "0.001", "0"]),
            ("USD", "-0.05", ["-0.01", "-0.01", "-0.01"], ["-0.01", "-0.01", "-0.01"]),
        ],
    )
    def test_exactly(self, currency: str, amount: str, per_line: list[str], per_document: list[str]) -> None:
        lines = [(amount, "19")] * 3
        assert taxes(currency, TaxRounding.LINE, *lines) == [D(tax) for tax in per_line]
        assert taxes(currency, TaxRounding.DOCUMENT, *lines) == [D(tax) for tax in per_document]

    def test_per_document_each_rate_is_rounded_by_itself(self) -> None:
        # 0.004 each: together they would make a cent that neither rate has.
        assert taxes("USD", TaxRounding.DOCUMENT, ("0.02", "20"), ("0.04", "10")) == [0, 0]
        assert taxes("USD", TaxRounding.DOCUMENT, ("0.02", "20"), ("5", "0"), ("0.02", "20")) == [
            D("0.01"), 0, 0,
        ]  # fmt: skip

    def test_the_issuer_decides_on_invoices_and_debit_notes(self, group: Group) -> None:
        change(group.root, tax_treatment="S", tax_rate=D(19))
        for number in range(3):
            group.use("0.33", department=group.sales, service_name=f"Service {number}")
        assert draft(group).tax_total == D("0.19")
        change(group.issuer, tax_rounding=TaxRounding.LINE)
        invoice = invoice_issue(actor=group.manager, invoice=draft(group))
        assert [line.tax_amount for line in invoice.lines.all()] == [D("0.06")] * 3
        assert (invoice.subtotal, invoice.tax_total, invoice.total) == (D("0.99"), D("0.18"), D("1.17"))
        assert breaches_of_amounts(invoice) == []
        lines = [DebitLine(description="Courier", amount=D("0.33")) for _ in range(3)]
        note = debit_note_issue(actor=system_actor(), invoice=invoice, reason="Courier", lines=lines)
        assert (note.tax_total, note.total) == (D("0.18"), D("1.17"))

    def test_an_e_invoice_that_would_be_a_unit_off_is_refused_clearly(self, group: Group) -> None:
        """BR-CO-17: the standard allows less than one unit for tax that was rounded line by line."""
        change(group.root, currency="JPY", tax_treatment="S", tax_rate=D(19))
        change(group.issuer, tax_rounding=TaxRounding.LINE)
        for number in range(3):
            group.use("3", department=group.sales, service_name=f"Service {number}", currency="JPY")
        assert breaches_of_amounts(draft(group)) == [
            (
                "BR-CO-17",
                "Tax of 19 % on 9 is 2, not 3. Tax that is rounded line by line can be that far off; "
                "let the issuer round it per document.",
            )
        ]


def breaches_of_amounts(invoice: Invoice) -> list[tuple[str, str]]:
    return [
        (breach.rule, breach.detail)
        for breach in breaches(e_invoice_of(invoice))
        if breach.rule.startswith("BR-CO-1")
    ]
