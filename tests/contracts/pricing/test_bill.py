"""The fee lines of a period (CON-06, CON-08, CON-09, CON-16, CON-17, CON-21, INV-05)."""

from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.pricing import (
    Charge,
    ChargeKind,
    Discount,
    DiscountKind,
    InvoicedFee,
    Period,
    PriceModel,
    PriceSlice,
    PriceTable,
    RampStep,
    Suspension,
    Usage,
    adjustments,
    bill,
    package,
    per_unit,
    period_at,
    slices_of_ramp,
    termination_credits,
    tiers_up_to,
)
from core.errors import Invalid
from core.money import round_money
from tests.contracts.pricing import LEAN

D = Decimal
NEW_YEAR = date(2026, 1, 1)
JANUARY = period_at(NEW_YEAR, 1, 0)
TEN_PERCENT = Discount(DiscountKind.PERCENT, D(10), "framework")


def january(day: int) -> date:
    return date(2026, 1, day)


def recurring(*slices: PriceSlice, **terms: object) -> Charge:
    return Charge(ChargeKind.RECURRING, "EUR", slices, **terms)  # type: ignore[arg-type]


def used(*slices: PriceSlice, usage: dict[int, str], **terms: object) -> Charge:
    rows = tuple(Usage(january(day), D(quantity)) for day, quantity in usage.items())
    return Charge(ChargeKind.USAGE, "EUR", slices, rows, **terms)  # type: ignore[arg-type]


def flat(price: str, start: date = NEW_YEAR, end: date | None = None, **terms: object) -> PriceSlice:
    return PriceSlice(start, end, per_unit(D(price)), **terms)  # type: ignore[arg-type]


def amounts(charge: Charge, period: Period = JANUARY) -> list[tuple[date, date, Decimal]]:
    return [(line.days.start, line.days.last_day, line.amount) for line in bill(charge, period).lines]


def test_con_09_a_fee_from_15_january() -> None:
    result = bill(recurring(flat("300.00", january(15))), JANUARY)
    (line,) = result.lines
    assert (line.amount, line.quantity, line.unit_price, result.total) == (
        D("164.52"),
        D(1),
        D("300.00"),
        D("164.52"),
    )
    assert (line.days, line.gross, line.discount) == (
        Period(january(15), date(2026, 2, 1)),
        Fraction(5100, 31),
        0,
    )
    assert line.explanation == "2026-01-15 to 2026-01-31: 1 × 300.00, 17 of 31 days = 164.52 EUR."


def test_con_09_equal_prices_sum_to_the_whole_whatever_cuts_the_period() -> None:
    april = period_at(NEW_YEAR, 1, 3)
    pieces = [
        flat("100.00", april.start + timedelta(days=10 * part), april.start + timedelta(days=10 * part + 10))
        for part in range(3)
    ]
    result = bill(recurring(*pieces), april)
    assert [line.amount for line in result.lines] == [D("33.34"), D("33.33"), D("33.33")]
    assert result.total == D("100.00")


def test_con_21_more_licences_from_a_day_on() -> None:
    terms = [
        flat("30.00", NEW_YEAR, january(15), quantity=D(10)),
        flat("30.00", january(15), quantity=D(15), label="Amendment 1"),
    ]
    result = bill(recurring(*terms), JANUARY)
    # 300 × 14/31 = 135.483…, 450 × 17/31 = 246.774…; 382.258… together.
    assert [(line.quantity, line.amount, line.label) for line in result.lines] == [
        (D(10), D("135.48"), ""),
        (D(15), D("246.78"), "Amendment 1"),
    ]
    # January was invoiced in advance with ten licences; the change goes on the next invoice.
    (change,) = adjustments(recurring(*terms), [(JANUARY, [InvoicedFee(JANUARY, D("300.00"))])])
    assert (change.invoiced, change.due, change.amount) == (D("300.00"), D("382.26"), D("82.26"))


