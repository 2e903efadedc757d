"""How disputes end without a resolution, and begin again (DSP-08, DSP-16, DSP-17)."""

import datetime
from decimal import Decimal
from typing import Any

from django.db import transaction

from core import clock
from core.access import require, system_actor
from core.errors import Conflict
from core.history import record_as
from core.models import User
from core.money import EXACT, plain_amount
from disputes.access import require_handler, speaks_as
from disputes.models import (
    DECIDED,
    MAX_REOPENED,
    BillingDispute,
    Direction,
    DisputeStatus,
    EventKind,
    Speaker,
)
from disputes.selectors.policies import stored_terms
from disputes.services.log import event_record, lock_dispute, require_open, round_of
from disputes.services.opening import hold_amount, require_undisputed
from disputes.services.proposals import proposal_drop
from disputes.services.rounds import clocks_refresh, round_start
from entities.services.records import field_error
from invoicing.selectors.holds import creditable_including_tax
from invoicing.services.holds import hold_change, hold_release
from invoicing.services.settlement import checked_amount, checked_reason, lock_documents, money_text


def dispute_withdraw(
    *, actor: User, dispute_id: int, reason: str = "", expected_version: int | None = None
) -> BillingDispute:
    """Give a dispute up: the customer does, or staff in their name. What was held back is collected again."""
    with transaction.atomic(), record_as(actor, reason):
        dispute = lock_dispute(actor, dispute_id, expected_version=expected_version)
        speaker = speaks_as(actor, dispute)
        require_open(dispute)
        if speaker == Speaker.STAFF and not reason.strip():
            raise field_error("reason", "reason_required", "Say how you know that the customer gives it up.")
        end_open(dispute, EventKind.WITHDRAWN, actor=actor, reason=reason.strip())
    return dispute


def end_open(dispute: BillingDispute, kind: EventKind, *, actor: User, reason: str, **details: Any) -> None:
    """End a locked, open dispute as withdrawn or moot: nothing is held back any more, a proposal is dropped."""
    proposal_drop(dispute, actor=actor, reason=reason)
    if dispute.hold is not None and dispute.hold.released_at is None:
        hold_release(actor=actor, hold=dispute.hold, reason=reason or kind.label)
    if kind == EventKind.WITHDRAWN:
        dispute.withdraw()
    else:
        dispute.make_moot()
    dispute.ended_at, dispute.end_reason = clock.now(), reason[:500]
    dispute.save()
    event_record(dispute, kind, actor=actor, is_public=True, note=reason, **details)
    clocks_refresh(dispute)


def dispute_make_moot(*, dispute_id: int, reason: str) -> bool:
    """There is nothing left to dispute: the invoice is void or wholly credited (DSP-17). False where it was over."""
    actor = system_actor()
    with transaction.atomic(), record_as(actor, reason):
        dispute = lock_dispute(actor, dispute_id)
        if not dispute.is_open:
            return False
        end_open(dispute, EventKind.MOOT, actor=actor, reason=reason)
    return True


def dispute_close(*, actor: User, dispute_id: int, expected_version: int | None = None) -> BillingDispute:
    """File a resolved dispute: the customer agrees, or staff has nothing more to do."""
    with transaction.atomic(), record_as(actor):
        dispute = lock_dispute(actor, dispute_id, expected_version=expected_version)
        speaks_as(actor, dispute)
        if dispute.status != DisputeStatus.RESOLVED:
            raise Conflict(
                "dispute_status",
                f"{dispute} is {dispute.get_status_display().lower()}; only a resolved dispute is closed.",
                extra={"status": dispute.status},
            )
        file_resolved(dispute, actor=actor)
    return dispute


def file_resolved(dispute: BillingDispute, *, actor: User, note: str = "") -> None:
    """Close a locked, resolved dispute."""
    dispute.close()
    dispute.ended_at = clock.now()
    dispute.save()
    event_record(dispute, EventKind.CLOSED, actor=actor, is_public=True, note=note)


def dispute_reopen(
    *,
    actor: User,
    dispute_id: int,
    reason: str,
    amount: Decimal | str | int | None = None,
    expected_version: int | None = None,
) -> BillingDispute:
    """Dispute a decision: a new round with new clocks, within the policy's days and at most twice (DSP-16).

    The amount is what was disputed less what was approved, at most what can still be credited, unless ``amount``
    says less. Raises Conflict ``not_decided``, ``reopen_window_closed``, ``reopened_too_often``, ``not_disputable``,
    ``disputed_already``, ``nothing_to_dispute``; Invalid ``reason_required``.
    """
    reason = checked_reason(reason, "why the decision is not right")
    with transaction.atomic(), record_as(actor, reason):
        dispute = lock_dispute(actor, dispute_id, expected_version=expected_version)
        speaks_as(actor, dispute)
        require_reopenable(dispute)
        dispute.invoice = lock_documents(dispute.invoice_id)[dispute.invoice_id]
        if not dispute.invoice.is_posted:
            raise Conflict(
                "not_disputable",
                f"{dispute.invoice} is {dispute.invoice.get_status_display().lower()}: there is nothing to dispute.",
                extra={"status": dispute.invoice.status},
            )
        require_undisputed(dispute.invoice, dispute.invoice_line)
        dispute.amount = _amount_of_next_round(dispute, amount)
        last = round_of(dispute)
        if dispute.hold is not None and dispute.hold.released_at is None:
            # What the decision left to be paid later (DSP-14) is disputed anew, not twice.
            hold_release(actor=actor, hold=dispute.hold, reason=f"{dispute} is reopened.")
        dispute.reopen()
        dispute.round_number += 1
        dispute.approved_amount = dispute.resolved_at = dispute.ended_at = dispute.hold = None
        dispute.is_escalated, dispute.escalated_at, dispute.end_reason = False, None, ""
        dispute.save()
        hold_amount(dispute, actor=actor)
        started = round_start(dispute, policy=last.policy, like=last)
        event_record(
            dispute, EventKind.REOPENED, actor=actor, is_public=True, note=reason, at=started.started_at,
            amount=plain_amount(dispute.amount, dispute.currency), round=dispute.round_number,
        )  # fmt: skip
    return dispute


