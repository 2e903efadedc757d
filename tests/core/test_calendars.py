"""Work calendars as they are kept: services, public holidays, whose calendar is whose (APR-19, DSP-06)."""

from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.db import IntegrityError, transaction

from core.access import system_actor
from core.calendars import (
    OFFICE_HOURS,
    PublicHolidays,
    SpecialDay,
    calendar_of,
    hours_of,
    work_calendar_create,
    work_calendar_update,
)
from core.errors import BillingError, Conflict, Forbidden, Invalid, Stale, constraint_name
from core.models import OutboxEvent, User, WorkCalendar, WorkCalendarDay
from core.work_calendar import add_working_days, add_working_time

pytestmark = pytest.mark.django_db

BERLIN = ZoneInfo("Europe/Berlin")


def create(**values: Any) -> WorkCalendar:
    given = {"name": "Berlin", "time_zone": "Europe/Berlin", **OFFICE_HOURS, **values}
    return work_calendar_create(actor=system_actor(), **given)


def update(calendar: WorkCalendar, **changes: Any) -> WorkCalendar:
    return work_calendar_update(actor=system_actor(), calendar=calendar, **changes)


def test_dsp_06_hours_of_a_calendar_with_public_holidays_and_special_days() -> None:
    calendar = create(
        holiday_country="de",
        special_days=[
            SpecialDay(date(2026, 12, 24), "Christmas Eve", "9-12"),
            SpecialDay(date(2026, 12, 28), "Works outing"),
        ],
    )
    hours = hours_of(WorkCalendar.objects.get(pk=calendar.pk))
    # Thursday 11:00: one hour on the 24th; holiday, weekend and outing; two hours on Tuesday.
    start = datetime(2026, 12, 24, 11, tzinfo=BERLIN)
    assert add_working_time(hours, start, timedelta(hours=3)) == datetime(2026, 12, 29, 11, tzinfo=BERLIN)
    assert add_working_days(hours, date(2026, 4, 30), 1) == date(2026, 5, 4)
    assert calendar.holiday_country == "DE"
    assert [day.hours for day in calendar.special_days.all()] == ["09:00-12:00", ""]


def test_public_holidays_differ_by_part_and_are_found_at_the_turn_of_the_year() -> None:
    corpus_christi = date(2026, 6, 4)
    assert corpus_christi in PublicHolidays("DE", "BY")
    assert corpus_christi not in PublicHolidays("DE", "BE")
    assert PublicHolidays("US").name_of(date(2021, 12, 31)) == "New Year's Day (observed)"
    assert date(2026, 12, 25) not in PublicHolidays("")


def test_public_holidays_are_named_in_english_whatever_the_machine_speaks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LANGUAGE", "fr")
    assert PublicHolidays("FR").name_of(date(2031, 12, 25)) == "Christmas Day"


def test_apr_19_the_calendar_of_a_user() -> None:
    anna = User.objects.create_user("anna", "anna@example.com", time_zone="Asia/Tokyo")
    nothing_set_up = calendar_of(anna)
    assert (nothing_set_up.pk, nothing_set_up.time_zone) == (None, "Asia/Tokyo")
    tokyo = ZoneInfo("Asia/Tokyo")
    friday = datetime(2026, 3, 6, 16, tzinfo=tokyo)
    due = add_working_time(hours_of(nothing_set_up), friday, timedelta(hours=4))
    assert due == datetime(2026, 3, 9, 12, tzinfo=tokyo)

    default = create(name="Default", is_default=True)
    assert calendar_of(anna) == default
    anna.work_calendar = create(name="Own")
    assert calendar_of(anna).name == "Own"


def test_a_new_default_takes_the_place_of_the_old_one_with_history() -> None:
    first = create(name="First", is_default=True)
    second = create(name="Second", is_default=True)
    assert list(WorkCalendar.objects.filter(is_default=True)) == [second]
    first.refresh_from_db()
    assert (first.version, first.history.count()) == (2, 2)
    update(first, is_default=True)
    assert list(WorkCalendar.objects.filter(is_default=True)) == [first]


