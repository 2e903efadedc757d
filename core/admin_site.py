"""The back-office itself: Unfold's site with a search that keeps to scope, and the demo sign-ins on the first page.

It stands outside `core.admin`, because Django asks for it before any model is loaded.
"""

from typing import Any

from django.conf import settings
from django.contrib.admin.apps import AdminConfig
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from unfold.sites import UnfoldAdminSite


class BillingAdminSite(UnfoldAdminSite):
    """Enterprise Billing's back-office."""

    index_template = "admin/dashboard.html"

    def each_context(self, request: HttpRequest) -> dict[str, Any]:
        context: dict[str, Any] = super().each_context(request)
        # Sign-ins shown on the sign-in page, in demonstrations only: (role, user name, password).
        context["demo_sign_ins"] = getattr(settings, "DEMO_SIGN_INS", None) or []
        return context

    def extra_urls(self) -> list[URLPattern]:
        return [
            path("notifications/read-all/", self.admin_view(self.read_all), name="notifications_read_all")
        ]

    def read_all(self, request: HttpRequest) -> HttpResponse:
        """POST: mark all of one's own notifications as read."""
        from core.admin.records import mark_all_read  # models are not loaded when this module is

        return mark_all_read(request)

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        """The dashboard: what others registered with core.admin.dashboard, for this user."""
        from core.admin.dashboard import dashboard_context  # models are not loaded when this module is

        return super().index(request, {**dashboard_context(request), **(extra_context or {})})

    def search(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Ctrl+K: pages of the navigation and records of a few models, each within what the user may see.

        Unfold's own keeps the results for five minutes, also after a right was taken away, and has no limit.
        """
        from core.admin.palette import find  # models are not loaded when this module is

        term = request.GET.get("s", "").strip()
        if not term:
            return HttpResponse()
        results = find(self, request, term)
        context = {"results": results, "page_counter": 0, "command_show_history": False, "term": term}
        return TemplateResponse(request, "admin/palette.html", context, headers={"HX-Trigger": "search"})


class BillingAdminConfig(AdminConfig):
    """Makes this site the default one."""

    default_site = "core.admin_site.BillingAdminSite"
