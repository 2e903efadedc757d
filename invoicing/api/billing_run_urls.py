"""Addresses of billing runs, below /api/enterprise-billing/; invoicing/api/urls.py includes them."""

from core.api.routers import BillingRouter
from invoicing.api.billing_run_views import BillingRunViewSet, BillingScheduleViewSet

router = BillingRouter()
router.register("billing-runs", BillingRunViewSet)
router.register("billing-schedules", BillingScheduleViewSet)

urlpatterns = router.urls
