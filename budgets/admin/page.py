"""What the page of a budget shows: its bar, its months, its promises, its entries, its alerts, its changes."""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.db.models import Sum
from django.db.models.functions import TruncMonth
from django.urls import reverse
from django.utils.safestring import SafeString

from budgets.admin.effects import Bar, bar_of_figures
from budgets.figures import ZERO, Figures, figures_of, with_figures
from budgets.models import (
    AlertLevel,
    Budget,
    BudgetAlert,
    BudgetEntry,
    BudgetOverride,
    BudgetRevision,
    BudgetStatus,
    BudgetTransfer,
    Commitment,
    DecisionStatus,
    PeriodChange,
)
from core import clock
from core.admin.badges import badge_html
from core.admin.columns import amount_html, amount_text
from core.admin.scoping import visible
from core.models import User

ENTRIES_SHOWN = 15
ROWS_SHOWN = 10
HUNDRED = Decimal(100)
ONE_DAY = datetime.timedelta(days=1)


def period_text(budget: Budget) -> str:
    """2026, March 2026, Q2 2026, or the first and the last day."""
    start, end = budget.period_start, budget.period_end
    months = (end.year - start.year) * 12 + end.month - start.month
    if start.day == end.day == 1:
        if months == 12 and start.month == 1:
            return str(start.year)
        if months == 1:
            return f"{start:%B %Y}"
        if months == 3 and start.month % 3 == 1:
            return f"Q{start.month // 3 + 1} {start.year}"
    return f"{start} – {end - ONE_DAY}"


def thresholds_of(budget: Budget) -> list[tuple[str, Decimal]]:
    """The thresholds that are set, each with its name."""
    values = [(str(level.label), getattr(budget, f"{level}_threshold_percent")) for level in AlertLevel]
    return [(name, value) for name, value in values if value is not None]


def tone_of(figures: Figures, budget: Budget) -> str:
    """How worrying the use is, by the budget's own thresholds."""
    if figures.available < 0:
        return "bad"
    passed = [name for name, value in thresholds_of(budget) if figures.utilization >= value]
    if not passed or figures.used <= 0:
        return "good"
    return "bad" if AlertLevel.CRITICAL.label in passed else "warn"


# --- Months ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Month:
    """One month: planned and used, the bars in percent of the longest."""

    name: str
    planned: SafeString
    used: SafeString
    planned_width: str
    used_width: str
    over: bool
    is_now: bool


def months_of_page(budget: Budget) -> list[Month]:
    """The monthly profile beside what is spent and committed by posting date."""
    planned = dict(budget.months.order_by("month").values_list("month", "amount"))
    used = {
        row["month"]: row["used"]
        for row in BudgetEntry.objects.filter(budget__counted_by__contains=[budget.pk])
        .annotate(month=TruncMonth("posting_date"))
        .order_by()
        .values("month")
        .annotate(used=Sum("committed_delta") + Sum("spent_delta"))
    }
    longest = max([*planned.values(), *used.values(), ZERO])
    this_month = clock.today(budget.entity.time_zone).replace(day=1)

    def width(amount: Decimal) -> str:
        return f"{max(amount, ZERO) * HUNDRED / longest:.2f}" if longest > 0 else "0"

    return [
        Month(
            name=f"{month:%b %Y}",
            planned=amount_html(plan, budget.currency),
            used=amount_html(used.get(month, ZERO), budget.currency),
            planned_width=width(plan),
            used_width=width(used.get(month, ZERO)),
            over=used.get(month, ZERO) > plan,
            is_now=month == this_month,
        )
        for month, plan in planned.items()
    ]


# --- Rows ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """A line of one of the page's tables: cells in order, and where it leads."""

    cells: Sequence[Any]
    url: str = ""


def _change_url(name: str, pk: int) -> str:
    return reverse(f"admin:budgets_{name}_change", args=[pk])


def commitments_of(budget: Budget, user: User) -> list[Row]:
    """The open promises, the first to expire first; what has expired is free and not shown."""
    rows = visible(Commitment.objects.open(), user).filter(budget__counted_by__contains=[budget.pk])
    rows = rows.exclude(expires_at__lte=clock.now()).select_related("budget").order_by("expires_at", "pk")
    return [
        Row(
            [
                row.description,
                " · ".join(
                    filter(None, [row.reference, row.budget.name if row.budget_id != budget.pk else ""])
                ),
                badge_html(row.status),
                row.expires_at.date() if row.expires_at else "–",
                row.get_close_decision_display() or "–",
                amount_html(row.amount, budget.currency),
                amount_html(row.remainder, budget.currency),
            ],
            _change_url("commitment", row.pk),
        )
        for row in rows
    ]


