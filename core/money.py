"""Money: exact decimals with a currency beside them, one rounding function, one allocation function.

Amounts are `Decimal` throughout. Arithmetic that could need more than the 28 digits of Python's default decimal
context (shares, rates, sums of sub-cent costs) is done with integers and fractions, hence exactly.
"""

import re
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Context, Decimal
from fractions import Fraction
from functools import cache
from math import floor, lcm
from typing import Any

from babel.core import Locale, get_global
from babel.numbers import NumberPattern, get_currency_precision, get_currency_symbol
from django.core.exceptions import ValidationError
from django.db import models

from core.errors import Invalid

EXACT = Context(prec=200, rounding=ROUND_HALF_UP)
"""Wide enough for every product and sum of stored amounts and rates to be exact."""

AMOUNT_LIMIT = Decimal(10) ** 15
"""Amounts must be smaller than this: what the narrowest money column holds before its decimal point."""

MAX_DECIMALS = 15

# The Unicode locale data that babel ships gives these the decimals customary in cash; ISO 4217, which the
# banking and accounting world follows, gives them others.
_ISO_4217_DIFFERS = {
    "AFN": 2, "ALL": 2, "IQD": 3, "IRR": 2, "KPW": 2, "LAK": 2, "LBP": 2,
    "MGA": 2, "MMK": 2, "RSD": 2, "SOS": 2, "SYP": 2, "YER": 2,
}  # fmt: skip
# Codes beginning with X are metals, units of account and test codes, except these currencies of regions.
_CURRENCIES_OF_REGIONS = {"XAF", "XCD", "XCG", "XOF", "XPF"}

_PLAIN_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,6})?")
_LONGEST_NUMBER = 100


@cache
def known_currencies() -> frozenset[str]:
    """Return the ISO 4217 codes of all present and former national and regional currencies."""
    codes = {entry[0] for entries in get_global("territory_currencies").values() for entry in entries}
    return frozenset(code for code in codes if not code.startswith("X") or code in _CURRENCIES_OF_REGIONS)


@cache
def minor_units(currency: str) -> int:
    """Return the ISO 4217 number of decimals: 2 for USD, 0 for JPY, 3 for KWD.

    An unknown code raises Invalid `unknown_currency`.
    """
    if currency not in known_currencies():
        raise Invalid(
            "unknown_currency",
            f'"{currency}" is no known currency. Give the three capital letters of ISO 4217, such as "EUR".',
            extra={"currency": str(currency)},
        )
    return _ISO_4217_DIFFERS.get(currency, get_currency_precision(currency))


@cache
def quantum(currency: str) -> Decimal:
    """Return the smallest amount of the currency: 0.01 for USD, 1 for JPY, 0.001 for KWD."""
    return Decimal(1).scaleb(-minor_units(currency))


def validate_currency(code: str) -> None:
    """Model and form validator for a currency code."""
    try:
        minor_units(code)
    except Invalid as error:
        raise ValidationError(error.message, code=error.code) from error


def _finite(amount: Decimal) -> Decimal:
    if not amount.is_finite():
        raise Invalid("amount_not_finite", "An amount must be a finite number; NaN and Infinity are refused.")
    return amount


def _from_units(units: int, currency: str) -> Decimal:
    return EXACT.multiply(Decimal(units), quantum(currency))


def round_money(amount: Decimal, currency: str) -> Decimal:
    """Round half up (a half goes away from zero) to the currency's minor unit. The one rounding function."""
    rounded = _finite(amount).quantize(quantum(currency), context=EXACT)
    return rounded if rounded else rounded.copy_abs()  # no "-0.00" on a document


def _hand_out(floors: list[int], spare: int, order: list[int]) -> list[int]:
    """Give one unit each to the first `spare` indexes in `order`."""
    for index in order[:spare]:
        floors[index] += 1
    return floors


