"""The addresses of payments, credit and debit notes, write-offs, refunds and balances."""

from typing import Any

from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from core import clock
from core.access import get_visible, has, require
from core.api.base import BillingAPIView, BillingViewSet, CreateMixin
from core.api.filters import refuse_unknown_parameters
from core.api.schema import operation, operations
from core.models import User
from entities.models import Entity
from invoicing.api.invoice_serializers import InvoiceDetailSerializer, InvoiceSerializer, invoice_detail
from invoicing.api.invoice_views import invoices_url
from invoicing.api.settlement_filters import (
    CreditNoteFilter,
    PaymentFilter,
    RefundFilter,
    SettlementFilter,
)
from invoicing.api.settlement_serializers import (
    BalancesSerializer,
    CreditApplySerializer,
    CreditNoteCreateSerializer,
    CreditNoteIssueSerializer,
    CreditNotePreviewSerializer,
    DebitNoteIssueSerializer,
    PaymentApplySerializer,
    PaymentCreateSerializer,
    PaymentDetailSerializer,
    PaymentSerializer,
    RefundMakeSerializer,
    RefundSerializer,
    SettlementReasonSerializer,
    SettlementSerializer,
    WriteOffSerializer,
    line_amounts,
    shown_preview,
)
from invoicing.models import DocumentType, Invoice, Payment, Refund, Settlement
from invoicing.selectors.receivables import receivables_ageing
from invoicing.selectors.settlements import settlements_of
from invoicing.services.credit_notes import credit_note_issue, credit_note_preview
from invoicing.services.debit_notes import debit_note_issue
from invoicing.services.payments import payment_apply, payment_record, payment_reverse, refund_make
from invoicing.services.settlement import balance_apply, settlement_reverse, write_off

APPLY_CODES = [
    "not_receivable", "other_account", "amount_exceeds_open", "balance_exceeded", "nothing_open", "payment_reversed",
]  # fmt: skip
CREDIT_CODES = {
    400: [
        "reason_required", "lines_or_amount", "one_amount", "negative_line", "duplicate_line", "issue_date_in_future",
        "issue_date_before_invoice",
    ],
    409: [
        "not_creditable", "credit_exceeds_line", "credit_exceeds_invoice", "nothing_to_credit", "not_whole",
        "issue_date_before_last",
    ],
}  # fmt: skip


def require_seen(actor: User, permission: str, obj: Any, issuer: Entity) -> None:
    """A right to see at the payer or at the issuer is enough to see."""
    if not has(actor, permission, issuer):
        require(actor, permission, obj)


def seen_invoice(actor: User, pk: int) -> Invoice:
    """The invoice, if the actor sees it."""
    rows = Invoice.objects.select_related("issuer", "entity", "bill_to")
    invoice: Invoice = get_visible(rows, actor, pk, name="invoice")
    require_seen(actor, "invoicing.view_invoice", invoice, invoice.issuer)
    return invoice


class BetweenTwoViewSet(BillingViewSet):
    """Records between a payer and an issuer: seen by who may see at either of them."""

    view_permission = ""

    def get_queryset(self) -> Any:
        queryset: Any = super().get_queryset()
        if self.action == "list":
            return queryset.visible_to(self.actor, self.view_permission)
        return queryset

    def check_object_permissions(self, request: Request, obj: Any) -> None:
        """Whoever may not even see it learns nothing; what else is needed is the service's to ask."""
        issuer = getattr(obj, "invoice", obj).issuer
        require_seen(self.actor, self.view_permission, obj, issuer)


# --- Payments --------------------------------------------------------------------------------------------


