"""Whether a charge would pass, without making it (BUD-01, BUD-03, BUD-17, BUD-26, BUD-27)."""

from dataclasses import dataclass
from decimal import Decimal

from budgets.models import Budget
from budgets.services.amounts import business_day
from budgets.services.ledger import headroom, require_postable
from budgets.services.profile import Use, profile_shortfalls
from core.errors import BillingError
from core.models import User


@dataclass(frozen=True, slots=True)
class Availability:
    """The answer of a dry run, in the budget's currency (BUD-01, BUD-03).

    ``reason`` is ``ok``, ``overspend_allowed``, or the code of the refusal that a charge would meet.
    """

    available: bool
    available_amount: Decimal
    requires_approval: bool
    would_overspend: bool
    reason: str
    currency: str


PASSING = frozenset({"ok", "overspend_allowed"})


def available_now(*, actor: User, budget: Budget, asked: Decimal) -> Availability:
    """Ask the budget and all that count it, with what has expired counted as free."""
    counted_by = Budget.objects.filter(pk__in=budget.counted_by)
    expired = counted_by.expired_amounts()
    counters = {counter.pk: counter for counter in counted_by}
    for counter in counters.values():
        counter.committed_amount -= expired[counter.pk]
    own = counters[budget.pk]
    available_amount = min(counter.available_amount for counter in counters.values())
    requires_approval = own.approval_threshold is not None and asked > own.approval_threshold
    would_overspend = asked > available_amount
    return Availability(
        available=(reason := _reason(actor, budget, counters, asked, requires_approval)) in PASSING,
        available_amount=available_amount,
        requires_approval=requires_approval,
        would_overspend=would_overspend,
        reason="overspend_allowed" if reason == "ok" and would_overspend else reason,
        currency=own.currency,
    )


def _reason(
    actor: User, budget: Budget, counters: dict[int, Budget], asked: Decimal, requires_approval: bool
) -> str:
    """In the order in which a charge is tested: state and period, approval, funds, profile."""
    day = business_day(budget)
    try:
        require_postable(budget, day, actor)
    except BillingError as refusal:
        return refusal.code
    if requires_approval:
        return "approval_required"
    rooms = [headroom(counter) for counter in counters.values()]
    if any(room is not None and asked > room for room in rooms):
        return "insufficient_budget"
    return "insufficient_budget" if profile_shortfalls(counters, [Use(budget.pk, day, asked)]) else "ok"
