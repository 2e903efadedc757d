"""Commitments: promised money, from the promise to its last consumption (BUD-02, BUD-09 to BUD-18, BUD-31)."""

import datetime
from dataclasses import dataclass
from decimal import Decimal

from django.db import transaction

from budgets.models import Budget, Commitment, CommitmentStatus, EntryKind
from budgets.services.ledger import (
    Movement,
    Posting,
    Source,
    lock_budgets,
    post,
    posting_date_within,
)
from core import clock
from core.access import get_visible, require
from core.errors import Conflict, Invalid
from core.exchange import rate_for
from core.models import User
from core.money import minor_units, parse_amount, plain_amount, round_money

ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class BudgetAmount:
    """A document's amount and what it is in the budget's currency (BUD-31)."""

    amount: Decimal
    document_amount: Decimal
    document_currency: str
    rate: Decimal
    rate_date: datetime.date | None


def positive_amount(value: Decimal | str | int, currency: str) -> Decimal:
    """Read an amount that must be positive and at the currency's minor unit.

    Raises Invalid ``amount_not_positive`` or ``amount_too_precise``, besides those of ``parse_amount``.
    """
    amount = parse_amount(value)
    if amount <= 0:
        raise Invalid("amount_not_positive", "The amount must be greater than zero.")
    if round_money(amount, currency) != amount:
        raise Invalid(
            "amount_too_precise",
            f"{currency} has {minor_units(currency)} decimals; {amount} has more. Round it first.",
        )
    return amount


def in_budget_currency(
    budget: Budget, amount: Decimal | str | int, currency: str | None, on: datetime.date
) -> BudgetAmount:
    """Convert a document's amount at the stored rate of the day; refuses without a rate fresh enough (BUD-31)."""
    document_currency = currency or budget.currency
    document_amount = positive_amount(amount, document_currency)
    if document_currency == budget.currency:
        return BudgetAmount(document_amount, document_amount, document_currency, Decimal(1), None)
    used = rate_for(document_currency, budget.currency, on)
    return BudgetAmount(
        round_money(document_amount * used.rate, budget.currency),
        document_amount,
        document_currency,
        used.rate,
        used.rate_date,
    )


