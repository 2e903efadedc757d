"""Rules, delegations and authority limits: who decides."""

from typing import Any

from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from approvals.api.filters import ApprovalRuleFilter, AuthorityLimitFilter, DelegationFilter
from approvals.api.rule_serializers import (
    ApprovalRuleChangeSerializer,
    ApprovalRuleCreateSerializer,
    ApprovalRuleSerializer,
    AuthorityLimitChangeSerializer,
    AuthorityLimitCreateSerializer,
    AuthorityLimitSerializer,
    DelegationCreateSerializer,
    DelegationSerializer,
    RuleCoveragesSerializer,
    RuleMatchSerializer,
)
from approvals.api.serializers import ApprovalReasonSerializer, ApprovalRouteSerializer, route_body
from approvals.models import ApprovalRule, AuthorityLimit, Delegation
from approvals.selectors.coverage import rule_coverage
from approvals.services.delegations import delegation_create, delegation_end
from approvals.services.limits import (
    authority_limit_create,
    authority_limit_delete,
    authority_limit_update,
)
from approvals.services.matching import rule_match
from approvals.services.rule_removal import approval_rule_delete
from approvals.services.rules import approval_rule_create, approval_rule_retire, approval_rule_update
from core import clock
from core.api.base import BillingModelViewSet, BillingViewSet, CreateMixin
from core.api.filters import refuse_unknown_parameters
from core.api.schema import operation, operations

BAND_CODES = {
    400: ["levels_required", "role_required", "people_required", "too_few_people", "other_entity",
          "not_base_currency", "amount_negative", "band_empty", "dates_not_ordered", "auto_approve_asks_nobody",
          "also_asks_somebody", "unknown_request_type"],
    403: ["holds_everywhere"],
    409: ["bands_overlap", "bands_gap"],
}  # fmt: skip


@operations(
    list=operation(summary="List the rules you see, those that are tried first at the top."),
    retrieve=operation(summary="Get a rule with its levels."),
    create=operation(
        summary="Add a rule with its levels, which are asked in the order of their list.",
        description=(
            "The band includes `amount_from` and excludes `amount_to`, in the currency of the group's root entity. "
            "Bands for the same requests with the same priority must touch: overlaps and gaps are refused."
        ),
        errors=BAND_CODES,
        example={
            "name": "Purchases up to 5,000",
            "request_type": "purchase",
            "entity_id": 1,
            "currency": "EUR",
            "amount_from": "0.00",
            "amount_to": "5000.00",
            "priority": 10,
            "levels": [
                {"approver_kind": "department_manager"},
                {"approver_kind": "role", "role": "finance_manager", "required_approvals": 1},
            ],
        },
    ),
    partial_update=operation(
        summary="Change a rule; a neighbour whose band touches a changed end moves with it.",
        description="Requests that are being decided keep what was frozen for them. `levels` replaces all levels.",
        errors=BAND_CODES,
        example={"amount_to": "6000.00"},
    ),
    destroy=operation(
        summary="Delete a rule that has never routed a request; retire it otherwise.",
        errors={403: ["holds_everywhere"], 409: ["in_use", "bands_gap"]},
    ),
)
class ApprovalRuleViewSet(BillingModelViewSet):
    """Who decides on requests of a type, place and amount."""

    queryset = ApprovalRule.objects.prefetch_related("levels__users")
    serializer_class = ApprovalRuleSerializer
    input_serializers = {
        "create": ApprovalRuleCreateSerializer,
        "partial_update": ApprovalRuleChangeSerializer,
        "retire": ApprovalReasonSerializer,
        "match": RuleMatchSerializer,
    }
    action_permissions = {
        "retire": "approvals.change_approvalrule",
        "match": "approvals.view_approvalrule",
        "coverage": "approvals.view_approvalrule",
    }
    filterset_class = ApprovalRuleFilter
    search_fields = ("name", "description", "entity__name", "department__name")
    ordering_fields = ("priority", "amount_from", "name", "created_at", "id")
    ordering = ("-priority", "amount_from", "id")

    def takes_idempotency_key(self, method: str) -> bool:
        """A question writes nothing: a stored answer would be wrong the next day."""
        return getattr(self, "action", "") != "match" and super().takes_idempotency_key(method)

    def perform_create(self, data: dict[str, Any]) -> ApprovalRule:
        return approval_rule_create(actor=self.actor, **data)

    def perform_update(self, instance: ApprovalRule, data: dict[str, Any]) -> ApprovalRule:
        levels = data.pop("levels", None)
        return approval_rule_update(actor=self.actor, rule_id=instance.pk, changes=data, levels=levels)

    def perform_destroy(self, instance: ApprovalRule) -> None:
        approval_rule_delete(actor=self.actor, rule_id=instance.pk)

    @operation(
        summary="Take a rule out of force.",
        request=ApprovalReasonSerializer,
        responses=ApprovalRuleSerializer,
        errors={400: ["reason_required"], 403: ["holds_everywhere"], 409: ["bands_gap"]},
        example={"reason": "Replaced by the rules of the group"},
    )
    @action(detail=True, methods=["post"])
    def retire(self, request: Request, pk: str) -> Response:
        rule = self.get_object()
        return self.answer(
            approval_rule_retire(actor=self.actor, rule_id=rule.pk, reason=self.validated()["reason"])
        )

    @operation(
        operation_id="approval_rules_match",
        summary="Show which rule would decide on a request, and whom it would ask; writes nothing.",
        request=RuleMatchSerializer,
        responses={200: ApprovalRouteSerializer},
        errors={400: ["required", "other_entity", "amount_not_positive"], 409: ["no_exchange_rate"]},
        example={"request_type": "purchase", "amount": "1000.00", "entity_id": 1},
    )
    @action(detail=False, methods=["post"])
    def match(self, request: Request) -> Response:
        asked, route = rule_match(actor=self.actor, **self.validated())
        return Response(ApprovalRouteSerializer(route_body(asked, route, None)).data)

    @operation(
        operation_id="approval_rules_coverage",
        summary="Show, place by place, which amounts no rule covers, and which rules hide others.",
        description=(
            "Of the rules in force today that you see. In a gap a request is blocked until a rule is added; in an "
            "overlap the rule of the higher priority decides."
        ),
        responses={200: RuleCoveragesSerializer},
    )
    @action(
        detail=False,
        methods=["get"],
        pagination_class=None,
        filterset_class=None,
        search_fields=(),
        ordering_fields=(),
    )
    def coverage(self, request: Request) -> Response:
        refuse_unknown_parameters(request, set())
        rules = self.get_queryset().prefetch_related(None)
        found = rule_coverage(rules, on=clock.today())
        return Response(RuleCoveragesSerializer({"results": found}).data)