@operations(
    list=operation(summary="List the payments you see."),
    retrieve=operation(summary="Get a payment with what it settles."),
    create=operation(
        summary="Record a payment; it settles what is due first, or what `applications` say.",
        description=(
            "What is left is a balance in the payer's favour; empty `applications` keep all of it as one. Disputed "
            "amounts are settled only by name. Each `external_id` is taken once per issuer."
        ),
        errors={
            400: ["amount_not_positive", "amount_too_precise", "date_in_future", "currency_mismatch"],
            409: ["payment_known", *APPLY_CODES],
        },
        example={
            "issuer_id": 1, "entity_id": 1, "amount": "119.00", "currency": "USD", "received_on": "2024-10-20",
            "reference": "SHS-INV-2024-000001",
        },
    ),
)  # fmt: skip
class PaymentViewSet(CreateMixin, BetweenTwoViewSet):
    """Payments: recorded once, applied to documents, reversed when they bounce; never changed."""

    queryset = Payment.objects.select_related("issuer", "entity")
    view_permission = "invoicing.view_payment"
    serializer_class = PaymentSerializer
    output_serializers = {
        "retrieve": PaymentDetailSerializer,
        "create": PaymentDetailSerializer,
        "apply": PaymentDetailSerializer,
        "reverse": PaymentDetailSerializer,
    }
    input_serializers = {
        "create": PaymentCreateSerializer,
        "apply": PaymentApplySerializer,
        "reverse": SettlementReasonSerializer,
    }
    action_permissions = {"apply": None, "reverse": None}
    filterset_class = PaymentFilter
    search_fields = ("reference", "external_id", "entity__name", "entity__code")
    ordering_fields = ("received_on", "amount", "created_at", "id")

    def get_queryset(self) -> Any:
        queryset = super().get_queryset()
        return queryset if self.action == "list" else queryset.prefetch_related("settlements__invoice")

    def perform_create(self, data: dict[str, Any]) -> Payment:
        return payment_record(actor=self.actor, **data)

    @operation(
        summary="Settle documents with what is left of a payment.",
        request=PaymentApplySerializer,
        responses=PaymentDetailSerializer,
        errors={400: ["currency_mismatch", "duplicate_application"], 409: APPLY_CODES},
        example={"applications": [{"invoice_id": 1, "amount": "10.00"}]},
    )
    @action(detail=True, methods=["post"])
    def apply(self, request: Request, pk: str) -> Response:
        payment = self.get_object()
        return self.answer(payment_apply(actor=self.actor, payment=payment, **self.validated()))

    @operation(
        summary="Reverse a payment that bounced: all that it settles is open again.",
        request=SettlementReasonSerializer,
        responses=PaymentDetailSerializer,
        errors={400: ["reason_required"], 409: ["payment_reversed", "refunded", "concurrent_change"]},
        example={"reason": "Returned by the bank: account closed"},
    )
    @action(detail=True, methods=["post"])
    def reverse(self, request: Request, pk: str) -> Response:
        payment = self.get_object()
        return self.answer(payment_reverse(actor=self.actor, payment=payment, **self.validated()))


# --- Credit and debit notes -------------------------------------------------------------------------------


def answer_credit(actor: User, invoice: Invoice, data: dict[str, Any]) -> Response:
    """Issue or preview a credit note."""
    preview = data.pop("preview")
    data["lines"] = line_amounts(invoice, data.get("lines"))
    if preview:
        asked = {name: data.get(name) for name in ("lines", "amount", "amount_including_tax")}
        return Response(shown_preview(credit_note_preview(actor=actor, invoice=invoice, **asked)))
    return answer_document(credit_note_issue(actor=actor, invoice=invoice, **data), 201)


def answer_document(document: Invoice, status: int) -> Response:
    """Show a document as GET /invoices/{id} does."""
    stored = Invoice.objects.select_related("issuer", "entity", "bill_to").get(pk=document.pk)
    data = InvoiceDetailSerializer(invoice_detail(stored, base_url=invoices_url())).data
    headers = {"Location": f"{invoices_url()}/{document.pk}"} if status == 201 else None
    return Response(data, status=status, headers=headers)


