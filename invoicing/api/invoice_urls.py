"""Addresses of invoices, below /api/enterprise-billing/; invoicing/api/urls.py includes them."""

from django.urls import path

from core.api.routers import BillingRouter
from invoicing.api.invoice_views import ConsolidatedInvoiceView, InvoiceViewSet, NumberSeriesViewSet

router = BillingRouter()
router.register("invoices", InvoiceViewSet)
router.register("number-series", NumberSeriesViewSet)

urlpatterns = [
    path(
        "entities/<int:pk>/consolidated-invoice",
        ConsolidatedInvoiceView.as_view(),
        name="consolidated-invoice",
    ),
    *router.urls,
]
