"""What departments bear of invoice lines, in the back-office: the list, what was refused, a line's allocation."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import path, reverse

from budgets.models import Commitment
from core.admin.actions import ObjectAction
from core.admin.badges import Badge, badge_column, badge_html, register_badges
from core.admin.base import BillingModelAdmin, EmptyState, ReadOnlyAdminMixin
from core.admin.columns import amount_html, money_column
from core.admin.errors import REFUSALS, add_refusal
from core.admin.filters import QuickFilter
from core.admin.scoping import may
from entities.models import Department, Entity
from invoicing.models import LISTED_SHARES, InvoiceLine, InvoiceLineShare, ShareStatus
from invoicing.services.line_shares import (
    ADD,
    CHANGE,
    LineSplit,
    line_allocate,
    line_left,
    share_retry,
    share_undo,
)

ROWS = 6
_INPUT = {"class": "eb-input"}

register_badges(
    {
        ShareStatus.NOT_BOOKED.value: Badge("Nothing to book", "remove", "neutral", "–"),
        ShareStatus.TAKEN_BACK.value: Badge("Taken back", "undo", "neutral", "↩"),
        ShareStatus.STILL_BORNE.value: Badge("Could not be taken back", "block", "bad", "✕"),
    }
)


class ListedFilter(admin.SimpleListFilter):
    """What budgets refused, to charge or to give back."""

    title = "to be tried again"
    parameter_name = "listed"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("yes", "Refused by a budget")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(status__in=LISTED_SHARES) if self.value() == "yes" else queryset


def _why_not_again(share: InvoiceLineShare, user: Any) -> str | None:
    return None if share.status in LISTED_SHARES else "No budget refuses it."


def _why_not_undo(share: InvoiceLineShare, user: Any) -> str | None:
    if not share.is_live:
        return "It was taken back already."
    if share.invoice_line.department_id is not None or share.invoice_line.invoice.is_credit_note:
        return "The document itself names this department. Void the document, or make a credit note."
    return None


@admin.register(InvoiceLineShare)
class InvoiceLineShareAdmin(ReadOnlyAdminMixin, BillingModelAdmin):
    """All shares; a line's own page allocates it."""

    list_display = [
        "invoice",
        "invoice_line",
        "department",
        money_column("amount", currency="invoice_line__invoice__currency"),
        money_column("credited_amount", label="Given back", currency="invoice_line__invoice__currency"),
        badge_column("status"),
        "posting_date",
        "refusal_message",
    ]
    list_filter = ["status", ListedFilter, "department", "posting_date"]
    list_select_related = ["invoice_line__invoice", "department"]
    search_fields = [
        "invoice_line__invoice__number",
        "invoice_line__description",
        "department__name",
        "department__code",
        "refusal_message",
    ]
    quick_filters = [QuickFilter("Refused", "listed=yes", icon="block")]
    empty_state = EmptyState(
        "No department bears an invoice line yet",
        "Lines that name a department are charged to its budget at issue; the others are allocated on the line's page.",
        "Invoices",
        "admin:invoicing_invoice_changelist",
    )
    actions_bar = [
        ObjectAction(
            name="again",
            label="Try again",
            main=True,
            perm=CHANGE,
            possible=_why_not_again,
            consequence="The budget is asked again. What it books is what the share says, once.",
            run=lambda call: share_retry(actor=call.actor, share_id=call.obj.pk),
            icon="refresh",
        ),
        ObjectAction(
            name="undo",
            label="Take back",
            perm=CHANGE,
            possible=_why_not_undo,
            consequence="The budget gets the amount back, and the line can be allocated again.",
            needs_reason=True,
            run=lambda call: share_undo(actor=call.actor, share_id=call.obj.pk, reason=call.reason),
            icon="undo",
            danger=True,
        ),
    ]

    @admin.display(description="Document", ordering="invoice_line__invoice")
    def invoice(self, share: InvoiceLineShare) -> str:
        return str(share.invoice_line.invoice)

    def get_urls(self) -> list[Any]:
        page = path(
            "of-line/<int:line_id>/",
            self.admin_site.admin_view(self.line_view),
            name="invoicing_invoicelineshare_line",
        )
        return [page, *super().get_urls()]

    def line_view(self, request: HttpRequest, line_id: int) -> HttpResponse:
        """Who bears the line, and the form that allocates what is left of it."""
        user: Any = request.user
        line = (
            InvoiceLine.objects.visible_to(user)
            .select_related("invoice", "entity", "department", "contract")
            .filter(pk=line_id)
            .first()
        )
        if line is None:
            raise Http404("There is no such line, or it is outside your scope.")
        if not self.has_view_permission(request):
            raise PermissionDenied
        left, currency = line_left(line), line.invoice.currency
        allowed = may(user, ADD, line.entity) or may(user, ADD, line)
        open_to_all = (
            line.invoice.is_posted and not line.invoice.is_credit_note and line.department_id is None
        )
        form = splits = None
        if open_to_all and allowed and left:
            given = request.POST if request.method == "POST" else None
            form, splits = BasisForm(given), _splits_of(line, user, given)
            if given is not None and form.is_valid() and splits.is_valid():
                try:
                    made = line_allocate(
                        actor=user,
                        line_id=line.pk,
                        splits=chosen(splits.cleaned_data, form.cleaned_data["basis"]),
                        amount=form.cleaned_data["amount"],
                    )
                except REFUSALS as error:
                    add_refusal(form, error)
                else:
                    _say(request, made)
                    return redirect(request.path)
        elif request.method == "POST":
            raise PermissionDenied
        shares = line.shares.select_related("department", "entry__budget").order_by("pk")
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": f"Departments of line {line.line_number} of {line.invoice}",
            "line": line,
            "amount": amount_html(line.amount, currency),
            "left": amount_html(left, currency),
            "form": form,
            "splits": splits,
            "shares": [
                (share, amount_html(share.amount, currency), badge_html(share.status)) for share in shares
            ],
            "back": reverse("admin:invoicing_invoice_items", args=[line.invoice_id, line.line_number]),
        }
        return TemplateResponse(request, "admin/invoicing/line_shares.html", context)


