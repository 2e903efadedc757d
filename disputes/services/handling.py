"""Working on disputes: acknowledging, investigating, waiting, assigning, judging (DSP-04, DSP-08, DSP-09)."""

import datetime
from collections.abc import Mapping
from typing import Any

from django.db import transaction

from core import clock
from core.errors import Conflict, Forbidden
from core.history import record_as
from core.models import User
from disputes.access import HANDLE, Place, require_handler
from disputes.models import BillingDispute, DisputeStatus, EventKind
from disputes.selectors.people import next_rung
from disputes.services.log import event_record, lock_dispute, require_open, round_of
from disputes.services.rounds import clocks_refresh
from entities.access import holders_among
from entities.services.records import apply_changes, check_fields, field_error

LONGEST_CHARGEBACK = datetime.timedelta(days=2 * 366)

CHANGEABLE = frozenset(
    {
        "category",
        "customer_reference",
        "owner",
        "root_cause",
        "root_cause_note",
        "chargeback_scheme",
        "chargeback_reference",
        "chargeback_deadline",
    }
)


def dispute_acknowledge(
    *, actor: User, dispute_id: int, expected_version: int | None = None
) -> BillingDispute:
    """Say that staff has taken note of it; the response clock runs on until the customer is answered (DSP-05)."""
    with transaction.atomic(), record_as(actor):
        dispute = _lock_for_handling(actor, dispute_id, expected_version)
        if dispute.status != DisputeStatus.OPEN:
            raise _not_now(dispute, "acknowledged", "Only an open dispute is acknowledged.")
        dispute.acknowledge()
        if dispute.owner_id is None and not actor.is_service_account:
            dispute.owner = actor
        dispute.save()
        event_record(dispute, EventKind.ACKNOWLEDGED, actor=actor, is_public=True)
        clocks_refresh(dispute)
    return dispute


def dispute_investigate(
    *, actor: User, dispute_id: int, expected_version: int | None = None
) -> BillingDispute:
    """Begin to work on it, or go on after waiting."""
    return _move(actor, dispute_id, DisputeStatus.INVESTIGATING, "", expected_version)


def dispute_wait_for_customer(
    *, actor: User, dispute_id: int, question: str = "", expected_version: int | None = None
) -> BillingDispute:
    """Wait for an answer of the customer: the resolution clock stops until they write (DSP-07, DSP-08).

    ``question`` is sent to the customer first. Without a word of theirs they are reminded twice, then it is withdrawn.
    """
    from disputes.services.comments import comment_add

    with transaction.atomic():
        if not question.strip():
            return _move(actor, dispute_id, DisputeStatus.WAITING_CUSTOMER, "", expected_version)
        dispute = _lock_for_handling(actor, dispute_id, expected_version)
        _require_movable(dispute, DisputeStatus.WAITING_CUSTOMER)
        asked = comment_add(actor=actor, dispute_id=dispute_id, body=question, visibility="customer")
        return _move(actor, dispute_id, DisputeStatus.WAITING_CUSTOMER, "", None, comment_id=asked.pk)


def dispute_wait_for_third_party(
    *, actor: User, dispute_id: int, note: str = "", expected_version: int | None = None
) -> BillingDispute:
    """Wait for somebody else, such as a provider; whether the clock stops is the policy's choice (DSP-07)."""
    return _move(actor, dispute_id, DisputeStatus.WAITING_THIRD_PARTY, note, expected_version)


def dispute_update(
    *,
    actor: User,
    dispute_id: int,
    changes: Mapping[str, Any],
    expected_version: int | None = None,
    reason: str = "",
) -> BillingDispute:
    """Change what staff keeps about it: category, owner, root cause, references, the chargeback's deadline.

    A root cause may be noted afterwards too; the rest only while it is open. Raises Conflict ``dispute_over``;
    Forbidden ``owner_cannot_handle``; Invalid ``scheme_required``, ``day_out_of_range``.
    """
    with transaction.atomic(), record_as(actor, reason):
        dispute = lock_dispute(actor, dispute_id, expected_version=expected_version)
        require_handler(actor, dispute)
        if set(changes) - {"root_cause", "root_cause_note"}:
            require_open(dispute)
        before = {name: getattr(dispute, name) for name in changes}
        changed = apply_changes(dispute, changes, allowed=CHANGEABLE)
        if not changed:
            return dispute
        check_fields(dispute)
        check_chargeback(dispute)
        _check_owner(dispute)
        dispute.save()
        kind = EventKind.ASSIGNED if changed == ["owner"] else EventKind.CHANGED
        event_record(
            dispute,
            kind,
            actor=actor,
            note=reason,
            changes={name: [_plain(before[name]), _plain(getattr(dispute, name))] for name in changed},
        )
        clocks_refresh(dispute)
    return dispute


