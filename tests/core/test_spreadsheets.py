"""CSV and Excel: text is never a formula, numbers are numbers (REP-03)."""

import csv
import tracemalloc
import zipfile
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from io import BytesIO, StringIO
from typing import Any

import pytest
from openpyxl import load_workbook

from core.spreadsheets import Value, csv_lines, write_xlsx

DANGEROUS = [
    "=cmd|'/c calc'!A1", "+1+1", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "\uff1d1+1", "=", "#N/A", "#REF!",
]  # fmt: skip


def excel(rows: list[list[Value]], **kwargs: str) -> tuple[BytesIO, list[list[Any]]]:
    file = BytesIO()
    count = write_xlsx(file, ["=name", "value"], rows, **kwargs)
    assert count == len(rows)
    sheet = load_workbook(BytesIO(file.getvalue())).worksheets[0]
    return file, [list(row) for row in sheet.iter_rows()]


@pytest.mark.parametrize("text", DANGEROUS)
def test_excel_keeps_dangerous_text_as_text(text: str) -> None:
    file, rows = excel([[text, 1]])
    assert rows[0][0].data_type == "s"
    cell = rows[1][0]
    assert cell.data_type == "s"
    assert cell.value == text
    assert cell.quotePrefix is not text.startswith("#")
    assert b"<f>" not in zipfile.ZipFile(file).read("xl/worksheets/sheet1.xml")


@pytest.mark.parametrize("text", [text for text in DANGEROUS if not text.startswith("#")])
def test_csv_puts_an_apostrophe_before_dangerous_text(text: str) -> None:
    lines = "".join(csv_lines(["name"], [[text]]))
    assert list(csv.reader(StringIO(lines, newline=""))) == [["name"], ["'" + text]]


def test_csv_values() -> None:
    rows: list[list[Value]] = [
        [
            Decimal("-3.64"),
            -5,
            date(2024, 9, 30),
            datetime(2024, 9, 30, 12, tzinfo=UTC),
            True,
            None,
            'a "b", c',
        ],
        [Decimal("1E-11"), 0, None, None, False, "", "Zürich"],
    ]
    assert list(csv_lines(["a", "b", "c", "d", "e", "f", "g"], rows)) == [
        "a,b,c,d,e,f,g\r\n",
        '-3.64,-5,2024-09-30,2024-09-30T12:00:00+00:00,TRUE,,"a ""b"", c"\r\n',
        "0.00000000001,0,,,FALSE,,Zürich\r\n",
    ]


def test_excel_values_have_their_types() -> None:
    berlin = timezone(timedelta(hours=2))
    values: list[Value] = [
        Decimal("-1234.50"), Decimal("1000"), 7, date(2024, 9, 30),
        datetime(2024, 9, 30, 14, tzinfo=berlin), True, None, "Zürich", 10**16, Decimal("1234567890123456.78"),
    ]  # fmt: skip
    _, rows = excel([["x", value] for value in values])
    cells = [row[1] for row in rows[1:]]
    assert [cell.value for cell in cells] == [
        -1234.5, 1000, 7, datetime.fromisoformat("2024-09-30"), datetime.fromisoformat("2024-09-30T12:00"),
        True, None, "Zürich",
        "10000000000000000", "1234567890123456.78",
    ]  # fmt: skip
    assert cells[0].number_format == "#,##0.00"
    assert cells[1].number_format == "#,##0"
    assert [cell.data_type for cell in cells] == ["n", "n", "n", "d", "d", "b", "n", "s", "s", "s"]


def test_control_characters_and_long_text_do_not_break_the_file() -> None:
    _, rows = excel([["a\x00b\x0bc", "x" * 40_000]], title="Usage: [Sept] 2024/09 and a very long name")
    assert rows[1][0].value == "a\ufffdb\ufffdc"
    assert len(rows[1][1].value) == 32_767
    assert rows[1][0].parent.title == "Usage   Sept  2024 09 and a ver"
    assert rows[1][0].parent.freeze_panes == "A2"


def test_rows_stream_with_flat_memory() -> None:
    def rows() -> Iterator[list[Value]]:
        for number in range(5_000):
            yield [f"row {number}", Decimal(number)]

    tracemalloc.start()
    try:
        assert write_xlsx(BytesIO(), ["name", "value"], rows()) == 5_000
        assert sum(1 for _ in csv_lines(["name", "value"], rows())) == 5_001
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 5_000_000
