"""Renewals, service levels, plans, subscriptions, entitlements, fees."""

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from contracts.api.days import DAY, day_parameter
from contracts.api.filters import (
    FeeFilter,
    MeasurementFilter,
    PlanFilter,
    PriceIndexFilter,
    ServiceCreditFilter,
    SubscriptionFilter,
)
from contracts.api.supply_serializers import (
    ClaimSerializer,
    CorrectionSerializer,
    EntitlementsSerializer,
    FeeSerializer,
    LicencesSerializer,
    MeasurementSerializer,
    PriceIndexSerializer,
    RenewalPipelineSerializer,
    ServiceCreditSerializer,
    SubscriptionEndSerializer,
    SubscriptionInputSerializer,
    SubscriptionPlanChangeSerializer,
    SubscriptionPlanSerializer,
    SubscriptionSerializer,
    features_in_order,
)
from contracts.models import (
    BillableFee,
    Plan,
    PriceIndexValue,
    ServiceCredit,
    SlaMeasurement,
    Subscription,
)
from contracts.selectors.entitlements import entitlements_of
from contracts.selectors.renewals import renewal_pipeline
from contracts.services.renewals import price_index_record
from contracts.services.sla import measurement_correct, service_credit_claim
from contracts.services.subscriptions import (
    licences_change,
    plan_create,
    plan_update,
    subscription_create,
    subscription_end,
)
from core import clock
from core.api.base import BillingAPIView, BillingViewSet, CreateMixin, UpdateMixin
from core.api.schema import operation, operations


class EntitlementsView(BillingAPIView):
    """GET /entities/{id}/entitlements"""

    @operation(
        operation_id="entities_entitlements",
        summary="Ask what an entity may use on a day.",
        description=(
            "Merged from its active contracts and subscriptions: numbers are summed, unlimited wins over a number. "
            "A suspended contract grants nothing."
        ),
        parameters=[DAY],
        responses=EntitlementsSerializer,
    )
    def get(self, request: Request, pk: int) -> Response:
        found = entitlements_of(
            actor=self.actor, entity_id=pk, on=day_parameter(request, "on") or clock.today()
        )
        shown = {
            "entity_id": found.entity_id,
            "on": found.on,
            "products": found.products,
            "licence_tiers": found.licence_tiers,
            "features": features_in_order(found.features),
        }
        return Response(EntitlementsSerializer(shown).data)


class RenewalPipelineView(BillingAPIView):
    """GET /renewal-pipeline"""

    permissions_needed = {"GET": "contracts.view_contract"}

    @operation(
        operation_id="renewal_pipeline",
        summary="List the contracts whose term ends soon, by when to decide.",
        description="Those in force that you see whose running term ends in `[start, end)`; by default a year.",
        parameters=[
            OpenApiParameter("start", OpenApiTypes.DATE, description="Today by default."),
            OpenApiParameter("end", OpenApiTypes.DATE, description="A year after the start by default."),
        ],
        responses=RenewalPipelineSerializer(many=True),
    )
    def get(self, request: Request) -> Response:
        entries = renewal_pipeline(
            actor=self.actor, start=day_parameter(request, "start"), end=day_parameter(request, "end")
        )
        return Response(RenewalPipelineSerializer(entries, many=True).data)


@operations(
    list=operation(summary="List the values of price indices."),
    retrieve=operation(summary="Get a value of a price index."),
    create=operation(
        summary="Record what a price index says from a day on.",
        errors={409: ["index_value_exists"]},
        example={"index_name": "CPI-US", "day": "2026-12-01", "percent": "2.6", "source": "BLS"},
    ),
)
class PriceIndexViewSet(CreateMixin, BillingViewSet):
    """Contracts that follow an index take their uplift from it."""

    queryset = PriceIndexValue.objects.all()
    serializer_class = PriceIndexSerializer
    filterset_class = PriceIndexFilter
    search_fields = ("index_name", "source")
    ordering_fields = ("day", "index_name", "id")

    def perform_create(self, data: dict[str, Any]) -> PriceIndexValue:
        return price_index_record(actor=self.actor, **data)


@operations(
    list=operation(summary="List the measurements of service levels."),
    retrieve=operation(summary="Get a measurement."),
)
class MeasurementViewSet(BillingViewSet):
    """Made by `POST /contracts/{id}/measurements`."""

    queryset = SlaMeasurement.objects.all()
    serializer_class = MeasurementSerializer
    input_serializers = {"correct": CorrectionSerializer}
    action_permissions = {"correct": "contracts.add_slameasurement"}
    filterset_class = MeasurementFilter
    search_fields = ("source", "external_id")
    ordering_fields = ("measured_from", "created_at", "id")

    @operation(
        summary="Record what should have been measured; the first value stays on record.",
        request=CorrectionSerializer,
        responses={201: MeasurementSerializer},
        errors={409: ["measurement_replaced"]},
        example={"value": "99.95"},
    )
    @action(detail=True, methods=["post"])
    def correct(self, request: Request, pk: str) -> Response:
        measurement = self.get_object()
        return self.answer(
            measurement_correct(actor=self.actor, measurement_id=measurement.pk, **self.validated()),
            status=201,
        )


