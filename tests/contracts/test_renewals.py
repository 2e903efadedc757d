"""Terms, notices, renewals, uplifts and alerts, with a clock that is driven through them (CON-10 to CON-14)."""

import datetime
from decimal import Decimal
from typing import Any

import pytest
import time_machine

from contracts.models import Contract, NoticeKind, PriceIndexValue, RenewalNotice, TermRenewal
from contracts.pricing import Notice
from contracts.selectors.contract import status_on, terms_on
from contracts.selectors.renewals import Outcome, end_of_evergreen, renewal_check, renewal_pipeline
from contracts.services.billing import fees_prepare
from contracts.services.jobs import run_jobs
from contracts.services.renewals import (
    contract_lock_terms,
    contract_renew,
    contracts_renew,
    notice_record,
    price_index_record,
    renewal_alerts_send,
    term_settle,
)
from contracts.services.suspension import contract_resume, contract_suspend
from contracts.services.termination import contract_terminate
from core.calendars import SpecialDay, work_calendar_create
from core.errors import Conflict, Forbidden, Invalid
from core.models import Notification, OutboxEvent
from entities.models import Entity, Role
from tests.contracts.builders import PLATFORM, Place, day
from tests.entities import factories

AUTO: dict[str, Any] = {"renewal_type": "auto", "renewal_term_months": 12}
OPTION: dict[str, Any] = {"renewal_type": "option", "renewal_term_months": 12}
EVERGREEN: dict[str, Any] = {"renewal_type": "evergreen", "end_date": None}
INDEXED: dict[str, Any] = {**AUTO, "uplift_index": "CPI", "uplift_cap_percent": "3"}


def at(text: str) -> Any:
    return time_machine.travel(datetime.datetime.fromisoformat(text), tick=False)


def noon(text: str) -> Any:
    return at(f"{text}T12:00:00+00:00")


def moment(text: str) -> datetime.datetime:
    return datetime.datetime.fromisoformat(text)


def notice(here: Place, contract: Contract, received: str, **fields: Any) -> RenewalNotice:
    values: dict[str, Any] = {"kind": "end", "side": "customer", "method": "registered", **fields}
    return notice_record(actor=here.finance, contract_id=contract.pk, received_at=moment(received), **values)


def index(here: Place, on: str, percent: str) -> PriceIndexValue:
    return price_index_record(
        actor=here.finance, index_name="CPI", day=day(on), percent=Decimal(percent), source="Statistics"
    )


def deadline(contract: Contract, on: str = "2026-06-15") -> str:
    return str(renewal_check(contract, day(on)).deadline)


def terms_of(contract: Contract) -> list[tuple[int, str, str]]:
    rows = TermRenewal.objects.filter(contract=contract).order_by("term_number")
    return [(row.term_number, str(row.term_start), str(row.term_end)) for row in rows]


# --- CON-10, CON-11: types and notices -------------------------------------------------------------------


def test_con_10_each_type_says_what_will_happen(here: Place) -> None:
    said = {
        kind: renewal_check(here.active(**fields)).outcome
        for kind, fields in {
            "none": {},
            "option": OPTION,
            "auto": AUTO,
            "evergreen": EVERGREEN,
        }.items()
    }
    assert said == {
        "none": Outcome.ENDS,
        "option": Outcome.ENDS_UNLESS_EXERCISED,
        "auto": Outcome.RENEWS_UNLESS_NOTICE,
        "evergreen": Outcome.RUNS_ON,
    }


