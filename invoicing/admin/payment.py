"""Payments, what they settle, and refunds in the back-office."""

from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import F, QuerySet, Sum
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from core.admin.actions import ActionCall, ObjectAction
from core.admin.badges import Badge, badge_column, register_badges
from core.admin.base import BillingModelAdmin, EmptyState, ReadOnlyAdminMixin
from core.admin.columns import amount_html, amount_text, money_column
from core.admin.filters import QuickFilter
from core.admin.scoping import may
from entities.models import Entity
from invoicing.admin.allocation import AMOUNTS, OLDEST, SETTLES, Allocation, suggested, typed
from invoicing.admin.credit_note import RefundForm, amount_field, document_numbered, oldest_number, text_field
from invoicing.admin.settlement_panel import payment_rows_html
from invoicing.models import Payment, PaymentStatus, Refund, Settlement
from invoicing.selectors.settlements import settlement_source
from invoicing.services.payments import (
    Application,
    payment_apply,
    payment_record,
    payment_reverse,
    refund_make,
)
from invoicing.services.settlement import settlement_reverse

register_badges(
    {
        PaymentStatus.RECEIVED.value: Badge("Received", "check_circle", "good", "✓"),
    }
)
_SELECT = forms.Select(attrs={"class": "eb-input"})


class BetweenTwoAdmin(BillingModelAdmin):
    """Records between a payer and an issuer: seen by who sees either; made by services only."""

    view_permission = ""

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows: Any = admin.ModelAdmin.get_queryset(self, request)
        return rows.visible_to(request.user, self.view_permission)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        if super().has_view_permission(request, obj):
            return True
        issuer = getattr(getattr(obj, "invoice", obj), "issuer", None)
        return issuer is not None and may(request.user, self.view_permission, issuer)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


# --- Payments --------------------------------------------------------------------------------------------

_PAYMENT_FIELDS = (
    "issuer", "entity", "amount", "currency", "received_on", "method", "reference", "external_id", "note",
)  # fmt: skip


class PaymentAddForm(forms.ModelForm):
    """What arrived, and what to do with it."""

    user: Any = None
    settles = forms.ChoiceField(choices=SETTLES, widget=_SELECT)

    class Meta:
        model = Payment
        fields = _PAYMENT_FIELDS

    def clean(self) -> dict[str, Any]:
        data: dict[str, Any] = super().clean() or self.cleaned_data
        self.amounts = typed(self.user, data, self.data)
        if data.get("settles") == AMOUNTS and not self.amounts.is_valid():
            self.add_error("settles", self.amounts.non_field_errors() or "Correct the amounts below.")
        return data

    def applications(self) -> list[Application] | None:
        """What is settled as the payment is recorded; None settles what is due first."""
        settles = self.cleaned_data["settles"]
        return None if settles == OLDEST else self.amounts.applications() if settles == AMOUNTS else []

    def as_typed(self) -> Allocation:
        """What was posted, to be shown again."""
        return Allocation(self.amounts, self.data.get("settles", OLDEST), known=bool(self.amounts.documents))


class ApplyPaymentForm(forms.Form):
    """Which document is settled."""

    number = text_field(
        required=False, max_length=50, label="Invoice", help_text="Its number. Empty: what is due first."
    )
    amount = amount_field(required=False, help_text="Empty: as much as fits. Only with an invoice.")


def _applicable(payment: Payment, user: Any) -> str | None:
    if payment.status == PaymentStatus.REVERSED:
        return "It is reversed."
    return None if payment.unapplied_amount else "All of it is used."


def _reversible(payment: Payment, user: Any) -> str | None:
    return "It is reversed already." if payment.status == PaymentStatus.REVERSED else None


def _apply(call: ActionCall) -> Payment:
    number = call.data["number"].strip()
    applications = (
        [Application(document_numbered(number, call.obj).pk, call.data["amount"])] if number else None
    )
    return payment_apply(actor=call.actor, payment=call.obj, applications=applications)


def _money(amount: Any, currency: str) -> str:
    return f"{amount_text(amount, currency)} {currency}"


def _locked(payment: Payment) -> str:
    if payment.pk is None:
        return ""
    if payment.status == PaymentStatus.REVERSED:
        return f"It was reversed: “{payment.reversal_reason}” It stays here, and settles nothing."
    return "A payment is not edited. If it bounced or is wrong, reverse it and record the right one."


