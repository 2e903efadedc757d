"""Billing periods, terms and notice deadlines (CON-07, CON-10, CON-11).

Every boundary is computed from the anchor, never from the boundary before it: 31 January, 28 February, 31 March.
All periods are half-open: `end` is the first day after.
"""

from calendar import monthrange
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import IntEnum, StrEnum

from core.clock import business_date, month_after
from core.errors import Invalid


class Frequency(IntEnum):
    """Months in a billing period. Any other whole number of months serves as well."""

    MONTHLY = 1
    QUARTERLY = 3
    HALF_YEARLY = 6
    ANNUAL = 12


class Timing(StrEnum):
    """When a period is billed: on its first day, or on the day after its last."""

    ADVANCE = "advance"
    ARREARS = "arrears"


@dataclass(frozen=True, slots=True, order=True)
class Period:
    """The days from `start` up to, but not including, `end`; at least one, or Invalid `empty_period`."""

    start: date
    end: date

    def __post_init__(self) -> None:
        if self.start >= self.end:
            raise Invalid(
                "empty_period",
                f"The period from {self.start} ends on {self.end}. Its end is the first day after it, "
                "so it must be later than its start.",
            )

    @property
    def days(self) -> int:
        """How many days it has."""
        return (self.end - self.start).days

    @property
    def last_day(self) -> date:
        """The last day in it, as people write it."""
        return self.end - timedelta(days=1)

    def __contains__(self, day: date) -> bool:
        return self.start <= day < self.end

    def overlap(self, start: date, end: date | None) -> "Period | None":
        """Return the days it shares with [start, end), or None; `end` None means without end."""
        first = max(self.start, start)
        after = self.end if end is None else min(self.end, end)
        return Period(first, after) if first < after else None

    def __str__(self) -> str:
        return f"{self.start} to {self.last_day}"


@dataclass(frozen=True, slots=True)
class BillingPeriod:
    """Period `number` of an agreement: whole, the part to bill, and the day on which it falls due."""

    number: int
    full: Period
    billed: Period
    due_on: date


@dataclass(frozen=True, slots=True)
class Notice:
    """How long before the end of a term notice must be received: months, days, or both."""

    months: int = 0
    days: int = 0

    def __post_init__(self) -> None:
        if self.months < 0 or self.days < 0:
            raise Invalid("negative_notice", "A notice period cannot be negative. Give zero or more.")


def add_months(day: date, months: int) -> date:
    """Return the same day of the month that many months later, or that month's last day if it has none such."""
    first = month_after(day, months)
    return first.replace(day=min(day.day, monthrange(first.year, first.month)[1]))


def period_at(anchor: date, months: int, number: int) -> Period:
    """Return period `number`, counted from 0: it starts at anchor + number × months (CON-07).

    Both ends come from the anchor, so periods neither drift nor leave a gap. Invalid `invalid_period_length`
    if `months` is less than one. A negative number gives a period before the anchor.
    """
    if months < 1:
        raise Invalid("invalid_period_length", "A period must last at least one month.")
    return Period(add_months(anchor, number * months), add_months(anchor, (number + 1) * months))


def number_on(anchor: date, months: int, day: date) -> int:
    """Return the number of the period that holds `day`; negative before the anchor."""
    number = ((day.year - anchor.year) * 12 + day.month - anchor.month) // max(months, 1)
    # The month alone is right except before the anchor's day of that month.
    return number if period_at(anchor, months, number).start <= day else number - 1


def period_on(anchor: date, months: int, day: date) -> Period:
    """Return the period that holds `day`."""
    return period_at(anchor, months, number_on(anchor, months, day))


def is_period_start(anchor: date, months: int, day: date) -> bool:
    """Tell whether a period starts on `day`: only there may the currency change (CON-06)."""
    return period_on(anchor, months, day).start == day


def billing_periods(
    *, anchor: date, months: int, timing: Timing, start: date, end: date | None, as_of: date
) -> Iterator[BillingPeriod]:
    """Yield, in order, the periods of an agreement in force over [start, end) that are due by `as_of`.

    The first and the last may be billed in part (`billed` lies within `full`). In advance a period is due on
    the first billed day, in arrears on the day after the last billed one. `end` None means without end.
    """
    number = number_on(anchor, months, start)
    while True:
        full = period_at(anchor, months, number)
        billed = full.overlap(start, end)
        if billed is None:
            return
        due_on = billed.start if timing is Timing.ADVANCE else billed.end
        if due_on > as_of:
            return
        yield BillingPeriod(number, full, billed, due_on)
        number += 1


def notice_deadline(
    end: date, notice: Notice, *, previous_business_day: Callable[[date], date] | None = None
) -> date:
    """Return the last day on which notice is on time, until 24:00 in the contract's zone (CON-11).

    `end` is the first day after the term. Between the end of the deadline's day and the end of the term lies the
    whole notice period: a term to 31 December with 60 days' notice has the deadline 1 November, with two
    months' notice 31 October. `previous_business_day` returns its argument if that is a business day, else the
    business day before it. Months are taken off first, then days.
    """
    deadline = add_months(end, -notice.months) - timedelta(days=notice.days + 1)
    return previous_business_day(deadline) if previous_business_day else deadline


def notice_is_on_time(received_at: datetime, deadline: date, zone_name: str) -> bool:
    """Tell whether notice received at that moment (aware) keeps the deadline in the contract's zone (CON-11)."""
    return business_date(received_at, zone_name) <= deadline


def end_after_notice(
    *,
    received: date,
    start: date,
    term_months: Sequence[int],
    notice: Notice,
    previous_business_day: Callable[[date], date] | None = None,
) -> date:
    """Return the day on which notice ends an auto-renewing agreement: the first day after its last term (CON-11).

    Notice on time ends the term it is given in; late notice works at the end of the following one. Terms follow
    one another from `start`: `term_months` gives the lengths of the initial term and of those after it, the
    last of which repeats. Ends are computed from `start`, so a term from 31 January never drifts.
    """
    if not term_months or min(term_months) < 1:
        raise Invalid("invalid_period_length", "Give the months of the initial term and of a renewal term.")
    elapsed = 0
    index = 0
    while True:
        elapsed += term_months[min(index, len(term_months) - 1)]
        end = add_months(start, elapsed)
        if received <= notice_deadline(end, notice, previous_business_day=previous_business_day):
            return end
        index += 1
