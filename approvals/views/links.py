"""The confirmation page of a link in a mail (APR-25): a GET shows what would be decided, only the POST decides.

It is open to whoever holds the link, signed in or not; the service tests the token, the person and the amount.
"""

from typing import Any, cast

from django import forms
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.generic import View
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from approvals.forms import CommentForm
from approvals.models import LinkAction
from approvals.registry import type_label
from approvals.services.links import OpenedLink, link_open, link_use
from core import clock
from core.admin.errors import add_refusal
from core.errors import BillingError, RateLimited
from core.models import User
from core.pages.base import refusal_of

# What the person can put right on the page itself.
_IN_THE_FORM = {"step_up_required", "wrong_password", "comment_required", "too_many_passwords"}


class LinkForm(CommentForm):
    """A comment, and above an amount the password of who is not signed in."""

    password = forms.CharField(
        max_length=1024,
        strip=False,
        label="Your password",
        widget=forms.PasswordInput(attrs={"autocomplete": "current-password"}),
        help_text="For an amount like this the link alone is not enough.",
    )

    def __init__(self, *args: Any, opened: OpenedLink, **kwargs: Any) -> None:
        verb = "reject" if opened.action == LinkAction.REJECT else "approve"
        label = f"Why you {verb} it" if opened.comment_required else "Comment"
        super().__init__(*args, label=label, needed=opened.comment_required, **kwargs)
        del self.fields["seen"]
        if not opened.step_up:
            del self.fields["password"]


@method_decorator([never_cache, sensitive_post_parameters("password")], name="dispatch")
class LinkPage(View):
    """GET and POST /approvals/links/<token>/"""

    http_method_names = ["get", "post", "options"]

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        try:
            response = super().dispatch(request, *args, **kwargs)
        except BillingError as error:
            response = self._refused(error)
        # The address is the key: it goes nowhere else.
        response["Referrer-Policy"] = "no-referrer"
        return response

    def get(self, request: HttpRequest, token: str) -> HttpResponse:
        opened = link_open(token=token, **self._caller())
        return self._page(opened, LinkForm(opened=opened))

    def post(self, request: HttpRequest, token: str) -> HttpResponse:
        opened = link_open(token=token, **self._caller())
        form = LinkForm(request.POST, opened=opened)
        if not form.is_valid():
            return self._page(opened, form, status=400)
        try:
            decided = link_use(
                token=token,
                comment=form.cleaned_data["comment"],
                password=form.cleaned_data.get("password", ""),
                **self._caller(),
            )
        except BillingError as error:
            if error.code not in _IN_THE_FORM:
                raise
            add_refusal(form, error)
            return self._page(opened, form, status=error.status)
        done = {"decided": decided, "opened": opened, "rejected": opened.action == LinkAction.REJECT}
        return TemplateResponse(request, "approvals/link_done.html", done)

    def _caller(self) -> dict[str, Any]:
        user = self.request.user
        return {
            "caller": BaseThrottle().get_ident(cast(Request, self.request)),
            "signed_in": user if isinstance(user, User) else None,
        }

    def _page(self, opened: OpenedLink, form: LinkForm, status: int = 200) -> HttpResponse:
        context = {
            "opened": opened,
            "asked": opened.request,
            "type_label": type_label(opened.request.request_type),
            "form": form,
            "rejecting": opened.action == LinkAction.REJECT,
        }
        with timezone.override(clock.zone(opened.user.time_zone)):
            return TemplateResponse(self.request, "approvals/link.html", context, status=status).render()

    def _refused(self, error: BillingError) -> HttpResponse:
        response = TemplateResponse(
            self.request,
            "approvals/link_refused.html",
            {"refusal": refusal_of(error)},
            status=error.status,
        )
        if isinstance(error, RateLimited) and "retry_after" in error.extra:
            response["Retry-After"] = str(error.extra["retry_after"])
        return response
