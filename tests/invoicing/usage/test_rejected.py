"""Rejected rows: put right, tried again, discarded (USE-02)."""

from datetime import date
from decimal import Decimal

import pytest

from core.errors import Conflict, Forbidden, Invalid
from core.models import ExchangeRate
from invoicing.models import RejectedRow, UsageRecord
from invoicing.selectors.usage import rejected_counts
from invoicing.services.usage_imports import usage_import_undo
from invoicing.services.usage_rejected import (
    rejected_row_discard,
    rejected_row_problems,
    rejected_row_repair,
    rejected_rows_retry,
)
from invoicing.services.usage_rules import usage_mapping_rule_create
from tests.invoicing.usage.conftest import fresh
from tests.invoicing.usage.focus_files import HEADER, focus_csv, row


@pytest.fixture
def rejected(take_in):
    """The first row that was refused when this row was imported beside a good one."""

    def make(**values) -> RejectedRow:
        take_in(focus_csv([row(), row(**values)]))
        return RejectedRow.objects.select_related("usage_import").get()

    return make


def test_use_02_a_repaired_row_goes_in_and_is_mapped(rejected, group):
    found = rejected(BilledCost="NaN", BillingCurrency="usd")
    usage_mapping_rule_create(
        actor=group.finance,
        entity=group.root,
        tag_key="business_unit",
        value="Engineering",
        department=group.engineering,
    )
    assert {problem.column for problem in rejected_row_problems(found, {"BillingCurrency": "USD"})} == {
        "BilledCost"
    }
    repaired = rejected_row_repair(
        actor=group.finance, rejected_row=found, values={"BilledCost": "0.25", "BillingCurrency": "USD"}
    )
    record = UsageRecord.objects.get(line_number=3)
    assert (repaired.status, repaired.record) == ("repaired", record)
    assert (record.billed_cost, record.department, record.usage_import) == (
        Decimal("0.25"), group.engineering, found.usage_import,
    )  # fmt: skip
    assert repaired.values["BilledCost"] == "0.25"
    assert repaired.problems[0]["code"] == "amount_not_finite"
    after = fresh(found.usage_import)
    assert (after.rows_read, after.rows_imported, after.rows_rejected, after.rows_repaired) == (2, 1, 1, 1)
    assert after.billed_cost == {"USD": "1.75"}
    assert repaired.history.first().history_user == group.finance


def test_use_02_a_row_that_is_still_wrong_changes_nothing(rejected, group):
    found = rejected(BilledCost="NaN")
    with pytest.raises(Invalid) as refused:
        rejected_row_repair(
            actor=group.finance, rejected_row=found, values={"BilledCost": "1e400", "ChargePeriodEnd": "soon"}
        )
    assert refused.value.code == "row_still_wrong"
    assert [(problem.pointer, problem.code) for problem in refused.value.errors] == [
        ("/values/BilledCost", "amount_too_large"),
        ("/values/ChargePeriodEnd", "bad_timestamp"),
    ]
    after = RejectedRow.objects.get()
    assert (after.status, after.values["BilledCost"]) == ("open", "NaN")
    assert UsageRecord.objects.count() == 1
    assert fresh(found.usage_import).rows_repaired == 0


def test_use_02_a_row_equal_to_one_of_another_import_would_be_charged_twice(rejected, group, take_in):
    found = rejected(BilledCost="NaN")
    other = take_in(focus_csv([row(BilledCost="7")])).usage_import
    with pytest.raises(Conflict) as refused:
        rejected_row_repair(actor=group.finance, rejected_row=found, values={"BilledCost": "7"})
    assert (refused.value.code, refused.value.extra) == ("duplicate_row", {"usage_import_ids": [other.pk]})
    assert RejectedRow.objects.get().status == "open"


def test_use_02_a_row_equal_to_one_of_its_own_file_is_a_charge_of_its_own(rejected, group):
    found = rejected(BilledCost="NaN")
    rejected_row_repair(actor=group.finance, rejected_row=found, values={"BilledCost": "1.5"})
    assert sorted(UsageRecord.objects.values_list("occurrence", flat=True)) == [1, 2]


def test_use_02_a_line_that_was_no_row_is_typed_in(take_in, group):
    take_in(focus_csv([row()]) + b'1.5,"4200\n')
    found = RejectedRow.objects.get()
    assert (found.raw_text, found.problems[0]["code"]) == ('1.5,"4200', "unterminated_quote")
    rejected_row_repair(actor=group.finance, rejected_row=found, values=row(BilledCost="3"))
    assert UsageRecord.objects.filter(billed_cost=3).count() == 1


