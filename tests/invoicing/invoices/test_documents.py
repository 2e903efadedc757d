"""The PDF: its text is the invoice's numbers, it embeds its fonts, and it is the same bytes ever after (INV-09)."""

import io
import re
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from pypdf import PdfReader

from core.access import system_actor
from core.errors import Conflict
from core.pdf import PDFUnavailable, load_weasyprint
from entities.models import Entity
from entities.services.entity import entity_update
from invoicing.documents import checks, store
from invoicing.documents.formats import words_for
from invoicing.documents.jobs import render_document
from invoicing.documents.render import invoice_html, render_invoice
from invoicing.documents.store import PDFPending, document_name, invoice_pdf
from invoicing.models import Invoice, InvoiceDocument
from invoicing.services.consolidation import consolidated_invoice_draft
from invoicing.services.invoice import invoice_issue, invoice_void
from tests.invoicing.invoices.builders import SEPTEMBER, Group, rate


def draft(group: Group) -> Invoice:
    return consolidated_invoice_draft(
        actor=group.manager, payer=group.root, period_start=SEPTEMBER[0], period_end=SEPTEMBER[1]
    ).invoice


def issued(group: Group) -> Invoice:
    return invoice_issue(actor=group.manager, invoice=draft(group), issue_date=date(2024, 10, 4))


def text_of(content: bytes) -> list[str]:
    return [page.extract_text() for page in PdfReader(io.BytesIO(content)).pages]


@pytest.fixture
def invoice(group: Group) -> Invoice:
    rate("EUR", "USD", "1.1196")
    entity_update(actor=system_actor(), entity=group.root, tax_treatment="S", tax_rate=Decimal("19"))
    group.use("1234.567", department=group.sales)
    group.use("-44.2", department=group.sales, charge_category="Credit")
    group.use("100", department=group.research, currency="EUR", provider_name="Microsoft")
    for number in range(60):
        group.use("0.001", entity=group.japan, service_name=f"Service {number:02d}")
    return issued(group)


