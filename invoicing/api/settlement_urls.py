"""Addresses of what settles documents, below /api/enterprise-billing/; invoicing/api/urls.py includes them."""

from django.urls import path

from core.api.routers import BillingRouter
from invoicing.api.settlement_views import (
    BalanceView,
    CreditNoteViewSet,
    InvoiceCreditNotesView,
    InvoiceDebitNotesView,
    InvoiceSettlementsView,
    InvoiceWriteOffView,
    PaymentViewSet,
    RefundViewSet,
    SettlementViewSet,
)

router = BillingRouter()
router.register("payments", PaymentViewSet)
router.register("credit-notes", CreditNoteViewSet, basename="credit-note")
router.register("settlements", SettlementViewSet)
router.register("refunds", RefundViewSet)

urlpatterns = [
    path("invoices/<int:pk>/credit-notes", InvoiceCreditNotesView.as_view(), name="invoice-credit-notes"),
    path("invoices/<int:pk>/debit-notes", InvoiceDebitNotesView.as_view(), name="invoice-debit-notes"),
    path("invoices/<int:pk>/write-off", InvoiceWriteOffView.as_view(), name="invoice-write-off"),
    path("invoices/<int:pk>/settlements", InvoiceSettlementsView.as_view(), name="invoice-settlements"),
    path("entities/<int:pk>/balance", BalanceView.as_view(), name="entity-balance"),
    *router.urls,
]
