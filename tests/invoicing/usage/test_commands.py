"""The commands as people run them: figures, refusals, exit codes; killed and started again (USE-02)."""

import io
import os
import signal
import time
from datetime import date
from decimal import Decimal

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection

from core import progress
from core.models import ExchangeRate
from entities.models import Department
from invoicing.models import ImportStatus, RejectedRow, UsageImport, UsageMappingRule, UsageRecord
from invoicing.services.usage_imports import progress_key, usage_import_is_running, usage_import_register
from invoicing.tasks import import_usage, resume_usage_imports
from tests.entities.factories import Group
from tests.entities.factories import group as build_group
from tests.invoicing.usage.conftest import fresh
from tests.invoicing.usage.focus_files import focus_csv, numbered, row, small_file, write_large

WAIT_SECONDS = 120


@pytest.fixture
def file(tmp_path):
    """Write bytes to a file and return its path as text."""

    def write(content: bytes, name: str = "usage.csv") -> str:
        path = tmp_path / name
        path.write_bytes(content)
        return str(path)

    return write


def run(command: str, *arguments: str, **options) -> str:
    out = io.StringIO()
    call_command(command, *arguments, stdout=out, stderr=io.StringIO(), **options)
    return out.getvalue()


# --- import_focus -------------------------------------------------------------------------------------------


def test_import_tells_rows_and_exact_sums(group, file):
    told = run("import_focus", file(small_file("focus_1_0.csv")), "--entity", group.root.code)
    assert "FOCUS 1.0" in told
    assert "4.2500000005" in told
    assert "USD" in told
    done = UsageImport.objects.get()
    assert (done.status, done.rows_imported, done.created_by.is_system) == ("completed", 6, True)
    assert done.history.first().channel == "command"
    again = run("import_focus", file(small_file("focus_1_0.csv"), "copy.csv"), "--entity", str(group.root.pk))
    assert f"already imported as #{done.pk}" in again and "nothing was added" in again


def test_import_tells_the_first_rejected_rows_with_line_and_reason(group, file):
    told = run(
        "import_focus",
        file(focus_csv([row(), *[row(BilledCost="NaN", ResourceName=str(n)) for n in range(12)]])),
        "--entity",
        group.root.code,
        "--user",
        group.finance.username,
    )
    assert "line 3: An amount must be a finite number" in told
    assert "and 2 more" in told
    assert UsageImport.objects.get().created_by == group.finance


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "The file is empty"),
        (b"PK\x03\x04", "ZIP"),
        (b"a,b\n1,2\n", "Line 1: This is not a FOCUS export"),
    ],
)
def test_import_of_a_refused_file_fails(group, file, content, words):
    with pytest.raises(CommandError, match=words):
        run("import_focus", file(content), "--entity", group.root.code)


def test_import_names_what_it_does_not_find(group, file):
    with pytest.raises(CommandError, match="No such file"):
        run("import_focus", "/nowhere/usage.csv", "--entity", group.root.code)
    with pytest.raises(CommandError, match='There is no entity "NOBODY"'):
        run("import_focus", file(b"x"), "--entity", "NOBODY")
    with pytest.raises(CommandError, match='no active user "nobody"'):
        run("import_focus", file(b"x"), "--entity", group.root.code, "--user", "nobody")
    with pytest.raises(CommandError, match="You need the permission"):
        run(
            "import_focus", file(b"x"), "--entity", group.root.code, "--user", group.users["auditor"].username
        )


# --- proposals and remap ------------------------------------------------------------------------------------


def test_proposals_are_listed_and_applied(group, file):
    path = file(small_file("focus_1_0.csv"))
    run("import_focus", path, "--entity", group.root.code)
    listed = run("propose_usage_mappings", path, "--entity", group.root.code)
    assert "Finance & Control" in listed and "3 without a rule" in listed
    assert UsageMappingRule.objects.count() == 0
    run("propose_usage_mappings", path, "--entity", group.root.code, "--into", group.germany.code, "--apply")
    assert Department.objects.get(code="FINANCE-CONTROL").entity == group.germany
    assert UsageRecord.objects.unallocated().count() == 2
    with pytest.raises(CommandError, match="neither"):
        run("propose_usage_mappings", path, "--entity", group.germany.code, "--into", group.japan.code)


