"""Filters of the organisation's lists."""

from typing import Any

from django.db.models import QuerySet

from core.api.filters import BillingFilterSet, IdFilter, filter_fields
from entities.models import (
    AllocationPosting,
    AllocationRule,
    CostAllocation,
    Department,
    Entity,
    EntityLink,
    Membership,
)

STAMPS = ("created_at", "updated_at")


class EntityFilter(BillingFilterSet):
    ancestor_id = IdFilter(method="below", help_text="The entities below this one, itself included.")

    class Meta:
        model = Entity
        fields = filter_fields(
            "parent",
            "code",
            "country",
            "consolidated_billing",
            "is_issuer",
            "is_default_issuer",
            "is_active",
            "tax_id",
            lists=["entity_type", "currency"],
            ranges=["credit_limit", "payment_terms_days", *STAMPS],
        )

    def below(self, queryset: QuerySet[Any], name: str, value: Any) -> QuerySet[Any]:
        """The subtree of an entity."""
        return queryset.filter(above__ancestor_id=int(value))


class DepartmentFilter(BillingFilterSet):
    ancestor_id = IdFilter(method="below", help_text="The departments below this one, itself included.")

    class Meta:
        model = Department
        fields = filter_fields(
            "entity",
            "parent",
            "manager",
            "code",
            "gl_code",
            "is_active",
            lists=["cost_center_type"],
            ranges=["closed_on", *STAMPS],
        )

    def below(self, queryset: QuerySet[Any], name: str, value: Any) -> QuerySet[Any]:
        """The subtree of a department."""
        return queryset.filter(above__ancestor_id=int(value))


class EntityLinkFilter(BillingFilterSet):
    class Meta:
        model = EntityLink
        fields = filter_fields("entity", "target", lists=["kind"], ranges=["valid_from", "valid_to", *STAMPS])


class MembershipFilter(BillingFilterSet):
    class Meta:
        model = Membership
        fields = filter_fields(
            "user",
            "entity",
            "department",
            "include_descendants",
            lists=["role"],
            ranges=["valid_from", "valid_to", *STAMPS],
        )


class AllocationRuleFilter(BillingFilterSet):
    class Meta:
        model = AllocationRule
        fields = filter_fields("entity", "source", "is_active", ranges=["step", *STAMPS])


class AllocationPostingFilter(BillingFilterSet):
    class Meta:
        model = AllocationPosting
        fields = filter_fields(
            "entity",
            "source_department",
            "rule_version",
            "reverses",
            "credits",
            "currency",
            "created_by",
            lists=["source"],
            ranges=["amount", "period_start", "period_end", "created_at"],
        )


class CostAllocationFilter(BillingFilterSet):
    class Meta:
        model = CostAllocation
        fields = filter_fields(
            "entity",
            "department",
            "posting",
            "currency",
            "gl_code",
            "billable",
            lists=["source"],
            ranges=["amount", "period_start", "period_end", "created_at"],
        )
