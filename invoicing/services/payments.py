"""Payments and refunds: recorded, applied to documents, reversed (INV-06, DSP-12)."""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import F

from core import clock
from core.access import require
from core.errors import Conflict, FieldProblem, Invalid
from core.history import record_as
from core.models import User
from core.money import EXACT, exact_sum, plain_amount, validate_currency
from core.outbox import publish
from entities.models import Entity
from entities.services.records import check_fields, field_error, save_record
from invoicing.models import (
    Invoice,
    Payment,
    PaymentMethod,
    PaymentStatus,
    Refund,
    Settlement,
    SettlementKind,
)
from invoicing.selectors.holds import refundable
from invoicing.selectors.invoice import receivable
from invoicing.services.settlement import (
    ZERO,
    Part,
    balance_exceeded,
    checked_amount,
    checked_day,
    checked_reason,
    credit_note_use,
    lock_documents,
    lock_payment,
    money_text,
    not_reversed,
    nothing_open,
    require_same_account,
    require_settleable,
    require_usable_credit,
    settle,
    unsettle,
)

TRIES = 5


@dataclass(frozen=True, slots=True)
class Application:
    """How much of a payment settles which document; all that fits without an ``amount``."""

    invoice_id: int
    amount: Decimal | str | int | None = None


class _Moved(Exception):
    """Somebody settled between choosing the documents and locking them; the savepoint gives the locks back."""


def payment_record(
    *,
    actor: User,
    issuer: Entity,
    entity: Entity,
    amount: Decimal | str | int,
    currency: str,
    received_on: datetime.date | None = None,
    method: str = PaymentMethod.BANK_TRANSFER,
    reference: str = "",
    external_id: str = "",
    note: str = "",
    applications: Sequence[Application] | None = None,
) -> Payment:
    """Record money that ``issuer`` received from ``entity``, and what it settles (INV-06).

    ``applications`` None settles the oldest due first, leaving out what is disputed; a list settles what it says;
    an empty one settles nothing. What is left is a balance in the payer's favour. ``external_id`` is taken once per
    issuer. Raises Invalid ``amount_not_positive``, ``amount_too_precise``, ``date_in_future``, ``currency_mismatch``;
    Conflict ``payment_known``, ``not_receivable``, ``other_account``, ``amount_exceeds_open``, ``balance_exceeded``.
    """
    require(actor, "invoicing.add_payment", issuer)
    _check_currency(currency)
    payment = Payment(
        issuer=issuer, entity=entity, amount=checked_amount(amount, currency), currency=currency, method=method,
        received_on=checked_day(received_on, issuer, "received_on"), reference=reference.strip(),
        external_id=external_id.strip(), note=note.strip(), created_by=actor,
    )  # fmt: skip
    check_fields(payment)
    if applications is None:
        _require_owed_in(payment)
    with transaction.atomic(), record_as(actor):
        save_record(payment, {"payment_external_id_once": _known(payment)})
        rows = _apply(actor, payment, applications, on=payment.received_on)
        publish("payment.received", _event(payment, rows), key=f"payment:{payment.pk}")
    return payment


def payment_apply(
    *, actor: User, payment: Payment, applications: Sequence[Application] | None = None
) -> Payment:
    """Settle documents with what is left of a payment; oldest due first unless ``applications`` say which.

    Raises what ``payment_record`` raises, and Conflict ``payment_reversed``, ``nothing_left``.
    """
    require(actor, "invoicing.add_settlement", payment.issuer)
    with transaction.atomic(), record_as(actor):
        rows = _apply(actor, payment, applications, on=None)
        applied = Payment.objects.select_related("entity", "issuer").get(pk=payment.pk)
        publish("payment.applied", _event(applied, rows), key=f"payment:{payment.pk}")
    return applied


