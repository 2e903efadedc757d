"""What each line of a contract costs for each period, by all that is known now (CON-05 to CON-09, CON-16, CON-17).

Nothing here asks the database or the clock. The same question gives the same answer: what differs from what was billed
before is an adjustment, whatever the cause.
"""

import datetime
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import pairwise
from typing import Any

from contracts.models import FeeKind, Pricing, QuantitySource
from contracts.pricing import (
    Bill,
    Charge,
    ChargeKind,
    Discount,
    DiscountKind,
    Period,
    PriceSlice,
    PriceTable,
    Suspension,
    Timing,
    Usage,
    add_months,
    bill,
    number_on,
    period_at,
    with_prices,
)
from contracts.terms.conditions import Conditions
from contracts.terms.fold import Agreement, Segment, segments_until
from contracts.terms.life import SupplySpan
from contracts.terms.lines import PriceLine
from core.money import EXACT, exact_sum

HUNDRED = Decimal(100)
ONE_DAY = datetime.timedelta(days=1)


@dataclass(frozen=True, slots=True)
class ListPrice:
    """What a plan costs per licence and interval, where the contract says nothing else."""

    plan_id: int
    name: str
    price: Decimal
    currency: str
    interval_months: int
    gl_code: str = ""


@dataclass(frozen=True, slots=True)
class Licences:
    """So many licences of a plan from a day on."""

    start: datetime.date
    plan: ListPrice
    quantity: int


@dataclass(frozen=True, slots=True)
class Subscribed:
    """A subscription: its line's code, who uses it, its days, and its licences in their order (CON-21)."""

    code: str
    entity_id: int
    department_id: int | None
    start: datetime.date
    end: datetime.date | None
    licences: tuple[Licences, ...]


@dataclass(frozen=True, slots=True)
class Supply:
    """The days on which a contract bills: ``gaps`` are those since its start on which it does not.

    ``end`` is the first day after it, if that is known. ``holdover_from`` is set where use after expiry is billed.
    """

    start: datetime.date
    end: datetime.date | None
    gaps: tuple[Suspension, ...]
    holdover_from: datetime.date | None = None


def supply_of(spans: Sequence[SupplySpan], *, holdover_from: datetime.date | None = None) -> Supply | None:
    """What billing goes by; None for a contract that was never in force."""
    if not spans:
        return None
    gaps = [Suspension(span.start, span.end) for span in spans if not span.is_billed]
    gaps += [
        Suspension(earlier.end, later.start)
        for earlier, later in pairwise(spans)
        if earlier.end is not None and earlier.end < later.start
    ]
    end = spans[-1].end
    if end is not None:
        gaps.append(Suspension(end, None))
    return Supply(spans[0].start, end, tuple(gaps), holdover_from)


@dataclass(frozen=True, slots=True)
class Due:
    """What one line costs for one period; ``bill_on`` is the first day on which it may be invoiced.

    ``start`` names the period: the first day of it that the line covers. ``quantity`` is of usage all that was used.
    """

    kind: FeeKind
    code: str
    name: str
    start: datetime.date
    end: datetime.date
    bill_on: datetime.date
    amount: Decimal
    currency: str
    quantity: Decimal | None
    parts: tuple[dict[str, Any], ...]
    gl_code: str
    department_id: int | None
    entity_id: int | None = None
    """Who is billed, where it is not the contract's entity."""
    in_arrears: bool = False

    @property
    def key(self) -> tuple[str, datetime.date]:
        """What is billed once (CON-08)."""
        return self.code, self.start

    @property
    def is_usage(self) -> bool:
        """Whether it prices usage: such a fee stands even at zero, for it holds what was used."""
        return self.kind in (FeeKind.USAGE, FeeKind.HOLDOVER)


@dataclass(frozen=True, slots=True)
class _Piece:
    """Days of one line under one price."""

    start: datetime.date
    end: datetime.date
    kind: FeeKind
    name: str
    currency: str
    interval_months: int
    timing: Timing
    is_prorated: bool
    terms: PriceSlice
    gl_code: str
    department_id: int | None

    @property
    def grid(self) -> tuple[Any, ...]:
        """Pieces of one grid share their periods."""
        return self.kind, self.currency, self.interval_months, self.timing, self.is_prorated

    def continues(self, earlier: "_Piece") -> bool:
        """Whether nothing but the day separates them."""
        return (
            earlier.end == self.start
            and replace(
                earlier,
                start=self.start,
                end=self.end,
                terms=replace(earlier.terms, start=self.start, end=self.end),
            )
            == self
        )


