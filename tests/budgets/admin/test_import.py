"""Next year's budgets from Excel: every wrong cell is named, nothing is made before all are right."""

import datetime
import re
from io import BytesIO
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from openpyxl import Workbook, load_workbook

from budgets.models import Budget
from budgets.spreadsheet import COLUMNS, CellProblem, check_rows, read_sheet
from core.errors import Invalid
from tests.budgets.admin.test_pages import LIST, pages, text_of
from tests.budgets.builders import Place

IMPORT = f"{LIST}import/"
TITLES = [column.title for column in COLUMNS]


def sheet(*rows: dict[str, Any], titles: list[str] | None = None) -> bytes:
    book = Workbook()
    page = book.active
    page.append(titles or TITLES)
    for row in rows:
        page.append([row.get(title) for title in titles or TITLES])
    file = BytesIO()
    book.save(file)
    return file.getvalue()


def row(here: Place, **changes: Any) -> dict[str, Any]:
    return {
        "Name": "Cloud 2027",
        "Entity": here.entity.code,
        "Department": here.department.code,
        "Allocated": 1234.5,
        "First day": datetime.date(2027, 1, 1),
        "Last day": datetime.date(2027, 12, 31),
        **{title.replace("_", " "): value for title, value in changes.items()},
    }


def upload(client: Client, content: bytes) -> Any:
    return client.post(IMPORT, {"file": SimpleUploadedFile("budgets.xlsx", content)})


def problems(here: Place, *rows: dict[str, Any]) -> list[CellProblem]:
    checked = check_rows(read_sheet(BytesIO(sheet(*rows))), actor=here.finance)
    return [problem for each in checked for problem in each.problems]


def test_from_the_template_to_drafts(here: Place) -> None:
    client = pages(here.finance)
    content = sheet(
        row(here, Category="cloud", Control="advisory", Overspend_limit=100),
        row(here, Category="travel", Department=None, Allocated="50.25"),
    )
    preview = upload(client, content)
    assert preview.status_code == 200
    assert "All 2 rows can be made." in text_of(preview)
    assert not Budget.objects.exists()
    rows = re.search(r'name="rows" value="([^"]+)"', preview.content.decode())
    assert rows
    done = client.post(IMPORT, {"rows": rows[1]})
    first, second = Budget.objects.order_by("pk")
    assert done["Location"] == f"{LIST}?id__in={first.pk},{second.pk}"
    assert (first.status, first.category, first.control) == ("draft", "cloud", "advisory")
    assert (str(first.planned_amount), str(first.overspend_limit)) == ("1234.5000", "100.0000")
    assert (first.period_start, first.period_end) == (datetime.date(2027, 1, 1), datetime.date(2028, 1, 1))
    assert (first.period_type, second.department) == ("annual", None)
    assert client.get(done["Location"]).status_code == 200
    again = client.post(IMPORT, {"rows": rows[1]}, follow=True)
    assert "rows are refused by now" in text_of(again)
    assert Budget.objects.count() == 2
    assert "Upload the file again" in text_of(
        pages(here.colleague).post(IMPORT, {"rows": rows[1]}, follow=True)
    )


@pytest.mark.parametrize(
    ("change", "column", "said"),
    [
        ({"Name": None}, "Name", "Must be filled in"),
        ({"Entity": "NOWHERE"}, "Entity", "no entity with the code"),
        ({"Department": "NONE"}, "Department", "no department with the code"),
        ({"Allocated": "=1+1"}, "Allocated", "A formula"),
        ({"Allocated": -5}, "Allocated", "cannot be negative"),
        ({"Allocated": "much"}, "Allocated", "is no amount"),
        ({"Allocated": 1.005}, "Allocated", "minor units"),
        ({"Allocated": True}, "Allocated", "A number is expected"),
        ({"Allocated": datetime.date(2027, 1, 1)}, "Allocated", "A number is expected"),
        ({"First_day": "soon"}, "First day", "A date is expected"),
        ({"First_day": 45000}, "First day", "A date is expected"),
        ({"Last_day": datetime.date(2026, 1, 1)}, "Last day", "before the first day"),
        ({"Currency": "XXX"}, "Currency", "no known currency"),
        ({"Control": "strict"}, "Control", "Give one of"),
        ({"Alert_%": -1}, "Alert %", "cannot be negative"),
        ({"At_its_end": "keep"}, "At its end", "Give one of"),
        ({"Parent_budget": 999999}, "Parent budget", "no budget with the number"),
    ],
)
def test_each_wrong_cell_is_named(here: Place, change: dict[str, Any], column: str, said: str) -> None:
    found = problems(
        here, row(here), row(here, Name="Other", **change) if "Name" not in change else row(here, **change)
    )
    assert [(problem.row, problem.column) for problem in found] == [(3, column)]
    assert said in found[0].message


def test_rows_are_tried_together(here: Place) -> None:
    """Two rows for the same days of one purpose: the second is refused as making it would be (BUD-19)."""
    found = problems(here, row(here), row(here))
    assert [(problem.row, problem.column) for problem in found] == [(3, "")]
    assert "covers some of these days" in found[0].message
    assert not Budget.objects.exists()


def test_wrong_cells_are_shown_where_they_stand(here: Place) -> None:
    response = upload(
        pages(here.finance), sheet(row(here), row(here, Name="B", Allocated="=A1", Control="x"))
    )
    text = text_of(response)
    assert response.status_code == 400
    assert "2 problems in 1 of 2 rows." in text
    assert "A formula. Copy the cell and paste its value instead." in text
    assert 'name="rows"' not in response.content.decode()


def test_scope_of_the_codes(here: Place) -> None:
    other = here.outsider.memberships.get().entity
    found = problems(here, row(here, Entity=other.code, Department=None))
    assert [(problem.column) for problem in found] == ["Entity"]


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"no excel", "no_excel_file"),
        (sheet(titles=["Name", "Entity"]), "columns_missing"),
        (sheet(titles=[*TITLES, "Colour"]), "columns_unknown"),
        (sheet(titles=[*TITLES, "Name"]), "columns_twice"),
        (sheet(), "no_rows"),
    ],
    # The bytes of a sheet would make names that differ between the processes of a parallel run.
    ids=["text", "columns_missing", "columns_unknown", "columns_twice", "no_rows"],
)
def test_what_is_no_such_sheet_is_refused(content: bytes, code: str) -> None:
    with pytest.raises(Invalid) as refusal:
        read_sheet(BytesIO(content))
    assert refusal.value.code == code


def test_this_years_budgets_moved_on_come_back_as_drafts(here: Place) -> None:
    here.budget("100.50", name="Cloud 2026", category="cloud", approval_threshold="10")
    client = pages(here.finance)
    response = client.get(f"{IMPORT}template.xlsx?from=current")
    content = b"".join(response)
    cells = list(load_workbook(BytesIO(content)).active.iter_rows(values_only=True))
    assert list(cells[0]) == TITLES
    assert cells[1][0] == "Cloud 2027"
    assert cells[1][4] == 100.5
    assert cells[1][6].date() == datetime.date(2027, 1, 1)
    assert cells[1][7].date() == datetime.date(2027, 12, 31)
    assert "All 1 row can be made." in text_of(upload(client, content))
    empty = b"".join(client.get(f"{IMPORT}template.xlsx"))
    assert len(list(load_workbook(BytesIO(empty)).active.iter_rows())) == 1
