"""Answers that are a file: whatever the client says that it accepts, the file has one form; problems are JSON."""

from typing import Any

from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request


class FileRenderer(BaseRenderer):
    """Lets a client ask for any kind of file; what goes wrong is still a problem document."""

    media_type = "application/octet-stream"
    format = "file"

    def render(self, data: Any, accepted_media_type: Any = None, renderer_context: Any = None) -> bytes:
        return JSONRenderer().render(data)


class AnyNegotiation(BaseContentNegotiation):
    """Takes the first parser and the first renderer, whatever was asked for."""

    def select_parser(self, request: Request, parsers: Any) -> Any:
        return parsers[0]

    def select_renderer(self, request: Request, renderers: Any, format_suffix: Any = None) -> Any:
        return renderers[0], renderers[0].media_type
