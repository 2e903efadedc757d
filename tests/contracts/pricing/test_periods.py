"""Billing periods, terms and notice (CON-06, CON-07, CON-11)."""

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.pricing import (
    Frequency,
    Notice,
    Period,
    Timing,
    add_months,
    billing_periods,
    end_after_notice,
    is_period_start,
    notice_deadline,
    notice_is_on_time,
    number_on,
    period_at,
    period_on,
)
from core.errors import Invalid
from tests.contracts.pricing import LEAN

DAYS = st.dates(min_value=date(1999, 1, 1), max_value=date(2101, 12, 31))


def weekday_or_before(day: date) -> date:
    return day - timedelta(days=max(0, day.weekday() - 4))


def test_con_07_periods_from_the_31st_are_clamped_and_never_drift() -> None:
    starts = [period_at(date(2026, 1, 31), Frequency.MONTHLY, number).start for number in range(5)]
    assert starts == [
        date(2026, 1, 31),
        date(2026, 2, 28),
        date(2026, 3, 31),
        date(2026, 4, 30),
        date(2026, 5, 31),
    ]


@pytest.mark.parametrize(
    ("months", "start", "end"),
    [
        (Frequency.QUARTERLY, date(2024, 5, 29), date(2024, 8, 29)),
        (Frequency.HALF_YEARLY, date(2024, 8, 29), date(2025, 2, 28)),
        (Frequency.ANNUAL, date(2025, 2, 28), date(2026, 2, 28)),
        (Frequency.ANNUAL, date(2028, 2, 29), date(2029, 2, 28)),
        (5, date(2024, 7, 29), date(2024, 12, 29)),
    ],
)
def test_con_07_a_leap_day_is_the_anchor_of_any_length(months: int, start: date, end: date) -> None:
    assert period_on(date(2024, 2, 29), months, start) == Period(start, end)


@LEAN
@given(anchor=DAYS, day=DAYS, months=st.integers(min_value=1, max_value=25))
def test_con_07_every_day_lies_in_exactly_one_period(anchor: date, day: date, months: int) -> None:
    number = number_on(anchor, months, day)
    period = period_at(anchor, months, number)
    assert day in period
    assert period_at(anchor, months, number - 1).end == period.start
    assert is_period_start(anchor, months, day) == (day == period.start)


def test_con_06_the_currency_changes_from_a_period_start_only() -> None:
    assert is_period_start(date(2026, 1, 31), 1, date(2026, 2, 28))
    assert not is_period_start(date(2026, 1, 31), 1, date(2026, 3, 28))


def test_an_empty_period_or_length_is_refused() -> None:
    with pytest.raises(Invalid) as refused:
        Period(date(2026, 1, 1), date(2026, 1, 1))
    assert refused.value.code == "empty_period"
    with pytest.raises(Invalid) as refused:
        period_on(date(2026, 1, 1), 0, date(2026, 1, 1))
    assert refused.value.code == "invalid_period_length"
    assert str(Period(date(2026, 1, 1), date(2026, 2, 1))) == "2026-01-01 to 2026-01-31"


def test_con_08_periods_due_in_advance_and_in_arrears() -> None:
    def due(timing: Timing, as_of: date) -> list[tuple[int, date, date, date]]:
        return [
            (item.number, item.billed.start, item.billed.end, item.due_on)
            for item in billing_periods(
                anchor=date(2026, 1, 1),
                months=1,
                timing=timing,
                start=date(2026, 1, 15),
                end=date(2026, 3, 10),
                as_of=as_of,
            )
        ]

    january = (0, date(2026, 1, 15), date(2026, 2, 1))
    february = (1, date(2026, 2, 1), date(2026, 3, 1))
    march = (2, date(2026, 3, 1), date(2026, 3, 10))
    assert due(Timing.ADVANCE, date(2026, 1, 14)) == []
    assert due(Timing.ADVANCE, date(2026, 2, 28)) == [
        (*january, date(2026, 1, 15)),
        (*february, date(2026, 2, 1)),
    ]
    assert due(Timing.ARREARS, date(2026, 2, 28)) == [(*january, date(2026, 2, 1))]
    # The last part is due when the agreement ends, and nothing after it.
    assert due(Timing.ARREARS, date(2030, 1, 1)) == [
        (*january, date(2026, 2, 1)),
        (*february, date(2026, 3, 1)),
        (*march, date(2026, 3, 10)),
    ]


@pytest.mark.parametrize(
    ("end", "notice", "deadline"),
    [
        (date(2027, 1, 1), Notice(days=60), date(2026, 11, 1)),
        (date(2027, 1, 1), Notice(months=2), date(2026, 10, 31)),
        (date(2027, 3, 1), Notice(months=3), date(2026, 11, 30)),
        (date(2026, 5, 31), Notice(months=3), date(2026, 2, 27)),
        (date(2027, 1, 1), Notice(), date(2026, 12, 31)),
    ],
)
def test_con_11_the_whole_notice_period_lies_before_the_end(
    end: date, notice: Notice, deadline: date
) -> None:
    assert notice_deadline(end, notice) == deadline
    after = deadline + timedelta(days=1)
    assert add_months(after, notice.months) + timedelta(days=notice.days) <= end


def test_con_11_a_deadline_on_a_weekend_moves_to_friday() -> None:
    assert date(2026, 11, 1).weekday() == 6
    deadline = notice_deadline(date(2027, 1, 1), Notice(days=60), previous_business_day=weekday_or_before)
    assert deadline == date(2026, 10, 30)


def test_con_11_the_deadline_lasts_until_midnight_in_the_contracts_zone() -> None:
    deadline = date(2026, 10, 30)
    assert notice_is_on_time(datetime(2026, 10, 30, 22, 59, 59, tzinfo=UTC), deadline, "Europe/Berlin")
    assert not notice_is_on_time(datetime(2026, 10, 30, 23, 0, tzinfo=UTC), deadline, "Europe/Berlin")
    assert notice_is_on_time(datetime(2026, 10, 30, 23, 0, tzinfo=UTC), deadline, "America/New_York")


@pytest.mark.parametrize(
    ("received", "end"),
    [
        (date(2026, 11, 1), date(2027, 1, 1)),
        (date(2026, 11, 2), date(2028, 1, 1)),
        (date(2027, 11, 1), date(2028, 1, 1)),
        (date(2027, 11, 2), date(2029, 1, 1)),
    ],
)
def test_con_11_late_notice_works_at_the_end_of_the_following_term(received: date, end: date) -> None:
    found = end_after_notice(
        received=received, start=date(2024, 1, 1), term_months=[36, 12], notice=Notice(days=60)
    )
    assert found == end


def test_con_11_terms_need_a_length_and_notice_cannot_be_negative() -> None:
    with pytest.raises(Invalid) as refused:
        end_after_notice(received=date(2026, 1, 1), start=date(2026, 1, 1), term_months=[], notice=Notice())
    assert refused.value.code == "invalid_period_length"
    with pytest.raises(Invalid) as refused:
        Notice(days=-1)
    assert refused.value.code == "negative_notice"
