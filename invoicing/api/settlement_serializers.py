"""What the API of payments, notes, refunds and balances reads and shows."""

from decimal import Decimal
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
from entities.models import Department, Entity, TaxTreatment
from invoicing.models import Invoice, Payment, PaymentMethod, Refund, Settlement
from invoicing.services.credit_notes import CreditNoteContent
from invoicing.services.credited_lines import LineAmount
from invoicing.services.debit_notes import DebitLine
from invoicing.services.payments import Application


def _amount(**options: Any) -> DecimalStringField:
    return DecimalStringField(max_digits=20, decimal_places=4, **options)


class SettlementSerializer(BillingModelSerializer):
    """What settles a part of a document; one that takes another back has a negative amount and `reverses_id`."""

    amount = MoneyStringField(currency_source="invoice.currency", read_only=True)
    currency = serializers.CharField(source="invoice.currency", read_only=True)

    class Meta:
        model = Settlement
        fields = (
            "id", "kind", "invoice_id", "payment_id", "credit_note_id", "amount", "currency", "settled_on", "reason",
            "reverses_id", "created_by_id", "created_at",
        )  # fmt: skip
        read_only_fields = fields


class PaymentSerializer(BillingModelSerializer):
    """Money that an issuer received; `unapplied_amount` is a balance in the payer's favour."""

    unapplied_amount = MoneyStringField(read_only=True)

    class Meta:
        model = Payment
        fields: tuple[str, ...] = (
            "id", "issuer_id", "entity_id", "amount", "currency", "applied_amount", "unapplied_amount", "received_on",
            "method", "reference", "external_id", "note", "status", "reversed_at", "reversal_reason", "created_by_id",
            "version", "created_at", "updated_at",
        )  # fmt: skip
        read_only_fields: tuple[str, ...] = fields


class PaymentDetailSerializer(PaymentSerializer):
    """A payment with what it settles."""

    settlements = SettlementSerializer(many=True, read_only=True)

    class Meta(PaymentSerializer.Meta):
        fields: tuple[str, ...] = (*PaymentSerializer.Meta.fields, "settlements")
        read_only_fields = fields


class PaymentApplicationSerializer(BillingSerializer):
    """How much settles which document; as much as fits without an amount."""

    invoice_id = serializers.IntegerField(min_value=1)
    amount = _amount(required=False, allow_null=True)

    def validate(self, attrs: dict[str, Any]) -> Any:
        return Application(attrs["invoice_id"], attrs.get("amount"))


class PaymentApplySerializer(BillingSerializer):
    """Which documents are settled; what is due first without it."""

    applications = PaymentApplicationSerializer(many=True, required=False, allow_null=True)


class PaymentCreateSerializer(BillingModelSerializer):
    """What arrived, and what it settles: what is due first, or `applications`; none of it if these are empty."""

    applications = PaymentApplicationSerializer(many=True, required=False, allow_null=True)

    class Meta:
        model = Payment
        fields = (
            "issuer_id", "entity_id", "amount", "currency", "received_on", "method", "reference", "external_id", "note",
            "applications",
        )  # fmt: skip
        extra_kwargs = {"received_on": {"required": False}}


class SettlementReasonSerializer(BillingSerializer):
    """Why; it is kept."""

    reason = serializers.CharField(max_length=500)


class WriteOffSerializer(SettlementReasonSerializer):
    """All that is open, or an amount."""

    amount = _amount(required=False, allow_null=True)


class CreditLineSerializer(BillingSerializer):
    """How much of a line is given back, before or including tax; all that is left of it without an amount."""

    line_number = serializers.IntegerField(min_value=1)
    amount = _amount(required=False, allow_null=True, help_text="Before tax.")
    including_tax = _amount(
        required=False, allow_null=True, help_text="In place of `amount`; it is credited exactly."
    )


class CreditNoteIssueSerializer(SettlementReasonSerializer):
    """`lines`, an `amount` before tax or one including tax spread over all lines, or without these all that is left."""

    lines = CreditLineSerializer(many=True, required=False, allow_null=True)
    amount = _amount(required=False, allow_null=True, help_text="Before tax.")
    amount_including_tax = _amount(
        required=False, allow_null=True, help_text="The total of the credit note, exactly."
    )
    issue_date = serializers.DateField(required=False, allow_null=True)
    release_items = serializers.BooleanField(
        default=False,
        help_text="Only when nothing is left to be credited: what it billed can be billed again.",
    )
    preview = serializers.BooleanField(
        default=False, help_text="Show what would be credited and write nothing."
    )


class CreditNoteCreateSerializer(CreditNoteIssueSerializer):
    """The same, with the invoice that is credited."""

    invoice_id = ScopedRelatedField(Invoice.objects.all(), source="invoice")


class CreditedLineSerializer(BillingSerializer):
    """What is given back of a line."""

    line_number = serializers.IntegerField(source="line.line_number", read_only=True)
    description = serializers.CharField(source="line.description", read_only=True)
    amount = MoneyStringField(currency_source="line.invoice.currency", read_only=True)
    tax_amount = MoneyStringField(source="tax", currency_source="line.invoice.currency", read_only=True)


