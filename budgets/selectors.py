"""Reads over budgets and their ledger: figures, tree, as at a day, what changed (BUD-01, BUD-17, BUD-26, BUD-32)."""

import datetime
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

from django.db.models import Exists, OuterRef, Q, QuerySet, Sum

from budgets.figures import Figures, figures_of
from budgets.models import (
    Budget,
    BudgetAlert,
    BudgetEntry,
    BudgetOverride,
    BudgetRevision,
    BudgetStatus,
    BudgetTransfer,
    Commitment,
    PeriodChange,
)
from core.access import get_visible
from core.models import User
from entities.models import CostAllocation

ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class BudgetNode:
    """A budget in its tree: its own figures, and what its whole subtree uses."""

    budget: Budget
    depth: int
    figures: Figures
    subtree_spent: Decimal
    subtree_committed: Decimal


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened to a budget, for people: when, who, what, and the amount if there is one."""

    at: datetime.datetime
    who: str
    what: str
    detail: str
    amount: Decimal | None = None


def budget_figures(*, actor: User, budget_id: int) -> Figures:
    """What the budget has now; what has expired counts as free (BUD-01, BUD-17)."""
    return figures_of(get_visible(Budget.objects.with_expired(), actor, budget_id, name="budget"))


def budget_as_at(*, actor: User, budget_id: int, day: datetime.date) -> Figures:
    """What the budget had at the end of ``day``, by posting date (BUD-32).

    A control point counts its subtree, by the tree as it stands now; its allocation is its own.
    """
    budget: Budget = get_visible(Budget.objects.all(), actor, budget_id, name="budget")
    own = BudgetEntry.objects.filter(budget=budget).as_of(day).sums()
    counted = BudgetEntry.objects.filter(budget__counted_by__contains=[budget.pk]).as_of(day).sums()
    return Figures(
        allocated=own["allocated"],
        override=own["override"],
        spent=counted["spent"],
        committed=counted["committed"],
    )


def budget_entries(*, actor: User, budget_id: int) -> QuerySet[BudgetEntry]:
    """The entries that make the budget's figures, latest first; of a control point those below it too."""
    budget: Budget = get_visible(Budget.objects.all(), actor, budget_id, name="budget")
    own = Q(budget=budget)
    below = Q(budget__counted_by__contains=[budget.pk]) & ~(Q(committed_delta=0) & Q(spent_delta=0))
    return (
        BudgetEntry.objects.visible_to(actor)
        .filter(own | below if budget.is_control_point else own)
        .select_related("actor", "budget", "commitment", "counterpart")
        .order_by("-pk")
    )


def open_commitments(*, actor: User, budget_id: int) -> QuerySet[Commitment]:
    """What is promised and neither used up nor expired, the next to expire first."""
    budget: Budget = get_visible(Budget.objects.all(), actor, budget_id, name="budget")
    return (
        Commitment.objects.open()
        .filter(budget=budget)
        .exclude(pk__in=Commitment.objects.expired().filter(budget=budget).values("pk"))
        .order_by("expires_at", "pk")
    )


def standing_alerts(*, actor: User) -> QuerySet[BudgetAlert]:
    """Alerts of all budgets the actor sees that have not been re-armed, latest first (BUD-28)."""
    return (
        BudgetAlert.objects.visible_to(actor)
        .filter(rearmed_at__isnull=True)
        .select_related("budget", "budget__entity", "budget__department")
        .order_by("-pk")
    )


def budget_tree(*, actor: User, budget_id: int) -> list[BudgetNode]:
    """The budget and what stands below it, parents before children; hidden budgets count in sums only (BUD-26)."""
    root: Budget = get_visible(Budget.objects.with_expired(), actor, budget_id, name="budget")
    children: dict[int, list[Budget]] = {}
    level = [root.pk]
    while level:
        rows = list(Budget.objects.filter(parent_id__in=level).with_expired().order_by("name", "pk"))
        for row in rows:
            if row.parent_id is not None:
                children.setdefault(row.parent_id, []).append(row)
        level = [row.pk for row in rows]
    keys = {root.pk, *(row.pk for rows in children.values() for row in rows)}
    seen = set(Budget.objects.visible_to(actor).filter(pk__in=keys).values_list("pk", flat=True))
    used = _own_use(keys)
    return [node for node in _walk(root, 0, children, used) if node.budget.pk in seen]


