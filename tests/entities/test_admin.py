"""The organisation in the back-office: trees, writes through services, scope of choices (ENT-01 to ENT-05, ALC)."""

import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.messages import get_messages
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from core.models import User
from entities.models import (
    AllocationPosting,
    AllocationRule,
    Department,
    Entity,
    EntityLink,
    Membership,
    Role,
)
from entities.services import allocation_rule_run
from tests.entities.conftest import SEPTEMBER, allocate, amounts
from tests.entities.factories import Group, department, entity, member
from tests.entities.test_allocation_rule import rule

BackOffice = Callable[[User], Client]
ADMIN = "/admin/entities"


@pytest.fixture
def office(back_office: BackOffice, northwind: Group) -> Client:
    return back_office(northwind.admin)


def form_of(response: Any) -> dict[str, Any]:
    """What a browser would send back of a change form."""
    form = response.context["adminform"].form
    data = {name: form[name].value() for name in form.fields}
    version = response.context.get("loaded_version")
    sent = {name: value or "" for name, value in data.items() if value is not False}
    inlines = {}
    for formset in response.context["inline_admin_formsets"]:
        inlines |= {
            f"{formset.formset.prefix}-{name}": value
            for name, value in formset.formset.management_form.initial.items()
        }
    return {**sent, **inlines, **({"loaded_version": version} if version else {})}


def said(response: Any) -> str:
    return " ".join(str(message) for message in get_messages(response.wsgi_request))


def text(response: Any) -> str:
    return re.sub(r"\s+", " ", response.content.decode())


# --- Entities --------------------------------------------------------------------------------------------


def test_ent_01_list_is_an_indented_tree(office: Client, northwind: Group) -> None:
    rows = list(office.get(f"{ADMIN}/entity/").context["cl"].result_list)
    assert [(row.name, row.depth) for row in rows] == [
        ("Northwind Group", 0),
        ("Northwind Deutschland", 1),
        ("Northwind Berlin", 2),
        ("Northwind Japan", 1),
        ("Northwind Shared Services", 1),
    ]
    found = list(office.get(f"{ADMIN}/entity/?q=NORTHWIND-BERLIN").context["cl"].result_list)
    assert [(row.name, row.depth) for row in found] == [("Northwind Berlin", 0)]


def test_ent_04_the_tree_begins_where_the_scope_does(back_office: BackOffice, northwind: Group) -> None:
    local = back_office(member(northwind.germany, Role.AUDITOR))
    response = local.get(f"{ADMIN}/entity/")
    assert [(row.name, row.depth) for row in response.context["cl"].result_list] == [
        ("Northwind Deutschland", 0),
        ("Northwind Berlin", 1),
    ]
    assert "Northwind Group" not in text(response)
    assert "Northwind Group" not in text(local.get(f"{ADMIN}/entity/{northwind.germany.pk}/change/"))


def test_ent_01_add_through_the_service(office: Client, northwind: Group) -> None:
    data = form_of(office.get(f"{ADMIN}/entity/add/"))
    data |= {"name": "Northwind France", "parent": northwind.root.pk, "currency": "EUR", "country": "FR"}
    response = office.post(f"{ADMIN}/entity/add/", data | {"tax_id": "FR 40 303 265 045"})
    assert response.status_code == 302, response.context["errors"]
    made = Entity.objects.get(name="Northwind France")
    assert (made.code, made.tax_id) == ("NORTHWIND-FRANCE", "FR40303265045")
    last = made.history.first()
    assert (last.history_user, last.channel) == (northwind.admin, "admin")


def test_ent_01_refusals_stand_beside_their_field(office: Client, northwind: Group) -> None:
    path = f"{ADMIN}/entity/{northwind.germany.pk}/change/"
    data = form_of(office.get(path))
    for change, field in (
        ({"parent": northwind.division.pk}, "parent"),
        ({"tax_id": "DE1"}, "tax_id"),
        ({"currency": "XXX"}, "currency"),
        ({"credit_limit": "-5"}, "credit_limit"),
        ({"credit_limit": "NaN"}, "credit_limit"),
        ({"name": "x" * 300}, "name"),
        ({"name": "a\x00b"}, "name"),
        ({"code": northwind.japan.code}, "code"),
        ({"parent": northwind.other_root.pk}, "parent"),
    ):
        response = office.post(path, data | change)
        assert response.status_code == 200
        assert field in response.context["adminform"].form.errors, change
    northwind.germany.refresh_from_db()
    assert northwind.germany.version == 1


