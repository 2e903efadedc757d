"""The page of one request, its files and its comments."""

from typing import Any

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import reverse

from approvals.forms import CommentForm, FileForm, PassOnForm
from approvals.models import ApprovalAttachment
from approvals.selectors.inbox import next_after, waiting_items
from approvals.selectors.request_sheet import RequestSheet, request_sheet
from approvals.services.attachments import attachment_add, attachment_remove
from approvals.services.requests import comment_add
from approvals.views.base import ApprovalsPage, OneRequestPage
from approvals.views.decide import approve_words
from core.access import get_visible
from core.pages.base import PageFormView, PageView
from core.pages.files import PREVIEWED, attached_file


class RequestPage(OneRequestPage, PageView):
    """GET /approvals/requests/17/"""

    template_name = "approvals/request.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        sheet = request_sheet(actor=self.actor, request_id=self.request_id)
        items = waiting_items(self.actor)
        ids = [item.request_id for item in items]
        return super().get_context_data(
            sheet=sheet,
            shown=sheet.request,
            files=[(file, PREVIEWED.get(file.content_type, "")) for file in sheet.attachments],
            next_id=next_after(items, self.request_id),
            position=ids.index(self.request_id) + 1 if self.request_id in ids else 0,
            waiting=len(ids),
            comment_form=CommentForm(auto_id="say_%s"),
            file_form=FileForm(),
            **_decision_forms(sheet, self),
            **kwargs,
        )


def _decision_forms(sheet: RequestSheet, view: OneRequestPage) -> dict[str, Any]:
    """The forms of the dialogs; each has a page of its own for those without scripts."""
    request, actions = sheet.request, sheet.standing.actions
    seen = {"seen": request.content_hash}
    forms: dict[str, Any] = {}
    if "approve" in actions:
        words = approve_words(sheet.standing)
        forms["approve_form"] = CommentForm(initial=seen, auto_id="approve_%s", **words)
        forms["reject_form"] = CommentForm(
            initial=seen, auto_id="reject_%s", label="Why you reject it", needed=True
        )
        forms["ask_form"] = CommentForm(
            initial=seen, auto_id="ask_%s", label="What is to be changed", needed=True
        )
    if "delegate" in actions:
        forms["pass_form"] = PassOnForm(actor=view.actor, without={request.requester_id}, auto_id="pass_%s")
    return forms


class CommentPage(OneRequestPage, PageFormView):
    """GET and POST /approvals/requests/17/comment/"""

    template_name = "approvals/comment.html"
    form_class = CommentForm

    def get_form_kwargs(self) -> dict[str, Any]:
        return {**super().get_form_kwargs(), "needed": True}

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        sheet = request_sheet(actor=self.actor, request_id=self.request_id)
        return super().get_context_data(shown=sheet.request, **kwargs)

    def perform(self, form: CommentForm) -> str:
        comment_add(actor=self.actor, request_id=self.request_id, body=form.cleaned_data["comment"])
        return "Your comment stands on the request; those who take part are told."

    def get_success_url(self) -> str:
        return f"{self.request_url()}#history"


class AttachPage(OneRequestPage, PageFormView):
    """GET and POST /approvals/requests/17/attach/"""

    template_name = "approvals/attach.html"
    form_class = FileForm

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        sheet = request_sheet(actor=self.actor, request_id=self.request_id)
        return super().get_context_data(shown=sheet.request, **kwargs)

    def perform(self, form: FileForm) -> str:
        file = form.cleaned_data["file"]
        attachment_add(actor=self.actor, request_id=self.request_id, name=file.name, file=file)
        return f"“{file.name}” is attached."

    def get_success_url(self) -> str:
        return f"{self.request_url()}#files"


class FilePage(ApprovalsPage):
    """GET /approvals/files/5/ to those who see the request; ``?download`` saves it. POST takes it off."""

    def get(self, request: HttpRequest, pk: int) -> HttpResponseBase:
        attachment = self._attachment(pk)
        return attached_file(attachment, download="download" in request.GET)

    def post(self, request: HttpRequest, pk: int) -> HttpResponseBase:
        attachment = attachment_remove(actor=self.actor, attachment_id=pk)
        back = reverse("approvals:request", args=[attachment.request_id])
        return self.done(f"“{attachment.name}” is taken off.", f"{back}#files")

    def again_url(self) -> str:
        return reverse("approvals:inbox")

    def _attachment(self, pk: int) -> ApprovalAttachment:
        rows = ApprovalAttachment.objects.filter(removed_at__isnull=True)
        attachment: ApprovalAttachment = get_visible(rows, self.actor, pk, name="file")
        return attachment
