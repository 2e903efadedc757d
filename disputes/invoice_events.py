"""What becomes of invoices elsewhere, for the disputes about them (DSP-17)."""

from invoicing.selectors.holds import creditable_including_tax

from core.models import OutboxEvent
from disputes.models import BillingDispute
from disputes.services.ending import dispute_make_moot
from invoicing.models import Invoice


def end_disputes_of_void_invoice(event: OutboxEvent) -> None:
    """Consumer of ``invoice.voided``: nothing is owed any more."""
    invoice = Invoice.objects.get(pk=event.payload["invoice_id"])
    for pk in _open_about(invoice.pk):
        dispute_make_moot(dispute_id=pk, reason=f"{invoice} was voided.")


def end_disputes_of_credited_lines(event: OutboxEvent) -> None:
    """Consumer of ``credit_note.issued``: what is credited as a whole need not be disputed."""
    note = Invoice.objects.select_related("corrects").get(pk=event.payload["invoice_id"])
    if note.corrects is None:
        return
    disputes = (
        BillingDispute.objects.open().filter(invoice_id=note.corrects_id).select_related("invoice_line")
    )
    for dispute in disputes:
        if not creditable_including_tax(note.corrects, dispute.invoice_line):
            dispute_make_moot(dispute_id=dispute.pk, reason=f"{note} credited all of it.")


def _open_about(invoice_id: int) -> list[int]:
    found = BillingDispute.objects.open().filter(invoice_id=invoice_id).order_by("pk")
    return list(found.values_list("pk", flat=True))
