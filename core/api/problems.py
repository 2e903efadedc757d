"""Every error of the API as `application/problem+json` (RFC 9457).

One function, `exception_handler`, translates whatever a view raises; one view, `unknown_path`, answers for
addresses that do not exist; `django_problem` replaces the pages that Django itself makes before a view is
reached (core.api.middleware). The body is always

    {"type", "title", "status", "detail", "code", "instance", "errors": [{"pointer", "code", "detail"}], ...}

where `code` is for machines and stays the same, `detail` is a sentence for people that says what to do next,
`errors` names each refused value by JSON Pointer, and anything more (amounts missing, who can lift the
refusal) stands beside them. A fault of ours is a 500 that tells nothing about the inside.
"""

from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

import psycopg
from django.core.exceptions import PermissionDenied, RequestDataTooBig, SuspiciousOperation
from django.core.exceptions import ValidationError as ModelValidationError
from django.db import DataError, IntegrityError, OperationalError
from django.db.models import ProtectedError, RestrictedError
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse, UnreadablePostError
from django.http.multipartparser import MultiPartParserError
from django_fsm import ConcurrentTransition, TransitionNotAllowed
from drf_standardized_errors.handler import ExceptionHandler
from rest_framework import exceptions
from rest_framework.fields import get_error_detail
from rest_framework.response import Response

from core.api.pointers import FlatError, flatten
from core.errors import BillingError

CONTENT_TYPE = "application/problem+json"
CHALLENGE = 'Bearer realm="api"'
RETRY_AFTER_SECONDS = 2


class Problem(exceptions.APIException):
    """Any error on its way to the client: status, code, sentence, flat errors, further members."""

    auth_header: str | None = None

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        errors: Sequence[FlatError] = (),
        extra: Mapping[str, Any] | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(detail, code)
        self.status_code = status
        self.code = code
        self.flat_errors = tuple(errors)
        self.extra = dict(extra or {})
        self.wait = retry_after


