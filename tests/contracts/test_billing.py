"""What contracts bill: fees once, and corrections of what was billed before (CON-05 to CON-09, CON-14, CON-16 to CON-20)."""

import datetime
from decimal import Decimal
from typing import Any

import pytest
import time_machine

from contracts.models import BillableFee, Contract, ServiceCredit, TermRenewal
from contracts.notifications import tell_of_cap
from contracts.services.billing import fees_due, fees_prepare, fees_preview
from contracts.services.suspension import contract_resume, contract_suspend
from contracts.services.termination import contract_terminate
from core.errors import Forbidden, NotFound
from core.models import ExchangeRate, OutboxEvent
from entities.models import Role
from tests.contracts.builders import PLATFORM, Place, day
from tests.entities import factories

MONTHLY: dict[str, Any] = {"code": "fee", "name": "Fee", "price": "300.00"}


def at(text: str) -> Any:
    return time_machine.travel(f"{text}T12:00:00Z", tick=False)


def prepare(contract: Contract, until: str) -> list[tuple[str, str, str, str]]:
    """Kind, line, first day and amount of what is written."""
    fees = fees_prepare(contract_id=contract.pk, until=day(until))
    return [(fee.kind, fee.line_code, fee.period_start.isoformat(), f"{fee.amount:.2f}") for fee in fees]


def written(contract: Contract, after: int = 0) -> list[tuple[str, str, str]]:
    rows = BillableFee.objects.filter(contract=contract, pk__gt=after).order_by("pk")
    return [(fee.kind, fee.period_start.isoformat(), f"{fee.amount:.2f}") for fee in rows]


def last_fee() -> int:
    fee = BillableFee.objects.order_by("-pk").first()
    return fee.pk if fee else 0


def suspend(here: Place, contract: Contract, **fields: Any) -> None:
    values: dict[str, Any] = {"reason": "Not paid", "billing_continues": False, **fields}
    contract_suspend(actor=here.finance, contract_id=contract.pk, **values)


def test_con_07_periods_come_from_the_anchor_and_never_drift(here: Place) -> None:
    contract = here.active(start_date=day("2026-01-31"), prices=[MONTHLY])
    assert prepare(contract, "2026-05-31") == [
        ("recurring", "fee", "2026-01-31", "300.00"),
        ("recurring", "fee", "2026-02-28", "300.00"),
        ("recurring", "fee", "2026-03-31", "300.00"),
        ("recurring", "fee", "2026-04-30", "300.00"),
        ("recurring", "fee", "2026-05-31", "300.00"),
    ]


def test_con_08_a_second_run_bills_nothing_and_the_preview_writes_nothing(here: Place) -> None:
    contract = here.active()
    shown = fees_preview(actor=here.staff, contract_id=contract.pk, until=day("2026-03-31"))
    assert not BillableFee.objects.exists()
    assert len(prepare(contract, "2026-03-31")) == len(shown) == 3
    assert prepare(contract, "2026-03-31") == []
    assert prepare(contract, "2026-04-01") == [("recurring", "platform", "2026-04-01", "1000.00")]


def test_fees_are_shown_to_those_who_may_see_them(here: Place) -> None:
    contract = here.active()
    approver = factories.member(here.root, Role.APPROVER)
    for actor, error in ((here.outsider, NotFound), (approver, Forbidden)):
        with pytest.raises(error):
            fees_preview(actor=actor, contract_id=contract.pk, until=day("2026-03-31"))


def test_a_contract_that_is_not_active_bills_nothing(here: Place) -> None:
    assert fees_due(here.approved(), day("2026-12-31")) == []


def test_con_09_from_15_january_on_17_of_31_days_are_billed(here: Place) -> None:
    contract = here.active(start_date=day("2026-01-15"), billing_anchor=day("2026-01-01"), prices=[MONTHLY])
    (fee, _) = fees_prepare(contract_id=contract.pk, until=day("2026-02-01"))
    assert (fee.period_start, fee.period_end, fee.amount) == (
        day("2026-01-15"),
        day("2026-02-01"),
        Decimal("164.52"),
    )
    assert fee.parts[0]["explanation"] == "2026-01-15 to 2026-01-31: 1 × 300.00, 17 of 31 days = 164.52 USD."


