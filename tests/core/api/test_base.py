"""Scope, rights, versions, idempotency, filters, order, pages: what every resource gets from the base."""

from decimal import Decimal
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from rest_framework.test import APIClient

from core.models import IdempotencyRecord, User
from entities.models import Entity, Role
from tests.core.api.conftest import MakeUser, SignIn
from tests.core.api.probe import UploadView
from tests.core.api.test_problems import assert_problem

pytestmark = [pytest.mark.django_db, pytest.mark.urls("tests.core.api.probe")]

THINGS = "/api/things"


def child(entity: Entity, **fields: Any) -> Entity:
    number = Entity.objects.count()
    values = {"name": f"Child {number}", "code": f"CHILD-{number}", "currency": "EUR", **fields}
    return Entity.objects.create(parent=entity, **values)


# --- Scope and rights (ENT-04) ---


def test_outside_of_the_scope_is_404_for_every_verb(api: APIClient, db: None) -> None:
    hidden = Entity.objects.create(name="Hidden", code="HIDDEN", currency="EUR")
    address = f"{THINGS}/{hidden.pk}"
    for response in (
        api.get(address),
        api.patch(address, {"name": "x"}, format="json"),
        api.delete(address),
        api.post(f"{address}/rename"),
    ):
        assert_problem(response, 404, "not_found")
    hidden.refresh_from_db()
    assert hidden.name == "Hidden"
    assert hidden.pk not in [item["id"] for item in api.get(THINGS).json()["results"]]


def test_inside_without_the_right_is_403_and_says_who_has_it(
    sign_in: SignIn, auditor: User, entity: Entity
) -> None:
    client = sign_in(auditor)
    address = f"{THINGS}/{entity.pk}"
    assert client.get(address).status_code == 200
    for response in (
        client.patch(address, {"name": "x"}, format="json"),
        client.delete(address),
        client.post(f"{address}/rename"),
        client.post(THINGS, {}, format="json"),
    ):
        assert assert_problem(response, 403, "permission_denied")["permission"].startswith("entities.")
    entity.refresh_from_db()
    assert entity.name == "Acme Holding"


def test_without_the_right_outside_of_the_scope_is_404_too(
    sign_in: SignIn, make_user: MakeUser, entity: Entity
) -> None:
    stranger = make_user(Role.AUDITOR)
    assert_problem(sign_in(stranger).delete(f"{THINGS}/{entity.pk}"), 404, "not_found")


def test_a_user_without_any_membership_may_not_list(sign_in: SignIn, make_user: MakeUser) -> None:
    assert_problem(sign_in(make_user()).get(THINGS), 403, "permission_denied")


def test_a_hidden_foreign_key_does_not_exist(api: APIClient, entity: Entity) -> None:
    hidden = Entity.objects.create(name="Hidden", code="HIDDEN", currency="EUR")
    answers = []
    for parent in (hidden.pk, 999_999_999):
        response = api.post(
            THINGS, {"name": "A", "code": "A", "currency": "EUR", "parent_id": parent}, format="json"
        )
        body = assert_problem(response, 400, "does_not_exist")
        assert body["errors"][0]["pointer"] == "/parent_id"
        answers.append(body["detail"].replace(str(parent), "N"))
    assert answers[0] == answers[1]
    assert not Entity.objects.filter(code="A").exists()


@pytest.mark.parametrize("value", [True, 1.5, "x", [1], {"id": 1}, 10**30, "1" * 400, "\u0662"])
def test_a_malformed_foreign_key_is_400(api: APIClient, value: object) -> None:
    response = api.post("/api/echo", {"parent_id": value}, format="json")
    assert response.status_code == 400
    assert response.json()["errors"][0]["pointer"] == "/parent_id"


# --- Writing ---


