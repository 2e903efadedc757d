"""The page of a new credit note: the lines of the invoice, with how much of each is given back."""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.safestring import SafeString

from core.admin.actions import ReasonForm
from core.admin.columns import amount_html
from core.admin.errors import REFUSALS, add_refusal, sentences
from core.money import parse_amount, plain_amount
from invoicing.admin.credit_note import amount_field, credit_consequence, date_field, noted
from invoicing.models import Invoice, InvoiceLine
from invoicing.services.credit_notes import credit_note_issue
from invoicing.services.credited_lines import LineAmount, creditable

OFFERED = 200
"""An invoice of more lines is credited by their numbers, in the general page of the action."""

ALL, AMOUNT, LINES = "all", "amount", "lines"


class CreditLinesForm(ReasonForm):
    """What is credited: all that is left, an amount spread over the lines, or amounts of lines."""

    what = forms.ChoiceField(
        choices=[
            (LINES, "The amounts of lines below"),
            (AMOUNT, "An amount, spread over all lines"),
            (ALL, "All that is left"),
        ],
        initial=LINES,
        widget=forms.Select(attrs={"class": "eb-input"}),
        label="Credit",
    )
    amount = amount_field(required=False, help_text="Before tax; only where it is spread.")
    issue_date = date_field(required=False, help_text="Empty: today.")
    release_items = forms.BooleanField(
        required=False,
        label="Let what it bills be billed again",
        help_text="Only when all that is left is credited.",
    )
    field_order = ("what", "amount", "issue_date", "release_items", "reason")

    def __init__(self, *args: Any, lines: Iterable[InvoiceLine], currency: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.lines, self.currency = list(lines), currency
        for line in self.lines:
            self.fields[_name(line)] = forms.CharField(
                required=False,
                label=f"Line {line.line_number}",
                widget=forms.TextInput(
                    attrs={
                        "class": "eb-input",
                        "inputmode": "decimal",
                        "placeholder": plain_amount(creditable(line), currency),
                    }
                ),
            )

    def rows(self) -> list[tuple[InvoiceLine, SafeString, Any]]:
        """Each line with what is left of it and its field."""
        return [
            (line, amount_html(creditable(line), self.currency), self[_name(line)]) for line in self.lines
        ]

    def general(self) -> list[Any]:
        """The fields that are not of a line."""
        of_lines = {_name(line) for line in self.lines}
        return [field for field in self if field.name not in of_lines]

    def clean(self) -> dict[str, Any]:
        data: dict[str, Any] = super().clean() or self.cleaned_data
        for line in self.lines:
            text = str(data.get(_name(line), "")).replace(",", "").strip()
            if text:
                try:
                    data[_name(line)] = parse_amount(text)
                except REFUSALS as error:
                    self.add_error(_name(line), " ".join(sentences(error)))
        if data.get("what") == AMOUNT and not data.get("amount") and "amount" not in self.errors:
            self.add_error("amount", "Give the amount that is spread.")
        if data.get("what") == LINES and not self.asked():
            self.add_error(None, "Give an amount for at least one line, or choose what else is credited.")
        return data

    def asked(self) -> list[LineAmount]:
        """The lines that an amount was given for."""
        given = [(line, self.cleaned_data.get(_name(line))) for line in self.lines]
        return [LineAmount(line.pk, amount) for line, amount in given if isinstance(amount, Decimal)]


def _name(line: InvoiceLine) -> str:
    return f"line_{line.pk}"


def lines_offered(invoice: Invoice) -> list[InvoiceLine]:
    """The lines of which something can be credited; none of an invoice that has too many for a page."""
    lines = list(invoice.lines.order_by("line_number")[: OFFERED + 1])
    return [] if len(lines) > OFFERED else [line for line in lines if creditable(line) > 0]


def credit_lines_view(
    request: HttpRequest, model_admin: Any, invoice: Invoice, lines: Sequence[InvoiceLine]
) -> HttpResponse:
    """GET asks how much of which lines; POST issues the credit note."""
    posted = request.POST if request.method == "POST" else None
    form = CreditLinesForm(posted, lines=lines, currency=invoice.currency)
    back = reverse("admin:invoicing_invoice_change", args=[invoice.pk])
    if posted is not None and form.is_valid():
        data = form.cleaned_data
        try:
            note = credit_note_issue(
                actor=request.user,  # type: ignore[arg-type]  # the back-office lets nobody else in
                invoice=invoice,
                reason=data["reason"],
                lines=form.asked() if data["what"] == LINES else None,
                amount=data["amount"] if data["what"] == AMOUNT else None,
                issue_date=data["issue_date"],
                release_items=data["release_items"],
            )
        except REFUSALS as error:
            add_refusal(form, error)
        else:
            messages.success(request, noted(note))
            return redirect(back)
    context = {
        **model_admin.admin_site.each_context(request),
        "title": "Credit note",
        "opts": model_admin.opts,
        "original": invoice,
        "form": form,
        "consequence": credit_consequence(invoice),
        "back": back,
    }
    return TemplateResponse(request, "admin/invoicing/credit_lines.html", context)
