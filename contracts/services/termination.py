"""Termination for convenience and for cause (CON-15, CON-16)."""

import datetime
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from django.db import transaction

from contracts.models import (
    RUNNING,
    BreachStatus,
    Contract,
    ContractBreach,
    EventKind,
    Side,
)
from contracts.pricing.periods import add_months
from contracts.selectors.contract import business_today, status_on, terms_on
from contracts.services.billing import fees_adjust
from contracts.services.commitments import commitments_adjust
from contracts.services.status import (
    contract_status_refresh,
    event_record,
    lock_contract,
    require_nothing_later,
    require_status,
)
from contracts.services.suspension import require_reason
from contracts.terms.conditions import fee_steps
from contracts.terms.fold import Terms
from core.access import get_visible
from core.errors import Conflict
from core.history import record_as
from core.models import User
from core.money import plain_amount, round_together
from core.outbox import publish
from entities.services.records import check_fields, field_error

ZERO = Decimal(0)
ONE_DAY = datetime.timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Termination:
    """What a termination for convenience comes to: its first day without the contract, and the fee in its currency."""

    effective_on: datetime.date
    fee: Decimal
    currency: str
    explanation: str


def termination_preview(contract: Contract, received_on: datetime.date) -> Termination:
    """What a notice received on that day would come to; nothing is written (CON-15).

    Effective is the day of receipt plus the notice days, yet not before the end of the minimum term. Raises Conflict
    ``no_convenience_clause``, ``ends_before``; Invalid ``day_in_the_future``.
    """
    if received_on > business_today(contract):
        raise field_error(
            "received_on", "day_in_the_future", "The notice cannot be received later than today."
        )
    conditions = terms_on(contract, received_on).conditions
    if not conditions.convenience_allowed:
        raise Conflict(
            "no_convenience_clause",
            f"“{contract}” cannot be terminated for convenience: it has no such clause. It ends by notice before a "
            "renewal, or for cause.",
        )
    noticed = received_on + datetime.timedelta(days=conditions.convenience_notice_days)
    effective_on = max(noticed, conditions.minimum_term_end or noticed)
    terms = terms_on(contract, effective_on - ONE_DAY)
    end = terms.conditions.end_date
    if end is not None and end <= effective_on:
        raise Conflict(
            "ends_before",
            f"“{contract}” ends on {end} by itself, before a termination could take effect on {effective_on}.",
            extra={"end_date": end.isoformat(), "effective_on": effective_on.isoformat()},
        )
    fee, why = _fee(terms, effective_on)
    explanation = (
        f"Received on {received_on}, {conditions.convenience_notice_days} days' notice: effective on {effective_on}"
        + (", the end of the minimum term" if effective_on > noticed else "")
        + f". {why}"
    )
    return Termination(effective_on, fee, terms.conditions.currency, explanation)


def _fee(terms: Terms, effective_on: datetime.date) -> tuple[Decimal, str]:
    """The fee by the schedule's step that is reached on the day: an amount, or a share of what still runs."""
    conditions = terms.conditions
    reached = [
        step
        for step in fee_steps(conditions.termination_fees)
        if add_months(conditions.start_date, step.from_month) <= effective_on
    ]
    if not reached:
        return ZERO, "No fee."
    step = reached[-1]
    if step.amount is not None:
        shown = plain_amount(step.amount, conditions.currency)
        return step.amount, f"Fee from month {step.from_month}: {shown} {conditions.currency}."
    assert step.percent is not None
    if terms.term.end is None:
        return ZERO, "No fee: nothing is left to run of a contract without end."
    days = (terms.term.end - effective_on).days
    whole = (terms.term.end - terms.term.start).days
    exact = Fraction(conditions.value) * Fraction(step.percent) / 100 * Fraction(days, whole)
    (fee,) = round_together([exact], conditions.currency)
    return fee, (
        f"Fee from month {step.from_month}: {step.percent:f} % of the value for {days} of {whole} days, "
        f"{plain_amount(fee, conditions.currency)} {conditions.currency}."
    )


@transaction.atomic
def contract_terminate(
    *, actor: User, contract_id: int, reason: str, received_on: datetime.date | None = None
) -> Contract:
    """Terminate for convenience by a notice received on a day, today by default (CON-15).

    It stays active until the termination takes effect. Raises what `termination_preview` raises; Conflict
    ``contract_status``, ``later_event``.
    """
    require_reason(reason)
    contract = lock_contract(actor, contract_id, "contracts.terminate_contract")
    require_status(contract, RUNNING, "terminated")
    received = received_on or business_today(contract)
    outcome = termination_preview(contract, received)
    require_nothing_later(contract, outcome.effective_on)
    _terminate(
        contract,
        actor,
        effective_on=outcome.effective_on,
        reason=reason,
        data={
            "ground": "convenience",
            "received_on": received.isoformat(),
            "fee": plain_amount(outcome.fee, outcome.currency),
            "currency": outcome.currency,
            "explanation": outcome.explanation,
        },
    )
    return Contract.objects.get(pk=contract.pk)


