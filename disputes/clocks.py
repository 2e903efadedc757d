"""The clocks of a dispute: what its terms and the log of one round make of them (DSP-05…10, DSP-16, DSP-18).

Pure functions: no clock, and no database but for the special days that `terms_of_calendar` reads. The services write
the log, keep the deadlines found here as a cache, and freeze the terms when a round begins.

    clocks = clocks_of(thawed(round.terms), events, clock.now())

Two clocks run from the opening of a round. The response clock ends with the first public message of staff and never
pauses. The resolution clock ends with the resolution and stands still in the statuses that pause it. Durations are
working time of the calendar, what is paused too; moments are returned in UTC. The deadline itself is in time, the
microsecond after it is not. A reopened dispute has a new round: a new log, and nothing of the earlier one in it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from itertools import pairwise
from typing import Any, Self
from zoneinfo import ZoneInfo

from django.utils import timezone

from core import clock
from core.calendars import PublicHolidays, hours_of
from core.models import WorkCalendar
from core.work_calendar import (
    WEEKDAYS,
    WorkingHours,
    add_working_days,
    add_working_time,
    hours_text,
    next_working_moment,
    windows_of,
    working_time_between,
)

WARN_AT_PERCENT = (75, 90)
REMINDERS = 2

YEARS_FROZEN = 4
"""The year in which a round begins and the three after it: no dispute is worked on for longer."""

_NOTHING = timedelta(0)
_ONE_DAY = timedelta(days=1)
_ONE_SECOND = timedelta(seconds=1)


# --- Terms -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class FrozenHolidays:
    """Public holidays as they were known at one time, as a set of dates (DSP-09).

    From `first_year` to `last_year`, both included, the holidays are these dates, whatever a later version of the
    library says; the years around them are answered by the library.
    """

    country: str
    subdivision: str
    first_year: int
    last_year: int
    dates: frozenset[date]

    @classmethod
    def known(cls, country: str, subdivision: str, first_year: int) -> Self:
        """Return what the library says today for `YEARS_FROZEN` years; of no country there are no holidays."""
        holidays = PublicHolidays(country, subdivision)
        last_year = first_year + YEARS_FROZEN - 1
        first, end = date(first_year, 1, 1), date(last_year + 1, 1, 1)
        days = (first + timedelta(days=number) for number in range((end - first).days))
        return cls(
            country, subdivision, first_year, last_year, frozenset(day for day in days if day in holidays)
        )

    def __contains__(self, day: object) -> bool:
        if isinstance(day, date) and self.first_year <= day.year <= self.last_year:
            return day in self.dates
        return day in PublicHolidays(self.country, self.subdivision)


@dataclass(frozen=True)
class ClockTerms:
    """What the clocks of a round run by: the targets of each severity in working time, and what pauses them.

    `chargeback_deadline` is the scheme's calendar day (DSP-18): the resolution is due by the end of that day in the
    calendar's zone, runs in real time whatever the severity, and never pauses; the response clock runs as ever.
    Raises ValueError unless both clocks have the same severities with targets of whole seconds above zero, and the
    warnings lie between 0 and 100 percent.
    """

    response: Mapping[str, timedelta]
    resolution: Mapping[str, timedelta]
    hours: WorkingHours
    pause_statuses: frozenset[str] = frozenset()
    warn_at_percent: tuple[int, ...] = WARN_AT_PERCENT
    chargeback_deadline: date | None = None

    def __post_init__(self) -> None:
        if not self.resolution or self.response.keys() != self.resolution.keys():
            raise ValueError("Each severity needs a target for the response and one for the resolution.")
        for target in (*self.response.values(), *self.resolution.values()):
            if target <= _NOTHING or target % _ONE_SECOND:
                raise ValueError("A target is a number of whole seconds above zero.")
        if not all(0 < percent < 100 for percent in self.warn_at_percent):
            raise ValueError("A warning comes between 0 and 100 percent of the target.")


def terms_of_calendar(
    calendar: WorkCalendar,
    *,
    since: datetime,
    response: Mapping[str, timedelta],
    resolution: Mapping[str, timedelta],
    pause_statuses: frozenset[str],
    warn_at_percent: tuple[int, ...] = WARN_AT_PERCENT,
    chargeback_deadline: date | None = None,
) -> ClockTerms:
    """Return the terms of a round that begins at `since`, with what the calendar says today (DSP-09).

    Reads the calendar's special days. Raises Invalid `calendar_without_hours`, and ValueError as ClockTerms does.
    """
    hours = hours_of(calendar)
    holidays = FrozenHolidays.known(
        calendar.holiday_country, calendar.holiday_subdivision, _utc(since).astimezone(hours.zone).year
    )
    return ClockTerms(
        response=response,
        resolution=resolution,
        hours=replace(hours, holidays=holidays),
        pause_statuses=pause_statuses,
        warn_at_percent=warn_at_percent,
        chargeback_deadline=chargeback_deadline,
    )


def frozen(terms: ClockTerms) -> dict[str, Any]:
    """Return the terms as JSON, to be kept with the round; `thawed` gives the same terms back (DSP-09).

    Targets are whole seconds, hours the texts of `core.work_calendar`. Only the rules of the time zone stay the ones
    in force: when a country changes its clocks, its wall-clock hours follow. Raises TypeError where the holidays are
    not FrozenHolidays, which `terms_of_calendar` makes.
    """
    hours, holidays = terms.hours, terms.hours.holidays
    if not isinstance(holidays, FrozenHolidays):
        raise TypeError("Terms are frozen with holidays that are frozen.")
    deadline = terms.chargeback_deadline
    return {
        "response_seconds": _seconds_of(terms.response),
        "resolution_seconds": _seconds_of(terms.resolution),
        "pause_statuses": sorted(terms.pause_statuses),
        "warn_at_percent": list(terms.warn_at_percent),
        "chargeback_deadline": deadline.isoformat() if deadline else None,
        "calendar": {
            "zone": hours.zone.key,
            "week": {
                weekday: hours_text(windows) for weekday, windows in zip(WEEKDAYS, hours.week, strict=True)
            },
            "special_days": {
                day.isoformat(): hours_text(windows) for day, windows in sorted(hours.special_days.items())
            },
            "holidays": {
                "country": holidays.country,
                "subdivision": holidays.subdivision,
                "first_year": holidays.first_year,
                "last_year": holidays.last_year,
                "dates": [day.isoformat() for day in sorted(holidays.dates)],
            },
        },
    }


def thawed(data: Mapping[str, Any]) -> ClockTerms:
    """Return the terms that `frozen` wrote."""
    calendar, deadline = data["calendar"], data["chargeback_deadline"]
    holidays = calendar["holidays"]
    return ClockTerms(
        response=_targets_of(data["response_seconds"]),
        resolution=_targets_of(data["resolution_seconds"]),
        hours=WorkingHours(
            zone=clock.zone(calendar["zone"]),
            week=tuple(windows_of(calendar["week"][weekday]) for weekday in WEEKDAYS),
            holidays=FrozenHolidays(
                country=holidays["country"],
                subdivision=holidays["subdivision"],
                first_year=holidays["first_year"],
                last_year=holidays["last_year"],
                dates=frozenset(map(date.fromisoformat, holidays["dates"])),
            ),
            special_days={
                date.fromisoformat(day): windows_of(text) for day, text in calendar["special_days"].items()
            },
        ),
        pause_statuses=frozenset(data["pause_statuses"]),
        warn_at_percent=tuple(data["warn_at_percent"]),
        chargeback_deadline=date.fromisoformat(deadline) if deadline else None,
    )


def _seconds_of(targets: Mapping[str, timedelta]) -> dict[str, int]:
    return {severity: target // _ONE_SECOND for severity, target in sorted(targets.items())}


def _targets_of(seconds: Mapping[str, int]) -> dict[str, timedelta]:
    return {severity: timedelta(seconds=number) for severity, number in seconds.items()}


# --- The log of a round ----------------------------------------------------------------------------------


class Tick(StrEnum):
    """What an event of the log is to the clocks."""

    OPENED = "opened"
    STATUS = "status"
    SEVERITY = "severity"
    PUBLIC_STAFF_MESSAGE = "public_staff_message"
    """People of the staff wrote to the customer; an automatic acknowledgement or an internal note is none."""
    RESOLVED = "resolved"
    STOPPED = "stopped"
    """Withdrawn, moot or merged: the round ends without a resolution."""


ENDS = frozenset({Tick.RESOLVED, Tick.STOPPED})


@dataclass(frozen=True, slots=True)
class ClockEvent:
    """One line of a round's log: what happened, and the status and severity that hold from then on."""

    at: datetime
    kind: str
    status: str
    severity: str