def entries_of(budget: Budget, user: User) -> list[Row]:
    """The newest entries; of a control point, those of all that it counts."""
    rows = visible(BudgetEntry.objects.all(), user).filter(budget__counted_by__contains=[budget.pk])
    rows = rows.select_related("budget", "actor").order_by("-posting_date", "-pk")[:ENTRIES_SHOWN]
    return [
        Row(
            [
                row.posting_date,
                row.get_kind_display(),
                row.description,
                row.budget.name if row.budget_id != budget.pk else "",
                row.actor.display_name,
                amount_html(_moved(row), row.budget.currency),
            ],
            _change_url("budgetentry", row.pk),
        )
        for row in rows
    ]


def _moved(entry: BudgetEntry) -> Decimal:
    return entry.spent_delta or entry.committed_delta or entry.allocated_delta or entry.override_delta


def alerts_of(budget: Budget) -> list[Row]:
    """The thresholds crossed last."""
    rows = BudgetAlert.objects.filter(budget=budget).order_by("-pk")[:ROWS_SHOWN]
    return [
        Row(
            [
                badge_html(row.level),
                f"{row.utilization_percent:.1f} % used, threshold {row.threshold_percent:.0f} %",
                row.created_at,
                f"fell below again {row.rearmed_at:%Y-%m-%d}" if row.rearmed_at else "",
            ]
        )
        for row in rows
    ]


@dataclass(frozen=True)
class Child:
    """A budget below, with its use."""

    name: str
    url: str
    status: SafeString
    bar: Bar
    percent: str
    tone: str
    allocated: SafeString
    available: SafeString


def children_of(budget: Budget, user: User) -> list[Child]:
    """The budgets below it that the user sees."""
    rows = with_figures(visible(Budget.objects.filter(parent=budget), user)).order_by("name", "pk")
    found = []
    for row in rows:
        figures = figures_of(row)
        found.append(
            Child(
                name=row.name,
                url=_change_url("budget", row.pk),
                status=badge_html(row.status),
                bar=bar_of_figures(figures, row.currency),
                percent=f"{figures.utilization:.0f} %",
                tone=tone_of(figures, row),
                allocated=amount_html(figures.allocated, row.currency),
                available=amount_html(figures.available, row.currency),
            )
        )
    return found


@dataclass(frozen=True)
class Change:
    """Something that people asked for or did with the budget."""

    when: datetime.datetime
    what: str
    who: str
    reason: str
    status: SafeString
    amount: SafeString | str
    url: str = ""
    waits: bool = False


def changes_of(budget: Budget, user: User) -> list[Change]:
    """Transfers, revisions, overrides and changes of state, what waits first, then the newest first."""
    found = [
        *_transfers(budget, user),
        *[
            _decided(row, f"Revision {row.number}", row.delta, budget, "budgetrevision")
            for row in BudgetRevision.objects.filter(budget=budget).select_related("requested_by")
        ],
        *[
            _decided(row, "Override, once up to", row.limit, budget, "budgetoverride")
            for row in BudgetOverride.objects.filter(budget=budget).select_related("requested_by")
        ],
        *_states(budget),
    ]
    return sorted(found, key=lambda change: (not change.waits, -change.when.timestamp()))


def _decided(row: Any, what: str, amount: Decimal, budget: Budget, name: str) -> Change:
    return Change(
        when=row.created_at,
        what=what,
        who=row.requested_by.display_name,
        reason=row.reason,
        status=badge_html(row.status),
        amount=amount_html(amount, budget.currency),
        url=_change_url(name, row.pk),
        waits=row.status == DecisionStatus.PROPOSED,
    )


def _transfers(budget: Budget, user: User) -> list[Change]:
    rows = BudgetTransfer.objects.select_related("from_budget", "to_budget", "requested_by")
    out = [
        _decided(row, f"Transfer to “{row.to_budget.name}”", -row.amount, budget, "budgettransfer")
        for row in rows.filter(from_budget=budget)
    ]
    into = [
        _decided(row, f"Transfer from “{row.from_budget.name}”", row.amount, budget, "budgettransfer")
        for row in rows.filter(to_budget=budget)
    ]
    return out + into


