"""Whom a billing run invoices, how far it is, and what its invoices come to (INV-03, ENT-00, ENT-02)."""

import datetime
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from decimal import Decimal

from django.db import connection
from django.db.models import Count, Q, Sum

from core.money import exact_sum
from entities.models import Entity, EntityLink, LinkKind
from invoicing.models import BillingRun, BillingRunItem, ItemStatus, RunStatus

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
    """The entities of the scope that pay on some day of ``[start, end)``, those above others first (three queries).

    An entity pays for itself unless a link makes another pay, or it is billed with its parent; and it pays if a link
    makes it pay for another.
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
    return [
        entity_id
        for entity_id, parent_id, consolidated in nodes
        if entity_id in pays_for_others
        or _pays_itself(of_entity[entity_id], start, end, unless_linked=parent_id is None or not consolidated)
    ]


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
    found = {(row["currency"], row["status"]): row for row in rows}
    notes: dict[tuple[str, str], list[Decimal]] = defaultdict(list)
    crediting = BillingRunItem.objects.filter(run=run).exclude(credit_notes=[])
    for planned in crediting.values_list("credit_notes", flat=True):
        for note in planned:
            status = ItemStatus.ISSUED if note["credit_note_id"] else ItemStatus.PREPARED
            notes[note["currency"], status].append(Decimal(note["total"]))
    none = {"invoices": 0, "net": Decimal(0), "tax": Decimal(0), "gross": Decimal(0)}
    return [
        CurrencyTotal(
            *key,
            *(found.get(key, none)[name] for name in ("invoices", "net", "tax", "gross")),
            len(notes[key]),
            exact_sum(notes[key]),
        )
        for key in sorted({*found, *notes}, key=lambda key: (key[0], key[1] != ItemStatus.PREPARED))
    ]
