"""Invoices in the back-office: the list, the document one can read, its making, and the number series."""

import datetime
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db import transaction
from django.db.models import F, QuerySet, Sum
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from core import clock
from core.admin.actions import ActionCall, BarItem, ObjectAction
from core.admin.badges import badge_column, badge_html
from core.admin.base import BillingModelAdmin, EmptyState, ReadOnlyAdminMixin
from core.admin.columns import amount_html, amount_text, money_column, number_column, number_text
from core.admin.errors import REFUSALS, add_refusal, sentences
from core.admin.filters import QuickFilter
from core.admin.record_parts import record_links, record_panels
from core.admin.scoping import may
from core.clock import month_after
from core.money import exact_sum
from entities.models import Entity
from invoicing.admin.credit_lines import credit_lines_view, lines_offered
from invoicing.admin.credit_note import SETTLEMENT_ACTIONS, actions_for, correctable
from invoicing.admin.receivables import AgeFilter, ageing_label, receivables_urls
from invoicing.admin.settlement_panel import settlement_panel
from invoicing.documents.kept import document_name, document_type
from invoicing.documents.render import invoice_html
from invoicing.documents.store import invoice_pdf
from invoicing.einvoice.store import E_INVOICE_KINDS, e_invoice
from invoicing.models import (
    DocumentKind,
    Invoice,
    InvoiceLine,
    InvoiceStatus,
    NumberSeries,
    UsageRecord,
)
from invoicing.selectors.invoice import (
    NumberingProof,
    is_overdue,
    line_items,
    numbering_proof,
    overdue,
    receivable,
)
from invoicing.services.consolidation import (
    ConsolidatedContent,
    LineContent,
    consolidated_invoice_draft,
    consolidation_preview,
    late_items_warning,
)
from invoicing.services.invoice import invoice_discard, invoice_issue, invoice_void
from invoicing.services.numbering import number_series_create, number_series_rename

SHOWN_LINES = 2000
ITEMS_PER_PAGE = 100
MONTHS_OFFERED = 12


# --- What the document page shows ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ShownLine:
    """A line ready for the page."""

    number: int
    description: str
    provider: str
    items: str
    original: SafeString | str
    rate: str
    amount: SafeString
    url: str


@dataclass(frozen=True, slots=True)
class ShownDepartment:
    """The lines of one department with their sum."""

    title: str
    is_unallocated: bool
    lines: Sequence[ShownLine]
    items: str
    amount: SafeString


@dataclass(frozen=True, slots=True)
class ShownEntity:
    """The departments of one entity with their sum."""

    name: str
    departments: Sequence[ShownDepartment]
    items: str
    amount: SafeString


def shown_entities(
    lines: Iterable[InvoiceLine | LineContent], currency: str, items_url: str = ""
) -> list[ShownEntity]:
    """Group lines, which come in the order of the document, by entity and department."""
    numbered = enumerate(lines, start=1)
    entities = []
    for _, of_entity in groupby(numbered, lambda pair: pair[1].entity_id):
        members = list(of_entity)
        departments = [
            _shown_department(list(group), currency, items_url)
            for _, group in groupby(members, lambda pair: pair[1].department_id)
        ]
        entities.append(
            ShownEntity(
                name=members[0][1].entity_name,
                departments=departments,
                items=_charges(sum(line.item_count for _, line in members)),
                amount=amount_html(exact_sum([line.amount for _, line in members]), currency),
            )
        )
    return entities


def _charges(count: int) -> str:
    return f"{number_text(count)} charge{'' if count == 1 else 's'}"


def _shown_department(
    members: list[tuple[int, InvoiceLine | LineContent]], currency: str, items_url: str
) -> ShownDepartment:
    first = members[0][1]
    title = f"{first.department_code} {first.department_name}".strip()
    return ShownDepartment(
        title=title or "Not allocated to a department",
        is_unallocated=first.department_id is None,
        lines=[_shown_line(number, line, currency, items_url) for number, line in members],
        items=_charges(sum(line.item_count for _, line in members)),
        amount=amount_html(exact_sum([line.amount for _, line in members]), currency),
    )


