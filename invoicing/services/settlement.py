"""What settles documents, for the services of payments, credit notes and write-offs (INV-01, INV-06).

One order of locks for all: documents (credit notes among them) by ascending id, then the payment, then budgets, then
the series of numbers. Who holds a document's lock knows what is open of it, so that the settlements never exceed its
total; the database refuses the rest.
"""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.db import transaction
from django.db.models import Sum
from simple_history.utils import bulk_update_with_history

from core import clock
from core.access import require
from core.errors import Conflict, Invalid
from core.history import current, record_as
from core.models import OutboxEvent, User
from core.money import EXACT, exact_sum, minor_units, parse_amount, plain_amount, round_money
from core.outbox import publish, wake_after_commit
from entities.models import Entity
from entities.services.records import field_error
from invoicing.models import Invoice, InvoiceStatus, Payment, Refund, Settlement, SettlementKind

ZERO = Decimal(0)
LONGEST_REASON = 500


@dataclass(frozen=True, slots=True)
class Part:
    """An amount that is to settle a locked document, on a day."""

    document: Invoice
    amount: Decimal
    settled_on: datetime.date


# --- Input -----------------------------------------------------------------------------------------------


def checked_reason(reason: str, why: str) -> str:
    """The reason without blanks around it; Invalid ``reason_required`` when it is empty or too long."""
    reason = reason.strip()
    if not reason or len(reason) > LONGEST_REASON:
        raise field_error("reason", "reason_required", f"Say in at most {LONGEST_REASON} characters {why}.")
    return reason


def checked_amount(value: Decimal | str | int, currency: str, field: str = "amount") -> Decimal:
    """A positive amount at the currency's minor unit; Invalid names the field."""
    try:
        amount = parse_amount(value)
    except Invalid as error:
        raise field_error(field, error.code, error.message) from error
    if amount <= 0:
        raise field_error(field, "amount_not_positive", "The amount must be greater than zero.")
    if round_money(amount, currency) != amount:
        decimals = minor_units(currency)
        raise field_error(
            field,
            "amount_too_precise",
            f"{currency} has {decimals} decimals; {amount} has more. Round it first.",
        )
    return amount


def checked_day(day: datetime.date | None, issuer: Entity, field: str) -> datetime.date:
    """The day, or today in the issuer's zone; Invalid ``date_in_future``."""
    today = clock.today(issuer.time_zone)
    if day is not None and day > today:
        raise field_error(
            field, "date_in_future", f"{day} is in the future; in the issuer's time zone today is {today}."
        )
    return day or today


def money_text(amount: Decimal, currency: str) -> str:
    """15000.00 EUR."""
    return f"{plain_amount(amount, currency)} {currency}"


# --- Locks -----------------------------------------------------------------------------------------------


def lock_documents(*ids: int | None) -> dict[int, Invoice]:
    """Lock documents by ascending id and return them as they are now; None is passed over."""
    rows = Invoice.objects.select_for_update(of=("self",)).select_related("entity", "issuer")
    return {row.pk: row for row in rows.filter(pk__in={pk for pk in ids if pk is not None}).order_by("pk")}


def lock_payment(payment_id: int) -> Payment:
    """Lock a payment; documents are locked before."""
    rows = Payment.objects.select_for_update(of=("self",)).select_related("entity", "issuer")
    return rows.get(pk=payment_id)


# --- Settling: the caller holds the locks -----------------------------------------------------------------


def require_settleable(document: Invoice) -> None:
    """Refuse drafts, void documents and credit notes (``not_receivable``)."""
    if document.is_credit_note:
        raise Conflict(
            "not_receivable",
            f"{document} is a credit note: it settles invoices and is not settled itself. Use it up instead.",
        )
    if not document.is_posted:
        state = document.get_status_display().lower()
        raise Conflict(
            "not_receivable",
            f"{document} is {state}: only an issued invoice can be settled.",
            extra={"invoice_id": document.pk, "status": document.status},
        )