def test_ent_01_change_keeps_its_reason(office: Client, northwind: Group) -> None:
    path = f"{ADMIN}/entity/{northwind.japan.pk}/change/"
    data = form_of(office.get(path)) | {"city": "Tokyo", "change_reason": "Moved"}
    assert office.post(path, data).status_code == 302
    japan = Entity.objects.get(pk=northwind.japan.pk)
    assert (japan.city, japan.version) == ("Tokyo", 2)
    assert japan.history.first().history_change_reason == "Moved"


def test_ent_01_an_edit_of_somebody_else_is_not_overwritten(office: Client, northwind: Group) -> None:
    path = f"{ADMIN}/entity/{northwind.japan.pk}/change/"
    data = form_of(office.get(path)) | {"city": "Tokyo"}
    northwind.japan.city = "Osaka"
    northwind.japan.save()
    response = office.post(path, data)
    assert response.status_code == 200
    assert [(row.stored, row.typed) for row in response.context["differences"]] == [("Osaka", "Tokyo")]


def test_ent_04_a_hidden_parent_is_neither_shown_nor_lost(back_office: BackOffice, northwind: Group) -> None:
    local = back_office(member(northwind.germany, Role.ADMINISTRATOR))
    path = f"{ADMIN}/entity/{northwind.germany.pk}/change/"
    response = local.get(path)
    assert "parent" not in response.context["adminform"].form.fields
    assert local.post(path, form_of(response) | {"city": "Hamburg"}).status_code == 302
    germany = Entity.objects.get(pk=northwind.germany.pk)
    assert (germany.city, germany.parent) == ("Hamburg", northwind.root)


def test_ent_01_delete_says_what_depends(office: Client, northwind: Group) -> None:
    response = office.post(f"{ADMIN}/entity/{northwind.germany.pk}/delete/", {"post": "yes"})
    assert response.status_code == 302
    assert "departments, entities depend on it" in said(response)
    assert office.post(f"{ADMIN}/entity/{northwind.japan.pk}/delete/", {"post": "yes"}).status_code == 302
    assert not Entity.objects.filter(pk=northwind.japan.pk).exists()


def test_ent_02_links_are_set_and_ended_by_actions(office: Client, northwind: Group) -> None:
    path = f"{ADMIN}/entity/{northwind.japan.pk}/do"
    data = {"kind": "payer", "target": northwind.japan.pk, "valid_from": "2024-01-01", "valid_to": ""}
    assert office.post(f"{path}/link/", data).status_code == 302
    link = EntityLink.objects.get()
    hidden = office.post(f"{path}/link/", data | {"target": northwind.other_root.pk})
    assert "target" in hidden.context["form"].errors
    assert office.post(f"{path}/end-link/", {"link": link.pk, "on": "2024-06-01"}).status_code == 302
    link.refresh_from_db()
    assert link.valid_to is not None
    assert "Itself" in text(office.get(f"{ADMIN}/entity/"))


# --- Departments -----------------------------------------------------------------------------------------


def test_ent_03_departments_as_trees_with_costs(office: Client, northwind: Group) -> None:
    rows = list(office.get(f"{ADMIN}/department/").context["cl"].result_list)
    assert [(row.code, row.depth) for row in rows] == [
        ("VERTRIEB", 0),
        ("ENG", 0),
        ("PLAT", 1),
        ("IT", 0),
        ("MKT", 0),
    ]


def test_ent_03_add_change_close(office: Client, northwind: Group) -> None:
    data = form_of(office.get(f"{ADMIN}/department/add/"))
    data |= {"entity": northwind.root.pk, "name": "Legal", "code": "LEG", "gl_code": "6900"}
    assert office.post(f"{ADMIN}/department/add/", data).status_code == 302
    legal = Department.objects.get(code="LEG")
    twice = office.post(f"{ADMIN}/department/add/", data | {"code": "leg"})
    assert "code" in twice.context["adminform"].form.errors or twice.context["errors"]
    foreign = office.post(
        f"{ADMIN}/department/add/", data | {"code": "L2", "parent": northwind.german_sales.pk}
    )
    assert "parent" in foreign.context["adminform"].form.errors
    path = f"{ADMIN}/department/{legal.pk}"
    assert (
        office.post(f"{path}/do/close/", {"closed_on": "2025-01-01", "reason": "Outsourced"}).status_code
        == 302
    )
    legal.refresh_from_db()
    assert str(legal.closed_on) == "2025-01-01"
    assert "Closed" in text(office.get(f"{ADMIN}/department/?q=LEG"))


