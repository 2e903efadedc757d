"""The fee lines of a billing period from the terms in force on its days (CON-06, CON-09, CON-16, CON-17, CON-21).

A charge's terms come as dated slices. The period is cut where a slice, a suspension or the agreement begins or ends;
each stretch becomes a line. Lines are exact until all are known and are then rounded together, so that cutting
a period changes no total.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction

from contracts.pricing.discounts import Discount, Discounted, DiscountKind, RampStep, apply_discounts, ramp
from contracts.pricing.periods import Period
from contracts.pricing.proration import (
    InvoicedFee,
    Suspension,
    billable_days,
    refuse_overlap,
)
from contracts.pricing.text import plain_number
from contracts.pricing.tiers import Priced, PriceModel, PriceTable, TierPart, per_unit, price_quantity
from core.errors import Invalid
from core.money import EXACT, exact_sum, plain_amount, round_together

ZERO = Decimal(0)


class ChargeKind(StrEnum):
    """What a charge is for."""

    RECURRING = "recurring"
    """So much per whole period, prorated by days: a fee, licences."""
    USAGE = "usage"
    """What was used, at the price of the day it was used on."""
    ONE_TIME = "one_time"
    """Once and in full, on the first day of its slice, suspended or not: set-up, training."""


@dataclass(frozen=True, slots=True)
class PriceSlice:
    """The terms in force over [start, end); `end` None means until changed.

    `table` prices one whole billing period; `quantity` is what is subscribed, unused for usage. Minimum, maximum
    and fixed discounts are for a whole period and are prorated with it. `label` says where the terms come from.
    """

    start: date
    end: date | None
    table: PriceTable
    quantity: Decimal = Decimal(1)
    discounts: tuple[Discount, ...] = ()
    minimum: Decimal | None = None
    maximum: Decimal | None = None
    label: str = ""


@dataclass(frozen=True, slots=True)
class Usage:
    """A quantity used on a day: the day on which the row's charge period starts (USE-04)."""

    day: date
    quantity: Decimal


@dataclass(frozen=True, slots=True)
class Charge:
    """One charge of an agreement with all that decides its fees. `ends_on` is the first day no longer billed.

    A recurring charge that is not `prorated` costs a whole period however few of its days are billed; changes of
    terms then split it by the billed days.
    """

    kind: ChargeKind
    currency: str
    slices: tuple[PriceSlice, ...]
    usage: tuple[Usage, ...] = ()
    suspensions: tuple[Suspension, ...] = ()
    ends_on: date | None = None
    prorated: bool = True


@dataclass(frozen=True, slots=True)
class FeeLine:
    """One line of a bill.

    `gross` − `discount` is the exact fee and `amount` the same at the currency's minor unit. `discount` is negative
    where a minimum raised the fee. `unit_price` is per unit and whole period, None where several prices apply;
    `parts` hold the tiers (for a whole period in recurring charges).
    """

    kind: ChargeKind
    days: Period
    period: Period
    quantity: Decimal
    unit_price: Decimal | None
    parts: tuple[TierPart, ...]
    gross: Fraction
    discount: Fraction
    amount: Decimal
    currency: str
    label: str
    explanation: str


@dataclass(frozen=True, slots=True)
class Bill:
    """The lines of a period and their sum.

    `suspended_quantity` is usage on days suspended without billing; `unpriced_quantity` is usage on days without
    terms (before the first slice, in a gap, after the end). Neither is in a line, and neither is lost.
    """

    period: Period
    lines: tuple[FeeLine, ...]
    total: Decimal
    suspended_quantity: Decimal = ZERO
    unpriced_quantity: Decimal = ZERO


@dataclass(frozen=True, slots=True)
class Adjustment:
    """What a change of terms makes of an invoiced period: `amount` = `due` − `invoiced`, negative for a credit."""

    period: Period
    invoiced: Decimal
    due: Decimal
    amount: Decimal
    currency: str
    explanation: str


@dataclass(frozen=True, slots=True)
class _Stretch:
    days: Period
    terms: PriceSlice


@dataclass(frozen=True, slots=True)
class _Draft:
    """A line before rounding: what its discounts left, and what it was priced from."""

    stretch: _Stretch
    priced: Priced
    gross: Fraction
    net: Fraction
    taken: Discounted
    share: Fraction
    """The part of a whole period that it covers; for usage, that those under its discounts and bounds cover."""


def slices_of_ramp(
    steps: Sequence[RampStep],
    *,
    ends_on: date,
    quantity: Decimal = Decimal(1),
    discounts: tuple[Discount, ...] = (),
) -> tuple[PriceSlice, ...]:
    """Return the slices of a per-unit price that rises (or falls) on agreed dates."""
    return tuple(
        PriceSlice(
            stretch.days.start,
            stretch.days.end,
            per_unit(stretch.unit_price),
            quantity,
            discounts,
            label=f"Step {number}",
        )
        for number, stretch in enumerate(ramp(steps, ends_on=ends_on), start=1)
    )


