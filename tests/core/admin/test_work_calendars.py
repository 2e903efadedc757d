"""The page of work calendars: it writes through the services, and shows what follows from the hours."""

from datetime import UTC, date, datetime
from typing import Any

import pytest
import time_machine
from django.test import Client

from core.access import system_actor
from core.calendars import OFFICE_HOURS, work_calendar_create
from core.models import User, WorkCalendar

LIST = "/admin/core/workcalendar/"
HOURS = {"saturday": "", "sunday": "", **OFFICE_HOURS}


def form(*days: dict[str, Any], there: int = 0, **values: Any) -> dict[str, Any]:
    data: dict[str, Any] = {
        "name": "Berlin",
        "time_zone": "Europe/Berlin",
        "holiday_country": "DE",
        "holiday_subdivision": "",
        **HOURS,
        **values,
        "special_days-TOTAL_FORMS": len(days),
        "special_days-INITIAL_FORMS": there,
    }
    for number, day in enumerate(days):
        data.update({f"special_days-{number}-{name}": value for name, value in day.items()})
    return data


@pytest.fixture
def berlin(db: None) -> WorkCalendar:
    return work_calendar_create(
        actor=system_actor(),
        name="Berlin",
        time_zone="Europe/Berlin",
        holiday_country="DE",
        is_default=True,
        **OFFICE_HOURS,
    )


def test_a_calendar_is_added_and_changed_with_its_special_days(
    admin_client: Client, administrator: User
) -> None:
    eve = {"date": "2026-12-24", "name": "Eve", "hours": "9-12"}
    answer = admin_client.post(f"{LIST}add/", form(eve, is_default="on", friday="9-15"))
    assert answer.status_code == 302, answer.context["errors"]
    calendar = WorkCalendar.objects.get()
    assert (calendar.friday, calendar.is_default) == ("09:00-15:00", True)
    day = calendar.special_days.get()
    assert (day.date, day.hours) == (date(2026, 12, 24), "09:00-12:00")

    other = {"date": "2026-12-31", "name": "", "hours": ""}
    gone = {**eve, "id": day.pk, "calendar": calendar.pk, "DELETE": "on"}
    data = form(gone, other, there=1, friday="09:00-15:00", monday="10-17", is_default="on")
    answer = admin_client.post(
        f"{LIST}{calendar.pk}/change/", {**data, "loaded_version": str(calendar.version)}
    )
    assert answer.status_code == 302, answer.context["errors"]
    calendar = WorkCalendar.objects.get()
    assert calendar.monday == "10:00-17:00"
    assert list(calendar.special_days.values_list("date", flat=True)) == [date(2026, 12, 31)]
    assert calendar.history.first().history_user == administrator


def test_what_is_refused_stands_in_the_form(admin_client: Client, berlin: WorkCalendar) -> None:
    def refusal(**values: str) -> str:
        return admin_client.post(f"{LIST}add/", form(**{"name": "New", **values})).content.decode()

    assert "Give at least one weekday working hours." in refusal(**dict.fromkeys(HOURS, ""))
    assert "it must begin before it ends" in refusal(monday="17-9")
    assert "Known: BB, BE, BW, BY" in refusal(holiday_subdivision="Bavaria")
    assert "Another calendar has this name." in refusal(name="berlin")
    assert WorkCalendar.objects.count() == 1


@time_machine.travel(datetime(2026, 12, 23, 12, tzinfo=UTC), tick=False)
def test_the_preview_says_what_follows(auditor_client: Client, berlin: WorkCalendar) -> None:
    page = auditor_client.get(f"{LIST}{berlin.pk}/change/").content.decode()
    assert "Wed 23 Dec 2026: 09:00-17:00" in page
    assert "Thu 24 Dec 2026, Mon 28 Dec 2026, Tue 29 Dec 2026, Wed 30 Dec 2026, Thu 31 Dec 2026" in page
    assert "Fri 25 Dec 2026 (Christmas Day)" in page
    listed = auditor_client.get(LIST).content.decode()
    assert "Mon-Fri 09:00-17:00" in listed
    assert "Germany" in listed
    assert auditor_client.get(f"{LIST}add/").status_code == 403
    assert auditor_client.post(f"{LIST}{berlin.pk}/change/", form(name="Mine")).status_code == 403
    assert auditor_client.get(f"{LIST}{berlin.pk}/history/").status_code == 200
