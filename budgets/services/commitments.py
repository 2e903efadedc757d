"""Commitments: promised money, from the promise to its last consumption (BUD-02, BUD-09 to BUD-18, BUD-31)."""

import datetime
from dataclasses import dataclass
from decimal import Decimal

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet, Sum

from budgets.models import Budget, BudgetEntry, Commitment, CommitmentStatus, EntryKind
from budgets.services.amounts import (
    BudgetAmount,
    at_rate,
    business_day,
    cost_with_tax,
    in_budget_currency,
    positive_amount,
)
from budgets.services.ledger import (
    Movement,
    Posting,
    Source,
    lock_budgets,
    post,
    posting_date_within,
)
from budgets.services.periods import budget_of_same_purpose
from core import clock
from core.access import get_visible, require
from core.errors import Conflict, Invalid
from core.models import User
from core.money import plain_amount, round_money

ZERO = Decimal(0)
HUNDRED = Decimal(100)


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """What is to be promised: the document's amount in ``currency`` (the budget's if None), with its tax."""

    amount: Decimal | str | int
    description: str
    currency: str | None = None
    tax: Decimal | str | int = 0
    tax_recoverable: bool = True
    reference: str = ""
    commitment_date: datetime.date | None = None
    expires_at: datetime.datetime | None = None
    status: CommitmentStatus = CommitmentStatus.APPROVED
    source: Source | None = None


def budget_commit(
    *,
    actor: User,
    budget_id: int,
    amount: Decimal | str | int,
    description: str,
    currency: str | None = None,
    tax: Decimal | str | int = 0,
    tax_recoverable: bool = True,
    reference: str = "",
    commitment_date: datetime.date | None = None,
    expires_at: datetime.datetime | None = None,
    pending: bool = False,
    source: Source | None = None,
) -> Commitment:
    """Promise money of a budget; ``pending`` while a request is being decided (BUD-02).

    ``expires_at`` defaults to 90 days after the budget's period. A retry of the same source returns the first
    commitment (BUD-08). Raises what ``post`` raises; NotFound for a budget that the actor does not see.
    """
    seen = get_visible(Budget.objects.all(), actor, budget_id, name="budget")
    require(actor, "budgets.charge_budget", seen)
    promise = Promise(
        amount=amount,
        description=description,
        currency=currency,
        tax=tax,
        tax_recoverable=tax_recoverable,
        reference=reference,
        commitment_date=commitment_date,
        expires_at=expires_at,
        status=CommitmentStatus.PENDING if pending else CommitmentStatus.APPROVED,
        source=source,
    )
    return commitment_take(actor=actor, budget_id=seen.pk, promise=promise)


def commitment_take(*, actor: User, budget_id: int, promise: Promise) -> Commitment:
    """Make the promise in the actor's name; whoever calls has seen to it that they may."""
    with transaction.atomic():
        locked = lock_budgets({budget_id})
        budget = locked[budget_id]
        day = promise.commitment_date or business_day(budget)
        cost = cost_with_tax(
            promise.amount,
            promise.tax,
            promise.currency or budget.currency,
            tax_recoverable=promise.tax_recoverable,
        )
        value = in_budget_currency(budget, cost, promise.currency, day)
        earlier = _committed_before(budget, promise.source)
        commitment = earlier or promised(budget, promise, value, day, actor)
        if earlier is None:
            commitment.save()
        post([movement_of(commitment, promise, value)], actor=actor, locked=locked)
        return commitment


def promised(
    budget: Budget, promise: Promise, value: BudgetAmount, day: datetime.date, actor: User
) -> Commitment:
    """The commitment of a promise, not written yet."""
    return Commitment(
        budget=budget,
        status=promise.status,
        amount=value.amount,
        document_amount=value.document_amount,
        document_currency=value.document_currency,
        rate=value.rate,
        rate_date=value.rate_date,
        description=promise.description,
        reference=promise.reference,
        commitment_date=day,
        expires_at=_expiry(budget, promise.expires_at),
        source_type=promise.source.type if promise.source else "",
        source_id=promise.source.id if promise.source else "",
        created_by=actor,
    )


