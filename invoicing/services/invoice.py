"""Issuing, voiding and discarding invoices (INV-01, INV-02, CON-19)."""

import datetime
import hashlib
from decimal import Decimal
from typing import Any

from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import transaction

from contracts.models import BillableFee
from contracts.services.commitments import fees_freed, fees_invoiced, fees_uncredited
from core import clock
from core.access import require
from core.errors import Conflict, FieldProblem, Invalid
from core.history import record_as
from core.models import User
from core.money import plain_amount
from core.outbox import publish
from core.prepared import PreparedStatement
from core.row_sql import columns_of, stored
from entities.models import CreditLimitPolicy, Entity
from invoicing.models import (
    POSTED_STATUSES,
    BilledItem,
    Invoice,
    InvoiceLine,
    InvoiceStatus,
)
from invoicing.selectors.credit import credit_position
from invoicing.services.consolidation import draft_clear
from invoicing.services.credited_lines import lines_uncredit
from invoicing.services.invoice_rows import invoice_save
from invoicing.services.numbering import fiscal_year_of, number_take
from invoicing.services.settlement import lock_documents

SNAPSHOT_FORMAT = 2
"""2: the document is written in the language of the snapshot; in 1 its texts are English."""
_FIRST_YEAR = 1990

# What every issue asks, as SQL: building the querysets takes longer than all that they find.
_LOCK = PreparedStatement(
    f"SELECT {', '.join(columns_of(Invoice))} FROM invoices WHERE id = %(invoice)s::bigint FOR UPDATE"
)
_PARTIES = PreparedStatement(
    f"SELECT {', '.join(columns_of(Entity))} FROM billing_entities WHERE id = ANY(%(ids)s::bigint[])"
)
_FIRST_LINE = PreparedStatement("SELECT id FROM invoice_lines WHERE invoice_id = %(invoice)s::bigint LIMIT 1")
_RATES = PreparedStatement("""
SELECT DISTINCT original_currency, rate, rate_date, rate_source FROM invoice_lines
WHERE invoice_id = %(invoice)s::bigint AND rate_date IS NOT NULL ORDER BY original_currency
""")
# The lines' keys as an array: joined, thousands of fresh lines that the planner expects to be two take a loop over all.
_FEES = PreparedStatement("""
SELECT contract_fee_id FROM billed_items
WHERE invoice_line_id = ANY(ARRAY(SELECT id FROM invoice_lines WHERE invoice_id = %(invoice)s::bigint))
  AND contract_fee_id IS NOT NULL AND released_at IS NULL
""")


def invoice_issue(
    *,
    actor: User,
    invoice: Invoice,
    issue_date: datetime.date | None = None,
    expected_version: int | None = None,
) -> Invoice:
    """Issue a draft: copy what it shows, give it the next number, post it (INV-01, INV-02).

    ``issue_date`` is today in the issuer's time zone unless given. Raises Conflict ``not_a_draft``,
    ``empty_invoice``, ``negative_total``, ``issue_date_before_last``, ``credit_limit_exceeded``; Invalid
    ``issue_date_in_future``; Stale.
    """
    require(actor, "invoicing.issue_invoice", invoice.issuer)
    with transaction.atomic(), record_as(actor):
        locked = _lock(invoice)
        locked.expect_version(expected_version)
        _check_issuable(locked)
        _check_credit(locked)
        document_post(locked, actor=actor, day=issue_day(locked.issuer, issue_date))
        if not locked.total:
            locked.settle_whole()  # Nothing is to be paid.
        # Budgets are locked before the series of numbers, whose lock everybody else waits for.
        fees_invoiced(fees=fees_of(locked), invoice_id=locked.pk, reference=f"Invoice {locked.pk}")
        document_number(locked)
        invoice_save(locked)
        publish("invoice.issued", document_event(locked), key=f"invoice:{locked.pk}")
    return locked


