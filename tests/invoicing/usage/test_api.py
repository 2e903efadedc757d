"""The API of usage: files in, charges out, rows repaired, rules kept; each within the caller's scope (ENT-04)."""

import gzip
from datetime import date
from decimal import Decimal

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from rest_framework.test import APIClient

from core.models import ExchangeRate
from entities.models import Department
from invoicing.models import RejectedRow, UsageImport, UsageMappingRule, UsageRecord
from invoicing.services.usage_imports import usage_import_run
from invoicing.services.usage_rules import usage_mapping_rule_create
from tests.invoicing.usage.focus_files import focus_csv, numbered, row, small_file

BASE = "/api/enterprise-billing"
IMPORTS, RECORDS, ROWS, RULES = (
    f"{BASE}/{name}" for name in ("usage-imports", "usage-records", "rejected-rows", "usage-mapping-rules")
)


@pytest.fixture
def api(group):
    """A client signed in as a user of the group, the finance manager by default."""

    def sign_in(user=None) -> APIClient:
        client = APIClient()
        client.force_authenticate(user or group.finance)
        return client

    return sign_in


@pytest.fixture
def upload(api, group):
    def send(content: bytes, *, user=None, entity=None, name="usage.csv", **headers):
        return api(user).post(
            IMPORTS,
            {"file": SimpleUploadedFile(name, content), "entity_id": (entity or group.root).pk},
            format="multipart",
            headers=headers,
        )

    return send


def run_all() -> None:
    """What the worker does with what waits."""
    for waiting in UsageImport.objects.filter(status="waiting"):
        usage_import_run(actor=waiting.created_by, usage_import=waiting)


def problem(response, status: int, code: str) -> dict:
    assert response.status_code == status, response.content
    assert response["Content-Type"] == "application/problem+json"
    assert response.json()["code"] == code
    return response.json()


def test_use_01_an_upload_is_accepted_and_then_imported(upload, api, group):
    accepted = upload(small_file("focus_1_0.csv"), name="september.csv")
    assert accepted.status_code == 202
    body = accepted.json()
    assert (body["status"], body["file_name"], body["entity_id"]) == (
        "waiting",
        "september.csv",
        group.root.pk,
    )
    run_all()
    body = api().get(f"{IMPORTS}/{body['id']}").json()
    assert (body["status"], body["progress_percent"], body["rows_imported"]) == ("completed", 100, 6)
    assert body["billed_cost"] == {"USD": "4.2500000005"}
    assert body["totals"] == [
        {
            "currency": "USD",
            "rows": 6,
            "cost": "4.2500000005",
            "allocated_rows": 0,
            "allocated_cost": "0.00",
            "unallocated_rows": 6,
            "unallocated_cost": "4.2500000005",
        }
    ]


def test_use_02_the_same_file_again_is_200_and_says_so(upload):
    upload(small_file("focus_1_0.csv"))
    run_all()
    again = upload(small_file("focus_1_0.csv"))
    assert again.status_code == 200
    assert "already imported" in again.json()["message"]
    assert UsageImport.objects.count() == 1


@pytest.mark.parametrize(
    ("content_type", "encode"),
    [("text/csv", bytes), ("application/gzip", gzip.compress), ("application/octet-stream", bytes)],
)
def test_use_01_the_body_may_be_the_file_itself(api, group, content_type, encode):
    response = api().post(
        f"{IMPORTS}?entity_id={group.root.pk}&file_name=raw.csv",
        data=encode(small_file("focus_1_0.csv")),
        content_type=content_type,
        headers={"Idempotency-Key": "one"},
    )
    assert response.status_code == 202, response.content
    run_all()
    done = UsageImport.objects.get()
    assert (done.file_name, done.rows_imported) == ("raw.csv", 6)


def test_uploads_that_lack_something_are_refused(api, upload, group):
    problem(api().post(IMPORTS, {"entity_id": group.root.pk}, format="multipart"), 400, "required")
    problem(
        api().post(f"{IMPORTS}?entity_id={group.root.pk}", {}, format="json"), 415, "unsupported_media_type"
    )
    problem(api().post(f"{IMPORTS}?entity=1", b"x", content_type="text/csv"), 400, "unknown_parameter")
    problem(upload(b"x", entity=group.other_root), 400, "does_not_exist")
    problem(upload(b"x", user=group.users["auditor"]), 403, "permission_denied")
    problem(upload(b"x", user=group.users["outsider"]), 400, "does_not_exist")
    assert UsageImport.objects.count() == 0


def test_multipart_is_taken_here_only(api, group):
    body = {"entity_id": group.root.pk, "value": "x"}
    problem(api().post(RULES, body, format="multipart"), 415, "unsupported_media_type")


def test_an_idempotency_key_gives_the_first_answer(upload):
    first = upload(small_file("focus_1_0.csv"), **{"Idempotency-Key": "k1"})
    again = upload(small_file("focus_1_0.csv"), **{"Idempotency-Key": "k1"})
    assert again.json() == first.json()
    assert again["Idempotency-Replayed"] == "true"
    problem(upload(small_file("focus_1_1.csv"), **{"Idempotency-Key": "k1"}), 422, "idempotency_key_reused")