def require_same_account(document: Invoice, source: Payment | Invoice) -> None:
    """Refuse to settle in another currency or on somebody else's account."""
    if document.currency != source.currency:
        raise Invalid(
            "currency_mismatch",
            f"{document} is in {document.currency}, {source} in {source.currency}. Money settles only what is in its "
            "own currency: choose a document in that currency, or record what the bank converted it to.",
            extra={"currencies": [document.currency, source.currency]},
        )
    if document.issuer_id != source.issuer_id or document.entity_id != source.entity_id:
        raise Conflict(
            "other_account",
            f"{document} is asked of {document.entity} by {document.issuer}; {source} is between {source.entity} and "
            f"{source.issuer}. Choose a document of the same payer and issuer.",
            extra={"invoice_id": document.pk},
        )


def settle(
    *,
    actor: User,
    parts: Sequence[Part],
    kind: str,
    payment: Payment | None = None,
    credit_note: Invoice | None = None,
    reason: str = "",
) -> list[Settlement]:
    """Settle locked documents; the counter of the payment or credit note is the caller's.

    Raises Conflict ``not_receivable``, ``amount_exceeds_open``.
    """
    for part in parts:
        require_settleable(part.document)
        if part.amount > part.document.open_amount:
            currency = part.document.currency
            raise Conflict(
                "amount_exceeds_open",
                f"Only {money_text(part.document.open_amount, currency)} of {part.document} is open, not "
                f"{money_text(part.amount, currency)}. Give at most that; the rest stays as a balance.",
                extra={
                    "invoice_id": part.document.pk,
                    "open_amount": plain_amount(part.document.open_amount, currency),
                    "currency": currency,
                },
            )
    now = clock.now()
    rows = Settlement.objects.bulk_create(
        Settlement(
            invoice=part.document, kind=kind, payment=payment, credit_note=credit_note, amount=part.amount,
            settled_on=part.settled_on, reason=reason, created_by=actor, created_at=now,
        )
        for part in parts
    )  # fmt: skip
    for part in parts:
        set_settled(part.document, EXACT.add(part.document.settled_amount, part.amount))
    documents = [part.document for part in parts]
    write_documents(documents)
    _publish_paid(documents)
    return rows


def unsettle(
    *, actor: User, settlements: Sequence[Settlement], documents: dict[int, Invoice], reason: str
) -> list[Settlement]:
    """Write the opposite of settlements whose documents are locked; counters of the source are the caller's."""
    now = clock.now()
    rows = Settlement.objects.bulk_create(
        Settlement(
            invoice_id=row.invoice_id, kind=row.kind, payment_id=row.payment_id, credit_note_id=row.credit_note_id,
            amount=-row.amount, settled_on=max(clock.today(documents[row.invoice_id].issuer.time_zone), row.settled_on),
            reason=reason, reverses=row, created_by=actor, created_at=now,
        )
        for row in settlements
    )  # fmt: skip
    for row in settlements:
        document = documents[row.invoice_id]
        set_settled(document, EXACT.subtract(document.settled_amount, row.amount))
    write_documents([documents[pk] for pk in sorted({row.invoice_id for row in settlements})])
    return rows


def not_reversed(settlements: Any) -> Any:
    """Those settlements that count and that nothing took back."""
    return settlements.filter(reverses__isnull=True, reversal__isnull=True)


def set_settled(document: Invoice, amount: Decimal) -> None:
    """Set what is settled (or used, of a credit note) and the state that follows from it."""
    document.settled_amount = amount
    if amount == document.total:
        document.settle_whole()
    elif amount:
        document.settle_part()
    else:
        document.reopen()


def write_documents(documents: Sequence[Invoice]) -> None:
    """Store the counters and states of locked documents, with history, in bulk."""
    now = clock.now()
    for document in documents:
        document.version += 1
        document.updated_at = now
    bulk_update_with_history(
        documents,
        Invoice,
        ["status", "settled_amount", "version", "updated_at"],
        batch_size=500,
        default_change_reason=current().reason,
    )


