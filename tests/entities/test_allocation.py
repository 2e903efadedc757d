"""Cost allocations: ALC-01 to ALC-03, ALC-05, ALC-07, ALC-08."""

from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase as HypothesisTestCase

from core.access import system_actor
from core.errors import BillingError, Conflict, Forbidden, Invalid
from core.models import OutboxEvent
from core.money import quantum
from entities.models import AllocationPosting, AllocationSource, CostAllocation, Role
from entities.selectors import department_costs
from entities.services import (
    Split,
    cost_allocation_preview,
    department_close,
    department_update,
    entity_deactivate,
    posting_credit,
    posting_reverse,
)
from tests.entities.conftest import SEPTEMBER, allocate, amounts
from tests.entities.factories import Group, department, entity, group, member
from tests.entities.test_entity import refused

D = Decimal


def percent(northwind: Group, *shares: str) -> list[Split]:
    targets = [northwind.engineering, northwind.marketing, northwind.platform, northwind.it]
    return [Split(target, percent=D(share)) for target, share in zip(targets, shares, strict=False)]


def ratio(northwind: Group, *shares: str) -> list[Split]:
    return [Split(split.department, ratio=split.percent) for split in percent(northwind, *shares)]


def by_amount(northwind: Group, *shares: str) -> list[Split]:
    return [Split(split.department, amount=split.percent) for split in percent(northwind, *shares)]


def test_alc_01_without_splits_the_department_bears_it_all(northwind: Group) -> None:
    posting = allocate(northwind.finance, northwind.it, "15000.00")
    assert amounts(posting) == [("IT", D("15000.00"))]
    line = posting.lines.get()
    assert (line.currency, line.gl_code, line.source, line.billable) == ("USD", "6100", "manual", False)
    assert (line.period_start, line.period_end) == SEPTEMBER
    assert OutboxEvent.objects.filter(
        topic="allocation.posted", key=f"allocation_posting:{posting.pk}"
    ).exists()


@pytest.mark.parametrize(
    ("total", "shares", "parts"),
    [
        ("182.25", ["98", "2"], ["178.61", "3.64"]),
        ("0.01", ["95", "5"], ["0.01", "0.00"]),
        ("785.08", ["33.33", "33.33", "33.34"], ["261.67", "261.67", "261.74"]),
        ("-182.25", ["98", "2"], ["-178.61", "-3.64"]),
    ],
)
def test_alc_02_alc_03_vectors_by_percent(
    northwind: Group, total: str, shares: list[str], parts: list[str]
) -> None:
    posting = allocate(northwind.finance, northwind.it, total, splits=percent(northwind, *shares))
    assert [amount for _, amount in amounts(posting)] == [D(part) for part in parts]
    assert posting.basis == "percent"


@pytest.mark.parametrize(
    ("total", "shares", "parts"),
    [
        ("0.05", ["1", "1", "1"], ["0.02", "0.02", "0.01"]),
        ("100.00", ["1", "1", "1"], ["33.34", "33.33", "33.33"]),
    ],
)
def test_alc_02_vectors_by_ratio(northwind: Group, total: str, shares: list[str], parts: list[str]) -> None:
    posting = allocate(northwind.finance, northwind.it, total, splits=ratio(northwind, *shares))
    assert [amount for _, amount in amounts(posting)] == [D(part) for part in parts]


def test_alc_01_amounts_sum_to_exactly_the_total(northwind: Group) -> None:
    posting = allocate(
        northwind.finance, northwind.it, "100.00", splits=by_amount(northwind, "99.99", "0.01")
    )
    assert [amount for _, amount in amounts(posting)] == [D("99.99"), D("0.01")]
    error = refused(
        lambda: allocate(
            northwind.finance, northwind.it, "100.00", splits=by_amount(northwind, "99.99", "0.02")
        ),
        "amounts_not_total",
        Invalid,
    )
    assert error.extra == {"sum": "100.01", "total": "100.00", "difference": "-0.01"}


@pytest.mark.parametrize(
    ("shares", "code"),
    [
        (["50", "49.9999"], "percent_not_100"),
        (["100", "0.0001"], "percent_not_100"),
        (["101", "-1"], "split_negative"),
        (["33.33333", "66.66667"], "too_precise"),
        (["NaN", "100"], "amount_not_finite"),
        (["Infinity", "100"], "amount_not_finite"),
        (["1E+20", "100"], "amount_too_large"),
    ],
)
def test_alc_01_bad_percentages_write_nothing(northwind: Group, shares: list[str], code: str) -> None:
    refused(
        lambda: allocate(northwind.finance, northwind.it, "100.00", splits=percent(northwind, *shares)), code
    )
    assert not AllocationPosting.objects.exists()