def test_proposals_as_csv_hold_no_formula(group, file):
    rows = [row(Tags='{"business_unit": "=HYPERLINK(\\"http://x\\")"}')]
    told = run(
        "propose_usage_mappings", file(focus_csv(rows)), "--entity", group.root.code, "--output", "csv"
    )
    assert told.splitlines()[0].startswith("value,rows,cost")
    assert "'=HYPERLINK" in told


def test_proposals_name_other_tags_where_there_is_none(group, file):
    told = run(
        "propose_usage_mappings", file(small_file("focus_1_0.csv")), "--entity", group.root.code, "--tag", "x"
    )
    assert "business_unit (4)" in told


def test_remap_previews_and_moves(group, file):
    path = file(small_file("focus_1_0.csv"))
    run("import_focus", path, "--entity", group.root.code)
    UsageMappingRule.objects.create(
        entity=group.root, tag_key="business_unit", value="Engineering", department=group.engineering
    )
    assert "2 rows would move." in run("remap_usage", "--entity", group.root.code, "--preview")
    assert UsageRecord.objects.unallocated().count() == 6
    told = run("remap_usage", "--entity", group.root.code)
    assert "0.1000000005 USD" in told and "2 rows moved." in told
    assert "0 rows moved." in run("remap_usage", "--entity", group.root.code, "--all")


# --- real processes -------------------------------------------------------------------------------------------


@pytest.fixture
def real_group(transactional_db) -> Group:
    """The group, committed: other processes see it."""
    ExchangeRate.objects.create(
        date=date(2024, 9, 2), base="EUR", quote="USD", rate=Decimal("1.1"), source="Treasury"
    )
    return build_group()


def wait_for(condition, what: str) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.02)


def nothing_is_in() -> bool:
    return UsageRecord.objects.count() == RejectedRow.objects.count() == 0


@pytest.mark.concurrency
def test_use_02_a_killed_import_leaves_nothing_and_runs_again(real_group, start_process, tmp_path):
    path = tmp_path / "large.csv"
    write_large(path, focus_csv([*numbered(500), row(BilledCost="NaN")]), 60)
    command = ("manage.py", "import_focus", str(path), "--entity", real_group.root.code)
    process = start_process(*command)
    wait_for(lambda: UsageImport.objects.filter(status="running").exists(), "running")
    running = UsageImport.objects.get()
    wait_for(lambda: (state := progress.read(progress_key(running.pk))) and state.done >= 300, "half read")
    assert usage_import_is_running(running)
    assert nothing_is_in()
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    wait_for(lambda: not usage_import_is_running(running), "its lock is free")
    assert nothing_is_in()
    assert fresh(running).status == ImportStatus.RUNNING
    again = start_process(*command)
    told = again.communicate(timeout=WAIT_SECONDS)[0]
    assert again.returncode == 0, told
    done = UsageImport.objects.get()
    assert done.pk == running.pk, "the same line of the list"
    assert (done.status, done.rows_imported, done.rows_rejected) == ("completed", 30_000, 60)
    assert done.billed_cost == {"USD": "300.00"}
    assert UsageRecord.objects.count() == 30_000


@pytest.mark.concurrency
def test_use_02_the_same_file_twice_at_once_is_in_once(real_group, start_process, tmp_path):
    path = tmp_path / "usage.csv"
    write_large(path, focus_csv(numbered(500)), 10)
    command = ("manage.py", "import_focus", str(path), "--entity")
    processes = [
        start_process(*command, entity.code)
        for entity in (real_group.root, real_group.root, real_group.germany)
    ]
    told = [process.communicate(timeout=WAIT_SECONDS)[0] for process in processes]
    assert UsageRecord.objects.count() == 5000, told
    assert UsageImport.objects.filter(status="completed").count() == 1
    assert sum("already imported as #" in text for text in told) == 2, told
    assert not UsageImport.objects.exclude(status__in=["completed", "failed"]).exists()


