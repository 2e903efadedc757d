"""Budgets of a whole year from an Excel sheet: read cell by cell, refused cell by cell, made all at once as drafts.

A sheet is read in two steps. `read_sheet` takes the cells as they are typed: numbers are numbers, days are days, a
formula is refused, because what it shows depends on who opens it. `check_rows` says for every cell what is wrong with
it, and tries the rows in a transaction that is rolled back, so that it refuses what making them would refuse.
"""

import datetime
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import IO, Any

from django.core.exceptions import ValidationError
from django.db import DatabaseError, transaction
from openpyxl import load_workbook
from openpyxl.utils import get_column_letter
from openpyxl.utils.exceptions import InvalidFileException

from budgets.models import Budget, BudgetStatus, Control, PeriodType, RolloverPolicy
from budgets.services.budget import budget_create
from core.admin.columns import tidy
from core.errors import BillingError, Invalid
from core.models import User
from core.money import minor_units, parse_amount
from core.spreadsheets import Value, write_xlsx
from entities.models import Department, Entity

ROW_LIMIT = 500
COLUMN_LIMIT = 60
FILE_LIMIT = 5 * 1024 * 1024
UNPACKED_LIMIT = 60 * 1024 * 1024
ONE_DAY = datetime.timedelta(days=1)
HEAD_ROW = 1

# A cell as text that can be sent to a browser and back: its kind and its content.
Cell = tuple[str, str]
EMPTY: Cell = ("empty", "")


@dataclass(frozen=True, slots=True)
class Column:
    """One column of the sheet: its heading, what it takes, in words for people."""

    name: str
    title: str
    help: str
    required: bool = False


COLUMNS = (
    Column("name", "Name", "What the budget is called, e.g. Cloud 2027.", required=True),
    Column("entity", "Entity", "The entity's code.", required=True),
    Column("department", "Department", "The department's code; empty for the entity as a whole."),
    Column("category", "Category", "What it pays for, where a department has several budgets."),
    Column("allocated_amount", "Allocated", "A number, zero or more.", required=True),
    Column("currency", "Currency", "Three letters; the entity's if empty."),
    Column("first_day", "First day", "A date.", required=True),
    Column("last_day", "Last day", "A date; it belongs to the period.", required=True),
    Column("control", "Control", "absolute, advisory or off; absolute if empty."),
    Column("overspend_limit", "Overspend limit", "With advisory control: how far beyond the budget."),
    Column("approval_threshold", "Approval above", "Charges above it need an approved request."),
    Column("alert_threshold_percent", "Alert %", "80 if empty."),
    Column("warning_threshold_percent", "Warning %", "90 if empty."),
    Column("critical_threshold_percent", "Critical %", "100 if empty."),
    Column("rollover_policy", "At its end", "lapse, commitments, commitments_unfunded or unspent."),
    Column("parent", "Parent budget", "The number (id) of the budget above it."),
)
BY_TITLE = {column.title.lower(): column for column in COLUMNS}
POSITION = {column.name: number for number, column in enumerate(COLUMNS)}


@dataclass(frozen=True, slots=True)
class CellProblem:
    """What is wrong with one cell, or with a whole row (`column` empty)."""

    row: int
    column: str
    message: str


@dataclass(slots=True)
class SheetRow:
    """One row as it was read: its number in the sheet and its cells by column."""

    number: int
    cells: dict[str, Cell]

    def text(self, name: str) -> str:
        """What the cell says."""
        return self.cells.get(name, EMPTY)[1]


@dataclass(slots=True)
class CheckedRow:
    """A row with what it would make, or with what is wrong."""

    row: SheetRow
    values: dict[str, Any] = field(default_factory=dict)
    problems: list[CellProblem] = field(default_factory=list)

    def problem_of(self, name: str) -> str:
        """What is wrong with a cell, or with the row as a whole if `name` is empty."""
        title = "" if not name else COLUMNS[POSITION[name]].title
        return " ".join(problem.message for problem in self.problems if problem.column == title)


# --- Reading ---------------------------------------------------------------------------------------------


