"""A page in two steps: fill in, look at what will be written to the minor unit, then write it.

What is confirmed is what was shown: if the figures have changed meanwhile the new ones are shown first. A page that
is sent twice writes once.
"""

import hashlib
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse

from core.admin.columns import amount_html, number_text
from core.admin.errors import REFUSALS, add_refusal
from core.idempotency import run_idempotent
from entities.services import AllocationPlan

MORE_LINES = 4
MOST_LINES = 200


@dataclass(frozen=True)
class Page:
    """What one page says and does. `preview` returns plans; `write` writes and returns message and address."""

    title: str
    intro: str
    button: str
    back: str
    form_class: type[forms.Form]
    preview: Callable[[dict[str, Any], list[dict[str, Any]]], Sequence[AllocationPlan]]
    write: Callable[[dict[str, Any], list[dict[str, Any]]], tuple[str, str]]
    line_class: type[forms.Form] | None = None
    lines_title: str = ""
    lines_help: str = ""
    initial: dict[str, Any] | None = None
    first_lines: int = MORE_LINES


def page_view(request: HttpRequest, model_admin: Any, page: Page) -> HttpResponse:
    """Show the page, its preview, or do what it is for."""
    wanted = request.POST.get("do", "") if request.method == "POST" else ""
    if wanted in {"preview", "confirm"}:
        form = page.form_class(request.POST)
        lines = _formset(page)(request.POST, prefix="lines") if page.line_class else None
    else:
        form, lines = _unbound(request, page)
    plans: Sequence[AllocationPlan] = []
    if wanted in {"preview", "confirm"} and form.is_valid() and (lines is None or lines.is_valid()):
        try:
            plans = page.preview(dict(form.cleaned_data), _filled(lines))
            if wanted == "confirm" and request.POST.get("shown") == _digest(plans):
                message, url = _write_once(request, page, form, lines)
                messages.success(request, message)
                return redirect(url)
            if wanted == "confirm":
                messages.warning(
                    request, "The figures have changed since you saw them. Look again, then confirm."
                )
        except REFUSALS as error:
            add_refusal(form, error)
            plans = []
    context = {
        **model_admin.admin_site.each_context(request),
        "title": page.title,
        "opts": model_admin.opts,
        "page": page,
        "form": form,
        "lines": lines,
        "media": model_admin.media + form.media + (lines.media if lines is not None else forms.Media()),
        "plans": [_shown(plan) for plan in plans],
        "shown": _digest(plans) if plans else "",
        "token": request.POST.get("token") or uuid.uuid4().hex,
    }
    status = 400 if wanted in {"preview", "confirm"} and not plans else 200
    return TemplateResponse(request, "admin/entities/two_steps.html", context, status=status)


def _formset(page: Page, extra: int = 0) -> Any:
    assert page.line_class is not None
    return forms.formset_factory(page.line_class, extra=extra, max_num=MOST_LINES, validate_max=True)


def _unbound(request: HttpRequest, page: Page) -> tuple[forms.Form, Any]:
    """An empty page, or the one that was sent with more empty lines, without complaints about what is missing."""
    sent = request.POST
    initial = {name: sent[name] for name in page.form_class.base_fields if name in sent} or page.initial or {}
    form = page.form_class(initial=initial)
    if page.line_class is None:
        return form, None
    rows = [
        {name: sent.get(f"lines-{number}-{name}", "") for name in page.line_class.base_fields}
        for number in range(min(int(sent.get("lines-TOTAL_FORMS", "0") or 0), MOST_LINES))
    ]
    filled = [row for row in rows if any(row.values())]
    extra = MORE_LINES if rows else page.first_lines
    return form, _formset(page, extra)(initial=filled, prefix="lines")


def _filled(lines: Any) -> list[dict[str, Any]]:
    return (
        []
        if lines is None
        else [dict(line.cleaned_data) for line in lines if line.cleaned_data.get("department")]
    )


def _write_once(request: HttpRequest, page: Page, form: forms.Form, lines: Any) -> tuple[str, str]:
    def handler() -> tuple[int, Any]:
        message, url = page.write(dict(form.cleaned_data), _filled(lines))
        return 201, {"message": message, "url": url}

    fields = sorted((name, values) for name, values in request.POST.lists() if name != "csrfmiddlewaretoken")
    user: Any = request.user
    done = run_idempotent(
        user=user,
        key=f"page-{request.POST.get('token', '')[:64]}",
        scope=f"POST {request.path}",
        body=repr(fields).encode(),
        handler=handler,
    )
    return done.body["message"], done.body["url"]


def _digest(plans: Sequence[AllocationPlan]) -> str:
    content = [
        (plan.currency, plan.amount, [(part.department.pk, part.amount) for part in plan.parts])
        for plan in plans
    ]
    return hashlib.sha256(repr(content).encode()).hexdigest()


def _shown(plan: AllocationPlan) -> dict[str, Any]:
    return {
        "total": amount_html(plan.amount, plan.currency),
        "rows": [
            (
                part.department,
                number_text(part.weight) if part.weight is not None else "",
                amount_html(part.amount, plan.currency),
            )
            for part in plan.parts
        ],
    }