class CreditNotePreviewSerializer(BillingSerializer):
    """What a credit note would give back; `set_off` settles the invoice at once, `balance` is left to be used."""

    currency = serializers.CharField(source="invoice.currency", read_only=True)
    subtotal = MoneyStringField(currency_source="invoice.currency", read_only=True)
    tax_total = MoneyStringField(currency_source="invoice.currency", read_only=True)
    total = MoneyStringField(currency_source="invoice.currency", read_only=True)
    set_off = MoneyStringField(currency_source="invoice.currency", read_only=True)
    balance = MoneyStringField(currency_source="invoice.currency", read_only=True)
    is_whole = serializers.BooleanField(read_only=True)
    lines = CreditedLineSerializer(many=True, read_only=True)


def shown_preview(content: CreditNoteContent) -> dict[str, Any]:
    """A preview as the API answers it."""
    for credit in content.lines:
        credit.line.invoice = content.invoice
    return dict(CreditNotePreviewSerializer(content).data)


class CreditApplySerializer(BillingSerializer):
    """The document that is settled with what is left of a credit note; as much as fits without an amount."""

    invoice_id = ScopedRelatedField(Invoice.objects.all(), source="invoice")
    amount = _amount(required=False, allow_null=True)


class DebitLineSerializer(BillingSerializer):
    """What is asked for, before tax; of the payer, with the payer's tax, unless it says otherwise."""

    description = serializers.CharField(max_length=500)
    amount = _amount()
    entity_id = ScopedRelatedField(Entity.objects.all(), source="entity", required=False, allow_null=True)
    department_id = ScopedRelatedField(
        Department.objects.all(), source="department", required=False, allow_null=True
    )
    gl_code = serializers.CharField(max_length=50, required=False, allow_blank=True)
    tax_category = serializers.ChoiceField(choices=TaxTreatment.choices, required=False)
    tax_rate = DecimalStringField(
        max_digits=6, decimal_places=3, min_value=Decimal(0), max_value=Decimal(100), required=False
    )

    def validate(self, attrs: dict[str, Any]) -> Any:
        return DebitLine(**attrs)


class DebitNoteIssueSerializer(SettlementReasonSerializer):
    """What is asked for in addition."""

    lines = DebitLineSerializer(many=True)
    issue_date = serializers.DateField(required=False, allow_null=True)


class RefundSerializer(BillingModelSerializer):
    """Money that went back to the payer, out of a payment or a credit note."""

    class Meta:
        model = Refund
        fields = (
            "id", "payment_id", "credit_note_id", "entity_id", "issuer_id", "amount", "currency", "refunded_on",
            "method", "reference", "reason", "created_by_id", "created_at",
        )  # fmt: skip
        read_only_fields = fields


class RefundMakeSerializer(SettlementReasonSerializer):
    """Out of what: a payment or a credit note, one of the two; all that can be refunded without an amount."""

    payment_id = ScopedRelatedField(Payment.objects.all(), source="payment", required=False, allow_null=True)
    credit_note_id = ScopedRelatedField(
        Invoice.objects.all(), source="credit_note", required=False, allow_null=True
    )
    amount = _amount(required=False, allow_null=True)
    refunded_on = serializers.DateField(required=False, allow_null=True)
    method = serializers.ChoiceField(choices=PaymentMethod.choices, default=PaymentMethod.BANK_TRANSFER)
    reference = serializers.CharField(max_length=140, required=False, allow_blank=True)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        sources = [attrs.pop(name, None) for name in ("payment", "credit_note")]
        given = [source for source in sources if source is not None]
        if len(given) != 1:
            raise serializers.ValidationError(
                {"payment_id": "Give payment_id or credit_note_id, one of the two."}, code="one_source"
            )
        return {**attrs, "source": given[0]}


class BalanceSerializer(BillingSerializer):
    """What a payer owes an issuer in a currency, and what lies in its favour."""

    issuer_id = serializers.IntegerField(read_only=True)
    issuer_name = serializers.CharField(read_only=True)
    currency = CurrencyField(read_only=True)
    open = MoneyStringField(read_only=True)
    overdue = MoneyStringField(read_only=True, help_text="The part of `open` that is past its due date.")
    disputed = MoneyStringField(read_only=True, help_text="The part of `open` that open disputes hold back.")
    credit = MoneyStringField(read_only=True, help_text="Payments and credit notes that settle nothing yet.")
    net = MoneyStringField(read_only=True, help_text="`open` less `credit`.")


class BalancesSerializer(BillingSerializer):
    """A payer's balances, one per issuer and currency."""

    entity_id = serializers.IntegerField(read_only=True)
    balances = BalanceSerializer(many=True, read_only=True)


def line_amounts(invoice: Invoice, lines: list[dict[str, Any]] | None) -> list[LineAmount] | None:
    """Lines by their number on the invoice as the service takes them; 0 stands for one that the invoice has not."""
    if lines is None:
        return None
    numbers = [line["line_number"] for line in lines]
    keys = dict(invoice.lines.filter(line_number__in=numbers).values_list("line_number", "pk"))
    return [
        LineAmount(keys.get(line["line_number"], 0), line.get("amount"), line.get("including_tax"))
        for line in lines
    ]