def read_sheet(file: IO[bytes]) -> list[SheetRow]:
    """Read the first sheet's rows that are not empty. Raises Invalid for what is no such sheet."""
    _refuse_bombs(file)
    try:
        book = load_workbook(file, read_only=True, data_only=False, keep_links=False)
    except (InvalidFileException, zipfile.BadZipFile, KeyError, ValueError, OSError) as error:
        raise _no_sheet() from error
    try:
        sheet: Any = book.worksheets[0] if book.worksheets else None
        if sheet is None:
            raise _no_sheet()
        sheet.reset_dimensions()
        return _rows(sheet.iter_rows(max_col=COLUMN_LIMIT))
    finally:
        book.close()


def _no_sheet() -> Invalid:
    return Invalid("no_excel_file", "This is no Excel file (.xlsx). Download the template and fill it in.")


def _refuse_bombs(file: IO[bytes]) -> None:
    """A small file that unpacks to something huge is refused before it is unpacked."""
    file.seek(0)
    try:
        with zipfile.ZipFile(file) as archive:
            size = sum(item.file_size for item in archive.infolist())
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise _no_sheet() from error
    if size > UNPACKED_LIMIT:
        raise Invalid("file_too_large", "The file is too large when unpacked. Split it into several.")
    file.seek(0)


def _rows(lines: Iterator[Sequence[Any]]) -> list[SheetRow]:
    names = _heading(next(lines, ()))
    found: list[SheetRow] = []
    for number, line in enumerate(lines, start=HEAD_ROW + 1):
        cells = {
            name: _cell(cell)
            for cell, name in zip(line, names, strict=False)
            if name and cell.value is not None
        }
        cells = {name: cell for name, cell in cells.items() if cell[1]}
        if not cells:
            continue
        if len(found) == ROW_LIMIT:
            raise Invalid("too_many_rows", f"At most {ROW_LIMIT} budgets at a time. Split the file.")
        found.append(SheetRow(number, cells))
    if not found:
        raise Invalid("no_rows", "The sheet has no budgets below its headings. Fill in a row for each.")
    return found


def _heading(line: Sequence[Any]) -> list[str]:
    """The columns by their headings, in whatever order they stand."""
    titles = [str(cell.value or "").strip().lower() for cell in line]
    names = [BY_TITLE[title].name if title in BY_TITLE else "" for title in titles]
    missing = [column.title for column in COLUMNS if column.required and column.name not in names]
    if missing:
        raise Invalid(
            "columns_missing",
            f"The first row lacks the headings {', '.join(missing)}. Download the template and copy your data into it.",
        )
    unknown = [str(line[n].value) for n, name in enumerate(names) if titles[n] and not name]
    if unknown:
        raise Invalid(
            "columns_unknown",
            f"There are columns that mean nothing here: {', '.join(unknown)[:200]}. Remove them, or use the template.",
        )
    twice = [name for name, count in Counter(filter(None, names)).items() if count > 1]
    if twice:
        raise Invalid("columns_twice", f"The heading {COLUMNS[POSITION[twice[0]]].title} stands twice.")
    return names


def _cell(cell: Any) -> Cell:
    value = cell.value
    if cell.data_type == "f":
        return "formula", str(value)[:100]
    if cell.data_type == "e":
        return "error", str(value)
    if isinstance(value, bool):
        return "boolean", "TRUE" if value else "FALSE"
    if isinstance(value, datetime.datetime):
        return "day", value.date().isoformat() if value.time() == datetime.time.min else value.isoformat()
    if isinstance(value, datetime.date):
        return "day", value.isoformat()
    if isinstance(value, (int, float)):
        # The shortest decimal that Excel's binary number stands for: what the cell shows.
        return "number", f"{Decimal(str(value)):f}"
    return "text", str(value).strip()[:600]


# --- Checking --------------------------------------------------------------------------------------------


class _Refused(Exception):
    """What is wrong with a cell."""