# --- Memberships -----------------------------------------------------------------------------------------


def test_ent_05_grant_and_end(office: Client, northwind: Group) -> None:
    person = member(northwind.japan, Role.APPROVER)
    data = form_of(office.get(f"{ADMIN}/membership/add/"))
    data |= {"user": person.pk, "entity": northwind.germany.pk, "role": "auditor", "change_reason": "Audit"}
    assert office.post(f"{ADMIN}/membership/add/", data).status_code == 302
    made = Membership.objects.get(user=person, role=Role.AUDITOR)
    assert made.history.first().history_change_reason == "Audit"
    person.refresh_from_db()
    assert person.is_staff
    assert (
        office.post(f"{ADMIN}/membership/{made.pk}/do/end/", {"on": "", "reason": "Done"}).status_code == 302
    )
    person.refresh_from_db()
    assert not person.is_staff


def test_ent_05_above_ones_own_place_is_refused_in_the_form(
    back_office: BackOffice, northwind: Group
) -> None:
    local_admin = member(northwind.germany, Role.ADMINISTRATOR)
    local = back_office(local_admin)
    data = form_of(local.get(f"{ADMIN}/membership/add/"))
    data |= {"user": local_admin.pk, "entity": northwind.root.pk, "role": "administrator"}
    response = local.post(f"{ADMIN}/membership/add/", data)
    assert "entity" in response.context["adminform"].form.errors
    assert local_admin.memberships.count() == 1


def test_ent_05_the_last_administrator_stays(office: Client, northwind: Group) -> None:
    own = northwind.admin.memberships.get()
    response = office.post(f"{ADMIN}/membership/{own.pk}/do/end/", {"on": "", "reason": "Bye"})
    assert "last administrator" in str(response.context["form"].errors)


# --- Scope of choices ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "field", "hidden"),
    [
        ("department", "entity", "Northwind Group"),
        ("department", "parent", "IT"),
        ("department", "manager", "administrator"),
        ("membership", "user", "administrator"),
        ("membership", "department", "IT"),
        ("entitylink", "target", "Northwind Group"),
        ("costallocation", "department", "IT"),
    ],
)
def test_ent_04_autocomplete_offers_the_scope_only(
    back_office: BackOffice, northwind: Group, model: str, field: str, hidden: str
) -> None:
    local_admin = member(northwind.germany, Role.ADMINISTRATOR)
    query = {"app_label": "entities", "model_name": model, "field_name": field, "term": ""}
    response = back_office(local_admin).get("/admin/autocomplete/", query)
    assert response.status_code == 200, response.content
    names = [row["text"] for row in response.json()["results"]]
    assert names
    assert not any(hidden in name for name in names if name != str(local_admin))


def test_ent_04_filters_and_foreign_keys_offer_the_scope_only(
    back_office: BackOffice, northwind: Group
) -> None:
    local = back_office(member(northwind.germany, Role.FINANCE_STAFF))
    for page in (
        "entity",
        "department",
        "membership",
        "costallocation",
        "allocationposting",
        "allocationrule",
    ):
        body = text(local.get(f"{ADMIN}/{page}/"))
        assert "Northwind Group" not in body, page
        assert "Fabrikam" not in body, page
    data = form_of(local.get(f"{ADMIN}/department/add/"))
    data |= {"entity": northwind.root.pk, "name": "X", "code": "X"}
    response = local.post(f"{ADMIN}/department/add/", data)
    assert "entity" in response.context["adminform"].form.errors


# --- Allocations -----------------------------------------------------------------------------------------


def allocation_form(northwind: Group, **change: Any) -> dict[str, Any]:
    return {
        "department": northwind.it.pk,
        "amount": "182.25",
        "currency": "",
        "description": "Cloud",
        "period_start": "2024-09-01",
        "period_end": "2024-10-01",
        "split_by": "percent",
        "lines-TOTAL_FORMS": "3",
        "lines-INITIAL_FORMS": "0",
        "lines-0-department": northwind.engineering.pk,
        "lines-0-share": "98",
        "lines-1-department": northwind.marketing.pk,
        "lines-1-share": "2",
        "lines-2-department": "",
        "lines-2-share": "",
        "token": "t1",
        **change,
    }


