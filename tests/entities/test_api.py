"""The organisation over HTTP: shapes, errors, versions, idempotency, scope (ENT-01 to ENT-05, ALC)."""

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from core.models import User
from entities.models import AllocationPosting, Department, Entity, Membership, Role
from tests.entities.conftest import BASE, allocate
from tests.entities.factories import Group, department, entity, grant, member, user

Api = Callable[[User], APIClient]
PERIOD = {"period_start": "2024-09-01", "period_end": "2024-10-01"}


@pytest.fixture
def admin(api: Api, northwind: Group) -> APIClient:
    return api(northwind.admin)


@pytest.fixture
def finance(api: Api, northwind: Group) -> APIClient:
    return api(northwind.finance)


def post(client: APIClient, path: str, body: Any, **headers: str) -> Any:
    return client.post(f"{BASE}{path}", body, format="json", headers=headers)


def problem(response: Any, status: int, code: str, pointer: str | None = None) -> dict[str, Any]:
    body: dict[str, Any] = response.json()
    assert (response.status_code, response["Content-Type"]) == (status, "application/problem+json"), body
    if pointer is None:
        assert body["code"] == code, body
    else:
        assert (pointer, code) in {(error["pointer"], error["code"]) for error in body["errors"]}, body
    return body


# --- Entities --------------------------------------------------------------------------------------------


def test_ent_01_create_shows_what_was_asked(admin: APIClient, northwind: Group) -> None:
    asked = {
        "name": "Northwind France",
        "entity_type": "subsidiary",
        "parent_id": northwind.root.pk,
        "legal_name": "Northwind France SAS",
        "tax_id": "FR40303265045",
        "country": "FR",
        "currency": "EUR",
        "payment_terms_days": 45,
        "credit_limit": 250000,
        "consolidated_billing": False,
    }
    response = post(admin, "/entities", asked)
    assert response.status_code == 201
    made = response.json()
    assert made | asked | {"credit_limit": "250000.00"} == made
    assert made["code"] == "NORTHWIND-FRANCE"
    assert {"id", "created_at", "updated_at", "version"} <= set(made)
    assert response["Location"] == f"{BASE}/entities/{made['id']}"


def test_ent_01_retrieve_has_ancestors_and_the_tree_below(admin: APIClient, northwind: Group) -> None:
    body = admin.get(f"{BASE}/entities/{northwind.germany.pk}").json()
    assert [row["name"] for row in body["ancestors"]] == ["Northwind Group"]
    assert [(row["name"], row["children"]) for row in body["children"]] == [("Northwind Berlin", [])]
    root = admin.get(f"{BASE}/entities/{northwind.root.pk}").json()
    assert [row["name"] for row in root["children"]] == [
        "Northwind Deutschland",
        "Northwind Japan",
        "Northwind Shared Services",
    ]
    assert root["children"][0]["children"][0]["name"] == "Northwind Berlin"


def test_ent_04_hierarchy_shows_only_what_the_caller_sees(api: Api, northwind: Group) -> None:
    client = api(member(northwind.germany, Role.AUDITOR))
    body = client.get(f"{BASE}/entities/{northwind.germany.pk}").json()
    assert body["ancestors"] == []
    assert [row["name"] for row in body["children"]] == ["Northwind Berlin"]
    problem(client.get(f"{BASE}/entities/{northwind.root.pk}"), 404, "not_found")
    assert client.get(f"{BASE}/entities").json()["count"] == 2


def test_ent_04_a_department_sees_the_name_of_its_entity_only(api: Api, northwind: Group) -> None:
    client = api(northwind.users[Role.DEPARTMENT_MANAGER])
    for body in (
        client.get(f"{BASE}/entities/{northwind.root.pk}").json(),
        client.get(f"{BASE}/entities").json()["results"][0],
    ):
        assert body["name"] == "Northwind Group"
        assert body["legal_name"] is None
        assert body["iban"] is None
    assert {row["code"] for row in client.get(f"{BASE}/departments").json()["results"]} == {"ENG", "PLAT"}


