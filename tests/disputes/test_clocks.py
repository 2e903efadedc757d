"""The clocks of a dispute: deadlines, pauses, severities, breaches, what is frozen, silence (DSP-05…10, 14, 16, 18)."""

import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.access import system_actor
from core.calendars import OFFICE_HOURS, SpecialDay, work_calendar_create, work_calendar_update
from core.errors import Invalid
from core.models import WorkCalendar
from core.work_calendar import WorkingHours, add_working_time, windows_of, working_time_between
from disputes.clocks import (
    ClockEvent,
    Clocks,
    ClockTerms,
    FrozenHolidays,
    Tick,
    clocks_of,
    collectible_from,
    frozen,
    silence_plan,
    terms_of_calendar,
    thawed,
)

BERLIN = ZoneInfo("Europe/Berlin")
CHRISTMAS = date(2026, 12, 25)
WORKING, WAITING = "investigating", "waiting_customer"
MICROSECOND = timedelta(microseconds=1)


def at(text: str, zone: ZoneInfo = BERLIN) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=zone)


def h(hours: float) -> timedelta:
    return timedelta(hours=hours)


def week(monday_to_friday: str, weekend: str = "", **more: Any) -> WorkingHours:
    holidays = FrozenHolidays("", "", 2026, 2029, frozenset({CHRISTMAS}))
    days = (windows_of(monday_to_friday),) * 5 + (windows_of(weekend),) * 2
    return WorkingHours(BERLIN, days, **{"holidays": holidays, **more})


OFFICE = week("09:00-17:00")
WITH_BREAK = week("09:00-12:00, 13:00-17:00")
ALWAYS = week("00:00-24:00", "00:00-24:00", holidays=FrozenHolidays("", "", 2026, 2029, frozenset()))


def terms(hours: WorkingHours = OFFICE, *, normal: float = 8, response: float = 4, **more: Any) -> ClockTerms:
    """Targets in hours: `normal`, a `high` of half as much and a `low` of twice as much."""
    return ClockTerms(
        response={"high": h(response / 2), "normal": h(response), "low": h(response * 2)},
        resolution={"high": h(normal / 2), "normal": h(normal), "low": h(normal * 2)},
        hours=hours,
        **{"pause_statuses": frozenset({WAITING}), **more},
    )


def log(opened: str | datetime, *events: tuple[str | datetime, str]) -> list[ClockEvent]:
    """A log of events such as (moment, WAITING), (moment, "high"), (moment, Tick.RESOLVED)."""
    first = at(opened) if isinstance(opened, str) else opened
    found = [ClockEvent(first, Tick.OPENED, WORKING, "normal")]
    for moment, what in events:
        status, severity, kind = found[-1].status, found[-1].severity, Tick.STATUS
        if isinstance(what, Tick):
            kind = what
        elif what in ("high", "normal", "low"):
            severity, kind = what, Tick.SEVERITY
        else:
            status = what
        found.append(ClockEvent(at(moment) if isinstance(moment, str) else moment, kind, status, severity))
    return found


def clocks(
    events: list[ClockEvent], now: str | datetime | None = None, by: ClockTerms | None = None
) -> Clocks:
    return clocks_of(by or terms(), events, at(now) if isinstance(now, str) else now)


# --- Deadlines -------------------------------------------------------------------------------------------

# Friday is 2026-03-06; the clocks of Berlin change on Sunday 2026-03-29 and Sunday 2026-10-25.
VECTORS = {
    "Fri 16:00 + 4 h": (OFFICE, "2026-03-06T16:00", 4, "2026-03-09T12:00"),
    "Sat 11:00 + 1 h": (OFFICE, "2026-03-07T11:00", 1, "2026-03-09T10:00"),
    "Mon 11:30 + 2 h, with a break": (WITH_BREAK, "2026-03-09T11:30", 2, "2026-03-09T14:30"),
    "24 Dec 16:00 + 2 h, 25th off": (OFFICE, "2026-12-24T16:00", 2, "2026-12-28T10:00"),
    "24x7 over the lost hour": (ALWAYS, "2026-03-28T12:00", 24, "2026-03-29T13:00"),
    "24x7 over the hour won": (ALWAYS, "2026-10-24T12:00", 24, "2026-10-25T11:00"),
    "office hours over the lost hour": (OFFICE, "2026-03-27T16:00", 2, "2026-03-30T10:00"),
}


@pytest.mark.parametrize("name", VECTORS)
def test_dsp_06_both_clocks_run_in_working_time(name: str) -> None:
    hours, opened, duration, expected = VECTORS[name]
    found = clocks(log(opened), by=terms(hours, normal=duration, response=duration))
    assert found.response_due_at == found.resolution_due_at == at(expected)
    assert found.resolution_due_at.tzinfo is UTC
    assert (found.resolution_target, found.remaining, found.elapsed) == (h(duration), h(duration), h(0))
    # To the very end of the clock, by itself and by a log that ends there.
    done = clocks(log(opened, (expected, Tick.RESOLVED)), by=terms(hours, normal=duration))
    assert (done.elapsed, done.remaining, done.resolved_in_time) == (h(duration), h(0), True)


