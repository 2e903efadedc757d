"""Holding amounts of invoices back from collection while they are disputed (DSP-01 to DSP-03, DSP-14).

Like the locks of documents, these services ask for no right of their own: whoever calls them (the disputes) has seen to
it who may. They lock the document first; a caller who holds that lock already may call them. The sum of what is
disputed is the document's ``disputed_amount``, changed with the holds.
"""

import datetime
from decimal import Decimal

from django.db import transaction

from core import clock
from core.errors import Conflict
from core.history import record_as
from core.models import User
from core.money import EXACT, plain_amount
from entities.services.records import check_fields, field_error
from invoicing.models import CollectionHold, Invoice, InvoiceLine
from invoicing.selectors.holds import creditable_including_tax, disputed_of
from invoicing.services.settlement import (
    ZERO,
    checked_amount,
    checked_reason,
    lock_documents,
    money_text,
    require_settleable,
)


class _Unchanged:
    """Says that the line of a hold stays; None would make it one of the whole invoice."""


UNCHANGED = _Unchanged()


def hold_place(
    *,
    actor: User,
    invoice: Invoice,
    amount: Decimal | str | int,
    reference: str,
    reason: str,
    invoice_line: InvoiceLine | None = None,
) -> CollectionHold:
    """Hold ``amount`` (including tax) of an issued invoice, or of one of its lines, back from collection.

    At most what can still be credited of the line and of the invoice and is not disputed already (DSP-01, DSP-02).
    Raises Invalid ``amount_not_positive``, ``amount_too_precise``, ``line_of_another_invoice``, ``reason_required``;
    Conflict ``not_receivable``, ``hold_exceeds_line``, ``hold_exceeds_invoice``.
    """
    reason = checked_reason(reason, "why it is held back")
    with transaction.atomic(), record_as(actor, reason):
        locked = lock_documents(invoice.pk)[invoice.pk]
        require_settleable(locked)
        hold = CollectionHold(
            invoice=locked, invoice_line=invoice_line, amount=checked_amount(amount, locked.currency),
            reference=reference.strip(), reason=reason, held_at=clock.now(), held_by=actor,
        )  # fmt: skip
        check_fields(hold)
        _require_within(locked, invoice_line, hold.amount)
        hold.save()
        _add_disputed(locked, hold.amount)
    return hold


def hold_change(
    *,
    actor: User,
    hold: CollectionHold,
    amount: Decimal | str | int,
    invoice_line: InvoiceLine | _Unchanged | None = UNCHANGED,
) -> CollectionHold:
    """Hold another amount, also of another line, or with ``invoice_line`` None of the whole invoice.

    More is tested as in ``hold_place``; less is always possible. Raises the same, and Conflict ``hold_released``,
    ``hold_deferred``.
    """
    with transaction.atomic(), record_as(actor):
        invoice, changed = _lock(hold)
        require_settleable(invoice)
        _require_disputed(changed)
        line = changed.invoice_line if isinstance(invoice_line, _Unchanged) else invoice_line
        asked, before = checked_amount(amount, invoice.currency), changed.amount
        if asked > before or line != changed.invoice_line:
            _require_within(invoice, line, asked, instead=changed)
        changed.amount, changed.invoice_line = asked, line
        changed.save()
        _add_disputed(invoice, EXACT.subtract(asked, before))
        _mirror(changed, hold)
    return changed


def hold_release(*, actor: User, hold: CollectionHold, reason: str) -> CollectionHold:
    """Hold nothing back any more: it was credited, or is collected as if it had never been disputed.

    Also on a void invoice, and of what was deferred. Raises Invalid ``reason_required``; Conflict ``hold_released``.
    """
    reason = checked_reason(reason, "why it is not held back any more")
    with transaction.atomic(), record_as(actor, reason):
        invoice, released = _lock(hold)
        if released.is_disputed:
            _add_disputed(invoice, -released.amount)
        _stamp_release(released, actor, reason)
        released.save()
        _mirror(released, hold)
    return released


