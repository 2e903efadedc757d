"""Disputes in the back-office: the work list by next deadline, and the page on which staff works."""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Case, F, IntegerField, QuerySet, Sum, When
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from core.admin.actions import BarItem
from core.admin.badges import badge_html
from core.admin.base import BillingModelAdmin, EmptyState
from core.admin.columns import amount_html, amount_text, money_column
from core.admin.errors import REFUSALS, add_refusal, sentences
from core.admin.filters import BillingChangeList, QuickFilter
from core.admin.scoping import may
from core.files import download
from core.money import plain_amount
from disputes.access import HANDLE
from disputes.admin.actions import ACTIONS, handles, money, unproposed
from disputes.admin.clocks import deadline_html
from disputes.admin.filters import CauseFilter, DecisionFilter, OutcomeFilter, StandingFilter
from disputes.admin.forms import InvoiceForm, OpenForm, ResolveForm
from disputes.admin.page import body_html, page_context, settlement_facts, severity_badge, state_badge
from disputes.admin.reasons import reasons_file, reasons_page
from disputes.models import (
    OPEN_STATUSES,
    OUTCOMES_OF,
    WITHOUT_MONEY,
    BillingDispute,
    Direction,
    DisputeAttachment,
    DisputeComment,
    DisputeRound,
    Outcome,
    Visibility,
)
from disputes.querysets import INTERNAL
from disputes.services.attachments import attachment_add, attachment_remove
from disputes.services.comments import comment_add, comment_edit
from disputes.services.opening import dispute_open
from disputes.services.proposal_preview import ProposalPreview, proposal_preview
from disputes.services.proposals import Proposal, dispute_resolve
from entities.admin.base import actor_of
from invoicing.models import Invoice, InvoiceLine
from invoicing.selectors.holds import creditable_including_tax, disputed_of

LINES_OFFERED = 500


class DisputeChangeList(BillingChangeList):
    """The rows of the page with what their clocks and marks need, in two queries."""

    result_list: Any

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        rows: Any = list(self.result_list)
        keys = [row.pk for row in rows]
        unanswered = DisputeRound.objects.filter(dispute__in=keys, response_met_at__isnull=True)
        due = dict(unanswered.order_by("number").values_list("dispute_id", "response_due_at"))
        files = DisputeAttachment.objects.attached().filter(dispute__in=keys)
        with_files = set(files.order_by().values_list("dispute_id", flat=True))
        for row in rows:
            row.response_due, row.has_files = due.get(row.pk), row.pk in with_files
        self.result_list = rows


def _name(dispute: BillingDispute) -> SafeString:
    attached = getattr(dispute, "has_files", False)
    clip = (
        SafeString(
            ' <span class="material-symbols-outlined dsp-clip" role="img" aria-label="has files" title="Has files">'
            "attach_file</span>"
        )
        if attached
        else ""
    )
    return format_html("{}{}", dispute.number, clip)


