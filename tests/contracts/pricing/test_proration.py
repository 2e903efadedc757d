"""Shares of a period by actual days (CON-08, CON-09, CON-16, CON-17)."""

from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.pricing import (
    InvoicedFee,
    Period,
    PricedDays,
    Suspension,
    billable_days,
    extended_end,
    instalments,
    prorate,
    prorate_parts,
    share,
    termination_credits,
)
from core.errors import Invalid
from core.money import quantum
from tests.contracts.pricing import LEAN

D = Decimal
JANUARY = Period(date(2026, 1, 1), date(2026, 2, 1))
CURRENCIES = st.sampled_from(["JPY", "EUR", "KWD"])


def january(first: int, last: int) -> Period:
    return Period(date(2026, 1, first), date(2026, 1, last) + timedelta(days=1))


def test_con_09_from_15_january_17_of_31_days_are_billed() -> None:
    assert share(JANUARY, january(15, 31)) == Fraction(17, 31)
    assert prorate(D("300.00"), full=JANUARY, part=january(15, 31), currency="EUR") == D("164.52")
    assert prorate(D("300"), full=JANUARY, part=january(15, 31), currency="JPY") == D("165")
    assert prorate(D("300.000"), full=JANUARY, part=january(15, 31), currency="KWD") == D("164.516")
    assert prorate(D("300.00"), full=JANUARY, part=JANUARY, currency="EUR") == D("300.00")


@pytest.mark.parametrize("full", [(1, 30), (16, 31)])
def test_con_09_the_part_must_lie_in_the_period(full: tuple[int, int]) -> None:
    with pytest.raises(Invalid) as refused:
        prorate(D(1), full=january(*full), part=january(15, 31), currency="EUR")
    assert refused.value.code == "part_outside_period"


def test_con_09_parts_of_equal_price_sum_to_the_whole() -> None:
    parts = [PricedDays(days, D("100.00")) for days in (january(1, 10), january(11, 20), january(21, 31))]
    assert prorate_parts(parts, full=JANUARY, currency="EUR") == [D("32.26"), D("32.26"), D("35.48")]
    april = Period(date(2026, 4, 1), date(2026, 5, 1))
    thirds = [
        PricedDays(Period(date(2026, 4, day), date(2026, 4, day) + timedelta(days=10)), D("100.00"))
        for day in (1, 11, 21)
    ]
    # Rounded one by one they would come to 99.99.
    assert prorate_parts(thirds, full=april, currency="EUR") == [D("33.34"), D("33.33"), D("33.33")]


def test_con_09_a_price_change_splits_the_period() -> None:
    parts = [PricedDays(january(1, 19), D("300.00")), PricedDays(january(20, 31), D("330.00"))]
    # 300 × 19/31 = 183.8709…, 330 × 12/31 = 127.7419…; together 311.6129…
    assert prorate_parts(parts, full=JANUARY, currency="EUR") == [D("183.87"), D("127.74")]
    with pytest.raises(Invalid) as refused:
        prorate_parts([parts[0], PricedDays(january(19, 31), D(1))], full=JANUARY, currency="EUR")
    assert refused.value.code == "parts_overlap"


@LEAN
@given(
    price=st.integers(min_value=0, max_value=10**9),
    cuts=st.sets(st.integers(min_value=1, max_value=365), max_size=6),
    currency=CURRENCIES,
)
def test_con_09_alc_02_however_a_period_is_cut_it_costs_the_same(
    price: int, cuts: set[int], currency: str
) -> None:
    year = Period(date(2028, 1, 1), date(2029, 1, 1))
    amount = price * quantum(currency)
    days = [year.start + timedelta(days=cut) for cut in sorted({0, 366, *cuts})]
    parts = [PricedDays(Period(*pair), amount) for pair in pairwise(days)]
    rounded = prorate_parts(parts, full=year, currency=currency)
    assert sum(rounded) == amount
    for part, result in zip(parts, rounded, strict=True):
        assert abs(Fraction(result) - Fraction(amount) * share(year, part.days)) < Fraction(quantum(currency))