@pytest.mark.parametrize(
    ("change", "pointer", "code"),
    [
        ({"currency": "XXX"}, "/currency", "unknown_currency"),
        ({"currency": None}, "/currency", "null"),
        ({"name": "x" * 300}, "/name", "max_length"),
        ({"name": " "}, "/name", "blank"),
        ({"credit_limit": "-1"}, "/credit_limit", "min_value"),
        ({"credit_limit": "NaN"}, "/credit_limit", "amount_not_finite"),
        ({"credit_limit": "1e400"}, "/credit_limit", "amount_too_large"),
        ({"credit_limit": "1.001"}, "/credit_limit", "amount_too_precise"),
        ({"credit_limit": True}, "/credit_limit", "invalid"),
        ({"parent_id": 10**12}, "/parent_id", "does_not_exist"),
        ({"parent_id": "1; DROP TABLE"}, "/parent_id", "incorrect_type"),
        ({"entity_type": "galaxy"}, "/entity_type", "invalid_choice"),
        ({"payment_terms_days": -1}, "/payment_terms_days", "min_value"),
        ({"payment_terms_days": 10**9}, "/payment_terms_days", "max_value"),
        ({"tax_id": "DE1", "country": "DE"}, "/tax_id", "invalid_tax_id"),
        ({"nonsense": 1}, "/nonsense", "unknown_field"),
        ({"id": 7}, "/id", "unknown_field"),
    ],
)
def test_ent_01_bad_input_is_named_by_pointer(
    admin: APIClient, northwind: Group, change: dict[str, Any], pointer: str, code: str
) -> None:
    before = Entity.objects.count()
    body = {"name": "Acme", "entity_type": "subsidiary", "parent_id": northwind.root.pk, "currency": "USD"}
    problem(post(admin, "/entities", body | change), 400, code, pointer)
    assert Entity.objects.count() == before


def test_ent_01_null_characters_and_numbers_beyond_json_are_refused(
    admin: APIClient, northwind: Group
) -> None:
    for raw in (
        '{"name": "a\\u0000b", "entity_type": "root", "currency": "USD"}',
        '{"name": "a", "entity_type": "root", "currency": "USD", "credit_limit": NaN}',
        '{"name": "a", "name": "b", "entity_type": "root", "currency": "USD"}',
        "[]",
        "",
    ):
        response = admin.post(f"{BASE}/entities", raw, content_type="application/json")
        assert response.status_code == 400, response.content


def test_ent_04_hidden_parent_does_not_exist(admin: APIClient, northwind: Group) -> None:
    for hidden in (northwind.other_root.pk, 999_999):
        body = {"name": "Acme", "entity_type": "subsidiary", "parent_id": hidden, "currency": "USD"}
        answer = problem(post(admin, "/entities", body), 400, "does_not_exist", "/parent_id")
        assert "does not exist" in answer["errors"][0]["detail"]


def test_ent_01_cycle_by_patch_is_a_conflict(admin: APIClient, northwind: Group) -> None:
    response = admin.patch(
        f"{BASE}/entities/{northwind.germany.pk}", {"parent_id": northwind.division.pk}, format="json"
    )
    problem(response, 409, "entity_cycle", "/parent_id")


def test_ent_01_patch_moves_and_answers_with_the_new_version(admin: APIClient, northwind: Group) -> None:
    path = f"{BASE}/entities/{northwind.division.pk}"
    etag = admin.get(path)["ETag"]
    body = {"parent_id": northwind.japan.pk, "reason": "Reorganised"}
    moved = admin.patch(path, body, format="json", headers={"If-Match": etag})
    assert (moved.status_code, moved.json()["parent_id"], moved.json()["version"]) == (
        200,
        northwind.japan.pk,
        2,
    )
    problem(admin.patch(path, {"city": "X"}, format="json", headers={"If-Match": etag}), 412, "stale_version")
    last = Entity.objects.get(pk=northwind.division.pk).history.first()
    assert (last.history_change_reason, last.channel, last.history_user) == (
        "Reorganised",
        "api",
        northwind.admin,
    )


