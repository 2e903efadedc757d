"""The terms and the state on any day, as pure functions (CON-01, CON-05, CON-12, CON-14, CON-17)."""

import datetime
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest

from contracts.terms import life
from contracts.terms.changes import read_changes
from contracts.terms.conditions import Conditions, coherence_problems, fee_steps
from contracts.terms.difference import difference
from contracts.terms.fold import (
    Agreement,
    Amended,
    Extended,
    Noticed,
    Renewed,
    Source,
    segments_until,
    terms_at,
)
from contracts.terms.life import Happened, status_at, status_spans, supply_spans
from contracts.terms.lines import price_line, sla_line
from core.errors import Invalid
from tests.contracts.builders import END, PLATFORM, SEATS, START, UPTIME, day


def conditions(**fields: Any) -> Conditions:
    values: dict[str, Any] = {
        "start_date": START,
        "end_date": END,
        "time_zone": "UTC",
        "billing_anchor": START,
        "value": Decimal(12000),
        "currency": "USD",
        "payment_terms_days": 30,
        "discount_percent": Decimal(0),
        "scope": "",
        "licence_tier": "",
        "feature_limits": {},
        "renewal_type": "none",
        "renewal_term_months": None,
        "notice_period": 60,
        "notice_unit": "days",
        "uplift_index": "",
        "uplift_floor_percent": Decimal(0),
        "uplift_cap_percent": Decimal(5),
        "uplift_notice_days": 0,
        "convenience_allowed": False,
        "minimum_term_end": None,
        "convenience_notice_days": 60,
        "termination_fees": [],
        "cure_days": 30,
        "holdover_allowed": False,
        "holdover_rate_percent": Decimal(100),
        "not_to_exceed": None,
        "minimum_commitment": None,
        "minimum_commitment_months": 12,
        **fields,
    }
    return Conditions(**values)


def agreement(*sources: Source, **fields: Any) -> Agreement:
    prices = (price_line(PLATFORM), price_line(SEATS))
    return Agreement(1, conditions(**fields), prices, (sla_line(UPTIME),), sources)


def amended(effective_from: str, number: int, **changes: Any) -> Amended:
    return Amended(day(effective_from), number, read_changes(changes))


def price_on(found: Agreement, on: str, code: str = "platform") -> Decimal:
    return terms_at(found, day(on)).prices[code].price_on(day(on))


def test_con_05_terms_are_base_and_amendments_by_effective_date_then_number() -> None:
    """Amendment 2 takes effect first; on one day the later number wins."""
    found = agreement(
        amended("2026-07-01", 1, fields={"value": "15000", "payment_terms_days": 14}),
        amended("2026-04-01", 2, fields={"value": "13000"}, prices={"remove": ["seats"]}),
        amended("2026-07-01", 3, fields={"value": "16000"}),
    )
    values = [
        terms_at(found, day(on)).conditions.value
        for on in ("2026-03-31", "2026-04-01", "2026-06-30", "2026-07-01")
    ]
    assert values == [12000, 13000, 13000, 16000]
    final = terms_at(found, day("2026-12-31"))
    assert final.amendments == (2, 1, 3)
    assert final.conditions.payment_terms_days == 14
    assert sorted(final.prices) == ["platform"]


def test_con_05_a_day_before_the_start_has_the_terms_it_will_start_with() -> None:
    assert terms_at(agreement(), day("2020-01-01")).conditions.value == 12000


def test_con_05_a_later_amendment_changes_no_day_before_it() -> None:
    """Terms of each earlier day are the same objects by value with and without it."""
    first = agreement(amended("2026-04-01", 1, fields={"value": "13000"}))
    second = agreement(
        amended("2026-04-01", 1, fields={"value": "13000"}),
        amended("2026-09-01", 2, prices={"set": [{**PLATFORM, "price": "1200"}]}),
    )
    for on in ("2026-01-01", "2026-04-01", "2026-08-31"):
        assert terms_at(first, day(on)) == terms_at(second, day(on))
    assert price_on(second, "2026-09-01") == 1200


