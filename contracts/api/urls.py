"""The contracts' part of the address space, below /api/enterprise-billing/."""

from django.urls import path

from contracts.api.supply_views import (
    EntitlementsView,
    FeeViewSet,
    MeasurementViewSet,
    PlanViewSet,
    PriceIndexViewSet,
    RenewalPipelineView,
    ServiceCreditViewSet,
    SubscriptionViewSet,
)
from contracts.api.views import (
    AmendmentViewSet,
    ContractDocumentViewSet,
    ContractViewSet,
    SignatoryViewSet,
)
from core.api.routers import BillingRouter

router = BillingRouter()
router.register("contracts", ContractViewSet)
router.register("contract-amendments", AmendmentViewSet)
router.register("contract-signatories", SignatoryViewSet)
router.register("contract-documents", ContractDocumentViewSet)

router.register("plans", PlanViewSet)
router.register("subscriptions", SubscriptionViewSet)
router.register("contract-fees", FeeViewSet)
router.register("sla-measurements", MeasurementViewSet)
router.register("service-credits", ServiceCreditViewSet)
router.register("price-indices", PriceIndexViewSet)

urlpatterns = [
    path("entities/<int:pk>/entitlements", EntitlementsView.as_view(), name="entity-entitlements"),
    path("renewal-pipeline", RenewalPipelineView.as_view(), name="renewal-pipeline"),
    *router.urls,
]
