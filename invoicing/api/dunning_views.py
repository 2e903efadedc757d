"""The addresses of dunning and of credit limits."""

from typing import Any

from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from core.access import get_visible, require
from core.api.base import BillingAPIView, BillingViewSet
from core.api.filters import BillingFilterSet, filter_fields
from core.api.schema import operation, operations
from core.api.serializers import BillingModelSerializer, BillingSerializer, CurrencyField, MoneyStringField
from entities.models import Entity
from invoicing.models import DunnedDocument, DunningNotice
from invoicing.selectors.credit import credit_position
from invoicing.services.dunning import dunning_plan, dunning_run


class DunnedDocumentSerializer(BillingModelSerializer):
    """A document of a notice, with what was open, disputed or deferred, and demanded of it then.

    With `hold_id` it is the part that a decided dispute had deferred to `due_date`.
    """

    open_amount = MoneyStringField(currency_source="notice.currency", read_only=True)
    disputed_amount = MoneyStringField(currency_source="notice.currency", read_only=True)
    demanded_amount = MoneyStringField(currency_source="notice.currency", read_only=True)

    class Meta:
        model = DunnedDocument
        fields = ("invoice_id", "hold_id", "due_date", "open_amount", "disputed_amount", "demanded_amount")
        read_only_fields = fields


class DunningNoticeSerializer(BillingModelSerializer):
    """A reminder as it was sent."""

    documents = DunnedDocumentSerializer(many=True, read_only=True)

    class Meta:
        model = DunningNotice
        fields = (
            "id", "issuer_id", "entity_id", "level", "currency", "amount", "dated", "language", "subject", "body",
            "recipient", "sent_at", "documents", "created_at",
        )  # fmt: skip
        read_only_fields = fields


class DemandSerializer(BillingSerializer):
    """A document, or the part of one that a decided dispute deferred to `due_date`, that would be reminded of."""

    invoice_id = serializers.IntegerField()
    hold_id = serializers.IntegerField(allow_null=True)
    number = serializers.CharField()
    due_date = serializers.DateField()
    open = MoneyStringField()
    disputed = MoneyStringField(help_text="Not demanded here: disputed, or deferred to another day.")
    demanded = MoneyStringField()


class PlannedNoticeSerializer(BillingSerializer):
    """A reminder that a run would send now."""

    issuer_id = serializers.IntegerField()
    entity_id = serializers.IntegerField()
    entity_name = serializers.CharField()
    level = serializers.IntegerField()
    currency = CurrencyField()
    amount = MoneyStringField()
    documents = DemandSerializer(many=True)


class DunningPreviewSerializer(BillingSerializer):
    """What a run would send."""

    notices = PlannedNoticeSerializer(many=True)


class DunningRunSerializer(BillingSerializer):
    """What a run sent."""

    notices = DunningNoticeSerializer(many=True)


class DunningNoticeFilter(BillingFilterSet):
    """Notices by payer, issuer and day."""

    class Meta:
        model = DunningNotice
        fields = filter_fields("issuer", "entity", "level", ranges=["dated", "amount"], lists=["currency"])


@operations(
    list=operation(summary="List the reminders that were sent."),
    retrieve=operation(summary="Get a reminder with its documents."),
)
class DunningNoticeViewSet(BillingViewSet):
    """Reminders of what is overdue and not disputed."""

    queryset = DunningNotice.objects.prefetch_related("documents__notice")
    serializer_class = DunningNoticeSerializer
    output_serializers = {"preview": DunningPreviewSerializer, "run": DunningRunSerializer}
    action_permissions = {"preview": "invoicing.view_dunningnotice", "run": "invoicing.add_dunningnotice"}
    filterset_class = DunningNoticeFilter
    search_fields = ("entity__name", "subject", "recipient")
    ordering_fields = ("id", "dated", "amount", "level")

    @operation(
        summary="Show what a run would send now; nothing is written.",
        description="Of the issuers whose reminders you may send.",
        responses=DunningPreviewSerializer,
    )
    @action(detail=False, methods=["get"], filterset_class=None, search_fields=(), ordering_fields=())
    def preview(self, request: Request) -> Response:
        shown = [
            {
                "issuer_id": one.issuer.pk,
                "entity_id": one.entity.pk,
                "entity_name": one.entity.name,
                "level": one.level.level,
                "currency": one.currency,
                "amount": one.amount,
                "documents": [
                    {
                        "invoice_id": demand.invoice_id,
                        "hold_id": demand.hold_id,
                        "number": demand.number,
                        "due_date": demand.due_date,
                        "open": demand.open,
                        "disputed": demand.disputed,
                        "demanded": demand.demanded,
                        "currency": one.currency,
                    }
                    for demand in one.demands
                ],
            }
            for one in dunning_plan(actor=self.actor)
        ]
        return Response(DunningPreviewSerializer({"notices": shown}).data)

    @operation(
        summary="Send the reminders that are due; a document is reminded of once per level.",
        request=None,
        responses=DunningRunSerializer,
    )
    @action(detail=False, methods=["post"])
    def run(self, request: Request) -> Response:
        made = dunning_run(actor=self.actor)
        rows: Any = self.get_queryset().filter(pk__in=[notice.pk for notice in made])
        return Response(DunningRunSerializer({"notices": rows.order_by("pk")}).data)


class CreditPositionSerializer(BillingSerializer):
    """Exposure = receivables + uninvoiced + commitments, in the payer's currency."""

    entity_id = serializers.IntegerField(source="entity.pk")
    currency = CurrencyField()
    receivables = MoneyStringField()
    uninvoiced = MoneyStringField()
    commitments = MoneyStringField()
    exposure = MoneyStringField()
    limit = MoneyStringField(allow_null=True)
    available = MoneyStringField(allow_null=True)
    exceeded_by = MoneyStringField()
    policy = serializers.CharField(help_text="warn or refuse: what happens to invoices beyond the limit.")


class CreditView(BillingAPIView):
    """GET /entities/{id}/credit."""

    @operation(
        summary="Show a payer's exposure against its credit limit.",
        responses=CreditPositionSerializer,
        errors={409: ["no_exchange_rate", "stale_exchange_rate", "billed_elsewhere"]},
        operation_id="entities_credit",
    )
    def get(self, request: Request, pk: int) -> Response:
        entity = get_visible(Entity.objects.all(), self.actor, pk, name="entity")
        require(self.actor, "invoicing.view_invoice", entity)
        return Response(CreditPositionSerializer(credit_position(entity)).data)
