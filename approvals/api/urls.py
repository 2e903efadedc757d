"""The approvals' part of the address space, below /api/enterprise-billing/."""

from typing import Any

from django.urls import path, re_path

from approvals.api.hot import approving, creating
from approvals.api.mail_views import ApprovalMailPreferenceView
from approvals.api.rule_views import ApprovalRuleViewSet, AuthorityLimitViewSet, DelegationViewSet
from approvals.api.views import ApprovalAttachmentViewSet, ApprovalTaskViewSet, ApprovalViewSet
from core.api.routers import BillingRouter

router = BillingRouter()
router.register("approvals", ApprovalViewSet)
router.register("approval-tasks", ApprovalTaskViewSet)
router.register("approval-attachments", ApprovalAttachmentViewSet)
router.register("approval-rules", ApprovalRuleViewSet)
router.register("approval-delegations", DelegationViewSet)
router.register("authority-limits", AuthorityLimitViewSet)

routes: list[Any] = router.urls
usual = {route.name: route.callback for route in routes}

urlpatterns = [
    # The busiest two come first; whatever they do not answer themselves goes to the usual view.
    path("approvals", creating(usual["approvalrequest-list"]), name="approvalrequest-list"),
    re_path(
        r"^approvals/(?P<pk>[0-9]{1,18})/action$",
        approving(usual["approvalrequest-act"]),
        name="approvalrequest-act",
    ),
    path("approval-mail-preference", ApprovalMailPreferenceView.as_view(), name="approval-mail-preference"),
    *router.urls,
]
