"""Reads over contracts: terms, states and supply on any day, and what has happened (CON-01, CON-05)."""

import datetime
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from contracts.models import (
    AmendmentStatus,
    Contract,
    ContractAmendment,
    ContractEvent,
    EventKind,
    NoticeKind,
    PriceTerm,
    RenewalNotice,
    Signature,
    SlaTerm,
    TermRenewal,
)
from contracts.pricing.proration import Suspension
from contracts.terms import life
from contracts.terms.conditions import conditions_of
from contracts.terms.difference import Difference, difference
from contracts.terms.fold import (
    Agreement,
    Amended,
    Extended,
    Noticed,
    Renewed,
    Segment,
    Source,
    Terms,
    segments_until,
    terms_at,
)
from contracts.terms.lines import price_line_of, sla_line_of
from core import clock
from core.access import get_visible
from core.models import User

CALENDAR = ("amendments", "term_renewals", "renewal_notices", "events")
"""What `calendar_of` and `happened` read, for prefetching."""


def agreement_of(contract: Contract) -> Agreement:
    """Everything that the contract's terms come from (eight queries; four before its activation)."""
    prices = PriceTerm.objects.filter(contract=contract).prefetch_related("tiers").order_by("code")
    levels = SlaTerm.objects.filter(contract=contract).prefetch_related("tiers").order_by("code")
    return Agreement(
        contract_id=contract.pk,
        conditions=conditions_of(contract),
        prices=tuple(price_line_of(term) for term in prices),
        sla=tuple(sla_line_of(term) for term in levels),
        sources=tuple(_sources(contract)) if contract.is_activated else (),
    )


def calendar_of(contract: Contract) -> Agreement:
    """The conditions and what moves the dates; prices and service levels move none.

    Four queries, or none where `CALENDAR` was prefetched: for many contracts at once.
    """
    sources: Iterator[Source] = iter(())
    if contract.is_activated:
        sources = (
            replace(source, changes={"fields": source.changes.get("fields", {})})
            if isinstance(source, Amended)
            else source
            for source in _sources(contract)
        )
    return Agreement(contract.pk, conditions_of(contract), (), (), tuple(sources))


def _sources(contract: Contract) -> Iterator[Source]:
    for amendment in _rows(contract, "amendments"):
        if amendment.status == AmendmentStatus.IN_FORCE:
            yield amended_by(amendment)
    for renewal in _rows(contract, "term_renewals"):
        percent = renewal.uplift_percent if renewal.settled_percent is None else renewal.settled_percent
        yield Renewed(renewal.term_start, renewal.term_number, renewal.term_end, percent)
    for notice in _rows(contract, "renewal_notices"):
        if notice.kind != NoticeKind.PRICE:
            received = clock.business_date(notice.received_at, contract.time_zone)
            yield Noticed(received, notice.kind == NoticeKind.END, notice.term_number, notice.ends_on)
    for event in _rows(contract, "events"):
        days = int(event.data.get("extend_days", 0)) if event.kind == EventKind.RESUMED else 0
        if days:
            yield Extended(event.effective_on, days)


def _rows(contract: Any, related: str) -> Iterable[Any]:
    """What belongs to it: read now, unless it was prefetched."""
    rows: Iterable[Any] = getattr(contract, related).all()
    return rows


def amended_by(amendment: ContractAmendment) -> Amended:
    """The amendment as a source of terms; one without a number yet counts after all others."""
    return Amended(amendment.effective_from, amendment.number or 2**31, amendment.changes)


def happened(contract: Contract) -> list[life.Happened]:
    """The contract's events, for the state on a day."""
    return [
        life.Happened(
            event.effective_on,
            event.pk,
            event.kind,
            bool(event.data.get("billing_continues", True)),
            event.kind == EventKind.SUSPENDED and bool(event.data.get("extends_term", False)),
        )
        for event in _rows(contract, "events")
    ]


def terms_on(contract: Contract, day: datetime.date) -> Terms:
    """What the contract says on any day, past or future (CON-05)."""
    return terms_at(agreement_of(contract), day)


def terms_history(contract: Contract, until: datetime.date) -> list[Segment]:
    """The terms from the start until before ``until``, a segment for each change."""
    return segments_until(agreement_of(contract), until)


def status_on(contract: Contract, day: datetime.date) -> str:
    """The state of the contract on any day (CON-01)."""
    return life.status_at(calendar_of(contract), happened(contract), day)


def business_today(contract: Contract) -> datetime.date:
    """Today where the contract is."""
    return clock.today(contract.time_zone)


def supply_spans(contract: Contract) -> list[life.SupplySpan]:
    """The days on which the contract is in force, and how: what billing goes by (CON-16, CON-17)."""
    return life.supply_spans(calendar_of(contract), happened(contract))


