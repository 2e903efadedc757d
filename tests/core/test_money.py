"""Money, rounding, allocation (ALC-02, ALC-03) and rounding together (USE-04)."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import Invalid
from core.money import (
    Money,
    allocate,
    decimal_places,
    exact_sum,
    format_money,
    known_currencies,
    minor_units,
    parse_amount,
    plain_amount,
    quantum,
    round_money,
    round_together,
)

CURRENCIES = st.sampled_from(["JPY", "USD", "KWD"])
SUB_CENT = st.decimals(min_value=-(10**6), max_value=10**6, places=11)


def dec(*texts: str) -> list[Decimal]:
    return [Decimal(text) for text in texts]


@st.composite
def totals(draw: st.DrawFn) -> tuple[Decimal, str]:
    """A total at the minor unit of a currency with 0, 2 or 3 decimals, of either sign."""
    currency = draw(CURRENCIES)
    return draw(st.integers(-(10**17), 10**17)) * quantum(currency), currency


WEIGHTS = st.lists(st.decimals(min_value=0, max_value=10**6, places=4), min_size=1, max_size=30).filter(
    lambda weights: sum(weights) > 0
)


@pytest.mark.parametrize(
    ("code", "digits"),
    [
        ("USD", 2), ("EUR", 2), ("JPY", 0), ("KRW", 0), ("KWD", 3), ("BHD", 3), ("CLF", 4),
        # Unicode's locale data says 0 for these: ISO 4217 counts.
        ("RSD", 2), ("IQD", 3), ("MGA", 2), ("ALL", 2),
        # A former currency still stands on old documents.
        ("BGN", 2), ("XAF", 0),
    ],
)  # fmt: skip
def test_minor_units_follow_iso_4217(code: str, digits: int) -> None:
    assert minor_units(code) == digits
    assert quantum(code) == Decimal(1).scaleb(-digits)


@pytest.mark.parametrize("code", ["XXX", "XTS", "XAU", "usd", "US", "", "EURO", "ABC"])
def test_unknown_currency_is_refused(code: str) -> None:
    with pytest.raises(Invalid) as refused:
        minor_units(code)
    assert refused.value.code == "unknown_currency"
    assert code not in known_currencies()


@pytest.mark.parametrize(
    ("amount", "currency", "rounded"),
    [
        ("0.005", "USD", "0.01"), ("-0.005", "USD", "-0.01"), ("0.00499999999", "USD", "0.00"),
        ("2.675", "USD", "2.68"), ("1.005", "USD", "1.01"), ("0.5", "JPY", "1"), ("-0.5", "JPY", "-1"),
        ("1.5", "JPY", "2"), ("2.5", "JPY", "3"), ("0.0005", "KWD", "0.001"), ("0.00049", "KWD", "0.000"),
        ("99999999999999999999999999999999.995", "USD", "100000000000000000000000000000000.00"),
    ],
)  # fmt: skip
def test_round_money_is_half_up(amount: str, currency: str, rounded: str) -> None:
    assert str(round_money(Decimal(amount), currency)) == rounded


def test_round_money_writes_no_negative_zero() -> None:
    assert str(round_money(Decimal("-0.001"), "USD")) == "0.00"


@pytest.mark.parametrize("amount", ["NaN", "sNaN", "Infinity", "-Infinity"])
def test_round_money_refuses_what_is_no_number(amount: str) -> None:
    with pytest.raises(Invalid) as refused:
        round_money(Decimal(amount), "USD")
    assert refused.value.code == "amount_not_finite"


@pytest.mark.parametrize(
    ("rule", "total", "weights", "parts"),
    [
        ("ALC-02", "182.25", dec("98", "2"), dec("178.61", "3.64")),
        ("ALC-02", "0.01", dec("95", "5"), dec("0.01", "0.00")),
        ("ALC-02", "0.05", dec("1", "1", "1"), dec("0.02", "0.02", "0.01")),
        ("ALC-02", "785.08", dec("33.33", "33.33", "33.34"), dec("261.67", "261.67", "261.74")),
        ("ALC-02", "100.00", dec("1", "1", "1"), dec("33.34", "33.33", "33.33")),
        ("ALC-03", "-182.25", dec("98", "2"), dec("-178.61", "-3.64")),
    ],
)
def test_vectors_of_alc_02_and_alc_03(
    rule: str, total: str, weights: list[Decimal], parts: list[Decimal]
) -> None:
    assert allocate(Decimal(total), weights, "USD") == parts


def test_alc_02_ties_go_to_the_larger_weight_then_to_the_lower_index() -> None:
    # Shares 0.5, 1.5 and 0.5 units of 0.01 … two units are left over: the larger weight first, then index 0.
    assert allocate(Decimal("0.05"), dec("1", "3", "1"), "USD") == dec("0.01", "0.03", "0.01")
    assert allocate(Decimal("0.02"), dec("1", "2", "1"), "USD") == dec("0.01", "0.01", "0.00")
    # Fractions of one half each: weight 5 (2.5 units) before weight 3 (1.5) before weight 1 (0.5).
    assert allocate(Decimal("0.05"), dec("1", "5", "3", "1"), "USD") == dec("0.00", "0.03", "0.02", "0.00")


def test_alc_02_with_other_decimals() -> None:
    assert allocate(Decimal("100"), dec("1", "1", "1"), "JPY") == dec("34", "33", "33")
    assert allocate(Decimal("1.000"), dec("1", "1", "1"), "KWD") == dec("0.334", "0.333", "0.333")
    assert [str(part) for part in allocate(Decimal("-0.01"), dec("95", "5"), "USD")] == ["-0.01", "0.00"]


@given(totals(), WEIGHTS)
def test_alc_03_parts_sum_to_the_total_and_stay_within_a_unit(
    total_of: tuple[Decimal, str], weights: list[Decimal]
) -> None:
    total, currency = total_of
    parts = allocate(total, weights, currency)
    assert exact_sum(parts) == total
    weight_sum = sum(map(Fraction, weights))
    for part, weight in zip(parts, weights, strict=True):
        exact = Fraction(total) * Fraction(weight) / weight_sum
        assert abs(Fraction(part) - exact) < Fraction(quantum(currency))
        assert part == round_money(part, currency)
        assert part * total >= 0
        if weight == 0:
            assert part == 0


@given(totals(), WEIGHTS)
def test_alc_03_a_negative_total_mirrors_the_positive_one(
    total_of: tuple[Decimal, str], weights: list[Decimal]
) -> None:
    total, currency = total_of
    assert allocate(-total, weights, currency) == [-part for part in allocate(total, weights, currency)]


@pytest.mark.parametrize(
    ("total", "weights", "code"),
    [
        ("1.00", [], "allocation_without_weights"),
        ("1.00", dec("0", "0"), "allocation_zero_weights"),
        ("1.00", dec("2", "-1"), "allocation_negative_weight"),
        ("1.00", dec("NaN"), "amount_not_finite"),
        ("Infinity", dec("1"), "amount_not_finite"),
        ("1.005", dec("1"), "amount_not_at_minor_unit"),
    ],
)
def test_allocation_refuses(total: str, weights: list[Decimal], code: str) -> None:
    with pytest.raises(Invalid) as refused:
        allocate(Decimal(total), weights, "USD")
    assert refused.value.code == code


@given(st.lists(SUB_CENT, max_size=40), CURRENCIES)
def test_use_04_rounded_lines_sum_to_the_rounded_sum(amounts: list[Decimal], currency: str) -> None:
    rounded = round_together(amounts, currency)
    assert exact_sum(rounded) == round_money(exact_sum(amounts), currency)
    for before, after in zip(amounts, rounded, strict=True):
        assert abs(Fraction(after) - Fraction(before)) < Fraction(quantum(currency))
        if before == round_money(before, currency):
            assert after == before


def test_use_04_values() -> None:
    assert round_together(dec("0.004", "0.004", "0.004"), "USD") == dec("0.01", "0.00", "0.00")
    # The sum −0.0075 rounds to −0.01; floors are −0.01, −0.01, 0.00 and one unit goes back to the largest fraction.
    assert round_together(dec("-0.005", "-0.0075", "0.005"), "USD") == dec("0.00", "-0.01", "0.00")
    # −0.005 rounds away from zero, like round_money.
    assert round_together(dec("-0.005"), "USD") == dec("-0.01")
    # A tie of fractions goes to the larger absolute amount.
    assert round_together(dec("0.005", "-3.995", "1.00"), "USD") == dec("0.00", "-3.99", "1.00")
    assert round_together([], "USD") == []
    assert [str(part) for part in round_together(dec("-0.001"), "USD")] == ["0.00"]


def test_use_04_fractions_round_as_exactly_as_decimals() -> None:
    thirds = [Fraction(1, 300), Fraction(1, 300), Fraction(1, 300)]
    assert round_together(thirds, "USD") == dec("0.01", "0.00", "0.00")
    assert round_together([Fraction(300 * 17, 31)], "USD") == dec("164.52")
    # A sum of exactly half a cent, which no number of decimal digits of the parts would show.
    assert round_together([Fraction(1, 600), Fraction(1, 300)], "USD") == dec("0.00", "0.01")
    assert round_together([Fraction(-1, 3), Decimal("1.005"), Fraction(1, 3)], "KWD") == dec(
        "-0.333", "1.005", "0.333"
    )


def test_exact_sum_keeps_every_digit() -> None:
    assert exact_sum(dec("99999999999999.99", "0.000000000000001")) == Decimal(
        "99999999999999.990000000000001"
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("15000.00", "15000.00"), (" 12 ", "12"), ("+1.5", "1.5"), (".5", "0.5"), ("5.", "5"), ("1e3", "1000"),
        ("1E-11", "0.00000000001"), ("-0.00", "0.00"), (7, "7"), (Decimal("2.50"), "2.50"), ("0e-400", "0"),
        ("1.500000000000000000000", "1.5"), ("999999999999999.99", "999999999999999.99"), ("-3.64", "-3.64"),
    ],
)  # fmt: skip
def test_parse_amount_reads(value: str | int | Decimal, text: str) -> None:
    parsed = parse_amount(value)
    assert parsed == Decimal(text)
    assert f"{parsed:f}".startswith(text)
    assert not (parsed == 0 and parsed.is_signed())
    assert decimal_places(parsed) <= 15


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ("NaN", "amount_not_finite"), ("-nan", "amount_not_finite"), ("sNaN", "amount_not_finite"),
        ("Infinity", "amount_not_finite"), ("-inf", "amount_not_finite"), (Decimal("NaN"), "amount_not_finite"),
        ("1e400", "amount_too_large"), ("1e999999", "amount_too_large"), ("-1e15", "amount_too_large"),
        (10**15, "amount_too_large"), (10**400, "amount_too_large"), ("1" + "0" * 60, "amount_too_large"),
        ("0.1234567890123456789012345", "amount_too_precise"), ("1e-16", "amount_too_precise"),
        ("1e-400", "amount_too_precise"), ("", "invalid_amount"), ("   ", "invalid_amount"),
        ("1,000", "invalid_amount"), ("1_000", "invalid_amount"), ("1.2.3", "invalid_amount"),
        ("12 000", "invalid_amount"), ("٣", "invalid_amount"), ("0x10", "invalid_amount"), ("=1+1", "invalid_amount"),
        ("-", "invalid_amount"), (".", "invalid_amount"), ("1e", "invalid_amount"), ("1" * 101, "invalid_amount"),
        ("1e9999999999", "invalid_amount"), (True, "invalid_amount"), (False, "invalid_amount"),
        (1.5, "invalid_amount"), (float("nan"), "invalid_amount"), (None, "invalid_amount"), ([], "invalid_amount"),
    ],
)  # fmt: skip
def test_parse_amount_refuses(value: object, code: str) -> None:
    with pytest.raises(Invalid) as refused:
        parse_amount(value)  # type: ignore[arg-type]  # wrong types are the point
    assert refused.value.code == code


def test_parse_amount_with_fewer_decimals() -> None:
    assert parse_amount("1.2300", decimals=2) == Decimal("1.23")
    with pytest.raises(Invalid) as refused:
        parse_amount("1.235", decimals=2)
    assert refused.value.code == "amount_too_precise"


@given(st.text(max_size=30))
def test_parse_amount_either_reads_or_refuses(text: str) -> None:
    try:
        parsed = parse_amount(text)
    except Invalid:
        return
    assert parsed.is_finite()
    assert abs(parsed) < 10**15


def test_money_refuses_mixed_currencies() -> None:
    dollars, yen = Money(Decimal("1.10"), "USD"), Money(Decimal(5), "JPY")
    assert dollars + dollars == Money(Decimal("2.20"), "USD")
    assert dollars - dollars == Money(Decimal("0.00"), "USD")
    assert -dollars < dollars
    for combine in (dollars.__add__, dollars.__sub__, dollars.__lt__, dollars.__ge__):
        with pytest.raises(Invalid) as refused:
            combine(yen)
        assert refused.value.code == "currency_mismatch"
    assert Money(Decimal("0.005"), "USD").rounded() == Money(Decimal("0.01"), "USD")
    assert str(Money(Decimal("1E+3"), "JPY")) == "1000 JPY"
    with pytest.raises(TypeError):
        Money(1.5, "USD")  # type: ignore[arg-type]  # a float is the point


@pytest.mark.parametrize(
    ("amount", "currency", "locale", "text"),
    [
        ("-1234.5", "USD", "en", "-$1,234.50"), ("1234.5", "EUR", "de", "1.234,50\xa0€"),
        ("1234.5", "JPY", "en", "¥1,235"), ("15000", "KWD", "en", "KWD\xa015,000.000"),
        ("1234.5", "RSD", "en", "RSD\xa01,234.50"), ("1234567.891", "INR", "en_IN", "₹12,34,567.89"),
    ],
)  # fmt: skip
def test_format_money(amount: str, currency: str, locale: str, text: str) -> None:
    assert format_money(Decimal(amount), currency, locale) == text


@pytest.mark.parametrize(
    ("amount", "currency", "text"),
    [
        ("15000", "USD", "15000.00"), ("15000.0000", "USD", "15000.00"), ("1E+3", "JPY", "1000"),
        ("0.00000000001", "USD", "0.00000000001"), ("20.52022672899", "USD", "20.52022672899"), ("1.5", "KWD", "1.500"),
    ],
)  # fmt: skip
def test_plain_amount_has_the_currencys_decimals_and_loses_none(
    amount: str, currency: str, text: str
) -> None:
    assert plain_amount(Decimal(amount), currency) == text