@dataclass(frozen=True, slots=True)
class Clocks:
    """How the clocks of a round stand. Durations are working time; of a chargeback's resolution, real time.

    - `response_due_at`, `response_met_at`: the deadline, and the first public message of staff, late or not.
    - `resolution_due_at`: the deadline; None while paused, and where the round ended in a pause.
    - `elapsed`, `paused`, `remaining`: working time used and paused so far; target - used, below zero when overdue.
    - `paused_since`, `stopped_at`: since when it stands still, and when the round ended.
    - `..._breached_at`: when the deadline was missed, else None. It is the deadline, or, where a new severity put the
      deadline into the past, the moment of that change. More time given later does not undo it (DSP-10).
    - `resolved_in_time`: None unless resolved.
    - `warnings`: each percentage of the target with the working moment at which to warn of the resolution clock, past
      or to come. A later pause or severity may move a moment: send each percentage once. While the clock stands still
      only those that had come are there.
    """

    response_due_at: datetime
    response_met_at: datetime | None
    response_breached_at: datetime | None
    resolution_due_at: datetime | None
    resolution_target: timedelta
    resolution_breached_at: datetime | None
    elapsed: timedelta
    remaining: timedelta
    paused: timedelta
    paused_since: datetime | None
    stopped_at: datetime | None
    resolved_in_time: bool | None
    warnings: tuple[tuple[int, datetime], ...]

    @property
    def response_is_breached(self) -> bool:
        """Say whether the answer came late, or is late already."""
        return self.response_breached_at is not None

    @property
    def resolution_is_breached(self) -> bool:
        """Say whether a deadline of the resolution was missed, even if there is a later one now."""
        return self.resolution_breached_at is not None