def _publish_paid(documents: Sequence[Invoice]) -> None:
    paid = [document for document in documents if document.status == InvoiceStatus.PAID]
    if not paid:
        return
    OutboxEvent.objects.bulk_create(
        OutboxEvent(
            topic="invoice.paid",
            key=f"invoice:{document.pk}",
            payload={
                "invoice_id": document.pk,
                "number": document.number,
                "entity_id": document.entity_id,
                "issuer_id": document.issuer_id,
                "currency": document.currency,
                "total": plain_amount(document.total, document.currency),
            },
        )
        for document in paid
    )
    wake_after_commit()


# --- Writing off, taking back, using up -------------------------------------------------------------------


def write_off(
    *, actor: User, invoice: Invoice, reason: str, amount: Decimal | str | int | None = None
) -> Settlement:
    """Give up what is not paid, or a part of it; all that is open unless ``amount`` is given.

    Raises Invalid ``reason_required``, ``amount_not_positive``; Conflict ``not_receivable``, ``nothing_open``,
    ``amount_exceeds_open``.
    """
    require(actor, "invoicing.write_off_settlement", invoice.issuer)
    reason = checked_reason(reason, "why it is written off: the reason is kept with it")
    with transaction.atomic(), record_as(actor, reason):
        locked = lock_documents(invoice.pk)[invoice.pk]
        require_settleable(locked)
        asked = locked.open_amount if amount is None else checked_amount(amount, locked.currency)
        if not asked:
            raise nothing_open(locked)
        today = clock.today(locked.issuer.time_zone)
        row = settle(
            actor=actor, parts=[Part(locked, asked, today)], kind=SettlementKind.WRITE_OFF, reason=reason
        )[0]
        publish(
            "invoice.written_off",
            {
                "invoice_id": locked.pk,
                "number": locked.number,
                "settlement_id": row.pk,
                "amount": plain_amount(asked, locked.currency),
                "currency": locked.currency,
                "reason": reason,
                "actor_id": actor.pk,
            },
            key=f"invoice:{locked.pk}",
        )
    return row


def settlement_reverse(*, actor: User, settlement: Settlement, reason: str) -> Settlement:
    """Take back one settlement: the document is open again, and its money or credit a balance.

    Raises Invalid ``reason_required``; Conflict ``already_reversed``, ``is_reversal``, ``refunded``.
    """
    require(actor, "invoicing.reverse_settlement", settlement.invoice.issuer)
    reason = checked_reason(reason, "why it is taken back: the reason is kept with it")
    with transaction.atomic(), record_as(actor, reason):
        documents = lock_documents(settlement.invoice_id, settlement.credit_note_id)
        if settlement.reverses_id is not None:
            raise Conflict("is_reversal", "This row takes another one back; it cannot be taken back itself.")
        if Settlement.objects.filter(reverses=settlement).exists():
            raise Conflict("already_reversed", "This settlement was taken back already.")
        document = documents[settlement.invoice_id]
        if settlement.kind == SettlementKind.PAYMENT:
            _require_cash_for_refunds(document, settlement.amount)
            payment = lock_payment(settlement.payment_id)  # type: ignore[arg-type]  # by the row's constraint
            payment.applied_amount = EXACT.subtract(payment.applied_amount, settlement.amount)
            payment.save()
        row = unsettle(actor=actor, settlements=[settlement], documents=documents, reason=reason)[0]
        if settlement.credit_note_id is not None:
            credit_note_return(documents[settlement.credit_note_id], settlement.amount)
        publish(
            "settlement.reversed",
            {
                "settlement_id": settlement.pk,
                "invoice_id": document.pk,
                "amount": plain_amount(settlement.amount, document.currency),
                "currency": document.currency,
                "reason": reason,
            },
            key=f"invoice:{document.pk}",
        )
    return row


