"""Charges, refunds and corrections: money that is spent (BUD-03 to BUD-08, BUD-16, BUD-21, BUD-30 to BUD-32)."""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from django.db import transaction
from django.db.models import Sum

from budgets.models import Budget, BudgetEntry, BudgetStatus, EntryKind
from budgets.services import fast_path
from budgets.services.amounts import (
    ZERO,
    BudgetAmount,
    at_rate,
    business_day,
    cost_with_tax,
    in_budget_currency,
    positive_amount,
)
from budgets.services.availability import Availability, available_now
from budgets.services.commitments import lock_commitment
from budgets.services.ledger import (
    Movement,
    Posting,
    Source,
    earlier_posting,
    lock_budgets,
    post,
    require_postable,
)
from budgets.services.periods import first_open_after
from core.access import get_visible, require
from core.errors import Conflict, Invalid
from core.models import User
from core.money import plain_amount


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


def budget_charge(*, actor: User, line: ChargeLine) -> Posting:
    """Spend from one budget; see ``budget_charge_lines``.

    Most charges are one statement of the database; whatever that leaves alone takes the general way, which says
    precisely why it refuses.
    """
    cost = cost_with_tax(line.amount, line.tax, line.currency, tax_recoverable=line.tax_recoverable)
    charged = fast_path.charge(
        actor=actor,
        budget_id=line.budget_id,
        amount=cost,
        currency=line.currency,
        description=line.description,
        reference=line.reference,
        posting_date=line.posting_date,
        tax_recoverable=line.tax_recoverable,
        source=line.source,
    )
    if charged is not None:
        return Posting([charged.entry], {charged.budget.pk: charged.budget})
    return budget_charge_lines(actor=actor, lines=[line])


def budget_charge_lines(*, actor: User, lines: Sequence[ChargeLine]) -> Posting:
    """Spend what a document costs, all its lines or none (BUD-07).

    Raises Conflict ``approval_required`` when a budget's share exceeds its approval threshold, and what ``post``
    raises; NotFound for a budget that the actor does not see; Forbidden without the right to charge it.
    """
    if not lines:
        raise Invalid("no_lines", "Give at least one line to charge.")
    with transaction.atomic():
        for budget_id in dict.fromkeys(line.budget_id for line in lines):
            budget = get_visible(Budget.objects.all(), actor, budget_id, name="budget")
            require(actor, "budgets.charge_budget", budget)
        locked = lock_budgets({line.budget_id for line in lines})
        movements = [charge_movement(locked[line.budget_id], line) for line in lines]
        earlier = earlier_posting(movements, locked)
        if earlier is not None:
            return earlier
        for movement in movements:
            require_postable(locked[movement.budget_id], movement.posting_date, actor)
        require_no_approval(locked, movements)
        return post(movements, actor=actor, locked=locked)


def charge_movement(budget: Budget, line: ChargeLine) -> Movement:
    """What a line does to its locked budget."""
    day = line.posting_date or business_day(budget)
    currency = line.currency or budget.currency
    cost = cost_with_tax(line.amount, line.tax, currency, tax_recoverable=line.tax_recoverable)
    value = in_budget_currency(budget, cost, currency, day)
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


def require_no_approval(budgets: dict[int, Budget], movements: Sequence[Movement]) -> None:
    """Refuse what a budget's approval threshold sends to the approvers first (``approval_required``)."""
    for budget_id in sorted({movement.budget_id for movement in movements}):
        budget = budgets[budget_id]
        asked = sum((each.spent for each in movements if each.budget_id == budget_id), ZERO)
        if budget.approval_threshold is not None and asked > budget.approval_threshold:
            raise approval_required(budget, asked)