@operations(
    list=operation(summary="List the credits for missed service levels."),
    retrieve=operation(summary="Get a service credit."),
)
class ServiceCreditViewSet(BillingViewSet):
    """Worked out when a period is over; on the next invoice once."""

    queryset = ServiceCredit.objects.all()
    serializer_class = ServiceCreditSerializer
    input_serializers = {"claim": ClaimSerializer}
    action_permissions = {"claim": "contracts.change_servicecredit"}
    filterset_class = ServiceCreditFilter
    search_fields = ("sla_code", "contract__title")
    ordering_fields = ("period_start", "amount", "id")

    @operation(
        summary="Note that a credit was claimed: it goes on the next invoice.",
        request=ClaimSerializer,
        responses=ServiceCreditSerializer,
        errors={409: ["claim_too_late"]},
        example={},
    )
    @action(detail=True, methods=["post"])
    def claim(self, request: Request, pk: str) -> Response:
        credit = self.get_object()
        return self.answer(service_credit_claim(actor=self.actor, credit_id=credit.pk, **self.validated()))


@operations(
    list=operation(summary="List the plans."),
    retrieve=operation(summary="Get a plan with its features."),
    create=operation(
        summary="Offer a tier of a product.",
        errors={409: ["plan_code_taken"]},
        example={"code": "desk-pro", "name": "Desk Pro", "product": "Desk", "tier": "pro", "issuer_id": 1,
                 "price": "18.00", "features": [{"feature": "seats", "limit": 1, "is_per_licence": True}]},
    ),
    partial_update=operation(
        summary="Change a plan; what subscribers pay and get is fixed once somebody has subscribed.",
        errors={409: ["plan_in_use"]},
        example={"is_active": False},
    ),
)  # fmt: skip
class PlanViewSet(CreateMixin, UpdateMixin, BillingViewSet):
    """What can be subscribed to."""

    queryset = Plan.objects.prefetch_related("features")
    serializer_class = SubscriptionPlanSerializer
    input_serializers = {"partial_update": SubscriptionPlanChangeSerializer}
    filterset_class = PlanFilter
    search_fields = ("code", "name", "product")
    ordering_fields = ("code", "product", "rank", "id")

    def perform_create(self, data: dict[str, Any]) -> Plan:
        return plan_create(actor=self.actor, **data)

    def perform_update(self, instance: Plan, data: dict[str, Any]) -> Plan:
        features, reason = data.pop("features", None), data.pop("reason", "")
        return plan_update(
            actor=self.actor, plan_id=instance.pk, changes=data, features=features, reason=reason
        )


@operations(
    list=operation(summary="List the subscriptions you see."),
    retrieve=operation(summary="Get a subscription with its changes."),
    create=operation(
        summary="Subscribe an entity to a plan under a contract.",
        errors={404: ["not_found"], 409: ["contract_not_in_force", "already_subscribed", "plan_not_offered"]},
        example={"contract_id": 1, "plan_id": 1, "quantity": 25, "starts_on": "2027-01-01"},
    ),
)
class SubscriptionViewSet(CreateMixin, BillingViewSet):
    """Licences of an entity under a contract."""

    queryset = Subscription.objects.prefetch_related("changes")
    serializer_class = SubscriptionSerializer
    input_serializers = {
        "create": SubscriptionInputSerializer,
        "change": LicencesSerializer,
        "end": SubscriptionEndSerializer,
    }
    action_permissions = {
        "change": "contracts.change_subscription",
        "end": "contracts.change_subscription",
    }
    filterset_class = SubscriptionFilter
    search_fields = ("product", "contract__title", "entity__name")
    ordering_fields = ("starts_on", "ends_on", "id")

    def perform_create(self, data: dict[str, Any]) -> Subscription:
        return subscription_create(actor=self.actor, **data)

    @operation(
        summary="Change licences or plan from a day on; the difference is prorated on the next invoice.",
        request=LicencesSerializer,
        responses=SubscriptionSerializer,
        errors={
            400: ["nothing_changes"],
            409: ["subscription_ended", "plan_of_another_product", "plan_not_offered"],
        },
        example={"quantity": 40, "effective_from": "2027-03-15"},
    )
    @action(detail=True, methods=["post"])
    def change(self, request: Request, pk: str) -> Response:
        subscription = self.get_object()
        return self.answer(
            licences_change(actor=self.actor, subscription_id=subscription.pk, **self.validated())
        )

    @operation(
        summary="End a subscription; prepaid days are credited.",
        request=SubscriptionEndSerializer,
        responses=SubscriptionSerializer,
        errors={409: ["subscription_ended"]},
        example={"ends_on": "2027-07-01", "reason": "The team moved to another tool"},
    )
    @action(detail=True, methods=["post"])
    def end(self, request: Request, pk: str) -> Response:
        subscription = self.get_object()
        return self.answer(
            subscription_end(actor=self.actor, subscription_id=subscription.pk, **self.validated())
        )


@operations(
    list=operation(summary="List what contracts bill, each fee once."),
    retrieve=operation(summary="Get a fee with the stretches it was worked out of."),
)
class FeeViewSet(BillingViewSet):
    """Written by billing runs; never changed: corrections are further fees."""

    queryset = BillableFee.objects.all()
    serializer_class = FeeSerializer
    filterset_class = FeeFilter
    search_fields = ("description", "line_code", "contract__title")
    ordering_fields = ("bill_on", "period_start", "amount", "id")