def balance_apply(
    *, actor: User, credit_note: Invoice, invoice: Invoice, amount: Decimal | str | int | None = None
) -> Settlement:
    """Set what is left of a credit note off against another document of the same payer, issuer and currency.

    As much as fits unless ``amount`` is given. Raises Invalid ``currency_mismatch``; Conflict ``not_a_credit_note``,
    ``other_account``, ``not_receivable``, ``nothing_open``, ``balance_exceeded``, ``amount_exceeds_open``.
    """
    require(actor, "invoicing.add_settlement", credit_note.issuer)
    with transaction.atomic(), record_as(actor):
        documents = lock_documents(credit_note.pk, invoice.pk)
        credit, document = documents[credit_note.pk], documents[invoice.pk]
        require_usable_credit(credit)
        require_settleable(document)
        require_same_account(document, credit)
        most = min(credit.open_amount, document.open_amount)
        asked = most if amount is None else checked_amount(amount, credit.currency)
        if not document.open_amount:
            raise nothing_open(document)
        if not credit.open_amount or asked > credit.open_amount:
            raise balance_exceeded(credit, credit.open_amount)
        today = clock.today(document.issuer.time_zone)
        row = settle(
            actor=actor,
            parts=[Part(document, asked, today)],
            kind=SettlementKind.CREDIT_NOTE,
            credit_note=credit,
        )[0]
        credit_note_use(credit, asked)
    return row


def credit_note_use(credit: Invoice, amount: Decimal) -> None:
    """Count what a locked, posted credit note was used for."""
    set_settled(credit, EXACT.add(credit.settled_amount, amount))
    write_documents([credit])


def credit_note_return(credit: Invoice, amount: Decimal) -> None:
    """Count what came back to a locked credit note."""
    set_settled(credit, EXACT.subtract(credit.settled_amount, amount))
    write_documents([credit])


def require_usable_credit(credit: Invoice) -> None:
    """Refuse what is no credit note in force (``not_a_credit_note``)."""
    if not credit.is_credit_note or not credit.is_posted:
        raise Conflict("not_a_credit_note", f"{credit} is no credit note in force.", extra={"id": credit.pk})


def nothing_open(document: Invoice) -> Conflict:
    """The refusal to settle what is settled."""
    return Conflict("nothing_open", f"Nothing of {document} is open.", extra={"invoice_id": document.pk})


def balance_exceeded(source: Payment | Invoice, balance: Decimal) -> Conflict:
    """The refusal to use more of a payment or credit note than is left of it."""
    return Conflict(
        "balance_exceeded",
        f"Only {money_text(balance, source.currency)} of {source} is left. Give at most that.",
        extra={"balance": plain_amount(balance, source.currency), "currency": source.currency},
    )


# --- Cash and refunds (DSP-12) ----------------------------------------------------------------------------


def cash_received(invoice: Invoice) -> Decimal:
    """What payments settle of a document now."""
    rows = Settlement.objects.filter(invoice=invoice, kind=SettlementKind.PAYMENT)
    return Decimal(rows.aggregate(sum=Sum("amount", default=ZERO))["sum"])


def cash_refunded(invoice: Invoice) -> Decimal:
    """What was refunded of the credit notes that correct a document."""
    rows = Refund.objects.filter(credit_note__corrects=invoice)
    return exact_sum(list(rows.values_list("amount", flat=True)))


def _require_cash_for_refunds(document: Invoice, leaving: Decimal) -> None:
    """What was refunded on a document is covered by the cash that stays on it."""
    refunded = cash_refunded(document)
    if refunded and EXACT.subtract(cash_received(document), leaving) < refunded:
        raise Conflict(
            "refunded",
            f"{money_text(refunded, document.currency)} of what was paid on {document} was refunded to the payer: the "
            "payment that covers it stays. If the payment bounced, reverse the payment as a whole.",
            extra={"refunded": plain_amount(refunded, document.currency)},
        )
