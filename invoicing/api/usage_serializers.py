"""What the API of usage reads and shows."""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from core import progress
from core.api.serializers import BillingModelSerializer, BillingSerializer, ScopedRelatedField
from core.money import plain_amount
from entities.models import Department, Entity
from invoicing.models import (
    ImportStatus,
    RejectedRow,
    UsageBudgetCharge,
    UsageImport,
    UsageMappingRule,
    UsageRecord,
)
from invoicing.selectors.usage import import_totals, rejected_counts
from invoicing.services.usage_imports import progress_key
from invoicing.services.usage_mapping import DEFAULT_TAG, RemapScope
from invoicing.services.usage_storage import Sums

CHARACTERS_OF_A_VALUE = 20_000
SUMS = {"type": "object", "additionalProperties": {"type": "string"}, "example": {"USD": "20.52022672899"}}


def sums_shown(sums: Sums) -> dict[str, str]:
    """Exact sums per currency as text."""
    return {currency: plain_amount(amount, currency) for currency, amount in sorted(sums.items())}


@extend_schema_field(SUMS)
class SumsField(serializers.JSONField):
    """Exact sums per currency, as they are kept."""


@extend_schema_field({"type": "object", "additionalProperties": {"type": "integer"}, "example": {"12": 500}})
class CountsField(serializers.JSONField):
    """Numbers by name."""


# --- Imports ---------------------------------------------------------------------------------------------


_IMPORT_FIELDS: tuple[str, ...] = (
    "id", "entity_id", "file_name", "file_size", "file_sha256", "format_version", "columns", "status",
    "progress_percent", "progress_message", "rows_read", "rows_imported", "rows_duplicate",
    "rows_repeated", "rows_rejected", "rows_repaired", "billed_cost", "duplicate_cost", "overlaps",
    "error_code", "error_message", "error_line", "started_at", "finished_at", "undone_at",
    "undone_by_id", "undo_reason", "created_by_id", "created_at", "updated_at",
)  # fmt: skip


class UsageImportSerializer(BillingModelSerializer):
    """An import and how far it is."""

    progress_percent = serializers.SerializerMethodField(help_text="Null while it is not known.")
    progress_message = serializers.SerializerMethodField()
    billed_cost = SumsField(read_only=True)
    duplicate_cost = SumsField(read_only=True)
    overlaps = CountsField(read_only=True)
    columns = serializers.ListField(child=serializers.CharField(), read_only=True)

    class Meta:
        model = UsageImport
        fields = _IMPORT_FIELDS
        read_only_fields = fields

    def _progress(self, usage_import: UsageImport) -> progress.ProgressState | None:
        if usage_import.status not in {ImportStatus.RUNNING, ImportStatus.WAITING}:
            return None
        return progress.read(progress_key(usage_import.pk))

    def get_progress_percent(self, usage_import: UsageImport) -> int | None:
        if usage_import.status == ImportStatus.COMPLETED:
            return 100
        state = self._progress(usage_import)
        return None if state is None else state.percent

    def get_progress_message(self, usage_import: UsageImport) -> str:
        state = self._progress(usage_import)
        return "" if state is None else state.message


class ImportTotalsSerializer(BillingSerializer):
    """Exact sums of one currency: allocated + unallocated = all."""

    currency = serializers.CharField(read_only=True)
    rows = serializers.IntegerField(read_only=True)
    cost = serializers.CharField(read_only=True)
    allocated_rows = serializers.IntegerField(read_only=True)
    allocated_cost = serializers.CharField(read_only=True)
    unallocated_rows = serializers.IntegerField(read_only=True)
    unallocated_cost = serializers.CharField(read_only=True)


class RejectedCountsSerializer(BillingSerializer):
    """The rejected rows by what has become of them."""

    open = serializers.IntegerField(read_only=True)
    repaired = serializers.IntegerField(read_only=True)
    discarded = serializers.IntegerField(read_only=True)


class UsageImportDetailSerializer(UsageImportSerializer):
    """One import, with what its rows sum to now."""

    totals = serializers.SerializerMethodField()
    rejected = serializers.SerializerMethodField()
    message = serializers.SerializerMethodField(help_text="What there is to say about this request.")

    class Meta(UsageImportSerializer.Meta):
        fields = (*_IMPORT_FIELDS, "totals", "rejected", "message")
        read_only_fields = fields

    @extend_schema_field(ImportTotalsSerializer(many=True))
    def get_totals(self, usage_import: UsageImport) -> list[dict[str, Any]]:
        return [totals.as_text() for totals in import_totals(usage_import)]

    @extend_schema_field(RejectedCountsSerializer)
    def get_rejected(self, usage_import: UsageImport) -> dict[str, int]:
        counts = rejected_counts(usage_import)
        return {"open": counts.open, "repaired": counts.repaired, "discarded": counts.discarded}

    def get_message(self, usage_import: UsageImport) -> str:
        return self.context.get("message", "")