def test_a_change_is_recorded_once_and_no_change_writes_nothing() -> None:
    calendar = create(special_days=[SpecialDay(date(2026, 12, 24), "Eve"), SpecialDay(date(2026, 12, 31))])
    days = [SpecialDay(date(2026, 12, 24), "Eve", "09:00-12:00"), SpecialDay(date(2027, 1, 4))]
    changed = update(calendar, friday="9-15", special_days=days, reason="Agreed")
    assert (changed.version, changed.friday) == (2, "09:00-15:00")
    assert list(changed.special_days.values_list("date", "hours")) == [
        (date(2026, 12, 24), "09:00-12:00"),
        (date(2027, 1, 4), ""),
    ]
    assert changed.history.first().history_change_reason == "Agreed"
    kinds = WorkCalendarDay.history.filter(history_change_reason="Agreed")
    assert sorted(kinds.values_list("history_type", flat=True)) == ["+", "-", "~"]
    event = OutboxEvent.objects.get(topic="work_calendar.updated")
    assert event.payload == {"work_calendar_id": calendar.pk, "changed": ["friday", "special_days"]}

    again = update(changed, friday="09:00-15:00", special_days=days)
    assert (again.version, OutboxEvent.objects.filter(topic="work_calendar.updated").count()) == (2, 1)
    with pytest.raises(Stale):
        update(changed, friday="", expected_version=1)


@pytest.mark.parametrize(
    ("values", "code", "pointer"),
    [
        (dict.fromkeys(OFFICE_HOURS, ""), "calendar_without_hours", "/monday"),
        ({"monday": "17-9"}, "invalid", "/monday"),
        ({"monday": "9-12, 11-13"}, "invalid", "/monday"),
        ({"time_zone": "Berlin"}, "invalid", "/time_zone"),
        ({"name": " "}, "invalid", "/name"),
        ({"holiday_country": "XX"}, "unknown_holiday_country", "/holiday_country"),
        ({"holiday_subdivision": "BY"}, "unknown_holiday_subdivision", "/holiday_subdivision"),
        (
            {"holiday_country": "DE", "holiday_subdivision": "ZZ"},
            "unknown_holiday_subdivision",
            "/holiday_subdivision",
        ),
        ({"special_days": [SpecialDay(date(2026, 1, 2), hours="x")]}, "invalid", "/special_days/0/hours"),
        ({"special_days": [SpecialDay(date(2026, 1, 2))] * 2}, "date_repeated", "/special_days/1/date"),
        ({"name": "Taken"}, "already_exists", "/name"),
    ],
)
def test_dsp_06_what_is_wrong_is_refused_and_changes_nothing(
    values: dict[str, Any], code: str, pointer: str
) -> None:
    create(name="taken")
    calendar = create(name="Good")
    for attempt in (lambda: create(**{"name": "New", **values}), lambda: update(calendar, **values)):
        with pytest.raises(BillingError) as error, transaction.atomic():
            attempt()
        assert isinstance(error.value, Conflict if code == "already_exists" else Invalid)
        assert (error.value.code, error.value.errors[0].pointer) == (code, pointer)
    assert sorted(WorkCalendar.objects.values_list("name", "version")) == [("Good", 1), ("taken", 1)]
    assert not WorkCalendarDay.objects.exists()


def test_ent_05_without_the_right_nothing_is_written() -> None:
    calendar = create()
    anna = User.objects.create_user("anna", "anna@example.com")
    with pytest.raises(Forbidden):
        work_calendar_create(actor=anna, name="Mine", **OFFICE_HOURS)
    with pytest.raises(Forbidden):
        work_calendar_update(actor=anna, calendar=calendar, name="Mine")
    assert list(WorkCalendar.objects.values_list("name", flat=True)) == ["Berlin"]


@pytest.mark.parametrize(
    ("values", "constraint"),
    [
        (dict.fromkeys(OFFICE_HOURS, ""), "work_calendars_have_hours"),
        ({"holiday_subdivision": "BY"}, "work_calendars_subdivision_of_country"),
        ({"is_default": True}, "work_calendars_one_default"),
        ({"name": "FIRST"}, "work_calendars_name_unique"),
    ],
)
def test_the_database_holds_the_rules(values: dict[str, Any], constraint: str) -> None:
    create(name="First", is_default=True)
    other = create(name="Other")
    with pytest.raises(IntegrityError) as error, transaction.atomic():
        WorkCalendar.objects.filter(pk=other.pk).update(**values)
    assert constraint_name(error.value) == constraint
