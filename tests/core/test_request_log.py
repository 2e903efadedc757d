"""The log of requests: one line for an API call, with the id that the answer and the history have."""

import json
import logging

import pytest
from django.test import Client

from core.api.tokens import token_pair_issue
from core.models import User

pytestmark = pytest.mark.django_db
PATH = "/api/enterprise-billing/notifications"


def lines(caplog: pytest.LogCaptureFixture) -> list[dict]:
    return [
        record.msg if isinstance(record.msg, dict) else json.loads(record.getMessage())
        for record in caplog.records
        if record.name in {"core.request", "django_structlog.middlewares.request"}
    ]


@pytest.fixture
def caller(client: Client) -> Client:
    user = User.objects.create_user("log", "log@example.com")
    client.defaults["HTTP_AUTHORIZATION"] = f"Bearer {token_pair_issue(user=user).access}"
    return client


def test_an_api_call_is_one_line_with_the_id_of_the_answer(
    caller: Client, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        answer = caller.get(PATH, headers={"X-Request-ID": "order-20411"})
    [line] = lines(caplog)
    assert answer.headers["X-Request-ID"] == "order-20411"
    assert line["request_id"] == "order-20411"
    assert (line["event"], line["request"], line["code"]) == (
        "request_finished",
        f"GET {PATH}",
        answer.status_code,
    )
    assert line["user_id"] == User.objects.get(username="log").pk
    assert line["ip"] == "127.0.0.1"


def test_a_refusal_is_a_warning(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        answer = client.get(PATH, headers={"Authorization": "Bearer nonsense"})
    [line] = lines(caplog)
    assert (answer.status_code, line["code"], line["level"]) == (401, 401, "warning")


def test_a_page_has_the_id_of_its_answer_too(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        answer = client.get("/admin/login/")
    ids = {line["request_id"] for line in lines(caplog)}
    assert ids == {answer.headers["X-Request-ID"]}
