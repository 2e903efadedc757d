"""Pages of the tests: one with every piece, and one form whose service refuses in every way."""

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import IntegrityError
from django.http import Http404, HttpResponse
from django.template import engines
from django.template.response import TemplateResponse
from django.urls import include, path
from django.views.generic import View

from core.errors import Conflict, FieldProblem, Forbidden, Invalid, NotFound, Stale, Unauthenticated
from core.pages.base import PageFormView, PageMixin, PageView
from core.pages.components import Fact, LimitBar, TimelineEvent

GALLERY = Path(__file__).with_name("gallery.html")

REFUSALS: dict[str, Exception] = {
    "invalid": Invalid("bad_reason", "Say more.", errors=[FieldProblem("/reason", "short", "Say more.")]),
    "validation": ValidationError({"reason": "Say it in words."}),
    "forbidden": Forbidden("own_request", "Nobody approves their own request. Ask Grace Holloway."),
    "not_found": NotFound("not_found", "There is no request 7 among those you can see."),
    "http404": Http404("secret words"),
    "denied": PermissionDenied("secret words"),
    "conflict": Conflict("already_decided", "Grace Holloway approved it already, 5 minutes ago."),
    "stale": Stale("stale_version", "Somebody changed this record since you opened it."),
    "integrity": IntegrityError("duplicate key secret"),
    "unauthenticated": Unauthenticated("not_authenticated", "Sign in first."),
}


class ReasonForm(forms.Form):
    """A choice and a reason."""

    reason = forms.CharField(widget=forms.Textarea, help_text="The requester reads it.")
    limit = forms.DecimalField(max_digits=8, decimal_places=2, required=False, label="Up to", localize=False)
    urgent = forms.ChoiceField(
        choices=[("a", "Today"), ("b", "This week")], widget=forms.RadioSelect, label="When"
    )


class GalleryPage(PageFormView):
    """GET and POST /gallery/"""

    form_class = ReasonForm

    def get_template_names(self) -> Any:
        return engines["django"].from_string(GALLERY.read_text())

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        at = datetime(2024, 9, 30, 22, 30, tzinfo=UTC)
        return super().get_context_data(
            amount=Decimal("184250.5000"),
            negative=Decimal("-1250.00"),
            base=Decimal("206291.41"),
            facts=[
                Fact("Supplier", "Amazon Web Services EMEA SARL"),
                Fact("Due", "14 Oct 2024", "in 3 days"),
                Fact("Why you", "More than 10,000 EUR in Tarnholm Deutschland needs a second signature"),
                Fact("Next", "Aoife Brennan, finance manager"),
            ],
            exceeded=LimitBar(
                "Cloud 2024, Entwicklung", Decimal(500000), Decimal("401200.75"), Decimal("184250.50"), "EUR"
            ),
            within=LimitBar("Travel 2024", Decimal(20000), Decimal(8000), Decimal(4000), "EUR"),
            events=[
                TimelineEvent("Submitted", "Lukas Brandt", at, icon="send", tone="info"),
                TimelineEvent(
                    "Question", "Jonas Keller", at, "Which account does this belong to?", "warn", "help"
                ),
                TimelineEvent(
                    "Changed",
                    "Lukas Brandt",
                    at,
                    icon="edit",
                    changes=[("Amount", "150,000.00", "184,250.50")],
                ),
                TimelineEvent("Approved", "Jonas Keller", at, tone="good", icon="check"),
                TimelineEvent("Your decision", icon="person"),
            ],
            **kwargs,
        )

    def perform(self, form: Any) -> str:
        raise ValidationError("Only to see how it looks.")


class RefusingPage(PageFormView):
    """GET and POST /refusing/<kind>/"""

    form_class = ReasonForm
    permission = ""
    success_url = "/home/"

    def get_template_names(self) -> Any:
        text = (
            '{% extends "core/page.html" %}{% block title %}Refusing{% endblock %}{% block heading %}Refusing{% endblock %}'
            '{% block content %}<form id="reasons" method="post" hx-post="{{ request.path }}" hx-target="this" hx-swap="outerHTML" hx-select="#reasons">'
            '{% csrf_token %}{% include "core/includes/form.html" %}<button class="eb-button">Send</button></form>{% endblock %}'
        )
        return engines["django"].from_string(text)

    def again_url(self) -> str:
        return "/home/?again"

    def perform(self, form: Any) -> str:
        if self.kwargs["kind"] in REFUSALS:
            raise REFUSALS[self.kwargs["kind"]]
        return "It is done."


class GuardedPage(PageView):
    """GET /guarded/"""

    permission = "core.view_user"
    template_name = "core/home.html"


class ClockView(PageMixin):
    """GET /clock/: half past ten in the evening in UTC, as the reader's clock says it."""

    def get(self, request: Any) -> HttpResponse:
        template = engines["django"].from_string('{{ at|date:"DATETIME_FORMAT" }}')
        return TemplateResponse(request, template, {"at": datetime(2024, 9, 30, 22, 30, tzinfo=UTC)})


class BrokenView(View):
    """GET /broken/"""

    def get(self, request: Any) -> HttpResponse:
        raise RuntimeError("secret words")


urlpatterns = [
    path("gallery/", GalleryPage.as_view()),
    path("refusing/<kind>/", RefusingPage.as_view()),
    path("guarded/", GuardedPage.as_view()),
    path("clock/", ClockView.as_view()),
    path("broken/", BrokenView.as_view()),
    path("", include("core.pages.urls")),
    path("admin/", admin.site.urls),
    path("docs", BrokenView.as_view(), name="docs"),
]
