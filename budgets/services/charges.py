"""Charges and refunds: money that is spent (BUD-03 to BUD-08, BUD-16, BUD-20, BUD-30, BUD-31)."""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from django.db import transaction

from budgets.models import Budget, BudgetEntry, BudgetStatus, EntryKind
from budgets.services.commitments import (
    in_budget_currency,
    lock_commitment,
    positive_amount,
)
from budgets.services.ledger import (
    Movement,
    Posting,
    Source,
    headroom,
    lock_budgets,
    post,
)
from core import clock
from core.access import get_visible, require
from core.errors import Conflict, Invalid
from core.models import User
from core.money import parse_amount, plain_amount

ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class ChargeLine:
    """One line of a document: what it costs which budget; ``tax`` counts unless it is recoverable (BUD-30)."""

    budget_id: int
    amount: Decimal | str | int
    description: str
    currency: str | None = None
    tax: Decimal | str | int = 0
    tax_recoverable: bool = True
    reference: str = ""
    posting_date: datetime.date | None = None
    source: Source | None = None


@dataclass(frozen=True, slots=True)
class Availability:
    """The answer of a dry run, in the budget's currency (BUD-01, BUD-03)."""

    available: bool
    available_amount: Decimal
    requires_approval: bool
    would_overspend: bool
    reason: str
    currency: str


def budget_charge(*, actor: User, line: ChargeLine) -> Posting:
    """Spend from one budget; see ``budget_charge_lines``."""
    return budget_charge_lines(actor=actor, lines=[line])


def budget_charge_lines(*, actor: User, lines: Sequence[ChargeLine]) -> Posting:
    """Spend what a document costs, all its lines or none (BUD-07).

    Raises Conflict ``approval_required`` when a budget's share exceeds its approval threshold, and what ``post``
    raises; NotFound for a budget that the actor does not see; Forbidden without the right to charge it.
    """
    if not lines:
        raise Invalid("no_lines", "Give at least one line to charge.")
    with transaction.atomic():
        seen = {}
        for line in lines:
            if line.budget_id not in seen:
                budget = get_visible(Budget.objects.all(), actor, line.budget_id, name="budget")
                require(actor, "budgets.charge_budget", budget)
                seen[line.budget_id] = budget
        budgets = lock_budgets(set(seen))
        movements = [_charge_movement(budgets[line.budget_id], line) for line in lines]
        _require_no_approval(budgets, movements)
        return post(movements, actor=actor)


def _charge_movement(budget: Budget, line: ChargeLine) -> Movement:
    day = line.posting_date or clock.today()
    tax = parse_amount(line.tax)
    if tax < 0:
        raise Invalid("amount_not_positive", "The tax cannot be negative.")
    amount = positive_amount(line.amount, line.currency or budget.currency)
    counted = amount if line.tax_recoverable else amount + tax
    value = in_budget_currency(budget, counted, line.currency, day)
    return Movement(
        budget_id=budget.pk,
        kind=EntryKind.CHARGE,
        posting_date=day,
        description=line.description,
        document_amount=value.document_amount,
        document_currency=value.document_currency,
        spent=value.amount,
        rate=value.rate,
        rate_date=value.rate_date,
        tax_recoverable=line.tax_recoverable,
        reference=line.reference,
        source=line.source,
    )


def _require_no_approval(budgets: dict[int, Budget], movements: Sequence[Movement]) -> None:
    for budget_id in {movement.budget_id for movement in movements}:
        budget = budgets[budget_id]
        asked = sum((each.spent for each in movements if each.budget_id == budget_id), ZERO)
        if budget.approval_threshold is not None and asked > budget.approval_threshold:
            raise approval_required(budget, asked)


def approval_required(budget: Budget, asked: Decimal) -> Conflict:
    threshold = plain_amount(budget.approval_threshold or ZERO, budget.currency)
    return Conflict(
        "approval_required",
        f"Charges of more than {threshold} {budget.currency} to “{budget.name}” need an approved request. "
        "Submit one for this amount.",
        extra={
            "budget_id": budget.pk,
            "asked": plain_amount(asked, budget.currency),
            "approval_threshold": threshold,
            "currency": budget.currency,
        },
    )


