"""Minimum commitments, caps and service credits (CON-18, CON-20)."""

from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.pricing import (
    CreditTier,
    Period,
    ServiceMeasure,
    Suspension,
    cap_charge,
    claim_deadline,
    service_credit,
    true_up,
)
from core.errors import Invalid
from tests.contracts.pricing import LEAN

D = Decimal
JANUARY = Period(date(2026, 1, 1), date(2026, 2, 1))
UPTIME = (CreditTier(D("99.9"), D(10)), CreditTier(D("99"), D(25)), CreditTier(D("95"), D(50)))


def uptime(measured: str) -> ServiceMeasure:
    return ServiceMeasure("Availability", D(measured), UPTIME)


def response(hours: str) -> ServiceMeasure:
    tiers = (CreditTier(D(4), D(5)), CreditTier(D(8), D(15)))
    return ServiceMeasure("Response", D(hours), tiers, more_is_better=False)


@pytest.mark.parametrize(
    ("fees", "shortfall"),
    [
        (["800.00"], "200.00"),
        (["600.00", "399.99"], "0.01"),
        (["1000.00"], "0"),
        (["1300.00"], "0"),
        (["1100.00", "-300.00"], "200.00"),
        ([], "1000.00"),
    ],
)
def test_con_18_the_shortfall_of_a_minimum_commitment(fees: list[str], shortfall: str) -> None:
    result = true_up(commitment=D("1000.00"), fees=[D(fee) for fee in fees], period=JANUARY, currency="EUR")
    assert (result.required, result.shortfall) == (D("1000.00"), D(shortfall))


def test_con_18_a_commitment_is_prorated_only_if_said() -> None:
    terms = {"commitment": D("1000.00"), "fees": [D("100.00")], "period": JANUARY, "currency": "EUR"}
    covered = Period(date(2026, 1, 15), date(2026, 2, 1))
    assert true_up(**terms, covered=covered).shortfall == D("900.00")  # type: ignore[arg-type]
    # 1000 × 17/31 = 548.387…
    short = true_up(**terms, covered=covered, prorated=True)  # type: ignore[arg-type]
    assert (short.required, short.shortfall) == (D("548.39"), D("448.39"))
    assert short.explanation == (
        "Minimum commitment for 2026-01-01 to 2026-01-31: 548.39 EUR (17 of 31 days), billed 100.00, shortfall 448.39."
    )
    suspended = Suspension(date(2026, 1, 20), date(2026, 1, 30))
    paused = true_up(**terms, covered=covered, suspensions=[suspended], prorated=True)  # type: ignore[arg-type]
    assert paused.required == D("225.81")
    with pytest.raises(Invalid) as refused:
        true_up(**terms, covered=Period(date(2025, 12, 31), date(2026, 1, 2)), prorated=True)  # type: ignore[arg-type]
    assert refused.value.code == "part_outside_period"


@pytest.mark.parametrize(
    ("invoiced", "asked", "allowed", "cut", "warns", "blocks"),
    [
        ("0.00", "7999.99", "7999.99", "0", False, False),
        ("0.00", "8000.00", "8000.00", "0", True, False),
        ("7999.99", "0.01", "0.01", "0", True, False),
        ("8000.00", "500.00", "500.00", "0", False, False),
        ("9000.00", "1000.00", "1000.00", "0", False, True),
        ("9000.00", "1000.01", "1000.00", "0.01", False, True),
        ("0.00", "12000.00", "10000.00", "2000.00", True, True),
        ("10000.00", "5.00", "0", "5.00", False, True),
        ("10500.00", "5.00", "0", "5.00", False, True),
        ("10000.00", "-400.00", "-400.00", "0", False, False),
    ],
)
def test_con_18_not_to_exceed(
    invoiced: str, asked: str, allowed: str, cut: str, warns: bool, blocks: bool
) -> None:
    result = cap_charge(cap=D("10000.00"), invoiced=D(invoiced), asked=D(asked), currency="USD")
    assert (result.allowed, result.cut, result.warns, result.blocks) == (D(allowed), D(cut), warns, blocks)
    assert result.used == D(invoiced) + D(allowed)


