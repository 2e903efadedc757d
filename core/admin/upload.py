"""A page with a file to upload and what became of it.

def get_urls(self):
    return [path("upload/", self.admin_site.admin_view(self.upload_view), name="invoicing_usageimport_upload"),
            *super().get_urls()]

def upload_view(self, request):
    return upload_page(request, self, perm="invoicing.import_usage", form_class=UsageUploadForm,
                       title="Import usage", intro="A FOCUS file as CSV, …", run=self._start)

def _start(self, request, data):              # calls the service; refusals are shown in the form
    usage_import = usage_import_start(actor=request.user, **data)
    return UploadResult("The import has begun.", reverse(..., args=[usage_import.pk]))
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from unfold.widgets import UnfoldAdminFileFieldWidget

from core.admin.errors import REFUSALS, add_refusal
from core.admin.scoping import may


@dataclass(frozen=True)
class UploadResult:
    """What to say, and the page that shows what became of the file."""

    message: str
    url: str


class UploadForm(forms.Form):
    """The file; add fields beside it in a subclass (with Unfold's widgets)."""

    file = forms.FileField(widget=UnfoldAdminFileFieldWidget())


def upload_page(
    request: HttpRequest,
    model_admin: Any,
    *,
    perm: str,
    title: str,
    intro: str,
    run: Callable[[HttpRequest, Mapping[str, Any]], UploadResult],
    form_class: type[forms.Form] = UploadForm,
    button: str = "Upload",
    template_url: str = "",
) -> HttpResponse:
    """Show the form; on POST call `run` with the cleaned data and go to its result. Refusals stay in the form."""
    if not may(request.user, perm):
        raise PermissionDenied
    form = form_class(request.POST, request.FILES) if request.method == "POST" else form_class()
    if request.method == "POST" and form.is_valid():
        try:
            result = run(request, form.cleaned_data)
        except REFUSALS as error:
            add_refusal(form, error)
        else:
            messages.success(request, result.message)
            return redirect(result.url)
    opts = model_admin.opts
    context = {
        **model_admin.admin_site.each_context(request),
        "title": title,
        "opts": opts,
        "intro": intro,
        "form": form,
        "button": button,
        "template_url": template_url,
        "back": reverse(f"{model_admin.admin_site.name}:{opts.app_label}_{opts.model_name}_changelist"),
    }
    return TemplateResponse(request, "admin/billing_upload.html", context, status=400 if form.errors else 200)
