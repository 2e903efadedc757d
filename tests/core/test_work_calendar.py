"""Working time: the examples of DSP-06 and DSP-07, the changes of the clocks, days off, and what is refused."""

from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import Invalid
from core.work_calendar import (
    WEEKDAYS,
    Window,
    WorkingHours,
    add_working_days,
    add_working_time,
    hours_text,
    next_working_moment,
    previous_working_day,
    windows_of,
    working_time_between,
)

BERLIN = ZoneInfo("Europe/Berlin")
CHRISTMAS = date(2026, 12, 25)


def week(monday_to_friday: str, weekend: str = "", *, zone: ZoneInfo = BERLIN, **more: Any) -> WorkingHours:
    days = [windows_of(monday_to_friday)] * 5 + [windows_of(weekend)] * 2
    return WorkingHours(zone, tuple(days), **more)


OFFICE = week("09:00-17:00", holidays={CHRISTMAS})
WITH_BREAK = week("09:00-12:00, 13:00-17:00")
ALWAYS = week("00:00-24:00", "00:00-24:00")


def at(text: str, zone: ZoneInfo = BERLIN) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=zone)


def h(hours: float) -> timedelta:
    return timedelta(hours=hours)


# Friday is 2026-03-06; the clocks of Berlin change on Sunday 2026-03-29 and Sunday 2026-10-25.
VECTORS = {
    "Fri 16:00 + 4 h": (OFFICE, "2026-03-06T16:00", 4, "2026-03-09T12:00"),
    "Sat 11:00 + 1 h": (OFFICE, "2026-03-07T11:00", 1, "2026-03-09T10:00"),
    "Mon 11:30 + 2 h, with a break": (WITH_BREAK, "2026-03-09T11:30", 2, "2026-03-09T14:30"),
    "24 Dec 16:00 + 2 h, 25th off": (OFFICE, "2026-12-24T16:00", 2, "2026-12-28T10:00"),
    "24x7 over the lost hour": (ALWAYS, "2026-03-28T12:00", 24, "2026-03-29T13:00"),
    "24x7 over the hour won": (ALWAYS, "2026-10-24T12:00", 24, "2026-10-25T11:00"),
    "office hours over the lost hour": (OFFICE, "2026-03-27T16:00", 2, "2026-03-30T10:00"),
    "the last moment of a window": (OFFICE, "2026-03-06T16:00", 1, "2026-03-06T17:00"),
    "no duration": (OFFICE, "2026-03-07T11:00", 0, "2026-03-07T11:00"),
    "several weeks": (OFFICE, "2026-03-02T09:00", 120, "2026-03-20T17:00"),
}


@pytest.mark.parametrize("name", VECTORS)
def test_dsp_06_adds_working_time(name: str) -> None:
    hours, start, duration, expected = VECTORS[name]
    found = add_working_time(hours, at(start), h(duration))
    assert found == at(expected)
    assert found.tzinfo is UTC
    assert working_time_between(hours, at(start), at(expected)) == h(duration)


def test_dsp_07_pause_of_a_target_of_eight_hours() -> None:
    start, pause, resume = at("2026-03-09T09:00"), at("2026-03-09T13:00"), at("2026-03-11T11:00")
    remaining = h(8) - working_time_between(OFFICE, start, pause)
    assert remaining == h(4)
    assert add_working_time(OFFICE, resume, remaining) == at("2026-03-11T15:00")
    # The same, told as a shift of the deadline by the paused working time.
    paused = working_time_between(OFFICE, pause, resume)
    assert paused == h(14)
    assert add_working_time(OFFICE, start, h(8) + paused) == at("2026-03-11T15:00")


def test_dsp_06_days_of_24_hours_have_23_or_25_when_the_clocks_change() -> None:
    for day, length in (("2026-03-28", 24), ("2026-03-29", 23), ("2026-10-25", 25)):
        start = at(f"{day}T00:00")
        assert working_time_between(ALWAYS, start, start + timedelta(days=1)) == h(length)


def test_dsp_06_working_time_between_counts_windows_only_and_backwards_below_zero() -> None:
    start, end = at("2026-03-06T15:30"), at("2026-03-10T09:15")
    assert working_time_between(OFFICE, start, end) == h(1.5 + 8 + 0.25)
    assert working_time_between(OFFICE, end, start) == -h(1.5 + 8 + 0.25)
    assert working_time_between(OFFICE, at("2026-03-07T00:00"), at("2026-03-08T23:59")) == h(0)
    # The same moments named in another zone.
    assert working_time_between(OFFICE, start.astimezone(UTC), end.astimezone(ZoneInfo("Asia/Tokyo"))) == h(
        9.75
    )


def test_edges_that_the_clocks_skip_or_repeat() -> None:
    """02:30 does not exist on 29 March 2026 in Berlin (change at 01:00 UTC) and comes twice on 25 October."""
    night = week("00:00-02:30, 02:30-05:00", "00:00-02:30, 02:30-05:00")
    late = week("02:30-05:00", "02:30-05:00")
    change = datetime(2026, 3, 29, 1, 0, tzinfo=UTC)
    assert next_working_moment(late, at("2026-03-29T00:00")) == change
    assert working_time_between(late, at("2026-03-29T00:00"), at("2026-03-29T12:00")) == h(2)
    assert working_time_between(night, at("2026-03-29T00:00"), at("2026-03-29T12:00")) == h(4)
    assert next_working_moment(late, at("2026-10-25T00:00")) == datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    assert working_time_between(night, at("2026-10-25T00:00"), at("2026-10-25T12:00")) == h(6)
    # A window that the clocks skip as a whole, and a whole day: Samoa had no 30 December 2011.
    lost = week("02:10-02:50", "02:10-02:50")
    assert working_time_between(lost, at("2026-03-29T00:00"), at("2026-03-30T00:00")) == h(0)
    apia = ZoneInfo("Pacific/Apia")
    always = week("00:00-24:00", "00:00-24:00", zone=apia)
    assert working_time_between(always, at("2011-12-29T00:00", apia), at("2012-01-01T00:00", apia)) == h(48)