def test_use_02_surplus_values_must_be_moved(take_in, group):
    take_in(focus_csv([row()]).replace(b"VM hour", b"VM, hour"))
    found = RejectedRow.objects.get()
    values = row()
    with pytest.raises(Invalid) as refused:
        rejected_row_repair(actor=group.finance, rejected_row=found, values=values)
    assert refused.value.errors[0].code == "surplus_value"
    rejected_row_repair(actor=group.finance, rejected_row=found, values={**values, "Field 15": ""})
    assert UsageRecord.objects.count() == 1
    assert "Field 15" not in RejectedRow.objects.get().values


def test_use_02_unknown_columns_are_named(rejected, group):
    found = rejected(BilledCost="NaN")
    with pytest.raises(Invalid) as refused:
        rejected_row_repair(actor=group.finance, rejected_row=found, values={"Billed/Cost": "1"})
    assert (refused.value.code, refused.value.errors[0].pointer) == ("unknown_column", "/values/Billed~1Cost")
    assert HEADER[0] in refused.value.message


def test_use_02_a_discarded_row_stays_listed_with_its_reason(rejected, group):
    found = rejected(BilledCost="NaN")
    with pytest.raises(Invalid):
        rejected_row_discard(actor=group.finance, rejected_row=found, reason=" ")
    gone = rejected_row_discard(actor=group.finance, rejected_row=found, reason="A test row")
    assert (gone.status, gone.resolution_reason) == ("discarded", "A test row")
    for work in (
        lambda: rejected_row_discard(actor=group.finance, rejected_row=found, reason="again"),
        lambda: rejected_row_repair(actor=group.finance, rejected_row=found, values={"BilledCost": "1"}),
    ):
        with pytest.raises(Conflict) as refused:
            work()
        assert refused.value.code == "row_not_open"


def test_use_02_rows_that_waited_for_a_rate_go_in_once_it_is_there(take_in, group):
    waiting = [row(BillingCurrency="ISK", ResourceName=f"vm-{number}") for number in range(3)]
    done = take_in(
        focus_csv([row(), *waiting, row(BillingCurrency="ISK", BilledCost="x"), row(Tags="x")])
    ).usage_import
    result = rejected_rows_retry(actor=group.finance, usage_import=done)
    assert (result.tried, result.repaired) == (3, 0)
    ExchangeRate.objects.create(date=date(2020, 1, 1), base="EUR", quote="ISK", rate=150, source="ECB")
    result = rejected_rows_retry(actor=group.finance, usage_import=done)
    assert (result.tried, result.repaired, result.duplicate) == (3, 3, 0)
    after = fresh(done)
    assert after.billed_cost == {"ISK": "4.50", "USD": "1.50"} or after.billed_cost == {
        "ISK": "4.5",
        "USD": "1.50",
    }
    assert after.rows_repaired == 3
    counts = rejected_counts(after)
    assert (counts.open, counts.repaired) == (2, 3)
    for repaired in RejectedRow.objects.filter(status="repaired"):
        assert repaired.record.line_number == repaired.line_number
        assert repaired.history.first().history_change_reason == "Tried again"


def test_use_02_a_cut_off_line_is_never_taken_in_without_a_person(take_in, group):
    done = take_in(focus_csv([row(), row(BilledCost="2")])[:-40]).usage_import
    assert rejected_rows_retry(actor=group.finance, usage_import=done).tried == 0


def test_undo_takes_repaired_rows_out_too(rejected, group):
    found = rejected(BilledCost="NaN")
    rejected_row_repair(actor=group.finance, rejected_row=found, values={"BilledCost": "2"})
    usage_import_undo(actor=group.finance, usage_import=fresh(found.usage_import), reason="Wrong")
    assert UsageRecord.objects.count() == 0
    gone = RejectedRow.objects.get()
    assert (gone.status, gone.record) == ("discarded", None)
    with pytest.raises(Conflict) as refused:
        rejected_row_repair(actor=group.finance, rejected_row=gone, values={})
    assert refused.value.code == "import_not_completed"


def test_ent_04_repair_needs_the_right(rejected, group):
    found = rejected(BilledCost="NaN")
    with pytest.raises(Forbidden):
        rejected_row_repair(actor=group.users["auditor"], rejected_row=found, values={"BilledCost": "1"})
    with pytest.raises(Forbidden):
        rejected_row_discard(actor=group.users["auditor"], rejected_row=found, reason="x")
    with pytest.raises(Forbidden):
        rejected_rows_retry(actor=group.users["auditor"], usage_import=found.usage_import)