@LEAN
@given(
    cap=st.decimals(min_value=0, max_value=1000, places=2),
    charges=st.lists(st.decimals(min_value=-200, max_value=500, places=2), max_size=12),
)
def test_con_18_whatever_is_charged_the_cap_holds(cap: Decimal, charges: list[Decimal]) -> None:
    invoiced = D(0)
    for asked in charges:
        result = cap_charge(cap=cap, invoiced=invoiced, asked=asked, currency="EUR")
        assert result.allowed + result.cut == asked
        assert result.cut >= 0
        invoiced = result.used
        assert invoiced <= cap


@pytest.mark.parametrize(
    ("measures", "amount", "limited"),
    [
        ([uptime("99.9")], "0.00", False),
        ([uptime("99.89")], "100.00", False),
        ([uptime("99")], "100.00", False),
        ([uptime("98.99")], "250.00", False),
        ([uptime("80")], "300.00", True),
        ([response("4")], "0.00", False),
        ([response("4.1")], "50.00", False),
        ([uptime("99.5"), response("9")], "250.00", False),
        ([uptime("98"), response("9")], "300.00", True),
        ([], "0.00", False),
    ],
)
def test_con_20_tiers_and_the_cap(measures: list[ServiceMeasure], amount: str, limited: bool) -> None:
    credit = service_credit(measures, fee=D("1000.00"), cap_percent=D(30), currency="EUR")
    assert (credit.amount, credit.limited) == (D(amount), limited)
    assert sum(credit.parts, D(0)) == credit.amount


def test_con_20_the_credit_says_what_was_missed() -> None:
    credit = service_credit(
        [uptime("98.00"), response("9")], fee=D("1000.00"), cap_percent=D(30), currency="EUR"
    )
    assert credit.parts == (D("187.50"), D("112.50"))
    assert credit.explanation == (
        "Missed: Availability 98 (25 %), Response 9 (15 %); capped at 30 % of 1000.00 EUR."
    )


@LEAN
@given(
    fee=st.decimals(min_value=-100, max_value=10**6, places=2),
    cap=st.decimals(min_value=0, max_value=100, places=2),
    values=st.lists(st.decimals(min_value=0, max_value=100, places=2), max_size=4),
)
def test_con_20_a_credit_never_exceeds_the_fee(fee: Decimal, cap: Decimal, values: list[Decimal]) -> None:
    credit = service_credit(
        [uptime(str(value)) for value in values], fee=fee, cap_percent=cap, currency="EUR"
    )
    assert 0 <= credit.amount <= max(fee, D(0))
    assert credit.amount - max(fee, D(0)) * cap / 100 <= D("0.005")


def test_con_20_a_claim_has_a_last_day() -> None:
    assert claim_deadline(JANUARY, 30) == date(2026, 3, 2)


@pytest.mark.parametrize(
    "tiers",
    [
        (),
        (CreditTier(D(99), D(0)),),
        (CreditTier(D(99), D(101)),),
        (CreditTier(D(99), D(10)), CreditTier(D("99.5"), D(20))),
        (CreditTier(D(99), D(10)), CreditTier(D(95), D(10))),
    ],
)
def test_con_20_credit_tiers_go_from_mild_to_worst(tiers: tuple[CreditTier, ...]) -> None:
    with pytest.raises(Invalid) as refused:
        ServiceMeasure("Availability", D(99), tiers)
    assert refused.value.code == "invalid_credit_tiers"


def test_con_18_con_20_negative_terms_are_refused() -> None:
    with pytest.raises(Invalid) as refused:
        true_up(commitment=D(-1), fees=[], period=JANUARY, currency="EUR")
    assert refused.value.code == "negative_commitment"
    with pytest.raises(Invalid) as refused:
        cap_charge(cap=D(-1), invoiced=D(0), asked=D(0), currency="EUR")
    assert refused.value.code == "negative_cap"
    with pytest.raises(Invalid) as refused:
        service_credit([], fee=D(1), cap_percent=D(101), currency="EUR")
    assert refused.value.code == "invalid_cap_percent"
