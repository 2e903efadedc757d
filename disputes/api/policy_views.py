"""The addresses of dispute policies."""

from typing import Any

from django.db.models import QuerySet

from core.api.base import BillingModelViewSet
from core.api.schema import operation, operations
from disputes.api.filters import DisputePolicyFilter
from disputes.api.policy_serializers import (
    DisputePolicyChangeSerializer,
    DisputePolicyCreateSerializer,
    DisputePolicySerializer,
)
from disputes.models import DisputePolicy
from disputes.services.policies import policy_create, policy_delete, policy_update

CODES = {
    400: [
        "not_an_issuer", "other_group", "contract_of_other_issuer", "two_scopes", "warnings_not_ordered",
        "lead_cannot_handle", "calendar_without_hours", "target_repeated", "amount_negative", "amount_too_precise",
    ],
    409: ["already_exists"],
}  # fmt: skip


@operations(
    list=operation(summary="List the dispute policies of the issuers you work for."),
    retrieve=operation(summary="Get a dispute policy with its targets."),
    create=operation(
        summary="Add a dispute policy: of an issuer, for one of its customers, or for one contract.",
        description=(
            "The most particular active one holds: contract before customer before issuer. A dispute freezes it when "
            "it is opened."
        ),
        errors=CODES,
        example={
            "issuer_id": 1,
            "name": "Standard",
            "window_days": 90,
            "small_claims_amount": "50.00",
            "targets": [
                {"severity": "critical", "response_minutes": 240, "resolution_minutes": 2880},
                {"severity": "high", "response_minutes": 480, "resolution_minutes": 7200},
            ],
        },
    ),
    partial_update=operation(
        summary="Change a dispute policy.",
        description="Open disputes keep what they froze. `targets` replaces all targets.",
        errors=CODES,
        example={"silence_days": 15, "reason": "Customers asked for more time"},
    ),
    destroy=operation(
        summary="Delete a policy that no dispute has frozen; deactivate it otherwise.",
        errors={409: ["in_use"]},
    ),
)
class DisputePolicyViewSet(BillingModelViewSet):
    """How issuers handle disputes."""

    queryset = DisputePolicy.objects.select_related("issuer").prefetch_related("targets")
    serializer_class = DisputePolicySerializer
    input_serializers = {
        "create": DisputePolicyCreateSerializer,
        "partial_update": DisputePolicyChangeSerializer,
    }
    filterset_class = DisputePolicyFilter
    search_fields = ("name", "issuer__name", "customer__name", "contract__title")
    ordering_fields = ("name", "created_at", "id")

    def get_queryset(self) -> QuerySet[Any]:
        rows: Any = super().get_queryset()
        # A customer who sees the issuer in another role does not read by which rules their disputes are handled.
        found: QuerySet[Any] = rows.visible_to(self.request.user, "disputes.view_disputepolicy")
        return found

    def perform_create(self, data: dict[str, Any]) -> DisputePolicy:
        return policy_create(actor=self.actor, **data)

    def perform_update(self, instance: DisputePolicy, data: dict[str, Any]) -> DisputePolicy:
        return policy_update(actor=self.actor, policy_id=instance.pk, **data)

    def perform_destroy(self, instance: DisputePolicy) -> None:
        policy_delete(actor=self.actor, policy_id=instance.pk)
