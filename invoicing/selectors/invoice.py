"""Reads for invoices: subtotals, what a line bills, and the proof of gap-free numbers (INV-02, INV-03)."""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.db import connection
from django.db.models import Count, Min, Q, QuerySet, Sum

from contracts.models import BillableFee
from core import clock
from entities.models import CostAllocation
from invoicing.models import (
    OPEN_STATUSES,
    DocumentType,
    Invoice,
    InvoiceLine,
    LineKind,
    NumberSeries,
    UsageRecord,
)
from invoicing.services.consolidation import Subtotal

SHOWN_DEFECTS = 20


def invoice_subtotals(invoice: Invoice, *, by_department: bool) -> list[Subtotal]:
    """The sums of the stored lines per entity, or per entity and department, in the order of the document."""
    keys = ["entity_id", "entity_name"]
    if by_department:
        keys += ["department_id", "department_code", "department_name"]
    rows = (
        InvoiceLine.objects.filter(invoice=invoice)
        .values(*keys)
        .annotate(
            place=Min("line_number"),
            line_count=Count("pk"),
            items=Sum("item_count"),
            net=Sum("amount"),
            tax=Sum("tax_amount"),
        )
        .order_by("place")
    )
    return [
        Subtotal(
            entity_id=row["entity_id"],
            entity_name=row["entity_name"],
            department_id=row.get("department_id"),
            department_code=row.get("department_code", ""),
            department_name=row.get("department_name", ""),
            line_count=row["line_count"],
            item_count=row["items"],
            amount=row["net"],
            tax_amount=row["tax"],
        )
        for row in rows
    ]


def line_usage(line: InvoiceLine) -> QuerySet[UsageRecord]:
    """The usage that the line bills (or billed, if its invoice is void), largest amount first."""
    return UsageRecord.objects.filter(billed_items__invoice_line=line).order_by("-billed_cost", "id")


def line_allocations(line: InvoiceLine) -> QuerySet[CostAllocation]:
    """The cost allocation that the line bills."""
    return CostAllocation.objects.filter(billed_items__invoice_line=line)


def line_fees(line: InvoiceLine) -> QuerySet[BillableFee]:
    """The contract fee that the line bills; none where the line is a department's share of the usage of one."""
    return BillableFee.objects.filter(billed_items__invoice_line=line)


def line_items(line: InvoiceLine) -> QuerySet[Any]:
    """What a line bills: usage (also that which a contract prices), the cost allocation, or the contract fee."""
    if line.kind == LineKind.ALLOCATION:
        return line_allocations(line)
    usage = line_usage(line)
    return usage if line.kind == LineKind.USAGE or usage.exists() else line_fees(line)


def receivable() -> Q:
    """Posted invoices and debit notes of which something is still to be paid."""
    return Q(status__in=OPEN_STATUSES) & ~Q(document_type=DocumentType.CREDIT_NOTE)


def overdue(on: datetime.date) -> Q:
    """What is receivable after its due date; derived, never stored (INV-01)."""
    return receivable() & Q(due_date__lt=on)


def is_overdue(invoice: Invoice) -> bool:
    """Whether ``overdue`` holds for it today in the issuer's zone."""
    return (
        invoice.status in OPEN_STATUSES
        and not invoice.is_credit_note
        and invoice.due_date is not None
        and invoice.due_date < clock.today(invoice.issuer.time_zone)
    )


