"""Serializers: they read and show, and hold no rules.

What is written goes through services: `save()` of a serializer is an error. A member of the body that is not
known (`unknown_field`) or cannot be written (`read_only_field`) is refused, so that nothing that a client
sends is silently lost.
"""

from collections.abc import Callable, Mapping
from datetime import UTC
from decimal import Decimal
from typing import Any, NamedTuple, NoReturn

from django.core.exceptions import ImproperlyConfigured, ObjectDoesNotExist
from django.db import models
from django.db.models import QuerySet
from rest_framework import serializers
from rest_framework.exceptions import ErrorDetail, ValidationError
from rest_framework.fields import get_attribute
from rest_framework.validators import UniqueValidator

from core.errors import Invalid
from core.money import MAX_DECIMALS, ExactCostField, MoneyField, minor_units, parse_amount, plain_amount
from core.money import CurrencyField as CurrencyModelField

# --- Amounts ---------------------------------------------------------------------------------------------


class _Amount(NamedTuple):
    value: Any
    currency: str | None


class DecimalStringField(serializers.DecimalField):
    """A decimal number as text without trailing zeros (rates, percentages, quantities)."""

    default_error_messages = {"amount_too_large": "The number is too large."}

    def to_internal_value(self, data: Any) -> Decimal:
        if isinstance(data, bool) or not isinstance(data, (str, int, float, Decimal)):
            self.fail("invalid")
        places = MAX_DECIMALS if self.decimal_places is None else self.decimal_places
        try:
            number = parse_amount(str(data) if isinstance(data, float) else data, decimals=places)
        except Invalid as error:
            raise ValidationError(error.message, code=error.code) from error
        if self.max_digits is not None and number and number.adjusted() >= self.max_digits - places:
            self.fail("amount_too_large")
        return number

    def to_representation(self, value: Any) -> str:
        number = value if isinstance(value, Decimal) else Decimal(str(value))
        text = format(number, "f")
        return text.rstrip("0").rstrip(".") if "." in text else text


class MoneyStringField(DecimalStringField):
    """An amount of money, shown with at least the minor units of its currency.

    `currency_source` is the path from the object to its currency ("currency", "invoice.currency").
    """

    def __init__(self, *, currency_source: str = "currency", **kwargs: Any) -> None:
        kwargs.setdefault("max_digits", 20)
        kwargs.setdefault("decimal_places", 4)
        self.currency_path = currency_source.split(".")
        super().__init__(**kwargs)

    def get_attribute(self, instance: Any) -> Any:
        value = super().get_attribute(instance)
        if value is None:
            return None
        return _Amount(value, self._currency_of(instance))

    def _currency_of(self, instance: Any) -> str | None:
        try:
            return get_attribute(instance, self.currency_path) or None
        except (KeyError, AttributeError):
            return None

    def to_representation(self, value: Any) -> str:
        amount = value if isinstance(value, _Amount) else _Amount(value, None)
        number = amount.value if isinstance(amount.value, Decimal) else Decimal(str(amount.value))
        if amount.currency is None:
            return super().to_representation(number)
        return plain_amount(number, amount.currency)


class CurrencyField(serializers.CharField):
    """An ISO 4217 code in capitals; one that does not exist is `unknown_currency`."""

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("min_length", 3)
        kwargs.setdefault("max_length", 3)
        super().__init__(**kwargs)

    def to_internal_value(self, data: Any) -> str:
        code = super().to_internal_value(data).upper()
        try:
            minor_units(code)
        except Invalid as error:
            raise ValidationError(error.message, code=error.code) from error
        return code


class UTCDateTimeField(serializers.DateTimeField):
    """A point in time, shown in UTC; one without a zone is UTC."""

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("default_timezone", UTC)
        super().__init__(**kwargs)


# --- Foreign keys ----------------------------------------------------------------------------------------


