"""What the API of approvals reads and shows about rules, delegations and authority limits."""

from collections.abc import Mapping
from typing import Any

from rest_framework import serializers

from approvals.api.serializers import STAMPS, RequestTypeField, colleagues
from approvals.models import ApprovalLevel, ApprovalRule, AuthorityLimit, Delegation
from approvals.services.rules import LevelTerms
from core.api.serializers import (
    BillingModelSerializer,
    BillingSerializer,
    CurrencyField,
    DecimalStringField,
    MoneyStringField,
    ScopedRelatedField,
)
from core.models import User
from entities.models import Department, Entity

LARGEST_SMALL = 32_767


class ApprovalLevelSerializer(BillingModelSerializer):
    """One level of a rule; the levels are asked in the order of their list."""

    user_ids = ScopedRelatedField(
        User.objects.all(), many=True, source="users", required=False, help_text="For approver_kind users."
    )
    required_approvals = serializers.IntegerField(
        min_value=1,
        max_value=LARGEST_SMALL,
        required=False,
        allow_null=True,
        help_text="How many must approve: 1 (unless given) is any of them; null is all.",
    )

    class Meta:
        model = ApprovalLevel
        fields = (
            "name", "approver_kind", "user_ids", "role", "entity_id", "required_approvals", "veto", "comment_required",
            "fallback_role", "reminder_hours", "escalation_hours", "escalation_target", "escalation_user_id",
            "escalation_role", "escalation_mode", "escalation_hops", "timer_basis",
        )  # fmt: skip
        extra_kwargs = {"entity_id": {"required": False, "allow_null": True}}


def level_terms(level: Mapping[str, Any]) -> LevelTerms:
    """A validated level as the service takes it."""
    own = ("approver_kind", "users", "required_approvals")
    settings = {name: value for name, value in level.items() if name not in own}
    return LevelTerms(**{name: level[name] for name in own if name in level}, settings=settings)


class ApprovalRuleSerializer(BillingModelSerializer):
    """Who decides on requests of a type, place and amount: the band is `[amount_from, amount_to)` in `currency`."""

    levels = ApprovalLevelSerializer(many=True, read_only=True)

    class Meta:
        model = ApprovalRule
        fields: tuple[str, ...] = (
            "id", "name", "description", "request_type", "entity_id", "department_id", "currency", "amount_from",
            "amount_to", "priority", "also", "auto_approve", "may_exceed_budget", "flow", "skip_repeated",
            "valid_from", "valid_to", "is_active", "levels", *STAMPS, "version",
        )  # fmt: skip
        read_only_fields: tuple[str, ...] = fields


class ApprovalRuleChangeSerializer(BillingModelSerializer):
    """What of a rule changes; `levels`, where given, replaces all of them."""

    request_type = RequestTypeField(everything=True, required=False, allow_blank=True)
    levels = ApprovalLevelSerializer(many=True, required=False)

    class Meta:
        model = ApprovalRule
        fields: tuple[str, ...] = tuple(
            name for name in ApprovalRuleSerializer.Meta.fields if name not in ("id", *STAMPS, "version")
        )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if "levels" in attrs:
            attrs["levels"] = [level_terms(level) for level in attrs["levels"]]
        return attrs


class ApprovalRuleCreateSerializer(ApprovalRuleChangeSerializer):
    """A new rule with its levels."""

    levels = ApprovalLevelSerializer(many=True, default=list)


class RuleMatchSerializer(BillingSerializer):
    """A request as somebody might make it; without `requester_id` nobody is left out as the one who asks."""

    request_type = RequestTypeField()
    amount = MoneyStringField()
    currency = CurrencyField(required=False, help_text="The entity's unless given.")
    entity_id = ScopedRelatedField(Entity.objects.all(), source="entity", required=False, allow_null=True)
    department_id = ScopedRelatedField(
        Department.objects.select_related("entity"), source="department", required=False, allow_null=True
    )
    requester_id = ScopedRelatedField(
        User.objects.all(), scope=colleagues, source="requester", required=False, allow_null=True
    )
    on = serializers.DateField(required=False, allow_null=True, help_text="Today unless given.")


class BandSerializer(BillingSerializer):
    """Amounts from `amount_from`, itself included, to `amount_to`, itself excluded; null is without limit."""

    amount_from = DecimalStringField(source="start", max_digits=20, decimal_places=4, read_only=True)
    amount_to = DecimalStringField(
        source="end", max_digits=20, decimal_places=4, read_only=True, allow_null=True
    )


class CoveredRuleSerializer(BillingModelSerializer):
    """A rule of a place, in short."""

    class Meta:
        model = ApprovalRule
        fields = ("id", "name", "priority", "amount_from", "amount_to", "auto_approve")
        read_only_fields = fields


