"""Whom a billing run invoices, how far it is, and what its invoices come to (INV-03, ENT-00, ENT-02)."""

import datetime
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.db import connection
from django.db.models import Count, Q, Sum

from core.money import exact_sum
from entities.models import Entity, EntityLink, LinkKind
from invoicing.models import POSTED_STATUSES, BillingRun, BillingRunItem, ItemStatus, RunStatus
from invoicing.selectors.uninvoiced import USAGE_IS_FREE

_ISSUERS = """
SELECT payer.id, coalesce(
    (SELECT issuer.id FROM entity_closure closure JOIN billing_entities issuer ON issuer.id = closure.ancestor_id
     WHERE closure.descendant_id = payer.id AND closure.depth > 0 AND issuer.is_issuer AND issuer.is_active
     ORDER BY closure.depth LIMIT 1),
    (SELECT issuer.id FROM billing_entities issuer
     WHERE issuer.is_issuer AND issuer.is_active AND issuer.is_default_issuer AND issuer.id <> payer.id)
)
FROM unnest(%s::bigint[]) AS payer (id)
"""

# Whom the entities may have paid for is taken widely: the draft looks at it day by day.
_PAID_BEFORE = f"""
WITH billed AS (
    SELECT invoice.entity_id AS payer_id, invoice.period_start, least(invoice.period_end, %(start)s::date) AS period_end
    FROM invoices invoice
    WHERE invoice.entity_id = ANY(%(entities)s::bigint[]) AND invoice.document_type = 'invoice'
      AND invoice.status = ANY(%(posted)s::text[]) AND invoice.period_start < %(start)s::date
), covered AS (
    SELECT payer.id AS payer_id, closure.descendant_id AS entity_id
    FROM (SELECT DISTINCT payer_id AS id FROM billed) payer
    JOIN entity_closure closure ON closure.ancestor_id = payer.id OR closure.ancestor_id IN (
        SELECT link.entity_id FROM entity_links link WHERE link.kind = 'payer' AND link.target_id = payer.id
    )
)
SELECT DISTINCT billed.payer_id FROM billed
WHERE EXISTS (
    SELECT 1 FROM covered JOIN usage_records usage
      ON usage.entity_id = covered.entity_id
     AND usage.charge_date >= billed.period_start AND usage.charge_date < billed.period_end
    WHERE covered.payer_id = billed.payer_id AND {USAGE_IS_FREE}
) OR EXISTS (
    SELECT 1 FROM covered JOIN cost_allocations allocation
      ON allocation.entity_id = covered.entity_id
     AND allocation.period_start >= billed.period_start AND allocation.period_start < billed.period_end
    WHERE covered.payer_id = billed.payer_id AND allocation.billable AND allocation.amount <> 0
      AND NOT EXISTS (
        SELECT 1 FROM billed_items held WHERE held.cost_allocation_id = allocation.id AND held.released_at IS NULL
      )
) OR EXISTS (
    -- Fees that fell due while it paid, and credits of what was billed to it.
    SELECT 1 FROM contract_fees fee
    WHERE fee.bill_on < %(end)s::date
      AND NOT EXISTS (
        SELECT 1 FROM billed_items held WHERE held.contract_fee_id = fee.id AND held.released_at IS NULL
      )
      AND (
        (fee.bill_on < %(start)s::date AND fee.entity_id IN (
            SELECT covered.entity_id FROM covered WHERE covered.payer_id = billed.payer_id
        ))
        OR (fee.amount < 0 AND EXISTS (
            SELECT 1 FROM invoice_lines line JOIN invoices invoice ON invoice.id = line.invoice_id
            WHERE line.contract_id = fee.contract_id AND invoice.entity_id = billed.payer_id
              AND invoice.status = ANY(%(posted)s::text[])
        ))
      )
) OR (
    -- What contracts bill in arrears may not be written yet.
    billed.period_end > %(lately)s::date AND EXISTS (
        SELECT 1 FROM covered JOIN billing_contracts contract ON contract.entity_id = covered.entity_id
        WHERE covered.payer_id = billed.payer_id AND contract.activated_at IS NOT NULL
    )
)
"""

