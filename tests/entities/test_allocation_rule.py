"""Allocation rules: ALC-04, ALC-05, ALC-08, ALC-09."""

from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from core.errors import Conflict, Forbidden, Invalid
from entities.cost_sources import CostRow, register_cost_source
from entities.models import AllocationPosting, AllocationRule, Department, Role
from entities.selectors import department_costs
from entities.services import (
    Target,
    VersionTerms,
    allocation_rule_create,
    allocation_rule_delete,
    allocation_rule_preview,
    allocation_rule_run,
    allocation_rule_update,
    allocation_rule_version_create,
    allocation_rule_version_delete,
    department_close,
    posting_credit,
    posting_reverse,
)
from tests.entities.conftest import SEPTEMBER, allocate, amounts
from tests.entities.factories import Group, department
from tests.entities.test_entity import refused

D = Decimal
FROM = date(2024, 1, 1)


def terms(*targets: tuple[Department, str], basis: str = "percent", **options: Any) -> VersionTerms:
    chosen = [Target(target, D(weight)) for target, weight in targets]
    return VersionTerms(**{"basis": basis, "targets": chosen, "valid_from": FROM, **options})


def rule(
    northwind: Group, source: Department, *targets: tuple[Department, str], step: int = 1, **options: Any
) -> AllocationRule:
    return allocation_rule_create(
        actor=northwind.finance,
        entity=source.entity,
        name=f"{source.code} {step}",
        source=source,
        step=step,
        terms=terms(*targets, **options),
    )


def run(
    northwind: Group, made: AllocationRule, period: tuple[date, date] = SEPTEMBER
) -> list[AllocationPosting]:
    start, end = period
    return allocation_rule_run(actor=northwind.finance, rule=made, period_start=start, period_end=end)


def test_alc_05_a_run_moves_the_sources_cost(northwind: Group) -> None:
    allocate(northwind.finance, northwind.it, "100.01")
    made = rule(northwind, northwind.it, (northwind.engineering, "75"), (northwind.german_sales, "25"))
    (posting,) = run(northwind, made)
    assert amounts(posting) == [("IT", D("-100.01")), ("ENG", D("75.01")), ("VERTRIEB", D("25.00"))]
    assert (posting.amount, posting.source_department, posting.run) == (D("100.01"), northwind.it, 1)
    assert not any(line.billable for line in posting.lines.all())
    assert department_costs(northwind.it).own.totals == {"USD": D(0)}
    german = posting.lines.get(department=northwind.german_sales)
    assert (german.entity, german.currency) == (northwind.germany, "USD")


def test_alc_05_preview_shows_what_the_run_posts(northwind: Group) -> None:
    allocate(northwind.finance, northwind.it, "0.05")
    made = rule(
        northwind,
        northwind.it,
        (northwind.engineering, "1"),
        (northwind.marketing, "1"),
        (northwind.platform, "1"),
        basis="ratio",
    )
    start, end = SEPTEMBER
    plan = allocation_rule_preview(actor=northwind.finance, rule=made, period_start=start, period_end=end)
    assert AllocationPosting.objects.filter(rule_version__isnull=False).count() == 0
    (posting,) = run(northwind, made)
    assert [part.amount for part in plan.plans[0].parts] == [D("0.02"), D("0.02"), D("0.01")]
    assert amounts(posting)[1:] == [(part.department.code, part.amount) for part in plan.plans[0].parts]


def test_alc_05_one_posting_per_currency_from_every_cost_source(northwind: Group) -> None:
    def usage(ids: Any, start: date, end: date) -> list[CostRow]:
        return [CostRow(northwind.it.pk, date(2024, 9, 1), "usage", "", "EUR", D("20.52022672899"))] * (
            northwind.it.pk in ids and start <= date(2024, 9, 1) < end
        )

    register_cost_source("test-usage", usage)
    try:
        allocate(northwind.finance, northwind.it, "10.00")
        made = rule(northwind, northwind.it, (northwind.engineering, "100"))
        postings = run(northwind, made)
        assert [(posting.currency, posting.amount) for posting in postings] == [
            ("EUR", D("20.52")),
            ("USD", D("10.00")),
        ]
        # ALC-08: what rounding leaves stays with the source and is not spread again.
        assert department_costs(northwind.it).own.totals == {"EUR": D("0.00022672899"), "USD": D(0)}
    finally:
        register_cost_source("test-usage", lambda ids, start, end: [])


