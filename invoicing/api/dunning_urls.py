"""Addresses of dunning and credit limits, below /api/enterprise-billing/; invoicing/api/urls.py includes them."""

from django.urls import path

from core.api.routers import BillingRouter
from invoicing.api.dunning_views import CreditView, DunningNoticeViewSet

router = BillingRouter()
router.register("dunning-notices", DunningNoticeViewSet)

urlpatterns = [path("entities/<int:pk>/credit", CreditView.as_view(), name="entity-credit"), *router.urls]
