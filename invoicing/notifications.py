"""Finance hears of issued and voided invoices: consumers of the outbox, after commit."""

from django.urls import reverse

from core.models import OutboxEvent
from core.notifications import notify
from entities.access import users_holding
from invoicing.models import Invoice

_CONCERNED = "invoicing.issue_invoice"


def tell_finance(event: OutboxEvent) -> None:
    """Leave a message with the payer's and the issuer's finance people, except who did it; a void is mailed too."""
    invoice = Invoice.objects.select_related("entity", "issuer").get(pk=event.payload["invoice_id"])
    voided = event.topic == "invoice.voided"
    doer_id = invoice.voided_by_id if voided else invoice.issued_by_id
    people = {
        user.pk: user
        for entity_id in (invoice.entity_id, invoice.issuer_id)
        for user in users_holding(_CONCERNED, entity_id=entity_id)
        if not user.is_service_account and user.pk != doer_id
    }
    total = f"{event.payload['total']} {event.payload['currency']}"
    period = f"{invoice.period_start} until before {invoice.period_end}"
    if voided:
        title = f"{invoice.get_document_type_display()} {invoice.number} is void"
        body = f"{invoice.entity}, {total}, {period}. Reason: {event.payload['reason']}"
    else:
        title = f"Invoice {invoice.number} is issued"
        body = f"{invoice.entity}, {total}, {period}, due {invoice.due_date}."
    for user in people.values():
        notify(
            user=user,
            kind="invoice_voided" if voided else "invoice_issued",
            title=title,
            body=body,
            url=reverse("admin:invoicing_invoice_change", args=[invoice.pk]),
            email=voided,
        )
