"""What the organisation's API reads and shows."""

from collections.abc import Sequence
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from core.api.serializers import (
    BillingModelSerializer,
    BillingSerializer,
    CurrencyField,
    DecimalStringField,
    MoneyStringField,
    ScopedRelatedField,
)
from core.models import User
from core.money import plain_amount
from entities.models import (
    AllocationBasis,
    AllocationPosting,
    AllocationRule,
    AllocationRuleTarget,
    AllocationRuleVersion,
    AllocationSource,
    CostAllocation,
    Department,
    Entity,
    EntityLink,
    Membership,
)
from entities.periods import period_warnings
from entities.selectors import EntityNode, entity_ancestors, entity_children
from entities.services.allocation import SOURCES_OF_CALLERS

STAMPS = ("created_at", "updated_at")


class ReasonField(serializers.CharField):
    """Why; kept in the history."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"max_length": 500, "write_only": True, **kwargs})


class WarningSerializer(BillingSerializer):
    """Something that was done as asked, but is perhaps not what was meant."""

    code = serializers.CharField(read_only=True)
    detail = serializers.CharField(read_only=True)


# --- Entities --------------------------------------------------------------------------------------------

ENTITY_DETAILS = (
    "legal_name",
    "registration_number",
    "tax_id",
    "country",
    "street",
    "postal_code",
    "city",
    "region",
    "billing_email",
    "language",
    "payment_terms_days",
    "credit_limit",
    "credit_limit_policy",
    "consolidated_billing",
    "time_zone",
    "fiscal_year_start_month",
    "tax_treatment",
    "tax_rate",
    "usage_markup_percent",
    "is_issuer",
    "is_default_issuer",
    "tax_rounding",
    "bank_name",
    "iban",
    "bic",
)
ENTITY_FIELDS = ("name", "code", "entity_type", "parent_id", "currency", *ENTITY_DETAILS)


# What people see of the entity whose department they act at.
SHOWN_TO_DEPARTMENTS = frozenset(
    {"id", "name", "code", "entity_type", "currency", "is_active", *STAMPS, "version"}
)


class EntitySerializer(BillingModelSerializer):
    """A billed organisation or a part of its group.

    Who acts at one of its departments only gets its name; the other members are null.
    """

    class Meta:
        model = Entity
        fields: tuple[str, ...] = ("id", *ENTITY_FIELDS, "is_active", *STAMPS, "version")
        read_only_fields: tuple[str, ...] = fields

    def to_representation(self, instance: Entity) -> dict[str, Any]:
        shown: dict[str, Any] = super().to_representation(instance)
        if getattr(instance, "seen_whole", True):
            return shown
        return {
            name: value if name in SHOWN_TO_DEPARTMENTS or isinstance(value, list) else None
            for name, value in shown.items()
        }


class EntityReference(BillingModelSerializer):
    """An entity, in short."""

    class Meta:
        model = Entity
        fields: tuple[str, ...] = ("id", "name", "code", "entity_type", "currency", "is_active")
        read_only_fields: tuple[str, ...] = fields


TREE_SCHEMA: dict[str, Any] = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {
            "id": {"type": "integer"},
            "name": {"type": "string"},
            "code": {"type": "string"},
            "entity_type": {"type": "string"},
            "currency": {"type": "string"},
            "is_active": {"type": "boolean"},
            "children": {"type": "array", "items": {"type": "object"}, "description": "The same again."},
        },
        "required": ["id", "name", "code", "entity_type", "currency", "is_active", "children"],
    },
}


class EntityDetailSerializer(EntitySerializer):
    """An entity with its place in the group, as far as the caller sees it."""

    ancestors = serializers.SerializerMethodField()
    children = serializers.SerializerMethodField()

    class Meta(EntitySerializer.Meta):
        fields = (*EntitySerializer.Meta.fields, "ancestors", "children")
        read_only_fields: tuple[str, ...] = fields

    @extend_schema_field(EntityReference(many=True))
    def get_ancestors(self, entity: Entity) -> Any:
        """From the root down."""
        found = entity_ancestors(entity, viewer=self.context["request"].user)
        return EntityReference(found, many=True, context=self.context).data

    @extend_schema_field(TREE_SCHEMA)
    def get_children(self, entity: Entity) -> Any:
        """The tree below."""
        return self._branches(entity_children(entity, viewer=self.context["request"].user))

    def _branches(self, nodes: Sequence[EntityNode]) -> list[dict[str, Any]]:
        return [
            {
                **EntityReference(node.entity, context=self.context).data,
                "children": self._branches(node.children),
            }
            for node in nodes
        ]


class EntityCreateSerializer(BillingModelSerializer):
    """A new entity; a code is made from the name unless one is given."""

    class Meta:
        model = Entity
        fields: tuple[str, ...] = ENTITY_FIELDS
        extra_kwargs = {
            "code": {"required": False},
            "entity_type": {"required": True},
            "currency": {"required": True},
            "payment_terms_days": {"min_value": 0},
            "tax_rate": {"required": False},
        }


class EntityChangeSerializer(EntityCreateSerializer):
    """What of an entity changes; a new `parent_id` moves it with all that is below it."""

    reason = ReasonField(required=False)

    class Meta(EntityCreateSerializer.Meta):
        fields = (*ENTITY_FIELDS, "is_active", "reason")


class EntityLinkSerializer(BillingModelSerializer):
    """From `valid_from` until before `valid_to`, the target plays the kind's part for the entity."""

    class Meta:
        model = EntityLink
        fields: tuple[str, ...] = ("id", "entity_id", "kind", "target_id", "valid_from", "valid_to", *STAMPS)
        read_only_fields: tuple[str, ...] = ("id", *STAMPS)