def _check_credit(invoice: Invoice) -> None:
    """Refuse what a payer whose policy says so would owe beyond its limit (INV-07); the draft warned of it."""
    payer = invoice.entity
    if payer.credit_limit is None or payer.credit_limit_policy != CreditLimitPolicy.REFUSE:
        return
    position = credit_position(payer)
    if position.refuses:
        raise Conflict(
            "credit_limit_exceeded",
            f"{position.sentence} Wait for payments, or have somebody who may change {payer} raise its limit or set "
            "its policy to warn.",
            extra={
                "currency": position.currency,
                "credit_limit": plain_amount(payer.credit_limit, position.currency),
                "exposure": plain_amount(position.exposure, position.currency),
                "exceeded_by": plain_amount(position.exceeded_by, position.currency),
                "who_can": "entities.change_entity",
            },
        )


def document_post(
    document: Invoice, *, actor: User, day: datetime.date, copied: dict[str, Any] | None = None
) -> None:
    """Make a locked draft a posted document of that day; number and saving are the caller's.

    ``copied`` is what its snapshot shows besides, or in place of, what is so today.
    """
    document.snapshot = invoice_snapshot(document) | (copied or {})
    terms = 0 if document.is_credit_note else document.snapshot["payment_terms_days"]
    document.issue_date, document.due_date = day, day + datetime.timedelta(days=terms)
    document.issued_at, document.issued_by = clock.now(), actor
    document.issue()


def document_number(document: Invoice) -> None:
    """Give a posted document the next number of its series, whose row is locked from then on: the last lock."""
    assert document.issue_date is not None
    issuer = document.issuer
    taken = number_take(
        issuer=issuer,
        document_type=document.document_type,
        fiscal_year=fiscal_year_of(issuer, document.issue_date),
        issue_date=document.issue_date,
    )
    document.fiscal_year, document.sequence_number, document.number = (
        taken.fiscal_year,
        taken.sequence,
        taken.number,
    )


def invoice_void(
    *, actor: User, invoice: Invoice, reason: str, expected_version: int | None = None
) -> Invoice:
    """Withdraw an issued document: its items may be billed again, its number stays taken (INV-01, INV-03).

    Only while nothing settles or corrects it. A credit note, only while nothing of it is used: what it credited can be
    credited again, and the credits of contracts that it gave back wait again. Raises Invalid ``reason_required``;
    Conflict ``not_issued``, ``settled``, ``corrected``, ``items_released``, ``credited_together``; Stale.
    """
    require(actor, "invoicing.void_invoice", invoice.issuer)
    reason = reason.strip()
    if not reason or len(reason) > 500:
        message = "Say in at most 500 characters why the invoice is void: the reason is kept with it."
        raise Invalid(
            "reason_required", message, errors=[FieldProblem("/reason", "reason_required", message)]
        )
    with transaction.atomic(), record_as(actor, reason):
        documents = lock_documents(invoice.pk, invoice.corrects_id)
        locked = documents[invoice.pk]
        locked.expect_version(expected_version)
        _check_voidable(locked)
        locked.voided_at, locked.voided_by, locked.void_reason = clock.now(), actor, reason
        locked.void()
        locked.save()
        if locked.is_credit_note:
            _take_back_credits(locked)
        else:
            items_release(locked)
        publish("invoice.voided", document_event(locked) | {"reason": reason}, key=f"invoice:{locked.pk}")
    return locked


def items_release(invoice: Invoice, credited: dict[int, Decimal] | None = None) -> None:
    """Free what an invoice bills that is void or wholly credited, and what budgets bore for its contract fees.

    ``credited`` is what credit notes gave back of the fees already, by fee.
    """
    fees = fees_of(invoice)
    held = BilledItem.objects.filter(invoice_line__invoice=invoice, released_at__isnull=True)
    held.update(released_at=clock.now())
    fees_freed(fees=fees, invoice_id=invoice.pk, reference=invoice.number or "", credited=credited)


def _take_back_credits(credit_note: Invoice) -> None:
    assert credit_note.corrects is not None
    _refuse_credited_together(credit_note)
    billed = InvoiceLine.objects.filter(invoice=credit_note.corrects)
    if BilledItem.objects.filter(invoice_line__in=billed, released_at__isnull=False).exists():
        raise Conflict(
            "items_released",
            f"{credit_note} freed what {credit_note.corrects} billed, so that it could be billed again: it stays. Make "
            "a debit note if too much was credited.",
        )
    lines_uncredit(credit_note)
    fees_uncredited(
        fees=fees_of(credit_note.corrects), credit_note_id=credit_note.pk, reference=credit_note.number or ""
    )
    # Credits of contracts that it held wait again.
    items_release(credit_note)