ARREARS_COME_WITHIN = datetime.timedelta(days=62)

_FINGERPRINT = """
SELECT encode(sha256(convert_to(concat_ws(
    E'\\n',
    (invoice.issuer_id, invoice.entity_id, invoice.bill_to_id, invoice.period_start, invoice.period_end,
     invoice.currency, invoice.subtotal, invoice.tax_total, invoice.total)::text,
    (SELECT string_agg(
        (line.line_number, line.kind, line.entity_id, line.entity_name, line.department_id, line.department_code,
         line.department_name, line.gl_code, line.description, line.provider, line.service, line.charge_category,
         line.contract_id, line.contract_line, line.item_count, line.period_start, line.period_end,
         line.original_currency, line.original_amount, line.rate, line.rate_date, line.rate_source,
         line.markup_percent, line.exact_amount, line.amount, line.tax_category, line.tax_rate, line.tax_amount)::text,
        E'\\n' ORDER BY line.line_number)
     FROM invoice_lines line WHERE line.invoice_id = invoice.id)
), 'UTF8')), 'hex')
FROM invoices invoice WHERE invoice.id = %s
"""


def payers_in(scope: Entity, start: datetime.date, end: datetime.date) -> list[int]:
    """The entities of the scope that pay on some day of ``[start, end)``, those above others first (four queries).

    An entity pays for itself unless a link makes another pay, or it is billed with its parent; and it pays if a link
    makes it pay for another. One that paid before and has an invoice of those days is there too while something of
    them is on no invoice: it is theirs who paid then (INV-03).
    """
    nodes = list(
        Entity.objects.descendants_of(scope.pk)
        .order_by("above__depth", "name", "pk")
        .values_list("pk", "parent_id", "consolidated_billing")
    )
    links = EntityLink.objects.filter(kind=LinkKind.PAYER).touching(start, end)
    within = Entity.objects.descendants_of(scope.pk).values("pk")
    of_entity: dict[int, list[EntityLink]] = defaultdict(list)
    pays_for_others = set()
    for link in links.filter(Q(entity__in=within) | Q(target__in=within)).order_by("valid_from"):
        of_entity[link.entity_id].append(link)
        if link.target_id != link.entity_id:
            pays_for_others.add(link.target_id)
    paying = {
        entity_id
        for entity_id, parent_id, consolidated in nodes
        if entity_id in pays_for_others
        or _pays_itself(of_entity[entity_id], start, end, unless_linked=parent_id is None or not consolidated)
    }
    paying |= _paid_before([entity_id for entity_id, _, _ in nodes if entity_id not in paying], start, end)
    return [entity_id for entity_id, _, _ in nodes if entity_id in paying]


def _paid_before(entity_ids: Sequence[int], start: datetime.date, end: datetime.date) -> set[int]:
    if not entity_ids:
        return set()
    given: dict[str, Any] = {
        "entities": list(entity_ids),
        "posted": list(POSTED_STATUSES),
        "start": start,
        "end": end,
        "lately": start - ARREARS_COME_WITHIN,
        "draft": 0,
    }
    with connection.cursor() as cursor:
        cursor.execute(_PAID_BEFORE, given)
        return {row[0] for row in cursor.fetchall()}


def _pays_itself(
    links: Collection[EntityLink], start: datetime.date, end: datetime.date, *, unless_linked: bool
) -> bool:
    """Whether on some day a link to itself holds or, if ``unless_linked``, none does."""
    if any(link.target_id == link.entity_id for link in links):
        return True
    if not unless_linked:
        return False
    day = start
    for link in links:
        if link.valid_from > day:
            return True
        if link.valid_to is None:
            return False
        day = max(day, link.valid_to)
    return day < end


def issuers_of(payer_ids: Collection[int]) -> dict[int, int | None]:
    """Who issues the invoices of each payer, as ``entities.selectors.issuer_for`` says it; None for nobody."""
    with connection.cursor() as cursor:
        cursor.execute(_ISSUERS, [list(payer_ids)])
        return dict(cursor.fetchall())


