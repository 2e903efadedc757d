"""What the API reads and shows of renewals, service levels, plans, subscriptions and fees."""

from typing import Any

from rest_framework import serializers

from contracts.models import (
    BillableFee,
    NoticeKind,
    NoticeMethod,
    Plan,
    PlanFeature,
    PriceIndexValue,
    RenewalNotice,
    ServiceCredit,
    Side,
    SlaMeasurement,
    Subscription,
    SubscriptionChange,
)
from core.api.serializers import (
    BillingModelSerializer,
    BillingSerializer,
    DecimalStringField,
    MoneyStringField,
    ScopedRelatedField,
    UTCDateTimeField,
)
from entities.models import Department, Entity

STAMPS = ("created_at", "updated_at")
LARGEST_ID = 2**63 - 1
LARGEST_COUNT = 2**31 - 1


# --- Renewal ---------------------------------------------------------------------------------------------


class UpliftSerializer(BillingSerializer):
    """How prices rise with the next term."""

    index_name = serializers.CharField(read_only=True)
    index_percent = DecimalStringField(read_only=True, max_digits=None, decimal_places=None, allow_null=True)
    percent = DecimalStringField(read_only=True, max_digits=None, decimal_places=None)
    is_provisional = serializers.BooleanField(read_only=True)
    explanation = serializers.CharField(read_only=True)


class AlertSerializer(BillingSerializer):
    """An alert before the deadline; `sent_at` is null until it was sent."""

    days = serializers.IntegerField(read_only=True)
    due_on = serializers.DateField(read_only=True)
    sent_at = UTCDateTimeField(read_only=True, allow_null=True)


class RenewalCheckSerializer(BillingSerializer):
    """What happens at the end of the term, and until when that can be changed (CON-10 to CON-14)."""

    contract_id = serializers.IntegerField(read_only=True)
    on = serializers.DateField(read_only=True)
    renewal_type = serializers.CharField(read_only=True)
    term_number = serializers.IntegerField(read_only=True)
    term_start = serializers.DateField(read_only=True)
    term_end = serializers.DateField(read_only=True, allow_null=True)
    deadline = serializers.DateField(read_only=True, allow_null=True)
    days_left = serializers.IntegerField(read_only=True, allow_null=True)
    outcome = serializers.CharField(read_only=True)
    explanation = serializers.CharField(read_only=True)
    is_locked = serializers.BooleanField(read_only=True)
    next_end = serializers.DateField(read_only=True, allow_null=True)
    uplift = UpliftSerializer(read_only=True, allow_null=True)
    alerts = AlertSerializer(many=True, read_only=True)


class RenewalPipelineSerializer(BillingSerializer):
    """A contract whose term ends soon: what it is worth, and when to decide."""

    contract_id = serializers.IntegerField(read_only=True, source="contract.pk")
    title = serializers.CharField(read_only=True, source="contract.title")
    entity_id = serializers.IntegerField(read_only=True, source="contract.entity_id")
    value = MoneyStringField(read_only=True, source="check.value", currency_source="check.currency")
    currency = serializers.CharField(read_only=True, source="check.currency")
    decision_due = serializers.DateField(read_only=True, source="check.decision_due", allow_null=True)
    renewal = RenewalCheckSerializer(read_only=True, source="check")


class RenewalNoticeSerializer(BillingModelSerializer):
    """A notice as it was received, and the end it works for."""

    class Meta:
        model = RenewalNotice
        fields: tuple[str, ...] = (
            "id", "contract_id", "kind", "side", "method", "received_at", "on_time", "deadline", "term_number",
            "ends_on", "note", "created_at",
        )  # fmt: skip
        read_only_fields: tuple[str, ...] = fields


class NoticeInputSerializer(BillingSerializer):
    """A notice: to end the contract, to renew it, or of new prices; received now by default."""

    kind = serializers.ChoiceField(choices=NoticeKind.choices)
    side = serializers.ChoiceField(choices=Side.choices)
    method = serializers.ChoiceField(choices=NoticeMethod.choices)
    received_at = UTCDateTimeField(required=False)
    note = serializers.CharField(max_length=1000, required=False, allow_blank=True, default="")


class RenewSerializer(BillingSerializer):
    """The option to renew is exercised; received now by default."""

    side = serializers.ChoiceField(choices=Side.choices, default=Side.CUSTOMER)
    method = serializers.ChoiceField(choices=NoticeMethod.choices, default=NoticeMethod.PORTAL)
    received_at = UTCDateTimeField(required=False)
    note = serializers.CharField(max_length=1000, required=False, allow_blank=True, default="")


