"""Tax rules in the back-office: how an issuer's products are taxed (INV-05)."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from core.admin.base import EmptyState
from core.admin.columns import number_column
from core.models import User
from entities.admin.base import ServiceModelAdmin
from entities.models import Entity
from invoicing.models import TaxRule
from invoicing.services.tax_rules import tax_rule_create, tax_rule_delete, tax_rule_update


@admin.register(TaxRule)
class TaxRuleAdmin(ServiceModelAdmin):
    """What each rule is about, and how that is taxed."""

    list_display = [
        "name",
        "about",
        "tax_category",
        number_column("tax_rate", label="Percent"),
        "valid_from",
        "valid_to",
        "issuer",
    ]
    list_filter = ["issuer", "tax_category", "kind", "valid_from"]
    list_select_related = ["issuer"]
    search_fields = ["name", "provider", "service", "charge_category", "contract_line"]
    fieldsets = [
        (None, {"fields": ["issuer", "name"]}),
        (
            "What it is about",
            {
                "description": "A line must meet everything that is given here; give one at least. Of several rules "
                "the most particular one decides. Upper and lower case are the same.",
                "fields": [("kind", "charge_category"), ("provider", "service"), "contract_line"],
            },
        ),
        (
            "How it is taxed",
            {
                "description": "For payers who are taxed at the standard rate. Exempt payers and those under reverse "
                "charge stay so, whatever the product. The first day of a line's period decides.",
                "fields": [("tax_category", "tax_rate"), ("valid_from", "valid_to"), "change_reason"],
            },
        ),
    ]
    empty_state = EmptyState(
        "Every product is taxed as its payer",
        "A rule gives a product a rate of its own, or none: books at 7 %, training exempt. It applies to payers who "
        "are taxed at the standard rate.",
        "Add a tax rule",
        "admin:invoicing_taxrule_add",
    )

    @admin.display(description="What it is about")
    def about(self, rule: TaxRule) -> str:
        return rule.about

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        fixed = ("issuer",) if obj is not None else ()
        return (*super().get_readonly_fields(request, obj), *fixed)

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name == "issuer":
            kwargs["queryset"] = Entity.objects.issuers()
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    def create(self, actor: User, data: dict[str, Any], reason: str) -> TaxRule:
        return tax_rule_create(actor=actor, **data)

    def change(self, actor: User, obj: Any, data: dict[str, Any], reason: str) -> TaxRule:
        return tax_rule_update(actor=actor, rule=TaxRule.objects.get(pk=obj.pk), reason=reason, **data)

    def remove(self, actor: User, obj: Any) -> None:
        tax_rule_delete(actor=actor, rule=obj)