@admin.register(Payment)
class PaymentAdmin(BetweenTwoAdmin):
    """What payers paid; each opens with what it settles."""

    view_permission = "invoicing.view_payment"
    form = PaymentAddForm
    change_form_after_template = "admin/invoicing/payment_settles.html"
    list_display = [
        "received_on", "payer", badge_column("status"), "method", "reference", money_column("amount"), "left",
    ]  # fmt: skip
    export_fields = [
        "received_on", "issuer", "entity", "status", "method", "reference", "external_id", money_column("amount"),
        money_column("applied_amount"), "currency",
    ]  # fmt: skip
    list_filter = ["status", "entity", "issuer", "received_on", "method", "currency"]
    list_select_related = ["entity", "issuer"]
    search_fields = ["reference", "external_id", "entity__name", "entity__code", "note"]
    totals = {"amount": Sum("amount"), "applied": Sum("applied_amount")}
    quick_filters = [QuickFilter("Reversed", "status__exact=reversed", icon="undo")]
    empty_state = EmptyState(
        "No payments yet",
        "Record what a payer paid: it settles what is due first, and what is left stays as a balance.",
        "Record a payment",
        "admin:invoicing_payment_add",
    )
    locked_reason = staticmethod(_locked)

    class Media:
        css: ClassVar[Any] = {"all": ["invoicing/invoice.css", "invoicing/receivables.css"]}

    actions_bar = [
        ObjectAction(
            name="apply",
            label="Apply",
            main=True,
            perm="invoicing.add_settlement",
            icon="swap_horiz",
            form=ApplyPaymentForm,
            initial=lambda payment, user: {"number": oldest_number(payment)},
            possible=_applicable,
            consequence=lambda payment: (
                f"What is left of it, {_money(payment.unapplied_amount, payment.currency)}, settles an invoice."
            ),
            run=_apply,
            done=lambda payment: f"Applied; {_money(payment.unapplied_amount, payment.currency)} is left.",
        ),
        ObjectAction(
            name="refund",
            label="Refund",
            perm="invoicing.add_refund",
            icon="currency_exchange",
            needs_reason=True,
            form=RefundForm,
            possible=_applicable,
            consequence=lambda payment: (
                f"Money goes back to the payer, at most {_money(payment.unapplied_amount, payment.currency)}."
            ),
            run=lambda call: refund_make(actor=call.actor, source=call.obj, reason=call.reason, **call.data),
            done=lambda refund: f"The refund of {_money(refund.amount, refund.currency)} is recorded.",
        ),
        ObjectAction(
            name="reverse",
            label="Reverse",
            perm="invoicing.reverse_payment",
            icon="undo",
            danger=True,
            needs_reason=True,
            possible=_reversible,
            consequence="All that it settles is open again. The payment stays here, marked reversed.",
            run=lambda call: payment_reverse(actor=call.actor, payment=call.obj, reason=call.reason),
            done="The payment is reversed.",
        ),
    ]

    @admin.display(description="Payer", ordering="entity__name")
    def payer(self, payment: Payment) -> str:
        return payment.entity.name

    @admin.display(description="Left", ordering=F("amount") - F("applied_amount"))
    def left(self, payment: Payment) -> SafeString:
        return amount_html(payment.unapplied_amount, payment.currency)

    @admin.display(description="Settles")
    def settled(self, payment: Payment) -> SafeString:
        return payment_rows_html(payment)

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        if obj is None:
            return _PAYMENT_FIELDS
        return ("status", *_PAYMENT_FIELDS, "left", "settled", "created_by")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return () if obj is None else self.get_fields(request, obj)

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name == "issuer":
            kwargs["queryset"] = Entity.objects.issuers()
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    # --- What it settles: proposed while it is typed, by a button where there are no scripts ---

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view
        return [
            path("suggest/", view(self.suggest_view), name="invoicing_payment_suggest"),
            *super().get_urls(),
        ]

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        form_class = super().get_form(request, obj, change=change, **kwargs)
        form_class.user = request.user  # The class is made anew for each request.
        return form_class

    def changeform_view(
        self, request: HttpRequest, object_id: Any = None, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """“Suggest” shows the page as if it were opened with what was typed: nothing is recorded."""
        if object_id is None and request.method == "POST" and {"_suggest", "_use"} & request.POST.keys():
            request.method, request.GET = "GET", request.POST  # type: ignore[assignment]  # both are read only
        return super().changeform_view(request, object_id, form_url, extra_context)

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> Any:
        if kwargs.get("obj") is None:
            form = context["adminform"].form
            context["allocation"] = (
                form.as_typed() if form.is_bound else self._suggested(request, request.GET)
            )
            context["settles_errors"] = form.errors.get("settles", [])
        return super().render_change_form(request, context, *args, **kwargs)

    def suggest_view(self, request: HttpRequest) -> HttpResponse:
        """The part of the page that says what would be settled, for what is typed so far; reads only."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        if request.method != "POST":
            return redirect("admin:invoicing_payment_add")
        context = {"allocation": self._suggested(request, request.POST)}
        return TemplateResponse(request, "admin/invoicing/payment_settles.html", context)

    def _suggested(self, request: HttpRequest, data: Any) -> Allocation:
        """Whatever else is missing or wrong: what is given correctly is enough to propose something."""
        form = self.get_form(request)(data)
        form.full_clean()
        choice = data.get("_use", "")
        return suggested(request.user, form.cleaned_data, int(choice) if choice.isdecimal() else 0)

    def save_model(self, request: HttpRequest, obj: Payment, form: Any, change: bool) -> None:
        data = {name: value for name, value in form.cleaned_data.items() if name != "settles"}
        saved = payment_record(actor=request.user, applications=form.applications(), **data)  # type: ignore[arg-type]
        obj.pk = saved.pk


# --- Settlements and refunds -------------------------------------------------------------------------------


def _standing(row: Settlement, user: Any) -> str | None:
    if row.reverses_id is not None:
        return "It takes another one back."
    return "It was taken back already." if hasattr(row, "reversal") else None


@admin.register(Settlement)
class SettlementAdmin(ReadOnlyAdminMixin, BetweenTwoAdmin):
    """Everything that settles documents, in one list."""

    view_permission = "invoicing.view_settlement"
    list_display = [
        "settled_on", "document", "source", money_column("amount", currency="invoice__currency"), "reason",
    ]  # fmt: skip
    list_filter = ["kind", "settled_on"]
    list_select_related = ["invoice", "invoice__issuer", "payment", "credit_note"]
    search_fields = ["invoice__number", "credit_note__number", "payment__reference", "reason"]
    ordering = ["-id"]
    totals = {"amount": Sum("amount")}
    totals_currency = "invoice__currency"
    fields: ClassVar[Any] = [
        "settled_on",
        "document",
        "source",
        "settles",
        "reason",
        "reverses",
        "created_by",
        "created_at",
    ]
    readonly_fields = tuple(fields)
    empty_state = EmptyState(
        "Nothing is settled yet", "Payments, credit notes and write-offs settle invoices."
    )
    actions_bar = [
        ObjectAction(
            name="reverse",
            label="Take back",
            perm="invoicing.reverse_settlement",
            icon="undo",
            danger=True,
            needs_reason=True,
            possible=_standing,
            consequence="The document is open again by this amount; the payment or credit note has it left again.",
            run=lambda call: settlement_reverse(actor=call.actor, settlement=call.obj, reason=call.reason),
            done=lambda row: f"{_money(-row.amount, row.invoice.currency)} of {row.invoice} is open again.",
        ),
    ]

    @admin.display(description="Document", ordering="invoice__number")
    def document(self, row: Settlement) -> SafeString:
        return format_html(
            '<a class="eb-link" href="{}">{}</a>',
            reverse("admin:invoicing_invoice_change", args=[row.invoice_id]),
            row.invoice,
        )

    @admin.display(description="By")
    def source(self, row: Settlement) -> str:
        taken = "Taken back: " if row.reverses_id is not None else ""
        return f"{taken}{settlement_source(row)}"

    @admin.display(description="Amount")
    def settles(self, row: Settlement) -> SafeString:
        return amount_html(row.amount, row.invoice.currency)


@admin.register(Refund)
class RefundAdmin(ReadOnlyAdminMixin, BetweenTwoAdmin):
    """Money that went back to payers."""

    view_permission = "invoicing.view_refund"
    list_display = [
        "refunded_on",
        "entity",
        "issuer",
        "source",
        money_column("amount"),
        "method",
        "reference",
        "reason",
    ]
    list_filter = ["entity", "issuer", "refunded_on", "method", "currency"]
    list_select_related = ["entity", "issuer", "payment", "credit_note"]
    search_fields = ["reference", "reason", "entity__name"]
    totals = {"amount": Sum("amount")}
    fields: ClassVar[Any] = [
        "refunded_on", "issuer", "entity", "source", "amount", "currency", "method", "reference", "reason",
        "created_by",
    ]  # fmt: skip
    readonly_fields = tuple(fields)
    empty_state = EmptyState(
        "No refunds yet", "They are made from a payment or a credit note of which something is left."
    )

    @admin.display(description="Out of")
    def source(self, row: Refund) -> str:
        return f"Credit note {row.credit_note}" if row.credit_note is not None else str(row.payment)
