"""Taking files in: once, whole or not at all, to the last digit (USE-01 to USE-04)."""

import gzip
import io
from decimal import Decimal

import pytest
import time_machine
from django.db import DatabaseError, connection, transaction

from core import clock, progress
from core.access import system_actor
from core.errors import Conflict, Forbidden, Invalid
from core.models import OutboxEvent
from invoicing.models import (
    BilledItem,
    ImportStatus,
    Invoice,
    InvoiceLine,
    RejectedRow,
    UsageImport,
    UsageRecord,
)
from invoicing.selectors.usage import import_departments, import_totals, rejected_counts
from invoicing.services import usage_storage
from invoicing.services.usage_imports import (
    progress_key,
    usage_import_register,
    usage_import_retry,
    usage_import_run,
    usage_import_undo,
)
from invoicing.services.usage_rules import usage_mapping_rule_create
from tests.invoicing.usage.conftest import fresh
from tests.invoicing.usage.focus_files import focus_csv, numbered, row, small_file
from tests.shared_data import shared_path

SAMPLE_TOTAL = Decimal("20.52022672899")


def total_of(records) -> Decimal:
    return sum((record.billed_cost for record in records), Decimal(0))


# --- USE-01 -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["focus_1_0.csv", "focus_1_1.csv", "focus_1_2.csv"])
def test_use_01_imports_each_version(take_in, name):
    done = take_in(small_file(name), file_name=name).usage_import
    assert done.status == ImportStatus.COMPLETED
    assert done.format_version == name[6:9].replace("_", ".")
    assert done.rows_imported == done.rows_read == UsageRecord.objects.count() > 0
    assert done.rows_rejected == done.rows_duplicate == done.rows_repeated == 0


def test_use_01_every_field_is_kept(take_in, group):
    take_in(small_file("focus_1_2.csv"))
    record = UsageRecord.objects.get(charge_description="Zone")
    assert (record.billed_cost, record.currency) == (Decimal("0.0075"), "EUR")
    assert record.effective_cost == record.list_cost == Decimal("0.1")
    assert record.contracted_cost is None
    assert record.tags == {"business_unit": "Zürich – Büro"}
    assert record.extra["x_CostCenter"] == "4712" and record.extra["InvoiceId"] == "INV-1"
    assert record.charge_period_start.isoformat() == "2024-11-15T00:00:00+00:00"
    assert (record.entity, record.root, record.department) == (group.root, group.root, None)
    assert record.line_number == 3


def test_use_01_text_that_looks_like_copy_s_own_marks_is_kept(take_in):
    names = [
        "\\N",
        "\\.",
        "a\tb",
        "back\\slash",
        'quote " here',
        "line\nbreak",
        "\\\\x41",
        "=HYPERLINK(1)",
        "é🦉",
    ]
    take_in(focus_csv([row(ResourceName=name) for name in names]))
    assert list(UsageRecord.objects.order_by("line_number").values_list("resource_name", flat=True)) == names


def test_use_01_the_shared_sample(take_in):
    done = take_in(shared_path("data/focus/focus_sample.csv").read_bytes()).usage_import
    assert (done.rows_read, done.rows_imported, done.rows_rejected) == (1000, 1000, 0)
    assert done.billed_cost == {"USD": "20.52022672899"}
    assert total_of(UsageRecord.objects.all()) == SAMPLE_TOTAL
    (totals,) = import_totals(done)
    assert totals.cost == totals.allocated_cost + totals.unallocated_cost == SAMPLE_TOTAL


# --- USE-02 -----------------------------------------------------------------------------------------------


def test_use_02_the_same_file_again_adds_nothing_and_says_so(take_in, group):
    first = take_in(small_file("focus_1_0.csv"))
    again = take_in(small_file("focus_1_0.csv"), file_name="another name.csv", entity=group.germany)
    assert not first.already_imported
    assert again.already_imported
    assert again.usage_import == first.usage_import
    assert f"already imported as #{first.usage_import.pk}" in again.message
    assert UsageImport.objects.count() == 1
    assert UsageRecord.objects.count() == 6


def test_use_02_another_group_may_import_the_same_file(take_in, group):
    take_in(small_file("focus_1_0.csv"))
    other = take_in(
        small_file("focus_1_0.csv"), entity=group.other_root, actor=group.users["outsider"]
    ).usage_import
    assert (other.rows_imported, other.rows_duplicate) == (6, 0)


