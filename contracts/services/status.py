"""The stored state follows the dates and events; whoever decides on it brings it up to date first (CON-01)."""

import datetime
from collections.abc import Callable, Collection
from typing import Any

from django.db import transaction
from django.db.models import Exists, OuterRef, Q

from contracts.models import (
    BEFORE_ACTIVATION,
    Contract,
    ContractAmendment,
    ContractEvent,
    ContractStatus,
    ContractStatusSpan,
    EventKind,
)
from contracts.selectors.contract import business_today, calendar_of, happened
from contracts.terms import life
from core import clock
from core.access import get_visible, require, system_actor
from core.errors import Conflict
from core.history import record_as
from core.models import User
from core.outbox import publish


def lock_contract(actor: User, contract_id: int, permission: str) -> Contract:
    """The contract, locked and with its state as of today. Raises NotFound, Forbidden. Every write begins here."""
    seen = get_visible(Contract.objects.all(), actor, contract_id, name="contract")
    require(actor, permission, seen)
    return lock_known_contract(seen.pk)


def lock_known_contract(contract_id: int) -> Contract:
    """The same for what has been seen and allowed already."""
    contract = Contract.objects.select_for_update(of=("self",)).get(pk=contract_id)
    contract_status_refresh(contract)
    return contract


def event_record(
    contract: Contract,
    kind: str,
    *,
    actor: User,
    effective_on: datetime.date | None = None,
    reason: str = "",
    data: dict[str, Any] | None = None,
    amendment: ContractAmendment | None = None,
) -> ContractEvent:
    """Note what happened; without a day it is effective today where the contract is."""
    return ContractEvent.objects.create(
        contract=contract,
        kind=kind,
        effective_on=effective_on or business_today(contract),
        reason=reason,
        data=data or {},
        amendment=amendment,
        actor=actor,
    )


def contract_status_refresh(contract: Contract) -> None:
    """Bring the stored state and its spans in line with dates and events; the contract is locked.

    What ran out is noted as an event, once. Before activation the state is changed by services only.
    """
    agreement, events = calendar_of(contract), happened(contract)
    today = business_today(contract)
    since = min(
        clock.business_date(contract.created_at, contract.time_zone),
        *(event.effective_on for event in events),
        today,
    )
    spans = life.status_spans(agreement, events, since=since)
    _store(contract, spans)
    current = next(span for span in reversed(spans) if span.start <= today)
    if current.status != contract.status and contract.status not in BEFORE_ACTIVATION:
        _follow(contract, current)


def _store(contract: Contract, spans: list[life.StatusSpan]) -> None:
    stored = list(
        ContractStatusSpan.objects.filter(contract=contract)
        .order_by("valid_from")
        .values_list("status", "valid_from", "valid_to")
    )
    if stored == [(span.status, span.start, span.end) for span in spans]:
        return
    ContractStatusSpan.objects.filter(contract=contract).delete()
    ContractStatusSpan.objects.bulk_create(
        ContractStatusSpan(contract=contract, status=span.status, valid_from=span.start, valid_to=span.end)
        for span in spans
    )


def _follow(contract: Contract, span: life.StatusSpan) -> None:
    """Make the transition that a date has brought, in the name of the system."""
    transitions: dict[str, Callable[[], None]] = {
        ContractStatus.ACTIVE: contract.resume
        if contract.status == ContractStatus.SUSPENDED
        else contract.reinstate,
        ContractStatus.SUSPENDED: contract.suspend,
        ContractStatus.EXPIRED: contract.expire,
        ContractStatus.RENEWED: contract.renew,
        ContractStatus.TERMINATED: contract.terminate,
    }
    transitions[span.status]()
    system = system_actor()
    with record_as(system, f"{ContractStatus(span.status).label} since {span.start}"):
        contract.save()
    if span.status == ContractStatus.EXPIRED:
        noted = ContractEvent.objects.filter(
            contract=contract, kind=EventKind.EXPIRED, effective_on=span.start
        )
        if not noted.exists():
            event_record(contract, EventKind.EXPIRED, actor=system, effective_on=span.start)
    publish(
        f"contract.{span.status}",
        {"contract_id": contract.pk, "effective_on": span.start.isoformat()},
        key=f"contract:{contract.pk}",
    )


def require_status(contract: Contract, allowed: Collection[str], what: str) -> None:
    """Raise Conflict ``contract_status`` unless the contract is in one of the states; ``what`` ends “cannot be …”."""
    if contract.status not in allowed:
        raise Conflict(
            "contract_status",
            f"“{contract}” is {contract.get_status_display().lower()} and cannot be {what}.",
            extra={"contract_id": contract.pk, "status": contract.status},
        )


def require_nothing_later(contract: Contract, day: datetime.date) -> None:
    """Raise Conflict ``later_event`` if something is dated after ``day`` already: the order would be lost."""
    later = (
        ContractEvent.objects.filter(contract=contract, effective_on__gt=day)
        .exclude(kind=EventKind.EXPIRED)
        .order_by("effective_on")
        .first()
    )
    if later is not None:
        raise Conflict(
            "later_event",
            f"“{contract}” has an event after that day: {later.get_kind_display().lower()} on {later.effective_on}. "
            "Give a later day.",
            extra={"kind": later.kind, "effective_on": later.effective_on.isoformat()},
        )


def contracts_out_of_date(*, day: datetime.date | None = None) -> list[int]:
    """The contracts whose stored state is not that of the day, in ascending order.

    ``day`` is today in UTC; zones ahead or behind are looked at a day early or late, which changes nothing else:
    readers compute the state (CON-01).
    """
    today = day or clock.today()
    spans = ContractStatusSpan.objects.filter(
        Q(valid_to__isnull=True) | Q(valid_to__gt=today), contract_id=OuterRef("pk"), valid_from__lte=today
    ).exclude(status=OuterRef("status"))
    due = Contract.objects.filter(Exists(spans), activated_at__isnull=False).order_by("pk")
    return list(due.values_list("pk", flat=True))


@transaction.atomic
def contract_follow_calendar(*, contract_id: int) -> bool:
    """Bring the stored state of a contract up to date, for the job; say whether it had to change."""
    before = Contract.objects.values_list("status", flat=True).get(pk=contract_id)
    return lock_known_contract(contract_id).status != before
