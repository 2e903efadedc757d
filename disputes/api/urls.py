"""The disputes' part of the address space, below /api/enterprise-billing/."""

from core.api.routers import BillingRouter
from disputes.api.policy_views import DisputePolicyViewSet
from disputes.api.views import DisputeAttachmentViewSet, DisputeViewSet

router = BillingRouter()
router.register("disputes", DisputeViewSet)
router.register("dispute-attachments", DisputeAttachmentViewSet)
router.register("dispute-policies", DisputePolicyViewSet)

urlpatterns = router.urls