def test_use_02_an_overlapping_file_adds_only_what_is_new(take_in):
    first = take_in(focus_csv(numbered(10))).usage_import
    second = take_in(focus_csv(numbered(15)[5:])).usage_import
    assert (second.rows_read, second.rows_imported, second.rows_duplicate) == (10, 5, 5)
    assert second.overlaps == {str(first.pk): 5}
    assert (second.billed_cost, second.duplicate_cost) == ({"USD": "0.05"}, {"USD": "0.05"})
    assert UsageRecord.objects.count() == 15
    assert total_of(UsageRecord.objects.all()) == Decimal("0.15")


def test_use_02_equal_rows_of_one_file_are_charges_of_their_own(take_in):
    done = take_in(focus_csv([row(), row(), row(BilledCost="1.50"), row(BilledCost="2")])).usage_import
    assert (done.rows_imported, done.rows_repeated, done.rows_duplicate) == (4, 2, 0)
    assert done.billed_cost == {"USD": "6.50"}
    assert sorted(UsageRecord.objects.values_list("occurrence", flat=True)) == [1, 1, 2, 3]
    more = take_in(focus_csv([row() for _ in range(4)])).usage_import
    assert (more.rows_imported, more.rows_duplicate, more.rows_repeated) == (1, 3, 3)
    assert UsageRecord.objects.count() == 5


def test_use_02_a_file_whose_rows_are_all_in_completes_with_nothing_added(take_in):
    take_in(focus_csv(numbered(3)))
    again = take_in(focus_csv(list(reversed(numbered(3))))).usage_import
    assert again.status == ImportStatus.COMPLETED
    assert (again.rows_imported, again.rows_duplicate, again.billed_cost) == (0, 3, {})


def test_use_02_malformed_rows_are_kept_and_the_others_go_in(take_in):
    rows = [
        row(),
        row(BilledCost="NaN"),
        row(BilledCost="1e400"),
        row(BilledCost="2"),
        row(BillingCurrency="ISK"),
    ]
    done = take_in(focus_csv(rows)).usage_import
    assert done.status == ImportStatus.COMPLETED
    assert (done.rows_read, done.rows_imported, done.rows_rejected) == (5, 2, 3)
    kept = {found.line_number: found for found in RejectedRow.objects.all()}
    assert {line: found.problems[0]["code"] for line, found in kept.items()} == {
        3: "amount_not_finite",
        4: "amount_too_large",
        6: "no_exchange_rate",
    }
    assert kept[3].values["BilledCost"] == "NaN"
    assert sorted(kept[3].values) == sorted(done.columns)
    assert rejected_counts(done).open == 3


def test_use_02_a_file_of_which_every_row_is_refused_completes_and_can_be_repaired(take_in):
    done = take_in(focus_csv([row(BilledCost="NaN"), row(Tags="x")])).usage_import
    assert (done.status, done.rows_imported, done.rows_rejected) == (ImportStatus.COMPLETED, 0, 2)


def test_use_02_a_currency_reached_through_the_euro_has_a_rate(take_in, group):
    done = take_in(focus_csv([row(BillingCurrency="EUR"), row()]), entity=group.japan).usage_import
    assert done.rows_rejected == 2
    from core.models import ExchangeRate

    ExchangeRate.objects.create(date=clock.today(), base="EUR", quote="JPY", rate=160, source="ECB")
    done = take_in(
        focus_csv([row(BillingCurrency="EUR"), row(), row(BillingCurrency="ISK")]), entity=group.japan
    )
    assert (done.usage_import.rows_imported, done.usage_import.rows_rejected) == (2, 1)


@pytest.mark.parametrize(
    ("content", "code", "line"),
    [
        (b"", "empty_file", None),
        (focus_csv([]), "no_rows", None),
        (b"BilledCost,BillingCurrency\n1,USD\n", "not_focus", 1),
        (b"PK\x03\x04....", "not_csv", None),
        (focus_csv(numbered(10)) + b"x" * (1 << 20) + b"\n", "line_too_long", 12),
    ],
)
def test_use_02_a_refused_file_leaves_a_failed_import_and_nothing_else(take_in, content, code, line):
    result = take_in(content)
    failed = result.usage_import
    assert failed.status == ImportStatus.FAILED
    assert (failed.error_code, failed.error_line) == (code, line)
    assert result.message == failed.error_message != ""
    assert UsageRecord.objects.count() == RejectedRow.objects.count() == 0
    assert progress.read(progress_key(failed.pk)).state == "failed"
    again = take_in(content)
    assert again.usage_import.pk == failed.pk, "trying again leaves one line in the list"


