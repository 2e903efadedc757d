"""Transfers, revisions and overrides: asked for by one person, decided by another (BUD-24, BUD-25, BUD-29)."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any, TypeVar

from django.conf import settings
from django.db import transaction
from django.db.models import Max

from budgets.models import (
    Budget,
    BudgetOverride,
    BudgetRevision,
    BudgetTransfer,
    Control,
    DecisionStatus,
    EntryKind,
)
from budgets.services.charges import ChargeLine, _charge_movement
from budgets.services.commitments import positive_amount
from budgets.services.ledger import Movement, Posting, lock_budgets, post, posting_date_within
from budgets.services.profile import spread_allocation
from budgets.services.refusals import BudgetShortfall, insufficient_budget
from core import clock
from core.access import get_visible, has, require
from core.errors import Conflict, Forbidden, Invalid
from core.models import User
from core.money import parse_amount, plain_amount, round_money

ZERO = Decimal(0)
Change = TypeVar("Change", BudgetTransfer, BudgetRevision, BudgetOverride)


def _require_reason(reason: str) -> None:
    if not reason.strip():
        raise Invalid("reason_required", "Say why: the reason stays with the budget.")


def _require_undecided(change: Any) -> None:
    if change.status != DecisionStatus.PROPOSED:
        raise Conflict(
            "already_decided",
            f"This was {change.get_status_display().lower()} by {change.decided_by.display_name} before.",
            extra={"status": change.status},
        )


def _require_another_person(change: Any, actor: User) -> None:
    if change.requested_by_id == actor.pk:
        raise Forbidden(
            "second_person_needed", "Who asks for a change of a budget cannot approve it. Ask a colleague."
        )


def _decide(change: Any, actor: User, decision: Callable[[], None], comment: str) -> None:
    decision()
    change.decided_by, change.decided_at, change.decision_comment = actor, clock.now(), comment
    change.save()


# --- Transfers -------------------------------------------------------------------------------------------


def transfer_propose(
    *, actor: User, from_budget_id: int, to_budget_id: int, amount: Decimal | str | int, reason: str
) -> BudgetTransfer:
    """Ask to move money between two budgets of one currency and period; nothing moves yet (BUD-24)."""
    _require_reason(reason)
    with transaction.atomic():
        giving = get_visible(Budget.objects.all(), actor, from_budget_id, name="budget")
        taking = get_visible(Budget.objects.all(), actor, to_budget_id, name="budget")
        require(actor, "budgets.transfer_budget", giving)
        require(actor, "budgets.transfer_budget", taking)
        value = positive_amount(amount, giving.currency)
        _check_transfer(giving, taking)
        return BudgetTransfer.objects.create(
            from_budget=giving, to_budget=taking, amount=value, reason=reason, requested_by=actor
        )


def _check_transfer(giving: Budget, taking: Budget) -> None:
    if giving.pk == taking.pk:
        raise Invalid("transfer_to_itself", "Choose two different budgets.")
    if giving.currency != taking.currency:
        raise Invalid(
            "transfer_across_currencies", "Both budgets must be in one currency. Use two revisions instead."
        )
    if (giving.period_start, giving.period_end) != (taking.period_start, taking.period_end):
        raise Invalid(
            "transfer_across_periods", "Both budgets must have the same period. Use the rollover instead."
        )


def transfer_approve(*, actor: User, transfer_id: int, comment: str = "") -> BudgetTransfer:
    """Approve as the giving budget's owner, and as finance above the threshold; the last approval moves it (BUD-24)."""
    with transaction.atomic():
        get_visible(BudgetTransfer.objects.all(), actor, transfer_id, name="transfer")
        transfer = BudgetTransfer.objects.select_for_update().get(pk=transfer_id)
        _require_undecided(transfer)
        _require_another_person(transfer, actor)
        budgets = lock_budgets({transfer.from_budget_id, transfer.to_budget_id})
        giving, taking = budgets[transfer.from_budget_id], budgets[transfer.to_budget_id]
        if has(actor, "budgets.approve_budget_change", giving):
            transfer.finance_approved_by = actor
        elif _owner_id(giving) != actor.pk:
            require(actor, "budgets.approve_budget_change", giving)
        elif (
            transfer.amount > settings.BUDGET_TRANSFER_FINANCE_THRESHOLD
            and not transfer.finance_approved_by_id
        ):
            raise Forbidden(
                "finance_approval_needed",
                f"Transfers above {settings.BUDGET_TRANSFER_FINANCE_THRESHOLD} need finance's approval as well.",
            )
        if giving.available_amount < transfer.amount:
            raise insufficient_budget(
                [
                    BudgetShortfall(
                        budget=giving, asked=transfer.amount, short=transfer.amount - giving.available_amount
                    )
                ]
            )
        post(_transfer_movements(transfer, giving, taking), actor=actor)
        _decide(transfer, actor, transfer.approve, comment)
        for budget in (giving, taking):
            spread_allocation(Budget.objects.get(pk=budget.pk))
        return transfer