def problem_body(
    status: int,
    code: str,
    detail: str,
    *,
    instance: str,
    errors: Sequence[FlatError] = (),
    extra: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the members of one problem document."""
    own = {
        "type": f"/problems/{code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "code": code,
        "instance": instance,
        "errors": [error._asdict() for error in errors],
    }
    return {**dict(extra or {}), **own}


def problem_response(
    request: HttpRequest,
    status: int,
    code: str,
    detail: str,
    *,
    headers: Mapping[str, str] | None = None,
    extra: Mapping[str, Any] | None = None,
) -> JsonResponse:
    """Return a problem document outside of REST framework's views (middleware, health, unknown paths)."""
    body = problem_body(status, code, detail, instance=request.path, extra=extra)
    return JsonResponse(body, status=status, content_type=CONTENT_TYPE, headers=dict(headers or {}))


# --- Translation -----------------------------------------------------------------------------------------


def _validation(exc: exceptions.ValidationError) -> Problem:
    errors = list(flatten(exc.detail))
    if len(errors) == 1:
        return Problem(400, errors[0].code, errors[0].detail, errors=errors)
    return Problem(400, "invalid", f"{len(errors)} values were refused; see errors.", errors=errors)


def _billing_error(exc: BillingError) -> Problem:
    errors = [FlatError(problem.pointer, problem.code, problem.detail) for problem in exc.errors]
    extra = dict(exc.extra or {})
    wait = extra.get("retry_after")
    if wait is None and exc.status == HTTPStatus.TOO_MANY_REQUESTS:
        wait = RETRY_AFTER_SECONDS
    return Problem(exc.status, exc.code, exc.message, errors=errors, extra=extra, retry_after=wait)


def _protected(exc: ProtectedError | RestrictedError) -> Problem:
    held_by = exc.protected_objects if isinstance(exc, ProtectedError) else exc.restricted_objects
    kinds = sorted({str(item._meta.verbose_name_plural) for item in held_by})
    return Problem(
        409,
        "in_use",
        f"It cannot be deleted while {', '.join(kinds)} refer to it.",
        extra={"used_by": kinds},
    )


def _integrity(exc: IntegrityError) -> Problem:
    """A constraint spoke where no check of a service did, as happens when two requests race."""
    match exc.__cause__:
        case psycopg.errors.UniqueViolation():
            return Problem(409, "already_exists", "Another record with the same identifying values exists.")
        case psycopg.errors.ForeignKeyViolation() | psycopg.errors.RestrictViolation():
            return Problem(409, "in_use", "Other records refer to it, or it refers to one that is gone.")
        case _:
            return Problem(409, "conflict", "The change contradicts a rule that the database holds.")


def _operational(exc: OperationalError) -> Problem:
    match exc.__cause__:
        case (
            psycopg.errors.DeadlockDetected()
            | psycopg.errors.SerializationFailure()
            | psycopg.errors.LockNotAvailable()
        ):
            return Problem(
                409,
                "concurrent_change",
                "Somebody else was changing the same records. Send the request again.",
                retry_after=RETRY_AFTER_SECONDS,
            )
        case _:
            return Problem(
                503,
                "unavailable",
                "The database does not answer just now. Send the request again.",
                retry_after=RETRY_AFTER_SECONDS,
            )


def _transition(exc: TransitionNotAllowed) -> Problem:
    state = getattr(exc.object, "status", None) or getattr(exc.object, "state", None)
    name = getattr(exc.method, "__name__", "")
    wanted = f"The step {name.replace('_', ' ')!r}" if name else "This step"
    where = f" in the state {str(state)!r}" if state else " in the present state"
    return Problem(
        409,
        "transition_not_allowed",
        f"{wanted} is not possible{where}. Fetch the record to see its state.",
        extra={"state": str(state)} if state else None,
    )


def _api_exception(exc: exceptions.APIException) -> Problem:
    if isinstance(exc, exceptions.Throttled):
        wait = max(1, int(getattr(exc, "wait", None) or 0))
        return Problem(429, "throttled", f"Too many requests. Try again in {wait} s.", retry_after=wait)
    errors = list(flatten(exc.detail))
    first = errors[0] if errors else FlatError("", exc.default_code, str(exc.default_detail))
    return Problem(exc.status_code, first.code, first.detail, retry_after=getattr(exc, "wait", None))


def _fixed(status: int, code: str, detail: str) -> Callable[[Any], Problem]:
    return lambda exc: Problem(status, code, detail)


# The first type that fits translates, so the special ones stand before the general ones.
_TRANSLATIONS: tuple[tuple[type[Exception], Callable[[Any], Problem]], ...] = (
    (Problem, lambda exc: exc),
    (BillingError, _billing_error),
    (exceptions.ValidationError, _validation),
    (exceptions.APIException, _api_exception),
    (ModelValidationError, lambda exc: _validation(exceptions.ValidationError(get_error_detail(exc)))),
    (Http404, _fixed(404, "not_found", "There is nothing here that you can see.")),
    (PermissionDenied, _fixed(403, "permission_denied", "You do not have the right to do this.")),
    (
        ConcurrentTransition,
        _fixed(409, "concurrent_change", "Somebody else changed it meanwhile. Fetch it again."),
    ),
    (TransitionNotAllowed, _transition),
    (ProtectedError, _protected),
    (RestrictedError, _protected),
    (IntegrityError, _integrity),
    (DataError, _fixed(400, "invalid", "A value does not fit: it is too long, too large or malformed.")),
    (OperationalError, _operational),
    (MultiPartParserError, _fixed(400, "malformed_multipart", "The multipart body is malformed.")),
    (UnreadablePostError, _fixed(400, "body_cut_off", "The request body ended too early. Send it again.")),
    (RequestDataTooBig, _fixed(413, "too_large", "The request body is larger than this server takes.")),
    (SuspiciousOperation, _fixed(400, "bad_request", "The request is malformed.")),
)


def translate(exc: Exception) -> Problem | None:
    """Return the problem that an exception stands for, or None if it is a fault of ours."""
    return next((make(exc) for kind, make in _TRANSLATIONS if isinstance(exc, kind)), None)


class ProblemHandler(ExceptionHandler):
    """drf-standardized-errors' handler (which also reports faults to logs and monitors), speaking RFC 9457."""

    def convert_known_exceptions(self, exc: Exception) -> Exception:
        problem = translate(exc)
        if problem is None:
            return exc
        if problem.status_code == HTTPStatus.UNAUTHORIZED:
            problem.auth_header = getattr(exc, "auth_header", CHALLENGE)
        return problem

    def convert_unhandled_exceptions(self, exc: Exception) -> exceptions.APIException:
        if isinstance(exc, Problem):
            return exc
        return Problem(500, "server_error", "Something went wrong on our side. It has been recorded.")

    def format_exception(self, exc: exceptions.APIException) -> dict[str, Any]:
        assert isinstance(exc, Problem)
        request = self.context["request"]
        return problem_body(
            exc.status_code,
            exc.code,
            str(exc.detail),
            instance=request.path if request is not None else "",
            errors=exc.flat_errors,
            extra=exc.extra,
        )

    def get_response(self, exc: exceptions.APIException, data: dict[str, Any]) -> Response:
        response = super().get_response(exc, data)
        response.content_type = CONTENT_TYPE
        return response


# --- Outside of views ------------------------------------------------------------------------------------

_DJANGO_PROBLEMS = {
    400: ("bad_request", "The request is malformed."),
    403: ("permission_denied", "You do not have the right to do this."),
    404: ("not_found", "There is no such address in this API. See /docs."),
    405: ("method_not_allowed", "This address does not answer that method."),
    413: ("too_large", "The request body is larger than this server takes."),
    500: ("server_error", "Something went wrong on our side. It has been recorded."),
    503: ("unavailable", "The service is not ready just now. Send the request again."),
}


def django_problem(request: HttpRequest, response: HttpResponse) -> HttpResponse:
    """Replace an error page of Django's by the problem document of the same status, keeping its headers."""
    code, detail = _DJANGO_PROBLEMS.get(
        response.status_code, ("error", HTTPStatus(response.status_code).phrase)
    )
    kept = {
        name: value
        for name, value in response.items()
        if name.lower() not in ("content-type", "content-length", "content-encoding")
    }
    return problem_response(request, response.status_code, code, detail, headers=kept)


def unknown_path(request: HttpRequest, path: str = "") -> HttpResponse:
    """Answer for an address under /api/ that no route knows, also with DEBUG on."""
    return problem_response(request, 404, *_DJANGO_PROBLEMS[404])


__all__ = [
    "CONTENT_TYPE",
    "Problem",
    "ProblemHandler",
    "django_problem",
    "problem_body",
    "problem_response",
    "translate",
    "unknown_path",
]