def dispute_change_severity(
    *, actor: User, dispute_id: int, severity: str, reason: str, expected_version: int | None = None
) -> BillingDispute:
    """Judge it anew: the clocks are worked out from its creation, with the pauses kept (DSP-09)."""
    if not reason.strip():
        raise field_error("reason", "reason_required", "Say why it is more or less urgent: the log keeps it.")
    with transaction.atomic(), record_as(actor, reason):
        dispute = lock_dispute(actor, dispute_id, expected_version=expected_version)
        require_handler(actor, dispute)
        require_open(dispute)
        before = dispute.severity
        if severity == before:
            return dispute
        dispute.severity = severity
        check_fields(dispute)
        dispute.save()
        event_record(
            dispute, EventKind.SEVERITY, actor=actor, note=reason.strip(), before=before, after=severity
        )
        clocks_refresh(dispute)
    return dispute


def dispute_escalate(
    *, actor: User, dispute_id: int, reason: str, expected_version: int | None = None
) -> BillingDispute:
    """Ask for help from above: a mark on the dispute, and the next on the ladder is told (DSP-04, DSP-10)."""
    if not reason.strip():
        raise field_error("reason", "reason_required", "Say what help is needed.")
    with transaction.atomic(), record_as(actor, reason):
        dispute = lock_dispute(actor, dispute_id, expected_version=expected_version)
        require_handler(actor, dispute)
        require_open(dispute)
        mark_escalated(dispute, actor=actor, note=reason.strip())
    return dispute


def mark_escalated(dispute: BillingDispute, *, actor: User, note: str) -> None:
    """Set the mark on a locked dispute and write down whom it reaches: the next rung with somebody on it (DSP-10)."""
    if not dispute.is_escalated:
        dispute.is_escalated, dispute.escalated_at = True, clock.now()
        dispute.save()
    level = next_rung(dispute, round_of(dispute).escalation_level)
    event_record(dispute, EventKind.ESCALATED, actor=actor, note=note, level=level)
    clocks_refresh(dispute)


def dispute_resume(dispute: BillingDispute, *, actor: User) -> None:
    """The customer has written: a locked dispute that waits for them is worked on again, at once (DSP-08)."""
    if dispute.status == DisputeStatus.WAITING_CUSTOMER:
        dispute.investigate()
        dispute.save()
        event_record(dispute, EventKind.STATUS, actor=actor, is_public=True, resumed=True)


def check_chargeback(dispute: BillingDispute) -> None:
    """A scheme's deadline names its scheme, and is a day at hand (DSP-18).

    Raises Invalid ``scheme_required``, ``day_out_of_range``.
    """
    deadline = dispute.chargeback_deadline
    if deadline is None:
        return
    if not dispute.chargeback_scheme.strip():
        raise field_error("chargeback_scheme", "scheme_required", "Name the scheme whose deadline that is.")
    opened_on = dispute.opened_at.date()
    if abs(deadline - opened_on) > LONGEST_CHARGEBACK:
        raise field_error(
            "chargeback_deadline",
            "day_out_of_range",
            f"Schemes give weeks or months: {deadline} is more than two years from the dispute, {opened_on}.",
        )


def _move(
    actor: User,
    dispute_id: int,
    target: DisputeStatus,
    note: str,
    expected_version: int | None,
    **details: Any,
) -> BillingDispute:
    moves = {
        DisputeStatus.INVESTIGATING: "investigate",
        DisputeStatus.WAITING_CUSTOMER: "wait_for_customer",
        DisputeStatus.WAITING_THIRD_PARTY: "wait_for_third_party",
    }
    with transaction.atomic(), record_as(actor, note):
        dispute = _lock_for_handling(actor, dispute_id, expected_version)
        _require_movable(dispute, target)
        getattr(dispute, moves[target])()
        dispute.save()
        event_record(dispute, EventKind.STATUS, actor=actor, is_public=True, **details)
        if note.strip():
            # The customer sees the state, not what staff says of it (DSP-18).
            event_record(dispute, EventKind.INTERNAL_NOTE, actor=actor, note=note.strip())
        clocks_refresh(dispute)
    return dispute


def _require_movable(dispute: BillingDispute, target: DisputeStatus) -> None:
    if dispute.status == target:
        raise _not_now(dispute, target.label.lower(), "It is so already.")
    if dispute.status == DisputeStatus.PROPOSED:
        raise _not_now(dispute, target.label.lower(), "A resolution waits for approval: take it back first.")


def _lock_for_handling(actor: User, dispute_id: int, expected_version: int | None) -> BillingDispute:
    dispute = lock_dispute(actor, dispute_id, expected_version=expected_version)
    require_handler(actor, dispute)
    require_open(dispute)
    return dispute


def _check_owner(dispute: BillingDispute) -> None:
    """Who works on it is somebody of the issuer's staff who may."""
    if dispute.owner_id is None:
        return
    place = Place(dispute.issuer.name, dispute.issuer_id, None)
    if not holders_among([dispute.owner_id], HANDLE, place):
        raise Forbidden(
            "owner_cannot_handle",
            f"{dispute.owner} does not handle disputes of {dispute.issuer}. Choose somebody of its finance staff.",
        )


def _not_now(dispute: BillingDispute, what: str, why: str) -> Conflict:
    return Conflict(
        "dispute_status",
        f"{dispute} is {dispute.get_status_display().lower()} and cannot become {what} now. {why}",
        extra={"status": dispute.status},
    )


def _plain(value: Any) -> Any:
    return value.pk if hasattr(value, "pk") else value