def test_ent_01_delete(admin: APIClient, northwind: Group) -> None:
    problem(admin.delete(f"{BASE}/entities/{northwind.germany.pk}"), 409, "in_use")
    assert admin.delete(f"{BASE}/entities/{northwind.japan.pk}").status_code == 204
    problem(admin.get(f"{BASE}/entities/{northwind.japan.pk}"), 404, "not_found")


def test_lists_filter_search_order_and_refuse_what_they_do_not_know(
    admin: APIClient, northwind: Group
) -> None:
    def names(query: str) -> list[str]:
        response = admin.get(f"{BASE}/entities?{query}")
        assert response.status_code == 200, response.content
        return [row["name"].removeprefix("Northwind ") for row in response.json()["results"]]

    assert names("currency=EUR") == ["Berlin", "Deutschland"]
    assert names("currency_in=JPY,EUR&ordering=-name") == ["Japan", "Deutschland", "Berlin"]
    assert names("search=deut") == ["Deutschland"]
    assert names(f"parent_id={northwind.germany.pk}") == ["Berlin"]
    assert names(f"ancestor_id={northwind.germany.pk}") == ["Berlin", "Deutschland"]
    assert names("is_issuer=true") == ["Shared Services"]
    assert names("credit_limit_gte=1") == []
    problem(admin.get(f"{BASE}/entities?colour=red"), 400, "unknown_parameter")
    problem(admin.get(f"{BASE}/entities?ordering=iban"), 400, "unknown_ordering")
    problem(admin.get(f"{BASE}/entities?page=99"), 404, "page_not_found")


def test_paths_work_with_a_slash_at_their_end(admin: APIClient, northwind: Group) -> None:
    assert admin.get(f"{BASE}/entities/").status_code == 200
    assert admin.get(f"{BASE}/departments/{northwind.it.pk}/").status_code == 200


# --- Departments -----------------------------------------------------------------------------------------


def test_ent_03_create_change_and_delete_a_department(admin: APIClient, northwind: Group) -> None:
    manager = northwind.users[Role.DEPARTMENT_MANAGER]
    asked = {
        "entity_id": northwind.root.pk,
        "name": "Data Science",
        "code": "DS-100",
        "cost_center_type": "profit",
        "gl_code": "6200",
        "parent_id": northwind.engineering.pk,
        "manager_id": manager.pk,
    }
    made = post(admin, "/departments", asked)
    assert made.status_code == 201
    assert made.json() | asked == made.json()
    path = f"{BASE}/departments/{made.json()['id']}"
    changed = admin.patch(path, {"closed_on": "2030-01-01", "reason": "Plan"}, format="json")
    assert changed.json()["closed_on"] == "2030-01-01"
    problem(
        admin.patch(path, {"entity_id": northwind.germany.pk}, format="json"),
        400,
        "unknown_field",
        "/entity_id",
    )
    assert admin.delete(path).status_code == 204


@pytest.mark.parametrize(
    ("change", "status", "code", "pointer"),
    [
        ({"code": "eng"}, 409, "already_exists", "/code"),
        ({"name": ""}, 400, "blank", "/name"),
        ({"cost_center_type": "x"}, 400, "invalid_choice", "/cost_center_type"),
        ({"manager_id": 10**10}, 400, "does_not_exist", "/manager_id"),
    ],
)
def test_ent_03_bad_departments(
    admin: APIClient, northwind: Group, change: dict[str, Any], status: int, code: str, pointer: str
) -> None:
    body = {"entity_id": northwind.root.pk, "name": "X", "code": "X", "cost_center_type": "cost"}
    problem(post(admin, "/departments", body | change), status, code, pointer)


