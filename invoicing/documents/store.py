"""The PDF of an issued invoice, kept as it was first made: the same bytes ever after (INV-09)."""

import hashlib
from typing import ClassVar

from celery import current_app
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import transaction

from core import clock
from core.errors import BillingError, Conflict
from core.locks import advisory_lock
from invoicing.documents.render import render_invoice
from invoicing.models import Invoice, InvoiceDocument, InvoiceLine, InvoiceStatus

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
    kept = InvoiceDocument.objects.filter(invoice=invoice).first()
    is_long = InvoiceLine.objects.filter(invoice=invoice).count() > LINES_AT_ONCE
    if invoice.status == InvoiceStatus.DRAFT or (invoice.status == InvoiceStatus.VOID and not as_issued):
        if is_long:
            raise Conflict(
                "too_long_for_draft_pdf",
                f"{invoice} has more than {LINES_AT_ONCE:,} lines: only its issued form is made as PDF. The print view "
                "and the list of lines show it now.",
            )
        return render_invoice(invoice)
    if kept is not None:
        return _read(kept, invoice)
    if is_long:
        current_app.send_task(RENDER_TASK, args=[invoice.pk], retry=False, ignore_result=True)
        raise PDFPending(
            "pdf_in_preparation",
            f"The PDF of {invoice} is long and is being made. Ask for it again in a few minutes.",
            extra={"retry_after": 60},
        )
    return document_keep(invoice)


def document_name(invoice: Invoice) -> str:
    """The name under which people save the file."""
    return f"{invoice.number}.pdf" if invoice.number else f"draft-{invoice.pk}.pdf"


def document_keep(invoice: Invoice) -> bytes:
    """Make and keep the PDF of an issued invoice, however long; a second time finds it there."""
    with transaction.atomic():
        advisory_lock(f"invoice-document:{invoice.pk}")
        kept = InvoiceDocument.objects.filter(invoice=invoice).first()
        if kept is not None:
            return _read(kept, invoice)
        content = render_invoice(invoice, marked_void=False)
        digest = hashlib.sha256(content).hexdigest()
        InvoiceDocument.objects.create(
            invoice=invoice,
            file=_save(invoice, content, digest),
            sha256=digest,
            size=len(content),
            created_at=clock.now(),
        )
    return content


def _save(invoice: Invoice, content: bytes, digest: str) -> str:
    name = f"invoices/{invoice.issue_date:%Y/%m}/{invoice.pk}-{digest[:16]}.pdf"
    # The name holds the digest: a file left by a transaction that failed has the same bytes.
    return name if default_storage.exists(name) else default_storage.save(name, ContentFile(content))


def _read(kept: InvoiceDocument, invoice: Invoice) -> bytes:
    try:
        with kept.file.open("rb") as file:
            content = file.read()
    except FileNotFoundError:
        content = render_invoice(invoice, marked_void=False)
        if hashlib.sha256(content).hexdigest() == kept.sha256:
            default_storage.save(kept.file.name, ContentFile(content))
    if hashlib.sha256(content).hexdigest() != kept.sha256:
        raise Conflict(
            "document_missing",
            f"The stored PDF of {invoice} is lost or was altered. Restore the file {kept.file.name} from the backup.",
            extra={"file": kept.file.name, "sha256": kept.sha256},
        )
    return content