def dues(
    agreement: Agreement,
    supply: Supply,
    *,
    until: datetime.date,
    subscriptions: Sequence[Subscribed] = (),
    usage: Mapping[str, Sequence[Usage]] | None = None,
) -> list[Due]:
    """What every line costs for every period that begins until ``until`` (inclusive), in no particular order."""
    found: list[Due] = []
    segments = _segments(agreement, until, subscriptions)
    anchor = agreement.conditions.billing_anchor
    used = usage or {}
    for code in sorted({code for segment in segments for code in segment.terms.prices}):
        pieces = _joined(_pieces_of_line(segments, code, supply))
        found += _dues(code, pieces, supply, anchor, until, used.get(code, ()))
    for subscribed in subscriptions:
        pieces = _joined(_pieces_of_subscription(segments, subscribed, supply))
        found += [
            replace(due, entity_id=subscribed.entity_id, department_id=subscribed.department_id)
            for due in _dues(subscribed.code, pieces, supply, anchor, until, ())
        ]
    return found


def usage_days(
    agreement: Agreement, supply: Supply, *, until: datetime.date
) -> Iterator[tuple[PriceLine, Period]]:
    """Yield the lines that price usage with the days before ``until`` on which they do."""
    for segment in segments_until(agreement, until):
        for line in segment.terms.prices.values():
            if line.quantity_source == QuantitySource.USAGE:
                days = _days(segment, line.starts_on, line.ends_on, supply.start, until)
                for part in _without_gaps(days, _gaps_of_usage(supply)):
                    yield line, part


def _without_gaps(days: Period | None, gaps: Iterable[Suspension]) -> Iterator[Period]:
    left = [days] if days is not None else []
    for gap in gaps:
        left = [
            part
            for stretch in left
            for part in (
                stretch.overlap(datetime.date.min, gap.start),
                stretch.overlap(gap.end, None) if gap.end is not None else None,
            )
            if part is not None
        ]
    yield from left


def _segments(
    agreement: Agreement, until: datetime.date, subscriptions: Sequence[Subscribed]
) -> list[Segment]:
    """The terms as far as a period that begins until then can reach."""
    known = segments_until(agreement, until + ONE_DAY)
    lengths = [line.interval_months for segment in known for line in segment.terms.prices.values()]
    lengths += [change.plan.interval_months for each in subscriptions for change in each.licences]
    return segments_until(agreement, add_months(until, max(lengths, default=1) + 1))


def _days(
    segment: Segment,
    starts_on: datetime.date | None,
    ends_on: datetime.date | None,
    since: datetime.date,
    until: datetime.date = datetime.date.max,
) -> Period | None:
    start = max(segment.start, starts_on or segment.start, since)
    end = min(segment.end or datetime.date.max, ends_on or datetime.date.max, until)
    return Period(start, end) if start < end else None


def _cut(days: Period, points: Iterable[datetime.date | None]) -> list[Period]:
    """The days, cut where a price changes by itself."""
    inner = {point for point in points if point is not None and days.start < point < days.end}
    return [Period(start, end) for start, end in pairwise(sorted({days.start, *inner, days.end}))]


def _pieces_of_line(segments: Sequence[Segment], code: str, supply: Supply) -> Iterator[_Piece]:
    for segment in segments:
        line = segment.terms.prices.get(code)
        if line is None or line.quantity_source == QuantitySource.LICENCES:
            continue
        days = _days(segment, line.starts_on, line.ends_on, supply.start)
        if days is None:
            continue
        is_usage = line.quantity_source == QuantitySource.USAGE
        points = [line.discount_until, *(step.start for step in line.ramp)]
        points += [supply.holdover_from] if is_usage else []
        for part in _cut(days, points):
            yield _piece(
                part,
                line,
                segment.terms.conditions,
                kind=_KINDS.get(line.pricing) or (FeeKind.USAGE if is_usage else FeeKind.UNITS),
                quantity=Decimal(1) if line.quantity is None else line.quantity,
                held_over=is_usage
                and supply.holdover_from is not None
                and part.start >= supply.holdover_from,
            )


