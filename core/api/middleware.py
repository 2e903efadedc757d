"""What API paths need before and instead of Django's usual middleware.

`ApiMiddleware` stands first in MIDDLEWARE: it sees every answer, also those of middleware below it. The
classes made by `browser_only` replace Django's of the same name: they do their work for browsers and step aside for
requests that carry a bearer token, which need no session, no cookie and no CSRF check.
"""

from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from django.contrib.auth.middleware import AuthenticationMiddleware as DjangoAuthentication
from django.contrib.messages.middleware import MessageMiddleware as DjangoMessages
from django.contrib.sessions.middleware import SessionMiddleware as DjangoSessions
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.middleware.csrf import CsrfViewMiddleware as DjangoCsrf
from django.middleware.locale import LocaleMiddleware as DjangoLocale
from django_htmx.middleware import HtmxMiddleware as DjangoHtmx

from core.api.problems import CONTENT_TYPE, django_problem, problem_response

API_PREFIX = "/api/"
SLASHED_PREFIXES = (API_PREFIX, "/health/", "/docs/", "/metrics/")
GetResponse = Callable[[HttpRequest], HttpResponseBase]


class ApiMiddleware:
    """The same address with a slash at its end works; NUL in an address is 400; errors are problem+json."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        path = request.path_info
        if not path.startswith(SLASHED_PREFIXES):
            return self.get_response(request)
        if path.endswith("/"):
            request.path_info = path[:-1]
            request.path = request.path.removesuffix("/")
        if not path.startswith(API_PREFIX):
            return self.get_response(request)
        if "\x00" in path or "%00" in request.META.get("QUERY_STRING", ""):
            return problem_response(
                request, 400, "null_characters_not_allowed", "An address must not contain NUL characters."
            )
        response = self.get_response(request)
        if response.status_code >= HTTPStatus.BAD_REQUEST and _is_page(response):
            assert isinstance(response, HttpResponse)
            return django_problem(request, response)
        return response


def _is_page(response: HttpResponseBase) -> bool:
    content_type = response.headers.get("Content-Type", "")
    return isinstance(response, HttpResponse) and content_type.startswith(("text/html", "text/plain"))


def is_token_request(request: HttpRequest) -> bool:
    """Say whether this is a call of the API with a bearer token: nothing in it depends on cookies."""
    return request.path_info.startswith(API_PREFIX) and request.META.get("HTTP_AUTHORIZATION", "").startswith(
        "Bearer "
    )


def browser_only(middleware: type[Any]) -> type[Any]:
    """Return a middleware class that does nothing for API calls with a token."""

    class BrowserOnly(middleware):  # type: ignore[misc]
        def __call__(self, request: HttpRequest) -> Any:
            if is_token_request(request):
                return self.get_response(request)
            return super().__call__(request)

    if hasattr(middleware, "process_view"):

        def process_view(self: Any, request: HttpRequest, *args: Any) -> Any:
            if is_token_request(request):
                return None
            return middleware.process_view(self, request, *args)

        BrowserOnly.process_view = process_view
    BrowserOnly.__name__ = BrowserOnly.__qualname__ = middleware.__name__
    BrowserOnly.__doc__ = f"Django's {middleware.__name__}, for browsers only."
    return BrowserOnly


SessionMiddleware = browser_only(DjangoSessions)
LocaleMiddleware = browser_only(DjangoLocale)
CsrfViewMiddleware = browser_only(DjangoCsrf)
AuthenticationMiddleware = browser_only(DjangoAuthentication)
MessageMiddleware = browser_only(DjangoMessages)
HtmxMiddleware = browser_only(DjangoHtmx)

__all__ = [
    "CONTENT_TYPE",
    "ApiMiddleware",
    "AuthenticationMiddleware",
    "CsrfViewMiddleware",
    "HtmxMiddleware",
    "LocaleMiddleware",
    "MessageMiddleware",
    "SessionMiddleware",
    "browser_only",
    "is_token_request",
]