def _states(budget: Budget) -> list[Change]:
    rows = PeriodChange.objects.filter(budget=budget).select_related("requested_by", "approved_by")
    found = []
    for row in rows:
        waits = row.approved_by_id is None and row.from_status == budget.status
        word = {BudgetStatus.OPEN: "Opened", BudgetStatus.SOFT_CLOSED: "Closing begun"}.get(
            BudgetStatus(row.to_status), "Closed"
        )
        if row.to_status == BudgetStatus.OPEN and row.from_status != BudgetStatus.DRAFT:
            word = "Reopening"
        who = row.requested_by.display_name
        if row.approved_by is not None and row.approved_by != row.requested_by:
            who = f"{who}, approved by {row.approved_by.display_name}"
        status = badge_html("proposed") if waits else badge_html("completed", "Done")
        if row.approved_by_id is None and not waits:
            status = badge_html("expired", "No longer applies")
        found.append(
            Change(
                when=row.requested_at,
                what=word,
                who=who,
                reason=row.reason,
                status=status,
                amount="",
                waits=waits,
            )
        )
    return found


# --- The whole page --------------------------------------------------------------------------------------


def facts_of(budget: Budget) -> list[tuple[str, str]]:
    """What the budget is, in words."""
    currency = budget.currency

    def money(amount: Decimal | None) -> str:
        return f"{amount_text(amount, currency)} {currency}" if amount is not None else ""

    control = str(budget.get_control_display())
    if budget.overspend_limit is not None:
        control = f"{control}, at most {money(budget.overspend_limit)} over"
    owner = budget.owner or (budget.department.manager if budget.department else None)
    facts = [
        ("Department", str(budget.department) if budget.department else "The entity as a whole"),
        ("Entity", str(budget.entity)),
        ("Period", period_text(budget)),
        ("Pays for", budget.category),
        ("Answers for it", owner.display_name if owner else ""),
        ("Control", control),
        ("Approval needed above", money(budget.approval_threshold)),
        ("Tested against", "" if budget.check_scope == "period" else str(budget.get_check_scope_display())),
        ("At its end", str(budget.get_rollover_policy_display())),
        ("Below", budget.parent.name if budget.parent else ""),
        ("Counts all below it", "Yes" if budget.is_control_point else ""),
    ]
    return [(label, value) for label, value in facts if value]


def page_context(budget: Budget, user: User) -> dict[str, Any]:
    """All that the page of one budget shows; `budget` has its `expired_amount`."""
    figures = figures_of(budget)
    is_draft = budget.status == BudgetStatus.DRAFT
    entries_url = reverse("admin:budgets_budgetentry_changelist")
    commitments_url = reverse("admin:budgets_commitment_changelist")
    changes = changes_of(budget, user)
    return {
        "budget": budget,
        "period": period_text(budget),
        "is_draft": is_draft,
        "status_badge": badge_html(budget.status),
        "overspent_badge": badge_html("overspent") if figures.available < 0 else "",
        "tone": "neutral" if is_draft else tone_of(figures, budget),
        "bar": bar_of_figures(figures, budget.currency, thresholds_of(budget)),
        "available": amount_html(figures.available, budget.currency),
        "allocated": amount_html(figures.allocated, budget.currency),
        "override": amount_html(figures.override, budget.currency) if figures.override else "",
        "percent": f"{figures.utilization:.1f} %",
        "facts": facts_of(budget),
        "months": [] if is_draft else months_of_page(budget),
        "commitments": commitments_of(budget, user),
        "commitments_url": f"{commitments_url}?budget__id__exact={budget.pk}",
        "entries": entries_of(budget, user),
        "entries_url": f"{entries_url}?budget__id__exact={budget.pk}",
        "alerts": alerts_of(budget),
        "children": children_of(budget, user),
        "changes": changes[: ROWS_SHOWN * 2],
        "waiting": [change for change in changes if change.waits],
        "parent_url": _change_url("budget", budget.parent_id) if budget.parent_id else "",
        "history_url": reverse("admin:budgets_budget_history", args=[budget.pk]),
    }