_KINDS: dict[str, FeeKind] = {Pricing.ONE_TIME: FeeKind.ONE_TIME, Pricing.RECURRING: FeeKind.RECURRING}
_CHARGES: dict[str, ChargeKind] = {FeeKind.ONE_TIME: ChargeKind.ONE_TIME, FeeKind.USAGE: ChargeKind.USAGE}


def _piece(
    days: Period,
    line: PriceLine,
    conditions: Conditions,
    *,
    kind: FeeKind,
    quantity: Decimal,
    name: str = "",
    held_over: bool = False,
) -> _Piece:
    table = line.table_on(days.start)
    if held_over:
        table = _at_holdover_rate(table, conditions.holdover_rate_percent)
    return _Piece(
        start=days.start,
        end=days.end,
        kind=kind,
        name=name or line.name,
        currency=conditions.currency,
        interval_months=line.interval_months,
        timing=Timing.ARREARS if kind == FeeKind.USAGE else Timing(line.timing),
        is_prorated=line.is_prorated,
        terms=PriceSlice(days.start, days.end, table, quantity, _discounts(line, conditions, days.start)),
        gl_code=line.gl_code,
        department_id=line.department_id,
    )


def _at_holdover_rate(table: PriceTable, percent: Decimal) -> PriceTable:
    return with_prices(table, lambda price: EXACT.divide(EXACT.multiply(price, percent), HUNDRED))


def _discounts(line: PriceLine, conditions: Conditions, day: datetime.date) -> tuple[Discount, ...]:
    """The contract's own first, then the line's percentage, then its amount, each as long as it runs."""
    found = []
    if conditions.discount_percent:
        found.append(Discount(DiscountKind.PERCENT, conditions.discount_percent, "contract"))
    if line.discount_until is None or day < line.discount_until:
        if line.discount_percent:
            found.append(Discount(DiscountKind.PERCENT, line.discount_percent))
        if line.discount_amount:
            found.append(Discount(DiscountKind.FIXED, line.discount_amount))
    return tuple(found)


def _pieces_of_subscription(
    segments: Sequence[Segment], subscribed: Subscribed, supply: Supply
) -> Iterator[_Piece]:
    ends = [*(change.start for change in subscribed.licences[1:]), None]
    for change, end in zip(subscribed.licences, ends, strict=True):
        last = min(end or datetime.date.max, subscribed.end or datetime.date.max)
        for segment in segments:
            days = _days(segment, max(change.start, subscribed.start), last, supply.start)
            if days is None:
                continue
            own = [
                line
                for _, line in sorted(segment.terms.prices.items())
                if line.quantity_source == QuantitySource.LICENCES and line.plan_id == change.plan.plan_id
            ]
            points = [point for line in own for point in (line.starts_on, line.ends_on, line.discount_until)]
            points += [step.start for line in own for step in line.ramp]
            for part in _cut(days, points):
                agreed = next((line for line in own if line.runs_on(part.start)), None)
                yield _licence_piece(part, change, agreed, segment.terms.conditions)


def _licence_piece(
    days: Period, change: Licences, agreed: PriceLine | None, conditions: Conditions
) -> _Piece:
    """At the contract's price for the plan, else at the list price."""
    quantity, plan = Decimal(change.quantity), change.plan
    if agreed is not None:
        return _piece(
            days, agreed, conditions, kind=FeeKind.SUBSCRIPTION, quantity=quantity, name=agreed.name
        )
    line = PriceLine(
        code="", name=plan.name, price=plan.price, interval_months=plan.interval_months, gl_code=plan.gl_code
    )
    piece = _piece(days, line, conditions, kind=FeeKind.SUBSCRIPTION, quantity=quantity)
    return replace(piece, currency=plan.currency)


def _joined(pieces: Iterable[_Piece]) -> list[_Piece]:
    """Neighbours under the same price become one."""
    found: list[_Piece] = []
    for piece in pieces:
        if found and piece.continues(found[-1]):
            found[-1] = replace(found[-1], end=piece.end, terms=replace(found[-1].terms, end=piece.end))
        else:
            found.append(piece)
    return found