def require_reopenable(dispute: BillingDispute) -> None:
    """Raise Conflict where its decision cannot be disputed, or not any more (DSP-16)."""
    if dispute.status not in DECIDED or dispute.resolved_at is None:
        raise Conflict(
            "not_decided",
            f"{dispute} is {dispute.get_status_display().lower()}; only a decided dispute is reopened.",
            extra={"status": dispute.status},
        )
    if dispute.round_number > MAX_REOPENED:
        raise Conflict(
            "reopened_too_often",
            f"{dispute} was reopened {MAX_REOPENED} times already, which is as often as it can be. Speak to "
            f"{dispute.issuer}.",
        )
    days = stored_terms(round_of(dispute).terms["policy"]).reopen_days
    last = dispute.resolved_at + datetime.timedelta(days=days)
    if clock.now() > last:
        raise Conflict(
            "reopen_window_closed",
            f"{dispute} could be reopened until {last:%Y-%m-%d}, {days} days after it was decided.",
            extra={"until": last.isoformat(), "reopen_days": days},
        )


def _amount_of_next_round(dispute: BillingDispute, asked: Decimal | str | int | None) -> Decimal:
    """What is disputed in the next round: limits are worked out anew (DSP-16)."""
    if asked is not None:
        return checked_amount(asked, dispute.currency)
    if dispute.direction == Direction.UNDER:
        return dispute.amount
    rest = EXACT.subtract(dispute.amount, dispute.approved_amount or Decimal(0))
    left = creditable_including_tax(dispute.invoice, dispute.invoice_line)
    amount = min(rest if rest > 0 else dispute.amount, left)
    if amount <= 0:
        raise Conflict(
            "nothing_to_dispute",
            f"Nothing is left to be disputed: all of it was credited ({money_text(left, dispute.currency)} left).",
        )
    return amount


def dispute_merge(*, actor: User, dispute_id: int, other_id: int, reason: str) -> BillingDispute:
    """Make one dispute of two about the same invoice: the older one, with its clock, both threads and both amounts.

    Two lines become a dispute of the invoice (DSP-17). Raises Conflict ``merge_with_itself``, ``other_invoice``,
    ``other_direction``, ``proposal_pending``, ``more_disputed_lines``, ``dispute_over``.
    """
    reason = checked_reason(reason, "why they are one")
    if dispute_id == other_id:
        raise Conflict("merge_with_itself", "Choose another dispute to merge it with.")
    older_id, newer_id = sorted((dispute_id, other_id))
    with transaction.atomic(), record_as(actor, reason):
        older, newer = lock_dispute(actor, older_id), lock_dispute(actor, newer_id)
        for dispute in (older, newer):
            require_handler(actor, dispute)
            require(actor, "disputes.merge_billingdispute", dispute.issuer)
            require_open(dispute)
            if dispute.status == DisputeStatus.PROPOSED:
                raise Conflict(
                    "proposal_pending",
                    f"A resolution of {dispute} waits for approval. Take it back before merging.",
                )
        _require_mergeable(older, newer)
        total = EXACT.add(older.amount, newer.amount)
        newer_hold = newer.hold
        lock_documents(older.invoice_id)
        newer.merged_into = older
        end_open(
            newer, EventKind.MOOT, actor=actor, reason=f"Merged into {older}: {reason}", merged_into=older.pk
        )
        older.amount, older.invoice_line, older.department = total, None, None
        older.save()
        if older.hold is not None and newer_hold is not None:
            older.hold = hold_change(actor=actor, hold=older.hold, amount=total, invoice_line=None)
            older.save()
        event_record(
            older, EventKind.MERGED, actor=actor, is_public=True, note=reason, dispute_id=newer.pk,
            amount=plain_amount(total, older.currency),
        )  # fmt: skip
        clocks_refresh(older)
    return older


def _require_mergeable(older: BillingDispute, newer: BillingDispute) -> None:
    if older.invoice_id != newer.invoice_id:
        raise Conflict(
            "other_invoice",
            f"{older} is about {older.invoice}, {newer} about {newer.invoice}. Only disputes of one invoice become "
            "one; refer to the other in a comment.",
        )
    if older.direction != newer.direction:
        raise Conflict("other_direction", "One says too much, the other too little was billed: keep both.")
    others = (
        BillingDispute.objects.open().filter(invoice_id=older.invoice_id).exclude(pk__in=[older.pk, newer.pk])
    )
    if others.exists():
        raise Conflict(
            "more_disputed_lines",
            "Further lines of the invoice are disputed, so it cannot be disputed as a whole. Decide those first, or "
            "keep them apart.",
            extra={"disputes": [other.number for other in others]},
        )
