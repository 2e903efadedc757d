"""The monthly profile of a budget and the tests against it (BUD-27)."""

import datetime
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal

from django.db.models import Sum
from django.db.models.functions import TruncMonth

from budgets.models import Budget, BudgetEntry, BudgetMonth, CheckScope, Control
from budgets.services.refusals import BudgetShortfall
from core.money import allocate

ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class Use:
    """What a line spends or commits of a budget on a day; negative when it gives back."""

    budget_id: int
    day: datetime.date
    amount: Decimal


def months_of(budget: Budget) -> list[datetime.date]:
    """The first day of each month that the period touches."""
    month = budget.period_start.replace(day=1)
    found = []
    while month < budget.period_end:
        found.append(month)
        month = _next_month(month)
    return found


def _next_month(month: datetime.date) -> datetime.date:
    return (month + datetime.timedelta(days=32)).replace(day=1)


def spread_allocation(budget: Budget, weights: Sequence[Decimal] | None = None) -> None:
    """Write the month amounts anew so that they sum to the allocation exactly, by largest remainder.

    Without ``weights`` the present profile keeps its shape; without a profile the months are equal.
    """
    months = months_of(budget)
    present = dict(budget.months.values_list("month", "amount"))
    shape = list(weights) if weights is not None else [present.get(month, ZERO) for month in months]
    if not any(shape):
        shape = [Decimal(1)] * len(months)
    amounts = allocate(budget.allocated_amount, shape, budget.currency)
    BudgetMonth.objects.filter(budget=budget).delete()
    BudgetMonth.objects.bulk_create(
        BudgetMonth(budget=budget, month=month, amount=amount)
        for month, amount in zip(months, amounts, strict=True)
    )


def profile_shortfalls(
    budgets: dict[int, Budget], uses: Iterable[Use], *, waived: Collection[int] = ()
) -> list[BudgetShortfall]:
    """Test each claim for its stretch, and for every later stretch already used.

    A backdated entry takes from its own month and, in a test to date, from every month after it. Only absolute
    control refuses. ``budgets`` has the budget of each use and all that count it.
    """
    claims: dict[tuple[int, datetime.date], Decimal] = defaultdict(lambda: ZERO)
    for use in uses:
        for counter_id in budgets[use.budget_id].counted_by:
            counter = budgets[counter_id]
            if (
                counter.check_scope != CheckScope.PERIOD
                and counter.control == Control.ABSOLUTE
                and counter_id not in waived
            ):
                claims[counter_id, use.day.replace(day=1)] += use.amount
    found: list[BudgetShortfall] = []
    for (budget_id, month), claim in sorted(claims.items()):
        if claim > 0:
            found.extend(_failing_stretches(budgets[budget_id], month, claim))
    return found


def _failing_stretches(budget: Budget, month: datetime.date, claim: Decimal) -> Iterator[BudgetShortfall]:
    planned = dict(budget.months.values_list("month", "amount"))
    used = _used_by_month(budget)
    for stretch, months in _stretches(budget, month, used):
        plan = sum((planned.get(each, ZERO) for each in months), ZERO)
        spent = sum((used.get(each, ZERO) for each in months), ZERO)
        short = claim - (plan - spent)
        if short > 0:
            yield BudgetShortfall(budget=budget, asked=claim, short=short, stretch=stretch)


def _stretches(
    budget: Budget, month: datetime.date, used: dict[datetime.date, Decimal]
) -> list[tuple[str, list[datetime.date]]]:
    months = months_of(budget)
    if budget.check_scope == CheckScope.MONTH:
        return [(f"{month:%B %Y}", [month])]
    if budget.check_scope == CheckScope.QUARTER:
        position = months.index(month) // 3
        quarter = months[position * 3 : position * 3 + 3]
        return [(f"{quarter[0]:%B %Y} to {quarter[-1]:%B %Y}", quarter)]
    later_used = [each for each in months if each > month and used.get(each, ZERO) != 0]
    return [
        (f"{months[0]:%B %Y} to {end:%B %Y}", [each for each in months if each <= end])
        for end in [month, *later_used]
    ]


def _used_by_month(budget: Budget) -> dict[datetime.date, Decimal]:
    """Spent and committed per posting month, of everything this budget counts."""
    rows = (
        BudgetEntry.objects.filter(budget__counted_by__contains=[budget.pk])
        .annotate(month=TruncMonth("posting_date"))
        .order_by()
        .values("month")
        .annotate(used=Sum("committed_delta") + Sum("spent_delta"))
    )
    return {row["month"]: row["used"] for row in rows}
