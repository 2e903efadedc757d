"""Rounds: freezing terms when one begins, and keeping the clocks that its log gives (DSP-05 to DSP-10, DSP-16)."""

import datetime
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace

from django.db import transaction

from core import clock
from core.access import system_actor
from core.history import record_as
from core.models import WorkCalendar
from core.work_calendar import WEEKDAYS, WorkingHours, add_working_days, next_working_moment
from disputes.clocks import (
    ClockEvent,
    Clocks,
    ClockTerms,
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
from disputes.selectors.people import RUNG_FINANCE, RUNG_OWNER
from disputes.selectors.policies import (
    DEFAULT_RESOLUTION,
    DEFAULT_RESPONSE,
    PolicyTerms,
    policy_terms,
    stored_terms,
)
from disputes.services.log import event_record, lock_dispute, round_of

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

    The caller writes the event that opens it, at ``started_at``: by the log alone the clocks are the same (DSP-09).
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
    dispute.next_deadline_at = next_deadline(started)
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
    closes_at: datetime.datetime | None
    response_due_at: datetime.datetime
    response_met_at: datetime.datetime | None
    resolution_due_at: datetime.datetime | None
    paused_since: datetime.datetime | None
    paused_seconds: int
    elapsed_seconds: int | None
    warned_percent: int
    next_warning_at: datetime.datetime | None
    escalation_level: int
    next_escalation_at: datetime.datetime | None
    silence_reminders: int
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


def derived_clocks(current: DisputeRound, events: Sequence[DisputeEvent] | None = None) -> StoredClocks:
    """What the round should keep, worked out from the log alone."""
    events = list(current.events.order_by("id")) if events is None else events
    clocks = round_clocks(current, events=events)
    hours, terms = thawed(current.terms["clock"]).hours, stored_terms(current.terms["policy"])
    silence = _silence(events, clocks, hours, terms)
    climb = _climb(events, clocks, hours)
    warned = max(
        (event.details["percent"] for event in _of(events, EventKind.WARNED, complete=True)), default=0
    )
    resolved = clocks.stopped_at is not None and clocks.resolved_in_time is not None
    return StoredClocks(
        ended_at=clocks.stopped_at,
        closes_at=clocks.stopped_at + datetime.timedelta(days=terms.reopen_days)
        if clocks.stopped_at is not None and resolved
        else None,
        response_due_at=clocks.response_due_at,
        response_met_at=clocks.response_met_at,
        resolution_due_at=clocks.resolution_due_at,
        paused_since=clocks.paused_since,
        paused_seconds=_seconds(_finished_pauses(current, events, clocks)),
        elapsed_seconds=_seconds(clocks.elapsed) if clocks.stopped_at else None,
        warned_percent=warned,
        next_warning_at=_next_warning(clocks, warned, events),
        escalation_level=climb.level,
        next_escalation_at=climb.next_at,
        silence_reminders=silence.reminded,
        next_reminder_at=silence.next_reminder_at,
        withdraw_at=silence.withdraw_at,
    )


def clocks_refresh(dispute: BillingDispute) -> DisputeRound:
    """Keep what the log of a locked dispute says of its clocks, after something was written into it.

    A deadline that was missed is written down once and stays; it marks an open dispute as escalated (DSP-05, DSP-10).
    """
    current = round_of(dispute)
    current.dispute = dispute
    before = (dispute.next_deadline_at, dispute.is_escalated)
    events = list(current.events.order_by("id"))
    events += _note_breaches(current, round_clocks(current, now=clock.now(), events=events))
    for name, value in asdict(derived_clocks(current, events)).items():
        setattr(current, name, value)
    current.save()
    dispute.next_deadline_at = next_deadline(current)
    if before != (dispute.next_deadline_at, dispute.is_escalated):
        dispute.save()
    return current


def clocks_rebuild(*, dispute_id: int) -> dict[str, tuple[object, object]]:
    """Write anew what all rounds of a dispute keep of their clocks, and return what was wrong (DSP-09)."""
    with transaction.atomic(), record_as(system_actor(), "Rebuilt from the log."):
        dispute = lock_dispute(system_actor(), dispute_id)
        wrong: dict[str, tuple[object, object]] = {}
        for each in dispute.rounds.order_by("number"):
            each.dispute = dispute
            differences = clocks_differ(each)
            wrong |= {f"{name} of round {each.number}": values for name, values in differences.items()}
            for name, value in asdict(derived_clocks(each)).items():
                setattr(each, name, value)
            for what in ("response", "resolution"):
                missed = _of(each.events.order_by("id"), EventKind.BREACHED, what=what)
                if missed and getattr(each, f"{what}_breached_at") is None:
                    missed_at = datetime.datetime.fromisoformat(missed[0].details["missed_at"])
                    setattr(each, f"{what}_breached_at", missed_at)
            each.save()
        dispute.next_deadline_at = next_deadline(round_of(dispute))
        if wrong:
            dispute.save()
    return wrong


def clocks_differ(
    current: DisputeRound, events: Sequence[DisputeEvent] | None = None
) -> dict[str, tuple[object, object]]:
    """What the round keeps that its log does not say: kept and derived, by name; empty when all is well.

    That a deadline was missed stays as it was written down; only the log is asked whether it was.
    """
    events = list(current.events.order_by("id")) if events is None else events
    derived: dict[str, object] = asdict(derived_clocks(current, events))
    kept: dict[str, object] = {name: getattr(current, name) for name in derived}
    for what in ("response", "resolution"):
        kept[f"{what}_breached"] = getattr(current, f"{what}_breached_at") is not None
        derived[f"{what}_breached"] = any(_of(events, EventKind.BREACHED, what=what))
    if current.number == current.dispute.round_number:
        kept["next_deadline_at"] = current.dispute.next_deadline_at
        derived["next_deadline_at"] = next_deadline(current, derived_clocks(current, events))
    return {name: (kept[name], value) for name, value in derived.items() if kept[name] != value}


def next_deadline(
    current: DisputeRound, clocks: DisputeRound | StoredClocks | None = None
) -> datetime.datetime | None:
    """The next moment by which something is due; None once the round is over, and while nothing is."""
    clocks = clocks or current
    if clocks.ended_at is not None:
        return None
    due = [clocks.resolution_due_at]
    if clocks.response_met_at is None:
        due.append(clocks.response_due_at)
    return min((moment for moment in due if moment is not None), default=None)


def working_days_later(hours: WorkingHours, moment: datetime.datetime, count: int) -> datetime.datetime:
    """So many working days later at the same time of day, or when work begins next."""
    here = moment.astimezone(hours.zone)
    day = add_working_days(hours, here.date(), count)
    return next_working_moment(hours, datetime.datetime.combine(day, here.time(), tzinfo=hours.zone))


def _of(events: Iterable[DisputeEvent], kind: EventKind, **details: object) -> list[DisputeEvent]:
    return [
        event for event in events if event.kind == kind and details.items() <= dict(event.details).items()
    ]


def _note_breaches(current: DisputeRound, clocks: Clocks) -> list[DisputeEvent]:
    dispute, written = current.dispute, []
    for what in ("response", "resolution"):
        missed_at = getattr(clocks, f"{what}_breached_at")
        if missed_at is None or getattr(current, f"{what}_breached_at") is not None:
            continue
        setattr(current, f"{what}_breached_at", missed_at)
        if dispute.status in OPEN_STATUSES and not dispute.is_escalated:
            dispute.is_escalated, dispute.escalated_at = True, clock.now()
        written.append(
            event_record(
                dispute, EventKind.BREACHED, actor=system_actor(), what=what, missed_at=missed_at.isoformat()
            )
        )
    return written


def _finished_pauses(
    current: DisputeRound, events: Sequence[DisputeEvent], clocks: Clocks
) -> datetime.timedelta:
    """The pauses that are over: how long a running one has lasted is for whoever reads."""
    if clocks.paused_since is None:
        return clocks.paused
    return round_clocks(current, events=events, now=clocks.paused_since).paused


def _next_warning(clocks: Clocks, warned: int, events: Iterable[DisputeEvent]) -> datetime.datetime | None:
    if clocks.stopped_at is not None or _of(events, EventKind.BREACHED, what="resolution"):
        return None
    return min((moment for percent, moment in clocks.warnings if percent > warned), default=None)


# --- The ladder of escalation ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Climb:
    """How high it was escalated, and when the next rung is asked."""

    level: int
    next_at: datetime.datetime | None


def _climb(events: Iterable[DisputeEvent], clocks: Clocks, hours: WorkingHours) -> _Climb:
    """A missed deadline reaches the owner; a working day later the lead, then the finance managers (DSP-10).

    Nobody above is asked while nothing is overdue: staff has answered, or waits for the customer, or has got more time.
    """
    level, asked_at = 0, None
    missed: dict[str, datetime.datetime] = {}
    for event in events:
        if event.kind == EventKind.BREACHED:
            level = max(level, RUNG_OWNER)
            missed[event.details["what"]] = event.at
        elif event.kind == EventKind.ESCALATED:
            level, asked_at = max(level, event.details["level"]), event.at
    due = {"resolution": clocks.resolution_due_at}
    if clocks.response_met_at is None:
        due["response"] = clocks.response_due_at
    overdue = [(missed[what], at) for what, at in due.items() if what in missed and at is not None]
    if level >= RUNG_FINANCE or not overdue or clocks.stopped_at is not None:
        return _Climb(level, None)
    since = min(noted_at for noted_at, _ in overdue)
    if asked_at is not None:
        since = max(since, asked_at)
    return _Climb(level, max(working_days_later(hours, since, 1), min(at for _, at in overdue)))


# --- The customer's silence ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Silence:
    """How often the customer was reminded of a question, and what comes next (DSP-08)."""

    reminded: int = 0
    next_reminder_at: datetime.datetime | None = None
    withdraw_at: datetime.datetime | None = None


def _silence(
    events: Iterable[DisputeEvent], clocks: Clocks, hours: WorkingHours, terms: PolicyTerms
) -> _Silence:
    """What follows from the customer's silence while they are waited for.

    After each reminder they have a working day at least, also where it came late.
    """
    since: datetime.datetime | None = None
    reminded: list[datetime.datetime] = []
    for event in events:
        if event.status != DisputeStatus.WAITING_CUSTOMER:
            since, reminded = None, []
        elif since is None:
            since = event.at
        elif event.kind == EventKind.REMINDED:
            reminded.append(event.at)
    if since is None or clocks.stopped_at is not None:
        return _Silence()
    plan = silence_plan(hours, since, terms.silence_days)
    to_come = plan.reminders[len(reminded) :]
    earliest = working_days_later(hours, reminded[-1], 1) if reminded else since
    return _Silence(
        reminded=len(reminded),
        next_reminder_at=max(to_come[0], earliest) if to_come else None,
        withdraw_at=max(plan.withdraw_at, earliest),
    )


def _seconds(duration: datetime.timedelta) -> int:
    return int(duration.total_seconds())
