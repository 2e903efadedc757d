"""What a request holds of a plain budget, as parts of a statement (BUD-02): the approvals' fast path joins them.

The plain case of ``budgets.services.reservations``: an open budget that stands by itself, with the whole period as its
check scope, on which nothing has expired and no threshold fires or is re-armed. Where something is not plain ``taken``,
``settled`` or ``kept`` has no row, nothing else of the statement happens, and the general way decides. PostgreSQL
evaluates the conditions on the budget anew on the row's latest version when it had to wait for it.
"""

import datetime
from decimal import Decimal

from budgets.models import AlertLevel, Budget, BudgetEntry, Commitment, EntryKind
from budgets.services.amounts import BudgetAmount
from budgets.services.commitments import Promise, movement_of, promised
from budgets.services.ledger import Source, entries_of
from budgets.services.reservations import settlement
from budgets.services.thresholds import REARM_POINTS
from core.models import User


def _quiet(level: str, used: str) -> str:
    """The threshold neither fires nor is re-armed by what is used afterwards."""
    percent = f"b.{level}_threshold_percent"
    return f"""
    CASE WHEN b.{level}_fired
        THEN {used} * 100 > (coalesce({percent}, 100) - {REARM_POINTS}) * b.allocated_amount
        ELSE {percent} IS NULL OR {used} <= 0 OR {used} * 100 < {percent} * b.allocated_amount
    END"""


def _plain(used: str) -> str:
    quiet = " AND ".join(_quiet(level, used) for level in AlertLevel.values)
    return f"""
    b.id = %(budget)s::bigint AND b.status = 'open' AND b.counted_by = ARRAY[b.id] AND NOT b.is_control_point
    AND b.check_scope = 'period' AND b.allocated_amount > 0 AND {quiet}
    AND NOT EXISTS (
        SELECT 1 FROM budget_commitments x
        WHERE x.budget_id = b.id AND x.status IN ('pending', 'approved') AND x.expires_at <= %(now)s::timestamptz
    )"""


_USED = "(b.spent_amount + b.committed_amount)"
_USED_AFTER = "(b.spent_amount + b.committed_amount + %(amount)s::numeric)"

# The counter moves; place, currency and period are those that the rest of the statement was worked out for.
TAKEN = f"""
taken AS (
    UPDATE budgets b SET committed_amount = b.committed_amount + %(amount)s::numeric
    WHERE {_plain(_USED_AFTER)}
      AND b.entity_id = %(entity)s::bigint AND b.department_id IS NOT DISTINCT FROM %(department)s::bigint
      AND b.currency = %(currency)s::text AND b.period_end = %(period_end)s::date
      AND %(day)s::date >= b.period_start AND %(day)s::date < b.period_end
      AND (b.control = 'off' OR {_USED_AFTER} <= b.allocated_amount + b.override_amount)
    RETURNING b.*
)"""

# For the next two the budget's row is locked by a statement before: then nobody else changes the commitment.
LOCK = "SELECT id FROM budgets WHERE id = %(budget)s::bigint FOR NO KEY UPDATE"

_HELD = """
x.id = %(commitment)s::bigint AND x.budget_id = %(budget)s::bigint AND x.status IN ('pending', 'approved')
AND x.amount - x.consumed_amount - x.released_amount = %(rest)s::numeric"""

SETTLED = f"""
settled AS (
    UPDATE budgets b SET
        committed_amount = b.committed_amount - %(rest)s::numeric, spent_amount = b.spent_amount + %(rest)s::numeric
    WHERE {_plain(_USED)}
      AND %(rest)s::numeric > 0 AND EXISTS (SELECT 1 FROM budget_commitments x WHERE {_HELD})
      AND NOT EXISTS (
        SELECT 1 FROM budget_entries x
        WHERE x.source_type = 'approval_request' AND x.source_id = %(source_id)s::text AND x.source_line = 0
          AND x.source_revision = %(source_revision)s::integer AND x.kind = '{EntryKind.CONSUMPTION}'
          AND x.budget_id = b.id)
    RETURNING b.id
), consumed AS (
    UPDATE budget_commitments x SET
        consumed_amount = x.consumed_amount + %(rest)s::numeric, status = 'consumed', updated_at = %(now)s::timestamptz
    FROM settled WHERE {_HELD}
    RETURNING x.id
)"""

KEPT = f"""
kept AS (
    UPDATE budget_commitments x SET status = 'approved', updated_at = %(now)s::timestamptz
    FROM budgets b WHERE {_HELD} AND {_plain(_USED)}
    RETURNING x.id
)"""


def held(budget: Budget, promise: Promise, day: datetime.date, actor: User) -> tuple[Commitment, BudgetEntry]:
    """The commitment of a promise in the budget's own currency, and its entry; neither is written yet."""
    amount = promise.amount
    assert isinstance(amount, Decimal)
    value = BudgetAmount(amount, amount, budget.currency, Decimal(1), None)
    commitment = promised(budget, promise, value, day, actor)
    (entry,) = entries_of([movement_of(commitment, promise, value)], actor)
    return commitment, entry


def spent(
    budget: Budget, commitment: Commitment, *, actor: User, description: str, reference: str, source: Source
) -> BudgetEntry:
    """The entry that spends what the commitment still holds, not written yet."""
    movement = settlement(budget, commitment, description=description, reference=reference, source=source)
    return entries_of([movement], actor)[0]
