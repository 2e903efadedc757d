"""A field of rows: tiers, later prices, credits, typed into a small table instead of as JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django import forms
from django.core.exceptions import ValidationError

SPARE = 2
"""Empty rows below those that are filled in; a button adds more where JavaScript runs."""
LIMIT = 200


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the table: its name in the row, its heading, and what is typed into it."""

    name: str
    label: str
    kind: str = "number"  # number, day or text
    hint: str = ""


class RowsWidget(forms.Widget):
    """The rows as inputs named ``<field>-<row>-<column>``."""

    template_name = "admin/contracts/rows.html"

    class Media:
        js = ["contracts/rows.js"]

    def __init__(self, columns: Sequence[Column], attrs: Mapping[str, Any] | None = None) -> None:
        super().__init__(dict(attrs or {}))
        self.columns = tuple(columns)

    def get_context(self, name: str, value: Any, attrs: Any) -> dict[str, Any]:
        """The rows that are there, and some to fill in."""
        context = super().get_context(name, value, attrs)
        rows = [*(value or []), *({} for _ in range(SPARE))]
        context["columns"] = self.columns
        context["rows"] = [
            [
                {
                    "name": f"{name}-{number}-{column.name}",
                    "label": f"{column.label}, row {number + 1}",
                    "kind": column.kind,
                    "value": "" if row.get(column.name) is None else row[column.name],
                    "hint": column.hint,
                }
                for column in self.columns
            ]
            for number, row in enumerate(rows)
        ]
        return context

    def value_from_datadict(self, data: Any, files: Any, name: str) -> list[dict[str, str]]:
        """The rows in which something was typed."""
        rows = []
        for number in range(LIMIT):
            names = {column.name: f"{name}-{number}-{column.name}" for column in self.columns}
            if not any(posted in data for posted in names.values()):
                break
            row = {column: str(data.get(posted, "")).strip() for column, posted in names.items()}
            if any(row.values()):
                rows.append({column: text for column, text in row.items() if text})
        return rows

    def value_omitted_from_data(self, data: Any, files: Any, name: str) -> bool:
        """Whether the page had no such table."""
        return not any(f"{name}-0-{column.name}" in data for column in self.columns)

    def id_for_label(self, id_: str) -> str:
        """The table itself has no input to point at."""
        return ""


class RowsField(forms.Field):
    """A list of rows as texts; what is in them is checked by the service that takes them."""

    def __init__(self, columns: Sequence[Column], **options: Any) -> None:
        self.columns = tuple(columns)
        super().__init__(widget=RowsWidget(columns), required=False, **options)

    def to_python(self, value: Any) -> list[dict[str, str]]:
        rows: list[dict[str, str]] = value or []
        if len(rows) >= LIMIT:
            raise ValidationError(f"At most {LIMIT - 1} rows.")
        return rows

    def has_changed(self, initial: Any, data: Any) -> bool:
        return _plain(initial, self.columns) != _plain(data, self.columns)


def _plain(rows: Any, columns: Sequence[Column]) -> list[dict[str, str]]:
    return [
        {column.name: str(row[column.name]) for column in columns if row.get(column.name) not in (None, "")}
        for row in rows or []
    ]


class FeatureLimitsField(RowsField):
    """By feature: a limit, yes, no, or unlimited."""

    WORDS = {"yes": True, "no": False, "unlimited": None}

    def __init__(self, **options: Any) -> None:
        columns = (
            Column("feature", "Feature", "text"),
            Column("limit", "Limit", "text", "40, yes, no, unlimited"),
        )
        super().__init__(columns, **options)

    def prepare_value(self, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        words = {repr(meaning): word for word, meaning in self.WORDS.items()}
        return [{"feature": name, "limit": words.get(repr(limit), limit)} for name, limit in value.items()]

    def to_python(self, value: Any) -> Any:
        limits: dict[str, Any] = {}
        for row in super().to_python(value):
            feature, limit = row.get("feature", ""), row.get("limit", "").lower()
            if not feature or feature in limits:
                raise ValidationError("Give each feature once, with its name.")
            if limit not in self.WORDS and not limit.isdecimal():
                raise ValidationError(f"The limit of “{feature}” is a whole number, yes, no or unlimited.")
            limits[feature] = self.WORDS[limit] if limit in self.WORDS else int(limit)
        return limits

    def has_changed(self, initial: Any, data: Any) -> bool:
        return _plain(self.prepare_value(initial or {}), self.columns) != _plain(data, self.columns)


class TerminationFeesField(RowsField):
    """Steps by months since the start, each an amount or a percentage of the value still to run."""

    def __init__(self, **options: Any) -> None:
        columns = (
            Column("from_month", "From month", hint="0"),
            Column("amount", "Amount"),
            Column("percent", "Or % of the rest"),
        )
        super().__init__(columns, **options)

    def to_python(self, value: Any) -> Any:
        steps = []
        for row in super().to_python(value):
            month = row.get("from_month", "0")
            if not month.isdecimal() or ("amount" in row) == ("percent" in row):
                raise ValidationError(
                    "Each step has a month, counted from the start, and an amount or a percentage."
                )
            steps.append({**row, "from_month": int(month)})
        return steps


TIERS = (
    Column("up_to", "Up to quantity", hint="no end"),
    Column("unit_price", "Price per unit"),
    Column("flat_fee", "Flat fee", hint="0"),
)
RAMP = (Column("from", "From", "day"), Column("price", "Price"))
CREDITS = (Column("threshold", "If measured worse than"), Column("credit_percent", "Credit, % of the fee"))
