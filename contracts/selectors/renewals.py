"""When terms end, until when notice is on time, and what will happen then; nothing is written here (CON-10 to CON-14).

The decision on a term is due at its notice deadline: the end of the term less the notice period, moved to the business
day before where it is none, until 24:00 in the contract's zone.
"""

import datetime
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from django.db.models import (
    Case,
    DateField,
    Exists,
    ExpressionWrapper,
    F,
    IntegerField,
    OuterRef,
    Q,
    Subquery,
    When,
)
from django.db.models.functions import Coalesce

from contracts.models import (
    ENDED,
    RUNNING,
    AmendmentStatus,
    Contract,
    ContractAmendment,
    ContractEvent,
    ContractStatus,
    EventKind,
    NoticeKind,
    NoticeUnit,
    PriceIndexValue,
    RenewalType,
    TermRenewal,
)
from contracts.pricing import Notice, add_months, bounded_percent, notice_deadline
from contracts.querysets import ContractQuerySet
from contracts.selectors.contract import CALENDAR, business_today, calendar_of, happened
from contracts.terms import life
from contracts.terms.conditions import Conditions
from contracts.terms.fold import Agreement, Terms, segments, terms_at
from core import clock
from core.calendars import OFFICE_HOURS, holiday_regions, hours_of
from core.models import User, WorkCalendar
from core.work_calendar import WorkingHours, previous_working_day

ALERT_DAYS = (90, 60, 30)
"""So many days before the notice deadline people are told (CON-13)."""

ONE_DAY = datetime.timedelta(days=1)
RENEWABLE = (RenewalType.AUTO, RenewalType.OPTION)
_INDEX_MONTHS = 12
_LONGEST_MONTH = 31
# Days by which business days and the lengths of months move a deadline, and more.
_LONGEST_SHIFT = 31


# --- Deadlines -------------------------------------------------------------------------------------------


def business_hours(contract: Contract) -> WorkingHours:
    """The working days where the contract is: of the entity's country, else of the issuer's.

    Those of the work calendar that has that country's holidays, the default one first; without one, Monday to Friday
    but for its public holidays. A contract without a country goes by the default calendar.
    """
    country = contract.entity.country or contract.issuer.country
    calendars = WorkCalendar.objects.order_by("-is_default", "holiday_subdivision", "name")
    own = calendars.filter(holiday_country=country) if country else calendars.filter(is_default=True)
    found = own.first()
    if found is None:
        known = country if country in holiday_regions() else ""
        found = WorkCalendar(
            name="Office hours", time_zone=contract.time_zone, holiday_country=known, **OFFICE_HOURS
        )
    return hours_of(found)


def on_business_day(contract: Contract) -> Callable[[datetime.date], datetime.date]:
    """A function that gives the day itself if it is a business day of the contract, else the one before it."""
    hours = business_hours(contract)
    return lambda day: day if hours.is_working_day(day) else previous_working_day(hours, day)


class Lookups:
    """Business days and price indices, each looked up once for all contracts that are looked at together."""

    def __init__(self) -> None:
        self._business_days: dict[tuple[str, str], Callable[[datetime.date], datetime.date]] = {}
        self._values: dict[str, list[PriceIndexValue]] = {}

    def business_day(self, contract: Contract) -> Callable[[datetime.date], datetime.date]:
        """As `on_business_day`: one query for each country."""
        place = (contract.entity.country or contract.issuer.country, contract.time_zone)
        if place not in self._business_days:
            self._business_days[place] = on_business_day(contract)
        return self._business_days[place]

    def index_values(self, index_name: str) -> list[PriceIndexValue]:
        """What is known of an index, the latest day first: one query for each index."""
        if index_name not in self._values:
            values = PriceIndexValue.objects.filter(index_name=index_name).order_by("-day")
            self._values[index_name] = list(values)
        return self._values[index_name]