class PriceIndexSerializer(BillingModelSerializer):
    """What an index says from a day on: its change over a year, in per cent."""

    class Meta:
        model = PriceIndexValue
        fields = ("id", "index_name", "day", "percent", "source", "created_at")
        read_only_fields = ("id", "created_at")


# --- Service levels --------------------------------------------------------------------------------------


class MeasurementSerializer(BillingModelSerializer):
    """What was measured over `[measured_from, measured_to)`; a correction names what it replaces."""

    class Meta:
        model = SlaMeasurement
        fields: tuple[str, ...] = (
            "id", "contract_id", "sla_code", "measured_from", "measured_to", "value", "source", "external_id",
            "replaces_id", "created_at",
        )  # fmt: skip
        read_only_fields: tuple[str, ...] = fields


class MeasurementInputSerializer(BillingSerializer):
    """A measurement; the same `external_id` of a source is taken once."""

    sla_code = serializers.CharField(max_length=40)
    measured_from = UTCDateTimeField()
    measured_to = UTCDateTimeField()
    value = DecimalStringField(max_digits=20, decimal_places=6)
    source = serializers.CharField(max_length=100)  # type: ignore[assignment]  # a field; not where it is read from
    external_id = serializers.CharField(max_length=100)


class CorrectionSerializer(BillingSerializer):
    """What should have been measured."""

    value = DecimalStringField(max_digits=20, decimal_places=6)
    external_id = serializers.CharField(max_length=100, required=False, allow_blank=True, default="")


class ComplianceSerializer(BillingSerializer):
    """How a service level was kept in a period that is over."""

    sla_code = serializers.CharField(read_only=True, source="level.code")
    period_start = serializers.DateField(read_only=True, source="period.start")
    period_end = serializers.DateField(read_only=True, source="period.end")
    measured = DecimalStringField(read_only=True, max_digits=None, decimal_places=None, allow_null=True)
    covered_percent = DecimalStringField(read_only=True, max_digits=None, decimal_places=None)
    is_met = serializers.BooleanField(read_only=True, allow_null=True)
    credit_percent = DecimalStringField(read_only=True, max_digits=None, decimal_places=None)
    fee_amount = MoneyStringField(read_only=True)
    amount = MoneyStringField(read_only=True)
    currency = serializers.CharField(read_only=True)


class ServiceCreditSerializer(BillingModelSerializer):
    """A credit for a period in which a service level was missed."""

    class Meta:
        model = ServiceCredit
        fields: tuple[str, ...] = (
            "id", "contract_id", "sla_code", "period_start", "period_end", "measured", "target",
            "credit_percent", "fee_amount", "amount", "currency", "status", "claim_by", "claimed_at", *STAMPS,
        )  # fmt: skip
        read_only_fields: tuple[str, ...] = fields


class ClaimSerializer(BillingSerializer):
    """When the claim was received; now by default."""

    received_at = UTCDateTimeField(required=False)


# --- Plans and subscriptions -----------------------------------------------------------------------------


class SubscriptionPlanFeatureSerializer(BillingModelSerializer):
    """A feature of a plan; without limit where `limit` is null."""

    class Meta:
        model = PlanFeature
        fields = ("feature", "is_included", "limit", "is_per_licence")


class SubscriptionPlanSerializer(BillingModelSerializer):
    """A tier of a product at its list price per licence and interval."""

    features = SubscriptionPlanFeatureSerializer(many=True, required=False)

    class Meta:
        model = Plan
        fields: tuple[str, ...] = (
            "id", "code", "name", "product", "tier", "rank", "issuer_id", "currency", "price",
            "interval_months", "gl_code", "is_active", "features", *STAMPS, "version",
        )  # fmt: skip
        read_only_fields = ("id", *STAMPS, "version")
        extra_kwargs = {"currency": {"required": False}}


class SubscriptionPlanChangeSerializer(BillingModelSerializer):
    """What may change of a plan; what subscribers pay and get is fixed once somebody has subscribed."""

    features = SubscriptionPlanFeatureSerializer(many=True, required=False)
    reason = serializers.CharField(max_length=500, required=False, allow_blank=True, write_only=True)

    class Meta:
        model = Plan
        fields = (
            "name", "product", "tier", "rank", "currency", "price", "interval_months", "gl_code", "is_active",
            "features", "reason",
        )  # fmt: skip


