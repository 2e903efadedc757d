"""Work calendars over the API."""

from typing import Any

from rest_framework import serializers

from core.api.base import BillingViewSet, CreateMixin, UpdateMixin
from core.api.filters import BillingFilterSet, filter_fields
from core.api.schema import operation, operations
from core.api.serializers import BillingModelSerializer
from core.calendars import SpecialDay, work_calendar_create, work_calendar_update
from core.models import WorkCalendar, WorkCalendarDay
from core.work_calendar import WEEKDAYS


class SpecialDaySerializer(BillingModelSerializer):
    """A date on which a calendar differs: off where `hours` is empty, else worked in these."""

    class Meta:
        model = WorkCalendarDay
        fields = ["date", "name", "hours"]

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        # In a PATCH no member is required, but a day is given as a whole.
        if "date" not in attrs:
            raise serializers.ValidationError({"date": ["This field is required."]}, code="required")
        return attrs


class WorkCalendarSerializer(BillingModelSerializer):
    """Hours are texts by the clock of the zone: "09:00-12:00, 13:00-17:00"; empty on a day without work."""

    special_days = SpecialDaySerializer(
        many=True, required=False, help_text="Dates that differ, as a whole list."
    )
    reason = serializers.CharField(
        max_length=500, write_only=True, required=False, help_text="Why; kept in the history."
    )

    class Meta:
        model = WorkCalendar
        fields = [
            "id", "name", "time_zone", *WEEKDAYS, "holiday_country", "holiday_subdivision", "is_default",
            "special_days", "reason", "version", "created_at", "updated_at",
        ]  # fmt: skip
        read_only_fields = ["id", "version", "created_at", "updated_at"]


class WorkCalendarFilter(BillingFilterSet):
    class Meta:
        model = WorkCalendar
        fields = filter_fields("time_zone", "holiday_country", "is_default")


CODES = {
    400: [
        "calendar_without_hours",
        "invalid_window",
        "windows_overlap",
        "unknown_time_zone",
        "unknown_holiday_country",
        "unknown_holiday_subdivision",
        "date_repeated",
    ],
    409: ["already_exists"],
}


@operations(
    list=operation(summary="List the work calendars."),
    retrieve=operation(summary="Get a work calendar."),
    create=operation(
        summary="Create a work calendar.",
        description="A new default takes the place of the old one. Public holidays come with the country.",
        errors=CODES,
        example={
            "name": "Bavaria",
            "time_zone": "Europe/Berlin",
            **dict.fromkeys(WEEKDAYS[:4], "09:00-12:00, 13:00-17:00"),
            "friday": "09:00-15:00",
            "holiday_country": "DE",
            "holiday_subdivision": "BY",
            "special_days": [{"date": "2026-12-24", "name": "Christmas Eve", "hours": "09:00-12:00"}],
        },
    ),
    partial_update=operation(
        summary="Change a work calendar.",
        description="`special_days` replaces the whole list. Deadlines that froze the old hours keep them.",
        errors=CODES,
        example={"friday": "09:00-14:00", "reason": "Shorter Fridays agreed"},
    ),
)
class WorkCalendarViewSet(CreateMixin, UpdateMixin, BillingViewSet):
    queryset = WorkCalendar.objects.prefetch_related("special_days")
    serializer_class = WorkCalendarSerializer
    filterset_class = WorkCalendarFilter
    search_fields = ("name",)
    ordering_fields = ("name", "time_zone", "created_at", "id")
    ordering = ("name",)

    def perform_create(self, data: dict[str, Any]) -> WorkCalendar:
        return work_calendar_create(actor=self.actor, **_with_days(data))

    def perform_update(self, instance: WorkCalendar, data: dict[str, Any]) -> WorkCalendar:
        return work_calendar_update(actor=self.actor, calendar=instance, **_with_days(data))


def _with_days(data: dict[str, Any]) -> dict[str, Any]:
    if "special_days" in data:
        data["special_days"] = [SpecialDay(**day) for day in data["special_days"]]
    return data