def notice_of(conditions: Conditions) -> Notice:
    """The notice period, as the arithmetic of `contracts.pricing` wants it."""
    if conditions.notice_unit == NoticeUnit.MONTHS:
        return Notice(months=conditions.notice_period)
    return Notice(days=conditions.notice_period)


def end_of_evergreen(received: datetime.date, notice: Notice) -> datetime.date:
    """The first day after a contract without end: the whole notice period lies between the day of receipt and it."""
    end = add_months(received + ONE_DAY, notice.months) + datetime.timedelta(days=notice.days)
    while notice_deadline(end, notice) < received:
        end += ONE_DAY
    return end


@dataclass(frozen=True, slots=True)
class TermOutlook:
    """A term as its last day will find it, and the terms with which the next begins, if one does."""

    number: int
    start: datetime.date
    end: datetime.date | None
    terms: Terms
    following: Terms | None

    @property
    def is_locked(self) -> bool:
        """Whether the next term is certain (CON-12)."""
        return self.following is not None and not self.following.is_projected

    def deadline(self, business_day: Callable[[datetime.date], datetime.date]) -> datetime.date | None:
        """The last day on which notice is on time for the end of this term; None if it has none (CON-11)."""
        conditions = self.terms.conditions
        if self.end is None or conditions.renewal_type not in RENEWABLE:
            return None
        return notice_deadline(self.end, notice_of(conditions), previous_business_day=business_day)

    def price_deadline(self, business_day: Callable[[datetime.date], datetime.date]) -> datetime.date | None:
        """The last day to announce prices of the next term: before it is locked, and in the time agreed (CON-14)."""
        deadline = self.deadline(business_day)
        if deadline is None or self.end is None:
            return None
        return min(deadline, self.end - datetime.timedelta(days=self.terms.conditions.uplift_notice_days))


def term_outlook(agreement: Agreement, number: int) -> TermOutlook | None:
    """Term ``number`` and what follows it, by what is known now; None if the contract ends before it."""
    last: Terms | None = None
    following: Terms | None = None
    for segment in segments(agreement):
        if segment.terms.term.number > number:
            following = segment.terms
            break
        if segment.terms.term.number == number:
            last = segment.terms
    if last is None:
        return None
    return TermOutlook(number, last.term.start, last.term.end, last, following)


def open_term(contract: Contract, agreement: Agreement) -> TermOutlook | None:
    """The first term whose following one is not locked: the one on which a decision is due next."""
    locked = TermRenewal.objects.filter(contract=contract).order_by("-term_number").first()
    return term_outlook(agreement, locked.term_number if locked else 1)


def is_term_paused(contract: Contract, day: datetime.date) -> bool:
    """Whether a suspension keeps the term from running out, so that its end is not known yet (CON-17)."""
    events = ContractEvent.objects.filter(contract=contract, effective_on__lte=day)
    last = (
        events.filter(kind__in=[EventKind.SUSPENDED, EventKind.RESUMED])
        .order_by("-effective_on", "-pk")
        .first()
    )
    return last is not None and last.kind == EventKind.SUSPENDED and bool(last.data.get("extends_term"))


def renewable_contracts(*, deadline_by: datetime.date) -> ContractQuerySet:
    """Contracts in force that may have a further term, and a notice deadline that is not later than the day.

    Those whose end, notice period or renewal was amended are among them whatever their deadline: what decides is the
    contract itself, looked at with its lock.
    """
    amended = ContractAmendment.objects.filter(
        contract_id=OuterRef("pk"),
        status=AmendmentStatus.IN_FORCE,
        changes__fields__has_any_keys=["renewal_type", "end_date", "notice_period", "notice_unit"],
    )
    locked = TermRenewal.objects.filter(contract_id=OuterRef("pk")).order_by("-term_number")
    notice_days = Case(
        When(notice_unit=NoticeUnit.MONTHS, then=F("notice_period") * _LONGEST_MONTH),
        default=F("notice_period"),
        output_field=IntegerField(),
    )
    found: ContractQuerySet = (
        Contract.objects.filter(status__in=RUNNING)
        .annotate(last_end=Coalesce(Subquery(locked.values("term_end")[:1]), "end_date"))
        .annotate(earliest_deadline=ExpressionWrapper(F("last_end") - notice_days, output_field=DateField()))
        .filter(
            Q(
                renewal_type__in=RENEWABLE,
                earliest_deadline__lte=deadline_by + datetime.timedelta(days=_LONGEST_SHIFT),
            )
            | Exists(amended)
        )
    )
    return found


