"""E-invoices by EN 16931: exact amounts, valid by schema and business rules, refused where data is missing (INV-09)."""

import io
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from lxml import etree
from pypdf import PdfReader

from core.access import system_actor
from core.errors import Conflict
from entities.models import Entity
from invoicing.einvoice.cii import cii_xml
from invoicing.einvoice.mapping import e_invoice_of, vat_identifier
from invoicing.einvoice.model import EInvoice
from invoicing.einvoice.rules import breaches
from invoicing.einvoice.schema import CII, UBL_CREDIT_NOTE, UBL_INVOICE, check_schema
from invoicing.einvoice.store import e_invoice
from invoicing.einvoice.ubl import ubl_xml
from invoicing.models import DocumentKind, Invoice, InvoiceDocument
from invoicing.services.invoice import invoice_void
from invoicing.services.tax_rules import tax_rule_create
from tests.invoicing.documents.schematron import broken_rules
from tests.invoicing.documents.test_pages import issued, note_on
from tests.invoicing.invoices.builders import Group, build_group, rate

NAMES = {
    "cac": "urn:oasis:names:specification:ubl:schema:xsd:CommonAggregateComponents-2",
    "cbc": "urn:oasis:names:specification:ubl:schema:xsd:CommonBasicComponents-2",
    "ram": "urn:un:unece:uncefact:data:standard:ReusableAggregateBusinessInformationEntity:100",
}


def texts(xml: bytes, path: str) -> list[str]:
    return [str(node.text) for node in etree.fromstring(xml).iterfind(path, NAMES)]


@pytest.fixture
def group(db: None) -> Group:
    """A German payer with its VAT id, billed in euros at 19 %."""
    group = build_group(currency="EUR")
    Entity.objects.filter(pk=group.root.pk).update(
        language="de", country="DE", tax_id="129273398", tax_treatment="S", tax_rate=Decimal("19"),
        registration_number="HRB 4711", billing_email="rechnung@northwind.example",
    )  # fmt: skip
    Entity.objects.filter(pk=group.issuer.pk).update(billing_email="billing@northwind.example")
    group.root.refresh_from_db()
    return group


@pytest.fixture
def invoice(group: Group) -> Invoice:
    rate("USD", "EUR", "0.9")
    group.use("1234.567", department=group.sales, currency="EUR")
    group.use("-44.2", department=group.sales, currency="EUR", charge_category="Credit")
    group.use("0.001", department=group.research, currency="USD", service_name="Dust & <markup> \x0b")
    return issued(group)


REVERSED = "Steuerschuldnerschaft des Leistungsempfängers (Reverse Charge)"


def mixed(group: Group) -> Invoice:
    """An invoice to a payer at 19 % over products of every treatment that they can have (INV-05)."""
    Entity.objects.filter(pk=group.root.pk).update(tax_treatment="S")
    group.root.refresh_from_db()
    for service, amounts, category, percent in (
        ("Licences", ["10"], "AE", 0),
        ("Courses", ["20"], "E", 0),
        ("Books", ["0.33", "0.33"], "S", 7),
        ("Exports", ["30"], "Z", 0),
        ("Compute", ["100"], "", 19),
    ):
        if category:
            tax_rule_create(
                actor=system_actor(), issuer=group.issuer, name=service, service=service,
                tax_category=category, tax_rate=Decimal(percent), valid_from=date(2024, 1, 1),
            )  # fmt: skip
        for amount, department in zip(amounts, (group.sales, group.research), strict=False):
            group.use(amount, department=department, currency="EUR", service_name=service)
    return issued(group)


def checked(document: EInvoice) -> dict[str, bytes]:
    """Both files, each after its schema."""
    made = {"cii": cii_xml(document), "ubl": ubl_xml(document)}
    check_schema(made["cii"], CII)
    check_schema(made["ubl"], UBL_CREDIT_NOTE if document.is_credit_note else UBL_INVOICE)
    return made