def hold_defer(
    *,
    actor: User,
    hold: CollectionHold,
    amount: Decimal | str | int,
    due_date: datetime.date,
    reason: str,
) -> CollectionHold:
    """The dispute is decided: ``amount`` is to be paid after all, but not before ``due_date`` (DSP-14).

    Nor before the invoice is due: the later of the two. The rest of the hold is released. Nothing is disputed any more.
    Raises Invalid ``reason_required``, ``amount_not_positive``, ``amount_too_precise``; Conflict ``hold_released``,
    ``hold_deferred``, ``deferred_exceeds_hold``, ``not_receivable``.
    """
    reason = checked_reason(reason, "how the dispute was decided")
    with transaction.atomic(), record_as(actor, reason):
        invoice, deferred = _lock(hold)
        require_settleable(invoice)
        _require_disputed(deferred)
        asked, before = checked_amount(amount, invoice.currency), deferred.amount
        if asked > before:
            raise Conflict(
                "deferred_exceeds_hold",
                f"Only {money_text(before, invoice.currency)} is held back. Defer at most that.",
                extra={"held": plain_amount(before, invoice.currency), "currency": invoice.currency},
            )
        deferred.amount, deferred.due_date = asked, max(due_date, invoice.due_date or due_date)
        deferred.save()
        _add_disputed(invoice, -before)
        _mirror(deferred, hold)
    return deferred


# --- Checks and writes under the document's lock -----------------------------------------------------------


def _lock(hold: CollectionHold) -> tuple[Invoice, CollectionHold]:
    """The document, locked, and its hold as it is now; ``hold_released`` if it holds nothing any more."""
    invoice = lock_documents(hold.invoice_id)[hold.invoice_id]
    now = CollectionHold.objects.select_related("invoice_line").get(pk=hold.pk)
    if now.released_at is not None:
        raise Conflict(
            "hold_released",
            f"{now.reference} holds nothing of {invoice} back any more since {now.released_at:%Y-%m-%d}.",
            extra={"released_at": now.released_at.isoformat()},
        )
    return invoice, now


def _require_disputed(hold: CollectionHold) -> None:
    if hold.due_date is not None:
        raise Conflict(
            "hold_deferred",
            f"{hold.reference} is decided: the amount is to be paid by {hold.due_date}.",
            extra={"due_date": str(hold.due_date)},
        )


def _require_within(
    invoice: Invoice, line: InvoiceLine | None, amount: Decimal, *, instead: CollectionHold | None = None
) -> None:
    """What is held is left to be credited and nobody else disputes it; ``instead`` is the hold that it replaces."""
    if line is not None:
        if line.invoice_id != invoice.pk:
            raise field_error(
                "invoice_line",
                "line_of_another_invoice",
                f"That line is none of {invoice}. Choose one of its.",
            )
        own = instead.amount if instead is not None and instead.invoice_line_id == line.pk else ZERO
        _require_left("line", f"line {line.line_number} of {invoice}", invoice, line, amount, own)
    own = instead.amount if instead is not None else ZERO
    _require_left("invoice", str(invoice), invoice, None, amount, own)


def _require_left(
    kind: str, name: str, invoice: Invoice, line: InvoiceLine | None, amount: Decimal, own: Decimal
) -> None:
    taken = EXACT.subtract(disputed_of(invoice, line), own)
    left = max(ZERO, EXACT.subtract(creditable_including_tax(invoice, line), taken))
    if amount > left:
        raise Conflict(
            f"hold_exceeds_{kind}",
            f"Only {money_text(left, invoice.currency)} of {name} can be disputed, including tax: what was credited or "
            "is disputed already does not count. Give at most that.",
            extra={"left": plain_amount(left, invoice.currency), "currency": invoice.currency},
        )


def _add_disputed(invoice: Invoice, amount: Decimal) -> None:
    if amount:
        invoice.disputed_amount = EXACT.add(invoice.disputed_amount, amount)
        invoice.save()


def _stamp_release(hold: CollectionHold, actor: User, reason: str) -> None:
    hold.released_at, hold.released_by, hold.release_reason = clock.now(), actor, reason


def _mirror(stored: CollectionHold, given: CollectionHold) -> None:
    """Show the caller's own copy what was stored."""
    for field in CollectionHold._meta.concrete_fields:
        setattr(given, field.attname, getattr(stored, field.attname))
