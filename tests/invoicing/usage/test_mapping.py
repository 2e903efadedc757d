"""Rules, proposals from a file's own tags, and mapping rows anew (USE-03)."""

import io
import json
from decimal import Decimal

import pytest

from core.errors import Conflict, Forbidden, Invalid, Stale
from entities.cost_sources import cost_rows
from entities.models import Department
from invoicing.models import UsageMappingRule, UsageRecord
from invoicing.selectors.usage import import_totals
from invoicing.services.usage_imports import usage_file_import
from invoicing.services.usage_mapping import (
    MappingChoice,
    RemapScope,
    usage_mappings_apply,
    usage_mappings_propose,
    usage_remap,
    usage_remap_preview,
)
from invoicing.services.usage_rules import (
    usage_mapping_rule_create,
    usage_mapping_rule_delete,
    usage_mapping_rule_update,
    usage_mapping_rules_reorder,
)
from tests.invoicing.usage.focus_files import focus_csv, row, small_file
from tests.invoicing.usage.test_import import draft_invoice_with
from tests.shared_data import shared_path


@pytest.fixture
def rule(group):
    def create(value="Engineering", department=None, **fields):
        fields = {"actor": group.finance, "entity": group.root, "tag_key": "business_unit", **fields}
        return usage_mapping_rule_create(value=value, department=department or group.engineering, **fields)

    return create


def choices_of(proposed):
    return [
        MappingChoice(found.value, found.department, found.entity, found.code, found.name)
        for found in proposed.open
    ]