def payment_reverse(*, actor: User, payment: Payment, reason: str) -> Payment:
    """Take back a payment that bounced or was a mistake, with all that it settles.

    Raises Invalid ``reason_required``; Conflict ``payment_reversed``, ``refunded``, ``concurrent_change``.
    """
    require(actor, "invoicing.reverse_payment", payment.issuer)
    reason = checked_reason(reason, "why it is reversed: the reason is kept with it")
    for _ in range(TRIES):
        try:
            with transaction.atomic(), record_as(actor, reason):
                return _reverse(actor, payment.pk, reason)
        except _Moved:
            continue
    raise Conflict(
        "concurrent_change", f"{payment} is being applied by somebody else just now. Try again in a moment."
    )


def _reverse(actor: User, payment_id: int, reason: str) -> Payment:
    standing = not_reversed(Settlement.objects.filter(payment_id=payment_id)).order_by("pk")
    documents = lock_documents(*standing.values_list("invoice_id", flat=True))
    locked = lock_payment(payment_id)
    _require_received(locked)
    rows = list(standing)
    if any(row.invoice_id not in documents for row in rows):
        raise _Moved
    refunded = exact_sum(list(Refund.objects.filter(payment=locked).values_list("amount", flat=True)))
    if refunded:
        raise Conflict(
            "refunded",
            f"{money_text(refunded, locked.currency)} of {locked} was refunded to the payer, so it cannot be reversed. "
            "Take back what it settles instead, and ask for what is missing with a debit note.",
            extra={"refunded": plain_amount(refunded, locked.currency)},
        )
    unsettle(actor=actor, settlements=rows, documents=documents, reason=reason)
    locked.applied_amount = ZERO
    locked.status, locked.reversed_at, locked.reversal_reason = PaymentStatus.REVERSED, clock.now(), reason
    locked.save()
    payload = _event(locked, rows) | {"reason": reason, "actor_id": actor.pk}
    publish("payment.reversed", payload, key=f"payment:{locked.pk}")
    return locked


# --- Applying --------------------------------------------------------------------------------------------


def _apply(
    actor: User, payment: Payment, applications: Sequence[Application] | None, *, on: datetime.date | None
) -> list[Settlement]:
    if applications is not None:
        return _apply_named(actor, payment, applications, on) if applications else []
    for attempt in range(TRIES):
        try:
            with transaction.atomic():
                return _apply_oldest(actor, payment, on, take_less=attempt == TRIES - 1)
        except _Moved:
            continue
    raise AssertionError("The last try takes what there is.")


def _apply_oldest(
    actor: User, payment: Payment, on: datetime.date | None, *, take_less: bool
) -> list[Settlement]:
    """Settle what is due first; under the locks less may be open than was seen before, then it chooses anew."""
    wanted: dict[int, Decimal] = {}
    amount, applied = Payment.objects.values_list("amount", "applied_amount").get(pk=payment.pk)
    left = EXACT.subtract(amount, applied)
    for pk, free in _owed(payment).values_list("pk", "free"):
        if left <= 0:
            break
        wanted[pk] = min(free, left)
        left = EXACT.subtract(left, wanted[pk])
    documents = lock_documents(*wanted)
    locked = lock_payment(payment.pk)
    _require_received(locked)
    left = locked.unapplied_amount
    amounts = {}
    for pk, asked in wanted.items():
        amounts[pk] = min(asked, _undisputed(documents[pk]), left)
        left = EXACT.subtract(left, amounts[pk])
    if amounts != wanted and not take_less:
        raise _Moved
    parts = [(documents[pk], amount) for pk, amount in amounts.items() if amount > 0]
    return _settle(actor, payment, locked, parts, on)


def _owed(payment: Payment) -> Any:
    """The documents that the payment can settle, the oldest due first, with ``free``: open and not disputed."""
    rows = Invoice.objects.filter(
        receivable(), issuer_id=payment.issuer_id, entity_id=payment.entity_id, currency=payment.currency
    )
    free = F("total") - F("settled_amount") - F("disputed_amount")
    return rows.annotate(free=free).filter(free__gt=0).order_by("due_date", "pk")


def _undisputed(document: Invoice) -> Decimal:
    return max(ZERO, EXACT.subtract(document.open_amount, document.disputed_amount))


