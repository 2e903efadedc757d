"""Whom a payer pays for, day by day (ENT-02, INV-03), and who issues its invoices (ENT-00)."""

import datetime
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from itertools import pairwise

from core.errors import Conflict
from core.prepared import PreparedStatement
from entities.models import Entity, LinkKind
from invoicing.models import POSTED_STATUSES

# Who is below the payer or below entities that a link binds to it, and the links of each, if they touch the days.
# One invoice never spans two groups.
_HIERARCHY = PreparedStatement("""
WITH candidate AS (
    SELECT DISTINCT closure.descendant_id AS id FROM entity_closure closure
    WHERE closure.ancestor_id = %(payer)s::bigint
       OR closure.ancestor_id IN (
            SELECT link.entity_id FROM entity_links link
            WHERE link.kind = 'payer' AND link.target_id = %(payer)s::bigint AND link.valid_from < %(end)s::date
              AND (link.valid_to IS NULL OR link.valid_to > %(start)s::date)
              AND EXISTS (
                SELECT 1 FROM entity_closure theirs JOIN entity_closure ours ON ours.ancestor_id = theirs.ancestor_id
                WHERE theirs.descendant_id = link.entity_id AND ours.descendant_id = %(payer)s::bigint
              )
       )
)
SELECT entity.id, entity.parent_id, entity.consolidated_billing, coalesce(nullif(entity.legal_name, ''), entity.name),
       entity.usage_markup_percent, link.kind, link.target_id, link.valid_from, link.valid_to
FROM candidate JOIN billing_entities entity ON entity.id = candidate.id
LEFT JOIN entity_links link ON link.entity_id = entity.id AND link.valid_from < %(end)s::date
  AND (link.valid_to IS NULL OR link.valid_to > %(start)s::date)
ORDER BY entity.id, link.valid_from
""")

_INVOICED = PreparedStatement("""
SELECT period_start, period_end FROM invoices
WHERE entity_id = %(payer)s::bigint AND document_type = 'invoice' AND status = ANY(%(posted)s::text[])
  AND period_start < %(before)s::date
ORDER BY period_start, period_end
""")


Span = tuple[datetime.date, datetime.date]


@dataclass(frozen=True, slots=True)
class ScopePart:
    """What falls on ``entity_id`` in ``[start, end)`` is billed; lines name ``named_id`` (its owner)."""

    entity_id: int
    start: datetime.date
    end: datetime.date
    named_id: int


@dataclass(frozen=True, slots=True)
class PaidElsewhere:
    """In ``[start, end)`` an explicit link makes ``target_id`` pay for the payer itself."""

    target_id: int
    start: datetime.date
    end: datetime.date


@dataclass(frozen=True, slots=True)
class BillingScope:
    """The entities that one payer pays for in a period.

    ``periods`` are the billing periods that the days of the parts belong to: the invoice's own first, then, for what
    arrived late, those that were invoiced before; each makes lines of its own. Days of no period are not billed.
    ``names`` holds the printed name of each named one, ``markups`` the mark-up in percent of each that has one; none is
    taken from the entity above (INV-05). ``refusal`` is there when another entity pays for the payer on all days.
    """

    parts: tuple[ScopePart, ...]
    periods: tuple[Span, ...]
    names: Mapping[int, str]
    markups: Mapping[int, Decimal]
    bill_to_id: int
    paid_elsewhere: tuple[PaidElsewhere, ...] = ()
    entity_ids: tuple[int, ...] = field(default=())
    refusal: Conflict | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class _Node:
    parent_id: int | None
    consolidated: bool
    name: str
    markup: Decimal


@dataclass(frozen=True, slots=True)
class _Link:
    entity_id: int
    target_id: int
    start: datetime.date
    end: datetime.date | None

    def holds_on(self, day: datetime.date) -> bool:
        return self.start <= day and (self.end is None or day < self.end)


