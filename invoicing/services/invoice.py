"""Issuing, voiding and discarding invoices (INV-01, INV-02)."""

import datetime
import hashlib
from typing import Any

from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import transaction

from core import clock
from core.access import require
from core.errors import Conflict, FieldProblem, Invalid
from core.history import record_as
from core.models import User
from core.money import plain_amount
from core.outbox import publish
from entities.models import Entity
from invoicing.models import BilledItem, Invoice, InvoiceLine, InvoiceStatus
from invoicing.services.consolidation import draft_clear
from invoicing.services.numbering import fiscal_year_of, number_take, series_for

SNAPSHOT_FORMAT = 1
_FIRST_YEAR = 1990


def invoice_issue(
    *,
    actor: User,
    invoice: Invoice,
    issue_date: datetime.date | None = None,
    expected_version: int | None = None,
) -> Invoice:
    """Issue a draft: copy what it shows, give it the next number, post it (INV-01, INV-02).

    ``issue_date`` is today in the issuer's time zone unless given. Raises Conflict ``not_a_draft``,
    ``empty_invoice``, ``negative_total``, ``issue_date_before_last``; Invalid ``issue_date_in_future``; Stale.
    """
    require(actor, "invoicing.issue_invoice", invoice.issuer)
    with transaction.atomic(), record_as(actor):
        locked = _lock(invoice)
        locked.expect_version(expected_version)
        _check_issuable(locked)
        issuer = Entity.objects.get(pk=locked.issuer_id)
        day = _issue_day(issuer, issue_date)
        locked.snapshot = invoice_snapshot(locked)
        locked.issue_date = day
        locked.due_date = day + datetime.timedelta(days=locked.snapshot["payment_terms_days"])
        locked.issued_at, locked.issued_by = clock.now(), actor
        locked.issue()
        series = series_for(
            issuer=issuer, document_type=locked.document_type, fiscal_year=fiscal_year_of(issuer, day)
        )
        taken = number_take(series=series, issue_date=day)
        locked.fiscal_year, locked.sequence_number, locked.number = (
            taken.fiscal_year,
            taken.sequence,
            taken.number,
        )
        locked.save()
        publish("invoice.issued", _event(locked), key=f"invoice:{locked.pk}")
    return locked


def invoice_void(
    *, actor: User, invoice: Invoice, reason: str, expected_version: int | None = None
) -> Invoice:
    """Withdraw an issued invoice: its items may be billed again, its number stays taken (INV-01, INV-03).

    Raises Invalid ``reason_required``; Conflict ``not_issued``; Stale.
    """
    require(actor, "invoicing.void_invoice", invoice.issuer)
    reason = reason.strip()
    if not reason or len(reason) > 500:
        message = "Say in at most 500 characters why the invoice is void: the reason is kept with it."
        raise Invalid(
            "reason_required", message, errors=[FieldProblem("/reason", "reason_required", message)]
        )
    with transaction.atomic(), record_as(actor, reason):
        locked = _lock(invoice)
        locked.expect_version(expected_version)
        if locked.status != InvoiceStatus.ISSUED:
            raise Conflict(
                "not_issued",
                f"Only an issued invoice can be voided; {locked} is {locked.get_status_display().lower()}.",
                extra={"status": locked.status},
            )
        locked.voided_at, locked.voided_by, locked.void_reason = clock.now(), actor, reason
        locked.void()
        locked.save()
        held = BilledItem.objects.filter(invoice_line__invoice=locked, released_at__isnull=True)
        held.update(released_at=locked.voided_at)
        publish("invoice.voided", _event(locked) | {"reason": reason}, key=f"invoice:{locked.pk}")
    return locked


def invoice_discard(*, actor: User, invoice: Invoice, expected_version: int | None = None) -> None:
    """Delete a draft; what it held can be invoiced again. Raises Conflict ``not_a_draft``; Stale."""
    require(actor, "invoicing.delete_invoice", invoice)
    with transaction.atomic(), record_as(actor, "Draft discarded"):
        locked = _lock(invoice)
        locked.expect_version(expected_version)
        if locked.status != InvoiceStatus.DRAFT:
            raise _not_a_draft(locked, "What was issued is never deleted: void it.")
        draft_clear(locked)
        locked.delete()


def invoice_snapshot(invoice: Invoice) -> dict[str, Any]:
    """Return all that the document of the invoice shows besides its lines, as it is now."""
    parties = Entity.objects.in_bulk({invoice.issuer_id, invoice.entity_id, invoice.bill_to_id})
    issuer, payer = parties[invoice.issuer_id], parties[invoice.entity_id]
    bill_to = parties[invoice.bill_to_id]
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


def _lock(invoice: Invoice) -> Invoice:
    return (
        Invoice.objects.select_for_update(of=("self",))
        .select_related("entity", "issuer", "bill_to")
        .get(pk=invoice.pk)
    )


def _not_a_draft(invoice: Invoice, advice: str) -> Conflict:
    return Conflict(
        "not_a_draft",
        f"{invoice} is {invoice.get_status_display().lower()}, no draft. {advice}",
        extra={"status": invoice.status, "number": invoice.number},
    )


def _check_issuable(invoice: Invoice) -> None:
    if invoice.status != InvoiceStatus.DRAFT:
        raise _not_a_draft(invoice, "An invoice is issued once.")
    if not InvoiceLine.objects.filter(invoice=invoice).exists():
        raise Conflict("empty_invoice", "The draft has no lines. Run the consolidation for its period again.")
    if invoice.total < 0:
        raise Conflict(
            "negative_total",
            f"The total is {plain_amount(invoice.total, invoice.currency)} {invoice.currency}: the credits exceed the "
            "charges, which no invoice can ask for. Keep the draft until more charges arrive, or bill a longer period.",
            extra={"total": plain_amount(invoice.total, invoice.currency), "currency": invoice.currency},
        )


def _issue_day(issuer: Entity, asked: datetime.date | None) -> datetime.date:
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


def _event(invoice: Invoice) -> dict[str, Any]:
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
    rows = (
        InvoiceLine.objects.filter(invoice=invoice, rate_date__isnull=False)
        .order_by("original_currency")
        .values("original_currency", "rate", "rate_date", "rate_source")
        .distinct()
    )
    return [
        {
            "currency": row["original_currency"],
            "rate": plain_rate(row["rate"]),
            "date": str(row["rate_date"]),
            "source": row["rate_source"],
        }
        for row in rows
    ]