class _Reader:
    """Turns the cells of a row into values; looks entities, departments and parents up once for all rows."""

    def __init__(self, actor: User, rows: Sequence[SheetRow]) -> None:
        codes = {row.text("entity") for row in rows}
        self.entities: Mapping[str, Entity] = {
            entity.code: entity for entity in Entity.objects.visible_to(actor).filter(code__in=codes)
        }
        departments = Department.objects.visible_to(actor).filter(
            code__in={row.text("department") for row in rows}, entity__in=self.entities.values()
        )
        self.departments: Mapping[tuple[int, str], Department] = {
            (department.entity_id, department.code): department
            for department in departments.select_related("entity")
        }
        keys = {int(row.text("parent")) for row in rows if _is_key(row.text("parent"))}
        self.parents: Mapping[int, Budget] = {
            budget.pk: budget for budget in Budget.objects.visible_to(actor).filter(pk__in=keys)
        }

    def read(self, row: SheetRow) -> CheckedRow:
        """The values of a row, or a problem for every cell that is wrong."""
        checked = CheckedRow(row)
        for column in COLUMNS:
            kind, text = row.cells.get(column.name, EMPTY)
            try:
                if kind == "formula":
                    raise _Refused("A formula. Copy the cell and paste its value instead.")
                if kind == "error":
                    raise _Refused(f"The cell shows the error {text}.")
                if kind == "empty":
                    if column.required:
                        raise _Refused("Must be filled in.")
                    continue
                reader: Callable[[CheckedRow, str, str], Any] = getattr(
                    self, f"_read_{column.name}", _plain_text
                )
                if column.name.endswith(("_percent", "_limit", "_threshold")):
                    reader = _number
                checked.values[column.name] = reader(checked, kind, text)
            except _Refused as refusal:
                checked.problems.append(CellProblem(row.number, column.title, str(refusal)))
        self._read_period(checked)
        return checked

    def _read_entity(self, checked: CheckedRow, kind: str, text: str) -> Entity:
        entity = self.entities.get(text)
        if entity is None:
            raise _Refused(f"There is no entity with the code “{text}” among those you see.")
        return entity

    def _read_department(self, checked: CheckedRow, kind: str, text: str) -> Department | None:
        entity = checked.values.get("entity")
        if entity is None:
            return None  # The entity's own cell says what is wrong.
        department = self.departments.get((entity.pk, text))
        if department is None:
            raise _Refused(f"The entity has no department with the code “{text}”.")
        return department

    def _read_parent(self, checked: CheckedRow, kind: str, text: str) -> Budget:
        parent = self.parents.get(int(text)) if _is_key(text) else None
        if parent is None:
            raise _Refused(f"There is no budget with the number {text} among those you see.")
        return parent

    def _read_allocated_amount(self, checked: CheckedRow, kind: str, text: str) -> Decimal:
        return _number(checked, kind, text)

    def _read_currency(self, checked: CheckedRow, kind: str, text: str) -> str:
        code = text.upper()
        try:
            minor_units(code)
        except Invalid as error:
            raise _Refused(error.message) from error
        return code

    def _read_first_day(self, checked: CheckedRow, kind: str, text: str) -> datetime.date:
        return _day(kind, text)

    def _read_last_day(self, checked: CheckedRow, kind: str, text: str) -> datetime.date:
        return _day(kind, text)

    def _read_control(self, checked: CheckedRow, kind: str, text: str) -> str:
        return _choice(text, Control.values)

    def _read_rollover_policy(self, checked: CheckedRow, kind: str, text: str) -> str:
        return _choice(text, RolloverPolicy.values)

    @staticmethod
    def _read_period(checked: CheckedRow) -> None:
        first, last = checked.values.pop("first_day", None), checked.values.pop("last_day", None)
        if first is None or last is None:
            return
        if last < first:
            checked.problems.append(
                CellProblem(checked.row.number, "Last day", "It is before the first day.")
            )
            return
        end = last + ONE_DAY
        months = (end.year - first.year) * 12 + end.month - first.month
        names = {1: PeriodType.MONTHLY, 3: PeriodType.QUARTERLY, 12: PeriodType.ANNUAL}
        whole = first.day == end.day == 1
        checked.values |= {
            "period_start": first,
            "period_end": end,
            "period_type": names.get(months, PeriodType.CUSTOM) if whole else PeriodType.CUSTOM,
        }


