"""Alerts when use crosses a threshold upwards, once, until it has fallen again (BUD-28)."""

from collections.abc import Collection, Iterable
from decimal import Decimal

from budgets.models import AlertLevel, Budget, BudgetAlert, BudgetEntry
from core import clock
from core.money import plain_amount
from core.outbox import publish

REARM_POINTS = Decimal(5)
HUNDRED = Decimal(100)


def utilization_percent(budget: Budget) -> Decimal:
    """Used of allocated in percent, exact; any use of an allocation of 0 is 100 %."""
    if budget.allocated_amount == 0:
        return HUNDRED if budget.used_amount > 0 else Decimal(0)
    return budget.used_amount * HUNDRED / budget.allocated_amount


def evaluate(
    budgets: Iterable[Budget], *, entry: BudgetEntry | None, overspent: Collection[int] = ()
) -> list[BudgetAlert]:
    """Fire and re-arm the thresholds of locked budgets whose figures have just changed.

    A budget that was just ``overspent`` by advisory control raises the critical alert whatever its threshold
    (BUD-03). Rows, flags and outbox events are written in the caller's transaction: what is rolled back never
    notifies.
    """
    fired = []
    for budget in budgets:
        percent = utilization_percent(budget)
        changed = []
        for level in AlertLevel:
            threshold: Decimal | None = getattr(budget, f"{level}_threshold_percent")
            forced = level == AlertLevel.CRITICAL and budget.pk in overspent
            flag = f"{level}_fired"
            is_fired = getattr(budget, flag)
            if not is_fired and (forced or _is_crossed(budget, percent, threshold)):
                fired.append(
                    _fire(budget, level, HUNDRED if threshold is None else threshold, percent, entry)
                )
            elif is_fired and _has_fallen(percent, threshold):
                _rearm(budget, level)
            else:
                continue
            setattr(budget, flag, not is_fired)
            changed.append(flag)
        if changed:
            Budget.objects.filter(pk=budget.pk).update(**{flag: getattr(budget, flag) for flag in changed})
    return fired


def _is_crossed(budget: Budget, percent: Decimal, threshold: Decimal | None) -> bool:
    return threshold is not None and percent >= threshold and budget.used_amount > 0


def _has_fallen(percent: Decimal, threshold: Decimal | None) -> bool:
    return percent <= (HUNDRED if threshold is None else threshold) - REARM_POINTS


def _rearm(budget: Budget, level: str) -> None:
    BudgetAlert.objects.filter(budget=budget, level=level, rearmed_at__isnull=True).update(
        rearmed_at=clock.now()
    )


def thresholds_changed(budget: Budget, levels: Iterable[str]) -> None:
    """Start these levels of a locked budget anew: their thresholds were moved, and may be crossed already."""
    flags = {f"{level}_fired": False for level in levels}
    for level in levels:
        _rearm(budget, level)
    for flag in flags:
        setattr(budget, flag, False)
    Budget.objects.filter(pk=budget.pk).update(**flags)
    evaluate([budget], entry=None)


def _fire(
    budget: Budget,
    level: str,
    threshold: Decimal,
    percent: Decimal,
    entry: BudgetEntry | None,
) -> BudgetAlert:
    alert = BudgetAlert.objects.create(
        budget=budget,
        level=level,
        threshold_percent=threshold,
        utilization_percent=percent.quantize(Decimal("0.01")),
        used_amount=budget.used_amount,
        allocated_amount=budget.allocated_amount,
        entry=entry,
        created_at=clock.now(),
    )
    publish(
        "budget.threshold_crossed",
        {
            "budget_id": budget.pk,
            "alert_id": alert.pk,
            "level": level,
            "threshold_percent": str(threshold),
            "used": plain_amount(budget.used_amount, budget.currency),
            "allocated": plain_amount(budget.allocated_amount, budget.currency),
            "currency": budget.currency,
        },
        key=f"budget:{budget.pk}",
    )
    return alert
