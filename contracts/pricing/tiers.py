"""What a quantity costs: per unit, graduated, volume and package prices (INV-05).

A tier holds the units above `over`, up to and including `up_to`; so quantities need not be whole. Results are
exact: rounding comes at the end, once per invoice line.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import StrEnum

from contracts.pricing.text import plain_number
from core.errors import FieldProblem, Invalid
from core.money import EXACT, exact_sum

ZERO = Decimal(0)


class PriceModel(StrEnum):
    """How a quantity is turned into an amount."""

    PER_UNIT = "per_unit"
    """Every unit at one price."""
    GRADUATED = "graduated"
    """Each unit at the price of the tier it falls into."""
    VOLUME = "volume"
    """All units at the price of the tier that the total reaches."""
    PACKAGE = "package"
    """Whole packages, a package begun counting in full."""


@dataclass(frozen=True, slots=True)
class Tier:
    """The units above `over` up to and including `up_to` (None: no limit).

    `unit_price` is per unit (per package in the package model), `flat_fee` once when the tier is reached.
    """

    over: Decimal
    up_to: Decimal | None
    unit_price: Decimal
    flat_fee: Decimal = ZERO

    def __str__(self) -> str:
        over = f"over {plain_number(self.over)}"
        return over if self.up_to is None else f"{over} up to {plain_number(self.up_to)}"


@dataclass(frozen=True, slots=True)
class PriceTable:
    """A price in one of the four models, in a currency that the caller knows.

    `free_units` are taken off the quantity first, in every model; the tiers count what is left. Per-unit and
    package prices have one tier. A table that leaves a quantity without a price, or gives it two, is refused:
    Invalid `invalid_price_table`, with every problem and its place.
    """

    model: PriceModel
    tiers: tuple[Tier, ...]
    free_units: Decimal = ZERO
    package_size: Decimal | None = None

    def __post_init__(self) -> None:
        problems = [*_table_problems(self), *_tier_problems(self.tiers)]
        if problems:
            raise Invalid(
                "invalid_price_table",
                "This price cannot be used: " + " ".join(problem.detail for problem in problems),
                errors=problems,
            )


@dataclass(frozen=True, slots=True)
class TierPart:
    """What one tier contributes: `amount` = `quantity` × `unit_price` + `flat_fee`, exact.

    In the package model `quantity` counts packages.
    """

    tier: Tier
    quantity: Decimal
    unit_price: Decimal
    flat_fee: Decimal
    amount: Decimal


@dataclass(frozen=True, slots=True)
class Priced:
    """What a quantity costs: the exact amount and the parts that make it."""

    quantity: Decimal
    free: Decimal
    parts: tuple[TierPart, ...]
    amount: Decimal

    @property
    def unit_price(self) -> Decimal | None:
        """The one price of all units, or None where tiers, flat fees or free units make it more than one."""
        if self.free or len(self.parts) != 1 or self.parts[0].flat_fee:
            return None
        part = self.parts[0]
        return part.unit_price if part.quantity == self.quantity else None


def per_unit(unit_price: Decimal, *, flat_fee: Decimal = ZERO, free_units: Decimal = ZERO) -> PriceTable:
    """Return the price of so much per unit."""
    return PriceTable(PriceModel.PER_UNIT, (Tier(ZERO, None, unit_price, flat_fee),), free_units)


def package(
    price: Decimal, size: Decimal, *, flat_fee: Decimal = ZERO, free_units: Decimal = ZERO
) -> PriceTable:
    """Return the price of so much per package of `size` units."""
    return PriceTable(PriceModel.PACKAGE, (Tier(ZERO, None, price, flat_fee),), free_units, size)


def tiers_up_to(rows: Iterable[tuple[Decimal | None, Decimal, Decimal]]) -> tuple[Tier, ...]:
    """Return tiers from rows of upper limit (None: no limit), unit price and flat fee, one after the other."""
    tiers: list[Tier] = []
    over = ZERO
    for up_to, unit_price, flat_fee in rows:
        tiers.append(Tier(over, up_to, unit_price, flat_fee))
        over = over if up_to is None else up_to
    return tuple(tiers)


def with_prices(table: PriceTable, change: Callable[[Decimal], Decimal]) -> PriceTable:
    """Return the table with every unit price and flat fee changed: by an uplift, or to a holdover rate (CON-17)."""
    tiers = [
        replace(tier, unit_price=change(tier.unit_price), flat_fee=change(tier.flat_fee))
        for tier in table.tiers
    ]
    return replace(table, tiers=tuple(tiers))


def price_quantity(
    table: PriceTable, quantity: Decimal, *, before: Decimal | None = None, total: Decimal | None = None
) -> Priced:
    """Return what `quantity` units cost, exactly (INV-05).

    A flat fee is due when its tier is reached, that of the first tier even for no units at all. When a period is
    priced in stretches, because its terms change, `before` is what the earlier stretches of the same period
    used (None in the first stretch): units then continue through the tiers, and free units, packages and flat
    fees count once. `total` is the whole period's quantity, by which the volume model picks its tier; by
    default `before` + `quantity`. Raises Invalid `negative_quantity`.
    """
    used = before or ZERO
    whole = EXACT.add(used, quantity) if total is None else total
    if quantity < 0 or used < 0 or whole < 0:
        raise Invalid(
            "negative_quantity",
            "A quantity to be priced cannot be negative. Set corrections off against what they correct first.",
            extra={"quantity": str(quantity)},
        )
    start = _charged(table, used)
    end = _charged(table, EXACT.add(used, quantity))
    opening = before is None
    if table.model is PriceModel.PACKAGE:
        count = EXACT.subtract(_packages(table, end), _packages(table, start))
        parts = [_part(table.tiers[0], count, due=opening)]
    elif table.model is PriceModel.VOLUME:
        tier = _tier_of(table, _charged(table, whole))
        parts = [_part(tier, EXACT.subtract(end, start), due=opening)]
    else:
        parts = _graduated(table, start, end, opening=opening)
    amount = exact_sum([part.amount for part in parts])
    return Priced(quantity, EXACT.subtract(quantity, EXACT.subtract(end, start)), tuple(parts), amount)


def _charged(table: PriceTable, quantity: Decimal) -> Decimal:
    return max(ZERO, EXACT.subtract(quantity, table.free_units))


def _packages(table: PriceTable, quantity: Decimal) -> Decimal:
    size = table.package_size
    assert size is not None
    # Whole packages by integer division, exact for any number of digits; one more for what is begun.
    whole, rest = EXACT.divmod(quantity, size)
    return EXACT.add(whole, Decimal(1)) if rest else whole


def _tier_of(table: PriceTable, quantity: Decimal) -> Tier:
    return next(tier for tier in table.tiers if tier.up_to is None or quantity <= tier.up_to)


def _graduated(table: PriceTable, start: Decimal, end: Decimal, *, opening: bool) -> list[TierPart]:
    parts = []
    for index, tier in enumerate(table.tiers):
        lower = max(start, tier.over)
        upper = end if tier.up_to is None else min(end, tier.up_to)
        reached = opening if index == 0 else start <= tier.over < end
        if reached or upper > lower:
            parts.append(_part(tier, max(ZERO, EXACT.subtract(upper, lower)), due=reached))
    return parts


def _part(tier: Tier, quantity: Decimal, *, due: bool) -> TierPart:
    flat_fee = tier.flat_fee if due else ZERO
    amount = EXACT.add(EXACT.multiply(quantity, tier.unit_price), flat_fee)
    return TierPart(tier, quantity, tier.unit_price, flat_fee, amount)


def _table_problems(table: PriceTable) -> list[FieldProblem]:
    problems = []
    single = table.model in (PriceModel.PER_UNIT, PriceModel.PACKAGE)
    if not table.tiers:
        problems.append(FieldProblem("/tiers", "no_tiers", "Give at least one tier."))
    if single and len(table.tiers) > 1:
        detail = (
            f"A {table.model.value.replace('_', '-')} price has one tier. Use graduated or volume for more."
        )
        problems.append(FieldProblem("/tiers", "too_many_tiers", detail))
    if table.free_units < 0:
        problems.append(FieldProblem("/free_units", "negative", "Free units cannot be negative."))
    if table.model is PriceModel.PACKAGE and (table.package_size is None or table.package_size <= 0):
        detail = "A package needs a size greater than zero."
        problems.append(FieldProblem("/package_size", "package_without_size", detail))
    if table.model is not PriceModel.PACKAGE and table.package_size is not None:
        detail = "Only a package price has a package size."
        problems.append(FieldProblem("/package_size", "package_size_unused", detail))
    return problems


def _tier_problems(tiers: Sequence[Tier]) -> list[FieldProblem]:
    problems = []
    expected = ZERO
    for index, tier in enumerate(tiers):
        last = index == len(tiers) - 1
        for code, detail in _problems_of(tier, expected, last=last):
            problems.append(FieldProblem(f"/tiers/{index}", code, f"Tier {index + 1} {detail}"))
        expected = tier.over if tier.up_to is None else tier.up_to
    return problems


def _problems_of(tier: Tier, expected: Decimal, *, last: bool) -> Iterable[tuple[str, str]]:
    over = plain_number(tier.over)
    limit = plain_number(expected)
    if tier.over > expected:
        yield "gap", f"starts over {over}; the units from {limit} on would have no price."
    if tier.over < expected:
        yield "overlap", f"starts over {over}; the units up to {limit} already have a price."
    if tier.up_to is not None and tier.up_to <= tier.over:
        yield "not_ascending", f"ends at {plain_number(tier.up_to)}, which is not above its start, {over}."
    if tier.up_to is None and not last:
        yield "open_too_early", "has no upper limit; only the last one may have none."
    if tier.up_to is not None and last:
        yield "not_open", f"is the last and ends at {plain_number(tier.up_to)}; leave its upper limit out."
    if tier.unit_price < 0 or tier.flat_fee < 0:
        yield "negative_price", "has a negative price. Give a discount instead."
