"""Receivables in the back-office: who owes what and how old it is, and statements of account."""

import datetime
from collections.abc import Sequence
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import path, reverse

from core import clock
from core.admin.columns import amount_html, number_text
from core.admin.errors import REFUSALS, add_refusal, sentences
from core.admin.scoping import may
from core.clock import month_after
from entities.admin.base import actor_of
from entities.models import Entity
from invoicing.documents.statement import ageing_of, statement_html, statement_name, statement_pdf
from invoicing.models import Invoice
from invoicing.selectors.invoice import receivable
from invoicing.selectors.receivables import (
    BUCKETS,
    AgeingRow,
    AgeingTotal,
    ageing_totals,
    bucket_of,
    payers_with_accounts,
    receivables_ageing,
)
from invoicing.selectors.statements import Account, Statement, account_statement, payer_seen_by

_DATE = {"class": "eb-input", "type": "date"}


class AgeFilter(admin.SimpleListFilter):
    """Open invoices and debit notes by days after the due date."""

    title = "age"
    parameter_name = "age"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(bucket.key, bucket.label) for bucket in BUCKETS]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        bucket = bucket_of(str(self.value() or ""))
        return (
            queryset if bucket is None else queryset.filter(receivable() & bucket.due_between(clock.today()))
        )


# --- Ageing ----------------------------------------------------------------------------------------------


