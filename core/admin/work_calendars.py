"""Work calendars: the hours of each weekday, public holidays, special days, and what follows from them."""

import datetime
from collections.abc import Iterable
from itertools import groupby
from typing import Any

from babel import Locale
from django import forms
from django.contrib import admin
from django.http import HttpRequest
from django.utils.safestring import SafeString
from django.utils.translation import get_language, to_locale
from unfold.widgets import UnfoldAdminSelectWidget

from core import clock
from core.admin.base import BillingModelAdmin, EmptyState
from core.admin.inlines import BillingTabularInline
from core.admin.scoping import may
from core.calendars import (
    PublicHolidays,
    SpecialDay,
    holiday_regions,
    hours_of,
    work_calendar_create,
    work_calendar_update,
)
from core.errors import Invalid
from core.models import User, WorkCalendar, WorkCalendarDay
from core.work_calendar import WEEKDAYS, add_working_days, hours_text

PREVIEWED_DAYS = 5


def _country_name(code: str) -> str:
    names = Locale.parse(to_locale(get_language() or "en")).territories
    return str(names.get(code, code))


def _country_choices() -> list[tuple[str, str]]:
    named = sorted((_country_name(code), code) for code in holiday_regions())
    return [("", "No public holidays"), *((code, name) for name, code in named)]


class WorkCalendarForm(forms.ModelForm):
    """The calendar, with the country by its name."""

    holiday_country = forms.ChoiceField(
        label="Public holidays of",
        choices=_country_choices,
        required=False,
        widget=UnfoldAdminSelectWidget(),
        help_text="These days are off.",
    )


class SpecialDaysInline(BillingTabularInline):
    """Dates on which the calendar differs; who may change the calendar may change them."""

    model = WorkCalendarDay
    fields = ["date", "name", "hours"]
    verbose_name = "special day"
    verbose_name_plural = "Special days"
    hide_title = True
    show_change_link = False

    def _allowed(self, request: HttpRequest, action: str, obj: Any) -> bool:
        return may(request.user, f"core.{'view' if action == 'view' else 'change'}_workcalendar")


@admin.register(WorkCalendar)
class WorkCalendarAdmin(BillingModelAdmin):
    """When work is done: what the timers of approvals and the deadlines of disputes run on."""

    form = WorkCalendarForm
    list_display = ["name", "time_zone", "week", "public_holidays", "default"]
    list_filter = ["is_default", "holiday_country", "time_zone"]
    search_fields = ["name", "time_zone"]
    ordering = ["name"]
    inlines = [SpecialDaysInline]
    history_lines = ["special_days"]
    empty_state = EmptyState(
        "No work calendars yet",
        "Until there is one, everybody works Monday to Friday, 09:00 to 17:00, in their own time zone.",
        "Add a calendar",
        "admin:core_workcalendar_add",
    )
    readonly_fields = ["hours_today", "next_working_days", "next_holidays"]
    fieldsets = (
        (None, {"fields": (("name", "time_zone"), "is_default")}),
        (
            "Hours",
            {
                "description": "By the clock of the zone, such as 09:00-12:00, 13:00-17:00. Empty: no work on that "
                "day. 00:00-24:00: the whole day.",
                "fields": (WEEKDAYS[0:2], WEEKDAYS[2:4], WEEKDAYS[4], WEEKDAYS[5:7]),
            },
        ),
        ("Days off", {"fields": (("holiday_country", "holiday_subdivision"),)}),
        ("What follows from it", {"fields": ("hours_today", "next_working_days", "next_holidays")}),
    )

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        shown = super().get_fieldsets(request, obj)
        return shown if obj is not None else shown[:-1]

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Calendars stay: deadlines of the past were reckoned by them."""
        return False

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        names = form.changed_data if change else list(form.cleaned_data)
        data = {name: form.cleaned_data[name] for name in names}
        actor = _actor(request)
        if change:
            saved = work_calendar_update(actor=actor, calendar=obj, **data)
        else:
            saved = work_calendar_create(actor=actor, **data)
        # The admin goes on with its own object: it becomes what the service saved.
        obj.__dict__.update(saved.__dict__)

    def save_formset(self, request: HttpRequest, form: Any, formset: Any, change: bool) -> None:
        if not formset.has_changed():
            formset.save(commit=False)
            return
        days = [
            SpecialDay(row["date"], row["name"], row["hours"])
            for row in formset.cleaned_data
            if row and not row.get("DELETE")
        ]
        work_calendar_update(actor=_actor(request), calendar=form.instance, special_days=days)
        # For the admin's own log: what is new, changed and deleted. Nothing is written by it.
        formset.save(commit=False)

    @admin.display(description="Hours")
    def week(self, obj: WorkCalendar) -> str:
        return week_text(obj)

    @admin.display(description="Public holidays", ordering="holiday_country")
    def public_holidays(self, obj: WorkCalendar) -> str:
        if not obj.holiday_country:
            return "–"
        name = _country_name(obj.holiday_country)
        return f"{name}, {obj.holiday_subdivision}" if obj.holiday_subdivision else name

    @admin.display(description="Default", ordering="is_default")
    def default(self, obj: WorkCalendar) -> str:
        return "Default" if obj.is_default else ""

    @admin.display(description="Today")
    def hours_today(self, obj: WorkCalendar) -> str:
        today = clock.today(obj.time_zone)
        return f"{_day_text(today)}: {hours_text(hours_of(obj).windows_on(today)) or 'no work'}"

    @admin.display(description=f"Next {PREVIEWED_DAYS} working days")
    def next_working_days(self, obj: WorkCalendar) -> str:
        hours, day = hours_of(obj), clock.today(obj.time_zone)
        try:
            days = [add_working_days(hours, day, number + 1) for number in range(PREVIEWED_DAYS)]
        except Invalid as error:
            return error.message
        return ", ".join(map(_day_text, days))

    @admin.display(description="Next public holidays")
    def next_holidays(self, obj: WorkCalendar) -> str | SafeString:
        holidays = PublicHolidays(obj.holiday_country, obj.holiday_subdivision)
        today = clock.today(obj.time_zone)
        coming = (today + datetime.timedelta(days=number) for number in range(366))
        named = [f"{_day_text(day)} ({holidays.name_of(day)})" for day in coming if day in holidays]
        return ", ".join(named[:PREVIEWED_DAYS]) or "–"


def week_text(calendar: WorkCalendar) -> str:
    """Return the hours of a week in one line: "Mon-Fri 09:00-17:00, Sat 10:00-12:00"."""
    parts = []
    for text, days in groupby(WEEKDAYS, key=lambda weekday: str(getattr(calendar, weekday))):
        if text:
            parts.append(f"{_span(days)} {text}")
    return ", ".join(parts)


def _span(weekdays: Iterable[str]) -> str:
    names = [weekday[:3].capitalize() for weekday in weekdays]
    return names[0] if len(names) == 1 else f"{names[0]}-{names[-1]}"


def _day_text(day: datetime.date) -> str:
    return f"{day:%a} {day.day} {day:%b %Y}"


def _actor(request: HttpRequest) -> User:
    assert isinstance(request.user, User)
    return request.user
