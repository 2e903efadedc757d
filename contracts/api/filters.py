"""Filters of the lists of contracts."""

from typing import Any

import django_filters
from django.db.models import QuerySet

from contracts.models import (
    BillableFee,
    Contract,
    ContractAmendment,
    ContractStatus,
    Plan,
    PriceIndexValue,
    ServiceCredit,
    SlaMeasurement,
    Subscription,
)
from core.api.filters import BillingFilterSet, filter_fields


class ContractFilter(BillingFilterSet):
    """`status=active` is the state of today; `in_force_on=2027-01-31` names the day."""

    status = django_filters.MultipleChoiceFilter(
        choices=ContractStatus.choices, method="filter_status", label="Its state today."
    )
    in_force_on = django_filters.DateFilter(
        method="filter_in_force", label="Active or suspended on this day."
    )

    class Meta:
        model = Contract
        fields = filter_fields(
            "entity", "issuer", "department", "parent", "owner", "budget", "currency", "reference",
            ranges=["start_date", "end_date", "value", "created_at"],
            lists=["contract_type", "renewal_type"],
        )  # fmt: skip

    def filter_status(self, queryset: QuerySet[Any], name: str, value: list[str]) -> QuerySet[Any]:
        return queryset.filter(current_status__in=value) if value else queryset

    def filter_in_force(self, queryset: QuerySet[Any], name: str, value: Any) -> QuerySet[Any]:
        return queryset.in_force(value)  # type: ignore[attr-defined, no-any-return]


class AmendmentFilter(BillingFilterSet):
    """Amendments by contract, state and day."""

    class Meta:
        model = ContractAmendment
        fields = filter_fields(
            "contract", "number", ranges=["effective_from", "created_at"], lists=["status"]
        )


class PriceIndexFilter(BillingFilterSet):
    """Index values by name and day."""

    class Meta:
        model = PriceIndexValue
        fields = filter_fields("index_name", ranges=["day"])


class MeasurementFilter(BillingFilterSet):
    """Measurements by contract, level and time."""

    class Meta:
        model = SlaMeasurement
        fields = filter_fields("contract", "sla_code", "source", ranges=["measured_from", "created_at"])


class ServiceCreditFilter(BillingFilterSet):
    """Credits by contract, level, period and state."""

    class Meta:
        model = ServiceCredit
        fields = filter_fields("contract", "sla_code", ranges=["period_start", "amount"], lists=["status"])


class PlanFilter(BillingFilterSet):
    """Plans by product and issuer."""

    class Meta:
        model = Plan
        fields = filter_fields("product", "tier", "issuer", "currency", "is_active")


class SubscriptionFilter(BillingFilterSet):
    """Subscriptions by contract, entity and product."""

    class Meta:
        model = Subscription
        fields = filter_fields(
            "contract", "entity", "department", "product", ranges=["starts_on", "ends_on", "created_at"]
        )


class FeeFilter(BillingFilterSet):
    """Fees by contract, entity, line, kind and day."""

    class Meta:
        model = BillableFee
        fields = filter_fields(
            "contract", "entity", "department", "line_code", "gl_code", "currency",
            ranges=["bill_on", "period_start", "amount", "created_at"],
            lists=["kind"],
        )  # fmt: skip
