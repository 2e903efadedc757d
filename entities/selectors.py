"""Reads over several models: the hierarchy of an entity, and what departments cost."""

import datetime
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal

from django.db import connection
from django.db.models import Sum
from django.db.models.functions import TruncMonth

from core.errors import Conflict
from core.models import User
from core.money import exact_sum
from core.row_sql import columns_of, stored
from entities.cost_sources import CostRow, cost_rows
from entities.models import CostAllocation, Department, Entity
from entities.periods import FIRST_DAY, LAST_DAY

# As SQL, because every invoice asks it: two querysets over all columns take ten times as long.
_ISSUER = f"""
SELECT {", ".join(f"issuer.{column}" for column in columns_of(Entity))}
FROM billing_entities issuer
LEFT JOIN entity_closure above ON above.ancestor_id = issuer.id AND above.descendant_id = %(payer)s::bigint
WHERE issuer.is_issuer AND issuer.is_active AND issuer.id <> %(payer)s::bigint
  AND (above.id IS NOT NULL OR issuer.is_default_issuer)
ORDER BY above.depth NULLS LAST
LIMIT 1
"""


@dataclass(slots=True)
class EntityNode:
    """An entity with the entities directly below it, ordered by name."""

    entity: Entity
    children: "list[EntityNode]" = field(default_factory=list)


def entity_ancestors(entity: Entity, *, viewer: User) -> list[Entity]:
    """The entities above, from the root down, as far as the viewer may see them (one query)."""
    return list(Entity.objects.visible_to(viewer).ancestors_of(entity.pk))


def entity_children(entity: Entity, *, viewer: User) -> list[EntityNode]:
    """The tree below an entity, as far as the viewer may see it (one query whatever its size)."""
    nodes = {entity.pk: EntityNode(entity)}
    below = Entity.objects.visible_to(viewer).descendants_of(entity.pk, include_self=False)
    # Parents come before their children by depth.
    for row in below.order_by("above__depth", "name", "pk"):
        node = nodes[row.pk] = EntityNode(row)
        above = nodes.get(row.parent_id or 0)
        if above is not None:
            above.children.append(node)
    return nodes[entity.pk].children


def issuer_for(payer: Entity) -> Entity:
    """Return who issues the payer's invoices: the nearest issuer above it, else the default issuer.

    An entity does not invoice itself. Raises Conflict ``no_issuer``.
    """
    with connection.cursor() as cursor:
        cursor.execute(_ISSUER, {"payer": payer.pk})
        found = cursor.fetchone()
    if found is None:
        raise Conflict(
            "no_issuer",
            f'No entity issues invoices to "{payer}". Open the entity that charges the group (its shared-service '
            "company, say), mark it as issuer and as default issuer, then try again.",
            extra={"entity_id": payer.pk},
        )
    issuer: Entity = stored(Entity, found)
    return issuer


@dataclass(frozen=True, slots=True)
class CostLine:
    """Cost of one month, source, GL code and currency, exact."""

    month: datetime.date
    source: str
    gl_code: str
    currency: str
    amount: Decimal


@dataclass(frozen=True, slots=True)
class CostSummary:
    """Cost lines in the order of month, source, GL code and currency, with the total of each currency."""

    lines: list[CostLine]
    totals: dict[str, Decimal]


@dataclass(frozen=True, slots=True)
class DepartmentCosts:
    """What a department bears itself, and with all departments below it."""

    own: CostSummary
    subtree: CostSummary


def department_costs(
    department: Department, *, start: datetime.date = FIRST_DAY, end: datetime.date = LAST_DAY
) -> DepartmentCosts:
    """What a department costs in periods that start within ``[start, end)``, from every registered source.

    Amounts are exact; zero sums are left out. Whoever may see a department's costs sees those of the
    departments below it.
    """
    below = list(Department.objects.descendants_of(department.pk).values_list("pk", flat=True))
    rows = list(cost_rows(below, start, end))
    return DepartmentCosts(
        own=_summary(row for row in rows if row.department_id == department.pk), subtree=_summary(rows)
    )


def own_cost_by_currency(
    department_id: int, *, start: datetime.date, end: datetime.date
) -> dict[str, Decimal]:
    """What a department itself bears in the period, exact, per currency in alphabetical order."""
    return _summary(cost_rows([department_id], start, end)).totals


def _summary(rows: Iterable[CostRow]) -> CostSummary:
    amounts: dict[tuple[datetime.date, str, str, str], list[Decimal]] = defaultdict(list)
    for row in rows:
        amounts[(row.month, row.source, row.gl_code, row.currency)].append(row.amount)
    lines = [CostLine(*key, exact_sum(parts)) for key, parts in sorted(amounts.items())]
    lines = [line for line in lines if line.amount]
    currencies = sorted({line.currency for line in lines})
    totals = {
        currency: exact_sum([line.amount for line in lines if line.currency == currency])
        for currency in currencies
    }
    return CostSummary(lines, totals)


def allocation_cost_rows(
    department_ids: Collection[int], start: datetime.date, end: datetime.date
) -> Iterator[CostRow]:
    """The cost source of cost allocations: every posted part, reversals and credits included; zero parts post
    nothing (ALC-08)."""
    grouped = (
        CostAllocation.objects.filter(department_id__in=department_ids)
        .in_period(start, end)
        .exclude(amount=0)
        .order_by()
        .annotate(month=TruncMonth("period_start"))
        .values("department_id", "month", "source", "gl_code", "currency")
        .annotate(total=Sum("amount"))
    )
    for row in grouped:
        yield CostRow(
            department_id=row["department_id"],
            month=row["month"],
            source=row["source"],
            gl_code=row["gl_code"],
            currency=row["currency"],
            amount=row["total"],
        )
