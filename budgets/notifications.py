"""Who is told when a budget crosses a threshold (BUD-28)."""

from budgets.models import BudgetAlert
from core.models import OutboxEvent, User
from core.money import format_money
from core.notifications import notify
from entities.access import users_holding


def tell_of_threshold(event: OutboxEvent) -> None:
    """Tell the department's manager, the budget's owner and the finance managers."""
    alert = BudgetAlert.objects.select_related("budget__department__manager", "budget__owner").get(
        pk=event.payload["alert_id"]
    )
    budget = alert.budget
    used = format_money(alert.used_amount, budget.currency)
    allocated = format_money(alert.allocated_amount, budget.currency)
    for person in _people_concerned(alert):
        notify(
            user=person,
            kind="budget.threshold_crossed",
            title=f"{budget.name}: {alert.utilization_percent} % used",
            body=(
                f"Spent and committed: {used} of {allocated}. The {alert.get_level_display().lower()} threshold is "
                f"{alert.threshold_percent} %. Ask for an increase or a transfer before it runs out."
            ),
            url=f"/admin/budgets/budget/{budget.pk}/change/",
        )


def _people_concerned(alert: BudgetAlert) -> list[User]:
    budget = alert.budget
    manager = budget.department.manager if budget.department else None
    finance = users_holding("budgets.approve_budget_change", entity_id=budget.entity_id)
    people = {
        person.pk: person for person in (manager, budget.owner, *finance) if person and person.is_active
    }
    return [people[pk] for pk in sorted(people)]