def test_next_working_moment() -> None:
    assert next_working_moment(OFFICE, at("2026-03-06T16:59")) == at("2026-03-06T16:59")
    assert next_working_moment(OFFICE, at("2026-03-06T17:00")) == at("2026-03-09T09:00")
    assert next_working_moment(WITH_BREAK, at("2026-03-09T12:00")) == at("2026-03-09T13:00")


def test_working_days_skip_weekends_and_holidays() -> None:
    thursday = date(2026, 12, 24)
    assert add_working_days(OFFICE, thursday, 0) == thursday
    assert add_working_days(OFFICE, thursday, 1) == date(2026, 12, 28)
    assert add_working_days(OFFICE, date(2026, 12, 26), 2) == date(2026, 12, 29)
    assert add_working_days(OFFICE, date(2026, 12, 28), -1) == thursday
    assert previous_working_day(OFFICE, date(2026, 12, 27)) == thursday


def test_special_days_win_over_weekdays_and_holidays() -> None:
    hours = week(
        "09:00-17:00",
        holidays={CHRISTMAS},
        special_days={
            date(2026, 12, 24): windows_of("09:00-12:00"),
            CHRISTMAS: windows_of("10:00-11:00"),
            date(2026, 12, 26): windows_of("10:00-11:00"),
            date(2026, 12, 28): (),
        },
    )
    assert add_working_time(hours, at("2026-12-24T11:00"), h(3)) == at("2026-12-26T11:00")
    assert add_working_time(hours, at("2026-12-24T11:00"), h(4)) == at("2026-12-29T10:00")
    assert add_working_days(hours, date(2026, 12, 26), 1) == date(2026, 12, 29)


def test_hours_are_read_and_written() -> None:
    assert windows_of("13-17:30,9:00 \N{EN DASH} 12") == (Window(540, 720), Window(780, 1050))
    assert hours_text(windows_of("13-17:30,9:00 \N{EN DASH} 12")) == "09:00-12:00, 13:00-17:30"
    assert hours_text(windows_of("0-24")) == "00:00-24:00"
    assert windows_of("  ") == ()


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("17:00-09:00", "invalid_window"),
        ("09:00-09:00", "invalid_window"),
        ("22:00-24:30", "invalid_window"),
        ("09:60-10:00", "invalid_window"),
        ("all day", "invalid_window"),
        ("09:00-12:00,", "invalid_window"),
        ("09:00-12:00, 11:00-13:00", "windows_overlap"),
    ],
)
def test_wrong_hours_are_refused(text: str, code: str) -> None:
    with pytest.raises(Invalid) as error:
        windows_of(text)
    assert error.value.code == code


def test_dsp_06_a_calendar_with_no_hours_is_refused() -> None:
    with pytest.raises(Invalid) as error:
        week("", special_days={CHRISTMAS: windows_of("09:00-17:00")})
    assert error.value.code == "calendar_without_hours"


class EveryDay:
    def __contains__(self, day: object) -> bool:
        return True


def test_a_calendar_that_never_opens_is_refused_instead_of_searched_for_ever() -> None:
    never = week("09:00-17:00", holidays=EveryDay())
    for ask in (
        lambda: add_working_time(never, at("2026-03-06T16:00"), h(1)),
        lambda: next_working_moment(never, at("2026-03-06T16:00")),
        lambda: previous_working_day(never, date(2026, 3, 6)),
    ):
        with pytest.raises(Invalid) as error:
            ask()
        assert error.value.code == "no_working_time"


def test_naive_moments_and_negative_durations_are_refused() -> None:
    naive = datetime(2026, 3, 6, 16, 0)  # noqa: DTZ001  (refused because it is naive)
    for ask in (
        lambda: add_working_time(OFFICE, naive, h(1)),
        lambda: working_time_between(OFFICE, naive, naive),
        lambda: next_working_moment(OFFICE, naive),
        lambda: add_working_time(OFFICE, at("2026-03-06T16:00"), -h(1)),
    ):
        with pytest.raises(ValueError, match=r"time zone|never taken away"):
            ask()


@given(
    start=st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    minutes=st.integers(0, 6000),
    more=st.integers(0, 6000),
    zone=st.sampled_from(["Europe/Berlin", "America/Havana", "Australia/Lord_Howe", "Asia/Tokyo"]),
    text=st.sampled_from(["00:00-24:00", "00:30-02:15, 02:15-03:30, 9-17", "22:00-24:00"]),
)
def test_dsp_06_adding_and_measuring_agree(
    start: datetime, minutes: int, more: int, zone: str, text: str
) -> None:
    """What was added is what lies between, in one step or in two, in any zone."""
    hours = WorkingHours(ZoneInfo(zone), tuple(windows_of(text) for _ in WEEKDAYS))
    first, second = timedelta(minutes=minutes), timedelta(minutes=more)
    end = add_working_time(hours, start, first)
    assert working_time_between(hours, start, end) == first
    assert add_working_time(hours, end, second) == add_working_time(hours, start, first + second)