def test_con_14_a_renewal_raises_the_prices_in_force_that_are_not_fixed() -> None:
    """1 000.00 with index 4.2 % and cap 3 % is 1 030.00; the percentage comes decided."""
    found = agreement(
        amended(
            "2026-06-01",
            1,
            prices={
                "set": [
                    {**SEATS, "is_fixed_price": True},
                    {**PLATFORM, "code": "ended", "ends_on": "2026-12-01"},
                ]
            },
        ),
        Renewed(END, 2, day("2028-01-01"), Decimal(3)),
        renewal_type="auto",
        renewal_term_months=12,
    )
    assert price_on(found, "2026-12-31") == Decimal("1000.00")
    assert price_on(found, "2027-01-01") == Decimal("1030.00")
    assert price_on(found, "2027-01-01", "seats") == Decimal("25.00")
    assert price_on(found, "2027-01-01", "ended") == Decimal("1000.00")


def test_con_14_an_amendment_on_the_first_day_of_a_term_sets_the_price_as_it_says() -> None:
    found = agreement(
        amended("2027-01-01", 1, prices={"set": [{**PLATFORM, "price": "900"}]}),
        Renewed(END, 2, day("2028-01-01"), Decimal(3)),
        renewal_type="auto",
        renewal_term_months=12,
    )
    assert price_on(found, "2027-01-01") == 900


def test_con_14_a_retroactive_amendment_of_the_old_term_is_raised_with_the_rest() -> None:
    found = agreement(
        Renewed(END, 2, day("2028-01-01"), Decimal(3)),
        amended("2026-10-01", 7, prices={"set": [{**PLATFORM, "price": "2000"}]}),
        renewal_type="auto",
        renewal_term_months=12,
    )
    assert (price_on(found, "2026-12-31"), price_on(found, "2027-01-01")) == (2000, Decimal("2060.00"))


def test_con_12_a_contract_that_renews_itself_is_projected_without_drift() -> None:
    """Terms of one month from the 31st end on 28 Feb, 31 Mar, 30 Apr: they never drift to the 28th."""
    found = agreement(
        start_date=day("2026-01-01"),
        end_date=day("2026-01-31"),
        renewal_type="auto",
        renewal_term_months=1,
    )
    ends = [segment.terms.term.end for segment in segments_until(found, day("2026-05-15"))]
    assert ends == [
        day(text) for text in ("2026-01-31", "2026-02-28", "2026-03-31", "2026-04-30", "2026-05-31")
    ]
    assert terms_at(found, day("2026-04-01")).term.number == 4
    assert terms_at(found, day("2026-04-01")).is_projected


def test_con_11_a_notice_ends_the_term_that_it_names() -> None:
    notice = Noticed(day("2026-10-01"), True, 2, day("2028-01-01"))
    found = agreement(notice, renewal_type="auto", renewal_term_months=12)
    assert terms_at(found, day("2030-01-01")).term.number == 2
    activated = [Happened(START, 1, "activated")]
    assert status_at(found, activated, day("2027-12-31")) == "active"
    assert status_at(found, activated, day("2028-01-01")) == "expired"


def test_con_10_evergreen_runs_until_a_notice_gives_it_an_end() -> None:
    notice = Noticed(day("2026-10-01"), True, 1, day("2026-12-01"))
    found = agreement(notice, end_date=None, renewal_type="evergreen")
    activated = [Happened(START, 1, "activated")]
    assert (
        status_at(agreement(end_date=None, renewal_type="evergreen"), activated, day("2099-01-01"))
        == "active"
    )
    assert status_at(found, activated, day("2026-11-30")) == "active"
    assert status_at(found, activated, day("2026-12-01")) == "expired"


def test_con_10_an_option_renews_once_it_is_exercised() -> None:
    fields: dict[str, Any] = {"renewal_type": "option", "renewal_term_months": 6}
    activated = [Happened(START, 1, "activated")]
    assert status_at(agreement(**fields), activated, END) == "expired"
    exercised = agreement(Noticed(day("2026-10-01"), False, 1, END), **fields)
    assert status_at(exercised, activated, END) == "active"
    assert status_at(exercised, activated, day("2027-07-01")) == "expired"


def test_con_17_an_extension_moves_the_end_of_the_term() -> None:
    found = agreement(Extended(day("2026-05-11"), 10))
    assert terms_at(found, day("2026-05-10")).conditions.end_date == END
    assert terms_at(found, day("2026-05-11")).conditions.end_date == day("2027-01-11")