def budget_commit(
    *,
    actor: User,
    budget_id: int,
    amount: Decimal | str | int,
    description: str,
    currency: str | None = None,
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
    day = commitment_date or clock.today()
    with transaction.atomic():
        budget = get_visible(Budget.objects.all(), actor, budget_id, name="budget")
        require(actor, "budgets.charge_budget", budget)
        locked = lock_budgets({budget.pk})[budget.pk]
        earlier = _committed_before(locked, source)
        if earlier is not None:
            return earlier
        value = in_budget_currency(locked, amount, currency, day)
        if expires_at is not None and expires_at <= clock.now():
            raise Invalid(
                "expires_in_the_past",
                "The commitment would have expired already. Give a later moment.",
            )
        commitment = Commitment.objects.create(
            budget=locked,
            status=CommitmentStatus.PENDING if pending else CommitmentStatus.APPROVED,
            amount=value.amount,
            document_amount=value.document_amount,
            document_currency=value.document_currency,
            rate=value.rate,
            rate_date=value.rate_date,
            description=description,
            reference=reference,
            commitment_date=day,
            expires_at=expires_at or clock.start_of_day(locked.period_end + datetime.timedelta(days=90)),
            source_type=source.type if source else "",
            source_id=source.id if source else "",
            created_by=actor,
        )
        post(
            [
                Movement(
                    budget_id=locked.pk,
                    kind=EntryKind.COMMITMENT,
                    posting_date=day,
                    description=description,
                    document_amount=value.document_amount,
                    document_currency=value.document_currency,
                    committed=value.amount,
                    rate=value.rate,
                    rate_date=value.rate_date,
                    reference=reference,
                    source=source,
                    commitment_id=commitment.pk,
                )
            ],
            actor=actor,
        )
        return commitment


def _committed_before(budget: Budget, source: Source | None) -> Commitment | None:
    if source is None:
        return None
    return Commitment.objects.filter(
        budget=budget,
        source_type=source.type,
        source_id=source.id,
        entries__kind=EntryKind.COMMITMENT,
        entries__source_line=source.line,
        entries__source_revision=source.revision,
    ).first()


def lock_commitment(*, actor: User, commitment_id: int) -> tuple[Commitment, Budget]:
    """Lock the budget first, then the commitment: the order in which every service takes them.

    What has expired on the budget is freed on the way, so an expired commitment comes back as such (BUD-17).
    """
    seen = get_visible(
        Commitment.objects.select_related("budget"),
        actor,
        commitment_id,
        name="commitment",
    )
    require(actor, "budgets.charge_budget", seen.budget)
    budget = lock_budgets({seen.budget_id})[seen.budget_id]
    commitment = Commitment.objects.select_for_update(of=("self",)).get(pk=seen.pk)
    return commitment, budget


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
    reference: str = "",
    posting_date: datetime.date | None = None,
    final: bool = False,
    tolerance: Decimal = ZERO,
    source: Source | None = None,
) -> Posting:
    """Spend what an invoice takes of a commitment (BUD-09 to BUD-11, BUD-31).

    The commitment gives what the document's amount was worth when it was promised; what the document costs
    beyond that is tested as new spend, and what a changed rate makes of it is tagged as variance. ``final``
    frees the rest. Beyond the remainder plus ``tolerance`` the excess must fit what is available.
    """
    day = posting_date or clock.today()
    with transaction.atomic():
        commitment, budget = lock_commitment(actor=actor, commitment_id=commitment_id)
        if (
            source is not None
            and commitment.entries.filter(
                source_type=source.type,
                source_id=source.id,
                source_line=source.line,
                source_revision=source.revision,
            ).exists()
        ):
            return post(
                [
                    _consumption(
                        commitment,
                        budget,
                        ZERO,
                        ZERO,
                        day,
                        description,
                        reference,
                        source,
                    )
                ],
                actor=actor,
            )
        require_open(commitment, budget)
        value = in_budget_currency(budget, amount, currency or commitment.document_currency, day)
        promised = _promised_value(commitment, budget, value)
        liquidated = min(promised, commitment.remainder)
        excess = promised - liquidated
        if excess > 0 and tolerance and excess > tolerance:
            raise Conflict(
                "commitment_exceeded",
                f"The document exceeds the commitment by {plain_amount(excess, budget.currency)} {budget.currency}, "
                f"more than the tolerance of {plain_amount(tolerance, budget.currency)}. Raise the commitment first.",
                extra={"excess": plain_amount(excess, budget.currency)},
            )
        movements = [
            Movement(
                budget_id=budget.pk,
                kind=EntryKind.CONSUMPTION,
                posting_date=day,
                description=description,
                document_amount=value.document_amount,
                document_currency=value.document_currency,
                committed=-liquidated,
                spent=value.amount,
                rate=value.rate,
                rate_date=value.rate_date,
                fx_variance=value.amount - promised,
                reference=reference,
                source=source,
                commitment_id=commitment.pk,
            )
        ]
        commitment.consumed_amount += liquidated
        rest = commitment.remainder
        if final and rest > 0:
            movements.append(
                _release(
                    commitment,
                    budget,
                    rest,
                    day,
                    "Final invoice: the rest is free",
                    reference,
                )
            )
            commitment.released_amount += rest
        _settle(commitment, CommitmentStatus.CONSUMED)
        commitment.save()
        return post(movements, actor=actor)


def _promised_value(commitment: Commitment, budget: Budget, value: BudgetAmount) -> Decimal:
    """What the document's amount was worth at the rate of the promise (BUD-31)."""
    if value.document_currency != commitment.document_currency or commitment.rate == value.rate:
        return value.amount
    return round_money(value.document_amount * commitment.rate, budget.currency)


