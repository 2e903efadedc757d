"""Reads about usage: totals of an import, what was mapped and what was not (USE-03)."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal

from django.db.models import Count, F, Q, QuerySet, Sum

from core.exchange import PIVOT
from core.models import ExchangeRate
from core.money import plain_amount
from entities.models import Entity
from invoicing.models import ImportStatus, UsageImport, UsageRecord


def group_root(entity: Entity) -> Entity:
    """The top of the entity's group: rows and files count once in it (USE-02)."""
    root: Entity = Entity.objects.ancestors_of(entity.pk, include_self=True).get(parent__isnull=True)
    return root


def convertible_currencies(into: str) -> frozenset[str]:
    """Currencies that some exchange rate, of whatever date, leads from into `into`, directly or through the euro."""
    direct: dict[str, set[str]] = {}
    for base, quote in ExchangeRate.objects.order_by().values_list("base", "quote").distinct():
        direct.setdefault(base, set()).add(quote)
        direct.setdefault(quote, set()).add(base)
    reached = {into} | direct.get(into, set())
    if into in direct.get(PIVOT, set()) | {PIVOT}:
        reached |= direct.get(PIVOT, set()) | {PIVOT}
    return frozenset(reached)


@dataclass(frozen=True, slots=True)
class CurrencyTotals:
    """What an import brought in one currency, exact: allocated + unallocated = all (USE-03)."""

    currency: str
    rows: int = 0
    cost: Decimal = Decimal(0)
    allocated_rows: int = 0
    allocated_cost: Decimal = Decimal(0)
    unallocated_rows: int = 0
    unallocated_cost: Decimal = Decimal(0)

    def as_text(self) -> dict[str, str | int]:
        """The figures for machines: exact amounts as text."""
        return {
            "currency": self.currency,
            "rows": self.rows,
            "cost": plain_amount(self.cost, self.currency),
            "allocated_rows": self.allocated_rows,
            "allocated_cost": plain_amount(self.allocated_cost, self.currency),
            "unallocated_rows": self.unallocated_rows,
            "unallocated_cost": plain_amount(self.unallocated_cost, self.currency),
        }


def totals_by_currency(records: QuerySet[UsageRecord]) -> list[CurrencyTotals]:
    """Exact sums of BilledCost per currency, allocated and not."""
    allocated = Q(department__isnull=False)
    rows = (
        records.order_by()
        .values("currency")
        .annotate(
            rows=Count("pk"),
            cost=Sum("billed_cost"),
            allocated_rows=Count("pk", filter=allocated),
            allocated_cost=Sum("billed_cost", filter=allocated, default=Decimal(0)),
            unallocated_rows=Count("pk", filter=~allocated),
            unallocated_cost=Sum("billed_cost", filter=~allocated, default=Decimal(0)),
        )
        .order_by("currency")
    )
    return [CurrencyTotals(**row) for row in rows]


def import_totals(usage_import: UsageImport) -> list[CurrencyTotals]:
    """What the records of an import sum to now: repaired rows included, undone ones gone."""
    return totals_by_currency(UsageRecord.objects.filter(usage_import=usage_import))


@dataclass(frozen=True, slots=True)
class DepartmentTotals:
    """What of an import a department bears, in one currency."""

    department_id: int | None
    code: str
    name: str
    currency: str
    rows: int
    cost: Decimal


def import_departments(usage_import: UsageImport, *, most: int = 200) -> list[DepartmentTotals]:
    """The departments of an import with the largest cost first; the unallocated rest has no department."""
    rows = (
        UsageRecord.objects.filter(usage_import=usage_import)
        .order_by()
        .values("department_id", "currency", code=F("department__code"), name=F("department__name"))
        .annotate(rows=Count("pk"), cost=Sum("billed_cost"))
        .order_by("-cost", "code")[:most]
    )
    return [
        DepartmentTotals(**(row | {"code": row["code"] or "", "name": row["name"] or ""})) for row in rows
    ]


@dataclass(frozen=True, slots=True)
class RejectedCounts:
    """The rejected rows of an import by what has become of them."""

    open: int = 0
    repaired: int = 0
    discarded: int = 0


def rejected_counts(usage_import: UsageImport) -> RejectedCounts:
    """Count them."""
    counts = usage_import.rejected_rows.order_by().values_list("status").annotate(Count("pk"))
    return RejectedCounts(**dict(counts))


def overlapping_imports(usage_import: UsageImport) -> Iterable[UsageImport]:
    """Later imports whose duplicate rows this one had brought: they stand on it."""
    return UsageImport.objects.filter(status=ImportStatus.COMPLETED, overlaps__has_key=str(usage_import.pk))


@dataclass(frozen=True, slots=True)
class ProblemGroup:
    """How often a kind of problem occurs among the open rejected rows, with the first line that has it."""

    code: str
    rows: int
    first_line: int
    example: str = field(default="")
