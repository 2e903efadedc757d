"""The figures of a budget as every door shows them (BUD-01, BUD-17, BUD-28)."""

from dataclasses import dataclass, replace
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from django.db.models import Case, DecimalField, ExpressionWrapper, F, Q, Value, When
from django.db.models.functions import Coalesce, NullIf

from budgets.models import Budget, BudgetStatus
from core.money import EXACT

ZERO = Decimal(0)
HUNDRED = Decimal(100)
CENT = Decimal("0.01")
_PERCENT: DecimalField = DecimalField(max_digits=20, decimal_places=2)
_IS_USED = Q(spent_amount__gt=0) | Q(shown_committed__gt=0)


@dataclass(frozen=True, slots=True)
class Figures:
    """What a budget has, in its currency. What has expired is not committed any more (BUD-17)."""

    allocated: Decimal
    override: Decimal
    spent: Decimal
    committed: Decimal

    @property
    def used(self) -> Decimal:
        """Spent and committed."""
        return self.spent + self.committed

    @property
    def available(self) -> Decimal:
        """What may still be charged or committed without overspending; negative when overspent."""
        return self.allocated + self.override - self.used

    @property
    def utilization(self) -> Decimal:
        """Used of allocated in percent, to two decimals; any use of an allocation of 0 is 100 %."""
        if self.allocated == 0:
            return HUNDRED if self.used > 0 else ZERO
        return (self.used * HUNDRED / self.allocated).quantize(CENT, rounding=ROUND_HALF_UP, context=EXACT)

    def plus(
        self,
        *,
        allocated: Decimal = ZERO,
        override: Decimal = ZERO,
        spent: Decimal = ZERO,
        committed: Decimal = ZERO,
    ) -> "Figures":
        """The figures after something has happened."""
        return replace(
            self,
            allocated=self.allocated + allocated,
            override=self.override + override,
            spent=self.spent + spent,
            committed=self.committed + committed,
        )


def figures_of(budget: Budget) -> Figures:
    """The figures of a budget; of a draft, those that opening it will book.

    `expired_amount`, where the queryset has added it, is taken off what is committed.
    """
    is_draft = budget.status == BudgetStatus.DRAFT
    return Figures(
        allocated=budget.planned_amount if is_draft else budget.allocated_amount,
        override=budget.override_amount,
        spent=budget.spent_amount,
        committed=budget.committed_amount - getattr(budget, "expired_amount", ZERO),
    )


def with_figures(rows: Any) -> Any:
    """Add `shown_allocated`, `shown_committed`, `shown_available` and `shown_percent`, to sort and filter by."""
    used = F("spent_amount") + F("shown_committed")
    percent = ExpressionWrapper(
        used * Value(HUNDRED) / NullIf(F("shown_allocated"), Value(ZERO)), output_field=_PERCENT
    )
    return (
        rows.with_expired()
        .annotate(
            shown_allocated=Case(
                When(status=BudgetStatus.DRAFT, then=F("planned_amount")), default=F("allocated_amount")
            ),
            shown_committed=F("committed_amount") - F("expired_amount"),
        )
        .annotate(
            shown_available=F("shown_allocated") + F("override_amount") - used,
            shown_percent=Coalesce(
                percent,
                Case(When(_IS_USED, then=Value(HUNDRED)), default=Value(ZERO), output_field=_PERCENT),
                output_field=_PERCENT,
            ),
        )
    )