def movement_of(commitment: Commitment, promise: Promise, value: BudgetAmount) -> Movement:
    """What the promise does to its budget."""
    return Movement(
        budget_id=commitment.budget_id,
        kind=EntryKind.COMMITMENT,
        posting_date=commitment.commitment_date,
        description=promise.description,
        document_amount=value.document_amount,
        document_currency=value.document_currency,
        committed=value.amount,
        rate=value.rate,
        rate_date=value.rate_date,
        tax_recoverable=promise.tax_recoverable,
        reference=promise.reference,
        source=promise.source,
        commitment_id=commitment.pk,
    )


def _expiry(budget: Budget, asked: datetime.datetime | None) -> datetime.datetime:
    """When a commitment ends: as asked, else some days after the period, by the entity's calendar (BUD-17)."""
    if asked is None:
        last = budget.period_end + datetime.timedelta(days=settings.BUDGET_COMMITMENT_EXPIRY_DAYS)
        return clock.start_of_day(last, budget.entity.time_zone)
    if asked <= clock.now():
        raise Invalid(
            "expires_in_the_past",
            "The commitment would have expired already. Give a later moment.",
        )
    return asked


def _committed_before(budget: Budget, source: Source | None) -> Commitment | None:
    if source is None:
        return None
    entry = _entries_of(source).filter(budget=budget, kind=EntryKind.COMMITMENT).first()
    return entry.commitment if entry else None


def _entries_of(source: Source) -> QuerySet[BudgetEntry]:
    return BudgetEntry.objects.filter(
        source_type=source.type,
        source_id=source.id,
        source_line=source.line,
        source_revision=source.revision,
    )


def lock_commitment(
    *, actor: User, commitment_id: int, also: int | None = None
) -> tuple[Commitment, dict[int, Budget]]:
    """Lock the budgets first, then the commitment: the order in which every service takes them.

    Returns the commitment and the locked budgets: its own, those above it and ``also``. What has expired on them
    is freed on the way, so an expired commitment comes back as such (BUD-17).
    """
    return lock_with_budgets(visible_commitment(actor=actor, commitment_id=commitment_id), also)


def lock_with_budgets(seen: Commitment, also: int | None = None) -> tuple[Commitment, dict[int, Budget]]:
    """Lock as ``lock_commitment`` does a commitment that the caller may use."""
    locked = lock_budgets({seen.budget_id} if also is None else {seen.budget_id, also})
    commitment = Commitment.objects.select_for_update(of=("self",)).get(pk=seen.pk)
    return commitment, locked


def visible_commitment(*, actor: User, commitment_id: int) -> Commitment:
    """The commitment, if the actor sees it and may charge its budget."""
    seen: Commitment = get_visible(
        Commitment.objects.select_related("budget__entity"),
        actor,
        commitment_id,
        name="commitment",
    )
    require(actor, "budgets.charge_budget", seen.budget)
    return seen


def require_open(commitment: Commitment, budget: Budget) -> None:
    """Refuse a commitment that is consumed, released or expired (BUD-13, BUD-17)."""
    if commitment.is_open:
        return
    code = "commitment_expired" if commitment.status == CommitmentStatus.EXPIRED else "commitment_closed"
    raise Conflict(
        code,
        f"The commitment “{commitment.description}” is {commitment.get_status_display().lower()}: nothing of it can "
        "be used. Reopen it, which tests the funds again, or make a new one.",
        extra={
            "commitment_id": commitment.pk,
            "status": commitment.status,
            "remainder": plain_amount(commitment.remainder, budget.currency),
        },
    )