def approval_required(budget: Budget, asked: Decimal) -> Conflict:
    """The refusal of a charge above the budget's approval threshold."""
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

    What has expired counts as free though it is not released yet (BUD-17); every control point and the monthly
    profile are asked (BUD-26, BUD-27). ``amount`` is in the budget's currency.
    """
    asked = positive_amount(amount, None)
    quick = fast_path.check(actor=actor, budget_id=budget_id, amount=asked)
    if quick is not None:
        return quick
    budget = get_visible(Budget.objects.select_related("entity"), actor, budget_id, name="budget")
    return available_now(actor=actor, budget=budget, asked=positive_amount(amount, budget.currency))


def budget_refund(
    *,
    actor: User,
    budget_id: int,
    amount: Decimal | str | int,
    description: str,
    currency: str | None = None,
    reference: str = "",
    posting_date: datetime.date | None = None,
    reverses: BudgetEntry | None = None,
    reinstate_commitment: bool = False,
    source: Source | None = None,
) -> Posting:
    """A credit note lowers what is spent (BUD-16).

    ``reverses`` is the charge or consumption that it credits: its refunds never exceed it, and its own rate is
    used. If its budget is closed the first open later one takes the refund (BUD-21). With
    ``reinstate_commitment`` the commitment that it consumed is promised again, only while it is open and never
    above what was consumed.
    """
    with transaction.atomic():
        budget: Budget = get_visible(Budget.objects.all(), actor, budget_id, name="budget")
        require(actor, "budgets.charge_budget", budget)
        if reverses is not None and reverses.budget_id != budget.pk:
            raise Invalid("entry_of_another_budget", "The entry to be refunded belongs to another budget.")
        bearing = _taking_reversals(budget)
        commitment = None
        if reinstate_commitment:
            if reverses is None or reverses.commitment_id is None or bearing != budget:
                raise Invalid(
                    "nothing_to_reinstate",
                    "Name the consumption of an open budget whose commitment is to be reinstated.",
                )
            commitment, locked = lock_commitment(
                actor=actor, commitment_id=reverses.commitment_id, also=budget.pk
            )
        else:
            locked = lock_budgets({budget.pk, bearing.pk})
        bearing = locked[bearing.pk]
        day = posting_date or business_day(bearing)
        if bearing.pk != budget.pk:
            day = max(day, bearing.period_start)
        value = _refund_value(bearing, amount, currency, day, reverses)
        movement = Movement(
            budget_id=bearing.pk,
            kind=EntryKind.REFUND,
            posting_date=day,
            description=description,
            document_amount=-value.document_amount,
            document_currency=value.document_currency,
            rate=value.rate,
            rate_date=value.rate_date,
            spent=-value.amount,
            reference=reference,
            source=source,
            commitment_id=commitment.pk if commitment else None,
            reverses_id=reverses.pk if reverses else None,
        )
        earlier = earlier_posting([movement], locked)
        if earlier is not None:
            return earlier
        if reverses is not None:
            _require_refundable(reverses, value.amount, budget.currency)
        if commitment is not None and reverses is not None:
            reinstated = _reinstatable(reverses, value.amount)
            if not commitment.is_open or reinstated > commitment.consumed_amount:
                raise Conflict(
                    "commitment_not_reinstatable",
                    "The commitment is closed, or less of it is consumed than would be reinstated. Refund without "
                    "reinstating it.",
                    extra={"commitment_id": commitment.pk, "status": commitment.status},
                )
            commitment.consumed_amount -= reinstated
            commitment.save()
            movement = replace(movement, committed=reinstated)
        return post([movement], actor=actor, locked=locked)


def _taking_reversals(budget: Budget) -> Budget:
    return first_open_after(budget) if budget.status == BudgetStatus.CLOSED else budget


def _refund_value(
    budget: Budget,
    amount: Decimal | str | int,
    currency: str | None,
    day: datetime.date,
    reverses: BudgetEntry | None,
) -> BudgetAmount:
    """A credit is valued at the rate of what it credits, if both are in one currency (BUD-31)."""
    if reverses is None or currency is None or currency != reverses.document_currency:
        return in_budget_currency(budget, amount, currency, day)
    credited = positive_amount(amount, currency)
    rest = reverses.document_amount + _refunded(reverses)["document"]
    in_full = credited == rest
    value = (
        reverses.spent_delta + _refunded(reverses)["spent"]
        if in_full
        else at_rate(budget, credited, reverses.rate)
    )
    return BudgetAmount(value, credited, currency, reverses.rate, reverses.rate_date)


def _refunded(entry: BudgetEntry) -> dict[str, Decimal]:
    """What the refunds of an entry took back so far, as negative sums."""
    return entry.reversed_by.aggregate(
        spent=Sum("spent_delta", default=ZERO),
        document=Sum("document_amount", default=ZERO),
        committed=Sum("committed_delta", default=ZERO),
    )


def _require_refundable(reverses: BudgetEntry, value: Decimal, currency: str) -> None:
    """The refunds of an entry never exceed it; the budget's lock is held."""
    rest = max(reverses.spent_delta + _refunded(reverses)["spent"], ZERO)
    if value > rest:
        raise Conflict(
            "refund_exceeds_charge",
            f"Only {plain_amount(rest, currency)} {currency} of that entry can still be refunded.",
            extra={"refundable": plain_amount(rest, currency)},
        )


