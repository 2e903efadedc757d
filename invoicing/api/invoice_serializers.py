"""What the API of invoices reads and shows."""

from collections.abc import Sequence
from typing import Any

from rest_framework import serializers

from contracts.models import BillableFee
from core.api.serializers import (
    BillingModelSerializer,
    BillingSerializer,
    CurrencyField,
    DecimalStringField,
    MoneyStringField,
)
from entities.models import CostAllocation
from invoicing.models import CollectionHold, Invoice, InvoiceLine, NumberSeries, UsageRecord
from invoicing.selectors.holds import holds_of
from invoicing.selectors.invoice import invoice_subtotals, is_overdue
from invoicing.services.consolidation import ConsolidatedContent, InvoiceWarning, Subtotal

SHOWN_LINES = 2000
_CONTENT_FIELDS = (
    "kind", "entity_id", "entity_name", "department_id", "department_code", "department_name", "gl_code",
    "description", "provider", "service", "charge_category", "item_count", "contract_id",
    "contract_line", "period_start", "period_end", "original_currency", "original_amount", "rate", "rate_date",
    "rate_source", "markup_percent", "exact_amount", "amount", "tax_category", "tax_rate", "tax_amount",
)  # fmt: skip


class InvoiceSerializer(BillingModelSerializer):
    """An invoice; names are those on the document, once it is issued."""

    issuer_name = serializers.SerializerMethodField()
    entity_name = serializers.SerializerMethodField()
    bill_to_name = serializers.SerializerMethodField()
    is_overdue = serializers.SerializerMethodField()
    open_amount = MoneyStringField(
        read_only=True, help_text="Still to be paid; of a credit note, still to be used."
    )

    class Meta:
        model = Invoice
        fields: tuple[str, ...] = (
            "id", "document_type", "number", "status", "is_overdue", "issuer_id", "issuer_name", "entity_id",
            "entity_name", "bill_to_id", "bill_to_name", "period_start", "period_end", "currency", "subtotal",
            "tax_total", "total", "settled_amount", "open_amount", "disputed_amount", "corrects_id", "reason",
            "fiscal_year", "sequence_number", "issue_date", "due_date", "issued_at",
            "voided_at", "void_reason", "version", "created_at", "updated_at",
        )  # fmt: skip
        read_only_fields: tuple[str, ...] = fields

    def get_issuer_name(self, invoice: Invoice) -> str:
        return _name(invoice, "issuer")

    def get_entity_name(self, invoice: Invoice) -> str:
        return _name(invoice, "payer", "entity")

    def get_bill_to_name(self, invoice: Invoice) -> str:
        return _name(invoice, "bill_to")

    def get_is_overdue(self, invoice: Invoice) -> bool:
        return is_overdue(invoice)


def _name(invoice: Invoice, role: str, field: str = "") -> str:
    printed = (invoice.snapshot or {}).get(role, {}).get("name")
    return printed or getattr(invoice, field or role).printed_name


class InvoiceLineSerializer(BillingModelSerializer):
    """A line: its exact amount in the original currency, the rate used, its share of the rounded total, its tax."""

    amount = MoneyStringField(currency_source="invoice.currency", read_only=True)
    tax_amount = MoneyStringField(currency_source="invoice.currency", read_only=True)
    original_amount = MoneyStringField(
        currency_source="original_currency", max_digits=30, decimal_places=15, read_only=True
    )
    exact_amount = DecimalStringField(max_digits=57, decimal_places=30, read_only=True)

    class Meta:
        model = InvoiceLine
        fields = (
            "line_number", "kind", "entity_id", "entity_name", "department_id", "department_code",
            "department_name", "gl_code", "description", "provider", "service", "charge_category", "item_count",
            "contract_id", "contract_line", "period_start", "period_end", "original_currency", "original_amount",
            "rate", "rate_date", "rate_source", "markup_percent", "exact_amount", "amount", "tax_category",
            "tax_rate", "tax_amount",
        )  # fmt: skip
        read_only_fields = fields


class SubtotalSerializer(BillingSerializer):
    """The sum of the lines of one entity, or of one department of it."""

    entity_id = serializers.IntegerField(read_only=True)
    entity_name = serializers.CharField(read_only=True)
    department_id = serializers.IntegerField(read_only=True, allow_null=True)
    department_code = serializers.CharField(read_only=True)
    department_name = serializers.CharField(read_only=True)
    line_count = serializers.IntegerField(read_only=True)
    item_count = serializers.IntegerField(read_only=True)
    currency = CurrencyField(read_only=True)
    amount = MoneyStringField(read_only=True)
    tax_amount = MoneyStringField(read_only=True)


