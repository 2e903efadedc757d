"""The base of every page of people who are not in the back-office. Copy this to begin:

    from core.pages.base import PageFormView, PageView

    class RequestPage(PageView):                                   # GET /approvals/17/
        template_name = "approvals/request.html"
        permission = "approvals.view_approvalrequest"              # asked "anywhere?"; on the object ask the service

        def get_context_data(self, **kwargs):
            request = get_visible(ApprovalRequest.objects, self.actor, self.kwargs["pk"], name="request")
            return super().get_context_data(request_shown=request, **kwargs)

    class RejectPage(PageFormView):                                # GET shows the form, POST decides
        template_name = "approvals/reject.html"
        form_class = RejectForm

        def perform(self, form):
            step_reject(actor=self.actor, step=…, comment=form.cleaned_data["comment"])
            return "Rejected. The requester has been told."        # the message on the next page

        def get_success_url(self): return reverse("approvals:inbox")
        def again_url(self): return reverse("approvals:request", args=[self.kwargs["pk"]])

    {% extends "core/page.html" %}{% load billing_pages %}
    {% block title %}Invoice {{ invoice.number }}{% endblock %}
    {% block back %}<a href="{% url 'approvals:inbox' %}">Approvals</a>{% endblock %}
    {% block content %}
        {{ invoice.status|badge }} {{ invoice.total|amount:invoice.currency }}
        {% include "core/includes/facts.html" with facts=facts %}
    {% endblock %}
    {% block actionbar %}<button form="approve" class="eb-button eb-primary">Approve</button>{% endblock %}

What comes by itself: signing in (and coming back), `self.actor`, times in the person's zone, no copy of the page in
caches, refusals of core.errors as pages with their status and what to do next, or in the form where the input is wrong.

Rules. A GET never changes anything. Everything works without JavaScript: a link or a form first, then `hx-…` on it;
`<a data-dialog="id" href="…">` opens the <dialog> of that id where there are scripts and the page of its address where
there are none. No `style=` and no script in a template: the policy forbids both (draw widths with SVG attributes).
A form with `hx-post hx-target="this" hx-swap="outerHTML" hx-select="#its-id" hx-select-oob="#messages"` comes back with
its errors alone; a fragment of its own includes `core/includes/messages.html` with `oob=True`. Pieces: badge,
amount and icon (the tags in core/templatetags/billing_pages.py), core/includes/{facts,limit_bar,timeline,empty,field,
form_errors}.html, the classes `eb-card`, `eb-panel`, `eb-table` (rows become cards on a phone; each cell says its
`data-label`), `eb-actionbar`. tests/core/pages/gallery.html shows each. An app adds itself to the navigation with
`core.pages.navigation.register_page`.
"""

from http import HTTPStatus
from typing import Any, NamedTuple

from django import forms
from django.contrib import messages
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import IntegrityError
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, resolve_url
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.cache import patch_cache_control
from django.views.generic import FormView, TemplateView, View
from django_htmx.http import HttpResponseClientRedirect

from core import clock
from core.access import require
from core.admin.errors import add_refusal, sentences
from core.errors import (
    BillingError,
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    Unauthenticated,
    from_validation_error,
)
from core.models import User

REFUSALS = (BillingError, ValidationError, IntegrityError, Http404, PermissionDenied)


class Refusal(NamedTuple):
    """What the page of a refusal shows."""

    status: int
    heading: str
    icon: str
    tone: str
    code: str
    sentences: list[str]


_HEADINGS: dict[int, tuple[str, str, str]] = {
    HTTPStatus.FORBIDDEN: ("You may not do that", "lock", "neutral"),
    HTTPStatus.NOT_FOUND: ("There is nothing here for you", "search_off", "neutral"),
    HTTPStatus.CONFLICT: ("That is not possible as things stand", "sync_problem", "warn"),
    HTTPStatus.PRECONDITION_FAILED: ("Somebody else was quicker", "sync_problem", "warn"),
    HTTPStatus.TOO_MANY_REQUESTS: ("Too many requests", "hourglass_top", "warn"),
}
_OTHER_HEADING = ("That cannot be done as it was sent", "error", "bad")


