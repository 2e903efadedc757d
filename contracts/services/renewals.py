"""Notices as received, terms locked at their notice deadline, alerts before it, indices settled (CON-10 to CON-14).

What was received counts, not when it was written down or when a job has run: late jobs come to the same.
"""

import datetime
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from django.db import transaction

from contracts.models import (
    RUNNING,
    Contract,
    ContractStatus,
    NoticeKind,
    NoticeMethod,
    PriceIndexValue,
    RenewalAlert,
    RenewalNotice,
    RenewalType,
    Side,
    TermRenewal,
)
from contracts.pricing import bounded_percent
from contracts.selectors.contract import business_today, calendar_of, happened, terms_on
from contracts.selectors.renewals import (
    ALERT_DAYS,
    TermOutlook,
    end_of_evergreen,
    is_term_paused,
    notice_of,
    on_business_day,
    open_term,
    published_index,
    term_outlook,
    term_uplift,
)
from contracts.services.billing import fees_adjust
from contracts.services.commitments import commitments_adjust
from contracts.services.status import (
    contract_status_refresh,
    lock_contract,
    lock_known_contract,
    require_status,
)
from contracts.terms import life
from contracts.terms.fold import Agreement, terms_at
from core import clock
from core.access import require, system_actor
from core.errors import BillingError, Conflict
from core.history import record_as
from core.models import User
from core.notifications import notify
from core.outbox import publish
from entities.access import holders_of_role
from entities.models import Role
from entities.services.records import check_fields, field_error, save_record

ONE_DAY = datetime.timedelta(days=1)


# --- Notices ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Effect:
    """For which term a notice works, until when it would have been on time for it, and whether it is for the first."""

    term_number: int
    ends_on: datetime.date
    deadline: datetime.date
    on_time: bool


@transaction.atomic
def notice_record(
    *,
    actor: User,
    contract_id: int,
    kind: str,
    side: str,
    method: str,
    received_at: datetime.datetime | None = None,
    note: str = "",
) -> RenewalNotice:
    """Record a notice as it was received, now by default (CON-11). Needs contracts.renew_contract.

    A notice to end that is on time ends the term it is received in, a late one the term after that; a contract without
    end is ended by the notice period. An option is exercised in time or not at all. New prices that are announced too
    late for the next term are announced for the one after it. Raises Conflict ``contract_status``, ``ends_by_itself``,
    ``notice_given``, ``no_option``, ``option_lapsed``, ``no_index``, ``term_has_begun``; Invalid
    ``received_in_the_future``.
    """
    contract = lock_contract(actor, contract_id, "contracts.renew_contract")
    require_status(contract, RUNNING, "given notice")
    now = clock.now()
    received_at = received_at or now
    if received_at > now:
        detail = "A notice cannot be received later than now."
        raise field_error("received_at", "received_in_the_future", detail)
    received = clock.business_date(received_at, contract.time_zone)
    agreement = calendar_of(contract)
    effects = {
        NoticeKind.END: _effect_of_ending,
        NoticeKind.RENEW: _effect_of_option,
        NoticeKind.PRICE: _effect_of_prices,
    }
    if kind not in effects:
        raise field_error("kind", "invalid_choice", f"Give one of {', '.join(NoticeKind.values)}.")
    effect = effects[NoticeKind(kind)](contract, agreement, received)
    notice = RenewalNotice(
        contract=contract,
        kind=kind,
        side=side,
        method=method,
        received_at=received_at,
        on_time=effect.on_time,
        deadline=effect.deadline,
        term_number=effect.term_number,
        ends_on=effect.ends_on,
        note=note,
        recorded_by=actor,
    )
    check_fields(notice)
    notice.save()
    contract_status_refresh(contract)
    _adjust_money(contract, f"Notice: {notice.get_kind_display().lower()}")
    publish(
        "contract.notice_received",
        {
            "contract_id": contract.pk,
            "notice_id": notice.pk,
            "kind": kind,
            "term_number": effect.term_number,
            "ends_on": effect.ends_on.isoformat(),
            "on_time": effect.on_time,
        },
        key=f"contract:{contract.pk}",
    )
    return notice