def _shown_line(number: int, line: InvoiceLine | LineContent, currency: str, items_url: str) -> ShownLine:
    converted = line.rate_date is not None
    return ShownLine(
        number=number,
        description=line.description,
        provider=line.provider,
        items=number_text(line.item_count),
        original=f"{number_text(line.original_amount)} {line.original_currency}",
        rate=" ".join(
            part
            for part in (
                f"× {number_text(line.rate)} of {line.rate_date}, {line.rate_source}" if converted else "",
                f"+ {number_text(line.markup_percent)} % mark-up" if line.markup_percent else "",
            )
            if part
        ),
        amount=amount_html(line.amount, currency),
        url=items_url.replace("/0/", f"/{number}/") if items_url else "",
    )


# --- Making a consolidated invoice -----------------------------------------------------------------------

_INPUT = {"class": "eb-input"}


class ConsolidationForm(forms.Form):
    """The payer and the period; the months are buttons of the same form."""

    payer = forms.ModelChoiceField(
        queryset=Entity.objects.none(),
        empty_label="Choose who pays",
        widget=forms.Select(attrs=_INPUT),
        help_text="The invoice covers it and every entity below it that is billed with it.",
    )
    period_start = forms.DateField(label="From", widget=forms.DateInput(attrs={**_INPUT, "type": "date"}))
    period_end = forms.DateField(
        label="Until before",
        widget=forms.DateInput(attrs={**_INPUT, "type": "date"}),
        help_text="The first day that is not billed any more: 1 October for all of September.",
    )

    def __init__(self, user: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        payers: Any = self.fields["payer"]
        payers.queryset = Entity.objects.visible_to(user, "invoicing.add_invoice").order_by("name")


def _with_month(data: Any) -> Any:
    """A pressed month button fills the two dates."""
    month = data.get("month", "")
    if not month:
        return data
    try:
        first = datetime.date.fromisoformat(f"{month}-01")
    except ValueError:
        return data
    filled = data.copy()
    filled["period_start"], filled["period_end"] = str(first), str(month_after(first))
    return filled


# --- The list and the document ---------------------------------------------------------------------------


class OverdueFilter(admin.SimpleListFilter):
    """Issued and past the due date; derived, not stored."""

    title = "overdue"
    parameter_name = "overdue"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("yes", "Overdue")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(overdue(clock.today())) if self.value() == "yes" else queryset


class OpenFilter(admin.SimpleListFilter):
    """Posted, with something still to be paid."""

    title = "to be paid"
    parameter_name = "open"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("yes", "To be paid")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(receivable()) if self.value() == "yes" else queryset


class IssueForm(forms.Form):
    """When the invoice is dated."""

    issue_date = forms.DateField(
        required=False,
        widget=forms.DateInput(attrs={**_INPUT, "type": "date"}),
        help_text="Empty: today. Not in the future, and not before the last invoice of the series.",
    )


def _total(invoice: Invoice) -> str:
    return f"{amount_text(invoice.total, invoice.currency)} {invoice.currency}"


_DRAFT_ACTIONS = {"issue", "refresh", "discard"}


def _draft_only(invoice: Invoice, user: Any) -> str | None:
    if invoice.status != InvoiceStatus.DRAFT:
        return f"It is {invoice.get_status_display().lower()} already."
    return None


def _issuable(invoice: Invoice, user: Any) -> str | None:
    if invoice.status == InvoiceStatus.DRAFT and invoice.total < 0:
        return "The credits exceed the charges. Wait for more charges, or bill a longer period."
    return _draft_only(invoice, user)


def _voidable(invoice: Invoice, user: Any) -> str | None:
    if invoice.status == InvoiceStatus.ISSUED:
        return None
    if invoice.is_posted and not invoice.settled_amount:
        return None  # Nothing was to be paid.
    return (
        "A draft is discarded, not voided."
        if invoice.status == InvoiceStatus.DRAFT
        else "It is void already."
        if invoice.status == InvoiceStatus.VOID
        else "Something settles it. Take that back first, or make a credit note."
    )


def _refresh(call: ActionCall) -> Invoice:
    invoice = call.obj
    return consolidated_invoice_draft(
        actor=call.actor,
        payer=invoice.entity,
        period_start=invoice.period_start,
        period_end=invoice.period_end,
    ).invoice


open_column = money_column("open_amount", label="Open")
open_column.admin_order_field = F("total") - F("settled_amount")  # type: ignore[attr-defined]  # it is a property


def _locked(invoice: Invoice) -> str:
    if invoice.is_posted:
        return (
            f"{invoice.number} was issued on {invoice.issue_date} and cannot be changed. If it is wrong, make a "
            "credit note, or void it while nothing settles it and invoice the period again."
        )
    if invoice.status == InvoiceStatus.VOID:
        return f"{invoice.number} is void: “{invoice.void_reason}” It stays here, and its number stays taken."
    return ""


@admin.register(Invoice)
class InvoiceAdmin(BillingModelAdmin):
    """The list of invoices; each opens as the document it is."""

    show_activity = True
    list_display = [
        "__str__", "payer", badge_column("status"), "period", "due", money_column("total"), open_column,
    ]  # fmt: skip
    export_fields = [
        "number", "issuer", "entity", "bill_to", "status", "period_start", "period_end", "issue_date", "due_date",
        money_column("subtotal"), money_column("tax_total"), money_column("total"),
    ]  # fmt: skip
    list_filter = [
        "status",
        OpenFilter,
        OverdueFilter,
        AgeFilter,
        "entity",
        "issuer",
        "issue_date",
        "due_date",
        "period_start",
        "currency",
    ]
    list_select_related = ["entity", "issuer"]
    search_fields = ["number", "entity__name", "entity__code", "bill_to__name"]
    ordering = ["-id"]
    totals = {
        "total": Sum("total"),
        "tax": Sum("tax_total"),
        "open": Sum(F("total") - F("settled_amount"), filter=receivable()),
        "disputed": Sum("disputed_amount", filter=receivable()),
    }
    quick_filters = [
        QuickFilter("Drafts", "status__exact=draft", icon="edit_note"),
        QuickFilter("To be paid", "open=yes", icon="payments"),
        QuickFilter("Overdue", "overdue=yes", icon="alarm"),
        QuickFilter(
            "Issued this month",
            lambda request: f"issue_date_from={clock.today().replace(day=1)}",
            icon="calendar_month",
        ),
        QuickFilter("Void", "status__exact=void", icon="block"),
    ]
    empty_state = EmptyState(
        "No invoices yet",
        "A consolidated invoice bills a payer for what it and the entities below it used in a period.",
        "New consolidated invoice",
        "admin:invoicing_invoice_add",
    )
    locked_reason = staticmethod(_locked)
    actions_bar = [
        ObjectAction(
            name="issue",
            label="Issue",
            main=True,
            perm="invoicing.issue_invoice",
            icon="send",
            form=IssueForm,
            possible=_issuable,
            consequence=lambda invoice: (
                f"The invoice over {_total(invoice)} gets the next number of {invoice.issuer} and is due after the "
                "payer's terms. After that nobody can edit or delete it; a mistake means voiding it."
            ),
            run=lambda call: invoice_issue(
                actor=call.actor, invoice=call.obj, issue_date=call.data.get("issue_date")
            ),
            done=lambda invoice: f"Invoice {invoice.number} is issued, due {invoice.due_date}.",
        ),
        ObjectAction(
            name="refresh",
            label="Bring up to date",
            perm="invoicing.add_invoice",
            icon="refresh",
            possible=_draft_only,
            consequence="Charges that arrived or were mapped since go in, at the rates and names of now.",
            run=_refresh,
            done=lambda invoice: f"The draft is up to date: {_total(invoice)}.",
        ),
        ObjectAction(
            name="discard",
            label="Discard",
            perm="invoicing.delete_invoice",
            icon="delete",
            danger=True,
            possible=_draft_only,
            consequence="The draft is deleted. All that it held can be invoiced again.",
            run=lambda call: invoice_discard(actor=call.actor, invoice=call.obj),
            done=lambda _: "The draft is discarded.",
        ),
        *SETTLEMENT_ACTIONS,
        ObjectAction(
            name="void",
            label="Void",
            perm="invoicing.void_invoice",
            icon="block",
            danger=True,
            needs_reason=True,
            possible=_voidable,
            consequence=(
                "The invoice no longer counts. Its charges can be invoiced again; its number stays taken and the "
                "document stays here, marked void. This cannot be undone."
            ),
            run=lambda call: invoice_void(actor=call.actor, invoice=call.obj, reason=call.reason),
            done=lambda invoice: f"{invoice.get_document_type_display()} {invoice.number} is void.",
        ),
    ]

    # --- Columns ---

    @admin.display(description="Payer", ordering="entity__name")
    def payer(self, invoice: Invoice) -> str:
        return invoice.entity.name

    @admin.display(description="Period", ordering="period_start")
    def period(self, invoice: Invoice) -> str:
        start, end = invoice.period_start, invoice.period_end
        return f"{start:%b %Y}" if start.day == 1 and end == month_after(start) else period_text(start, end)

    @admin.display(description="Due", ordering="due_date")
    def due(self, invoice: Invoice) -> SafeString | str:
        """The day; marked where something is overdue, and with how long it has been for who points at it."""
        if not is_overdue(invoice):
            return str(invoice.due_date or "–")
        badge = badge_html("overdue", str(invoice.due_date))
        return format_html('<span title="Overdue, {}">{}</span>', ageing_label(invoice).lower(), badge)

    def bar_of(self, request: HttpRequest, obj: Any) -> list[BarItem]:
        """What can still mean anything on this document: nothing goes back to draft, and void is the end."""
        if obj.status == InvoiceStatus.VOID:
            return []
        over = _DRAFT_ACTIONS if obj.status != InvoiceStatus.DRAFT else set()
        meant = actions_for(obj)
        return [
            item
            for item in super().bar_of(request, obj)
            if item.action.name not in over
            and (item.action not in SETTLEMENT_ACTIONS or item.action.name in meant)
        ]

    # --- Rights: who sees it at the payer or at the issuer ---

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows: Any = admin.ModelAdmin.get_queryset(self, request)
        return rows.visible_to(request.user, "invoicing.view_invoice")

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        if super().has_view_permission(request, obj):
            return True
        return isinstance(obj, Invoice) and may(request.user, "invoicing.view_invoice", obj.issuer)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    # --- Pages ---

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view
        return [
            path("<int:pk>/pdf/", view(self.pdf_view), name="invoicing_invoice_pdf"),
            path("<int:pk>/print/", view(self.print_view), name="invoicing_invoice_print"),
            path(
                "<int:pk>/e-invoice/<str:kind>/",
                view(self.e_invoice_view),
                name="invoicing_invoice_e_invoice",
            ),
            path("<int:pk>/lines/<int:number>/", view(self.items_view), name="invoicing_invoice_items"),
            # Before the general page of actions, whose address it has.
            path("<int:pk>/do/credit/", view(self.credit_view)),
            *receivables_urls(self),
            *super().get_urls(),
        ]

    def _found(self, request: HttpRequest, pk: Any) -> Invoice:
        found: Any = self.get_queryset(request)
        try:
            invoice = (
                found.select_related("issuer", "entity", "bill_to", "issued_by", "voided_by")
                .filter(pk=pk)
                .first()
            )
        except (TypeError, ValueError):
            invoice = None
        if invoice is None:
            raise Http404("There is no such invoice, or it is outside your scope.")
        if not self.has_view_permission(request, invoice):
            raise PermissionDenied
        return invoice  # type: ignore[no-any-return]  # the queryset's row

    def changeform_view(
        self, request: HttpRequest, object_id: Any = None, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """Making one is the consolidation page; an existing one is read, and changed by its actions only."""
        if object_id is None:
            return self.consolidate_view(request)
        invoice = self._found(request, object_id)
        lines = list(invoice.lines.order_by("line_number")[: SHOWN_LINES + 1])
        items_url = reverse("admin:invoicing_invoice_items", args=[invoice.pk, 0])
        context = self._document_context(request, invoice, invoice.currency) | {
            "title": str(invoice),
            "invoice": invoice,
            "why_locked": _locked(invoice),
            "actions_bar": self.bar_of(request, invoice),
            "panel": settlement_panel(invoice) if invoice.is_posted else None,
            "status_badge": badge_html(invoice.status),
            "overdue_badge": badge_html("overdue") if is_overdue(invoice) else "",
            "entities": shown_entities(lines[:SHOWN_LINES], invoice.currency, items_url),
            "more_lines": len(lines) > SHOWN_LINES,
            "lines_url": f"{reverse('admin:invoicing_invoiceline_changelist')}?invoice__id__exact={invoice.pk}",
            "warnings": invoice.snapshot.get("warnings", []) if invoice.status == InvoiceStatus.DRAFT else [],
            "facts": _facts(invoice),
            "history_url": reverse("admin:invoicing_invoice_history", args=[invoice.pk]),
            "pdf_url": reverse("admin:invoicing_invoice_pdf", args=[invoice.pk]),
            "print_url": reverse("admin:invoicing_invoice_print", args=[invoice.pk]),
            "document_name": document_name(invoice),
            "e_invoices": _e_invoices(invoice),
            "record_links": record_links(request, invoice),
            "record_panels": record_panels(request, invoice),
        }
        return TemplateResponse(request, "admin/invoicing/invoice.html", context)

    def _document_context(
        self, request: HttpRequest, document: Invoice | ConsolidatedContent, currency: str
    ) -> dict[str, Any]:
        return {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "currency": currency,
            "period": period_text(document.period_start, document.period_end),
            "subtotal": amount_html(document.subtotal, currency),
            "tax_total": amount_html(document.tax_total, currency),
            "total": amount_html(document.total, currency),
        }

    def consolidate_view(self, request: HttpRequest) -> HttpResponse:
        """GET shows the form and, once it is filled, the preview; POST makes the draft, or issues."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        given = request.POST if request.method == "POST" else request.GET
        asked = "payer" in given
        form = ConsolidationForm(request.user, _with_month(given) if asked else None)
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": "New consolidated invoice",
            "form": form,
            "months": _months(),
        }
        if asked and form.is_valid():
            try:
                if request.method == "POST":
                    return self._run(request, form.cleaned_data, issue="issue" in request.POST)
                content = consolidation_preview(actor=request.user, **form.cleaned_data)  # type: ignore[arg-type]
            except REFUSALS as error:
                add_refusal(form, error)
                context["held_by"] = getattr(error, "extra", {}).get("invoices", [])
            else:
                context |= self._preview_context(request, content)
        return TemplateResponse(request, "admin/invoicing/consolidate.html", context)

    def _preview_context(self, request: HttpRequest, content: ConsolidatedContent) -> dict[str, Any]:
        late = late_items_warning(content)
        return self._document_context(request, content, content.currency) | {
            "title": "New consolidated invoice",
            "preview": content,
            "item_count": number_text(content.item_count),
            "entities": shown_entities(content.lines[:SHOWN_LINES], content.currency),
            "more_lines": len(content.lines) > SHOWN_LINES,
            "warnings": [*content.warnings, *([late] if late else [])],
            "may_issue": may(request.user, "invoicing.issue_invoice", content.issuer) and content.total >= 0,
        }

    def _run(self, request: HttpRequest, data: dict[str, Any], *, issue: bool) -> HttpResponse:
        actor: Any = request.user
        with transaction.atomic():
            result = consolidated_invoice_draft(actor=actor, **data)
            invoice = result.invoice
            if issue:
                invoice = invoice_issue(actor=actor, invoice=invoice)
        if issue:
            messages.success(request, f"Invoice {invoice.number} is issued, due {invoice.due_date}.")
        elif result.created:
            messages.success(request, "The draft is made. Look it over, then issue it.")
        else:
            messages.success(request, "The draft of this period is up to date.")
        return redirect("admin:invoicing_invoice_change", invoice.pk)

    def pdf_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """The PDF; `?download=1` saves it, `?as_issued=1` shows a void one unmarked."""
        invoice = self._found(request, pk)
        try:
            content = invoice_pdf(invoice, as_issued="as_issued" in request.GET)
        except REFUSALS as error:
            messages.error(request, " ".join(sentences(error)))
            return redirect("admin:invoicing_invoice_change", invoice.pk)
        response = HttpResponse(content, content_type="application/pdf")
        kind = "attachment" if "download" in request.GET else "inline"
        response["Content-Disposition"] = f'{kind}; filename="{document_name(invoice)}"'
        return response

    def e_invoice_view(self, request: HttpRequest, pk: int, kind: str) -> HttpResponse:
        """The document as e-invoice, or what is missing for it."""
        invoice = self._found(request, pk)
        if kind not in E_INVOICE_KINDS:
            raise Http404("There is no such kind of e-invoice.")
        try:
            content = e_invoice(invoice, kind)
        except REFUSALS as error:
            # The message holds every problem: sentences() would name them without the advice.
            messages.error(request, getattr(error, "message", "") or " ".join(sentences(error)))
            return redirect("admin:invoicing_invoice_change", invoice.pk)
        response = HttpResponse(content, content_type=document_type(kind))
        response["Content-Disposition"] = f'attachment; filename="{document_name(invoice, kind)}"'
        return response

    def credit_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Asks for amounts of lines; where that is not possible or they are too many, the general page does."""
        invoice = self._found(request, pk)
        lines = [] if correctable(invoice, request.user) else lines_offered(invoice)
        if not lines:
            return self.object_action_view(request, str(pk), "credit")
        if not may(request.user, "invoicing.issue_invoice", invoice):
            raise PermissionDenied
        return credit_lines_view(request, self, invoice, lines)

    def print_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """The same document as a page that a browser prints, also where no PDF can be made."""
        return HttpResponse(invoice_html(self._found(request, pk), for_screen=True))

    def items_view(self, request: HttpRequest, pk: int, number: int) -> HttpResponse:
        """What a line bills, down to the single charge (REP-01)."""
        invoice = self._found(request, pk)
        line = invoice.lines.filter(line_number=number).first()
        if line is None:
            raise Http404("The invoice has no such line.")
        rows: Any = line_items(line)
        usage = rows.model is UsageRecord
        page = Paginator(rows, ITEMS_PER_PAGE).get_page(request.GET.get("p"))
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": f"Line {number} of {invoice}",
            "original": invoice,
            "line": line,
            "usage": usage,
            "page": page,
            "rows": [(row, number_text(row.billed_cost if usage else row.amount)) for row in page],
            "exact": number_text(line.original_amount),
            "amount": amount_html(line.amount, invoice.currency),
            "back": reverse("admin:invoicing_invoice_change", args=[invoice.pk]),
        }
        return TemplateResponse(request, "admin/invoicing/items.html", context)


def _e_invoices(invoice: Invoice) -> list[tuple[str, str]]:
    """Label and address of each kind of e-invoice; a draft's say what would be missing.

    Of a void document only what was made before is given out, as it was.
    """
    kinds: Iterable[str] = E_INVOICE_KINDS
    if invoice.status == InvoiceStatus.VOID:
        made = set(invoice.documents.values_list("kind", flat=True))
        kinds = [kind for kind in E_INVOICE_KINDS if kind in made]
    return [
        (DocumentKind(kind).label, reverse("admin:invoicing_invoice_e_invoice", args=[invoice.pk, kind]))
        for kind in kinds
    ]


def period_text(start: datetime.date, end: datetime.date) -> str:
    """September 2024, or 2024-09-01 – 2024-09-15 with the last day."""
    if start.day == 1 and end == month_after(start):
        return f"{start:%B %Y}"
    return f"{start} – {end - datetime.timedelta(days=1)}"


def _months() -> list[tuple[str, str]]:
    this_month = clock.today().replace(day=1)
    firsts = [month_after(this_month, -back) for back in range(MONTHS_OFFERED)]
    return [(f"{first:%Y-%m}", f"{first:%b %Y}") for first in firsts]


def _facts(invoice: Invoice) -> list[tuple[str, str]]:
    snapshot = invoice.snapshot
    facts = [
        ("Payer", snapshot.get("payer", {}).get("name") or invoice.entity.printed_name),
        ("Addressed to", snapshot.get("bill_to", {}).get("name") or invoice.bill_to.printed_name),
        ("Issuer", snapshot.get("issuer", {}).get("name") or invoice.issuer.printed_name),
        ("Period", period_text(invoice.period_start, invoice.period_end)),
        ("Issue date", str(invoice.issue_date or "")),
        ("Due", str(invoice.due_date or "")),
        ("Issued by", invoice.issued_by.display_name if invoice.issued_by else ""),
    ]
    if invoice.voided_by is not None:
        facts.append(("Voided by", invoice.voided_by.display_name))
    return [(label, value) for label, value in facts if value]


@admin.register(InvoiceLine)
class InvoiceLineAdmin(ReadOnlyAdminMixin, BillingModelAdmin):
    """All lines, to filter, sum and export."""

    list_display = [
        "invoice", "line_number", "entity_name", "department_code", "provider", "description",
        number_column("item_count", label="Charges"), number_column("original_amount", label="Exact"),
        "original_currency", money_column("amount", currency="invoice__currency"),
    ]  # fmt: skip
    list_filter = ["invoice", "entity", "department", "kind", "original_currency"]
    list_select_related = ["invoice"]
    search_fields = ["description", "provider", "invoice__number", "entity_name", "department_code"]
    ordering = ["-invoice_id", "line_number"]
    totals = {"amount": Sum("amount"), "tax": Sum("tax_amount")}
    totals_currency = "invoice__currency"
    empty_state = EmptyState("No invoice lines", "They appear with the first consolidated invoice.")


# --- Number series ---------------------------------------------------------------------------------------


@admin.register(NumberSeries)
class NumberSeriesAdmin(BillingModelAdmin):
    """The counters; each list row proves that nothing is missing."""

    list_display = [
        "issuer",
        "prefix",
        "fiscal_year",
        number_column("last_number"),
        "last_issue_date",
        "proof",
    ]
    list_filter = ["issuer", "fiscal_year"]
    list_select_related = ["issuer"]
    search_fields = ["prefix", "issuer__name"]
    fields = ["issuer", "fiscal_year", "prefix", "last_number", "last_issue_date", "proof"]
    empty_state = EmptyState(
        "No number series yet",
        "An issuer's first invoice of a fiscal year makes the series. Add one before to choose its prefix.",
        "Add a number series",
        "admin:invoicing_numberseries_add",
    )
    locked_reason = staticmethod(
        lambda series: (
            f"It has numbered {series.last_number:,} documents: the prefix stays as it is."
            if series.last_number
            else ""
        )
    )

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        fixed = ("last_number", "last_issue_date", "proof")
        return fixed if obj is None else ("issuer", "fiscal_year", *fixed)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name == "issuer":
            kwargs["queryset"] = Entity.objects.issuers()
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    def save_model(self, request: HttpRequest, obj: NumberSeries, form: Any, change: bool) -> None:
        actor: Any = request.user
        if change:
            saved = number_series_rename(actor=actor, series=obj, prefix=form.cleaned_data["prefix"])
        else:
            saved = number_series_create(actor=actor, **form.cleaned_data)
        obj.pk = saved.pk

    @admin.display(description="Proof")
    def proof(self, series: NumberSeries) -> SafeString | str:
        if series.pk is None:
            return "–"
        return _proof_html(numbering_proof(series))


def _proof_html(proof: NumberingProof) -> SafeString:
    tone, icon = ("good", "verified") if proof.holds else ("bad", "error")
    return format_html(
        '<span class="eb-badge" data-tone="{}">'
        '<span class="material-symbols-outlined" aria-hidden="true">{}</span>{}</span> {}',
        tone,
        icon,
        "No gap, no duplicate" if proof.holds else "Fault",
        proof.sentence.partition(": ")[2],
    )
