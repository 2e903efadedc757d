"""Refusals become words on the page: a rule that says no is never a server error."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import NON_FIELD_ERRORS, ValidationError
from django.db import IntegrityError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from core.errors import BillingError, constraint_name

REFUSALS = (BillingError, ValidationError, IntegrityError)


def sentences(error: Exception) -> list[str]:
    """Return what `error` says, one sentence per problem, for people."""
    if isinstance(error, BillingError):
        details = [problem.detail for problem in error.errors]
        return [error.message, *[detail for detail in details if detail != error.message]]
    if isinstance(error, ValidationError):
        return [str(message) for message in error.messages]
    constraint = constraint_name(error) if isinstance(error, IntegrityError) else None
    rule = f" ({constraint})" if constraint else ""
    return [f"The database keeps a rule that this change would break{rule}. Nothing was changed."]


def field_errors(error: Exception, names: set[str]) -> dict[str, list[str]]:
    """Spread the problems of `error` over the form fields `names`; the rest is about the whole form."""
    found: dict[str, list[str]] = {}
    if isinstance(error, BillingError) and error.errors:
        for problem in error.errors:
            name = problem.pointer.strip("#/").split("/")[0].removesuffix("_id")
            found.setdefault(name if name in names else NON_FIELD_ERRORS, []).append(problem.detail)
        return found
    if isinstance(error, ValidationError) and hasattr(error, "error_dict"):
        for name, lines in error.message_dict.items():
            found.setdefault(name if name in names else NON_FIELD_ERRORS, []).extend(lines)
        return found
    return {NON_FIELD_ERRORS: sentences(error)}


class RefusalsMixin(admin.ModelAdmin):
    """A refusal while saving is shown in the form with the input kept; elsewhere it is a message."""

    def changeform_view(
        self, request: HttpRequest, object_id: Any = None, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        try:
            return super().changeform_view(request, object_id, form_url, extra_context)
        except REFUSALS as error:
            if request.method != "POST":
                messages.error(request, " ".join(sentences(error)))
                return redirect("..")
            # The transaction is rolled back. The form is shown again as it was sent, with the refusal in it.
            request.refusal = error  # type: ignore[attr-defined]  # the request carries it to get_form
            return super().changeform_view(request, object_id, form_url, extra_context)

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        form_class = super().get_form(request, obj, change=change, **kwargs)
        refusal: Exception | None = getattr(request, "refusal", None)
        if refusal is None:
            return form_class
        said: Exception = refusal

        class RefusedForm(form_class):  # type: ignore[misc, valid-type]  # the base is made at run time
            def _post_clean(self) -> None:
                super()._post_clean()
                add_refusal(self, said)

        return RefusedForm

    def delete_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> HttpResponse:
        try:
            return super().delete_view(request, object_id, extra_context)
        except REFUSALS as error:
            messages.error(request, " ".join(sentences(error)))
            return redirect("../change/")

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        try:
            return super().changelist_view(request, extra_context)
        except REFUSALS as error:
            messages.error(request, " ".join(sentences(error)))
            return redirect(request.path)


def add_refusal(form: forms.BaseForm, error: Exception) -> None:
    """Put the refusal `error` into a plain form, beside the fields it names."""
    for name, lines in field_errors(error, set(form.fields)).items():
        form.add_error(None if name == NON_FIELD_ERRORS else name, [ValidationError(line) for line in lines])