def test_ent_04_hidden_keys_do_not_exist(api: Api, northwind: Group) -> None:
    local = api(member(northwind.germany, Role.FINANCE_STAFF))
    body = {"entity_id": northwind.germany.pk, "name": "X", "code": "X", "cost_center_type": "cost"}
    for name, hidden in (
        ("entity_id", northwind.root.pk),
        ("parent_id", northwind.it.pk),
        ("manager_id", northwind.admin.pk),
    ):
        problem(post(local, "/departments", body | {name: hidden}), 400, "does_not_exist", f"/{name}")
    splits = [{"department_id": northwind.it.pk, "percent": "100"}]
    asked = {"amount": "1", "description": "x", **PERIOD, "splits": splits}
    problem(
        post(local, f"/departments/{northwind.german_sales.pk}/allocations", asked),
        400,
        "does_not_exist",
        "/splits/0/department_id",
    )
    assert not AllocationPosting.objects.exists()


# --- Allocations and costs -------------------------------------------------------------------------------


def test_alc_02_allocate_with_splits(finance: APIClient, northwind: Group) -> None:
    response = post(
        finance,
        f"/departments/{northwind.it.pk}/allocations",
        {
            "amount": "182.25",
            "description": "Cloud",
            **PERIOD,
            "splits": [
                {"department_id": northwind.engineering.pk, "percent": 98},
                {"department_id": northwind.marketing.pk, "percent": "2"},
            ],
        },
    )
    assert response.status_code == 201, response.content
    body = response.json()
    assert [(row["department_id"], row["amount"]) for row in body["allocations"]] == [
        (northwind.engineering.pk, "178.61"),
        (northwind.marketing.pk, "3.64"),
    ]
    assert (body["amount"], body["currency"], body["basis"], body["warnings"]) == (
        "182.25",
        "USD",
        "percent",
        [],
    )
    listed = finance.get(f"{BASE}/cost-allocations?department_id={northwind.marketing.pk}").json()["results"]
    assert [row["amount"] for row in listed] == ["3.64"]


def test_alc_01_the_last_day_of_a_month_as_end_brings_a_warning(finance: APIClient, northwind: Group) -> None:
    body = {"amount": 5, "description": "x", "period_start": "2024-09-01", "period_end": "2024-09-30"}
    answer = post(finance, f"/departments/{northwind.it.pk}/allocations", body).json()
    assert [warning["code"] for warning in answer["warnings"]] == ["period_end_is_exclusive"]


@pytest.mark.parametrize(
    ("change", "code", "pointer"),
    [
        ({"amount": "0"}, "amount_zero", "/amount"),
        ({"amount": "1.001"}, "amount_not_at_minor_unit", "/amount"),
        ({"amount": "NaN"}, "amount_not_finite", "/amount"),
        ({"amount": "1e400"}, "amount_too_large", "/amount"),
        ({"amount": ""}, "invalid_amount", "/amount"),
        ({"currency": "ZZZ"}, "unknown_currency", "/currency"),
        ({"period_end": "2024-09-01"}, "period_not_ordered", "/period_end"),
        ({"period_end": "2024-13-01"}, "invalid", "/period_end"),
        ({"description": ""}, "blank", "/description"),
        ({"source": "rule"}, "invalid_choice", "/source"),
        ({"splits": "all"}, "not_a_list", "/splits"),
        ({"splits": [{}]}, "required", "/splits/0/department_id"),
    ],
)
def test_alc_01_bad_allocations_write_nothing(
    finance: APIClient, northwind: Group, change: dict[str, Any], code: str, pointer: str
) -> None:
    body = {"amount": "1.00", "description": "x", **PERIOD}
    problem(post(finance, f"/departments/{northwind.it.pk}/allocations", body | change), 400, code, pointer)
    assert not AllocationPosting.objects.exists()