def test_con_17_suspended_days_are_left_out_unless_billed() -> None:
    suspensions = [
        Suspension(date(2026, 1, 5), date(2026, 1, 8)),
        Suspension(date(2026, 1, 7), date(2026, 1, 9)),
        Suspension(date(2026, 1, 12), date(2026, 1, 14), billed=True),
        Suspension(date(2026, 1, 30), None),
    ]
    assert billable_days(JANUARY, suspensions) == [january(1, 4), january(9, 29)]
    assert billable_days(JANUARY, [Suspension(date(2025, 12, 1), None)]) == []


def test_con_17_a_term_can_be_extended_by_its_suspended_days() -> None:
    term = Period(date(2026, 1, 1), date(2027, 1, 1))
    first = Suspension(date(2026, 3, 1), date(2026, 3, 11))
    again = Suspension(date(2026, 3, 6), date(2026, 3, 16), billed=True)
    assert extended_end(term, []) == date(2027, 1, 1)
    assert extended_end(term, [again, first]) == date(2027, 1, 16)
    within = Suspension(date(2026, 3, 2), date(2026, 3, 4))
    assert extended_end(term, [first, within]) == date(2027, 1, 11)
    # What lies in the extension extends it; what lies after it does not.
    late = Suspension(date(2027, 1, 10), date(2027, 1, 12))
    assert extended_end(term, [first, late]) == date(2027, 1, 13)
    assert extended_end(term, [late]) == date(2027, 1, 1)
    assert extended_end(term, [Suspension(date(2025, 12, 1), date(2026, 1, 3))]) == date(2027, 1, 3)
    with pytest.raises(Invalid) as refused:
        extended_end(term, [Suspension(date(2026, 3, 1), None)])
    assert refused.value.code == "suspension_running"


def test_con_16_con_08_prepaid_fees_beyond_the_end_are_credited() -> None:
    quarter = Period(date(2026, 1, 1), date(2026, 4, 1))
    invoiced = [
        InvoicedFee(Period(date(2025, 10, 1), date(2026, 1, 1)), D("900.00"), "2025-0007"),
        InvoicedFee(quarter, D("900.00"), "2026-0001"),
        InvoicedFee(Period(date(2026, 4, 1), date(2026, 7, 1)), D("900.00"), "2026-0002"),
    ]
    credits = termination_credits(invoiced, effective=date(2026, 2, 15), currency="EUR")
    # 45 of 90 days are kept; the next quarter goes back whole.
    assert [(item.invoiced.reference, item.amount, item.days.days) for item in credits] == [
        ("2026-0001", D("450.00"), 45),
        ("2026-0002", D("900.00"), 91),
    ]
    assert credits[0].explanation == (
        "The agreement ended on 2026-02-14: 45 of the 90 days from 2026-01-01 to 2026-03-31, "
        "invoiced at 900.00 EUR, are credited."
    )
    assert termination_credits(invoiced, effective=date(2026, 7, 1), currency="EUR") == []
    cent = [InvoicedFee(quarter, D("0.01"))]
    assert termination_credits(cent, effective=date(2026, 3, 31), currency="EUR") == []


@LEAN
@given(
    units=st.integers(min_value=0, max_value=10**8),
    length=st.integers(min_value=1, max_value=400),
    ends=st.integers(min_value=-5, max_value=405),
    currency=CURRENCIES,
)
def test_con_16_a_credit_never_exceeds_the_fee_and_kept_plus_credit_is_the_fee(
    units: int, length: int, ends: int, currency: str
) -> None:
    start = date(2026, 1, 31)
    fee = InvoicedFee(Period(start, start + timedelta(days=length)), units * quantum(currency))
    credits = termination_credits([fee], effective=start + timedelta(days=ends), currency=currency)
    credit = sum((item.amount for item in credits), D(0))
    assert 0 <= credit <= fee.amount
    unused = min(length, max(0, length - ends))
    assert abs(Fraction(credit) - Fraction(fee.amount) * Fraction(unused, length)) < quantum(currency)


def test_a_years_price_in_monthly_instalments_sums_to_the_year() -> None:
    parts = instalments(D("1000.00"), 12, "EUR")
    assert parts == [D("83.34")] * 4 + [D("83.33")] * 8
    assert sum(parts) == D("1000.00")
    with pytest.raises(Invalid) as refused:
        instalments(D("1.00"), 0, "EUR")
    assert refused.value.code == "invalid_instalments"
