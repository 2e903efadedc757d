"""The monthly profile and the alerts (BUD-27, BUD-28)."""

import datetime
from decimal import Decimal

import pytest
from django.db import transaction

from budgets.models import Budget, BudgetAlert, BudgetMonth
from budgets.notifications import tell_of_threshold
from budgets.services.budget import budget_update
from budgets.services.charges import budget_check_availability, budget_refund
from budgets.services.profile import spread_allocation
from core.models import Notification, OutboxEvent
from tests.budgets.builders import NEXT_YEAR, YEAR, Place, figures, money, refused


def day(month: int) -> datetime.date:
    return datetime.date(2026, month, 10)


def test_bud_27_the_months_sum_to_the_allocation_exactly(here: Place) -> None:
    budget = here.budget("100.00")
    amounts = list(BudgetMonth.objects.filter(budget=budget).values_list("amount", flat=True))
    assert amounts == [*money(*["8.34"] * 4), *money(*["8.33"] * 8)]
    assert sum(amounts) == Decimal(100)
    spread_allocation(budget, [Decimal(1), Decimal(2), *[Decimal(0)] * 10])
    assert list(BudgetMonth.objects.filter(budget=budget).values_list("amount", flat=True))[:3] == list(
        money("33.33", "66.67", "0")
    )


def test_bud_27_scope_month(here: Place) -> None:
    budget = here.budget("120.00", check_scope="month")
    with refused("insufficient_budget") as refusal:
        here.charge(budget, "10.01", posting_date=day(3))
    assert refusal.extra["shortfalls"][0]["stretch"] == "March 2026"
    here.charge(budget, "10.00", posting_date=day(3))
    here.charge(budget, "10.00", posting_date=day(2))
    with refused("insufficient_budget"):
        here.commit(budget, "0.01", commitment_date=day(2))
    assert budget_check_availability(actor=here.finance, budget_id=budget.pk, amount="10.00").available
    answer = budget_check_availability(actor=here.finance, budget_id=budget.pk, amount="10.01")
    assert (answer.available, answer.reason) == (False, "insufficient_budget")


def test_bud_27_scope_quarter(here: Place) -> None:
    budget = here.budget("120.00", check_scope="quarter")
    here.charge(budget, "30.00", posting_date=day(3))
    for month in (1, 2, 3):
        with refused("insufficient_budget"):
            here.charge(budget, "0.01", posting_date=day(month))
    here.charge(budget, "30.00", posting_date=day(4))


def test_bud_27_scope_to_date_and_a_backdated_entry_is_tested_for_every_later_used_month(here: Place) -> None:
    budget = here.budget("120.00", check_scope="ytd")
    with refused("insufficient_budget"):
        here.charge(budget, "30.01", posting_date=day(3))
    here.charge(budget, "55.00", posting_date=day(6))
    # January alone would have room for 10.00; by the end of June only 5.00 is left.
    with refused("insufficient_budget") as refusal:
        here.charge(budget, "5.01", posting_date=day(1))
    assert [each["stretch"] for each in refusal.extra["shortfalls"]] == ["January 2026 to June 2026"]
    here.charge(budget, "5.00", posting_date=day(1))


def test_bud_27_scope_period_looks_at_the_whole(here: Place) -> None:
    budget = here.budget("120.00")
    here.charge(budget, "120.00", posting_date=day(1))
    assert figures(budget)[3] == 0


def alerts(budget: Budget) -> list[tuple[str, bool]]:
    found = BudgetAlert.objects.filter(budget=budget).order_by("pk")
    return [(each.level, each.rearmed_at is None) for each in found]


def test_bud_28_each_threshold_fires_once_per_upward_crossing_at_equality(here: Place) -> None:
    budget = here.budget("100.00")
    here.charge(budget, "79.99")
    assert alerts(budget) == []
    here.commit(budget, "0.01")
    assert alerts(budget) == [("alert", True)]
    here.charge(budget, "5.00")
    assert len(alerts(budget)) == 1
    here.charge(budget, "15.00")
    assert alerts(budget) == [("alert", True), ("warning", True), ("critical", True)]
    alert = BudgetAlert.objects.get(level="warning")
    assert (alert.threshold_percent, alert.utilization_percent, alert.used_amount) == money(
        "90", "100", "100"
    )
    assert OutboxEvent.objects.filter(topic="budget.threshold_crossed").count() == 3


