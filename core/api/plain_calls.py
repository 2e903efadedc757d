"""The short way of the busiest addresses: a call as machines make it, answered by a plain function.

Bearer token, JSON in, JSON out: whose token is it, is the caller within the rate limit, then the work. Everything else
(a browser's session, an odd `Accept`, another method) takes the usual way of REST framework, which gives the same
answers.
"""

import json
from hashlib import blake2s
from typing import Any

from django.core.exceptions import SuspiciousOperation
from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse, JsonResponse, UnreadablePostError
from rest_framework.exceptions import APIException, Throttled

from core.api.problems import CHALLENGE, CONTENT_TYPE, problem_body, translate
from core.api.throttling import CallerThrottle
from core.api.tokens import user_of_access_token
from core.errors import BillingError, Invalid
from core.history import set_actor
from core.models import User

BEARER = "Bearer "
ANY_JSON = frozenset({"", "*/*", "application/json"})
# What `translate` makes problems of; anything else is a fault of ours and Django's to report.
REFUSALS = (BillingError, APIException, DatabaseError, SuspiciousOperation, UnreadablePostError)
UNAUTHORIZED = 401


def is_plain_call(request: HttpRequest) -> bool:
    """Whether the short way answers it."""
    return (
        request.method == "POST"
        and request.META.get("HTTP_AUTHORIZATION", "").startswith(BEARER)
        and request.META.get("CONTENT_TYPE", "").partition(";")[0].strip().lower() == "application/json"
        and request.META.get("HTTP_ACCEPT", "") in ANY_JSON
    )


def plain_caller(request: HttpRequest) -> User:
    """Whose token it is; raises Unauthenticated, and Throttled beyond the rate limit."""
    user = user_of_access_token(request.META["HTTP_AUTHORIZATION"][len(BEARER) :].strip().encode())
    set_actor(user)
    request.user = user
    throttle: Any = CallerThrottle()
    if not throttle.allow_request(request, None):
        raise Throttled(throttle.wait())
    vars(request)["is_counted"] = True
    return user


def idempotency_key(request: HttpRequest) -> str | None:
    """The key that the request carries, or None; an empty one is refused."""
    key = request.META.get("HTTP_IDEMPOTENCY_KEY")
    if key is not None and not key.strip():
        raise Invalid("invalid_idempotency_key", "The idempotency key is empty. A random UUID is a good one.")
    return None if key is None else key.strip()


def json_answer(status: int, body: Any) -> HttpResponse:
    """The body as REST framework writes it."""
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    return HttpResponse(
        text.encode(),
        status=status,
        content_type="application/json",
        headers={"Cache-Control": "private, no-cache"},
    )


def tagged(response: HttpResponse, version: int) -> HttpResponse:
    """Set the ETag of an object's answer, as REST framework's way does."""
    response["ETag"] = f'"{version}-{blake2s(response.content, digest_size=6).hexdigest()}"'
    return response


def refusal_answer(request: HttpRequest, error: Exception) -> HttpResponse:
    """The same problem document as REST framework's way gives; what it does not know is raised again."""
    problem = translate(error)
    if problem is None:
        raise error
    headers = {"Cache-Control": "private, no-cache"}
    if problem.status_code == UNAUTHORIZED:
        headers["WWW-Authenticate"] = CHALLENGE
    if problem.wait is not None:
        headers["Retry-After"] = str(int(problem.wait))
    body = problem_body(
        problem.status_code,
        problem.code,
        str(problem.detail),
        instance=request.path,
        errors=problem.flat_errors,
        extra=problem.extra,
    )
    return JsonResponse(body, status=problem.status_code, content_type=CONTENT_TYPE, headers=headers)
