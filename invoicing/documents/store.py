"""The PDF of an issued invoice, kept as it was first made: the same bytes ever after (INV-09)."""

from typing import ClassVar

from celery import current_app

from core.errors import BillingError, Conflict
from invoicing.documents.kept import document_name, keep_document, kept_document, read_document
from invoicing.documents.render import render_invoice
from invoicing.models import DocumentKind, Invoice, InvoiceLine, InvoiceStatus

__all__ = ["LINES_AT_ONCE", "PDFPending", "document_keep", "document_name", "invoice_pdf", "prepared_only"]

RENDER_TASK = "invoicing.render_document"
LINES_AT_ONCE = 1500
"""Setting takes about 10 ms a line: of a longer invoice nobody waits for the PDF, a worker makes it."""


class PDFPending(BillingError):
    """503: a worker is making the PDF."""

    status: ClassVar[int] = 503


def invoice_pdf(invoice: Invoice, *, as_issued: bool = False) -> bytes:
    """Return the PDF: of an issued invoice the kept one, of a draft with its watermark, of a void one marked so.

    ``as_issued`` gives a void invoice's document as it was sent. Raises PDFUnavailable; PDFPending
    ``pdf_in_preparation`` for a long invoice that a worker has yet to set; Conflict ``too_long_for_draft_pdf``, and
    ``document_missing`` if the kept file is lost and cannot be made again to the byte.
    """
    if invoice.status == InvoiceStatus.DRAFT or (invoice.status == InvoiceStatus.VOID and not as_issued):
        if is_long(invoice):
            raise Conflict(
                "too_long_for_draft_pdf",
                f"{invoice} has more than {LINES_AT_ONCE:,} lines: only its issued form is made as PDF. The print view "
                "and the list of lines show it now.",
            )
        return render_invoice(invoice)
    kept = kept_document(invoice, DocumentKind.PDF)
    if kept is not None:
        return read_document(kept, invoice, lambda: render_invoice(invoice, marked_void=False))
    prepared_only(invoice, DocumentKind.PDF)
    return document_keep(invoice)


def document_keep(invoice: Invoice) -> bytes:
    """Make and keep the PDF of an issued invoice, however long; a second time finds it there."""
    return keep_document(invoice, DocumentKind.PDF, lambda: render_invoice(invoice, marked_void=False))


def is_long(invoice: Invoice) -> bool:
    return InvoiceLine.objects.filter(invoice=invoice).count() > LINES_AT_ONCE


def prepared_only(invoice: Invoice, kind: str) -> None:
    """Leave the PDF of a long invoice to a worker. Raises PDFPending ``pdf_in_preparation``."""
    if not is_long(invoice):
        return
    current_app.send_task(RENDER_TASK, args=[invoice.pk, kind], retry=False, ignore_result=True)
    raise PDFPending(
        "pdf_in_preparation",
        f"The PDF of {invoice} is long and is being made. Ask for it again in a few minutes.",
        extra={"retry_after": 60},
    )
