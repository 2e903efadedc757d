"""Files of issued documents, each kept as it was first made: the same bytes ever after (INV-09)."""

import hashlib
from collections.abc import Callable

from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import transaction

from core import clock
from core.errors import Conflict
from core.locks import advisory_lock
from invoicing.models import DocumentKind, Invoice, InvoiceDocument

_SUFFIXES = {
    DocumentKind.FACTURX: ".factur-x.pdf",
    DocumentKind.CII: ".cii.xml",
    DocumentKind.UBL: ".ubl.xml",
}


def document_name(invoice: Invoice, kind: str = DocumentKind.PDF) -> str:
    """The name under which people save the file."""
    stem = invoice.number or f"draft-{invoice.pk}"
    return stem + _SUFFIXES.get(DocumentKind(kind), ".pdf")


def document_type(kind: str) -> str:
    """The media type of a kind of file."""
    return "application/xml" if kind in (DocumentKind.CII, DocumentKind.UBL) else "application/pdf"


def kept_document(invoice: Invoice, kind: str) -> InvoiceDocument | None:
    return InvoiceDocument.objects.filter(invoice=invoice, kind=kind).first()


def keep_document(invoice: Invoice, kind: str, make: Callable[[], bytes]) -> bytes:
    """Make and keep a file of an issued document; a second time finds it there."""
    with transaction.atomic():
        advisory_lock(f"invoice-document:{invoice.pk}")
        kept = kept_document(invoice, kind)
        if kept is not None:
            return read_document(kept, invoice, make)
        content = make()
        digest = hashlib.sha256(content).hexdigest()
        InvoiceDocument.objects.create(
            invoice=invoice,
            kind=kind,
            file=_save(invoice, kind, content, digest),
            sha256=digest,
            size=len(content),
            created_at=clock.now(),
        )
    return content


def read_document(kept: InvoiceDocument, invoice: Invoice, make: Callable[[], bytes]) -> bytes:
    """Return the kept file; a lost one is made again if that gives the same bytes.

    Raises Conflict ``document_missing``.
    """
    try:
        with kept.file.open("rb") as file:
            content: bytes = file.read()
    except FileNotFoundError:
        content = make()
        if hashlib.sha256(content).hexdigest() == kept.sha256:
            default_storage.save(kept.file.name, ContentFile(content))
    if hashlib.sha256(content).hexdigest() != kept.sha256:
        label = DocumentKind(kept.kind).label
        raise Conflict(
            "document_missing",
            f"The stored {label} of {invoice} is lost or was altered. Restore the file {kept.file.name} from the "
            "backup.",
            extra={"file": kept.file.name, "sha256": kept.sha256},
        )
    return content


def _save(invoice: Invoice, kind: str, content: bytes, digest: str) -> str:
    name = f"invoices/{invoice.issue_date:%Y/%m}/{invoice.pk}-{digest[:16]}{_SUFFIXES.get(DocumentKind(kind), '.pdf')}"
    # The name holds the digest: a file left by a transaction that failed has the same bytes.
    return name if default_storage.exists(name) else default_storage.save(name, ContentFile(content))
