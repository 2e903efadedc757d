"""The addresses of receivables: ageing and statements of account."""

from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse
from rest_framework import serializers
from rest_framework.exceptions import ErrorDetail, ValidationError
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from core import clock
from core.api.base import BillingAPIView
from core.api.downloads import AnyNegotiation
from core.api.filters import refuse_unknown_parameters
from core.api.schema import operation
from core.api.serializers import BillingSerializer, CurrencyField
from core.errors import NotFound
from invoicing.api.receivables_serializers import (
    AgeingQuerySerializer,
    AgeingSerializer,
    StatementSerializer,
    shown_ageing,
    shown_statement,
)
from invoicing.documents.statement import statement_name, statement_pdf
from invoicing.selectors.receivables import ageing_totals, receivables_ageing
from invoicing.selectors.statements import account_statement, payer_seen_by


class AgeingView(BillingAPIView):
    """GET /receivables/ageing."""

    permissions_needed = {"GET": "invoicing.view_invoice"}

    @operation(
        summary="Show what payers owe by age: per payer, issuer and currency, with totals per currency.",
        description="`disputed` is part of `open` and is not dunned. With `on` it is as it was at the end of that day.",
        responses=AgeingSerializer,
        parameters=[
            OpenApiParameter("on", OpenApiTypes.DATE),
            OpenApiParameter("entity_id", OpenApiTypes.INT),
            OpenApiParameter("issuer_id", OpenApiTypes.INT),
            OpenApiParameter("currency", OpenApiTypes.STR),
        ],
        operation_id="receivables_ageing",
    )
    def get(self, request: Request) -> Response:
        refuse_unknown_parameters(request, {"on", "entity_id", "issuer_id", "currency"})
        query = AgeingQuerySerializer(data=request.query_params.dict())
        query.is_valid(raise_exception=True)
        today = clock.today()
        rows = receivables_ageing(user=self.actor, today=today, **query.validated_data)
        shown = {
            "on": query.validated_data.get("on") or today,
            "rows": [shown_ageing(row) for row in rows],
            "totals": [shown_ageing(total) for total in ageing_totals(rows)],
        }
        return Response(AgeingSerializer(shown).data)


class StatementQuerySerializer(BillingSerializer):
    """The period of a statement, half open, and what to leave out."""

    period_start = serializers.DateField()
    period_end = serializers.DateField()
    issuer_id = serializers.IntegerField(required=False)
    currency = CurrencyField(required=False)


class StatementView(BillingAPIView):
    """GET /entities/{id}/statement?from=…&to=…&format=json|pdf."""

    content_negotiation_class = AnyNegotiation
    renderer_classes = [JSONRenderer]

    @operation(
        summary="Get a payer's statement of account from a day until before another, as JSON or PDF.",
        description=(
            "Per issuer and currency: balance brought forward, documents, payments, refunds, write-offs, closing "
            "balance, and the open items that add up to it. `to` is the first day after the period."
        ),
        responses={
            200: StatementSerializer,
            (200, "application/pdf"): OpenApiResponse(OpenApiTypes.BINARY),
        },
        parameters=[
            OpenApiParameter("from", OpenApiTypes.DATE, required=True),
            OpenApiParameter("to", OpenApiTypes.DATE, required=True),
            OpenApiParameter("format", OpenApiTypes.STR, enum=["json", "pdf"]),
            OpenApiParameter("issuer_id", OpenApiTypes.INT),
            OpenApiParameter("currency", OpenApiTypes.STR),
        ],
        errors={400: ["period_not_ordered", "period_too_long"], 503: ["pdf_unavailable"]},
        operation_id="entities_statement",
    )
    def get(self, request: Request, pk: int) -> HttpResponse:
        refuse_unknown_parameters(request, {"from", "to", "format", "issuer_id", "currency"})
        given = request.query_params.dict()
        wanted = given.pop("format", "json")
        if wanted not in ("json", "pdf"):
            raise ValidationError({"format": [ErrorDetail("Give json or pdf.", code="invalid")]})
        names = {"from": "period_start", "to": "period_end"}
        query = StatementQuerySerializer(data={names.get(name, name): value for name, value in given.items()})
        query.is_valid(raise_exception=True)
        payer = payer_seen_by(self.actor, pk)
        if payer is None:
            raise NotFound("not_found", f"There is no entity {pk} among those whose accounts you can see.")
        data = dict(query.validated_data)
        statement = account_statement(
            user=self.actor, payer=payer, start=data.pop("period_start"), end=data.pop("period_end"), **data
        )
        if wanted == "json":
            return Response(StatementSerializer(shown_statement(statement)).data)
        response = HttpResponse(statement_pdf(statement), content_type="application/pdf")
        response["Content-Disposition"] = f'inline; filename="{statement_name(statement)}"'
        return response
