"""The addresses of invoices and number series."""

from typing import Any

from django.http import HttpResponse
from django.urls import reverse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse
from rest_framework.decorators import action
from rest_framework.exceptions import ErrorDetail, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from contracts.models import BillableFee
from core.access import get_visible, has, require
from core.api.base import BillingAPIView, BillingViewSet, CreateMixin, DestroyMixin, UpdateMixin
from core.api.downloads import AnyNegotiation, FileRenderer
from core.api.schema import operation, operations
from core.errors import NotFound
from entities.models import CostAllocation, Entity
from invoicing.api.invoice_filters import InvoiceFilter, InvoiceLineFilter, NumberSeriesFilter
from invoicing.api.invoice_serializers import (
    BilledAllocationSerializer,
    BilledFeeSerializer,
    BilledUsageSerializer,
    ConsolidateSerializer,
    InvoiceDetailSerializer,
    InvoiceLineSerializer,
    InvoiceSerializer,
    IssueSerializer,
    NumberingProofSerializer,
    NumberSeriesChangeSerializer,
    NumberSeriesCreateSerializer,
    NumberSeriesSerializer,
    VoidSerializer,
    invoice_detail,
    preview_detail,
)
from invoicing.documents.kept import document_name, document_type
from invoicing.documents.store import invoice_pdf
from invoicing.einvoice.store import E_INVOICE_KINDS, e_invoice
from invoicing.models import DocumentKind, Invoice, InvoiceLine, NumberSeries, UsageRecord
from invoicing.selectors.invoice import line_items, numbering_proof
from invoicing.services.consolidation import (
    consolidated_invoice_draft,
    consolidation_preview,
    late_items_warning,
)
from invoicing.services.invoice import invoice_discard, invoice_issue, invoice_void
from invoicing.services.numbering import number_series_create, number_series_rename

RUN_CODES = {
    400: ["period_not_ordered", "period_out_of_range", "issue_date_in_future"],
    409: [
        "nothing_to_invoice", "no_issuer", "billed_elsewhere", "no_exchange_rate", "stale_exchange_rate",
        "charges_in_motion", "negative_total", "issue_date_before_last",
    ],
}  # fmt: skip


_SHOWN: dict[Any, Any] = {
    UsageRecord: BilledUsageSerializer,
    CostAllocation: BilledAllocationSerializer,
    BillableFee: BilledFeeSerializer,
}


def invoices_url() -> str:
    """The address of the list of invoices."""
    return reverse("invoice-list")


class ConsolidatedInvoiceView(BillingAPIView):
    """POST /entities/{id}/consolidated-invoice."""

    @operation(
        summary="Consolidate what a payer and those it pays for used in a period into one invoice.",
        description=(
            "Makes the draft (201), or brings the existing draft of the period up to date (200); with `issue` it is "
            "numbered and posted at once; with `preview` it is only computed. Each charge is billed once: a second "
            "run is 409 `nothing_to_invoice` and names the invoices that hold the period."
        ),
        request=ConsolidateSerializer,
        responses={200: InvoiceDetailSerializer, 201: InvoiceDetailSerializer},
        errors=RUN_CODES,
        example={"period_start": "2024-09-01", "period_end": "2024-10-01", "preview": True},
        operation_id="entities_consolidated_invoice",
    )
    def post(self, request: Request, pk: int) -> Response:
        payer = get_visible(Entity.objects.all(), self.actor, pk, name="entity")
        body = ConsolidateSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        data = body.validated_data
        scope = {
            "actor": self.actor,
            "payer": payer,
            "period_start": data["period_start"],
            "period_end": data["period_end"],
        }
        if data["preview"]:
            content = consolidation_preview(**scope)
            return self._answer(preview_detail(content, late=late_items_warning(content)), 200)
        result = consolidated_invoice_draft(**scope)
        invoice = result.invoice
        if data["issue"]:
            invoice = invoice_issue(actor=self.actor, invoice=invoice, issue_date=data.get("issue_date"))
        stored = Invoice.objects.select_related("issuer", "entity", "bill_to").get(pk=invoice.pk)
        return self._answer(invoice_detail(stored, base_url=invoices_url()), 201 if result.created else 200)

    @staticmethod
    def _answer(invoice: Invoice, status: int) -> Response:
        data = InvoiceDetailSerializer(invoice).data
        headers = {"Location": f"{invoices_url()}/{invoice.pk}"} if status == 201 else None
        return Response(data, status=status, headers=headers)


