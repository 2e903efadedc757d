"""Discounts, bounds of a fee, and ramps (INV-05)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction

from contracts.pricing.periods import Period
from contracts.pricing.proration import Number
from core.errors import Invalid


class DiscountKind(StrEnum):
    """A percentage of what is left after the discounts before it, or an amount."""

    PERCENT = "percent"
    FIXED = "fixed"


@dataclass(frozen=True, slots=True)
class Discount:
    """One discount: `value` is per cent (0 to 100) or an amount in the fee's currency per whole period.

    `at_least` and `at_most` bound the money it takes off. Raises Invalid `invalid_discount`.
    """

    kind: DiscountKind
    value: Decimal
    label: str = ""
    at_least: Decimal | None = None
    at_most: Decimal | None = None

    def __post_init__(self) -> None:
        if self.value < 0 or (self.kind is DiscountKind.PERCENT and self.value > 100):
            raise Invalid(
                "invalid_discount", "A discount is a percentage from 0 to 100 or an amount of zero or more."
            )
        refuse_crossed_bounds(self.at_least, self.at_most, code="invalid_discount")


@dataclass(frozen=True, slots=True)
class DiscountStep:
    """What one discount took off: `before` − `amount` = `after`, exact."""

    discount: Discount
    before: Fraction
    amount: Fraction
    after: Fraction


@dataclass(frozen=True, slots=True)
class Discounted:
    """A fee after its discounts and bounds: `net` is exact, `bound` the minimum or maximum if one decided it."""

    gross: Fraction
    steps: tuple[DiscountStep, ...]
    net: Fraction
    bound: Decimal | None


@dataclass(frozen=True, slots=True)
class RampStep:
    """A price agreed in advance from a date on."""

    starts_on: date
    unit_price: Decimal


@dataclass(frozen=True, slots=True)
class RampStretch:
    """The days over which one step of a ramp is the price."""

    days: Period
    unit_price: Decimal


def refuse_crossed_bounds(least: Decimal | None, most: Decimal | None, *, code: str) -> None:
    """Raise Invalid with that code if a bound is negative or the minimum exceeds the maximum."""
    if any(bound is not None and bound < 0 for bound in (least, most)) or (
        least is not None and most is not None and least > most
    ):
        raise Invalid(
            code, "A minimum and a maximum must be zero or more, and the minimum not above the maximum."
        )


def apply_discounts(
    gross: Number,
    discounts: Iterable[Discount],
    *,
    minimum: Decimal | None = None,
    maximum: Decimal | None = None,
    scale: Fraction = Fraction(1),
) -> Discounted:
    """Take the discounts off in their order, then hold the fee between minimum and maximum (INV-05).

    A percentage is of what the discounts before it left; none takes more than what is left, so a fee never falls
    below zero. The bounds are the fee's, and apply even to a fee without discounts. All money in the terms
    (fixed discounts, bounds) is for a whole period; `scale` is the share of it that `gross` covers. Raises
    Invalid `negative_fee`, `invalid_bounds`.
    """
    left = Fraction(gross)
    if left < 0:
        raise Invalid(
            "negative_fee", "A discount needs a fee of zero or more. Credit what was discounted instead."
        )
    refuse_crossed_bounds(minimum, maximum, code="invalid_bounds")
    steps = []
    for discount in discounts:
        amount = min(left, _taken_off(discount, left, scale))
        steps.append(DiscountStep(discount, left, amount, left - amount))
        left -= amount
    bound = None
    if maximum is not None and left > scale * Fraction(maximum):
        bound, left = maximum, scale * Fraction(maximum)
    if minimum is not None and left < scale * Fraction(minimum):
        bound, left = minimum, scale * Fraction(minimum)
    return Discounted(Fraction(gross), tuple(steps), left, bound)


def _taken_off(discount: Discount, left: Fraction, scale: Fraction) -> Fraction:
    value = Fraction(discount.value)
    amount = left * value / 100 if discount.kind is DiscountKind.PERCENT else value * scale
    if discount.at_most is not None:
        amount = min(amount, Fraction(discount.at_most) * scale)
    if discount.at_least is not None:
        amount = max(amount, Fraction(discount.at_least) * scale)
    return amount


def ramp(steps: Sequence[RampStep], *, ends_on: date) -> list[RampStretch]:
    """Return the stretches of a ramp up to `ends_on`, the first day after its last price.

    Raises Invalid `invalid_ramp` if the steps do not rise in date (prices may fall), are none, or start too late.
    """
    starts = [step.starts_on for step in steps]
    ends = [*starts[1:], ends_on]
    if not steps or any(start >= end for start, end in zip(starts, ends, strict=True)):
        raise Invalid(
            "invalid_ramp",
            "Give each step of a ramp a later date than the one before, and all before its end.",
        )
    return [
        RampStretch(Period(step.starts_on, end), step.unit_price)
        for step, end in zip(steps, ends, strict=True)
    ]


def ramp_price(steps: Sequence[RampStep], day: date) -> Decimal | None:
    """Return the price of a ramp on a day, or None before its first step."""
    stretches = ramp(steps, ends_on=max([day, *(step.starts_on for step in steps)]) + timedelta(days=1))
    return next((stretch.unit_price for stretch in stretches if day in stretch.days), None)
