"""The report on reasons: why customers dispute, how it ended, how long it took; each figure leads to its disputes."""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django import forms
from django.http import Http404, HttpRequest, HttpResponseBase
from django.urls import reverse
from django.utils.safestring import SafeString

from core import clock
from core.admin.columns import amount_html, number_text
from core.admin.errors import REFUSALS, sentences
from core.admin.export import FORMATS
from core.clock import month_after
from core.money import round_money
from disputes.admin.clocks import hours_words
from disputes.admin.filters import NONE
from disputes.models import BillingDispute
from disputes.selectors.reasons import DisputeReasons, ReasonRow, dispute_reasons
from entities.admin.base import actor_of
from entities.models import Entity

LIST = "admin:disputes_billingdispute_changelist"
GROUPINGS = (("By category", "category__exact"), ("By root cause", "cause"), ("By outcome", "outcome"))
_INPUT = {"class": "eb-input"}


class PeriodForm(forms.Form):
    """When they were opened, and whose they are."""

    opened_from = forms.DateField(
        label="Opened from", required=False, widget=forms.DateInput(attrs={**_INPUT, "type": "date"})
    )
    opened_to = forms.DateField(
        label="until before", required=False, widget=forms.DateInput(attrs={**_INPUT, "type": "date"})
    )
    entity = forms.ModelChoiceField(
        label="Customer",
        required=False,
        queryset=Entity.objects.none(),
        empty_label="All customers",
        widget=forms.Select(attrs=_INPUT),
    )

    def __init__(self, user: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        customers = BillingDispute.objects.handled_by(user).order_by().values("entity_id")
        chosen: Any = self.fields["entity"]
        chosen.queryset = Entity.objects.filter(pk__in=customers).order_by("name")


@dataclass(frozen=True)
class ShownReason:
    """A row of the report; the addresses are those of the lists behind its figures."""

    label: str
    disputes: str
    url: str
    decided: str
    decided_url: str
    in_time: str
    in_time_url: str
    median: str
    amounts: Sequence[tuple[SafeString, SafeString]]
    share: int


def reasons_page(request: HttpRequest) -> dict[str, Any]:
    """The figures of the period in three groupings; a wrong period is said, and the whole time shown."""
    form, found, error = _answer(request)
    period = _period_query(form.cleaned_data if form.is_valid() else {})
    query = request.GET.urlencode()
    return {
        "form": form,
        "error": error,
        "presets": _presets(),
        "groupings": [
            (title, [_shown(row, name, period, max(each.disputes for each in rows)) for row in rows])
            for (title, name), rows in zip(GROUPINGS, _rows(found), strict=True)
        ],
        "count": number_text(sum(row.disputes for row in found.by_category)),
        "exports": [
            (kind.upper(), f"{reverse('admin:disputes_billingdispute_reasons_export', args=[kind])}?{query}")
            for kind in FORMATS
        ],
        "list_url": reverse(LIST),
    }


def _answer(request: HttpRequest) -> tuple[PeriodForm, DisputeReasons, str]:
    user = actor_of(request)
    form = PeriodForm(user, request.GET)
    asked: dict[str, Any] = {}
    if form.is_valid():
        data = form.cleaned_data
        asked = {
            "opened_from": data["opened_from"],
            "opened_to": data["opened_to"],
            "entity_id": data["entity"].pk if data["entity"] else None,
        }
    try:
        return form, dispute_reasons(user, **asked), ""
    except REFUSALS as error:
        return form, dispute_reasons(user), " ".join(dict.fromkeys(sentences(error)))


def _rows(found: DisputeReasons) -> tuple[Sequence[ReasonRow], ...]:
    return found.by_category, found.by_root_cause, found.by_outcome


def _period_query(data: dict[str, Any]) -> list[tuple[str, str]]:
    """The same disputes as filters of the list."""
    query = [("merged_into__isnull", "True")]
    if data.get("opened_from"):
        query.append(("opened_at__gte", f"{data['opened_from']}T00:00:00Z"))
    if data.get("opened_to"):
        query.append(("opened_at__lt", f"{data['opened_to']}T00:00:00Z"))
    if data.get("entity"):
        query.append(("entity__id__exact", str(data["entity"].pk)))
    return query


def _shown(row: ReasonRow, name: str, period: list[tuple[str, str]], longest: int) -> ShownReason:
    own = [(name, row.key or NONE)]

    def url(*more: tuple[str, str]) -> str:
        return f"{reverse(LIST)}?{urlencode([*own, *more, *period])}"

    percent = row.in_time_percent
    return ShownReason(
        label=row.label,
        disputes=number_text(row.disputes),
        url=url(),
        decided=number_text(row.decided),
        decided_url=url(("decision", "made")) if row.decided else "",
        in_time="–" if percent is None else f"{number_text(percent)} %",
        in_time_url=url(("decision", "in_time")) if row.in_time else "",
        median="–" if row.median_seconds is None else hours_words(row.median_seconds),
        amounts=[
            (amount_html(each.disputed, each.currency), amount_html(each.approved, each.currency))
            for each in row.amounts
        ],
        share=row.disputes * 100 // longest,
    )


def _presets() -> list[tuple[str, str]]:
    """Periods that people ask for."""
    today = clock.today()
    month = today.replace(day=1)
    quarter = month.replace(month=(today.month - 1) // 3 * 3 + 1)
    periods: list[tuple[str, datetime.date | None, datetime.date | None]] = [
        ("All time", None, None),
        ("This month", month, None),
        ("Last month", month_after(month, -1), month),
        ("This quarter", quarter, None),
        ("This year", month.replace(month=1), None),
    ]
    return [
        (
            label,
            "?"
            + urlencode(
                [(key, str(day)) for key, day in (("opened_from", first), ("opened_to", end)) if day]
            ),
        )
        for label, first, end in periods
    ]


HEADER = [
    "Grouping", "Reason", "Currency", "Disputes", "Decided", "Decided in time", "In time %", "Median hours of work",
    "Disputed", "Approved",
]  # fmt: skip


def reasons_file(model_admin: Any, request: HttpRequest, kind: str) -> HttpResponseBase:
    """A row for each reason and currency. The counts are of the reason in all currencies."""
    if kind not in FORMATS:
        raise Http404("The report is exported as csv or xlsx.")
    _form, found, _error = _answer(request)
    lines: list[list[Any]] = [
        [
            title.removeprefix("By ").capitalize(), row.label, each.currency, row.disputes, row.decided, row.in_time,
            row.in_time_percent, None if row.median_seconds is None else round(row.median_seconds / 3600, 2),
            round_money(each.disputed, each.currency), round_money(each.approved, each.currency),
        ]
        for (title, _), rows in zip(GROUPINGS, _rows(found), strict=True)
        for row in rows
        for each in row.amounts
    ]  # fmt: skip
    answer: HttpResponseBase = model_admin.table_file(kind, HEADER, iter(lines))
    return answer