@dataclass(frozen=True, slots=True)
class BillingHierarchy:
    """The entities that ``payer`` may pay for on some day of ``[start, end)``, and the links that say so.

    Read once for the longest span that an invoice looks at; `scope` cuts shorter ones out of it.
    """

    payer: Entity
    start: datetime.date
    end: datetime.date
    nodes: Mapping[int, _Node]
    links: Mapping[str, Sequence[_Link]]

    def scope(self, start: datetime.date, end: datetime.date) -> BillingScope:
        """What an invoice of the payer for ``[start, end)``, within the span, covers: see `billing_scope`."""
        assert self.start <= start and end <= self.end
        payer, links = self.payer, self.links
        runs: dict[tuple[int, int], list[list[datetime.date]]] = {}
        elsewhere: list[PaidElsewhere] = []
        for first, last in _segments([*links[LinkKind.PAYER], *links[LinkKind.OWNER]], start, end):
            payers = {
                link.entity_id: link.target_id for link in links[LinkKind.PAYER] if link.holds_on(first)
            }
            owners = {
                link.entity_id: link.target_id for link in links[LinkKind.OWNER] if link.holds_on(first)
            }
            if payers.get(payer.pk, payer.pk) != payer.pk:
                elsewhere.append(PaidElsewhere(payers[payer.pk], first, last))
            for entity_id in _covered(payer.pk, self.nodes, payers):
                days = runs.setdefault((entity_id, owners.get(entity_id, entity_id)), [])
                if days and days[-1][1] == first:
                    days[-1][1] = last
                else:
                    days.append([first, last])
        refusal = None
        if elsewhere and _join(elsewhere) == [(start, end)]:
            refusal = _billed_elsewhere(payer, elsewhere, start, end)
        parts = tuple(
            ScopePart(entity_id, first, last, named_id)
            for (entity_id, named_id), days in sorted(runs.items())
            for first, last in days
        )
        named = _named({part.named_id for part in parts}, self.nodes)
        last_day = end - datetime.timedelta(days=1)
        addressees = {
            link.entity_id: link.target_id
            for link in links[LinkKind.INVOICE_OWNER]
            if link.holds_on(last_day)
        }
        return BillingScope(
            parts=parts,
            periods=((start, end),),
            names={entity_id: node.name for entity_id, node in named.items()},
            markups={entity_id: node.markup for entity_id, node in named.items() if node.markup},
            bill_to_id=addressees.get(payer.pk, payer.pk),
            paid_elsewhere=tuple(elsewhere),
            entity_ids=tuple(sorted({part.entity_id for part in parts})),
            refusal=refusal,
        )


def billing_hierarchy(payer: Entity, start: datetime.date, end: datetime.date) -> BillingHierarchy:
    """Read whom the payer may pay for on the days of ``[start, end)`` (one statement)."""
    nodes: dict[int, _Node] = {}
    links: dict[str, list[_Link]] = {kind: [] for kind in LinkKind.values}
    for row in _HIERARCHY.rows({"payer": payer.pk, "start": start, "end": end}):
        entity_id, parent_id, consolidated, name, markup, kind, target_id, valid_from, valid_to = row
        nodes[entity_id] = _Node(parent_id, consolidated, name, markup)
        if kind is not None:
            links[kind].append(_Link(entity_id, target_id, valid_from, valid_to))
    return BillingHierarchy(payer, start, end, nodes, links)


def billing_scope(payer: Entity, start: datetime.date, end: datetime.date) -> BillingScope:
    """Return what an invoice of ``payer`` for ``[start, end)`` covers, honouring links that change within it.

    On a day an entity is covered if it is the payer, or a payer link in force names the payer, or it has no such
    link, is billed with its parent (``consolidated_billing``) and its parent is covered. Raises Conflict
    ``billed_elsewhere`` if another entity pays for the payer on all days of the period.
    """
    scope = billing_hierarchy(payer, start, end).scope(start, end)
    if scope.refusal is not None:
        raise scope.refusal
    return scope


