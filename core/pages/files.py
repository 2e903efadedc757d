"""Serving the files that people attach: to whoever the view has found may see them."""

from typing import Any

from django.http import FileResponse

from core.errors import NotFound

PREVIEWED = {"application/pdf": "document", "image/png": "picture", "image/jpeg": "picture"}
"""Shown in place; everything else is downloaded."""


def attached_file(attachment: Any, *, download: bool) -> FileResponse:
    """Answer with an attachment (``file``, ``name``, ``content_type``), shown in place where that is safe.

    Raises NotFound ``file_missing`` when the store has lost it.
    """
    try:
        content = attachment.file.open("rb")
    except FileNotFoundError as error:
        raise NotFound(
            "file_missing", f"“{attachment.name}” is not in the store any more. Tell an administrator."
        ) from error
    in_place = attachment.content_type in PREVIEWED and not download
    response = FileResponse(
        content,
        as_attachment=not in_place,
        filename=attachment.name,
        content_type=attachment.content_type if in_place else "application/octet-stream",
    )
    # Only our own page shows it in place, and what it contains loads and runs nothing.
    response["X-Frame-Options"] = "SAMEORIGIN"
    response["X-Content-Type-Options"] = "nosniff"
    response["Content-Security-Policy"] = (
        "default-src 'none'; object-src 'self'; style-src 'unsafe-inline'; frame-ancestors 'self'"
    )
    return response