class AgeingForm(forms.Form):
    """What the page is about; empty fields leave nothing out."""

    entity_id = forms.ModelChoiceField(
        Entity.objects.none(),
        label="Payer",
        required=False,
        empty_label="All payers",
        widget=forms.Select(attrs={"class": "eb-input"}),
    )
    issuer_id = forms.ModelChoiceField(
        Entity.objects.none(),
        label="Issuer",
        required=False,
        empty_label="All issuers",
        widget=forms.Select(attrs={"class": "eb-input"}),
    )
    on = forms.DateField(
        label="At the end of",
        required=False,
        widget=forms.DateInput(attrs=_DATE),
        help_text="Empty: now.",
    )

    def __init__(self, user: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        payers: Any = self.fields["entity_id"]
        payers.queryset = payers_with_accounts(user)
        issuers: Any = self.fields["issuer_id"]
        issuers.queryset = Entity.objects.issuers().order_by("name")


def ageing_view(request: HttpRequest, model_admin: Any) -> HttpResponse:
    """Who owes what, by age, with totals per currency; every figure leads to its documents (REP-01)."""
    if not may(request.user, "invoicing.view_invoice"):
        raise PermissionDenied
    form = AgeingForm(request.user, request.GET)
    given = form.cleaned_data if form.is_valid() else {}
    payer, issuer, on = given.get("entity_id"), given.get("issuer_id"), given.get("on")
    rows = receivables_ageing(
        user=actor_of(request),
        today=clock.today(),
        on=on,
        entity_id=payer.pk if payer else None,
        issuer_id=issuer.pk if issuer else None,
    )
    context = {
        **model_admin.admin_site.each_context(request),
        "opts": model_admin.opts,
        "title": "Receivables by age",
        "form": form,
        "on": on,
        "buckets": BUCKETS,
        "totals": [_shown_total(total) for total in ageing_totals(rows)],
        "rows": [_shown_row(row, drill=on is None) for row in rows],
    }
    return TemplateResponse(
        request, "admin/invoicing/ageing.html", context, status=400 if form.errors else 200
    )


def _shown_row(row: AgeingRow, *, drill: bool) -> dict[str, Any]:
    scope = {"entity__id__exact": row.entity_id, "issuer__id__exact": row.issuer_id, "currency": row.currency}
    open_url = _list_url(scope | {"open": "yes"})
    return {
        "row": row,
        "url": open_url if drill else "",
        "statement_url": reverse("admin:invoicing_invoice_statement", args=[row.entity_id]),
        "documents": number_text(row.documents),
        "cells": [
            (
                amount_html(amount, row.currency),
                _list_url(scope | {"age": bucket.key}) if drill and amount else "",
            )
            for bucket, amount in zip(BUCKETS, row.buckets, strict=True)
        ],
        "open": amount_html(row.open, row.currency),
        "disputed": amount_html(row.disputed, row.currency) if row.disputed else "",
        "credit": amount_html(row.credit, row.currency) if row.credit else "",
        "net": amount_html(row.net, row.currency),
    }


def _shown_total(total: AgeingTotal) -> dict[str, Any]:
    largest = total.open or Decimal(1)
    return {
        "currency": total.currency,
        "documents": number_text(total.documents),
        "cells": [
            {
                "label": bucket.label,
                "amount": amount_html(amount, total.currency),
                "share": f"{amount * 100 / largest:.1f}",
                "tone": _TONES[bucket.key],
                "url": _list_url({"currency": total.currency, "age": bucket.key}),
            }
            for bucket, amount in zip(BUCKETS, total.buckets, strict=True)
        ],
        "open": amount_html(total.open, total.currency),
        "overdue": amount_html(total.overdue, total.currency),
        "disputed": amount_html(total.disputed, total.currency),
        "credit": amount_html(total.credit, total.currency),
        "net": amount_html(total.net, total.currency),
    }


_TONES = {
    "not_due": "neutral",
    "days_1_30": "info",
    "days_31_60": "warn",
    "days_61_90": "warn",
    "days_over_90": "bad",
}


def _list_url(filters: dict[str, Any]) -> str:
    return f"{reverse('admin:invoicing_invoice_changelist')}?{urlencode(filters)}"


# --- Statement -------------------------------------------------------------------------------------------


class PeriodForm(forms.Form):
    """From the first until before the second day."""

    start = forms.DateField(label="From", widget=forms.DateInput(attrs=_DATE))
    end = forms.DateField(
        label="Until before",
        widget=forms.DateInput(attrs=_DATE),
        help_text="The first day that does not belong to it.",
    )


def statement_view(request: HttpRequest, model_admin: Any, pk: int) -> HttpResponse:
    """The payer's statement of account; `?as=pdf` and `?as=print` give the document."""
    payer = payer_seen_by(actor_of(request), pk)
    if payer is None:
        raise Http404("There is no such entity, or its accounts are outside your scope.")
    if not may(request.user, "invoicing.view_invoice"):
        raise PermissionDenied
    today = clock.today(payer.time_zone)
    usual = {"start": month_after(today.replace(day=1), -2), "end": today + datetime.timedelta(days=1)}
    form = PeriodForm(request.GET if "start" in request.GET else None, initial=usual)
    dates: dict[str, Any] = usual
    statement = None
    if not form.is_bound or form.is_valid():
        dates = form.cleaned_data if form.is_bound else usual
        try:
            statement = account_statement(user=actor_of(request), payer=payer, **dates)
        except REFUSALS as error:
            if form.is_bound:
                add_refusal(form, error)
    if statement is not None and request.GET.get("as") in ("pdf", "print"):
        return _document(request, statement, wanted=request.GET["as"], dates=dates)
    context = {
        **model_admin.admin_site.each_context(request),
        "opts": model_admin.opts,
        "title": f"Statement of account: {payer}",
        "payer": payer,
        "form": form,
        "query": urlencode(dates),
        "months": _months(today),
        "accounts": [_shown_account(account, statement) for account in statement.accounts]
        if statement
        else [],
        "statement": statement,
    }
    return TemplateResponse(
        request, "admin/invoicing/statement.html", context, status=400 if form.errors else 200
    )


def _document(
    request: HttpRequest, statement: Statement, *, wanted: str, dates: dict[str, Any]
) -> HttpResponse:
    if wanted == "print":
        return HttpResponse(statement_html(statement, for_screen=True))
    try:
        content = statement_pdf(statement)
    except REFUSALS as error:
        messages.error(request, " ".join(sentences(error)))
        url = reverse("admin:invoicing_invoice_statement", args=[statement.payer.pk])
        return redirect(f"{url}?{urlencode(dates)}")
    response = HttpResponse(content, content_type="application/pdf")
    response["Content-Disposition"] = f'inline; filename="{statement_name(statement)}"'
    return response


def _months(today: datetime.date) -> list[tuple[str, str]]:
    firsts = [month_after(today.replace(day=1), -back) for back in range(6)]
    return [
        (f"{first:%b %Y}", urlencode({"start": first, "end": month_after(first)}))
        for first in reversed(firsts)
    ]


_LINKS = {
    "invoice": "admin:invoicing_invoice_change",
    "credit_note": "admin:invoicing_invoice_change",
    "debit_note": "admin:invoicing_invoice_change",
    "void": "admin:invoicing_invoice_change",
    "write_off": "admin:invoicing_invoice_change",
    "write_off_reversed": "admin:invoicing_invoice_change",
}


def _shown_account(account: Account, statement: Statement) -> dict[str, Any]:
    currency = account.currency

    def shown(rows: Sequence[Any], amounts: Sequence[str]) -> list[dict[str, Any]]:
        return [
            {
                "row": row,
                "kind": row.kind.replace("_", " ").capitalize(),
                "url": reverse(_LINKS[row.kind], args=[row.row_id]) if row.kind in _LINKS else "",
                "amounts": [amount_html(getattr(row, name), currency) for name in amounts],
            }
            for row in rows
        ]

    labels = {bucket.key: bucket.label for bucket in BUCKETS} | {"credit": "In the payer's favour"}
    return {
        "account": account,
        "opening": amount_html(account.opening, currency),
        "closing": amount_html(account.closing, currency),
        "debits": amount_html(account.debits, currency),
        "credits": amount_html(account.credits, currency),
        "entries": shown(account.entries, ("amount", "balance")),
        "open_items": shown(account.open_items, ("disputed", "open")),
        "ageing": [
            (labels[key], amount_html(amount, currency))
            for key, amount in ageing_of(account, statement.last_day).items()
        ],
    }


def receivables_urls(model_admin: Any) -> list[Any]:
    """The addresses of these pages, below the list of invoices."""
    wrap = model_admin.admin_site.admin_view

    def ageing(request: HttpRequest) -> HttpResponse:
        return ageing_view(request, model_admin)

    def statement(request: HttpRequest, pk: int) -> HttpResponse:
        return statement_view(request, model_admin, pk)

    return [
        path("ageing/", wrap(ageing), name="invoicing_invoice_ageing"),
        path("statement/<int:pk>/", wrap(statement), name="invoicing_invoice_statement"),
    ]


def ageing_label(invoice: Invoice) -> str:
    """The bucket of an open invoice as of today; empty where nothing is to be paid."""
    if not invoice.is_posted or invoice.is_credit_note or not invoice.open_amount or invoice.due_date is None:
        return ""
    days = max(0, (clock.today() - invoice.due_date).days)
    return next(bucket.label for bucket in BUCKETS if bucket.holds(days))
