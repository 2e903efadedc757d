"""What comes of a request: its effect, in one transaction with the decision (BUD-02, APR-09, APR-20, APR-23)."""

from approvals.models import ActionKind, ApprovalRequest, OnApproval, RequestStatus
from approvals.registry import approval_type, type_with_extensions
from approvals.services import rounds
from approvals.services.fingerprint import material_content
from approvals.services.trail import record
from budgets.services.ledger import Source
from budgets.services.reservations import (
    reservation_keep,
    reservation_release,
    reservation_settle,
    reservation_take,
)
from core import clock
from core.access import system_actor
from core.errors import BillingError
from core.models import OutboxEvent, User
from core.outbox import publish


def source_of(request: ApprovalRequest) -> Source:
    """Under which name the ledger keeps what a round of the request books, so that a retry books nothing twice."""
    return Source("approval_request", str(request.pk), 0, request.round)


def commit_money(request: ApprovalRequest) -> None:
    """Hold the amount on the budget while it is decided (BUD-02); raises what the budget refuses."""
    if request.budget_id is None or request.amount == 0:
        return
    if not approval_type(request.request_type).commits_budget:
        return
    request.commitment = reservation_take(
        requested_by=request.requester,
        budget_id=request.budget_id,
        amount=request.amount,
        currency=request.currency,
        description=f"{request.reference_number} {request.title}"[:500],
        reference=request.reference_number,
        source=source_of(request),
    )


def release_money(request: ApprovalRequest, why: str) -> None:
    """Free what the request holds; the system does so whoever decided, also on a budget that is being closed."""
    if request.commitment_id is not None:
        reservation_release(
            commitment_id=request.commitment_id,
            released_by=system_actor(),
            reason=f"{request.reference_number} {why}",
        )


def finish_approved(request: ApprovalRequest, *, actor: User) -> None:
    """Approve and book the effect; raises what the effect refuses, and then nothing of it has happened."""
    request.approve()
    request.decided_at = clock.now()
    request.effect_error = request.blocked_reason = ""
    request.approved_amount = request.base_amount
    request.approved_content = material_content(request)
    request.save()
    booked = _book_money(request, actor)
    for part in type_with_extensions(request.request_type):
        part.on_approved(request, actor=actor)
    record(request, ActionKind.EFFECT_BOOKED, actor=actor, details=booked)
    tell(request)


def _book_money(request: ApprovalRequest, actor: User) -> dict[str, int | str]:
    """Spend what was committed, or keep it for the invoices of an order (BUD-02)."""
    if request.commitment_id is None and request.may_exceed_budget:
        # It asked for more than there was; the money has to be there now.
        commit_money(request)
        request.save()
    if request.commitment_id is None:
        return {}
    if request.on_approval == OnApproval.ORDER:
        commitment = reservation_keep(commitment_id=request.commitment_id)
        return {"commitment_id": commitment.pk, "effect": "order"}
    posting = reservation_settle(
        commitment_id=request.commitment_id,
        decided_by=actor,
        description=f"{request.reference_number} {request.title}"[:500],
        reference=request.reference_number,
        source=source_of(request),
    )
    return {"entry_id": posting.entries[0].pk, "effect": "charge"}


def note_failed_effect(request: ApprovalRequest, error: BillingError, *, actor: User) -> None:
    """Write down why the effect was refused."""
    ApprovalRequest.objects.filter(pk=request.pk).update(effect_error=error.message)
    request.effect_error = error.message
    record(
        request,
        ActionKind.EFFECT_FAILED,
        actor=actor,
        comment=error.message,
        details={"code": error.code},
    )


def close(request: ApprovalRequest, status: RequestStatus, *, actor: User, comment: str = "") -> None:
    """Reject, withdraw or expire: open tasks end, the money is free again, the requester is told (APR-09, APR-20)."""
    transition = {
        RequestStatus.REJECTED: request.reject,
        RequestStatus.WITHDRAWN: request.withdraw,
        RequestStatus.EXPIRED: request.expire,
    }[status]
    transition()
    request.decided_at = clock.now()
    request.blocked_reason = request.effect_error = ""
    request.save()
    rounds.cancel_round(request)
    release_money(request, status.label.lower())
    approval_type(request.request_type).on_closed(request, actor=actor)
    tell(request, comment)


def tell(request: ApprovalRequest, comment: str = "") -> None:
    """Tell whom it concerns, after commit."""
    event = decision_event(request.pk, request.status, comment)
    publish(event.topic, event.payload, key=event.key)


def decision_event(request_id: int, status: str, comment: str = "") -> OutboxEvent:
    """What tells of a decision, not written yet."""
    return OutboxEvent(
        topic="approval.decided",
        key=f"approval:{request_id}",
        payload={"request_id": request_id, "status": status, "comment": comment},
    )


def tell_of_comment(request: ApprovalRequest, actor: User) -> None:
    """Tell everyone who takes part of a comment, after commit."""
    publish(
        "approval.commented",
        {"request_id": request.pk, "actor_id": actor.pk},
        key=f"approval:{request.pk}",
    )