def test_create_change_delete(api: APIClient, entity: Entity) -> None:
    made = api.post(
        THINGS,
        {"name": "A", "code": "A", "currency": "jpy", "credit_limit": 1500, "parent_id": entity.pk},
        format="json",
    )
    assert made.status_code == 201, made.content
    body = made.json()
    assert made.headers["Location"] == f"{THINGS}/{body['id']}"
    assert (body["currency"], body["credit_limit"], body["parent_id"]) == ("JPY", "1500", entity.pk)
    changed = api.patch(f"{THINGS}/{body['id']}", {"credit_limit": "12.5", "currency": "KWD"}, format="json")
    assert changed.json()["credit_limit"] == "12.500"
    assert changed.json()["version"] == body["version"] + 1
    assert (
        api.patch(f"{THINGS}/{body['id']}", {"credit_limit": None}, format="json").json()["credit_limit"]
        is None
    )
    history = Entity.history.filter(id=body["id"]).earliest("history_id")
    assert (history.channel, history.history_user_id) == ("api", api.get("/api/who").wsgi_request.user.pk)
    assert api.delete(f"{THINGS}/{body['id']}").status_code == 204
    assert_problem(api.get(f"{THINGS}/{body['id']}"), 404, "not_found")


def test_what_others_depend_on_is_not_deleted(api: APIClient, entity: Entity) -> None:
    child(entity)
    body = assert_problem(api.delete(f"{THINGS}/{entity.pk}"), 409, "in_use")
    assert "entities" in body["used_by"]
    assert Entity.objects.filter(pk=entity.pk).exists()


@pytest.mark.parametrize(
    ("field", "code"), [("nmae", "unknown_field"), ("version", "read_only_field"), ("id", "read_only_field")]
)
def test_fields_that_would_be_lost_are_refused(api: APIClient, entity: Entity, field: str, code: str) -> None:
    body = assert_problem(api.patch(f"{THINGS}/{entity.pk}", {field: 5}, format="json"), 400, code)
    assert body["errors"] == [{"pointer": f"/{field}", "code": code, "detail": body["detail"]}]


# --- Versions ---


def test_an_etag_goes_round(api: APIClient, entity: Entity) -> None:
    address = f"{THINGS}/{entity.pk}"
    tag = api.get(address).headers["ETag"]
    unchanged = api.get(address, HTTP_IF_NONE_MATCH=tag)
    assert (unchanged.status_code, unchanged.content, unchanged.headers["ETag"]) == (304, b"", tag)
    first = api.patch(address, {"name": "First"}, format="json", HTTP_IF_MATCH=tag)
    assert first.status_code == 200
    assert first.headers["ETag"] != tag
    assert api.get(address, HTTP_IF_NONE_MATCH=tag).status_code == 200
    stale = api.patch(address, {"name": "Second"}, format="json", HTTP_IF_MATCH=tag)
    assert assert_problem(stale, 412, "stale_version")["version"] == entity.version + 1
    assert_problem(api.delete(address, HTTP_IF_MATCH=tag), 412, "stale_version")
    assert_problem(api.post(f"{address}/rename", HTTP_IF_MATCH=tag), 412, "stale_version")
    entity.refresh_from_db()
    assert entity.name == "First"
    assert api.post(f"{address}/rename", HTTP_IF_MATCH=first.headers["ETag"]).status_code == 200


@pytest.mark.parametrize(
    ("header", "status"),
    [
        ('"1"', 200),
        ('W/"1"', 200),
        ("1", 200),
        ("*", 200),
        ('"7", "1"', 200),
        ('"2"', 412),
        ('"x"', 412),
        ("", 412),
    ],
)
def test_if_match_takes_the_version_too(api: APIClient, entity: Entity, header: str, status: int) -> None:
    assert entity.version == 1
    response = api.patch(f"{THINGS}/{entity.pk}", {"name": "New"}, format="json", HTTP_IF_MATCH=header)
    assert response.status_code == status


def test_without_if_match_a_change_is_accepted(api: APIClient, entity: Entity) -> None:
    assert api.patch(f"{THINGS}/{entity.pk}", {"name": "New"}, format="json").status_code == 200


# --- Idempotency (SEC-04) ---


def test_a_retry_gets_the_first_answer_and_does_nothing(api: APIClient, entity: Entity) -> None:
    body = {"name": "A", "code": "A", "currency": "EUR", "parent_id": entity.pk}
    first = api.post(THINGS, body, format="json", HTTP_IDEMPOTENCY_KEY="k1")
    again = api.post(THINGS, body, format="json", HTTP_IDEMPOTENCY_KEY="k1")
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json() == again.json()
    assert "Idempotency-Replayed" not in first.headers
    assert again.headers["Idempotency-Replayed"] == "true"
    assert again.headers["ETag"] == first.headers["ETag"]
    assert again.headers["Location"] == first.headers["Location"]
    assert Entity.objects.filter(code="A").count() == 1


