"""The clock: moments in UTC, business dates in a zone."""

from datetime import UTC, date, datetime

import pytest
import time_machine
from django.core.exceptions import ValidationError

from core import clock
from core.errors import Invalid


@pytest.mark.parametrize(
    ("zone", "day"),
    [
        ("UTC", date(2024, 9, 30)),
        ("Asia/Tokyo", date(2024, 10, 1)),
        ("America/New_York", date(2024, 9, 30)),
        ("Pacific/Kiritimati", date(2024, 10, 1)),
    ],
)
def test_today_is_the_date_of_the_zone(zone: str, day: date) -> None:
    with time_machine.travel(datetime(2024, 9, 30, 22, 30, tzinfo=UTC), tick=False):
        assert clock.today(zone) == day
        assert clock.now() == datetime(2024, 9, 30, 22, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("day", "zone", "moment"),
    [
        (date(2024, 9, 1), "Europe/Berlin", datetime(2024, 8, 31, 22, tzinfo=UTC)),
        (date(2024, 1, 1), "Asia/Tokyo", datetime(2023, 12, 31, 15, tzinfo=UTC)),
        (date(2024, 1, 1), "UTC", datetime(2024, 1, 1, tzinfo=UTC)),
        # Clocks went forward at midnight: the day began at 01:00 local time.
        (date(2018, 11, 4), "America/Sao_Paulo", datetime(2018, 11, 4, 3, tzinfo=UTC)),
    ],
)
def test_start_of_day(day: date, zone: str, moment: datetime) -> None:
    assert clock.start_of_day(day, zone) == moment
    assert clock.business_date(moment, zone) == day


def test_a_naive_moment_has_no_business_date() -> None:
    with pytest.raises(ValueError, match="time zone"):
        clock.business_date(datetime(2024, 1, 1))  # noqa: DTZ001  (a naive moment is the point)


@pytest.mark.parametrize("name", ["", "Berlin", "Europe/Atlantis", "../etc/passwd", "europe/berlin"])
def test_an_unknown_zone_is_refused(name: str) -> None:
    with pytest.raises(Invalid) as refused:
        clock.today(name)
    assert refused.value.code == "unknown_time_zone"
    with pytest.raises(ValidationError):
        clock.validate_time_zone(name)