class SubscriptionChangeSerializer(BillingModelSerializer):
    """Licences and plan from a day on."""

    class Meta:
        model = SubscriptionChange
        fields = ("effective_from", "plan_id", "quantity", "reason", "approval_request_id", "created_at")
        read_only_fields = fields


class SubscriptionSerializer(BillingModelSerializer):
    """A subscription with its changes, the first of which is its start."""

    changes = SubscriptionChangeSerializer(many=True, read_only=True)

    class Meta:
        model = Subscription
        fields: tuple[str, ...] = (
            "id", "contract_id", "entity_id", "department_id", "product", "starts_on", "ends_on", "changes",
            *STAMPS, "version",
        )  # fmt: skip
        read_only_fields: tuple[str, ...] = fields


class SubscriptionInputSerializer(BillingSerializer):
    """A new subscription of the contract's entity, or of one below it."""

    contract_id = serializers.IntegerField(min_value=1, max_value=LARGEST_ID)
    plan_id = serializers.IntegerField(min_value=1, max_value=LARGEST_ID)
    quantity = serializers.IntegerField(min_value=1, max_value=LARGEST_COUNT)
    starts_on = serializers.DateField()
    ends_on = serializers.DateField(required=False)
    entity_id = ScopedRelatedField(Entity.objects.all(), source="entity", required=False)
    department_id = ScopedRelatedField(Department.objects.all(), source="department", required=False)
    reason = serializers.CharField(max_length=500, required=False, allow_blank=True, default="")


class LicencesSerializer(BillingSerializer):
    """Another number of licences, another plan of the product, or both; from today by default."""

    quantity = serializers.IntegerField(required=False, min_value=1, max_value=LARGEST_COUNT)
    plan_id = serializers.IntegerField(required=False, min_value=1, max_value=LARGEST_ID)
    effective_from = serializers.DateField(required=False)
    reason = serializers.CharField(max_length=500, required=False, allow_blank=True, default="")


class SubscriptionEndSerializer(BillingSerializer):
    """The first day without it."""

    ends_on = serializers.DateField()
    reason = serializers.CharField(max_length=500)


class EntitledProductSerializer(BillingSerializer):
    """A product with its licences."""

    product = serializers.CharField(read_only=True)
    plan_code = serializers.CharField(read_only=True)
    tier = serializers.CharField(read_only=True)
    quantity = serializers.IntegerField(read_only=True)
    subscription_id = serializers.IntegerField(read_only=True)
    contract_id = serializers.IntegerField(read_only=True)


class EntitledFeatureSerializer(BillingSerializer):
    """A feature: whether it may be used, up to which limit (null is without), by which contracts."""

    feature = serializers.CharField(read_only=True)
    is_included = serializers.BooleanField(read_only=True)
    limit = serializers.IntegerField(read_only=True, allow_null=True)
    contract_ids = serializers.ListField(child=serializers.IntegerField(), read_only=True)


class EntitlementsSerializer(BillingSerializer):
    """What an entity may use on a day, merged from its contracts and subscriptions (CON-21)."""

    entity_id = serializers.IntegerField(read_only=True)
    on = serializers.DateField(read_only=True)
    products = EntitledProductSerializer(many=True, read_only=True)
    licence_tiers = serializers.ListField(child=serializers.CharField(), read_only=True)
    features = EntitledFeatureSerializer(many=True, read_only=True)


# --- Money -----------------------------------------------------------------------------------------------


class FeeSerializer(BillingModelSerializer):
    """A fee, or a correction of one; `id` is null in a preview."""

    parts = serializers.ListField(child=serializers.DictField(), read_only=True)

    class Meta:
        model = BillableFee
        fields: tuple[str, ...] = (
            "id", "contract_id", "entity_id", "department_id", "gl_code", "kind", "line_code", "period_start",
            "period_end", "quantity", "amount", "currency", "description", "parts", "bill_on", "adjusts_id",
            "amendment_id",
        )  # fmt: skip
        read_only_fields: tuple[str, ...] = fields


class FundedPeriodSerializer(BillingSerializer):
    """What a contract has still to bill in a budget's period; without a budget it is a forecast (CON-19)."""

    start = serializers.DateField(read_only=True)
    end = serializers.DateField(read_only=True)
    amount = MoneyStringField(read_only=True)
    currency = serializers.CharField(read_only=True)
    budget_id = serializers.IntegerField(read_only=True, allow_null=True)
    commitment_id = serializers.IntegerField(read_only=True, allow_null=True)


def features_in_order(features: dict[str, Any]) -> list[Any]:
    """The features as a list, by their name."""
    return [features[name] for name in sorted(features)]
