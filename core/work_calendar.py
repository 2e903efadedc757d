"""Working time: what a calendar of working hours makes of moments and durations (DSP-06, APR-19).

Pure functions: no database, no clock. `core.calendars` keeps the calendars and gives their hours.

Hours are wall-clock times in the calendar's zone. Each window becomes two moments, and what lies between them is the
time that elapses: a day of 24 hours has 23 or 25 of them when the clocks change, and a calendar that never closes runs
in real time. A window's edge that the clocks skip falls on the moment of the change; one that they show twice is the
first of the two, so that windows which touch never overlap. Moments are returned in UTC.
"""

import re
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

from django.core.exceptions import ValidationError
from django.utils import timezone

from core.errors import Invalid

DAY_MINUTES = 24 * 60
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")

LONGEST_CLOSURE = timedelta(days=3 * 366)
"""A calendar that does not open for so long is taken never to open again."""

_ONE_DAY = timedelta(days=1)
_NOTHING = timedelta(0)
_WINDOW = re.compile(r"(\d{1,2})(?::(\d{2}))?\s*[-\N{EN DASH}]\s*(\d{1,2})(?::(\d{2}))?")


@dataclass(frozen=True, slots=True, order=True)
class Window:
    """Working time within one day, `[opens, closes)` in minutes after midnight by the wall clock.

    1440 is the midnight that ends the day. Raises Invalid `invalid_window` unless 0 <= opens < closes <= 1440.
    """

    opens: int
    closes: int

    def __post_init__(self) -> None:
        if not 0 <= self.opens < self.closes <= DAY_MINUTES:
            raise Invalid(
                "invalid_window",
                f"{self} is no working time: it must begin before it ends, within one day. Write a shift over "
                "midnight as two windows, such as 22:00-24:00 and, on the next day, 00:00-06:00.",
            )

    def __str__(self) -> str:
        return "-".join(f"{minute // 60:02}:{minute % 60:02}" for minute in (self.opens, self.closes))


Windows = tuple[Window, ...]


def windows_of(text: str) -> Windows:
    """Read hours such as "09:00-12:00, 13:00-17:00" or "9-17"; an empty text is a day without working time.

    Raises Invalid `invalid_window` or `windows_overlap`.
    """
    return _in_order(_window_of(part.strip()) for part in text.split(",")) if text.strip() else ()


def hours_text(windows: Iterable[Window]) -> str:
    """Return the text that `windows_of` reads: "09:00-12:00, 13:00-17:00"."""
    return ", ".join(map(str, windows))


def validate_hours(text: str) -> None:
    """Model and form validator for hours as text."""
    try:
        windows_of(text)
    except Invalid as error:
        raise ValidationError(error.message, code=error.code) from error


def _window_of(text: str) -> Window:
    found = _WINDOW.fullmatch(text)
    if found is None or int(found[2] or 0) > 59 or int(found[4] or 0) > 59:
        raise Invalid(
            "invalid_window", f'"{text}" is no working time. Write hours as 09:00-12:00, 13:00-17:00.'
        )
    return Window(int(found[1]) * 60 + int(found[2] or 0), int(found[3]) * 60 + int(found[4] or 0))


def _in_order(windows: Iterable[Window]) -> Windows:
    ordered = tuple(sorted(windows))
    for earlier, later in pairwise(ordered):
        if later.opens < earlier.closes:
            raise Invalid("windows_overlap", f"{earlier} and {later} overlap. Make one window of them.")
    return ordered


@dataclass(frozen=True)
class WorkingHours:
    """When work is done: the zone, the windows of each weekday from Monday on, holidays, special days.

    `special_days` win over everything: a date with windows is worked in these, one without is off.
    Raises Invalid `calendar_without_hours` where no weekday has working time, `windows_overlap`.
    """

    zone: ZoneInfo
    week: tuple[Windows, ...]
    holidays: Container[date] = frozenset()
    special_days: Mapping[date, Windows] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.week) != len(WEEKDAYS):
            raise ValueError("A week has seven days.")
        if not any(self.week):
            raise Invalid(
                "calendar_without_hours",
                "The calendar has no working hours: no deadline could ever come. Give at least one weekday hours.",
            )
        for windows in (*self.week, *self.special_days.values()):
            if _in_order(windows) != windows:
                raise ValueError("The windows of a day stand in the order of the clock.")

    def windows_on(self, day: date) -> Windows:
        """Return the working time of a date; empty on a day off."""
        if day in self.special_days:
            return self.special_days[day]
        return () if day in self.holidays else self.week[day.weekday()]

    def is_working_day(self, day: date) -> bool:
        """Say whether work is done on that date."""
        return bool(self.windows_on(day))