def test_dsp_06_a_calendar_with_no_hours_is_refused() -> None:
    with pytest.raises(Invalid) as error:
        terms(week(""))
    assert error.value.code == "calendar_without_hours"


def test_dsp_07_pause_of_a_target_of_eight_hours() -> None:
    """8 h from Mon 09:00, pause Mon 13:00, resume Wed 11:00: due Wed 15:00."""
    events = log("2026-03-09T09:00", ("2026-03-09T13:00", WAITING), ("2026-03-11T11:00", WORKING))
    before = clocks(events, "2026-03-09T12:00")
    assert (before.resolution_due_at, before.elapsed) == (at("2026-03-09T17:00"), h(3))
    paused = clocks(events, "2026-03-10T12:00")
    assert paused.resolution_due_at is None
    assert (paused.elapsed, paused.remaining, paused.paused) == (h(4), h(4), h(4 + 3))
    assert paused.paused_since == at("2026-03-09T13:00")
    after = clocks(events, "2026-03-11T12:00")
    assert after.resolution_due_at == at("2026-03-11T15:00")
    assert (after.elapsed, after.remaining, after.paused) == (h(5), h(3), h(14))
    assert after.paused_since is None
    # Without a moment: at the last event.
    assert clocks(events) == clocks(events, "2026-03-11T11:00")


@pytest.mark.parametrize(
    ("opened", "pause", "resume", "paused", "due"),
    [
        # Over a weekend: Friday 15:00 to Monday 10:00 are three working hours.
        ("2026-03-06T14:00", "2026-03-06T15:00", "2026-03-09T10:00", 3, "2026-03-09T17:00"),
        # Over Christmas and a weekend: Thursday 16:00 to Monday 11:00.
        ("2026-12-24T10:00", "2026-12-24T16:00", "2026-12-28T11:00", 3, "2026-12-28T13:00"),
        # From a closed hour to a closed hour, and within one night.
        ("2026-03-09T09:30", "2026-03-09T20:00", "2026-03-10T19:00", 8, "2026-03-11T09:30"),
        ("2026-03-09T09:30", "2026-03-09T18:00", "2026-03-10T08:00", 0, "2026-03-10T09:30"),
    ],
)
def test_dsp_07_paused_time_is_working_time(
    opened: str, pause: str, resume: str, paused: float, due: str
) -> None:
    found = clocks(log(opened, (pause, WAITING), (resume, WORKING)))
    assert (found.paused, found.resolution_due_at) == (h(paused), at(due))


def test_dsp_07_pause_over_the_lost_hour_around_the_clock() -> None:
    found = clocks(
        log("2026-03-28T22:00", ("2026-03-29T00:00", WAITING), ("2026-03-29T06:00", WORKING)),
        by=terms(ALWAYS),
    )
    assert (found.paused, found.resolution_due_at) == (h(5), at("2026-03-29T12:00"))


def test_dsp_07_several_pauses_and_several_statuses_that_pause() -> None:
    both = terms(pause_statuses=frozenset({WAITING, "waiting_third_party"}))
    events = log(
        "2026-03-09T09:00",
        ("2026-03-09T10:00", WAITING),
        ("2026-03-09T12:00", "waiting_third_party"),
        ("2026-03-09T13:00", Tick.PUBLIC_STAFF_MESSAGE),
        ("2026-03-09T15:00", WORKING),
        ("2026-03-09T16:00", "proposed"),
        ("2026-03-10T09:00", WAITING),
        ("2026-03-10T16:00", WORKING),
    )
    found = clocks(events, "2026-03-11T10:00", by=both)
    assert (found.elapsed, found.paused) == (h(1 + 2 + 1 + 1), h(5 + 7))
    assert found.resolution_due_at == at("2026-03-11T13:00")
    assert clocks(events, "2026-03-09T14:00", by=both).paused_since == at("2026-03-09T10:00")
    # Where only the customer's turn pauses, the second status resumes.
    assert clocks(events, "2026-03-09T14:00").paused == h(2)
    assert clocks(events, "2026-03-09T14:00").elapsed == h(3)


def test_dsp_07_a_round_may_begin_paused() -> None:
    opened = ClockEvent(at("2026-03-09T09:00"), Tick.OPENED, WAITING, "normal")
    resumed = ClockEvent(at("2026-03-09T15:00"), Tick.STATUS, WORKING, "normal")
    waiting = clocks([opened], "2026-03-12T09:00")
    assert (waiting.resolution_due_at, waiting.elapsed, waiting.warnings) == (None, h(0), ())
    assert clocks([opened, resumed]).resolution_due_at == at("2026-03-10T15:00")


# --- Exactly, and never twice ----------------------------------------------------------------------------


