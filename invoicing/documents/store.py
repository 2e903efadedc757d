"""The PDF of an issued invoice, kept as it was first made: the same bytes ever after (INV-09)."""

import hashlib

from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import transaction

from core import clock
from core.errors import Conflict
from core.locks import advisory_lock
from invoicing.documents.render import render_invoice
from invoicing.models import Invoice, InvoiceDocument, InvoiceStatus


def invoice_pdf(invoice: Invoice, *, as_issued: bool = False) -> bytes:
    """Return the PDF: of an issued invoice the kept one, of a draft with its watermark, of a void one marked so.

    ``as_issued`` gives a void invoice's document as it was sent. Raises PDFUnavailable; Conflict
    ``document_missing`` if the kept file is lost and cannot be made again to the byte.
    """
    if invoice.status == InvoiceStatus.DRAFT or (invoice.status == InvoiceStatus.VOID and not as_issued):
        return render_invoice(invoice)
    kept = InvoiceDocument.objects.filter(invoice=invoice).first()
    return _read(kept, invoice) if kept is not None else _keep(invoice)


def document_name(invoice: Invoice) -> str:
    """The name under which people save the file."""
    return f"{invoice.number}.pdf" if invoice.number else f"draft-{invoice.pk}.pdf"


def _keep(invoice: Invoice) -> bytes:
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