def _runs(pieces: Sequence[_Piece]) -> Iterator[list[_Piece]]:
    run: list[_Piece] = []
    for piece in pieces:
        if run and (run[-1].end != piece.start or run[-1].grid != piece.grid):
            yield run
            run = []
        run.append(piece)
    if run:
        yield run


def _gaps_of_usage(supply: Supply) -> tuple[Suspension, ...]:
    """Usage after expiry is billed where that was agreed (CON-17)."""
    return tuple(gap for gap in supply.gaps if gap.start != supply.holdover_from)


def _dues(
    code: str,
    pieces: Sequence[_Piece],
    supply: Supply,
    anchor: datetime.date,
    until: datetime.date,
    usage: Sequence[Usage],
) -> Iterator[Due]:
    for run in _runs(pieces):
        first = run[0]
        if first.kind == FeeKind.ONE_TIME:
            if first.start <= until:
                day = Period(first.start, first.start + ONE_DAY)
                yield from _due(code, run[:1], supply, day, day, usage)
            continue
        number = number_on(anchor, first.interval_months, first.start)
        while True:
            whole = period_at(anchor, first.interval_months, number)
            own = whole.overlap(first.start, run[-1].end)
            if own is None or own.start > until:
                break
            yield from _due(code, run, supply, whole, own, usage)
            number += 1


def _due(
    code: str, run: Sequence[_Piece], supply: Supply, whole: Period, own: Period, usage: Sequence[Usage]
) -> Iterator[Due]:
    first = run[0]
    is_usage = first.kind == FeeKind.USAGE
    charge = Charge(
        kind=_CHARGES.get(first.kind, ChargeKind.RECURRING),
        currency=first.currency,
        slices=tuple(piece.terms for piece in run),
        usage=tuple(used for used in usage if used.day in own) if is_usage else (),
        suspensions=_gaps_of_usage(supply) if is_usage else supply.gaps,
        ends_on=supply.end if first.kind == FeeKind.ONE_TIME else None,
        prorated=first.is_prorated,
    )
    result = bill(charge, whole)
    if not result.lines:
        return
    last = [piece for piece in run if piece.start <= result.lines[-1].days.start][-1]
    kind = first.kind
    if is_usage and supply.holdover_from is not None and result.lines[0].days.start >= supply.holdover_from:
        kind = FeeKind.HOLDOVER
    yield Due(
        kind=kind,
        code=code,
        name=last.name,
        start=own.start,
        end=own.end if is_usage else result.lines[-1].days.end,
        bill_on=_bill_on(first, supply, own, result),
        amount=result.total,
        currency=first.currency,
        quantity=_quantity(first.kind, result),
        parts=tuple(_part(line) for line in result.lines),
        gl_code=last.gl_code,
        department_id=last.department_id,
        in_arrears=first.timing is Timing.ARREARS and first.kind != FeeKind.ONE_TIME,
    )


def _bill_on(piece: _Piece, supply: Supply, own: Period, result: Bill) -> datetime.date:
    """In advance the first billed day; in arrears the last day, so that the invoice over the period holds the fee."""
    if piece.timing is Timing.ADVANCE or piece.kind == FeeKind.ONE_TIME:
        return result.lines[0].days.start
    end = own.end
    if supply.end is not None and supply.holdover_from is None and own.start < supply.end < end:
        end = supply.end
    return end - ONE_DAY


def _quantity(kind: FeeKind, result: Bill) -> Decimal | None:
    if kind == FeeKind.USAGE:
        return exact_sum([line.quantity for line in result.lines])
    return None if kind in (FeeKind.RECURRING, FeeKind.ONE_TIME) else result.lines[-1].quantity


def _part(line: Any) -> dict[str, Any]:
    return {
        "from": line.days.start.isoformat(),
        "to": line.days.end.isoformat(),
        "quantity": f"{line.quantity.normalize(EXACT):f}",
        "unit_price": None if line.unit_price is None else f"{line.unit_price.normalize(EXACT):f}",
        "amount": f"{line.amount:f}",
        "explanation": line.explanation,
    }