def invoiced_periods(payer: Entity, before: datetime.date) -> list[Span]:
    """The days before ``before`` that issued invoices of the payer cover, each day once, in order."""
    covered_until = datetime.date.min
    periods = []
    given = {"payer": payer.pk, "before": before, "posted": list(POSTED_STATUSES)}
    for start, end in _INVOICED.rows(given):
        first, last = max(start, covered_until), min(end, before)
        if first < last:
            periods.append((first, last))
            covered_until = last
    return periods


def scope_with_late_days(
    hierarchy: BillingHierarchy, start: datetime.date, end: datetime.date
) -> BillingScope:
    """The scope of ``[start, end)`` and the days of earlier, already invoiced periods.

    What arrived late goes to the next invoice (INV-03), also when another entity pays by now. An earlier period that
    was never invoiced is left to an invoice of its own.
    """
    scope = hierarchy.scope(start, end)
    periods = invoiced_periods(hierarchy.payer, start)
    if not periods:
        return scope
    earlier = hierarchy.scope(periods[0][0], start)
    return replace(
        scope,
        parts=scope.parts + earlier.parts,
        periods=scope.periods + tuple(periods),
        names={**earlier.names, **scope.names},
        markups={**earlier.markups, **scope.markups},
    )


def _segments(
    links: Iterable[_Link], start: datetime.date, end: datetime.date
) -> list[tuple[datetime.date, datetime.date]]:
    """Cut the period where a link begins or ends: within a segment nothing changes."""
    cuts = {start, end}
    for link in links:
        cuts |= {day for day in (link.start, link.end) if day is not None and start < day < end}
    days = sorted(cuts)
    return list(pairwise(days))


def _covered(payer_id: int, nodes: Mapping[int, _Node], payers: Mapping[int, int]) -> list[int]:
    """The entities whose payer is ``payer_id``, given who pays for whom explicitly."""
    known: dict[int, bool] = {}

    def covered(entity_id: int) -> bool:
        answer = known.get(entity_id)
        if answer is None:
            node = nodes.get(entity_id)
            if entity_id in payers:
                answer = payers[entity_id] == payer_id
            elif entity_id == payer_id:
                answer = True
            elif node is None or not node.consolidated or node.parent_id is None:
                answer = False
            else:
                answer = covered(node.parent_id)
            known[entity_id] = answer
        return answer

    return [entity_id for entity_id in nodes if covered(entity_id)]


def _join(spans: list[PaidElsewhere]) -> list[tuple[datetime.date, datetime.date]]:
    joined: list[tuple[datetime.date, datetime.date]] = []
    for span in spans:
        if joined and joined[-1][1] == span.start:
            joined[-1] = (joined[-1][0], span.end)
        else:
            joined.append((span.start, span.end))
    return joined


def _named(named_ids: set[int], nodes: Mapping[int, _Node]) -> dict[int, _Node]:
    """What lines say of each named entity; an owner need not be among those that the payer may pay for."""
    named = {entity_id: nodes[entity_id] for entity_id in named_ids if entity_id in nodes}
    others = Entity.objects.filter(pk__in=named_ids - named.keys()) if named_ids - named.keys() else ()
    return named | {
        entity.pk: _Node(
            entity.parent_id, entity.consolidated_billing, entity.printed_name, entity.usage_markup_percent
        )
        for entity in others
    }


def _billed_elsewhere(
    payer: Entity, elsewhere: list[PaidElsewhere], start: datetime.date, end: datetime.date
) -> Conflict:
    targets = Entity.objects.in_bulk({span.target_id for span in elsewhere})
    target_ids = list(dict.fromkeys(span.target_id for span in elsewhere))
    names = " and ".join(f'"{targets[target_id]}"' for target_id in target_ids)
    return Conflict(
        "billed_elsewhere",
        f'"{payer}" is paid for by {names} from {start} until before {end}. Make the consolidated invoice of that '
        "entity, or end the payer link first.",
        extra={"payers": [{"id": target_id, "name": str(targets[target_id])} for target_id in target_ids]},
    )
