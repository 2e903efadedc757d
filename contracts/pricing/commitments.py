"""Minimum commitments, not-to-exceed caps and service credits (CON-18, CON-20, INV-05).

Amounts are before tax, in one currency, at its minor unit.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise

from contracts.pricing.periods import Period
from contracts.pricing.proration import Suspension, billable_days, rounded
from contracts.pricing.text import plain_number
from core.errors import Invalid
from core.money import EXACT, allocate, exact_sum, plain_amount

CAP_WARNING_PERCENT = Decimal(80)
HUNDRED = Decimal(100)


@dataclass(frozen=True, slots=True)
class TrueUp:
    """What a minimum commitment asks, what was billed, and the shortfall to bill (zero if there is none)."""

    required: Decimal
    billed: Decimal
    shortfall: Decimal
    explanation: str


@dataclass(frozen=True, slots=True)
class Capped:
    """A charge tested against a not-to-exceed cap.

    `allowed` + `cut` = `asked`. `used` is what is invoiced once `allowed` is. `warns` and `blocks` say that
    this charge crosses 80 % (or the contract's own threshold) or reaches 100 %: each is true once per crossing.
    """

    asked: Decimal
    allowed: Decimal
    cut: Decimal
    used: Decimal
    remaining: Decimal
    warns: bool
    blocks: bool
    explanation: str


@dataclass(frozen=True, slots=True)
class CreditTier:
    """From which measured value on which percentage of the period's fee is credited."""

    threshold: Decimal
    credit_percent: Decimal


@dataclass(frozen=True, slots=True)
class ServiceMeasure:
    """One service level measured over a period.

    The tiers go from the mildest breach to the worst. Where more is better (availability in per cent) a tier
    is breached by a measured value *below* its threshold; where less is better (response hours), by one *above*
    it. A value equal to the threshold meets it. Raises Invalid `invalid_credit_tiers`.
    """

    name: str
    measured: Decimal
    tiers: tuple[CreditTier, ...]
    more_is_better: bool = True

    def __post_init__(self) -> None:
        sign = -1 if self.more_is_better else 1
        steps = list(pairwise(self.tiers))
        if (
            not self.tiers
            or any(not 0 < tier.credit_percent <= HUNDRED for tier in self.tiers)
            or any(sign * (later.threshold - earlier.threshold) <= 0 for earlier, later in steps)
            or any(later.credit_percent <= earlier.credit_percent for earlier, later in steps)
        ):
            raise Invalid(
                "invalid_credit_tiers",
                f'The credit tiers of "{self.name}" must go from the mildest breach to the worst, each with a '
                "higher percentage than the one before, above 0 and at most 100.",
            )

    @property
    def credit_percent(self) -> Decimal:
        """The percentage of the worst tier breached, or zero."""
        breached = [
            tier.credit_percent
            for tier in self.tiers
            if (self.measured < tier.threshold if self.more_is_better else self.measured > tier.threshold)
        ]
        return max(breached, default=Decimal(0))


@dataclass(frozen=True, slots=True)
class ServiceCredit:
    """The credit for one period (positive): per measure, in their order, and in total after the cap."""

    parts: tuple[Decimal, ...]
    amount: Decimal
    limited: bool
    explanation: str


def true_up(
    *,
    commitment: Decimal,
    fees: Iterable[Decimal],
    period: Period,
    currency: str,
    covered: Period | None = None,
    suspensions: Sequence[Suspension] = (),
    prorated: bool = False,
) -> TrueUp:
    """Return the shortfall of a minimum commitment, billed once at the end of its period (CON-18).

    `fees` are those that count towards it, after discounts and adjustments; a credit among them counts as less.
    With `prorated` the commitment is reduced to the days in force (`covered`, by default all) and not
    suspended without billing; otherwise it is due in full, however short the period. Raises Invalid
    `negative_commitment`, `part_outside_period`.
    """
    if commitment < 0:
        raise Invalid("negative_commitment", "A minimum commitment cannot be negative.")
    days = period.days
    if prorated:
        inside = covered or period
        if inside.start < period.start or inside.end > period.end:
            raise Invalid("part_outside_period", f"The days {inside} do not lie within the period {period}.")
        days = sum(part.days for part in billable_days(inside, suspensions))
    required = rounded(Fraction(commitment) * Fraction(days, period.days), currency)
    billed = exact_sum(list(fees))
    shortfall = max(Decimal(0), rounded(EXACT.subtract(required, billed), currency))
    explanation = (
        f"Minimum commitment for {period}: {plain_amount(required, currency)} {currency}"
        + (f" ({days} of {period.days} days)" if days != period.days else "")
        + f", billed {plain_amount(billed, currency)}, shortfall {plain_amount(shortfall, currency)}."
    )
    return TrueUp(required, billed, shortfall, explanation)


def cap_charge(
    *,
    cap: Decimal,
    invoiced: Decimal,
    asked: Decimal,
    currency: str,
    warn_at_percent: Decimal = CAP_WARNING_PERCENT,
) -> Capped:
    """Test a charge against what is left under a not-to-exceed cap (CON-18).

    `invoiced` is the sum of all invoices so far, less credit notes. What reaches the cap exactly passes; what
    exceeds it is cut to it. A negative charge always passes. Where the contract blocks instead of cutting,
    refuse when `cut` is not zero. Raises Invalid `negative_cap`.
    """
    if cap < 0:
        raise Invalid("negative_cap", "A not-to-exceed amount cannot be negative.")
    room = max(Decimal(0), EXACT.subtract(cap, invoiced))
    allowed = min(asked, room)
    used = EXACT.add(invoiced, allowed)
    warning = cap * warn_at_percent / HUNDRED
    cut = EXACT.subtract(asked, allowed)
    explanation = (
        f"Not to exceed {plain_amount(cap, currency)} {currency}: {plain_amount(invoiced, currency)} invoiced before, "
        f"{plain_amount(allowed, currency)} now"
    )
    explanation += f", {plain_amount(cut, currency)} cut." if cut else "."
    return Capped(
        asked=asked,
        allowed=allowed,
        cut=cut,
        used=used,
        remaining=max(Decimal(0), EXACT.subtract(cap, used)),
        warns=invoiced < warning <= used,
        blocks=bool(cut) or invoiced < cap <= used,
        explanation=explanation,
    )


def service_credit(
    measures: Sequence[ServiceMeasure], *, fee: Decimal, cap_percent: Decimal, currency: str
) -> ServiceCredit:
    """Return the credit for the service levels missed in a period (CON-20).

    Each measure credits the percentage of its worst breached tier of `fee`, the period's fee before tax; the
    sum is capped at `cap_percent` of that fee and never exceeds it. It is rounded once; the parts, by the
    largest remainder, sum to it. A fee of zero or less gives no credit. Raises Invalid `invalid_cap_percent`.
    """
    if not 0 <= cap_percent <= HUNDRED:
        raise Invalid("invalid_cap_percent", "The cap on service credits is a percentage from 0 to 100.")
    percents = [measure.credit_percent for measure in measures]
    earned = exact_sum(percents)
    granted = min(earned, cap_percent)
    amount = rounded(Fraction(max(fee, Decimal(0))) * Fraction(granted) / 100, currency)
    parts = allocate(amount, percents, currency) if earned else [amount] * len(percents)
    missed = [
        f"{measure.name} {plain_number(measure.measured)} ({plain_number(percent)} %)"
        for measure, percent in zip(measures, percents, strict=True)
        if percent
    ]
    if not missed:
        explanation = "All service levels were met: no credit."
    else:
        explanation = f"Missed: {', '.join(missed)}; "
        explanation += (
            f"capped at {plain_number(cap_percent)} %"
            if earned > cap_percent
            else f"{plain_number(granted)} %"
        )
        explanation += f" of {plain_amount(fee, currency)} {currency}."
    return ServiceCredit(tuple(parts), amount, earned > cap_percent, explanation)


def claim_deadline(measured: Period, within_days: int) -> date:
    """Return the last day on which a service credit for the measured period may be claimed (CON-20)."""
    return measured.end + timedelta(days=within_days - 1)
