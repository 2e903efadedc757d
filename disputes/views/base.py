"""What the customers' pages of disputes share."""

from typing import Any, ClassVar

from django.http import HttpResponse
from django.urls import reverse

from core.pages.base import PageFormView, PageMixin
from disputes.access import dispute_seen
from disputes.forms import WordForm
from disputes.models import BillingDispute


class DisputesPage(PageMixin):
    """Who sees disputes somewhere opens the pages; what stands on them is scoped further."""

    permission = "disputes.view_billingdispute"


class OneDisputePage(DisputesPage):
    """A page about the dispute of its address (``pk``)."""

    @property
    def dispute_id(self) -> int:
        pk: int = self.kwargs["pk"]
        return pk

    def dispute_url(self) -> str:
        return reverse("disputes:dispute", args=[self.dispute_id])

    def again_url(self) -> str:
        return self.dispute_url()

    def shown(self) -> BillingDispute:
        """The dispute as it is; raises NotFound."""
        if not hasattr(self, "_shown"):
            self._shown = dispute_seen(self.actor, self.dispute_id)
        return self._shown

    def version(self) -> int | None:
        """The version that the person had before them."""
        seen = self.request.POST.get("version", "")
        return int(seen) if seen.isdecimal() and len(seen) < 10 else None


class ActionPage(OneDisputePage, PageFormView):
    """One thing to do with a dispute: GET asks for a word, POST does it."""

    template_name = "disputes/act.html"
    form_class: Any = WordForm
    heading: ClassVar[str]
    text: ClassVar[str] = ""
    button: ClassVar[str]
    tone: ClassVar[str] = "primary"
    label: ClassVar[str] = "Your message"
    needed: ClassVar[bool] = True

    def get_form_kwargs(self) -> dict[str, Any]:
        return {**super().get_form_kwargs(), "label": self.label, "needed": self.needed}

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(shown=self.shown(), act=self, **kwargs)

    def get_success_url(self) -> str:
        return self.dispute_url()

    def form_valid(self, form: Any) -> HttpResponse:
        self.shown()
        return super().form_valid(form)