class UsageUploadSerializer(BillingSerializer):
    """A file and the entity that its cost is of (multipart)."""

    file = serializers.FileField(max_length=255, allow_empty_file=True)
    entity_id = ScopedRelatedField(Entity.objects.all(), source="entity")


class UsageQuerySerializer(BillingSerializer):
    """The same for a body that is the file itself, in the query."""

    entity_id = ScopedRelatedField(Entity.objects.all(), source="entity")
    file_name = serializers.CharField(max_length=255, default="usage.csv")


class ReasonSerializer(BillingSerializer):
    """Why."""

    reason = serializers.CharField(max_length=500)


class RemapSerializer(BillingSerializer):
    """Which rows are mapped anew; `preview` writes nothing."""

    scope = serializers.ChoiceField(choices=RemapScope.choices, default=RemapScope.UNALLOCATED)
    preview = serializers.BooleanField(default=False)


class EntityRemapSerializer(RemapSerializer):
    """The same for all imports of an entity."""

    entity_id = ScopedRelatedField(Entity.objects.all(), source="entity")


class RemapMoveSerializer(BillingSerializer):
    """Rows that move from a department to another; null is unallocated."""

    from_department_id = serializers.IntegerField(read_only=True, allow_null=True)
    to_department_id = serializers.IntegerField(read_only=True, allow_null=True)
    currency = serializers.CharField(read_only=True)
    rows = serializers.IntegerField(read_only=True)
    cost = serializers.SerializerMethodField()

    def get_cost(self, move: Any) -> str:
        return plain_amount(move.cost, move.currency)


class RemappedSerializer(BillingSerializer):
    """What moved, or would move."""

    rows = serializers.IntegerField(read_only=True)
    cost = serializers.SerializerMethodField()
    moves = RemapMoveSerializer(many=True, read_only=True)

    @extend_schema_field(SUMS)
    def get_cost(self, remap: Any) -> dict[str, str]:
        return sums_shown(remap.cost)


class RetriedSerializer(BillingSerializer):
    """What became of the rejected rows that were tried again."""

    tried = serializers.IntegerField(read_only=True)
    repaired = serializers.IntegerField(read_only=True)
    duplicate = serializers.IntegerField(read_only=True)


# --- Records and rejected rows -----------------------------------------------------------------------------


class UsageRecordSerializer(BillingModelSerializer):
    """One charge, exact."""

    tags = serializers.DictField(read_only=True)
    extra = serializers.DictField(read_only=True)

    class Meta:
        model = UsageRecord
        fields = (
            "id", "usage_import_id", "line_number", "occurrence", "entity_id", "department_id", "mapping_rule_id",
            "charge_date", "charge_period_start", "charge_period_end", "billing_period_start",
            "billing_period_end", "currency", "billed_cost", "effective_cost", "list_cost", "contracted_cost",
            "charge_category", "charge_class", "charge_frequency", "charge_description", "provider_name",
            "publisher_name", "invoice_issuer_name", "service_category", "service_name", "billing_account_id",
            "billing_account_name", "sub_account_id", "sub_account_name", "resource_id", "resource_name",
            "resource_type", "region_id", "region_name", "sku_id", "sku_price_id", "pricing_category",
            "pricing_quantity", "pricing_unit", "consumed_quantity", "consumed_unit", "list_unit_price", "tags",
            "extra",
        )  # fmt: skip
        read_only_fields = fields


class UsageBudgetChargeSerializer(BillingModelSerializer):
    """What a department's usage of one month has charged to its budget, or why the budget refused."""

    class Meta:
        model = UsageBudgetCharge
        fields = (
            "id", "usage_import_id", "entity_id", "department_id", "month", "currency", "charge_date",
            "exact_amount", "charged_amount", "status", "budget_id", "entry_id", "refusal_code",
            "refusal_message", "attempts", "created_at", "updated_at",
        )  # fmt: skip
        read_only_fields = fields


class UsageChargedSerializer(BillingSerializer):
    """How many departments and months were charged, were as they should be, or were refused."""

    charged = serializers.IntegerField(read_only=True)
    unchanged = serializers.IntegerField(read_only=True)
    refused = serializers.IntegerField(read_only=True)


class RowProblemSerializer(BillingSerializer):
    """What is wrong with a value; an empty column means the row as a whole."""

    column = serializers.CharField(read_only=True)
    code = serializers.CharField(read_only=True)
    detail = serializers.CharField(read_only=True)


class RejectedRowSerializer(BillingModelSerializer):
    """A row that could not be taken in."""

    values = serializers.DictField(child=serializers.CharField(), read_only=True)
    problems = RowProblemSerializer(many=True, read_only=True)

    class Meta:
        model = RejectedRow
        fields = (
            "id", "usage_import_id", "line_number", "values", "raw_text", "problems", "status", "record_id",
            "resolution_reason", "created_at", "updated_at",
        )  # fmt: skip
        read_only_fields = fields