def test_dsp_10_at_the_deadline_is_met_and_a_microsecond_later_breached() -> None:
    deadline = at("2026-03-09T17:00")
    met = clocks(log("2026-03-09T09:00", (deadline, Tick.RESOLVED)), "2026-03-20T09:00")
    assert met.resolved_in_time is True
    assert (met.resolution_breached_at, met.stopped_at) == (None, deadline)
    late = clocks(log("2026-03-09T09:00", (deadline + MICROSECOND, Tick.RESOLVED)))
    assert late.resolved_in_time is False
    assert late.resolution_breached_at == deadline
    # The office is closed then: it is the moment that counts, nothing more is used.
    assert late.elapsed == h(8)
    assert not clocks(log("2026-03-09T09:00"), deadline).resolution_is_breached
    assert clocks(log("2026-03-09T09:00"), deadline + MICROSECOND).resolution_breached_at == deadline


def test_dsp_10_overdue_is_told_in_working_time() -> None:
    found = clocks(log("2026-03-09T09:00"), "2026-03-10T12:00")
    assert (found.elapsed, found.remaining) == (h(11), -h(3))
    assert found.resolution_due_at == at("2026-03-09T17:00")


def test_dsp_07_a_pause_at_the_deadline_leaves_nothing_and_is_due_as_it_ends() -> None:
    events = log("2026-03-09T09:00", ("2026-03-09T17:00", WAITING), ("2026-03-11T11:00", WORKING))
    assert clocks(events, "2026-03-11T10:59").resolution_breached_at is None
    found = clocks(events)
    assert (found.resolution_due_at, found.resolution_is_breached) == (at("2026-03-11T11:00"), False)
    resolved = [*events, replace(events[-1], kind=Tick.RESOLVED)]
    assert clocks(resolved).resolved_in_time is True
    late = clocks(events, events[-1].at + MICROSECOND)
    assert late.resolution_breached_at == at("2026-03-11T11:00")


def test_dsp_10_a_pause_after_the_deadline_undoes_nothing() -> None:
    """Even where the office was closed between the deadline and the pause, so that no working time passed."""
    for pause in ("2026-03-09T18:00", "2026-03-10T10:00"):
        events = log("2026-03-09T09:00", (pause, WAITING), ("2026-03-11T11:00", WORKING))
        for now in ("2026-03-10T12:00", "2026-03-11T11:00", "2026-03-20T09:00"):
            assert clocks(events, now).resolution_breached_at == at("2026-03-09T17:00")
        assert clocks(events).resolution_due_at == at("2026-03-09T17:00")


def test_dsp_07_while_paused_no_deadline_is_missed() -> None:
    events = log("2026-03-09T09:00", ("2026-03-09T16:59", WAITING))
    assert not clocks(events, "2027-03-09T09:00").resolution_is_breached
    withdrawn = clocks([*events, ClockEvent(at("2026-04-09T09:00"), Tick.STOPPED, "withdrawn", "normal")])
    assert (withdrawn.resolution_is_breached, withdrawn.resolved_in_time) == (False, None)
    assert (withdrawn.resolution_due_at, withdrawn.paused_since) == (None, None)
    assert withdrawn.stopped_at == at("2026-04-09T09:00")


# --- The end of a round ----------------------------------------------------------------------------------


def test_dsp_08_stopped_is_no_breach_unless_there_was_one() -> None:
    stopped = log("2026-03-09T09:00", ("2026-03-09T12:00", Tick.STOPPED))
    found = clocks(stopped, "2027-01-01T09:00")
    assert (found.response_is_breached, found.resolution_is_breached) == (False, False)
    assert (found.resolved_in_time, found.elapsed) == (None, h(3))
    assert (found.response_met_at, found.response_due_at) == (None, at("2026-03-09T13:00"))
    late = clocks(log("2026-03-09T09:00", ("2026-03-10T12:00", Tick.STOPPED)))
    assert late.response_breached_at == at("2026-03-09T13:00")
    assert late.resolution_breached_at == at("2026-03-09T17:00")
    assert late.resolved_in_time is None


def test_dsp_16_what_follows_the_end_of_a_round_changes_nothing() -> None:
    """Time spent resolved is neither paused nor used; a reopened dispute begins a log of its own."""
    events = log("2026-03-09T09:00", ("2026-03-09T12:00", Tick.RESOLVED))
    later = [
        ClockEvent(at("2026-03-10T09:00"), Tick.PUBLIC_STAFF_MESSAGE, "resolved", "normal"),
        ClockEvent(at("2026-03-11T09:00"), Tick.STATUS, WAITING, "high"),
    ]
    assert clocks([*events, *later], "2026-03-20T09:00") == clocks(events)
    again = clocks(log("2026-03-16T09:00"), "2026-03-16T10:00")
    assert (again.elapsed, again.paused, again.resolution_due_at) == (h(1), h(0), at("2026-03-16T17:00"))


# --- The response clock ----------------------------------------------------------------------------------


