"""The one clock. Moments are aware and in UTC; business dates are dates in a named zone.

Tests freeze it with time_machine; no other module asks the operating system for the time.
"""

from datetime import UTC, date, datetime, time
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

from django.core.exceptions import ValidationError
from django.utils import timezone

from core.errors import Invalid


@cache
def _zone_names() -> frozenset[str]:
    return frozenset(available_timezones())


def zone(name: str) -> ZoneInfo:
    """Return the IANA time zone of that name; an unknown one raises Invalid `unknown_time_zone`."""
    if name not in _zone_names():
        raise Invalid(
            "unknown_time_zone", f'"{name}" is no IANA time zone. Give one such as "Europe/Berlin" or "UTC".'
        )
    return ZoneInfo(name)


def validate_time_zone(name: str) -> None:
    """Model and form validator for a time zone's name."""
    try:
        zone(name)
    except Invalid as error:
        raise ValidationError(error.message, code=error.code) from error


def now() -> datetime:
    """Return the present moment, aware, in UTC."""
    return timezone.now()


def today(zone_name: str = "UTC") -> date:
    """Return the present business date in that zone."""
    return business_date(now(), zone_name)


def business_date(moment: datetime, zone_name: str = "UTC") -> date:
    """Return the date that a moment has in that zone; a naive moment is refused."""
    if timezone.is_naive(moment):
        raise ValueError("A moment needs a time zone before it can have a business date.")
    return moment.astimezone(zone(zone_name)).date()


def start_of_day(day: date, zone_name: str = "UTC") -> datetime:
    """Return the moment, in UTC, at which the date begins in that zone.

    Where the clocks go forward at midnight the day begins with its first moment that exists.
    """
    local = datetime.combine(day, time.min, tzinfo=zone(zone_name))
    return local.astimezone(UTC)


def month_after(first: date, months: int = 1) -> date:
    """Return the first day of the month that many months later (or, negative, earlier)."""
    index = first.year * 12 + first.month - 1 + months
    return date(index // 12, index % 12 + 1, 1)
