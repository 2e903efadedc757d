"""JSON Pointers (RFC 6901) for the fields that an error names."""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from rest_framework.exceptions import ErrorDetail
from rest_framework.settings import api_settings


class FlatError(NamedTuple):
    """One refused value: where it stands in the request, a code for machines, a sentence for people."""

    pointer: str
    code: str
    detail: str


def pointer_to(*steps: object) -> str:
    """Return the JSON Pointer of a path: `pointer_to("splits", 0, "percent")` is "/splits/0/percent".

    No step at all is "", which means the whole body.
    """
    return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in steps)


def flatten(detail: Any, steps: tuple[object, ...] = ()) -> Iterator[FlatError]:
    """Turn REST framework's nested error detail into flat errors, in the order of the fields.

    Errors of a whole object (`non_field_errors`) point at the object itself.
    """
    if isinstance(detail, dict):
        for key, value in detail.items():
            own = key in (api_settings.NON_FIELD_ERRORS_KEY, "__all__")
            yield from flatten(value, steps if own else (*steps, key))
    elif isinstance(detail, (list, tuple)):
        yield from _flatten_list(detail, steps)
    elif detail is not None:
        code = detail.code if isinstance(detail, ErrorDetail) else "invalid"
        yield FlatError(pointer_to(*steps), str(code), str(detail))


def _flatten_list(details: Iterable[Any], steps: tuple[object, ...]) -> Iterator[FlatError]:
    for index, item in enumerate(details):
        # A list of messages is about one value; a list of lists or dicts is about the elements of a list.
        nested = isinstance(item, (dict, list, tuple))
        yield from flatten(item, (*steps, index) if nested else steps)
