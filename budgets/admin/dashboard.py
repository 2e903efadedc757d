"""What budgets tell on the first page: which are nearly used up, which are overspent, what waits for a decision."""

from collections.abc import Iterable

from django.db.models import Q
from django.http import HttpRequest
from django.urls import reverse

from budgets.admin.budget import MOST_USED, use_condition
from budgets.figures import with_figures
from budgets.models import (
    Budget,
    BudgetOverride,
    BudgetRevision,
    BudgetStatus,
    BudgetTransfer,
    DecisionStatus,
    PeriodChange,
)
from core.admin.columns import number_text
from core.admin.dashboard import Card, Need, register_card, register_need
from core.models import User

BUDGETS = "admin:budgets_budget_changelist"


def _card(request: HttpRequest, title: str, use: str, note: str, *, tone: str, order: int) -> Card | None:
    user = request.user
    if not isinstance(user, User) or not user.has_perm("budgets.view_budget"):
        return None
    rows = with_figures(Budget.objects.visible_to(user)).filter(use_condition(use))
    count = rows.count()
    return Card(
        title,
        number_text(count),
        f"{reverse(BUDGETS)}?use={use}",
        note=note,
        tone=tone if count else "neutral",
        order=order,
    )


@register_card
def nearly_used(request: HttpRequest) -> Card | None:
    """Running budgets of which most is spent or promised."""
    return _card(
        request, f"Budgets over {MOST_USED} %", "over80", "spent or committed", tone="warn", order=60
    )


@register_card
def overspent(request: HttpRequest) -> Card | None:
    """Running budgets with less than nothing left."""
    return _card(request, "Overspent budgets", "overspent", "more used than allocated", tone="bad", order=61)


WAITING = (
    ("transfer", "transfers", BudgetTransfer, "budgets_budgettransfer"),
    ("revision", "revisions", BudgetRevision, "budgets_budgetrevision"),
    ("override", "overrides", BudgetOverride, "budgets_budgetoverride"),
)


@register_need
def waiting(request: HttpRequest) -> Iterable[Need]:
    """Changes of budgets that somebody else asked for; nobody decides what they asked for themselves."""
    user = request.user
    assert isinstance(user, User)
    if not user.has_perm("budgets.approve_budget_change"):
        return
    for one, many, model, name in WAITING:
        asked = model.objects.visible_to(user).filter(status=DecisionStatus.PROPOSED)
        count = asked.exclude(requested_by=user).count()
        if count:
            yield Need(
                f"{number_text(count)} budget {one if count == 1 else many} waiting for a second person",
                f"{reverse(f'admin:{name}_changelist')}?status__exact=proposed",
                icon="approval",
            )
    closed = Q(from_status=BudgetStatus.CLOSED) | Q(from_status=BudgetStatus.SOFT_CLOSED)
    reopenings = (
        PeriodChange.objects.visible_to(user)
        .filter(closed, to_status=BudgetStatus.OPEN, approved_by=None)
        .exclude(requested_by=user)
        .select_related("budget")
    )
    for change in reopenings[:5]:
        if change.budget.status == change.from_status:
            yield Need(
                f"“{change.budget.name}” is asked to be reopened",
                reverse("admin:budgets_budget_change", args=[change.budget_id]),
                icon="lock_open",
            )


@register_card
def awaiting_approval(request: HttpRequest) -> Card | None:
    """How many changes of budgets wait for a decision."""
    user = request.user
    if not isinstance(user, User) or not user.has_perm("budgets.view_budgetrevision"):
        return None
    counts = {
        name: model.objects.visible_to(user).filter(status=DecisionStatus.PROPOSED).count()
        for _, _, model, name in WAITING
    }
    total = sum(counts.values())
    busiest = max(counts, key=lambda name: counts[name])
    words = [
        f"{number_text(counts[name])} {one if counts[name] == 1 else many}"
        for one, many, _, name in WAITING
        if counts[name]
    ]
    return Card(
        "Budget changes waiting",
        number_text(total),
        f"{reverse(f'admin:{busiest}_changelist')}?status__exact=proposed",
        note=", ".join(words) or "nothing to decide",
        tone="info" if total else "neutral",
        order=62,
    )
