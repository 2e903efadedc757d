"""Billing periods: half-open ``[start, end)``, the end being the first day after the period."""

import datetime
from dataclasses import dataclass

from core.errors import FieldProblem, Invalid

ONE_DAY = datetime.timedelta(days=1)
FIRST_DAY, LAST_DAY = datetime.date.min, datetime.date.max


@dataclass(frozen=True, slots=True)
class PeriodWarning:
    """Something that was done as asked, but is perhaps not what was meant."""

    code: str
    detail: str


def check_period(start: datetime.date, end: datetime.date) -> None:
    """Raise Invalid ``period_not_ordered`` unless the period has at least one day."""
    if end <= start:
        detail = f"period_end is the first day after the period: it must be later than {start}."
        raise Invalid(
            "period_not_ordered", detail, errors=[FieldProblem("/period_end", "period_not_ordered", detail)]
        )


def accounting_date(end: datetime.date) -> datetime.date:
    """The last day of a period: the day whose rule version and closing dates apply (ALC-04, ALC-05)."""
    return end - ONE_DAY


def month_of(day: datetime.date) -> datetime.date:
    """The first day of the month."""
    return day.replace(day=1)


def period_warnings(start: datetime.date, end: datetime.date) -> list[PeriodWarning]:
    """Tell callers who gave the last day of a month as the end that this day is not in the period."""
    next_day = end + ONE_DAY if end < LAST_DAY else end
    if start.day != 1 or next_day.day != 1:
        return []
    return [
        PeriodWarning(
            "period_end_is_exclusive",
            f"period_end is the first day after the period, so {end} itself is not part of it. "
            f"Give {next_day} to include it.",
        )
    ]
