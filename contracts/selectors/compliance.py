"""How well the promised service levels of a period were kept, and what is credited for it; reads only (CON-20).

A period is that of the level's months from the billing anchor, as far as the contract was in force. What was measured
counts by the time it covers within the period; while the contract is suspended the clock of its levels stands still, so
that time does not count (CON-17).
"""

import datetime
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction

from contracts.models import BillableFee, Contract, Direction, FeeKind, ServiceCredit, SlaMeasurement
from contracts.pricing import CreditTier, Period, ServiceMeasure, period_on, rounded, service_credit
from contracts.selectors.contract import agreement_of, happened
from contracts.services.billing import subscribed, supply_on_record
from contracts.terms import life
from contracts.terms.dues import Supply, dues
from contracts.terms.fold import Agreement, Segment, segments_until
from contracts.terms.lines import SlaLine
from core import clock
from core.access import get_visible
from core.models import User
from core.money import EXACT

ONE_DAY = datetime.timedelta(days=1)
ZERO = Decimal(0)
HUNDRED = Decimal(100)
_DECIMALS = Decimal("0.000001")


@dataclass(frozen=True, slots=True)
class Compliance:
    """One service level in one period.

    ``measured`` is the average by time, None where nothing was measured; ``covered_percent`` says how much of the time
    that counts was measured. ``amount`` is what is credited of ``fee_amount``, in ``currency``, by the level alone.
    """

    level: SlaLine
    period: Period
    measured: Decimal | None
    covered_percent: Decimal
    is_met: bool | None
    credit_percent: Decimal
    fee_amount: Decimal
    amount: Decimal
    currency: str
    credit: ServiceCredit | None = None


@dataclass(frozen=True, slots=True)
class LevelPeriod:
    """A level as it was promised for a period that is over."""

    level: SlaLine
    period: Period
    currency: str