def test_dsp_05_the_response_clock_never_pauses() -> None:
    events = log("2026-03-09T09:00", ("2026-03-09T10:00", WAITING))
    assert clocks(events, "2026-03-09T13:00").response_is_breached is False
    found = clocks(events, "2026-03-09T13:01")
    assert (found.response_due_at, found.response_breached_at) == (at("2026-03-09T13:00"),) * 2
    assert found.resolution_is_breached is False


def test_dsp_05_only_the_first_public_message_of_staff_meets_it() -> None:
    """An acknowledgement is a change of status, and an internal note is not in the log."""
    acknowledged = log("2026-03-09T09:00", ("2026-03-09T09:01", "acknowledged"))
    assert clocks(acknowledged, "2026-03-09T14:00").response_is_breached
    answered = [
        *acknowledged,
        ClockEvent(at("2026-03-09T13:00"), Tick.PUBLIC_STAFF_MESSAGE, "acknowledged", "normal"),
        ClockEvent(at("2026-03-09T15:00"), Tick.PUBLIC_STAFF_MESSAGE, "acknowledged", "normal"),
    ]
    found = clocks(answered, "2026-03-09T16:00")
    assert (found.response_met_at, found.response_is_breached) == (at("2026-03-09T13:00"), False)
    answered[2] = replace(answered[2], at=at("2026-03-09T13:00") + MICROSECOND)
    late = clocks(answered)
    assert late.response_met_at == at("2026-03-09T13:00") + MICROSECOND
    assert late.response_breached_at == at("2026-03-09T13:00")


def test_dsp_09_a_severity_after_the_answer_leaves_the_response_clock() -> None:
    answered = log(
        "2026-03-09T09:00", ("2026-03-09T12:30", Tick.PUBLIC_STAFF_MESSAGE), ("2026-03-09T12:30", "high")
    )
    found = clocks(answered, "2026-03-09T12:45")
    assert (found.response_due_at, found.response_is_breached) == (at("2026-03-09T13:00"), False)
    unanswered = clocks(log("2026-03-09T09:00", ("2026-03-09T10:00", "low")), "2026-03-09T16:00")
    assert (unanswered.response_due_at, unanswered.response_is_breached) == (at("2026-03-09T17:00"), False)


# --- Severity --------------------------------------------------------------------------------------------


def test_dsp_09_a_severity_recomputes_from_the_opening_and_keeps_the_pauses() -> None:
    """Used 1 h, paused 7 h: 16 h and 4 h count from Mon 09:00 and leave the paused hours out."""
    events = log("2026-03-09T09:00", ("2026-03-09T10:00", WAITING), ("2026-03-10T09:00", WORKING))
    up = clocks([*events, _severity("2026-03-10T10:00", "high")])
    assert (up.resolution_target, up.resolution_due_at) == (h(4), at("2026-03-10T12:00"))
    assert (up.elapsed, up.paused, up.remaining) == (h(2), h(7), h(2))
    down = clocks([*events, _severity("2026-03-10T10:00", "low")])
    assert (down.resolution_target, down.resolution_due_at) == (h(16), at("2026-03-11T16:00"))
    assert (down.elapsed, down.paused, down.remaining) == (h(2), h(7), h(14))


def _severity(moment: str, severity: str, status: str = WORKING) -> ClockEvent:
    return ClockEvent(at(moment), Tick.SEVERITY, status, severity)


def test_dsp_09_a_severity_while_paused_counts_when_it_resumes() -> None:
    events = log(
        "2026-03-09T09:00",
        ("2026-03-09T12:00", WAITING),
        ("2026-03-09T14:00", "high"),
        ("2026-03-10T09:00", WORKING),
    )
    waiting = clocks(events[:3])
    assert (waiting.resolution_due_at, waiting.remaining, waiting.paused_since) == (
        None,
        h(1),
        at("2026-03-09T12:00"),
    )
    resumed = clocks(events)
    assert (resumed.resolution_due_at, resumed.paused) == (at("2026-03-10T10:00"), h(5))


def test_dsp_10_a_severity_that_puts_the_deadline_into_the_past_breaches_at_once() -> None:
    """4 h were used up on Mon 13:00; nobody could know before 15:00, and nothing is missed during a pause."""
    events = log("2026-03-09T09:00", ("2026-03-09T15:00", "high"))
    assert not clocks(events, "2026-03-09T14:59").resolution_is_breached
    found = clocks(events)
    assert found.resolution_due_at == at("2026-03-09T13:00")
    assert found.resolution_breached_at == at("2026-03-09T15:00")
    paused = log(
        "2026-03-09T09:00",
        ("2026-03-09T14:00", WAITING),
        ("2026-03-09T15:00", "high"),
        ("2026-03-10T09:00", WORKING),
    )
    assert not clocks(paused, "2026-03-10T08:59").resolution_is_breached
    resumed = clocks(paused)
    assert resumed.resolution_due_at == at("2026-03-09T13:00")
    assert resumed.resolution_breached_at == at("2026-03-10T09:00")