def test_another_body_or_address_under_the_same_key_is_422(api: APIClient, entity: Entity) -> None:
    address = f"{THINGS}/{entity.pk}/rename"
    assert api.post(address, HTTP_IDEMPOTENCY_KEY="k1").status_code == 200
    body = {"name": "A", "code": "A", "currency": "EUR", "parent_id": entity.pk}
    assert_problem(
        api.post(THINGS, body, format="json", HTTP_IDEMPOTENCY_KEY="k1"), 422, "idempotency_key_reused"
    )
    assert_problem(
        api.post(address, {"x": 1}, format="json", HTTP_IDEMPOTENCY_KEY="k1"), 422, "idempotency_key_reused"
    )
    assert not Entity.objects.filter(code="A").exists()


def test_the_slashed_address_is_the_same_request(api: APIClient, entity: Entity) -> None:
    address = f"{THINGS}/{entity.pk}/rename"
    assert api.post(address, HTTP_IDEMPOTENCY_KEY="k1").status_code == 200
    assert api.post(address + "/", HTTP_IDEMPOTENCY_KEY="k1").headers["Idempotency-Replayed"] == "true"
    entity.refresh_from_db()
    assert entity.name == "Acme Holding!"


def test_a_refused_request_leaves_the_key_free(api: APIClient, entity: Entity) -> None:
    bad = {"name": "A", "code": "A", "currency": "ZZZ", "parent_id": entity.pk}
    assert api.post(THINGS, bad, format="json", HTTP_IDEMPOTENCY_KEY="k1").status_code == 400
    assert not IdempotencyRecord.objects.exists()
    good = {**bad, "currency": "EUR"}
    assert api.post(THINGS, good, format="json", HTTP_IDEMPOTENCY_KEY="k1").status_code == 201


def test_keys_belong_to_their_user(
    api: APIClient, sign_in: SignIn, make_user: MakeUser, entity: Entity
) -> None:
    other = sign_in(make_user(Role.FINANCE_MANAGER, entity))
    address = f"{THINGS}/{entity.pk}/rename"
    for client in (api, other):
        response = client.post(address, HTTP_IDEMPOTENCY_KEY="k1")
        assert response.status_code == 200
        assert "Idempotency-Replayed" not in response.headers


@pytest.mark.parametrize("key", ["", " ", "x" * 256, "ä"])
def test_a_malformed_key_is_400(api: APIClient, entity: Entity, key: str) -> None:
    response = api.post(f"{THINGS}/{entity.pk}/rename", HTTP_IDEMPOTENCY_KEY=key)
    assert_problem(response, 400, "invalid_idempotency_key")


def test_an_upload_is_idempotent_by_the_content_of_its_file(api: APIClient) -> None:
    UploadView.calls.clear()

    def send(content: bytes, note: str = "n") -> Any:
        body = {"file": SimpleUploadedFile("costs.csv", content), "note": note}
        return api.post("/api/upload", body, format="multipart", HTTP_IDEMPOTENCY_KEY="k1")

    first, again = send(b"a,b"), send(b"a,b")
    assert (first.status_code, first.json()) == (201, {"content": "a,b", "note": "n"})
    assert (again.json(), again.headers["Idempotency-Replayed"]) == (first.json(), "true")
    assert_problem(send(b"a,c"), 422, "idempotency_key_reused")
    assert_problem(send(b"a,b", "m"), 422, "idempotency_key_reused")
    assert UploadView.calls == ["a,b"]


@pytest.mark.parametrize("path", ["/api/upload", "/api/echo"])
def test_a_multipart_body_without_boundary_is_no_fault(api: APIClient, path: str) -> None:
    for headers in ({}, {"HTTP_IDEMPOTENCY_KEY": "k1"}):
        assert api.post(path, b"x", content_type="multipart/form-data", **headers).status_code in (400, 415)


def test_a_body_that_is_too_large_is_413(api: APIClient, settings: Any) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 100
    for headers in ({}, {"HTTP_IDEMPOTENCY_KEY": "k1"}):
        response = api.post("/api/echo", {"options": "x" * 200}, format="json", **headers)
        assert_problem(response, 413, "too_large")


# --- Lists ---


