"""The life of a budget: draft, open, closing, closed, reopened (BUD-19, BUD-21, BUD-22, BUD-26)."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from budgets.models import (
    AlertLevel,
    Budget,
    BudgetStatus,
    CloseDecision,
    Commitment,
    EntryKind,
    PeriodChange,
    PeriodType,
    RolloverPolicy,
)
from budgets.services.commitments import commitment_release
from budgets.services.ledger import Movement, lock_budgets, post
from budgets.services.profile import spread_allocation
from budgets.services.thresholds import thresholds_changed
from budgets.services.tree import ancestors, counted_by, lock_tree, recount, require_children_fit
from core import clock
from core.access import get_visible, require
from core.errors import Conflict, FieldProblem, Forbidden, Invalid, constraint_name, from_validation_error
from core.history import record_as
from core.models import User
from core.money import parse_amount, round_money
from core.outbox import publish

ZERO = Decimal(0)
MONTHS = {PeriodType.MONTHLY: 1, PeriodType.QUARTERLY: 3, PeriodType.ANNUAL: 12}

# What may change while money moves; the rest only on a draft.
CHANGEABLE_WHEN_OPEN = frozenset(
    {
        "name",
        "owner",
        "control",
        "overspend_limit",
        "approval_threshold",
        "check_scope",
        "alert_threshold_percent",
        "warning_threshold_percent",
        "critical_threshold_percent",
        "rollover_policy",
        "rollover_percent",
        "rollover_cap",
        "carry_deficit",
        "strict_children",
        "over_invoice_percent",
        "over_invoice_amount",
        "strict_periods",
        "is_control_point",
        "parent",
    }
)
CHANGEABLE_ON_DRAFT = CHANGEABLE_WHEN_OPEN | {
    "category",
    "currency",
    "period_type",
    "period_start",
    "period_end",
    "planned_amount",
}
LEVELS_BY_FIELD = {f"{level}_threshold_percent": level for level in AlertLevel.values}


def budget_create(
    *, actor: User, allocated_amount: Decimal | str | int, draft: bool = False, **fields: Any
) -> Budget:
    """Make a budget of a department, or of an entity as a whole, and open it unless it is to stay a draft.

    ``allocated_amount`` is in ``currency``, which defaults to the entity's. Raises Invalid for wrong values and
    Conflict ``budget_overlaps`` when another budget covers the same purpose on a day (BUD-19).
    """
    department = fields.get("department")
    entity = department.entity if department is not None else fields.get("entity")
    if entity is None:
        raise Invalid(
            "budget_without_owner",
            "Name the department, or the entity, that the budget belongs to.",
            errors=[FieldProblem("/department_id", "required", "Give department_id or entity_id.")],
        )
    fields = {**fields, "entity": entity}
    fields.setdefault("currency", entity.currency)
    budget = Budget(**fields)
    require(actor, "budgets.add_budget", budget)
    budget.planned_amount = _allocation(allocated_amount, budget.currency)
    with transaction.atomic(), record_as(actor):
        if budget.parent is not None:
            require(actor, "budgets.change_budget", budget.parent)
            budget.parent = lock_tree({budget.parent.pk})[budget.parent.pk]
        _check(budget)
        _save(budget)
        budget.counted_by = counted_by(budget)
        Budget.objects.filter(pk=budget.pk).update(counted_by=budget.counted_by)
        require_children_fit(budget.parent_id)
        return budget if draft else budget_open(actor=actor, budget_id=budget.pk)


def _allocation(amount: Decimal | str | int, currency: str) -> Decimal:
    value = parse_amount(amount)
    if value < 0 or round_money(value, currency) != value:
        raise Invalid(
            "invalid_allocation",
            f"An allocation is zero or more, in whole minor units of {currency}.",
            errors=[FieldProblem("/allocated_amount", "invalid_allocation", "Zero or more, in minor units.")],
        )
    return value


def _check(budget: Budget) -> None:
    """Validate fields and dimensions; the constraints of the database repeat what matters."""
    try:
        budget.clean_fields(exclude=["status"])
    except ValidationError as error:
        raise from_validation_error(error) from error
    if budget.period_end <= budget.period_start:
        raise Invalid(
            "period_not_ordered",
            "The period ends before it has begun: period_end is the first day after it.",
            errors=[FieldProblem("/period_end", "period_not_ordered", "Must be after period_start.")],
        )
    if budget.parent is not None:
        _check_parent(budget, budget.parent)
    if budget.pk is not None:
        for child in Budget.objects.filter(parent=budget):
            _check_pair(child, budget)


def _check_parent(budget: Budget, parent: Budget) -> None:
    _check_pair(budget, parent)
    # Reading all of them finds a cycle.
    for _ in ancestors(budget):
        continue


def _check_pair(budget: Budget, parent: Budget) -> None:
    if parent.status == BudgetStatus.CLOSED and budget.status != BudgetStatus.CLOSED:
        raise Conflict("parent_closed", f"The parent budget “{parent.name}” is closed. Choose an open one.")
    if parent.currency != budget.currency:
        raise Invalid(
            "parent_of_another_currency",
            f"The parent budget is in {parent.currency}, this one in {budget.currency}. They must be the same.",
        )
    if parent.period_start > budget.period_start or parent.period_end < budget.period_end:
        raise Invalid("parent_of_another_period", "The period of the parent budget must contain this one's.")


def _save(budget: Budget) -> None:
    try:
        with transaction.atomic():
            budget.save()
    except IntegrityError as error:
        if constraint_name(error) == "budget_no_overlap":
            raise Conflict(
                "budget_overlaps",
                f"Another budget for “{budget.category or budget.name}” of the same department or entity covers "
                "some of these days. Change the period, or give it a category of its own.",
            ) from error
        if constraint_name(error) in {"budget_never_overspent", "budget_within_overspend_limit"}:
            raise Conflict(
                "budget_overspent",
                "The budget is overspent already: that control would forbid what has happened. Raise it first.",
            ) from error
        raise


def budget_update(
    *, actor: User, budget_id: int, changes: Mapping[str, Any], expected_version: int | None = None
) -> Budget:
    """Change what the budget is; amounts of an open one change by revision or transfer only.

    A new parent, or becoming a control point, recounts the budgets concerned (BUD-26). A moved threshold starts
    anew (BUD-28).
    """
    changes = dict(changes)
    with transaction.atomic(), record_as(actor):
        seen = get_visible(Budget.objects.all(), actor, budget_id, name="budget")
        require(actor, "budgets.change_budget", seen)
        restructured = not {"parent", "is_control_point"}.isdisjoint(changes)
        parent = changes.get("parent")
        if parent is not None:
            require(actor, "budgets.change_budget", parent)
        if restructured:
            locked = lock_tree({seen.pk, *([parent.pk] if parent else [])})
            budget = locked[seen.pk]
            # As it stands now: the caller's may know another place of it in the tree.
            changes |= {"parent": locked[parent.pk]} if parent is not None else {}
        else:
            budget = _relock(seen)
        budget.expect_version(expected_version)
        _apply(budget, changes)
        moved = [LEVELS_BY_FIELD[name] for name in changes if name in LEVELS_BY_FIELD]
        _check(budget)
        _save(budget)
        if restructured:
            recount(budget)
        require_children_fit(budget.parent_id)
        require_children_fit(budget.pk)
        if moved:
            thresholds_changed(budget, moved)
        return budget


def _relock(seen: Budget) -> Budget:
    return lock_budgets({seen.pk, *([seen.parent_id] if seen.parent_id else [])})[seen.pk]


def _apply(budget: Budget, changes: dict[str, Any]) -> None:
    if budget.status == BudgetStatus.CLOSED:
        raise Conflict("budget_closed", f"The budget “{budget.name}” is closed and cannot be changed.")
    is_draft = budget.status == BudgetStatus.DRAFT
    if "allocated_amount" in changes and is_draft:
        changes["planned_amount"] = _allocation(changes.pop("allocated_amount"), budget.currency)
    refused = sorted(set(changes) - (CHANGEABLE_ON_DRAFT if is_draft else CHANGEABLE_WHEN_OPEN))
    if refused:
        raise Conflict(
            "budget_not_draft",
            f"{', '.join(refused)} cannot be changed once a budget is open. Amounts change by a revision or a "
            "transfer.",
            errors=[FieldProblem(f"/{name}", "budget_not_draft", "Fixed once open.") for name in refused],
        )
    for name, value in changes.items():
        setattr(budget, name, value)


def _lock(actor: User, budget_id: int, permission: str) -> Budget:
    """The budget, locked together with its parent, whose state and limits its own follow."""
    seen = get_visible(Budget.objects.all(), actor, budget_id, name="budget")
    require(actor, permission, seen)
    return _relock(seen)


def budget_open(*, actor: User, budget_id: int) -> Budget:
    """Open a draft: its allocation is booked, its months are laid out, charges are taken from now on."""
    with transaction.atomic(), record_as(actor):
        budget = _lock(actor, budget_id, "budgets.add_budget")
        _require_status(budget, BudgetStatus.DRAFT, "opened")
        _change_status(budget, BudgetStatus.OPEN, actor, reason="")
        if budget.planned_amount:
            locked = lock_budgets({budget.pk})
            post([_allocation_of(budget)], actor=actor, locked=locked)
            budget = locked[budget.pk]
        spread_allocation(budget)
        require_children_fit(budget.parent_id)
        return budget


def _allocation_of(budget: Budget) -> Movement:
    return Movement(
        budget_id=budget.pk,
        kind=EntryKind.ALLOCATION,
        posting_date=budget.period_start,
        description=f"Allocation of “{budget.name}”"[:500],
        document_amount=budget.planned_amount,
        document_currency=budget.currency,
        allocated=budget.planned_amount,
    )


def budget_soft_close(*, actor: User, budget_id: int, reason: str = "") -> Budget:
    """Only those who may post to a closing budget post from now on (BUD-21)."""
    with transaction.atomic(), record_as(actor, reason):
        budget = _lock(actor, budget_id, "budgets.close_budget")
        _require_status(budget, BudgetStatus.OPEN, "soft-closed")
        _change_status(budget, BudgetStatus.SOFT_CLOSED, actor, reason)
        return budget


def budget_close(*, actor: User, budget_id: int, reason: str = "") -> Budget:
    """Close for good, once every open commitment has a decision; what is to lapse is released now (BUD-22)."""
    with transaction.atomic(), record_as(actor, reason):
        budget = _lock(actor, budget_id, "budgets.close_budget")
        if budget.status not in {BudgetStatus.OPEN, BudgetStatus.SOFT_CLOSED}:
            _require_status(budget, BudgetStatus.OPEN, "closed")
        open_commitments = list(Commitment.objects.open().filter(budget=budget).order_by("pk"))
        if Budget.objects.filter(parent=budget).exclude(status=BudgetStatus.CLOSED).exists():
            raise Conflict(
                "children_open", f"Budgets below “{budget.name}” are not closed yet. Close them first."
            )
        undecided = [each for each in open_commitments if not each.close_decision]
        if undecided:
            raise Conflict(
                "commitments_undecided",
                f"{len(undecided)} open commitments need a decision first: carry, release or lapse. The first is "
                f"“{undecided[0].description}”.",
                extra={"commitments": [each.pk for each in undecided]},
            )
        carried = [each for each in open_commitments if each.close_decision == CloseDecision.CARRY]
        if carried:
            raise Conflict(
                "commitments_not_carried",
                f"{len(carried)} open commitments are to be carried to the next period. Run the rollover first.",
                extra={"commitments": [each.pk for each in carried]},
            )
        for commitment in open_commitments:
            commitment_release(
                actor=actor,
                commitment_id=commitment.pk,
                reason=f"{commitment.get_close_decision_display()} at close",
            )
        budget = lock_budgets({budget.pk})[budget.pk]
        _change_status(budget, BudgetStatus.CLOSED, actor, reason)
        return budget


def commitment_decide(*, actor: User, commitment_id: int, decision: str) -> Commitment:
    """Say what becomes of an open commitment when its budget closes (BUD-22)."""
    with transaction.atomic():
        commitment = get_visible(
            Commitment.objects.select_related("budget"), actor, commitment_id, name="commitment"
        )
        require(actor, "budgets.close_budget", commitment.budget)
        if decision not in CloseDecision.values:
            raise Invalid("unknown_decision", "Decide carry, release or lapse.")
        if not commitment.is_open:
            raise Conflict("commitment_closed", "Only an open commitment needs a decision.")
        if decision == CloseDecision.CARRY and commitment.budget.rollover_policy == RolloverPolicy.LAPSE:
            raise Conflict(
                "carry_not_allowed",
                f"“{commitment.budget.name}” lets everything lapse at its end. Change its rollover policy first.",
            )
        Commitment.objects.filter(pk=commitment.pk).update(close_decision=decision)
        return Commitment.objects.get(pk=commitment.pk)


def budget_reopen_request(*, actor: User, budget_id: int, reason: str) -> PeriodChange:
    """Ask for a closed budget to be opened again; a second person decides (BUD-21)."""
    if not reason.strip():
        raise Invalid("reason_required", "Say why the budget is to be reopened.")
    with transaction.atomic():
        budget = _lock(actor, budget_id, "budgets.close_budget")
        if budget.status not in {BudgetStatus.CLOSED, BudgetStatus.SOFT_CLOSED}:
            _require_status(budget, BudgetStatus.CLOSED, "reopened")
        return PeriodChange.objects.create(
            budget=budget,
            from_status=budget.status,
            to_status=BudgetStatus.OPEN,
            reason=reason,
            requested_by=actor,
            requested_at=clock.now(),
        )


def budget_reopen_approve(*, actor: User, change_id: int) -> Budget:
    """Reopen on somebody else's request (BUD-21)."""
    with transaction.atomic():
        change = (
            PeriodChange.objects.select_for_update().filter(pk=change_id, to_status=BudgetStatus.OPEN).first()
        )
        if change is None:
            raise Conflict(
                "no_reopening_asked", "Nobody has asked for this reopening. Ask for it with a reason first."
            )
        budget = _lock(actor, change.budget_id, "budgets.approve_budget_change")
        if change.approved_by_id is not None:
            raise Conflict("already_decided", "This reopening was approved before.")
        if change.requested_by_id == actor.pk:
            raise Forbidden(
                "second_person_needed", "Who asks for a reopening cannot approve it. Ask a colleague."
            )
        if budget.status != change.from_status:
            raise Conflict(
                "budget_status_changed", "The budget's state has changed since the reopening was asked for."
            )
        if budget.parent is not None and budget.parent.status == BudgetStatus.CLOSED:
            raise Conflict(
                "parent_closed", f"“{budget.parent.name}” above it is closed. Reopen that one first."
            )
        with record_as(actor, change.reason):
            budget.reopen()
            budget.save()
        change.approved_by, change.approved_at = actor, clock.now()
        change.save()
        publish("budget.reopened", {"budget_id": budget.pk}, key=f"budget:{budget.pk}")
        return budget