def test_a_failed_import_says_why_and_is_started_again(upload, api):
    identity = upload(b"date,amount\n").json()["id"]
    run_all()
    body = api().get(f"{IMPORTS}/{identity}").json()
    assert (body["status"], body["error_code"], body["error_line"]) == ("failed", "not_focus", 1)
    retried = api().post(f"{IMPORTS}/{identity}/retry")
    assert (retried.status_code, retried.json()["status"]) == (202, "waiting")


def test_undo(upload, api, group):
    identity = upload(focus_csv(numbered(2))).json()["id"]
    run_all()
    problem(api().post(f"{IMPORTS}/{identity}/undo", {}, format="json"), 400, "required")
    problem(
        api(group.users["auditor"]).post(f"{IMPORTS}/{identity}/undo", {"reason": "x"}, format="json"),
        403,
        "permission_denied",
    )
    undone = api().post(f"{IMPORTS}/{identity}/undo", {"reason": "Wrong month"}, format="json")
    assert (undone.status_code, undone.json()["status"]) == (200, "undone")
    problem(
        api().post(f"{IMPORTS}/{identity}/undo", {"reason": "x"}, format="json"), 409, "import_not_completed"
    )


def test_ent_04_what_is_outside_of_the_scope_does_not_exist(take_in, api, group):
    done = take_in(focus_csv([row(), row(BilledCost="x")])).usage_import
    rule = usage_mapping_rule_create(
        actor=group.finance, entity=group.root, tag_key="a", value="b", department=group.it
    )
    rejected, record = RejectedRow.objects.get(), UsageRecord.objects.get()
    client = api(group.users["outsider"])
    for path in (
        f"{IMPORTS}/{done.pk}", f"{RECORDS}/{record.pk}", f"{ROWS}/{rejected.pk}", f"{RULES}/{rule.pk}",
    ):  # fmt: skip
        problem(client.get(path), 404, "not_found")
    for path in (
        f"{IMPORTS}/{done.pk}/retry", f"{IMPORTS}/{done.pk}/undo", f"{IMPORTS}/{done.pk}/remap",
        f"{IMPORTS}/{done.pk}/retry-rejected", f"{ROWS}/{rejected.pk}/repair", f"{ROWS}/{rejected.pk}/discard",
    ):  # fmt: skip
        problem(client.post(path, {}, format="json"), 404, "not_found")
    problem(client.patch(f"{ROWS}/{rejected.pk}", {}, format="json"), 404, "not_found")
    problem(client.delete(f"{RULES}/{rule.pk}"), 404, "not_found")
    for path in (IMPORTS, ROWS, RULES):
        assert client.get(path).json()["count"] == 0
    assert client.get(RECORDS).json()["results"] == []


def test_ent_04_a_department_manager_sees_the_charges_of_the_department(take_in, api, group):
    usage_mapping_rule_create(
        actor=group.finance, entity=group.root, tag_key="business_unit", value="Engineering",
        department=group.engineering,
    )  # fmt: skip
    take_in(focus_csv([row(), row(Tags="", BilledCost="2")]))
    seen = api(group.users["department_manager"]).get(RECORDS).json()["results"]
    assert [(found["department_id"], found["billed_cost"]) for found in seen] == [
        (group.engineering.pk, "1.50")
    ]
    problem(api(group.users["department_manager"]).get(IMPORTS), 403, "permission_denied")


def test_charges_are_filtered_and_paged_by_cursor(take_in, api):
    take_in(small_file("focus_1_0.csv"))
    listed = api().get(RECORDS, {"page_size": 4}).json()
    assert len(listed["results"]) == 4
    assert len(api().get(listed["next"]).json()["results"]) == 2
    assert {found["service_name"] for found in api().get(RECORDS, {"service_name_in": "Support,Database"}).json()[
        "results"
    ]} == {"Support", "Database"}  # fmt: skip
    assert len(api().get(RECORDS, {"unallocated": "true"}).json()["results"]) == 6
    assert len(api().get(RECORDS, {"billed": "true"}).json()["results"]) == 0
    assert (
        len(api().get(RECORDS, {"billed": "false", "charge_date_gte": "2024-09-30"}).json()["results"]) == 1
    )
    problem(api().get(RECORDS, {"departmnt_id": "1"}), 400, "unknown_parameter")
    exact = api().get(RECORDS, {"search": "hot"}).json()["results"][0]
    assert exact["billed_cost"] == "0.00000000049"
    assert exact["tags"] == {"business_unit": "Engineering"}