def allocate(total: Decimal, weights: Sequence[Decimal], currency: str) -> list[Decimal]:
    """Split `total` in proportion to `weights` by the largest remainder (ALC-02, ALC-03).

    Each share is floored to the minor unit; the units left over go to the largest fractions, ties to the larger
    weight, then to the lower index. A negative total is split as its absolute value, then signed. The parts sum
    to `total` exactly, and no part differs from its exact share by a whole unit.

    Raises Invalid: `allocation_without_weights`, `allocation_negative_weight`, `allocation_zero_weights`,
    `amount_not_at_minor_unit`, `amount_not_finite`.
    """
    if not weights:
        raise Invalid("allocation_without_weights", "Give at least one target to allocate the amount to.")
    exact_weights = [Fraction(_finite(Decimal(weight))) for weight in weights]
    if any(weight < 0 for weight in exact_weights):
        raise Invalid(
            "allocation_negative_weight", "A share cannot be negative. Give zero or more for each target."
        )
    weight_sum = sum(exact_weights, Fraction(0))
    if weight_sum == 0:
        raise Invalid(
            "allocation_zero_weights", "All shares are zero. Give at least one target a positive share."
        )
    units = Fraction(_finite(total)) / Fraction(quantum(currency))
    if units.denominator != 1:
        raise Invalid(
            "amount_not_at_minor_unit",
            f"{total} {currency} cannot be allocated: round it to {minor_units(currency)} decimals first.",
            extra={"amount": str(total), "currency": currency},
        )
    magnitude = abs(units.numerator)
    shares = [magnitude * weight / weight_sum for weight in exact_weights]
    floors = [floor(share) for share in shares]
    order = sorted(range(len(shares)), key=lambda i: (floors[i] - shares[i], -exact_weights[i], i))
    parts = _hand_out(floors, magnitude - sum(floors), order)
    sign = -1 if units < 0 else 1
    return [_from_units(sign * part, currency) for part in parts]


def round_together(amounts: Sequence[Decimal | Fraction], currency: str) -> list[Decimal]:
    """Round exact, signed amounts so that they sum to the rounded exact sum (USE-04).

    Each amount is floored towards minus infinity; the units missing to `round_money(sum)` go to the largest
    fractions, ties to the larger absolute amount, then to the lower index. No amount moves by a whole unit.
    Fractions are for shares that no decimal holds, such as 17/31 of a month's fee.
    """
    exact, parts_per_unit = _as_integers(amounts, minor_units(currency))
    total = sum(exact)
    # Half away from zero, as round_money does.
    rounded_total = (2 * abs(total) + parts_per_unit) // (2 * parts_per_unit) * (-1 if total < 0 else 1)
    split = [divmod(part, parts_per_unit) for part in exact]
    floors = [units for units, _ in split]
    order = sorted(range(len(exact)), key=lambda i: (-split[i][1], -abs(exact[i]), i))
    return [_from_units(part, currency) for part in _hand_out(floors, rounded_total - sum(floors), order)]


def _as_integers(amounts: Sequence[Decimal | Fraction], decimals: int) -> tuple[list[int], int]:
    """Return the amounts as whole numbers of one part, and how many parts make a minor unit."""
    whole = [amount for amount in amounts if isinstance(amount, Decimal)]
    finest = max([decimals, *(decimal_places(amount) for amount in whole)])
    if len(whole) == len(amounts):
        return [int(EXACT.scaleb(amount, finest)) for amount in whole], 10 ** (finest - decimals)
    exact = [Fraction(amount) for amount in amounts]
    parts = lcm(10**decimals, *(amount.denominator for amount in exact))
    return [int(amount * parts) for amount in exact], parts // 10**decimals


def exact_sum(amounts: Sequence[Decimal]) -> Decimal:
    """Add amounts of one currency without ever rounding, however many digits they need."""
    total = Decimal(0)
    for amount in amounts:
        total = EXACT.add(total, _finite(amount))
    return total


def parse_amount(value: str | int | Decimal, *, decimals: int = MAX_DECIMALS) -> Decimal:
    """Read an amount from outside: plain digits, an optional sign, point and exponent.

    Raises Invalid: `invalid_amount` (no number; thousands separators; a float or a bool, which are no exact
    numbers), `amount_not_finite` (NaN, Infinity), `amount_too_large` (1e15 or more), `amount_too_precise`
    (more than `decimals` decimals; zeros at the end do not count).
    """
    if isinstance(value, bool) or not isinstance(value, (str, int, Decimal)):
        raise Invalid("invalid_amount", f'{value!r} is no amount. Give it as text, such as "15000.00".')
    amount = _parse_text(value.strip()) if isinstance(value, str) else Decimal(value)
    _finite(amount)
    if abs(amount) >= AMOUNT_LIMIT:
        raise Invalid(
            "amount_too_large", "The amount is too large. It must be smaller than 1,000,000,000,000,000."
        )
    if decimal_places(amount.normalize(EXACT)) > decimals:
        raise Invalid("amount_too_precise", f"The amount has too many decimals. At most {decimals} are kept.")
    # One spelling per value: no exponent, no "-0".
    places = min(decimal_places(amount), decimals)
    plain = amount.quantize(Decimal(1).scaleb(-places), context=EXACT)
    return plain if plain else plain.copy_abs()


def decimal_places(amount: Decimal) -> int:
    """Return how many digits stand after the point: 2 for 1.50, 0 for 1E+3."""
    exponent = _finite(amount).as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