class PDFRenderer(FileRenderer):
    """Lets a client ask for application/pdf; what goes wrong is still a problem document."""

    media_type = "application/pdf"
    format = "pdf"


class XMLRenderer(FileRenderer):
    """Lets a client ask for application/xml; what goes wrong is still a problem document."""

    media_type = "application/xml"
    format = "xml"


@operations(
    list=operation(summary="List the invoices you see."),
    retrieve=operation(
        summary="Get an invoice with its lines and subtotals.",
        description="At most 2,000 lines are included; `lines_url` pages through all of them.",
    ),
    destroy=operation(
        summary="Discard a draft; what it held can be invoiced again.", errors={409: ["not_a_draft"]}
    ),
)
class InvoiceViewSet(DestroyMixin, BillingViewSet):
    """Invoices: made by POST /entities/{id}/consolidated-invoice, then issued, and perhaps voided."""

    queryset = Invoice.objects.select_related("issuer", "entity", "bill_to")
    serializer_class = InvoiceSerializer
    output_serializers = {
        "retrieve": InvoiceDetailSerializer,
        "issue": InvoiceDetailSerializer,
        "void": InvoiceDetailSerializer,
        "lines": InvoiceLineSerializer,
    }
    input_serializers = {"issue": IssueSerializer, "void": VoidSerializer}
    # The services ask for the right at the issuer, which need not be the payer's.
    action_permissions = {"issue": None, "void": None, "destroy": None}
    filterset_class = InvoiceFilter
    search_fields = (
        "number",
        "entity__name",
        "entity__legal_name",
        "entity__code",
        "bill_to__name",
        "issuer__name",
    )
    ordering_fields = (
        "number", "issue_date", "due_date", "period_start", "period_end", "total", "status", "created_at", "id",
    )  # fmt: skip

    def get_queryset(self) -> Any:
        queryset: Any = super().get_queryset()
        if self.action == "list":
            return queryset.visible_to(self.actor, "invoicing.view_invoice")
        return queryset

    def check_object_permissions(self, request: Request, obj: Any) -> None:
        """A right to see at the payer or at the issuer is enough to see."""
        if self.needed_permission() != "invoicing.view_invoice":
            super().check_object_permissions(request, obj)
        elif not has(self.actor, "invoicing.view_invoice", obj.issuer):
            require(self.actor, "invoicing.view_invoice", obj)

    def get_object(self) -> Invoice:
        # Whoever may not even see it learns nothing from issue, void and delete either.
        invoice: Invoice = super().get_object()
        if self.action in ("issue", "void", "destroy") and not has(
            self.actor, "invoicing.view_invoice", invoice.issuer
        ):
            require(self.actor, "invoicing.view_invoice", invoice)
        return invoice

    def _detail(self, invoice: Invoice) -> Response:
        stored = self.get_queryset().filter(pk=invoice.pk).first() or invoice
        return Response(self.get_serializer(invoice_detail(stored, base_url=invoices_url())).data)

    def retrieve(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return self._detail(self.get_object())

    def perform_destroy(self, instance: Invoice) -> None:
        invoice_discard(actor=self.actor, invoice=instance)

    @operation(
        summary="Issue a draft: it gets its number and cannot be changed any more.",
        request=IssueSerializer,
        responses=InvoiceDetailSerializer,
        errors={
            400: ["issue_date_in_future"],
            409: ["not_a_draft", "empty_invoice", "negative_total", "issue_date_before_last"],
        },
        example={},
    )
    @action(detail=True, methods=["post"])
    def issue(self, request: Request, pk: str) -> Response:
        data = self.validated()
        return self._detail(
            invoice_issue(actor=self.actor, invoice=self.get_object(), issue_date=data.get("issue_date"))
        )

    @operation(
        summary="Void an issued invoice: its charges can be invoiced again, its number stays taken.",
        request=VoidSerializer,
        responses=InvoiceDetailSerializer,
        errors={400: ["reason_required"], 409: ["not_issued", "settled", "corrected", "items_released"]},
        example={"reason": "Addressed to the wrong entity"},
    )
    @action(detail=True, methods=["post"])
    def void(self, request: Request, pk: str) -> Response:
        invoice = self.get_object()
        return self._detail(
            invoice_void(actor=self.actor, invoice=invoice, reason=self.validated()["reason"])
        )

    @operation(summary="List the lines of an invoice.", responses=InvoiceLineSerializer(many=True))
    @action(
        detail=True, methods=["get"], filterset_class=InvoiceLineFilter, search_fields=(), ordering_fields=()
    )
    def lines(self, request: Request, pk: str) -> Response:
        rows = (
            InvoiceLine.objects.filter(invoice=self._seen()).select_related("invoice").order_by("line_number")
        )
        filtered = InvoiceLineFilter(request.query_params, queryset=rows, request=request)
        if not filtered.is_valid():
            raise ValidationError(filtered.errors)
        page = self.paginate_queryset(filtered.qs)
        return self.get_paginated_response(InvoiceLineSerializer(page, many=True).data)

    @operation(
        summary="List what a line bills: usage records, the cost allocation, or the contract fee.",
        description="Of a void invoice: what it billed. Of usage that a contract prices: the usage records.",
        responses={200: BilledUsageSerializer(many=True)},
        parameters=[OpenApiParameter("line_number", OpenApiTypes.INT, OpenApiParameter.PATH)],
    )
    @action(
        detail=True,
        methods=["get"],
        url_path=r"lines/(?P<line_number>[0-9]{1,9})/items",
        filterset_class=None,
        search_fields=(),
        ordering_fields=(),
    )
    def items(self, request: Request, pk: str, line_number: str) -> Response:
        line = InvoiceLine.objects.filter(invoice=self._seen(), line_number=int(line_number)).first()
        if line is None:
            raise NotFound("not_found", f"The invoice has no line {line_number}.")
        rows: Any = line_items(line)
        shown: Any = _SHOWN[rows.model]
        page = self.paginate_queryset(rows)
        return self.get_paginated_response(shown(page, many=True, context=self.get_serializer_context()).data)

    @operation(
        summary="Get the PDF; of an issued invoice the same bytes every time.",
        description="A draft has a watermark and a void invoice a mark; `as_issued=true` gives the latter unmarked.",
        responses={(200, "application/pdf"): OpenApiResponse(OpenApiTypes.BINARY)},
        parameters=[OpenApiParameter("as_issued", OpenApiTypes.BOOL, OpenApiParameter.QUERY)],
        errors={
            409: ["document_missing", "too_long_for_draft_pdf"],
            503: ["pdf_unavailable", "pdf_in_preparation"],
        },
    )
    @action(
        detail=True,
        methods=["get"],
        renderer_classes=[PDFRenderer],
        content_negotiation_class=AnyNegotiation,
        filterset_class=None,
        search_fields=(),
        ordering_fields=(),
    )
    def pdf(self, request: Request, pk: str) -> HttpResponse:
        invoice = self._seen()
        wanted = request.query_params.get("as_issued", "false")
        if wanted not in ("true", "false"):
            raise ValidationError({"as_issued": [ErrorDetail("Give true or false.", code="invalid")]})
        content = invoice_pdf(invoice, as_issued=wanted == "true")
        response = HttpResponse(content, content_type="application/pdf")
        response["Content-Disposition"] = f'inline; filename="{document_name(invoice)}"'
        return response

    @operation(
        summary="Get the document as e-invoice by EN 16931; the same bytes every time.",
        description=(
            "`facturx` is a PDF/A-3 with the data as XML within (Factur-X, ZUGFeRD), `cii` that XML alone, and `ubl` "
            "is Peppol BIS Billing 3. What is missing for it is 409 `e_invoice_incomplete`, with the broken rule as "
            "`code` of each of `errors`; a draft's answer names what would be missing."
        ),
        responses={
            (200, "application/pdf"): OpenApiResponse(OpenApiTypes.BINARY),
            (200, "application/xml"): OpenApiResponse(OpenApiTypes.BINARY),
        },
        parameters=[
            OpenApiParameter(
                "format", OpenApiTypes.STR, OpenApiParameter.QUERY, enum=[str(kind) for kind in E_INVOICE_KINDS],
                default=str(DocumentKind.FACTURX),
            )
        ],
        errors={
            409: [
                "e_invoice_not_issued", "e_invoice_void", "e_invoice_incomplete", "e_invoice_invalid",
                "document_missing",
            ],
            503: ["pdf_unavailable", "pdf_in_preparation"],
        },
    )  # fmt: skip
    @action(
        detail=True,
        methods=["get"],
        url_path="e-invoice",
        renderer_classes=[PDFRenderer, XMLRenderer],
        content_negotiation_class=AnyNegotiation,
        filterset_class=None,
        search_fields=(),
        ordering_fields=(),
    )
    def e_invoice(self, request: Request, pk: str) -> HttpResponse:
        invoice = self._seen()
        kind = request.query_params.get("format", DocumentKind.FACTURX)
        if kind not in E_INVOICE_KINDS:
            message = f"Give one of {', '.join(E_INVOICE_KINDS)}."
            raise ValidationError({"format": [ErrorDetail(message, code="invalid_choice")]})
        content = e_invoice(invoice, kind)
        response = HttpResponse(content, content_type=document_type(kind))
        response["Content-Disposition"] = f'attachment; filename="{document_name(invoice, kind)}"'
        return response

    def _seen(self) -> Invoice:
        invoice: Invoice = self.get_object()
        return invoice


@operations(
    list=operation(summary="List the number series of the issuers you see."),
    create=operation(
        summary="Make a number series before its first use, to choose its prefix.",
        errors={400: ["not_an_issuer", "invalid_prefix"], 409: ["series_exists", "prefix_taken"]},
        example={"issuer_id": 1, "fiscal_year": 2031, "prefix": "SHS-INV-"},
    ),
    partial_update=operation(
        summary="Change the prefix of a series that has numbered nothing yet.",
        errors={400: ["invalid_prefix"], 409: ["series_in_use", "prefix_taken"]},
        example={"prefix": "SHS-R-"},
    ),
)
class NumberSeriesViewSet(CreateMixin, UpdateMixin, BillingViewSet):
    """The counters behind invoice numbers, each with a proof that nothing is missing."""

    queryset = NumberSeries.objects.select_related("issuer")
    serializer_class = NumberSeriesSerializer
    input_serializers = {
        "create": NumberSeriesCreateSerializer,
        "partial_update": NumberSeriesChangeSerializer,
    }
    output_serializers = {"proof": NumberingProofSerializer}
    filterset_class = NumberSeriesFilter
    search_fields = ("prefix", "issuer__name", "issuer__code")
    ordering_fields = ("fiscal_year", "last_number", "id")

    def perform_create(self, data: dict[str, Any]) -> NumberSeries:
        return number_series_create(actor=self.actor, **data)

    def perform_update(self, instance: NumberSeries, data: dict[str, Any]) -> NumberSeries:
        return number_series_rename(actor=self.actor, series=instance, **data) if data else instance

    @operation(
        summary="Prove that the numbers of a series have no gap and no duplicate.",
        responses=NumberingProofSerializer,
    )
    @action(detail=True, methods=["get"])
    def proof(self, request: Request, pk: str) -> Response:
        return Response(NumberingProofSerializer(numbering_proof(self.get_object())).data)