class InvoiceWarningSerializer(BillingSerializer):
    """Something to know before issuing; it stops nothing."""

    code = serializers.CharField(read_only=True)
    detail = serializers.CharField(read_only=True)


class HoldSerializer(BillingModelSerializer):
    """What a dispute holds back from collection since `held_at`, or once it was decided defers to `due_date`."""

    line_number = serializers.IntegerField(
        source="invoice_line.line_number", default=None, read_only=True, help_text="Null: the whole invoice."
    )
    amount = MoneyStringField(currency_source="invoice.currency", read_only=True, help_text="Including tax.")

    class Meta:
        model = CollectionHold
        fields = ("reference", "line_number", "amount", "held_at", "due_date")
        read_only_fields = fields


class InvoiceDetailSerializer(InvoiceSerializer):
    """An invoice with lines (at most 2,000 here; `lines_url` pages through all), subtotals and warnings.

    Of a preview `id` is null and `preview` true.
    """

    preview = serializers.BooleanField(source="detail.preview", read_only=True)
    line_count = serializers.IntegerField(source="detail.line_count", read_only=True)
    item_count = serializers.IntegerField(source="detail.item_count", read_only=True)
    lines = InvoiceLineSerializer(source="detail.lines", many=True, read_only=True)
    lines_url = serializers.CharField(source="detail.lines_url", read_only=True, allow_null=True)
    pdf_url = serializers.CharField(source="detail.pdf_url", read_only=True, allow_null=True)
    subtotals_by_entity = SubtotalSerializer(source="detail.subtotals_by_entity", many=True, read_only=True)
    subtotals_by_department = SubtotalSerializer(
        source="detail.subtotals_by_department", many=True, read_only=True
    )
    warnings = InvoiceWarningSerializer(source="detail.warnings", many=True, read_only=True)
    holds = HoldSerializer(source="detail.holds", many=True, read_only=True)

    class Meta(InvoiceSerializer.Meta):
        fields: tuple[str, ...] = (
            *InvoiceSerializer.Meta.fields, "preview", "line_count", "item_count", "subtotals_by_entity",
            "subtotals_by_department", "warnings", "holds", "lines", "lines_url", "pdf_url",
        )  # fmt: skip
        read_only_fields = fields


def invoice_detail(invoice: Invoice, *, base_url: str) -> Invoice:
    """Give a stored invoice what InvoiceDetailSerializer shows besides; `base_url` is the list's address."""
    by_department = invoice_subtotals(invoice, by_department=True)
    _attach(
        invoice,
        lines=list(invoice.lines.order_by("line_number")[:SHOWN_LINES]),
        subtotals=(invoice_subtotals(invoice, by_department=False), by_department),
        warnings=invoice.snapshot.get("warnings", []),
        line_count=sum(subtotal.line_count for subtotal in by_department),
        url=f"{base_url}/{invoice.pk}",
        holds=list(holds_of(invoice)),
    )
    return invoice


def preview_detail(content: ConsolidatedContent, *, late: InvoiceWarning | None) -> Invoice:
    """Show a preview in the shape of an invoice that is not stored."""
    invoice = Invoice(
        issuer=content.issuer, entity=content.payer, bill_to_id=content.bill_to_id, currency=content.currency,
        period_start=content.period_start, period_end=content.period_end, subtotal=content.subtotal,
        tax_total=content.tax_total, total=content.total,
    )  # fmt: skip
    lines = [
        InvoiceLine(
            invoice=invoice, line_number=number, **{name: getattr(line, name) for name in _CONTENT_FIELDS}
        )
        for number, line in enumerate(content.lines, start=1)
    ]
    warnings = [*content.warnings, *([late] if late else [])]
    _attach(
        invoice,
        lines=lines,
        subtotals=(content.subtotals_by_entity, content.subtotals_by_department),
        warnings=[{"code": warning.code, "detail": warning.detail} for warning in warnings],
        line_count=len(lines),
        url=None,
    )
    return invoice


def _attach(
    invoice: Invoice,
    *,
    lines: Sequence[InvoiceLine],
    subtotals: tuple[Sequence[Subtotal], Sequence[Subtotal]],
    warnings: Sequence[dict[str, str]],
    line_count: int,
    url: str | None,
    holds: Sequence[CollectionHold] = (),
) -> None:
    by_entity, by_department = subtotals
    invoice.detail = {  # type: ignore[attr-defined]  # what the detail serializer reads
        "preview": url is None,
        "lines": lines,
        "line_count": line_count,
        "item_count": sum(subtotal.item_count for subtotal in by_entity),
        "lines_url": f"{url}/lines" if url else None,
        "pdf_url": f"{url}/pdf" if url else None,
        "subtotals_by_entity": [_subtotal(row, invoice.currency) for row in by_entity],
        "subtotals_by_department": [_subtotal(row, invoice.currency) for row in by_department],
        "warnings": warnings,
        "holds": holds,
    }


