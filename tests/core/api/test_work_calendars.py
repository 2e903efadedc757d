"""Work calendars over the API."""

import pytest
from rest_framework.test import APIClient

from core.calendars import OFFICE_HOURS
from core.models import WorkCalendar
from entities.models import Role
from tests.core.api.conftest import MakeUser, SignIn
from tests.core.api.test_problems import assert_problem

pytestmark = pytest.mark.django_db

URL = "/api/enterprise-billing/work-calendars"
EVE = {"date": "2026-12-24", "name": "Eve", "hours": "09:00-12:00"}
BODY = {
    "name": "Bavaria", "time_zone": "Europe/Berlin", **OFFICE_HOURS,
    "holiday_country": "DE", "holiday_subdivision": "BY", "special_days": [EVE],
}  # fmt: skip


def test_a_calendar_is_created_read_and_changed(api: APIClient) -> None:
    created = api.post(URL, BODY, format="json")
    assert created.status_code == 201, created.content
    body = created.json()
    assert {name: body[name] for name in BODY} == BODY
    assert (body["sunday"], body["is_default"], body["version"]) == ("", False, 1)
    one = f"{URL}/{body['id']}"
    assert api.get(one).json() == body
    assert api.get(URL, {"holiday_country": "DE"}).json()["results"] == [body]

    etag = created.headers["ETag"]
    change = {"friday": "9-14", "special_days": [], "reason": "Agreed"}
    changed = api.patch(one, change, format="json", headers={"If-Match": etag})
    assert changed.status_code == 200, changed.content
    assert (changed.json()["friday"], changed.json()["special_days"]) == ("09:00-14:00", [])
    assert_problem(api.patch(one, change, format="json", headers={"If-Match": etag}), 412, "stale_version")
    answer = api.patch(one, {"special_days": [{"name": "No date"}]}, format="json")
    assert answer.json()["errors"][0]["pointer"] == "/special_days/0/date"
    assert_problem(
        api.patch(one, dict.fromkeys(OFFICE_HOURS, ""), format="json"), 400, "calendar_without_hours"
    )
    assert api.delete(one).status_code == 405


@pytest.mark.parametrize(
    ("role", "read", "write"),
    [
        (Role.ADMINISTRATOR, 200, 201),
        (Role.FINANCE_MANAGER, 200, 201),
        (Role.FINANCE_STAFF, 200, 403),
        (Role.APPROVER, 200, 403),
        (Role.AUDITOR, 200, 403),
        (None, 403, 403),
    ],
)
def test_ent_05_who_reads_and_writes(
    make_user: MakeUser, sign_in: SignIn, role: str | None, read: int, write: int
) -> None:
    client = sign_in(make_user(role))
    assert client.get(URL).status_code == read
    assert client.post(URL, BODY, format="json").status_code == write
    assert WorkCalendar.objects.exists() == (write == 201)
