"""What an amendment changes, in one form: checked when it is written, applied when terms are asked for (CON-04).

    {"fields": {"value": "120000", "end_date": "2028-01-01"},
     "prices": {"set": [price, …], "remove": ["support"]},
     "sla": {"set": [service level, …], "remove": ["uptime"]},
     "reinstate": true}

A price or service level in "set" is complete: it replaces the line of that code, or adds it.
"""

from collections.abc import Callable
from typing import Any

from contracts.terms.conditions import read_fields
from contracts.terms.lines import PriceLine, SlaLine, price_line, sla_line
from core.errors import FieldProblem, Invalid

_LINES: dict[str, Callable[..., PriceLine | SlaLine]] = {"prices": price_line, "sla": sla_line}


def read_changes(data: Any, *, pointer: str = "/changes") -> dict[str, Any]:
    """The changes in their one form. Raises Invalid with pointers: unknown names, wrong values, nothing changed."""
    if not isinstance(data, dict):
        raise _invalid(pointer, "not_an_object", "Give an object with fields, prices, sla or reinstate.")
    unknown = sorted(set(data) - {"fields", "prices", "sla", "reinstate"})
    if unknown:
        raise _invalid(
            f"{pointer}/{unknown[0]}",
            "unknown_field",
            f"An amendment has no “{unknown[0]}”: it changes fields, prices, sla, or reinstates.",
        )
    changes: dict[str, Any] = {}
    if data.get("fields"):
        changes["fields"] = read_fields(data["fields"], pointer=f"{pointer}/fields")
    for part in _LINES:
        if data.get(part):
            changes[part] = _read_lines(part, data[part], f"{pointer}/{part}")
    if "reinstate" in data and not isinstance(data["reinstate"], bool):
        raise _invalid(f"{pointer}/reinstate", "invalid", "Give true or false.")
    if data.get("reinstate"):
        changes["reinstate"] = True
    if not changes:
        raise _invalid(pointer, "amendment_changes_nothing", "Say what the amendment changes.")
    return changes


def _read_lines(part: str, data: Any, pointer: str) -> dict[str, Any]:
    if not isinstance(data, dict) or set(data) - {"set", "remove"}:
        raise _invalid(pointer, "invalid_lines", "Give an object with “set”, “remove” or both.")
    given, removed = data.get("set") or [], data.get("remove") or []
    if not isinstance(given, list) or not isinstance(removed, list):
        raise _invalid(pointer, "not_a_list", "“set” and “remove” are lists.")
    if not all(isinstance(code, str) for code in removed):
        raise _invalid(f"{pointer}/remove", "invalid", "“remove” lists the codes of lines.")
    lines = [_LINES[part](item, pointer=f"{pointer}/set/{index}") for index, item in enumerate(given)]
    codes = [*(line.code for line in lines), *removed]
    double = next((code for code in codes if codes.count(code) > 1), None)
    if double is not None:
        raise _invalid(pointer, "line_changed_twice", f"The line “{double}” is named twice.")
    return {"set": [line.as_json() for line in lines], "remove": sorted(removed)}


def _invalid(pointer: str, code: str, detail: str) -> Invalid:
    return Invalid(code, detail, errors=[FieldProblem(pointer, code, detail)])


def changed_prices(changes: dict[str, Any]) -> list[PriceLine]:
    """The prices that an amendment sets."""
    return [price_line(item) for item in changes.get("prices", {}).get("set", [])]


def changed_service_levels(changes: dict[str, Any]) -> list[SlaLine]:
    """The service levels that an amendment sets."""
    return [sla_line(item) for item in changes.get("sla", {}).get("set", [])]


def removed_codes(changes: dict[str, Any], part: str) -> list[str]:
    """The codes of the lines ("prices" or "sla") that an amendment removes."""
    return list(changes.get(part, {}).get("remove", []))