def _subtotal(row: Subtotal, currency: str) -> dict[str, Any]:
    return {name: getattr(row, name) for name in Subtotal.__dataclass_fields__} | {"currency": currency}


class ConsolidateSerializer(BillingSerializer):
    """The period, and whether only to look, or to issue at once."""

    period_start = serializers.DateField()
    period_end = serializers.DateField(help_text="The first day after the period.")
    issue = serializers.BooleanField(default=False, help_text="Issue it at once.")
    preview = serializers.BooleanField(
        default=False, help_text="Show what would be billed and write nothing."
    )
    issue_date = serializers.DateField(required=False, help_text="Only with issue; today unless given.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if attrs["issue"] and attrs["preview"]:
            raise serializers.ValidationError(
                {"preview": "A preview issues nothing: give preview or issue, not both."},
                code="contradiction",
            )
        if "issue_date" in attrs and not attrs["issue"]:
            raise serializers.ValidationError({"issue_date": "Only with issue."}, code="contradiction")
        return attrs


class IssueSerializer(BillingSerializer):
    """When it is dated."""

    issue_date = serializers.DateField(
        required=False, help_text="Not in the future, and not before the last document of the series."
    )


class VoidSerializer(BillingSerializer):
    """Why it is void; kept with it."""

    reason = serializers.CharField(max_length=500)


class BilledUsageSerializer(BillingModelSerializer):
    """A usage record that a line bills."""

    class Meta:
        model = UsageRecord
        fields = (
            "id", "usage_import_id", "line_number", "charge_date", "charge_period_start", "charge_period_end",
            "currency", "billed_cost", "charge_category", "charge_description", "provider_name", "service_name",
            "sub_account_id", "sub_account_name", "resource_id", "region_id", "entity_id", "department_id", "tags",
        )  # fmt: skip
        read_only_fields = fields


class BilledAllocationSerializer(BillingModelSerializer):
    """A cost allocation that a line bills."""

    class Meta:
        model = CostAllocation
        fields = (
            "id", "posting_id", "entity_id", "department_id", "amount", "currency", "description", "period_start",
            "period_end", "source", "gl_code",
        )  # fmt: skip
        read_only_fields = fields


class BilledFeeSerializer(BillingModelSerializer):
    """A contract fee that a line bills; `parts` are its stretches of days with price and explanation."""

    class Meta:
        model = BillableFee
        fields = (
            "id", "contract_id", "kind", "line_code", "period_start", "period_end", "quantity", "amount", "currency",
            "description", "parts", "entity_id", "department_id", "gl_code",
        )  # fmt: skip
        read_only_fields = fields


class NumberSeriesSerializer(BillingModelSerializer):
    """A counter: the last number given and the date that went with it."""

    class Meta:
        model = NumberSeries
        fields = (
            "id", "issuer_id", "document_type", "fiscal_year", "prefix", "last_number", "last_issue_date",
            "created_at", "updated_at",
        )  # fmt: skip
        read_only_fields = ("id", "last_number", "last_issue_date", "created_at", "updated_at")


class NumberSeriesCreateSerializer(BillingModelSerializer):
    """A series that is not used yet."""

    class Meta:
        model = NumberSeries
        fields = ("issuer_id", "fiscal_year", "prefix")


class NumberSeriesChangeSerializer(BillingSerializer):
    """Another prefix, while nothing is numbered."""

    prefix = serializers.CharField(max_length=30)


class NumberingProofSerializer(BillingSerializer):
    """Whether the numbers run from 1 to the counter without gap or duplicate; defects name at most 20 each."""

    holds = serializers.BooleanField(read_only=True)
    detail = serializers.CharField(source="sentence", read_only=True)
    series = serializers.CharField(read_only=True)
    fiscal_year = serializers.IntegerField(read_only=True)
    counter = serializers.IntegerField(read_only=True)
    documents = serializers.IntegerField(read_only=True)
    first = serializers.IntegerField(read_only=True, allow_null=True)
    last = serializers.IntegerField(read_only=True, allow_null=True)
    missing = serializers.ListField(child=serializers.IntegerField(), read_only=True)
    duplicates = serializers.ListField(child=serializers.IntegerField(), read_only=True)
    misspelt = serializers.ListField(child=serializers.CharField(), read_only=True)
    out_of_order = serializers.ListField(child=serializers.CharField(), read_only=True)