def _owner_id(budget: Budget) -> int | None:
    if budget.owner_id is not None:
        return budget.owner_id
    return budget.department.manager_id if budget.department is not None else None


def _transfer_movements(transfer: BudgetTransfer, giving: Budget, taking: Budget) -> list[Movement]:
    """Two linked entries that sum to zero."""
    return [
        Movement(
            budget_id=budget.pk,
            kind=EntryKind.TRANSFER,
            posting_date=posting_date_within(budget, clock.today()),
            description=f"Transfer “{giving.name}” → “{taking.name}”"[:500],
            document_amount=amount,
            document_currency=budget.currency,
            allocated=amount,
            reference=f"transfer:{transfer.pk}",
            reason=transfer.reason,
            counterpart_id=other.pk,
        )
        for budget, other, amount in ((giving, taking, -transfer.amount), (taking, giving, transfer.amount))
    ]


# --- Revisions -------------------------------------------------------------------------------------------


def revision_propose(
    *, actor: User, budget_id: int, delta: Decimal | str | int, reason: str
) -> BudgetRevision:
    """Ask to raise or lower an allocation; the old one stays in force until approved (BUD-25)."""
    _require_reason(reason)
    with transaction.atomic():
        seen = get_visible(Budget.objects.all(), actor, budget_id, name="budget")
        require(actor, "budgets.change_budget", seen)
        budget = lock_budgets({seen.pk})[seen.pk]
        change = parse_amount(delta)
        if change == 0 or round_money(change, budget.currency) != change:
            raise Invalid(
                "invalid_revision", f"Give the change in whole minor units of {budget.currency}, not zero."
            )
        last = BudgetRevision.objects.filter(budget=budget).aggregate(last=Max("number"))["last"] or 0
        return BudgetRevision.objects.create(
            budget=budget, number=last + 1, delta=change, reason=reason, requested_by=actor
        )


def revision_approve(*, actor: User, revision_id: int, comment: str = "") -> BudgetRevision:
    """Put a revision in force; the allocation may not fall below what is spent and committed (BUD-25)."""
    with transaction.atomic():
        seen = get_visible(BudgetRevision.objects.all(), actor, revision_id, name="revision")
        require(actor, "budgets.approve_budget_change", seen)
        revision = BudgetRevision.objects.select_for_update(of=("self",)).get(pk=revision_id)
        _require_undecided(revision)
        _require_another_person(revision, actor)
        budget = lock_budgets({revision.budget_id})[revision.budget_id]
        left = budget.allocated_amount + revision.delta - budget.used_amount
        if revision.delta < 0 and left < 0:
            raise insufficient_budget([BudgetShortfall(budget=budget, asked=-revision.delta, short=-left)])
        post(
            [
                Movement(
                    budget_id=budget.pk,
                    kind=EntryKind.ADJUSTMENT,
                    posting_date=posting_date_within(budget, clock.today()),
                    description=f"Revision {revision.number}",
                    document_amount=revision.delta,
                    document_currency=budget.currency,
                    allocated=revision.delta,
                    reference=f"revision:{revision.pk}",
                    reason=revision.reason,
                )
            ],
            actor=actor,
        )
        _decide(revision, actor, revision.approve, comment)
        spread_allocation(Budget.objects.get(pk=budget.pk))
        return revision


# --- Overrides -------------------------------------------------------------------------------------------


