"""Rounds: freezing terms when one begins, and keeping the clocks that its log gives (DSP-05 to DSP-10, DSP-16)."""

import datetime
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace

from core import clock
from core.access import system_actor
from core.models import WorkCalendar
from core.work_calendar import WEEKDAYS
from disputes.clocks import (
    ClockEvent,
    Clocks,
    ClockTerms,
    SilencePlan,
    Tick,
    clocks_of,
    frozen,
    silence_plan,
    terms_of_calendar,
    thawed,
)
from disputes.models import (
    OPEN_STATUSES,
    BillingDispute,
    DisputeEvent,
    DisputePolicy,
    DisputeRound,
    DisputeStatus,
    EventKind,
    Severity,
)
from disputes.selectors.policies import (
    DEFAULT_RESOLUTION,
    DEFAULT_RESPONSE,
    policy_terms,
    stored_terms,
)
from disputes.services.log import event_record, round_of

TICKS = {
    EventKind.OPENED: Tick.OPENED,
    EventKind.REOPENED: Tick.OPENED,
    EventKind.STAFF_MESSAGE: Tick.PUBLIC_STAFF_MESSAGE,
    EventKind.SEVERITY: Tick.SEVERITY,
    EventKind.RESOLVED: Tick.RESOLVED,
    EventKind.WITHDRAWN: Tick.STOPPED,
    EventKind.MOOT: Tick.STOPPED,
}
"""What an event is to the clocks; all others at most change the state."""


# --- Beginning -------------------------------------------------------------------------------------------


def round_start(
    dispute: BillingDispute, *, policy: DisputePolicy | None, like: DisputeRound | None = None
) -> DisputeRound:
    """Begin the round that the dispute is in now, by the policy and calendar as they are, or ``like`` an earlier one.

    The caller writes the event that opens it, at ``started_at``.
    """
    now = clock.now()
    terms = like.terms if like is not None else _frozen_terms(dispute, policy, now)
    opening = ClockEvent(now, Tick.OPENED, dispute.status, dispute.severity)
    clocks = clocks_of(_clock_terms(terms, dispute), [opening])
    started = DisputeRound.objects.create(
        dispute=dispute,
        number=dispute.round_number,
        policy=policy,
        terms=terms,
        started_at=now,
        response_due_at=clocks.response_due_at,
        resolution_due_at=clocks.resolution_due_at,
        next_warning_at=clocks.warnings[0][1] if clocks.warnings else None,
    )
    dispute.next_deadline_at = _next_deadline(clocks)
    dispute.save()
    return started


def _frozen_terms(
    dispute: BillingDispute, policy: DisputePolicy | None, since: datetime.datetime
) -> dict[str, dict]:
    response, resolution = dict(DEFAULT_RESPONSE), {key.value: it for key, it in DEFAULT_RESOLUTION.items()}
    pauses = {DisputeStatus.WAITING_CUSTOMER.value}
    warnings: tuple[int, ...] = (75, 90)
    calendar = None
    if policy is not None:
        calendar = policy.calendar
        warnings = (policy.first_warning_percent, policy.second_warning_percent)
        for target in policy.targets.all():
            response[target.severity] = target.response_minutes
            resolution[target.severity] = target.resolution_minutes
        if policy.pauses_for_third_party:
            pauses.add(DisputeStatus.WAITING_THIRD_PARTY.value)
    terms = terms_of_calendar(
        calendar or around_the_clock(dispute.issuer.time_zone),
        since=since,
        response=_durations(response),
        resolution=_durations(resolution),
        pause_statuses=frozenset(pauses),
        warn_at_percent=warnings,
    )
    return {"clock": frozen(terms), "policy": policy_terms(policy, dispute.issuer).as_stored()}


def around_the_clock(time_zone: str) -> WorkCalendar:
    """A calendar that never closes, which is not stored."""
    return WorkCalendar(
        name="Around the clock", time_zone=time_zone, **dict.fromkeys(WEEKDAYS, "00:00-24:00")
    )


def _durations(minutes: dict[str, int]) -> dict[str, datetime.timedelta]:
    return {each: datetime.timedelta(minutes=minutes[each]) for each in Severity.values}


def _clock_terms(terms: dict[str, dict], dispute: BillingDispute) -> ClockTerms:
    """The frozen terms, with the chargeback's deadline, which the card scheme sets and nobody freezes (DSP-18)."""
    return replace(thawed(terms["clock"]), chargeback_deadline=dispute.chargeback_deadline)


# --- Keeping ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StoredClocks:
    """What a round keeps of its clocks; a rebuild from the log gives the same (DSP-09)."""

    ended_at: datetime.datetime | None
    response_due_at: datetime.datetime
    response_met_at: datetime.datetime | None
    resolution_due_at: datetime.datetime | None
    paused_since: datetime.datetime | None
    paused_seconds: int
    elapsed_seconds: int | None
    next_reminder_at: datetime.datetime | None
    withdraw_at: datetime.datetime | None