def test_bud_28_rearms_after_falling_five_points(here: Place) -> None:
    budget = here.budget("100.00")
    charged = here.charge(budget, "80.00").entries[0]

    def refund(amount: str) -> None:
        budget_refund(
            actor=here.finance, budget_id=budget.pk, amount=amount, description="Credit", reverses=charged
        )

    refund("4.99")
    here.charge(budget, "4.99")
    assert alerts(budget) == [("alert", True)]
    refund("5.00")
    assert alerts(budget) == [("alert", False)]
    here.charge(budget, "4.99")
    assert alerts(budget) == [("alert", False)]
    here.charge(budget, "0.01")
    assert alerts(budget) == [("alert", False), ("alert", True)]


def test_bud_28_another_set_and_levels_switched_off(here: Place) -> None:
    budget = here.budget("100.00", alert_threshold_percent=Decimal(75), warning_threshold_percent=None)
    here.charge(budget, "75.00")
    here.charge(budget, "20.00")
    assert alerts(budget) == [("alert", True)]


def test_bud_28_a_moved_threshold_starts_anew(here: Place) -> None:
    budget = here.budget("100.00")
    here.charge(budget, "85.00")
    budget_update(actor=here.finance, budget_id=budget.pk, changes={"alert_threshold_percent": Decimal(86)})
    assert alerts(budget) == [("alert", False)]
    here.charge(budget, "1.00")
    assert alerts(budget) == [("alert", False), ("alert", True)]
    budget_update(actor=here.finance, budget_id=budget.pk, changes={"warning_threshold_percent": Decimal(85)})
    assert alerts(budget)[-1] == ("warning", True)


def test_bud_28_any_use_of_nothing_is_a_hundred_percent(here: Place) -> None:
    budget = here.budget("0", control="off")
    here.charge(budget, "0.01")
    assert {level for level, _ in alerts(budget)} == {"alert", "warning", "critical"}
    assert BudgetAlert.objects.first().utilization_percent == 100  # type: ignore[union-attr]


def test_bud_28_a_rolled_back_transaction_never_notifies(here: Place) -> None:
    budget = here.budget("100.00")
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        here.charge(budget, "95.00")
        raise ZeroDivisionError
    assert alerts(budget) == []
    assert not OutboxEvent.objects.filter(topic="budget.threshold_crossed").exists()
    assert not Budget.objects.get(pk=budget.pk).alert_fired


def test_bud_28_a_control_point_warns_for_its_subtree(here: Place) -> None:
    parent = here.budget("100.00", department=None, is_control_point=True)
    child = here.budget("1000.00", parent=parent)
    here.charge(child, "80.00")
    assert (alerts(parent), alerts(child)) == ([("alert", True)], [])


def test_bud_28_the_manager_of_the_department_and_finance_are_told(here: Place) -> None:
    here.department.manager = here.manager
    here.department.save()
    budget = here.budget("100.00")
    here.charge(budget, "80.00")
    tell_of_threshold(OutboxEvent.objects.get(topic="budget.threshold_crossed"))
    told = set(Notification.objects.values_list("user_id", flat=True))
    assert told == {here.manager.pk, here.finance.pk, here.colleague.pk}
    assert "80.00 % used" in Notification.objects.first().title  # type: ignore[union-attr]


def test_the_profile_of_a_period_that_begins_within_a_month(here: Place) -> None:
    budget = here.budget(
        "100.00", period_start=datetime.date(2026, 1, 15), period_end=datetime.date(2026, 3, 15)
    )
    assert budget.months.count() == 3
    assert sum(budget.months.values_list("amount", flat=True)) == Decimal(100)
    assert YEAR[1] == NEXT_YEAR[0]
