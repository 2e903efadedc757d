"""Transfers, revisions and overrides: asked for by one person, decided by another (BUD-24, BUD-25, BUD-29)."""

from collections.abc import Callable
from decimal import Decimal
from typing import TypeVar

from django.conf import settings
from django.db import transaction
from django.db.models import Max

from budgets.models import (
    Budget,
    BudgetOverride,
    BudgetRevision,
    BudgetTransfer,
    DecisionStatus,
    EntryKind,
)
from budgets.services.amounts import ZERO, at_minor_unit, business_day, positive_amount
from budgets.services.charges import ChargeLine, charge_movement, require_no_approval
from budgets.services.ledger import Movement, Posting, headroom, lock_budgets, post, posting_date_within
from budgets.services.profile import Use, profile_shortfalls, spread_allocation
from budgets.services.refusals import BudgetShortfall, insufficient_budget
from budgets.services.tree import lock_for_allocation, require_allocations_fit
from core import clock
from core.access import get_visible, has, is_system, require
from core.errors import Conflict, Forbidden, Invalid
from core.models import User
from core.money import parse_amount, plain_amount
from entities.access import memberships_covering

Change = TypeVar("Change", BudgetTransfer, BudgetRevision, BudgetOverride)


def _require_reason(reason: str) -> None:
    if not reason.strip():
        raise Invalid("reason_required", "Say why: the reason stays with the budget.")


def _require_undecided(change: BudgetTransfer | BudgetRevision | BudgetOverride) -> None:
    if change.status != DecisionStatus.PROPOSED:
        decider = change.decided_by.display_name if change.decided_by else "somebody"
        raise Conflict(
            "already_decided",
            f"This was {change.get_status_display().lower()} by {decider} before.",
            extra={"status": change.status},
        )


def _require_another_person(change: BudgetTransfer | BudgetRevision | BudgetOverride, actor: User) -> None:
    if change.requested_by_id == actor.pk:
        raise Forbidden(
            "second_person_needed", "Who asks for a change of a budget cannot approve it. Ask a colleague."
        )


def _decide(
    change: BudgetTransfer | BudgetRevision | BudgetOverride,
    actor: User,
    decision: Callable[[], None],
    comment: str,
) -> None:
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
    same_period = (giving.period_start, giving.period_end) == (taking.period_start, taking.period_end)
    if not same_period and not settings.BUDGET_TRANSFER_ACROSS_PERIODS:
        raise Invalid(
            "transfer_across_periods", "Both budgets must have the same period. Use the rollover instead."
        )


def transfer_approve(*, actor: User, transfer_id: int, comment: str = "") -> BudgetTransfer:
    """Give the approval that is the actor's to give: the owner's, or finance's above the threshold (BUD-24).

    The approval that completes a transfer moves the money, if the giving budget still has it. Where the giving
    budget has no owner, or the owner asked for the transfer, somebody of finance stands in for the owner. Nobody
    approves twice, nor what they asked for.
    """
    with transaction.atomic():
        get_visible(BudgetTransfer.objects.all(), actor, transfer_id, name="transfer")
        transfer = BudgetTransfer.objects.select_for_update(of=("self",)).get(pk=transfer_id)
        _require_undecided(transfer)
        _require_another_person(transfer, actor)
        _note_approval(transfer, actor)
        if transfer.owner_approved_by_id is None or (
            needs_finance(transfer) and transfer.finance_approved_by_id is None
        ):
            transfer.save()
            return transfer
        both = {transfer.from_budget_id, transfer.to_budget_id}
        locked = lock_for_allocation(both)
        giving, taking = locked[transfer.from_budget_id], locked[transfer.to_budget_id]
        _check_transfer(giving, taking)
        short = transfer.amount - giving.available_amount
        if short > 0:
            raise insufficient_budget([BudgetShortfall(budget=giving, asked=transfer.amount, short=short)])
        post(_transfer_movements(transfer, giving, taking), actor=actor, locked=locked)
        require_allocations_fit(locked, both)
        _decide(transfer, actor, transfer.approve, comment)
        for budget in (giving, taking):
            spread_allocation(budget)
        return transfer


