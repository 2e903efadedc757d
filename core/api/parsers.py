"""Reading bodies strictly and answering JSON to whoever takes any JSON."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NoReturn

from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from rest_framework.exceptions import NotAcceptable, ParseError
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request


class LiteralFloat(float):
    """A JSON number with a fraction that remembers how it was written.

    `Decimal(str(number))` is then exactly what the client sent: 0.1 stays 0.1 and 20 digits stay 20 digits,
    while a field of free JSON still gets a number.
    """

    literal: str

    def __new__(cls, literal: str) -> "LiteralFloat":
        number = super().__new__(cls, literal)
        number.literal = literal
        return number

    def __str__(self) -> str:
        return self.literal


def _read(stream: Any) -> bytes:
    """Read a body up to the size that Django allows elsewhere; REST framework itself would take any."""
    limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
    if limit is None:
        return stream.read()
    body: bytes = stream.read(limit + 1)
    if len(body) > limit:
        raise RequestDataTooBig("The request body is too large.")
    return body


def _float(literal: str) -> LiteralFloat:
    number = LiteralFloat(literal)
    if not math.isfinite(number):
        raise ParseError(f"The number {literal[:40]} is out of range.", code="number_out_of_range")
    return number


def _constant(name: str) -> NoReturn:
    raise ParseError(f"{name} is not a JSON number.", code="not_finite")


def _unique_members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ParseError(f"The member {twice[:80]!r} stands twice in one object.", code="duplicate_member")
    return members


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from _strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)


class StrictJSONParser(BaseParser):
    """JSON as RFC 8259 has it, and nothing that the database could not keep.

    Refused with 400: NaN and Infinity, numbers beyond a double's range, a member given twice (which of the
    two amounts would count?), NUL characters and lone surrogates in strings, nesting without end.
    """

    media_type = "application/json"

    def parse(
        self, stream: Any, media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:
        try:
            text = _read(stream).decode("utf-8-sig")
            data = json.loads(
                text, parse_float=_float, parse_constant=_constant, object_pairs_hook=_unique_members
            )
        except UnicodeDecodeError as error:
            raise ParseError("The body is not UTF-8.", code="not_utf8") from error
        except RecursionError as error:
            raise ParseError("The body is nested too deeply.", code="too_deep") from error
        except ValueError as error:
            raise ParseError(f"The body is not valid JSON: {error}", code="malformed_json") from error
        if "\\u" in text or "\x00" in text:
            self._refuse_unstorable(data)
        return data

    @staticmethod
    def _refuse_unstorable(data: Any) -> None:
        for string in _strings(data):
            if "\x00" in string:
                raise ParseError("Text must not contain NUL characters.", code="null_characters_not_allowed")
            if any("\ud800" <= character <= "\udfff" for character in string):
                raise ParseError(
                    "Text contains half of a surrogate pair.", code="surrogate_characters_not_allowed"
                )


class JSONNegotiation(BaseContentNegotiation):
    """Answer with the view's renderer for whoever accepts JSON in any form, including problem+json alone."""

    ACCEPTED = frozenset({"*/*", "application/*", "application/json", "application/problem+json"})

    def select_parser(self, request: Request, parsers: Iterable[BaseParser]) -> BaseParser | None:
        content_type = request.content_type.partition(";")[0].strip().lower()
        return next((parser for parser in parsers if parser.media_type == content_type), None)

    def select_renderer(
        self, request: Request, renderers: Iterable[BaseRenderer], format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        accepts = {
            part.partition(";")[0].strip().lower()
            for part in request.META.get("HTTP_ACCEPT", "*/*").split(",")
            if part.strip()
        }
        for renderer in renderers:
            own = renderer.media_type or "*/*"
            if (
                not accepts
                or accepts & self.ACCEPTED
                or own in accepts
                or f"{own.partition('/')[0]}/*" in accepts
            ):
                return renderer, own
        raise NotAcceptable("This address answers JSON only.", available_renderers=list(renderers))
