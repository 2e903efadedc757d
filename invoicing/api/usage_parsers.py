"""Bodies that are a file: read to a temporary file in pieces, whatever their size."""

import shutil
from collections.abc import Mapping
from tempfile import SpooledTemporaryFile
from typing import Any

from django.core.files.uploadedfile import UploadedFile
from rest_framework.parsers import BaseParser

_IN_MEMORY = 1 << 20


class RawFileParser(BaseParser):
    """The body as `request.data["file"]`."""

    media_type = "text/csv"

    def parse(
        self, stream: Any, media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> dict[str, UploadedFile]:
        content = SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115  (lives as long as the request)
        shutil.copyfileobj(stream, content, 1 << 16)
        size = content.tell()
        content.seek(0)
        return {"file": UploadedFile(content, "usage.csv", media_type, size)}


class RawGzipParser(RawFileParser):
    media_type = "application/gzip"


class RawBinaryParser(RawFileParser):
    media_type = "application/octet-stream"