@dataclass(frozen=True, slots=True)
class NumberingProof:
    """Whether the numbers of a series are 1 … ``last_number``, each once, with what is wrong if not.

    The defects name at most 20 each: missing sequence numbers, sequence numbers used twice, and documents whose
    number does not spell their sequence or whose date goes back.
    """

    series: str
    fiscal_year: int
    counter: int
    documents: int
    first: int | None
    last: int | None
    missing: Sequence[int]
    duplicates: Sequence[int]
    misspelt: Sequence[str]
    out_of_order: Sequence[str]

    @property
    def holds(self) -> bool:
        """Whether there is no gap and no duplicate."""
        defects = (self.missing, self.duplicates, self.misspelt, self.out_of_order)
        return not any(defects) and self.counter == self.documents == (self.last or 0)

    @property
    def sentence(self) -> str:
        """The result in words."""
        if self.holds and not self.documents:
            return f"{self.series}: no document yet, the counter stands at 0."
        if self.holds:
            return f"{self.series}: numbers 1 to {self.last} are all there, each once."
        if self.missing:
            return f"{self.series}: number {self.missing[0]} is missing."
        if self.duplicates:
            return f"{self.series}: number {self.duplicates[0]} is used more than once."
        if self.misspelt:
            return f"{self.series}: the document {self.misspelt[0]} does not carry its sequence number."
        if self.out_of_order:
            return f"{self.series}: the document {self.out_of_order[0]} is dated before the one with the number before."
        return (
            f"{self.series}: the counter stands at {self.counter}, but the last number is {self.last or 0}."
        )


_PROOF = """
WITH document AS MATERIALIZED (
    SELECT sequence_number AS sequence, number, issue_date FROM invoices
    WHERE issuer_id = %(issuer)s AND document_type = %(type)s AND fiscal_year = %(year)s AND sequence_number IS NOT NULL
)
SELECT
    (SELECT count(*) FROM document),
    (SELECT min(sequence) FROM document),
    (SELECT max(sequence) FROM document),
    ARRAY(
        SELECT expected FROM generate_series(1, greatest(%(counter)s, (SELECT max(sequence) FROM document))) expected
        WHERE NOT EXISTS (SELECT 1 FROM document WHERE sequence = expected) ORDER BY expected LIMIT %(shown)s
    ),
    ARRAY(SELECT sequence FROM document GROUP BY sequence HAVING count(*) > 1 ORDER BY sequence LIMIT %(shown)s),
    ARRAY(
        SELECT number FROM document
        WHERE number <> %(stem)s || lpad(sequence::text, greatest(6, length(sequence::text)), '0')
        ORDER BY sequence LIMIT %(shown)s
    ),
    ARRAY(
        SELECT number FROM (
            SELECT number, sequence, issue_date, lag(issue_date) OVER (ORDER BY sequence) AS before FROM document
        ) dated WHERE issue_date < before ORDER BY sequence LIMIT %(shown)s
    )
"""


def numbering_proof(series: NumberSeries) -> NumberingProof:
    """Compare the documents of the series with its counter, in one statement (INV-02)."""
    with connection.cursor() as cursor:
        cursor.execute(
            _PROOF,
            {
                "issuer": series.issuer_id,
                "type": series.document_type,
                "year": series.fiscal_year,
                "counter": series.last_number,
                "stem": f"{series.prefix}{series.fiscal_year}-",
                "shown": SHOWN_DEFECTS,
            },
        )
        documents, first, last, missing, duplicates, misspelt, out_of_order = cursor.fetchone()
    return NumberingProof(
        series=str(series),
        fiscal_year=series.fiscal_year,
        counter=series.last_number,
        documents=documents,
        first=first,
        last=last,
        missing=missing,
        duplicates=duplicates,
        misspelt=misspelt,
        out_of_order=out_of_order,
    )


def numbering_defects_of_unknown_series() -> list[dict[str, Any]]:
    """Issued documents for which no counter row exists: there must be none."""
    rows = (
        Invoice.objects.exclude(sequence_number__isnull=True)
        .values("issuer_id", "document_type", "fiscal_year")
        .annotate(document_count=Count("pk"))
        .order_by("issuer_id", "document_type", "fiscal_year")
    )
    known = set(NumberSeries.objects.values_list("issuer_id", "document_type", "fiscal_year"))
    return [
        dict(row) for row in rows if (row["issuer_id"], row["document_type"], row["fiscal_year"]) not in known
    ]


def totals_by_currency(invoices: QuerySet[Invoice]) -> dict[str, Decimal]:
    """The totals of the invoices, one per currency, never one sum over several."""
    rows = invoices.order_by().values("currency").annotate(sum=Sum("total")).order_by("currency")
    return {row["currency"]: row["sum"] for row in rows}
