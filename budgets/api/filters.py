"""Filters of the lists of budgets."""

from typing import Any

import django_filters
from django.db.models import F, QuerySet

from budgets.models import (
    Budget,
    BudgetAlert,
    BudgetEntry,
    BudgetOverride,
    BudgetRevision,
    BudgetRollover,
    BudgetTransfer,
    Commitment,
)
from core.api.filters import BillingFilterSet, BooleanFilter, IdFilter, filter_fields


class BudgetFilter(BillingFilterSet):
    """`active_on=2026-03-31` for the budgets of a day, `overspent=true` for those with less than nothing left."""

    active_on = django_filters.DateFilter(method="filter_day", label="The period contains this day.")
    overspent = BooleanFilter(method="filter_overspent", label="More is spent and committed than allocated.")

    class Meta:
        model = Budget
        fields = filter_fields(
            "entity", "department", "category", "parent", "owner", "currency", "control", "is_control_point",
            ranges=["period_start", "period_end", "allocated_amount", "spent_amount", "committed_amount", "created_at"],
            lists=["status", "period_type"],
        )  # fmt: skip

    def filter_day(self, queryset: QuerySet[Any], name: str, value: Any) -> QuerySet[Any]:
        return queryset.filter(period_start__lte=value, period_end__gt=value)

    def filter_overspent(self, queryset: QuerySet[Any], name: str, value: bool) -> QuerySet[Any]:
        left = F("allocated_amount") + F("override_amount") - F("spent_amount") - F("committed_amount")
        rows = queryset.alias(left=left)
        return rows.filter(left__lt=0) if value else rows.filter(left__gte=0)


class BudgetEntryFilter(BillingFilterSet):
    """Entries by kind, date, document and commitment."""

    class Meta:
        model = BudgetEntry
        fields = filter_fields(
            "commitment", "source_type", "source_id", "reference",
            ranges=["posting_date", "created_at"],
            lists=["kind"],
        )  # fmt: skip


class LedgerFilter(BudgetEntryFilter):
    """Entries of all budgets."""

    entity_id = IdFilter(field_name="budget__entity_id")
    department_id = IdFilter(field_name="budget__department_id")

    class Meta(BudgetEntryFilter.Meta):
        fields = {**BudgetEntryFilter.Meta.fields, "budget": ["exact"]}


class BudgetAlertFilter(BillingFilterSet):
    """Alerts by level; `active=true` for those not re-armed."""

    active = BooleanFilter(field_name="rearmed_at", lookup_expr="isnull", label="Not re-armed since.")

    class Meta:
        model = BudgetAlert
        fields = filter_fields(lists=["level"], ranges=["created_at"])


class BudgetCommitmentFilter(BillingFilterSet):
    """Commitments of one budget."""

    class Meta:
        model = Commitment
        fields = filter_fields(
            "reference",
            "close_decision",
            ranges=["commitment_date", "expires_at", "amount"],
            lists=["status"],
        )


class CommitmentFilter(BudgetCommitmentFilter):
    """Commitments of all budgets."""

    entity_id = IdFilter(field_name="budget__entity_id")
    department_id = IdFilter(field_name="budget__department_id")

    class Meta(BudgetCommitmentFilter.Meta):
        fields = {**BudgetCommitmentFilter.Meta.fields, "budget": ["exact"]}


class BudgetTransferFilter(BillingFilterSet):
    """Transfers by state and budget."""

    class Meta:
        model = BudgetTransfer
        fields = filter_fields(
            "from_budget", "to_budget", "requested_by", ranges=["amount", "created_at"], lists=["status"]
        )


class BudgetRevisionFilter(BillingFilterSet):
    """Revisions by state and budget."""

    class Meta:
        model = BudgetRevision
        fields = filter_fields("budget", "requested_by", ranges=["delta", "created_at"], lists=["status"])


class BudgetOverrideFilter(BillingFilterSet):
    """Overrides by state and budget; `unused=true` for those that can still be spent."""

    unused = BooleanFilter(field_name="used_at", lookup_expr="isnull", label="Not used yet.")

    class Meta:
        model = BudgetOverride
        fields = filter_fields("budget", "requested_by", ranges=["limit", "created_at"], lists=["status"])


class BudgetRolloverFilter(BillingFilterSet):
    """Rollovers by budget."""

    class Meta:
        model = BudgetRollover
        fields = filter_fields("from_budget", "to_budget", lists=["status"], ranges=["created_at"])
