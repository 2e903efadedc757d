"""Proposing how a dispute is resolved, and deciding on it (DSP-11 to DSP-15).

A resolution that costs nothing, or at most the policy's small-claims amount, is carried out by who proposes it. All
others wait for the decision of somebody else, by the rules of approvals for the type ``dispute_credit``; with the last
vote they are carried out, in one transaction.
"""

from dataclasses import dataclass
from decimal import Decimal

from django.db import transaction

from approvals.models import ActionKind, ApprovalRequest, RequestStatus
from approvals.services import outcome as decisions
from approvals.services.requests import request_submit
from approvals.services.trail import record
from approvals.services.votes import lock_request
from contracts.models import ContractAmendment
from core import clock
from core.access import system_actor
from core.errors import BillingError, Conflict
from core.exchange import rate_for
from core.history import record_as
from core.models import User
from core.money import EXACT, parse_amount, plain_amount
from disputes.access import require_handler
from disputes.models import (
    IN_WORK,
    OUTCOMES_OF,
    WITHOUT_MONEY,
    BillingDispute,
    Direction,
    DisputeResolution,
    DisputeStatus,
    EventKind,
    Outcome,
    ResolutionStatus,
    ResolutionType,
)
from disputes.selectors.policies import stored_terms
from disputes.services.log import event_record, lock_dispute, require_open, round_of
from disputes.services.outcomes import at_stake, check_outcome, name_who_decided, outcome_carry_out
from disputes.services.rounds import clocks_refresh
from entities.services.records import check_fields, field_error
from invoicing.services.settlement import checked_amount, lock_documents, money_text

APPROVAL = "dispute_credit"


@dataclass(frozen=True, slots=True)
class Proposal:
    """What is to be done: ``amount`` includes tax, in the invoice's currency; ``amendment`` is of a price fix."""

    resolution_type: str
    note: str
    amount: Decimal | str | int | None = None
    outcome: str = ""
    internal_note: str = ""
    amendment: ContractAmendment | None = None


def dispute_resolve(
    *, actor: User, dispute_id: int, proposal: Proposal, expected_version: int | None = None
) -> DisputeResolution:
    """Resolve a dispute, or ask for the decision that it needs; the resolution's status says which.

    Where no rule says who decides, it waits all the same and its request is blocked, saying so (APR-03).

    Raises Invalid ``note_required``, ``unknown_resolution``, ``amount_without_money``, ``amount_not_positive``,
    ``amount_too_precise``, ``amendment_required``; Conflict ``dispute_over``, ``proposal_pending``,
    ``exceeds_disputed``, ``no_exchange_rate`` and what ``check_outcome`` raises; Forbidden; Stale.
    """
    with transaction.atomic(), record_as(actor, proposal.note):
        dispute = lock_dispute(actor, dispute_id, expected_version=expected_version)
        require_handler(actor, dispute)
        require_open(dispute)
        if dispute.status not in IN_WORK:
            raise Conflict(
                "proposal_pending",
                f"A resolution of {dispute} waits for approval already. Take it back before proposing another one.",
                extra={"status": dispute.status},
            )
        dispute.invoice = lock_documents(dispute.invoice_id)[dispute.invoice_id]
        resolution = _checked(dispute, proposal, actor)
        check_outcome(dispute, resolution)
        dispute.propose()
        dispute.save()
        resolution.save()
        event_record(
            dispute, EventKind.PROPOSED, actor=actor, resolution_id=resolution.pk, outcome=resolution.outcome,
            amount=plain_amount(resolution.amount, dispute.currency),
        )  # fmt: skip
        if _needs_approval(dispute, resolution):
            _ask(dispute, resolution, actor)
            # An explicit rule may have approved it at once, and that carried it out (APR-03).
            resolution.refresh_from_db()
        else:
            _carry_out(dispute, resolution, actor=actor)
        if resolution.status == ResolutionStatus.PENDING:
            clocks_refresh(dispute)
    return resolution


def proposal_withdraw(*, actor: User, dispute_id: int, reason: str) -> BillingDispute:
    """Take a proposed resolution back, to work on the dispute again. Raises Conflict ``nothing_proposed``."""
    if not reason.strip():
        raise field_error("reason", "reason_required", "Say why the proposal is taken back.")
    with transaction.atomic(), record_as(actor, reason):
        dispute = lock_dispute(actor, dispute_id)
        require_handler(actor, dispute)
        if dispute.status != DisputeStatus.PROPOSED:
            raise Conflict(
                "nothing_proposed",
                f"No resolution of {dispute} waits for approval.",
                extra={"status": dispute.status},
            )
        proposal_drop(dispute, actor=actor, reason=reason)
        _back_to_work(dispute, actor=actor, note=reason)
    return dispute


