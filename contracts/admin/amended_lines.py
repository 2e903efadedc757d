"""Prices and service levels in the form of an amendment: a block of fields for each line that changes (CON-04).

A block names a line by its code; what is left empty in it stays as it is on the day of the amendment. A code that is
not known yet is a new line. Lines beyond the blocks are changed by the API's form, below "Other changes".
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from unfold.widgets import (
    UnfoldAdminDecimalFieldWidget,
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextInputWidget,
)

from contracts.admin.rows import CREDITS, RAMP, TIERS, RowsField
from contracts.models import Contract, Direction, Pricing, QuantitySource
from contracts.selectors.contract import business_today, terms_on
from contracts.terms.fold import Terms
from contracts.terms.values import as_json

BLOCKS = 3


def _words(label: str, help_text: str = "") -> forms.CharField:
    return forms.CharField(
        label=label, required=False, max_length=200, widget=UnfoldAdminTextInputWidget(), help_text=help_text
    )


def _number(label: str) -> forms.DecimalField:
    return forms.DecimalField(label=label, required=False, widget=UnfoldAdminDecimalFieldWidget())


def _choice(label: str, choices: Any) -> forms.ChoiceField:
    return forms.ChoiceField(
        label=label,
        required=False,
        choices=[("", "As it is"), *choices],
        widget=UnfoldAdminSelectWidget(),
    )


def _price_fields() -> dict[str, forms.Field]:
    return {
        "code": _words("Code", "Of the line that changes, or of a new one."),
        "name": _words("Name"),
        "pricing": _choice("How it is priced", Pricing.choices),
        "price": _number("Price"),
        "quantity_source": _choice("Quantity", QuantitySource.choices),
        "quantity": _number("Agreed quantity"),
        "unit": _words("Unit"),
        "interval_months": forms.IntegerField(
            label="Months per period", required=False, min_value=1, widget=UnfoldAdminIntegerFieldWidget()
        ),
        "tiers": RowsField(TIERS, label="Tiers"),
        "ramp": RowsField(RAMP, label="Later prices"),
    }


def _level_fields() -> dict[str, forms.Field]:
    return {
        "code": _words("Code", "Of the level that changes, or of a new one."),
        "metric": _words("What is measured"),
        "target": _number("Target"),
        "direction": _choice("Kept if it is", Direction.choices),
        "credit_cap_percent": _number("Credits at most, % of the fee"),
        "tiers": RowsField(CREDITS, label="Credits"),
    }


@dataclass(frozen=True, slots=True)
class Part:
    """Prices or service levels: their place in the changes, the fields of a block, and the lines that there are."""

    name: str
    field: str
    title: str
    what: str
    fields: Callable[[], dict[str, forms.Field]]
    known: Callable[[Terms], Mapping[str, Any]]

    def block(self, number: int, name: str) -> str:
        """The name of a form's field."""
        return f"{self.field}_{number}_{name}"

    @property
    def removed(self) -> str:
        """The form's field for the codes of lines that end."""
        return f"removed_{self.name}"


PARTS = (
    Part("prices", "price", "Prices", "price", _price_fields, lambda terms: terms.prices),
    Part("sla", "level", "Service levels", "service level", _level_fields, lambda terms: terms.sla),
)


class LineFields(forms.Form):
    """The blocks of all parts; those that stay empty change nothing."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.written: dict[str, dict[str, Any]] = {}
        contract = self._contract()
        if contract is not None:
            self._say_codes(terms_on(contract, business_today(contract)))

    def _contract(self) -> Contract | None:
        """The contract that is amended, once it is known."""
        amendment = getattr(self, "instance", None)
        if amendment is not None and amendment.contract_id:
            found: Contract = amendment.contract
            return found
        asked, choice = str(self.initial.get("contract") or ""), self.fields.get("contract")
        if not asked.isdecimal() or not isinstance(choice, forms.ModelChoiceField) or choice.queryset is None:
            return None
        return choice.queryset.filter(pk=asked).first()

    def _say_codes(self, terms: Terms) -> None:
        for part in PARTS:
            codes = ", ".join(part.known(terms))
            if codes:
                for number in range(1, BLOCKS + 1):
                    self.fields[part.block(number, "code")].help_text = f"{codes}; or that of a new one."

    def take_lines(self, changes: dict[str, Any]) -> None:
        """Fill the blocks with what the amendment says; what has no place in them is left in ``changes``."""
        for part in PARTS:
            lines = dict(changes.pop(part.name, {}))
            given, rest = lines.get("set", [])[:BLOCKS], lines.get("set", [])[BLOCKS:]
            for number, line in enumerate(given, start=1):
                self.written[f"{part.name}/{line['code']}"] = line
                for name in part.fields():
                    self.initial[part.block(number, name)] = line.get(name)
            self.initial[part.removed] = ", ".join(lines.get("remove", []))
            if rest:
                changes[part.name] = {"set": rest}

    def add_lines(self, changes: dict[str, Any], data: Mapping[str, Any], terms: Terms) -> None:
        """Put what the blocks say into the changes; ``terms`` are those of the day from which it holds.

        Raises ValidationError for a block without a code, or with a new code and no name.
        """
        for part in PARTS:
            lines = [
                line for number in range(1, BLOCKS + 1) if (line := self._line(part, number, data, terms))
            ]
            removed = [code.strip() for code in data.get(part.removed, "").split(",") if code.strip()]
            others = changes.get(part.name, {})
            if lines or removed:
                changes[part.name] = {
                    "set": [*lines, *others.get("set", [])],
                    "remove": [*removed, *others.get("remove", [])],
                }

    def _line(self, part: Part, number: int, data: Mapping[str, Any], terms: Terms) -> dict[str, Any] | None:
        own = part.fields()
        given = {name: data.get(part.block(number, name)) for name in own}
        given = {name: as_json(value) for name, value in given.items() if value not in (None, "", [])}
        if not given:
            return None
        code, field = given.get("code"), part.block(number, "code")
        if code is None:
            raise ValidationError({field: f"Give the code of the {part.what}."})
        lines = part.known(terms)
        known = lines.get(code)
        if known is None and not {"name", "metric"} & given.keys():
            there = ", ".join(lines) or "none"
            raise ValidationError(
                {
                    field: f"There is no such {part.what} on that day; there are: {there}. A new one needs a name."
                }
            )
        written = self.written.get(f"{part.name}/{code}", {})
        kept = {name: value for name, value in written.items() if name not in own}
        return {**(known.as_json() if known else {}), **kept, **given}


for _part in PARTS:
    for _number_of_block in range(1, BLOCKS + 1):
        for _name, _field in _part.fields().items():
            if _name == "code":
                _field.label = f"Code of {_part.what} {_number_of_block}"
            LineFields.declared_fields[_part.block(_number_of_block, _name)] = _field
    LineFields.declared_fields[_part.removed] = _words(
        f"{_part.title} that end", "Their codes, with commas between them."
    )


def line_fieldsets() -> list[tuple[str, Any]]:
    """The tabs of the form."""
    return [
        (
            part.title,
            {
                "classes": ("tab",),
                "description": f"What stays empty stays as it is. Each block changes one {part.what}, or adds one.",
                "fields": (
                    *(
                        row
                        for number in range(1, BLOCKS + 1)
                        for row in _rows([part.block(number, name) for name in part.fields()])
                    ),
                    part.removed,
                ),
            },
        )
        for part in PARTS
    ]


def _rows(names: list[str]) -> list[tuple[str, ...]]:
    return [tuple(names[start : start + 2]) for start in range(0, len(names), 2)]