class EntityLinkChangeSerializer(BillingSerializer):
    """The end of a link."""

    valid_to = serializers.DateField(help_text="The first day on which it no longer holds.")
    reason = ReasonField(required=False)


# --- Departments -----------------------------------------------------------------------------------------


class DepartmentSerializer(BillingModelSerializer):
    """A cost centre of an entity."""

    class Meta:
        model = Department
        fields: tuple[str, ...] = (
            "id",
            "entity_id",
            "parent_id",
            "name",
            "code",
            "cost_center_type",
            "gl_code",
            "manager_id",
            "is_active",
            "closed_on",
            *STAMPS,
            "version",
        )
        read_only_fields: tuple[str, ...] = fields


class DepartmentCreateSerializer(BillingModelSerializer):
    """A new cost centre."""

    class Meta:
        model = Department
        fields: tuple[str, ...] = (
            "entity_id",
            "name",
            "code",
            "cost_center_type",
            "gl_code",
            "parent_id",
            "manager_id",
        )


class DepartmentChangeSerializer(BillingModelSerializer):
    """What of a department changes; it stays in its entity."""

    reason = ReasonField(required=False)

    class Meta:
        model = Department
        fields: tuple[str, ...] = (
            "name",
            "code",
            "cost_center_type",
            "gl_code",
            "parent_id",
            "manager_id",
            "is_active",
            "closed_on",
            "reason",
        )


class PeriodSerializer(BillingSerializer):
    """A period `[period_start, period_end)`."""

    period_start = serializers.DateField()
    period_end = serializers.DateField(help_text="The first day after the period.")


class CostQuerySerializer(BillingSerializer):
    """Which periods to add up: those that start within `[period_start, period_end)`; all unless given."""

    period_start = serializers.DateField(required=False)
    period_end = serializers.DateField(required=False, help_text="The first day after.")


class CostLineSerializer(BillingSerializer):
    """Cost of one month, source and GL code, exact."""

    month = serializers.DateField(read_only=True, help_text="The first day of the month.")
    source = serializers.CharField(read_only=True)  # type: ignore[assignment]  # a member, not DRF's own attribute
    gl_code = serializers.CharField(read_only=True)
    currency = serializers.CharField(read_only=True)
    amount = MoneyStringField(read_only=True, max_digits=30, decimal_places=15)


class CostTotalSerializer(BillingSerializer):
    """The sum of one currency."""

    currency = serializers.CharField(read_only=True)
    amount = MoneyStringField(read_only=True, max_digits=30, decimal_places=15)


class CostSummarySerializer(BillingSerializer):
    """Cost lines, and their total per currency."""

    lines = CostLineSerializer(many=True, read_only=True)
    totals = serializers.SerializerMethodField()

    @extend_schema_field(CostTotalSerializer(many=True))
    def get_totals(self, summary: Any) -> Any:
        """Never one sum over several currencies."""
        rows = [{"currency": currency, "amount": amount} for currency, amount in summary.totals.items()]
        return CostTotalSerializer(rows, many=True).data


class DepartmentCostsSerializer(BillingSerializer):
    """What a department bears itself, and together with the departments below it."""

    own = CostSummarySerializer(read_only=True)
    subtree = CostSummarySerializer(read_only=True)


# --- Memberships -----------------------------------------------------------------------------------------


