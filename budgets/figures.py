"""The figures of a budget as every door shows them (BUD-01, BUD-17, BUD-28)."""

from dataclasses import dataclass, replace
from decimal import ROUND_HALF_UP, Decimal

from budgets.models import Budget, BudgetStatus
from core.money import EXACT

ZERO = Decimal(0)
HUNDRED = Decimal(100)
CENT = Decimal("0.01")


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