def suspensions(contract: Contract) -> list[Suspension]:
    """The suspended days, as the arithmetic of `contracts.pricing` wants them (CON-17)."""
    return [
        Suspension(span.start, span.end, span.is_billed)
        for span in supply_spans(contract)
        if span.is_suspended
    ]


def amendment_difference(amendment: ContractAmendment) -> list[Difference]:
    """What the amendment changes of the terms of the day from which it takes effect (CON-04)."""
    own = amended_by(amendment)
    agreement = agreement_of(amendment.contract)
    others = tuple(source for source in agreement.sources if not _same_amendment(source, amendment))
    before = terms_at(_with(agreement, others), amendment.effective_from)
    after = terms_at(_with(agreement, (*others, own)), amendment.effective_from)
    return difference(before, after)


def amended_terms(amendment: ContractAmendment) -> Terms:
    """The terms of the day from which the amendment takes effect, with it."""
    agreement = agreement_of(amendment.contract)
    others = tuple(source for source in agreement.sources if not _same_amendment(source, amendment))
    return terms_at(_with(agreement, (*others, amended_by(amendment))), amendment.effective_from)


def _same_amendment(source: Source, amendment: ContractAmendment) -> bool:
    return isinstance(source, Amended) and source.number == amendment.number


def _with(agreement: Agreement, sources: tuple[Source, ...]) -> Agreement:
    return Agreement(agreement.contract_id, agreement.conditions, agreement.prices, agreement.sla, sources)


@dataclass(frozen=True, slots=True)
class TimelineEntry:
    """One thing that happened to a contract: recorded at, effective on, who, what, and more about it."""

    at: datetime.datetime
    effective_on: datetime.date
    who: str
    what: str
    detail: str = ""


def contract_timeline(*, actor: User, contract_id: int) -> list[TimelineEntry]:
    """What has happened to a contract, latest first: events, amendments, signatures, notices, renewals."""
    contract: Contract = get_visible(Contract.objects.all(), actor, contract_id, name="contract")
    entries = [*_events(contract), *_amendments(contract), *_signatures(contract), *_renewals(contract)]
    return sorted(entries, key=lambda entry: entry.at, reverse=True)


def _events(contract: Contract) -> Iterator[TimelineEntry]:
    for event in ContractEvent.objects.filter(contract=contract).select_related("actor"):
        yield TimelineEntry(
            event.created_at,
            event.effective_on,
            event.actor.display_name,
            event.get_kind_display(),
            event.reason,
        )


def _amendments(contract: Contract) -> Iterator[TimelineEntry]:
    for amendment in ContractAmendment.objects.filter(
        contract=contract, in_force_at__isnull=False
    ).select_related("created_by"):
        assert amendment.in_force_at is not None
        changed = "; ".join(
            f"{each.what}: {each.before or '–'} → {each.after or '–'}"
            for each in amendment_difference(amendment)
        )
        yield TimelineEntry(
            amendment.in_force_at,
            amendment.effective_from,
            amendment.created_by.display_name,
            f"{amendment} in force: {amendment.title}",
            changed,
        )


def _signatures(contract: Contract) -> Iterator[TimelineEntry]:
    given = Signature.objects.filter(signatory__contract=contract).select_related("signatory", "recorded_by")
    for signature in given:
        day = clock.business_date(signature.signed_at, contract.time_zone)
        who = signature.recorded_by.display_name
        yield TimelineEntry(signature.created_at, day, who, f"Signed by {signature.signatory}")
        if signature.voided_at is not None:
            day = clock.business_date(signature.voided_at, contract.time_zone)
            what = f"Signature of {signature.signatory} void"
            yield TimelineEntry(signature.voided_at, day, who, what, signature.void_reason)


def _renewals(contract: Contract) -> Iterator[TimelineEntry]:
    for notice in RenewalNotice.objects.filter(contract=contract).select_related("recorded_by"):
        day = clock.business_date(notice.received_at, contract.time_zone)
        lateness = "on time" if notice.on_time else "late"
        yield TimelineEntry(
            notice.created_at,
            day,
            notice.recorded_by.display_name,
            f"Notice received {lateness}: {notice.get_kind_display().lower()}",
            notice.note,
        )
    for renewal in TermRenewal.objects.filter(contract=contract).select_related("locked_by"):
        yield TimelineEntry(
            renewal.locked_at,
            renewal.term_start,
            renewal.locked_by.display_name,
            f"Renewed: term {renewal.term_number} until before {renewal.term_end}",
            f"Prices {renewal.uplift_percent.normalize():+f} %" if renewal.uplift_percent else "",
        )
