"""Filters of the invoice lists."""

from typing import Any

import django_filters
from django.db.models import QuerySet

from core import clock
from core.api.filters import BillingFilterSet, BooleanFilter, filter_fields
from invoicing.models import Invoice, InvoiceLine, NumberSeries
from invoicing.selectors.invoice import overdue


class InvoiceFilter(BillingFilterSet):
    """`period_start`/`period_end` and totals by range; `overdue=true` for what is due and not settled."""

    overdue = BooleanFilter(method="filter_overdue", label="Issued and past the due date.")
    charged_on = django_filters.DateFilter(method="filter_day", label="The period contains this day.")

    class Meta:
        model = Invoice
        fields = filter_fields(
            "entity", "issuer", "bill_to", "number", "document_type", "fiscal_year",
            ranges=["period_start", "period_end", "total", "issue_date", "due_date", "created_at"],
            lists=["status", "currency"],
        )  # fmt: skip

    def filter_overdue(self, queryset: QuerySet[Any], name: str, value: bool) -> QuerySet[Any]:
        condition = overdue(clock.today())
        return queryset.filter(condition) if value else queryset.exclude(condition)

    def filter_day(self, queryset: QuerySet[Any], name: str, value: Any) -> QuerySet[Any]:
        return queryset.filter(period_start__lte=value, period_end__gt=value)


class InvoiceLineFilter(BillingFilterSet):
    """Lines of one invoice."""

    class Meta:
        model = InvoiceLine
        fields = filter_fields("entity", "department", lists=["kind", "original_currency"], ranges=["amount"])


class NumberSeriesFilter(BillingFilterSet):
    """Series by issuer, type and year."""

    class Meta:
        model = NumberSeries
        fields = filter_fields("issuer", "document_type", ranges=["fiscal_year"])