def needs_finance(transfer: BudgetTransfer) -> bool:
    """Whether the amount is above the threshold from which finance approves as well."""
    return transfer.amount > settings.BUDGET_TRANSFER_FINANCE_THRESHOLD


def _note_approval(transfer: BudgetTransfer, actor: User) -> None:
    giving = transfer.from_budget
    is_finance = has(actor, "budgets.approve_budget_change", giving)
    owner_id = _owner_id(giving)
    stands_in = is_finance and owner_id in {None, transfer.requested_by_id}
    now = clock.now()
    if transfer.owner_approved_by_id is None and (owner_id == actor.pk or stands_in):
        transfer.owner_approved_by, transfer.owner_approved_at = actor, now
    elif (
        is_finance
        and needs_finance(transfer)
        and transfer.finance_approved_by_id is None
        and transfer.owner_approved_by_id != actor.pk
    ):
        transfer.finance_approved_by, transfer.finance_approved_at = actor, now
    else:
        missing = "its owner" if transfer.owner_approved_by_id is None else "somebody else of finance"
        raise Forbidden(
            "not_the_approver",
            f"What is missing is the approval of {missing} for “{giving.name}”.",
            extra={
                "owner_approved": transfer.owner_approved_by_id is not None,
                "finance_approved": transfer.finance_approved_by_id is not None,
                "needs_finance": needs_finance(transfer),
            },
        )


def _owner_id(budget: Budget) -> int | None:
    """Who answers for the budget: its owner, or the manager of its department."""
    if budget.owner_id is not None:
        return budget.owner_id
    return budget.department.manager_id if budget.department is not None else None


