"""Totals per currency, exports, filters above the list, page size, empty lists."""

import csv
import io
from decimal import Decimal
from typing import Any

import pytest
from django.test import Client
from django.utils.html import strip_tags
from openpyxl import load_workbook

from core.admin.columns import amount_text, number_text, tidy
from core.models import SavedFilter, User
from entities.models import Entity
from tests.core.admin.conftest import Group

LIST = "/admin/entities/entity/"


def lines_of(page: Any) -> list[tuple[str, int, str]]:
    return [
        (line.currency, line.count, strip_tags(line.sums[0][1])) for line in page.context_data["totals_lines"]
    ]


def test_totals_are_per_currency_and_of_all_filtered_rows(admin_client: Client, group: Group) -> None:
    assert lines_of(admin_client.get(LIST)) == [("EUR", 2, "1,250.50 EUR"), ("JPY", 1, "90,000 JPY")]
    assert lines_of(admin_client.get(f"{LIST}?q=DE")) == [("EUR", 1, "250.50 EUR")]


def test_totals_count_every_row_not_the_page(admin_client: Client, group: Group) -> None:
    for index in range(60):
        Entity.objects.create(
            name=f"Unit {index}",
            code=f"U{index}",
            currency="EUR",
            parent=group.root,
            credit_limit=Decimal("0.10"),
        )
    page = admin_client.get(LIST)
    assert len(page.context["cl"].result_list) == 50
    assert lines_of(page)[0] == ("EUR", 62, "1,256.50 EUR")


def test_totals_are_right_when_the_search_joins(admin_client: Client, group: Group) -> None:
    page = admin_client.get(f"{LIST}?parent__id__exact={group.root.pk}")
    assert lines_of(page) == [("EUR", 1, "250.50 EUR"), ("JPY", 1, "90,000 JPY")]


@pytest.mark.parametrize(
    ("value", "currency", "shown"),
    [
        (Decimal("1234.5"), "EUR", "1,234.50"),
        (Decimal("-1234.5"), "JPY", "\N{MINUS SIGN}1,235"),
        (Decimal("1.0005"), "KWD", "1.001"),
        (Decimal("0"), "USD", "0.00"),
    ],
)
def test_amounts_have_the_minor_units_of_their_currency(value: Decimal, currency: str, shown: str) -> None:
    assert amount_text(value, currency) == shown


def test_exact_numbers_keep_every_digit_and_no_more() -> None:
    assert number_text(Decimal("20.52022672899")) == "20.52022672899"
    assert number_text(Decimal("0.000000000000001")) == "0.000000000000001"
    assert number_text(Decimal("1000.500")) == "1,000.5"
    assert number_text(12345) == "12,345"


def test_csv_holds_exactly_what_is_filtered(admin_client: Client, group: Group) -> None:
    answer = admin_client.get(f"{LIST}export.csv?q=acme-&o=2")
    text = b"".join(answer.streaming_content).decode("utf-8-sig")
    rows = list(csv.reader(io.StringIO(text)))
    assert rows == [
        ["Name", "Code", "Entity type", "Parent", "Credit limit", "Currency"],
        ["Acme DE", "ACME-DE", "Subsidiary", "Acme", "250.5000", "EUR"],
        ["Acme JP", "ACME-JP", "Subsidiary", "Acme", "90000.0000", "JPY"],
    ]
    assert "attachment" in answer["Content-Disposition"]


def test_xlsx_has_typed_cells_and_no_formula(admin_client: Client, group: Group) -> None:
    Entity.objects.filter(pk=group.german.pk).update(name="=1+1")
    answer = admin_client.get(f"{LIST}export.xlsx?q=ACME-DE")
    sheet = load_workbook(io.BytesIO(b"".join(answer.streaming_content))).active
    cells = next(iter(sheet.iter_rows(min_row=2)))
    assert cells[0].value == "=1+1"
    assert cells[0].data_type == "s"
    assert cells[4].value == 250.5
    assert cells[4].data_type == "n"


def test_export_keeps_to_scope(admin_client: Client, group: Group) -> None:
    text = b"".join(admin_client.get(f"{LIST}export.csv?_all=1").streaming_content).decode()
    assert "STRANGER" not in text
    assert admin_client.get(f"{LIST}export.pdf").status_code == 404