def test_con_01_the_state_on_a_day_is_a_function_of_dates_and_events() -> None:
    """Suspended in April, terminated from September: the same answer for each day, in whatever order one asks."""
    events = [
        Happened(day("2025-12-01"), 1, "submitted"),
        Happened(day("2025-12-05"), 2, "approved"),
        Happened(day("2025-12-20"), 3, "activated"),
        Happened(day("2026-04-01"), 4, "suspended", billing_continues=False),
        Happened(day("2026-05-01"), 5, "resumed"),
        Happened(day("2026-09-01"), 6, "terminated"),
    ]
    found = agreement()
    spans = status_spans(found, list(reversed(events)), since=day("2025-11-20"))
    assert [(span.status, span.start.isoformat()) for span in spans] == [
        ("draft", "2025-11-20"),
        ("pending_approval", "2025-12-01"),
        ("awaiting_signature", "2025-12-05"),
        ("active", "2025-12-20"),
        ("suspended", "2026-04-01"),
        ("active", "2026-05-01"),
        ("terminated", "2026-09-01"),
    ]
    assert all(earlier.end == later.start for earlier, later in pairwise(spans)) and spans[-1].end is None
    assert [(span.start, span.end, span.is_billed) for span in supply_spans(found, events)] == [
        (START, day("2026-04-01"), True),
        (day("2026-04-01"), day("2026-05-01"), False),
        (day("2026-05-01"), day("2026-09-01"), True),
    ]


def test_con_01_what_is_dated_after_a_termination_does_nothing() -> None:
    events = [
        Happened(START, 1, "activated"),
        Happened(day("2026-04-01"), 2, "suspended"),
        Happened(day("2026-04-10"), 3, "terminated"),
        Happened(day("2026-05-01"), 4, "resumed"),
    ]
    assert status_at(agreement(), events, day("2026-06-01")) == "terminated"


def test_con_16_reinstatement_leaves_a_gap_without_supply() -> None:
    found = agreement(amended("2026-06-01", 1, reinstate=True, fields={"end_date": "2027-06-01"}))
    events = [
        Happened(START, 1, "activated"),
        Happened(day("2026-03-01"), 2, "terminated"),
        Happened(day("2026-06-01"), 3, "reinstated"),
    ]
    assert [(span.start, span.end) for span in supply_spans(found, events)] == [
        (START, day("2026-03-01")),
        (day("2026-06-01"), day("2027-06-01")),
    ]


def test_con_17_a_suspension_that_extends_the_term_does_not_run_out() -> None:
    suspended = Happened(day("2026-12-20"), 2, "suspended", False, extends_term=True)
    activated = Happened(START, 1, "activated")
    assert status_at(agreement(), [activated, suspended], day("2027-02-01")) == "suspended"
    resumed = Happened(day("2027-02-01"), 3, "resumed")
    found = agreement(Extended(day("2027-02-01"), 43))
    assert status_at(found, [activated, suspended, resumed], day("2027-02-12")) == "active"
    assert status_at(found, [activated, suspended, resumed], day("2027-02-13")) == "expired"


TIERED: dict[str, Any] = {
    "code": "calls",
    "name": "Calls",
    "pricing": "graduated",
    "quantity_source": "fixed",
    "quantity": "40",
    "tiers": [{"up_to": "10", "unit_price": "3"}],
}


def test_con_04_the_difference_is_readable() -> None:
    found = agreement(
        amended(
            "2026-07-01",
            1,
            fields={
                "value": "15000",
                "renewal_type": "evergreen",
                "end_date": None,
                "feature_limits": {"api": True, "seats": None},
            },
            prices={
                "set": [
                    {**PLATFORM, "price": "1200", "ramp": [{"from": "2027-01-01", "price": "1300"}]},
                    {**TIERED, "tiers": [*TIERED["tiers"][:1], {"unit_price": "2", "flat_fee": "7"}]},
                ],
                "remove": ["seats"],
            },
            sla={"set": [{**UPTIME, "tiers": [{"threshold": "99", "credit_percent": "10"}]}]},
        )
    )
    changes = difference(terms_at(found, day("2026-06-30")), terms_at(found, day("2026-07-01")))
    assert [(each.what, each.before, each.after) for each in changes] == [
        ("End date", "2027-01-01", ""),
        ("Value", "$12,000.00", "$15,000.00"),
        ("Feature limits", "", "api: yes, seats: unlimited"),
        ("Renewal type", "Ends", "No end: runs until notice is given"),
        ("Price calls", "", "Calls (up to 10: 3 each; above: 2 each and 7)"),
        ("Price platform: price", "1000", "1200"),
        ("Price platform: ramp", "", "from 2027-01-01: 1300"),
        ("Price seats", "Seats (25)", ""),
        ("Service level uptime: tiers", "beyond 99.9: 5 %; beyond 99: 10 %", "beyond 99: 10 %"),
    ]