@operations(
    list=operation(summary="List the credit notes you see."),
    retrieve=operation(summary="Get a credit note with its lines."),
    create=operation(
        summary="Credit an invoice: lines, an amount, or all that is left.",
        description=(
            "Amounts are before tax; `including_tax` and `amount_including_tax` are credited to the minor unit. Tax is "
            "credited in proportion at the original rate. What is open of the invoice is settled at once; the "
            "rest is a balance for other invoices or a refund. With `preview` nothing is written (200)."
        ),
        request=CreditNoteCreateSerializer,
        responses={201: InvoiceDetailSerializer, 200: CreditNotePreviewSerializer},
        errors=CREDIT_CODES,
        example={"invoice_id": 1, "amount": "10.00", "reason": "Two days of outage", "preview": True},
    ),
)
class CreditNoteViewSet(BetweenTwoViewSet):
    """Credit notes: documents of their own, with their own numbers."""

    queryset = Invoice.objects.of_type(DocumentType.CREDIT_NOTE).select_related("issuer", "entity", "bill_to")
    view_permission = "invoicing.view_invoice"
    serializer_class = InvoiceSerializer
    input_serializers = {"create": CreditNoteCreateSerializer, "apply": CreditApplySerializer}
    output_serializers = {"retrieve": InvoiceDetailSerializer, "apply": SettlementSerializer}
    action_permissions = {"create": "invoicing.issue_invoice", "apply": None}
    filterset_class = CreditNoteFilter
    search_fields = ("number", "reason", "entity__name", "corrects__number")
    ordering_fields = ("number", "issue_date", "total", "created_at", "id")

    def retrieve(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return answer_document(self.get_object(), 200)

    def create(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        data = self.validated()
        invoice = data.pop("invoice")
        require_seen(self.actor, "invoicing.view_invoice", invoice, invoice.issuer)
        return answer_credit(self.actor, invoice, data)

    @operation(
        summary="Set what is left of a credit note off against another document of the same payer and issuer.",
        request=CreditApplySerializer,
        responses={201: SettlementSerializer},
        errors={400: ["currency_mismatch"], 409: ["not_a_credit_note", *APPLY_CODES]},
        example={"invoice_id": 1, "amount": "10.00"},
    )
    @action(detail=True, methods=["post"])
    def apply(self, request: Request, pk: str) -> Response:
        note = self.get_object()
        row = balance_apply(actor=self.actor, credit_note=note, **self.validated())
        return Response(SettlementSerializer(row).data, status=201)


class InvoiceCreditNotesView(BillingAPIView):
    """POST /invoices/{id}/credit-notes."""

    @operation(
        summary="Credit this invoice: lines, an amount, or all that is left.",
        request=CreditNoteIssueSerializer,
        responses={201: InvoiceDetailSerializer, 200: CreditNotePreviewSerializer},
        errors=CREDIT_CODES,
        example={
            "lines": [{"line_number": 1, "including_tax": "1.00"}],
            "reason": "Two days of outage",
            "preview": True,
        },
        operation_id="invoices_credit_notes",
    )
    def post(self, request: Request, pk: int) -> Response:
        invoice = seen_invoice(self.actor, pk)
        body = CreditNoteIssueSerializer(data=request.data, context={"request": request})
        body.is_valid(raise_exception=True)
        return answer_credit(self.actor, invoice, dict(body.validated_data))


class InvoiceDebitNotesView(BillingAPIView):
    """POST /invoices/{id}/debit-notes."""

    @operation(
        summary="Ask for more on this invoice: a debit note with its own number.",
        request=DebitNoteIssueSerializer,
        responses={201: InvoiceDetailSerializer},
        errors={
            400: [
                "reason_required", "no_lines", "amount_not_positive", "department_of_another_entity",
                "tax_rate_without_category", "issue_date_before_invoice",
            ],
            409: ["not_correctable", "issue_date_before_last"],
        },
        example={"lines": [{"description": "Late payment fee", "amount": "40.00"}], "reason": "Paid late"},
        operation_id="invoices_debit_notes",
    )  # fmt: skip
    def post(self, request: Request, pk: int) -> Response:
        invoice = seen_invoice(self.actor, pk)
        body = DebitNoteIssueSerializer(data=request.data, context={"request": request})
        body.is_valid(raise_exception=True)
        note = debit_note_issue(actor=self.actor, invoice=invoice, **body.validated_data)
        return answer_document(note, 201)


# --- Settlements -----------------------------------------------------------------------------------------


class InvoiceWriteOffView(BillingAPIView):
    """POST /invoices/{id}/write-off."""

    @operation(
        summary="Give up what is not paid of this invoice, or a part of it.",
        request=WriteOffSerializer,
        responses={201: SettlementSerializer},
        errors={
            400: ["reason_required", "amount_not_positive"],
            409: ["not_receivable", "nothing_open", "amount_exceeds_open"],
        },
        example={"amount": "0.01", "reason": "Rounding of the payer's bank"},
        operation_id="invoices_write_off",
    )
    def post(self, request: Request, pk: int) -> Response:
        invoice = seen_invoice(self.actor, pk)
        body = WriteOffSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        row = write_off(actor=self.actor, invoice=invoice, **body.validated_data)
        return Response(SettlementSerializer(row).data, status=201)


class InvoiceSettlementsView(BillingAPIView):
    """GET /invoices/{id}/settlements."""

    @operation(
        summary="List what settles this document; of a credit note, what it settles.",
        responses=SettlementSerializer(many=True),
        operation_id="invoices_settlements",
    )
    def get(self, request: Request, pk: int) -> Response:
        refuse_unknown_parameters(request, set())
        rows = settlements_of(seen_invoice(self.actor, pk))
        return Response(SettlementSerializer(rows, many=True).data)


@operations(
    list=operation(summary="List what settles the documents you see."),
    retrieve=operation(summary="Get a settlement."),
)
class SettlementViewSet(BetweenTwoViewSet):
    """The one table of all that settles documents; only ever added to."""

    queryset = Settlement.objects.select_related("invoice__issuer", "invoice__entity")
    view_permission = "invoicing.view_settlement"
    serializer_class = SettlementSerializer
    input_serializers = {"reverse": SettlementReasonSerializer}
    action_permissions = {"reverse": None}
    filterset_class = SettlementFilter
    ordering_fields = ("settled_on", "amount", "id")

    @operation(
        summary="Take a settlement back: the document is open again, its money or credit a balance.",
        request=SettlementReasonSerializer,
        responses={201: SettlementSerializer},
        errors={400: ["reason_required"], 409: ["already_reversed", "is_reversal", "refunded"]},
        example={"reason": "Applied to the wrong invoice"},
    )
    @action(detail=True, methods=["post"])
    def reverse(self, request: Request, pk: str) -> Response:
        row = settlement_reverse(actor=self.actor, settlement=self.get_object(), **self.validated())
        return self.answer(row, status=201)


@operations(
    list=operation(summary="List the refunds you see."),
    retrieve=operation(summary="Get a refund."),
    create=operation(
        summary="Give money back out of what is left of a payment or a credit note.",
        description=(
            "Of a credit note at most what was paid on the invoice that it corrects and not refunded yet; what was not "
            "paid can only be credited."
        ),
        request=RefundMakeSerializer,
        errors={
            400: ["reason_required", "date_in_future", "one_source"],
            409: ["balance_exceeded", "refund_exceeds_cash", "payment_reversed", "not_a_credit_note"],
        },
        example={"payment_id": 1, "amount": "5.00", "reason": "Paid twice"},
    ),
)
class RefundViewSet(CreateMixin, BetweenTwoViewSet):
    """Money that went back to payers; only ever added to."""

    queryset = Refund.objects.select_related("issuer", "entity")
    view_permission = "invoicing.view_refund"
    serializer_class = RefundSerializer
    input_serializers = {"create": RefundMakeSerializer}
    filterset_class = RefundFilter
    ordering_fields = ("refunded_on", "amount", "id")

    def perform_create(self, data: dict[str, Any]) -> Refund:
        source = data["source"]
        kind = "payment" if isinstance(source, Payment) else "invoice"
        require_seen(self.actor, f"invoicing.view_{kind}", source, source.issuer)
        return refund_make(actor=self.actor, **data)


class BalanceView(BillingAPIView):
    """GET /entities/{id}/balance."""

    permissions_needed = {"GET": "invoicing.view_invoice"}

    @operation(
        summary="Show what a payer owes and what lies in its favour, per issuer and currency.",
        responses=BalancesSerializer,
        operation_id="entities_balance",
    )
    def get(self, request: Request, pk: int) -> Response:
        refuse_unknown_parameters(request, set())
        payer: Entity = get_visible(Entity.objects.all(), self.actor, pk, name="entity")
        rows = receivables_ageing(user=self.actor, today=clock.today(), entity_id=payer.pk)
        return Response(BalancesSerializer({"entity_id": payer.pk, "balances": rows}).data)
