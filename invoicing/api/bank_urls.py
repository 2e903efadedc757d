"""Addresses of bank statements, below /api/enterprise-billing/; invoicing/api/urls.py includes them."""

from core.api.routers import BillingRouter
from invoicing.api.bank_views import BankStatementViewSet, BankTransactionViewSet

router = BillingRouter()
router.register("bank-statements", BankStatementViewSet)
router.register("bank-transactions", BankTransactionViewSet)

urlpatterns = router.urls