def test_use_02_rows_are_repaired_and_discarded(take_in, api):
    take_in(focus_csv([row(), row(BilledCost="NaN"), row(BilledCost="x")]))
    first, second = api().get(ROWS, {"status": "open", "ordering": "line_number"}).json()["results"]
    assert (first["line_number"], first["problems"][0]["code"]) == (3, "amount_not_finite")
    assert api().get(ROWS, {"problem_code": "invalid_amount"}).json()["count"] == 1
    refused = problem(
        api().post(f"{ROWS}/{first['id']}/repair", {"values": {"BilledCost": "1e400"}}, format="json"),
        400,
        "row_still_wrong",
    )
    assert [found["pointer"] for found in refused["errors"]] == ["/values/BilledCost"]
    kept = api().patch(f"{ROWS}/{first['id']}", {"values": {"BilledCost": "7"}}, format="json").json()
    assert (kept["status"], kept["problems"], kept["values"]["BilledCost"]) == ("open", [], "7")
    repaired = api().post(f"{ROWS}/{first['id']}/repair", {}, format="json").json()
    assert repaired["status"] == "repaired"
    assert UsageRecord.objects.get(pk=repaired["record_id"]).billed_cost == 7
    gone = api().post(f"{ROWS}/{second['id']}/discard", {"reason": "A test"}, format="json").json()
    assert (gone["status"], gone["resolution_reason"]) == ("discarded", "A test")
    problem(api().post(f"{ROWS}/{second['id']}/discard", {"reason": "x"}, format="json"), 409, "row_not_open")


def test_use_02_rows_that_waited_for_a_rate_are_tried_again(take_in, api):
    done = take_in(focus_csv([row(BillingCurrency="ISK")])).usage_import
    ExchangeRate.objects.create(
        date=date(2024, 9, 1), base="EUR", quote="ISK", rate=Decimal(150), source="ECB"
    )
    tried = api().post(f"{IMPORTS}/{done.pk}/retry-rejected").json()
    assert tried == {"tried": 1, "repaired": 1, "duplicate": 0}


def test_use_03_rules_by_the_api(api, group):
    body = {
        "entity_id": group.root.pk, "source": "tag", "tag_key": "business_unit", "value": "Engineering",
        "department_id": group.engineering.pk,
    }  # fmt: skip
    made = api().post(RULES, body, format="json")
    assert (made.status_code, made.json()["priority"]) == (201, 100)
    problem(api().post(RULES, body, format="json"), 409, "already_exists")
    hidden = {**body, "value": "x", "department_id": Department.objects.order_by("-pk").first().pk + 1}
    problem(api().post(RULES, hidden, format="json"), 400, "does_not_exist")
    address = f"{RULES}/{made.json()['id']}"
    etag = api().get(address)["ETag"]
    changed = api().patch(address, {"priority": 5}, format="json", headers={"If-Match": etag})
    assert (changed.status_code, changed.json()["priority"]) == (200, 5)
    problem(
        api().patch(address, {"priority": 6}, format="json", headers={"If-Match": etag}), 412, "stale_version"
    )
    other = api().post(RULES, {**body, "value": "Other"}, format="json").json()["id"]
    order = {"entity_id": group.root.pk, "rule_ids": [other, made.json()["id"]]}
    assert api().post(f"{RULES}/reorder", order, format="json").json() == {"changed": 2}
    assert [found["id"] for found in api().get(RULES).json()["results"]] == order["rule_ids"]
    assert api().delete(address).status_code == 204


def test_use_03_propose_apply_and_remap_by_the_api(take_in, api, group):
    done = take_in(small_file("focus_1_0.csv")).usage_import
    body = {"entity_id": group.root.pk, "usage_import_id": done.pk}
    proposed = api().post(f"{RULES}/propose", body, format="json").json()
    assert [found["value"] for found in proposed["proposals"]] == [
        "Marketing",
        "Finance & Control",
        "Engineering",
    ]
    assert proposed["proposals"][2]["cost"] == {"USD": "0.1000000005"}
    choices = [
        {name: found[name] for name in ("value", "department_id", "entity_id", "code", "name")}
        for found in proposed["proposals"]
    ]
    applied = api().post(
        f"{RULES}/apply", {"entity_id": group.root.pk, "choices": choices, "remap": False}, format="json"
    ).json()  # fmt: skip
    assert (applied["departments_created"], applied["rules_created"], applied["rows_mapped"]) == (1, 3, 0)
    preview = api().post(f"{IMPORTS}/{done.pk}/remap", {"preview": True}, format="json").json()
    assert (preview["rows"], preview["cost"]) == (4, {"USD": "2.1000000005"})
    assert UsageRecord.objects.unallocated().count() == 6
    moved = api().post(f"{RULES}/remap", {"entity_id": group.root.pk}, format="json").json()
    assert moved == preview
    assert UsageRecord.objects.unallocated().count() == 2
    assert UsageMappingRule.objects.count() == 3


def test_lists_ask_a_constant_number_of_queries(take_in, api, django_assert_max_num_queries):
    for number in range(4):
        take_in(focus_csv([*numbered(5, SubAccountId=str(number)), row(BilledCost="x")]))
    client = api()
    for path in (IMPORTS, RECORDS, ROWS, RULES):
        with django_assert_max_num_queries(8):
            assert client.get(path).status_code == 200