def _effect_of_ending(contract: Contract, agreement: Agreement, received: datetime.date) -> _Effect:
    terms = terms_at(agreement, received)
    given = RenewalNotice.objects.filter(
        contract=contract, kind=NoticeKind.END, term_number__gte=terms.term.number
    ).first()
    if given is not None:
        raise _given(contract, given)
    if terms.conditions.renewal_type == RenewalType.EVERGREEN and terms.term.end is None:
        end = end_of_evergreen(received, notice_of(terms.conditions))
        effect = _Effect(terms.term.number, end, received, on_time=True)
    else:
        if terms.conditions.renewal_type != RenewalType.AUTO:
            raise Conflict(
                "ends_by_itself",
                f"“{contract}” does not renew itself: no notice is needed for it to end. To end it earlier, "
                "terminate it.",
                extra={"renewal_type": terms.conditions.renewal_type},
            )
        effect = _first_in_time(contract, agreement, terms.term.number, received)
    if effect.ends_on <= business_today(contract):
        raise Conflict(
            "term_has_begun",
            f"By a notice received on {received} “{contract}” would have ended on {effect.ends_on}, and that day has "
            "come. Agree on its end by an amendment.",
            extra={"ends_on": effect.ends_on.isoformat()},
        )
    return effect


def _first_in_time(
    contract: Contract,
    agreement: Agreement,
    number: int,
    received: datetime.date,
    *,
    of_prices: bool = False,
) -> _Effect:
    """The first term from ``number`` on for whose end something received on the day is in time (CON-11, CON-14)."""
    business_day = on_business_day(contract)
    first = number
    while True:
        outlook = term_outlook(agreement, number)
        if outlook is None or outlook.end is None:
            raise Conflict(
                "ends_by_itself",
                f"“{contract}” ends by itself before such a notice could take effect.",
            )
        deadline = outlook.price_deadline(business_day) if of_prices else outlook.deadline(business_day)
        if deadline is not None and received <= deadline and not (of_prices and outlook.is_locked):
            return _Effect(number, outlook.end, deadline, on_time=number == first)
        number += 1


def _effect_of_option(contract: Contract, agreement: Agreement, received: datetime.date) -> _Effect:
    terms = terms_at(agreement, received)
    number = terms.term.number
    kind = terms.conditions.renewal_type
    if kind != RenewalType.OPTION:
        if kind in (RenewalType.AUTO, RenewalType.EVERGREEN):
            why = "It goes on by itself unless notice is given."
        else:
            why = "It ends; agree on a further term by an amendment."
        raise Conflict(
            "no_option", f"“{contract}” has no option to renew. {why}", extra={"renewal_type": kind}
        )
    given = RenewalNotice.objects.filter(contract=contract, kind=NoticeKind.RENEW, term_number=number).first()
    if given is not None:
        raise _given(contract, given)
    outlook = term_outlook(agreement, number)
    deadline = outlook.deadline(on_business_day(contract)) if outlook else None
    assert outlook is not None and outlook.end is not None and deadline is not None
    if received > deadline:
        raise Conflict(
            "option_lapsed",
            f"The option to renew “{contract}” had to be exercised by {deadline}. Agree on a further term by an "
            "amendment.",
            extra={"deadline": deadline.isoformat()},
        )
    return _Effect(number, outlook.end, deadline, on_time=True)


def _effect_of_prices(contract: Contract, agreement: Agreement, received: datetime.date) -> _Effect:
    terms = terms_at(agreement, received)
    if not terms.conditions.uplift_index:
        raise Conflict(
            "no_index",
            f"The prices of “{contract}” follow no index. Change them by an amendment.",
        )
    effect = _first_in_time(contract, agreement, terms.term.number, received, of_prices=True)
    given = RenewalNotice.objects.filter(
        contract=contract, kind=NoticeKind.PRICE, term_number=effect.term_number
    ).first()
    if given is not None:
        raise _given(contract, given)
    return effect


def _given(contract: Contract, notice: RenewalNotice) -> Conflict:
    return Conflict(
        "notice_given",
        f"Notice for “{contract}” was received before: {notice.get_kind_display().lower()}, term "
        f"{notice.term_number}, until before {notice.ends_on}.",
        extra={"notice_id": notice.pk, "ends_on": notice.ends_on.isoformat()},
    )


def contract_renew(
    *,
    actor: User,
    contract_id: int,
    side: str = Side.CUSTOMER,
    method: str = NoticeMethod.PORTAL,
    received_at: datetime.datetime | None = None,
    note: str = "",
) -> RenewalNotice:
    """Exercise the option to renew (CON-10). Raises what `notice_record` raises."""
    return notice_record(
        actor=actor,
        contract_id=contract_id,
        kind=NoticeKind.RENEW,
        side=side,
        method=method,
        received_at=received_at,
        note=note,
    )


