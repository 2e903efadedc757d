"""When contracts of a list are to be decided on: computed for many at once, in a fixed number of queries (CON-11)."""

import datetime
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.db.models import (
    Case,
    DateField,
    Exists,
    ExpressionWrapper,
    F,
    IntegerField,
    OuterRef,
    Q,
    Value,
    When,
)
from django.db.models import prefetch_related_objects as load_related

from contracts.models import (
    RUNNING,
    AmendmentStatus,
    Contract,
    ContractAmendment,
    ContractEvent,
    EventKind,
    NoticeUnit,
    RenewalType,
    TermRenewal,
)
from contracts.selectors.contract import CALENDAR, business_today, calendar_of, happened
from contracts.selectors.renewals import Lookups, term_outlook
from contracts.terms import life
from contracts.terms.fold import terms_at
from core import clock

DUE_DAYS = 90
"""A renewal is due so many days before its notice deadline: when the first alert is sent (CON-13)."""
_LONGEST_MOVE = 31  # days that business days and the lengths of months move a deadline by, and more


@dataclass(frozen=True, slots=True)
class Decision:
    """How the term of today ends, and the deadline while there is something to decide; the value of today's terms."""

    value: Decimal
    currency: str
    term_end: datetime.date | None
    deadline: datetime.date | None
    days_left: int | None

    @property
    def is_due(self) -> bool:
        """Whether people are being reminded of it."""
        return self.days_left is not None and self.days_left <= DUE_DAYS


def decisions_of(contracts: Sequence[Contract]) -> dict[int, Decision]:
    """What is to be decided on each, by key: five queries and one for each country's business days."""
    load_related(list(contracts), *CALENDAR, "entity", "issuer")
    lookups = Lookups()
    return {contract.pk: _decision(contract, lookups.business_day(contract)) for contract in contracts}


def _decision(contract: Contract, business_day: Callable[[datetime.date], datetime.date]) -> Decision:
    today = business_today(contract)
    agreement = calendar_of(contract)
    events = happened(contract)
    terms = terms_at(agreement, today)
    worth = (terms.conditions.value, terms.conditions.currency)
    outlook = term_outlook(agreement, terms.term.number)
    if outlook is None or life.status_at(agreement, events, today) not in RUNNING:
        return Decision(*worth, outlook.end if outlook else None, None, None)
    ends_anyway = outlook.end is not None and any(
        event.kind in (EventKind.TERMINATED, EventKind.RENEWED) and event.effective_on <= outlook.end
        for event in events
    )
    deadline = outlook.deadline(business_day)
    kind = outlook.terms.conditions.renewal_type
    is_open = (
        outlook.following is not None if kind == RenewalType.AUTO else outlook.following is None
    ) and not outlook.is_locked
    if deadline is None or ends_anyway or not is_open or today > deadline:
        return Decision(*worth, outlook.end, None, None)
    return Decision(*worth, outlook.end, deadline, (deadline - today).days)


def renewals_due(contracts: Any) -> dict[int, Decision]:
    """Of a set of contracts those on which a decision is due within `DUE_DAYS`, by key.

    The database leaves out what cannot be due; the rest is computed exactly.
    """
    moved = (
        Exists(ContractAmendment.objects.filter(contract_id=OuterRef("pk"), status=AmendmentStatus.IN_FORCE))
        | Exists(TermRenewal.objects.filter(contract_id=OuterRef("pk")))
        | Exists(ContractEvent.objects.filter(contract_id=OuterRef("pk"), kind=EventKind.RESUMED))
    )
    days = Case(
        When(notice_unit=NoticeUnit.MONTHS, then=F("notice_period") * Value(31)),
        default=F("notice_period"),
        output_field=IntegerField(),
    )
    latest = clock.today() + datetime.timedelta(days=DUE_DAYS + _LONGEST_MOVE)
    begins = ExpressionWrapper(F("end_date") - days, output_field=DateField())
    possible = (
        contracts.alias(notice_begins=begins)
        .filter(status__in=RUNNING)
        .filter(
            Q(moved)
            | Q(
                renewal_type__in=[RenewalType.AUTO, RenewalType.OPTION],
                end_date__isnull=False,
                notice_begins__lte=latest,
            )
        )
    )
    found = decisions_of(list(possible))
    return {key: decision for key, decision in found.items() if decision.is_due}
