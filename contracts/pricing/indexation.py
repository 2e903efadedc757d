"""Uplift of a price by an index, between a floor and a cap (CON-14).

Percentages are per cent: `Decimal("4.2")` is 4.2 %.
"""

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction

from contracts.pricing.text import plain_number
from core.errors import Invalid
from core.money import EXACT, decimal_places, minor_units, plain_amount

HUNDRED = Decimal(100)


class UpliftOutcome(StrEnum):
    """Whether a price was uplifted, and if not, why it stays."""

    FINAL = "final"
    PROVISIONAL = "provisional"
    FIXED_PRICE = "fixed_price"
    NOT_IN_FORCE = "not_in_force"
    NOTICE_MISSING = "notice_missing"
    INDEX_UNPUBLISHED = "index_unpublished"


@dataclass(frozen=True, slots=True)
class UpliftTerms:
    """What a contract says of price increases: bounds in per cent (None: none) and days of notice.

    `decimals` are those of the new unit price; by default the currency's or the current price's, whichever are
    more. Raises Invalid `floor_above_cap`, `invalid_uplift_terms`.
    """

    floor: Decimal | None = Decimal(0)
    cap: Decimal | None = Decimal(5)
    notice_days: int = 0
    decimals: int | None = None

    def __post_init__(self) -> None:
        if self.floor is not None and self.cap is not None and self.floor > self.cap:
            raise Invalid("floor_above_cap", f"The floor, {self.floor} %, is above the cap, {self.cap} %.")
        if self.notice_days < 0 or (self.decimals is not None and self.decimals < 0):
            raise Invalid("invalid_uplift_terms", "Days of notice and decimals cannot be negative.")


@dataclass(frozen=True, slots=True)
class Uplift:
    """A price before and after: `percent` is what was applied; a provisional one is trued up later."""

    old_price: Decimal
    new_price: Decimal
    percent: Decimal
    outcome: UpliftOutcome
    explanation: str


def index_change(base: Decimal, current: Decimal, *, decimals: int = 10) -> Decimal:
    """Return the change from one published value to another in per cent, half up: 120.0 to 125.04 is 4.2.

    Raises Invalid `invalid_index` unless both values are greater than zero.
    """
    if base <= 0 or current <= 0:
        raise Invalid("invalid_index", "The published values of an index must be greater than zero.")
    return _quantized((Fraction(current) / Fraction(base) - 1) * 100, decimals)


def bounded_percent(index: Decimal, *, floor: Decimal | None, cap: Decimal | None) -> Decimal:
    """Return min(max(index, floor), cap), where None is no bound (CON-14)."""
    percent = index if floor is None else max(index, floor)
    return percent if cap is None else min(percent, cap)


def uplifted_price(
    price: Decimal, percent: Decimal, *, currency: str, decimals: int | None = None
) -> Decimal:
    """Return the price raised by that percentage, rounded half up once, on the unit price (CON-14).

    `decimals` by default are the currency's or those of the price, whichever are more: a unit price of 0.0008
    keeps its four (idle zeros, which a database column adds, do not count). Raises Invalid `invalid_index`
    below −100 %.
    """
    if percent < -HUNDRED:
        raise Invalid("invalid_index", "A price cannot fall by more than 100 %.")
    places = (
        max(minor_units(currency), decimal_places(price.normalize(EXACT))) if decimals is None else decimals
    )
    return _quantized(Fraction(price) * (100 + Fraction(percent)) / 100, places)


def uplift(
    price: Decimal,
    *,
    currency: str,
    index: Decimal | None,
    terms: UpliftTerms,
    effective_on: date,
    notified_on: date | None,
    fixed_price: bool = False,
    in_force: bool = True,
    provisional_index: Decimal | None = None,
) -> Uplift:
    """Decide the price of a line from `effective_on` on (CON-14).

    Only lines in force and not fixed-price are uplifted. Where the terms ask for notice, it must have been given
    that many days before, else the old price stays. While the index is unpublished (`index` None) the
    provisional one applies, if there is one, within the same bounds; once it is published, decide again with
    the same old price and bill the difference with `contracts.pricing.adjustments`.
    """
    stays = _why_it_stays(
        effective_on=effective_on,
        notified_on=notified_on,
        terms=terms,
        fixed_price=fixed_price,
        in_force=in_force,
    )
    published = provisional_index if index is None else index
    if stays is not None or published is None:
        outcome, reason = stays or (
            UpliftOutcome.INDEX_UNPUBLISHED,
            "the index is not published and no provisional one is agreed",
        )
        return Uplift(
            price,
            price,
            Decimal(0),
            outcome,
            f"The price stays {plain_amount(price, currency)} {currency}: {reason}.",
        )
    percent = bounded_percent(published, floor=terms.floor, cap=terms.cap)
    new_price = uplifted_price(price, percent, currency=currency, decimals=terms.decimals)
    outcome = UpliftOutcome.PROVISIONAL if index is None else UpliftOutcome.FINAL
    explanation = (
        f"{plain_amount(price, currency)} {currency} becomes {plain_amount(new_price, currency)} from {effective_on}: "
        f"{'provisional ' if index is None else ''}index {plain_number(published)} %"
    )
    if percent != published:
        explanation += (
            f", {'capped at' if percent < published else 'raised to the floor of'} {plain_number(percent)} %"
        )
    return Uplift(price, new_price, percent, outcome, explanation + ".")


def _why_it_stays(
    *, effective_on: date, notified_on: date | None, terms: UpliftTerms, fixed_price: bool, in_force: bool
) -> tuple[UpliftOutcome, str] | None:
    if not in_force:
        return UpliftOutcome.NOT_IN_FORCE, f"the line is not in force on {effective_on}"
    if fixed_price:
        return UpliftOutcome.FIXED_PRICE, "a fixed price was agreed"
    if terms.notice_days and (notified_on is None or (effective_on - notified_on).days < terms.notice_days):
        given = "none was given" if notified_on is None else f"it was given on {notified_on}"
        return UpliftOutcome.NOTICE_MISSING, f"{terms.notice_days} days' notice is agreed, and {given}"
    return None


def _quantized(exact: Fraction, decimals: int) -> Decimal:
    """Round half up to that many decimals, which need not be a currency's."""
    scaled = exact * 10**decimals
    units = (2 * abs(scaled.numerator) + scaled.denominator) // (2 * scaled.denominator)
    return EXACT.scaleb(Decimal(-units if exact < 0 else units), -decimals)
