"""Reads for what settles documents, and the proof that the counters are what the rows say (INV-06, INV-08, DSP-03)."""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

from django.db import connection
from django.db.models import QuerySet

from core.money import plain_amount
from invoicing.models import Invoice, Settlement

# Of an invoice or debit note: the sum of what settles it. Of a credit note: what it settled and what was refunded of
# it. Of a payment the same. Of a line: the lines of credit notes in force that give it back. What is disputed of a
# document: its holds that are neither released nor deferred to a day.
DIFFERENCES = """
WITH settled AS (
    SELECT invoice_id AS id, sum(amount) AS amount FROM settlements GROUP BY invoice_id
), used AS (
    SELECT credit_note_id AS id, sum(amount) AS amount FROM (
        SELECT credit_note_id, amount FROM settlements WHERE credit_note_id IS NOT NULL
        UNION ALL SELECT credit_note_id, amount FROM refunds WHERE credit_note_id IS NOT NULL
    ) uses GROUP BY credit_note_id
), applied AS (
    SELECT payment_id AS id, sum(amount) AS amount FROM (
        SELECT payment_id, amount FROM settlements WHERE payment_id IS NOT NULL
        UNION ALL SELECT payment_id, amount FROM refunds WHERE payment_id IS NOT NULL
    ) uses GROUP BY payment_id
), credited AS (
    SELECT given.corrects_line_id AS id, sum(given.amount) AS amount, sum(given.tax_amount) AS tax
    FROM invoice_lines given JOIN invoices note ON note.id = given.invoice_id
    WHERE given.corrects_line_id IS NOT NULL AND note.document_type = 'credit_note'
      AND note.status NOT IN ('draft', 'void')
    GROUP BY given.corrects_line_id
), disputed AS (
    SELECT invoice_id AS id, sum(amount) AS amount FROM collection_holds
    WHERE released_at IS NULL AND due_date IS NULL GROUP BY invoice_id
), expected AS (
    SELECT 'document' AS kind, i.id, 'settled' AS counter, i.settled_amount AS stored, coalesce(
        CASE WHEN i.document_type = 'credit_note' THEN used.amount ELSE settled.amount END, 0
    ) AS proven
    FROM invoices i LEFT JOIN settled ON settled.id = i.id LEFT JOIN used ON used.id = i.id
    UNION ALL
    SELECT 'document', i.id, 'disputed', i.disputed_amount, coalesce(disputed.amount, 0)
    FROM invoices i LEFT JOIN disputed ON disputed.id = i.id
    UNION ALL
    SELECT 'payment', p.id, 'applied', p.applied_amount, coalesce(applied.amount, 0)
    FROM payments p LEFT JOIN applied ON applied.id = p.id
    UNION ALL
    SELECT 'line', l.id, x.counter, x.stored, x.proven
    FROM invoice_lines l LEFT JOIN credited ON credited.id = l.id
    CROSS JOIN LATERAL (VALUES
        ('credited', l.credited_amount, coalesce(credited.amount, 0)),
        ('credited tax', l.credited_tax, coalesce(credited.tax, 0))
    ) AS x (counter, stored, proven)
)
SELECT kind, id, counter, stored, proven FROM expected WHERE stored <> proven ORDER BY kind, id, counter
"""


@dataclass(frozen=True, slots=True)
class SettlementDifference:
    """A counter of a document, a payment or an invoice line that is not the sum of its rows."""

    kind: str
    pk: int
    counter: str
    stored: Decimal
    proven: Decimal

    def __str__(self) -> str:
        return (
            f"{self.kind} {self.pk}: {self.counter} is stored as {self.stored}, its rows prove {self.proven}"
        )


def settlement_differences() -> Iterator[SettlementDifference]:
    """Recompute every counter from its rows, in one statement; yields nothing when all is well."""
    with connection.cursor() as cursor:
        cursor.execute(DIFFERENCES)
        for row in cursor.fetchall():
            yield SettlementDifference(*row)


def settlements_of(document: Invoice) -> QuerySet[Settlement]:
    """What settled an invoice or debit note; of a credit note, what it settled. In order of time."""
    rows = Settlement.objects.select_related("invoice", "payment", "credit_note", "created_by", "reversal")
    if document.is_credit_note:
        return rows.filter(credit_note=document).order_by("pk")
    return rows.filter(invoice=document).order_by("pk")


def settlement_source(row: Settlement) -> str:
    """What settles, in words."""
    if row.payment is not None:
        words = f"Payment of {plain_amount(row.payment.amount, row.payment.currency)} {row.payment.currency}"
        return f"{words}, received {row.payment.received_on}"
    return f"Credit note {row.credit_note.number}" if row.credit_note is not None else "Write-off"
