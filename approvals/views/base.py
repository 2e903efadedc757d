"""What the pages of approvals share: the right to open them, and a conflict that says what one can still do."""

from typing import Any

from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import reverse

from approvals.models import ApprovalRequest
from approvals.selectors.inbox import next_after, waiting_items
from core.errors import BillingError, Conflict
from core.pages.base import PageMixin, is_fragment, refusal_of


class ApprovalsPage(PageMixin):
    """Who sees requests somewhere opens the pages; what stands on them is scoped further."""

    permission = "approvals.view_approvalrequest"


class OneRequestPage(ApprovalsPage):
    """A page about the request of its address (``pk``); a conflict shows how it stands now and what comes next."""

    @property
    def request_id(self) -> int:
        pk: int = self.kwargs["pk"]
        return pk

    def request_url(self) -> str:
        return reverse("approvals:request", args=[self.request_id])

    def again_url(self) -> str:
        return self.request_url()

    def refused(self, error: BillingError) -> HttpResponseBase:
        if not isinstance(error, Conflict) or is_fragment(self.request):
            return super().refused(error)
        shown = ApprovalRequest.objects.visible_to(self.actor).filter(pk=self.request_id).first()
        following = next_after(waiting_items(self.actor), self.request_id)
        context: dict[str, Any] = {
            "refusal": refusal_of(error),
            "again_url": self.again_url(),
            "shown": shown,
            "changed": error.code == "content_changed",
            "next_id": following,
        }
        return TemplateResponse(self.request, "approvals/conflict.html", context, status=error.status)