def budget_check_availability(*, actor: User, budget_id: int, amount: Decimal | str | int) -> Availability:
    """Say whether a charge of ``amount`` would pass now, and why not; writes nothing.

    What has expired counts as free though it is not released yet (BUD-17); every control point is asked (BUD-26).
    """
    budget = get_visible(Budget.objects.all(), actor, budget_id, name="budget")
    asked = positive_amount(amount, budget.currency)
    counters = list(Budget.objects.filter(pk__in=budget.counted_by).with_expired())
    own = next(counter for counter in counters if counter.pk == budget.pk)
    available_amount = min(_available(counter) for counter in counters)
    blocking = [
        counter
        for counter in counters
        if (room := headroom(counter)) is not None and asked > room + counter.expired_amount
    ]
    requires_approval = own.approval_threshold is not None and asked > own.approval_threshold
    would_overspend = asked > available_amount
    if own.status != BudgetStatus.OPEN or not own.covers(clock.today()):
        reason = "budget_not_open"
    elif blocking:
        reason = "insufficient_budget"
    elif requires_approval:
        reason = "approval_required"
    else:
        reason = "overspend_allowed" if would_overspend else "ok"
    return Availability(
        available=reason in {"ok", "overspend_allowed"},
        available_amount=available_amount,
        requires_approval=requires_approval,
        would_overspend=would_overspend,
        reason=reason,
        currency=own.currency,
    )


def _available(counter: Budget) -> Decimal:
    return counter.available_amount + counter.expired_amount


def budget_refund(
    *,
    actor: User,
    budget_id: int,
    amount: Decimal | str | int,
    description: str,
    reference: str = "",
    posting_date: datetime.date | None = None,
    reverses: BudgetEntry | None = None,
    reinstate_commitment: bool = False,
    source: Source | None = None,
) -> Posting:
    """A credit note lowers what is spent (BUD-16).

    With ``reinstate_commitment`` the commitment that ``reverses`` consumed is promised again, only while it is
    open and never above what was consumed of it.
    """
    day = posting_date or clock.today()
    with transaction.atomic():
        budget = get_visible(Budget.objects.all(), actor, budget_id, name="budget")
        require(actor, "budgets.charge_budget", budget)
        commitment = None
        if reinstate_commitment:
            if reverses is None or reverses.commitment_id is None:
                raise Invalid(
                    "nothing_to_reinstate",
                    "Name the consumption whose commitment is to be reinstated.",
                )
            commitment, budget = lock_commitment(actor=actor, commitment_id=reverses.commitment_id)
        else:
            budget = lock_budgets({budget.pk})[budget.pk]
        value = positive_amount(amount, budget.currency)
        if reverses is not None:
            _require_refundable(budget, reverses, value)
        committed = ZERO
        if commitment is not None:
            if not commitment.is_open or value > commitment.consumed_amount:
                raise Conflict(
                    "commitment_not_reinstatable",
                    "The commitment is closed, or less of it was consumed than is credited. Refund without "
                    "reinstating it.",
                    extra={"commitment_id": commitment.pk, "status": commitment.status},
                )
            commitment.consumed_amount -= value
            commitment.save()
            committed = value
        return post(
            [
                Movement(
                    budget_id=budget.pk,
                    kind=EntryKind.REFUND,
                    posting_date=day,
                    description=description,
                    document_amount=-value,
                    document_currency=budget.currency,
                    spent=-value,
                    committed=committed,
                    reference=reference,
                    source=source,
                    commitment_id=commitment.pk if commitment else None,
                    reverses_id=reverses.pk if reverses else None,
                )
            ],
            actor=actor,
        )


def _require_refundable(budget: Budget, reverses: BudgetEntry, value: Decimal) -> None:
    """The refunds of an entry never exceed it; the budget's lock is held."""
    refunded = -sum((entry.spent_delta for entry in reverses.reversed_by.all()), ZERO)
    if reverses.budget_id != budget.pk or value > reverses.spent_delta - refunded:
        rest = max(reverses.spent_delta - refunded, ZERO)
        raise Conflict(
            "refund_exceeds_charge",
            f"Only {plain_amount(rest, budget.currency)} {budget.currency} of that entry can still be refunded.",
            extra={"refundable": plain_amount(rest, budget.currency)},
        )
