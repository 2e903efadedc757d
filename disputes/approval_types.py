"""What disputes have approved: resolutions that move money (DSP-13)."""

from collections.abc import Mapping
from typing import Any, ClassVar

from django.db.models import QuerySet

from approvals.models import ActionKind, ApprovalRequest
from approvals.registry import ApprovalType, Fact, register
from core.access import get_visible
from core.errors import Conflict
from core.models import User
from core.money import format_money, plain_amount
from disputes.models import BillingDispute, DisputeResolution, DisputeStatus, ResolutionStatus
from disputes.services.outcomes import at_stake
from disputes.services.proposals import APPROVAL, proposal_approved, proposal_rejected
from entities.services.records import field_error


class DisputeCreditApproval(ApprovalType):
    """A credit, refund or adjustment for a dispute; asked for by proposing it on the dispute."""

    code, label = APPROVAL, "Dispute resolution"
    asked_by_people: ClassVar[bool] = False

    def check(self, request: ApprovalRequest, *, actor: User) -> None:
        if request.subject_id is None:
            raise field_error(
                "subject_id", "propose_on_the_dispute", "Propose the resolution on the dispute itself."
            )
        dispute = get_visible(BillingDispute.objects.all(), actor, request.subject_id, name="dispute")
        resolution = _pending(request)
        if dispute.status != DisputeStatus.PROPOSED or resolution is None:
            raise Conflict("nothing_proposed", f"No resolution of {dispute} waits for approval.")
        _require_as_proposed(request, resolution)

    def lock(self, request: ApprovalRequest) -> None:
        assert request.subject_id is not None  # the check has seen to it
        BillingDispute.objects.select_for_update(of=("self",), no_key=True).get(pk=request.subject_id)

    def content(self, request: ApprovalRequest) -> Mapping[str, Any]:
        resolution = _resolution(request)
        if resolution is None:
            return {}
        dispute = resolution.dispute
        return {
            "dispute_id": dispute.pk,
            "invoice_id": dispute.invoice_id,
            "invoice_line_id": dispute.invoice_line_id,
            "resolution_id": resolution.pk,
            "outcome": resolution.outcome,
            "amount": plain_amount(resolution.amount, dispute.currency),
            "currency": dispute.currency,
            "note": resolution.note,
        }

    def excluded_people(self, request: ApprovalRequest) -> set[int]:
        """Who proposed it, and who disputes (DSP-13)."""
        resolution = _resolution(request)
        if resolution is None:
            return set()
        return {resolution.proposed_by_id, resolution.dispute.opened_by_id}

    def facts(self, request: ApprovalRequest) -> list[Fact]:
        resolution = _resolution(request)
        if resolution is None:
            return []
        dispute = resolution.dispute
        about = (
            f"{dispute.invoice}, line {dispute.invoice_line}"
            if dispute.invoice_line
            else str(dispute.invoice)
        )
        return [
            Fact(
                "Dispute",
                f"{dispute.number} {dispute.get_category_display()}",
                page_of(dispute),
            ),
            Fact("Customer", dispute.entity.name),
            Fact("About", about),
            Fact("Disputed", format_money(dispute.amount, dispute.currency)),
            Fact(
                "Proposed",
                f"{resolution.get_outcome_display()} of {format_money(resolution.amount, dispute.currency)}",
            ),
            Fact("To the customer", resolution.note),
        ]

    def on_approved(self, request: ApprovalRequest, *, actor: User) -> None:
        assert request.subject_id is not None
        proposal_approved(actor=actor, dispute_id=request.subject_id, request=request)

    def on_closed(self, request: ApprovalRequest, *, actor: User) -> None:
        assert request.subject_id is not None
        proposal_rejected(
            actor=actor,
            dispute_id=request.subject_id,
            reason=f"{request.reference_number}: {request.get_status_display().lower()}{_last_word(request)}",
        )


def page_of(dispute: BillingDispute) -> str:
    """Where staff sees the dispute."""
    return f"/admin/disputes/billingdispute/{dispute.pk}/change/"


def _require_as_proposed(request: ApprovalRequest, resolution: DisputeResolution) -> None:
    """What is decided on is what was proposed: another amount, currency or place is another proposal (DSP-11)."""
    dispute = resolution.dispute
    placed = (request.entity_id, request.department_id, request.budget_id, request.currency)
    as_proposed = placed == (dispute.issuer_id, None, None, dispute.currency)
    if as_proposed and request.amount >= at_stake(dispute, resolution):
        return
    raise Conflict(
        "proposal_stays",
        f"The request asks for what was proposed on {dispute.number}. Take the proposal back there and propose "
        "another one.",
        extra={"dispute_id": dispute.pk},
    )


def _last_word(request: ApprovalRequest) -> str:
    """What whoever ended the request said."""
    last = request.actions.exclude(comment="").order_by("-id").first()
    ended = last is not None and last.kind in (ActionKind.REJECTED, ActionKind.WITHDRAWN)
    return f": {last.comment}" if last is not None and ended else ""


def _of_disputes() -> QuerySet[DisputeResolution]:
    return DisputeResolution.objects.select_related(
        "dispute__invoice", "dispute__entity", "dispute__invoice_line"
    )


def _resolution(request: ApprovalRequest) -> DisputeResolution | None:
    """What the request asks for; while it is being submitted, what is proposed."""
    asked = _of_disputes().filter(approval_request=request).first() if request.pk is not None else None
    return asked or _pending(request)


def _pending(request: ApprovalRequest) -> DisputeResolution | None:
    return _of_disputes().filter(dispute_id=request.subject_id, status=ResolutionStatus.PENDING).first()


def register_types() -> None:
    """Add it to the registry of approvals."""
    register(DisputeCreditApproval())
