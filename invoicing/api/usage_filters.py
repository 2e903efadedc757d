"""Filters of the usage lists."""

from typing import Any

import django_filters
from django.db.models import QuerySet

from core.api.filters import BillingFilterSet, BooleanFilter, filter_fields
from invoicing.models import RejectedRow, UsageBudgetCharge, UsageImport, UsageMappingRule, UsageRecord


class UsageImportFilter(BillingFilterSet):
    """Imports by entity, state, file and time."""

    class Meta:
        model = UsageImport
        fields = filter_fields(
            "entity", "file_name", "file_sha256", "format_version",
            ranges=["created_at", "finished_at", "rows_rejected"],
            lists=["status"],
        )  # fmt: skip


class UsageRecordFilter(BillingFilterSet):
    """Charges by place, day, provider and service; `unallocated=true` for what no rule matched."""

    unallocated = BooleanFilter(field_name="department", lookup_expr="isnull", label="Without a department.")
    billed = BooleanFilter(method="filter_billed", label="On an invoice, drafts included.")

    class Meta:
        model = UsageRecord
        fields = filter_fields(
            "entity", "department", "usage_import", "mapping_rule", "billing_account_id", "sub_account_id",
            ranges=["charge_date", "billed_cost"],
            lists=["currency", "provider_name", "service_name", "charge_category"],
        )  # fmt: skip

    def filter_billed(self, queryset: QuerySet[Any], name: str, value: bool) -> QuerySet[Any]:
        unbilled = UsageRecord.objects.unbilled().values("pk")
        return queryset.exclude(pk__in=unbilled) if value else queryset.unbilled()  # type: ignore[attr-defined]


class UsageBudgetChargeFilter(BillingFilterSet):
    """What usage charged to budgets, by import, place, month and outcome."""

    class Meta:
        model = UsageBudgetCharge
        fields = filter_fields(
            "usage_import", "entity", "department", "budget", ranges=["month"], lists=["status", "currency"]
        )


class RejectedRowFilter(BillingFilterSet):
    """Rejected rows by import, state and kind of problem."""

    problem_code = django_filters.CharFilter(method="filter_code", label="A code among its problems.")

    class Meta:
        model = RejectedRow
        fields = filter_fields("usage_import", ranges=["line_number"], lists=["status"])

    def filter_code(self, queryset: QuerySet[Any], name: str, value: str) -> QuerySet[Any]:
        return queryset.filter(problems__contains=[{"code": value}])


class UsageMappingRuleFilter(BillingFilterSet):
    """Rules by entity, department and what they compare."""

    class Meta:
        model = UsageMappingRule
        fields = filter_fields(
            "entity", "department", "tag_key", "value", "is_active", ranges=["priority"], lists=["source"]
        )