def test_alc_01_percentages_must_sum_to_100(finance: APIClient, northwind: Group) -> None:
    splits = [{"department_id": northwind.it.pk, "percent": "99.99"}]
    body = {"amount": "1.00", "description": "x", **PERIOD, "splits": splits}
    answer = problem(
        post(finance, f"/departments/{northwind.it.pk}/allocations", body), 400, "percent_not_100"
    )
    assert answer["detail"] == "The percentages sum to 99.99, not 100: 0.01 are missing."


def test_a_retry_with_the_same_key_allocates_once(finance: APIClient, northwind: Group) -> None:
    path, body = (
        f"/departments/{northwind.it.pk}/allocations",
        {"amount": "9.99", "description": "x", **PERIOD},
    )
    headers = {"Idempotency-Key": "allocation-1"}
    first = post(finance, path, body, **headers)
    again = post(finance, path, body, **headers)
    assert (first.status_code, again.status_code, again["Idempotency-Replayed"]) == (201, 201, "true")
    assert first.json() == again.json()
    assert AllocationPosting.objects.count() == 1
    problem(post(finance, path, body | {"amount": "1"}, **headers), 422, "idempotency_key_reused")


def test_alc_07_reverse_and_credit(finance: APIClient, northwind: Group) -> None:
    posting = allocate(northwind.finance, northwind.it, "10.00")
    path = f"/allocation-postings/{posting.pk}"
    problem(post(finance, f"{path}/reverse", {}), 400, "required", "/reason")
    credit = post(finance, f"{path}/credit", {"amount": "4", "reason": "Discount"})
    assert (credit.status_code, credit.json()["amount"], credit.json()["credits_id"]) == (
        201,
        "-4.00",
        posting.pk,
    )
    problem(
        post(finance, f"{path}/credit", {"amount": "6.01", "reason": "x"}), 409, "credit_exceeds_remaining"
    )
    problem(post(finance, f"{path}/reverse", {"reason": "x"}), 409, "partly_credited")
    other = allocate(northwind.finance, northwind.it, "10.00")
    reversal = post(finance, f"/allocation-postings/{other.pk}/reverse", {"reason": "Wrong"})
    assert reversal.json()["allocations"][0]["amount"] == "-10.00"
    shown = finance.get(f"{BASE}/allocation-postings/{other.pk}").json()
    assert shown["reversed_by_id"] == reversal.json()["id"]


def test_costs_own_and_subtree(finance: APIClient, northwind: Group) -> None:
    allocate(northwind.finance, northwind.engineering, "10.00")
    allocate(northwind.finance, northwind.platform, "2.50")
    path = f"{BASE}/departments/{northwind.engineering.pk}/costs"
    body = finance.get(path).json()
    assert body["department_id"] == northwind.engineering.pk
    assert body["own"]["totals"] == [{"currency": "USD", "amount": "10.00"}]
    assert body["subtree"]["totals"] == [{"currency": "USD", "amount": "12.50"}]
    assert body["own"]["lines"] == [
        {"month": "2024-09-01", "source": "manual", "gl_code": "6200", "currency": "USD", "amount": "10.00"}
    ]
    later = finance.get(f"{path}?period_start=2024-10-01&period_end=2024-11-01").json()
    assert later["subtree"]["lines"] == []
    problem(finance.get(f"{path}?period_start=x"), 400, "invalid", "/period_start")
    problem(finance.get(f"{path}?period_start=2024-10-01&period_end=2024-10-01"), 400, "period_not_ordered")


def test_ent_04_lines_of_hidden_entities_are_left_out(api: Api, finance: APIClient, northwind: Group) -> None:
    splits = [
        {"department_id": northwind.german_sales.pk, "percent": "50"},
        {"department_id": northwind.it.pk, "percent": "50"},
    ]
    body = {"amount": "10.00", "description": "x", **PERIOD, "currency": "EUR", "splits": splits}
    made = post(finance, f"/departments/{northwind.german_sales.pk}/allocations", body).json()
    local = api(member(northwind.germany, Role.AUDITOR))
    seen = local.get(f"{BASE}/allocation-postings/{made['id']}").json()["allocations"]
    assert [row["department_id"] for row in seen] == [northwind.german_sales.pk]