def bill(charge: Charge, period: Period) -> Bill:
    """Return the fee lines of one whole billing period.

    Days without a slice, from `ends_on` on, or suspended without billing are not billed. Recurring lines are
    prorated by actual days (CON-09). Usage continues through tiers, free units and packages across the stretches
    of the period, each at its own prices. Amounts are rounded together per charge and period: lines under the
    same terms sum to what the uncut period would cost. Raises Invalid `parts_overlap` (slices), `usage_outside_period`,
    `negative_quantity`, `negative_fee`, `invalid_bounds`.
    """
    in_force = _in_force(charge, period)
    stretches = [
        _Stretch(days, piece.terms)
        for piece in in_force
        for days in billable_days(piece.days, charge.suspensions)
    ]
    if charge.kind is ChargeKind.USAGE:
        return _bill_usage(charge, period, in_force, stretches)
    if charge.kind is ChargeKind.ONE_TIME:
        drafts = [_full(stretch) for stretch in in_force if stretch.days.start == stretch.terms.start]
    else:
        whole = period.days if charge.prorated else sum(stretch.days.days for stretch in stretches)
        drafts = [_prorated(stretch, whole) for stretch in stretches]
    lines = _lines(charge, period, drafts)
    return Bill(period, lines, exact_sum([line.amount for line in lines]))


def adjustments(charge: Charge, invoiced: Iterable[tuple[Period, Sequence[InvoicedFee]]]) -> list[Adjustment]:
    """Return what a retroactive change adds to or takes from periods already invoiced, one per period (CON-06).

    `charge` holds the terms as they are now, with all usage; `invoiced`, for each whole billing period, every
    fee and earlier adjustment that was invoiced for it. Periods that come out the same give none. The same serves
    the true-up of a provisional index (CON-14) and a changed quantity (CON-21).
    """
    found = []
    for period, fees in invoiced:
        before = exact_sum([fee.amount for fee in fees])
        usage = tuple(item for item in charge.usage if item.day in period)
        due = bill(replace(charge, usage=usage), period).total
        amount = EXACT.subtract(due, before)
        if amount:
            explanation = (
                f"Correction for {period}: {plain_amount(due, charge.currency)} {charge.currency} under the terms "
                f"now in force, {plain_amount(before, charge.currency)} invoiced before."
            )
            found.append(Adjustment(period, before, due, amount, charge.currency, explanation))
    return found


def _in_force(charge: Charge, period: Period) -> list[_Stretch]:
    """The slices as far as they lie in the period and before the end, in order of date."""
    found = []
    for terms in charge.slices:
        days = period.overlap(terms.start, terms.end)
        if days is not None and charge.ends_on is not None:
            days = days.overlap(days.start, charge.ends_on)
        if days is not None:
            found.append(_Stretch(days, terms))
    refuse_overlap([stretch.days for stretch in found])
    return sorted(found, key=lambda stretch: stretch.days)


def _prorated(stretch: _Stretch, whole: int) -> _Draft:
    terms = stretch.terms
    part = Fraction(stretch.days.days, whole)
    priced = price_quantity(terms.table, terms.quantity)
    taken = apply_discounts(priced.amount, terms.discounts, minimum=terms.minimum, maximum=terms.maximum)
    return _Draft(stretch, priced, taken.gross * part, taken.net * part, taken, part)


def _full(stretch: _Stretch) -> _Draft:
    terms = stretch.terms
    day = Period(stretch.days.start, date.fromordinal(stretch.days.start.toordinal() + 1))
    priced = price_quantity(terms.table, terms.quantity)
    taken = apply_discounts(priced.amount, terms.discounts, minimum=terms.minimum, maximum=terms.maximum)
    return _Draft(_Stretch(day, terms), priced, taken.gross, taken.net, taken, Fraction(1))


def _bill_usage(charge: Charge, period: Period, in_force: list[_Stretch], stretches: list[_Stretch]) -> Bill:
    outside = next((item for item in charge.usage if item.day not in period), None)
    if outside is not None:
        raise Invalid(
            "usage_outside_period",
            f"The usage of {outside.day} does not lie within the period {period}. Bill it with its own period.",
        )
    used = [_used_in(charge.usage, stretch.days) for stretch in stretches]
    total = exact_sum(used)
    under_terms = exact_sum([_used_in(charge.usage, stretch.days) for stretch in in_force])
    priced = []
    before: Decimal | None = None
    for stretch, quantity in zip(stretches, used, strict=True):
        priced.append(price_quantity(stretch.terms.table, quantity, before=before, total=total))
        before = EXACT.add(before or ZERO, quantity)
    lines = _lines(charge, period, _discounted_usage(period, stretches, priced))
    return Bill(
        period,
        lines,
        exact_sum([line.amount for line in lines]),
        suspended_quantity=EXACT.subtract(under_terms, total),
        unpriced_quantity=EXACT.subtract(exact_sum([item.quantity for item in charge.usage]), under_terms),
    )