def _parse_text(text: str) -> Decimal:
    if text.lstrip("+-").lower() in {"nan", "snan", "inf", "infinity"}:
        raise Invalid("amount_not_finite", "An amount must be a finite number; NaN and Infinity are refused.")
    if len(text) > _LONGEST_NUMBER or not _PLAIN_NUMBER.fullmatch(text):
        shown = text if len(text) <= 40 else text[:40] + "…"
        raise Invalid(
            "invalid_amount",
            f'"{shown}" is no amount. Write digits with a point before the decimals and no separators, '
            'such as "15000.00".',
        )
    return Decimal(text)


@dataclass(frozen=True, slots=True)
class Money:
    """An amount with its currency; arithmetic across currencies raises Invalid `currency_mismatch`."""

    amount: Decimal
    currency: str

    def __post_init__(self) -> None:
        if not isinstance(self.amount, Decimal):
            raise TypeError("Money needs a Decimal.")
        _finite(self.amount)
        minor_units(self.currency)

    def _same(self, other: "Money") -> "Money":
        if self.currency != other.currency:
            raise Invalid(
                "currency_mismatch",
                f"{self.currency} and {other.currency} cannot be combined. Convert one of them first.",
                extra={"currencies": [self.currency, other.currency]},
            )
        return other

    def __add__(self, other: "Money") -> "Money":
        return Money(EXACT.add(self.amount, self._same(other).amount), self.currency)

    def __sub__(self, other: "Money") -> "Money":
        return Money(EXACT.subtract(self.amount, self._same(other).amount), self.currency)

    def __neg__(self) -> "Money":
        return Money(-self.amount if self.amount else self.amount, self.currency)

    def __lt__(self, other: "Money") -> bool:
        return self.amount < self._same(other).amount

    def __le__(self, other: "Money") -> bool:
        return self.amount <= self._same(other).amount

    def __gt__(self, other: "Money") -> bool:
        return self.amount > self._same(other).amount

    def __ge__(self, other: "Money") -> bool:
        return self.amount >= self._same(other).amount

    def __bool__(self) -> bool:
        return bool(self.amount)

    def __str__(self) -> str:
        return f"{self.amount:f} {self.currency}"

    def rounded(self) -> "Money":
        """Return it rounded to the currency's minor unit."""
        return Money(round_money(self.amount, self.currency), self.currency)

    def allocate(self, weights: Sequence[Decimal]) -> "list[Money]":
        """Split it by `allocate` (ALC-02)."""
        return [Money(part, self.currency) for part in allocate(self.amount, weights, self.currency)]


def plain_amount(amount: Decimal, currency: str) -> str:
    """Return the amount for machines: no exponent, at least the currency's decimals ("15000.00"), none lost."""
    places = max(minor_units(currency), decimal_places(amount.normalize(EXACT)))
    return f"{amount.quantize(Decimal(1).scaleb(-places), context=EXACT):f}"


def format_money(amount: Decimal, currency: str, locale: str = "en") -> str:
    """Return the rounded amount as people of that locale write it: "$1,234.50", "1.234,50 €", "¥1,235"."""
    name = locale.replace("-", "_")
    return _currency_pattern(currency, name).apply(
        round_money(amount, currency), name, currency=currency, currency_digits=False
    )


@cache
def _currency_pattern(currency: str, locale: str) -> NumberPattern:
    """The locale's pattern with the currency's ISO 4217 decimals, and a space after a symbol made of letters."""
    pattern = copy(Locale.parse(locale).currency_formats["standard"])
    digits = minor_units(currency)
    pattern.frac_prec = (digits, digits)
    if get_currency_symbol(currency, locale)[-1].isalpha():
        pattern.prefix = tuple(f"{text}\xa0" if text.endswith("¤") else text for text in pattern.prefix)
    return pattern


class MoneyField(models.DecimalField):
    """An amount at a currency's minor unit; the currency stands in a field beside it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("max_digits", 20)
        kwargs.setdefault("decimal_places", 4)
        super().__init__(*args, **kwargs)


class ExactCostField(models.DecimalField):
    """A cost before any rounding, as cloud providers bill it (down to 1e-15)."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("max_digits", 30)
        kwargs.setdefault("decimal_places", 15)
        super().__init__(*args, **kwargs)


class RateField(models.DecimalField):
    """An exchange rate, an index or a factor."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("max_digits", 20)
        kwargs.setdefault("decimal_places", 10)
        super().__init__(*args, **kwargs)


class CurrencyField(models.CharField):
    """An ISO 4217 code in capitals."""

    default_validators = [validate_currency]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("max_length", 3)
        super().__init__(*args, **kwargs)
