"""The terms on any day: base, extensions, renewals and amendments, in the order of their effect (CON-05).

Terms on day D are the base changed by everything that takes effect on or before D: by day, on one day extensions
before renewals before amendments, these by number, so that the later number wins. The fold also looks ahead: a
contract that renews itself is projected term by term, at the prices known now.

A locked renewal begins where the term before it ends: if that end was moved since, by a suspension or an amendment, it
moves too, and where both sides have agreed that nothing is renewed, or notice was in time, there is none.
"""

import datetime
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from contracts.models import RenewalType
from contracts.pricing.periods import add_months
from contracts.terms.changes import changed_prices, changed_service_levels, removed_codes
from contracts.terms.conditions import Conditions, amended
from contracts.terms.lines import PriceLine, SlaLine


@dataclass(frozen=True, slots=True)
class Amended:
    """An amendment in force."""

    effective_from: datetime.date
    number: int
    changes: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Renewed:
    """A term that was locked for those days, with the percentage by which prices rise."""

    effective_from: datetime.date
    number: int
    term_end: datetime.date
    uplift_percent: Decimal


@dataclass(frozen=True, slots=True)
class Extended:
    """The running term ends later by the days of a suspension (CON-17)."""

    effective_from: datetime.date
    days: int


@dataclass(frozen=True, slots=True)
class Noticed:
    """A notice: it ends the contract with its term, or it exercises the option for the next (CON-11)."""

    effective_from: datetime.date
    ends: bool
    term_number: int
    ends_on: datetime.date


_Dated = Extended | Noticed | Amended
Source = _Dated | Renewed
_RANK: dict[type, int] = {Extended: 0, Noticed: 1, Amended: 2}


@dataclass(frozen=True, slots=True)
class Agreement:
    """Everything that the terms of one contract come from."""

    contract_id: int
    conditions: Conditions
    prices: tuple[PriceLine, ...] = ()
    sla: tuple[SlaLine, ...] = ()
    sources: tuple[Source, ...] = ()

    @property
    def horizon(self) -> datetime.date:
        """The last day on which anything known so far takes effect."""
        days = [self.conditions.start_date, self.conditions.end_date or self.conditions.start_date]
        days += [source.effective_from for source in self.sources]
        days += [source.ends_on for source in self.sources if isinstance(source, Noticed)]
        days += [source.term_end for source in self.sources if isinstance(source, Renewed)]
        return max(days)


@dataclass(frozen=True, slots=True)
class Term:
    """A term of the contract, from 1; ``end`` is the first day after it, None without end."""

    number: int
    start: datetime.date
    end: datetime.date | None


@dataclass(frozen=True, slots=True)
class Terms:
    """What the contract says on a day. ``amendments`` are the numbers applied, in their order.

    ``is_projected`` is whether its term is one that is expected, not locked yet.
    """

    conditions: Conditions
    prices: dict[str, PriceLine]
    sla: dict[str, SlaLine]
    term: Term
    amendments: tuple[int, ...] = ()
    is_projected: bool = False


@dataclass(frozen=True, slots=True)
class Segment:
    """The days ``[start, end)`` on which the terms stay the same; no end: for good."""

    start: datetime.date
    end: datetime.date | None
    terms: Terms


@dataclass(slots=True)
class _State:
    terms: Terms
    end_anchor: datetime.date | None
    """The last end that somebody agreed on: further terms are counted from it, so that month ends do not drift."""
    terms_since: int = 0
    locked: dict[int, Renewed] = field(default_factory=dict)
    ending: set[int] = field(default_factory=set)
    exercised: set[int] = field(default_factory=set)


def segments(agreement: Agreement) -> Iterator[Segment]:
    """Yield the terms from the start on, in order. A contract that renews itself has no last segment."""
    first = Term(1, agreement.conditions.start_date, agreement.conditions.end_date)
    state = _State(
        Terms(
            agreement.conditions,
            {line.code: line for line in agreement.prices},
            {line.code: line for line in agreement.sla},
            first,
        ),
        end_anchor=agreement.conditions.end_date,
        locked={source.number: source for source in agreement.sources if isinstance(source, Renewed)},
    )
    others = [source for source in agreement.sources if not isinstance(source, Renewed)]
    waiting = deque(sorted(others, key=_order))
    start = agreement.conditions.start_date
    while True:
        day = _next_day(state, waiting)
        if day is None:
            yield Segment(start, None, state.terms)
            return
        if day > start:
            yield Segment(start, day, state.terms)
            start = day
        if waiting and waiting[0].effective_from <= day and not _renews_first(state, waiting[0], day):
            _apply(state, waiting.popleft())
        else:
            _renew(state)


