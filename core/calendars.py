"""Work calendars: keeping them, whose calendar is whose, and the hours to calculate with (APR-19, DSP-06).

hours = hours_of(calendar_of(user))
due = add_working_time(hours, clock.now(), timedelta(hours=8))        # core.work_calendar
"""

import datetime
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, TypedDict, Unpack

from django.core.exceptions import ValidationError
from django.db import IntegrityError, models, transaction
from holidays import country_holidays, list_supported_countries

from core import clock
from core.access import require
from core.errors import Conflict, FieldProblem, Invalid, constraint_name, from_validation_error
from core.history import record_as
from core.locks import advisory_lock
from core.models import User, WorkCalendar, WorkCalendarDay
from core.outbox import publish
from core.work_calendar import WEEKDAYS, WorkingHours, hours_text, windows_of

HOLIDAY_LANGUAGE = "en_US"
"""The product's language: left to itself the library takes the machine's locale, or the country's own language."""

OFFICE_HOURS = dict.fromkeys(WEEKDAYS[:5], "09:00-17:00")
"""What holds for people while no calendar is set up."""

_DEFAULT = "work calendars: default"


# --- Public holidays -------------------------------------------------------------------------------------


@cache
def holiday_regions() -> Mapping[str, tuple[str, ...]]:
    """Return the countries (ISO 3166-1, two letters) whose public holidays are known, each with its parts."""
    return {
        country: tuple(parts) for country, parts in list_supported_countries().items() if len(country) == 2
    }


@dataclass(frozen=True)
class PublicHolidays:
    """The public holidays of a country, or of a part of it, as a set of dates; of no country it is empty."""

    country: str
    subdivision: str = ""

    def __contains__(self, day: object) -> bool:
        return isinstance(day, datetime.date) and bool(self.name_of(day))

    def name_of(self, day: datetime.date) -> str:
        """Return the holiday's name, or an empty string on any other day."""
        return _names_of(self.country, self.subdivision, day.year).get(day, "") if self.country else ""


# One year at a time and never changed afterwards: the library's own object fills itself while others read it.
@lru_cache(maxsize=2048)
def _names_of(country: str, subdivision: str, year: int) -> dict[datetime.date, str]:
    return dict(country_holidays(country, subdiv=subdivision or None, years=year, language=HOLIDAY_LANGUAGE))


# --- Reading ---------------------------------------------------------------------------------------------


def hours_of(calendar: WorkCalendar) -> WorkingHours:
    """Return the calendar's hours to calculate with. Raises Invalid `calendar_without_hours`."""
    special = calendar.special_days.all() if calendar.pk is not None else []
    return WorkingHours(
        zone=clock.zone(calendar.time_zone),
        week=tuple(windows_of(getattr(calendar, weekday)) for weekday in WEEKDAYS),
        holidays=PublicHolidays(calendar.holiday_country, calendar.holiday_subdivision),
        special_days={day.date: windows_of(day.hours) for day in special},
    )


def calendar_of(user: User) -> WorkCalendar:
    """Return the user's calendar, else the default one.

    Where neither is set up it is Monday to Friday, 09:00-17:00, in the user's zone: a calendar that is not stored.
    """
    if user.work_calendar is not None:
        return user.work_calendar
    default: WorkCalendar | None = WorkCalendar.objects.filter(is_default=True).first()
    return default or WorkCalendar(name="Office hours", time_zone=user.time_zone, **OFFICE_HOURS)


# --- Writing ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SpecialDay:
    """A date on which a calendar differs: off where `hours` is empty, else worked in these."""

    date: datetime.date
    name: str = ""
    hours: str = ""


class WorkCalendarChanges(TypedDict, total=False):
    """What `work_calendar_update` can change; hours are texts such as "09:00-12:00, 13:00-17:00"."""

    name: str
    time_zone: str
    monday: str
    tuesday: str
    wednesday: str
    thursday: str
    friday: str
    saturday: str
    sunday: str
    holiday_country: str
    holiday_subdivision: str
    is_default: bool


@transaction.atomic
def work_calendar_create(
    *,
    actor: User,
    special_days: Sequence[SpecialDay] = (),
    reason: str = "",
    **values: Unpack[WorkCalendarChanges],
) -> WorkCalendar:
    """Create a calendar (DSP-06). Needs core.add_workcalendar. A new default takes the place of the old one.

    Raises Forbidden; Invalid `calendar_without_hours`, `invalid_window`, `windows_overlap`, `unknown_time_zone`,
    `unknown_holiday_country`, `unknown_holiday_subdivision`, `date_repeated`; Conflict `already_exists`.
    """
    require(actor, "core.add_workcalendar")
    calendar = WorkCalendar(**values)
    _check(calendar)
    with record_as(actor, reason):
        if calendar.is_default:
            _clear_default()
        _save(calendar)
        _set_special_days(calendar, special_days)
    _publish("work_calendar.created", calendar)
    return calendar


