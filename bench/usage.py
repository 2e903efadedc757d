"""Importing FOCUS files: rows per second and memory, beside COPY of the rows once they are parsed."""

import contextlib
import csv
import io
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from django.db import connection

from bench.options import Options
from bench.results import Results, Run
from bench.servers import CHECKOUT, FOLDER, CannotMeasure
from bench.tables import execute, insert, one
from core.models import User
from entities.models import Department, Entity, Membership
from invoicing.focus.reader import FocusReader, RejectedLine
from invoicing.focus.rows import STAGED_FIELDS
from invoicing.focus.source import FocusSource
from invoicing.models import UsageMappingRule
from invoicing.services.usage_storage import copy_line

IMPORT = "FOCUS import"
COPY = "COPY of the parsed rows into the same table"
UNITS = 20
SERVICES = ("Virtual Machines", "Object Storage", "Managed Database", "Message Queue", "Data Transfer")
FIRST_HOUR = datetime(2026, 1, 1, tzinfo=UTC)
HOURS = 24 * 31
COLUMNS = (
    "BilledCost", "BillingAccountId", "BillingAccountName", "BillingCurrency", "BillingPeriodEnd",
    "BillingPeriodStart", "ChargeCategory", "ChargeClass", "ChargeDescription", "ChargeFrequency", "ChargePeriodEnd",
    "ChargePeriodStart", "ConsumedQuantity", "ConsumedUnit", "ContractedCost", "EffectiveCost", "InvoiceIssuerName",
    "ListCost", "ListUnitPrice", "PricingCategory", "PricingQuantity", "PricingUnit", "ProviderName", "PublisherName",
    "RegionId", "RegionName", "ResourceId", "ResourceName", "ResourceType", "ServiceCategory", "ServiceName", "SkuId",
    "SkuPriceId", "SubAccountId", "SubAccountName", "Tags",
)  # fmt: skip
_BLOCK = 1 << 17