# --- Rules -----------------------------------------------------------------------------------------------


def test_alc_04_alc_09_rule_version_preview_and_run(finance: APIClient, northwind: Group) -> None:
    asked = {
        "entity_id": northwind.root.pk,
        "name": "IT by headcount",
        "source_id": northwind.it.pk,
        "basis": "driver",
        "driver": "headcount",
        "valid_from": "2024-01-01",
        "targets": [
            {"department_id": northwind.engineering.pk, "weight": "3"},
            {"department_id": northwind.marketing.pk, "weight": 1},
        ],
    }
    made = post(finance, "/allocation-rules", asked)
    assert made.status_code == 201, made.content
    path = f"/allocation-rules/{made.json()['id']}"
    assert made.json()["versions"][0]["targets"][0] == {
        "department_id": northwind.engineering.pk,
        "weight": "3",
    }
    problem(post(finance, f"{path}/run", PERIOD), 409, "nothing_to_allocate")
    allocate(northwind.finance, northwind.it, "100.01")
    preview = post(finance, f"{path}/preview", PERIOD)
    assert preview.status_code == 200
    assert [part["amount"] for part in preview.json()["plans"][0]["parts"]] == ["75.01", "25.00"]
    ran = post(finance, f"{path}/run", PERIOD)
    assert ran.status_code == 201
    assert [row["amount"] for row in ran.json()["postings"][0]["allocations"]] == [
        "-100.01",
        "75.01",
        "25.00",
    ]
    problem(post(finance, f"{path}/run", PERIOD), 409, "already_run")
    new = {name: asked[name] for name in ("basis", "driver", "targets")} | {"valid_from": "2024-10-01"}
    versions = post(finance, f"{path}/versions", new).json()["versions"]
    assert [(row["number"], row["valid_to"]) for row in versions] == [(2, None), (1, "2024-10-01")]
    problem(finance.delete(f"{BASE}{path}/versions/1"), 409, "in_use")
    assert finance.delete(f"{BASE}{path}/versions/2").status_code == 204
    problem(finance.delete(f"{BASE}{path}"), 409, "in_use")
    off = finance.patch(f"{BASE}{path}", {"is_active": False}, format="json")
    assert off.json()["is_active"] is False


def test_alc_05_chains_are_refused_over_http(finance: APIClient, northwind: Group) -> None:
    body = {
        "entity_id": northwind.root.pk,
        "name": "X",
        "source_id": northwind.it.pk,
        "valid_from": "2024-01-01",
        "targets": [{"department_id": northwind.it.pk, "weight": "100"}],
    }
    problem(post(finance, "/allocation-rules", body), 400, "target_is_source", "/targets/0/department_id")
    problem(post(finance, "/allocation-rules", body | {"targets": []}), 400, "targets_missing", "/targets")


# --- Memberships and links -------------------------------------------------------------------------------


def test_ent_05_grant_change_and_end(admin: APIClient, northwind: Group) -> None:
    person = member(northwind.japan, Role.APPROVER)
    body = {"user_id": person.pk, "entity_id": northwind.germany.pk, "role": "auditor", "reason": "Audit"}
    made = post(admin, "/memberships", body)
    assert made.status_code == 201, made.content
    path = f"/memberships/{made.json()['id']}"
    changed = admin.patch(f"{BASE}{path}", {"include_descendants": False}, format="json")
    assert changed.json()["include_descendants"] is False
    ended = post(admin, f"{path}/end", {"reason": "Done"})
    assert ended.json()["valid_to"] is not None
    problem(post(admin, f"{path}/end", {}), 409, "already_ended")
    problem(post(admin, "/memberships", body | {"role": "king"}), 400, "invalid_choice", "/role")


