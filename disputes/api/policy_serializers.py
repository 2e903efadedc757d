"""What the API of dispute policies reads and shows."""

from typing import Any

from django.db.models import Q, QuerySet
from rest_framework import serializers

from approvals.api.serializers import colleagues
from contracts.models import Contract
from core.api.serializers import (
    BillingModelSerializer,
    BillingSerializer,
    MoneyStringField,
    ScopedRelatedField,
)
from core.models import User
from disputes.api.serializers import STAMPS
from disputes.models import DisputePolicy, DisputePolicyTarget, Severity
from disputes.services.policies import Target
from entities.models import Entity, EntityClosure
from entities.querysets import entity_ids_visible_to, sees_everything
from entities.services.records import field_error

KEEP = "disputes.change_disputepolicy"

DAY_MINUTES = 24 * 60
LONGEST_MINUTES = 366 * DAY_MINUTES


def in_groups_of_issuers(queryset: QuerySet[Any], user: User) -> QuerySet[Any]:
    """Entities of the groups of issuers whose policies the user keeps: their customers, seen otherwise or not."""
    if sees_everything(user):
        return queryset
    kept = EntityClosure.objects.filter(
        descendant_id__in=entity_ids_visible_to(user, KEEP), ancestor__parent__isnull=True
    )
    return queryset.filter(above__ancestor_id__in=kept.values("ancestor_id"))


def contracts_of_issuers(queryset: QuerySet[Any], user: User) -> QuerySet[Any]:
    """Contracts that the user sees, and those of issuers whose policies the user keeps."""
    if sees_everything(user):
        return queryset
    seen = Contract.objects.visible_to(user).values("pk")
    return queryset.filter(Q(pk__in=seen) | Q(issuer_id__in=entity_ids_visible_to(user, KEEP)))


class DisputePolicyTargetSerializer(BillingModelSerializer):
    """How soon disputes of one severity are answered and resolved, in minutes of the calendar."""

    class Meta:
        model = DisputePolicyTarget
        fields = ("severity", "response_minutes", "resolution_minutes")
        read_only_fields = fields


class DisputePolicyTargetInputSerializer(BillingSerializer):
    """The targets of one severity."""

    severity = serializers.ChoiceField(choices=Severity.choices)
    response_minutes = serializers.IntegerField(min_value=1, max_value=LONGEST_MINUTES, default=DAY_MINUTES)
    resolution_minutes = serializers.IntegerField(min_value=1, max_value=LONGEST_MINUTES)


class DisputePolicySerializer(BillingModelSerializer):
    """How an issuer handles disputes: of all customers, of one and those below it, or under one contract."""

    small_claims_amount = MoneyStringField(
        currency_source="issuer.currency",
        read_only=True,
        help_text="In the issuer's currency, including tax: up to it one person proposes and carries out.",
    )
    currency = serializers.CharField(source="issuer.currency", read_only=True)
    targets = DisputePolicyTargetSerializer(many=True, read_only=True)

    class Meta:
        model = DisputePolicy
        fields: tuple[str, ...] = (
            "id", "name", "issuer_id", "customer_id", "contract_id", "calendar_id", "window_days",
            "pauses_for_third_party", "silence_days", "collectible_days", "reopen_days", "small_claims_amount",
            "currency", "late_fees_from_original_date", "first_warning_percent", "second_warning_percent",
            "lead_id", "is_active", "targets", *STAMPS, "version",
        )  # fmt: skip
        read_only_fields: tuple[str, ...] = fields


class DisputePolicyChangeSerializer(BillingModelSerializer):
    """What of a policy changes; `targets`, where given, replaces all of them."""

    small_claims_amount = MoneyStringField(required=False)
    customer_id = ScopedRelatedField(
        Entity.objects.all(), scope=in_groups_of_issuers, source="customer", required=False, allow_null=True
    )
    contract_id = ScopedRelatedField(
        Contract.objects.all(), scope=contracts_of_issuers, source="contract", required=False, allow_null=True
    )
    lead_id = ScopedRelatedField(
        User.objects.all(), scope=colleagues, source="lead", required=False, allow_null=True
    )
    targets = DisputePolicyTargetInputSerializer(many=True, required=False)
    reason = serializers.CharField(
        max_length=500,
        write_only=True,
        required=False,
        allow_blank=True,
        help_text="Why; kept in the history.",
    )

    class Meta:
        model = DisputePolicy
        fields: tuple[str, ...] = (
            "name", "calendar_id", "customer_id", "contract_id", "window_days", "pauses_for_third_party",
            "silence_days", "collectible_days", "reopen_days", "small_claims_amount",
            "late_fees_from_original_date", "first_warning_percent", "second_warning_percent", "lead_id",
            "is_active", "targets", "reason",
        )  # fmt: skip

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if "targets" in attrs:
            attrs["targets"] = _by_severity(attrs["targets"])
        return attrs


class DisputePolicyCreateSerializer(DisputePolicyChangeSerializer):
    """A new policy; a severity without a target keeps the product's own."""

    class Meta(DisputePolicyChangeSerializer.Meta):
        fields = (
            "issuer_id",
            *(
                name
                for name in DisputePolicyChangeSerializer.Meta.fields
                if name not in ("is_active", "reason")
            ),
        )


def _by_severity(targets: list[dict[str, Any]]) -> dict[str, Target]:
    found: dict[str, Target] = {}
    for target in targets:
        severity = target.pop("severity")
        if severity in found:
            raise field_error("targets", "target_repeated", f"{severity} has two targets. Give it one.")
        found[severity] = Target(**target)
    return found
