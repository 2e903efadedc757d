"""Deciding: each decision is a form of its own, on the request's page or without scripts on this one.

After a decision the next request that waits is shown at once.
"""

from typing import Any, ClassVar

from django.contrib import messages
from django.http import HttpResponse
from django.urls import reverse
from django.utils.html import format_html

from approvals.forms import CommentForm, PassOnForm
from approvals.models import ApprovalRequest, RequestStatus
from approvals.selectors.inbox import next_after, waiting_items
from approvals.selectors.requests import Standing, standings
from approvals.services.drafts import draft_delete
from approvals.services.escalation import request_escalate
from approvals.services.recall import vote_recall
from approvals.services.requests import draft_submit, request_withdraw
from approvals.services.votes import (
    request_approve,
    request_reject,
    request_send_back,
    task_pass_on,
)
from approvals.views.base import OneRequestPage
from core.access import get_visible
from core.pages.base import PageFormView


class ActionPage(OneRequestPage, PageFormView):
    """One thing to do with a request: GET asks for the comment, POST does it."""

    template_name = "approvals/act.html"
    form_class: Any = CommentForm
    heading: ClassVar[str]
    text: ClassVar[str] = ""
    button: ClassVar[str]
    tone: ClassVar[str] = "primary"
    comment_label: ClassVar[str] = "Comment"
    comment_needed: ClassVar[bool] = False

    def get_form_kwargs(self) -> dict[str, Any]:
        label = {"label": self.comment_label, "needed": self.comment_needed}
        return {**super().get_form_kwargs(), **label}

    def get_initial(self) -> dict[str, Any]:
        return {"seen": self._shown().content_hash}

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(shown=self._shown(), act=self, **kwargs)

    def get_success_url(self) -> str:
        return self.request_url()

    def _shown(self) -> ApprovalRequest:
        if not hasattr(self, "_request_shown"):
            rows = ApprovalRequest.objects.select_related("requester")
            self._request_shown = get_visible(rows, self.actor, self.request_id, name="approval request")
        shown: ApprovalRequest = self._request_shown
        return shown


class DecisionPage(ActionPage):
    """A decision of somebody who is asked; goes on to the next request that waits."""

    def decide(self, form: Any) -> ApprovalRequest:
        """Call the service."""
        raise NotImplementedError

    def said(self, request: ApprovalRequest) -> str:
        """What is said on the next page."""
        raise NotImplementedError

    def perform(self, form: Any) -> str:
        waiting = waiting_items(self.actor)
        request = self.decide(form)
        self.failed = request.effect_error
        self.next_id = next_after(waiting, request.pk)
        if self.failed:
            return ""
        return format_html("{} {}", self.said(request), self._left())

    def _left(self) -> str:
        left = sum(item.request_id != self.request_id for item in waiting_items(self.actor))
        if not left:
            return "Nothing else waits for you."
        return "1 more waits for you." if left == 1 else f"{left} more wait for you."

    def done(self, message: str, url: str) -> HttpResponse:
        if self.failed:
            messages.error(
                self.request,
                "Your approval could not take effect, so nothing was decided. The request says why.",
            )
        return super().done(message, url)

    def get_success_url(self) -> str:
        if self.failed:
            return self.request_url()
        if self.next_id is None:
            return reverse("approvals:inbox")
        return reverse("approvals:request", args=[self.next_id])


def approve_words(standing: Standing) -> dict[str, Any]:
    """How the comment of an approval is asked for: some levels want one (APR-24)."""
    needed = standing.comment_required
    return {"label": "Why you approve it" if needed else "Comment", "needed": needed}


def recorded(vote: str, request: ApprovalRequest) -> str:
    """A vote that has decided nothing yet, with the way to take it back."""
    return format_html(
        'Your {} of {} is recorded; others are still asked. <a href="{}">Take it back</a>.',
        vote,
        request.reference_number,
        reverse("approvals:recall", args=[request.pk]),
    )


def _seen(form: Any) -> str | None:
    return form.cleaned_data["seen"] or None


class ApprovePage(DecisionPage):
    """/approvals/requests/17/approve/"""

    heading, button = "Approve this request?", "Approve"

    def get_form_kwargs(self) -> dict[str, Any]:
        return {**super().get_form_kwargs(), **approve_words(self._standing())}

    def _standing(self) -> Standing:
        shown = self._shown()
        return standings([shown], self.actor)[shown.pk]

    def decide(self, form: CommentForm) -> ApprovalRequest:
        return request_approve(
            actor=self.actor,
            request_id=self.request_id,
            comment=form.cleaned_data["comment"],
            content_hash=_seen(form),
        )

    def said(self, request: ApprovalRequest) -> str:
        if request.status == RequestStatus.APPROVED:
            return f"{request.reference_number} “{request.title}” is approved."
        return recorded("approval", request)