class TestContent:
    def test_amounts_taxes_and_credits_are_exact(self, invoice: Invoice) -> None:
        document = e_invoice_of(invoice)
        assert [(line.quantity, line.price, line.amount) for line in document.lines] == [
            (1, Decimal("1234.57"), Decimal("1234.57")),
            (-1, Decimal("44.20"), Decimal("-44.20")),
            (1, Decimal("0"), Decimal("0")),
        ]
        assert breaches(document, peppol=True) == []
        ubl = ubl_xml(document)
        assert texts(ubl, "cac:InvoiceLine/cbc:LineExtensionAmount") == ["1234.57", "-44.20", "0.00"]
        assert texts(ubl, "cac:TaxTotal/cac:TaxSubtotal/*")[:2] == ["1190.37", "226.17"]
        assert texts(ubl, "cac:LegalMonetaryTotal/*") == ["1190.37", "1190.37", "1416.54", "1416.54"]
        assert texts(ubl, "cac:PaymentMeans//cbc:*")[:3] == ["58", invoice.number, "DE02120300000000202051"]

    def test_inv_05_products_taxed_differently_have_a_row_each_with_its_reason(self, group: Group) -> None:
        document = e_invoice_of(mixed(group))
        assert [
            (row.category, row.rate, row.taxable, row.tax, row.reason, row.reason_code)
            for row in document.taxes
        ] == [
            ("AE", 0, Decimal("10.00"), 0, REVERSED, "VATEX-EU-AE"),
            ("E", 0, Decimal("20.00"), 0, "Steuerfrei", ""),
            ("S", 7, Decimal("0.66"), Decimal("0.05"), "", ""),
            ("S", 19, Decimal("100.00"), Decimal("19.00"), "", ""),
            ("Z", 0, Decimal("30.00"), 0, "", ""),
        ]
        assert (document.tax, document.total) == (Decimal("19.05"), Decimal("179.71"))
        assert breaches(document, peppol=True) == []
        made = checked(document)
        assert texts(made["ubl"], "cac:TaxTotal//cbc:TaxExemptionReason") == [REVERSED, "Steuerfrei"]
        assert texts(made["cii"], ".//ram:ExemptionReason") == [REVERSED, "Steuerfrei"]

    def test_both_syntaxes_say_the_same(self, invoice: Invoice) -> None:
        made = checked(e_invoice_of(invoice))
        assert texts(made["cii"], ".//ram:LineTotalAmount") == ["1234.57", "-44.20", "0.00", "1190.37"]
        assert texts(made["cii"], ".//ram:SpecifiedTaxRegistration/ram:ID") == ["DE136695976", "DE129273398"]
        assert texts(made["ubl"], ".//cac:PartyTaxScheme/cbc:CompanyID") == ["DE136695976", "DE129273398"]
        assert texts(made["cii"], ".//ram:DuePayableAmount") == ["1416.54"]
        assert texts(made["ubl"], "cbc:DueDate") == ["2024-11-03"]
        assert texts(made["ubl"], "cac:InvoiceLine/cac:Item/cbc:Name")[2] == "Dust & <markup>"
        assert texts(made["ubl"], "cac:InvoiceLine/cbc:Note") == ["0,001 USD × 0,9 (30.09.2024, ECB)"]

    @pytest.mark.parametrize(
        ("tax_id", "country", "vat_id"),
        [
            ("DE136695976", "DE", "DE136695976"),
            ("136695976", "DE", "DE136695976"),
            ("2893081508152", "DE", ""),
            ("EL094259216", "GR", "EL094259216"),
            ("CHE-116.281.710 MWST", "CH", "CHE116281710MWST"),
            ("91-1144442", "US", ""),
            ("", "DE", ""),
        ],
    )
    def test_a_vat_id_has_the_letters_of_its_country(self, tax_id: str, country: str, vat_id: str) -> None:
        """BR-CO-09: any other tax number is no VAT id."""
        assert vat_identifier(tax_id, country) == vat_id


