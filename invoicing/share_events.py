"""Budgets follow issued and void documents, and finance hears of what they refused: consumers of the outbox."""

from django.urls import reverse

from core.models import OutboxEvent
from core.notifications import notify
from entities.access import users_holding
from invoicing.models import Invoice
from invoicing.services.line_shares import document_shares_apply

_CONCERNED = "invoicing.change_invoicelineshare"


def apply_to_budgets(event: OutboxEvent) -> None:
    """Charge, or give back, what the document that was issued or became void calls for; a second time does nothing."""
    document_shares_apply(invoice_id=event.payload["invoice_id"])


def tell_of_refused_shares(event: OutboxEvent) -> None:
    """Leave a message with the payer's finance people: what budgets refused waits for them."""
    invoice = Invoice.objects.get(pk=event.payload["invoice_id"])
    count = event.payload["count"]
    lines = "1 line" if count == 1 else f"{count:,} lines"
    for user in users_holding(_CONCERNED, entity_id=invoice.entity_id):
        if not user.is_service_account:
            notify(
                user=user,
                kind="line_shares_refused",
                title=f"{invoice.number}: budgets refused {lines}",
                body="Each is listed with its reason. Raise the budget or open one, then try again.",
                url=f"{reverse('admin:invoicing_invoicelineshare_changelist')}?listed=yes",
                email=False,
            )
