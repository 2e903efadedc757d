"""Rejected rows: put right, tried again, or discarded (USE-02)."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from django.db import connection, transaction

from core import clock
from core.access import Actor, require
from core.errors import Conflict, FieldProblem, Invalid
from core.history import record_as
from core.locks import advisory_lock
from invoicing.focus.columns import BY_KEY, column_key
from invoicing.focus.errors import Problem
from invoicing.focus.rows import RowParser, StagedRow, keepable
from invoicing.models import ImportStatus, RejectedRow, RejectedRowStatus, UsageImport, UsageRecord
from invoicing.selectors.usage import convertible_currencies
from invoicing.services.usage_history import write_history
from invoicing.services.usage_storage import Staging, Stored, sums_as_text

WAITS_FOR_OTHERS = frozenset({"no_exchange_rate", "unknown_currency"})
"""Problems that go away without a change of the row: when a rate, or a currency, has come."""

_ROWS_AT_A_TIME = 500


@dataclass(frozen=True, slots=True)
class RetryResult:
    """What `rejected_rows_retry` did."""

    tried: int
    repaired: int
    duplicate: int


def row_columns(rejected_row: RejectedRow) -> list[str]:
    """The columns of a rejected row in the file's order, then the surplus values that had no column."""
    columns = list(rejected_row.usage_import.columns)
    return columns + [name for name in rejected_row.values if name not in set(columns)]


def rejected_row_problems(rejected_row: RejectedRow, values: Mapping[str, str]) -> list[Problem]:
    """What would still be wrong with the row if it had these values."""
    cells, surplus = _cells(rejected_row, values)
    return [*_parser(rejected_row.usage_import).problems(cells), *surplus]


def rejected_row_repair(*, actor: Actor, rejected_row: RejectedRow, values: Mapping[str, str]) -> RejectedRow:
    """Take the row in with `values` in place of what the file had; columns that are not given stay as they are.

    Raises Invalid `row_still_wrong` with a problem per column (nothing is written then), Invalid
    `unknown_column`, Conflict `row_not_open`, `duplicate_row`.
    """
    require(actor, "invoicing.change_rejectedrow", rejected_row.usage_import)
    with transaction.atomic(), record_as(actor, "Row put right"):
        usage_import = _lock_import(rejected_row.usage_import_id)
        row = RejectedRow.objects.select_for_update(of=("self",)).get(pk=rejected_row.pk)
        _require_open(row)
        row.usage_import = usage_import
        cells, surplus = _cells(row, values)
        parser = _parser(usage_import)
        problems = [*parser.problems(cells), *surplus]
        if problems:
            raise _still_wrong(row, problems)
        stored = _store(usage_import, [parser.parse(cells, row.line_number)])
        if not stored.imported:
            earlier = ", ".join(f"#{pk}" for pk in stored.overlaps)
            raise Conflict(
                "duplicate_row",
                f"An equal row is in already with import {earlier}: taking this one in would charge it twice. "
                "Discard it, or correct what makes it different.",
                extra={"usage_import_ids": [int(pk) for pk in stored.overlaps]},
            )
        row.values = dict(zip(usage_import.columns, cells, strict=True))
        row.repair(UsageRecord.objects.get(usage_import=usage_import, line_number=row.line_number))
        row.save()
        _count(usage_import, stored)
    return row


def rejected_row_edit(*, actor: Actor, rejected_row: RejectedRow, values: Mapping[str, str]) -> RejectedRow:
    """Keep corrected values without taking the row in yet; its problems are those that remain.

    Raises Invalid `unknown_column`, Conflict `row_not_open`.
    """
    require(actor, "invoicing.change_rejectedrow", rejected_row.usage_import)
    with transaction.atomic(), record_as(actor, "Row edited"):
        usage_import = _lock_import(rejected_row.usage_import_id)
        row = RejectedRow.objects.select_for_update(of=("self",)).get(pk=rejected_row.pk)
        _require_open(row)
        row.usage_import = usage_import
        problems = rejected_row_problems(row, values)
        row.values = {**row.values, **{name: keepable(text) for name, text in values.items()}}
        row.problems = [problem.as_json() for problem in problems]
        row.save()
    return row


def rejected_row_discard(*, actor: Actor, rejected_row: RejectedRow, reason: str) -> RejectedRow:
    """Decide that the row will not go in; it stays listed with the reason. Raises Conflict `row_not_open`."""
    require(actor, "invoicing.change_rejectedrow", rejected_row.usage_import)
    reason = reason.strip()
    if not reason:
        raise Invalid("reason_missing", "Say why the row is not taken in.")
    with transaction.atomic(), record_as(actor, reason):
        _lock_import(rejected_row.usage_import_id)
        row = RejectedRow.objects.select_for_update(of=("self",)).get(pk=rejected_row.pk)
        _require_open(row)
        row.discard(reason[:500])
        row.save()
    return row