class TestOfficialRules:
    def test_every_kind_of_document_is_valid(self, group: Group, invoice: Invoice, tmp_path: Path) -> None:
        """Schema and Schematron of EN 16931 find nothing, in CII and UBL; with an error put in they find it."""
        standard = e_invoice_of(invoice)
        cases = {"S": standard, "broken": replace(standard, total=standard.total + 1)}
        for treatment in ("Z", "E", "O", "AE"):
            Entity.objects.filter(pk=group.root.pk).update(tax_treatment=treatment)
            group.root.refresh_from_db()
            group.use("210.005", department=group.sales, currency="EUR", service_name=f"Category {treatment}")
            last = issued(group)
            cases[treatment] = e_invoice_of(last)
        for kind in ("credit_note", "debit_note"):
            cases[kind] = e_invoice_of(note_on(group, last, kind))
        cases["mixed"] = e_invoice_of(mixed(group))
        for name, document in cases.items():
            for syntax, xml in checked(document).items():
                (tmp_path / f"{name}.{syntax}.xml").write_bytes(xml)
        found = broken_rules(tmp_path)
        assert len(found) == 18
        assert found.pop("broken.cii.xml") == found.pop("broken.ubl.xml") == ["BR-CO-15"]
        assert {name: rules for name, rules in found.items() if rules} == {}
        assert {
            name: breaches(document, peppol=True) for name, document in cases.items() if name != "broken"
        } == {name: [] for name in cases if name != "broken"}


class TestRefusals:
    def refusal(self, invoice: Invoice, kind: str) -> tuple[str, list[str]]:
        with pytest.raises(Conflict) as caught:
            e_invoice(invoice, kind)
        return caught.value.code, [problem.code for problem in caught.value.errors]

    def test_missing_master_data_is_named(self, group: Group) -> None:
        """BR-09, BR-11, BR-S-02, and the electronic addresses of Peppol; nothing is kept."""
        Entity.objects.filter(pk=group.root.pk).update(country="", billing_email="")
        Entity.objects.filter(pk=group.issuer.pk).update(country="", tax_id="", billing_email="")
        group.use("5", department=group.sales, currency="EUR")
        invoice = issued(group)
        with pytest.raises(Conflict) as caught:
            e_invoice(invoice, DocumentKind.UBL)
        assert caught.value.code == "e_invoice_incomplete"
        assert [(problem.code, problem.detail) for problem in caught.value.errors] == [
            ("BR-09", "The issuer Northwind Shared Services GmbH has no country."),
            ("BR-11", "The addressee Northwind Group Inc. has no country."),
            (
                "BR-S-02",
                "The issuer Northwind Shared Services GmbH has no tax id, which standard rate asks for.",
            ),
            (
                "PEPPOL-EN16931-R020",
                "The issuer Northwind Shared Services GmbH has no billing e-mail, its electronic address.",
            ),
            (
                "PEPPOL-EN16931-R010",
                "The addressee Northwind Group Inc. has no billing e-mail, its electronic address.",
            ),
        ]
        assert self.refusal(invoice, DocumentKind.FACTURX) == (
            "e_invoice_incomplete",
            ["BR-09", "BR-11", "BR-S-02"],
        )
        assert not InvoiceDocument.objects.exists()

    @pytest.mark.parametrize(("currency", "broken"), [("KWD", ["BR-DEC-23"]), ("JPY", [])])
    def test_three_decimals_are_refused(self, db: None, currency: str, broken: list[str]) -> None:
        """BR-DEC: two decimals are the most; none is fine."""
        group = build_group(currency=currency)
        group.use("1234.5678", department=group.sales, currency=currency)
        document = e_invoice_of(issued(group))
        assert [breach.rule for breach in breaches(document)] == broken
        assert document.net == (Decimal("1234.568") if currency == "KWD" else Decimal("1235"))
        if not broken:
            assert texts(checked(document)["ubl"], "cac:LegalMonetaryTotal/cbc:PayableAmount") == ["1235"]

    def test_reverse_charge_wants_the_addressees_registration(self, group: Group) -> None:
        """BR-AE-02."""
        Entity.objects.filter(pk=group.root.pk).update(tax_treatment="AE", tax_id="", registration_number="")
        group.root.refresh_from_db()
        group.use("5", department=group.sales, currency="EUR")
        assert self.refusal(issued(group), DocumentKind.CII) == ("e_invoice_incomplete", ["BR-AE-02"])

    def test_wrong_sums_are_found(self, invoice: Invoice) -> None:
        """BR-CO-10, BR-CO-14, BR-CO-15, BR-CO-17, BR-S-08."""
        document = e_invoice_of(invoice)
        tax = document.taxes[0]

        def rules(changed: EInvoice) -> list[str]:
            return [breach.rule for breach in breaches(changed)]

        assert rules(replace(document, net=document.net + 1)) == ["BR-CO-10", "BR-CO-15"]
        assert rules(replace(document, tax=document.tax + 1, total=document.total + 1)) == ["BR-CO-14"]
        assert rules(replace(document, taxes=[replace(tax, taxable=tax.taxable + 1)])) == ["BR-S-08"]
        assert rules(replace(document, taxes=[replace(tax, rate=Decimal(20))])) == ["BR-S-08", "BR-CO-17"]

    def test_a_void_document_has_only_what_was_made_before(self, group: Group, invoice: Invoice) -> None:
        before = e_invoice(invoice, DocumentKind.UBL)
        void = invoice_void(actor=group.manager, invoice=invoice, reason="Wrong address")
        assert e_invoice(void, DocumentKind.UBL) == before
        assert self.refusal(void, DocumentKind.CII) == ("e_invoice_void", [])


