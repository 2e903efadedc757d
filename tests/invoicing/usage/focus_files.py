"""FOCUS files for tests: the small ones beside this module, and any row one needs."""

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

FILES = Path(__file__).resolve().parent / "files"

HEADER = [
    "BilledCost",
    "BillingAccountId",
    "BillingCurrency",
    "BillingPeriodEnd",
    "BillingPeriodStart",
    "ChargeCategory",
    "ChargeDescription",
    "ChargePeriodEnd",
    "ChargePeriodStart",
    "ProviderName",
    "ResourceName",
    "ServiceName",
    "SubAccountId",
    "Tags",
]

GOOD = {
    "BilledCost": "1.5",
    "BillingAccountId": "4200",
    "BillingCurrency": "USD",
    "BillingPeriodEnd": "2024-10-01 00:00:00",
    "BillingPeriodStart": "2024-09-01 00:00:00",
    "ChargeCategory": "Usage",
    "ChargeDescription": "VM hour",
    "ChargePeriodEnd": "2024-09-10 01:00:00",
    "ChargePeriodStart": "2024-09-10 00:00:00",
    "ProviderName": "Cumulus",
    "ResourceName": "vm-1",
    "ServiceName": "Virtual Machines",
    "SubAccountId": "77",
    "Tags": '{"business_unit": "Engineering"}',
}


def row(**values: str) -> dict[str, str]:
    """A good row with some values in place of others."""
    return {**GOOD, **values}


def focus_csv(rows: Iterable[dict[str, str]], header: Sequence[str] = HEADER) -> bytes:
    """The rows as a file."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([values.get(name, "") for name in header] for values in rows)
    return out.getvalue().encode()


def numbered(count: int, **values: str) -> list[dict[str, str]]:
    """So many different good rows of one cent each."""
    return [row(BilledCost="0.01", ResourceName=f"vm-{number}", **values) for number in range(count)]


def small_file(name: str) -> bytes:
    """One of the files beside this module."""
    return (FILES / name).read_bytes()


def write_large(path: Path, template: bytes, copies: int) -> None:
    """Write the rows of a file so many times, each with an identity of its own (the column Id)."""
    rows = list(csv.reader(io.StringIO(template.decode(), newline="")))
    header = rows[0]
    place = header.index("Id") if "Id" in header else None
    with path.open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(header if place is not None else [*header, "Id"])
        for copy in range(copies):
            for number, values in enumerate(rows[1:]):
                if place is None:
                    writer.writerow([*values, f"{copy}-{number}"])
                else:
                    writer.writerow([*values[:place], f"{copy}-{values[place]}", *values[place + 1 :]])
