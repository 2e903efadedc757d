"""CSV and Excel files in which no text of a user is ever a formula (REP-03). Both stream: memory stays flat.

Numbers are numbers, dates are dates. Text that begins with = + - @, a tab, a carriage return or a line feed is kept
as text: in CSV by an apostrophe before it, in Excel by the cell's type and its "text" mark.
"""

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import IO, Any, cast

from openpyxl import Workbook
from openpyxl.cell import WriteOnlyCell
from openpyxl.styles import Font
from openpyxl.utils import get_column_letter

from core.money import EXACT, decimal_places

Value = str | int | Decimal | date | datetime | bool | None

# The full-width forms are turned into the plain ones by some spreadsheets.
_FORMULA_START = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")
_NOT_ALLOWED_IN_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
_LONGEST_CELL = 32_767
_DIGITS_OF_EXCEL = 15
_COLUMN_WIDTH = 18


class _Line:
    """A file for csv.writer that keeps the last line only."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> int:
        self.text = text
        return len(text)


def csv_lines(header: Sequence[str], rows: Iterable[Sequence[Value]]) -> Iterator[str]:
    """Yield a CSV file line by line (RFC 4180, comma, CRLF), for a streaming response."""
    line = _Line()
    writer = csv.writer(line)
    for row in _with_header(header, rows):
        writer.writerow([_csv_text(value) for value in row])
        yield line.text


def _with_header(header: Sequence[str], rows: Iterable[Sequence[Value]]) -> Iterator[Sequence[Value]]:
    yield header
    yield from rows


def _csv_text(value: Value) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, (date, datetime)):
        return value.isoformat()
    text = str(value)
    return f"'{text}" if isinstance(value, str) and text.startswith(_FORMULA_START) else text


def write_xlsx(
    target: IO[bytes], header: Sequence[str], rows: Iterable[Sequence[Value]], *, title: str = "Data"
) -> int:
    """Write an Excel file with one sheet and return the number of rows; moments are given in UTC.

    A number with more digits than Excel keeps (15) goes in as text, so that none is lost.
    """
    book = Workbook(write_only=True)
    sheet = book.create_sheet(_sheet_title(title))
    sheet.freeze_panes = "A2"
    for number in range(1, len(header) + 1):
        sheet.column_dimensions[get_column_letter(number)].width = _COLUMN_WIDTH
    bold = Font(bold=True)
    titles = [_text_cell(sheet, name) for name in header]
    for cell in titles:
        cell.font = bold
    sheet.append(titles)
    count = 0
    for row in rows:
        sheet.append([_xlsx_value(sheet, value) for value in row])
        count += 1
    book.save(target)
    return count


def _sheet_title(title: str) -> str:
    return re.sub(r"[\[\]:*?/\\]", " ", title)[:31].strip("' ") or "Data"


def _xlsx_value(sheet: Any, value: Value) -> object:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, datetime):
        return value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value
    if isinstance(value, date):
        return value
    if isinstance(value, Decimal):
        return _number_cell(sheet, value)
    if isinstance(value, int):
        return value if len(str(abs(value))) <= _DIGITS_OF_EXCEL else _text_cell(sheet, str(value))
    return _text_cell(sheet, value)


def _number_cell(sheet: Any, value: Decimal) -> Any:
    if len(value.normalize(EXACT).as_tuple().digits) > _DIGITS_OF_EXCEL:
        return _text_cell(sheet, f"{value:f}")
    cell: Any = WriteOnlyCell(sheet, cast(Any, value))
    places = decimal_places(value)
    cell.number_format = "#,##0." + "0" * places if places else "#,##0"
    return cell


def _text_cell(sheet: Any, value: str) -> Any:
    text = _NOT_ALLOWED_IN_XML.sub("\ufffd", value)[:_LONGEST_CELL]
    cell: Any = WriteOnlyCell(sheet, text)
    # openpyxl guesses formulas and error values from the text; here text is text.
    cell.data_type = "s"
    if text.startswith(_FORMULA_START):
        cell.quotePrefix = True
    return cell