def test_use_02_the_database_refusing_marks_the_import_failed_and_leaves_nothing(take_in, monkeypatch):
    def refuse(self):
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 / 0")

    monkeypatch.setattr(usage_storage.UsageStore, "_prove_sums", refuse)
    with pytest.raises(DatabaseError):
        take_in(focus_csv(numbered(3)))
    failed = UsageImport.objects.get()
    assert (failed.status, failed.error_code) == (ImportStatus.FAILED, "database_error")
    assert UsageRecord.objects.count() == 0


def test_use_02_sums_that_differ_stop_the_import(take_in, monkeypatch):
    take_in(focus_csv(numbered(3)))
    # As if rows that were not inserted had got lost, rather than been in already.
    monkeypatch.setattr(usage_storage.UsageStore, "_find_duplicates", lambda self: None)
    failed = take_in(focus_csv(numbered(4))).usage_import
    assert (failed.status, failed.error_code) == (ImportStatus.FAILED, "import_sums_differ")
    assert UsageRecord.objects.count() == 3


@pytest.fixture
def small_portions(monkeypatch):
    """Portions of three rows, so that equal rows and rejected ones fall into different portions."""
    monkeypatch.setattr(usage_storage, "_ROWS_PER_PORTION", 3)
    monkeypatch.setattr(usage_storage, "_REJECTED_PER_PORTION", 2)


def test_use_02_equal_rows_far_apart_are_charges_of_their_own(take_in, small_portions):
    rows = [row(), *numbered(4), row(), row(BilledCost="NaN"), row(), *numbered(2), row(Tags="x"), row()]
    done = take_in(focus_csv(rows)).usage_import
    assert (done.rows_read, done.rows_imported, done.rows_rejected, done.rows_repeated) == (12, 10, 2, 5)
    assert sorted(UsageRecord.objects.filter(resource_name="vm-1").values_list("occurrence", flat=True)) == [
        1, 1, 2, 2, 3, 4,
    ]  # fmt: skip
    assert done.billed_cost == {"USD": "6.06"}
    later = take_in(focus_csv([row() for _ in range(7)] + numbered(5))).usage_import
    assert (later.rows_imported, later.rows_duplicate, later.rows_repeated) == (4, 8, 6)
    assert later.overlaps == {str(done.pk): 8}
    assert (later.billed_cost, later.duplicate_cost) == ({"USD": "4.51"}, {"USD": "6.04"})


@pytest.mark.parametrize("statement", ["_KEEP_LEFT", "_WANTED"])
def test_use_02_rows_are_found_by_their_content_whatever_the_statistics_say(take_in, statement):
    """Statistics of one import make PostgreSQL expect no row of another: it must not read all of them each time."""
    first = take_in(focus_csv(numbered(50) * 20)).usage_import
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("ANALYZE usage_records")
        usage_storage.UsageStore(first)
        cursor.execute(f"EXPLAIN {getattr(usage_storage, statement)}", [first.root_id, first.pk + 1])
        plan = "\n".join(line for (line,) in cursor.fetchall())
    assert "usage_records_usage_import_id" not in plan, plan


def test_use_02_a_file_of_equal_rows_only(take_in, small_portions):
    done = take_in(focus_csv([row() for _ in range(20)])).usage_import
    assert (done.rows_imported, done.rows_repeated, done.billed_cost) == (20, 19, {"USD": "30.00"})
    assert sorted(UsageRecord.objects.values_list("occurrence", flat=True)) == list(range(1, 21))


def test_use_02_a_file_that_breaks_after_rows_were_stored_leaves_nothing(take_in, small_portions):
    failed = take_in(gzip.compress(focus_csv(numbered(5000)))[:-500]).usage_import
    assert (failed.status, failed.error_code) == (ImportStatus.FAILED, "truncated_gzip")
    assert UsageRecord.objects.count() == 0