def _transfer_movements(transfer: BudgetTransfer, giving: Budget, taking: Budget) -> list[Movement]:
    """Two linked entries that sum to zero."""
    return [
        Movement(
            budget_id=budget.pk,
            kind=EntryKind.TRANSFER,
            posting_date=posting_date_within(budget, business_day(budget)),
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
        return _new_revision(seen.pk, delta, reason, requested_by=actor)


def _new_revision(
    budget_id: int, delta: Decimal | str | int, reason: str, *, requested_by: User
) -> BudgetRevision:
    budget = lock_budgets({budget_id})[budget_id]
    change = at_minor_unit(parse_amount(delta), budget.currency)
    if change == 0:
        raise Invalid("revision_changes_nothing", "Give the change: more than zero to raise, less to lower.")
    last = BudgetRevision.objects.filter(budget=budget).aggregate(last=Max("number"))["last"] or 0
    return BudgetRevision.objects.create(
        budget=budget, number=last + 1, delta=change, reason=reason, requested_by=requested_by
    )


def revision_grant(
    *, budget_id: int, delta: Decimal, reason: str, requested_by: User, granted_by: User
) -> BudgetRevision:
    """Put in force a revision that an approved request asked for: approvals has seen to it who may (BUD-25).

    Raises what ``revision_approve`` raises of funds and states; Forbidden ``second_person_needed``.
    """
    with transaction.atomic():
        revision = _new_revision(budget_id, delta, reason, requested_by=requested_by)
        _require_another_person(revision, granted_by)
        return _put_in_force(revision, granted_by, "")


def revision_approve(*, actor: User, revision_id: int, comment: str = "") -> BudgetRevision:
    """Put a revision in force; the allocation may not fall below what is spent and committed (BUD-25)."""
    with transaction.atomic():
        seen = get_visible(BudgetRevision.objects.all(), actor, revision_id, name="revision")
        require(actor, "budgets.approve_budget_change", seen)
        revision = BudgetRevision.objects.select_for_update(of=("self",)).get(pk=revision_id)
        _require_undecided(revision)
        _require_another_person(revision, actor)
        return _put_in_force(revision, actor, comment)


def _put_in_force(revision: BudgetRevision, actor: User, comment: str) -> BudgetRevision:
    locked = lock_for_allocation({revision.budget_id})
    budget = locked[revision.budget_id]
    left = budget.available_amount + revision.delta
    if revision.delta < 0 and left < 0:
        raise insufficient_budget([BudgetShortfall(budget=budget, asked=-revision.delta, short=-left)])
    post(
        [
            Movement(
                budget_id=budget.pk,
                kind=EntryKind.ADJUSTMENT,
                posting_date=posting_date_within(budget, business_day(budget)),
                description=f"Revision {revision.number}",
                document_amount=revision.delta,
                document_currency=budget.currency,
                allocated=revision.delta,
                reference=f"revision:{revision.pk}",
                reason=revision.reason,
            )
        ],
        actor=actor,
        locked=locked,
    )
    require_allocations_fit(locked, {budget.pk})
    _decide(revision, actor, revision.approve, comment)
    spread_allocation(budget)
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
    """Grant it: a right of its own with a money limit by role, never the requester (BUD-29)."""
    with transaction.atomic():
        seen = get_visible(BudgetOverride.objects.all(), actor, override_id, name="override")
        require(actor, "budgets.override_budget", seen)
        override = BudgetOverride.objects.select_for_update(of=("self",)).get(pk=override_id)
        _require_undecided(override)
        _require_another_person(override, actor)
        _require_within_authority(override, actor)
        _decide(override, actor, override.approve, comment)
        return override


def _require_within_authority(override: BudgetOverride, actor: User) -> None:
    limit = override_authority(actor, override.budget)
    if limit is not None and override.limit > limit:
        currency = override.budget.currency
        raise Forbidden(
            "override_above_authority",
            f"You may grant overrides up to {plain_amount(limit, currency)} {currency}. Ask an administrator for "
            "this one.",
            extra={
                "authority": plain_amount(limit, currency),
                "asked": plain_amount(override.limit, currency),
            },
        )


def override_authority(actor: User, budget: Budget) -> Decimal | None:
    """The largest override that the actor may grant, in the budget's currency; None is without limit (BUD-29).

    It goes by the roles held over the budget: ``settings.BUDGET_OVERRIDE_LIMITS``.
    """
    if is_system(actor) or actor.is_superuser:
        return None
    roles = memberships_covering(actor, budget).values_list("role", flat=True)
    held = [role for role in roles if role in settings.BUDGET_OVERRIDE_LIMITS]
    if any(settings.BUDGET_OVERRIDE_LIMITS[role] is None for role in held):
        return None
    return max((Decimal(settings.BUDGET_OVERRIDE_LIMITS[role] or 0) for role in held), default=ZERO)


def charge_with_override(*, actor: User, line: ChargeLine, override_id: int) -> Posting:
    """Charge beyond what is available by a granted override, which is used up by it (BUD-05, BUD-29).

    The allowance of the budget, and of every control point above that is short, rises by what is missing, by an
    entry of its own. “No budget” and “closed” cannot be overridden (BUD-22), nor can the approval threshold.
    """
    with transaction.atomic():
        seen = get_visible(BudgetOverride.objects.all(), actor, override_id, name="override")
        require(actor, "budgets.charge_budget", seen)
        locked = lock_budgets({seen.budget_id})
        override = BudgetOverride.objects.select_for_update(of=("self",)).get(pk=override_id)
        budget = locked[override.budget_id]
        _require_usable(override, line)
        movement = charge_movement(budget, line)
        require_no_approval(locked, [movement])
        counters = [locked[pk] for pk in budget.counted_by]
        rooms = [(counter, headroom(counter)) for counter in counters]
        short = {
            each: movement.spent - room for each, room in rooms if room is not None and movement.spent > room
        }
        behind_plan = profile_shortfalls(locked, [Use(budget.pk, movement.posting_date, movement.spent)])
        needed = max([*short.values(), *(each.short for each in behind_plan)], default=ZERO)
        _require_covered(override, budget, needed)
        for counter in short:
            _require_granted_for(override, counter)
        before = _figures(budget)
        raises = [_raise_allowance(counter, amount, override) for counter, amount in short.items()]
        waived = {each.budget.pk for each in behind_plan}
        posting = post([*raises, movement], actor=actor, locked=locked, profile_waived=waived)
        charged = posting.entries[-1]
        override.used_amount, override.used_at = needed, clock.now()
        override.entry = charged
        override.before, override.after = before, _figures(budget)
        override.save()
        return Posting([charged], locked)


def _require_usable(override: BudgetOverride, line: ChargeLine) -> None:
    if (
        override.status != DecisionStatus.APPROVED
        or override.used_at is not None
        or line.budget_id != override.budget_id
    ):
        raise Conflict(
            "override_not_usable", "This override is not granted for this budget, or was used before."
        )


def _require_covered(override: BudgetOverride, budget: Budget, needed: Decimal) -> None:
    if needed > override.limit:
        raise Conflict(
            "override_too_small",
            f"The charge exceeds the budget by {plain_amount(needed, budget.currency)} {budget.currency}, the "
            f"override allows {plain_amount(override.limit, budget.currency)}.",
            extra={"short": plain_amount(needed, budget.currency)},
        )


def _require_granted_for(override: BudgetOverride, counter: Budget) -> None:
    """Who granted it must have the right at every control point that it lets be exceeded."""
    if override.decided_by is None or not has(override.decided_by, "budgets.override_budget", counter):
        raise Conflict(
            "override_not_usable",
            f"The charge would exceed “{counter.name}” too, over which whoever granted this override has no right.",
            extra={"budget_id": counter.pk},
        )


def _raise_allowance(budget: Budget, amount: Decimal, override: BudgetOverride) -> Movement:
    return Movement(
        budget_id=budget.pk,
        kind=EntryKind.OVERRIDE,
        posting_date=posting_date_within(budget, business_day(budget)),
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


def transfer_reject(*, actor: User, transfer_id: int, comment: str) -> BudgetTransfer:
    """Refuse a transfer, as the giving budget's owner or as finance; nothing moves."""
    _require_reason(comment)
    with transaction.atomic():
        seen = get_visible(BudgetTransfer.objects.all(), actor, transfer_id, name="transfer")
        if _owner_id(seen.from_budget) != actor.pk:
            require(actor, "budgets.approve_budget_change", seen)
        return _reject(BudgetTransfer.objects.select_for_update(of=("self",)).get(pk=seen.pk), actor, comment)


def revision_reject(*, actor: User, revision_id: int, comment: str) -> BudgetRevision:
    """Refuse a revision; the old allocation stays in force."""
    _require_reason(comment)
    with transaction.atomic():
        seen = get_visible(BudgetRevision.objects.all(), actor, revision_id, name="revision")
        require(actor, "budgets.approve_budget_change", seen)
        return _reject(BudgetRevision.objects.select_for_update(of=("self",)).get(pk=seen.pk), actor, comment)


def override_reject(*, actor: User, override_id: int, comment: str) -> BudgetOverride:
    """Refuse an override."""
    _require_reason(comment)
    with transaction.atomic():
        seen = get_visible(BudgetOverride.objects.all(), actor, override_id, name="override")
        require(actor, "budgets.override_budget", seen)
        return _reject(BudgetOverride.objects.select_for_update(of=("self",)).get(pk=seen.pk), actor, comment)


def _reject(change: Change, actor: User, comment: str) -> Change:
    _require_undecided(change)
    _require_another_person(change, actor)
    _decide(change, actor, change.reject, comment)
    return change
