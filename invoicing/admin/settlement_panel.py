"""What settled a document, for the invoice page and the pages of payments."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.safestring import SafeString, mark_safe

from core.admin.columns import amount_html
from invoicing.models import Invoice, Payment, Refund, Settlement
from invoicing.selectors.holds import holds_of
from invoicing.selectors.settlements import settlement_source, settlements_of


@dataclass(frozen=True, slots=True)
class ShownSettlement:
    """A row of the panel."""

    day: str
    what: str
    url: str
    amount: SafeString
    note: str
    is_undone: bool


@dataclass(frozen=True, slots=True)
class ShownHold:
    """What one dispute holds back of the document, or had deferred."""

    reference: str
    line: str
    amount: SafeString
    since: str
    due_date: str


def settlement_panel(invoice: Invoice) -> dict[str, Any]:
    """What settled or corrects the document, what is open or held back, and what it corrects itself."""
    currency = invoice.currency
    rows = _shown(settlements_of(invoice), currency, of_source=invoice.is_credit_note)
    if invoice.is_credit_note:
        rows += _refunds(Refund.objects.filter(credit_note=invoice).order_by("pk"))
    notes = Invoice.objects.filter(corrects=invoice).exclude(number=None).order_by("pk")
    return {
        "rows": rows,
        "notes": [
            (
                f"{note.get_document_type_display()} {note.number}",
                _page(note),
                amount_html(note.total, currency),
                note,
            )
            for note in notes
        ],
        "corrects": invoice.corrects,
        "corrects_url": _page(invoice.corrects) if invoice.corrects is not None else "",
        "settled": amount_html(invoice.settled_amount, currency),
        "open": amount_html(invoice.open_amount, currency),
        "disputed": amount_html(invoice.disputed_amount, currency) if invoice.disputed_amount else "",
        "holds": _holds(invoice),
        "is_credit_note": invoice.is_credit_note,
        "reason": invoice.reason,
    }


def _holds(invoice: Invoice) -> list[ShownHold]:
    zone = ZoneInfo(invoice.issuer.time_zone)
    return [
        ShownHold(
            hold.reference,
            f"line {hold.invoice_line.line_number}" if hold.invoice_line is not None else "",
            amount_html(hold.amount, invoice.currency),
            f"{hold.held_at.astimezone(zone):%Y-%m-%d}",
            f"{hold.due_date}" if hold.due_date is not None else "",
        )
        for hold in holds_of(invoice)
    ]


def payment_rows_html(payment: Payment) -> SafeString:
    """What a payment settled and what was refunded of it."""
    found = payment.settlements.select_related("invoice", "payment", "credit_note", "reversal").order_by("pk")
    rows = _shown(found, payment.currency, of_source=True) + _refunds(payment.refunds.order_by("pk"))
    return mark_safe(render_to_string("admin/invoicing/settlement_rows.html", {"rows": rows}))  # noqa: S308


def _shown(rows: Iterable[Settlement], currency: str, *, of_source: bool) -> list[ShownSettlement]:
    return [_row(row, currency, of_source=of_source) for row in rows]


def _row(row: Settlement, currency: str, *, of_source: bool) -> ShownSettlement:
    undone = hasattr(row, "reversal")
    what = str(row.invoice) if of_source else settlement_source(row)
    if row.reverses_id is not None:
        what = f"Taken back: {what}"
    if of_source:
        url = _page(row.invoice)
    elif row.payment_id is not None:
        url = reverse("admin:invoicing_payment_change", args=[row.payment_id])
    else:
        url = _page(row.credit_note) if row.credit_note is not None else _settlement_page(row)
    return ShownSettlement(
        str(row.settled_on),
        what,
        url,
        amount_html(row.amount, currency),
        row.reason,
        undone or row.amount < 0,
    )


def _refunds(rows: Iterable[Refund]) -> list[ShownSettlement]:
    return [
        ShownSettlement(
            str(row.refunded_on),
            "Refund",
            reverse("admin:invoicing_refund_change", args=[row.pk]),
            amount_html(row.amount, row.currency),
            row.reason,
            False,
        )
        for row in rows
    ]


def _page(invoice: Invoice) -> str:
    return reverse("admin:invoicing_invoice_change", args=[invoice.pk])


def _settlement_page(row: Settlement) -> str:
    return reverse("admin:invoicing_settlement_change", args=[row.pk])