def test_alc_01_one_kind_of_share_and_no_target_twice(northwind: Group) -> None:
    eng, mkt = northwind.engineering, northwind.marketing
    cases = [
        ([Split(eng, percent=D(50)), Split(mkt, ratio=D(1))], "splits_mixed"),
        ([Split(eng)], "splits_mixed"),
        ([Split(eng, percent=D(50), ratio=D(1)), Split(mkt, percent=D(50))], "splits_mixed"),
        ([Split(eng, percent=D(50)), Split(eng, percent=D(50))], "split_duplicate"),
        ([Split(eng, ratio=D(0)), Split(mkt, ratio=D(0))], "ratio_not_positive"),
        ([Split(eng, amount=D("110")), Split(mkt, amount=D("-10"))], "split_negative"),
        ([Split(eng, amount=D("99.995")), Split(mkt, amount=D("0.005"))], "amount_not_at_minor_unit"),
    ]
    for splits, code in cases:
        refused(
            lambda splits=splits: allocate(northwind.finance, northwind.it, "100.00", splits=splits), code
        )
    assert not AllocationPosting.objects.exists()


@pytest.mark.parametrize(
    ("amount", "options", "code"),
    [
        ("0.00", {}, "amount_zero"),
        ("1.001", {}, "amount_not_at_minor_unit"),
        ("1.5", {"currency": "JPY"}, "amount_not_at_minor_unit"),
        ("1.00", {"currency": "XXX"}, "unknown_currency"),
        ("NaN", {}, "amount_not_finite"),
        ("Infinity", {}, "amount_not_finite"),
        ("1E+15", {}, "amount_too_large"),
        ("1.00", {"description": "  "}, "blank"),
        ("1.00", {"source": AllocationSource.RULE}, "invalid_choice"),
        ("1.00", {"source": AllocationSource.USAGE, "billable": True}, "usage_not_billable"),
        ("1.00", {"period_end": date(2024, 9, 1)}, "period_not_ordered"),
    ],
)
def test_alc_01_bad_amounts_write_nothing(
    northwind: Group, amount: str, options: dict[str, object], code: str
) -> None:
    refused(lambda: allocate(northwind.finance, northwind.it, amount, **options), code, BillingError)
    assert not AllocationPosting.objects.exists()


def test_alc_02_currencies_without_and_with_three_decimals(northwind: Group) -> None:
    yen = allocate(
        northwind.finance, northwind.it, "100", currency="JPY", splits=ratio(northwind, "1", "1", "1")
    )
    assert [amount for _, amount in amounts(yen)] == [D(34), D(33), D(33)]
    dinar = allocate(
        northwind.finance, northwind.it, "0.010", currency="KWD", splits=ratio(northwind, "1", "1", "1")
    )
    assert [amount for _, amount in amounts(dinar)] == [D("0.004"), D("0.003"), D("0.003")]


def test_alc_02_preview_is_what_is_posted_and_writes_nothing(northwind: Group) -> None:
    start, end = SEPTEMBER
    splits = percent(northwind, "33.33", "33.33", "33.34")
    plan = cost_allocation_preview(
        actor=northwind.finance,
        department=northwind.it,
        amount=D("785.08"),
        period_start=start,
        period_end=end,
        splits=splits,
    )
    assert not AllocationPosting.objects.exists()
    posting = allocate(northwind.finance, northwind.it, "785.08", splits=splits)
    assert amounts(posting) == [(part.department.code, part.amount) for part in plan.parts]