# --- rules --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"value": "  "}, "/value"),
        ({"value": "x" * 256}, "/value"),
        ({"tag_key": ""}, "/tag_key"),
        ({"source": "service"}, "/tag_key"),
        ({"source": "weekday"}, "/source"),
        ({"value": "a\0"}, "/value"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(rule, fields, pointer):
    with pytest.raises(Invalid) as refused:
        rule(**fields)
    assert [problem.pointer for problem in refused.value.errors] == [pointer]
    assert UsageMappingRule.objects.count() == 0


def test_a_rule_may_lead_below_its_entity_but_not_beside_it(rule, group):
    assert rule(department=group.german_sales).department == group.german_sales
    with pytest.raises(Invalid) as refused:
        rule("Other", entity=group.germany, department=group.engineering)
    assert refused.value.errors[0].code == "department_of_other_entity"


def test_one_rule_per_value(rule):
    rule()
    with pytest.raises(Conflict) as refused:
        rule()
    assert refused.value.code == "already_exists"


def test_rules_are_changed_with_history_and_version(rule, group):
    made = rule()
    changed = usage_mapping_rule_update(
        actor=group.finance, rule=made, expected_version=1, value="Operations"
    )
    assert (changed.value, changed.version) == ("Operations", 2)
    assert changed.history.first().history_user == group.finance
    with pytest.raises(Stale):
        usage_mapping_rule_update(actor=group.finance, rule=made, expected_version=1, value="Lost")
    with pytest.raises(Forbidden):
        usage_mapping_rule_update(actor=group.users["auditor"], rule=made, value="Lost")
    usage_mapping_rule_delete(actor=group.finance, rule=made, reason="Not needed")
    assert UsageMappingRule.objects.count() == 0


def test_rules_are_put_into_another_order(rule, group):
    rules = [rule(value) for value in "abc"]
    assert usage_mapping_rules_reorder(actor=group.finance, entity=group.root, rules=rules[::-1]) == 3
    assert [found.value for found in UsageMappingRule.objects.filter(entity=group.root)] == ["c", "b", "a"]
    with pytest.raises(Invalid) as refused:
        usage_mapping_rules_reorder(actor=group.finance, entity=group.root, rules=rules[:2])
    assert refused.value.code == "not_all_rules"


# --- proposals ----------------------------------------------------------------------------------------------


def propose(group, **options):
    if not {"file", "usage_import"} & options.keys():
        options["file"] = io.BytesIO(small_file("focus_1_0.csv"))
    return usage_mappings_propose(actor=group.finance, entity=group.root, **options)


def test_use_03_proposals_name_existing_departments_and_new_ones(group):
    proposed = propose(group)
    assert [
        (found.value, found.rows, found.department, found.code, found.name) for found in proposed.proposals
    ] == [
        ("Marketing", 1, group.marketing, "MKT", "Marketing"),
        ("Finance & Control", 1, None, "FINANCE-CONTROL", "Finance & Control"),
        ("Engineering", 2, group.engineering, "ENG", "Engineering"),
    ]
    assert proposed.proposals[2].cost == {"USD": Decimal("0.1000000005")}
    assert (proposed.untagged_rows, proposed.untagged_cost) == (2, {"USD": Decimal("2.15")})
    assert proposed.tag_keys == {"business_unit": 4, "environment": 1}
    assert UsageMappingRule.objects.count() == 0


def test_use_03_proposals_from_an_import_equal_those_from_its_file(group, take_in):
    done = take_in(small_file("focus_1_0.csv")).usage_import
    from_file, from_import = propose(group), propose(group, usage_import=done)
    assert from_import.proposals == from_file.proposals
    assert from_import.untagged_cost == from_file.untagged_cost
    assert from_import.tag_keys == from_file.tag_keys


def test_use_03_codes_are_readable_and_free(group):
    values = ["PeoriaData", "peoria data", "R & D (Basel)", "???", "Größe", "x" * 80, "PEORIA-DATA"]
    rows = [row(Tags=json.dumps({"business_unit": value}), ResourceName=value) for value in values]
    codes = {found.value: found.code for found in propose(group, file=io.BytesIO(focus_csv(rows))).proposals}
    assert codes["PEORIA-DATA"] == "PEORIA-DATA"
    assert {codes["PeoriaData"], codes["peoria data"]} == {"PEORIA-DATA-2", "PEORIA-DATA-3"}
    assert (codes["R & D (Basel)"], codes["???"], codes["Größe"]) == ("R-D-BASEL", "DEPARTMENT", "GRÖSSE")
    assert len(codes["x" * 80]) == 50


def test_use_03_applied_proposals_map_the_rows_that_are_in(group, take_in):
    done = take_in(small_file("focus_1_0.csv")).usage_import
    applied = usage_mappings_apply(actor=group.finance, entity=group.root, choices=choices_of(propose(group)))
    assert [department.code for department in applied.departments] == ["FINANCE-CONTROL"]
    assert len(applied.rules) == 3
    assert import_totals(done)[0].allocated_rows == 0
    preview = usage_remap_preview(actor=group.finance, entity=group.root)
    moved = usage_remap(actor=group.finance, entity=group.root)
    assert moved == preview
    assert (moved.rows, moved.cost) == (4, {"USD": Decimal("2.1000000005")})
    (totals,) = import_totals(done)
    assert (totals.allocated_cost, totals.unallocated_cost) == (Decimal("2.1000000005"), Decimal("2.15"))
    again = propose(group)
    assert again.open == []
    assert usage_mappings_apply(actor=group.finance, entity=group.root, choices=choices_of(again)).rules == []
    assert usage_remap(actor=group.finance, entity=group.root).rows == 0


def test_use_03_all_or_none_of_the_proposals_are_applied(group):
    choices = [MappingChoice("A", code="AAA", name="A"), MappingChoice("B", code="", name="B")]
    before = Department.objects.count()
    with pytest.raises(Invalid):
        usage_mappings_apply(actor=group.finance, entity=group.root, choices=choices)
    assert (Department.objects.count(), UsageMappingRule.objects.count()) == (before, 0)


def test_use_03_new_departments_may_go_into_an_entity_below(group):
    proposed = propose(group, into=group.germany)
    new = [found for found in proposed.proposals if found.department is None]
    assert {found.entity for found in new} == {group.germany}
    with pytest.raises(Invalid) as refused:
        propose(group, into=group.other_root)
    assert refused.value.code == "entity_outside"


def test_use_03_a_tag_with_too_many_values_names_no_departments(group, monkeypatch):
    monkeypatch.setattr("invoicing.services.usage_mapping._MOST_VALUES", 2)
    with pytest.raises(Invalid) as refused:
        propose(group)
    assert refused.value.code == "too_many_values"


def test_use_03_the_shared_sample_is_mapped_by_its_own_tag(group):
    path = shared_path("data/focus/focus_sample.csv")
    with path.open("rb") as file:
        proposed = propose(group, file=file)
        usage_mappings_apply(actor=group.finance, entity=group.root, choices=choices_of(proposed))
        done = usage_file_import(
            actor=group.finance, entity=group.root, file=file, file_name=path.name
        ).usage_import
    assert len(proposed.proposals) == 301
    assert sum(found.rows for found in proposed.proposals) + proposed.untagged_rows == 1000
    (totals,) = import_totals(done)
    assert totals.cost == totals.allocated_cost + totals.unallocated_cost == Decimal("20.52022672899")
    assert (totals.allocated_rows, totals.unallocated_rows) == (660, 340)
    assert totals.unallocated_cost == proposed.untagged_cost["USD"]


# --- mapping anew -------------------------------------------------------------------------------------------


def test_use_03_billed_rows_never_move(group, take_in, rule):
    take_in(focus_csv([row(), row(BilledCost="2")]))
    draft_invoice_with(UsageRecord.objects.get(billed_cost=2), group)
    rule()
    moved = usage_remap(actor=group.finance, entity=group.root)
    assert (moved.rows, moved.cost) == (1, {"USD": Decimal("1.500000000000000")})
    assert UsageRecord.objects.get(billed_cost=2).department is None


def test_use_03_remap_of_all_unbilled_rows_follows_changed_rules(group, take_in, rule):
    made = rule()
    take_in(focus_csv([row()]))
    usage_mapping_rule_update(actor=group.finance, rule=made, department=group.german_sales)
    assert usage_remap(actor=group.finance, entity=group.root).rows == 0
    moved = usage_remap(actor=group.finance, entity=group.root, scope=RemapScope.UNBILLED)
    assert [(move.from_department_id, move.to_department_id) for move in moved.moves] == [
        (group.engineering.pk, group.german_sales.pk)
    ]
    record = UsageRecord.objects.get()
    assert (record.department, record.entity, record.mapping_rule) == (
        group.german_sales,
        group.germany,
        made,
    )
    usage_mapping_rule_update(actor=group.finance, rule=made, is_active=False)
    usage_remap(actor=group.finance, entity=group.root, scope=RemapScope.UNBILLED)
    record = UsageRecord.objects.get()
    assert (record.department, record.entity, record.mapping_rule) == (None, group.root, None)


def test_use_03_remap_of_one_import_leaves_the_others(group, take_in, rule):
    first = take_in(focus_csv([row()])).usage_import
    take_in(focus_csv([row(BilledCost="2")]))
    rule()
    assert usage_remap(actor=group.finance, entity=group.root, usage_import=first).rows == 1
    assert UsageRecord.objects.unallocated().count() == 1


def test_ent_04_remap_needs_the_right(group, take_in):
    with pytest.raises(Forbidden):
        usage_remap(actor=group.users["auditor"], entity=group.root)
    with pytest.raises(Forbidden):
        usage_mappings_apply(actor=group.users["auditor"], entity=group.root, choices=[])


def test_usage_counts_as_cost_of_its_department(group, take_in, rule):
    rule()
    take_in(
        focus_csv([row(), row(BilledCost="0.00000000001"), row(ChargePeriodStart="2024-08-31T00:00:00Z")])
    )
    start, end = UsageRecord.objects.first().charge_date.replace(day=1), None
    end = start.replace(month=start.month + 2) if start.month == 8 else start.replace(month=start.month + 1)
    rows = {
        (found.month.isoformat(), found.source, found.gl_code, found.currency): found.amount
        for found in cost_rows([group.engineering.pk], start.replace(month=8), end)
    }
    assert rows == {
        ("2024-08-01", "usage", "6200", "USD"): Decimal("1.5"),
        ("2024-09-01", "usage", "6200", "USD"): Decimal("1.50000000001"),
    }
