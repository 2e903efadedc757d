"""Shares of a period's fee by actual days (CON-09, CON-16, CON-17).

Exact results are fractions; what is called an amount is rounded to the currency's minor unit, once.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise

from contracts.pricing.periods import Period
from core.errors import Invalid
from core.money import allocate, plain_amount, round_together

Number = Decimal | Fraction
"""An exact amount: a decimal, or a fraction where no decimal is exact."""


@dataclass(frozen=True, slots=True)
class Suspension:
    """The days from `start` up to `end` (None: still running), with or without billing (CON-17)."""

    start: date
    end: date | None
    billed: bool = False


@dataclass(frozen=True, slots=True)
class PricedDays:
    """A stretch of a period with the fee that a whole period would cost at the price then in force."""

    days: Period
    price: Number


@dataclass(frozen=True, slots=True)
class InvoicedFee:
    """A recurring fee as it was invoiced: the days it covers and its amount before tax."""

    days: Period
    amount: Decimal
    reference: str = ""


@dataclass(frozen=True, slots=True)
class Credit:
    """What goes back of an invoiced fee: the days it covers, the amount (positive) and a sentence saying why."""

    invoiced: InvoicedFee
    days: Period
    amount: Decimal
    explanation: str


def rounded(exact: Number, currency: str) -> Decimal:
    """Round an exact amount half up to the currency's minor unit."""
    return round_together([exact], currency)[0]


def share(full: Period, part: Period) -> Fraction:
    """Return the part's days over the whole period's: 17/31 from 15 January.

    Raises Invalid `part_outside_period` if the part does not lie within the period.
    """
    if part.start < full.start or part.end > full.end:
        raise Invalid("part_outside_period", f"The days {part} do not lie within the period {full}.")
    return Fraction(part.days, full.days)


def prorate(price: Number, *, full: Period, part: Period, currency: str) -> Decimal:
    """Return the fee for a part of a period: price × days / days of the period, rounded half up (CON-09).

    300.00 from 15 January (17 of 31 days) is 164.52. Raises Invalid `part_outside_period`.
    """
    return rounded(Fraction(price) * share(full, part), currency)


def prorate_parts(parts: Sequence[PricedDays], *, full: Period, currency: str) -> list[Decimal]:
    """Return the fee of each stretch between price changes, rounded together (CON-09, ALC-02).

    The stretches sum to the rounded exact sum; hence those of one price that fill the period sum to that price.
    Raises Invalid `part_outside_period`, `parts_overlap`.
    """
    refuse_overlap([part.days for part in parts])
    return round_together([Fraction(part.price) * share(full, part.days) for part in parts], currency)


def refuse_overlap(periods: Iterable[Period]) -> None:
    """Raise Invalid `parts_overlap` if a day lies in two of the periods."""
    ordered = sorted(periods)
    for earlier, later in pairwise(ordered):
        if later.start < earlier.end:
            raise Invalid(
                "parts_overlap",
                f"The days {earlier} and {later} overlap. Let each start where the one before it ends.",
            )


def billable_days(days: Period, suspensions: Iterable[Suspension]) -> list[Period]:
    """Return the stretches of `days` left when suspensions without billing are taken out (CON-17)."""
    left = [days]
    for suspension in suspensions:
        if not suspension.billed:
            left = [part for stretch in left for part in _without(stretch, suspension)]
    return left


def _without(stretch: Period, suspension: Suspension) -> list[Period]:
    gap = stretch.overlap(suspension.start, suspension.end)
    if gap is None:
        return [stretch]
    sides = [(stretch.start, gap.start), (gap.end, stretch.end)]
    return [Period(start, end) for start, end in sides if start < end]


def extended_end(term: Period, suspensions: Iterable[Suspension]) -> date:
    """Return the first day after a term that is extended by its suspended days (CON-17).

    Days suspended twice count once; a suspension that reaches into the extension extends it further. Billing
    during the suspension makes no difference. One that still runs raises Invalid `suspension_running`.
    """
    end = term.end
    after = term.start  # the suspended days before it are counted
    for suspension in sorted(suspensions, key=lambda item: item.start):
        if suspension.start >= end:
            break
        if suspension.end is None:
            raise Invalid(
                "suspension_running",
                f"The suspension from {suspension.start} still runs. End it before the term is extended by it.",
            )
        first = max(after, suspension.start)
        if suspension.end > first:
            end += suspension.end - first
            after = suspension.end
    return end


def termination_credits(invoiced: Iterable[InvoicedFee], *, effective: date, currency: str) -> list[Credit]:
    """Return what to credit of prepaid fees when an agreement ends (CON-08, CON-16).

    `effective` is the first day no longer billed. A fee is split by days into what is kept and what is credited,
    by the largest remainder, so both sum to the fee; a fee for days after the end is credited in full. Fees
    for days before the end, and parts that come to zero, give no credit. Usage is not credited: leave it out.
    """
    found = (_termination_credit(fee, effective, currency) for fee in invoiced)
    return [credit for credit in found if credit is not None]


def _termination_credit(fee: InvoicedFee, effective: date, currency: str) -> Credit | None:
    unused = fee.days.overlap(effective, None)
    if unused is None or fee.amount <= 0:
        return None
    used = fee.days.days - unused.days
    amount = allocate(fee.amount, [Decimal(used), Decimal(unused.days)], currency)[1]
    if not amount:
        return None
    explanation = (
        f"The agreement ended on {effective - timedelta(days=1)}: {unused.days} of the {fee.days.days} days from "
        f"{fee.days}, invoiced at {plain_amount(fee.amount, currency)} {currency}, are credited."
    )
    return Credit(fee, unused, amount, explanation)


def instalments(total: Decimal, count: int, currency: str) -> list[Decimal]:
    """Split an amount, such as a year's price billed monthly, into equal instalments that sum to it (ALC-02).

    Raises Invalid `invalid_instalments` if `count` is less than one, and `amount_not_at_minor_unit`.
    """
    if count < 1:
        raise Invalid("invalid_instalments", "Give at least one instalment.")
    return allocate(total, [Decimal(1)] * count, currency)