def test_dsp_10_a_breach_stays_when_more_time_is_given() -> None:
    events = log("2026-03-09T09:00", ("2026-03-10T10:00", "low"), ("2026-03-10T11:00", Tick.RESOLVED))
    found = clocks(events)
    assert found.resolution_due_at == at("2026-03-10T17:00")
    assert found.resolution_breached_at == at("2026-03-09T17:00")
    assert found.resolved_in_time is False
    assert found.response_breached_at == at("2026-03-09T13:00")
    # Given in time, at the deadline itself, it is none.
    events[1] = replace(events[1], at=at("2026-03-09T17:00"))
    assert clocks(events).resolved_in_time is True


# --- Warnings --------------------------------------------------------------------------------------------


def test_dsp_10_warnings_at_75_and_90_percent_in_working_time() -> None:
    found = clocks(log("2026-03-09T09:00"))
    assert found.warnings == ((75, at("2026-03-09T15:00")), (90, at("2026-03-09T16:12")))
    # 75 % of 8 h from Mon 11:00 is the moment the office closes: people are there at 09:00.
    closing = clocks(log("2026-03-09T11:00"))
    assert closing.warnings == ((75, at("2026-03-10T09:00")), (90, at("2026-03-10T10:12")))


def test_dsp_10_warnings_wait_with_the_clock() -> None:
    events = log("2026-03-09T09:00", ("2026-03-09T15:30", WAITING), ("2026-03-10T09:30", WORKING))
    assert clocks(events, "2026-03-09T16:59").warnings == ((75, at("2026-03-09T15:00")),)
    assert clocks(events).warnings == ((75, at("2026-03-09T15:00")), (90, at("2026-03-10T10:12")))
    withdrawn = clocks(log("2026-03-09T09:00", ("2026-03-09T15:30", Tick.STOPPED)))
    assert withdrawn.warnings == ((75, at("2026-03-09T15:00")),)


# --- Chargebacks -----------------------------------------------------------------------------------------


def test_dsp_18_a_chargeback_runs_to_the_end_of_a_calendar_day_and_never_pauses() -> None:
    card = terms(chargeback_deadline=date(2026, 3, 15))  # a Sunday
    events = log("2026-03-13T12:00", ("2026-03-13T13:00", WAITING), ("2026-03-14T12:00", "high"))
    end = at("2026-03-16T00:00")
    found = clocks(events, "2026-03-15T12:00", by=card)
    assert found.resolution_due_at == end
    assert (found.resolution_target, found.elapsed, found.remaining) == (h(60), h(48), h(12))
    assert (found.paused, found.paused_since, found.resolution_is_breached) == (h(0), None, False)
    assert clocks(events, end, by=card).resolution_breached_at is None
    assert clocks(events, end + MICROSECOND, by=card).resolution_breached_at == end
    # The answer is due as ever: 4 h in the office, then 2 h by the new severity.
    assert clocks(events[:1], by=card).response_due_at == at("2026-03-13T16:00")


def test_dsp_18_the_day_of_a_chargeback_ends_in_the_calendars_zone_over_the_lost_hour() -> None:
    card = terms(chargeback_deadline=date(2026, 3, 29))
    found = clocks(log("2026-03-29T00:00"), by=card)
    assert found.resolution_due_at == datetime(2026, 3, 29, 22, tzinfo=UTC)
    assert found.remaining == h(23)
    passed = clocks(log("2026-03-30T09:00"), "2026-03-30T09:01", by=card)
    assert passed.resolution_breached_at == at("2026-03-30T09:00")
    assert (passed.resolution_due_at, passed.remaining, passed.warnings) == (
        at("2026-03-30T00:00"),
        -h(9) - timedelta(minutes=1),
        (),
    )


def test_dsp_10_warnings_of_a_chargeback_come_while_people_work_before_the_day_ends() -> None:
    """Friday 12:00 to Sunday midnight: five working hours are left, all on Friday."""
    card = terms(chargeback_deadline=date(2026, 3, 15))
    assert clocks(log("2026-03-13T12:00"), by=card).warnings == (
        (75, at("2026-03-13T15:45")),
        (90, at("2026-03-13T16:30")),
    )
    # Opened on Saturday at noon nothing is left: 36 hours of real time.
    assert clocks(log("2026-03-14T12:00"), by=card).warnings == (
        (75, at("2026-03-15T15:00")),
        (90, at("2026-03-15T20:24")),
    )


# --- The log ---------------------------------------------------------------------------------------------


def test_dsp_09_an_event_that_claims_to_be_earlier_counts_with_the_one_before_it() -> None:
    """The clocks of two servers differ: what was written last holds."""
    events = log(
        "2026-03-09T09:00", ("2026-03-09T13:00:00.005", WAITING), ("2026-03-09T13:00:00.003", WORKING)
    )
    found = clocks(events, "2026-03-09T14:00")
    assert (found.paused, found.paused_since) == (h(0), None)
    assert found.resolution_due_at == at("2026-03-09T17:00")
    # A server that reads the clock before the opening was written.
    assert clocks(log("2026-03-09T10:00"), "2026-03-09T09:59") == clocks(log("2026-03-09T10:00"))