def proposal_drop(dispute: BillingDispute, *, actor: User, reason: str) -> None:
    """Return what a locked dispute has pending, if anything, and take back the request for its approval."""
    resolution = DisputeResolution.objects.pending().filter(dispute=dispute).first()
    if resolution is None:
        return
    _return(resolution, actor=actor, reason=reason or "The dispute ended.")
    if resolution.approval_request_id is not None:
        _withdraw_request(resolution.approval_request_id, actor=actor, reason=reason)


def _withdraw_request(request_id: int, *, actor: User, reason: str) -> None:
    """End the request in the name of who ends the proposal: they need not be who asked, nor see it (APR-20)."""
    request = lock_request(actor=system_actor(), request_id=request_id)
    if request.is_open:
        record(request, ActionKind.WITHDRAWN, actor=actor, comment=reason)
        decisions.close(request, RequestStatus.WITHDRAWN, actor=actor, comment=reason)


# --- What approvals tell ---------------------------------------------------------------------------------


def proposal_approved(*, actor: User, dispute_id: int, request: ApprovalRequest) -> None:
    """Carry the resolution out, in the transaction of the last vote; the dispute is locked already.

    Raises Conflict ``nothing_proposed``, ``exceeds_approved`` and what ``check_outcome`` raises: what was credited
    elsewhere meanwhile counts (DSP-11).
    """
    dispute = lock_dispute(system_actor(), dispute_id)
    resolution = DisputeResolution.objects.pending().filter(dispute=dispute).first()
    if resolution is None or dispute.status != DisputeStatus.PROPOSED:
        raise Conflict("nothing_proposed", f"No resolution of {dispute} waits for approval any more.")
    resolution.approval_request, resolution.dispute = request, dispute
    dispute.invoice = lock_documents(dispute.invoice_id)[dispute.invoice_id]
    _require_approved(dispute, resolution, request)
    with record_as(actor, f"{request.reference_number}: approved"):
        _carry_out(dispute, resolution, actor=actor)


def proposal_rejected(*, actor: User, dispute_id: int, reason: str) -> None:
    """Back to investigating (DSP-13); nothing where the proposal is gone."""
    dispute = lock_dispute(system_actor(), dispute_id)
    resolution = DisputeResolution.objects.pending().filter(dispute=dispute).first()
    if resolution is None or dispute.status != DisputeStatus.PROPOSED:
        return
    with record_as(actor, reason):
        _return(resolution, actor=actor, reason=reason)
        _back_to_work(dispute, actor=actor, note=reason)


# --- Steps -----------------------------------------------------------------------------------------------


def _checked(dispute: BillingDispute, proposal: Proposal, actor: User) -> DisputeResolution:
    """The resolution as proposed, not stored yet: its outcome fits its type, its amount what is disputed (DSP-11)."""
    if not proposal.note.strip():
        raise field_error("note", "note_required", "Say to the customer what was decided and why.")
    outcome = _outcome(dispute, proposal)
    resolution = DisputeResolution(
        dispute=dispute, round=round_of(dispute), resolution_type=proposal.resolution_type, outcome=outcome,
        amount=_amount(dispute, proposal, outcome), note=proposal.note.strip(),
        internal_note=proposal.internal_note.strip(), proposed_by=actor, proposed_at=clock.now(),
        amendment=proposal.amendment,
    )  # fmt: skip
    check_fields(resolution)
    return resolution


def _outcome(dispute: BillingDispute, proposal: Proposal) -> Outcome:
    try:
        fitting = OUTCOMES_OF[ResolutionType(proposal.resolution_type)]
        chosen = Outcome(proposal.outcome) if proposal.outcome else fitting[0]
    except ValueError as error:
        raise field_error(
            "resolution_type", "unknown_resolution", f"Choose one of {', '.join(ResolutionType.values)}."
        ) from error
    if not proposal.outcome and dispute.direction == Direction.UNDER and Outcome.DEBIT_NOTE in fitting:
        chosen = Outcome.DEBIT_NOTE
    if chosen not in fitting:
        raise field_error(
            "outcome",
            "unknown_resolution",
            f"“{chosen.label}” is no {proposal.resolution_type.replace('_', ' ')}. "
            f"Choose one of {', '.join(fitting)}.",
        )
    return chosen


