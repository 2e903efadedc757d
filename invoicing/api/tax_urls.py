"""Addresses of tax by product, below /api/enterprise-billing/; invoicing/api/urls.py includes them."""

from core.api.routers import BillingRouter
from invoicing.api.tax_views import TaxRuleViewSet

router = BillingRouter()
router.register("tax-rules", TaxRuleViewSet)

urlpatterns = router.urls