def ids(response: Any) -> list[int]:
    assert response.status_code == 200, response.content
    return [item["id"] for item in response.json()["results"]]


def test_a_list_has_count_next_previous_results(api: APIClient, entity: Entity) -> None:
    for _ in range(29):
        child(entity)
    first = api.get(THINGS).json()
    assert set(first) == {"count", "next", "previous", "results"}
    assert (first["count"], len(first["results"]), first["previous"]) == (30, 25, None)
    second = api.get(first["next"]).json()
    assert (len(second["results"]), second["next"]) == (5, None)
    assert len({item["id"] for item in first["results"] + second["results"]}) == 30
    assert len(api.get(THINGS, {"page_size": 7}).json()["results"]) == 7


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("page=2", 404, "page_not_found"),
        ("page=99999999999999999999999999", 404, "page_not_found"),
        ("page=" + "9" * 5000, 404, "page_not_found"),
        ("page=0", 400, "invalid"),
        ("page=-1", 400, "invalid"),
        ("page=last", 400, "invalid"),
        ("page=²", 400, "invalid"),
        ("page_size=0", 400, "invalid"),
        ("page_size=x", 400, "invalid"),
        ("page_size=" + "9" * 5000, 200, ""),
        ("page_size=201", 200, ""),
        ("page=", 200, ""),
        ("curency=EUR", 400, "unknown_parameter"),
        ("format=json", 400, "unknown_parameter"),
        ("cursor=x", 400, "unknown_parameter"),
        ("currency=EUR", 200, ""),
        ("parent_id=x", 400, "invalid"),
        ("parent_id=1.5", 400, "invalid"),
        ("parent_id=99999999999999999999999", 200, ""),
        ("parent_id=", 200, ""),
        ("credit_limit_gte=1e400", 400, "max_value"),
        ("credit_limit_gte=NaN", 400, "invalid"),
        ("created_at_gte=yesterday", 400, "invalid"),
        ("created_at_gte=2024-01-01T00:00:00", 200, ""),
        ("consolidated_billing=maybe", 400, "invalid"),
        ("consolidated_billing=true", 200, ""),
        ("ordering=password", 400, "unknown_ordering"),
        ("ordering=-name,code", 200, ""),
        ("ordering=,", 200, ""),
        ("search=" + "x" * 3000, 200, ""),
        ("search=%FF", 200, ""),
    ],
)
def test_parameters_of_a_list(api: APIClient, query: str, status: int, code: str) -> None:
    response = api.get(f"{THINGS}?{query}")
    assert response.status_code == status, response.content
    if status != 200:
        assert_problem(response, status, code)


def test_filters_search_and_order(api: APIClient, entity: Entity) -> None:
    yen = child(entity, name="Acme Tokyo", currency="JPY", credit_limit=Decimal(50))
    dollar = child(entity, name="Bravo", currency="USD", credit_limit=Decimal(100))
    assert ids(api.get(THINGS, {"currency": "JPY"})) == [yen.pk]
    assert set(ids(api.get(THINGS, {"currency_in": "JPY,USD"}))) == {yen.pk, dollar.pk}
    assert ids(api.get(THINGS, {"credit_limit_gte": "50.01"})) == [dollar.pk]
    assert ids(api.get(THINGS, {"credit_limit_lte": "50"})) == [yen.pk]
    assert set(ids(api.get(THINGS, {"parent_id": entity.pk}))) == {yen.pk, dollar.pk}
    assert ids(api.get(THINGS, {"search": "tokyo"})) == [yen.pk]
    assert ids(api.get(THINGS, {"ordering": "-name"})) == [dollar.pk, yen.pk, entity.pk]
    # A hidden record as a filter finds nothing and tells nothing.
    hidden = Entity.objects.create(name="Hidden", code="HIDDEN", currency="EUR")
    child(hidden)
    assert ids(api.get(THINGS, {"parent_id": hidden.pk})) == []


def test_lists_below_an_object(api: APIClient, entity: Entity) -> None:
    yen, _ = child(entity, currency="JPY"), child(entity)
    address = f"{THINGS}/{entity.pk}/children"
    assert api.get(address).json()["count"] == 2
    assert ids(api.get(address, {"currency": "JPY"})) == [yen.pk]
    assert_problem(api.get(address, {"curency": "JPY"}), 400, "unknown_parameter")
    assert_problem(api.get(address, {"consolidated_billing": "maybe"}), 400, "invalid")
    assert_problem(api.get(f"{THINGS}/0/children"), 404, "not_found")