def test_con_09_a_price_change_within_a_period_splits_it_by_days(here: Place) -> None:
    contract = here.active(prices=[MONTHLY])
    here.amend(contract, "2026-01-11", prices={"set": [{**MONTHLY, "price": "620.00"}]})
    # 300 × 10/31 = 96.774…, 620 × 21/31 = 420: together 516.77.
    (fee,) = fees_prepare(contract_id=contract.pk, until=day("2026-01-01"))
    assert [part["amount"] for part in fee.parts] == ["96.77", "420.00"]
    assert fee.amount == Decimal("516.77")


def test_con_06_a_retroactive_amendment_adjusts_each_billed_period(here: Place) -> None:
    contract = here.active(prices=[MONTHLY])
    prepare(contract, "2026-04-01")
    before = last_fee()
    amendment = here.amend(contract, "2026-02-15", prices={"set": [{**MONTHLY, "price": "400.00"}]})
    # February: 300 × 14/28 + 400 × 14/28 = 350. January stays.
    assert written(contract, before) == [
        ("amendment_delta", "2026-02-01", "50.00"),
        ("amendment_delta", "2026-03-01", "100.00"),
        ("amendment_delta", "2026-04-01", "100.00"),
    ]
    delta = BillableFee.objects.get(contract=contract, kind="amendment_delta", period_start=day("2026-02-01"))
    assert (delta.amendment, delta.adjusts.amount, delta.bill_on) == (
        amendment,
        Decimal(300),
        day("2026-06-15"),
    )
    assert delta.description == (
        f"Fee ({contract.number}), amendment 1 from 2026-02-15: 350.00 USD due, 300.00 billed before"
    )
    assert prepare(contract, "2026-04-30") == []


def test_con_06_amendments_that_take_away_and_give_back(here: Place) -> None:
    contract = here.active(prices=[MONTHLY])
    prepare(contract, "2026-01-01")
    before = last_fee()
    here.amend(contract, "2026-01-01", prices={"remove": ["fee"]})
    here.amend(contract, "2026-01-01", prices={"set": [MONTHLY]})
    assert written(contract, before) == [
        ("amendment_delta", "2026-01-01", "-300.00"),
        ("amendment_delta", "2026-01-01", "300.00"),
    ]


def test_con_06_another_currency_credits_the_old_and_bills_the_new(here: Place) -> None:
    contract = here.active(prices=[MONTHLY])
    prepare(contract, "2026-02-01")
    before = last_fee()
    ExchangeRate.objects.create(
        base="EUR", quote="USD", rate=Decimal("1.1"), date=day("2026-06-15"), source="ECB"
    )
    fields = {"currency": "EUR", "value": "3000.00"}
    here.amend(contract, "2026-02-01", fields=fields, prices={"set": [{**MONTHLY, "price": "250.00"}]})
    rows = BillableFee.objects.filter(pk__gt=before).order_by("currency")
    assert [(fee.currency, fee.amount) for fee in rows] == [("EUR", Decimal(250)), ("USD", Decimal(-300))]


def test_con_16_termination_credits_prepaid_days_bills_the_fee_and_stops(here: Place) -> None:
    contract = here.active(
        prices=[{**MONTHLY, "interval_months": 12, "price": "3650.00"}, {**PLATFORM, "timing": "arrears"}],
        convenience_allowed=True,
        convenience_notice_days=10,
        termination_fees=[{"from_month": 0, "amount": "500.00"}],
    )
    prepare(contract, "2026-05-31")
    before = last_fee()
    contract_terminate(actor=here.finance, contract_id=contract.pk, reason="Unused")
    # The 25 June is the first day without it: 175 of 365 days are kept, 1750; 1900 go back.
    assert written(contract, before) == [
        ("termination_credit", "2026-01-01", "-1900.00"),
        ("termination_fee", "2026-06-25", "500.00"),
    ]
    # 1000 × 24/30 in arrears, at its last day; nothing afterwards.
    assert prepare(contract, "2026-06-23") == []
    assert prepare(contract, "2026-12-31") == [("recurring", "platform", "2026-06-01", "800.00")]
    credit = BillableFee.objects.get(contract=contract, kind="termination_credit")
    assert credit.bill_on == day("2026-06-25")