@dataclass(frozen=True, slots=True)
class RenewalResult:
    """What became of one contract of many: the notice, or why there is none."""

    contract_id: int
    notice: RenewalNotice | None
    error: BillingError | None


def contracts_renew(
    *,
    actor: User,
    contract_ids: Iterable[int],
    side: str = Side.CUSTOMER,
    method: str = NoticeMethod.PORTAL,
    note: str = "",
) -> list[RenewalResult]:
    """Exercise the options of many contracts, each on its own: one that is refused stops no other."""
    results = []
    for contract_id in sorted(set(contract_ids)):
        try:
            with transaction.atomic():
                notice = contract_renew(
                    actor=actor, contract_id=contract_id, side=side, method=method, note=note
                )
            results.append(RenewalResult(contract_id, notice, None))
        except BillingError as error:
            results.append(RenewalResult(contract_id, None, error))
    return results


# --- Terms -----------------------------------------------------------------------------------------------


@transaction.atomic
def contract_lock_terms(*, contract_id: int, on: datetime.date | None = None) -> list[TermRenewal]:
    """Lock every further term whose notice deadline is over by ``on``, at most today, its default (CON-12).

    For the job: several terms that were missed are made up for in their order, and none is locked twice. Publishes
    ``contract.term_locked`` for each.
    """
    contract = lock_known_contract(contract_id)
    today = business_today(contract)
    day = min(on, today) if on else today
    locked: list[TermRenewal] = []
    while (renewal := _lock_next(contract, day)) is not None:
        locked.append(renewal)
    if locked:
        contract_status_refresh(contract)
        _adjust_money(contract, f"Renewed until before {locked[-1].term_end}")
    return locked


def _next_decision(contract: Contract, day: datetime.date) -> tuple[TermOutlook | None, datetime.date | None]:
    """The term that is not decided yet, and its notice deadline; none where it ends otherwise or stands still."""
    agreement = calendar_of(contract)
    outlook = open_term(contract, agreement)
    if outlook is None or outlook.end is None or is_term_paused(contract, day):
        return None, None
    overtaken = (ContractStatus.TERMINATED, ContractStatus.RENEWED)
    if life.status_at(agreement, happened(contract), outlook.end) in overtaken:
        return None, None
    return outlook, outlook.deadline(on_business_day(contract))


def _lock_next(contract: Contract, day: datetime.date) -> TermRenewal | None:
    outlook, deadline = _next_decision(contract, day)
    if outlook is None or deadline is None or outlook.following is None or day <= deadline:
        return None
    assert outlook.end is not None and outlook.following.term.end is not None
    uplift = term_uplift(contract, outlook)
    renewal = TermRenewal.objects.create(
        contract=contract,
        term_number=outlook.number + 1,
        term_start=outlook.end,
        term_end=outlook.following.term.end,
        index_name=uplift.index_name,
        index_percent=uplift.index_percent,
        uplift_percent=uplift.percent,
        is_provisional=uplift.is_provisional,
        locked_by=system_actor(),
    )
    publish(
        "contract.term_locked",
        {
            "contract_id": contract.pk,
            "term_number": renewal.term_number,
            "term_start": renewal.term_start.isoformat(),
            "term_end": renewal.term_end.isoformat(),
            "uplift_percent": f"{uplift.percent:f}",
            "is_provisional": uplift.is_provisional,
        },
        key=f"contract:{contract.pk}",
    )
    if renewal.term_end > day:
        _tell(
            contract,
            kind="contract_term_locked",
            title=f"{contract.number} is renewed from {renewal.term_start}",
            body=(
                f"“{contract}”: the notice deadline, {deadline}, is over. Term {renewal.term_number} runs until "
                f"before {renewal.term_end}. {uplift.explanation}"
            ),
        )
    return renewal


@transaction.atomic
def term_settle(*, renewal_id: int) -> bool:
    """Settle a provisional uplift if its index is published now, once, and bill the difference (CON-14).

    Says whether it did. Publishes ``contract.index_settled``.
    """
    seen = TermRenewal.objects.get(pk=renewal_id)
    contract = lock_known_contract(seen.contract_id)
    renewal = TermRenewal.objects.get(pk=renewal_id)
    value, is_current = published_index(renewal.index_name, renewal.term_start)
    if not renewal.is_provisional or renewal.settled_at is not None or value is None or not is_current:
        return False
    conditions = terms_on(contract, renewal.term_start - ONE_DAY).conditions
    renewal.index_percent = value.percent
    renewal.settled_percent = bounded_percent(
        value.percent, floor=conditions.uplift_floor_percent, cap=conditions.uplift_cap_percent
    )
    renewal.settled_at = clock.now()
    renewal.save(update_fields=["index_percent", "settled_percent", "settled_at"])
    _adjust_money(contract, f"Index settled: {value}")
    publish(
        "contract.index_settled",
        {
            "contract_id": contract.pk,
            "term_number": renewal.term_number,
            "index_percent": f"{value.percent:f}",
            "settled_percent": f"{renewal.settled_percent:f}",
        },
        key=f"contract:{contract.pk}",
    )
    return True