def clocks_of(terms: ClockTerms, events: Iterable[ClockEvent], now: datetime | None = None) -> Clocks:
    """Return how the clocks stand at `now` by the log of one round; without `now`, at its last event (DSP-05, DSP-07).

    The log stands in the order in which it was written. An event that claims to be earlier than the one before it (two
    servers' clocks differ) counts at the moment of that one; events after `now`, and after the round's end, do not
    count. A new severity recomputes both deadlines from the opening and keeps the pauses (DSP-09).

    Raises ValueError for a naive moment and unless the first event, and no other, is OPENED; KeyError for a severity
    that the terms do not have; Invalid `no_working_time` where the calendar does not open any more.
    """
    log = _counting(events, None if now is None else _utc(now))
    stretches = _stretches_of(log, None if now is None else _utc(now))
    ended = log[-1] if log[-1].kind in ENDS else None

    answer = next((place for place, event in enumerate(log) if event.kind == Tick.PUBLIC_STAFF_MESSAGE), None)
    response = [
        (stretch, add_working_time(terms.hours, log[0].at, terms.response[stretch.severity]))
        for stretch in stretches[:answer]
    ]

    ledger = _ledger_of(terms, stretches)
    missed_at = _missed_at(ledger.deadlines)
    return Clocks(
        response_due_at=response[-1][1],
        response_met_at=None if answer is None else log[answer].at,
        response_breached_at=_missed_at(response),
        resolution_due_at=ledger.deadlines[-1][1],
        resolution_target=ledger.target,
        resolution_breached_at=missed_at,
        elapsed=ledger.elapsed,
        remaining=ledger.target - ledger.elapsed,
        paused=ledger.paused,
        paused_since=None if ended else ledger.paused_since,
        stopped_at=ended.at if ended else None,
        resolved_in_time=missed_at is None if ended and ended.kind == Tick.RESOLVED else None,
        warnings=_warnings(terms, ledger, until=ended.at if ended else ledger.paused_since),
    )


