"""Addresses of departments' shares in invoice lines; invoicing/api/urls.py includes them."""

from django.urls import path

from core.api.routers import BillingRouter
from invoicing.api.share_views import InvoiceLineShareViewSet, LineSharesViewSet

router = BillingRouter()
router.register("invoice-line-shares", InvoiceLineShareViewSet)

urlpatterns = [
    path(
        "invoices/<int:pk>/lines/<int:line_number>/shares",
        LineSharesViewSet.as_view({"get": "shares", "post": "allocate"}, detail=True),
        name="invoice-line-share-of-line",
    ),
    *router.urls,
]
