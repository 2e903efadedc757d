"""Fields of the pages' forms: people by their name, amounts exact."""

from typing import Any

from django import forms
from django.core.exceptions import ValidationError

from core.errors import Invalid
from core.money import parse_amount


class PersonField(forms.ModelChoiceField):
    """Somebody by their name."""

    def label_from_instance(self, obj: Any) -> str:
        return str(obj.display_name)


class AmountField(forms.CharField):
    """An amount as text, read by core.money: exact, never through a float."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(
            max_length=40,
            widget=forms.TextInput(attrs={"inputmode": "decimal", "autocomplete": "off"}),
            **kwargs,
        )

    def clean(self, value: Any) -> Any:
        text = super().clean(value)
        if not text:
            return None
        try:
            return parse_amount(text.replace(" ", ""))
        except Invalid as error:
            raise ValidationError(error.message, code=error.code) from error