def test_con_09_con_16_con_17_a_year_of_changes() -> None:
    charge = recurring(
        flat("300.00", january(15), date(2026, 4, 20)),
        flat("330.00", date(2026, 4, 20)),
        suspensions=(Suspension(date(2026, 7, 1), date(2026, 7, 16)),),
        ends_on=date(2026, 11, 11),
    )
    bills = [bill(charge, period_at(NEW_YEAR, 1, month)) for month in range(12)]
    assert [[line.amount for line in item.lines] for item in bills] == [
        [D("164.52")],
        [D("300.00")],
        [D("300.00")],
        [D("190.00"), D("121.00")],
        [D("330.00")],
        [D("330.00")],
        [D("170.32")],
        [D("330.00")],
        [D("330.00")],
        [D("330.00")],
        [D("110.00")],
        [],
    ]
    assert sum(item.total for item in bills) == D("3005.84")


def test_con_09_a_fee_that_is_not_prorated_is_due_in_full() -> None:
    alone = recurring(flat("300.00", january(15)), prorated=False)
    (line,) = bill(alone, JANUARY).lines
    assert line.explanation == "2026-01-15 to 2026-01-31: 1 × 300.00 = 300.00 EUR."
    changed = recurring(flat("200.00", january(11), january(16)), flat("300.00", january(16)), prorated=False)
    pause = (Suspension(january(21), None),)
    lines = bill(recurring(*changed.slices, suspensions=pause, prorated=False), JANUARY).lines
    assert [line.amount for line in lines] == [D("100.00"), D("150.00")]
    assert lines[1].explanation == "2026-01-16 to 2026-01-20: 1 × 300.00, 5 of 10 days = 150.00 EUR."
    assert bill(recurring(*changed.slices, prorated=False, ends_on=january(5)), JANUARY).lines == ()


def test_con_17_a_suspension_without_billing_splits_the_line() -> None:
    pause = (Suspension(january(11), january(21)),)
    assert amounts(recurring(flat("310.00"), suspensions=pause)) == [
        (january(1), january(10), D("100.00")),
        (january(21), january(31), D("110.00")),
    ]
    billed = (Suspension(january(11), january(21), billed=True),)
    assert amounts(recurring(flat("310.00"), suspensions=billed)) == [(january(1), january(31), D("310.00"))]
    assert bill(recurring(flat("310.00"), suspensions=(Suspension(NEW_YEAR, None),)), JANUARY).lines == ()


def test_con_06_a_retroactive_amendment_gives_one_correction_per_invoiced_period() -> None:
    periods = [period_at(NEW_YEAR, 1, month) for month in range(3)]
    invoiced = [(period, [InvoicedFee(period, D("100.00"))]) for period in periods]
    charge = recurring(flat("100.00", NEW_YEAR, date(2026, 2, 15)), flat("130.00", date(2026, 2, 15)))
    found = adjustments(charge, invoiced)
    assert [(item.period, item.amount) for item in found] == [
        (periods[1], D("15.00")),
        (periods[2], D("30.00")),
    ]
    assert found[0].explanation == (
        "Correction for 2026-02-01 to 2026-02-28: 115.00 EUR under the terms now in force, 100.00 invoiced before."
    )
    # Earlier corrections count as invoiced: a second run corrects nothing.
    for item in found:
        invoiced[periods.index(item.period)][1].append(InvoicedFee(item.period, item.amount))
    assert adjustments(charge, invoiced) == []


def test_con_08_con_16_an_end_before_the_last_invoiced_day_credits_as_a_correction_would() -> None:
    quarter = period_at(NEW_YEAR, 3, 0)
    fee = InvoicedFee(quarter, D("900.00"))
    (correction,) = adjustments(recurring(flat("900.00"), ends_on=date(2026, 2, 15)), [(quarter, [fee])])
    (credit,) = termination_credits([fee], effective=date(2026, 2, 15), currency="EUR")
    assert (correction.amount, credit.amount) == (D("-450.00"), D("450.00"))


