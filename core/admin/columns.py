"""Columns of numbers: right-aligned, tabular, with their currency, negatives unmistakable.

A column made here is named `money_<field>` or `number_<field>`; the style sheet aligns by that name.
"""

import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from babel.numbers import format_decimal
from django.contrib import admin
from django.contrib.admin.options import BaseModelAdmin
from django.db import models
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import get_language, to_locale

from core.money import EXACT, decimal_places, minor_units, round_money

MINUS = "\N{MINUS SIGN}"
_STORED_NUMBER = re.compile(r"-?\d+(\.\d+)?")


def number_text(value: Decimal | int, decimals: int | None = None) -> str:
    """Return a number in the reader's locale; `decimals` None keeps every digit the value has, and no more."""
    locale = to_locale(get_language() or "en")
    if decimals is None:
        exact = Decimal(value)
        decimals = max(0, -int(exact.normalize().as_tuple().exponent)) if exact else 0
    pattern = "#,##0" + (f".{'0' * decimals}" if decimals else "")
    return str(format_decimal(value, format=pattern, locale=locale)).replace("-", MINUS)


def amount_text(amount: Decimal, currency: str) -> str:
    """Return an amount with the minor units of its currency: 1,234.50; −1,235 for JPY."""
    return number_text(round_money(amount, currency), minor_units(currency))


def _span(text: str, value: Decimal | int, currency: str = "") -> SafeString:
    return format_html(
        '<span class="eb-num{}" data-amount="{}" data-currency="{}">{}{}</span>',
        " eb-neg" if value < 0 else "",
        f"{value:f}" if isinstance(value, Decimal) else value,
        currency,
        text,
        format_html(' <span class="eb-cur">{}</span>', currency) if currency else "",
    )


def amount_html(amount: Decimal | None, currency: str) -> SafeString:
    """Return an amount as HTML, its currency beside it in a quieter colour."""
    return SafeString("–") if amount is None else _span(amount_text(amount, currency), amount, currency)


def _follow(obj: Any, path: str) -> Any:
    for name in path.split("__"):
        obj = getattr(obj, name, None)
    return obj


def money_column(field: str, *, currency: str = "currency", label: str = "") -> Callable[..., Any]:
    """Return a column for the amount in `field`; `currency` is the path of its currency (`invoice__currency`)."""

    @admin.display(description=label or field.split("__")[-1].replace("_", " ").capitalize(), ordering=field)
    def column(obj: Any) -> SafeString:
        return amount_html(_follow(obj, field), str(_follow(obj, currency)))

    column.__name__ = f"money_{field}"
    column.export_value = lambda obj: _follow(obj, field)  # type: ignore[attr-defined]  # see export.py
    column.export_currency = lambda obj: _follow(obj, currency)  # type: ignore[attr-defined]
    return column


def number_column(field: str, *, label: str = "", decimals: int | None = None) -> Callable[..., Any]:
    """Return a column for a count, a rate or an exact cost; every digit is shown unless `decimals` is given."""

    @admin.display(description=label or field.split("__")[-1].replace("_", " ").capitalize(), ordering=field)
    def column(obj: Any) -> SafeString:
        value = _follow(obj, field)
        return SafeString("–") if value is None else _span(number_text(value, decimals), value)

    column.__name__ = f"number_{field}"
    column.export_value = lambda obj: _follow(obj, field)  # type: ignore[attr-defined]  # see export.py
    return column


def tidy(value: Any) -> Any:
    """Return a stored amount without the zeros that only its column has: 250.5000 → 250.50, 2500000.0000 → 2500000."""
    if not isinstance(value, Decimal) or not value.is_finite():
        return value
    places = decimal_places(value.normalize(EXACT))
    return value.quantize(Decimal(1).scaleb(-(2 if places == 1 else places)), context=EXACT)


def _tidy_text(contents: Any) -> Any:
    """Rewrite the text of a read-only number; what is no plain number stays as it is."""
    text = str(contents)
    if not _STORED_NUMBER.fullmatch(text):
        return contents
    value = tidy(Decimal(text))
    return _span(number_text(value, decimal_places(value)), value)


class PlainNumbersMixin(BaseModelAdmin):
    """Numbers of forms without meaningless zeros; for admins and inlines."""

    @property
    def readonly_preprocess_fields(self) -> dict[str, Callable[[Any], Any]]:
        """What Unfold asks for the read-only fields."""
        fields = self.model._meta.concrete_fields
        return {field.name: _tidy_text for field in fields if isinstance(field, models.DecimalField)}

    def formfield_for_dbfield(self, db_field: Any, request: Any, **kwargs: Any) -> Any:
        form_field: Any = super().formfield_for_dbfield(db_field, request, **kwargs)
        if isinstance(db_field, models.DecimalField) and form_field is not None:
            form_field.prepare_value = tidy
        return form_field