def test_use_02_a_failed_import_is_started_again_from_the_kept_file(take_in, group, monkeypatch):
    monkeypatch.setattr(usage_storage.UsageStore, "_prove_sums", lambda self: _stop())
    failed = take_in(focus_csv(numbered(3))).usage_import
    assert failed.status == ImportStatus.FAILED
    monkeypatch.undo()
    waiting = usage_import_retry(actor=group.finance, usage_import=failed)
    assert (waiting.status, waiting.error_code) == (ImportStatus.WAITING, "")
    done = usage_import_run(actor=group.finance, usage_import=failed).usage_import
    assert (done.status, done.rows_imported, done.error_code) == (ImportStatus.COMPLETED, 3, "")
    with pytest.raises(Conflict) as refused:
        usage_import_retry(actor=group.finance, usage_import=done)
    assert refused.value.code == "import_not_retryable"
    assert usage_import_run(actor=group.finance, usage_import=done).already_imported


def _stop():
    raise Conflict("import_sums_differ", "stopped by the test")


def test_use_02_a_kept_file_that_is_gone_is_said(group):
    registered = usage_import_register(
        actor=group.finance, entity=group.root, file=io.BytesIO(focus_csv(numbered(1))), file_name="a.csv"
    ).usage_import
    registered.file.storage.delete(registered.file.name)
    failed = usage_import_run(actor=group.finance, usage_import=registered).usage_import
    assert (failed.status, failed.error_code) == (ImportStatus.FAILED, "file_missing")


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "C:\\temp\\usage.csv", "a\0b.csv", "", "x" * 400 + ".csv"]
)
def test_use_02_file_names_are_only_names(take_in, name):
    done = take_in(focus_csv(numbered(1)), file_name=name).usage_import
    assert "/" not in done.file_name and "\\" not in done.file_name and "\0" not in done.file_name
    assert done.file.name.startswith("usage/") and ".." not in done.file.name


# --- USE-03, USE-04 ---------------------------------------------------------------------------------------


def rule(group, value, department, **fields):
    fields = {"tag_key": "business_unit", **fields}
    return usage_mapping_rule_create(
        actor=group.finance,
        entity=fields.pop("entity", group.root),
        value=value,
        department=department,
        **fields,
    )


def test_use_03_rows_go_to_departments_by_ordered_rules(take_in, group):
    by_tag = rule(group, "Engineering", group.engineering)
    rule(group, "78", group.it, source="sub_account", tag_key="", priority=50)
    rule(group, "Database", group.marketing, source="service", tag_key="", priority=200)
    rule(group, "Cumulus", group.it, source="service", tag_key="", priority=1)  # matches no service
    rule(group, "Marketing", group.german_sales)
    done = take_in(small_file("focus_1_0.csv")).usage_import
    found = {
        record.charge_description: (record.department, record.entity)
        for record in UsageRecord.objects.select_related("department", "entity")
    }
    assert found == {
        "VM hour": (group.engineering, group.root),
        "VM hour, large": (group.german_sales, group.germany),
        'Storage "hot" tier': (group.engineering, group.root),
        "Promotional credit\nfor September": (None, group.root),
        "Support": (group.it, group.root),
        "Database hour": (group.marketing, group.root),
    }
    assert UsageRecord.objects.get(charge_description="VM hour").mapping_rule == by_tag
    (totals,) = import_totals(done)
    assert totals.allocated_cost == Decimal("4.6000000005")
    assert totals.unallocated_cost == Decimal("-0.35")
    assert totals.cost == totals.allocated_cost + totals.unallocated_cost == Decimal("4.2500000005")
    assert [(line.code, line.rows) for line in import_departments(done)] == [
        ("IT", 1), ("VERTRIEB", 1), ("MKT", 1), ("ENG", 2), ("", 1),
    ]  # fmt: skip


def test_use_03_the_lowest_priority_wins_then_the_older_rule(take_in, group):
    first = rule(group, "Virtual Machines", group.it, source="service", tag_key="")
    rule(group, "Engineering", group.engineering)
    take_in(focus_csv([row()]))
    assert UsageRecord.objects.get().mapping_rule == first
    rule(group, "77", group.marketing, source="sub_account", tag_key="", priority=1)
    take_in(focus_csv([row(BilledCost="3")]))
    assert UsageRecord.objects.get(billed_cost=3).department == group.marketing