def test_inv_05_discounts_and_bounds_are_prorated_with_the_fee() -> None:
    halves = flat(
        "100.00", january(1), quantity=D(10), discounts=(TEN_PERCENT, Discount(DiscountKind.FIXED, D(90)))
    )
    (line,) = bill(recurring(halves, ends_on=january(11)), JANUARY).lines
    # (1000 − 100 − 90) × 10/31 = 261.290…
    assert line.amount == D("261.29")
    assert line.discount == Fraction(1900, 31)
    assert line.explanation == (
        "2026-01-01 to 2026-01-10: 10 × 100.00, less 10 % (framework), less 90.00, 10 of 31 days = 261.29 EUR."
    )
    least = flat("10.00", minimum=D("31.00"))
    (line,) = bill(recurring(least, ends_on=january(11)), JANUARY).lines
    assert line.amount == D("10.00")
    assert line.explanation.endswith("1 × 10.00, minimum 31.00, 10 of 31 days = 10.00 EUR.")


def test_inv_05_usage_continues_through_the_tiers_when_prices_change() -> None:
    def table(factor: int) -> PriceTable:
        rows = [
            (D(100), D(1) * factor, D(0)),
            (D(200), D("0.5") * factor, D(0)),
            (None, D("0.1") * factor, D(0)),
        ]
        return PriceTable(PriceModel.GRADUATED, tiers_up_to(rows))

    charge = used(
        PriceSlice(NEW_YEAR, january(16), table(1)),
        PriceSlice(january(16), None, table(2)),
        usage={3: "70", 15: "80", 16: "60", 31: "40"},
    )
    result = bill(charge, JANUARY)
    # 100 × 1 + 50 × 0.5; then 50 × 1 + 50 × 0.2.
    assert [(line.quantity, line.amount) for line in result.lines] == [
        (D(150), D("125.00")),
        (D(100), D("60.00")),
    ]
    assert result.lines[1].explanation == (
        "2026-01-16 to 2026-01-31: 50 × 1.00 (over 100 up to 200) + 50 × 0.20 (over 200) = 60.00 EUR."
    )


def test_inv_05_the_volume_of_the_whole_period_decides_the_price_of_all_its_units() -> None:
    table = PriceTable(PriceModel.VOLUME, tiers_up_to([(D(100), D(1), D(4)), (None, D("0.5"), D(8))]))
    halves = PriceSlice(NEW_YEAR, january(16), table), PriceSlice(january(16), None, table)
    result = bill(used(*halves, usage={1: "80", 20: "60"}), JANUARY)
    assert [line.amount for line in result.lines] == [D("48.00"), D("30.00")]


def test_con_17_usage_that_is_not_billed_is_told() -> None:
    charge = used(
        flat("2.00", january(5)),
        usage={2: "1", 6: "10", 12: "4", 25: "30", 31: "8"},
        suspensions=(Suspension(january(10), january(15)),),
        ends_on=january(31),
    )
    result = bill(charge, JANUARY)
    assert [(line.quantity, line.amount) for line in result.lines] == [
        (D(10), D("20.00")),
        (D(30), D("60.00")),
    ]
    assert (result.suspended_quantity, result.unpriced_quantity) == (D(4), D(9))


def test_inv_05_a_fixed_discount_or_minimum_of_usage_counts_once() -> None:
    off = (Discount(DiscountKind.FIXED, D(20)),)
    halves = [flat("1.00", NEW_YEAR, january(16), discounts=off), flat("1.00", january(16), discounts=off)]
    # 15 − 20 would be lost in the first half; together they are 45 − 20, shared 15 : 30.
    assert [item[2] for item in amounts(used(*halves, usage={1: "15", 20: "30"}))] == [D("8.33"), D("16.67")]
    least = [flat("1.00", NEW_YEAR, january(16), minimum=D(100)), flat("1.00", january(16), minimum=D(100))]
    assert [item[2] for item in amounts(used(*least, usage={1: "30", 20: "20"}))] == [D("60.00"), D("40.00")]
    assert [item[2] for item in amounts(used(*least, usage={}))] == [D("48.39"), D("51.61")]
    (line,) = bill(used(least[1], usage={20: "5"}), JANUARY).lines
    assert line.explanation == (
        "2026-01-16 to 2026-01-31: 5 × 1.00, minimum 100.00, 16 of 31 days = 51.61 EUR."
    )


