"""Which budget bears a cost of a day, and which one follows another (BUD-19 to BUD-21)."""

import datetime

from django.db.models import Q

from budgets.models import Budget
from budgets.querysets import BudgetQuerySet
from core.errors import Conflict


def budget_for(*, entity_id: int, department_id: int | None, category: str, on: datetime.date) -> Budget:
    """The budget that bears a cost of the department (or entity) on a day (BUD-19).

    That of the category, or the only one without a category. Raises Conflict ``no_budget`` (never silently free)
    or ``ambiguous_budget``.
    """
    candidates = list(
        Budget.objects.postable()
        .covering(on)
        .of(entity_id=entity_id, department_id=department_id)
        .order_by("pk")
    )
    exact = [each for each in candidates if category and each.category.lower() == category.lower()]
    general = [each for each in candidates if not each.category]
    found = exact or general
    if len(found) == 1:
        return found[0]
    code = "ambiguous_budget" if found else "no_budget"
    message = (
        f"{len(found)} budgets could bear this cost on {on}. Give them categories, one of them “{category}”."
        if found
        else f"There is no open budget for this cost on {on}. Make one, or open it."
    )
    raise Conflict(
        code,
        message,
        extra={
            "entity_id": entity_id,
            "department_id": department_id,
            "category": category,
            "on": on.isoformat(),
        },
    )


def same_purpose(budget: Budget) -> BudgetQuerySet:
    """The budgets of the other periods: same entity and department, and category (or name, without one)."""
    purpose = (
        Q(category__iexact=budget.category)
        if budget.category
        else Q(category="", name__iexact=budget.name) | Q(category__iexact=budget.name)
    )
    return (
        Budget.objects.of(entity_id=budget.entity_id, department_id=budget.department_id)
        .filter(purpose, currency=budget.currency)
        .exclude(pk=budget.pk)
        .order_by("period_start")
    )


def budget_of_same_purpose(budget: Budget, *, on: datetime.date) -> Budget:
    """The open budget of another period that a cost moves to (BUD-20).

    The one of the same purpose, else the one that ``budget_for`` finds: names often carry the year.
    Raises Conflict ``no_budget``, ``ambiguous_budget``, ``budget_of_another_currency``.
    """
    found = same_purpose(budget).postable().covering(on).first() or budget_for(
        entity_id=budget.entity_id, department_id=budget.department_id, category=budget.category, on=on
    )
    if found.currency != budget.currency:
        raise Conflict(
            "budget_of_another_currency",
            f"The budget of {on} is in {found.currency}, “{budget.name}” in {budget.currency}. Release the "
            "commitment and commit anew.",
        )
    return found


def first_open_after(budget: Budget) -> Budget:
    """The first period that takes the reversal of what a closed one had booked (BUD-21)."""
    later = (
        Budget.objects.postable()
        .of(entity_id=budget.entity_id, department_id=budget.department_id)
        .filter(
            currency=budget.currency,
            category__iexact=budget.category,
            period_start__gte=budget.period_end,
        )
    )
    found = later.order_by("period_start", "pk").first()
    if found is None:
        raise Conflict(
            "budget_closed",
            f"The budget “{budget.name}” is closed and no later one of its department is open. Open the next "
            "period, or have this one reopened by two people.",
            extra={"budget_id": budget.pk, "status": budget.status},
        )
    return found