def _terminate(
    contract: Contract,
    actor: User,
    *,
    effective_on: datetime.date,
    reason: str,
    data: dict[str, str | int],
) -> None:
    if status_on(contract, effective_on) not in RUNNING:
        raise Conflict(
            "ends_before",
            f"“{contract}” has ended by {effective_on} already: there is nothing left to terminate.",
            extra={"effective_on": effective_on.isoformat()},
        )
    event_record(
        contract, EventKind.TERMINATED, actor=actor, effective_on=effective_on, reason=reason, data=data
    )
    contract_status_refresh(contract)
    fees_adjust(contract)
    commitments_adjust(contract, reason)
    publish(
        "contract.termination_recorded",
        {"contract_id": contract.pk, "effective_on": effective_on.isoformat(), **data},
        key=f"contract:{contract.pk}",
    )


@transaction.atomic
def breach_notify(
    *,
    actor: User,
    contract_id: int,
    breaching_side: str,
    description: str,
    received_on: datetime.date | None = None,
) -> ContractBreach:
    """Record the notice of a breach; the day of receipt does not count among the cure days (CON-15).

    Raises Conflict ``contract_status``; Invalid with pointers.
    """
    contract = lock_contract(actor, contract_id, "contracts.terminate_contract")
    require_status(contract, RUNNING, "noticed of a breach")
    today = business_today(contract)
    received = received_on or today
    if received > today:
        raise field_error(
            "received_on", "day_in_the_future", "The notice cannot be received later than today."
        )
    cure_days = terms_on(contract, received).conditions.cure_days
    breach = ContractBreach(
        contract=contract,
        breaching_side=breaching_side,
        description=description,
        notice_received_on=received,
        cure_until=received + datetime.timedelta(days=cure_days + 1),
    )
    check_fields(breach)
    with record_as(actor):
        breach.save()
    event_record(
        contract,
        EventKind.BREACH_NOTIFIED,
        actor=actor,
        effective_on=received,
        reason=description,
        data={"breach_id": breach.pk, "side": breaching_side, "cure_until": breach.cure_until.isoformat()},
    )
    return breach


@transaction.atomic
def breach_cure(
    *, actor: User, breach_id: int, reason: str = "", cured_on: datetime.date | None = None
) -> ContractBreach:
    """Close a breach that was cured; a late cure counts as long as nobody has terminated for it (CON-15).

    Raises Conflict ``breach_closed``; Invalid ``cure_day``.
    """
    contract, breach = _lock_breach(actor, breach_id)
    day = cured_on or business_today(contract)
    if not breach.notice_received_on <= day <= business_today(contract):
        detail = f"Give a day from the notice on {breach.notice_received_on} until today."
        raise field_error("cured_on", "cure_day", detail)
    breach.status, breach.cured_on = BreachStatus.CURED, day
    with record_as(actor, reason):
        breach.save()
    event_record(
        contract,
        EventKind.BREACH_CURED,
        actor=actor,
        effective_on=day,
        reason=reason,
        data={"breach_id": breach.pk, "late": day >= breach.cure_until},
    )
    return breach


def _lock_breach(actor: User, breach_id: int) -> tuple[Contract, ContractBreach]:
    seen: ContractBreach = get_visible(ContractBreach.objects.all(), actor, breach_id, name="breach")
    contract = lock_contract(actor, seen.contract_id, "contracts.terminate_contract")
    breach = ContractBreach.objects.select_for_update(of=("self",)).get(pk=seen.pk)
    if breach.status != BreachStatus.OPEN:
        raise Conflict(
            "breach_closed",
            f"This breach is {breach.get_status_display().lower()} already.",
            extra={"status": breach.status},
        )
    return contract, breach


@transaction.atomic
def contract_terminate_for_cause(*, actor: User, breach_id: int, reason: str) -> Contract:
    """Terminate at once for a breach that was not cured in time; the injured side pays no fee (CON-15).

    Raises Conflict ``cure_period_running``, ``breach_closed``, ``contract_status``.
    """
    require_reason(reason)
    contract, breach = _lock_breach(actor, breach_id)
    require_status(contract, RUNNING, "terminated")
    today = business_today(contract)
    if today < breach.cure_until:
        raise Conflict(
            "cure_period_running",
            f"The breach can be cured until before {breach.cure_until}. Terminate from that day on, if it is not.",
            extra={"cure_until": breach.cure_until.isoformat()},
        )
    breach.status = BreachStatus.TERMINATED
    with record_as(actor, reason):
        breach.save()
    _terminate(
        contract,
        actor,
        effective_on=today,
        reason=reason,
        data={
            "ground": "cause",
            "breach_id": breach.pk,
            "breaching_side": Side(breach.breaching_side).value,
            "received_on": breach.notice_received_on.isoformat(),
            "fee": plain_amount(ZERO, contract.currency),
            "currency": contract.currency,
        },
    )
    return Contract.objects.get(pk=contract.pk)
