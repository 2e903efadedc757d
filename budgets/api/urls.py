"""The budgets' part of the address space, below /api/enterprise-billing/."""

from django.urls import path

from budgets.api.budget_views import BudgetViewSet
from budgets.api.change_views import (
    BudgetEntryViewSet,
    BudgetOverrideViewSet,
    BudgetRevisionViewSet,
    BudgetRolloverViewSet,
    BudgetTransferViewSet,
    CommitmentViewSet,
)
from budgets.api.hot import ChargeView, CheckAvailabilityView
from core.api.routers import BillingRouter

router = BillingRouter()
router.register("budgets", BudgetViewSet)
router.register("commitments", CommitmentViewSet)
router.register("budget-entries", BudgetEntryViewSet)
router.register("budget-transfers", BudgetTransferViewSet)
router.register("budget-revisions", BudgetRevisionViewSet)
router.register("budget-overrides", BudgetOverrideViewSet)
router.register("budget-rollovers", BudgetRolloverViewSet)

urlpatterns = [
    path(
        "budgets/<int:pk>/check-availability",
        CheckAvailabilityView.as_view(),
        name="budget-check-availability",
    ),
    path("budgets/<int:pk>/charge", ChargeView.as_view(), name="budget-charge"),
    *router.urls,
]