def add_working_time(hours: WorkingHours, start: datetime, duration: timedelta) -> datetime:
    """Return the earliest moment by which that much working time has passed since `start` (DSP-06).

    No duration is `start` itself; the last moment of a window counts as reached (16:00 + 1 h is 17:00 of that day).
    Raises ValueError for a naive start or a negative duration, Invalid `no_working_time` where the calendar does not
    open for `LONGEST_CLOSURE`.
    """
    if duration < _NOTHING:
        raise ValueError("Working time is added, never taken away.")
    start = _aware(start)
    if not duration:
        return start
    left = duration
    for opens, closes in _open_from(hours, start):
        begins = max(opens, start)
        if closes - begins >= left:
            return begins + left
        left -= closes - begins
    raise _never_opens(start)


def working_time_between(hours: WorkingHours, start: datetime, end: datetime) -> timedelta:
    """Return the working time in `[start, end)`; negative where `end` comes first.

    Raises ValueError for a naive moment.
    """
    start, end = _aware(start), _aware(end)
    if end < start:
        return -working_time_between(hours, end, start)
    passed = _NOTHING
    last = end.astimezone(hours.zone).date()
    for day in _days(start.astimezone(hours.zone).date(), (last + _ONE_DAY)):
        for opens, closes in _moments_of(hours, day):
            passed += max(min(closes, end) - max(opens, start), _NOTHING)
    return passed


def next_working_moment(hours: WorkingHours, moment: datetime) -> datetime:
    """Return the moment itself in working time, else when work begins next.

    Raises ValueError for a naive moment, Invalid `no_working_time`.
    """
    moment = _aware(moment)
    for opens, _ in _open_from(hours, moment):
        return max(opens, moment)
    raise _never_opens(moment)


def add_working_days(hours: WorkingHours, day: date, count: int) -> date:
    """Return the working day that is `count` working days after `day`, or before it where `count` is negative.

    `day` need not be one itself, and no count is `day` itself. Raises Invalid `no_working_time`.
    """
    step = _ONE_DAY if count >= 0 else -_ONE_DAY
    for _ in range(abs(count)):
        day = _working_day_from(hours, day + step, step)
    return day


def previous_working_day(hours: WorkingHours, day: date) -> date:
    """Return the last working day before `day`. Raises Invalid `no_working_time`."""
    return add_working_days(hours, day, -1)


def _working_day_from(hours: WorkingHours, first: date, step: timedelta) -> date:
    day = first
    while not hours.is_working_day(day):
        day += step
        if abs(day - first) > LONGEST_CLOSURE:
            raise _never_opens(first)
    return day


def _never_opens(since: date) -> Invalid:
    return Invalid(
        "no_working_time",
        f"The calendar has no working time for {LONGEST_CLOSURE.days} days from {since:%Y-%m-%d}. Correct its hours "
        "and its days off.",
    )


def _aware(moment: datetime) -> datetime:
    """In UTC: Python subtracts two moments of one zone by the wall clock."""
    if timezone.is_naive(moment):
        raise ValueError("Working time is measured between moments with a time zone.")
    return moment.astimezone(UTC)


def _days(first: date, end: date) -> Iterator[date]:
    return (first + timedelta(days=number) for number in range((end - first).days))


def _open_from(hours: WorkingHours, moment: datetime) -> Iterator[tuple[datetime, datetime]]:
    """Yield what is open after a moment, until the calendar has been closed for too long."""
    last = moment
    for day in _days(moment.astimezone(hours.zone).date(), date.max):
        for opens, closes in _moments_of(hours, day):
            if closes > moment:
                last = closes
                yield opens, closes
        if day - last.date() > LONGEST_CLOSURE:
            return


def _moments_of(hours: WorkingHours, day: date) -> Iterator[tuple[datetime, datetime]]:
    """Yield when the windows of a date begin and end; one that the clocks skip as a whole is left out."""
    for window in hours.windows_on(day):
        opens, closes = _moment(hours.zone, day, window.opens), _moment(hours.zone, day, window.closes)
        if opens < closes:
            yield opens, closes


def _moment(zone: ZoneInfo, day: date, minute: int) -> datetime:
    """Return the first moment at which the clock of the zone shows that minute of the day, or has skipped it."""
    wall = datetime.combine(day, time.min) + timedelta(minutes=minute)
    moment = wall.replace(tzinfo=zone).astimezone(UTC)
    if _wall_clock(moment, zone) == wall:
        return moment
    # The clocks skip it. Read with the offsets of both sides it encloses the change, which falls on a full second.
    before, after = (int(wall.replace(tzinfo=zone, fold=fold).astimezone(UTC).timestamp()) for fold in (1, 0))
    while after - before > 1:
        middle = (before + after) // 2
        if _wall_clock(datetime.fromtimestamp(middle, UTC), zone) < wall:
            before = middle
        else:
            after = middle
    return datetime.fromtimestamp(after, UTC)


def _wall_clock(moment: datetime, zone: ZoneInfo) -> datetime:
    return moment.astimezone(zone).replace(tzinfo=None)