def test_filters_in_force_are_chips_that_can_be_taken_off(admin_client: Client, group: Group) -> None:
    page = admin_client.get(f"{LIST}?entity_type__exact=subsidiary&parent__id__exact={group.root.pk}&q=DE")
    chips = {chip.label: chip.url for chip in page.context_data["active_filters"]}
    assert list(chips) == ["Search: DE", "Entity type: Subsidiary", "Parent: Acme"]
    assert "entity_type" not in chips["Entity type: Subsidiary"]
    assert "q=DE" in chips["Entity type: Subsidiary"]


def test_quick_filter_is_marked_when_in_force(admin_client: Client, group: Group) -> None:
    chip = admin_client.get(f"{LIST}?is_active__exact=0").context_data["quick_chips"][0]
    assert (chip.label, chip.active) == ("Closed", True)
    assert admin_client.get(LIST).context_data["quick_chips"][0].active is False


def save_filter(client: Client, **data: Any) -> Any:
    given = {"do": "save", "name": "Subsidiaries", "query": "entity_type__exact=subsidiary&p=3", **data}
    return client.post(f"{LIST}saved-filters/", given)


def test_saved_filter_is_mine_shared_or_the_default(
    admin_client: Client, auditor_client: Client, administrator: User, group: Group
) -> None:
    save_filter(admin_client)
    row = SavedFilter.objects.get()
    assert (row.user, row.page, row.query) == (
        administrator,
        "entities.entity",
        "entity_type__exact=subsidiary",
    )
    assert auditor_client.get(LIST).context_data["saved_chips"] == []
    save_filter(admin_client, shared="on")
    assert [chip.owner for chip in auditor_client.get(LIST).context_data["saved_chips"]] == ["Ada"]
    # Somebody else's cannot be deleted or made a default.
    auditor_client.post(f"{LIST}saved-filters/", {"do": "delete", "pk": row.pk})
    assert SavedFilter.objects.count() == 1
    admin_client.post(f"{LIST}saved-filters/", {"do": "default", "pk": row.pk})
    assert admin_client.get(LIST)["Location"] == f"{LIST}?entity_type__exact=subsidiary"
    assert admin_client.get(f"{LIST}?_all=1").status_code == 200
    assert admin_client.get(LIST, headers={"referer": f"http://testserver{LIST}?q=x"}).status_code == 200
    assert auditor_client.get(LIST).status_code == 200
    admin_client.post(f"{LIST}saved-filters/", {"do": "delete", "pk": row.pk})
    assert not SavedFilter.objects.exists()


def test_saved_filter_needs_a_name_and_something_to_save(admin_client: Client, group: Group) -> None:
    save_filter(admin_client, name=" ")
    save_filter(admin_client, query="p=2")
    assert not SavedFilter.objects.exists()
    assert admin_client.get(f"{LIST}saved-filters/").status_code == 302


def test_page_size_is_remembered(admin_client: Client, group: Group) -> None:
    assert admin_client.get(LIST).context["cl"].list_per_page == 50
    assert admin_client.get(f"{LIST}?_per_page=25&q=A")["Location"] == f"{LIST}?q=A"
    assert admin_client.get(LIST).context["cl"].list_per_page == 25
    assert admin_client.get(f"{LIST}?_per_page=99999").context["cl"].list_per_page == 25


def test_empty_list_says_what_it_is_for_or_that_nothing_matches(admin_client: Client, group: Group) -> None:
    nothing = admin_client.get(f"{LIST}?q=zzz").content.decode()
    assert "No entities match" in nothing
    Entity.objects.exclude(pk=group.root.pk).delete()
    rates = admin_client.get("/admin/core/exchangerate/").content.decode()
    assert "No exchange rates yet" in rates


def test_unknown_filter_is_refused_without_an_error_page(admin_client: Client, group: Group) -> None:
    assert admin_client.get(f"{LIST}?nonsense=1").status_code == 302
    assert admin_client.get(f"{LIST}?created_at__gte=never").status_code in {200, 302}


@pytest.mark.parametrize(
    ("stored", "shown"),
    [
        ("250.5000", "250.50"),
        ("2500000.0000", "2500000"),
        ("0.0000", "0"),
        ("1.2345", "1.2345"),
        ("-7.1000", "-7.10"),
    ],
)
def test_forms_show_numbers_without_meaningless_zeros(stored: str, shown: str) -> None:
    assert str(tidy(Decimal(stored))) == shown


def test_read_only_amounts_are_readable(auditor_client: Client, group: Group) -> None:
    page = auditor_client.get(f"{LIST}{group.japanese.pk}/change/").content.decode()
    assert "90,000</span>" in page
    assert "90000.0000<" not in page