def test_alc_05_once_per_period_until_reversed(northwind: Group) -> None:
    allocate(northwind.finance, northwind.it, "10.00")
    made = rule(northwind, northwind.it, (northwind.engineering, "100"))
    (first,) = run(northwind, made)
    refused(lambda: run(northwind, made), "already_run", Conflict)
    refused(lambda: run(northwind, made, (date(2024, 9, 15), date(2024, 10, 15))), "already_run", Conflict)
    allocate(northwind.finance, northwind.it, "5.00")
    posting_reverse(actor=northwind.finance, posting=first, reason="Late cost")
    (second,) = run(northwind, made)
    assert (second.run, second.amount) == (2, D("15.00"))


def test_alc_05_nothing_to_allocate_is_said(northwind: Group) -> None:
    made = rule(northwind, northwind.it, (northwind.engineering, "100"))
    refused(lambda: run(northwind, made), "nothing_to_allocate", Conflict)


def test_alc_03_negative_cost_moves_too(northwind: Group) -> None:
    allocate(northwind.finance, northwind.it, "-182.25")
    made = rule(northwind, northwind.it, (northwind.engineering, "98"), (northwind.marketing, "2"))
    (posting,) = run(northwind, made)
    assert amounts(posting) == [("IT", D("182.25")), ("ENG", D("-178.61")), ("MKT", D("-3.64"))]


def test_alc_07_credit_of_a_run_gives_back_to_the_source(northwind: Group) -> None:
    allocate(northwind.finance, northwind.it, "100.00")
    made = rule(northwind, northwind.it, (northwind.engineering, "60"), (northwind.marketing, "40"))
    (posting,) = run(northwind, made)
    credit = posting_credit(actor=northwind.finance, posting=posting, amount=D("10.00"), reason="Part")
    assert amounts(credit) == [("IT", D("10.00")), ("ENG", D("-6.00")), ("MKT", D("-4.00"))]


# --- Versions (ALC-04) -----------------------------------------------------------------------------------


def test_alc_04_the_version_of_the_accounting_date_applies(northwind: Group) -> None:
    made = rule(northwind, northwind.it, (northwind.engineering, "100"))
    allocation_rule_version_create(
        actor=northwind.finance,
        rule=made,
        terms=terms((northwind.marketing, "100"), valid_from=date(2024, 10, 1)),
    )
    allocate(northwind.finance, northwind.it, "1.00")
    october = (date(2024, 10, 1), date(2024, 11, 1))
    allocate(northwind.finance, northwind.it, "2.00", period_start=october[0], period_end=october[1])
    assert amounts(run(northwind, made)[0])[1] == ("ENG", D("1.00"))
    assert amounts(run(northwind, made, october)[0])[1] == ("MKT", D("2.00"))
    assert [version.valid_to for version in made.versions.order_by("number")] == [date(2024, 10, 1), None]
    refused(lambda: run(northwind, made, (date(2023, 9, 1), date(2023, 10, 1))), "no_version", Conflict)


def test_alc_04_versions_never_overlap_and_a_used_one_never_changes(northwind: Group) -> None:
    allocate(northwind.finance, northwind.it, "1.00")
    made = rule(northwind, northwind.it, (northwind.engineering, "100"))
    (posting,) = run(northwind, made)
    new = terms((northwind.marketing, "100"), valid_from=date(2024, 9, 15))
    refused(
        lambda: allocation_rule_version_create(actor=northwind.finance, rule=made, terms=new),
        "version_in_use",
        Conflict,
    )
    refused(
        lambda: allocation_rule_version_create(
            actor=northwind.finance, rule=made, terms=terms((northwind.marketing, "100"), valid_from=FROM)
        ),
        "version_overlaps",
        Conflict,
    )
    later = allocation_rule_version_create(
        actor=northwind.finance,
        rule=made,
        terms=terms((northwind.marketing, "100"), valid_from=date(2024, 10, 1)),
    )
    posting.refresh_from_db()
    assert posting.rule_version.number == 1
    assert amounts(posting)[1] == ("ENG", D("1.00"))
    refused(
        lambda: allocation_rule_version_delete(actor=northwind.finance, version=posting.rule_version),
        "in_use",
        Conflict,
    )
    allocation_rule_version_delete(actor=northwind.finance, version=later)
    assert made.versions.get().valid_to is None