@dataclass(frozen=True, slots=True)
class _Window:
    """A stretch of time that counts."""

    start: datetime.datetime
    end: datetime.datetime

    def overlap(self, start: datetime.datetime, end: datetime.datetime) -> Fraction:
        """The seconds shared with it, exact."""
        shared = min(self.end, end) - max(self.start, start)
        return Fraction(max(shared, datetime.timedelta(0)) // datetime.timedelta(microseconds=1), 1_000_000)


class ServiceLevels:
    """The service levels of one contract with everything they are judged by, read once."""

    def __init__(self, contract: Contract) -> None:
        self.contract = contract
        self.agreement: Agreement = agreement_of(contract)
        self.supply: Supply | None = supply_on_record(contract, self.agreement)
        self._spans = life.supply_spans(self.agreement, happened(contract))
        self._subscribed = subscribed(contract)

    def periods(self, *, until: datetime.date, code: str = "") -> Iterator[LevelPeriod]:
        """The periods of each level that are over by ``until``: it is the first day after them, or later."""
        if self.supply is None:
            return
        history = segments_until(self.agreement, until)
        codes = sorted({name for segment in history for name in segment.terms.sla})
        for name in codes if not code else [code]:
            yield from self._periods_of(name, history, self.supply, until)

    def _periods_of(
        self, code: str, history: Sequence[Segment], supply: Supply, until: datetime.date
    ) -> Iterator[LevelPeriod]:
        day = supply.start
        while day < until:
            segment = _segment_on(history, day)
            level = segment.terms.sla.get(code)
            if level is None:
                if segment.end is None:
                    return
                day = segment.end
                continue
            whole = period_on(self.agreement.conditions.billing_anchor, level.period_months, day)
            covered = whole.overlap(max(day, supply.start), supply.end)
            if covered is None or covered.end > until:
                return
            # What holds on its last day holds for the period.
            last = _segment_on(history, covered.last_day).terms
            yield LevelPeriod(last.sla.get(code, level), covered, last.conditions.currency)
            day = covered.end

    def compliance(self, of: LevelPeriod, measurements: Iterable[SlaMeasurement]) -> Compliance:
        """Judge a level in a period by what was measured of it."""
        level, period = of.level, of.period
        windows = list(self._windows(period))
        weights = [
            (
                sum((window.overlap(row.measured_from, row.measured_to) for window in windows), Fraction(0)),
                row,
            )
            for row in measurements
        ]
        measured_time = sum((weight for weight, _ in weights), Fraction(0))
        time = sum((window.overlap(window.start, window.end) for window in windows), Fraction(0))
        fee = self.fee(period, level.fee_line, of.currency)
        if not measured_time:
            return Compliance(level, period, None, ZERO, None, ZERO, fee, ZERO, of.currency)
        value = sum((weight * Fraction(row.value) for weight, row in weights), Fraction(0)) / measured_time
        measured = _decimal(value)
        more = level.direction == Direction.AT_LEAST
        met = measured >= level.target if more else measured <= level.target
        percent = amount = ZERO
        if level.tiers:
            tiers = tuple(CreditTier(tier.threshold, tier.credit_percent) for tier in _mildest_first(level))
            measure = ServiceMeasure(level.metric, measured, tiers, more_is_better=more)
            percent = min(measure.credit_percent, level.credit_cap_percent)
            amount = service_credit(
                [measure], fee=fee, cap_percent=level.credit_cap_percent, currency=of.currency
            ).amount
        return Compliance(
            level,
            period,
            measured,
            _decimal(min(measured_time / time, Fraction(1)) * 100),
            met,
            percent,
            fee,
            amount,
            of.currency,
        )

    def _windows(self, period: Period) -> Iterator[_Window]:
        zone = self.contract.time_zone
        for span in self._spans:
            days = None if span.is_suspended else period.overlap(span.start, span.end)
            if days is not None:
                yield _Window(clock.start_of_day(days.start, zone), clock.start_of_day(days.end, zone))

    def fee(self, period: Period, line_code: str, currency: str) -> Decimal:
        """The fees of the period by the terms known now: of one line, or of all; zero or more, at the minor unit."""
        if self.supply is None:
            return ZERO
        total = Fraction(0)
        for due in dues(self.agreement, self.supply, until=period.last_day, subscriptions=self._subscribed):
            # A credit is a share of what the service costs, not of what is paid once.
            if due.is_usage or due.kind == FeeKind.ONE_TIME or due.currency != currency:
                continue
            if line_code in ("", due.code):
                for part in due.parts:
                    start, end = (datetime.date.fromisoformat(part[key]) for key in ("from", "to"))
                    total += _share(Fraction(Decimal(part["amount"])), start, end, period)
        # What usage costs is known once it is priced.
        usage = BillableFee.objects.filter(
            contract=self.contract,
            currency=currency,
            period_start__lt=period.end,
            period_end__gt=period.start,
        )
        for fee in usage.select_related("adjusts"):
            origin = fee.adjusts or fee
            if origin.kind in (FeeKind.USAGE, FeeKind.HOLDOVER) and line_code in ("", fee.line_code):
                total += _share(Fraction(fee.amount), fee.period_start, fee.period_end, period)
        return max(rounded(total, currency), ZERO)


def _share(amount: Fraction, start: datetime.date, end: datetime.date, period: Period) -> Fraction:
    shared = period.overlap(start, end)
    return amount * Fraction(shared.days, (end - start).days) if shared else Fraction(0)


def _segment_on(history: Sequence[Segment], day: datetime.date) -> Segment:
    return next(segment for segment in history if segment.end is None or day < segment.end)


def _mildest_first(level: SlaLine) -> list[CreditTier]:
    tiers = [CreditTier(tier.threshold, tier.credit_percent) for tier in level.tiers]
    return sorted(tiers, key=lambda tier: tier.credit_percent)


def _decimal(value: Fraction) -> Decimal:
    """With six decimals, half up."""
    scaled = value * 1_000_000
    units = (2 * abs(scaled.numerator) + scaled.denominator) // (2 * scaled.denominator)
    return EXACT.multiply(Decimal(units if value >= 0 else -units), _DECIMALS)


def sla_compliance(
    *, actor: User, contract_id: int, until: datetime.date | None = None, sla_code: str = ""
) -> list[Compliance]:
    """How the levels of a contract were kept in the periods that are over, by code and period (CON-20).

    Raises NotFound.
    """
    contract: Contract = get_visible(Contract.objects.all(), actor, contract_id, name="contract")
    levels = ServiceLevels(contract)
    credits = {
        (credit.sla_code, credit.period_start): credit
        for credit in ServiceCredit.objects.filter(contract=contract)
    }
    found = []
    for of in levels.periods(until=until or clock.today(contract.time_zone), code=sla_code):
        result = levels.compliance(of, measurements_of(contract, of))
        credit = credits.get((of.level.code, of.period.start))
        found.append(replace(result, credit=credit))
    return found


def measurements_of(contract: Contract, of: LevelPeriod) -> list[SlaMeasurement]:
    """What was measured of a level in a period and stands: corrections instead of what they replace."""
    zone = contract.time_zone
    found = SlaMeasurement.objects.filter(
        contract=contract,
        sla_code=of.level.code,
        replaced_by__isnull=True,
        measured_from__lt=clock.start_of_day(of.period.end, zone),
        measured_to__gt=clock.start_of_day(of.period.start, zone),
    )
    return list(found.order_by("measured_from", "pk"))