@pytest.mark.parametrize(
    ("source", "value", "tag_key"),
    [
        ("tag", "Engineering", "business_unit"),
        ("sub_account", "77", ""),
        ("sub_account", "Production", ""),
        ("billing_account", "4200", ""),
        ("billing_account", "Northwind", ""),
        ("service", "Virtual Machines", ""),
        ("tag", "prod", "environment"),
    ],
)
def test_use_03_each_source_of_rules(take_in, group, source, value, tag_key):
    rule(group, value, group.it, source=source, tag_key=tag_key)
    take_in(small_file("focus_1_0.csv"))
    assert UsageRecord.objects.get(charge_description="VM hour").department == group.it


def test_use_03_a_rule_counts_only_while_its_department_takes_cost(take_in, group):
    rule(group, "Engineering", group.engineering)
    rule(group, "Virtual Machines", group.it, source="service", tag_key="", priority=200)
    group.engineering.closed_on = clock.now().date().replace(year=2024, month=9, day=10)
    group.engineering.save()
    take_in(focus_csv([row(), row(ChargePeriodStart="2024-09-09 23:00:00", ChargePeriodEnd="2024-09-10")]))
    found = dict(UsageRecord.objects.values_list("charge_date__day", "department__code"))
    assert found == {10: "IT", 9: "ENG"}


def test_use_03_inactive_rules_and_rules_of_other_entities_do_not_count(take_in, group):
    rule(group, "Engineering", group.engineering, is_active=False)
    rule(group, "Engineering", group.german_sales, entity=group.germany)
    take_in(focus_csv([row()]))
    assert UsageRecord.objects.get().department is None
    take_in(focus_csv([row(BilledCost="9")]), entity=group.germany)
    assert UsageRecord.objects.get(billed_cost=9).department == group.german_sales


def test_use_03_very_small_and_very_large_amounts_sum_exactly(take_in):
    amounts = ["0.00000000001", "-0.000000000000001", "999999999999999.5", "0.1", "0.2", "-999999999999999.5"]
    done = take_in(focus_csv([row(BilledCost=amount) for amount in amounts])).usage_import
    assert done.billed_cost == {"USD": "0.300000000009999"}


def test_use_03_each_currency_has_its_own_sum(take_in):
    done = take_in(
        focus_csv([row(), row(BillingCurrency="EUR", BilledCost="2"), row(BilledCost="1")])
    ).usage_import
    assert done.billed_cost == {"EUR": "2.00", "USD": "2.50"}
    assert [(totals.currency, totals.rows) for totals in import_totals(done)] == [("EUR", 1), ("USD", 2)]


def test_use_04_a_row_belongs_to_the_day_in_utc_on_which_its_charge_period_starts(take_in):
    starts = ["2024-09-30T23:59:59Z", "2024-10-01T00:30:00+01:00", "2024-09-30T23:30:00-01:00"]
    take_in(focus_csv([row(ChargePeriodStart=start, ChargePeriodEnd="2024-10-02") for start in starts]))
    in_order = UsageRecord.objects.order_by("line_number").values_list("charge_date", flat=True)
    assert [day.isoformat() for day in in_order] == ["2024-09-30", "2024-09-30", "2024-10-01"]


# --- rights, records, progress ------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["auditor", "department_manager", "approver", "outsider"])
def test_ent_04_only_who_may_import_imports(take_in, group, role):
    with pytest.raises(Forbidden):
        take_in(focus_csv(numbered(1)), actor=group.users[role])
    assert UsageImport.objects.count() == 0


def test_ent_04_an_earlier_import_out_of_sight_is_not_shown(take_in, group):
    from tests.entities.factories import member

    take_in(small_file("focus_1_0.csv"))
    german = member(group.germany, "finance_staff")
    with pytest.raises(Conflict) as refused:
        take_in(small_file("focus_1_0.csv"), actor=german, entity=group.germany)
    assert refused.value.code == "already_imported"
    assert "#" not in refused.value.message


def test_progress_is_told_and_an_event_is_published(take_in):
    steps = []
    done = take_in(focus_csv(numbered(50)), on_progress=steps.append).usage_import
    assert [step.done for step in steps] == sorted(step.done for step in steps)
    assert steps[-1].done == steps[-1].total
    state = progress.read(progress_key(done.pk))
    assert (state.state, state.percent, state.message) == ("done", 100, "50 rows imported")
    event = OutboxEvent.objects.get(topic="usage.imported")
    assert event.payload["usage_import_id"] == done.pk