def test_ent_05_refusals_of_grants(api: Api, admin: APIClient, northwind: Group) -> None:
    stranger = user()
    body = {"user_id": stranger.pk, "entity_id": northwind.root.pk, "role": "auditor"}
    problem(post(admin, "/memberships", body), 400, "does_not_exist", "/user_id")
    grant(stranger, northwind.japan, Role.APPROVER)
    assert post(admin, "/memberships", body).status_code == 201
    problem(post(api(northwind.finance), "/memberships", body), 403, "permission_denied")
    own = Membership.objects.get(user=northwind.admin)
    problem(post(admin, f"/memberships/{own.pk}/end", {}), 409, "last_administrator")


def test_ent_02_links_over_http(admin: APIClient, northwind: Group) -> None:
    body = {
        "entity_id": northwind.japan.pk,
        "kind": "payer",
        "target_id": northwind.japan.pk,
        "valid_from": "2024-01-01",
    }
    made = post(admin, "/entity-links", body)
    assert made.status_code == 201
    problem(post(admin, "/entity-links", body), 409, "link_overlaps")
    problem(
        post(admin, "/entity-links", body | {"target_id": northwind.other_root.pk}),
        400,
        "does_not_exist",
        "/target_id",
    )
    path = f"{BASE}/entity-links/{made.json()['id']}"
    assert admin.patch(path, {"valid_to": "2025-01-01"}, format="json").json()["valid_to"] == "2025-01-01"
    problem(admin.patch(path, {"valid_to": "2026-01-01"}, format="json"), 409, "already_ended")


# --- Query counts: the same for 5 and for 50 rows --------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "baseline"),
    [
        ("/entities?page_size=200", 2),
        ("/departments?page_size=200", 2),
        ("/memberships?page_size=200", 2),
        ("/cost-allocations?page_size=200", 2),
        ("/allocation-postings?page_size=200", 3),
    ],
)
def test_lists_ask_the_same_number_of_queries_for_5_and_50_rows(
    finance: APIClient, northwind: Group, path: str, baseline: int
) -> None:
    def fill(count: int, start: int) -> None:
        for number in range(start, start + count):
            made = department(entity(f"Sub {number}", parent=northwind.root), f"D{number}")
            allocate(northwind.finance, made, "1.00")
            member(northwind.root, Role.AUDITOR)

    counts = []
    for count, start in ((5, 0), (45, 5)):
        fill(count, start)
        finance.get(f"{BASE}{path}")
        with CaptureQueriesContext(connection) as captured:
            response = finance.get(f"{BASE}{path}")
        assert response.status_code == 200
        assert len(response.json()["results"]) >= count
        counts.append(len(captured))
    assert counts[0] == counts[1]
    # Besides the right to list: the count, the rows, and what belongs to them.
    assert counts[1] == baseline + 1


def test_retrieving_an_entity_costs_the_same_for_small_and_large_trees(
    finance: APIClient, northwind: Group, django_assert_num_queries: Any
) -> None:
    path = f"{BASE}/entities/{northwind.root.pk}"
    finance.get(path)
    with django_assert_num_queries(3):
        finance.get(path)
    for number in range(30):
        entity(f"Sub {number}", parent=northwind.germany)
    with django_assert_num_queries(3):
        assert len(finance.get(path).json()["children"][0]["children"]) == 31


def test_departments_of_a_large_entity_are_paged(finance: APIClient, northwind: Group) -> None:
    for number in range(30):
        department(northwind.root, f"P{number:02}")
    body = finance.get(f"{BASE}/departments?entity_id={northwind.root.pk}").json()
    assert (body["count"], len(body["results"])) == (
        Department.objects.filter(entity=northwind.root).count(),
        25,
    )
    assert body["next"].endswith("page=2")
