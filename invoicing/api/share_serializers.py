"""What the API of departments' shares in invoice lines reads and shows."""

from typing import Any

from rest_framework import serializers

from core.api.serializers import (
    BillingModelSerializer,
    BillingSerializer,
    CurrencyField,
    DecimalStringField,
    MoneyStringField,
    ScopedRelatedField,
)
from entities.models import Department
from invoicing.models import InvoiceLineShare


class LineSplitSerializer(BillingSerializer):
    """One department, with exactly one of percent, amount and ratio; perhaps with a commitment that it consumes."""

    department_id = ScopedRelatedField(Department.objects.select_related("entity"), source="department")
    percent = DecimalStringField(max_digits=20, decimal_places=4, required=False)
    amount = MoneyStringField(required=False)
    ratio = DecimalStringField(max_digits=20, decimal_places=4, required=False)
    commitment_id = serializers.IntegerField(required=False, min_value=1, max_value=2**63 - 1)
    final = serializers.BooleanField(default=False, help_text="Frees what the commitment has left after it.")


class LineAllocateSerializer(BillingSerializer):
    """Which departments bear the line, and how much of it: all that is left unless `amount` is given."""

    amount = MoneyStringField(required=False)
    splits: serializers.ListSerializer[Any] = serializers.ListSerializer(
        child=LineSplitSerializer(), max_length=500
    )


class InvoiceLineShareSerializer(BillingModelSerializer):
    """What a department bears of a line, before tax; of a credit note's line, what it gets back."""

    invoice_id = serializers.IntegerField(source="invoice_line.invoice_id", read_only=True)
    line_number = serializers.IntegerField(source="invoice_line.line_number", read_only=True)
    currency = CurrencyField(source="invoice_line.invoice.currency", read_only=True)
    amount = MoneyStringField(currency_source="invoice_line.invoice.currency", read_only=True)
    credited_amount = MoneyStringField(currency_source="invoice_line.invoice.currency", read_only=True)
    budget_id = serializers.IntegerField(
        source="entry.budget_id", read_only=True, allow_null=True, default=None
    )

    class Meta:
        model = InvoiceLineShare
        fields = (
            "id", "invoice_id", "line_number", "department_id", "currency", "amount", "credited_amount", "weight",
            "posting_date", "status", "commitment_id", "is_final", "budget_id", "entry_id", "credits_id",
            "refusal_code", "refusal_message", "undo_reason", "taken_back_at", "created_at", "updated_at",
        )  # fmt: skip
        read_only_fields = fields


class AllocatedLineSerializer(BillingSerializer):
    """The new shares, and what is left of the line to be allocated."""

    currency = CurrencyField(read_only=True)
    left = MoneyStringField(read_only=True)
    shares = InvoiceLineShareSerializer(many=True, read_only=True)


class ShareUndoSerializer(BillingSerializer):
    """Why a share is taken back."""

    reason = serializers.CharField(max_length=500)