class MembershipSerializer(BillingModelSerializer):
    """A user's role at an entity, or at one department of it."""

    class Meta:
        model = Membership
        fields: tuple[str, ...] = (
            "id",
            "user_id",
            "entity_id",
            "department_id",
            "role",
            "include_descendants",
            "valid_from",
            "valid_to",
            *STAMPS,
        )
        read_only_fields: tuple[str, ...] = ("id", *STAMPS)


class MembershipCreateSerializer(MembershipSerializer):
    """A role to give."""

    user_id = ScopedRelatedField(User.objects.all(), source="user")
    reason = ReasonField(required=False)

    class Meta(MembershipSerializer.Meta):
        fields = (
            "user_id",
            "entity_id",
            "department_id",
            "role",
            "include_descendants",
            "valid_from",
            "valid_to",
            "reason",
        )


class MembershipChangeSerializer(BillingModelSerializer):
    """How far and how long a membership reaches."""

    reason = ReasonField(required=False)

    class Meta:
        model = Membership
        fields: tuple[str, ...] = ("include_descendants", "valid_from", "valid_to", "reason")


class EndSerializer(BillingSerializer):
    """When something ends."""

    on = serializers.DateField(required=False, help_text="The first day without it; today unless given.")
    reason = ReasonField(required=False)


# --- Allocations -----------------------------------------------------------------------------------------


class SplitSerializer(BillingSerializer):
    """One target, with exactly one of percent, amount and ratio."""

    department_id = ScopedRelatedField(Department.objects.select_related("entity"), source="department")
    percent = DecimalStringField(max_digits=20, decimal_places=4, required=False)
    amount = MoneyStringField(required=False)
    ratio = DecimalStringField(max_digits=20, decimal_places=4, required=False)


class AllocateSerializer(PeriodSerializer):
    """A cost for a department, or spread over several by `splits`."""

    amount = MoneyStringField()
    currency = CurrencyField(required=False, help_text="That of the department's entity unless given.")
    description = serializers.CharField(max_length=500)
    source = serializers.ChoiceField(  # type: ignore[assignment]  # a member, not DRF's own attribute
        choices=[(source.value, source.label) for source in SOURCES_OF_CALLERS],
        default=AllocationSource.MANUAL,
    )
    splits: serializers.ListSerializer[Any] = serializers.ListSerializer(
        child=SplitSerializer(), required=False, max_length=500
    )
    billable = serializers.BooleanField(default=False, help_text="Goes on the entity's next invoice.")
    gl_code = serializers.CharField(max_length=50, required=False, allow_blank=True)


class CostAllocationSerializer(BillingModelSerializer):
    """What one department bears of a posting."""

    class Meta:
        model = CostAllocation
        fields: tuple[str, ...] = (
            "id",
            "posting_id",
            "line_number",
            "entity_id",
            "department_id",
            "amount",
            "currency",
            "weight",
            "description",
            "period_start",
            "period_end",
            "source",
            "gl_code",
            "billable",
            "reverses_id",
            "credits_id",
            "created_at",
        )
        read_only_fields: tuple[str, ...] = fields


class AllocationPostingSerializer(BillingModelSerializer):
    """One act of allocating, with the lines that sum to it (to zero where the cost moves)."""

    allocations = CostAllocationSerializer(source="lines", many=True, read_only=True)
    rule_id = serializers.SerializerMethodField()
    reversed_by_id = serializers.SerializerMethodField()

    class Meta:
        model = AllocationPosting
        fields: tuple[str, ...] = (
            "id",
            "entity_id",
            "source",
            "source_department_id",
            "rule_id",
            "rule_version_id",
            "amount",
            "currency",
            "description",
            "period_start",
            "period_end",
            "run",
            "basis",
            "driver_values",
            "reverses_id",
            "reversed_by_id",
            "credits_id",
            "reason",
            "created_by_id",
            "created_at",
            "allocations",
        )
        read_only_fields: tuple[str, ...] = fields

    def get_rule_id(self, posting: AllocationPosting) -> int | None:
        """The rule whose version was used."""
        return posting.rule_version.rule_id if posting.rule_version else None

    def get_reversed_by_id(self, posting: AllocationPosting) -> int | None:
        """The posting that took this one back."""
        reversal = getattr(posting, "reversed_by", None)
        return reversal.pk if reversal is not None else None


class AllocatedSerializer(AllocationPostingSerializer):
    """The posting that was made, with warnings."""

    warnings = serializers.SerializerMethodField()

    class Meta(AllocationPostingSerializer.Meta):
        fields = (*AllocationPostingSerializer.Meta.fields, "warnings")
        read_only_fields: tuple[str, ...] = fields

    @extend_schema_field(WarningSerializer(many=True))
    def get_warnings(self, posting: AllocationPosting) -> Any:
        """What is perhaps not meant."""
        found = period_warnings(posting.period_start, posting.period_end)
        return WarningSerializer(found, many=True).data