def test_alc_04_a_rule_that_was_run_is_not_deleted(northwind: Group) -> None:
    allocate(northwind.finance, northwind.it, "1.00")
    made = rule(northwind, northwind.it, (northwind.engineering, "100"))
    run(northwind, made)
    refused(lambda: allocation_rule_delete(actor=northwind.finance, rule=made), "in_use", Conflict)
    unused = rule(northwind, northwind.marketing, (northwind.engineering, "100"))
    allocation_rule_delete(actor=northwind.finance, rule=unused)
    assert AllocationRule.objects.get() == made


# --- Targets and chains (ALC-01, ALC-05) -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("weights", "basis", "code"),
    [
        (["60", "39.9999"], "percent", "percent_not_100"),
        (["0", "0"], "ratio", "ratio_not_positive"),
        (["101", "-1"], "percent", "split_negative"),
        (["1", "1"], "driver", "driver_missing"),
        (["NaN", "1"], "ratio", "amount_not_finite"),
        (["1.00001", "1"], "ratio", "too_precise"),
        (["1", "1"], "mood", "invalid"),
    ],
)
def test_alc_01_bad_terms_are_refused_at_save(
    northwind: Group, weights: list[str], basis: str, code: str
) -> None:
    targets = list(zip([northwind.engineering, northwind.marketing], weights, strict=True))
    with pytest.raises(Invalid) as caught:
        rule(northwind, northwind.it, *targets, basis=basis)
    assert code in {caught.value.code, *(problem.code for problem in caught.value.errors)}
    assert not AllocationRule.objects.exists()


def test_alc_05_target_is_source_duplicate_missing_and_closed(northwind: Group) -> None:
    refused(lambda: rule(northwind, northwind.it, (northwind.it, "100")), "target_is_source", Invalid)
    refused(
        lambda: rule(northwind, northwind.it, (northwind.engineering, "50"), (northwind.engineering, "50")),
        "split_duplicate",
    )
    refused(lambda: rule(northwind, northwind.it), "targets_missing")
    department_close(actor=northwind.admin, department=northwind.platform, closed_on=FROM, reason="Gone")
    northwind.platform.refresh_from_db()
    refused(lambda: rule(northwind, northwind.it, (northwind.platform, "100")), "department_closed", Conflict)
    assert not AllocationRule.objects.exists()


def test_alc_05_a_target_closed_since_stops_the_run(northwind: Group) -> None:
    allocate(northwind.finance, northwind.it, "1.00")
    made = rule(northwind, northwind.it, (northwind.platform, "100"))
    department_close(
        actor=northwind.admin, department=northwind.platform, closed_on=date(2024, 9, 30), reason="Gone"
    )
    refused(lambda: run(northwind, made), "department_closed", Conflict)
    assert not AllocationPosting.objects.filter(rule_version__isnull=False).exists()


def test_alc_05_cycles_and_wrong_order_are_refused_at_save(northwind: Group) -> None:
    hr = department(northwind.root, "HR")
    rule(northwind, northwind.it, (hr, "50"), (northwind.engineering, "50"), step=1)
    refused(
        lambda: rule(northwind, hr, (northwind.marketing, "100"), step=1), "allocation_step_order", Invalid
    )
    refused(lambda: rule(northwind, hr, (northwind.it, "100"), step=2), "allocation_cycle", Invalid)
    made = rule(northwind, hr, (northwind.marketing, "100"), step=2)
    refused(
        lambda: rule(northwind, northwind.marketing, (northwind.it, "100"), step=3),
        "allocation_cycle",
        Invalid,
    )
    refused(
        lambda: allocation_rule_update(actor=northwind.finance, rule=made, step=1),
        "allocation_step_order",
        Invalid,
    )
    made.refresh_from_db()
    assert made.step == 2


def test_alc_05_chains_cross_entities_of_the_group(northwind: Group) -> None:
    rule(northwind, northwind.it, (northwind.german_sales, "100"), step=1)
    refused(
        lambda: rule(northwind, northwind.german_sales, (northwind.it, "100"), step=2),
        "allocation_cycle",
        Invalid,
    )


