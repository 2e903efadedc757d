"""What a quantity costs (INV-05)."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.pricing import (
    PriceModel,
    PriceTable,
    Tier,
    package,
    per_unit,
    price_quantity,
    tiers_up_to,
    with_prices,
)
from core.errors import Invalid
from tests.contracts.pricing import LEAN

D = Decimal
CALLS = tiers_up_to([(D(100), D(1), D(0)), (D(200), D("0.50"), D(0)), (None, D("0.10"), D(0))])
FONTS = tiers_up_to([(D(5), D(7), D(0)), (D(10), D("6.5"), D(0)), (None, D(6), D(0))])
REQUESTS = tiers_up_to(
    [
        (D(10_000), D("0.0010"), D(10)),
        (D(50_000), D("0.0008"), D(10)),
        (D(100_000), D("0.0006"), D(10)),
        (None, D("0.0004"), D(10)),
    ]
)


def graduated(tiers: tuple[Tier, ...] = CALLS, **terms: Decimal) -> PriceTable:
    return PriceTable(PriceModel.GRADUATED, tiers, **terms)


def volume(tiers: tuple[Tier, ...] = FONTS, **terms: Decimal) -> PriceTable:
    return PriceTable(PriceModel.VOLUME, tiers, **terms)


@pytest.mark.parametrize(
    ("table", "quantity", "amount"),
    [
        (per_unit(D("0.0008")), "123456.789", "98.7654312"),
        (per_unit(D(5), free_units=D(100)), "99", "0"),
        (per_unit(D(5), flat_fee=D(20), free_units=D(100)), "101.5", "27.5"),
        # Graduated: each unit at its tier's price; a limit belongs to the tier that it ends.
        (graduated(), "0", "0"),
        (graduated(), "100", "100"),
        (graduated(), "100.5", "100.25"),
        (graduated(), "200", "150"),
        (graduated(), "1000", "230"),
        (graduated(free_units=D(50)), "150", "100"),
        (graduated(FONTS), "6", "41.5"),
        (graduated(FONTS), "20", "127.5"),
        # A flat fee per tier that is reached, the first tier's in any case.
        (graduated(REQUESTS), "0", "10"),
        (graduated(REQUESTS), "10000", "20"),
        (graduated(REQUESTS), "10000.5", "30.0004"),
        (graduated(REQUESTS), "65000", "81"),
        # Volume: all units at the price that the total reaches; the total may fall at a limit.
        (volume(), "5", "35"),
        (volume(), "6", "39"),
        (volume(), "20", "120"),
        (volume(), "25", "150"),
        (volume(REQUESTS), "65000", "49"),
        (volume(REQUESTS), "0", "10"),
        (volume(free_units=D(1)), "6", "35"),
        # Package: a package begun counts in full.
        (package(D(5), D(100), free_units=D(100)), "100", "0"),
        (package(D(5), D(100), free_units=D(100)), "201", "10"),
        (package(D(5), D(100)), "200", "10"),
        (package(D(5), D(100)), "200.000001", "15"),
        (package(D(5), D("0.5"), flat_fee=D(2)), "1.1", "17"),
    ],
)
def test_inv_05_values(table: PriceTable, quantity: str, amount: str) -> None:
    assert price_quantity(table, D(quantity)).amount == D(amount)


def test_inv_05_the_breakdown_names_each_tier() -> None:
    priced = price_quantity(graduated(REQUESTS, free_units=D(1000)), D(21_000))
    assert [(part.quantity, part.unit_price, part.flat_fee, part.amount) for part in priced.parts] == [
        (D(10_000), D("0.0010"), D(10), D(20)),
        (D(10_000), D("0.0008"), D(10), D(18)),
    ]
    assert (priced.free, priced.amount, priced.unit_price) == (D(1000), D(38), None)
    assert [str(part.tier) for part in priced.parts] == ["over 0 up to 10000", "over 10000 up to 50000"]
    assert price_quantity(volume(), D(6)).unit_price == D("6.5")
    assert price_quantity(package(D(5), D(100)), D(201)).unit_price is None


def test_inv_05_later_stretches_go_on_where_the_earlier_ones_stopped() -> None:
    def amount(table: PriceTable, quantity: int, before: int, total: int) -> Decimal:
        return price_quantity(table, D(quantity), before=D(before), total=D(total)).amount

    # The second tier's flat fee falls due with its first unit, and once.
    assert amount(graduated(REQUESTS), 1, 9_999, 10_000) == D("0.001")
    assert amount(graduated(REQUESTS), 1, 10_000, 10_001) == D("10.0008")
    assert amount(graduated(REQUESTS), 1, 10_001, 10_002) == D("0.0008")
    assert amount(volume(), 5, 15, 20) == D(30)
    assert amount(volume(), 15, 0, 20) == D(90)
    assert amount(package(D(5), D(100)), 50, 150, 200) == D(0)
    assert amount(package(D(5), D(100), free_units=D(100)), 50, 90, 140) == D(5)


quantities = st.decimals(min_value=0, max_value=10**6, places=3)
prices = st.decimals(min_value=0, max_value=100, places=4)


@st.composite
def tables(draw: st.DrawFn, models: tuple[PriceModel, ...] = tuple(PriceModel)) -> PriceTable:
    model = draw(st.sampled_from(models))
    free = draw(st.sampled_from([D(0), D("12.5")]))
    if model in (PriceModel.PER_UNIT, PriceModel.PACKAGE):
        tiers = tiers_up_to([(None, draw(prices), draw(prices))])
        return PriceTable(model, tiers, free, D("7.5") if model is PriceModel.PACKAGE else None)
    limits = sorted(draw(st.sets(st.decimals(min_value=1, max_value=10**6, places=2), max_size=4)))
    return PriceTable(
        model, tiers_up_to([(limit, draw(prices), draw(prices)) for limit in [*limits, None]]), free
    )


@LEAN
@given(
    table=tables((PriceModel.PER_UNIT, PriceModel.GRADUATED, PriceModel.PACKAGE)),
    one=quantities,
    other=quantities,
)
def test_inv_05_more_units_never_cost_less(table: PriceTable, one: Decimal, other: Decimal) -> None:
    less, more = sorted([one, other])
    assert price_quantity(table, less).amount <= price_quantity(table, more).amount


@LEAN
@given(table=tables(), parts=st.lists(quantities, min_size=1, max_size=5))
def test_inv_05_a_period_priced_in_stretches_costs_what_it_costs_whole(
    table: PriceTable, parts: list[Decimal]
) -> None:
    total = sum(parts, D(0))
    amount, before = D(0), None
    for quantity in parts:
        amount += price_quantity(table, quantity, before=before, total=total).amount
        before = (before or D(0)) + quantity
    assert amount == price_quantity(table, total).amount


@pytest.mark.parametrize(
    ("tiers", "code"),
    [
        ((), "no_tiers"),
        ((Tier(D(1), None, D(1)),), "gap"),
        ((Tier(D(0), D(5), D(1)), Tier(D(6), None, D(1))), "gap"),
        ((Tier(D(0), D(5), D(1)), Tier(D(4), None, D(1))), "overlap"),
        ((Tier(D(0), D(5), D(1)), Tier(D(5), D(5), D(1)), Tier(D(5), None, D(1))), "not_ascending"),
        ((Tier(D(0), None, D(1)), Tier(D(0), None, D(1))), "open_too_early"),
        ((Tier(D(0), D(5), D(1)),), "not_open"),
        ((Tier(D(0), None, D(-1)),), "negative_price"),
        ((Tier(D(0), None, D(1), D(-1)),), "negative_price"),
    ],
)
def test_inv_05_a_table_without_one_price_for_each_quantity_is_refused(
    tiers: tuple[Tier, ...], code: str
) -> None:
    with pytest.raises(Invalid) as refused:
        PriceTable(PriceModel.GRADUATED, tiers)
    assert refused.value.code == "invalid_price_table"
    assert [problem.code for problem in refused.value.errors] == [code]


def test_inv_05_other_contradictions_are_refused() -> None:
    def codes(*arguments: object) -> list[str]:
        with pytest.raises(Invalid) as refused:
            PriceTable(*arguments)  # type: ignore[arg-type]
        return [problem.code for problem in refused.value.errors]

    one = per_unit(D(1)).tiers
    assert codes(PriceModel.PER_UNIT, FONTS) == ["too_many_tiers"]
    assert codes(PriceModel.PACKAGE, one) == ["package_without_size"]
    assert codes(PriceModel.VOLUME, FONTS, D(-1), D(5)) == ["negative", "package_size_unused"]
    with pytest.raises(Invalid) as refused:
        price_quantity(per_unit(D(1)), D(-1))
    assert refused.value.code == "negative_quantity"


def test_con_17_prices_of_a_table_change_together() -> None:
    holdover = with_prices(graduated(REQUESTS), lambda price: price * D("1.5"))
    assert price_quantity(holdover, D(10_000)).amount == D(30)