# --- The form --------------------------------------------------------------------------------------------


class BasisForm(forms.Form):
    """What the numbers mean, and how much of the line is allocated."""

    basis = forms.ChoiceField(
        choices=[("percent", "Percent"), ("amount", "Amounts"), ("ratio", "Ratio")],
        widget=forms.Select(attrs=_INPUT),
        help_text="Percentages sum to 100, amounts to what is allocated; ratios are any numbers.",
    )
    amount = forms.DecimalField(
        label="Allocate",
        required=False,
        widget=forms.NumberInput(attrs={**_INPUT, "step": "any"}),
        help_text="Empty: all that is left of the line.",
    )


class SplitForm(forms.Form):
    """One department."""

    department = forms.ModelChoiceField(
        label="Department",
        queryset=Department.objects.none(),
        required=False,
        empty_label="–",
        widget=forms.Select(attrs=_INPUT),
    )
    share = forms.DecimalField(
        label="Share", required=False, widget=forms.NumberInput(attrs={**_INPUT, "step": "any"})
    )
    commitment = forms.ModelChoiceField(
        label="Commitment",
        queryset=Commitment.objects.none(),
        required=False,
        empty_label="None: new spend",
        widget=forms.Select(attrs=_INPUT),
    )
    final = forms.BooleanField(required=False, label="Frees the rest")

    def __init__(self, departments: QuerySet[Any], commitments: QuerySet[Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        fields: Any = self.fields
        fields["department"].queryset, fields["commitment"].queryset = departments, commitments
        # The columns' headings are the labels; each field has its own for who does not see them.
        row = int(str(self.prefix).rpartition("-")[2]) + 1 if str(self.prefix)[-1:].isdigit() else 0
        for field in fields.values():
            field.widget.attrs["aria-label"] = f"{field.label}, row {row}"

    def clean(self) -> dict[str, Any]:
        data: dict[str, Any] = super().clean() or {}
        if data.get("department") and data.get("share") is None and "share" not in self.errors:
            self.add_error("share", "Give the share of this department.")
        if not data.get("department") and data.get("share") is not None:
            self.add_error("department", "Choose the department.")
        return data


def _splits_of(line: InvoiceLine, user: Any, data: Any) -> Any:
    """Some empty rows; departments are those of the line's group, commitments those that they can use."""
    root = Entity.objects.ancestors_of(line.entity_id, include_self=True).values("pk")[:1]
    group = Entity.objects.filter(above__ancestor_id__in=root).values("pk")
    departments = (
        Department.objects.visible_to(user, "entities.add_costallocation")
        .filter(entity__in=group, is_active=True)
        .select_related("entity")
        .order_by("entity__name", "code")
    )
    commitments = (
        Commitment.objects.visible_to(user)
        .filter(status="approved", budget__department__in=departments.values("pk"))
        .select_related("budget")
        .order_by("-pk")
    )
    rows = forms.formset_factory(SplitForm, extra=ROWS)
    return rows(data, form_kwargs={"departments": departments, "commitments": commitments}, prefix="split")


def chosen(rows: list[dict[str, Any]], basis: str) -> list[LineSplit]:
    """The rows that name a department."""
    return [
        LineSplit(
            department=row["department"],
            commitment_id=row["commitment"].pk if row["commitment"] else None,
            final=row["final"],
            **{basis: row["share"]},
        )
        for row in rows
        if row.get("department")
    ]


def _say(request: HttpRequest, made: list[InvoiceLineShare]) -> None:
    refused = [share for share in made if share.status == ShareStatus.REFUSED]
    messages.success(request, f"{len(made) - len(refused)} of {len(made)} departments are charged.")
    for share in refused:
        messages.warning(request, f"{share.department}: {share.refusal_message}")