# --- Prices ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TermUplift:
    """By how much prices rise with a term, in per cent; provisional until the index is published (CON-14)."""

    index_name: str
    index_percent: Decimal | None
    percent: Decimal
    is_provisional: bool
    explanation: str


def published_index(
    index_name: str,
    term_start: datetime.date,
    *,
    before: datetime.datetime | None = None,
    lookups: Lookups | None = None,
) -> tuple[PriceIndexValue | None, bool]:
    """The latest value for a day until ``term_start``, and whether it is of the twelve months before it.

    An older one only serves provisionally. With ``before``, what was published by that moment.
    """
    values = (lookups or Lookups()).index_values(index_name)
    known = (
        value for value in values if value.day <= term_start and (before is None or value.created_at < before)
    )
    value = next(known, None)
    return value, value is not None and value.day > add_months(term_start, -_INDEX_MONTHS)


def term_uplift(contract: Contract, outlook: TermOutlook, lookups: Lookups | None = None) -> TermUplift:
    """How prices rise with the term after this one, by what was announced and published by the deadline.

    What came later does not count, however late a job looks at it; the index that is missing is settled afterwards.
    """
    conditions = outlook.terms.conditions
    nothing = Decimal(0)
    if not conditions.uplift_index or outlook.end is None:
        return TermUplift("", None, nothing, False, "Prices stay: no index is agreed.")
    lookups = lookups or Lookups()
    business_day = lookups.business_day(contract)
    deadline, announce_by = outlook.deadline(business_day), outlook.price_deadline(business_day)
    if deadline is None or announce_by is None:
        return TermUplift("", None, nothing, False, "Prices stay: the contract is not renewed.")
    if conditions.uplift_notice_days and not _was_announced(contract, outlook.number, announce_by):
        return TermUplift(
            conditions.uplift_index,
            None,
            nothing,
            False,
            f"Prices stay: an increase must be announced by {announce_by}.",
        )
    value, is_current = published_index(
        conditions.uplift_index,
        outlook.end,
        before=clock.start_of_day(deadline + ONE_DAY, contract.time_zone),
        lookups=lookups,
    )
    percent = bounded_percent(
        value.percent if value else nothing,
        floor=conditions.uplift_floor_percent,
        cap=conditions.uplift_cap_percent,
    )
    said = f"{conditions.uplift_index} {value.percent.normalize():f} %" if value else "no value known"
    if not is_current:
        said = f"{conditions.uplift_index} is not published yet; provisionally {said}"
    return TermUplift(
        conditions.uplift_index,
        value.percent if value and is_current else None,
        percent,
        not is_current,
        f"Prices {percent.normalize():+f} %: {said}.",
    )


def _was_announced(contract: Contract, term_number: int, by: datetime.date) -> bool:
    return any(
        clock.business_date(notice.received_at, contract.time_zone) <= by
        for notice in contract.renewal_notices.all()
        if notice.kind == NoticeKind.PRICE and notice.term_number == term_number
    )


# --- What will happen ------------------------------------------------------------------------------------


class Outcome(StrEnum):
    """What will become of a contract at the end of its term, as it stands."""

    ENDED = "ended"
    ENDS = "ends"
    ENDS_BY_NOTICE = "ends_by_notice"
    ENDS_UNLESS_EXERCISED = "ends_unless_exercised"
    OPTION_LAPSED = "option_lapsed"
    RENEWS_UNLESS_NOTICE = "renews_unless_notice"
    RENEWS = "renews"
    RUNS_ON = "runs_on"