def _apply_named(
    actor: User, payment: Payment, applications: Sequence[Application], on: datetime.date | None
) -> list[Settlement]:
    ids = [application.invoice_id for application in applications]
    if len(set(ids)) != len(ids):
        raise field_error("applications", "duplicate_application", "Name each document once.")
    seen = Invoice.objects.visible_to(actor).filter(pk__in=ids)
    documents = lock_documents(*seen.values_list("pk", flat=True))
    locked = lock_payment(payment.pk)
    _require_received(locked)
    left = locked.unapplied_amount
    parts = []
    for index, application in enumerate(applications):
        document = documents.get(application.invoice_id)
        if document is None:
            message = f"There is no document {application.invoice_id} among those you can see."
            problem = FieldProblem(f"/applications/{index}/invoice_id", "not_found", message)
            raise Invalid("not_found", message, errors=[problem])
        require_settleable(document)
        require_same_account(document, locked)
        if application.amount is None:
            amount = min(left, document.open_amount)
            if not document.open_amount:
                raise nothing_open(document)
        else:
            amount = checked_amount(application.amount, locked.currency, f"applications/{index}/amount")
        if not amount or amount > left:
            raise balance_exceeded(locked, left)
        left = EXACT.subtract(left, amount)
        parts.append((document, amount))
    return _settle(actor, payment, locked, parts, on)


def _settle(
    actor: User,
    payment: Payment,
    locked: Payment,
    parts: Sequence[tuple[Invoice, Decimal]],
    on: datetime.date | None,
) -> list[Settlement]:
    """``on`` is when the money arrived, if this is its record; no document is settled before its issue date."""
    if not parts:
        return []
    day = on or clock.today(locked.issuer.time_zone)
    rows = settle(
        actor=actor,
        parts=[Part(document, amount, max(day, document.issue_date or day)) for document, amount in parts],
        kind=SettlementKind.PAYMENT,
        payment=locked,
    )
    total = exact_sum([amount for _, amount in parts])
    locked.applied_amount = EXACT.add(locked.applied_amount, total)
    locked.save()
    payment.applied_amount, payment.version = locked.applied_amount, locked.version
    return rows


def _require_received(payment: Payment) -> None:
    if payment.status != PaymentStatus.RECEIVED:
        raise Conflict(
            "payment_reversed", f"{payment} was reversed and settles nothing. Record the new payment instead."
        )


def _require_owed_in(payment: Payment) -> None:
    """Money in a currency in which nothing is owed, from a payer who owes in another one, is most likely a mistake."""
    rows = Invoice.objects.filter(receivable(), issuer_id=payment.issuer_id, entity_id=payment.entity_id)
    owed_in = sorted(set(rows.order_by().values_list("currency", flat=True)))
    if owed_in and payment.currency not in owed_in:
        message = (
            f"{payment.entity} owes {', '.join(owed_in)}, not {payment.currency}. Record what arrived in that "
            "currency, or record it without applying it, to keep it as a balance."
        )
        raise Invalid(
            "currency_mismatch",
            message,
            errors=[FieldProblem("/currency", "currency_mismatch", message)],
            extra={"currencies": owed_in},
        )


def _check_currency(currency: str) -> None:
    try:
        validate_currency(currency)
    except ValidationError as error:
        raise field_error("currency", error.code or "unknown_currency", " ".join(error.messages)) from error


def _known(payment: Payment) -> Conflict:
    return Conflict(
        "payment_known",
        f"{payment.issuer} has recorded a payment with the id “{payment.external_id}” already. Open that one; a "
        "payment is recorded once.",
        extra={"external_id": payment.external_id},
    )


