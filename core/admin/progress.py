"""Live progress of a long job on the page of its record.

An admin says which key (core.progress) belongs to a record; the base adds `<list>/<id>/progress/` and the bar:

    class UsageImportAdmin(ProgressMixin, BillingModelAdmin):
        def progress_key(self, obj): return f"usage-import:{obj.pk}" if obj.status == "running" else ""

On a page of your own: `{% include "admin/includes/progress.html" with progress_url=... then_url=... %}`.
"""

from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, JsonResponse
from django.urls import path, reverse

from core import progress


def progress_response(key: str) -> JsonResponse:
    """Return the progress of a job for the bar: per cent (null while unknown), state and a sentence."""
    state = progress.read(key)
    if state is None:
        return JsonResponse({"percent": None, "state": "waiting", "words": "Waiting for a worker to begin."})
    words = state.message or f"{state.done:,} of {state.total:,}"
    if state.state == "running" and state.percent is not None:
        words = f"{state.percent} %. {words}"
    return JsonResponse({"percent": state.percent, "state": state.state, "words": words})


class ProgressMixin(admin.ModelAdmin):
    """Shows the progress of the record's job above its form, while there is one."""

    def progress_key(self, obj: Any) -> str:
        """Return the key of the job that works on `obj`, or an empty string when none does."""
        raise NotImplementedError

    def get_urls(self) -> list[Any]:
        name = f"{self.opts.app_label}_{self.opts.model_name}_progress"
        view = self.admin_site.admin_view(self.progress_view)
        return [path("<path:object_id>/progress/", view, name=name), *super().get_urls()]

    def progress_view(self, request: HttpRequest, object_id: str) -> JsonResponse:
        """Answer the bar, within the user's scope."""
        obj = self.get_object(request, object_id)
        if obj is None:
            raise Http404("There is no such record, or it is outside your scope.")
        if not self.has_view_permission(request, obj):
            raise PermissionDenied
        key = self.progress_key(obj)
        if not key:
            return JsonResponse({"percent": 100, "state": "done", "words": "Done."})
        return progress_response(key)

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> Any:
        obj = kwargs.get("obj")
        if obj is not None and obj.pk and self.progress_key(obj):
            prefix = f"{self.admin_site.name}:{self.opts.app_label}_{self.opts.model_name}"
            context["progress_url"] = reverse(f"{prefix}_progress", args=[obj.pk])
            context["then_url"] = request.path
        return super().render_change_form(request, context, *args, **kwargs)