@operations(
    list=operation(
        summary="List who stands in for whom.",
        description="Your own, given and held; those of others for who looks after approvals.",
    ),
    retrieve=operation(summary="Get a delegation."),
    create=operation(
        summary="Let somebody decide in your place for a time.",
        description=(
            "From `valid_from` to the second before `valid_to`; what they have not decided by then is yours again. "
            "What was passed on cannot be passed on again."
        ),
        errors={
            400: ["delegate_to_self", "delegate_may_not_decide", "dates_not_ordered", "in_the_past", "required",
                  "amount_not_positive", "above_own_limit", "unknown_request_type"],
            403: ["delegation_of_another"],
            409: ["delegation_circle", "redelegation", "delegation_overlaps", "no_exchange_rate"],
        },
        example={
            "delegate_id": 2,
            "valid_from": "2031-07-01T00:00:00Z",
            "valid_to": "2031-07-22T00:00:00Z",
            "reason": "On leave",
        },
    ),
)  # fmt: skip
class DelegationViewSet(CreateMixin, BillingViewSet):
    """Standing in for somebody."""

    queryset = Delegation.objects.select_related("delegator", "delegate").prefetch_related("departments")
    serializer_class = DelegationSerializer
    input_serializers = {"create": DelegationCreateSerializer}
    # One's own are everyone's to see and to end.
    action_permissions = {"list": None, "retrieve": None, "end": None}
    filterset_class = DelegationFilter
    search_fields = ("reason", "delegator__last_name", "delegate__last_name")
    ordering_fields = ("id", "valid_from", "valid_to", "created_at")

    def perform_create(self, data: dict[str, Any]) -> Delegation:
        return delegation_create(actor=self.actor, **data)

    @operation(
        summary="End a delegation now.",
        request=None,
        responses=DelegationSerializer,
        errors={403: ["delegation_of_another"], 409: ["delegation_over"]},
    )
    @action(detail=True, methods=["post"])
    def end(self, request: Request, pk: str) -> Response:
        return self.answer(delegation_end(actor=self.actor, delegation_id=self.get_object().pk))


LIMIT_CODES = {
    400: ["person_or_role", "ultimate_is_a_person_without_limit", "amount_not_positive", "unknown_request_type"],
    403: ["holds_everywhere"],
    409: ["limit_exists", "ultimate_exists", "own_limit"],
}  # fmt: skip


@operations(
    list=operation(summary="List the authority limits you see."),
    retrieve=operation(summary="Get an authority limit."),
    create=operation(
        summary="Set up to which amount somebody's approval is enough by itself.",
        description=(
            "A person's own limit goes before their roles'; the nearest entity's counts. A vote above it counts, and "
            "the next manager up is asked too; `is_ultimate` names who decides when no manager has the authority."
        ),
        errors=LIMIT_CODES,
        example={"role": "approver", "entity_id": 1, "max_amount": "5000.00", "currency": "EUR"},
    ),
    partial_update=operation(
        summary="Change an authority limit.", errors=LIMIT_CODES, example={"max_amount": "7500.00"}
    ),
    destroy=operation(summary="Remove an authority limit.", errors={409: ["own_limit", "in_use"]}),
)
class AuthorityLimitViewSet(BillingModelViewSet):
    """Up to which amount somebody's word is enough."""

    queryset = AuthorityLimit.objects.select_related("user")
    serializer_class = AuthorityLimitSerializer
    input_serializers = {
        "create": AuthorityLimitCreateSerializer,
        "partial_update": AuthorityLimitChangeSerializer,
    }
    filterset_class = AuthorityLimitFilter
    search_fields = ("user__first_name", "user__last_name", "user__username", "entity__name")
    ordering_fields = ("id", "max_amount", "role", "created_at")

    def perform_create(self, data: dict[str, Any]) -> AuthorityLimit:
        return authority_limit_create(actor=self.actor, **data)

    def perform_update(self, instance: AuthorityLimit, data: dict[str, Any]) -> AuthorityLimit:
        return authority_limit_update(actor=self.actor, limit_id=instance.pk, changes=data)

    def perform_destroy(self, instance: AuthorityLimit) -> None:
        authority_limit_delete(actor=self.actor, limit_id=instance.pk)
