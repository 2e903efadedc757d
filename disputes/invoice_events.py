"""What becomes of invoices elsewhere, for the disputes about them (DSP-17)."""

from django.db.models import F

from core.models import OutboxEvent
from disputes.models import BillingDispute
from disputes.services.ending import dispute_make_moot
from invoicing.models import Invoice, InvoiceLine
from invoicing.selectors.holds import creditable_including_tax


def end_disputes_of_void_invoice(event: OutboxEvent) -> None:
    """Consumer of ``invoice.voided``: nothing is owed any more."""
    invoice = Invoice.objects.get(pk=event.payload["invoice_id"])
    for dispute in _open_about(invoice):
        dispute_make_moot(dispute_id=dispute.pk, reason=f"{invoice} was voided.")


def end_disputes_of_credited_lines(event: OutboxEvent) -> None:
    """Consumer of ``credit_note.issued``: what is credited as a whole need not be disputed.

    What is left is looked up now: the credit note may have been voided since.
    """
    note = Invoice.objects.select_related("corrects").get(pk=event.payload["invoice_id"])
    if note.corrects is None:
        return
    used_up = creditable_including_tax(note.corrects) <= 0
    credited = set() if used_up else _credited_lines(note.corrects)
    for dispute in _open_about(note.corrects):
        if used_up or dispute.invoice_line_id in credited:
            dispute_make_moot(dispute_id=dispute.pk, reason=f"{note} credited all of it.")


def _open_about(invoice: Invoice) -> list[BillingDispute]:
    return list(BillingDispute.objects.open().filter(invoice=invoice).order_by("pk"))


def _credited_lines(invoice: Invoice) -> set[int]:
    """Ids of the lines of which nothing is left to be credited."""
    rows = InvoiceLine.objects.filter(
        invoice=invoice, credited_amount=F("amount"), credited_tax=F("tax_amount")
    )
    return set(rows.values_list("pk", flat=True))