def commitment_consume(
    *,
    actor: User,
    commitment_id: int,
    amount: Decimal | str | int,
    description: str,
    currency: str | None = None,
    tax: Decimal | str | int = 0,
    tax_recoverable: bool = True,
    reference: str = "",
    posting_date: datetime.date | None = None,
    final: bool = False,
    source: Source | None = None,
) -> Posting:
    """Spend what an invoice takes of an approved commitment (BUD-09 to BUD-11, BUD-20, BUD-31).

    The commitment gives what the document's amount was worth when it was promised; what the document costs
    beyond that is tested as new spend, and what a changed rate makes of it is tagged as variance. ``final``
    frees the rest. An excess over the remainder must be available and, where the budget sets a tolerance, within
    it. A document dated in another period is borne by that period's budget, unless the budget is strict.

    Raises Conflict ``commitment_pending``, ``commitment_closed``, ``commitment_expired``, ``commitment_exceeded``,
    ``period_mismatch``, ``no_budget``, and what ``post`` raises.
    """
    with transaction.atomic():
        seen = visible_commitment(actor=actor, commitment_id=commitment_id)
        day = posting_date or business_day(seen.budget)
        bearing_id = _bearing_budget_id(seen.budget, day)
        commitment, locked = lock_commitment(actor=actor, commitment_id=commitment_id, also=bearing_id)
        budget, bearing = locked[commitment.budget_id], locked[bearing_id]
        paid_in = currency or commitment.document_currency or budget.currency
        cost = cost_with_tax(amount, tax, paid_in, tax_recoverable=tax_recoverable)
        value = in_budget_currency(budget, cost, paid_in, day)
        replayed = source is not None and _entries_of(source).filter(commitment=commitment).exists()
        if not replayed:
            require_open(commitment, budget)
            _require_approved(commitment)
        promised = _promised_value(commitment, budget, value)
        liquidated = min(promised, commitment.remainder)
        if not replayed:
            _require_tolerated(commitment, budget, promised - liquidated)
        consumption = Movement(
            budget_id=bearing.pk,
            kind=EntryKind.CONSUMPTION,
            posting_date=day,
            description=description,
            document_amount=value.document_amount,
            document_currency=value.document_currency,
            committed=-liquidated if bearing is budget else ZERO,
            spent=value.amount,
            rate=value.rate,
            rate_date=value.rate_date,
            fx_variance=value.amount - promised,
            tax_recoverable=tax_recoverable,
            reference=reference,
            source=source,
            commitment_id=commitment.pk,
            counterpart_id=None if bearing is budget else budget.pk,
        )
        if replayed:
            return post([consumption], actor=actor, locked=locked)
        movements = [consumption]
        if bearing is not budget:
            movements.insert(0, _handed_over(commitment, budget, bearing, liquidated, reference))
        commitment.consumed_amount += liquidated
        rest = commitment.remainder
        if final and rest > 0:
            within = posting_date_within(budget, day)
            why = "Final invoice: the rest is free"
            movements.append(_release(commitment, budget, rest, within, why, reference))
            commitment.released_amount += rest
        close_if_used_up(commitment, CommitmentStatus.CONSUMED)
        commitment.save()
        posting = post(movements, actor=actor, locked=locked)
        return Posting([each for each in posting.entries if each.kind == EntryKind.CONSUMPTION], locked)


def _bearing_budget_id(budget: Budget, day: datetime.date) -> int:
    """The budget that bears a document of that day: the commitment's own, or that of the day (BUD-20)."""
    if budget.covers(day):
        return budget.pk
    if budget.strict_periods:
        raise Conflict(
            "period_mismatch",
            f"The document is dated {day}, outside “{budget.name}” ({budget.period_start} until before "
            f"{budget.period_end}), which takes no other periods' documents. Release the commitment and commit the "
            "other period's budget.",
            extra={"budget_id": budget.pk, "posting_date": day.isoformat()},
        )
    return budget_of_same_purpose(budget, on=day).pk


def _handed_over(
    commitment: Commitment, budget: Budget, bearing: Budget, amount: Decimal, reference: str
) -> Movement:
    """What leaves the commitment's period for the period that bears the invoice (BUD-20)."""
    return Movement(
        budget_id=budget.pk,
        kind=EntryKind.RELEASE,
        posting_date=posting_date_within(budget, business_day(budget)),
        description=f"Invoiced in another period: {commitment.description}"[:500],
        document_amount=-amount,
        document_currency=budget.currency,
        committed=-amount,
        reference=reference or commitment.reference,
        reason=f"Borne by “{bearing.name}”"[:500],
        commitment_id=commitment.pk,
        counterpart_id=bearing.pk,
    )