@transaction.atomic
def work_calendar_update(
    *,
    actor: User,
    calendar: WorkCalendar,
    expected_version: int | None = None,
    special_days: Sequence[SpecialDay] | None = None,
    reason: str = "",
    **changes: Unpack[WorkCalendarChanges],
) -> WorkCalendar:
    """Change a calendar; `special_days` replaces the list of its special days. Needs core.change_workcalendar.

    What runs on the calendar follows the new hours, unless it froze the old ones (DSP-09). Raises Stale, and what
    `work_calendar_create` raises.
    """
    require(actor, "core.change_workcalendar")
    locked = _lock(calendar.pk, becomes_default=bool(changes.get("is_default")))
    locked.expect_version(expected_version)
    before = _values(locked)
    for name, value in changes.items():
        setattr(locked, name, value)
    _check(locked)
    changed = sorted(name for name, value in _values(locked).items() if value != before[name])
    with record_as(actor, reason):
        if "is_default" in changed and locked.is_default:
            _clear_default()
        if special_days is not None and _set_special_days(locked, special_days):
            changed.append("special_days")
        if not changed:
            return locked
        _save(locked)
    _publish("work_calendar.updated", locked, changed=changed)
    return locked


def _values(calendar: WorkCalendar) -> dict[str, Any]:
    return {name: getattr(calendar, name) for name in WorkCalendarChanges.__optional_keys__}


def _lock(pk: int, *, becomes_default: bool) -> WorkCalendar:
    """Lock the calendar, and the default one too where it is to be replaced, in ascending order of id."""
    wanted = models.Q(pk=pk)
    if becomes_default:
        advisory_lock(_DEFAULT)
        wanted |= models.Q(is_default=True)
    rows = WorkCalendar.objects.select_for_update(no_key=True).filter(wanted).order_by("pk")
    return {row.pk: row for row in rows}[pk]


def _clear_default() -> None:
    """Take the mark from the default calendar. Two calendars that become it at once take turns."""
    advisory_lock(_DEFAULT)
    for other in WorkCalendar.objects.select_for_update(no_key=True).filter(is_default=True):
        other.is_default = False
        other.save()


def _check(calendar: WorkCalendar) -> None:
    """Bring the values into their one form and refuse what is wrong with them."""
    calendar.name = " ".join(calendar.name.split())
    try:
        calendar.clean_fields()
    except ValidationError as error:
        raise from_validation_error(error) from error
    for weekday in WEEKDAYS:
        setattr(calendar, weekday, hours_text(windows_of(getattr(calendar, weekday))))
    if not any(getattr(calendar, weekday) for weekday in WEEKDAYS):
        raise _refused(
            WEEKDAYS[0],
            "calendar_without_hours",
            "The calendar has no working hours: no deadline could ever come. Give at least one weekday hours.",
        )
    _check_region(calendar)


def _check_region(calendar: WorkCalendar) -> None:
    calendar.holiday_country = calendar.holiday_country.strip().upper()
    country, part = calendar.holiday_country, calendar.holiday_subdivision.strip()
    regions = holiday_regions()
    if country and country not in regions:
        raise _refused(
            "holiday_country",
            "unknown_holiday_country",
            f'The public holidays of "{country}" are not known. Give a code such as DE or IE, or leave it empty and '
            "list the holidays as special days.",
        )
    parts = {name.upper(): name for name in regions.get(country, ())}
    if part and part.upper() not in parts:
        known = f"Known: {', '.join(parts.values())}." if parts else "Leave it empty."
        where = country or "no country"
        raise _refused(
            "holiday_subdivision",
            "unknown_holiday_subdivision",
            f'"{part}" is no part of {where} with holidays of its own. {known}',
        )
    calendar.holiday_subdivision = parts[part.upper()] if part else ""


def _refused(field: str, code: str, detail: str) -> Invalid:
    return Invalid(code, detail, errors=[FieldProblem(f"/{field}", code, detail)])


def _save(calendar: WorkCalendar) -> None:
    try:
        with transaction.atomic():
            calendar.save()
    except IntegrityError as error:
        if constraint_name(error) != "work_calendars_name_unique":
            raise
        taken = f'There is a calendar named "{calendar.name}" already. Choose another name.'
        raise Conflict(
            "already_exists", taken, errors=[FieldProblem("/name", "already_exists", taken)]
        ) from error


def _set_special_days(calendar: WorkCalendar, special_days: Sequence[SpecialDay]) -> bool:
    """Make these the calendar's special days, and say whether anything changed."""
    wanted = _checked_days(calendar, special_days)
    there = {day.date: day for day in calendar.special_days.all()}
    changed = False
    for date in sorted(there.keys() - wanted.keys()):
        there[date].delete()
        changed = True
    for date, day in sorted(wanted.items()):
        stored = there.get(date)
        if stored is None:
            day.save()
        elif (stored.name, stored.hours) != (day.name, day.hours):
            stored.name, stored.hours = day.name, day.hours
            stored.save()
        else:
            continue
        changed = True
    return changed


def _checked_days(
    calendar: WorkCalendar, special_days: Iterable[SpecialDay]
) -> dict[datetime.date, WorkCalendarDay]:
    days: dict[datetime.date, WorkCalendarDay] = {}
    for number, given in enumerate(special_days):
        day = WorkCalendarDay(calendar=calendar, date=given.date, name=given.name.strip(), hours=given.hours)
        try:
            day.clean_fields(exclude=["calendar"])
        except ValidationError as error:
            raise from_validation_error(error, prefix=f"/special_days/{number}") from error
        if day.date in days:
            raise _refused(
                f"special_days/{number}/date",
                "date_repeated",
                f"{day.date} stands twice among the special days.",
            )
        day.hours = hours_text(windows_of(day.hours))
        days[day.date] = day
    return days


def _publish(topic: str, calendar: WorkCalendar, **more: Any) -> None:
    publish(topic, {"work_calendar_id": calendar.pk, **more}, key=f"work_calendar:{calendar.pk}")