def rejected_rows_retry(*, actor: Actor, usage_import: UsageImport) -> RetryResult:
    """Try the open rows again that only waited for something else, such as an exchange rate.

    Rows with any other problem need a person: a line that was cut off can look complete and be wrong.
    """
    require(actor, "invoicing.change_rejectedrow", usage_import)
    with transaction.atomic(), record_as(actor, "Tried again"):
        advisory_lock(f"usage-group:{usage_import.root_id}")
        locked = _lock_import(usage_import.pk)
        parser = _parser(locked)
        staging = Staging(locked)
        tried = last = 0
        while rows := _next_open(locked, after=last):
            last = rows[-1].line_number
            waiting = [
                row for row in rows if {problem["code"] for problem in row.problems} <= WAITS_FOR_OTHERS
            ]
            good: list[StagedRow] = []
            for row in waiting:
                cells, surplus = _cells(row, {})
                if not surplus and not parser.problems(cells):
                    good.append(parser.parse(cells, row.line_number))
            tried += len(waiting)
            staging.fill(good, lambda *_: None)
        stored = staging.store(lambda *_: None)
        _mark_repaired(locked)
        _count(locked, stored)
    return RetryResult(tried=tried, repaired=stored.imported, duplicate=stored.duplicate)


def _next_open(usage_import: UsageImport, *, after: int) -> list[RejectedRow]:
    rows = (
        RejectedRow.objects.select_for_update(of=("self",))
        .filter(usage_import=usage_import, status=RejectedRowStatus.OPEN, line_number__gt=after)
        .order_by("line_number")[:_ROWS_AT_A_TIME]
    )
    found = list(rows)
    for row in found:
        row.usage_import = usage_import
    return found


def _mark_repaired(usage_import: UsageImport) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE usage_rejected_rows AS row SET status = 'repaired', record_id = record.id, updated_at = %s
            FROM usage_records AS record, usage_staging AS staged
            WHERE row.usage_import_id = %s AND row.status = 'open' AND staged.line_number = row.line_number
                AND record.usage_import_id = row.usage_import_id AND record.line_number = row.line_number
            RETURNING row.id
            """,
            [clock.now(), usage_import.pk],
        )
        keys = [key for (key,) in cursor.fetchall()]
    write_history(RejectedRow, keys)


def _lock_import(pk: int) -> UsageImport:
    usage_import = UsageImport.objects.select_for_update(of=("self",)).select_related("entity").get(pk=pk)
    if usage_import.status != ImportStatus.COMPLETED:
        raise Conflict(
            "import_not_completed",
            f"Import #{pk} is {usage_import.get_status_display().lower()}: its rows cannot be worked on.",
        )
    return usage_import


def _require_open(row: RejectedRow) -> None:
    if row.status != RejectedRowStatus.OPEN:
        raise Conflict(
            "row_not_open", f"Line {row.line_number:,} is {row.get_status_display().lower()} already."
        )


def _parser(usage_import: UsageImport) -> RowParser:
    currency = usage_import.entity.currency
    return RowParser(usage_import.columns, convertible=convertible_currencies(currency), into=currency)


def _cells(row: RejectedRow, values: Mapping[str, str]) -> tuple[list[str], list[Problem]]:
    """Return the row as its file would have it now, and a problem for each value that has no column."""
    columns = row_columns(row)
    unknown = [name for name in values if name not in columns]
    if unknown:
        raise Invalid(
            "unknown_column",
            f"The file has no column {', '.join(unknown[:5])}. Its columns are: {', '.join(columns)}.",
            errors=[
                FieldProblem(_pointer(name), "unknown_column", "The file has no such column.")
                for name in unknown
            ],
        )
    merged = {**row.values, **values}
    own = row.usage_import.columns
    surplus = [
        Problem(
            name, "surplus_value", f"{name} has no column. Move its value to where it belongs and clear it."
        )
        for name in columns[len(own) :]
        if merged.get(name, "").strip()
    ]
    return [merged.get(name, "") for name in own], surplus


def _still_wrong(row: RejectedRow, problems: list[Problem]) -> Invalid:
    return Invalid(
        "row_still_wrong",
        f"Line {row.line_number:,} was not taken in: " + " ".join(problem.detail for problem in problems),
        errors=[FieldProblem(_pointer(problem.column), problem.code, problem.detail) for problem in problems],
    )


def _pointer(column: str) -> str:
    return "/values/" + column.replace("~", "~0").replace("/", "~1") if column else "/values"


def _store(usage_import: UsageImport, rows: list[StagedRow]) -> Stored:
    staging = Staging(usage_import)
    staging.fill(rows, lambda *_: None)
    return staging.store(lambda *_: None)


def _count(usage_import: UsageImport, stored: Stored) -> None:
    """Add what came in to the import's figures; its total stays exact."""
    sums = {currency: Decimal(amount) for currency, amount in usage_import.billed_cost.items()}
    for currency, amount in stored.imported_cost.items():
        sums[currency] = sums.get(currency, Decimal(0)) + amount
    usage_import.billed_cost = sums_as_text(sums)
    usage_import.rows_repaired += stored.imported
    usage_import.save()


def column_help(name: str) -> str:
    """What a column of FOCUS takes, in words, for the form that repairs a row."""
    column = BY_KEY.get(column_key(name))
    if column is None:
        return "Kept aside, as the file has it."
    needed = "Needed. " if column.mandatory else ""
    return (
        needed
        + {
            "cost": "An amount such as 12.50: a point before the decimals, at most 15 of them.",
            "number": "A number, or empty.",
            "moment": "Date and time such as 2024-09-18T22:00:00Z; without a zone it is UTC.",
            "currency": "Three capital letters such as EUR.",
            "tags": 'A JSON object such as {"business_unit": "Sales"}, or empty.',
            "text": f"Text of at most {column.limit:,} characters.",
        }[column.kind.value]
    )
