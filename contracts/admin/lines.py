"""Prices, service levels and signatories in the form of a contract that is not signed: each row through its service."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, ClassVar

from django import forms
from django.db import models
from django.forms.models import BaseInlineFormSet
from django.http import HttpRequest

from contracts.admin.rows import CREDITS, RAMP, TIERS, RowsField
from contracts.models import Contract, PriceTerm, RequiredSignatory, SlaTerm
from contracts.services.prices import price_term_remove, price_term_set, sla_term_remove, sla_term_set
from contracts.services.signing import signatory_add, signatory_remove
from contracts.terms.lines import price_line_of, sla_line_of
from core.admin.inlines import BillingStackedInline, BillingTabularInline
from core.admin.scoping import may
from core.models import User


class LineForm(forms.ModelForm):
    """A row whose checks are the service's."""

    def _get_validation_exclusions(self) -> set[str]:
        return {each.name for each in self.instance._meta.fields}


class PriceForm(LineForm):
    """A price with its tiers and later steps."""

    tiers = RowsField(
        TIERS, label="Tiers", help_text="For graduated and volume prices, the last without an end."
    )
    ramp = RowsField(RAMP, label="Later prices", help_text="Agreed steps: from a day on another price.")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk:
            data = price_line_of(self.instance).as_json()
            self.initial.update(tiers=data["tiers"], ramp=data["ramp"])
            self.fields["code"].disabled = True


class ServiceLevelForm(LineForm):
    """A service level with its credits."""

    tiers = RowsField(CREDITS, label="Credits", help_text="What a missed target earns: the worse, the more.")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk:
            self.initial.update(tiers=sla_line_of(self.instance).as_json()["tiers"])
            self.fields["code"].disabled = True


def _value(value: Any) -> Any:
    """As a line's JSON has it."""
    if isinstance(value, models.Model):
        return value.pk
    if isinstance(value, Decimal):
        return f"{value:f}"
    return value.isoformat() if hasattr(value, "isoformat") else value


class LineFormSet(BaseInlineFormSet):
    """Rows that are saved one by one, after the contract itself."""

    def save_lines(self, actor: User, contract: Contract) -> None:
        """Add, replace and remove what was changed."""
        # The admin's own log looks at these.
        self.new_objects: list[Any] = []
        self.changed_objects: list[Any] = []
        self.deleted_objects: list[Any] = []
        for form in self.forms:
            is_gone = self._should_delete_form(form)  # type: ignore[attr-defined]
            if is_gone and form.instance.pk:
                self.remove(actor, contract, form.instance)
            elif form.has_changed() and not is_gone:
                self.write(actor, contract, form)

    def write(self, actor: User, contract: Contract, form: Any) -> None:
        """Call the service that adds or replaces."""
        raise NotImplementedError

    def remove(self, actor: User, contract: Contract, row: Any) -> None:
        """Call the service that removes."""
        raise NotImplementedError


def _line(form: Any, before: Mapping[str, Any]) -> dict[str, Any]:
    """The complete line: what it was, with what the row says."""
    related = {"department": "department_id", "plan": "plan_id"}
    given = {
        related.get(name, name): _value(value)
        for name, value in form.cleaned_data.items()
        if name not in {"id", "contract", "DELETE"}
    }
    line = {**before, **given}
    return {name: value for name, value in line.items() if value not in (None, "")}


class PriceFormSet(LineFormSet):
    def write(self, actor: User, contract: Contract, form: Any) -> None:
        before = price_line_of(form.instance).as_json() if form.instance.pk else {}
        price_term_set(actor=actor, contract_id=contract.pk, price=_line(form, before))

    def remove(self, actor: User, contract: Contract, row: Any) -> None:
        price_term_remove(actor=actor, contract_id=contract.pk, code=row.code)


class ServiceLevelFormSet(LineFormSet):
    def write(self, actor: User, contract: Contract, form: Any) -> None:
        before = sla_line_of(form.instance).as_json() if form.instance.pk else {}
        sla_term_set(actor=actor, contract_id=contract.pk, sla=_line(form, before))

    def remove(self, actor: User, contract: Contract, row: Any) -> None:
        sla_term_remove(actor=actor, contract_id=contract.pk, code=row.code)


class SignatoryFormSet(LineFormSet):
    """One who is changed is another one: who was to sign is taken back and named anew."""

    def write(self, actor: User, contract: Contract, form: Any) -> None:
        if form.instance.pk:
            self.remove(actor, contract, form.instance)
        fields = {
            name: value
            for name, value in form.cleaned_data.items()
            if name not in {"id", "contract", "DELETE"} and value not in (None, "")
        }
        signatory_add(actor=actor, contract_id=contract.pk, **fields)

    def remove(self, actor: User, contract: Contract, row: Any) -> None:
        signatory_remove(actor=actor, signatory_id=row.pk)


class _OfContract:
    """Who may change the contract may change its lines."""

    tab: ClassVar[bool] = True
    show_change_link: ClassVar[bool] = False

    def _allowed(self, request: HttpRequest, action: str, obj: Any) -> bool:
        if action == "view":
            return may(request.user, "contracts.view_contract", obj)
        if isinstance(obj, Contract) and obj.pk:
            return may(request.user, "contracts.change_contract", obj)
        return may(request.user, "contracts.add_contract")


class PriceInline(_OfContract, BillingStackedInline):
    """What is charged."""

    model = PriceTerm
    form = PriceForm
    formset = PriceFormSet
    verbose_name_plural = "Prices"
    fields = [
        ("code", "name"),
        ("pricing", "price"),
        ("interval_months", "timing"),
        ("quantity_source", "quantity"),
        ("unit", "free_units"),
        ("plan", "package_size"),
        ("department", "gl_code"),
        ("starts_on", "ends_on"),
        ("is_prorated", "is_fixed_price"),
        ("discount_percent", "discount_amount"),
        "discount_until",
        ("tiers", "ramp"),
    ]


class ServiceLevelInline(_OfContract, BillingStackedInline):
    """What is promised."""

    model = SlaTerm
    form = ServiceLevelForm
    formset = ServiceLevelFormSet
    verbose_name_plural = "Service levels"
    fields = [
        ("code", "metric"),
        ("target", "unit"),
        ("direction", "period_months"),
        ("fee_line", "credit_cap_percent"),
        "claim_within_days",
        "tiers",
    ]


class SignatoryInline(_OfContract, BillingTabularInline):
    """Who must sign."""

    model = RequiredSignatory
    form = LineForm
    formset = SignatoryFormSet
    verbose_name_plural = "Signatories"
    fields = ["side", "name", "job_title", "email", "user", "position"]
    autocomplete_fields = ["user"]

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).filter(amendment=None)
