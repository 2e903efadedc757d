"""Departments' shares in invoice lines."""

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from core.access import get_visible
from core.api.base import BillingViewSet
from core.api.schema import operation, operations
from core.errors import NotFound
from invoicing.api.share_filters import InvoiceLineShareFilter
from invoicing.api.share_serializers import (
    AllocatedLineSerializer,
    InvoiceLineShareSerializer,
    LineAllocateSerializer,
    ShareUndoSerializer,
)
from invoicing.models import Invoice, InvoiceLine, InvoiceLineShare
from invoicing.services.line_shares import LineSplit, line_allocate, line_left, share_retry, share_undo

_SHOWN = ("invoice_line__invoice", "department", "entry")
_LINE = [OpenApiParameter("line_number", OpenApiTypes.INT, OpenApiParameter.PATH)]
_BUDGET_CODES = [
    "insufficient_budget", "approval_required", "no_budget", "budget_closed", "commitment_exceeded",
    "commitment_closed",
]  # fmt: skip


class LineSharesViewSet(BillingViewSet):
    """GET and POST /invoices/{id}/lines/{line_number}/shares."""

    queryset = Invoice.objects.all()
    serializer_class = InvoiceLineShareSerializer
    input_serializers = {"allocate": LineAllocateSerializer}
    # Lines are seen by more people than their invoices; the service asks for the right to allocate.
    action_permissions = {"shares": None, "allocate": None}

    def _line(self, pk: int, number: int) -> InvoiceLine:
        found = (
            InvoiceLine.objects.visible_to(self.actor)
            .select_related("invoice")
            .filter(invoice_id=pk, line_number=number)
            .first()
        )
        if found is None:
            raise NotFound("not_found", f"There is no line {number} of invoice {pk} among those you can see.")
        return found

    @operation(
        summary="List the departments that bear a line, and what their budgets booked.",
        responses=InvoiceLineShareSerializer(many=True),
        parameters=_LINE,
        operation_id="invoices_lines_shares_list",
    )
    def shares(self, request: Request, pk: int, line_number: int) -> Response:
        rows = InvoiceLineShare.objects.visible_to(self.actor, "invoicing.view_invoicelineshare")
        line = self._line(pk, line_number)
        return self.answer_list(
            rows.filter(invoice_line=line).select_related(*_SHOWN), InvoiceLineShareSerializer
        )

    @operation(
        summary="Allocate a line that names no department, and charge the departments' budgets.",
        description=(
            "By percent (sums to 100), amounts or ratio, all that is left of the line or `amount` of it. All budgets "
            "are charged, or commitments consumed, or none; a department without an open budget is listed as "
            "`refused`."
        ),
        request=LineAllocateSerializer,
        responses={201: AllocatedLineSerializer},
        parameters=_LINE,
        errors={
            400: ["percent_not_100", "amounts_not_total", "splits_mixed", "splits_required", "split_duplicate"],
            409: [
                "not_posted", "line_has_department", "borne_by_contract", "exceeds_line", "department_has_share",
                *_BUDGET_CODES,
            ],
        },
        example={"splits": [{"department_id": 1, "percent": "98"}, {"department_id": 2, "percent": "2"}]},
        operation_id="invoices_lines_shares_create",
    )  # fmt: skip
    def allocate(self, request: Request, pk: int, line_number: int) -> Response:
        line, data = self._line(pk, line_number), self.validated()
        shares = line_allocate(
            actor=self.actor,
            line_id=line.pk,
            splits=[LineSplit(**split) for split in data["splits"]],
            amount=data.get("amount"),
        )
        answer = {"currency": line.invoice.currency, "left": line_left(line), "shares": shares}
        return Response(AllocatedLineSerializer(answer).data, status=201)


@operations(
    list=operation(
        summary="List departments' shares in invoice lines, and what budgets refused.",
        description="A department's manager sees those of the department.",
    ),
    retrieve=operation(summary="Get what a department bears of an invoice line."),
)
class InvoiceLineShareViewSet(BillingViewSet):
    """What departments bear of invoice lines; made at issue, or by allocating a line."""

    queryset = InvoiceLineShare.objects.select_related(*_SHOWN)
    serializer_class = InvoiceLineShareSerializer
    input_serializers = {"undo": ShareUndoSerializer}
    # The services ask for the right at the payer, or at the entity whose cost the line is.
    action_permissions = {"retry": None, "undo": None}
    filterset_class = InvoiceLineShareFilter
    ordering_fields = ("posting_date", "amount", "created_at", "id")

    @operation(
        summary="Try again what a budget refused.",
        request=None,
        responses=InvoiceLineShareSerializer,
        errors={409: ["share_not_refused", *_BUDGET_CODES]},
    )
    @action(detail=True, methods=["post"])
    def retry(self, request: Request, pk: str) -> Response:
        return self.answer(share_retry(actor=self.actor, share_id=self._seen(pk).pk))

    @operation(
        summary="Take back a share that was allocated by hand.",
        request=ShareUndoSerializer,
        responses=InvoiceLineShareSerializer,
        errors={400: ["reason_required"], 409: ["share_taken_back", "share_of_its_line"]},
        example={"reason": "The wrong department"},
    )
    @action(detail=True, methods=["post"])
    def undo(self, request: Request, pk: str) -> Response:
        reason = self.validated()["reason"]
        return self.answer(share_undo(actor=self.actor, share_id=self._seen(pk).pk, reason=reason))

    def _seen(self, pk: str) -> Any:
        return get_visible(InvoiceLineShare.objects.all(), self.actor, pk, name="share of an invoice line")