UNDECIDED = (Outcome.ENDS_UNLESS_EXERCISED, Outcome.RENEWS_UNLESS_NOTICE)


@dataclass(frozen=True, slots=True)
class AlertState:
    """One of the alerts before a deadline: when it is due, and when it was sent."""

    days: int
    due_on: datetime.date
    sent_at: datetime.datetime | None


@dataclass(frozen=True, slots=True)
class RenewalCheck:
    """What happens to a contract at the end of the term of a day, and until when that can be changed.

    ``value`` is that of the terms on the term's last day, in ``currency``. ``days_left`` is negative once the deadline
    is over. ``next_end`` is the first day after the next term, and ``uplift`` how its prices rise, if there will be
    one.
    """

    contract_id: int
    on: datetime.date
    value: Decimal
    currency: str
    renewal_type: str
    term_number: int
    term_start: datetime.date
    term_end: datetime.date | None
    deadline: datetime.date | None
    days_left: int | None
    outcome: Outcome
    explanation: str
    is_locked: bool
    next_end: datetime.date | None
    uplift: TermUplift | None
    alerts: tuple[AlertState, ...]

    @property
    def decision_due(self) -> datetime.date | None:
        """The deadline, while there is something to decide."""
        return self.deadline if self.outcome in UNDECIDED else None


def renewal_check(
    contract: Contract, on: datetime.date | None = None, lookups: Lookups | None = None
) -> RenewalCheck:
    """The notice deadline of the term of a day, today by default, and what will happen (CON-10 to CON-14)."""
    lookups = lookups or Lookups()
    day = on or business_today(contract)
    agreement = calendar_of(contract)
    term = terms_at(agreement, day).term
    outlook = term_outlook(agreement, term.number)
    assert outlook is not None
    deadline = outlook.deadline(lookups.business_day(contract))
    outcome = _outcome(contract, agreement, outlook, deadline, day)
    follows = outcome in (Outcome.RENEWS, Outcome.RENEWS_UNLESS_NOTICE, Outcome.ENDS_UNLESS_EXERCISED)
    following = outlook.following if follows else None
    uplift = None
    if follows:
        locked = _locked_term(contract, term.number + 1) if outlook.is_locked else None
        uplift = _locked_uplift(locked) if locked else term_uplift(contract, outlook, lookups)
    return RenewalCheck(
        contract_id=contract.pk,
        on=day,
        value=outlook.terms.conditions.value,
        currency=outlook.terms.conditions.currency,
        renewal_type=outlook.terms.conditions.renewal_type,
        term_number=term.number,
        term_start=outlook.start,
        term_end=outlook.end,
        deadline=deadline,
        days_left=None if deadline is None else (deadline - day).days,
        outcome=outcome,
        explanation=_sentence(outcome, outlook, deadline),
        is_locked=outlook.is_locked,
        next_end=following.term.end if following else None,
        uplift=uplift,
        alerts=tuple(_alerts(contract, term.number, deadline)),
    )


def _locked_term(contract: Contract, number: int) -> TermRenewal | None:
    return next((row for row in contract.term_renewals.all() if row.term_number == number), None)


def _outcome(
    contract: Contract,
    agreement: Agreement,
    outlook: TermOutlook,
    deadline: datetime.date | None,
    day: datetime.date,
) -> Outcome:
    events = happened(contract)
    conditions = outlook.terms.conditions
    if life.status_at(agreement, events, day) in ENDED:
        return Outcome.ENDED
    if outlook.end is None:
        return Outcome.RUNS_ON
    ended = (ContractStatus.TERMINATED, ContractStatus.RENEWED)
    if life.status_at(agreement, events, outlook.end) in ended:
        return Outcome.ENDS
    if outlook.following is not None:
        undecided = (
            conditions.renewal_type == RenewalType.AUTO
            and not outlook.is_locked
            and deadline is not None
            and day <= deadline
        )
        return Outcome.RENEWS_UNLESS_NOTICE if undecided else Outcome.RENEWS
    if conditions.renewal_type == RenewalType.OPTION and deadline is not None:
        return Outcome.ENDS_UNLESS_EXERCISED if day <= deadline else Outcome.OPTION_LAPSED
    is_noticed = any(
        notice.kind == NoticeKind.END and notice.term_number == outlook.number
        for notice in contract.renewal_notices.all()
    )
    return Outcome.ENDS_BY_NOTICE if is_noticed else Outcome.ENDS


