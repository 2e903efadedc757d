"""Locking a dispute and writing its log (DSP-09)."""

import datetime
from typing import Any

from core import clock
from core.errors import Conflict
from core.models import User
from core.outbox import publish
from disputes.access import dispute_seen
from disputes.models import BillingDispute, DisputeEvent, DisputeRound, EventKind


def lock_dispute(actor: User, dispute_id: int, *, expected_version: int | None = None) -> BillingDispute:
    """Lock the dispute and return it as it is now; before any invoice, payment or request is locked.

    Raises NotFound for what the actor does not see, Stale.
    """
    dispute_seen(actor, dispute_id)
    locked = BillingDispute.objects.select_for_update(of=("self",), no_key=True).get(pk=dispute_id)
    # One more read under the lock: what the first one joined may have changed while it waited.
    dispute: BillingDispute = (
        BillingDispute.objects.select_related("invoice__entity", "invoice_line", "issuer", "entity", "hold")
        .filter(pk=locked.pk)
        .get()
    )
    dispute.expect_version(expected_version)
    return dispute


def round_of(dispute: BillingDispute) -> DisputeRound:
    """The round whose clocks run, or ran last."""
    return DisputeRound.objects.get(dispute=dispute, number=dispute.round_number)


def require_open(dispute: BillingDispute) -> None:
    """Raise Conflict ``dispute_over`` once something is decided."""
    if dispute.is_open:
        return
    advice = (
        "Reopen it within the time that its policy gives."
        if dispute.resolved_at is not None
        else "Open another one if something is wrong with the invoice."
    )
    raise Conflict(
        "dispute_over",
        f"{dispute} is {dispute.get_status_display().lower()}. {advice}",
        extra={"status": dispute.status},
    )


def event_record(
    dispute: BillingDispute,
    kind: EventKind,
    *,
    actor: User,
    is_public: bool = False,
    note: str = "",
    at: datetime.datetime | None = None,
    **details: Any,
) -> DisputeEvent:
    """Append what happened, with state and severity after it, and tell others of it."""
    event: DisputeEvent = DisputeEvent.objects.create(
        dispute=dispute,
        round=round_of(dispute),
        kind=kind,
        status=dispute.status,
        severity=dispute.severity,
        at=at or clock.now(),
        actor=actor,
        is_public=is_public,
        note=note[:1000],
        details=details,
    )
    publish(
        f"dispute.{kind}",
        {
            "dispute_id": dispute.pk,
            "event_id": event.pk,
            "invoice_id": dispute.invoice_id,
            "status": dispute.status,
            "actor_id": actor.pk,
        },
        key=f"dispute:{dispute.pk}",
    )
    return event
