"""The figures of docs/domain/pricing.md that the other tests of this package do not already prove by the same numbers."""

import re
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from contracts.pricing import (
    CreditTier,
    Discount,
    DiscountKind,
    InvoicedFee,
    Notice,
    Period,
    PriceModel,
    PriceTable,
    ServiceMeasure,
    add_months,
    apply_discounts,
    cap_charge,
    instalments,
    notice_deadline,
    package,
    per_unit,
    period_at,
    price_quantity,
    prorate,
    service_credit,
    termination_credits,
    tiers_up_to,
    true_up,
    uplifted_price,
)

D = Decimal
PAGE = re.sub(r"\s+", " ", (Path(__file__).parents[3] / "docs" / "domain" / "pricing.md").read_text())
JANUARY = period_at(date(2026, 1, 1), 1, 0)
QUARTER = period_at(date(2026, 1, 1), 3, 0)
CALLS = tiers_up_to([(D(100), D(1), D(0)), (D(200), D("0.5"), D(0)), (None, D("0.1"), D(0))])
FONTS = tiers_up_to([(D(5), D(7), D(0)), (D(10), D("6.5"), D(0)), (None, D(6), D(0))])
TEN, FIVE = (Discount(DiscountKind.PERCENT, D(value)) for value in (10, 5))
HUNDRED = Discount(DiscountKind.FIXED, D(100))


def volume(quantity: int) -> Decimal:
    return price_quantity(PriceTable(PriceModel.VOLUME, FONTS), D(quantity)).amount


def missed() -> Decimal:
    measures = [
        ServiceMeasure("Availability", D(98), (CreditTier(D(99), D(25)),)),
        ServiceMeasure("Response", D(9), (CreditTier(D(8), D(15)),), more_is_better=False),
    ]
    return service_credit(measures, fee=D("1000.00"), cap_percent=D(30), currency="EUR").amount


@pytest.mark.parametrize(
    ("sentence", "figure"),
    [
        ("17/31 of the fee, {}.", prorate(D(300), full=JANUARY, part=Period(date(2026, 1, 15), JANUARY.end), currency="EUR")),
        ("(45 of 90 days) gives back {}.", termination_credits([InvoicedFee(QUARTER, D("900.00"))], effective=date(2026, 2, 15), currency="EUR")[0].amount),
        ("four times 83.34 and eight times {}.", instalments(D(1000), 12, "EUR")[4]),
        ("| 123,456.789 | {} |", price_quantity(per_unit(D("0.0008")), D("123456.789")).amount),
        ("| 1,000 | {:.2f} |", price_quantity(PriceTable(PriceModel.GRADUATED, CALLS), D(1000)).amount),
        ("| 6 | {:.2f} |", volume(6)),
        ("5 units cost {:.2f}, 20 units 120.00.", volume(5)),
        ("| 201 | {:.2f} |", price_quantity(package(D(5), D(100), free_units=D(100)), D(201)).amount),
        ("less 10 % and 5 % is {}.00;", apply_discounts(D(1000), [TEN, FIVE]).net),
        ("less 10 % and then 100.00, {}.00;", apply_discounts(D(1000), [TEN, HUNDRED]).net),
        ("less 100.00 and then 10 %, {}.00.", apply_discounts(D(1000), [HUNDRED, TEN]).net),
        ("a true-up of {}.", true_up(commitment=D(1000), fees=[D(800)], period=JANUARY, currency="EUR").shortfall),
        ("17 of 31 days then promise {}.", true_up(commitment=D(1000), fees=[], period=JANUARY, currency="EUR", covered=Period(date(2026, 1, 15), JANUARY.end), prorated=True).required),
        ("1,000.01 is cut by {}.", cap_charge(cap=D(10_000), invoiced=D(9_000), asked=D("1000.01"), currency="EUR").cut),
        ("capped at 30 %, credit {}.", missed()),
        ("0.0008 raised by 3 % is {} at six.", uplifted_price(D("0.0008"), D(3), currency="EUR", decimals=6)),
        ("a cap of 3 % becomes {};", uplifted_price(D("1000.00"), D(3), currency="EUR")),
    ],
)  # fmt: skip
def test_the_page_states_what_is_computed(sentence: str, figure: Decimal) -> None:
    assert sentence.format(figure) in PAGE


def test_the_page_states_the_dates() -> None:
    starts = [add_months(date(2026, 1, 31), number) for number in range(4)]
    assert ", ".join(f"{day.day} {day:%B}" for day in starts) in PAGE
    days, months = (
        notice_deadline(date(2027, 1, 1), notice) for notice in (Notice(days=60), Notice(months=2))
    )
    assert (
        f"the deadline {days.day} {days:%B} with 60 days' notice, {months.day} {months:%B} with two" in PAGE
    )
