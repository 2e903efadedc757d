"""Discounts, bounds and ramps (INV-05)."""

from datetime import date
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.pricing import Discount, DiscountKind, Period, RampStep, apply_discounts, ramp, ramp_price
from core.errors import Invalid
from tests.contracts.pricing import LEAN

D = Decimal


def percent(value: str, **terms: Decimal) -> Discount:
    return Discount(DiscountKind.PERCENT, D(value), **terms)  # type: ignore[arg-type]


def fixed(value: str, **terms: Decimal) -> Discount:
    return Discount(DiscountKind.FIXED, D(value), **terms)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("gross", "discounts", "net"),
    [
        ("1000.00", [], "1000"),
        # Each is of what is left: 10 % and 5 % are 14.5 % together, and the order matters to a fixed one.
        ("1000.00", [percent("10"), percent("5")], "855"),
        ("1000.00", [percent("10"), fixed("100")], "800"),
        ("1000.00", [fixed("100"), percent("10")], "810"),
        ("99.99", [percent("33.3333")], "66.66003333"),
        ("50.00", [fixed("80"), percent("10")], "0"),
        ("50.00", [percent("100"), fixed("5")], "0"),
        ("1000.00", [percent("10", at_most=D(60))], "940"),
        ("1000.00", [percent("1", at_least=D(25))], "975"),
        ("10.00", [percent("1", at_least=D(25))], "0"),
    ],
)
def test_inv_05_discounts_in_their_order(gross: str, discounts: list[Discount], net: str) -> None:
    result = apply_discounts(D(gross), discounts)
    assert result.net == D(net)
    assert result.gross - sum(step.amount for step in result.steps) == result.net


def test_inv_05_each_step_is_shown() -> None:
    result = apply_discounts(D("1000.00"), [percent("10"), fixed("100")])
    assert [(step.before, step.amount, step.after) for step in result.steps] == [
        (1000, 100, 900),
        (900, 100, 800),
    ]


def test_inv_05_minimum_and_maximum_hold_the_fee() -> None:
    assert apply_discounts(D(120), [percent("50")], minimum=D(80)).net == 80
    assert apply_discounts(D(5), [], minimum=D(80)).bound == D(80)
    assert apply_discounts(D(500), [percent("10")], maximum=D(400)).net == 400
    within = apply_discounts(D(120), [percent("10")], minimum=D(80), maximum=D(400))
    assert (within.net, within.bound) == (108, None)
    half = apply_discounts(D(100), [fixed("50")], minimum=D(180), scale=Fraction(1, 2))
    assert [step.amount for step in half.steps] == [25]
    assert half.net == 90


@pytest.mark.parametrize(
    ("attempt", "code"),
    [
        (lambda: percent("100.01"), "invalid_discount"),
        (lambda: fixed("-1"), "invalid_discount"),
        (lambda: percent("5", at_least=D(2), at_most=D(1)), "invalid_discount"),
        (lambda: apply_discounts(D(-1), []), "negative_fee"),
        (lambda: apply_discounts(D(1), [], minimum=D(2), maximum=D(1)), "invalid_bounds"),
        (lambda: apply_discounts(D(1), [], minimum=D(-2)), "invalid_bounds"),
        (lambda: ramp([], ends_on=date(2027, 1, 1)), "invalid_ramp"),
        (lambda: ramp([RampStep(date(2027, 1, 1), D(1))], ends_on=date(2027, 1, 1)), "invalid_ramp"),
    ],
)
def test_inv_05_refused(attempt: object, code: str) -> None:
    with pytest.raises(Invalid) as refused:
        attempt()  # type: ignore[operator]
    assert refused.value.code == code


@LEAN
@given(
    gross=st.decimals(min_value=0, max_value=10**6, places=4),
    discounts=st.lists(
        st.one_of(
            st.decimals(min_value=0, max_value=100, places=2).map(lambda value: percent(str(value))),
            st.decimals(min_value=0, max_value=10**5, places=2).map(lambda value: fixed(str(value))),
        ),
        max_size=4,
    ),
)
def test_inv_05_a_fee_never_falls_below_zero(gross: Decimal, discounts: list[Discount]) -> None:
    result = apply_discounts(gross, discounts)
    assert 0 <= result.net <= gross
    assert all(step.amount >= 0 for step in result.steps)


def test_ramps_are_dated_price_steps() -> None:
    steps = [
        RampStep(date(2026, 1, 1), D("8.00")),
        RampStep(date(2027, 1, 1), D("9.00")),
        RampStep(date(2028, 1, 1), D("10.00")),
    ]
    stretches = ramp(steps, ends_on=date(2029, 1, 1))
    assert [(item.days, item.unit_price) for item in stretches] == [
        (Period(date(2026, 1, 1), date(2027, 1, 1)), D("8.00")),
        (Period(date(2027, 1, 1), date(2028, 1, 1)), D("9.00")),
        (Period(date(2028, 1, 1), date(2029, 1, 1)), D("10.00")),
    ]
    assert [ramp_price(steps, date(year, 1, 1)) for year in (2025, 2026, 2027, 2040)] == [
        None,
        D("8.00"),
        D("9.00"),
        D("10.00"),
    ]