def invoice_fingerprint(invoice_id: int) -> str:
    """SHA-256 over all that the invoice asks for: parties, period, totals and every line, as hexadecimal digits."""
    with connection.cursor() as cursor:
        cursor.execute(_FINGERPRINT, [invoice_id])
        return str(cursor.fetchone()[0])


# --- How far ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RunCounts:
    """How many payers of a run are in each state, and how many prepared ones are unusual."""

    waiting: int
    nothing_to_invoice: int
    prepared: int
    failed: int
    issued: int
    left_out: int
    unusual: int

    @property
    def payers(self) -> int:
        """All payers of the run."""
        return (
            self.waiting + self.nothing_to_invoice + self.prepared + self.failed + self.issued + self.left_out
        )


def run_counts(run_id: int) -> RunCounts:
    """Count the payers of a run by state (one query)."""
    items = BillingRunItem.objects.filter(run_id=run_id).order_by()
    counts = {status.value: Count("pk", filter=Q(status=status)) for status in ItemStatus}
    unusual = Count("pk", filter=Q(status=ItemStatus.PREPARED) & ~Q(anomalies=[]))
    return RunCounts(**items.aggregate(**counts, unusual=unusual))


@dataclass(frozen=True, slots=True)
class RunProgress:
    """How far the work of a run's state is: ``done`` of ``total`` payers, and in words."""

    done: int
    total: int
    words: str


def run_progress(status: str, counts: RunCounts) -> RunProgress:
    """Work the progress of a run out from its counts."""
    failed = f", {counts.failed:,} failed" if counts.failed else ""
    if status == RunStatus.ISSUING:
        total = counts.issued + counts.prepared
        words = f"{counts.issued:,} of {total:,} invoices issued{failed}"
        return RunProgress(counts.issued, total, words)
    done = counts.payers - counts.waiting
    return RunProgress(done, counts.payers, f"{done:,} of {counts.payers:,} payers looked at{failed}")


@dataclass(frozen=True, slots=True)
class CurrencyTotal:
    """What the invoices of a run in one state come to in one currency, and what its credit notes give back.

    ``credited`` is with tax, and not taken off ``total``.
    """

    currency: str
    status: str
    invoices: int
    subtotal: Decimal
    tax_total: Decimal
    total: Decimal
    credit_notes: int = 0
    credited: Decimal = Decimal(0)


def run_totals(run: BillingRun) -> list[CurrencyTotal]:
    """The previewed totals of what is prepared and what is issued, per currency; never one sum over several."""
    rows = (
        BillingRunItem.objects.filter(run=run, status__in=[ItemStatus.PREPARED, ItemStatus.ISSUED])
        .exclude(invoice=None)
        .order_by()
        .values("currency", "status")
        .annotate(invoices=Count("pk"), net=Sum("subtotal"), tax=Sum("tax_total"), gross=Sum("total"))
    )
    found: dict[tuple[str, str], Any] = {(row["currency"], row["status"]): row for row in rows}
    notes: dict[tuple[str, str], list[Decimal]] = defaultdict(list)
    crediting = BillingRunItem.objects.filter(run=run).exclude(credit_notes=[])
    for planned in crediting.values_list("credit_notes", flat=True):
        for note in planned:
            status = ItemStatus.ISSUED if note["credit_note_id"] else ItemStatus.PREPARED
            notes[note["currency"], status].append(Decimal(note["total"]))
    none: dict[str, Any] = {"invoices": 0, "net": Decimal(0), "tax": Decimal(0), "gross": Decimal(0)}
    totals = []
    for key in sorted({*found, *notes}, key=lambda key: (key[0], key[1] != ItemStatus.PREPARED)):
        row = found.get(key, none)
        totals.append(
            CurrencyTotal(
                currency=key[0],
                status=key[1],
                invoices=row["invoices"],
                subtotal=row["net"],
                tax_total=row["tax"],
                total=row["gross"],
                credit_notes=len(notes.get(key, [])),
                credited=exact_sum(notes.get(key, [])),
            )
        )
    return totals
