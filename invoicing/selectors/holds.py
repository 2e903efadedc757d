"""What is held back from collection, and what is left to be credited or refunded (DSP-01, DSP-03, DSP-11, DSP-12)."""

import datetime
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from django.db.models import DecimalField, F, Q, QuerySet, Sum
from django.db.models.functions import Coalesce

from core.money import EXACT
from invoicing.models import CollectionHold, Invoice, InvoiceLine
from invoicing.services.settlement import ZERO, cash_received, cash_refunded

_FIGURE = DecimalField(max_digits=30, decimal_places=4)


@dataclass(frozen=True, slots=True)
class Held:
    """What is held back of an invoice, including tax: disputed, or deferred to a day that is still to come."""

    disputed: Decimal = ZERO
    deferred: Decimal = ZERO

    @property
    def total(self) -> Decimal:
        return EXACT.add(self.disputed, self.deferred)


def unreleased() -> QuerySet[CollectionHold]:
    """Holds that nothing released: disputed, or to be collected from a day."""
    return CollectionHold.objects.filter(released_at__isnull=True)


def disputed() -> QuerySet[CollectionHold]:
    """Holds that make up the invoices' ``disputed_amount``."""
    return unreleased().filter(due_date__isnull=True)


def held_amounts(invoice_ids: Iterable[int], *, on: datetime.date) -> dict[int, Held]:
    """What is held back on that day of each invoice of which something is; one query (DSP-03, DSP-14)."""
    rows = (
        unreleased()
        .filter(Q(due_date__isnull=True) | Q(due_date__gt=on), invoice_id__in=list(invoice_ids))
        .order_by("invoice_id")
        .values("invoice_id")
        .annotate(
            disputed=_sum_of("amount", Q(due_date__isnull=True)),
            deferred=_sum_of("amount", Q(due_date__isnull=False)),
        )
    )
    return {row["invoice_id"]: Held(row["disputed"], row["deferred"]) for row in rows}


def _sum_of(name: str, condition: Q | None = None) -> Coalesce:
    return Coalesce(Sum(name, filter=condition, output_field=_FIGURE), ZERO, output_field=_FIGURE)


def holds_of(invoice: Invoice) -> QuerySet[CollectionHold]:
    """What is disputed of an invoice and, while something of it is open, what is deferred; in order of time."""
    rows = unreleased() if invoice.open_amount else disputed()
    return rows.filter(invoice=invoice).select_related("invoice", "invoice_line").order_by("pk")


def disputed_of(invoice: Invoice, line: InvoiceLine | None = None) -> Decimal:
    """What is disputed of an invoice, or of one of its lines, including tax."""
    rows = disputed().filter(invoice=invoice)
    if line is not None:
        rows = rows.filter(invoice_line=line)
    return Decimal(rows.aggregate(sum=_sum_of("amount"))["sum"])


def creditable_including_tax(invoice: Invoice, line: InvoiceLine | None = None) -> Decimal:
    """What is left to be credited of an invoice, or of one of its lines, whoever credited the rest (DSP-11).

    0 of drafts, void documents and credit notes; negative of a line that is a credit itself.
    """
    if not invoice.is_posted or invoice.is_credit_note:
        return ZERO
    lines = InvoiceLine.objects.filter(invoice=invoice)
    if line is not None:
        lines = lines.filter(pk=line.pk)
    left = F("amount") + F("tax_amount") - F("credited_amount") - F("credited_tax")
    return Decimal(lines.annotate(left=left).aggregate(sum=_sum_of("left"))["sum"])


def refundable(invoice: Invoice) -> Decimal:
    """The cash that payments settle of an invoice, less what was refunded on it: unpaid parts are only credited."""
    return max(ZERO, EXACT.subtract(cash_received(invoice), cash_refunded(invoice)))