def test_alc_05_step_down_runs_in_order(northwind: Group) -> None:
    hr = department(northwind.root, "HR")
    first = rule(northwind, northwind.it, (hr, "20"), (northwind.engineering, "80"), step=1)
    second = rule(northwind, hr, (northwind.engineering, "50"), (northwind.marketing, "50"), step=2)
    allocate(northwind.finance, northwind.it, "100.00")
    allocate(northwind.finance, hr, "30.00")
    refused(lambda: run(northwind, second), "earlier_step_not_run", Conflict)
    (given,) = run(northwind, first)
    (passed_on,) = run(northwind, second)
    assert amounts(passed_on) == [("HR", D("-50.00")), ("ENG", D("25.00")), ("MKT", D("25.00"))]
    refused(
        lambda: posting_reverse(actor=northwind.finance, posting=given, reason="x"),
        "later_step_posted",
        Conflict,
    )
    posting_reverse(actor=northwind.finance, posting=passed_on, reason="x")
    posting_reverse(actor=northwind.finance, posting=given, reason="x")
    assert department_costs(northwind.it).own.totals == {"USD": D("100.00")}


def test_alc_05_an_earlier_step_does_not_run_after_a_later_one(northwind: Group) -> None:
    hr = department(northwind.root, "HR")
    first = rule(northwind, northwind.it, (hr, "100"), step=1)
    second = rule(northwind, hr, (northwind.marketing, "100"), step=2)
    allocate(northwind.finance, hr, "30.00")
    run(northwind, second)
    allocate(northwind.finance, northwind.it, "10.00")
    refused(lambda: run(northwind, first), "later_step_posted", Conflict)


def test_alc_05_one_active_rule_per_source_and_names_unique(northwind: Group) -> None:
    made = rule(northwind, northwind.it, (northwind.engineering, "100"))
    refused(
        lambda: rule(northwind, northwind.it, (northwind.marketing, "100"), step=2),
        "source_has_rule",
        Conflict,
    )
    refused(
        lambda: allocation_rule_create(
            actor=northwind.finance,
            entity=northwind.root,
            name=made.name,
            source=northwind.marketing,
            terms=terms((northwind.engineering, "100")),
        ),
        "already_exists",
        Conflict,
    )
    allocation_rule_update(actor=northwind.finance, rule=made, is_active=False)
    rule(northwind, northwind.it, (northwind.marketing, "100"), step=2)
    refused(lambda: run(northwind, AllocationRule.objects.get(pk=made.pk)), "rule_inactive", Conflict)


def test_alc_01_fixed_amounts_must_meet_the_cost(northwind: Group) -> None:
    made = rule(
        northwind, northwind.it, (northwind.engineering, "60"), (northwind.marketing, "40"), basis="amount"
    )
    allocate(northwind.finance, northwind.it, "100.01")
    refused(lambda: run(northwind, made), "amounts_not_total", Conflict)
    allocate(northwind.finance, northwind.it, "-0.01")
    assert amounts(run(northwind, made)[0])[1:] == [("ENG", D("60.00")), ("MKT", D("40.00"))]


def test_alc_09_driver_values_are_stored_with_the_posting(northwind: Group) -> None:
    allocate(northwind.finance, northwind.it, "77.50")
    made = rule(
        northwind,
        northwind.it,
        (northwind.engineering, "40"),
        (northwind.marketing, "25"),
        (northwind.german_sales, "12.5"),
        basis="driver",
        driver="headcount",
    )
    (posting,) = run(northwind, made)
    assert [amount for _, amount in amounts(posting)] == [D("-77.50"), D("40.00"), D("25.00"), D("12.50")]
    assert posting.driver_values == {
        "driver": "headcount",
        "values": [
            {"department_id": northwind.engineering.pk, "code": "ENG", "value": "40"},
            {"department_id": northwind.marketing.pk, "code": "MKT", "value": "25"},
            {"department_id": northwind.german_sales.pk, "code": "VERTRIEB", "value": "12.5"},
        ],
    }


@pytest.mark.parametrize("role", [Role.AUDITOR, Role.APPROVER, Role.DEPARTMENT_MANAGER])
def test_ent_05_readers_neither_make_nor_run_rules(northwind: Group, role: str) -> None:
    made = rule(northwind, northwind.it, (northwind.engineering, "100"))
    allocate(northwind.finance, northwind.it, "1.00")
    start, end = SEPTEMBER
    with pytest.raises(Forbidden):
        allocation_rule_run(actor=northwind.users[role], rule=made, period_start=start, period_end=end)
