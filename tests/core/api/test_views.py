"""Core's own addresses: who am I, exchange rates, notifications, and what stands beside the API."""

from typing import Any

import pytest
from django.test import Client
from rest_framework.test import APIClient

from core.models import ExchangeRate, Notification, User
from core.notifications import notify
from entities.models import Role
from tests.core.api.conftest import MakeUser, SignIn
from tests.core.api.test_problems import assert_problem

pytestmark = pytest.mark.django_db

BASE = "/api/enterprise-billing"
RATES = f"{BASE}/exchange-rates"
NOTES = f"{BASE}/notifications"
RATE = {"date": "2024-09-30", "base": "EUR", "quote": "USD", "rate": "1.1200", "source": "treasury"}


# --- Who am I ---


def test_me(api: APIClient, manager: User) -> None:
    body = api.get(f"{BASE}/me").json()
    assert (body["id"], body["username"], body["manager_id"]) == (manager.pk, manager.username, None)
    assert "password" not in body
    assert api.get(f"{BASE}/me/").status_code == 200


# --- Exchange rates ---


def test_a_rate_is_recorded_with_history(api: APIClient, manager: User) -> None:
    response = api.post(RATES, RATE, format="json")
    assert response.status_code == 201, response.content
    body = response.json()
    assert body == {"id": body["id"], **RATE, "rate": "1.12"}
    assert api.get(f"{RATES}/{body['id']}").json() == body
    row = ExchangeRate.history.get(id=body["id"])
    assert (row.history_user, row.channel) == (manager, "api")


def test_the_same_rate_twice_is_a_conflict(api: APIClient) -> None:
    assert api.post(RATES, RATE, format="json").status_code == 201
    assert_problem(api.post(RATES, {**RATE, "rate": "1.13"}, format="json"), 409, "exchange_rate_exists")
    assert ExchangeRate.objects.count() == 1


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"rate": "0"}, None),
        ({"rate": "-1"}, "/rate"),
        ({"rate": "1e400"}, "/rate"),
        ({"rate": "0.00000000001"}, "/rate"),
        ({"rate": "99999999999"}, "/rate"),
        ({"base": "USD"}, None),
        ({"base": "ZZZ"}, "/base"),
        ({"base": "EURO"}, "/base"),
        ({"date": "2024-02-30"}, "/date"),
        ({"date": None}, "/date"),
        ({"source": "x" * 21}, "/source"),
        ({"source": ""}, "/source"),
        ({"sorce": "x"}, "/sorce"),
        ({"id": 5}, "/id"),
    ],
)
def test_wrong_rates_are_400_and_nothing_is_written(
    api: APIClient, change: dict[str, Any], pointer: str | None
) -> None:
    response = api.post(RATES, {**RATE, **change}, format="json")
    assert response.status_code == 400, response.content
    if pointer is not None:
        assert pointer in [error["pointer"] for error in response.json()["errors"]]
    assert not ExchangeRate.objects.exists()


@pytest.mark.parametrize(
    ("role", "status"),
    [
        (Role.ADMINISTRATOR, 201),
        (Role.FINANCE_MANAGER, 201),
        (Role.AUDITOR, 403),
        (Role.APPROVER, 403),
        (Role.DEPARTMENT_MANAGER, 403),
        (None, 403),
    ],
)
def test_who_records_rates(make_user: MakeUser, sign_in: SignIn, role: str | None, status: int) -> None:
    client = sign_in(make_user(role))
    assert client.post(RATES, RATE, format="json").status_code == status
    assert ExchangeRate.objects.exists() == (status == 201)
    assert client.get(RATES).status_code == 200


def test_rates_are_filtered_and_ordered(api: APIClient) -> None:
    for day, quote in (("2024-09-27", "USD"), ("2024-09-30", "USD"), ("2024-09-30", "JPY")):
        assert api.post(RATES, {**RATE, "date": day, "quote": quote}, format="json").status_code == 201

    def found(**query: str) -> list[tuple[str, str]]:
        return [(row["date"], row["quote"]) for row in api.get(RATES, query).json()["results"]]

    assert found() == [("2024-09-30", "JPY"), ("2024-09-30", "USD"), ("2024-09-27", "USD")]
    assert found(date_lte="2024-09-29") == [("2024-09-27", "USD")]
    assert found(date="2024-09-30", quote="USD") == [("2024-09-30", "USD")]
    assert found(ordering="quote,date") == [
        ("2024-09-30", "JPY"),
        ("2024-09-27", "USD"),
        ("2024-09-30", "USD"),
    ]