def test_inv_05_packages_and_free_units_in_words() -> None:
    charge = used(PriceSlice(NEW_YEAR, None, package(D(5), D(100), free_units=D(100))), usage={1: "201"})
    (line,) = bill(charge, JANUARY).lines
    assert (line.amount, line.unit_price) == (D("10.00"), None)
    assert line.explanation == "2026-01-01 to 2026-01-31: 2 packages × 5.00, 100 free = 10.00 EUR."


def test_a_one_time_charge_is_billed_once_in_full() -> None:
    setup = PriceSlice(january(15), date(2026, 6, 1), per_unit(D("500.00")), D(2), (TEN_PERCENT,))
    pause = (Suspension(january(10), january(20)),)
    charge = Charge(ChargeKind.ONE_TIME, "EUR", (setup,), suspensions=pause)
    (line,) = bill(charge, JANUARY).lines
    assert (line.amount, line.days.days) == (D("900.00"), 1)
    assert line.explanation == "2026-01-15: 2 × 500.00, less 10 % (framework) = 900.00 EUR."
    assert bill(charge, period_at(NEW_YEAR, 1, 1)).lines == ()
    assert bill(Charge(ChargeKind.ONE_TIME, "EUR", (setup,), ends_on=january(15)), JANUARY).lines == ()


def test_a_ramp_becomes_slices() -> None:
    steps = [RampStep(january(1), D("8.00")), RampStep(january(16), D("9.00"))]
    slices = slices_of_ramp(steps, ends_on=date(2027, 1, 1), quantity=D(31))
    assert amounts(recurring(*slices)) == [
        (january(1), january(15), D("120.00")),
        (january(16), january(31), D("144.00")),
    ]
    assert bill(recurring(*slices), JANUARY).lines[1].label == "Step 2"


def test_refused() -> None:
    with pytest.raises(Invalid) as refused:
        bill(recurring(flat("1"), flat("2", january(31))), JANUARY)
    assert refused.value.code == "parts_overlap"
    with pytest.raises(Invalid) as refused:
        bill(used(flat("1"), usage={1: "1"}), period_at(NEW_YEAR, 1, 1))
    assert refused.value.code == "usage_outside_period"


TABLES = st.sampled_from(
    [
        per_unit(D("7.333"), flat_fee=D("3.1"), free_units=D(5)),
        package(D("4.99"), D(30)),
        PriceTable(PriceModel.GRADUATED, tiers_up_to([(D(20), D("1.111"), D(1)), (None, D("0.777"), D(2))])),
        PriceTable(PriceModel.VOLUME, tiers_up_to([(D(20), D("1.111"), D(1)), (None, D("0.777"), D(2))])),
    ]
)


@LEAN
@given(
    table=TABLES,
    kind=st.sampled_from([ChargeKind.RECURRING, ChargeKind.USAGE]),
    currency=st.sampled_from(["JPY", "EUR", "KWD"]),
    discounted=st.booleans(),
    cuts=st.sets(st.integers(min_value=2, max_value=31), max_size=4),
    usage=st.lists(
        st.tuples(st.integers(min_value=1, max_value=31), st.decimals(min_value=0, max_value=50, places=3)),
        max_size=6,
    ),
)
def test_con_09_inv_05_cutting_a_period_changes_no_total(
    table: PriceTable,
    kind: ChargeKind,
    currency: str,
    discounted: bool,
    cuts: set[int],
    usage: list[tuple[int, Decimal]],
) -> None:
    discounts = (TEN_PERCENT, Discount(DiscountKind.FIXED, D("12.5"))) if discounted else ()

    def total(days: list[date]) -> Decimal:
        slices = tuple(
            PriceSlice(start, end, table, D(37), discounts, minimum=D(9) if discounted else None)
            for start, end in zip(days, [*days[1:], None], strict=True)
        )
        rows = tuple(Usage(january(day), quantity) for day, quantity in usage)
        result = bill(Charge(kind, currency, slices, rows if kind is ChargeKind.USAGE else ()), JANUARY)
        assert all(line.amount == round_money(line.amount, currency) for line in result.lines)
        assert all(abs(line.gross - line.discount - Fraction(line.amount)) < 1 for line in result.lines)
        return result.total

    assert total([NEW_YEAR, *(january(day) for day in sorted(cuts))]) == total([NEW_YEAR])
