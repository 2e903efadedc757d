"""The tree of budgets: what each control point counts, and what children may be given (BUD-26)."""

from collections.abc import Collection, Iterator
from decimal import Decimal

from django.db import IntegrityError, connection, transaction
from django.db.models import Case, F, Sum, When

from budgets.models import Budget, BudgetStatus
from budgets.services import thresholds
from budgets.services.ledger import lock_budgets
from core.errors import Conflict, Invalid, constraint_name
from core.money import plain_amount

SUBTREE = """
WITH RECURSIVE below AS (
    SELECT id FROM budgets WHERE id = ANY(%s)
    UNION SELECT b.id FROM budgets b JOIN below ON b.parent_id = below.id
)
SELECT id FROM below
"""

# What a counter is by its entries, for the budgets whose counters are to be set anew.
RECOUNT = """
WITH counted AS (
    SELECT counter.id, sum(e.spent_delta) AS spent, sum(e.committed_delta) AS committed
    FROM budgets leaf
    JOIN budget_entries e ON e.budget_id = leaf.id
    CROSS JOIN LATERAL unnest(leaf.counted_by) AS counter(id)
    WHERE leaf.counted_by && %(ids)s::bigint[]
    GROUP BY counter.id
)
UPDATE budgets b SET spent_amount = coalesce(counted.spent, 0), committed_amount = coalesce(counted.committed, 0)
FROM budgets same LEFT JOIN counted ON counted.id = same.id
WHERE b.id = same.id AND b.id = ANY(%(ids)s)
"""


def subtree_ids(budget_ids: Collection[int]) -> set[int]:
    """The budgets and all that stand below them."""
    with connection.cursor() as cursor:
        cursor.execute(SUBTREE, [list(budget_ids)])
        return {row[0] for row in cursor.fetchall()}


def lock_tree(budget_ids: Collection[int]) -> dict[int, Budget]:
    """Lock budgets with everything below them and every ancestor: their places and counters may change."""
    wanted = subtree_ids(budget_ids)
    parents = set(wanted)
    while parents:
        parents = (
            set(
                Budget.objects.filter(pk__in=parents, parent__isnull=False).values_list(
                    "parent_id", flat=True
                )
            )
            - wanted
        )
        wanted |= parents
    return lock_budgets(wanted)


def counted_by(budget: Budget) -> list[int]:
    """The budget and every control point above it."""
    return sorted([budget.pk, *(each.pk for each in ancestors(budget) if each.is_control_point)])


def ancestors(budget: Budget) -> Iterator[Budget]:
    """The budgets above it, nearest first; raises Invalid ``budget_cycle`` where it stands above itself."""
    ancestor = budget.parent
    while ancestor is not None:
        if ancestor.pk == budget.pk:
            raise Invalid("budget_cycle", "A budget cannot stand under itself. Choose another parent.")
        yield ancestor
        ancestor = ancestor.parent


def recount(budget: Budget) -> None:
    """Bring the counters in line after the budget got another parent or became (or ceased to be) a control point.

    The tree is locked. Raises Conflict ``control_point_exceeded`` when what the subtree uses does not fit.
    """
    subtree = list(Budget.objects.filter(pk__in=subtree_ids({budget.pk})).order_by("pk"))
    affected = {budget.pk}
    for each in subtree:
        now_counted_by = counted_by(each)
        affected |= set(each.counted_by) ^ set(now_counted_by)
        Budget.objects.filter(pk=each.pk).update(counted_by=now_counted_by)
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(RECOUNT, {"ids": sorted(affected)})
    except IntegrityError as error:
        if constraint_name(error) not in {"budget_never_overspent", "budget_within_overspend_limit"}:
            raise
        raise Conflict(
            "control_point_exceeded",
            "What is spent and committed below exceeds the budget that would control it. Raise its amount first.",
        ) from error
    changed = list(Budget.objects.filter(pk__in=affected).order_by("pk"))
    for each in changed:
        if each.pk == budget.pk:
            budget.counted_by = each.counted_by
            budget.spent_amount, budget.committed_amount = each.spent_amount, each.committed_amount
    thresholds.evaluate(changed, entry=None)


def require_children_fit(parent_id: int | None) -> None:
    """Refuse when the children of a strict budget are given more than it has; it is locked by the caller."""
    parent = Budget.objects.filter(pk=parent_id, strict_children=True).first() if parent_id else None
    if parent is None:
        return
    own = _given(parent)
    given: Decimal = Budget.objects.filter(parent=parent).aggregate(
        total=Sum(
            Case(When(status=BudgetStatus.DRAFT, then=F("planned_amount")), default=F("allocated_amount")),
            default=Decimal(0),
        )
    )["total"]
    if given > own:
        raise Conflict(
            "children_exceed_parent",
            f"The budgets below “{parent.name}” would have {plain_amount(given, parent.currency)} {parent.currency} "
            f"together; it has {plain_amount(own, parent.currency)}. Lower the amount or raise the parent first.",
            extra={
                "over_by": plain_amount(given - own, parent.currency),
                "allocated": plain_amount(own, parent.currency),
            },
        )


def _given(budget: Budget) -> Decimal:
    return budget.planned_amount if budget.status == BudgetStatus.DRAFT else budget.allocated_amount


def lock_for_allocation(budget_ids: Collection[int]) -> dict[int, Budget]:
    """Lock budgets whose allocation is to change, with their parents, which may limit it."""
    parents = Budget.objects.filter(pk__in=budget_ids, parent__isnull=False).values_list(
        "parent_id", flat=True
    )
    return lock_budgets({*budget_ids, *parents})


def require_allocations_fit(locked: dict[int, Budget], budget_ids: Collection[int]) -> None:
    """Test the children of each of these budgets and of its parent, after their allocations have changed."""
    for budget_id in sorted(budget_ids):
        require_children_fit(locked[budget_id].parent_id)
        require_children_fit(budget_id)