def price_index_record(
    *, actor: User, index_name: str, day: datetime.date, percent: Decimal, source: str = ""
) -> PriceIndexValue:
    """Record what an index says from a day on: its change over a year in per cent (CON-14).

    Raises Forbidden; Conflict ``index_value_exists``.
    """
    require(actor, "contracts.add_priceindexvalue")
    value = PriceIndexValue(index_name=index_name.strip(), day=day, percent=percent, source=source)
    check_fields(value)
    refusal = Conflict("index_value_exists", f"{index_name} has a value for {day} already.")
    with record_as(actor):
        save_record(value, {"price_index_value_once": refusal})
    return value


def _adjust_money(contract: Contract, reason: str) -> None:
    """Correct fees and commitments. A budget that refuses what is agreed already is told of, and stops nothing."""
    fees_adjust(contract)
    try:
        with transaction.atomic():
            commitments_adjust(contract, reason)
    except BillingError as error:
        publish(
            "contract.budget_refused",
            {"contract_id": contract.pk, "fee_id": None, "code": error.code, "message": error.message},
            key=f"contract:{contract.pk}",
        )


# --- Alerts ----------------------------------------------------------------------------------------------


@transaction.atomic
def renewal_alerts_send(*, contract_id: int, on: datetime.date | None = None) -> int:
    """Tell owner and finance of a decision that is due: 90, 60 and 30 days before the notice deadline (CON-13).

    Each alert whose day has come and that was not sent is sent, once; several that were missed are one message.
    Nothing is said once the decision is made or the deadline is over. Returns how many alerts were due.
    """
    contract = lock_known_contract(contract_id)
    today = business_today(contract)
    day = min(on, today) if on else today
    outlook, deadline = _next_decision(contract, day)
    if contract.status not in RUNNING or outlook is None or not _is_open(outlook):
        return 0
    if deadline is None or day > deadline:
        return 0
    sent = set(
        RenewalAlert.objects.filter(
            contract=contract, term_number=outlook.number, deadline=deadline
        ).values_list("days", flat=True)
    )
    due = [
        days for days in ALERT_DAYS if days not in sent and deadline - datetime.timedelta(days=days) <= day
    ]
    if not due:
        return 0
    for days in due:
        RenewalAlert.objects.create(
            contract=contract, term_number=outlook.number, days=days, deadline=deadline
        )
    publish(
        "contract.renewal_alert",
        {
            "contract_id": contract.pk,
            "term_number": outlook.number,
            "deadline": deadline.isoformat(),
            "days": due,
        },
        key=f"contract:{contract.pk}",
    )
    left = (deadline - day).days
    if outlook.terms.conditions.renewal_type == RenewalType.AUTO:
        decision = f"it renews itself on {outlook.end} unless notice is received"
    else:
        decision = f"it ends before {outlook.end} unless the option is exercised"
    _tell(
        contract,
        kind="contract_renewal_alert",
        title=f"{contract.number}: decide on its renewal by {deadline}",
        body=f"“{contract}”: {decision} by {deadline}, in {left} days.",
    )
    return len(due)


def _is_open(outlook: TermOutlook) -> bool:
    """Whether somebody can still decide: notice or option are neither given nor exercised."""
    kind = outlook.terms.conditions.renewal_type
    return (outlook.following is not None) if kind == RenewalType.AUTO else outlook.following is None


def _tell(contract: Contract, *, kind: str, title: str, body: str) -> None:
    people = {}
    if contract.owner is not None and contract.owner.is_active:
        people[contract.owner.pk] = contract.owner
    for role in (Role.FINANCE_MANAGER, Role.FINANCE_STAFF):
        people |= {user.pk: user for user in holders_of_role(role, contract)}
    for pk in sorted(people):
        url = f"/admin/contracts/contract/{contract.pk}/change/"
        notify(user=people[pk], kind=kind, title=title, body=body, url=url)