def test_con_16_reinstatement_bills_again_what_was_credited(here: Place) -> None:
    contract = here.active(convenience_allowed=True, convenience_notice_days=0)
    prepare(contract, "2026-06-01")
    contract_terminate(actor=here.finance, contract_id=contract.pk, reason="Unused")
    before = last_fee()
    with at("2026-06-25"):
        here.amend(contract, "2026-06-20", reinstate=True)
    # Terminated from the 15th, 466.67 for 14 days were kept; 5 days are missing now: 1000 × 25/30 − 466.67.
    assert written(contract, before) == [("amendment_delta", "2026-06-01", "366.66")]


def test_con_17_a_suspension_without_billing_is_credited_and_resumed_to_the_day(here: Place) -> None:
    contract = here.active(prices=[MONTHLY])
    prepare(contract, "2026-06-01")
    before = last_fee()
    suspend(here, contract)
    with at("2026-06-25"):
        contract_resume(actor=here.finance, contract_id=contract.pk)
    # 14 of 30 days are left at first, then 14 + 6.
    assert written(contract, before) == [
        ("correction", "2026-06-01", "-160.00"),
        ("correction", "2026-06-01", "60.00"),
    ]
    assert prepare(contract, "2026-07-01") == [("recurring", "fee", "2026-07-01", "300.00")]


def test_con_17_billing_may_run_on_during_a_suspension(here: Place) -> None:
    contract = here.active(prices=[MONTHLY])
    prepare(contract, "2026-06-01")
    suspend(here, contract, billing_continues=True)
    assert prepare(contract, "2026-07-01") == [("recurring", "fee", "2026-07-01", "300.00")]


def test_con_17_a_period_in_which_nothing_is_supplied_is_billed_when_supply_goes_on(here: Place) -> None:
    contract = here.active(prices=[MONTHLY])
    prepare(contract, "2026-06-30")
    suspend(here, contract)
    assert prepare(contract, "2026-08-31") == []
    with at("2026-08-17"):
        contract_resume(actor=here.finance, contract_id=contract.pk)
    (fee,) = fees_prepare(contract_id=contract.pk, until=day("2026-08-31"))
    # 300 × 15/31
    assert (fee.period_start, fee.bill_on, fee.amount) == (
        day("2026-08-01"),
        day("2026-08-17"),
        Decimal("145.16"),
    )


def test_con_14_an_index_that_is_settled_later_is_trued_up(here: Place) -> None:
    renewal = {"renewal_type": "auto", "renewal_term_months": 12, "end_date": day("2026-04-01")}
    contract = here.active(prices=[PLATFORM, {**MONTHLY, "is_fixed_price": True}], **renewal)
    term = TermRenewal.objects.create(
        contract=contract,
        term_number=2,
        term_start=day("2026-04-01"),
        term_end=day("2027-04-01"),
        is_provisional=True,
        uplift_percent=Decimal(0),
        locked_by=here.finance,
    )
    prepare(contract, "2026-05-31")
    before = last_fee()
    TermRenewal.objects.filter(pk=term.pk).update(
        settled_percent=Decimal(3), settled_at=datetime.datetime(2026, 6, 15, 12, tzinfo=datetime.UTC)
    )
    assert prepare(contract, "2026-06-01") == [
        ("recurring", "fee", "2026-06-01", "300.00"),
        ("recurring", "platform", "2026-06-01", "1030.00"),
        ("index_true_up", "platform", "2026-04-01", "30.00"),
        ("index_true_up", "platform", "2026-05-01", "30.00"),
    ]
    assert len(written(contract, before)) == 4


def test_con_18_a_shortfall_of_the_minimum_is_billed_once_at_the_end_of_its_period(here: Place) -> None:
    contract = here.active(
        prices=[MONTHLY], minimum_commitment=Decimal("1000.00"), minimum_commitment_months=3
    )
    assert prepare(contract, "2026-03-30")[3:] == []
    assert prepare(contract, "2026-03-31") == [
        ("minimum_shortfall", "minimum-commitment", "2026-01-01", "100.00")
    ]
    assert prepare(contract, "2026-03-31") == []
    # What raises the fees afterwards lowers the shortfall.
    before = last_fee()
    here.amend(contract, "2026-03-01", prices={"set": [{**MONTHLY, "price": "360.00"}]})
    assert written(contract, before) == [
        ("amendment_delta", "2026-03-01", "60.00"),
        ("correction", "2026-01-01", "-60.00"),
    ]