def _order(source: _Dated) -> tuple[datetime.date, int, int]:
    return source.effective_from, _RANK[type(source)], getattr(source, "number", 0)


def _renewal_day(state: _State) -> datetime.date | None:
    """The day on which the next term begins, if one does."""
    conditions, number = state.terms.conditions, state.terms.term.number
    if conditions.end_date is None or number in state.ending:
        return None
    if conditions.renewal_type == RenewalType.AUTO or (
        conditions.renewal_type == RenewalType.OPTION
        and (number in state.exercised or number + 1 in state.locked)
    ):
        return conditions.end_date
    return None


def _next_day(state: _State, waiting: deque[_Dated]) -> datetime.date | None:
    renewal = _renewal_day(state)
    days = [day for day in (renewal, waiting[0].effective_from if waiting else None) if day is not None]
    return min(days, default=None)


def _renews_first(state: _State, source: _Dated, day: datetime.date) -> bool:
    """Whether the next term begins before this source takes effect; on one day only amendments come after it."""
    renewal = _renewal_day(state)
    if renewal is None or renewal > day:
        return False
    return renewal < source.effective_from or isinstance(source, Amended)


def _apply(state: _State, source: _Dated) -> None:
    terms = state.terms
    if isinstance(source, Amended):
        _amend(state, source)
    elif isinstance(source, Extended):
        if terms.conditions.end_date is not None:
            _move_end(state, terms.conditions.end_date + datetime.timedelta(days=source.days))
    elif source.ends:
        state.ending.add(source.term_number)
        if terms.conditions.end_date is None:
            _move_end(state, source.ends_on)
    else:
        state.exercised.add(source.term_number)


def _amend(state: _State, source: Amended) -> None:
    terms, changes = state.terms, source.changes
    prices, sla = dict(terms.prices), dict(terms.sla)
    for code in removed_codes(changes, "prices"):
        prices.pop(code, None)
    for code in removed_codes(changes, "sla"):
        sla.pop(code, None)
    prices |= {line.code: line for line in changed_prices(changes)}
    sla |= {line.code: line for line in changed_service_levels(changes)}
    fields = changes.get("fields", {})
    state.terms = replace(
        terms,
        conditions=amended(terms.conditions, fields),
        prices=prices,
        sla=sla,
        amendments=(*terms.amendments, source.number),
    )
    if "end_date" in fields:
        _move_end(state, state.terms.conditions.end_date)


def _move_end(state: _State, end: datetime.date | None) -> None:
    terms = state.terms
    state.end_anchor, state.terms_since = end, 0
    state.terms = replace(
        terms, conditions=replace(terms.conditions, end_date=end), term=replace(terms.term, end=end)
    )


def _begin_term(state: _State, number: int, start: datetime.date, end: datetime.date | None) -> None:
    terms = state.terms
    state.terms = replace(
        terms, conditions=replace(terms.conditions, end_date=end), term=Term(number, start, end)
    )


def _renew(state: _State) -> None:
    """Begin the next term: as locked, or as far as is known now; its end is counted so that it does not drift."""
    conditions, term, prices = state.terms.conditions, state.terms.term, state.terms.prices
    assert conditions.end_date is not None and state.end_anchor is not None
    assert conditions.renewal_term_months is not None
    start, locked = conditions.end_date, state.locked.get(term.number + 1)
    state.terms_since += 1
    end = add_months(state.end_anchor, state.terms_since * conditions.renewal_term_months)
    if locked is not None and locked.effective_from == start and locked.term_end != end:
        end = locked.term_end
        state.end_anchor, state.terms_since = end, 0
    _begin_term(state, term.number + 1, start, end)
    if locked is not None:
        prices = {
            code: line.uplifted(locked.uplift_percent, day=start, currency=conditions.currency)
            for code, line in prices.items()
        }
    state.terms = replace(state.terms, prices=prices, is_projected=locked is None)


def terms_at(agreement: Agreement, day: datetime.date) -> Terms:
    """The terms on a day, past or future; before the start, those it will start with (CON-05)."""
    for segment in segments(agreement):
        if segment.end is None or day < segment.end:
            return segment.terms
    raise AssertionError("the last segment has no end")


def segments_until(agreement: Agreement, day: datetime.date) -> list[Segment]:
    """The terms from the start until before ``day``; the last segment may reach beyond it."""
    found: list[Segment] = []
    for segment in segments(agreement):
        if found and segment.start >= day:
            break
        found.append(segment)
    return found


def known_segments(agreement: Agreement) -> list[Segment]:
    """All segments in which something known so far takes effect; at least the first projected term, if there is one."""
    return segments_until(agreement, agreement.horizon + datetime.timedelta(days=1))
