"""The organisation's part of the address space, below /api/enterprise-billing/."""

from core.api.routers import BillingRouter
from entities.api.views import (
    AllocationPostingViewSet,
    AllocationRuleViewSet,
    CostAllocationViewSet,
    DepartmentViewSet,
    EntityLinkViewSet,
    EntityViewSet,
    MembershipViewSet,
)

router = BillingRouter()
router.register("entities", EntityViewSet)
router.register("entity-links", EntityLinkViewSet)
router.register("departments", DepartmentViewSet)
router.register("memberships", MembershipViewSet)
router.register("allocation-rules", AllocationRuleViewSet)
router.register("allocation-postings", AllocationPostingViewSet)
router.register("cost-allocations", CostAllocationViewSet)

urlpatterns = router.urls