def _require_approved(commitment: Commitment) -> None:
    if commitment.status == CommitmentStatus.PENDING:
        raise Conflict(
            "commitment_pending",
            f"“{commitment.description}” is not approved yet: no invoice can use it. Wait for the decision.",
            extra={"commitment_id": commitment.pk, "status": commitment.status},
        )


def _require_tolerated(commitment: Commitment, budget: Budget, excess: Decimal) -> None:
    """An excess over the commitment stays within the budget's tolerance, where it sets one (BUD-11)."""
    tolerance = over_invoice_tolerance(budget, commitment.amount)
    if tolerance is not None and excess > tolerance:
        raise Conflict(
            "commitment_exceeded",
            f"The document exceeds the commitment by {plain_amount(excess, budget.currency)} {budget.currency}, "
            f"more than the tolerance of {plain_amount(tolerance, budget.currency)}. Raise the commitment first.",
            extra={
                "excess": plain_amount(excess, budget.currency),
                "tolerance": plain_amount(tolerance, budget.currency),
            },
        )


def over_invoice_tolerance(budget: Budget, committed: Decimal) -> Decimal | None:
    """The smaller of the share and the amount that the budget sets; None where it sets neither (BUD-11)."""
    limits = []
    if budget.over_invoice_percent is not None:
        limits.append(round_money(committed * budget.over_invoice_percent / HUNDRED, budget.currency))
    if budget.over_invoice_amount is not None:
        limits.append(budget.over_invoice_amount)
    return min(limits, default=None)


def _promised_value(commitment: Commitment, budget: Budget, value: BudgetAmount) -> Decimal:
    """What the document's amount was worth at the rate of the promise (BUD-31).

    The document that completes the promised amount takes the remainder, so that no rounding is left over.
    """
    if value.document_currency != commitment.document_currency or value.document_currency == budget.currency:
        return value.amount
    if commitment.document_amount is not None and (
        _invoiced(commitment) + value.document_amount == commitment.document_amount
    ):
        return commitment.remainder
    return at_rate(budget, value.document_amount, commitment.rate)


def _invoiced(commitment: Commitment) -> Decimal:
    """The documents so far, in the commitment's currency."""
    total: Decimal = commitment.entries.filter(
        kind=EntryKind.CONSUMPTION, document_currency=commitment.document_currency
    ).aggregate(total=Sum("document_amount", default=ZERO))["total"]
    return total


def _release(
    commitment: Commitment,
    budget: Budget,
    amount: Decimal,
    day: datetime.date,
    reason: str,
    reference: str = "",
) -> Movement:
    return Movement(
        budget_id=budget.pk,
        kind=EntryKind.RELEASE,
        posting_date=day,
        description=f"Released: {commitment.description}"[:500],
        document_amount=-amount,
        document_currency=budget.currency,
        committed=-amount,
        reference=reference or commitment.reference,
        reason=reason,
        commitment_id=commitment.pk,
    )


def close_if_used_up(commitment: Commitment, closed_as: str) -> None:
    if commitment.remainder == 0:
        commitment.status = closed_as


def commitment_release(
    *,
    actor: User,
    commitment_id: int,
    amount: Decimal | str | int | None = None,
    reason: str,
) -> Posting:
    """Give back a part of the remainder, or all of it (BUD-12, BUD-15, BUD-18); too much is refused, never clamped."""
    with transaction.atomic():
        commitment, locked = lock_commitment(actor=actor, commitment_id=commitment_id)
        return release_locked(commitment, locked, actor=actor, amount=amount, reason=reason)