def test_alc_05_closed_and_inactive_centres_are_refused_by_date(northwind: Group) -> None:
    department_close(
        actor=northwind.admin, department=northwind.platform, closed_on=date(2024, 10, 1), reason="Merged"
    )
    # Closed from 1 October: September is the last month that it takes.
    allocate(northwind.finance, northwind.platform, "1.00")
    october = {"period_start": date(2024, 10, 1), "period_end": date(2024, 11, 1)}
    refused(
        lambda: allocate(northwind.finance, northwind.platform, "1.00", **october),
        "department_closed",
        Conflict,
    )
    northwind.platform.refresh_from_db()
    error = refused(
        lambda: allocate(
            northwind.finance,
            northwind.it,
            "1.00",
            splits=[Split(northwind.it, percent=D(50)), Split(northwind.platform, percent=D(50))],
            **october,
        ),
        "department_closed",
    )
    assert error.errors[0].pointer == "/splits/1/department_id"
    department_update(actor=northwind.admin, department=northwind.marketing, is_active=False)
    northwind.marketing.refresh_from_db()
    refused(lambda: allocate(northwind.finance, northwind.marketing, "1.00"), "department_inactive", Conflict)


def test_alc_05_inactive_entity_takes_no_cost(northwind: Group) -> None:
    sales = department(northwind.division, "S")
    entity_deactivate(actor=northwind.admin, entity=northwind.division, reason="Closed")
    refused(lambda: allocate(northwind.finance, sales, "1.00"), "entity_inactive", Conflict)


def test_alc_01_cost_stays_within_the_group_and_the_actors_rights(northwind: Group) -> None:
    foreign = department(northwind.other_root, "X")
    splits = [Split(northwind.it, percent=D(50)), Split(foreign, percent=D(50))]
    refused(lambda: allocate(system_actor(), northwind.it, "1.00", splits=splits), "other_group", Invalid)
    local = member(northwind.germany, Role.FINANCE_STAFF)
    reach = [Split(northwind.german_sales, percent=D(50)), Split(northwind.it, percent=D(50))]
    with pytest.raises(Forbidden):
        allocate(local, northwind.german_sales, "1.00", currency="EUR", splits=reach)
    with pytest.raises(Forbidden):
        allocate(northwind.users[Role.AUDITOR], northwind.it, "1.00")
    assert not AllocationPosting.objects.exists()


# --- Reversal and credit ---------------------------------------------------------------------------------


def test_alc_07_reversal_negates_the_stored_lines(northwind: Group) -> None:
    posting = allocate(
        northwind.finance, northwind.it, "0.05", splits=ratio(northwind, "1", "1", "1"), billable=True
    )
    reversal = posting_reverse(actor=northwind.finance, posting=posting, reason="Wrong month")
    assert [amount for _, amount in amounts(reversal)] == [D("-0.02"), D("-0.02"), D("-0.01")]
    assert (reversal.reverses, reversal.reason, reversal.amount) == (posting, "Wrong month", D("-0.05"))
    assert all(line.billable for line in reversal.lines.all())
    assert {line.reverses_id for line in reversal.lines.all()} == {line.pk for line in posting.lines.all()}
    assert department_costs(northwind.engineering).subtree.totals.get("USD", D(0)) == 0
    assert not AllocationPosting.objects.standing().exists()


def test_alc_07_a_reversal_happens_once_and_needs_a_reason(northwind: Group) -> None:
    posting = allocate(northwind.finance, northwind.it, "1.00")
    refused(
        lambda: posting_reverse(actor=northwind.finance, posting=posting, reason=" "),
        "reason_required",
        Invalid,
    )
    reversal = posting_reverse(actor=northwind.finance, posting=posting, reason="Wrong")
    refused(
        lambda: posting_reverse(actor=northwind.finance, posting=posting, reason="Again"),
        "already_reversed",
        Conflict,
    )
    refused(
        lambda: posting_reverse(actor=northwind.finance, posting=reversal, reason="Back"),
        "not_reversible",
        Conflict,
    )
    with pytest.raises(Forbidden):
        posting_reverse(actor=northwind.users[Role.AUDITOR], posting=posting, reason="No")


def test_alc_07_credit_uses_what_remains_and_ends_at_zero(northwind: Group) -> None:
    posting = allocate(northwind.finance, northwind.it, "100.00", splits=ratio(northwind, "1", "1", "1"))
    first = posting_credit(actor=northwind.finance, posting=posting, amount=D("0.01"), reason="Discount")
    assert [amount for _, amount in amounts(first)] == [D("-0.01"), D("0.00"), D("0.00")]
    second = posting_credit(actor=northwind.finance, posting=posting, amount=D("50.00"), reason="Discount")
    # 33.33, 33.33 and 33.33 remain.
    assert [amount for _, amount in amounts(second)] == [D("-16.67"), D("-16.67"), D("-16.66")]
    refused(
        lambda: posting_credit(
            actor=northwind.finance, posting=posting, amount=D("50.00"), reason="Too much"
        ),
        "credit_exceeds_remaining",
        Conflict,
    )
    posting_credit(actor=northwind.finance, posting=posting, amount=D("49.99"), reason="Rest")
    for line in posting.lines.all():
        left = line.amount + sum((credit.amount for credit in line.credited_by.all()), D(0))
        assert left == 0
    refused(
        lambda: posting_reverse(actor=northwind.finance, posting=posting, reason="Late"),
        "partly_credited",
        Conflict,
    )


