"""A record and its history written by one statement leave the rows that `save()` leaves (SEC-02)."""

from datetime import UTC, datetime
from typing import Any

import pytest
import time_machine

from core.history import acting, record_as
from core.models import User, WorkCalendar
from core.recorded import RecordedSave

pytestmark = pytest.mark.django_db
MORNING, NOON = datetime(2026, 3, 2, 9, tzinfo=UTC), datetime(2026, 3, 2, 12, tzinfo=UTC)


@pytest.fixture
def anna() -> User:
    return User.objects.create_user("anna", "anna@example.com")


def save(record: WorkCalendar) -> None:
    record.save()


def lived(anna: User, name: str, write: Any) -> WorkCalendar:
    """A calendar that was made in the morning and changed at noon."""
    with acting(channel="job", request_id="request-1"):
        with time_machine.travel(MORNING, tick=False), record_as(anna):
            calendar = WorkCalendar(name=name, monday="09:00-17:00")
            write(calendar)
        with time_machine.travel(NOON, tick=False), record_as(anna, "shorter"):
            calendar.monday = "09:00-12:00"
            write(calendar)
    return calendar


def stored(calendar: WorkCalendar) -> list[dict[str, Any]]:
    """The row and its history, without keys and name."""
    rows = [
        WorkCalendar.objects.filter(pk=calendar.pk).values().get(),
        *calendar.history.order_by("history_date").values(),
    ]
    return [
        {name: value for name, value in row.items() if name not in {"id", "history_id", "name"}}
        for row in rows
    ]


def test_sec_02_it_leaves_the_same_rows_as_save(anna: User) -> None:
    quick = lived(anna, "Quick", RecordedSave(WorkCalendar))
    rows = stored(quick)
    assert rows == stored(lived(anna, "General", save))
    assert [row["monday"] for row in rows] == ["09:00-12:00", "09:00-17:00", "09:00-12:00"]
    assert (rows[0]["version"], rows[0]["updated_at"], rows[0]["created_at"]) == (2, NOON, MORNING)
    last = rows[2]
    assert (last["history_type"], last["history_user_id"], last["history_change_reason"]) == (
        "~", anna.pk, "shorter",
    )  # fmt: skip
    assert (last["request_id"], last["channel"]) == ("request-1", "job")


def test_the_object_is_as_after_save(anna: User) -> None:
    calendar = lived(anna, "Quick", RecordedSave(WorkCalendar))
    assert (calendar.version, calendar.updated_at) == (2, NOON)
    assert calendar == WorkCalendar.objects.get(name="Quick")
    calendar.save()
    assert WorkCalendar.objects.get(name="Quick").version == 3


def test_a_record_that_is_gone_is_not_written_again(anna: User) -> None:
    calendar = lived(anna, "Quick", RecordedSave(WorkCalendar))
    count = WorkCalendar.history.count()
    WorkCalendar.objects.filter(pk=calendar.pk).delete()
    gone = WorkCalendar.history.count()
    with pytest.raises(WorkCalendar.DoesNotExist):
        RecordedSave(WorkCalendar)(calendar)
    assert not WorkCalendar.objects.filter(name="Quick").exists()
    assert (WorkCalendar.history.count(), gone) == (gone, count + 1)