class ScopedRelatedField(serializers.PrimaryKeyRelatedField):
    """A foreign key by id, of which only the records that the caller sees exist (ENT-04).

    `entity_id = ScopedRelatedField(Entity.objects.all(), source="entity")`; a `BillingModelSerializer` makes
    it by itself for every name in `Meta.fields` that is a foreign key followed by `_id`. The queryset must offer
    `visible_to(user)`, unless `scope=` says what the caller sees.
    """

    def __init__(
        self,
        queryset: QuerySet[Any] | None = None,
        *,
        scope: Callable[[QuerySet[Any], Any], QuerySet[Any]] | None = None,
        **kwargs: Any,
    ) -> None:
        self.scope = scope
        # Never the rows themselves as choices: that would load a table to describe a field.
        kwargs.setdefault("html_cutoff", 0)
        super().__init__(queryset=queryset, **kwargs)

    def get_queryset(self) -> QuerySet[Any]:
        queryset = super().get_queryset()
        assert queryset is not None, "A field that is written needs a queryset."
        user = self.context["request"].user
        if self.scope is not None:
            return self.scope(queryset, user)
        visible_to = getattr(queryset, "visible_to", None)
        if visible_to is None:
            raise ImproperlyConfigured(
                f"{queryset.model.__name__} has no visible_to(user); give ScopedRelatedField a scope."
            )
        return visible_to(user)

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, (bool, float)):
            self.fail("incorrect_type", data_type=type(data).__name__)
        try:
            return super().to_internal_value(data)
        except (OverflowError, ObjectDoesNotExist):
            self.fail("does_not_exist", pk_value=data)


# --- Serializers -----------------------------------------------------------------------------------------


class StrictFieldsMixin:
    """Refuses members of the body that are unknown or read-only."""

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, Mapping):
            self._refuse_extra_members(data)
        return super().to_internal_value(data)  # type: ignore[misc]

    def _refuse_extra_members(self, data: Mapping[str, Any]) -> None:
        fields: Mapping[str, serializers.Field[Any, Any, Any, Any]] = self.fields  # type: ignore[attr-defined]
        problems: dict[str, list[ErrorDetail]] = {}
        for name in data:
            if name not in fields:
                problems[name] = [ErrorDetail("There is no such field.", code="unknown_field")]
            elif fields[name].read_only:
                problems[name] = [ErrorDetail("This field cannot be written.", code="read_only_field")]
        if problems:
            raise ValidationError(problems)


class BillingSerializer(StrictFieldsMixin, serializers.Serializer[Any]):
    """Base of serializers that stand for a request or an answer, not for a model."""

    def save(self, **kwargs: Any) -> NoReturn:
        raise NotImplementedError("Serializers do not write; call the service.")


class BillingModelSerializer(StrictFieldsMixin, serializers.ModelSerializer[Any]):
    """Base of serializers of models.

    Money fields become decimal strings, foreign keys named `<name>_id` in `Meta.fields` are scoped to what
    the caller sees, states (protected FSM fields) are read-only, uniqueness is left to the service and the
    database.
    """

    serializer_related_field = ScopedRelatedField
    serializer_field_mapping = {
        **serializers.ModelSerializer.serializer_field_mapping,
        models.DateTimeField: UTCDateTimeField,
        models.DecimalField: DecimalStringField,
        MoneyField: MoneyStringField,
        ExactCostField: MoneyStringField,
        CurrencyModelField: CurrencyField,
    }

    def save(self, **kwargs: Any) -> NoReturn:
        raise NotImplementedError("Serializers do not write; call the service.")

    def build_field(
        self, field_name: str, info: Any, model_class: type[models.Model], nested_depth: int
    ) -> tuple[Any, dict[str, Any]]:
        relation = info.forward_relations.get(field_name.removesuffix("_id"))
        if field_name.endswith("_id") and relation is not None and not relation.to_many:
            name = field_name.removesuffix("_id")
            field_class, kwargs = self.build_relational_field(name, relation)
            return field_class, {**kwargs, "source": name}
        return super().build_field(field_name, info, model_class, nested_depth)

    def build_standard_field(self, field_name: str, model_field: Any) -> tuple[Any, dict[str, Any]]:
        field_class, kwargs = super().build_standard_field(field_name, model_field)
        if getattr(model_field, "protected", False):
            kwargs = {"read_only": True, **{k: v for k, v in kwargs.items() if k == "choices"}}
        # Whether a value is taken is for the service to say, which knows what the caller may know.
        if "validators" in kwargs:
            kwargs["validators"] = [v for v in kwargs["validators"] if not isinstance(v, UniqueValidator)]
        return field_class, kwargs

    def get_validators(self) -> list[Any]:
        return list(getattr(getattr(self, "Meta", None), "validators", None) or [])