@pytest.mark.parametrize("fields", [{**AUTO, "end_date": None}, {"renewal_type": "evergreen"}])
def test_con_10_auto_needs_an_end_and_evergreen_has_none(here: Place, fields: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        here.draft(**fields)


def test_con_11_the_deadline_is_a_business_day_of_the_contract_country(here: Place) -> None:
    """60 days before 31 December is Sunday, 1 November: Friday, 30 October; in Poland two months: 31 October, a
    Saturday; the day before is Friday as well. All Saints' Day 2027 is a Monday: the Friday before."""
    assert deadline(here.active(**AUTO)) == "2026-10-30"
    assert deadline(here.active(**AUTO, notice_period=2, notice_unit="months")) == "2026-10-30"
    Entity.objects.filter(pk=here.entity.pk).update(country="PL")
    here.entity.refresh_from_db()
    assert deadline(here.active(**AUTO), "2027-06-15") == "2027-10-29"
    assert deadline(here.active(**{**AUTO, "notice_period": 30})) == "2026-12-01"


def test_con_11_a_work_calendar_of_the_country_knows_its_days_off(here: Place) -> None:
    Entity.objects.filter(pk=here.entity.pk).update(country="DE")
    here.entity.refresh_from_db()
    contract = here.active(**{**AUTO, "notice_period": 30})
    assert deadline(contract) == "2026-12-01"
    values: dict[str, Any] = dict.fromkeys(
        ("monday", "tuesday", "wednesday", "thursday", "friday"), "09:00-17:00"
    )
    work_calendar_create(
        actor=here.finance,
        name="Germany",
        time_zone="Europe/Berlin",
        holiday_country="DE",
        special_days=[SpecialDay(date=day("2026-12-01"), name="Works outing")],
        **values,
    )
    assert deadline(contract) == "2026-11-30"


def test_con_11_notice_is_on_time_until_midnight_in_the_zone_of_the_contract(here: Place) -> None:
    """The deadline, 30 October, ends at 04:00 UTC on the 31st in New York: clocks go back on 1 November."""
    contract = here.active(**AUTO, time_zone="America/New_York")
    late = here.active(**AUTO, time_zone="America/New_York")
    with at("2026-10-31T05:00:00+00:00"):
        on_time = notice(here, contract, "2026-10-31T03:59:59+00:00")
        too_late = notice(here, late, "2026-10-31T04:00:00+00:00")
    assert (on_time.on_time, on_time.term_number, str(on_time.ends_on)) == (True, 1, "2027-01-01")
    assert (too_late.on_time, too_late.term_number, str(too_late.ends_on)) == (False, 2, "2028-01-01")
    assert (too_late.method, too_late.received_at) == ("registered", moment("2026-10-31T04:00:00+00:00"))
    assert status_on(contract, day("2027-01-01")) == "expired"
    assert [status_on(late, day(on)) for on in ("2027-12-31", "2028-01-01")] == ["active", "expired"]
    assert renewal_check(contract, day("2026-12-01")).outcome == Outcome.ENDS_BY_NOTICE


def test_con_11_terms_shorter_than_the_notice_end_with_the_first_that_is_in_time(here: Place) -> None:
    """Monthly terms, 60 days' notice, received on 15 June: the first term whose deadline is later ends on 1 September."""
    contract = here.active(renewal_type="auto", renewal_term_months=1, end_date=day("2026-07-01"))
    received = notice(here, contract, "2026-06-15T08:00:00+00:00")
    assert (received.on_time, str(received.ends_on)) == (False, "2026-09-01")


def test_con_11_one_notice_ends_it_and_refusals_change_nothing(here: Place) -> None:
    contract = here.active(**AUTO)
    notice(here, contract, "2026-06-10T08:00:00+00:00")
    with pytest.raises(Conflict) as refusal:
        notice(here, contract, "2026-06-11T08:00:00+00:00")
    assert refusal.value.code == "notice_given"
    other = here.active()
    with pytest.raises(Conflict) as refusal:
        notice(here, other, "2026-06-10T08:00:00+00:00")
    assert refusal.value.code == "ends_by_itself"
    with pytest.raises(Invalid) as invalid:
        notice(here, here.active(**AUTO), "2026-06-15T12:00:01+00:00")
    assert invalid.value.code == "received_in_the_future"
    with pytest.raises(Forbidden):
        notice_record(
            actor=here.staff,
            contract_id=here.active(**AUTO).pk,
            kind="end",
            side="customer",
            method="email",
        )
    with pytest.raises(Invalid):
        notice(here, here.active(**AUTO), "2026-06-10T08:00:00+00:00", method="pigeon")
    assert RenewalNotice.objects.count() == 1
    assert OutboxEvent.objects.filter(topic="contract.notice_received").count() == 1


def test_con_11_a_notice_on_time_counts_although_it_is_written_down_after_the_lock(here: Place) -> None:
    contract = here.active(**AUTO)
    with noon("2026-11-10"):
        assert len(contract_lock_terms(contract_id=contract.pk)) == 1
        notice(here, contract, "2026-10-30T22:00:00+00:00")
        assert status_on(contract, day("2027-01-01")) == "expired"
        assert contract_lock_terms(contract_id=contract.pk) == []
    other = here.active(**AUTO)
    with noon("2027-02-01"), pytest.raises(Conflict) as refusal:
        notice(here, other, "2026-10-30T22:00:00+00:00")
    assert refusal.value.code == "term_has_begun"


@pytest.mark.parametrize(
    ("received", "period", "unit", "end"),
    [
        ("2026-06-15", 60, "days", "2026-08-15"),
        ("2026-06-15", 3, "months", "2026-09-16"),
    ],
)
def test_con_10_notice_ends_an_evergreen_contract(
    here: Place, received: str, period: int, unit: str, end: str
) -> None:
    """The whole notice period lies between the day of receipt and the first day without the contract."""
    contract = here.active(**EVERGREEN, notice_period=period, notice_unit=unit)
    given = notice(here, contract, f"{received}T08:00:00+00:00")
    assert str(given.ends_on) == end
    last = day(end) - datetime.timedelta(days=1)
    assert [status_on(contract, on) for on in (last, day(end))] == ["active", "expired"]


def test_con_10_months_of_notice_are_never_cut_short(here: Place) -> None:
    """A month from 31 January would be 28 February, whose month of notice begins on the 28th: 1 March it is."""
    assert end_of_evergreen(day("2026-01-30"), Notice(months=1)) == day("2026-03-01")
    contract = here.active(**EVERGREEN)
    with pytest.raises(Conflict) as refusal:
        notice(here, contract, "2026-01-30T08:00:00+00:00")
    assert refusal.value.code == "term_has_begun"


def test_con_10_an_option_is_exercised_until_the_deadline_or_lapses(here: Place) -> None:
    contract, late = here.active(**OPTION), here.active(**OPTION)
    with noon("2026-10-30"):
        exercised = contract_renew(actor=here.finance, contract_id=contract.pk)
        assert (exercised.term_number, exercised.on_time) == (1, True)
        assert contract_lock_terms(contract_id=contract.pk) == []
    with noon("2026-10-31"):
        assert [str(term.term_end) for term in contract_lock_terms(contract_id=contract.pk)] == ["2028-01-01"]
        assert renewal_check(late).outcome == Outcome.OPTION_LAPSED
        with pytest.raises(Conflict) as refusal:
            contract_renew(actor=here.finance, contract_id=late.pk)
    assert (refusal.value.code, refusal.value.extra) == ("option_lapsed", {"deadline": "2026-10-30"})
    assert (status_on(contract, day("2027-01-01")), status_on(late, day("2027-01-01"))) == (
        "active",
        "expired",
    )
    assert renewal_check(contract, day("2027-02-01")).outcome == Outcome.ENDS_UNLESS_EXERCISED


def test_con_10_many_options_are_exercised_each_on_its_own(here: Place) -> None:
    first, auto, second = here.active(**OPTION), here.active(**AUTO), here.active(**OPTION)
    results = contracts_renew(actor=here.finance, contract_ids=[second.pk, auto.pk, first.pk, 10**9])
    assert [
        (result.contract_id, result.error.code if result.error else result.notice.kind)  # type: ignore[union-attr]
        for result in results
    ] == [
        (first.pk, "renew"),
        (auto.pk, "no_option"),
        (second.pk, "renew"),
        (10**9, "not_found"),
    ]
    again = contracts_renew(actor=here.finance, contract_ids=[first.pk])
    assert again[0].error is not None and again[0].error.code == "notice_given"
    assert RenewalNotice.objects.filter(kind=NoticeKind.RENEW).count() == 2


# --- CON-12: locking -------------------------------------------------------------------------------------


def test_con_12_locked_once_the_deadline_is_over_and_begins_after_the_term(here: Place) -> None:
    contract = here.active(**AUTO)
    with noon("2026-10-30"):
        assert contract_lock_terms(contract_id=contract.pk) == []
    with noon("2026-10-31"):
        assert len(contract_lock_terms(contract_id=contract.pk)) == 1
        assert contract_lock_terms(contract_id=contract.pk) == []
        assert renewal_check(contract).outcome == Outcome.RENEWS
        assert renewal_check(contract).is_locked
    assert terms_of(contract) == [(2, "2027-01-01", "2028-01-01")]
    assert [terms_on(contract, day(on)).term.number for on in ("2026-12-31", "2027-01-01")] == [1, 2]


def test_con_12_the_job_follows_the_day_of_the_contract_zone(here: Place) -> None:
    """At 11:00 UTC on the 30th it is the 31st in Kiritimati (UTC+14), and still the 29th in Pago Pago at 10:00."""
    east = here.active(**AUTO, time_zone="Pacific/Kiritimati")
    west = here.active(**AUTO, time_zone="Pacific/Pago_Pago")
    with at("2026-10-30T11:00:00+00:00"):
        assert len(contract_lock_terms(contract_id=east.pk)) == 1
    with at("2026-10-31T10:59:00+00:00"):
        assert contract_lock_terms(contract_id=west.pk) == []
    with at("2026-10-31T11:00:00+00:00"):
        assert len(contract_lock_terms(contract_id=west.pk)) == 1


def test_con_12_two_years_of_jobs_with_missed_days_come_to_the_same_as_daily_ones(here: Place) -> None:
    """Terms of three months from 31 January 2026, clocks changing in Berlin, jobs that miss weeks or half a year."""
    fields: dict[str, Any] = {
        "renewal_type": "auto",
        "renewal_term_months": 3,
        "notice_period": 1,
        "notice_unit": "months",
        "start_date": day("2026-01-31"),
        "end_date": day("2026-07-31"),
        "time_zone": "Europe/Berlin",
        "uplift_index": "CPI",
    }
    often, seldom = here.active(**fields), here.active(**fields)
    for on, percent in (("2026-01-01", "4.2"), ("2027-01-01", "-1"), ("2028-01-01", "2")):
        index(here, on, percent)
    moments = [moment("2026-06-15T22:30:00+00:00") + datetime.timedelta(days=28 * n) for n in range(28)]
    for number, when in enumerate(moments):
        with time_machine.travel(when, tick=False):
            contract_lock_terms(contract_id=often.pk)
            renewal_alerts_send(contract_id=often.pk)
            if number in (1, 2, 8, 9, 19, 27):
                contract_lock_terms(contract_id=seldom.pk)
    expected = [
        (2, "2026-07-31", "2026-10-31"),
        (3, "2026-10-31", "2027-01-31"),
        (4, "2027-01-31", "2027-04-30"),
        (5, "2027-04-30", "2027-07-31"),
        (6, "2027-07-31", "2027-10-31"),
        (7, "2027-10-31", "2028-01-31"),
        (8, "2028-01-31", "2028-04-30"),
        (9, "2028-04-30", "2028-07-31"),
        (10, "2028-07-31", "2028-10-31"),
    ]
    assert terms_of(often) == expected
    assert terms_of(seldom) == expected
    prices = [
        [
            terms_on(contract, day(on)).prices["platform"].price
            for on in ("2026-07-30", "2026-07-31", "2028-08-01")
        ]
        for contract in (often, seldom)
    ]
    assert prices[0] == prices[1]
    assert prices[0][:2] == [Decimal("1000.00"), Decimal("1042.00")]
    alerts = list(often.renewal_alerts.order_by("pk").values_list("term_number", "days"))
    assert len(alerts) == len(set(alerts)) and {number for number, _ in alerts} == set(range(1, 11))


def test_con_12_the_deadline_ends_with_its_day_in_summer_and_in_winter(here: Place) -> None:
    """In Berlin 29 September 2026 ends at 22:00 UTC, 30 December at 23:00."""
    contract = here.active(
        renewal_type="auto",
        renewal_term_months=3,
        notice_period=1,
        notice_unit="months",
        end_date=day("2026-10-31"),
        time_zone="Europe/Berlin",
    )
    for last, first in (
        ("2026-09-29T21:59:59", "2026-09-29T22:00:00"),
        ("2026-12-30T22:59:59", "2026-12-30T23:00:00"),
    ):
        with at(f"{last}+00:00"):
            assert contract_lock_terms(contract_id=contract.pk) == []
        with at(f"{first}+00:00"):
            assert len(contract_lock_terms(contract_id=contract.pk)) == 1
    assert terms_of(contract) == [(2, "2026-10-31", "2027-01-31"), (3, "2027-01-31", "2027-04-30")]


def test_con_12_a_missed_job_catches_up_once_for_every_term(here: Place) -> None:
    contract = here.active(**AUTO)
    with noon("2029-02-01"):
        assert [term.term_number for term in contract_lock_terms(contract_id=contract.pk)] == [2, 3, 4]
        assert contract_lock_terms(contract_id=contract.pk) == []
        assert contract.status == "active" and status_on(contract, day("2029-02-01")) == "active"
    assert terms_of(contract)[-1] == (4, "2029-01-01", "2030-01-01")
    told = Notification.objects.filter(user=here.finance, kind="contract_term_locked")
    assert told.get().title == f"{contract.number} is renewed from 2029-01-01"


def test_con_12_run_as_of_a_day_but_never_ahead_of_today(here: Place) -> None:
    contract = here.active(**AUTO)
    assert contract_lock_terms(contract_id=contract.pk, on=day("2026-11-30")) == []
    with noon("2027-11-30"):
        assert len(contract_lock_terms(contract_id=contract.pk, on=day("2026-11-30"))) == 1
        assert len(contract_lock_terms(contract_id=contract.pk)) == 1


def test_con_12_what_ends_otherwise_is_not_locked(here: Place) -> None:
    ends = here.active()
    left = here.active(**AUTO, convenience_allowed=True, convenience_notice_days=60)
    contract_terminate(actor=here.finance, contract_id=left.pk, reason="Cheaper elsewhere")
    with noon("2026-11-30"):
        assert contract_lock_terms(contract_id=ends.pk) == []
        assert contract_lock_terms(contract_id=left.pk) == []


def test_con_12_con_17_a_suspension_that_extends_the_term_moves_what_is_locked(here: Place) -> None:
    """Suspended for 30 days after the lock: term 2 begins 30 days later, at the locked prices."""
    index(here, "2026-06-01", "4.2")
    contract = here.active(**INDEXED)
    with noon("2026-10-31"):
        contract_lock_terms(contract_id=contract.pk)
    with noon("2026-11-15"):
        contract_suspend(
            actor=here.finance,
            contract_id=contract.pk,
            reason="Not paid",
            billing_continues=False,
            extends_term=True,
        )
    with noon("2026-12-15"):
        contract_resume(actor=here.finance, contract_id=contract.pk)
    assert [
        (terms_on(contract, day(on)).term.number, terms_on(contract, day(on)).prices["platform"].price)
        for on in ("2027-01-30", "2027-01-31")
    ] == [(1, Decimal("1000.00")), (2, Decimal("1030.00"))]
    paused = here.active(**AUTO)
    with noon("2026-10-15"):
        contract_suspend(
            actor=here.finance,
            contract_id=paused.pk,
            reason="Not paid",
            billing_continues=False,
            extends_term=True,
        )
    with noon("2026-12-15"):
        assert contract_lock_terms(contract_id=paused.pk) == []


# --- CON-13: alerts --------------------------------------------------------------------------------------


def test_con_13_alerts_once_each_90_60_and_30_days_before_the_notice_deadline(here: Place) -> None:
    """The deadline is 30 October: 1 August, 31 August and 30 September. A second run says nothing."""
    owner = factories.member(here.root, Role.DEPARTMENT_MANAGER)
    contract = here.active(**AUTO, owner=owner)
    sent = {}
    for on in ("2026-07-31", "2026-08-01", "2026-08-30", "2026-08-31", "2026-09-30", "2026-10-30"):
        with noon(on):
            sent[on] = [renewal_alerts_send(contract_id=contract.pk) for _ in range(2)]
    assert sent == {
        "2026-07-31": [0, 0],
        "2026-08-01": [1, 0],
        "2026-08-30": [0, 0],
        "2026-08-31": [1, 0],
        "2026-09-30": [1, 0],
        "2026-10-30": [0, 0],
    }
    told = Notification.objects.filter(kind="contract_renewal_alert")
    for person in (owner, here.finance, here.staff):
        assert told.filter(user=person).count() == 3
    assert told.count() == 9
    last = told.filter(user=owner).order_by("pk").last()
    assert last is not None and "by 2026-10-30, in 30 days" in last.body
    assert OutboxEvent.objects.filter(topic="notification.created").count() >= 9
    check = renewal_check(contract, day("2026-09-30"))
    assert [(alert.days, str(alert.due_on), alert.sent_at is not None) for alert in check.alerts] == [
        (90, "2026-08-01", True),
        (60, "2026-08-31", True),
        (30, "2026-09-30", True),
    ]
    assert (check.days_left, str(check.decision_due)) == (30, "2026-10-30")


def test_con_13_missed_alerts_are_one_message_and_a_decision_silences_them(here: Place) -> None:
    contract, decided, over = here.active(**AUTO), here.active(**OPTION), here.active(**AUTO)
    contract_renew(actor=here.finance, contract_id=decided.pk)
    with noon("2026-10-05"):
        assert renewal_alerts_send(contract_id=contract.pk) == 3
        assert renewal_alerts_send(contract_id=decided.pk) == 0
    with noon("2026-10-31"):
        assert renewal_alerts_send(contract_id=over.pk) == 0
    assert Notification.objects.filter(kind="contract_renewal_alert", user=here.finance).count() == 1


def test_con_13_a_deadline_that_an_amendment_moves_is_told_again(here: Place) -> None:
    contract = here.active(**AUTO)
    with noon("2026-10-05"):
        assert renewal_alerts_send(contract_id=contract.pk) == 3
        here.amend(contract, "2026-10-05", fields={"end_date": "2027-04-01"})
        assert renewal_alerts_send(contract_id=contract.pk) == 0
    with noon("2026-12-29"):
        assert renewal_alerts_send(contract_id=contract.pk) == 2


# --- CON-14: uplift --------------------------------------------------------------------------------------


def uplifted(contract: Contract, on: str = "2027-01-01", code: str = "platform") -> Decimal:
    return terms_on(contract, day(on)).prices[code].price


@pytest.mark.parametrize(("percent", "price"), [("4.2", "1030.00"), ("-1", "1000.00"), ("2.5", "1025.00")])
def test_con_14_uplift_lies_between_floor_and_cap(here: Place, percent: str, price: str) -> None:
    """1 000.00, index 4.2 %, cap 3 %: 1 030.00; index −1 %, floor 0: 1 000.00."""
    index(here, "2026-06-01", percent)
    contract = here.active(
        **INDEXED, prices=[PLATFORM, {**PLATFORM, "code": "fixed", "is_fixed_price": True}]
    )
    with noon("2026-10-31"):
        (term,) = contract_lock_terms(contract_id=contract.pk)
    assert (term.index_percent, term.is_provisional) == (Decimal(percent), False)
    assert (uplifted(contract), uplifted(contract, "2026-12-31")) == (Decimal(price), Decimal("1000.00"))
    assert uplifted(contract, code="fixed") == Decimal("1000.00")


def test_con_14_without_an_announcement_in_time_the_old_price_stays(here: Place) -> None:
    """90 days before 1 January is 3 October; the deadline for notice, 30 October, is later."""
    index(here, "2026-06-01", "2")
    silent, told, late = (here.active(**INDEXED, uplift_notice_days=90) for _ in range(3))
    prices = {"kind": "price", "side": "issuer", "method": "email"}
    with noon("2026-10-05"):
        announced = notice(here, told, "2026-10-03T20:00:00+00:00", **prices)
        delayed = notice(here, late, "2026-10-04T00:00:00+00:00", **prices)
        assert (announced.on_time, announced.term_number) == (True, 1)
        assert (delayed.on_time, delayed.term_number) == (False, 2)
    with noon("2026-10-31"):
        for contract in (silent, told, late):
            contract_lock_terms(contract_id=contract.pk)
    assert [uplifted(contract) for contract in (silent, told, late)] == [1000, 1020, 1000]
    with noon("2027-12-01"):
        index(here, "2027-06-01", "2")
        contract_lock_terms(contract_id=late.pk)
        assert uplifted(late, "2028-01-01") == 1020


def test_con_14_an_index_that_is_not_published_is_provisional_and_settled_once(here: Place) -> None:
    """Provisionally last year's 1 %, then 2 %: January's 1 010.00 become 1 020.00, and 10.00 are billed."""
    index(here, "2025-12-01", "1")
    contract = here.active(**INDEXED)
    with noon("2026-10-31"):
        (term,) = contract_lock_terms(contract_id=contract.pk)
        assert term.is_provisional
        assert [term.uplift_percent, term.index_percent] == [1, None]
        assert not term_settle(renewal_id=term.pk)
    with noon("2027-01-20"):
        fees_prepare(contract_id=contract.pk, until=day("2027-01-31"))
        index(here, "2027-01-01", "2")
        assert term_settle(renewal_id=term.pk)
        assert not term_settle(renewal_id=term.pk)
        assert uplifted(contract) == Decimal("1020.00")
    assert list(contract.fees.filter(kind="index_true_up").values_list("amount", flat=True)) == [10]
    assert TermRenewal.objects.get().settled_percent == 2


def test_con_14_a_late_job_goes_by_what_was_published_at_the_deadline(here: Place) -> None:
    contract = here.active(**INDEXED)
    index(here, "2026-06-01", "2")
    with noon("2026-11-20"):
        index(here, "2026-11-01", "3")
        (term,) = contract_lock_terms(contract_id=contract.pk)
    assert [term.index_percent, term.uplift_percent] == [2, 2]


def test_con_14_values_are_recorded_once_and_by_finance_managers(here: Place) -> None:
    index(here, "2026-06-01", "2")
    with pytest.raises(Conflict) as refusal:
        index(here, "2026-06-01", "3")
    assert refusal.value.code == "index_value_exists"
    with pytest.raises(Forbidden):
        price_index_record(actor=here.staff, index_name="CPI", day=day("2026-07-01"), percent=Decimal(1))


# --- The pipeline ----------------------------------------------------------------------------------------


def test_con_13_the_pipeline_says_what_renews_when_and_what_to_decide_first(
    here: Place, django_assert_num_queries: Any
) -> None:
    later = here.active(**AUTO)
    ends = here.active(value="500.00")
    soon = here.active(**OPTION, end_date=day("2026-10-01"))
    here.active(**EVERGREEN)
    here.active(**AUTO, end_date=day("2028-01-01"))
    here.draft()
    # Access, contracts, what moves their dates and the alerts, and business days: whatever their number.
    with django_assert_num_queries(7):
        found = renewal_pipeline(actor=here.staff)
    assert [(entry.contract, entry.check.outcome, str(entry.check.term_end)) for entry in found] == [
        (soon, Outcome.ENDS_UNLESS_EXERCISED, "2026-10-01"),
        (later, Outcome.RENEWS_UNLESS_NOTICE, "2027-01-01"),
        (ends, Outcome.ENDS, "2027-01-01"),
    ]
    assert [entry.check.value for entry in found] == [12000, 12000, 500]
    assert [str(entry.check.decision_due) for entry in found] == ["2026-07-31", "2026-10-30", "None"]
    assert renewal_pipeline(actor=here.outsider) == []
    assert [entry.contract for entry in renewal_pipeline(actor=here.staff, end=day("2026-12-01"))] == [soon]


def test_run_jobs_is_what_the_schedule_does(here: Place) -> None:
    contract = here.active(**AUTO)
    with noon("2026-10-31"):
        first, second = run_jobs(), run_jobs()
    assert (first["terms_locked"].done, second["terms_locked"].done) == (1, 0)
    assert len(terms_of(contract)) == 1
