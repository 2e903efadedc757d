"""Suspension and resumption on a day, today or later (CON-17)."""

import datetime

from django.db import transaction

from contracts.models import Contract, ContractEvent, ContractStatus, EventKind
from contracts.selectors.contract import business_today, calendar_of, happened, terms_on
from contracts.services.billing import fees_adjust
from contracts.services.commitments import commitments_adjust
from contracts.services.status import (
    contract_status_refresh,
    event_record,
    lock_contract,
    require_nothing_later,
)
from contracts.terms import life
from core.errors import Conflict
from core.models import User
from entities.services.records import field_error


def require_reason(reason: str) -> None:
    """Raise Invalid ``reason_required`` for an empty one."""
    if not reason.strip():
        raise field_error("reason", "reason_required", "Say why: the reason stays with the contract.")


@transaction.atomic
def contract_suspend(
    *,
    actor: User,
    contract_id: int,
    reason: str,
    billing_continues: bool,
    extends_term: bool = False,
    on: datetime.date | None = None,
) -> Contract:
    """Suspend an active contract from a day on, today by default (CON-17).

    ``billing_continues`` says whether its fees run on; ``extends_term`` moves the end of the term by the suspended
    days when it is resumed. Raises Conflict ``contract_status``, ``later_event``; Invalid ``day_in_the_past``,
    ``reason_required``.
    """
    require_reason(reason)
    contract = lock_contract(actor, contract_id, "contracts.suspend_contract")
    day = _day(contract, on)
    _require_status_on(contract, day, ContractStatus.ACTIVE, "suspended")
    if extends_term and terms_on(contract, day).conditions.end_date is None:
        detail = "The contract has no end that could be moved."
        raise field_error("extends_term", "no_term_to_extend", detail)
    event_record(
        contract,
        EventKind.SUSPENDED,
        actor=actor,
        effective_on=day,
        reason=reason,
        data={"billing_continues": billing_continues, "extends_term": extends_term},
    )
    contract_status_refresh(contract)
    fees_adjust(contract)
    return Contract.objects.get(pk=contract.pk)


@transaction.atomic
def contract_resume(
    *, actor: User, contract_id: int, reason: str = "", on: datetime.date | None = None
) -> Contract:
    """Resume a suspended contract from a day on, today by default; an agreed extension is counted in days (CON-17).

    Raises Conflict ``contract_status``, ``later_event``; Invalid ``day_in_the_past``.
    """
    contract = lock_contract(actor, contract_id, "contracts.suspend_contract")
    day = _day(contract, on)
    _require_status_on(contract, day, ContractStatus.SUSPENDED, "resumed")
    suspension = (
        ContractEvent.objects.filter(contract=contract, kind=EventKind.SUSPENDED, effective_on__lte=day)
        .order_by("-effective_on", "-pk")
        .first()
    )
    assert suspension is not None
    days = (day - suspension.effective_on).days
    event_record(
        contract,
        EventKind.RESUMED,
        actor=actor,
        effective_on=day,
        reason=reason,
        data={"suspended_days": days, "extend_days": days if suspension.data["extends_term"] else 0},
    )
    contract_status_refresh(contract)
    fees_adjust(contract)
    commitments_adjust(contract, reason or "Supply was resumed")
    return Contract.objects.get(pk=contract.pk)


def _day(contract: Contract, on: datetime.date | None) -> datetime.date:
    today = business_today(contract)
    if on is not None and on < today:
        detail = f"Give today, {today}, or a later day: what was supplied and billed is not undone."
        raise field_error("on", "day_in_the_past", detail)
    day = on or today
    require_nothing_later(contract, day)
    return day


def _require_status_on(contract: Contract, day: datetime.date, status: str, verb: str) -> None:
    found = life.status_at(calendar_of(contract), happened(contract), day)
    if found != status:
        raise Conflict(
            "contract_status",
            f"“{contract}” is {ContractStatus(found).label.lower()} on {day} and cannot be {verb} then.",
            extra={"contract_id": contract.pk, "status": found, "day": day.isoformat()},
        )