class TestKept:
    def test_inv_09_the_hybrid_is_pdf_a_with_its_data_within(self, invoice: Invoice) -> None:
        content = e_invoice(invoice, DocumentKind.FACTURX)
        reader = PdfReader(io.BytesIO(content))
        catalog = reader.trailer["/Root"]
        assert reader.attachments == {"factur-x.xml": [cii_xml(e_invoice_of(invoice))]}
        file = catalog["/AF"][0].get_object()
        assert (file["/F"], file["/AFRelationship"]) == ("factur-x.xml", "/Alternative")
        assert file["/EF"]["/F"].get_object()["/Subtype"] == "/text/xml"
        assert catalog["/OutputIntents"][0].get_object()["/S"] == "/GTS_PDFA1"
        assert catalog["/MarkInfo"]["/Marked"]
        metadata = reader.xmp_metadata
        assert metadata is not None
        rdf = etree.fromstring(metadata.stream.get_data()).findall(
            "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}RDF"
        )
        assert len(rdf) == 1
        stated = etree.tostring(rdf[0]).decode()
        for value in (
            'pdfaid:part="3"',
            'conformance="A"',
            "factur-x.xml",
            "EN 16931",
            "pdfaExtension:schemas",
        ):
            assert value in stated
        assert e_invoice(Invoice.objects.get(pk=invoice.pk), DocumentKind.FACTURX) == content

    def test_inv_09_later_changes_do_not_reach_it(self, group: Group, invoice: Invoice) -> None:
        first = e_invoice(invoice, DocumentKind.UBL)
        kept = InvoiceDocument.objects.get(invoice=invoice, kind=DocumentKind.UBL)
        Entity.objects.filter(pk=group.issuer.pk).update(legal_name="Another name", iban="", country="FR")
        Path(kept.file.path).unlink()
        assert e_invoice(Invoice.objects.get(pk=invoice.pk), DocumentKind.UBL) == first
        assert kept.size == len(first)
