"""Reading single values: each function returns the one canonical spelling of a value, or raises BadValue.

Clouds repeat the same few timestamps, prices and tags over millions of rows: what was read once is remembered,
in bounded memory.
"""

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import NoReturn

from core.errors import Invalid
from core.money import EXACT, decimal_places, known_currencies, parse_amount
from invoicing.focus.errors import BadValue

_LONGEST_REMEMBERED = 2_000
_EARLIEST_YEAR, _LATEST_YEAR = 1970, 2199
_STORED_DECIMALS = 15

_PLAIN_AMOUNT = re.compile(r"-?[0-9]{1,15}(?:\.[0-9]{1,15})?")
_MOMENT = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})(?:[ T]([0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,9})?)?))?"
    r"\s*(Z|UTC|[+-][0-9]{2}(?::?[0-9]{2})?)?",
    re.IGNORECASE,
)


class Remembered(dict[str, str]):
    """A dict that reads what it does not hold yet, and forgets everything when it has grown large."""

    def __init__(self, read: Callable[[str], str], *, most: int) -> None:
        super().__init__()
        self.read, self.most = read, most

    def __missing__(self, text: str) -> str:
        value = self.read(text)
        if len(self) >= self.most:
            self.clear()
        if len(text) <= _LONGEST_REMEMBERED:
            self[text] = value
        return value


def shortened(text: str, length: int = 60) -> str:
    """Return the text for a sentence: one line, not long, nothing unprintable."""
    shown = text if len(text) <= length else text[:length] + "…"
    return "".join(character if character.isprintable() else "�" for character in shown)


def read_cost(text: str) -> str:
    """Read an amount that is billed: finite, below 10^15, at most 15 decimals (USE-02)."""
    if _PLAIN_AMOUNT.fullmatch(text):
        return _without_trailing_zeros(text)
    try:
        return _without_trailing_zeros(f"{parse_amount(text):f}")
    except Invalid as error:
        raise BadValue(error.code, _about(error, text)) from error


def read_number(text: str) -> str:
    """Read a number that is kept for information. It may have any number of decimals."""
    if _PLAIN_AMOUNT.fullmatch(text):
        return _without_trailing_zeros(text)
    try:
        return _without_trailing_zeros(f"{parse_amount(text, decimals=60):f}")
    except Invalid as error:
        raise BadValue(error.code, _about(error, text)) from error


def stored_number(canonical: str) -> str:
    """Return the number as its database column holds it: rounded half up to 15 decimals."""
    number = Decimal(canonical)
    if decimal_places(number) <= _STORED_DECIMALS:
        return canonical
    return f"{number.quantize(Decimal(1).scaleb(-_STORED_DECIMALS), context=EXACT):f}"


def needs_rounding(canonical: str) -> bool:
    """Say whether the number has more decimals than its database column."""
    _, point, decimals = canonical.partition(".")
    return bool(point) and len(decimals) > _STORED_DECIMALS


def _without_trailing_zeros(text: str) -> str:
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    sign = "-" if text.startswith("-") else ""
    digits = text[len(sign) :].lstrip("0")
    if not digits:
        return "0"
    return sign + (f"0{digits}" if digits.startswith(".") else digits)


def _about(error: Invalid, text: str) -> str:
    return (
        error.message if shortened(text) in error.message else f'{error.message} It is "{shortened(text)}".'
    )


def read_moment(text: str) -> str:
    """Read a timestamp, UTC where it names no zone, as "2024-09-18 22:00:00+00:00"."""
    match = _MOMENT.fullmatch(text.strip())
    if match is None:
        raise BadValue(
            "bad_timestamp",
            f'"{shortened(text)}" is no timestamp. Write it like 2024-09-18T22:00:00Z.',
        )
    day, clock_time, zone = match.groups()
    offset = "+00:00" if zone is None or zone.upper() in {"Z", "UTC"} else zone
    try:
        moment = datetime.fromisoformat(f"{day}T{_microseconds(clock_time or '00:00')}{offset}").astimezone(
            UTC
        )
    except (ValueError, OverflowError) as error:
        raise BadValue(
            "bad_timestamp", f'"{shortened(text)}" is no date and time that exists. Correct it.'
        ) from error
    if not _EARLIEST_YEAR <= moment.year <= _LATEST_YEAR:
        raise BadValue(
            "timestamp_out_of_range",
            f'"{shortened(text)}" lies outside the years {_EARLIEST_YEAR} to {_LATEST_YEAR}. Correct the year.',
        )
    return moment.isoformat(sep=" ")


def _microseconds(clock_time: str) -> str:
    """Cut a fraction of a second to the six digits that a timestamp keeps."""
    whole, point, fraction = clock_time.partition(".")
    return f"{whole}.{fraction[:6].ljust(6, '0')}" if point else whole


def read_currency(text: str) -> str:
    """Read an ISO 4217 code."""
    code = text.strip()
    if code not in known_currencies():
        raise BadValue(
            "unknown_currency",
            f'"{shortened(text)}" is no known currency. Give the three capital letters of ISO 4217, such as "EUR".',
        )
    return code


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON value")


def read_tags(text: str) -> str:
    """Read a JSON object of tags; numbers in it are kept as they are written."""
    try:
        tags = json.loads(text, parse_float=str, parse_int=str, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise BadValue(
            "bad_tags",
            f'Tags must be a JSON object such as {{"business_unit": "Sales"}}, not "{shortened(text)}".',
        ) from error
    if tags is None:
        return "{}"
    if not isinstance(tags, dict):
        raise BadValue(
            "bad_tags",
            f'Tags must be a JSON object such as {{"business_unit": "Sales"}}, not "{shortened(text)}".',
        )
    canonical = compact_json(dict(sorted(tags.items())))
    try:
        canonical.encode()
    except UnicodeEncodeError as error:
        raise BadValue("bad_tags", "A tag contains half of a surrogate pair. Correct the text.") from error
    if "\\u0000" in canonical.replace("\\\\", ""):
        raise BadValue("bad_tags", "A tag contains a NUL character. Remove it.")
    return canonical


compact_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