def budget_delete(*, actor: User, budget_id: int) -> None:
    """Remove a draft; what was ever open stays."""
    with transaction.atomic(), record_as(actor):
        budget = _lock(actor, budget_id, "budgets.delete_budget")
        _require_status(budget, BudgetStatus.DRAFT, "deleted")
        budget.delete()


def _require_status(budget: Budget, status: str, verb: str) -> None:
    if budget.status != status:
        raise Conflict(
            "budget_status",
            f"The budget “{budget.name}” is {budget.get_status_display().lower()} and cannot be {verb}.",
            extra={"budget_id": budget.pk, "status": budget.status},
        )


def _change_status(budget: Budget, target: str, actor: User, reason: str) -> None:
    transitions = {
        BudgetStatus.OPEN: budget.open,
        BudgetStatus.SOFT_CLOSED: budget.soft_close,
        BudgetStatus.CLOSED: budget.close,
    }
    before = budget.status
    transitions[BudgetStatus(target)]()
    budget.save()
    now = clock.now()
    PeriodChange.objects.create(
        budget=budget,
        from_status=before,
        to_status=target,
        reason=reason,
        requested_by=actor,
        requested_at=now,
        approved_by=actor,
        approved_at=now,
    )
    publish(f"budget.{target}", {"budget_id": budget.pk}, key=f"budget:{budget.pk}")
