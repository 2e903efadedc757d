"""Making the PDF ready after issue, so that nobody waits for it."""

import logging

from celery import shared_task
from django.db import transaction

from core.models import OutboxEvent
from core.pdf import PDFUnavailable
from invoicing.documents.store import RENDER_TASK, document_keep
from invoicing.einvoice.store import e_invoice_keep
from invoicing.models import DocumentKind, Invoice

logger = logging.getLogger(__name__)


@shared_task(name=RENDER_TASK)
def render_document(invoice_id: int, kind: str = DocumentKind.PDF) -> None:
    """Make and keep the PDF of an issued invoice, with or without XML within; a second time finds it there."""
    invoice = Invoice.objects.get(pk=invoice_id)
    try:
        if kind == DocumentKind.PDF:
            document_keep(invoice)
        else:
            e_invoice_keep(invoice, kind)
    except PDFUnavailable as error:
        # It is made on first request once the libraries are there.
        logger.warning("The PDF of invoice %s is not made: %s", invoice_id, error)


def prepare_document(event: OutboxEvent) -> None:
    """Outbox consumer of invoice.issued: leave the rendering to a worker."""
    invoice_id = event.payload["invoice_id"]
    transaction.on_commit(lambda: render_document.delay(invoice_id), robust=True)