def _refuse_credited_together(credit_note: Invoice) -> None:
    """A credit of a contract that several credit notes share is taken back with none of them alone."""
    together = credit_note.snapshot.get("contract_credits", [])
    others = Invoice.objects.posted().filter(pk__in=together).order_by("pk")
    numbers = [str(number) for number in others.values_list("number", flat=True)]
    if numbers:
        raise Conflict(
            "credited_together",
            f"{credit_note} gives back credits of contracts together with {', '.join(numbers)}: it stays. Make a debit "
            "note if too much was credited.",
            extra={"notes": numbers},
        )


def invoice_discard(*, actor: User, invoice: Invoice, expected_version: int | None = None) -> None:
    """Delete a draft; what it held can be invoiced again. Raises Conflict ``not_a_draft``; Stale."""
    require(actor, "invoicing.delete_invoice", invoice)
    with transaction.atomic(), record_as(actor, "Draft discarded"):
        locked = _lock(invoice)
        locked.expect_version(expected_version)
        if locked.status != InvoiceStatus.DRAFT:
            raise _not_a_draft(locked, "What was issued is never deleted: void it.")
        draft_clear(locked.pk)
        locked.delete()


def invoice_snapshot(invoice: Invoice) -> dict[str, Any]:
    """Return all that the document of the invoice shows besides its lines, as it is now."""
    issuer, payer, bill_to = _parties(invoice)
    return {
        "format": SNAPSHOT_FORMAT,
        "issuer": _party(issuer)
        | {
            "bank": {
                "name": issuer.bank_name,
                "iban": issuer.iban,
                "bic": issuer.bic,
                "holder": issuer.printed_name,
            },
            "logo": _kept_logo(issuer),
        },
        "bill_to": _party(bill_to),
        "payer": _party(payer),
        "payment_terms_days": payer.payment_terms_days,
        "tax": {"treatment": payer.tax_treatment, "rate": plain_rate(payer.tax_rate)},
        "language": bill_to.language,
        "time_zone": issuer.time_zone,
        "rates": _rates(invoice),
        "warnings": invoice.snapshot.get("warnings", []),
    }


def fees_of(invoice: Invoice) -> list[BillableFee]:
    """The contract fees that the invoice holds, in one order for all who lock budgets for them."""
    ids = [row[0] for row in _FEES.rows({"invoice": invoice.pk})]
    if not ids:
        return []
    held = BillableFee.objects.filter(pk__in=ids)
    return list(held.select_related("contract__budget").order_by("contract_id", "pk"))


def _lock(invoice: Invoice) -> Invoice:
    """The document as it is now, locked, with its parties."""
    row = _LOCK.row({"invoice": invoice.pk})
    if row is None:
        raise Invoice.DoesNotExist
    locked: Invoice = stored(Invoice, row)
    locked.issuer, locked.entity, locked.bill_to = _parties(locked)
    return locked


def _parties(invoice: Invoice) -> tuple[Entity, Entity, Entity]:
    """Its issuer, its payer and whom it is addressed to, as they are now."""
    ids = invoice.issuer_id, invoice.entity_id, invoice.bill_to_id
    found = {
        entity.pk: entity for entity in (stored(Entity, row) for row in _PARTIES.rows({"ids": list(ids)}))
    }
    issuer, payer, bill_to = (found[pk] for pk in ids)
    return issuer, payer, bill_to


def _not_a_draft(invoice: Invoice, advice: str) -> Conflict:
    return Conflict(
        "not_a_draft",
        f"{invoice} is {invoice.get_status_display().lower()}, no draft. {advice}",
        extra={"status": invoice.status, "number": invoice.number},
    )


