"""Requests found again, and one's own figures."""

from typing import Any

from django import forms

from approvals.models import RequestStatus
from approvals.registry import approval_types, type_label
from approvals.selectors.history import own_figures, search_requests
from approvals.selectors.workload import DAYS, duration_words
from approvals.views.base import ApprovalsPage
from core.pages.base import PageView

SHOWN = 50


class HistoryForm(forms.Form):
    """What is looked for; all of it may be left out."""

    text = forms.CharField(
        label="Look for",
        required=False,
        max_length=200,
        widget=forms.TextInput(attrs={"type": "search", "placeholder": "Title, supplier, number or person"}),
    )
    request_type = forms.ChoiceField(label="Type", required=False)
    status = forms.ChoiceField(label="How it stands", required=False)
    asked_from = forms.DateField(
        label="Asked from", required=False, widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d")
    )
    asked_to = forms.DateField(
        label="To", required=False, widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d")
    )
    mine = forms.BooleanField(label="Only what I decided on", required=False)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        statuses = [each for each in RequestStatus.choices if each[0] != RequestStatus.DRAFT]
        types = [(each.code, each.label) for each in approval_types()]
        for name, choices in (("request_type", types), ("status", statuses)):
            field = self.fields[name]
            assert isinstance(field, forms.ChoiceField)
            field.choices = [("", "All"), *choices]


class HistoryPage(ApprovalsPage, PageView):
    """GET /approvals/history/?text=monitors&status=approved"""

    template_name = "approvals/history.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        form = HistoryForm(self.request.GET)
        wanted = form.cleaned_data if form.is_valid() else {}
        page = self.request.GET.get("page", "1")
        number = max(int(page), 1) if page.isdecimal() and len(page) < 9 else 1
        start = (number - 1) * SHOWN
        rows = (
            list(search_requests(self.actor, **wanted)[start : start + SHOWN + 1]) if form.is_valid() else []
        )
        asked = self.request.GET.copy()
        asked.pop("page", None)
        figures = own_figures(self.actor)
        return super().get_context_data(
            form=form,
            searching=any(wanted.values()),
            narrowed=bool(form.errors) or any(value for name, value in wanted.items() if name != "text"),
            rows=[(row, type_label(row.request_type)) for row in rows[:SHOWN]],
            page=number,
            more=len(rows) > SHOWN,
            query=asked.urlencode(),
            figures=figures,
            days=DAYS,
            median=duration_words(figures.median) if figures.median is not None else "",
            **kwargs,
        )
