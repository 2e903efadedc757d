"""The addresses of tax by product."""

from typing import Any

from core.api.base import BillingModelViewSet
from core.api.filters import BillingFilterSet, filter_fields
from core.api.schema import operation, operations
from core.api.serializers import BillingModelSerializer
from invoicing.models import TaxRule
from invoicing.services.tax_rules import tax_rule_create, tax_rule_delete, tax_rule_update

_CHANGEABLE = (
    "name", "kind", "provider", "service", "charge_category", "contract_line", "tax_category", "tax_rate",
    "valid_from", "valid_to",
)  # fmt: skip
_CODES = {
    400: ["criterion_required", "rate_required", "rate_not_allowed", "dates_not_ordered"],
    409: ["tax_rules_overlap"],
}


class TaxRuleSerializer(BillingModelSerializer):
    """How the issuer taxes the lines that meet every criterion given; an empty one is met by every line."""

    class Meta:
        model = TaxRule
        fields = ("id", "issuer_id", *_CHANGEABLE, "version", "created_at", "updated_at")
        read_only_fields = ("id", "version", "created_at", "updated_at")


class TaxRuleChangeSerializer(BillingModelSerializer):
    """What of a rule can be changed; `valid_to` ends it."""

    class Meta:
        model = TaxRule
        fields = _CHANGEABLE


class TaxRuleFilter(BillingFilterSet):
    """Rules by issuer, product, treatment and day."""

    class Meta:
        model = TaxRule
        fields = filter_fields(
            "issuer", "provider", "service", "charge_category", "contract_line",
            ranges=["valid_from", "valid_to", "tax_rate"],
            lists=["kind", "tax_category"],
        )  # fmt: skip


@operations(
    list=operation(summary="List the tax rules you see."),
    retrieve=operation(summary="Get a tax rule."),
    create=operation(
        summary="Tax a product by itself, from the next draft on.",
        description=(
            "Applies to payers who are taxed at the standard rate; exempt payers and those under reverse charge stay "
            "so, whatever the product. The first day of a line's period decides, `valid_to` excluded. Of several rules "
            "that a line meets, the one with the most criteria decides, then `contract_line` before `service`, "
            "`provider`, `charge_category` and `kind`. Texts are compared whole, upper and lower case alike."
        ),
        errors={**_CODES, 400: ["not_an_issuer", *_CODES[400]]},
        example={
            "issuer_id": 2,
            "name": "Books",
            "service": "Books",
            "tax_category": "S",
            "tax_rate": "7",
            "valid_from": "2026-01-01",
        },
    ),
    partial_update=operation(
        summary="Change a tax rule, or end it by `valid_to`.",
        description="Issued documents keep their tax; drafts follow when they are refreshed.",
        errors=_CODES,
        example={"valid_to": "2027-01-01"},
    ),
    destroy=operation(
        summary="Delete a tax rule that should never have been; end one that applied by its `valid_to`."
    ),
)
class TaxRuleViewSet(BillingModelViewSet):
    """How products are taxed that differ from what their payer is taxed by default."""

    queryset = TaxRule.objects.select_related("issuer")
    serializer_class = TaxRuleSerializer
    input_serializers = {"partial_update": TaxRuleChangeSerializer}
    filterset_class = TaxRuleFilter
    search_fields = ("name", "provider", "service", "charge_category", "contract_line")
    ordering_fields = ("name", "tax_rate", "valid_from", "valid_to", "created_at", "id")

    def perform_create(self, data: dict[str, Any]) -> TaxRule:
        return tax_rule_create(actor=self.actor, **data)

    def perform_update(self, instance: TaxRule, data: dict[str, Any]) -> TaxRule:
        return tax_rule_update(actor=self.actor, rule=instance, **data)

    def perform_destroy(self, instance: TaxRule) -> None:
        tax_rule_delete(actor=self.actor, rule=instance)