@pytest.mark.parametrize(
    "events",
    [
        [],
        log("2026-03-09T09:00", ("2026-03-09T10:00", WAITING))[1:],
        log("2026-03-09T09:00") * 2,
        [ClockEvent(datetime(2026, 3, 9, 9), Tick.OPENED, WORKING, "normal")],  # noqa: DTZ001  (refused because it is naive)
    ],
    ids=["empty", "not opened", "opened twice", "naive"],
)
def test_logs_that_are_none_are_refused(events: list[ClockEvent]) -> None:
    with pytest.raises(ValueError, match=r"opened|time zone"):
        clocks(events)


@pytest.mark.parametrize(
    "wrong",
    [
        {"response": {"normal": h(1)}},
        {"response": {}, "resolution": {}},
        {"response": {"normal": h(0)}, "resolution": {"normal": h(1)}},
        {"response": {"normal": h(1)}, "resolution": {"normal": h(1) + MICROSECOND}},
        {"warn_at_percent": (75, 100)},
    ],
)
def test_terms_that_no_clock_can_run_by_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"severity|whole seconds|percent"):
        replace(terms(), **wrong)


# --- Frozen ----------------------------------------------------------------------------------------------


def test_dsp_09_terms_are_kept_as_json_and_come_back_the_same() -> None:
    special = {date(2026, 12, 24): windows_of("09:00-12:00"), date(2026, 12, 28): ()}
    given = terms(
        week("09:00-12:00, 13:00-17:00", "10-12", special_days=special),
        pause_statuses=frozenset({"waiting_third_party", WAITING}),
        warn_at_percent=(50, 75, 90),
        chargeback_deadline=date(2026, 3, 15),
    )
    kept = json.loads(json.dumps(frozen(given)))
    assert thawed(kept) == given
    assert frozen(thawed(kept)) == kept
    assert kept == {
        "response_seconds": {"high": 7200, "low": 28800, "normal": 14400},
        "resolution_seconds": {"high": 14400, "low": 57600, "normal": 28800},
        "pause_statuses": [WAITING, "waiting_third_party"],
        "warn_at_percent": [50, 75, 90],
        "chargeback_deadline": "2026-03-15",
        "calendar": {
            "zone": "Europe/Berlin",
            "week": {
                **dict.fromkeys(OFFICE_HOURS, "09:00-12:00, 13:00-17:00"),
                "saturday": "10:00-12:00",
                "sunday": "10:00-12:00",
            },
            "special_days": {"2026-12-24": "09:00-12:00", "2026-12-28": ""},
            "holidays": {
                "country": "",
                "subdivision": "",
                "first_year": 2026,
                "last_year": 2029,
                "dates": ["2026-12-25"],
            },
        },
    }
    assert thawed(frozen(terms())).chargeback_deadline is None
    with pytest.raises(TypeError, match="frozen"):
        frozen(terms(week("9-17", holidays={CHRISTMAS})))


def targets_of_eight_hours() -> dict[str, Any]:
    return {
        "response": {"normal": h(4)},
        "resolution": {"normal": h(8)},
        "pause_statuses": frozenset({WAITING}),
    }


@pytest.mark.django_db
def test_dsp_09_a_calendar_that_changes_changes_no_terms_that_are_frozen(
    django_assert_num_queries: Any,
) -> None:
    calendar = work_calendar_create(
        actor=system_actor(),
        name="Berlin",
        time_zone="Europe/Berlin",
        holiday_country="DE",
        special_days=[SpecialDay(date(2026, 12, 24), "Christmas Eve", "9-12")],
        **OFFICE_HOURS,
    )
    opened = at("2026-12-23T15:00")
    with django_assert_num_queries(1):
        given = terms_of_calendar(calendar, since=opened, **targets_of_eight_hours())
    kept = json.loads(json.dumps(frozen(given)))
    assert thawed(kept) == given
    # Two hours on the 23rd and three on the 24th; holidays and weekend; three hours on Monday.
    assert clocks_of(thawed(kept), log(opened)).resolution_due_at == at("2026-12-28T12:00")

    work_calendar_update(
        actor=system_actor(),
        calendar=calendar,
        time_zone="America/New_York",
        monday="20:00-21:00",
        holiday_country="",
        special_days=[],
    )
    changed = terms_of_calendar(WorkCalendar.objects.get(), since=opened, **targets_of_eight_hours())
    assert clocks_of(changed, log(opened)).resolution_due_at != at("2026-12-28T12:00")
    assert clocks_of(thawed(kept), log(opened)).resolution_due_at == at("2026-12-28T12:00")