def _event(payment: Payment, rows: Sequence[Settlement]) -> dict[str, Any]:
    return {
        "payment_id": payment.pk,
        "entity_id": payment.entity_id,
        "issuer_id": payment.issuer_id,
        "amount": plain_amount(payment.amount, payment.currency),
        "unapplied": plain_amount(payment.unapplied_amount, payment.currency),
        "currency": payment.currency,
        "received_on": str(payment.received_on),
        "reference": payment.reference,
        "external_id": payment.external_id,
        "settled": [
            {"invoice_id": row.invoice_id, "amount": plain_amount(row.amount, payment.currency)}
            for row in rows
        ],
    }


# --- Refunds ---------------------------------------------------------------------------------------------


def refund_make(
    *,
    actor: User,
    source: Payment | Invoice,
    reason: str,
    amount: Decimal | str | int | None = None,
    refunded_on: datetime.date | None = None,
    method: str = PaymentMethod.BANK_TRANSFER,
    reference: str = "",
) -> Refund:
    """Give money back out of what is left of a payment or a credit note; all of it unless ``amount`` is given.

    Of a credit note at most the cash that was received on the invoice that it corrects, less what was refunded on it:
    what was not paid can only be credited (DSP-12). Raises Invalid ``reason_required``, ``date_in_future``; Conflict
    ``balance_exceeded``, ``refund_exceeds_cash``, ``payment_reversed``, ``not_a_credit_note``.
    """
    require(actor, "invoicing.add_refund", source.issuer)
    reason = checked_reason(reason, "why it is refunded: the reason is kept with it")
    day = checked_day(refunded_on, source.issuer, "refunded_on")
    is_payment = isinstance(source, Payment)
    with transaction.atomic(), record_as(actor, reason):
        locked, most = _lock_payment_source(source) if is_payment else _lock_credit_source(source)
        asked = most if amount is None else checked_amount(amount, source.currency)
        if not asked or asked > locked_balance(locked):
            raise balance_exceeded(locked, locked_balance(locked))
        if asked > most:
            raise _exceeds_cash(locked, most)
        refund = Refund(
            payment=locked if is_payment else None, credit_note=None if is_payment else locked, entity=locked.entity,
            issuer=locked.issuer, amount=asked, currency=locked.currency, refunded_on=day, method=method,
            reference=reference.strip(), reason=reason, created_by=actor, created_at=clock.now(),
        )  # fmt: skip
        check_fields(refund)
        refund.save()
        if isinstance(locked, Payment):
            locked.applied_amount = EXACT.add(locked.applied_amount, asked)
            locked.save()
        else:
            credit_note_use(locked, asked)
        publish(
            "refund.made",
            {
                "refund_id": refund.pk,
                "payment_id": refund.payment_id,
                "credit_note_id": refund.credit_note_id,
                "entity_id": refund.entity_id,
                "issuer_id": refund.issuer_id,
                "amount": plain_amount(asked, refund.currency),
                "currency": refund.currency,
                "refunded_on": str(day),
                "reason": reason,
            },
            key=f"refund:{refund.pk}",
        )
    return refund


def locked_balance(source: Payment | Invoice) -> Decimal:
    """What is left of a payment or credit note."""
    return source.unapplied_amount if isinstance(source, Payment) else source.open_amount


def _lock_payment_source(source: Any) -> tuple[Any, Decimal]:
    locked = lock_payment(source.pk)
    _require_received(locked)
    return locked, locked.unapplied_amount


def _lock_credit_source(source: Any) -> tuple[Any, Decimal]:
    require_usable_credit(source)
    documents = lock_documents(source.pk, source.corrects_id)
    locked, invoice = documents[source.pk], documents[source.corrects_id]
    require_usable_credit(locked)
    cash = refundable(invoice)
    if not cash and locked.open_amount:
        raise _exceeds_cash(locked, cash)
    return locked, min(cash, locked.open_amount)


def _exceeds_cash(credit: Invoice, cash: Decimal) -> Conflict:
    return Conflict(
        "refund_exceeds_cash",
        f"Only {money_text(cash, credit.currency)} was paid on the corrected invoice and not refunded yet. What was "
        "not paid is not refunded: set the credit note off against another invoice.",
        extra={"refundable": plain_amount(cash, credit.currency), "currency": credit.currency},
    )