def test_con_18_fees_stop_at_the_not_to_exceed_amount_and_warn_at_80_percent(here: Place) -> None:
    contract = here.active(prices=[MONTHLY], not_to_exceed=Decimal("1000.00"))

    def told() -> list[str]:
        return [
            event.topic
            for event in OutboxEvent.objects.filter(topic__startswith="contract.cap").order_by("pk")
        ]

    prepare(contract, "2026-02-28")
    assert told() == []
    prepare(contract, "2026-03-01")  # 900: above 80 %
    assert told() == ["contract.cap_warned"]
    assert prepare(contract, "2026-05-31") == [("recurring", "fee", "2026-04-01", "100.00")]
    assert told() == ["contract.cap_warned", "contract.cap_reached"]
    assert prepare(contract, "2026-06-30") == []
    assert told() == ["contract.cap_warned", "contract.cap_reached"]
    tell_of_cap(OutboxEvent.objects.get(topic="contract.cap_reached"))
    (message,) = here.finance.notifications.all()
    assert message.title == f"{contract.number} Platform agreement has reached its not-to-exceed amount"
    # What was cut stays cut, unless a higher amount is agreed for its day.
    here.amend(contract, "2026-06-01", fields={"not_to_exceed": "1300.00"})
    assert prepare(contract, "2026-05-31") == []
    before = last_fee()
    here.amend(contract, "2026-04-01", fields={"not_to_exceed": "1400.00"})
    assert written(contract, before) == [("amendment_delta", "2026-04-01", "200.00")]
    assert prepare(contract, "2026-05-31") == [("recurring", "fee", "2026-05-01", "200.00")]


def test_con_20_a_service_credit_is_taken_off_once(here: Place) -> None:
    contract = here.active()
    credit = ServiceCredit.objects.create(
        contract=contract,
        sla_code="uptime",
        period_start=day("2026-01-01"),
        period_end=day("2026-02-01"),
        measured=Decimal("99.5"),
        target=Decimal("99.9"),
        credit_percent=Decimal(5),
        fee_amount=Decimal("1000.00"),
        amount=Decimal("50.00"),
        currency="USD",
        status="due",
    )
    assert prepare(contract, "2026-02-01")[0] == ("service_credit", "sla-uptime", "2026-01-01", "-50.00")
    credit.refresh_from_db()
    assert credit.fee is not None
    assert credit.fee.description == (
        f"Service credit uptime ({contract.number}), 5 % of 1000.00: 99.5 measured, 99.9 promised"
    )
    assert prepare(contract, "2026-02-28") == []


def test_inv_05_discounts_ramps_and_one_time_fees_are_billed_as_agreed(here: Place) -> None:
    contract = here.active(
        discount_percent=Decimal(10),
        prices=[
            {"code": "setup", "name": "Set-up", "pricing": "one_time", "price": "500.00"},
            {
                **MONTHLY,
                "discount_percent": "50",
                "discount_amount": "20.00",
                "discount_until": "2026-02-01",
                "ramp": [{"from": "2026-03-01", "price": "400.00"}],
            },
            {
                "code": "seats",
                "name": "Seats",
                "pricing": "graduated",
                "quantity_source": "fixed",
                "quantity": "15",
                "timing": "arrears",
                "tiers": [{"up_to": "10", "unit_price": "10"}, {"up_to": None, "unit_price": "5"}],
            },
        ],
    )
    assert prepare(contract, "2026-03-01") == [
        # (300 − 10 %) − 50 % − 20, then 300 − 10 %, then 400 − 10 %.
        ("recurring", "fee", "2026-01-01", "115.00"),
        ("one_time", "setup", "2026-01-01", "450.00"),
        # (10 × 10 + 5 × 5) − 10 %, on the last day of the month
        ("units", "seats", "2026-01-01", "112.50"),
        ("recurring", "fee", "2026-02-01", "270.00"),
        ("units", "seats", "2026-02-01", "112.50"),
        ("recurring", "fee", "2026-03-01", "360.00"),
    ]


def test_con_05_another_interval_begins_where_the_amendment_says(here: Place) -> None:
    contract = here.active(prices=[MONTHLY])
    here.amend(
        contract, "2026-07-01", prices={"set": [{**MONTHLY, "price": "3650.00", "interval_months": 12}]}
    )
    # From 1 July the line runs by years from the anchor: 184 of 365 days of 2026.
    assert prepare(contract, "2026-12-31")[-2:] == [
        ("recurring", "fee", "2026-06-01", "300.00"),
        ("recurring", "fee", "2026-07-01", "1840.00"),
    ]
