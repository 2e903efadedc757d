"""What is not invoiced yet and falls into a payer's scope: one grouping statement per kind of item (INV-03)."""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.db import connection

from contracts.usage import UsageTerm
from core.prepared import PreparedStatement
from invoicing.selectors.billing_scope import BillingScope, Span
from invoicing.selectors.contract_fees import HAS_NO_PRICE, term_parameters

# The scope as a table: which entity's items count on which days, which entity the line names, and for what period.
SCOPE = """
SELECT part.entity_id, greatest(part.first, period.first) AS valid_from, least(part.until, period.until) AS valid_to,
       part.named_id, period.first AS period_start, period.until AS period_end
FROM unnest(%(entities)s::bigint[], %(starts)s::date[], %(ends)s::date[], %(named)s::bigint[])
    AS part (entity_id, first, until, named_id)
JOIN unnest(%(period_starts)s::date[], %(period_ends)s::date[]) AS period (first, until)
  ON part.first < period.until AND part.until > period.first
"""

# An item counts unless another invoice holds it; what the draft that is being refreshed holds counts too.
USAGE_IS_FREE = """
NOT EXISTS (
    SELECT 1 FROM billed_items held WHERE held.usage_record_id = usage.id AND held.released_at IS NULL
      AND held.invoice_line_id NOT IN (SELECT id FROM invoice_lines WHERE invoice_id = %(draft)s::bigint)
)
"""

# Usage that a contract prices is billed by the contract's fees (INV-05).
BUT_NOT_PRICED = f" AND {HAS_NO_PRICE}"

_USAGE_GROUPS = f"""
WITH scope AS ({SCOPE})
SELECT scope.named_id, usage.department_id, usage.provider_name, usage.service_name, usage.charge_category,
       usage.currency, count(*), sum(usage.billed_cost), scope.period_start, scope.period_end
FROM scope JOIN usage_records usage
  ON usage.entity_id = scope.entity_id AND usage.charge_date >= scope.valid_from AND usage.charge_date < scope.valid_to
WHERE {USAGE_IS_FREE}
"""
_GROUPED = " GROUP BY 1, 2, 3, 4, 5, 6, 9, 10"
_USAGE = PreparedStatement(_USAGE_GROUPS + _GROUPED)
_USAGE_WITHOUT_PRICE = PreparedStatement(_USAGE_GROUPS + BUT_NOT_PRICED + _GROUPED)

# A reversed allocation and its reversal cancel out: while nobody was billed for the first, neither is billed.
_ALLOCATIONS = PreparedStatement(f"""
WITH scope AS ({SCOPE}),
held AS (
    SELECT cost_allocation_id FROM billed_items
    WHERE cost_allocation_id IS NOT NULL AND released_at IS NULL
      AND invoice_line_id NOT IN (SELECT id FROM invoice_lines WHERE invoice_id = %(draft)s::bigint)
)
SELECT allocation.id, scope.named_id, allocation.department_id, allocation.currency, allocation.amount,
       allocation.description, allocation.gl_code, allocation.period_start, allocation.period_end
FROM scope JOIN cost_allocations allocation
  ON allocation.entity_id = scope.entity_id
 AND allocation.period_start >= scope.valid_from AND allocation.period_start < scope.valid_to
LEFT JOIN cost_allocations reversal ON reversal.reverses_id = allocation.id
WHERE allocation.billable AND allocation.amount <> 0
  AND NOT EXISTS (SELECT 1 FROM held WHERE held.cost_allocation_id = allocation.id)
  AND CASE
        WHEN allocation.reverses_id IS NOT NULL
        THEN EXISTS (SELECT 1 FROM held WHERE held.cost_allocation_id = allocation.reverses_id)
        WHEN reversal.id IS NOT NULL
        THEN EXISTS (SELECT 1 FROM held WHERE held.cost_allocation_id = reversal.id)
        ELSE TRUE
      END
""")

_EARLIER_USAGE = f"""
SELECT count(*), min(usage.charge_date) FROM usage_records usage
WHERE usage.entity_id = ANY(%(entities)s::bigint[])
  AND usage.charge_date >= %(since)s AND usage.charge_date < %(before)s
  AND {USAGE_IS_FREE}
  AND NOT EXISTS (
    SELECT 1 FROM unnest(%(period_starts)s::date[], %(period_ends)s::date[]) AS invoiced (first, last)
    WHERE usage.charge_date >= invoiced.first AND usage.charge_date < invoiced.last
  )
"""

LOOK_BACK = datetime.timedelta(days=92)


@dataclass(frozen=True, slots=True)
class UsageGroup:
    """The charges that make one line: their number and exact sum in ``currency``."""

    entity_id: int
    department_id: int | None
    provider: str
    service: str
    charge_category: str
    currency: str
    item_count: int
    amount: Decimal
    period_start: datetime.date
    period_end: datetime.date


@dataclass(frozen=True, slots=True)
class BillableAllocation:
    """A cost allocation that is to be billed; it makes a line of its own."""

    id: int
    entity_id: int
    department_id: int
    currency: str
    amount: Decimal
    description: str
    gl_code: str
    period_start: datetime.date
    period_end: datetime.date


def scope_parameters(scope: BillingScope, draft_id: int | None) -> dict[str, Any]:
    """Parameters of the statements above; no draft is the id 0, which no row has."""
    return {
        "entities": [part.entity_id for part in scope.parts],
        "starts": [part.start for part in scope.parts],
        "ends": [part.end for part in scope.parts],
        "named": [part.named_id for part in scope.parts],
        "period_starts": [first for first, _ in scope.periods],
        "period_ends": [until for _, until in scope.periods],
        "draft": draft_id or 0,
    }


def uninvoiced_usage(
    scope: BillingScope, draft_id: int | None, terms: Sequence[UsageTerm] = ()
) -> list[UsageGroup]:
    """Group the free usage of the scope: per named entity, department, provider, service, category and currency.

    What ``terms`` of contracts price is left to their fees (INV-05).
    """
    statement = _USAGE_WITHOUT_PRICE if terms else _USAGE
    rows = statement.rows(scope_parameters(scope, draft_id) | term_parameters(terms))
    return [UsageGroup(*row) for row in rows]


def uninvoiced_allocations(scope: BillingScope, draft_id: int | None) -> list[BillableAllocation]:
    """Return the free billable allocations whose period starts within the scope."""
    return [BillableAllocation(*row) for row in _ALLOCATIONS.rows(scope_parameters(scope, draft_id))]


def uninvoiced_before(
    entity_ids: Sequence[int], day: datetime.date, invoiced: Sequence[Span], terms: Sequence[UsageTerm] = ()
) -> tuple[int, datetime.date | None]:
    """How many charges of the three months before ``day`` no invoice holds or will hold, and the first one's day.

    Those of an ``invoiced`` period are not counted: the next invoice takes them along; nor what contracts price.
    """
    with connection.cursor() as cursor:
        parameters: dict[str, Any] = term_parameters(terms)
        cursor.execute(
            _EARLIER_USAGE + (BUT_NOT_PRICED if terms else ""),
            parameters
            | {
                "entities": list(entity_ids),
                "since": day - LOOK_BACK,
                "before": day,
                "draft": 0,
                "period_starts": [first for first, _ in invoiced],
                "period_ends": [last for _, last in invoiced],
            },
        )
        count, first = cursor.fetchone()
        return count, first