def _own_use(budget_ids: set[int]) -> dict[int, tuple[Decimal, Decimal]]:
    """Spent and committed by a budget's own entries, what has expired left out."""
    rows = (
        BudgetEntry.objects.filter(budget_id__in=budget_ids)
        .order_by()
        .values_list("budget_id")
        .annotate(spent=Sum("spent_delta"), committed=Sum("committed_delta"))
    )
    found = {budget_id: (spent, committed) for budget_id, spent, committed in rows}
    for commitment in Commitment.objects.expired().filter(budget_id__in=budget_ids):
        spent, committed = found[commitment.budget_id]
        found[commitment.budget_id] = (spent, committed - commitment.remainder)
    return found


def _walk(
    budget: Budget,
    depth: int,
    children: dict[int, list[Budget]],
    used: dict[int, tuple[Decimal, Decimal]],
) -> Iterator[BudgetNode]:
    spent, committed = used.get(budget.pk, (ZERO, ZERO))
    below = [list(_walk(child, depth + 1, children, used)) for child in children.get(budget.pk, [])]
    yield BudgetNode(
        budget=budget,
        depth=depth,
        figures=figures_of(budget),
        subtree_spent=spent + sum((nodes[0].subtree_spent for nodes in below), ZERO),
        subtree_committed=committed + sum((nodes[0].subtree_committed for nodes in below), ZERO),
    )
    for nodes in below:
        yield from nodes


def budget_events(*, actor: User, budget_id: int) -> list[Event]:
    """Who changed what of the budget: states, fields, transfers, revisions, overrides; latest first."""
    budget: Budget = get_visible(Budget.objects.all(), actor, budget_id, name="budget")
    events = [*_state_events(budget), *_field_events(budget), *_decision_events(budget)]
    return sorted(events, key=lambda event: event.at, reverse=True)


def _state_events(budget: Budget) -> Iterator[Event]:
    for change in PeriodChange.objects.filter(budget=budget).select_related("requested_by", "approved_by"):
        people = {each.display_name for each in (change.requested_by, change.approved_by) if each is not None}
        yield Event(
            change.approved_at or change.requested_at,
            " and ".join(sorted(people)),
            str(change),
            change.reason,
        )


def _field_events(budget: Budget) -> Iterator[Event]:
    later = None
    for row in budget.history.select_related("history_user").order_by("-history_date", "-history_id"):
        if later is not None:
            changed = [
                f"{each.field}: {each.old} → {each.new}"
                for each in later.diff_against(
                    row, excluded_fields=["version", "updated_at", "status"]
                ).changes
            ]
            if changed:
                who = later.history_user.display_name if later.history_user else ""
                yield Event(later.history_date, who, "Changed", "; ".join(changed))
        later = row


def _decision_events(budget: Budget) -> Iterator[Event]:
    transfers = BudgetTransfer.objects.filter(Q(from_budget=budget) | Q(to_budget=budget))
    for transfer in transfers.select_related("requested_by", "decided_by", "from_budget", "to_budget"):
        amount = -transfer.amount if transfer.from_budget_id == budget.pk else transfer.amount
        yield _decision(transfer, f"Transfer {transfer}", amount)
    for revision in BudgetRevision.objects.filter(budget=budget).select_related("requested_by", "decided_by"):
        yield _decision(revision, str(revision), revision.delta)
    for override in BudgetOverride.objects.filter(budget=budget).select_related("requested_by", "decided_by"):
        yield _decision(override, "Override", override.limit)


def _decision(change: BudgetTransfer | BudgetRevision | BudgetOverride, what: str, amount: Decimal) -> Event:
    who = change.decided_by or change.requested_by
    state = change.get_status_display().lower()
    return Event(
        change.decided_at or change.created_at, who.display_name, f"{what}: {state}", change.reason, amount
    )


def unbudgeted_allocations(
    *, actor: User, start: datetime.date, end: datetime.date
) -> QuerySet[CostAllocation]:
    """Allocated cost of ``[start, end)`` whose department has no budget on its day: visible, never silently free.

    The day is the last one of the allocation's period, as in the check (BUD-19, ALC-06).
    """
    bearing = Budget.objects.exclude(status=BudgetStatus.DRAFT).filter(
        department_id=OuterRef("department_id"),
        period_start__lt=OuterRef("period_end"),
        period_end__gte=OuterRef("period_end"),
    )
    return (
        CostAllocation.objects.visible_to(actor)
        .in_period(start, end)
        .exclude(amount=0)
        .filter(~Exists(bearing))
        .order_by("-pk")
    )
