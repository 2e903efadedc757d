"""Every error is problem+json, says what it must and nothing of the inside."""

from typing import Any

import pytest
from django.test import Client
from rest_framework.test import APIClient

from core.api.pointers import flatten, pointer_to
from tests.core.api.conftest import SignIn

pytestmark = [pytest.mark.django_db, pytest.mark.urls("tests.core.api.probe")]

MEMBERS = {"type", "title", "status", "detail", "code", "instance", "errors"}


def assert_problem(response: Any, status: int, code: str) -> dict[str, Any]:
    assert response.status_code == status, response.content
    assert response.headers["Content-Type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert set(body) >= MEMBERS
    assert (body["status"], body["code"], body["type"]) == (status, code, f"/problems/{code}")
    assert "secret" not in response.content.decode()
    assert "hunter2" not in response.content.decode()
    return body


@pytest.mark.parametrize(
    ("name", "status", "code"),
    [
        ("conflict", 409, "insufficient_budget"),
        ("fields", 409, "blocked"),
        ("forbidden", 403, "permission_denied"),
        ("stale", 412, "stale_version"),
        ("limited", 429, "rate_limited"),
        ("http404", 404, "not_found"),
        ("denied", 403, "permission_denied"),
        ("suspicious", 400, "bad_request"),
        ("model", 400, "bad"),
        ("transition", 409, "transition_not_allowed"),
        ("concurrent", 409, "concurrent_change"),
        ("unique", 409, "already_exists"),
        ("foreign", 409, "in_use"),
        ("check", 409, "conflict"),
        ("data", 400, "invalid"),
        ("deadlock", 409, "concurrent_change"),
        ("away", 503, "unavailable"),
    ],
)
def test_what_a_view_raises_becomes_a_problem(api: APIClient, name: str, status: int, code: str) -> None:
    api.raise_request_exception = False
    assert_problem(api.get(f"/api/raise/{name}"), status, code)


def test_extra_data_stands_beside_the_standard_members_and_never_replaces_them(api: APIClient) -> None:
    body = assert_problem(api.get("/api/raise/conflict"), 409, "insufficient_budget")
    assert body["missing"] == "5.00"
    assert body["detail"] == "It lacks 5.00."
    assert body["instance"] == "/api/raise/conflict"


def test_field_problems_of_a_service_keep_their_pointers(api: APIClient) -> None:
    body = assert_problem(api.get("/api/raise/fields"), 409, "blocked")
    assert body["errors"] == [{"pointer": "/lines/0/amount", "code": "too_small", "detail": "Too small."}]


def test_a_rate_limit_says_when_to_come_back(api: APIClient) -> None:
    api.raise_request_exception = False
    assert api.get("/api/raise/limited").headers["Retry-After"] == "7"
    assert api.get("/api/raise/away").headers["Retry-After"] == "2"


@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize("path", ["/api/raise/fault", "/api/crash"])
def test_a_fault_of_ours_tells_nothing(api: APIClient, settings: Any, path: str, debug: bool) -> None:
    settings.DEBUG = debug
    api.raise_request_exception = False
    body = assert_problem(api.get(path), 500, "server_error")
    assert "RuntimeError" not in str(body)


@pytest.mark.parametrize("debug", [False, True])
def test_an_unknown_address_is_a_problem_also_with_debug(settings: Any, debug: bool) -> None:
    settings.DEBUG = debug
    assert_problem(Client().get("/api/nowhere"), 404, "not_found")


def test_nobody_is_401_with_a_challenge() -> None:
    response = Client().get("/api/things")
    assert_problem(response, 401, "not_authenticated")
    assert response.headers["WWW-Authenticate"] == 'Bearer realm="api"'


def test_a_wrong_method_is_405_and_names_the_right_ones(api: APIClient) -> None:
    response = api.put("/api/things", {}, format="json")
    assert_problem(response, 405, "method_not_allowed")
    assert {"GET", "POST"} <= {name.strip() for name in response.headers["Allow"].split(",")}
    assert_problem(api.options("/api/things"), 405, "method_not_allowed")


def test_another_media_type_is_415_and_another_accept_is_406(api: APIClient) -> None:
    assert_problem(api.post("/api/echo", "a=1", content_type="text/csv"), 415, "unsupported_media_type")
    assert_problem(api.get("/api/things", HTTP_ACCEPT="text/csv"), 406, "not_acceptable")
    assert api.get("/api/things", HTTP_ACCEPT="application/problem+json").status_code == 200
    assert api.get("/api/things", HTTP_ACCEPT="text/html,*/*;q=0.8").status_code == 200


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("{", "malformed_json"),
        ('{"amount": NaN}', "not_finite"),
        ('{"amount": -Infinity}', "not_finite"),
        ('{"amount": 1e400}', "number_out_of_range"),
        ('{"amount": "1", "amount": "2"}', "duplicate_member"),
        ('{"options": {"a": "x\\u0000"}}', "null_characters_not_allowed"),
        ('{"options": {"a\\u0000": 1}}', "null_characters_not_allowed"),
        ('{"options": ["\\ud800"]}', "surrogate_characters_not_allowed"),
        ("[" * 200_000, "too_deep"),
        ('{"amount": ' + "9" * 5000 + "}", "malformed_json"),
        (b'{"options": "\xff"}', "not_utf8"),
    ],
    ids=[
        "cut", "nan", "infinity", "1e400", "twice", "nul", "nul-name", "surrogate", "deep", "digits", "utf8",
    ],
)  # fmt: skip
def test_a_malformed_body_is_400(api: APIClient, body: str | bytes, code: str) -> None:
    assert_problem(api.post("/api/echo", body, content_type="application/json"), 400, code)