def _used_in(usage: Iterable[Usage], days: Period) -> Decimal:
    return exact_sum([item.quantity for item in usage if item.day in days])


def _discount_terms(terms: PriceSlice) -> tuple[object, ...]:
    return terms.discounts, terms.minimum, terms.maximum


def _discounted_usage(period: Period, stretches: list[_Stretch], priced: list[Priced]) -> list[_Draft]:
    """Discount neighbouring stretches of the same discounts and bounds as one, then share the result by gross.

    Otherwise a fixed discount or a minimum would depend on where an unrelated change cuts the period.
    """
    drafts: list[_Draft] = []
    start = 0
    for end in range(1, len(stretches) + 1):
        if end < len(stretches) and _discount_terms(stretches[end].terms) == _discount_terms(
            stretches[start].terms
        ):
            continue
        drafts += _discounted_group(period, stretches[start:end], priced[start:end])
        start = end
    return drafts


def _discounted_group(period: Period, stretches: list[_Stretch], priced: list[Priced]) -> list[_Draft]:
    terms = stretches[0].terms
    days = sum(stretch.days.days for stretch in stretches)
    gross = [Fraction(item.amount) for item in priced]
    whole = sum(gross, Fraction(0))
    part = Fraction(days, period.days)
    taken = apply_discounts(
        whole,
        terms.discounts,
        minimum=terms.minimum,
        maximum=terms.maximum,
        scale=part,
    )
    # A minimum without any usage has no gross to be shared by; then the days share it.
    weights = gross if whole else [Fraction(stretch.days.days) for stretch in stretches]
    weight = whole or Fraction(days)
    return [
        _Draft(stretch, item, amount, taken.net * own / weight, taken, part)
        for stretch, item, amount, own in zip(stretches, priced, gross, weights, strict=True)
    ]


def _lines(charge: Charge, period: Period, drafts: list[_Draft]) -> tuple[FeeLine, ...]:
    drafts = [draft for draft in drafts if draft.gross or draft.net or draft.priced.quantity]
    amounts = round_together([draft.net for draft in drafts], charge.currency)
    return tuple(_line(charge, period, draft, amount) for draft, amount in zip(drafts, amounts, strict=True))


def _line(charge: Charge, period: Period, draft: _Draft, amount: Decimal) -> FeeLine:
    return FeeLine(
        kind=charge.kind,
        days=draft.stretch.days,
        period=period,
        quantity=draft.priced.quantity,
        unit_price=draft.priced.unit_price,
        parts=draft.priced.parts,
        gross=draft.gross,
        discount=draft.gross - draft.net,
        amount=amount,
        currency=charge.currency,
        label=draft.stretch.terms.label,
        explanation=_explanation(charge, period, draft, amount),
    )


def _explanation(charge: Charge, period: Period, draft: _Draft, amount: Decimal) -> str:
    """One sentence: the days, how the quantity was priced, what was taken off, and the result."""
    days, terms, taken = draft.stretch.days, draft.stretch.terms, draft.taken
    pieces = [_priced_text(draft.priced, terms.table, charge.currency)]
    pieces += [_discount_text(step.discount, charge.currency) for step in taken.steps]
    if taken.bound is not None:
        name = "minimum" if taken.bound == terms.minimum else "maximum"
        pieces.append(f"{name} {plain_amount(taken.bound, charge.currency)}")
    by_days = charge.kind is ChargeKind.RECURRING or len(pieces) > 1
    if by_days and draft.share != 1:
        whole = days.days / draft.share if charge.kind is ChargeKind.RECURRING else Fraction(period.days)
        pieces.append(f"{draft.share * whole} of {whole} days")
    when = str(days.start) if charge.kind is ChargeKind.ONE_TIME else str(days)
    return f"{when}: {', '.join(pieces)} = {plain_amount(amount, charge.currency)} {charge.currency}."


def _priced_text(priced: Priced, table: PriceTable, currency: str) -> str:
    packages = table.model is PriceModel.PACKAGE
    texts = []
    for part in priced.parts:
        unit = "packages " if packages else ""
        text = f"{plain_number(part.quantity)} {unit}× {plain_amount(part.unit_price, currency)}"
        if part.flat_fee:
            text += f" + {plain_amount(part.flat_fee, currency)} flat"
        if len(table.tiers) > 1:
            text += f" ({part.tier})"
        texts.append(text)
    text = " + ".join(texts) or "0 units"
    return f"{text}, {plain_number(priced.free)} free" if priced.free else text


def _discount_text(discount: Discount, currency: str) -> str:
    percent = discount.kind is DiscountKind.PERCENT
    value = f"{plain_number(discount.value)} %" if percent else plain_amount(discount.value, currency)
    return f"less {value}{f' ({discount.label})' if discount.label else ''}"