@dataclass(frozen=True, slots=True)
class _Stretch:
    """The time between two events, in which status and severity stay as they are."""

    begins: datetime
    ends: datetime
    status: str
    severity: str


_Deadlines = Sequence[tuple[_Stretch, datetime | None]]


def _counting(events: Iterable[ClockEvent], now: datetime | None) -> list[ClockEvent]:
    """Return the events that count, up to `now` and to the round's end. The opening always does."""
    log: list[ClockEvent] = []
    for event in events:
        at = _utc(event.at)
        if log:
            at = max(at, log[-1].at)
            if log[-1].kind in ENDS or (now is not None and at > now):
                break
        if (event.kind == Tick.OPENED) == bool(log):
            raise ValueError("A round is opened once, by the first event of its log.")
        log.append(replace(event, at=at))
    if not log:
        raise ValueError("A round has been opened at least.")
    return log


def _stretches_of(log: Sequence[ClockEvent], now: datetime | None) -> list[_Stretch]:
    """Return the stretches between the events; the last one ends with the round, else now."""
    stretches = [
        _Stretch(event.at, following.at, event.status, event.severity) for event, following in pairwise(log)
    ]
    last = log[-1]
    if last.kind not in ENDS:
        until = last.at if now is None else max(now, last.at)
        stretches.append(_Stretch(last.at, until, last.status, last.severity))
    return stretches


def _missed_at(deadlines: _Deadlines) -> datetime | None:
    """Return when a deadline in force was missed first. One that came into force too late is missed at once."""
    for stretch, due in deadlines:
        if due is not None and due < stretch.ends:
            return max(due, stretch.begins)
    return None


# --- The resolution clock --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Run:
    """A time in which the clock runs, what was used before it, and when the pause before it began."""

    since: datetime
    used: timedelta
    paused_at: datetime


@dataclass(slots=True)
class _Ledger:
    """What the resolution clock has used and paused, and the deadline in force in each stretch."""

    opened_at: datetime
    hours: WorkingHours
    target: timedelta = _NOTHING
    elapsed: timedelta = _NOTHING
    paused: timedelta = _NOTHING
    paused_since: datetime | None = None
    runs: list[_Run] = field(default_factory=list)
    deadlines: list[tuple[_Stretch, datetime | None]] = field(default_factory=list)

    def pause(self, stretch: _Stretch) -> None:
        self.paused += working_time_between(self.hours, stretch.begins, stretch.ends)
        self.paused_since = self.paused_since or stretch.begins
        self.deadlines.append((stretch, None))

    def run(self, stretch: _Stretch, due: datetime | None = None) -> None:
        """Let the clock run; it is due when the target is used, unless a moment is given."""
        if not self.runs or self.paused_since:
            self.runs.append(_Run(stretch.begins, self.elapsed, self.paused_since or stretch.begins))
            self.paused_since = None
        self.deadlines.append((stretch, due or self.moment_when(self.target)))
        self.elapsed += working_time_between(self.hours, stretch.begins, stretch.ends)

    def moment_when(self, used: timedelta) -> datetime:
        """Return when so much has been, or will be, used by the pauses so far.

        What would be reached at the very moment of a pause is reached as it ends: new deadline = resume + remaining,
        even if nothing remains (DSP-07). A target shorter than what was used before a pause lies before it (DSP-09).
        """
        for run, following in pairwise(self.runs):
            if following.used >= used:
                moment = add_working_time(self.hours, run.since, used - run.used)
                if moment < following.paused_at:
                    return moment
        last = self.runs[-1]
        return add_working_time(self.hours, last.since, used - last.used)


def _ledger_of(terms: ClockTerms, stretches: Sequence[_Stretch]) -> _Ledger:
    opened_at = stretches[0].begins
    if terms.chargeback_deadline is not None:
        due = _end_of_day(terms.chargeback_deadline, terms.hours.zone)
        ledger = _Ledger(opened_at, _around_the_clock(terms.hours.zone), target=due - opened_at)
        for stretch in stretches:
            ledger.run(stretch, due)
        return ledger
    ledger = _Ledger(opened_at, terms.hours)
    for stretch in stretches:
        ledger.target = terms.resolution[stretch.severity]
        if stretch.status in terms.pause_statuses:
            ledger.pause(stretch)
        else:
            ledger.run(stretch)
    return ledger