class RejectPage(DecisionPage):
    """/approvals/requests/17/reject/"""

    heading, button, tone = "Reject this request?", "Reject", "danger"
    text = "The requester is told, with your reason. What was held on the budget is free again."
    comment_label, comment_needed = "Why you reject it", True

    def decide(self, form: CommentForm) -> ApprovalRequest:
        return request_reject(
            actor=self.actor,
            request_id=self.request_id,
            comment=form.cleaned_data["comment"],
            content_hash=_seen(form),
        )

    def said(self, request: ApprovalRequest) -> str:
        if request.status == RequestStatus.REJECTED:
            return f"{request.reference_number} “{request.title}” is rejected; the requester is told."
        return recorded("rejection", request)


class AskBackPage(DecisionPage):
    """/approvals/requests/17/ask/"""

    heading, button = "Ask for changes?", "Ask for changes"
    text = "The requester can change it and submit it again. Its money stays held."
    comment_label, comment_needed = "What is to be changed", True

    def decide(self, form: CommentForm) -> ApprovalRequest:
        return request_send_back(
            actor=self.actor,
            request_id=self.request_id,
            comment=form.cleaned_data["comment"],
            content_hash=_seen(form),
        )

    def said(self, request: ApprovalRequest) -> str:
        return f"{request.requester.display_name} is asked to change {request.reference_number}."


class PassOnPage(DecisionPage):
    """/approvals/requests/17/pass-on/"""

    form_class = PassOnForm
    heading, button = "Pass it on?", "Pass on"
    text = "Somebody else decides in your place. The record says for whom."

    def get_form_kwargs(self) -> dict[str, Any]:
        without = {self._shown().requester_id}
        return {**super().get_form_kwargs(), "actor": self.actor, "without": without}

    def decide(self, form: PassOnForm) -> ApprovalRequest:
        self.passed_to = form.cleaned_data["delegate_to"]
        return task_pass_on(
            actor=self.actor,
            request_id=self.request_id,
            to_user=self.passed_to,
            comment=form.cleaned_data["comment"],
        )

    def said(self, request: ApprovalRequest) -> str:
        return f"{self.passed_to.display_name} is asked about {request.reference_number} in your place."


class RecallPage(ActionPage):
    """/approvals/requests/17/recall/"""

    heading, button = "Take your vote back?", "Take it back"
    text = (
        "Your level asks you again, and the next one waits until you have decided. The record keeps both. It is "
        "possible until somebody at the next level has acted; what is approved or rejected stays so."
    )

    def perform(self, form: CommentForm) -> str:
        request = vote_recall(
            actor=self.actor, request_id=self.request_id, comment=form.cleaned_data["comment"]
        )
        return f"Your vote on {request.reference_number} is taken back. It waits for you again."


class EscalatePage(ActionPage):
    """/approvals/requests/17/escalate/"""

    heading, button = "Escalate it now?", "Escalate"
    text = "Whom the rule names is asked besides those who have not answered yet, or in their place."

    def perform(self, form: CommentForm) -> str:
        request = request_escalate(
            actor=self.actor, request_id=self.request_id, comment=form.cleaned_data["comment"]
        )
        return f"{request.reference_number} is escalated; the next ones are told."


class WithdrawPage(ActionPage):
    """/approvals/requests/17/withdraw/"""

    heading, button, tone = "Withdraw your request?", "Withdraw", "danger"
    text = "Nobody is asked any more, and what was held on the budget is free again. It cannot be taken back."

    def perform(self, form: CommentForm) -> str:
        request = request_withdraw(
            actor=self.actor, request_id=self.request_id, comment=form.cleaned_data["comment"]
        )
        return f"{request.reference_number} is withdrawn."


class SubmitPage(ActionPage):
    """/approvals/requests/17/submit/"""

    heading, button = "Submit it?", "Submit"
    text = "The amount is held on the budget, and the first approvers are asked."

    def perform(self, form: CommentForm) -> str:
        return submitted(draft_submit(actor=self.actor, request_id=self.request_id))


class DeletePage(ActionPage):
    """/approvals/requests/17/delete/"""

    heading, button, tone = "Delete this draft?", "Delete the draft", "danger"
    text = "Nobody has been asked about it yet."

    def perform(self, form: CommentForm) -> str:
        draft_delete(actor=self.actor, request_id=self.request_id)
        return "The draft is deleted."

    def get_success_url(self) -> str:
        return reverse("approvals:mine")


def submitted(request: ApprovalRequest) -> str:
    """How a request stands right after it was submitted, in a sentence."""
    if request.status == RequestStatus.APPROVED:
        return f"{request.reference_number} is approved at once: a rule says so for requests like it."
    if request.status == RequestStatus.BLOCKED:
        return f"{request.reference_number} is submitted, but nobody may decide it yet. The page says why."
    return f"{request.reference_number} is submitted; those who decide are told."