def test_a_list_costs_the_same_for_any_number_of_rows(
    api: APIClient, entity: Entity, django_assert_max_num_queries: Any
) -> None:
    api.get(THINGS)
    for _ in range(20):
        child(entity)
    with django_assert_max_num_queries(4):
        assert len(ids(api.get(THINGS))) == 21


# --- Values ---


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        ('{"amount": 0.1}', "Decimal('0.1')"),
        ('{"amount": 12345678901234.5678}', "Decimal('12345678901234.5678')"),
        ('{"amount": "15000.00"}', "Decimal('15000.00')"),
        ('{"amount": 15000}', "Decimal('15000')"),
        ('{"amount": 1.5E3}', "Decimal('1500')"),
        ('{"amount": "-0.00"}', "Decimal('0.00')"),
    ],
)
def test_amounts_are_read_exactly(api: APIClient, body: str, shown: str) -> None:
    response = api.post("/api/echo", body, content_type="application/json")
    assert response.json() == {"amount": shown}


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ('"NaN"', "amount_not_finite"),
        ('"-Infinity"', "amount_not_finite"),
        ('"1e400"', "amount_too_large"),
        ('"1e15"', "amount_too_large"),
        ("1e300", "amount_too_large"),
        ('"0.00001"', "amount_too_precise"),
        ('"1,000.00"', "invalid_amount"),
        ('"12 EUR"', "invalid_amount"),
        ('""', "invalid_amount"),
        ("true", "invalid"),
        ("[1]", "invalid"),
        ("null", "null"),
        ('"' + "9" * 1000 + '"', "invalid_amount"),
    ],
)
def test_amounts_that_are_refused(api: APIClient, value: str, code: str) -> None:
    response = api.post("/api/echo", f'{{"amount": {value}}}', content_type="application/json")
    body = assert_problem(response, 400, code)
    assert body["errors"][0]["pointer"] == "/amount"


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        ("2024-09-30T10:00:00", "2024, 9, 30, 10, 0"),
        ("2024-09-30T10:00:00Z", "2024, 9, 30, 10, 0"),
        ("2024-09-30T12:00:00+02:00", "2024, 9, 30, 10, 0"),
    ],
)
def test_a_naive_time_is_utc(api: APIClient, sent: str, read: str) -> None:
    response = api.post("/api/echo", {"at": sent}, format="json")
    assert read in response.json()["at"]
    assert "utc" in response.json()["at"].lower()


@pytest.mark.parametrize("sent", ["yesterday", "0001-01-01T00:00:00+14:00", "2024-02-30T00:00:00Z", 5, None])
def test_a_malformed_time_is_400(api: APIClient, sent: object) -> None:
    assert api.post("/api/echo", {"at": sent}, format="json").status_code == 400


def test_times_are_shown_in_utc_with_a_zone(api: APIClient, entity: Entity) -> None:
    assert api.get(f"{THINGS}/{entity.pk}").json()["created_at"].endswith("Z")


def test_free_json_keeps_numbers(api: APIClient) -> None:
    response = api.post("/api/echo", '{"options": {"a": [0.5, 7]}}', content_type="application/json")
    assert response.json()["options"] == "{'a': [0.5, 7]}"


# --- Addresses ---


def test_the_address_with_a_slash_is_the_same(api: APIClient, entity: Entity) -> None:
    assert api.get(f"{THINGS}/").json() == api.get(THINGS).json()
    assert api.get(f"{THINGS}/{entity.pk}/").status_code == 200
    made = api.post(
        f"{THINGS}/", {"name": "A", "code": "A", "currency": "EUR", "parent_id": entity.pk}, format="json"
    )
    assert made.status_code == 201
    assert made.headers["Location"] == f"{THINGS}/{made.json()['id']}"
    assert_problem(api.get(f"{THINGS}//"), 404, "not_found")


def test_the_request_has_an_id(api: APIClient) -> None:
    assert api.get(THINGS, HTTP_X_REQUEST_ID="abcdefgh-1").headers["X-Request-ID"] == "abcdefgh-1"