def test_alc_02_allocate_in_two_steps(office: Client, northwind: Group) -> None:
    path = f"{ADMIN}/allocationposting/add/"
    assert office.get(f"{path}?department={northwind.it.pk}").status_code == 200
    preview = office.post(path, allocation_form(northwind, do="preview"))
    assert preview.status_code == 200
    assert "178.61" in text(preview)
    assert "3.64" in text(preview)
    assert not AllocationPosting.objects.exists()
    confirm = allocation_form(northwind, do="confirm", shown=preview.context["shown"])
    assert office.post(path, confirm).status_code == 302
    assert amounts(AllocationPosting.objects.get()) == [("ENG", Decimal("178.61")), ("MKT", Decimal("3.64"))]
    # The page sent a second time writes nothing more.
    assert office.post(path, confirm).status_code == 302
    assert AllocationPosting.objects.count() == 1


def test_alc_02_what_was_not_shown_is_not_written(office: Client, northwind: Group) -> None:
    path = f"{ADMIN}/allocationposting/add/"
    shown = office.post(path, allocation_form(northwind, do="preview")).context["shown"]
    changed = office.post(path, allocation_form(northwind, do="confirm", shown=shown, amount="200.00"))
    assert "have changed" in said(changed)
    assert "196.00" in text(changed)
    assert not AllocationPosting.objects.exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"lines-1-share": "1"}, "sum to 99, not 100"),
        ({"amount": "0"}, "other than zero"),
        ({"amount": "NaN"}, "number"),
        ({"currency": "XXX"}, "no known currency"),
        ({"period_end": "2024-09-01"}, "must be later"),
        ({"lines-1-share": ""}, "Give the share"),
        ({"lines-1-department": ""}, "Choose the department"),
    ],
)
def test_alc_01_refusals_of_the_form(
    office: Client, northwind: Group, change: dict[str, Any], words: str
) -> None:
    response = office.post(
        f"{ADMIN}/allocationposting/add/", allocation_form(northwind, do="preview", **change)
    )
    assert response.status_code == 400
    assert words in text(response)
    assert not AllocationPosting.objects.exists()


def test_ent_04_a_hidden_department_is_no_choice(back_office: BackOffice, northwind: Group) -> None:
    local = back_office(member(northwind.germany, Role.FINANCE_STAFF))
    data = allocation_form(northwind, do="preview", department=northwind.german_sales.pk)
    response = local.post(f"{ADMIN}/allocationposting/add/", data)
    assert response.status_code == 400
    assert "Select a valid choice" in text(response)


def test_more_lines_keep_what_was_typed(office: Client, northwind: Group) -> None:
    response = office.post(f"{ADMIN}/allocationposting/add/", allocation_form(northwind, do="lines"))
    lines = response.context["lines"]
    assert len(lines) == 6
    assert lines[0].initial == {"department": str(northwind.engineering.pk), "share": "98"}
    assert not lines[0].errors


def test_alc_07_reverse_and_credit_by_actions(office: Client, northwind: Group) -> None:
    posting = allocate(northwind.finance, northwind.it, "10.00")
    path = f"{ADMIN}/allocationposting/{posting.pk}"
    assert office.post(f"{path}/do/reverse/", {"reason": ""}).status_code == 200
    assert office.post(f"{path}/do/credit/", {"reason": "Part", "amount": "4.00"}).status_code == 302
    assert office.get(f"{path}/do/reverse/").status_code == 409
    other = allocate(northwind.finance, northwind.it, "5.00")
    done = office.post(f"{ADMIN}/allocationposting/{other.pk}/do/reverse/", {"reason": "Wrong"})
    assert done.status_code == 302
    assert AllocationPosting.objects.get(reverses=other).amount == Decimal("-5.00")


def test_alc_07_postings_cannot_be_edited_or_deleted(office: Client, northwind: Group) -> None:
    posting = allocate(northwind.finance, northwind.it, "10.00")
    line = posting.lines.get()
    for path in (f"allocationposting/{posting.pk}", f"costallocation/{line.pk}"):
        assert office.post(f"{ADMIN}/{path}/change/", {"amount": "1"}).status_code == 403
        assert office.post(f"{ADMIN}/{path}/delete/", {"post": "yes"}).status_code == 403