def override_propose(
    *, actor: User, budget_id: int, limit: Decimal | str | int, reason: str
) -> BudgetOverride:
    """Ask for leave to exceed a budget once, by at most ``limit`` (BUD-29)."""
    _require_reason(reason)
    with transaction.atomic():
        budget = get_visible(Budget.objects.all(), actor, budget_id, name="budget")
        require(actor, "budgets.charge_budget", budget)
        return BudgetOverride.objects.create(
            budget=budget, limit=positive_amount(limit, budget.currency), reason=reason, requested_by=actor
        )


def override_approve(*, actor: User, override_id: int, comment: str = "") -> BudgetOverride:
    """Grant it: a right of its own, never the requester (BUD-29)."""
    with transaction.atomic():
        seen = get_visible(BudgetOverride.objects.all(), actor, override_id, name="override")
        require(actor, "budgets.override_budget", seen)
        override = BudgetOverride.objects.select_for_update(of=("self",)).get(pk=override_id)
        _require_undecided(override)
        _require_another_person(override, actor)
        _decide(override, actor, override.approve, comment)
        return override


def charge_with_override(*, actor: User, line: ChargeLine, override_id: int) -> Posting:
    """Charge beyond what is available by a granted override, which is used up by it (BUD-05, BUD-29).

    “No budget” and “closed” cannot be overridden (BUD-22): state and period are tested as ever.
    """
    with transaction.atomic():
        seen = get_visible(BudgetOverride.objects.all(), actor, override_id, name="override")
        require(actor, "budgets.charge_budget", seen)
        budgets = lock_budgets({seen.budget_id})
        override = BudgetOverride.objects.select_for_update(of=("self",)).get(pk=override_id)
        budget = budgets[override.budget_id]
        if (
            override.status != DecisionStatus.APPROVED
            or override.used_at is not None
            or line.budget_id != budget.pk
        ):
            raise Conflict(
                "override_not_usable", "This override is not granted for this budget, or was used before."
            )
        movement = _charge_movement(budget, line)
        short = {
            each.pk: movement.spent - each.available_amount
            for each in budgets.values()
            if each.pk in budget.counted_by
            and each.control == Control.ABSOLUTE
            and movement.spent > each.available_amount
        }
        needed = max(short.values(), default=ZERO)
        if needed > override.limit:
            raise Conflict(
                "override_too_small",
                f"The charge exceeds the budget by {plain_amount(needed, budget.currency)} {budget.currency}, the "
                f"override allows {plain_amount(override.limit, budget.currency)}.",
                extra={"short": plain_amount(needed, budget.currency)},
            )
        before = _figures(budget)
        raises = [_raise_allowance(budgets[pk], amount, override) for pk, amount in sorted(short.items())]
        if raises:
            post(raises, actor=actor)
        posting = post([movement], actor=actor)
        override.used_amount, override.used_at = needed, clock.now()
        override.entry = posting.entries[0]
        override.before, override.after = before, _figures(posting.budgets[budget.pk])
        override.save()
        return posting


def _raise_allowance(budget: Budget, amount: Decimal, override: BudgetOverride) -> Movement:
    return Movement(
        budget_id=budget.pk,
        kind=EntryKind.OVERRIDE,
        posting_date=posting_date_within(budget, clock.today()),
        description=f"Override granted by {override.decided_by.display_name if override.decided_by else ''}"[
            :500
        ],
        document_amount=amount,
        document_currency=budget.currency,
        override=amount,
        reference=f"override:{override.pk}",
        reason=override.reason,
    )


def _figures(budget: Budget) -> dict[str, str]:
    return {
        name: plain_amount(getattr(budget, f"{name}_amount"), budget.currency)
        for name in ("allocated", "spent", "committed", "override", "available")
    }


# --- Refusals --------------------------------------------------------------------------------------------


def change_reject(*, actor: User, change: Change, comment: str) -> Change:
    """Refuse a transfer, revision or override; nothing is posted."""
    _require_reason(comment)
    with transaction.atomic():
        model = type(change)
        seen = get_visible(model.objects.all(), actor, change.pk, name="request")  # type: ignore[attr-defined]
        require(actor, "budgets.approve_budget_change", seen)
        locked = model.objects.select_for_update(of=("self",)).get(pk=seen.pk)  # type: ignore[attr-defined]
        _require_undecided(locked)
        _decide(locked, actor, locked.reject, comment)
        return locked
