"""What disputes have approved: resolutions that move money (DSP-13)."""

from collections.abc import Mapping
from typing import Any, ClassVar

from approvals.models import ApprovalRequest
from approvals.registry import ApprovalType, Fact, register
from core.access import get_visible
from core.errors import Conflict
from core.models import User
from core.money import format_money, plain_amount
from disputes.models import BillingDispute, DisputeResolution, DisputeStatus
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
        if dispute.status != DisputeStatus.PROPOSED or _pending(request) is None:
            raise Conflict("nothing_proposed", f"No resolution of {dispute} waits for approval.")

    def lock(self, request: ApprovalRequest) -> None:
        BillingDispute.objects.select_for_update(of=("self",), no_key=True).get(pk=request.subject_id)

    def content(self, request: ApprovalRequest) -> Mapping[str, Any]:
        resolution = _pending(request)
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
        resolution = _pending(request)
        if resolution is None:
            return set()
        return {resolution.proposed_by_id, resolution.dispute.opened_by_id}

    def facts(self, request: ApprovalRequest) -> list[Fact]:
        resolution = (
            DisputeResolution.objects.filter(approval_request=request)
            .select_related("dispute__invoice", "dispute__entity", "dispute__invoice_line")
            .first()
        ) or _pending(request)
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
                f"/admin/disputes/billingdispute/{dispute.pk}/change/",
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
            reason=f"{request}: {request.get_status_display().lower()}",
        )


def page_of(dispute: BillingDispute) -> str:
    """Where staff sees the dispute."""
    return f"/admin/disputes/billingdispute/{dispute.pk}/change/"


def _pending(request: ApprovalRequest) -> DisputeResolution | None:
    return (
        DisputeResolution.objects.pending()
        .filter(dispute_id=request.subject_id)
        .select_related("dispute__invoice", "dispute__entity", "dispute__invoice_line")
        .first()
    )


def register_types() -> None:
    """Add it to the registry of approvals."""
    register(DisputeCreditApproval())