def release_locked(
    commitment: Commitment,
    locked: dict[int, Budget],
    *,
    actor: User,
    amount: Decimal | str | int | None,
    reason: str,
) -> Posting:
    """Give back a part of a locked commitment, or all of it; whoever calls has seen to it that the actor may."""
    budget = locked[commitment.budget_id]
    require_open(commitment, budget)
    given_back = commitment.remainder if amount is None else positive_amount(amount, budget.currency)
    if given_back > commitment.remainder:
        raise Conflict(
            "release_exceeds_remainder",
            f"Only {plain_amount(commitment.remainder, budget.currency)} {budget.currency} of the commitment "
            f"remain; {plain_amount(given_back, budget.currency)} cannot be released.",
            extra={"remainder": plain_amount(commitment.remainder, budget.currency)},
        )
    commitment.released_amount += given_back
    close_if_used_up(commitment, CommitmentStatus.RELEASED)
    commitment.save()
    day = posting_date_within(budget, business_day(budget))
    return post([_release(commitment, budget, given_back, day, reason)], actor=actor, locked=locked)


def commitment_change(
    *, actor: User, commitment_id: int, amount: Decimal | str | int, reason: str
) -> Commitment:
    """Change the order: a rise tests only the difference; a fall may not go below what is used (BUD-14).

    ``amount`` is the new total in the currency of the commitment, valued at the rate of the promise.
    """
    with transaction.atomic():
        commitment, locked = lock_commitment(actor=actor, commitment_id=commitment_id)
        budget = locked[commitment.budget_id]
        require_open(commitment, budget)
        currency = commitment.document_currency or budget.currency
        document_amount = positive_amount(amount, currency)
        new_amount = at_rate(budget, document_amount, commitment.rate)
        floor = commitment.consumed_amount + commitment.released_amount
        if new_amount < floor or new_amount == floor == ZERO:
            raise Conflict(
                "commitment_below_consumed",
                f"{plain_amount(floor, budget.currency)} {budget.currency} of the commitment are used or released "
                "already; the new amount cannot be less.",
                extra={"used": plain_amount(floor, budget.currency)},
            )
        delta = new_amount - commitment.amount
        if delta == 0:
            return commitment
        before = commitment.document_amount
        document_delta = (
            document_amount - before if before is not None else round_money(delta / commitment.rate, currency)
        )
        commitment.amount, commitment.document_amount = new_amount, document_amount
        close_if_used_up(
            commitment, CommitmentStatus.CONSUMED if commitment.consumed_amount else CommitmentStatus.RELEASED
        )
        commitment.save()
        post(
            [
                Movement(
                    budget_id=budget.pk,
                    kind=EntryKind.COMMITMENT if delta > 0 else EntryKind.RELEASE,
                    posting_date=posting_date_within(budget, business_day(budget)),
                    description=f"Order changed: {commitment.description}"[:500],
                    document_amount=document_delta,
                    document_currency=currency,
                    committed=delta,
                    rate=commitment.rate,
                    rate_date=commitment.rate_date,
                    reference=commitment.reference,
                    reason=reason,
                    commitment_id=commitment.pk,
                )
            ],
            actor=actor,
            locked=locked,
        )
        return commitment


def commitment_reopen(
    *,
    actor: User,
    commitment_id: int,
    reason: str,
    expires_at: datetime.datetime | None = None,
) -> Commitment:
    """Promise again what was released or has expired, if the funds still allow it (BUD-13)."""
    with transaction.atomic():
        commitment, locked = lock_commitment(actor=actor, commitment_id=commitment_id)
        budget = locked[commitment.budget_id]
        again = commitment.released_amount
        if commitment.is_open or again == 0 or hasattr(commitment, "carried_to"):
            raise Conflict(
                "commitment_not_reopenable",
                "Only a commitment of which something was released or has expired can be reopened, and not one that "
                "was carried to the next period.",
                extra={"commitment_id": commitment.pk, "status": commitment.status},
            )
        commitment.released_amount = ZERO
        commitment.status = CommitmentStatus.APPROVED
        commitment.expires_at = _expiry(budget, expires_at)
        commitment.save()
        post(
            [
                Movement(
                    budget_id=budget.pk,
                    kind=EntryKind.COMMITMENT,
                    posting_date=posting_date_within(budget, business_day(budget)),
                    description=f"Reopened: {commitment.description}"[:500],
                    document_amount=again,
                    document_currency=budget.currency,
                    committed=again,
                    reference=commitment.reference,
                    reason=reason,
                    commitment_id=commitment.pk,
                )
            ],
            actor=actor,
            locked=locked,
        )
        return commitment