def test_alc_07_credit_of_a_negative_posting(northwind: Group) -> None:
    posting = allocate(northwind.finance, northwind.it, "-182.25", splits=percent(northwind, "98", "2"))
    credit = posting_credit(actor=northwind.finance, posting=posting, amount=D("182.25"), reason="All")
    assert [amount for _, amount in amounts(credit)] == [D("178.61"), D("3.64")]


@pytest.mark.parametrize("amount", ["0", "-1.00"])
def test_alc_07_a_credit_is_positive(northwind: Group, amount: str) -> None:
    posting = allocate(northwind.finance, northwind.it, "1.00")
    refused(
        lambda: posting_credit(actor=northwind.finance, posting=posting, amount=D(amount), reason="x"),
        "amount_not_positive",
    )


def test_alc_08_zero_parts_stay_in_the_record_and_post_nothing(northwind: Group) -> None:
    posting = allocate(northwind.finance, northwind.it, "0.01", splits=percent(northwind, "95", "5"))
    assert amounts(posting) == [("ENG", D("0.01")), ("MKT", D("0.00"))]
    assert department_costs(northwind.marketing).own.lines == []


class AllocationProperties(HypothesisTestCase):
    """ALC-03, ALC-07 for random amounts, weights and currencies with 0, 2 and 3 decimals."""

    @settings(max_examples=25, deadline=None)
    @given(
        units=st.integers(-(10**9), 10**9).filter(bool),
        weights=st.lists(st.integers(0, 10**6), min_size=1, max_size=4).filter(any),
        currency=st.sampled_from(["JPY", "USD", "KWD"]),
        credits=st.lists(st.integers(1, 99), max_size=3),
    )
    def test_alc_03_alc_07_lines_sum_and_credits_end_at_zero(
        self, units: int, weights: list[int], currency: str, credits: list[int]
    ) -> None:
        northwind = group()
        unit = quantum(currency)
        splits = ratio(northwind, *(str(weight) for weight in weights))
        posting = allocate(
            northwind.finance, northwind.it, str(units * unit), currency=currency, splits=splits
        )
        assert sum(amount for _, amount in amounts(posting)) == units * unit
        left = abs(units)
        for share in credits:
            part = left * share // 100
            if part:
                posting_credit(actor=northwind.finance, posting=posting, amount=part * unit, reason="Part")
                left -= part
        if left:
            posting_credit(actor=northwind.finance, posting=posting, amount=left * unit, reason="Rest")
        rows = CostAllocation.objects.filter(posting=posting)
        for row in rows:
            taken = sum((credit.amount for credit in row.credited_by.all()), D(0))
            assert row.amount + taken == 0


def test_costs_are_told_by_month_source_gl_code_and_currency(northwind: Group) -> None:
    allocate(northwind.finance, northwind.engineering, "10.00")
    allocate(northwind.finance, northwind.engineering, "5.00", gl_code="9999")
    allocate(northwind.finance, northwind.platform, "7", currency="JPY")
    costs = department_costs(northwind.engineering)
    assert [
        (line.month, line.source, line.gl_code, line.currency, line.amount) for line in costs.own.lines
    ] == [
        (date(2024, 9, 1), "manual", "6200", "USD", D("10.00")),
        (date(2024, 9, 1), "manual", "9999", "USD", D("5.00")),
    ]
    assert costs.own.totals == {"USD": D("15.00")}
    assert costs.subtree.totals == {"JPY": D(7), "USD": D("15.00")}
    none = department_costs(northwind.engineering, start=date(2024, 10, 1), end=date(2024, 11, 1))
    assert none.subtree.lines == []


def test_a_stranger_group_has_its_own_departments(db: None) -> None:
    one, other = entity("One"), entity("Other")
    assert department(one, "A").entity != department(other, "A").entity