def _check_voidable(document: Invoice) -> None:
    kind = document.get_document_type_display().lower()
    if document.status not in POSTED_STATUSES:
        raise Conflict(
            "not_issued",
            f"Only an issued {kind} can be voided; {document} is {document.get_status_display().lower()}.",
            extra={"status": document.status},
        )
    if document.settled_amount:
        settled = plain_amount(document.settled_amount, document.currency)
        advice = (
            "Take back what was set off with it; what was refunded stays."
            if document.is_credit_note
            else "Take that back first (reverse the payment or the settlement), or make a credit note instead."
        )
        done = "used" if document.is_credit_note else "settled"
        raise Conflict(
            "settled",
            f"{settled} {document.currency} of {document} is {done}. {advice}",
            extra={"status": document.status, "settled_amount": settled},
        )
    notes = Invoice.objects.posted().filter(corrects=document).order_by("pk").values_list("number", flat=True)
    numbers = [str(number) for number in notes]
    if numbers:
        raise Conflict(
            "corrected",
            f"{document} is corrected by {', '.join(numbers)}. Void that first, or credit what is left of {document}.",
            extra={"notes": numbers},
        )


def _check_issuable(invoice: Invoice) -> None:
    if invoice.status != InvoiceStatus.DRAFT:
        raise _not_a_draft(invoice, "An invoice is issued once.")
    if _FIRST_LINE.row({"invoice": invoice.pk}) is None:
        raise Conflict("empty_invoice", "The draft has no lines. Run the consolidation for its period again.")
    if invoice.total < 0:
        raise Conflict(
            "negative_total",
            f"The total is {plain_amount(invoice.total, invoice.currency)} {invoice.currency}: the credits exceed the "
            "charges, which no invoice can ask for. Keep the draft until more charges arrive, or bill a longer period.",
            extra={"total": plain_amount(invoice.total, invoice.currency), "currency": invoice.currency},
        )


def issue_day(issuer: Entity, asked: datetime.date | None) -> datetime.date:
    """The day on which a document is dated; today in the issuer's zone unless asked for another."""
    today = clock.today(issuer.time_zone)
    if asked is not None and asked > today:
        message = f"The issue date {asked} is in the future; in the issuer's time zone today is {today}."
        raise Invalid(
            "issue_date_in_future",
            message,
            errors=[FieldProblem("/issue_date", "issue_date_in_future", message)],
        )
    if asked is not None and asked.year < _FIRST_YEAR:
        message = f"The issue date {asked} is too long ago."
        raise Invalid(
            "issue_date_too_old", message, errors=[FieldProblem("/issue_date", "issue_date_too_old", message)]
        )
    return asked or today


def document_event(invoice: Invoice) -> dict[str, Any]:
    """What the outbox tells of a document."""
    return {
        "invoice_id": invoice.pk,
        "number": invoice.number,
        "entity_id": invoice.entity_id,
        "issuer_id": invoice.issuer_id,
        "currency": invoice.currency,
        "total": plain_amount(invoice.total, invoice.currency),
        "issue_date": str(invoice.issue_date),
        "due_date": str(invoice.due_date),
    }


def _party(entity: Entity) -> dict[str, Any]:
    return {
        "id": entity.pk,
        "code": entity.code,
        "name": entity.printed_name,
        "registration_number": entity.registration_number,
        "tax_id": entity.tax_id,
        "street": entity.street,
        "postal_code": entity.postal_code,
        "city": entity.city,
        "region": entity.region,
        "country": entity.country,
        "email": entity.billing_email,
    }


def _kept_logo(issuer: Entity) -> dict[str, str] | None:
    """Keep the logo as it is now under its own hash, so that a later one never shows on this document."""
    if not issuer.logo:
        return None
    try:
        with issuer.logo.open("rb") as file:
            content = file.read()
    except FileNotFoundError:
        return None
    digest = hashlib.sha256(content).hexdigest()
    suffix = (issuer.logo.name or "").rpartition(".")[2].lower()[:5]
    name = f"documents/logos/{digest}.{suffix}"
    if not default_storage.exists(name):
        name = default_storage.save(name, ContentFile(content))
    return {"file": name, "sha256": digest}


def plain_rate(rate: Any) -> str:
    """A percentage without zeros at its end: 19, 8.1."""
    text = f"{rate:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _rates(invoice: Invoice) -> list[dict[str, str]]:
    return [
        {"currency": currency, "rate": plain_rate(rate), "date": str(day), "source": source}
        for currency, rate, day, source in _RATES.rows({"invoice": invoice.pk})
    ]