@pytest.mark.parametrize("path", ["/api/things?search=%00", "/api/thi%00ngs", "/api/things/%00"])
def test_nul_in_an_address_is_400(api: APIClient, path: str) -> None:
    assert_problem(api.get(path), 400, "null_characters_not_allowed")


def test_an_id_that_no_record_can_have_is_404(api: APIClient) -> None:
    for number in ("0", "999999999999999999", "99999999999999999999999999", "abc", "-1", "1.5"):
        assert_problem(api.get(f"/api/things/{number}"), 404, "not_found")


def test_validation_errors_point_into_the_body(api: APIClient) -> None:
    response = api.post(
        "/api/echo", {"splits": [{"percent": "a"}, {}, {"percent": "1"}], "currency": "ZZZ"}, format="json"
    )
    body = assert_problem(response, 400, "invalid")
    assert [(error["pointer"], error["code"]) for error in body["errors"]] == [
        ("/currency", "unknown_currency"),
        ("/splits/0/percent", "invalid"),
        ("/splits/1/percent", "required"),
    ]


def test_a_single_refused_value_gives_its_code_to_the_whole(api: APIClient) -> None:
    body = assert_problem(api.post("/api/echo", {"amuont": "1"}, format="json"), 400, "unknown_field")
    assert body["errors"][0]["pointer"] == "/amuont"


@pytest.mark.parametrize("body", ["[]", '"text"', "1", "null", "true"])
def test_a_body_that_is_no_object_is_400(api: APIClient, body: str) -> None:
    response = api.post("/api/echo", body, content_type="application/json")
    assert response.status_code == 400
    assert response.json()["errors"][0]["pointer"] == ""


def test_pointers_are_escaped() -> None:
    assert pointer_to("a/b", 0, "c~d") == "/a~1b/0/c~0d"
    assert [error.pointer for error in flatten({"x": {"non_field_errors": ["Bad."], "y": ["Bad."]}})] == [
        "/x",
        "/x/y",
    ]


def test_security_headers_stay_on_api_answers(api: APIClient, sign_in: SignIn) -> None:
    headers = api.get("/api/things").headers
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "private, no-cache" or headers["Cache-Control"] == "no-cache, private"