class ReverseSerializer(BillingSerializer):
    """Why an allocation is taken back."""

    reason = serializers.CharField(max_length=500)


class CreditSerializer(ReverseSerializer):
    """How much of an allocation is taken back, and why."""

    amount = MoneyStringField(help_text="Positive, at most what remains.")


# --- Allocation rules ------------------------------------------------------------------------------------


class TargetSerializer(BillingModelSerializer):
    """A receiving department with its percent, amount, ratio or driver value."""

    class Meta:
        model = AllocationRuleTarget
        fields: tuple[str, ...] = ("department_id", "weight")


class RuleVersionSerializer(BillingModelSerializer):
    """How a rule spreads within its dates."""

    targets = TargetSerializer(many=True, read_only=True)

    class Meta:
        model = AllocationRuleVersion
        fields: tuple[str, ...] = (
            "id",
            "number",
            "basis",
            "driver",
            "valid_from",
            "valid_to",
            "targets",
            *STAMPS,
        )
        read_only_fields: tuple[str, ...] = fields


class AllocationRuleSerializer(BillingModelSerializer):
    """A standing instruction to spread the cost of a department over others."""

    versions = RuleVersionSerializer(many=True, read_only=True)

    class Meta:
        model = AllocationRule
        fields: tuple[str, ...] = (
            "id",
            "entity_id",
            "name",
            "source_id",
            "step",
            "is_active",
            "versions",
            *STAMPS,
            "version",
        )
        read_only_fields: tuple[str, ...] = fields


class TargetInputSerializer(BillingSerializer):
    """A receiving department and its weight."""

    department_id = ScopedRelatedField(Department.objects.select_related("entity"), source="department")
    weight = DecimalStringField(max_digits=20, decimal_places=4)


class TermsSerializer(BillingSerializer):
    """How a rule spreads from a day on."""

    basis = serializers.ChoiceField(choices=AllocationBasis.choices, default=AllocationBasis.PERCENT)
    driver = serializers.CharField(max_length=50, required=False, allow_blank=True)
    valid_from = serializers.DateField()
    valid_to = serializers.DateField(required=False, allow_null=True)
    targets: serializers.ListSerializer[Any] = serializers.ListSerializer(
        child=TargetInputSerializer(), max_length=500
    )


class AllocationRuleCreateSerializer(TermsSerializer):
    """A new rule with its first version."""

    entity_id = ScopedRelatedField(Entity.objects.all(), source="entity")
    name = serializers.CharField(max_length=200)
    source_id = ScopedRelatedField(Department.objects.select_related("entity"), source="source")
    step = serializers.IntegerField(min_value=1, max_value=32767, default=1)


class AllocationRuleChangeSerializer(BillingModelSerializer):
    """What of a rule changes; new terms are a new version."""

    reason = ReasonField(required=False)

    class Meta:
        model = AllocationRule
        fields: tuple[str, ...] = ("name", "step", "is_active", "reason")


WEIGHT = DecimalStringField(max_digits=20, decimal_places=4)


class PlanPartSerializer(BillingSerializer):
    """What a department will get."""

    department_id = serializers.IntegerField(source="department.pk", read_only=True)
    weight = DecimalStringField(max_digits=20, decimal_places=4, read_only=True)
    amount = serializers.CharField(read_only=True)


class PlanSerializer(BillingSerializer):
    """What will be posted in one currency."""

    amount = MoneyStringField(read_only=True)
    currency = serializers.CharField(read_only=True)
    basis = serializers.CharField(read_only=True)
    parts = serializers.SerializerMethodField()

    @extend_schema_field(PlanPartSerializer(many=True))
    def get_parts(self, plan: Any) -> Any:
        """To the minor unit, as they will be written."""
        return [
            {
                "department_id": part.department.pk,
                "weight": None if part.weight is None else WEIGHT.to_representation(part.weight),
                "amount": plain_amount(part.amount, plan.currency),
            }
            for part in plan.parts
        ]


class RunPlanSerializer(BillingSerializer):
    """What a run will post, per currency."""

    rule_version_id = serializers.IntegerField(source="version.pk", read_only=True)
    plans = PlanSerializer(many=True, read_only=True)
    warnings = WarningSerializer(many=True, read_only=True)


class RunSerializer(BillingSerializer):
    """What a run has posted, per currency."""

    postings = AllocationPostingSerializer(many=True, read_only=True)
    warnings = WarningSerializer(many=True, read_only=True)