def test_totals_are_per_currency(office: Client, northwind: Group) -> None:
    allocate(northwind.finance, northwind.it, "10.00")
    allocate(northwind.finance, northwind.it, "5.00")
    allocate(northwind.finance, northwind.it, "700", currency="JPY")
    lines = office.get(f"{ADMIN}/costallocation/").context["totals_lines"]
    assert [(line.currency, line.count) for line in lines] == [("JPY", 1), ("USD", 2)]
    assert "15.00" in lines[1].sums[0][1]


# --- Rules -----------------------------------------------------------------------------------------------


def test_alc_05_rule_page_version_and_run(office: Client, northwind: Group) -> None:
    data = allocation_form(northwind, **{"lines-0-share": "60", "lines-1-share": "40"})
    own = {
        "name": "IT",
        "source": northwind.it.pk,
        "step": "1",
        "basis": "percent",
        "driver": "",
        "valid_from": "2024-01-01",
    }
    path = f"{ADMIN}/allocationrule/add/"
    preview = office.post(path, data | own | {"do": "preview"})
    assert "60.00" in text(preview)
    assert not AllocationRule.objects.exists()
    saved = office.post(path, data | own | {"do": "confirm", "shown": preview.context["shown"]})
    assert saved.status_code == 302
    made = AllocationRule.objects.get()
    assert "ENG Engineering" in text(office.get(f"{ADMIN}/allocationrule/{made.pk}/change/"))
    allocate(northwind.finance, northwind.it, "10.00")
    run = f"{ADMIN}/allocationrule/{made.pk}/run/"
    period = {"period_start": "2024-09-01", "period_end": "2024-10-01", "token": "run"}
    look = office.post(run, period | {"do": "preview"})
    assert "6.00" in text(look)
    assert office.post(run, period | {"do": "confirm", "shown": look.context["shown"]}).status_code == 302
    again = office.post(run, period | {"do": "preview", "token": "other"})
    assert "has been run for this period" in text(again)
    version = f"{ADMIN}/allocationrule/{made.pk}/new-version/"
    terms = {"basis": "ratio", "driver": "", "valid_from": "2024-10-01", "token": "v2"}
    shown = office.post(version, data | terms | {"do": "preview"}).context["shown"]
    assert office.post(version, data | terms | {"do": "confirm", "shown": shown}).status_code == 302
    assert made.versions.count() == 2


def test_alc_05_rules_change_and_delete_through_the_services(office: Client, northwind: Group) -> None:
    made = rule(northwind, northwind.it, (northwind.engineering, "100"))
    path = f"{ADMIN}/allocationrule/{made.pk}/change/"
    data = form_of(office.get(path)) | {"step": "3", "change_reason": "Order"}
    assert office.post(path, data).status_code == 302
    made.refresh_from_db()
    assert (made.step, made.history.first().history_change_reason) == (3, "Order")
    allocate(northwind.finance, northwind.it, "1.00")
    start, end = SEPTEMBER
    allocation_rule_run(actor=northwind.finance, rule=made, period_start=start, period_end=end)
    refused = office.post(f"{ADMIN}/allocationrule/{made.pk}/delete/", {"post": "yes"})
    assert "has been run" in said(refused)


# --- Query counts ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "page", ["entity", "department", "membership", "allocationposting", "costallocation", "allocationrule"]
)
def test_lists_ask_the_same_number_of_queries_for_5_and_50_rows(
    office: Client, northwind: Group, page: str
) -> None:
    def fill(count: int, start: int) -> None:
        for number in range(start, start + count):
            made = department(entity(f"Sub {number}", parent=northwind.root), f"D{number}")
            allocate(northwind.finance, made, "1.00")
            member(northwind.root, Role.APPROVER)
            rule(northwind, made, (northwind.engineering, "100"))

    counts = []
    for count, start in ((5, 0), (35, 5)):
        fill(count, start)
        office.get(f"{ADMIN}/{page}/?_all=1")
        with CaptureQueriesContext(connection) as captured:
            response = office.get(f"{ADMIN}/{page}/?_all=1")
        assert len(response.context["cl"].result_list) >= count
        counts.append(len(captured))
    assert counts[0] == counts[1]