class TestText:
    def test_inv_09_the_text_is_the_numbers_of_the_invoice(self, invoice: Invoice) -> None:
        pages = text_of(render_invoice(invoice))
        text = "\n".join(pages)
        assert "Invoice SHS-INV-2024-000001" in text
        assert "Oct 4, 2024" in text
        assert "Nov 3, 2024" in text
        assert "September 2024" in text
        assert "DE02 1203 0000 0000 2020 51" in text
        assert "1,234.57" in text
        assert "\N{MINUS SIGN}44.20" in text
        assert "100 EUR × 1.1196 (Sep 30, 2024, ECB)" in text
        assert "Total of Northwind Germany" in text
        assert "Subtotal 100 Sales" in text
        assert f"{invoice.subtotal:,.2f}" == "1,302.39"
        for amount in (invoice.subtotal, invoice.tax_total, invoice.total):
            assert f"{amount:,.2f}" in text
        assert f"USD {invoice.total:,.2f}" in text

    def test_every_line_is_there_and_pages_are_counted(self, invoice: Invoice) -> None:
        pages = text_of(render_invoice(invoice))
        assert len(pages) >= 3
        for number, page in enumerate(pages, start=1):
            assert f"Page {number} of {len(pages)}" in page
        for page in pages[1:]:
            assert "Invoice SHS-INV-2024-000001, continued" in page
        text = "\n".join(pages)
        for line in invoice.lines.all():
            assert re.search(rf"^{line.line_number}\s+{re.escape(line.description)}", text, re.MULTILINE)
        # The head of the table of lines is carried over each page that goes on with it.
        assert sum("Description" in page and "Provider" in page for page in pages) == len(pages) - 1

    def test_fonts_are_embedded_and_the_document_is_tagged(self, invoice: Invoice) -> None:
        reader = PdfReader(io.BytesIO(render_invoice(invoice)))
        fonts = {}
        for page in reader.pages:
            for font in page["/Resources"]["/Font"].values():
                descendant = font.get_object()["/DescendantFonts"][0].get_object()
                fonts[descendant["/BaseFont"]] = descendant["/FontDescriptor"].get_object()
        assert {name.split("+")[1] for name in fonts} == {"Inter", "Inter-Semi-Bold"}
        assert all("/FontFile2" in descriptor for descriptor in fonts.values())
        assert reader.metadata is not None
        assert reader.metadata.title == "Invoice SHS-INV-2024-000001"
        assert reader.metadata.author == "Northwind Shared Services GmbH"
        catalog = reader.trailer["/Root"]
        assert catalog["/Lang"] == "en"
        assert catalog["/MarkInfo"]["/Marked"]
        assert "pdfuaid" in reader.xmp_metadata.stream.get_data().decode() if reader.xmp_metadata else False

    def test_a_draft_has_a_watermark_and_no_number(self, group: Group) -> None:
        group.use("5", department=group.sales)
        text = "\n".join(text_of(invoice_pdf(draft(group))))
        assert "DRAFT" in text
        assert "assigned at issue" in text
        assert "IBAN" not in text
        assert not InvoiceDocument.objects.exists()

    def test_a_void_invoice_is_marked_and_its_original_kept(self, group: Group) -> None:
        group.use("5", department=group.sales)
        invoice = issued(group)
        original = invoice_pdf(invoice)
        void = invoice_void(actor=group.manager, invoice=invoice, reason="Wrong address")
        marked = "\n".join(text_of(invoice_pdf(void)))
        assert "VOID" in marked
        assert "Wrong address" in marked
        assert invoice_pdf(void, as_issued=True) == original

    def test_the_payers_language_sets_numbers_and_dates(self, group: Group) -> None:
        Entity.objects.filter(pk=group.root.pk).update(language="de", country="DE")
        group.use("1234.5", department=group.sales)
        text = "\n".join(text_of(render_invoice(issued(group))))
        assert "1.234,50" in text
        assert "04.10.2024" in text

    @pytest.mark.parametrize(
        ("language", "country", "amount", "day"),
        [
            ("en", "US", "−1,234.50", "Oct 4, 2024"),
            ("en", "GB", "−1,234.50", "4 Oct 2024"),
            ("de", "CH", "−1’234.50", "04.10.2024"),
            ("fr", "FR", "−1\u202f234,50", "4 oct. 2024"),
            ("xx", "", "−1,234.50", "Oct 4, 2024"),
        ],
    )
    def test_formats(self, language: str, country: str, amount: str, day: str) -> None:
        words = words_for(language, country)
        assert words.amount(Decimal("-1234.5"), "USD") == amount
        assert words.date(date(2024, 10, 4)) == day

    def test_amounts_have_the_decimals_of_their_currency(self) -> None:
        words = words_for("en")
        assert [words.amount(Decimal("12.5"), code) for code in ("JPY", "USD", "KWD")] == [
            "13",
            "12.50",
            "12.500",
        ]

    def test_markup_in_a_name_is_text(self, group: Group) -> None:
        group.use("5", department=group.sales, service_name="<b>Bold</b> & <script>alert(1)</script>")
        invoice = draft(group)
        assert "<script>alert" not in invoice_html(invoice)
        assert "<script>alert(1)</script>" in "\n".join(text_of(render_invoice(invoice)))