@admin.register(BillingDispute)
class DisputeAdmin(BillingModelAdmin):
    """What the issuer's staff has to answer and decide. Only they come here: the customers have pages of their own."""

    class Media:
        css = {"all": ["approvals/admin.css", "disputes/disputes.css"]}
        js = ["disputes/clocks.js"]

    show_activity = True
    list_display = [
        "name", "deadline", "state", "urgency", "customer", "about", money_column("amount", label="Disputed"),
        "category", "worked_on_by",
    ]  # fmt: skip
    list_display_links = ["name"]
    export_fields = [
        "number_text", "entity", "invoice", "invoice_line", "category", "severity", "direction", "status",
        money_column("amount", label="Disputed"), money_column("approved_amount", label="Approved"), "owner",
        "is_escalated", "opened_at", "next_deadline_at", "resolved_at", "ended_at", "root_cause", "root_cause_note",
        "customer_reference", "chargeback_scheme", "chargeback_deadline", "reason",
    ]  # fmt: skip
    list_filter = [
        StandingFilter, "status", "severity", "category", "owner", "entity", "issuer", DecisionFilter, OutcomeFilter,
        CauseFilter, "direction", "currency", "opened_at", "next_deadline_at", "resolved_at",
    ]  # fmt: skip
    list_select_related = ["invoice", "invoice_line", "entity", "owner", "issuer"]
    search_fields = ["=id", "reason", "customer_reference", "invoice__number", "entity__name", "entity__code"]
    search_help_text = "Number, invoice, customer, their own number, or words of the claim."
    ordering = [
        Case(When(status__in=OPEN_STATUSES, then=0), default=1, output_field=IntegerField()),
        F("next_deadline_at").asc(nulls_last=True),
        "-id",
    ]
    totals = {"disputed": Sum("amount"), "approved": Sum("approved_amount")}
    quick_filters = [
        QuickFilter("Open", "standing=open", icon="radio_button_unchecked"),
        QuickFilter("Mine", "standing=mine", icon="person"),
        QuickFilter("Overdue", "standing=overdue", icon="alarm"),
        QuickFilter("Waiting for us", "standing=us", icon="pending_actions"),
        QuickFilter("Waiting for the customer", "standing=customer", icon="forum"),
        QuickFilter("Escalated", "standing=escalated", icon="priority_high"),
        QuickFilter("Proposed", "standing=proposed", icon="balance"),
        QuickFilter("Chargebacks", "standing=chargeback", icon="credit_card"),
    ]
    empty_state = EmptyState(
        "No disputes",
        "A customer who thinks that an invoice is wrong says so on their own pages. What they dispute is not collected "
        "until you decide. If they call or write instead, open the dispute for them from the invoice.",
        "Open the invoices",
        "admin:invoicing_invoice_changelist",
    )
    actions_bar = ACTIONS

    # --- Rights: of the issuer's staff ---

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows: Any = admin.ModelAdmin.get_queryset(self, request)
        return rows.handled_by(request.user)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return may(request.user, INTERNAL, obj.issuer if isinstance(obj, BillingDispute) else None)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return may(request.user, HANDLE)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    # --- The list ---

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> Any:
        """A number is found as people write it: D-000017."""
        words = [
            word[2:].lstrip("0") if word.upper().startswith("D-") and word[2:].isdigit() else word
            for word in search_term.split()
        ]
        return super().get_search_results(request, queryset, " ".join(words))

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> Any:
        return DisputeChangeList

    @admin.display(description="Number", ordering="id")
    def name(self, dispute: BillingDispute) -> SafeString:
        return _name(dispute)

    @admin.display(description="Number")
    def number_text(self, dispute: BillingDispute) -> str:
        return dispute.number

    @admin.display(description="Next deadline", ordering=F("next_deadline_at").asc(nulls_last=True))
    def deadline(self, dispute: BillingDispute) -> SafeString:
        return deadline_html(dispute)

    @admin.display(description="Customer", ordering="entity__name")
    def customer(self, dispute: BillingDispute) -> str:
        return dispute.entity.name

    @admin.display(description="About", ordering="invoice__number")
    def about(self, dispute: BillingDispute) -> SafeString:
        line = dispute.invoice_line
        return format_html(
            '<span title="{}">{} <span class="eb-quiet-text">{}</span></span>',
            line or "The whole invoice",
            dispute.invoice,
            f"line {line.line_number}" if line is not None else "whole",
        )

    @admin.display(description="Severity", ordering=Case(
        When(severity="critical", then=0), When(severity="high", then=1), When(severity="medium", then=2),
        default=3, output_field=IntegerField(),
    ))  # fmt: skip
    def urgency(self, dispute: BillingDispute) -> SafeString:
        return severity_badge(dispute)

    @admin.display(description="Owner", ordering="owner__last_name")
    def worked_on_by(self, dispute: BillingDispute) -> str:
        return dispute.owner.display_name if dispute.owner is not None else "–"

    @admin.display(description="State", ordering="status")
    def state(self, dispute: BillingDispute) -> SafeString:
        badges = state_badge(dispute)
        if dispute.is_escalated and dispute.is_open:
            badges = format_html("{} {}", badges, badge_html("escalated"))
        if dispute.is_chargeback and dispute.is_open:
            badges = format_html("{} {}", badges, badge_html("chargeback"))
        return badges

    # --- Addresses ---

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view
        own: dict[str, tuple[Any, str]] = {
            "reasons/": (self.reasons_view, "reasons"),
            "reasons.<slug:kind>": (self.reasons_export, "reasons_export"),
            "<int:pk>/say/": (self.say_view, "say"),
            "<int:pk>/attach/": (self.attach_view, "attach"),
            "<int:pk>/files/<int:file>/": (self.file_view, "file"),
            "<int:pk>/files/<int:file>/remove/": (self.remove_view, "remove"),
            "<int:pk>/comments/<int:comment>/": (self.correct_view, "correct"),
        }
        return [
            *(
                path(at, view(page), name=f"disputes_billingdispute_{name}")
                for at, (page, name) in own.items()
            ),
            *super().get_urls(),
        ]

    def _found(self, request: HttpRequest, pk: Any) -> BillingDispute:
        rows = self.get_queryset(request).select_related(
            "invoice__issuer", "invoice__entity", "invoice_line", "issuer", "entity", "owner", "hold", "opened_by",
            "merged_into", "department",
        )  # fmt: skip
        try:
            found: BillingDispute | None = rows.filter(pk=pk).first()
        except (TypeError, ValueError):
            found = None
        if found is None:
            raise Http404("There is no such dispute, or it is outside your scope.")
        return found

    def _handled(self, request: HttpRequest, pk: Any) -> BillingDispute:
        """The dispute, for who may do something about it."""
        found = self._found(request, pk)
        if not handles(request.user, found):
            raise PermissionDenied
        return found

    def _context(self, request: HttpRequest, dispute: BillingDispute | None, title: str) -> dict[str, Any]:
        return {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "media": self.media,
            "title": title,
            "original": dispute,
            "back": self._url("change", dispute.pk) if dispute is not None else self._url("changelist"),
        }

    # --- The page and its bar ---

    def bar_of(self, request: HttpRequest, obj: Any) -> list[BarItem]:
        """What concerns its state and the person's rights; the first possible main action leads, and is filled."""
        items = [
            BarItem(action, self._url("do", obj.pk, action.name), action.possible(obj, request.user) or "")
            for action in ACTIONS
            if action.concerns(obj, request.user) and handles(request.user, obj, action.right)
        ]
        main = next((item for item in items if item.action.main and not item.why_not), None)
        others = [
            replace(item, action=replace(item.action, main=False)) for item in items if item is not main
        ]
        return others if main is None else [main, *others]

    def changeform_view(
        self, request: HttpRequest, object_id: Any = None, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """A dispute is read here and changed by its actions; without one, this opens one."""
        if object_id is None:
            return self.open_view(request)
        if request.method not in ("GET", "HEAD"):
            raise PermissionDenied
        dispute = self._found(request, object_id)
        may_write = handles(request.user, dispute)
        context = {
            **self._context(request, None, str(dispute)),
            "actions_bar": self.bar_of(request, dispute),
            "say_url": self._url("say", dispute.pk),
            "attach_url": self._url("attach", dispute.pk),
            "cause_url": self._url("do", dispute.pk, "cause"),
            **page_context(dispute, actor_of(request), may_write=may_write),
        }
        return TemplateResponse(request, "admin/disputes/dispute.html", context)

    def object_action_view(self, request: HttpRequest, object_id: str, name: str) -> HttpResponse:
        action = next((action for action in ACTIONS if action.name == name), None)
        if action is not None:
            dispute = self._found(request, object_id)
            if not handles(request.user, dispute, action.right):
                raise PermissionDenied
            if name == "resolve":
                return self.resolve_view(request, dispute)
            if not action.concerns(dispute, request.user):
                messages.error(
                    request,
                    f"{dispute} is {dispute.get_status_display().lower()}: this cannot be done any more.",
                )
                return redirect(self._url("change", dispute.pk))
        return super().object_action_view(request, object_id, name)

    # --- Writing ---

    def say_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """POST: an internal note is kept at once; what goes to the customer is shown once more first."""
        dispute = self._handled(request, pk)
        if request.method != "POST":
            return redirect(self._url("change", pk))
        body, to_customer = (
            request.POST.get("body", ""),
            request.POST.get("visibility") == Visibility.CUSTOMER,
        )
        if to_customer and body.strip() and "confirm" not in request.POST:
            context = {
                **self._context(request, dispute, "Send to the customer"),
                "body": body,
                "dispute": dispute,
            }
            return TemplateResponse(request, "admin/disputes/say.html", context)
        visibility = Visibility.CUSTOMER if to_customer else Visibility.INTERNAL
        try:
            comment = comment_add(actor=actor_of(request), dispute_id=pk, body=body, visibility=visibility)
        except REFUSALS as error:
            messages.error(request, " ".join(sentences(error)))
            return redirect(f"{self._url('change', pk)}#write")
        messages.success(
            request, f"Sent to {dispute.entity}." if to_customer else "The note is kept. Only staff reads it."
        )
        return redirect(f"{self._url('change', pk)}#comment-{comment.pk}")

    def correct_view(self, request: HttpRequest, pk: int, comment: int) -> HttpResponse:
        """A further version of one's own comment; the earlier ones stay (DSP-18)."""
        dispute = self._handled(request, pk)
        found = DisputeComment.objects.filter(dispute=dispute, pk=comment, author=actor_of(request)).first()
        if found is None:
            raise Http404("There is no such comment of yours.")
        body, error = found.body, ""
        if request.method == "POST":
            body = request.POST.get("body", "")
            try:
                saved = comment_edit(actor=actor_of(request), comment_id=comment, body=body)
            except REFUSALS as refused:
                error = " ".join(sentences(refused))
            else:
                messages.success(
                    request, f"Version {saved.version} is kept; the earlier one can still be read."
                )
                return redirect(f"{self._url('change', pk)}#comment-{saved.pk}")
        context = {
            **self._context(request, dispute, "Correct a comment"),
            "comment": found,
            "shown": body_html(found),
            "body": body,
            "error": error,
        }
        return TemplateResponse(request, "admin/disputes/correct.html", context, status=400 if error else 200)

    def attach_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """POST: keep a file; one that the customer shall see needs a tick."""
        self._handled(request, pk)
        upload = request.FILES.get("file")
        to_customer = request.POST.get("visibility") == Visibility.CUSTOMER
        if upload is None:
            messages.error(request, "Choose a file first.")
        elif to_customer and "confirm" not in request.POST:
            messages.error(request, "Tick that the customer may see the file, then attach it again.")
        else:
            try:
                kept = attachment_add(
                    actor=actor_of(request),
                    dispute_id=pk,
                    name=upload.name or "file",
                    file=upload,
                    visibility=Visibility.CUSTOMER if to_customer else Visibility.INTERNAL,
                )
            except REFUSALS as error:
                messages.error(request, " ".join(sentences(error)))
            else:
                readers = "the customer and staff see it" if to_customer else "only staff sees it"
                messages.success(request, f"“{kept.name}” is attached; {readers}.")
        return redirect(f"{self._url('change', pk)}#files")

    def file_view(self, request: HttpRequest, pk: int, file: int) -> HttpResponseBase:
        """A file, to be saved."""
        dispute = self._found(request, pk)
        rows = DisputeAttachment.objects.visible_to(actor_of(request)).attached()
        kept = rows.filter(dispute=dispute, pk=file).first()
        if kept is None:
            raise Http404("There is no such file.")
        try:
            return download(kept.file, name=kept.name, content_type=kept.content_type)
        except REFUSALS as error:
            messages.error(request, " ".join(sentences(error)))
            return redirect(self._url("change", pk))

    def remove_view(self, request: HttpRequest, pk: int, file: int) -> HttpResponse:
        """POST: take one's own file off; the log keeps its name and fingerprint."""
        self._handled(request, pk)
        if request.method == "POST":
            try:
                removed = attachment_remove(actor=actor_of(request), attachment_id=file)
            except REFUSALS as error:
                messages.error(request, " ".join(sentences(error)))
            else:
                messages.success(request, f"“{removed.name}” is taken off.")
        return redirect(f"{self._url('change', pk)}#files")

    # --- Resolving ---

    def resolve_view(self, request: HttpRequest, dispute: BillingDispute) -> HttpResponse:
        """The form, then what it would do, then doing it: what is confirmed is what was shown (DSP-11 to DSP-15)."""
        why_not = unproposed(dispute, request.user) if dispute.is_open else "It is decided already."
        posted = request.method == "POST" and not why_not
        form = ResolveForm(request.POST) if posted else ResolveForm(initial=_resolve_initial(dispute))
        form.fields["outcome"].choices = _outcomes(dispute)  # type: ignore[attr-defined]  # a ChoiceField
        shown: ProposalPreview | None = None
        if posted and form.is_valid():
            call = {
                "actor": actor_of(request),
                "dispute_id": dispute.pk,
                "proposal": _proposal(form.cleaned_data),
                "expected_version": form.cleaned_data["version"],
            }
            try:
                shown = proposal_preview(**call)
                if _is_confirmed(request, shown):
                    return self._resolved(request, dispute, dispute_resolve(**call))
            except REFUSALS as error:
                add_refusal(form, error)
        context = {
            **self._context(request, dispute, "Resolve"),
            "dispute": dispute,
            "why_not": why_not,
            "form": form,
            "media": self.media + form.media,
            "preview": _preview_rows(shown, dispute) if shown is not None else None,
            "shown": shown,
            "digest": _digest(shown) if shown is not None else "",
            "limits": _limits(dispute),
        }
        return TemplateResponse(
            request, "admin/disputes/resolve.html", context, status=409 if why_not else 200
        )

    def _resolved(self, request: HttpRequest, dispute: BillingDispute, resolution: Any) -> HttpResponse:
        if resolution.status == "pending":
            asked = (
                f"{resolution.approval_request} asks for its approval." if resolution.approval_request else ""
            )
            messages.success(request, f"{resolution.get_outcome_display()} is proposed. {asked}")
        else:
            messages.success(request, f"{dispute} is resolved: {resolution.get_outcome_display().lower()}.")
            messages.info(request, "Say what the cause was while you remember it.")
        return redirect(self._url("change", dispute.pk))

    # --- Opening one for a customer ---

    def open_view(self, request: HttpRequest) -> HttpResponse:
        """`?invoice=…&line=…`; without an invoice it asks for its number."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        key = request.GET.get("invoice", "")
        if not key.isdigit():
            return self._choose_invoice(request)
        invoices = Invoice.objects.visible_to(actor_of(request)).select_related("issuer", "entity")
        invoice = invoices.filter(pk=key).first()
        if invoice is None:
            raise Http404("There is no such invoice, or it is outside your scope.")
        if not may(request.user, HANDLE, invoice.issuer):
            raise PermissionDenied
        lines = list(invoice.lines.order_by("line_number")[:LINES_OFFERED])
        others: Any = self.get_queryset(request)
        form = OpenForm(
            request.POST if request.method == "POST" else None, initial=_open_initial(request, invoice)
        )
        form.fields["line"].choices = _line_choices(invoice, lines)  # type: ignore[attr-defined]  # a ChoiceField
        if request.method == "POST" and form.is_valid():
            try:
                dispute = self._open(request, invoice, form.cleaned_data)
            except REFUSALS as error:
                add_refusal(form, error)
            else:
                messages.success(
                    request,
                    f"{dispute} is open; {money(dispute, dispute.amount)} is not collected until it is decided.",
                )
                return redirect(self._url("change", dispute.pk))
        context = {
            **self._context(request, None, "Open a dispute"),
            "invoice": invoice,
            "form": form,
            "media": self.media + form.media,
            "back": reverse("admin:invoicing_invoice_change", args=[invoice.pk]),
            "left": amount_html(creditable_including_tax(invoice) - disputed_of(invoice), invoice.currency),
            "others": [
                (each.number, self._url("change", each.pk))
                for each in others.open().filter(invoice=invoice).order_by("pk")
            ],
        }
        return TemplateResponse(request, "admin/disputes/open.html", context)

    def _choose_invoice(self, request: HttpRequest) -> HttpResponse:
        asked = "number" in request.GET
        form = InvoiceForm(request.GET if asked else None)
        if asked and form.is_valid():
            found = Invoice.objects.visible_to(actor_of(request)).filter(
                number=form.cleaned_data["number"].strip()
            )
            invoice = found.order_by("-pk").first()
            if invoice is not None:
                return redirect(f"{self._url('add')}?invoice={invoice.pk}")
            form.add_error(
                "number", "No invoice that you see has this number. Look it up in the list of invoices."
            )
        context = {**self._context(request, None, "Open a dispute"), "form": form}
        return TemplateResponse(request, "admin/disputes/choose.html", context)

    def _open(self, request: HttpRequest, invoice: Invoice, data: Mapping[str, Any]) -> BillingDispute:
        values = dict(data)
        key = values.pop("line")
        line = InvoiceLine.objects.filter(invoice=invoice, pk=key).first() if key else None
        return dispute_open(actor=actor_of(request), invoice=invoice, invoice_line=line, **values)

    # --- Reasons ---

    def reasons_view(self, request: HttpRequest) -> HttpResponse:
        """Why customers dispute, and what came of it."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        context = {**self._context(request, None, "Reasons of disputes"), **reasons_page(request)}
        return TemplateResponse(request, "admin/disputes/reasons.html", context)

    def reasons_export(self, request: HttpRequest, kind: str) -> HttpResponseBase:
        """The same figures as a file."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        return reasons_file(self, request, kind)


# --- The form of a resolution ----------------------------------------------------------------------------


def _digest(shown: ProposalPreview) -> str:
    return hashlib.sha256(repr(shown).encode()).hexdigest()


def _is_confirmed(request: HttpRequest, shown: ProposalPreview) -> bool:
    """Whether what the person saw is what would happen now."""
    if "confirm" not in request.POST:
        return False
    if request.POST.get("shown", "") == _digest(shown):
        return True
    messages.warning(request, "These are not the consequences that you saw. Look again, then confirm.")
    return False


def _resolve_initial(dispute: BillingDispute) -> dict[str, Any]:
    over = dispute.direction == Direction.OVER
    return {
        "version": dispute.version,
        "outcome": Outcome.CREDIT_NOTE if over else Outcome.DEBIT_NOTE,
        "amount": plain_amount(dispute.amount, dispute.currency),
    }


def _outcomes(dispute: BillingDispute) -> list[tuple[str, str]]:
    """What can be meant by the direction: an undercharge is never credited, an overcharge never debited (DSP-01)."""
    neither = {Outcome.REJECTED, Outcome.PRICE_FIX}
    if dispute.direction == Direction.UNDER:
        fitting = neither | {Outcome.DEBIT_NOTE}
    else:
        fitting = set(Outcome) - {Outcome.DEBIT_NOTE}
    return [(each.value, str(each.label)) for each in Outcome if each in fitting]


def _proposal(data: Mapping[str, Any]) -> Proposal:
    outcome = Outcome(data["outcome"])
    kind = next(kind for kind, outcomes in OUTCOMES_OF.items() if outcome in outcomes)
    return Proposal(
        resolution_type=kind,
        outcome=outcome,
        # The prefilled amount means nothing where no money moves.
        amount=None if outcome in WITHOUT_MONEY else data["amount"],
        note=data["note"],
        internal_note=data["internal_note"],
        amendment=data["amendment"],
    )


def _limits(dispute: BillingDispute) -> list[tuple[str, SafeString | str]]:
    wanted = {"Open of the invoice", "Can still be credited", "Can still be refunded"}
    disputed = ("Disputed", amount_html(dispute.amount, dispute.currency))
    return [disputed, *(fact for fact in settlement_facts(dispute) if fact[0] in wanted)]


def _preview_rows(shown: ProposalPreview, dispute: BillingDispute) -> list[tuple[str, SafeString | str]]:
    """The consequences, each with its amount; what is zero is left out."""
    rows = [
        ("Credit note over", shown.credited),
        ("of it settles the invoice", shown.set_off),
        ("of it stays as a balance of the customer", shown.balance),
        ("is paid back", shown.refund),
        ("Written off", shown.written_off),
        ("Debit note over", shown.debited),
    ]
    found: list[tuple[str, SafeString | str]] = [
        (label, amount_html(amount, shown.currency)) for label, amount in rows if amount
    ]
    if shown.rebilled:
        found.append(("A new draft", f"bills {dispute.entity} for the period again"))
    if shown.outcome in WITHOUT_MONEY:
        found.append(("Nothing is given back", str(shown.outcome.label)))
    found.append(("Open of the invoice now", amount_html(shown.open_before, shown.currency)))
    found.append(("Open of the invoice then", amount_html(shown.open_after, shown.currency)))
    if shown.deferred:
        found.append(
            (f"of it collected from {shown.deferred_until}", amount_html(shown.deferred, shown.currency))
        )
    return found


# --- The form of a new dispute ---------------------------------------------------------------------------


def _open_initial(request: HttpRequest, invoice: Invoice) -> dict[str, Any]:
    key = request.GET.get("line", "")
    line = invoice.lines.filter(pk=key).first() if key.isdigit() else None
    left = creditable_including_tax(invoice, line) - disputed_of(invoice, line)
    return {
        "line": key if line is not None else "",
        "amount": plain_amount(max(left, Decimal(0)), invoice.currency),
    }


def _line_choices(invoice: Invoice, lines: list[InvoiceLine]) -> list[tuple[str, str]]:
    def with_tax(amount: Decimal) -> str:
        return f"{amount_text(amount, invoice.currency)} {invoice.currency}"

    whole = ("", f"The whole invoice, {with_tax(invoice.total)}")
    return [whole, *((str(line.pk), f"{line}, {with_tax(line.amount + line.tax_amount)}") for line in lines)]