def _sentence(outcome: Outcome, outlook: TermOutlook, deadline: datetime.date | None) -> str:
    end = outlook.end
    next_end = outlook.following.term.end if outlook.following else None
    sentences = {
        Outcome.ENDED: "The contract is over.",
        Outcome.ENDS: f"The contract ends: {end} is the first day without it.",
        Outcome.ENDS_BY_NOTICE: f"Notice was received: {end} is the first day without the contract.",
        Outcome.ENDS_UNLESS_EXERCISED: f"Ends before {end} unless the option to renew is exercised by {deadline}.",
        Outcome.OPTION_LAPSED: f"The option was not exercised by {deadline}: ends before {end}.",
        Outcome.RENEWS_UNLESS_NOTICE: (
            f"Renewed from {end} until before {next_end} unless notice is received by {deadline}."
        ),
        Outcome.RENEWS: f"Renewed from {end} until before {next_end}.",
        Outcome.RUNS_ON: "Runs on without end until notice is given.",
    }
    return sentences[outcome]


def _locked_uplift(renewal: TermRenewal) -> TermUplift:
    settled = renewal.settled_percent is not None
    percent = renewal.settled_percent if renewal.settled_percent is not None else renewal.uplift_percent
    provisional = renewal.is_provisional and not settled
    return TermUplift(
        renewal.index_name,
        renewal.index_percent,
        percent,
        provisional,
        f"Prices {percent.normalize():+f} %{', provisionally' if provisional else ''}.",
    )


def _alerts(contract: Contract, term_number: int, deadline: datetime.date | None) -> list[AlertState]:
    if deadline is None:
        return []
    sent = {
        alert.days: alert.sent_at
        for alert in contract.renewal_alerts.all()
        if (alert.term_number, alert.deadline) == (term_number, deadline)
    }
    return [AlertState(days, deadline - datetime.timedelta(days=days), sent.get(days)) for days in ALERT_DAYS]


@dataclass(frozen=True, slots=True)
class PipelineEntry:
    """A contract whose term ends in the time asked for: what happens, what it is worth, when to decide."""

    contract: Contract
    check: RenewalCheck


def renewal_pipeline(
    *, actor: User, start: datetime.date | None = None, end: datetime.date | None = None
) -> list[PipelineEntry]:
    """The contracts in force that the actor sees whose running term ends in ``[start, end)``, by decision and end.

    By default the twelve months from today. However many they are, it takes six queries, and one for each country and
    for each index among them.
    """
    first = start or clock.today()
    after = end or add_months(first, 12)
    moved = ContractAmendment.objects.filter(contract_id=OuterRef("pk"), status=AmendmentStatus.IN_FORCE)
    shown = (
        Contract.objects.visible_to(actor)
        .in_status(RUNNING)
        .filter(Q(end_date__lt=after) | Exists(moved))
        .select_related("entity", "issuer", "owner")
        .prefetch_related(*CALENDAR, "renewal_alerts")
        .defer("confidential_terms")
    )
    lookups = Lookups()
    checks = ((contract, renewal_check(contract, lookups=lookups)) for contract in shown)
    entries = [
        PipelineEntry(contract, check)
        for contract, check in checks
        if check.term_end is not None and first <= check.term_end < after
    ]
    return sorted(
        entries,
        key=lambda entry: (
            entry.check.decision_due or datetime.date.max,
            entry.check.term_end,
            entry.contract.pk,
        ),
    )