class TestKept:
    def test_inv_09_the_same_bytes_twice(self, invoice: Invoice) -> None:
        first = invoice_pdf(invoice)
        assert invoice_pdf(Invoice.objects.get(pk=invoice.pk)) == first
        assert render_invoice(Invoice.objects.get(pk=invoice.pk)) == first
        kept = InvoiceDocument.objects.get()
        assert (kept.size, kept.invoice) == (len(first), invoice)

    def test_inv_09_later_changes_do_not_reach_it(self, group: Group) -> None:
        Entity.objects.filter(pk=group.issuer.pk).update(
            logo=default_storage.save("logos/a.svg", ContentFile(LOGO))
        )
        group.use("5", department=group.sales)
        invoice = issued(group)
        before = render_invoice(invoice)
        Entity.objects.filter(pk=group.issuer.pk).update(
            legal_name="Another name",
            iban="",
            logo=default_storage.save("logos/a.svg", ContentFile(LOGO + b" ")),
        )
        Entity.objects.filter(pk=group.root.pk).update(street="Elsewhere", language="de")
        assert render_invoice(Invoice.objects.get(pk=invoice.pk)) == before

    def test_a_lost_file_is_made_again_to_the_byte(self, invoice: Invoice) -> None:
        first = invoice_pdf(invoice)
        kept = InvoiceDocument.objects.get()
        Path(kept.file.path).unlink()
        assert invoice_pdf(invoice) == first
        assert Path(kept.file.path).read_bytes() == first

    def test_an_altered_file_is_refused(self, invoice: Invoice) -> None:
        invoice_pdf(invoice)
        kept = InvoiceDocument.objects.get()
        path = Path(kept.file.path)
        path.chmod(0o600)
        path.write_bytes(b"%PDF-other")
        with pytest.raises(Conflict) as caught:
            invoice_pdf(invoice)
        assert caught.value.code == "document_missing"

    def test_of_a_long_invoice_nobody_waits_for_the_pdf(
        self, invoice: Invoice, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(store, "LINES_AT_ONCE", 10)
        with pytest.raises(PDFPending) as caught:
            invoice_pdf(invoice)
        assert caught.value.code == "pdf_in_preparation"
        render_document(invoice.pk)
        assert invoice_pdf(invoice) == render_invoice(invoice)

    def test_the_job_makes_it_ready_once(self, invoice: Invoice) -> None:
        render_document(invoice.pk)
        render_document(invoice.pk)
        assert InvoiceDocument.objects.count() == 1
        assert document_name(invoice) == "SHS-INV-2024-000001.pdf"


class TestWithoutLibraries:
    """Where the system libraries are missing everything else works."""

    @pytest.fixture(autouse=True)
    def _no_libraries(self, monkeypatch: pytest.MonkeyPatch) -> None:
        # What the import of WeasyPrint does on a machine without pango.
        def missing(name: str, *args: object, **kwargs: object) -> object:
            if name == "weasyprint":
                raise OSError("cannot load library 'libpango-1.0-0'")
            return real(name, *args, **kwargs)

        import builtins

        real = builtins.__import__
        monkeypatch.setattr(builtins, "__import__", missing)
        monkeypatch.setattr(checks, "LIBRARIES", (("libnot-there.so",),))

    def test_a_clear_refusal_names_the_packages(self, group: Group) -> None:
        group.use("5", department=group.sales)
        invoice = issued(group)
        with pytest.raises(PDFUnavailable) as caught:
            invoice_pdf(invoice)
        assert (caught.value.code, caught.value.status) == ("pdf_unavailable", 503)
        assert "libpango-1.0-0" in caught.value.message
        assert not InvoiceDocument.objects.exists()
        render_document(invoice.pk)
        assert "SHS-INV-2024-000001" in invoice_html(invoice, for_screen=True)

    def test_the_check_warns(self) -> None:
        assert [warning.id for warning in checks.pdf_libraries(None)] == ["invoicing.W001"]


def test_the_check_is_silent_with_the_libraries(db: None) -> None:
    try:
        load_weasyprint()
    except PDFUnavailable:
        pytest.skip("needs pango, absent here")
    assert checks.pdf_libraries(None) == []


LOGO = b'<svg xmlns="http://www.w3.org/2000/svg" width="120" height="40"><rect width="120" height="40" fill="#1f5fa8"/></svg>'
