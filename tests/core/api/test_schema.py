"""The OpenAPI document: valid, without warnings, and every operation says what a caller must know."""

import re
from collections.abc import Iterator
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client
from drf_spectacular.generators import SchemaGenerator

METHODS = ("get", "post", "put", "patch", "delete")


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return SchemaGenerator().get_schema(request=None, public=True)


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, item in document["paths"].items():
        for method in METHODS:
            if method in item:
                yield f"{method.upper()} {path}", item[method]


def test_the_document_is_valid_and_without_warnings() -> None:
    call_command("spectacular", "--validate", "--fail-on-warn", stdout=StringIO(), stderr=StringIO())


def test_operation_ids_are_unique(document: dict[str, Any]) -> None:
    ids = [operation["operationId"] for _, operation in operations(document)]
    assert len(ids) == len(set(ids))


def test_paths_have_no_trailing_slash(document: dict[str, Any]) -> None:
    assert [path for path in document["paths"] if path.endswith("/")] == []


def test_every_operation_has_a_tag_and_a_summary(document: dict[str, Any]) -> None:
    for name, operation in operations(document):
        assert operation["tags"] == ["enterprise-billing"], name
        assert operation.get("summary", "").strip(), f"{name}: give it a summary by operation(summary=...)"


def test_every_operation_names_its_problems(document: dict[str, Any]) -> None:
    for name, operation in operations(document):
        problems = {code: answer for code, answer in operation["responses"].items() if code[0] in "45"}
        assert {"400", "429"} <= set(problems), name
        if {} not in operation["security"]:
            assert {"401", "403"} <= set(problems), name
        if "{" in name:
            assert "404" in problems, name
        for code, answer in problems.items():
            assert set(answer["content"]) == {"application/problem+json"}, f"{name} {code}"
            assert answer["content"]["application/problem+json"]["example"]["status"] == int(code), name
            assert "`" in answer["description"], name


def test_every_body_has_an_example_of_known_members(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    for name, operation in operations(document):
        for kind, content in operation.get("requestBody", {}).get("content", {}).items():
            if kind != "application/json":
                continue
            examples = content.get("examples", {})
            assert examples, f"{name}: give it an example by operation(example=...)"
            schema = schemas[content["schema"]["$ref"].rpartition("/")[2]]
            assert schema["additionalProperties"] is False, name
            for example in examples.values():
                unknown = set(example["value"]) - set(schema["properties"])
                missing = set(schema.get("required", ())) - set(example["value"])
                assert (unknown, missing) == (set(), set()), name


def test_every_post_and_put_of_the_product_takes_an_idempotency_key(document: dict[str, Any]) -> None:
    """Except questions that write nothing, whose stored answer would be wrong the next day, and bulk approval, each
    of whose items has a transaction of its own (APR-24)."""
    without = {
        f"POST /api/enterprise-billing/{path}"
        for path in (
            "budgets/{id}/check-availability",
            "approvals/preview",
            "approval-rules/match",
            "approvals/bulk-action",
        )
    }
    assert without <= {name for name, _ in operations(document)}
    for name, operation in operations(document):
        if name in without:
            continue
        if name.startswith(("POST /api/enterprise-billing", "PUT ")):
            names = {parameter["name"] for parameter in operation.get("parameters", ())}
            assert "Idempotency-Key" in names, name
            assert "422" in operation["responses"], name


@pytest.mark.django_db
def test_nobody_gets_in_without_signing_in(document: dict[str, Any]) -> None:
    client = Client()
    for name, operation in operations(document):
        if {} in operation["security"]:
            assert name.startswith(("POST /api/auth/token", "POST /api/auth/token/refresh")), name
            continue
        method, path = name.split(" ")
        for headers in ({}, {"HTTP_AUTHORIZATION": "Bearer forged"}):
            response = client.generic(
                method, re.sub(r"\{[^}]*\}", "1", path), "{}", "application/json", **headers
            )
            assert response.status_code == 401, name
            assert response.headers["Content-Type"] == "application/problem+json", name
