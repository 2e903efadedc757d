"""Addresses of usage, below /api/enterprise-billing/; invoicing/api/urls.py includes them."""

from core.api.routers import BillingRouter
from invoicing.api.usage_views import (
    RejectedRowViewSet,
    UsageBudgetChargeViewSet,
    UsageImportViewSet,
    UsageMappingRuleViewSet,
    UsageRecordViewSet,
)

router = BillingRouter()
router.register("usage-imports", UsageImportViewSet)
router.register("usage-records", UsageRecordViewSet)
router.register("usage-budget-charges", UsageBudgetChargeViewSet)
router.register("rejected-rows", RejectedRowViewSet)
router.register("usage-mapping-rules", UsageMappingRuleViewSet)

urlpatterns = router.urls
