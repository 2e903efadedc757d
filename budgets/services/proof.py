"""Proof that the counters are what the entries say (BUD-01)."""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

from django.db import connection

COUNTERS = ("allocated", "committed", "spent", "override")

# One pass over the entries: each moves its own budget's allocation and the use of every budget that counts it.
DIFFERENCES = """
WITH own AS (
    SELECT budget_id, sum(allocated_delta) AS allocated, sum(override_delta) AS override
    FROM budget_entries GROUP BY budget_id
), by_budget AS (
    SELECT budget_id, sum(committed_delta) AS committed, sum(spent_delta) AS spent
    FROM budget_entries GROUP BY budget_id
), counted AS (
    SELECT counter.id AS budget_id, sum(by_budget.committed) AS committed, sum(by_budget.spent) AS spent
    FROM by_budget JOIN budgets leaf ON leaf.id = by_budget.budget_id
    CROSS JOIN LATERAL unnest(leaf.counted_by) AS counter(id)
    GROUP BY counter.id
), promised AS (
    SELECT counter.id AS budget_id, sum(c.amount - c.consumed_amount - c.released_amount) AS remainder
    FROM budget_commitments c JOIN budgets leaf ON leaf.id = c.budget_id
    CROSS JOIN LATERAL unnest(leaf.counted_by) AS counter(id)
    GROUP BY counter.id
), expected AS (
    SELECT b.id, b.name, x.counter, x.stored, x.proven
    FROM budgets b
    LEFT JOIN own ON own.budget_id = b.id
    LEFT JOIN counted ON counted.budget_id = b.id
    LEFT JOIN promised ON promised.budget_id = b.id
    CROSS JOIN LATERAL (VALUES
        ('allocated', b.allocated_amount, coalesce(own.allocated, 0)),
        ('override', b.override_amount, coalesce(own.override, 0)),
        ('committed', b.committed_amount, coalesce(counted.committed, 0)),
        ('spent', b.spent_amount, coalesce(counted.spent, 0)),
        ('open commitments', b.committed_amount, coalesce(promised.remainder, 0))
    ) AS x (counter, stored, proven)
)
SELECT id, name, counter, stored, proven FROM expected WHERE stored <> proven ORDER BY id, counter
"""


@dataclass(frozen=True, slots=True)
class LedgerDifference:
    """A counter of a budget that is not the sum of its entries (or of its open commitments)."""

    budget_id: int
    name: str
    counter: str
    stored: Decimal
    proven: Decimal

    def __str__(self) -> str:
        return (
            f"budget {self.budget_id} “{self.name}”: {self.counter} is stored as {self.stored}, the ledger proves "
            f"{self.proven}"
        )


def ledger_differences() -> Iterator[LedgerDifference]:
    """Recompute every counter of every budget from the ledger; yields nothing when all is well."""
    with connection.cursor() as cursor:
        cursor.execute(DIFFERENCES)
        for row in cursor.fetchall():
            yield LedgerDifference(*row)