def _is_key(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 18


def _plain_text(checked: CheckedRow, kind: str, text: str) -> str:
    return text


def _number(checked: CheckedRow, kind: str, text: str) -> Decimal:
    if kind not in {"number", "text"}:
        raise _Refused("A number is expected.")
    try:
        value = parse_amount(text)
    except Invalid as error:
        raise _Refused(error.message) from error
    if value < 0:
        raise _Refused("It cannot be negative.")
    return value


def _day(kind: str, text: str) -> datetime.date:
    try:
        if kind not in {"day", "text"}:
            raise ValueError(text)
        day = datetime.date.fromisoformat(text)
    except ValueError as error:
        raise _Refused("A date is expected, such as 2027-01-31.") from error
    if not 1900 <= day.year <= 9000:
        raise _Refused("The year is out of range.")
    return day


def _choice(text: str, choices: Sequence[str]) -> str:
    if text.lower() not in choices:
        raise _Refused(f"Give one of {', '.join(choices)}.")
    return text.lower()


def check_rows(rows: Sequence[SheetRow], *, actor: User) -> list[CheckedRow]:
    """Say for every row what it would make or what is wrong; makes nothing."""
    reader = _Reader(actor, rows)
    checked = [reader.read(row) for row in rows]
    with transaction.atomic():
        for each in checked:
            if not each.problems:
                _try(each, actor)
        transaction.set_rollback(True)
    return checked


# The names by which services call what the columns hold.
_COLUMN_OF_FIELD = {
    "period_start": "first_day",
    "period_end": "last_day",
    "entity_id": "entity",
    "department_id": "department",
    "planned_amount": "allocated_amount",
}


def _try(checked: CheckedRow, actor: User) -> None:
    """Make the row within the transaction that is rolled back, and keep what is refused."""
    try:
        with transaction.atomic():
            budget_create(actor=actor, draft=True, **checked.values)
    except BillingError as error:
        for problem in error.errors or ():
            name = problem.pointer.strip("/").split("/")[0]
            name = _COLUMN_OF_FIELD.get(name, name)
            title = COLUMNS[POSITION[name]].title if name in POSITION else ""
            checked.problems.append(CellProblem(checked.row.number, title, problem.detail))
        if not error.errors:
            checked.problems.append(CellProblem(checked.row.number, "", error.message))
    except (ValidationError, DatabaseError) as error:
        message = " ".join(error.messages) if isinstance(error, ValidationError) else "A value does not fit."
        checked.problems.append(CellProblem(checked.row.number, "", message))


def import_budgets(rows: Sequence[SheetRow], *, actor: User) -> list[Budget]:
    """Make a draft of every row, all or none. Raises Invalid `rows_refused` if any is wrong by now."""
    with transaction.atomic():
        checked = check_rows(rows, actor=actor)
        wrong = [each for each in checked if each.problems]
        if wrong:
            raise Invalid(
                "rows_refused",
                f"{len(wrong)} rows are refused by now, the first is row {wrong[0].row.number}: "
                f"{wrong[0].problems[0].message} Nothing was made. Upload the file again.",
            )
        return [budget_create(actor=actor, draft=True, **each.values) for each in checked]


# --- The template ----------------------------------------------------------------------------------------


def column_letter(name: str) -> str:
    """The letter that the column has in the template."""
    return get_column_letter(POSITION[name] + 1)


def write_template(target: IO[bytes], *, budgets: Sequence[Budget] = ()) -> int:
    """Write the empty sheet, or one with these budgets moved on by one year."""
    return write_xlsx(
        target,
        [column.title for column in COLUMNS],
        (_template_row(budget) for budget in budgets),
        title="Budgets",
    )


def _template_row(budget: Budget) -> list[Value]:
    allocated = budget.planned_amount if budget.status == BudgetStatus.DRAFT else budget.allocated_amount
    start, end = _next_year(budget.period_start), _next_year(budget.period_end)
    return [
        budget.name.replace(str(budget.period_start.year), str(start.year)),
        budget.entity.code,
        budget.department.code if budget.department else None,
        budget.category or None,
        tidy(allocated),
        budget.currency,
        start,
        end - ONE_DAY,
        str(budget.control),
        tidy(budget.overspend_limit),
        tidy(budget.approval_threshold),
        tidy(budget.alert_threshold_percent),
        tidy(budget.warning_threshold_percent),
        tidy(budget.critical_threshold_percent),
        str(budget.rollover_policy),
        None,
    ]


def _next_year(day: datetime.date) -> datetime.date:
    if (day.month, day.day) == (2, 29):
        return datetime.date(day.year + 1, 3, 1)
    return day.replace(year=day.year + 1)
