"""Totals of all rows that the filters leave, per currency, under every list of amounts.

A sum over several currencies is never shown: each currency has its own line with its own count.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.contrib import admin
from django.core.exceptions import FieldDoesNotExist
from django.db.models import Aggregate, Count, DecimalField, Field
from django.http import HttpRequest
from django.utils.safestring import SafeString

from core.admin.columns import amount_html, number_text


@dataclass(frozen=True)
class TotalsLine:
    """The rows of one currency: how many, and each declared sum as label and HTML."""

    currency: str
    count: int
    sums: list[tuple[str, SafeString | str]]


class TotalsMixin(admin.ModelAdmin):
    """Declare `totals = {"total": Sum("total")}`; the keys are the labels shown ("open_amount" → "Open amount")."""

    totals: Mapping[str, Aggregate] = {}
    # The path of the currency of the sums; "" where the sums are counts and need none.
    totals_currency: str = "currency"
    list_after_template = "admin/includes/list_after.html"

    def totals_of(self, queryset: Any) -> list[TotalsLine]:
        """Sum every declared total over `queryset`, one line per currency in alphabetical order."""
        rows = queryset.order_by()
        if rows.query.annotations or rows.query.distinct or rows.query.combinator:
            rows = self.model._base_manager.filter(pk__in=rows.values("pk"))
        # Prefixed, because an aggregate named like a column of the model is refused by Django.
        sums = {f"sum_of_{name}": aggregate for name, aggregate in self.totals.items()}
        if not self.totals_currency:
            row = rows.aggregate(rows_counted=Count("pk"), **sums)
            return [self._line("", row)]
        grouped = rows.values(self.totals_currency).annotate(rows_counted=Count("pk"), **sums)
        lines = [self._line(str(row[self.totals_currency] or ""), row) for row in grouped]
        return sorted(lines, key=lambda line: line.currency)

    def _line(self, currency: str, row: dict[str, Any]) -> TotalsLine:
        sums: list[tuple[str, SafeString | str]] = []
        for name in self.totals:
            value = row[f"sum_of_{name}"]
            label = name.replace("_", " ").capitalize()
            if self._is_exact(name):
                text: SafeString | str = f"{number_text(value or Decimal(0))} {currency}".strip()
            elif currency:
                text = amount_html(value or Decimal(0), currency)
            else:
                text = number_text(value or 0)
            sums.append((label, text))
        return TotalsLine(currency, row["rows_counted"], sums)

    def _is_exact(self, name: str) -> bool:
        """Exact costs (more decimals than any currency has) are shown with every digit, not rounded."""
        source = self.totals[name].get_source_expressions()[0]
        try:
            field: Field[Any, Any] = self.model._meta.get_field(getattr(source, "name", ""))  # type: ignore[assignment]
        except FieldDoesNotExist:
            return False
        return isinstance(field, DecimalField) and (field.decimal_places or 0) > 4

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> Any:
        response = super().changelist_view(request, extra_context)
        context = getattr(response, "context_data", None)
        if context and "cl" in context and self.totals:
            context["totals_lines"] = self.totals_of(context["cl"].queryset)
        return response
