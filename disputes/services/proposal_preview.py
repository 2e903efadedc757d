"""What a resolution would do, before anybody confirms it (DSP-11 to DSP-15).

It is carried out and rolled back: what is shown is what would happen, to the cent, and what would be refused is refused
in the same words.
"""

import datetime
from dataclasses import dataclass
from decimal import Decimal

from django.db import transaction

from approvals.models import ApprovalRequest
from core.models import User
from core.money import EXACT
from disputes.models import DisputeResolution, Outcome, ResolutionStatus
from disputes.services.outcomes import outcome_carry_out
from disputes.services.proposals import Proposal, dispute_resolve
from invoicing.models import Invoice
from invoicing.services.settlement import lock_documents

ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class PreviewLevel:
    """A level of the approval that would be asked for: its name, why it is asked, and whom."""

    name: str
    why: str
    people: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ProposalPreview:
    """What would become of the money, including tax and in ``currency``, and who would decide.

    ``set_off`` settles the invoice, ``balance`` stays with the payer, ``refund`` is paid back. ``open_after`` is what
    is open of the invoice then; of it ``deferred`` is collected from ``deferred_until`` (DSP-14). Without ``levels``
    and ``blocked_reason`` the actor carries it out alone, unless a rule ``approves_itself``.
    """

    outcome: Outcome
    amount: Decimal
    currency: str
    credited: Decimal
    set_off: Decimal
    balance: Decimal
    refund: Decimal
    written_off: Decimal
    debited: Decimal
    rebilled: bool
    open_before: Decimal
    open_after: Decimal
    deferred: Decimal
    deferred_until: datetime.date | None
    needs_approval: bool
    approves_itself: bool
    levels: tuple[PreviewLevel, ...]
    blocked_reason: str


def proposal_preview(
    *, actor: User, dispute_id: int, proposal: Proposal, expected_version: int | None = None
) -> ProposalPreview:
    """Say what ``dispute_resolve`` would do, and, where it needs approval, what its approval would do then.

    Writes nothing. Raises what ``dispute_resolve`` raises.
    """
    with transaction.atomic():
        resolution = dispute_resolve(
            actor=actor, dispute_id=dispute_id, proposal=proposal, expected_version=expected_version
        )
        dispute = resolution.dispute
        if _is_pending(resolution):
            dispute.invoice = lock_documents(dispute.invoice_id)[dispute.invoice_id]
            outcome_carry_out(dispute, resolution)
        preview = _preview(resolution)
        transaction.set_rollback(True)
    return preview


def _is_pending(resolution: DisputeResolution) -> bool:
    return resolution.status == ResolutionStatus.PENDING


def _preview(resolution: DisputeResolution) -> ProposalPreview:
    dispute, request = resolution.dispute, resolution.approval_request
    after = Invoice.objects.get(pk=dispute.invoice_id)
    note = Invoice.objects.get(pk=resolution.credit_note_id) if resolution.credit_note_id else None
    credited = note.total if note is not None else ZERO
    refund = resolution.refund.amount if resolution.refund is not None else ZERO
    # A refund uses the note up too: what settled the invoice is the rest.
    set_off = EXACT.subtract(note.settled_amount, refund) if note is not None else ZERO
    balance = note.open_amount if note is not None else ZERO
    written_off = resolution.write_off.amount if resolution.write_off is not None else ZERO
    hold = dispute.hold if dispute.hold is not None and dispute.hold.released_at is None else None
    settled_now = EXACT.add(set_off, written_off)
    return ProposalPreview(
        outcome=Outcome(resolution.outcome),
        amount=resolution.amount,
        currency=dispute.currency,
        credited=credited,
        set_off=set_off,
        balance=balance,
        refund=refund,
        written_off=written_off,
        debited=resolution.debit_note.total if resolution.debit_note is not None else ZERO,
        rebilled=resolution.rebilled_as_id is not None,
        open_before=EXACT.add(after.open_amount, settled_now),
        open_after=after.open_amount,
        deferred=hold.amount if hold is not None and hold.due_date is not None else ZERO,
        deferred_until=hold.due_date if hold is not None else None,
        needs_approval=request is not None,
        approves_itself=request is not None and not _is_pending(resolution),
        levels=_levels(request),
        blocked_reason=request.blocked_reason if request is not None else "",
    )


def _levels(request: ApprovalRequest | None) -> tuple[PreviewLevel, ...]:
    if request is None:
        return ()
    asked: dict[int, list[str]] = {}
    for task in request.tasks.select_related("approver").order_by("pk"):
        asked.setdefault(task.step_id, []).append(task.approver.display_name)
    return tuple(
        PreviewLevel(step.name, step.why, tuple(asked.get(step.pk, ())))
        for step in request.steps.order_by("round", "order")
    )