def round_clocks(
    current: DisputeRound,
    *,
    now: datetime.datetime | None = None,
    events: Iterable[DisputeEvent] | None = None,
) -> Clocks:
    """How the clocks of a round stand by its log; at its last event without ``now``."""
    log = current.events.order_by("id") if events is None else events
    ticks = [
        ClockEvent(event.at, TICKS.get(EventKind(event.kind), Tick.STATUS), event.status, event.severity)
        for event in log
    ]
    return clocks_of(_clock_terms(current.terms, current.dispute), ticks, now)


def derived_clocks(current: DisputeRound) -> StoredClocks:
    """What the round should keep, worked out from the log alone."""
    events = list(current.events.order_by("id"))
    clocks = round_clocks(current, events=events)
    plan = _silence(current, events, clocks)
    return StoredClocks(
        ended_at=clocks.stopped_at,
        response_due_at=clocks.response_due_at,
        response_met_at=clocks.response_met_at,
        resolution_due_at=clocks.resolution_due_at,
        paused_since=clocks.paused_since,
        paused_seconds=_seconds(clocks.paused),
        elapsed_seconds=_seconds(clocks.elapsed) if clocks.stopped_at else None,
        next_reminder_at=_next_reminder(current, plan),
        withdraw_at=plan.withdraw_at if plan else None,
    )


def clocks_refresh(dispute: BillingDispute) -> DisputeRound:
    """Keep what the log of a locked dispute says of its clocks, after something was written into it.

    A deadline that was missed is written down once and stays (DSP-10).
    """
    current = round_of(dispute)
    current.dispute = dispute
    if dispute.status != DisputeStatus.WAITING_CUSTOMER:
        current.silence_reminders = 0
    for name, value in asdict(derived_clocks(current)).items():
        setattr(current, name, value)
    clocks = round_clocks(current, now=clock.now())
    current.next_warning_at = _next_warning(current, clocks)
    missed = _note_breaches(current, clocks)
    current.save()
    dispute.next_deadline_at = _next_deadline(clocks) if dispute.status in OPEN_STATUSES else None
    dispute.save()
    for what in missed:
        event_record(dispute, EventKind.BREACHED, actor=system_actor(), what=what)
    return current


def clocks_differ(current: DisputeRound) -> dict[str, tuple[object, object]]:
    """What the round keeps that its log does not say: kept and derived, by name; empty when all is well."""
    derived = asdict(derived_clocks(current))
    return {
        name: (getattr(current, name), value)
        for name, value in derived.items()
        if getattr(current, name) != value
    }


def _note_breaches(current: DisputeRound, clocks: Clocks) -> list[str]:
    missed = []
    if current.response_breached_at is None and clocks.response_breached_at is not None:
        current.response_breached_at = clocks.response_breached_at
        missed.append("response")
    if current.resolution_breached_at is None and clocks.resolution_breached_at is not None:
        current.resolution_breached_at = clocks.resolution_breached_at
        missed.append("resolution")
    return missed


def _next_deadline(clocks: Clocks) -> datetime.datetime | None:
    """The next moment by which something is due."""
    due = [clocks.resolution_due_at]
    if clocks.response_met_at is None:
        due.append(clocks.response_due_at)
    return min((moment for moment in due if moment is not None), default=None)


def _next_warning(current: DisputeRound, clocks: Clocks) -> datetime.datetime | None:
    if clocks.stopped_at is not None or clocks.resolution_breached_at is not None:
        return None
    to_come = [moment for percent, moment in clocks.warnings if percent > current.warned_percent]
    return min(to_come, default=None)


def _silence(current: DisputeRound, events: Iterable[DisputeEvent], clocks: Clocks) -> SilencePlan | None:
    """What follows from the customer's silence while they are waited for (DSP-08)."""
    since = None
    for event in events:
        if event.status != DisputeStatus.WAITING_CUSTOMER:
            since = None
        elif since is None:
            since = event.at
    if since is None or clocks.stopped_at is not None:
        return None
    hours = thawed(current.terms["clock"]).hours
    days = stored_terms(current.terms["policy"]).silence_days
    return silence_plan(hours, since, days, reminders=min(2, days - 1))


def _next_reminder(current: DisputeRound, plan: SilencePlan | None) -> datetime.datetime | None:
    if plan is None or current.silence_reminders >= len(plan.reminders):
        return None
    return plan.reminders[current.silence_reminders]


def _seconds(duration: datetime.timedelta) -> int:
    return int(duration.total_seconds())
