"""Filters of the lists of payments, settlements, credit notes and refunds."""

from typing import Any

from django.db.models import F, QuerySet

from core.api.filters import BillingFilterSet, BooleanFilter, filter_fields
from invoicing.models import OPEN_STATUSES, Invoice, Payment, PaymentStatus, Refund, Settlement


class PaymentFilter(BillingFilterSet):
    """`has_balance=true` for payments of which something settles nothing yet."""

    has_balance = BooleanFilter(method="filter_balance", label="Something of it settles nothing yet.")

    class Meta:
        model = Payment
        fields = filter_fields(
            "entity", "issuer", "external_id", "reference",
            ranges=["received_on", "amount", "created_at"],
            lists=["status", "currency", "method"],
        )  # fmt: skip

    def filter_balance(self, queryset: QuerySet[Any], name: str, value: bool) -> QuerySet[Any]:
        left = {"status": PaymentStatus.RECEIVED, "applied_amount__lt": F("amount")}
        return queryset.filter(**left) if value else queryset.exclude(**left)


class CreditNoteFilter(BillingFilterSet):
    """`has_balance=true` for credit notes of which something is left."""

    has_balance = BooleanFilter(method="filter_balance", label="Something of it is left to be used.")

    class Meta:
        model = Invoice
        fields = filter_fields(
            "entity", "issuer", "number", "corrects",
            ranges=["issue_date", "total", "created_at"],
            lists=["status", "currency"],
        )  # fmt: skip

    def filter_balance(self, queryset: QuerySet[Any], name: str, value: bool) -> QuerySet[Any]:
        left = {"status__in": OPEN_STATUSES}
        return queryset.filter(**left) if value else queryset.exclude(**left)


class SettlementFilter(BillingFilterSet):
    """By what settles what."""

    class Meta:
        model = Settlement
        fields = filter_fields(
            "invoice", "payment", "credit_note", ranges=["settled_on", "amount"], lists=["kind"]
        )


class RefundFilter(BillingFilterSet):
    """By whom and when."""

    class Meta:
        model = Refund
        fields = filter_fields(
            "entity",
            "issuer",
            "payment",
            "credit_note",
            ranges=["refunded_on", "amount"],
            lists=["currency", "method"],
        )