def write_file(path: Path, rows: int, seed: int) -> None:
    """Write a file of hourly charges; another seed gives other charges."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(_rows(rows, seed))


def _rows(rows: int, seed: int) -> Iterator[tuple[object, ...]]:
    hours = [f"{FIRST_HOUR + timedelta(hours=hour):%Y-%m-%dT%H:%M:%SZ}" for hour in range(HOURS + 1)]
    tags = [
        json.dumps(
            {"business_unit": f"Unit {unit:02}", "application": f"app-{unit % 7}", "environment": "prod"}
        )
        for unit in range(UNITS + 1)
    ]
    for number in range(rows):
        hour, service = number % HOURS, SERVICES[number % len(SERVICES)]
        resource = f"i-{seed:02}{number // HOURS:08x}"
        quantity = f"{1 + number % 977}.{number % 10_000:04}"
        cost = f"{number % 613}.{(number * 7919) % 10**11:011}"
        yield (
            cost, "1234567890", "Northwind", "USD", hours[-1], hours[0], "Usage", "", f"{service}, on demand",
            "Usage-Based", hours[hour + 1], hours[hour], quantity, "Hours", cost, cost, "Cloud Provider, Inc.", cost,
            "0.0416", "Standard", quantity, "Hours", "Cloud", "Cloud Provider, Inc.", "eu-west-1", "Ireland", resource,
            f"node {number // HOURS}", "instance", "Compute", service, f"SKU{number % 40:03}", f"PRICE{number % 90:03}",
            f"acc-{number % 25}", f"Account {number % 25}", tags[number % len(tags)],
        )  # fmt: skip


def prepare() -> tuple[int, int]:
    """Make who imports, and rules that give most rows a department; return the entity and the user."""
    entity = Entity.objects.create(name="Bench usage", code="BENCHUSAGE", entity_type="root", currency="USD")
    user = User.objects.create(username="bench-usage")
    Membership.objects.create(user=user, entity=entity, role="finance_manager")
    place = {"entity_id": "%(entity)s::bigint"}
    numbers = f"FROM generate_series(0, {UNITS - 1}) AS number"
    insert(
        Department,
        place | {"name": "'Unit ' || number", "code": "'U' || number"},
        numbers,
        entity=entity.pk,
    )
    insert(
        UsageMappingRule,
        place
        | {
            "tag_key": "'business_unit'",
            "source": "'tag'",
            "value": "'Unit ' || lpad(number::text, 2, '0')",
            "department_id": "(SELECT id FROM departments WHERE entity_id = %(entity)s AND code = 'U' || number)",
        },
        numbers,
        entity=entity.pk,
    )
    return entity.pk, user.pk


def measure(options: Options, results: Results, say: Callable[[str], None]) -> None:
    """Import and copy in turn, other rows each time."""
    entity_id, user_id = prepare()
    peaks = []
    _make_copy_table(entity_id)
    path = FOLDER / "usage.csv"
    for number in range(options.rounds):
        write_file(path, options.rows, number)
        lines = _parsed(path)
        started = time.perf_counter()
        _copy(lines)
        results.add(COPY, "rows/s", Run(options.rows / (time.perf_counter() - started)))
        del lines
        seconds, peak, before = import_apart(path, entity_id, user_id, options.rows)
        peaks.append(peak)
        results.add(IMPORT, "rows/s", Run(options.rows / seconds), beside=COPY)
        say(
            f"  {options.rows:,} rows in {seconds:.1f} s, memory {peak} MiB at most ({before} before the import)"
        )
    path.unlink()
    results.facts["memory of the import, MiB at most"] = max(peaks)
    kept = one("SELECT count(*) FROM usage_records WHERE root_id = %(root)s", root=entity_id)
    results.prove(
        f"{options.rounds} files of {options.rows:,} rows made {kept:,} usage records",
        kept == options.rounds * options.rows,
    )


def import_apart(path: Path, entity_id: int, user_id: int, rows: int) -> tuple[float, int, int]:
    """Import in a process of its own; return seconds, and its memory in MiB: at most, and before it began."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.importer", str(path), str(entity_id), str(user_id)],
        cwd=CHECKOUT,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        raise CannotMeasure("The import failed (see above).")
    answer = json.loads(done.stdout)
    if answer["rows"] != rows:
        raise CannotMeasure(f"Of {rows} rows {answer['rows']} were imported: {answer['message']}")
    return answer["seconds"], answer["peak"], answer["before"]


def peak_memory() -> int:
    """The most memory that this process has had, in MiB."""
    with contextlib.suppress(OSError):
        # The system's own account of a process that was started by a larger one begins with that one's.
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) // 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 2**20


def _make_copy_table(entity_id: int) -> None:
    execute("CREATE TABLE bench_copied (LIKE usage_records INCLUDING ALL)")
    for column, value in (
        ("usage_import_id", 1),
        ("root_id", entity_id),
        ("entity_id", entity_id),
    ):
        execute(f"ALTER TABLE bench_copied ALTER COLUMN {column} SET DEFAULT {value}")


def _parsed(path: Path) -> list[str]:
    """The rows of a file as COPY takes them, in blocks."""
    blocks = []
    with path.open("rb") as file:
        text = io.StringIO()
        for row in FocusReader(FocusSource(file)):
            if isinstance(row, RejectedLine):
                raise CannotMeasure(f"A row was refused: {row.problems}")
            text.write(copy_line(row, occurrence=1))
            if text.tell() > _BLOCK:
                blocks.append(text.getvalue())
                text = io.StringIO()
        blocks.append(text.getvalue())
    return blocks


def _copy(blocks: list[str]) -> None:
    with (
        connection.cursor() as cursor,
        cursor.copy(f"COPY bench_copied (occurrence, {', '.join(STAGED_FIELDS)}) FROM STDIN") as copy,
    ):
        for block in blocks:
            copy.write(block)
