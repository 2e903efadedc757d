"""Finance hears of money that comes and goes, and of notes: consumers of the outbox, after commit."""

from collections.abc import Callable
from dataclasses import dataclass

from django.urls import reverse

from core.models import OutboxEvent
from core.notifications import notify
from entities.access import users_holding
from entities.models import Entity
from invoicing.models import Invoice, Payment, Refund

_CONCERNED = "invoicing.add_payment"


@dataclass(frozen=True, slots=True)
class _Message:
    """What is told, and who did it and need not be told."""

    title: str
    body: str
    page: str
    key: int
    doer_id: int | None
    email: bool = False


def tell_of_settlement(event: OutboxEvent) -> None:
    """Leave a message with the finance people of issuer and payer, except who did it; a bounced payment is mailed."""
    message = _MESSAGES[event.topic](event)
    payload = event.payload
    people = {
        user.pk: user
        for entity_id in dict.fromkeys((payload["entity_id"], payload["issuer_id"]))
        for user in users_holding(_CONCERNED, entity_id=entity_id)
        if not user.is_service_account and user.pk != message.doer_id
    }
    for user in people.values():
        notify(
            user=user,
            kind=event.topic.replace(".", "_"),
            title=message.title,
            body=message.body,
            url=reverse(f"admin:invoicing_{message.page}_change", args=[message.key]),
            email=message.email,
        )


def _money(event: OutboxEvent, name: str = "amount") -> str:
    return f"{event.payload[name]} {event.payload['currency']}"


def _payer(event: OutboxEvent) -> str:
    return str(Entity.objects.get(pk=event.payload["entity_id"]))


def _received(event: OutboxEvent) -> _Message:
    payload = event.payload
    payment = Payment.objects.get(pk=payload["payment_id"])
    count = len(payload["settled"])
    settled = f"It settles {count} document{'' if count == 1 else 's'}" if count else "It settles nothing yet"
    return _Message(
        f"Payment of {_money(event)} from {_payer(event)}",
        f"Received {payload['received_on']}. {settled}; {_money(event, 'unapplied')} is left.",
        "payment",
        payment.pk,
        payment.created_by_id,
    )


def _reversed(event: OutboxEvent) -> _Message:
    count = len(event.payload["settled"])
    opened = f"{count} document{' is' if count == 1 else 's are'} open again. " if count else ""
    return _Message(
        f"Payment of {_money(event)} from {_payer(event)} is reversed",
        f"{opened}Reason: {event.payload['reason']}",
        "payment",
        event.payload["payment_id"],
        event.payload["actor_id"],
        email=True,
    )


def _note(event: OutboxEvent) -> _Message:
    note = Invoice.objects.select_related("corrects").get(pk=event.payload["invoice_id"])
    return _Message(
        f"{note.get_document_type_display()} {note.number} is issued",
        f"{_payer(event)}, {_money(event, 'total')}, on {note.corrects}. Reason: {note.reason}",
        "invoice",
        note.pk,
        note.issued_by_id,
    )


def _refund(event: OutboxEvent) -> _Message:
    refund = Refund.objects.get(pk=event.payload["refund_id"])
    return _Message(
        f"Refund of {_money(event)} to {_payer(event)}",
        f"On {refund.refunded_on}. Reason: {refund.reason}",
        "refund",
        refund.pk,
        refund.created_by_id,
    )


_MESSAGES: dict[str, Callable[[OutboxEvent], _Message]] = {
    "payment.received": _received,
    "payment.reversed": _reversed,
    "credit_note.issued": _note,
    "debit_note.issued": _note,
    "refund.made": _refund,
}
SETTLEMENT_TOPICS = tuple(_MESSAGES)
