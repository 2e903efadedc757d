"""What somebody asks for: their requests, a new one with its preview, and changing one."""

from typing import Any

from django.db.models import Count, Prefetch, Q
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse

from approvals.forms import ADD, RequestForm
from approvals.models import OPEN_STATUSES, ApprovalRequest, ApprovalTask, RequestStatus, TaskStatus
from approvals.registry import type_label
from approvals.selectors.request_sheet import limit_bar, preview_chain
from approvals.selectors.requests import budget_effect
from approvals.services.requests import (
    draft_submit,
    request_preview,
    request_submit,
    request_update,
)
from approvals.views.base import ApprovalsPage, OneRequestPage
from approvals.views.decide import submitted
from core.access import get_visible
from core.errors import BillingError
from core.models import User
from core.pages.base import PageFormView, PageView

MINE = {
    "open": ("In progress", OPEN_STATUSES),
    "drafts": ("Drafts", (RequestStatus.DRAFT,)),
    "decided": (
        "Decided",
        (
            RequestStatus.APPROVED,
            RequestStatus.REJECTED,
            RequestStatus.WITHDRAWN,
            RequestStatus.EXPIRED,
        ),
    ),
}
SHOWN = 50


class MinePage(ApprovalsPage, PageView):
    """GET /approvals/mine/?show=open"""

    template_name = "approvals/mine.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        shown = self.request.GET.get("show", "")
        shown = shown if shown in MINE else "open"
        page = self.request.GET.get("page", "1")
        page_number = max(int(page), 1) if page.isdecimal() and len(page) < 9 else 1
        own = ApprovalRequest.objects.filter(Q(requester=self.actor) | Q(created_by=self.actor))
        counts = own.aggregate(
            **{name: Count("pk", filter=Q(status__in=statuses)) for name, (_, statuses) in MINE.items()}
        )
        asked = ApprovalTask.objects.filter(status=TaskStatus.OPEN).select_related("approver").order_by("id")
        start = (page_number - 1) * SHOWN
        rows = list(
            own.filter(status__in=MINE[shown][1])
            .select_related("department", "entity")
            .prefetch_related(Prefetch("tasks", queryset=asked, to_attr="asked"))
            .order_by("-id")[start : start + SHOWN + 1]
        )
        return super().get_context_data(
            shown=shown,
            lists=[(name, words, counts[name]) for name, (words, _) in MINE.items()],
            list_name=MINE[shown][0],
            rows=[(row, type_label(row.request_type)) for row in rows[:SHOWN]],
            next_page=page_number + 1 if len(rows) > SHOWN else 0,
            may_ask=self.actor.has_perm(ADD),
            **kwargs,
        )


class NewPage(ApprovalsPage, PageFormView):
    """GET /approvals/new/; POST with ``do`` previews, keeps a draft or submits."""

    template_name = "approvals/new.html"
    form_class = RequestForm
    permission = ADD

    def get_form_kwargs(self) -> dict[str, Any]:
        return {**super().get_form_kwargs(), "actor": self.actor}

    def form_valid(self, form: Any) -> HttpResponse:
        if self.request.POST.get("do") == "preview":
            context = self.get_context_data(form=form, preview=preview(self.actor, form))
            return self.render_to_response(context)
        return super().form_valid(form)

    def perform(self, form: RequestForm) -> str:
        draft = self.request.POST.get("do") == "draft"
        self.made = request_submit(actor=self.actor, draft=draft, **form.values())
        if draft:
            return f"{self.made.reference_number} is kept as a draft. Attach files, then submit it."
        return submitted(self.made)

    def get_success_url(self) -> str:
        return reverse("approvals:request", args=[self.made.pk])


class PreviewView(ApprovalsPage):
    """POST /approvals/new/preview/ answers with the budget check and the chain, for htmx; writes nothing."""

    permission = ADD

    def post(self, request: HttpRequest) -> HttpResponse:
        form = RequestForm(request.POST, actor=self.actor)
        # Half-filled forms are what it sees most: it says what is still missing rather than what is wrong.
        found = preview(self.actor, form) if form.is_valid() else {"missing": True}
        return TemplateResponse(request, "approvals/includes/preview.html", {"preview": found})


def preview(actor: User, form: RequestForm) -> dict[str, Any]:
    """What submitting would do: the budget's figures, who would decide; or the sentence of the refusal."""
    try:
        request, route = request_preview(actor=actor, **form.values())
    except BillingError as refusal:
        return {"refusal": refusal.message}
    people = User.objects.in_bulk({task.user_id for step in route.steps for task in step.tasks})
    effect = budget_effect(request)
    return {
        "request": request,
        "effect": effect,
        "bar": limit_bar(effect),
        "too_much": bool(
            effect and effect.after is not None and effect.after < 0 and not route.may_exceed_budget
        ),
        "chain": preview_chain(route, people),
        "route": route,
        "split": request.split_total > request.base_amount,
    }


class EditPage(OneRequestPage, PageFormView):
    """GET and POST /approvals/requests/17/edit/; ``do=submit`` submits a draft with what was entered."""

    template_name = "approvals/edit.html"
    form_class = RequestForm
    permission = ADD

    def get_form_kwargs(self) -> dict[str, Any]:
        return {**super().get_form_kwargs(), "actor": self.actor, "editing": self._edited()}

    def get_initial(self) -> dict[str, Any]:
        request = self._edited()
        values = {name: getattr(request, name) for name in RequestForm.base_fields}
        values["amount"] = f"{request.amount.normalize():f}"
        if request.budget is not None and request.department_id == request.budget.department_id:
            values["department_id"] = None
        if request.quantity is not None:
            values["quantity"] = f"{request.quantity.normalize():f}"
        return values

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        edited = self._edited()
        is_free = edited.status in (RequestStatus.DRAFT, RequestStatus.CHANGES_REQUESTED)
        return super().get_context_data(shown=edited, is_free=is_free, **kwargs)

    def perform(self, form: RequestForm) -> str:
        version = self.request.POST.get("version", "")
        edited = request_update(
            actor=self.actor,
            request_id=self.request_id,
            changes=form.values(),
            expected_version=int(version) if version.isdecimal() else None,
        )
        if self.request.POST.get("do") == "submit":
            return submitted(draft_submit(actor=self.actor, request_id=edited.pk))
        return f"{edited.reference_number} is changed."

    def get_success_url(self) -> str:
        return self.request_url()

    def _edited(self) -> ApprovalRequest:
        if not hasattr(self, "_request_edited"):
            rows = ApprovalRequest.objects.filter(Q(requester=self.actor) | Q(created_by=self.actor))
            self._request_edited = get_visible(rows, self.actor, self.request_id, name="request of yours")
        edited: ApprovalRequest = self._request_edited
        return edited
