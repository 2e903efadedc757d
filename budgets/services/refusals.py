"""What a budget says when it refuses: why, by how much, who can lift it, what would pass."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from budgets.models import Budget
from core.errors import Conflict
from core.money import plain_amount


@dataclass(frozen=True, slots=True)
class BudgetShortfall:
    """One failing budget: what was asked of it and how much is missing, in its currency."""

    budget: Budget
    asked: Decimal
    short: Decimal
    stretch: str = ""

    def figures(self) -> dict:
        budget = self.budget

        def plain(amount: Decimal) -> str:
            return plain_amount(amount, budget.currency)

        return {
            "budget_id": budget.pk,
            "name": budget.name,
            "currency": budget.currency,
            "allocated": plain(budget.allocated_amount),
            "used": plain(budget.used_amount),
            "available": plain(budget.available_amount),
            "asked": plain(self.asked),
            "short": plain(self.short),
            "stretch": self.stretch,
        }

    def sentence(self) -> str:
        figures = self.figures()
        where = f" in {self.stretch}" if self.stretch else ""
        return (
            f"“{figures['name']}” has {figures['available']} {figures['currency']} available{where}, asked "
            f"{figures['asked']}, short by {figures['short']}."
        )


def insufficient_budget(shortfalls: Sequence[BudgetShortfall]) -> Conflict:
    """The refusal that lists every failing budget (BUD-07)."""
    sentences = " ".join(shortfall.sentence() for shortfall in shortfalls)
    return Conflict(
        "insufficient_budget",
        f"{sentences} Ask for an increase or a transfer, or for an override by somebody who may grant one.",
        extra={"shortfalls": [shortfall.figures() for shortfall in shortfalls]},
    )
