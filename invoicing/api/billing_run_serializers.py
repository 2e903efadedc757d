"""What the API of billing runs and schedules reads and shows."""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from core.api.serializers import (
    BillingModelSerializer,
    BillingSerializer,
    CurrencyField,
    MoneyStringField,
)
from invoicing.models import BillingRun, BillingRunItem, BillingSchedule
from invoicing.selectors.billing_anomalies import change_percent
from invoicing.selectors.billing_runs import RunCounts, run_progress, run_totals
from invoicing.services.billing_schedules import due_on


class RunCountsSerializer(BillingSerializer):
    """How many payers of the run are in each state, and how many prepared ones are unusual."""

    payers = serializers.IntegerField(read_only=True)
    waiting = serializers.IntegerField(read_only=True)
    nothing_to_invoice = serializers.IntegerField(read_only=True)
    prepared = serializers.IntegerField(read_only=True)
    failed = serializers.IntegerField(read_only=True)
    issued = serializers.IntegerField(read_only=True)
    left_out = serializers.IntegerField(read_only=True)
    unusual = serializers.IntegerField(read_only=True)


class RunProgressSerializer(BillingSerializer):
    """How far the work of the present state is."""

    done = serializers.IntegerField(read_only=True)
    total = serializers.IntegerField(read_only=True)
    words = serializers.CharField(read_only=True)


class RunTotalSerializer(BillingSerializer):
    """What the prepared, or the issued, documents come to in one currency; `credited` is not taken off `total`."""

    currency = CurrencyField(read_only=True)
    status = serializers.CharField(read_only=True)
    invoices = serializers.IntegerField(read_only=True)
    subtotal = MoneyStringField(read_only=True)
    tax_total = MoneyStringField(read_only=True)
    total = MoneyStringField(read_only=True)
    credit_notes = serializers.IntegerField(read_only=True)
    credited = MoneyStringField(read_only=True)


def counts_of(run: Any) -> RunCounts:
    """The counts that `BillingRunQuerySet.counted` has put on a run."""
    names = [name for name in RunCounts.__dataclass_fields__ if name != "unusual"]
    return RunCounts(**{name: getattr(run, f"count_{name}") for name in names}, unusual=run.count_unusual)


class BillingRunSerializer(BillingModelSerializer):
    """A billing run with its counts."""

    scope_name = serializers.CharField(source="scope.name", read_only=True)
    counts = serializers.SerializerMethodField()
    progress = serializers.SerializerMethodField()

    class Meta:
        model = BillingRun
        fields: tuple[str, ...] = (
            "id", "scope_id", "scope_name", "issuer_id", "period_start", "period_end", "status", "issue_date",
            "issue_mode", "schedule_id", "counts", "progress", "started_by_id", "started_at", "prepared_at",
            "checked_by_id", "checked_at", "issuing_by_id", "issuing_at", "finished_by_id", "finished_at",
            "cancel_reason", "version", "created_at", "updated_at",
        )  # fmt: skip
        read_only_fields: tuple[str, ...] = fields

    @extend_schema_field(RunCountsSerializer)
    def get_counts(self, run: BillingRun) -> dict[str, Any]:
        return dict(RunCountsSerializer(counts_of(run)).data)

    @extend_schema_field(RunProgressSerializer)
    def get_progress(self, run: BillingRun) -> dict[str, Any]:
        return dict(RunProgressSerializer(run_progress(run.status, counts_of(run))).data)


class BillingRunDetailSerializer(BillingRunSerializer):
    """A billing run with its totals, one line per currency and state."""

    totals = serializers.SerializerMethodField()

    class Meta(BillingRunSerializer.Meta):
        fields: tuple[str, ...] = (*BillingRunSerializer.Meta.fields, "totals")
        read_only_fields = fields

    @extend_schema_field(RunTotalSerializer(many=True))
    def get_totals(self, run: BillingRun) -> list[dict[str, Any]]:
        return list(RunTotalSerializer(run_totals(run), many=True).data)


class BillingRunCreateSerializer(BillingModelSerializer):
    """The scope and the period."""

    class Meta:
        model = BillingRun
        fields = ("scope_id", "period_start", "period_end", "issuer_id", "issue_date")


class LeaveOutSerializer(BillingSerializer):
    """One payer of the run that is not invoiced."""

    item_id = serializers.IntegerField(min_value=1)
    reason = serializers.CharField(max_length=500)


class RunCheckSerializer(BillingSerializer):
    """The confirmation."""

    leave_out = LeaveOutSerializer(
        many=True, required=False, help_text="Payers that are not invoiced, and why."
    )


class RunIssueSerializer(BillingSerializer):
    """When the invoices are dated."""

    issue_date = serializers.DateField(
        required=False, help_text="Of all invoices; without it each is dated the day on which it is issued."
    )