def test_dsp_09_holidays_of_four_years_are_frozen_and_later_ones_are_asked_for() -> None:
    """What the library of another version would say of a frozen year does not count: the dates that were kept do."""
    calendar = WorkCalendar(name="Munich", holiday_country="DE", holiday_subdivision="BY", **OFFICE_HOURS)
    calendar.time_zone = "Europe/Berlin"
    # 23:30 UTC on New Year's Eve is the new year in Berlin.
    given = terms_of_calendar(
        calendar, since=datetime(2025, 12, 31, 23, 30, tzinfo=UTC), **targets_of_eight_hours()
    )
    kept = frozen(given)
    holidays = kept["calendar"]["holidays"]
    assert (holidays["first_year"], holidays["last_year"]) == (2026, 2029)
    assert [day for day in holidays["dates"] if day.startswith("2026")] == [
        "2026-01-01",
        "2026-01-06",
        "2026-04-03",
        "2026-04-06",
        "2026-05-01",
        "2026-05-14",
        "2026-05-25",
        "2026-06-04",
        "2026-10-03",
        "2026-11-01",
        "2026-12-25",
        "2026-12-26",
    ]
    holidays["dates"].remove("2026-12-25")
    holidays["dates"].append("2026-12-24")
    hours = thawed(kept).hours
    assert hours.is_working_day(date(2026, 12, 25))
    assert not hours.is_working_day(date(2026, 12, 24))
    assert not hours.is_working_day(date(2030, 12, 25))
    assert not hours.is_working_day(date(2025, 12, 25))
    assert hours.is_working_day(date(2030, 12, 24))


# --- Silence and what becomes due again ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "days", "reminders", "expected"),
    [
        ("2026-03-09T10:15", 3, 2, ["2026-03-10T10:15", "2026-03-11T10:15", "2026-03-12T10:15"]),
        # Ten working days: the 3rd, the 7th, the 10th.
        ("2026-03-09T10:15", 10, 2, ["2026-03-12T10:15", "2026-03-18T10:15", "2026-03-23T10:15"]),
        # Asked on a Saturday night: each moves to the morning after.
        ("2026-03-07T20:00", 5, 2, ["2026-03-11T09:00", "2026-03-12T09:00", "2026-03-16T09:00"]),
        # Over Christmas, and over the change of the clocks at the same time of day.
        ("2026-12-23T16:00", 3, 2, ["2026-12-24T16:00", "2026-12-28T16:00", "2026-12-29T16:00"]),
        ("2026-03-27T16:00", 2, 1, ["2026-03-30T16:00", "2026-03-31T16:00"]),
        ("2026-03-09T10:15", 1, 0, ["2026-03-10T10:15"]),
    ],
)
def test_dsp_08_two_reminders_and_then_withdrawn(
    asked: str, days: int, reminders: int, expected: list[str]
) -> None:
    plan = silence_plan(OFFICE, at(asked), days, reminders)
    assert [*plan.reminders, plan.withdraw_at] == [at(moment) for moment in expected]
    # The same moment named in another zone.
    assert silence_plan(OFFICE, at(asked).astimezone(UTC), days, reminders) == plan


def test_dsp_08_a_reminder_needs_a_day_of_its_own() -> None:
    for days, reminders in ((2, 2), (0, 0), (3, -1)):
        with pytest.raises(ValueError, match="day of its own"):
            silence_plan(OFFICE, at("2026-03-09T10:15"), days, reminders)


def test_dsp_14_the_remainder_is_due_again_after_the_decision() -> None:
    assert collectible_from(date(2026, 3, 31), date(2026, 3, 20), 14) == date(2026, 4, 3)
    assert collectible_from(date(2026, 4, 30), date(2026, 3, 20), 14) == date(2026, 4, 30)
    assert collectible_from(date(2026, 1, 1), date(2026, 3, 20), 0) == date(2026, 3, 20)
    with pytest.raises(ValueError, match="after the decision"):
        collectible_from(date(2026, 3, 31), date(2026, 3, 20), -1)


# --- Random lives ----------------------------------------------------------------------------------------

