"""The one error type of the product.

Services raise these; the doors translate them: the API into problem+json (RFC 9457), the admin into a message,
the pages into a page. `code` is for machines and never changes; `message` is a sentence for people that says
what is wrong and what to do next; `extra` is data for machines (amounts as strings).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from django.core.exceptions import NON_FIELD_ERRORS, ValidationError
from django.db import IntegrityError


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """What is wrong with one input: `pointer` is a JSON Pointer (RFC 6901) such as "/lines/0/amount"."""

    pointer: str
    code: str
    detail: str


class BillingError(Exception):
    """A refusal with a stable code, a sentence for people and an HTTP status."""

    status: ClassVar[int] = 400

    def __init__(
        self,
        code: str,
        message: str,
        *,
        errors: Iterable[FieldProblem] = (),
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.errors: list[FieldProblem] = list(errors)
        self.extra: dict[str, Any] = dict(extra or {})

    def __str__(self) -> str:
        return self.message

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.code!r}, {self.message!r})"


class Invalid(BillingError):
    """400: the input is wrong."""

    status = 400


class Unauthenticated(BillingError):
    """401: nobody is signed in."""

    status = 401


class Forbidden(BillingError):
    """403: the object may be seen, but the actor lacks the right (ENT-04)."""

    status = 403


class NotFound(BillingError):
    """404: it does not exist, or is outside what the actor may see (ENT-04)."""

    status = 404


class Conflict(BillingError):
    """409: the state, or the money, does not allow it."""

    status = 409


class Stale(BillingError):
    """412: somebody else changed the record meanwhile."""

    status = 412


class Misuse(BillingError):
    """422: the request contradicts an earlier one (SEC-04)."""

    status = 422


class RateLimited(BillingError):
    """429: too many requests; `extra["retry_after"]` is in seconds."""

    status = 429


def from_validation_error(error: ValidationError, *, prefix: str = "") -> Invalid:
    """Translate Django's ValidationError into Invalid with one FieldProblem per message.

    `prefix` is put before every pointer: "/lines/3" for the fourth line of a document.
    """
    if hasattr(error, "error_dict"):
        by_field: dict[str, list[ValidationError]] = error.error_dict
    else:
        by_field = {NON_FIELD_ERRORS: error.error_list}
    problems = [
        FieldProblem(
            pointer=prefix if field == NON_FIELD_ERRORS else f"{prefix}/{field}",
            code=item.code or "invalid",
            detail=" ".join(item.messages),
        )
        for field, items in by_field.items()
        for item in items
    ]
    if len(problems) == 1:
        message = problems[0].detail
    else:
        message = f"{len(problems)} values need correction: " + " ".join(
            problem.detail for problem in problems
        )
    return Invalid("invalid", message, errors=problems)


def constraint_name(error: IntegrityError) -> str | None:
    """Return the name of the database constraint that refused the write, or None.

    A service that expects one named constraint catches IntegrityError, compares this name and raises its own
    error; every other name is re-raised.
    """
    diagnostic = getattr(error.__cause__, "diag", None)
    return getattr(diagnostic, "constraint_name", None)