class RunResumeSerializer(BillingSerializer):
    """What is prepared again."""

    item_ids = serializers.ListField(
        child=serializers.IntegerField(min_value=1),
        required=False,
        max_length=1000,
        help_text="Payers to prepare again; without it those that failed.",
    )


class RunCancelSerializer(BillingSerializer):
    """Why the run is given up; kept with it."""

    reason = serializers.CharField(max_length=500)


class AnomalySerializer(BillingSerializer):
    """Something to look at before the invoice is issued; `named` has what the sentence names."""

    code = serializers.CharField(read_only=True)
    detail = serializers.CharField(read_only=True)
    named = serializers.DictField(source="data", read_only=True)


class RunCreditLineSerializer(BillingSerializer):
    """What a credit note gives back of a line of the invoice, before tax and in tax."""

    line_id = serializers.IntegerField(read_only=True)
    amount = serializers.CharField(read_only=True)
    tax_amount = serializers.CharField(read_only=True)


class RunCreditNoteSerializer(BillingSerializer):
    """A credit note for an invoice (`corrects`), with credits of contracts; not issued yet without an id."""

    credit_note_id = serializers.IntegerField(read_only=True, allow_null=True)
    number = serializers.CharField(read_only=True)
    corrects_id = serializers.IntegerField(read_only=True)
    corrects = serializers.CharField(read_only=True)
    payer_id = serializers.IntegerField(read_only=True)
    issuer_id = serializers.IntegerField(read_only=True)
    currency = serializers.CharField(read_only=True)
    subtotal = serializers.CharField(read_only=True)
    tax_total = serializers.CharField(read_only=True)
    total = serializers.CharField(read_only=True)
    reason = serializers.CharField(read_only=True)
    lines = RunCreditLineSerializer(many=True, read_only=True)


class BillingRunItemSerializer(BillingModelSerializer):
    """A payer of a run: what was previewed, what is unusual about it, and what became of it."""

    entity_name = serializers.CharField(source="entity.name", read_only=True)
    invoice_number = serializers.SerializerMethodField()
    change_percent = serializers.SerializerMethodField()
    anomalies = AnomalySerializer(many=True, read_only=True)
    credit_notes = RunCreditNoteSerializer(many=True, read_only=True)
    subtotal = MoneyStringField(read_only=True, allow_null=True)
    tax_total = MoneyStringField(read_only=True, allow_null=True)
    total = MoneyStringField(read_only=True, allow_null=True)
    previous_total = MoneyStringField(read_only=True, allow_null=True)

    class Meta:
        model = BillingRunItem
        fields = (
            "id", "position", "entity_id", "entity_name", "status", "invoice_id", "invoice_number", "currency",
            "subtotal", "tax_total", "total", "line_count", "fingerprint", "previous_invoice_id", "previous_total",
            "change_percent", "anomalies", "credit_notes", "error_code", "error_text", "attempts",
            "left_out_reason", "prepared_at", "issued_at", "version", "updated_at",
        )  # fmt: skip
        read_only_fields = fields

    def get_invoice_number(self, item: BillingRunItem) -> str | None:
        return item.invoice.number if item.invoice else None

    def get_change_percent(self, item: BillingRunItem) -> str | None:
        if item.total is None or item.previous_total is None:
            return None
        percent = change_percent(item.total, item.previous_total)
        return None if percent is None else str(percent)


class BillingScheduleSerializer(BillingModelSerializer):
    """A schedule; `next_period` is the first day of the month that is invoiced next, `due_on` when."""

    scope_name = serializers.CharField(source="scope.name", read_only=True)
    due_on = serializers.SerializerMethodField()

    class Meta:
        model = BillingSchedule
        fields = (
            "id", "scope_id", "scope_name", "issuer_id", "day_of_month", "issue_mode", "is_active", "next_period",
            "due_on", "last_problem", "version", "created_at", "updated_at",
        )  # fmt: skip
        read_only_fields = ("id", "last_problem", "version", "created_at", "updated_at")

    def get_due_on(self, schedule: BillingSchedule) -> str:
        return str(due_on(schedule))


class BillingScheduleCreateSerializer(BillingModelSerializer):
    """What is invoiced every month, and when."""

    class Meta:
        model = BillingSchedule
        fields = ("scope_id", "issuer_id", "day_of_month", "issue_mode", "is_active", "next_period")
        extra_kwargs = {"next_period": {"required": False}}


class BillingScheduleChangeSerializer(BillingModelSerializer):
    """What can change of a schedule."""

    class Meta:
        model = BillingSchedule
        fields = ("issuer_id", "day_of_month", "issue_mode", "is_active", "next_period")