CALENDARS = st.sampled_from([OFFICE, WITH_BREAK, ALWAYS, week("22:00-24:00", "00:00-03:30")])
OPENINGS = st.datetimes(datetime(2026, 3, 1), datetime(2026, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001
HAPPENINGS = st.lists(
    st.tuples(
        st.integers(1, 3000), st.sampled_from([WAITING, WAITING, WORKING, WORKING, "high", "normal", "low"])
    ),
    max_size=8,
)


def life(opened: datetime, happenings: list[tuple[int, str]]) -> list[ClockEvent]:
    """A log with so many minutes from one event to the next."""
    moments, moment = [], opened
    for minutes, what in happenings:
        moment += timedelta(minutes=minutes)
        moments.append((moment, what))
    return log(opened, *moments)


@given(
    hours=CALENDARS,
    opened=OPENINGS,
    happenings=HAPPENINGS,
    more=st.integers(0, 3000),
    target=st.integers(1, 40),
)
def test_dsp_07_what_was_used_and_paused_is_all_there_was(
    hours: WorkingHours, opened: datetime, happenings: list[tuple[int, str]], more: int, target: int
) -> None:
    events = life(opened, happenings)
    now = events[-1].at + timedelta(minutes=more)
    by = terms(hours, normal=target)
    found = clocks_of(by, events, now)
    assert found.elapsed + found.remaining == found.resolution_target
    assert found.elapsed + found.paused == working_time_between(hours, opened, now)
    if found.resolution_due_at is not None and found.remaining > h(0):
        assert found.resolution_due_at == add_working_time(hours, now, found.remaining)
    assert clocks_of(thawed(json.loads(json.dumps(frozen(by)))), events, now) == found


@given(hours=CALENDARS, opened=OPENINGS, happenings=HAPPENINGS, target=st.integers(1, 40))
def test_dsp_09_the_deadline_kept_event_by_event_is_the_one_of_the_whole_log(
    hours: WorkingHours, opened: datetime, happenings: list[tuple[int, str]], target: int
) -> None:
    """By the words of DSP-07, one event after the other: remaining at the pause, deadline = resume + remaining."""
    events = life(opened, happenings)
    by = terms(hours, normal=target)
    severity, paused_at, paused = "normal", None, h(0)
    remaining = by.resolution[severity]
    due = add_working_time(hours, opened, remaining)
    breached = False
    for place, event in enumerate(events[1:], start=2):
        breached = breached or (paused_at is None and due < event.at)
        if event.severity != severity:
            severity = event.severity
            used = working_time_between(hours, opened, paused_at or event.at) - paused
            remaining = by.resolution[severity] - used
            if remaining <= h(0):
                return  # overdue, or due in a moment without working time: told by the tests above
            if paused_at is None:
                due = add_working_time(hours, opened, by.resolution[severity] + paused)
        if event.status == WAITING and paused_at is None:
            remaining, paused_at = working_time_between(hours, event.at, due), event.at
            if remaining <= h(0):
                return
        elif event.status == WORKING and paused_at is not None:
            paused += working_time_between(hours, paused_at, event.at)
            due, paused_at = add_working_time(hours, event.at, remaining), None
        found = clocks_of(by, events[:place])
        assert found.resolution_due_at == (None if paused_at else due)
        assert found.resolution_is_breached is breached
        assert found == clocks_of(by, events, event.at)


@given(hours=CALENDARS, opened=OPENINGS, happenings=HAPPENINGS, target=st.integers(1, 40))
def test_dsp_10_a_breach_is_found_again_at_every_later_moment(
    hours: WorkingHours, opened: datetime, happenings: list[tuple[int, str]], target: int
) -> None:
    events = life(opened, happenings)
    by = terms(hours, normal=target, response=target)
    known: tuple[datetime | None, datetime | None] = (None, None)
    for event in events:
        found = clocks_of(by, events, event.at)
        breaches = (found.response_breached_at, found.resolution_breached_at)
        for before, moment in zip(known, breaches, strict=True):
            assert moment == before if before else moment is None or moment <= event.at
        known = breaches


@given(
    opened=st.integers(0, 479),
    target=st.integers(1, 20),
    first=st.integers(0, 4),
    nights=st.integers(0, 6),
    minutes=st.tuples(*[st.integers(1, 959)] * 4).map(sorted),
)
def test_dsp_07_moving_a_pause_within_closed_hours_changes_nothing(
    opened: int, target: int, first: int, nights: int, minutes: list[int]
) -> None:
    """Nights run from 17:00 to 09:00; a pause within one of them is none."""
    start = at("2026-03-09T09:00") + timedelta(minutes=opened)
    evening = at("2026-03-09T17:00")
    end = start + timedelta(days=20)

    def found(pause: int, resume: int) -> Clocks:
        begins = evening + timedelta(days=first, minutes=pause)
        ends = evening + timedelta(days=first + nights, minutes=resume)
        return clocks_of(terms(normal=target), log(start, (begins, WAITING), (ends, WORKING)), end)

    a, b, c, d = minutes
    assert found(a, d) == found(b, c)
    if nights == 0:
        assert found(a, d) == clocks_of(terms(normal=target), log(start), end)


@given(
    hours=CALENDARS,
    opened=OPENINGS,
    happenings=HAPPENINGS,
    target=st.integers(1, 40),
    more=st.integers(1, 40),
)
def test_dsp_07_a_longer_target_is_never_due_earlier(
    hours: WorkingHours, opened: datetime, happenings: list[tuple[int, str]], target: int, more: int
) -> None:
    events = life(opened, happenings)
    short, long = (clocks_of(terms(hours, normal=hours_), events) for hours_ in (target, target + more))
    assert (short.resolution_due_at is None) is (long.resolution_due_at is None)
    if short.resolution_due_at is not None and long.resolution_due_at is not None:
        assert short.resolution_due_at <= long.resolution_due_at
    if long.resolution_breached_at is not None:
        assert short.resolution_breached_at is not None
        assert short.resolution_breached_at <= long.resolution_breached_at
