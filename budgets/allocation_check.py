"""Allocated cost is tested against the budgets of its targets, all parts together (ALC-06, BUD-07, BUD-19)."""

from collections.abc import Sequence

from django.conf import settings

from budgets.models import Budget, EntryKind
from budgets.services.amounts import at_rate
from budgets.services.ledger import Movement, lock_budgets, require_funds
from budgets.services.periods import budget_for
from core.errors import Conflict, FieldProblem
from core.exchange import rate_for
from core.models import User
from entities.allocation_checks import AllocatedPart

UNBUDGETED = frozenset({"no_budget", "ambiguous_budget"})


def check_against_budgets(parts: Sequence[AllocatedPart], actor: User) -> None:
    """Refuse an allocation that the budgets of its target departments could not bear; books nothing.

    A target without an open budget on the day passes as unbudgeted, or is refused, as
    ``settings.BUDGET_UNBUDGETED`` says. Raises Conflict ``insufficient_budget`` listing every failing budget, or
    ``no_budget`` listing every target without one.
    """
    bearing = [(part, budget) for part in parts if (budget := _budget_of(part)) is not None]
    unbudgeted = [part for part in parts if not any(part is borne for borne, _ in bearing)]
    if unbudgeted and settings.BUDGET_UNBUDGETED == "refuse":
        problems = [
            FieldProblem("", "no_budget", f"{part.department} has no open budget on {part.day}.")
            for part in unbudgeted
        ]
        raise Conflict(
            "no_budget",
            " ".join(problem.detail for problem in problems) + " Make one first.",
            errors=problems,
        )
    if not bearing:
        return
    locked = lock_budgets({budget.pk for _, budget in bearing})
    require_funds([_movement(part, locked[budget.pk]) for part, budget in bearing], locked)


def _budget_of(part: AllocatedPart) -> Budget | None:
    try:
        return budget_for(
            entity_id=part.department.entity_id, department_id=part.department.pk, category="", on=part.day
        )
    except Conflict as refusal:
        if refusal.code not in UNBUDGETED:
            raise
        return None


def _movement(part: AllocatedPart, budget: Budget) -> Movement:
    rate = rate_for(part.currency, budget.currency, part.day)
    return Movement(
        budget_id=budget.pk,
        kind=EntryKind.CHARGE,
        posting_date=part.day,
        description=part.description,
        document_amount=part.amount,
        document_currency=part.currency,
        spent=at_rate(budget, part.amount, rate.rate),
    )