@pytest.mark.concurrency
def test_use_02_two_files_with_the_same_rows_at_once(real_group, start_process, tmp_path):
    paths = []
    for number, rows in enumerate((numbered(3000), list(reversed(numbered(4000))))):
        paths.append(tmp_path / f"{number}.csv")
        paths[-1].write_bytes(focus_csv(rows))
    processes = [
        start_process("manage.py", "import_focus", str(path), "--entity", real_group.root.code)
        for path in paths
    ]
    for process in processes:
        told = process.communicate(timeout=WAIT_SECONDS)[0]
        assert process.returncode == 0, told
    assert UsageRecord.objects.count() == 4000
    first, second = UsageImport.objects.order_by("finished_at")
    assert first.rows_imported + second.rows_imported == 4000
    assert second.rows_duplicate == 3000


def worker_import(group: Group, content: bytes) -> UsageImport:
    registered = usage_import_register(
        actor=group.finance, entity=group.root, file=io.BytesIO(content), file_name="usage.csv"
    ).usage_import
    import_usage.delay(registered.pk, group.finance.pk)
    wait_for(lambda: fresh(registered).status in {"completed", "failed"}, "the worker has done it")
    return fresh(registered)


@pytest.mark.concurrency
def test_a_worker_takes_files_in_and_tells_the_uploader(real_group, celery_worker_process):
    done = worker_import(real_group, small_file("focus_1_0.csv"))
    assert (done.status, done.rows_imported) == ("completed", 6)
    wait_for(lambda: real_group.finance.notifications.exists(), "a notification")
    told = real_group.finance.notifications.get()
    assert told.title == "usage.csv: 6 rows imported"
    assert told.url == f"/admin/invoicing/usageimport/{done.pk}/change/"
    assert done.history.first().channel == "import"
    failed = worker_import(real_group, b"a,b\n")
    assert (failed.status, failed.error_code) == ("failed", "not_focus")


@pytest.mark.concurrency
def test_imports_that_nobody_works_on_are_taken_up(real_group, celery_worker_process):
    registered = usage_import_register(
        actor=real_group.finance,
        entity=real_group.root,
        file=io.BytesIO(focus_csv(numbered(2))),
        file_name="a.csv",
    ).usage_import
    UsageImport.objects.filter(pk=registered.pk).update(updated_at="2024-01-01T00:00:00Z")
    resume_usage_imports()
    wait_for(lambda: fresh(registered).status == "completed", "taken up")


# On Linux ru_maxrss begins with what the starting process held, so the high-water mark of the image itself is read.
MEASURE = """
import pathlib, resource, sys
import django
def peak_memory():
    status = pathlib.Path("/proc/self/status")
    if status.exists():
        return int(status.read_text().split("VmHWM:")[1].split()[0]) // 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 2**20
django.setup()
from core.access import system_actor
from entities.models import Entity
from invoicing.services.usage_imports import usage_file_import
with open(sys.argv[1], "rb") as file:
    done = usage_file_import(
        actor=system_actor(), entity=Entity.objects.get(pk=sys.argv[2]), file=file, file_name="measured.csv"
    ).usage_import
assert done.status == "completed", done.error_message
print("peak", peak_memory())
"""


@pytest.mark.slow
@pytest.mark.concurrency
def test_use_01_memory_stays_flat(real_group, start_process, tmp_path):
    """100,000 rows need less than 300 MB, and hardly more than 10,000."""
    template = focus_csv(
        [
            row(BilledCost=f"0.{number:09d}", ResourceName=f"vm-{number}", SubAccountId=str(number % 70))
            for number in range(1000)
        ]
    )
    peaks = []
    for copies in (10, 100):
        path = tmp_path / f"{copies}.csv"
        write_large(path, template, copies)
        process = start_process("-c", MEASURE, str(path), str(real_group.root.pk))
        told = process.communicate(timeout=600)[0]
        assert process.returncode == 0, told
        peaks.append(int(told.split("peak ")[1]))
    assert UsageRecord.objects.count() == 100_000, "the rows of the smaller file are the first of the larger"
    assert peaks[1] < 300, peaks
    assert peaks[1] - peaks[0] < 40, peaks
    with connection.cursor() as cursor:
        cursor.execute("SELECT sum(billed_cost) FROM usage_records")
        assert cursor.fetchone()[0] == Decimal("0.000499500") * 100