def _warnings(
    terms: ClockTerms, ledger: _Ledger, *, until: datetime | None
) -> tuple[tuple[int, datetime], ...]:
    if terms.chargeback_deadline is not None:
        moments = _chargeback_warnings(terms, ledger)
    elif ledger.runs:
        moments = [
            next_working_moment(terms.hours, ledger.moment_when(ledger.target * percent / 100))
            for percent in terms.warn_at_percent
        ]
    else:
        moments = []
    warnings = zip(terms.warn_at_percent, moments, strict=False)
    return tuple((percent, moment) for percent, moment in warnings if until is None or moment <= until)


def _chargeback_warnings(terms: ClockTerms, ledger: _Ledger) -> list[datetime]:
    """Warn at shares of the working time up to the deadline, so that people see it before the day has passed.

    Where there is none, at shares of the real time: a warning at night is better than one that comes too late.
    """
    opened_at, hours = ledger.opened_at, terms.hours
    work = working_time_between(hours, opened_at, opened_at + ledger.target)
    if work > _NOTHING:
        return [
            next_working_moment(hours, add_working_time(hours, opened_at, work * percent / 100))
            for percent in terms.warn_at_percent
        ]
    if ledger.target > _NOTHING:
        return [opened_at + ledger.target * percent / 100 for percent in terms.warn_at_percent]
    return []


def _around_the_clock(zone: ZoneInfo) -> WorkingHours:
    return WorkingHours(zone, (windows_of("00:00-24:00"),) * len(WEEKDAYS))


def _end_of_day(day: date, zone: ZoneInfo) -> datetime:
    return clock.start_of_day(day + _ONE_DAY, zone.key)


# --- The customer's silence, and what becomes due again --------------------------------------------------


@dataclass(frozen=True, slots=True)
class SilencePlan:
    """When to remind the customer of a question, and when silence withdraws the dispute."""

    reminders: tuple[datetime, ...]
    withdraw_at: datetime


def silence_plan(hours: WorkingHours, since: datetime, days: int, reminders: int = REMINDERS) -> SilencePlan:
    """Return what follows a question asked at `since` that stays without an answer (DSP-08).

    The dispute is withdrawn after `days` working days. The reminders lie between, at equal distances in whole working
    days. Each comes at the time of day of the question, or when work begins next.

    Raises ValueError for a naive moment and unless every reminder has a day of its own (0 <= reminders < days),
    Invalid `no_working_time`.
    """
    if not 0 <= reminders < days:
        raise ValueError("Each reminder needs a working day of its own before the dispute is withdrawn.")
    asked = _utc(since).astimezone(hours.zone)
    time_of_day = asked.time()

    def moment_after(count: int) -> datetime:
        day = add_working_days(hours, asked.date(), count)
        return next_working_moment(hours, datetime.combine(day, time_of_day, tzinfo=hours.zone))

    parts = reminders + 1
    # Half up: 10 days with two reminders are 3, 7 and 10.
    return SilencePlan(
        reminders=tuple(
            moment_after((2 * number * days + parts) // (2 * parts)) for number in range(1, parts)
        ),
        withdraw_at=moment_after(days),
    )


def collectible_from(original_due: date, decided_on: date, days: int) -> date:
    """Return when what was not granted is due: `days` calendar days after the decision, never earlier than it was.

    That is max(original due date, decision + days) (DSP-14). Raises ValueError where days is negative.
    """
    if days < 0:
        raise ValueError("The remainder is due after the decision.")
    return max(original_due, decided_on + timedelta(days=days))


def _utc(moment: datetime) -> datetime:
    """In UTC: Python compares and subtracts two moments of one zone by the wall clock."""
    if timezone.is_naive(moment):
        raise ValueError("A clock runs between moments with a time zone.")
    return moment.astimezone(UTC)