class RowValuesSerializer(BillingSerializer):
    """Corrected values by column; columns that are left out stay as they are."""

    values = serializers.DictField(
        child=serializers.CharField(
            allow_blank=True, trim_whitespace=False, max_length=CHARACTERS_OF_A_VALUE
        ),
        default=dict,
    )


# --- Rules -----------------------------------------------------------------------------------------------


class UsageMappingRuleSerializer(BillingModelSerializer):
    """A rule: rows of the entity that have the value go to the department."""

    class Meta:
        model = UsageMappingRule
        fields = (
            "id", "entity_id", "priority", "source", "tag_key", "value", "department_id", "is_active", "version",
            "created_at", "updated_at",
        )  # fmt: skip
        read_only_fields = ("id", "version", "created_at", "updated_at")


class UsageMappingRuleChangeSerializer(BillingModelSerializer):
    """What of a rule can be changed."""

    class Meta:
        model = UsageMappingRule
        fields = ("priority", "source", "tag_key", "value", "department_id", "is_active")


class ReorderSerializer(BillingSerializer):
    """All rules of an entity in the order in which they are to be tried."""

    entity_id = ScopedRelatedField(Entity.objects.all(), source="entity")
    rule_ids = serializers.ListField(
        child=ScopedRelatedField(UsageMappingRule.objects.all()), source="rules", max_length=10_000
    )


class ReorderedSerializer(BillingSerializer):
    """How many rules have another priority now."""

    changed = serializers.IntegerField(read_only=True)


class ProposeSerializer(BillingSerializer):
    """Of which rows the values are taken: those of an import, or all that are unallocated."""

    entity_id = ScopedRelatedField(Entity.objects.all(), source="entity")
    usage_import_id = ScopedRelatedField(
        UsageImport.objects.all(), source="usage_import", required=False, allow_null=True
    )
    into_entity_id = ScopedRelatedField(Entity.objects.all(), source="into", required=False, allow_null=True)
    tag_key = serializers.CharField(max_length=128, default=DEFAULT_TAG)


class ProposalSerializer(BillingSerializer):
    """A value, and the department that its rows could go to: `department_id` is null for a new one."""

    value = serializers.CharField(read_only=True)
    rows = serializers.IntegerField(read_only=True)
    cost = serializers.SerializerMethodField()
    department_id = serializers.IntegerField(
        source="department.pk", read_only=True, allow_null=True, default=None
    )
    entity_id = serializers.IntegerField(source="entity.pk", read_only=True)
    code = serializers.CharField(read_only=True)
    name = serializers.CharField(read_only=True)
    rule_id = serializers.IntegerField(source="rule.pk", read_only=True, allow_null=True, default=None)

    @extend_schema_field(SUMS)
    def get_cost(self, proposal: Any) -> dict[str, str]:
        return sums_shown(proposal.cost)


class ProposalsSerializer(BillingSerializer):
    """Proposals, the values with the highest cost first; `untagged` rows have no such tag."""

    entity_id = serializers.IntegerField(source="entity.pk", read_only=True)
    tag_key = serializers.CharField(read_only=True)
    proposals = ProposalSerializer(many=True, read_only=True)
    untagged_rows = serializers.IntegerField(read_only=True)
    untagged_cost = serializers.SerializerMethodField()
    tag_keys = CountsField(read_only=True)

    @extend_schema_field(SUMS)
    def get_untagged_cost(self, proposals: Any) -> dict[str, str]:
        return sums_shown(proposals.untagged_cost)


class ChoiceSerializer(BillingSerializer):
    """An accepted proposal: an existing department, or the entity, code and name of a new one."""

    value = serializers.CharField(max_length=255, trim_whitespace=False)
    department_id = ScopedRelatedField(
        Department.objects.all(), source="department", required=False, allow_null=True
    )
    entity_id = ScopedRelatedField(Entity.objects.all(), source="entity", required=False, allow_null=True)
    code = serializers.CharField(max_length=50, default="", allow_blank=True)
    name = serializers.CharField(max_length=200, default="", allow_blank=True)


class ApplySerializer(BillingSerializer):
    """The accepted proposals; with `remap` the rows that are in and unallocated are mapped at once."""

    entity_id = ScopedRelatedField(Entity.objects.all(), source="entity")
    tag_key = serializers.CharField(max_length=128, default=DEFAULT_TAG)
    choices = ChoiceSerializer(many=True, allow_empty=False)
    remap = serializers.BooleanField(default=True)


class AppliedSerializer(BillingSerializer):
    """What was created, and how many rows have their department now."""

    departments_created = serializers.IntegerField(read_only=True)
    rules_created = serializers.IntegerField(read_only=True)
    rule_ids = serializers.ListField(child=serializers.IntegerField(), read_only=True)
    rows_mapped = serializers.IntegerField(read_only=True)
