"""What the pages of invoices, credit notes and debit notes say, whenever they are set (INV-09)."""

import hashlib
from base64 import b64decode
from datetime import UTC, date, datetime
from decimal import Decimal
from io import BytesIO

import pytest
import segno
import time_machine

from core.access import system_actor
from entities.models import Entity
from entities.services.entity import entity_update
from invoicing.documents.content import invoice_content
from invoicing.documents.payment_code import payment_code
from invoicing.documents.render import invoice_html
from invoicing.models import Invoice
from invoicing.services import invoice as invoice_service
from invoicing.services.consolidation import consolidated_invoice_draft
from invoicing.services.credit_notes import credit_note_issue
from invoicing.services.debit_notes import DebitLine, debit_note_issue
from invoicing.services.invoice import invoice_issue
from tests.invoicing.invoices.builders import SEPTEMBER, Group, build_group, rate

BANK = {"holder": "Möbel & Söhne GmbH", "iban": "DE02120300000000202051", "bic": "BYLADEM1001", "name": "DKB"}


def issued(group: Group) -> Invoice:
    draft = consolidated_invoice_draft(
        actor=group.manager, payer=group.root, period_start=SEPTEMBER[0], period_end=SEPTEMBER[1]
    ).invoice
    return invoice_issue(actor=group.manager, invoice=draft, issue_date=date(2024, 10, 4))


class TestFirstFormat:
    """INV-09: what was issued before documents were translated looks as it did then."""

    def test_inv_09_a_first_snapshot_gives_the_same_page_ever_after(
        self, db: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(invoice_service, "SNAPSHOT_FORMAT", 1)
        with time_machine.travel(datetime(2024, 10, 4, 9, tzinfo=UTC), tick=False):
            group = build_group()
            rate("EUR", "USD", "1.1196")
            entity_update(actor=system_actor(), entity=group.root, tax_treatment="S", tax_rate=Decimal("19"))
            Entity.objects.filter(pk=group.root.pk).update(language="de", country="DE", region="")
            group.use("1234.567", department=group.sales)
            group.use("-44.2", department=group.sales, charge_category="Credit")
            group.use("100", department=group.research, currency="EUR", provider_name="Microsoft")
            html = invoice_html(issued(group))
        digest = hashlib.sha256(html.encode()).hexdigest()
        assert digest == "6215f276d522ccb7cce9dbe939cfe1152b35283af4b013533c744f6cfdbb8e6b"


class TestPaymentCode:
    def test_the_scheme_of_the_epc(self) -> None:
        """EPC069-12: service tag, version 2, UTF-8, SCT, BIC, name, IBAN, amount, then the number as text."""
        data = (
            "BCD", "002", "1", "SCT", "BYLADEM1001", "Möbel & Söhne GmbH", "DE02120300000000202051", "EUR1234.5",
            "", "", "SHS-INV-2024-000001",
        )  # fmt: skip
        wanted = segno.make_qr("\n".join(data).encode(), error="m", boost_error=False)
        drawn = BytesIO()
        wanted.save(drawn, kind="svg", xmldecl=False, svgns=True, omitsize=True, nl=False)
        code = payment_code(
            bank=BANK, currency="EUR", amount=Decimal("1234.5000"), reference="SHS-INV-2024-000001"
        )
        assert code == drawn.getvalue()

    @pytest.mark.parametrize(
        ("iban", "currency", "amount", "drawn"),
        [
            (BANK["iban"], "EUR", "0.01", True),
            (BANK["iban"], "EUR", "999999999.99", True),
            ("CH9300762011623852957", "EUR", "10", True),
            (BANK["iban"], "EUR", "0", False),
            (BANK["iban"], "EUR", "1000000000", False),
            (BANK["iban"], "USD", "10", False),
            ("SA0380000000608010167519", "EUR", "10", False),
            ("", "EUR", "10", False),
        ],
    )
    def test_where_it_applies(self, iban: str, currency: str, amount: str, drawn: bool) -> None:
        code = payment_code(
            bank={**BANK, "iban": iban}, currency=currency, amount=Decimal(amount), reference="R-1"
        )
        assert (code is not None) is drawn
        assert code is None or code.startswith(b"<svg ")


class TestGermanPayer:
    @pytest.fixture
    def group(self, db: None) -> Group:
        group = build_group(currency="EUR")
        Entity.objects.filter(pk=group.root.pk).update(
            language="de", country="DE", tax_treatment="AE", payment_terms_days=0
        )
        group.root.refresh_from_db()
        group.use("1234.5", department=group.sales, currency="EUR")
        return group

    def test_the_whole_document_is_german_and_can_be_paid_by_app(self, group: Group) -> None:
        html = invoice_html(issued(group), for_screen=True)
        for text in (
            '<html lang="de">', "Rechnung SHS-INV-2024-000001, Fortsetzung", "Rechnungsnummer", "04.10.2024",
            "Zahlbar bis 04.10.2024", "Nutzung und Kosten, zusammengefasst, September 2024", "EUR 1.234,50",
            "Steuerschuldnerschaft des Leistungsempfängers", "sofort nach Erhalt", "Mit der Banking-App zahlen",
            "Zahlcode für eine SEPA-Überweisung von EUR 1.234,50 auf DE02 1203 0000 0000 2020 51, "
            "Verwendungszweck SHS-INV-2024-000001", "Summe Northwind Germany", "Sachkonto 6000",
            '"Seite " counter(page) " von " counter(pages) ""',
        ):  # fmt: skip
            assert text in html
        code = html.split('<img src="data:image/svg+xml;base64,')[1].split('"')[0]
        assert b64decode(code).startswith(b"<svg ")

    @pytest.mark.parametrize(
        ("kind", "title", "label", "due"),
        [
            ("credit_note", "Rechnungskorrektur", "Gutgeschriebener Betrag", "verrechnet oder erstattet"),
            ("debit_note", "Nachbelastung", "Zahlbetrag", "Zahlbar bis 05.10.2024"),
        ],
    )
    def test_a_note_names_the_invoice_that_it_corrects(
        self, group: Group, kind: str, title: str, label: str, due: str
    ) -> None:
        note = note_on(group, issued(group), kind)
        content = invoice_content(note)
        assert (content.title, content.amount_label) == (title, label)
        assert due in content.due
        assert ("Korrigiert Rechnung", "SHS-INV-2024-000001") in content.facts
        assert "SHS-INV-2024-000001 vom 04.10.2024" in content.subject
        assert content.reason == "Doppelt berechnet"
        assert (content.payment_code is None) is (kind == "credit_note")
        assert bool(content.payment) is (kind == "debit_note")
        html = invoice_html(note)
        assert "Doppelt berechnet" in html
        assert ">Posten</th>" not in html  # A note bills no charges of its own.


def note_on(group: Group, invoice: Invoice, kind: str) -> Invoice:
    """A credit or debit note of 100.50 on an invoice."""
    given = {"actor": group.manager, "invoice": invoice, "reason": "Doppelt berechnet"}
    if kind == "credit_note":
        return credit_note_issue(**given, amount="100.50", issue_date=date(2024, 10, 5))
    more = DebitLine(description="Nachberechnung", amount="100.50")
    return debit_note_issue(**given, lines=[more], issue_date=date(2024, 10, 5))
