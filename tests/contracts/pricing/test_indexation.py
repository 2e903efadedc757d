"""Uplift by an index (CON-14)."""

from datetime import date
from decimal import Decimal

import pytest

from contracts.pricing import (
    Charge,
    ChargeKind,
    InvoicedFee,
    PriceSlice,
    Uplift,
    UpliftOutcome,
    UpliftTerms,
    adjustments,
    index_change,
    per_unit,
    period_at,
    uplift,
    uplifted_price,
)
from core.errors import Invalid

D = Decimal
NEW_YEAR = date(2026, 1, 1)


def decide(index: str | None, terms: UpliftTerms | None = None, **facts: object) -> Uplift:
    known: dict[str, object] = {
        "currency": "EUR",
        "effective_on": NEW_YEAR,
        "notified_on": date(2025, 11, 2),
        **facts,
    }
    return uplift(
        D("1000.00"),
        index=None if index is None else D(index),
        terms=terms or UpliftTerms(floor=D(0), cap=D(3), notice_days=60),
        **known,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(
    ("index", "percent", "price"),
    [
        ("4.2", "3", "1030.00"),
        ("-1", "0", "1000.00"),
        ("3", "3", "1030.00"),
        ("2.345", "2.345", "1023.45"),
        ("2.3455", "2.3455", "1023.46"),
        ("0", "0", "1000.00"),
    ],
)
def test_con_14_the_index_between_floor_and_cap(index: str, percent: str, price: str) -> None:
    result = decide(index)
    assert (result.percent, result.new_price, result.outcome) == (D(percent), D(price), UpliftOutcome.FINAL)
    assert str(result.new_price) == price


def test_con_14_without_bounds_a_price_may_fall() -> None:
    assert decide("-1.5", UpliftTerms(floor=None, cap=None)).new_price == D("985.00")
    assert decide("40", UpliftTerms(floor=None, cap=None)).new_price == D("1400.00")


def test_con_14_it_says_what_it_did() -> None:
    assert decide("4.20").explanation == (
        "1000.00 EUR becomes 1030.00 from 2026-01-01: index 4.2 %, capped at 3 %."
    )
    assert decide("-1").explanation.endswith("index -1 %, raised to the floor of 0 %.")
    assert decide("4.2", fixed_price=True).explanation == (
        "The price stays 1000.00 EUR: a fixed price was agreed."
    )


@pytest.mark.parametrize(
    ("index", "facts", "outcome"),
    [
        ("4.2", {"fixed_price": True}, UpliftOutcome.FIXED_PRICE),
        ("4.2", {"in_force": False}, UpliftOutcome.NOT_IN_FORCE),
        ("4.2", {"notified_on": date(2025, 11, 3)}, UpliftOutcome.NOTICE_MISSING),
        ("4.2", {"notified_on": None}, UpliftOutcome.NOTICE_MISSING),
        (None, {}, UpliftOutcome.INDEX_UNPUBLISHED),
    ],
)
def test_con_14_else_the_old_price_stays(
    index: str | None, facts: dict[str, object], outcome: UpliftOutcome
) -> None:
    result = decide(index, **facts)
    assert (result.new_price, result.percent, result.outcome) == (D("1000.00"), D(0), outcome)


def test_con_14_a_provisional_index_is_trued_up_when_the_index_is_published() -> None:
    provisional = decide(None, provisional_index=D(2))
    assert (provisional.new_price, provisional.outcome) == (D("1020.00"), UpliftOutcome.PROVISIONAL)
    final = decide("4.2")
    periods = [period_at(NEW_YEAR, 1, number) for number in range(3)]
    charge = Charge(ChargeKind.RECURRING, "EUR", (PriceSlice(NEW_YEAR, None, per_unit(final.new_price)),))
    found = adjustments(
        charge, [(period, [InvoicedFee(period, provisional.new_price)]) for period in periods]
    )
    assert [(item.period, item.amount) for item in found] == [(period, D("10.00")) for period in periods]


def test_con_14_is_rounded_once_on_the_unit_price() -> None:
    assert uplifted_price(D("33.33"), D("3"), currency="EUR") == D("34.33")
    assert uplifted_price(D("0.0008"), D("3"), currency="EUR", decimals=6) == D("0.000824")
    assert uplifted_price(D("0.0455"), D("10"), currency="EUR") == D("0.0501")
    assert str(uplifted_price(D("1000.000000000000000"), D("3"), currency="EUR")) == "1030.00"
    assert uplifted_price(D("999"), D("2.5"), currency="JPY") == D("1024")
    assert uplifted_price(D("0.125"), D("2"), currency="KWD") == D("0.128")


def test_con_14_the_change_between_published_values() -> None:
    assert index_change(D("120.0"), D("125.04")) == D("4.2")
    assert index_change(D("120"), D("118.8")) == D("-1")
    assert index_change(D(3), D(4), decimals=2) == D("33.33")


@pytest.mark.parametrize(
    ("attempt", "code"),
    [
        (lambda: UpliftTerms(floor=D(4), cap=D(3)), "floor_above_cap"),
        (lambda: UpliftTerms(notice_days=-1), "invalid_uplift_terms"),
        (lambda: index_change(D(0), D(1)), "invalid_index"),
        (lambda: uplifted_price(D(1), D("-100.1"), currency="EUR"), "invalid_index"),
    ],
)
def test_con_14_refused(attempt: object, code: str) -> None:
    with pytest.raises(Invalid) as refused:
        attempt()  # type: ignore[operator]
    assert refused.value.code == code