class PageMixin(View):
    """Signed-in people only, in their time zone; refusals become pages. See the module's guide."""

    # A right that the page needs somewhere; rights on one object are the service's to ask.
    permission = ""

    @property
    def actor(self) -> User:
        """Who is signed in."""
        user = self.request.user
        assert isinstance(user, User)
        return user

    def again_url(self) -> str:
        """Where a refusal sends people to see how things stand now; the page itself where it can be opened."""
        return self.request.path if hasattr(self, "get") else reverse("pages:home")

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if not request.user.is_authenticated:
            return to_sign_in(request)
        with timezone.override(clock.zone(self.actor.time_zone)):
            try:
                self.check_access()
                response = _rendered(super().dispatch(request, *args, **kwargs))
            except REFUSALS as error:
                response = _rendered(self.refused(as_billing_error(error)))
        patch_cache_control(response, private=True, no_store=True)
        return response

    def check_access(self) -> None:
        """Raise Forbidden for service accounts, and for people without the page's `permission`."""
        if self.actor.is_service_account:
            raise Forbidden(
                "people_only", "Pages are for people. A service account calls the API with a token instead."
            )
        if self.permission:
            require(self.actor, self.permission)

    def refused(self, error: BillingError) -> HttpResponseBase:
        """Answer with the refusal: a page, or for htmx the panel that the page keeps for it."""
        if isinstance(error, Unauthenticated):
            return to_sign_in(self.request)
        context = {"refusal": refusal_of(error), "again_url": self.again_url()}
        if is_fragment(self.request):
            return TemplateResponse(
                self.request,
                "core/includes/refusal.html",
                context,
                status=error.status,
                headers={
                    "HX-Retarget": "#refusal",
                    "HX-Reswap": "innerHTML show:#refusal:top",
                    "HX-Reselect": ".eb-refusal",
                },
            )
        return TemplateResponse(self.request, "core/refusal.html", context, status=error.status)

    def done(self, message: str, url: str) -> HttpResponse:
        """Say what was done and go on to the next page."""
        if message:
            messages.success(self.request, message)
        return HttpResponseClientRedirect(url) if is_fragment(self.request) else redirect(url)


class PageView(PageMixin, TemplateView):
    """A page to read."""


class PageFormView(PageMixin, FormView):
    """A form whose valid data go to a service; what the service finds wrong with them stands in the form."""

    def perform(self, form: Any) -> str:
        """Call the service with `form.cleaned_data`; return the message for the next page."""
        raise NotImplementedError

    def form_valid(self, form: forms.BaseForm) -> HttpResponse:
        try:
            message = self.perform(form)
        except (Invalid, ValidationError) as error:
            add_refusal(form, error)
            return self.form_invalid(form)
        return self.done(message, str(self.get_success_url()))

    def form_invalid(self, form: forms.BaseForm) -> HttpResponse:
        return self.render_to_response(self.get_context_data(form=form), status=HTTPStatus.BAD_REQUEST)


def is_fragment(request: HttpRequest) -> bool:
    """Whether htmx asks for a part of the page rather than for all of it."""
    htmx: Any = getattr(request, "htmx", None)
    return bool(htmx) and not htmx.boosted


def to_sign_in(request: HttpRequest) -> HttpResponse:
    """Send somebody to the sign-in page, and back here afterwards."""
    if is_fragment(request):
        page = request.htmx.current_url_abs_path or "/"  # type: ignore[attr-defined]
        address = redirect_to_login(page).url
        return HttpResponseClientRedirect(address)
    # What was sent by POST cannot be repeated by a GET: they begin again.
    back = request.get_full_path() if request.method in {"GET", "HEAD"} else resolve_url("pages:start")
    return redirect_to_login(back)


def refusal_of(error: BillingError) -> Refusal:
    """Return what the page of a refusal shows."""
    heading, icon, tone = _HEADINGS.get(error.status, _OTHER_HEADING)
    return Refusal(error.status, heading, icon, tone, error.code, sentences(error))


def as_billing_error(error: Exception) -> BillingError:
    """Return the error of the product that says the same as one of Django's."""
    if isinstance(error, BillingError):
        return error
    if isinstance(error, ValidationError):
        return from_validation_error(error)
    if isinstance(error, IntegrityError):
        return Conflict("database_rule", sentences(error)[0])
    if isinstance(error, PermissionDenied):
        return Forbidden("permission_denied", "It needs a right that your roles do not give.")
    return NotFound("not_found", "The address is wrong, or the record is outside what you may see.")


def _rendered(response: HttpResponseBase) -> HttpResponseBase:
    """Render at once, in the person's time zone; Django would do so after the view."""
    if isinstance(response, TemplateResponse):
        return response.render()
    return response
