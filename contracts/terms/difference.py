"""What changed between two sets of terms, for people (CON-04)."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from contracts.models import Contract
from contracts.terms.conditions import CONDITIONS
from contracts.terms.fold import Terms
from contracts.terms.lines import PriceLine, SlaLine
from core.money import format_money


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that changed: its name in words, and how it reads before and after; empty: it was not there."""

    what: str
    before: str
    after: str


def difference(before: Terms, after: Terms) -> list[Difference]:
    """Everything that differs: conditions in their order, then prices, then service levels."""
    found = []
    for name in CONDITIONS:
        old, new = getattr(before.conditions, name), getattr(after.conditions, name)
        if old != new:
            label = str(Contract._meta.get_field(name).verbose_name)  # type: ignore[union-attr]
            found.append(
                Difference(
                    label[:1].upper() + label[1:],
                    _text(name, old, before.conditions.currency),
                    _text(name, new, after.conditions.currency),
                )
            )
    found += _lines("Price", before.prices, after.prices)
    return found + _lines("Service level", before.sla, after.sla)


def _text(name: str, value: Any, currency: str) -> str:
    if value is None or value == "":
        return ""
    if name in {"value", "not_to_exceed", "minimum_commitment"}:
        return format_money(value, currency)
    choices = dict(getattr(Contract._meta.get_field(name), "flatchoices", None) or [])
    if value in choices.values() or isinstance(value, str):
        return str(choices.get(value, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, dict)):
        return _structure(value)
    if isinstance(value, Decimal):
        return f"{value.normalize():f}"
    return str(value)


def _structure(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name}: {_limit(limit)}" for name, limit in value.items())
    return "; ".join(_row(item) if isinstance(item, dict) else str(item) for item in value)


def _limit(limit: Any) -> str:
    if limit is None:
        return "unlimited"
    return _plain(limit)


def _row(row: dict[str, Any]) -> str:
    """A tier, a later price, a credit or a termination fee, as one would say it."""
    if "unit_price" in row:
        flat = f" and {row['flat_fee']}" if row.get("flat_fee", "0") != "0" else ""
        return (
            f"{'above' if row['up_to'] is None else 'up to ' + row['up_to']}: {row['unit_price']} each{flat}"
        )
    if "credit_percent" in row:
        return f"beyond {row['threshold']}: {row['credit_percent']} %"
    if "from_month" in row:
        fee = f"{row['percent']} % of the rest" if "percent" in row else row["amount"]
        return f"from month {row['from_month']}: {fee}"
    if "from" in row:
        return f"from {row['from']}: {row['price']}"
    return _structure(row)


def _lines(
    kind: str,
    before: "dict[str, PriceLine] | dict[str, SlaLine]",
    after: "dict[str, PriceLine] | dict[str, SlaLine]",
) -> list[Difference]:
    found = []
    for code in sorted({*before, *after}):
        old = before[code].as_json() if code in before else {}
        new = after[code].as_json() if code in after else {}
        if not old or not new:
            found.append(Difference(f"{kind} {code}", _summary(old), _summary(new)))
            continue
        found += [
            Difference(
                f"{kind} {code}: {name.removesuffix('_id').replace('_', ' ')}",
                _plain(old[name]),
                _plain(new[name]),
            )
            for name in old
            if old[name] != new[name]
        ]
    return found


def _plain(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return _structure(value) if isinstance(value, list) else str(value)


def _summary(line: dict[str, Any]) -> str:
    if not line:
        return ""
    figure = line.get("price", line.get("target"))
    if line.get("tiers") and "price" in line:
        figure = _structure(line["tiers"])
    return f"{line.get('name', line.get('metric'))} ({figure})"
