"""Filters of the lists of billing runs, their payers and schedules."""

from typing import Any

from django.db.models import QuerySet

from core.api.filters import BillingFilterSet, BooleanFilter, filter_fields
from invoicing.models import BillingRun, BillingRunItem, BillingSchedule


class BillingRunFilter(BillingFilterSet):
    """Runs by scope, period and state."""

    open = BooleanFilter(method="filter_open", label="Not finished and not cancelled.")

    class Meta:
        model = BillingRun
        fields = filter_fields(
            "scope",
            "issuer",
            "schedule",
            ranges=["period_start", "period_end", "started_at"],
            lists=["status"],
        )

    def filter_open(self, queryset: QuerySet[Any], name: str, value: bool) -> QuerySet[Any]:
        open_runs = BillingRun.objects.open().values("pk")
        return queryset.filter(pk__in=open_runs) if value else queryset.exclude(pk__in=open_runs)


class BillingRunItemFilter(BillingFilterSet):
    """Payers of a run by state; `unusual=true` for those with anomalies."""

    unusual = BooleanFilter(method="filter_unusual", label="With anomalies.")

    class Meta:
        model = BillingRunItem
        fields = filter_fields("entity", ranges=["total"], lists=["status", "currency", "error_code"])

    def filter_unusual(self, queryset: QuerySet[Any], name: str, value: bool) -> QuerySet[Any]:
        return queryset.exclude(anomalies=[]) if value else queryset.filter(anomalies=[])


class BillingScheduleFilter(BillingFilterSet):
    """Schedules by scope."""

    class Meta:
        model = BillingSchedule
        fields = filter_fields("scope", "issuer", "is_active", lists=["issue_mode"])
