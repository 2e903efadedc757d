"""Reading and writing the bodies of the two busiest addresses without serializers, in the same words as the rest."""

import datetime
from collections.abc import Callable, Mapping
from datetime import UTC
from decimal import Decimal
from typing import Any

from budgets.figures import figures_of
from budgets.models import Budget, BudgetEntry
from budgets.services.availability import Availability
from core.errors import FieldProblem, Invalid
from core.money import minor_units, parse_amount, plain_amount

LARGEST_NUMBER = 2**31 - 1
MISSING = object()


class Body:
    """The members of a JSON object, read one by one; `done` refuses what is wrong, missing or unknown, together."""

    def __init__(self, data: Any) -> None:
        if not isinstance(data, Mapping):
            raise Invalid(
                "invalid", "Send a JSON object.", errors=[FieldProblem("", "invalid", "No object.")]
            )
        self._data = data
        self._known: set[str] = set()
        self._problems: list[FieldProblem] = []

    def _read(self, name: str, convert: Callable[[Any], Any], default: Any) -> Any:
        self._known.add(name)
        value = self._data.get(name, MISSING)
        if value is MISSING or (value is None and default is None):
            if default is MISSING:
                self._refuse(name, "required", "This field is required.")
            return default
        if value is None:
            self._refuse(name, "null", "This field may not be null.")
            return default
        try:
            return convert(value)
        except Invalid as error:
            self._refuse(name, error.code, error.message)
            return default

    def _refuse(self, name: str, code: str, detail: str) -> None:
        self._problems.append(FieldProblem(f"/{name}", code, detail))

    def amount(self, name: str, default: Any = MISSING, *, zero: bool = False) -> Any:
        """A positive amount (or zero, if that is allowed), exactly as it was written."""
        return self._read(name, _zero_or_more if zero else _positive, default)

    def text(self, name: str, longest: int, default: Any = MISSING) -> Any:
        """A text; a required one is not blank."""
        return self._read(name, lambda value: _text(value, longest, blank=default is not MISSING), default)

    def date(self, name: str) -> Any:
        """A day, or None."""
        return self._read(name, _date, None)

    def currency(self, name: str) -> Any:
        """An ISO 4217 code, or None."""
        return self._read(name, _currency, None)

    def number(self, name: str, default: Any, largest: int = LARGEST_NUMBER) -> Any:
        """A whole number of zero or more."""
        return self._read(name, lambda value: _number(value, largest), default)

    def flag(self, name: str, default: bool) -> Any:
        """true or false."""
        return self._read(name, _flag, default)

    def done(self) -> None:
        """Raise Invalid if anything was refused, or if a member is unknown."""
        for name in self._data:
            if name not in self._known:
                self._refuse(
                    str(name).replace("~", "~0").replace("/", "~1"),
                    "unknown_field",
                    "There is no such field.",
                )
        if len(self._problems) == 1:
            raise Invalid(self._problems[0].code, self._problems[0].detail, errors=self._problems)
        if self._problems:
            raise Invalid(
                "invalid", f"{len(self._problems)} values were refused; see errors.", errors=self._problems
            )


def _decimal(value: Any) -> Decimal:
    # A number with a fraction knows how it was written (core.api.parsers.LiteralFloat).
    return parse_amount(str(value) if isinstance(value, float) else value)


def _positive(value: Any) -> Decimal:
    amount = _decimal(value)
    if amount <= 0:
        raise Invalid("amount_not_positive", "The amount must be greater than zero.")
    return amount


def _zero_or_more(value: Any) -> Decimal:
    amount = _decimal(value)
    if amount < 0:
        raise Invalid("amount_not_positive", "The amount cannot be negative.")
    return amount


def _text(value: Any, longest: int, *, blank: bool) -> str:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise Invalid("invalid", "Give a text.")
    text = str(value).strip()
    if not text and not blank:
        raise Invalid("blank", "This field may not be blank.")
    if len(text) > longest:
        raise Invalid("max_length", f"At most {longest} characters are kept.")
    return text


def _date(value: Any) -> datetime.date:
    if isinstance(value, str) and len(value) == len("2026-01-31"):
        try:
            return datetime.date.fromisoformat(value)
        except ValueError as error:
            raise Invalid("invalid", f"There is no day {value}. Give one such as 2026-01-31.") from error
    raise Invalid("invalid", "Give a day such as 2026-01-31.")


def _currency(value: Any) -> str:
    if not isinstance(value, str):
        raise Invalid("invalid", "Give the three letters of a currency.")
    code = value.strip().upper()
    minor_units(code)
    return code


def _number(value: Any, largest: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= largest:
        raise Invalid("invalid", f"Give a whole number from 0 to {largest}.")
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise Invalid("invalid", "Give true or false.")
    return value


# --- Answers ---------------------------------------------------------------------------------------------


def percent_text(value: Decimal) -> str:
    """A percentage without zeros at its end."""
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def figures_body(budget: Budget) -> dict[str, Any]:
    """The figures of a budget, as all addresses show them."""
    currency = budget.currency
    figures = figures_of(budget)
    return {
        "allocated_amount": plain_amount(figures.allocated, currency),
        "override_amount": plain_amount(figures.override, currency),
        "spent_amount": plain_amount(figures.spent, currency),
        "committed_amount": plain_amount(figures.committed, currency),
        "available_amount": plain_amount(figures.available, currency),
        "utilization_percent": percent_text(figures.utilization),
        "currency": currency,
    }


def charged_budget_body(budget: Budget) -> dict[str, Any]:
    """A budget after a charge: which, its figures, its state."""
    return {"id": budget.pk, "name": budget.name, "status": budget.status, **figures_body(budget)}


def moment_text(moment: datetime.datetime) -> str:
    """A point in time in UTC."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def entry_body(entry: BudgetEntry, currency: str) -> dict[str, Any]:
    """One entry of the ledger; amounts in the budget's currency except the document's own."""

    def plain(amount: Decimal) -> str:
        return plain_amount(amount, currency)

    moved = entry.spent_delta or entry.committed_delta or entry.allocated_delta or entry.override_delta
    return {
        "id": entry.pk,
        "budget_id": entry.budget_id,
        "kind": str(entry.kind),
        "amount": plain(moved),
        "currency": currency,
        "posting_date": entry.posting_date.isoformat(),
        "description": entry.description,
        "reference": entry.reference,
        "reason": entry.reason,
        "allocated_delta": plain(entry.allocated_delta),
        "committed_delta": plain(entry.committed_delta),
        "spent_delta": plain(entry.spent_delta),
        "override_delta": plain(entry.override_delta),
        "document_amount": plain_amount(entry.document_amount, entry.document_currency),
        "document_currency": entry.document_currency,
        "rate": percent_text(entry.rate),
        "rate_date": entry.rate_date.isoformat() if entry.rate_date else None,
        "fx_variance": plain(entry.fx_variance),
        "tax_recoverable": entry.tax_recoverable,
        "source_type": entry.source_type,
        "source_id": entry.source_id,
        "source_line": entry.source_line,
        "source_revision": entry.source_revision,
        "commitment_id": entry.commitment_id,
        "reverses_id": entry.reverses_id,
        "counterpart_id": entry.counterpart_id,
        "actor_id": entry.actor_id,
        "created_at": moment_text(entry.created_at),
    }


def availability_body(answer: Availability) -> dict[str, Any]:
    """The answer of a check."""
    return {
        "available": answer.available,
        "available_amount": plain_amount(answer.available_amount, answer.currency),
        "requires_approval": answer.requires_approval,
        "would_overspend": answer.would_overspend,
        "reason": answer.reason,
        "currency": answer.currency,
    }
