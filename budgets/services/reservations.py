"""Money held for a request while approvals decides it (BUD-02, BUD-18).

Who may ask and who may decide is the approval engine's to say: nothing here asks for a right. The ledger names the
people all the same.
"""

from decimal import Decimal

from django.db import transaction

from budgets.models import Budget, Commitment, CommitmentStatus, EntryKind
from budgets.services.amounts import business_day
from budgets.services.commitments import (
    Promise,
    close_if_used_up,
    commitment_take,
    lock_with_budgets,
    release_locked,
    require_open,
)
from budgets.services.ledger import Movement, Posting, Source, post, posting_date_within
from core.models import User


def reservation_take(
    *,
    requested_by: User,
    budget_id: int,
    amount: Decimal,
    currency: str,
    description: str,
    reference: str,
    source: Source,
) -> Commitment:
    """Commit a submitted request's amount, pending (BUD-02). Raises what ``commitment_take`` raises."""
    promise = reservation_promise(amount, currency, description, reference, source)
    return commitment_take(actor=requested_by, budget_id=budget_id, promise=promise)


def reservation_promise(
    amount: Decimal, currency: str, description: str, reference: str, source: Source
) -> Promise:
    """What a submitted request promises: pending until it is decided."""
    return Promise(
        amount=amount,
        currency=currency,
        description=description,
        reference=reference,
        status=CommitmentStatus.PENDING,
        source=source,
    )


def reservation_release(*, commitment_id: int, released_by: User, reason: str) -> Posting | None:
    """Free what a request still holds; None if nothing is left, because it was released or expired before."""
    with transaction.atomic():
        commitment, locked = _lock(commitment_id)
        if not commitment.is_open:
            return None
        return release_locked(commitment, locked, actor=released_by, amount=None, reason=reason)


def reservation_settle(
    *,
    commitment_id: int,
    decided_by: User,
    description: str,
    reference: str = "",
    source: Source | None = None,
) -> Posting:
    """The request was approved for good: what it had promised is spent, in one act (BUD-02, APR-23).

    Raises Conflict ``commitment_expired`` or ``commitment_closed``, and what ``post`` raises.
    """
    with transaction.atomic():
        commitment, locked = _lock(commitment_id)
        budget = locked[commitment.budget_id]
        require_open(commitment, budget)
        movement = settlement(budget, commitment, description=description, reference=reference, source=source)
        commitment.consumed_amount += commitment.remainder
        close_if_used_up(commitment, CommitmentStatus.CONSUMED)
        commitment.save()
        return post([movement], actor=decided_by, locked=locked)


def settlement(
    budget: Budget, commitment: Commitment, *, description: str, reference: str, source: Source | None
) -> Movement:
    """What spending the rest of the commitment does to its budget."""
    rest = commitment.remainder
    return Movement(
        budget_id=budget.pk,
        kind=EntryKind.CONSUMPTION,
        posting_date=posting_date_within(budget, business_day(budget)),
        description=description,
        document_amount=rest,
        document_currency=budget.currency,
        committed=-rest,
        spent=rest,
        reference=reference,
        source=source,
        commitment_id=commitment.pk,
    )


def reservation_keep(*, commitment_id: int) -> Commitment:
    """The request was approved and becomes an order to be invoiced: no money moves (BUD-02)."""
    with transaction.atomic():
        commitment, locked = _lock(commitment_id)
        require_open(commitment, locked[commitment.budget_id])
        commitment.status = CommitmentStatus.APPROVED
        commitment.save()
        return commitment


def reservation_hold_again(*, commitment_id: int) -> Commitment:
    """The order has changed and is decided anew: until then no invoice can use it; no money moves (APR-11)."""
    with transaction.atomic():
        commitment, locked = _lock(commitment_id)
        require_open(commitment, locked[commitment.budget_id])
        commitment.status = CommitmentStatus.PENDING
        commitment.save()
        return commitment


def _lock(commitment_id: int) -> tuple[Commitment, dict[int, Budget]]:
    return lock_with_budgets(Commitment.objects.get(pk=commitment_id))