def test_history_tells_who_imported(take_in, group):
    with time_machine.travel("2024-10-02T08:00:00Z", tick=False):
        done = take_in(focus_csv(numbered(1))).usage_import
    latest = done.history.first()
    assert (latest.history_user, latest.status) == (group.finance, "completed")
    assert done.finished_at.isoformat() == "2024-10-02T08:00:00+00:00"


# --- undo ---------------------------------------------------------------------------------------------------


def draft_invoice_with(record: UsageRecord, group) -> Invoice:
    invoice = Invoice.objects.create(
        issuer=group.services,
        entity=group.root,
        bill_to=group.root,
        period_start="2024-09-01",
        period_end="2024-10-01",
        currency="USD",
        created_by=group.finance,
    )
    line = InvoiceLine.objects.create(
        invoice=invoice,
        line_number=1,
        kind="usage",
        entity=group.root,
        entity_name="Northwind",
        description="Usage",
        item_count=1,
        period_start="2024-09-01",
        period_end="2024-10-01",
        original_currency="USD",
        original_amount=record.billed_cost,
        exact_amount=record.billed_cost,
        amount=0,
        tax_category="O",
    )
    BilledItem.objects.create(invoice_line=line, usage_record=record)
    return invoice


def test_undo_takes_out_what_an_import_brought_and_frees_its_file(take_in, group):
    content = focus_csv([*numbered(3), row(BilledCost="x")])
    done = take_in(content).usage_import
    undone = usage_import_undo(actor=group.finance, usage_import=done, reason="Wrong month")
    assert (undone.status, undone.undone_by, undone.undo_reason) == ("undone", group.finance, "Wrong month")
    assert UsageRecord.objects.count() == 0
    rejected = RejectedRow.objects.get()
    assert (rejected.status, rejected.resolution_reason) == ("discarded", "Import undone: Wrong month")
    written = rejected.history.first()
    assert (written.history_user, written.status, written.history_change_reason) == (
        group.finance, "discarded", "Wrong month",
    )  # fmt: skip
    again = take_in(content).usage_import
    assert again.pk != done.pk
    assert again.rows_imported == 3


def test_undo_is_refused_while_a_row_is_billed(take_in, group):
    done = take_in(focus_csv(numbered(2))).usage_import
    invoice = draft_invoice_with(UsageRecord.objects.first(), group)
    with pytest.raises(Conflict) as refused:
        usage_import_undo(actor=group.finance, usage_import=done, reason="Wrong month")
    assert refused.value.code == "import_billed"
    assert refused.value.extra == {"invoice_ids": [invoice.pk]}
    assert UsageRecord.objects.count() == 2
    assert fresh(done).status == ImportStatus.COMPLETED


def test_undo_is_refused_while_a_later_import_relies_on_its_rows(take_in, group):
    first = take_in(focus_csv(numbered(3))).usage_import
    second = take_in(focus_csv(numbered(4))).usage_import
    with pytest.raises(Conflict) as refused:
        usage_import_undo(actor=group.finance, usage_import=first, reason="Wrong")
    assert refused.value.extra == {"usage_import_ids": [second.pk]}
    usage_import_undo(actor=group.finance, usage_import=second, reason="Wrong")
    usage_import_undo(actor=group.finance, usage_import=first, reason="Wrong")
    assert UsageRecord.objects.count() == 0


def test_undo_needs_a_reason_a_right_and_something_to_undo(take_in, group):
    done = take_in(focus_csv(numbered(1))).usage_import
    with pytest.raises(Invalid):
        usage_import_undo(actor=group.finance, usage_import=done, reason="  ")
    with pytest.raises(Forbidden):
        usage_import_undo(actor=group.users["auditor"], usage_import=done, reason="x")
    usage_import_undo(actor=system_actor(), usage_import=done, reason="x")
    for work in (usage_import_undo, usage_import_run, usage_import_retry):
        with pytest.raises(Conflict):
            work(
                actor=group.finance,
                usage_import=done,
                **({"reason": "x"} if work is usage_import_undo else {}),
            )


# --- what the database itself refuses -------------------------------------------------------------------------


def test_the_database_refuses_a_record_of_another_group(take_in, group):
    done = take_in(focus_csv(numbered(1))).usage_import
    record = UsageRecord.objects.get()
    record.pk, record.occurrence, record.root_id = None, 2, group.other_root.pk
    with pytest.raises(DatabaseError, match="usage_records_import_same_root"), transaction.atomic():
        record.save(force_insert=True)
        connection.check_constraints()
    assert done.records.count() == 1