def _reinstatable(reverses: BudgetEntry, value: Decimal) -> Decimal:
    """As much as is credited, but not more than the entry had consumed of its commitment (BUD-16)."""
    return min(value, -reverses.committed_delta - _refunded(reverses)["committed"])


def refund_take_back(
    *,
    actor: User,
    refund: BudgetEntry,
    description: str,
    source: Source,
    amount: Decimal | str | int | None = None,
    reference: str = "",
) -> Posting:
    """Spend again what a refund gave back, at its rate: the credit note behind it became void (BUD-16, BUD-31).

    The new entry stands against the entry that the refund credited, of which as much can be refunded again as before.
    ``amount`` is in the refund's document currency: all of it unless given. In a closed period the first open one takes
    it (BUD-21). A second call with the same ``source`` posts nothing. Raises Conflict ``not_a_refund`` for what is none
    or has reinstated a commitment, and what ``post`` raises.
    """
    with transaction.atomic():
        budget: Budget = get_visible(Budget.objects.all(), actor, refund.budget_id, name="budget")
        require(actor, "budgets.charge_budget", budget)
        if refund.kind != EntryKind.REFUND or refund.committed_delta:
            raise Conflict(
                "not_a_refund",
                "Only a refund that reinstated no commitment can be taken back.",
                extra={"entry_id": refund.pk, "kind": refund.kind},
            )
        bearing = _taking_reversals(budget)
        locked = lock_budgets({budget.pk, bearing.pk})
        bearing = locked[bearing.pk]
        given = -refund.document_amount
        asked = given if amount is None else positive_amount(amount, refund.document_currency)
        spent = -refund.spent_delta if asked == given else at_rate(bearing, asked, refund.rate)
        movement = Movement(
            budget_id=bearing.pk,
            kind=EntryKind.CHARGE,
            posting_date=max(refund.posting_date, bearing.period_start),
            description=description,
            document_amount=asked,
            document_currency=refund.document_currency,
            rate=refund.rate,
            rate_date=refund.rate_date,
            spent=spent,
            tax_recoverable=refund.tax_recoverable,
            reference=reference,
            source=source,
            reverses_id=refund.reverses_id,
        )
        earlier = earlier_posting([movement], locked)
        if earlier is not None:
            return earlier
        return post([movement], actor=actor, locked=locked)


def entry_correct(*, actor: User, entry_id: int, reason: str) -> Posting:
    """Take back a charge or refund that was a mistake, by an opposite entry linked to it (BUD-32).

    What a consumption took of a commitment is taken back by a refund; entries of allocations by a revision. In a
    closed period the first open one takes the correction (BUD-21).
    """
    if not reason.strip():
        raise Invalid("reason_required", "Say what was wrong: the reason stays with the correction.")
    with transaction.atomic():
        wrong: BudgetEntry = get_visible(
            BudgetEntry.objects.select_related("budget"), actor, entry_id, name="entry"
        )
        require(actor, "budgets.charge_budget", wrong.budget)
        bearing = _taking_reversals(wrong.budget)
        locked = lock_budgets({wrong.budget_id, bearing.pk})
        bearing = locked[bearing.pk]
        correctable = wrong.kind in {EntryKind.CHARGE, EntryKind.REFUND} and wrong.committed_delta == 0
        if not correctable or wrong.reversed_by.exists():
            raise Conflict(
                "entry_not_correctable",
                "Only a charge or a refund that nothing has taken back yet can be corrected.",
                extra={"entry_id": wrong.pk, "kind": wrong.kind},
            )
        if wrong.reverses_id is not None:
            raise Conflict(
                "entry_not_correctable",
                "A refund of an entry cannot be corrected. Charge the amount again, with a reference to it.",
                extra={"entry_id": wrong.pk, "kind": wrong.kind},
            )
        day = max(business_day(bearing), bearing.period_start)
        movement = Movement(
            budget_id=bearing.pk,
            kind=EntryKind.ADJUSTMENT,
            posting_date=wrong.posting_date if bearing.covers(wrong.posting_date) else day,
            description=f"Correction: {wrong.description}"[:500],
            document_amount=-wrong.document_amount,
            document_currency=wrong.document_currency,
            rate=wrong.rate,
            rate_date=wrong.rate_date,
            spent=-wrong.spent_delta,
            tax_recoverable=wrong.tax_recoverable,
            reference=wrong.reference,
            reason=reason.strip(),
            reverses_id=wrong.pk,
        )
        return post([movement], actor=actor, locked=locked)
