"""What browsers are told about the pages: nothing from elsewhere, nothing inline, no frame of others around them.

Django has a Content-Security-Policy of its own from version 6.0 on. The back-office and Swagger UI are left without
one: the theme's scripts are evaluated from attributes.
"""

from collections.abc import Callable
from http import HTTPStatus

from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase

POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "font-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "frame-src 'self'",
        "object-src 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
    ]
)
"""`frame-src` and `object-src` are for documents shown in place."""

PERMISSIONS = "camera=(), geolocation=(), microphone=(), payment=(), usb=()"
WITHOUT = ("/admin/", "/api/", "/docs")
# With DEBUG these answers are Django's own pages for developers, which bring their style with them.
_DEBUG_PAGES = {HTTPStatus.NOT_FOUND, HTTPStatus.INTERNAL_SERVER_ERROR}


class PagePolicyMiddleware:
    """Sets the headers on every HTML answer outside the back-office; a view may have set its own before."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        if request.path_info.startswith(WITHOUT) or not _is_html(response):
            return response
        if not (settings.DEBUG and response.status_code in _DEBUG_PAGES):
            response.headers.setdefault("Content-Security-Policy", POLICY)
            response.headers.setdefault("Permissions-Policy", PERMISSIONS)
        return response


def _is_html(response: HttpResponseBase) -> bool:
    return str(response.headers.get("Content-Type", "")).startswith("text/html")
