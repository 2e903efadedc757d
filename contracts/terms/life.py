"""The state of a contract on any day: a pure function of its dates and dated events (CON-01).

Nothing here asks the database or the clock: pages, API and jobs ask the same function.
"""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from contracts.models import BEFORE_ACTIVATION, RUNNING, ContractStatus, EventKind
from contracts.terms.fold import Agreement, known_segments, terms_at

_STATUS_AFTER: dict[str, ContractStatus] = {
    EventKind.SUBMITTED: ContractStatus.PENDING_APPROVAL,
    EventKind.SENT_BACK: ContractStatus.DRAFT,
    EventKind.APPROVED: ContractStatus.AWAITING_SIGNATURE,
    EventKind.REVISED: ContractStatus.PENDING_APPROVAL,
    EventKind.ACTIVATED: ContractStatus.ACTIVE,
    EventKind.SUSPENDED: ContractStatus.SUSPENDED,
    EventKind.RESUMED: ContractStatus.ACTIVE,
    EventKind.TERMINATED: ContractStatus.TERMINATED,
    EventKind.RENEWED: ContractStatus.RENEWED,
    EventKind.REINSTATED: ContractStatus.ACTIVE,
}


# What is dated into a time in which it no longer fits does nothing: resuming after a termination, or the approval of
# a contract that was agreed to be active from an earlier day.
_ONLY_FROM: dict[str, tuple[str, ...]] = {
    EventKind.SUBMITTED: (ContractStatus.DRAFT,),
    EventKind.SENT_BACK: (ContractStatus.PENDING_APPROVAL, ContractStatus.AWAITING_SIGNATURE),
    EventKind.APPROVED: (ContractStatus.PENDING_APPROVAL,),
    EventKind.REVISED: (ContractStatus.AWAITING_SIGNATURE,),
    EventKind.ACTIVATED: BEFORE_ACTIVATION,
    EventKind.SUSPENDED: (ContractStatus.ACTIVE,),
    EventKind.RESUMED: (ContractStatus.SUSPENDED,),
    EventKind.TERMINATED: RUNNING,
    EventKind.RENEWED: RUNNING,
}


@dataclass(frozen=True, slots=True, order=True)
class Happened:
    """An event that changes the state from a day on; ``sequence`` orders those of one day."""

    effective_on: datetime.date
    sequence: int
    kind: str
    billing_continues: bool = True
    extends_term: bool = False


@dataclass(frozen=True, slots=True)
class StatusSpan:
    """The state from ``start`` until before ``end``; no end: until something happens."""

    status: str
    start: datetime.date
    end: datetime.date | None


def status_at(agreement: Agreement, events: Sequence[Happened], day: datetime.date) -> str:
    """The state on a day: that of the last event, or expired once the last term is over.

    A suspension that extends the term pauses it: it does not run out meanwhile (CON-17).
    """
    status: str = ContractStatus.DRAFT
    is_term_paused = False
    for event in sorted(events):
        fits = status in _ONLY_FROM.get(event.kind, (status,))
        if event.effective_on <= day and event.kind in _STATUS_AFTER and fits:
            status = _STATUS_AFTER[event.kind]
            is_term_paused = event.extends_term
    if status in RUNNING and not is_term_paused:
        end = terms_at(agreement, day).conditions.end_date
        if end is not None and day >= end:
            return ContractStatus.EXPIRED
    return status


def _turning_points(agreement: Agreement, events: Sequence[Happened]) -> list[datetime.date]:
    days = {event.effective_on for event in events}
    for segment in known_segments(agreement):
        days.add(segment.start)
        if segment.terms.conditions.end_date is not None:
            days.add(segment.terms.conditions.end_date)
    return sorted(days)


def status_spans(
    agreement: Agreement, events: Sequence[Happened], *, since: datetime.date
) -> list[StatusSpan]:
    """The states from ``since`` (the day it was written, or earlier) on, without gaps; the last has no end."""
    points = [since, *(day for day in _turning_points(agreement, events) if day > since)]
    changes: list[tuple[datetime.date, str]] = []
    for day in points:
        status = status_at(agreement, events, day)
        if not changes or changes[-1][1] != status:
            changes.append((day, status))
    spans = [StatusSpan(status, day, following[0]) for (day, status), following in pairwise(changes)]
    return [*spans, StatusSpan(changes[-1][1], changes[-1][0], None)]


@dataclass(frozen=True, slots=True)
class SupplySpan:
    """Days ``[start, end)`` on which the contract is in force; ``is_suspended`` and ``is_billed`` say how (CON-17)."""

    start: datetime.date
    end: datetime.date | None
    is_suspended: bool = False
    is_billed: bool = True


def supply_spans(agreement: Agreement, events: Sequence[Happened]) -> list[SupplySpan]:
    """The days on which the contract is in force: active or suspended, from its start to its end (CON-16, CON-17)."""
    found = []
    since = min([agreement.conditions.start_date, *(event.effective_on for event in events)])
    for span in status_spans(agreement, events, since=since):
        if span.status not in RUNNING:
            continue
        start = max(span.start, agreement.conditions.start_date)
        if span.end is not None and span.end <= start:
            continue
        suspended = span.status == ContractStatus.SUSPENDED
        billed = not suspended or _billing_continues(events, start)
        found.append(SupplySpan(start, span.end, suspended, billed))
    return found


def _billing_continues(events: Sequence[Happened], day: datetime.date) -> bool:
    suspensions = [
        event for event in sorted(events) if event.kind == EventKind.SUSPENDED and event.effective_on <= day
    ]
    return suspensions[-1].billing_continues if suspensions else True