def _amount(dispute: BillingDispute, proposal: Proposal, outcome: Outcome) -> Decimal:
    if outcome in WITHOUT_MONEY:
        if proposal.amount is not None and parse_amount(proposal.amount):
            raise field_error(
                "amount", "amount_without_money", f"“{outcome.label}” moves no money: leave it out."
            )
        return Decimal(0)
    amount = dispute.amount if proposal.amount is None else checked_amount(proposal.amount, dispute.currency)
    if amount > dispute.amount:
        raise Conflict(
            "exceeds_disputed",
            f"{money_text(dispute.amount, dispute.currency)} is disputed; {money_text(amount, dispute.currency)} is "
            "more. Resolve at most what is disputed.",
            extra={"disputed": plain_amount(dispute.amount, dispute.currency), "currency": dispute.currency},
        )
    return amount


def _needs_approval(dispute: BillingDispute, resolution: DisputeResolution) -> bool:
    """Whether somebody else decides: on money above the small-claims amount, or not comparable to it (DSP-13)."""
    if resolution.outcome in WITHOUT_MONEY:
        return False
    terms = stored_terms(resolution.round.terms["policy"])
    if not terms.small_claims_amount:
        return True
    day = clock.today(dispute.issuer.time_zone)
    try:
        rate = rate_for(dispute.currency, terms.small_claims_currency, day).rate
    except BillingError:
        return True
    return EXACT.multiply(at_stake(dispute, resolution), rate) > terms.small_claims_amount


def _require_approved(
    dispute: BillingDispute, resolution: DisputeResolution, request: ApprovalRequest
) -> None:
    """What is carried out is at most what was decided on (DSP-11)."""
    stake = at_stake(dispute, resolution)
    if request.currency == dispute.currency and stake <= request.amount:
        return
    raise Conflict(
        "exceeds_approved",
        f"{money_text(stake, dispute.currency)} would be given back; {request.reference_number} asks for "
        f"{money_text(request.amount, request.currency)}. Take the proposal back and propose it anew.",
        extra={"at_stake": plain_amount(stake, dispute.currency), "currency": dispute.currency},
    )


def _ask(dispute: BillingDispute, resolution: DisputeResolution, actor: User) -> None:
    request = request_submit(
        actor=actor,
        request_type=APPROVAL,
        title=f"{dispute.number} {resolution.get_outcome_display()} for {dispute.invoice}"[:200],
        description=resolution.internal_note or resolution.note,
        amount=at_stake(dispute, resolution),
        currency=dispute.currency,
        entity_id=dispute.issuer_id,
        subject_id=dispute.pk,
    )
    # What an explicit rule approved names its request already.
    DisputeResolution.objects.pending().filter(pk=resolution.pk).update(approval_request=request)


def _carry_out(dispute: BillingDispute, resolution: DisputeResolution, *, actor: User) -> None:
    """Make the documents and change the state, together and once (DSP-15)."""
    check_outcome(dispute, resolution)
    outcome_carry_out(dispute, resolution)
    resolution.status, resolution.decided_at, resolution.decided_by = (
        ResolutionStatus.APPLIED, clock.now(), actor,
    )  # fmt: skip
    resolution.save()
    name_who_decided(resolution, actor)
    dispute.approved_amount = resolution.amount
    dispute.resolved_at = resolution.decided_at
    dispute.resolve()
    dispute.save()
    event_record(
        dispute, EventKind.RESOLVED, actor=actor, is_public=True, note=resolution.note[:1000],
        resolution_id=resolution.pk, outcome=resolution.outcome,
        amount=plain_amount(resolution.amount, dispute.currency),
    )  # fmt: skip
    clocks_refresh(dispute)


def _return(resolution: DisputeResolution, *, actor: User, reason: str) -> None:
    resolution.status, resolution.decided_at, resolution.decided_by = (
        ResolutionStatus.RETURNED, clock.now(), actor,
    )  # fmt: skip
    resolution.return_reason = reason[:1000]
    resolution.save()


def _back_to_work(dispute: BillingDispute, *, actor: User, note: str) -> None:
    dispute.return_to_work()
    dispute.save()
    event_record(dispute, EventKind.RETURNED, actor=actor, note=note)
    clocks_refresh(dispute)