class RuleOverlapSerializer(BandSerializer):
    """Amounts for which two rules match: the one of the higher priority decides, the other is hidden there."""

    amount_from = DecimalStringField(source="band.start", max_digits=20, decimal_places=4, read_only=True)
    amount_to = DecimalStringField(
        source="band.end", max_digits=20, decimal_places=4, read_only=True, allow_null=True
    )
    deciding_rule_id = serializers.IntegerField(source="decides.pk", read_only=True)
    hidden_rule_id = serializers.IntegerField(source="hidden.pk", read_only=True)


class RuleCoverageSerializer(BillingSerializer):
    """The rules of a place: in `gaps` no rule decides, neither one of the place nor a wider one (APR-03)."""

    request_type = serializers.CharField(source="place.request_type", read_only=True)
    entity_id = serializers.IntegerField(source="place.entity_id", read_only=True, allow_null=True)
    department_id = serializers.IntegerField(source="place.department_id", read_only=True, allow_null=True)
    currency = CurrencyField(source="place.currency", read_only=True)
    rules = CoveredRuleSerializer(many=True, read_only=True)
    gaps = BandSerializer(many=True, read_only=True)
    overlaps = RuleOverlapSerializer(many=True, read_only=True)


class RuleCoveragesSerializer(BillingSerializer):
    """Every place that rules in force name."""

    results = RuleCoverageSerializer(many=True, read_only=True)


# --- Delegations and limits ------------------------------------------------------------------------------


class DelegationSerializer(BillingModelSerializer):
    """Who decides in whose place in `[valid_from, valid_to)`; without types and departments, on everything."""

    delegator_name = serializers.CharField(source="delegator.display_name", read_only=True)
    delegate_name = serializers.CharField(source="delegate.display_name", read_only=True)
    department_ids = ScopedRelatedField(source="departments", many=True, read_only=True)

    class Meta:
        model = Delegation
        fields: tuple[str, ...] = (
            "id", "delegator_id", "delegator_name", "delegate_id", "delegate_name", "request_types",
            "department_ids", "max_amount", "currency", "valid_from", "valid_to", "reason", "ended_at",
            "created_by_id", *STAMPS, "version",
        )  # fmt: skip
        read_only_fields: tuple[str, ...] = fields


class DelegationCreateSerializer(BillingModelSerializer):
    """Who stands in, from when to when, and why; `delegator_id` is for those who look after approvals."""

    delegate_id = ScopedRelatedField(User.objects.all(), scope=colleagues, source="delegate")
    delegator_id = ScopedRelatedField(
        User.objects.all(),
        scope=colleagues,
        source="delegator",
        required=False,
        allow_null=True,
        help_text="You, unless given.",
    )
    request_types: serializers.ListField = serializers.ListField(
        child=RequestTypeField(),
        required=False,
        max_length=50,
        help_text="Every type, unless given.",
    )
    department_ids = ScopedRelatedField(
        Department.objects.all(),
        many=True,
        source="departments",
        required=False,
        help_text="Every cost centre, unless given; with all below them.",
    )

    class Meta:
        model = Delegation
        fields = (
            "delegate_id", "delegator_id", "request_types", "department_ids", "max_amount", "currency",
            "valid_from", "valid_to", "reason",
        )  # fmt: skip
        extra_kwargs = {"currency": {"required": False, "help_text": "Of max_amount."}}


class AuthorityLimitSerializer(BillingModelSerializer):
    """Up to which amount the word of a person, or of everyone with a role, is enough; null is any amount."""

    user_name = serializers.CharField(source="user.display_name", read_only=True, allow_null=True)

    class Meta:
        model = AuthorityLimit
        fields: tuple[str, ...] = (
            "id", "user_id", "user_name", "role", "entity_id", "request_type", "max_amount", "currency",
            "is_ultimate", *STAMPS, "version",
        )  # fmt: skip
        read_only_fields: tuple[str, ...] = fields


class AuthorityLimitCreateSerializer(BillingModelSerializer):
    """Of a person or of a role; at an entity with all below it, or everywhere; for one type, or for all."""

    request_type = RequestTypeField(everything=True, required=False, allow_blank=True)
    user_id = ScopedRelatedField(
        User.objects.all(), scope=colleagues, source="user", required=False, allow_null=True
    )

    class Meta:
        model = AuthorityLimit
        fields: tuple[str, ...] = (
            "user_id", "role", "entity_id", "request_type", "max_amount", "currency", "is_ultimate",
        )  # fmt: skip
        extra_kwargs = {"max_amount": {"required": True}}


class AuthorityLimitChangeSerializer(BillingModelSerializer):
    """What of a limit changes; whose it is does not."""

    request_type = RequestTypeField(everything=True, required=False, allow_blank=True)

    class Meta:
        model = AuthorityLimit
        fields = ("request_type", "max_amount", "currency", "is_ultimate")
