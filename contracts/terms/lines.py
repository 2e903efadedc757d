"""Lines of a contract as values: prices and service levels, read from rows or from JSON (CON-05, CON-20, INV-05)."""

import datetime
from dataclasses import dataclass, fields, replace
from decimal import Decimal
from itertools import pairwise
from typing import Any

from contracts.models import (
    TIERED,
    WITHOUT_QUANTITY,
    PriceTerm,
    PriceTier,
    Pricing,
    QuantitySource,
    SlaCreditTier,
    SlaTerm,
)
from contracts.pricing.indexation import uplifted_price
from contracts.pricing.tiers import PriceModel, PriceTable, Tier, tiers_up_to
from contracts.terms.values import Reader, as_json
from core.errors import Invalid
from core.money import EXACT

ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class RampStep:
    """The price from a day on."""

    start: datetime.date
    price: Decimal


@dataclass(frozen=True, slots=True)
class TierLine:
    """A tier up to and including ``up_to`` units; None: without limit."""

    up_to: Decimal | None
    unit_price: Decimal
    flat_fee: Decimal = ZERO


@dataclass(frozen=True, slots=True)
class PriceLine:
    """A price of a contract; the fields mean what they mean in `PriceTerm`."""

    code: str
    name: str
    pricing: str = Pricing.RECURRING.value
    price: Decimal = ZERO
    price_decimals: int | None = None
    quantity_source: str = ""
    quantity: Decimal | None = None
    unit: str = ""
    package_size: Decimal | None = None
    free_units: Decimal = ZERO
    plan_id: int | None = None
    usage_provider: str = ""
    usage_service: str = ""
    usage_category: str = ""
    interval_months: int = 1
    timing: str = "advance"
    starts_on: datetime.date | None = None
    ends_on: datetime.date | None = None
    is_prorated: bool = True
    is_fixed_price: bool = False
    discount_percent: Decimal = ZERO
    discount_amount: Decimal = ZERO
    discount_until: datetime.date | None = None
    department_id: int | None = None
    gl_code: str = ""
    ramp: tuple[RampStep, ...] = ()
    tiers: tuple[TierLine, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """The form in which amendments, the API and fingerprints have it."""
        data: dict[str, Any] = {name: as_json(getattr(self, name)) for name in PRICE_FIELDS}
        data["ramp"] = [{"from": as_json(step.start), "price": as_json(step.price)} for step in self.ramp]
        data["tiers"] = [
            {name: as_json(getattr(tier, name)) for name in ("up_to", "unit_price", "flat_fee")}
            for tier in self.tiers
        ]
        return data

    def price_on(self, day: datetime.date) -> Decimal:
        """The fee or unit price on a day, by the ramp."""
        return next((step.price for step in reversed(self.ramp) if step.start <= day), self.price)

    def table_on(self, day: datetime.date) -> PriceTable:
        """What the arithmetic of `contracts.pricing` needs, with the price of that day."""
        price = self.price_on(day)
        if self.pricing in TIERED:
            rows = [(tier.up_to, tier.unit_price, tier.flat_fee) for tier in self.tiers]
            return PriceTable(PriceModel(self.pricing), tiers_up_to(rows), free_units=self.free_units)
        if self.pricing == Pricing.PACKAGE:
            tier = Tier(ZERO, None, price)
            return PriceTable(
                PriceModel.PACKAGE, (tier,), free_units=self.free_units, package_size=self.package_size
            )
        free = ZERO if self.pricing in WITHOUT_QUANTITY else self.free_units
        return PriceTable(PriceModel.PER_UNIT, (Tier(ZERO, None, price),), free_units=free)

    def runs_on(self, day: datetime.date) -> bool:
        """Whether the line is charged on that day, as far as its own dates say."""
        return (self.starts_on is None or self.starts_on <= day) and (
            self.ends_on is None or day < self.ends_on
        )

    def uplifted(self, percent: Decimal, *, day: datetime.date, currency: str) -> "PriceLine":
        """The line with its price of ``day`` raised by ``percent``, rounded once on the unit price (CON-14).

        Fixed prices, and lines that do not run on the day, stay. Agreed later steps of a ramp stay too.
        """
        if self.is_fixed_price or not self.runs_on(day) or not percent:
            return self

        def raised(price: Decimal) -> Decimal:
            # Zeros that the column adds behind the point are no decimals of the price.
            plain = price.normalize(EXACT)
            return uplifted_price(plain, percent, currency=currency, decimals=self.price_decimals)

        return replace(
            self,
            price=raised(self.price_on(day)),
            ramp=tuple(step for step in self.ramp if step.start > day),
            tiers=tuple(
                replace(tier, unit_price=raised(tier.unit_price), flat_fee=raised(tier.flat_fee))
                for tier in self.tiers
            ),
        )


_SPECIAL = {"ramp", "tiers"}
PRICE_FIELDS = tuple(field.name for field in fields(PriceLine) if field.name not in _SPECIAL)


def _model_name(name: str) -> str:
    return name.removesuffix("_id")


class _KeyedReader(Reader):
    """A reader of fields some of which are ids of records."""

    def read(self, names: tuple[str, ...]) -> dict[str, Any]:
        values = {}
        for name in names:
            if name.endswith("_id"):
                values[name] = self._key(name, self.data.get(name))
            else:
                values[name] = self.field(name)
        return values


def price_line(data: Any, *, pointer: str = "") -> PriceLine:
    """Read a price from JSON; what is left out has the model's default. Raises Invalid with pointers."""
    reader = _KeyedReader(PriceTerm, data, pointer)
    reader.raise_problems()
    reader.unknown({*PRICE_FIELDS, *_SPECIAL})
    values = reader.read(PRICE_FIELDS)
    values["ramp"] = _ramp(reader)
    values["tiers"] = _tiers(reader)
    reader.raise_problems()
    line = PriceLine(**values)
    _check_price(line, reader)
    reader.raise_problems()
    try:
        line.table_on(datetime.date.min)
    except Invalid as error:
        raise Invalid(
            error.code,
            error.message,
            errors=[replace(problem, pointer=f"{pointer}{problem.pointer}") for problem in error.errors],
        ) from error
    return line


def _items(reader: Reader, name: str) -> list[Any]:
    given = reader.data.get(name) or []
    if isinstance(given, (list, tuple)):
        return list(given)
    reader.problem(name, "not_a_list", "Give a list.")
    return []


def _ramp(reader: Reader) -> tuple[RampStep, ...]:
    steps = []
    for index, item in enumerate(_items(reader, "ramp")):
        # A step has a start and a price; the fields of the price itself check them.
        given = item if isinstance(item, dict) else {}
        part = Reader(
            PriceTerm,
            {"starts_on": given.get("from"), "price": given.get("price")},
            f"{reader.pointer}/ramp/{index}",
        )
        start, price = part.given("starts_on"), part.given("price")
        if start is None or price is None:
            part.problem("", "invalid_ramp_step", "A step of a ramp needs “from” (a date) and “price”.")
        reader.problems.extend(part.problems)
        steps.append(RampStep(start, price))
    if not reader.problems and any(later.start <= earlier.start for earlier, later in pairwise(steps)):
        reader.problem(
            "ramp", "ramp_not_ordered", "The steps of a ramp go from the earliest day to the latest."
        )
    return tuple(steps)


def _tiers(reader: Reader) -> tuple[TierLine, ...]:
    tiers = []
    for index, item in enumerate(_items(reader, "tiers")):
        part = Reader(PriceTier, item, f"{reader.pointer}/tiers/{index}")
        part.unknown({"up_to", "unit_price", "flat_fee"})
        tiers.append(TierLine(part.field("up_to"), part.field("unit_price"), part.field("flat_fee")))
        reader.problems.extend(part.problems)
    return tuple(tiers)


def _check_price(line: PriceLine, reader: Reader) -> None:
    """What the constraints of the table demand, in words."""
    with_quantity = line.pricing not in WITHOUT_QUANTITY
    rules = (
        (
            with_quantity == bool(line.quantity_source),
            "quantity_source",
            "A price per unit says where its quantity comes from: fixed, licences or usage. A fee has none.",
        ),
        (
            (line.quantity_source == QuantitySource.FIXED) == (line.quantity is not None),
            "quantity",
            "A fixed quantity is given as a number; any other is not given here.",
        ),
        (
            (line.quantity_source == QuantitySource.LICENCES) == (line.plan_id is not None),
            "plan_id",
            "A price per licence names its plan; any other names none.",
        ),
        (
            (line.pricing == Pricing.PACKAGE) == (line.package_size is not None) and line.package_size != 0,
            "package_size",
            "A package price says how many units a package has, more than zero; any other does not.",
        ),
        (
            (line.pricing in TIERED) == bool(line.tiers),
            "tiers",
            "Graduated and volume prices have tiers; any other has none.",
        ),
        (
            line.starts_on is None or line.ends_on is None or line.starts_on < line.ends_on,
            "ends_on",
            "The line ends before it has begun: ends_on is the first day without it.",
        ),
    )
    for holds, name, detail in rules:
        if not holds:
            reader.problem(name, f"price_{name}", detail)


def price_line_of(term: PriceTerm) -> PriceLine:
    """The value of a row; its tiers should be prefetched."""
    values = {name: getattr(term, name) for name in PRICE_FIELDS}
    tiers = sorted(term.tiers.all(), key=lambda tier: tier.position)
    return PriceLine(
        **values,
        ramp=tuple(
            RampStep(datetime.date.fromisoformat(step["from"]), Decimal(step["price"])) for step in term.ramp
        ),
        tiers=tuple(TierLine(tier.up_to, tier.unit_price, tier.flat_fee) for tier in tiers),
    )


@dataclass(frozen=True, slots=True)
class CreditTierLine:
    """A measured value beyond the threshold earns this percentage."""

    threshold: Decimal
    credit_percent: Decimal


@dataclass(frozen=True, slots=True)
class SlaLine:
    """A promised service level; the fields mean what they mean in `SlaTerm`."""

    code: str
    metric: str
    target: Decimal
    unit: str = "%"
    direction: str = "at_least"
    period_months: int = 1
    fee_line: str = ""
    credit_cap_percent: Decimal = Decimal(100)
    claim_within_days: int | None = None
    tiers: tuple[CreditTierLine, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """The form in which amendments, the API and fingerprints have it."""
        data: dict[str, Any] = {name: as_json(getattr(self, name)) for name in SLA_FIELDS}
        data["tiers"] = [
            {"threshold": as_json(tier.threshold), "credit_percent": as_json(tier.credit_percent)}
            for tier in self.tiers
        ]
        return data


SLA_FIELDS = tuple(field.name for field in fields(SlaLine) if field.name != "tiers")


def sla_line(data: Any, *, pointer: str = "") -> SlaLine:
    """Read a service level from JSON; what is left out has the model's default. Raises Invalid with pointers."""
    reader = _KeyedReader(SlaTerm, data, pointer)
    reader.raise_problems()
    reader.unknown({*SLA_FIELDS, "tiers"})
    values = reader.read(SLA_FIELDS)
    tiers = []
    for index, item in enumerate(_items(reader, "tiers")):
        part = Reader(SlaCreditTier, item, f"{pointer}/tiers/{index}")
        part.unknown({"threshold", "credit_percent"})
        tiers.append(CreditTierLine(part.field("threshold"), part.field("credit_percent")))
        reader.problems.extend(part.problems)
    reader.raise_problems()
    line = SlaLine(**values, tiers=tuple(tiers))
    _check_tiers(line, reader)
    reader.raise_problems()
    return line


def _check_tiers(line: SlaLine, reader: Reader) -> None:
    """The worse the value, the larger the credit; nothing is credited while the target is met."""
    sign = 1 if line.direction == "at_most" else -1
    ordered = sorted(line.tiers, key=lambda tier: sign * tier.threshold)
    percentages = [tier.credit_percent for tier in ordered]
    if any(later <= earlier for earlier, later in pairwise(percentages)) or len(
        {tier.threshold for tier in ordered}
    ) != len(ordered):
        reader.problem(
            "tiers", "sla_tiers_not_ordered", "The worse the measured value, the larger its credit must be."
        )
    if any(sign * tier.threshold < sign * line.target for tier in ordered):
        reader.problem("tiers", "sla_tier_within_target", "A credit cannot be due while the target is met.")
    if any(percent <= 0 for percent in percentages):
        reader.problem("tiers", "sla_tier_without_credit", "Each tier credits more than 0 %.")


def sla_line_of(term: SlaTerm) -> SlaLine:
    """The value of a row; its tiers should be prefetched."""
    values = {name: getattr(term, name) for name in SLA_FIELDS}
    tiers = sorted(term.tiers.all(), key=lambda tier: tier.credit_percent)
    return SlaLine(
        **values, tiers=tuple(CreditTierLine(tier.threshold, tier.credit_percent) for tier in tiers)
    )