@pytest.mark.parametrize(
    ("changes", "code", "pointer"),
    [
        ({}, "amendment_changes_nothing", "/changes"),
        ({"price": {}}, "unknown_field", "/changes/price"),
        ({"fields": {"start_date": "2026-02-01"}}, "unknown_field", "/changes/fields/start_date"),
        ({"fields": {"value": 1.5}}, "invalid_amount", "/changes/fields/value"),
        ({"fields": {"discount_percent": "101"}}, "max_value", "/changes/fields/discount_percent"),
        ({"prices": {"set": [{"code": "x"}]}}, "required", "/changes/prices/set/0/name"),
        ({"prices": {"set": [PLATFORM], "remove": ["platform"]}}, "line_changed_twice", "/changes/prices"),
        (
            {"prices": {"set": [{**PLATFORM, "quantity_source": "usage"}]}},
            "price_quantity_source",
            "/changes/prices/set/0/quantity_source",
        ),
        (
            {"sla": {"set": [{**UPTIME, "tiers": [{"threshold": "100", "credit_percent": "5"}]}]}},
            "sla_tier_within_target",
            "/changes/sla/set/0/tiers",
        ),
        (
            {"fields": {"feature_limits": {"seats": "many"}}},
            "invalid_feature_limits",
            "/changes/fields/feature_limits",
        ),
    ],
)
def test_con_04_changes_that_make_no_sense_are_refused_with_their_place(
    changes: Any, code: str, pointer: str
) -> None:
    with pytest.raises(Invalid) as refusal:
        read_changes(changes)
    assert (refusal.value.errors[0].code, refusal.value.errors[0].pointer) == (code, pointer)


def test_changes_are_kept_in_one_spelling() -> None:
    once = read_changes(
        {"fields": {"value": "15000.00"}, "prices": {"set": [{**SEATS, "price": 25}]}, "sla": {}}
    )
    assert once["fields"] == {"value": "15000"}
    assert once["prices"]["set"][0]["price"] == "25"
    assert read_changes(once) == once


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"end_date": START}, "end_before_start"),
        ({"renewal_type": "auto", "end_date": None}, "auto_renewal_needs_terms"),
        ({"renewal_type": "auto"}, "auto_renewal_needs_terms"),
        ({"renewal_type": "evergreen"}, "evergreen_has_no_end"),
        ({"uplift_floor_percent": Decimal(6)}, "uplift_cap_below_floor"),
    ],
)
def test_con_10_conditions_that_contradict_themselves_are_named(fields: dict[str, Any], code: str) -> None:
    assert [problem.code for problem in coherence_problems(conditions(**fields))] == [code]


def test_con_15_termination_fees_are_steps_of_an_amount_or_a_share() -> None:
    steps = fee_steps([{"from_month": 6, "percent": "25"}, {"from_month": 0, "amount": "5000"}])
    assert [(step.from_month, step.amount, step.percent) for step in steps] == [
        (0, Decimal(5000), None),
        (6, None, Decimal(25)),
    ]
    for wrong in (
        {},
        [{"from_month": 0}],
        [{"from_month": 0, "amount": 5}],
        [{"from_month": -1, "amount": "5"}],
    ):
        with pytest.raises(Invalid):
            fee_steps(wrong)


def test_no_day_without_an_answer() -> None:
    """Every day of three years has exactly one state, and it is the one of its span (CON-01)."""
    found = agreement(
        Extended(day("2026-05-11"), 10), amended("2026-08-01", 1, fields={"end_date": "2028-03-01"})
    )
    events = [
        Happened(START, 1, "activated"),
        Happened(day("2026-05-01"), 2, "suspended"),
        Happened(day("2026-05-11"), 3, "resumed"),
    ]
    spans = life.status_spans(found, events, since=day("2025-12-01"))
    for offset in range(0, 1100, 7):
        on = day("2025-12-01") + datetime.timedelta(days=offset)
        holding = [span.status for span in spans if span.start <= on and (span.end is None or on < span.end)]
        assert holding == [status_at(found, events, on)]