def test_rates_cannot_be_changed(api: APIClient) -> None:
    address = f"{RATES}/{api.post(RATES, RATE, format='json').json()['id']}"
    for response in (
        api.patch(address, {"rate": "2"}, format="json"),
        api.put(address, RATE),
        api.delete(address),
    ):
        assert_problem(response, 405, "method_not_allowed")


# --- Notifications ---


def test_everyone_sees_their_own_notifications(make_user: MakeUser, sign_in: SignIn) -> None:
    mine, other = make_user(), make_user()
    own = notify(user=mine, kind="info", title="Yours")
    foreign = notify(user=other, kind="info", title="Not yours")
    client = sign_in(mine)
    assert [row["id"] for row in client.get(NOTES).json()["results"]] == [own.pk]
    for response in (client.get(f"{NOTES}/{foreign.pk}"), client.post(f"{NOTES}/{foreign.pk}/read")):
        assert_problem(response, 404, "not_found")
    foreign.refresh_from_db()
    assert foreign.read_at is None


def test_a_notification_is_read_once(make_user: MakeUser, sign_in: SignIn) -> None:
    user = make_user()
    note = notify(user=user, kind="info", title="Hello")
    client = sign_in(user)
    assert len(client.get(NOTES, {"unread": "true"}).json()["results"]) == 1
    first = client.post(f"{NOTES}/{note.pk}/read").json()["read_at"]
    assert first is not None
    assert client.post(f"{NOTES}/{note.pk}/read").json()["read_at"] == first
    assert client.get(NOTES, {"unread": "true"}).json()["results"] == []
    assert len(client.get(NOTES, {"unread": "false"}).json()["results"]) == 1


def test_long_lists_go_by_cursor(make_user: MakeUser, sign_in: SignIn) -> None:
    user = make_user()
    Notification.objects.bulk_create(Notification(user=user, kind="info", title=str(i)) for i in range(7))
    client = sign_in(user)
    page = client.get(NOTES, {"page_size": 3}).json()
    assert set(page) == {"next", "previous", "results"}
    seen = [row["title"] for row in page["results"]]
    # A row that arrives between two pages shifts nothing.
    notify(user=user, kind="info", title="late")
    while page["next"]:
        page = client.get(page["next"]).json()
        seen += [row["title"] for row in page["results"]]
    assert seen == ["6", "5", "4", "3", "2", "1", "0"]


@pytest.mark.parametrize(
    "cursor", ["x", "%00", "cD1hYmM=", "cD0y", "bz0xMDAwMA==", "cD05OTk5OTk5OTk5OTk5OTk5OTk5OTk5", "/////"]
)
def test_a_forged_cursor_is_no_fault(api: APIClient, cursor: str) -> None:
    assert api.get(f"{NOTES}?cursor={cursor}").status_code in (200, 400, 404)


# --- Beside the API ---


def test_the_document_and_its_page_work_offline() -> None:
    client = Client()
    page = client.get("/docs")
    assert page.status_code == 200
    text = page.content.decode() + client.get("/docs?script").content.decode()
    assert "/static/drf_spectacular_sidecar/swagger-ui-dist/" in text
    assert "cdn" not in text.lower()
    assert "/api/schema" in text
    assert client.get("/docs/").status_code == 200
    document = client.get("/api/schema")
    assert document.headers["Content-Type"].startswith("application/json")
    assert document.json()["openapi"].startswith("3.")
    assert client.get("/api/schema?format=yaml").content.startswith(b"openapi: 3.")


def test_health() -> None:
    client = Client()
    assert client.get("/health/live").status_code == 200
    ready = client.get("/health/ready")
    assert (ready.status_code, set(ready.json()["checks"].values())) == (200, {"ok"})
    assert client.get("/health/live/").status_code == 200


def test_metrics_are_for_this_machine_or_the_token(settings: Any) -> None:
    client = Client()
    assert b"django_http_requests" in client.get("/metrics").content
    assert client.get("/metrics", REMOTE_ADDR="192.0.2.1").status_code == 403
    assert client.get("/metrics", HTTP_X_FORWARDED_FOR="127.0.0.1").status_code == 403
    settings.METRICS_TOKEN = "scrape-me"
    assert client.get("/metrics").status_code == 403
    assert client.get("/metrics", HTTP_AUTHORIZATION="Bearer wrong").status_code == 403
    assert (
        client.get("/metrics", REMOTE_ADDR="192.0.2.1", HTTP_AUTHORIZATION="Bearer scrape-me").status_code
        == 200
    )
