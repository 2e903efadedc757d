"""Reading values from JSON by the model's own fields, and writing them back in one spelling."""

import datetime
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from django.core.exceptions import ValidationError
from django.db import models

from core.errors import FieldProblem, Invalid
from core.money import EXACT


def as_json(value: Any) -> Any:
    """Decimals as plain text without needless zeros, dates as ISO 8601; the rest as it is."""
    if isinstance(value, Decimal):
        normal = value.normalize(EXACT)
        return f"{normal if normal else Decimal(0):f}"
    if isinstance(value, datetime.date):
        return value.isoformat()
    return value


class Reader:
    """Reads one JSON object by the fields of a model and collects what is wrong, with pointers."""

    def __init__(self, model: type[models.Model], data: Any, pointer: str) -> None:
        self.model, self.pointer = model, pointer
        self.problems: list[FieldProblem] = []
        self.data: Mapping[str, Any] = data if isinstance(data, Mapping) else {}
        if not isinstance(data, Mapping):
            self.problem("", "not_an_object", "Give an object with named values.")

    def problem(self, name: str, code: str, detail: str) -> None:
        self.problems.append(FieldProblem(f"{self.pointer}/{name}" if name else self.pointer, code, detail))

    def unknown(self, known: Iterable[str]) -> None:
        """Report names that do not exist: a misspelt one would silently change nothing."""
        for name in sorted(set(self.data) - set(known)):
            self.problem(name, "unknown_field", f"There is no “{name}” here.")

    def field(self, name: str) -> Any:
        """The value of a field as the model would hold it; what is not given is its default."""
        field: Any = self.model._meta.get_field(name)
        if name not in self.data:
            if field.has_default():
                # As if it had been given: a default written 0 is the same value as one that was read.
                return field.to_python(field.get_default())
            if field.null:
                return None
            if field.blank:
                return ""
            self.problem(name, "required", "This value is needed.")
            return None
        return self.given(name)

    def given(self, name: str) -> Any:
        """The value that was given, checked by the field's validators."""
        field: Any = self.model._meta.get_field(name)
        value = self.data[name]
        if isinstance(value, (bool, float)) and isinstance(field, models.DecimalField):
            self.problem(name, "invalid_amount", 'Give the number as text, such as "1500.00".')
            return None
        if isinstance(value, str) and "\x00" in value:
            self.problem(name, "null_characters_not_allowed", "Text must not contain NUL characters.")
            return None
        if field.is_relation:
            return self._key(name, value)
        try:
            return field.clean(value, None)
        except ValidationError as error:
            self.problem(name, error.error_list[0].code or "invalid", " ".join(error.messages))
            return None

    def _key(self, name: str, value: Any) -> int | None:
        if value is None or (isinstance(value, int) and not isinstance(value, bool)):
            return value
        self.problem(name, "invalid", "Give the id as a whole number.")
        return None

    def raise_problems(self) -> None:
        """Raise Invalid ``invalid`` with everything that was found."""
        raise_problems(self.problems)


def raise_problems(problems: list[FieldProblem]) -> None:
    """Raise Invalid with all of them; none is fine."""
    if not problems:
        return
    sentence = " ".join(dict.fromkeys(problem.detail for problem in problems))
    raise Invalid(problems[0].code if len(problems) == 1 else "invalid", sentence, errors=problems)
