"""The inbox: what waits for somebody, and approving several requests together (APR-24)."""

from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse

from approvals.selectors.inbox import LISTS, bulk_preview, cards_of, inbox
from approvals.services.bulk import BulkResult, requests_approve_in_bulk
from approvals.views.base import ApprovalsPage
from core.errors import Invalid
from core.pages.base import PageView, is_fragment

LIST_NAMES = {
    "waiting": "Waiting for me",
    "overdue": "Overdue",
    "delegated": "Passed to me",
    "decided": "Decided by me",
}
assert tuple(LIST_NAMES) == LISTS


def _numbers(values: list[str]) -> list[int]:
    """The ids among what was sent, each once and in its order; what is no number is nobody's request."""
    return list(dict.fromkeys(int(value) for value in values if value.isdecimal() and len(value) < 19))


class InboxPage(ApprovalsPage, PageView):
    """GET /approvals/?show=waiting; htmx asks again with what it has ``seen`` and hears 204 where that still holds."""

    template_name = "approvals/inbox.html"

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        page = request.GET.get("page", "1")
        found = inbox(
            self.actor,
            shown=request.GET.get("show", ""),
            page=int(page) if page.isdecimal() and len(page) < 10 else 1,
        )
        if is_fragment(request) and request.GET.get("seen") == found.stamp:
            return HttpResponse(status=HTTPStatus.NO_CONTENT)
        chosen = set(_numbers(request.GET.getlist("request")))
        if request.GET.get("all"):
            chosen |= {card.request.pk for card in found.cards if card.in_bulk}
        address = reverse("approvals:inbox")
        here = {"show": found.shown, "page": found.page}
        context = self.get_context_data(
            inbox=found,
            lists=[(name, LIST_NAMES[name], found.counts[name]) for name in LISTS],
            list_name=LIST_NAMES[found.shown],
            chosen=chosen,
            any_in_bulk=any(card.in_bulk for card in found.cards),
            live_url=f"{address}?{urlencode({**here, 'seen': found.stamp})}",
            all_url=f"{address}?{urlencode({**here, 'all': 1})}",
        )
        return self.render_to_response(context)


class BulkPage(ApprovalsPage, PageView):
    """GET /approvals/bulk/ says what would be approved and what not; POST approves and says what became of each."""

    template_name = "approvals/bulk.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        ids = _numbers(self.request.GET.getlist("request"))
        return super().get_context_data(preview=bulk_preview(self.actor, ids), **kwargs)

    def post(self, request: HttpRequest) -> HttpResponse:
        items = []
        for value in request.POST.getlist("item"):
            number, _, seen = value.partition(":")
            items += [(pk, seen or None) for pk in _numbers([number])]
        if not items:
            raise Invalid("nothing_chosen", "Choose at least one request in your inbox first.")
        results = requests_approve_in_bulk(
            actor=self.actor, items=items, comment=request.POST.get("comment", "")
        )
        return TemplateResponse(request, "approvals/bulk_done.html", self._outcome(results))

    def again_url(self) -> str:
        return reverse("approvals:inbox")

    def _outcome(self, results: list[BulkResult]) -> dict[str, Any]:
        cards = {
            card.request.pk: card for card in cards_of(self.actor, [each.request_id for each in results])
        }
        return {
            "results": [(result, cards.get(result.request_id)) for result in results],
            "done": sum(result.done for result in results),
            "refused": sum(not result.done for result in results),
        }