def _consumption(
    commitment: Commitment,
    budget: Budget,
    liquidated: Decimal,
    spent: Decimal,
    day: datetime.date,
    description: str,
    reference: str,
    source: Source | None,
) -> Movement:
    return Movement(
        budget_id=budget.pk,
        kind=EntryKind.CONSUMPTION,
        posting_date=day,
        description=description,
        document_amount=spent,
        document_currency=budget.currency,
        committed=-liquidated,
        spent=spent,
        reference=reference,
        source=source,
        commitment_id=commitment.pk,
    )


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


def _settle(commitment: Commitment, closed_as: str) -> None:
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
        commitment, budget = lock_commitment(actor=actor, commitment_id=commitment_id)
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
        _settle(commitment, CommitmentStatus.RELEASED)
        commitment.save()
        day = posting_date_within(budget, clock.today())
        return post([_release(commitment, budget, given_back, day, reason)], actor=actor)


def commitment_approve(*, actor: User, commitment_id: int) -> Commitment:
    """The request was approved and becomes an order to be invoiced: no money moves (BUD-02)."""
    with transaction.atomic():
        commitment, budget = lock_commitment(actor=actor, commitment_id=commitment_id)
        require_open(commitment, budget)
        commitment.status = CommitmentStatus.APPROVED
        commitment.save()
        return commitment


def commitment_change(
    *, actor: User, commitment_id: int, amount: Decimal | str | int, reason: str
) -> Commitment:
    """Change the order: a rise tests only the difference; a fall may not go below what is consumed (BUD-14)."""
    with transaction.atomic():
        commitment, budget = lock_commitment(actor=actor, commitment_id=commitment_id)
        require_open(commitment, budget)
        new_amount = positive_amount(amount, budget.currency)
        floor = commitment.consumed_amount + commitment.released_amount
        if new_amount <= floor:
            raise Conflict(
                "commitment_below_consumed",
                f"{plain_amount(floor, budget.currency)} {budget.currency} of the commitment are used or released "
                "already; the new amount must be greater. To end it, release the rest.",
                extra={"used": plain_amount(floor, budget.currency)},
            )
        delta = new_amount - commitment.amount
        if delta == 0:
            return commitment
        commitment.amount = new_amount
        commitment.save()
        post(
            [
                Movement(
                    budget_id=budget.pk,
                    kind=EntryKind.COMMITMENT if delta > 0 else EntryKind.RELEASE,
                    posting_date=posting_date_within(budget, clock.today()),
                    description=f"Order changed: {commitment.description}"[:500],
                    document_amount=delta,
                    document_currency=budget.currency,
                    committed=delta,
                    reference=commitment.reference,
                    reason=reason,
                    commitment_id=commitment.pk,
                )
            ],
            actor=actor,
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
        commitment, budget = lock_commitment(actor=actor, commitment_id=commitment_id)
        again = commitment.released_amount
        if commitment.is_open or again == 0:
            raise Conflict(
                "commitment_not_reopenable",
                "Only a commitment of which something was released or has expired can be reopened.",
                extra={"commitment_id": commitment.pk, "status": commitment.status},
            )
        if expires_at is None:
            expires_at = clock.start_of_day(budget.period_end + datetime.timedelta(days=90))
        if expires_at <= clock.now():
            raise Invalid(
                "expires_in_the_past",
                "The commitment would have expired already. Give a later moment.",
            )
        commitment.released_amount = ZERO
        commitment.status = CommitmentStatus.APPROVED
        commitment.expires_at = expires_at
        commitment.save()
        post(
            [
                Movement(
                    budget_id=budget.pk,
                    kind=EntryKind.COMMITMENT,
                    posting_date=posting_date_within(budget, clock.today()),
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
        )
        return commitment
