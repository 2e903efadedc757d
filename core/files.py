"""Uploaded files: of known types by name and by content, not too large, with a fingerprint.

checked = checked_file(upload.name, upload, settings.APPROVAL_ATTACHMENT_MEGABYTES)
record.file.save(checked.stored_name, upload)         # below MEDIA_ROOT, which no web server serves
"""

import hashlib
from dataclasses import dataclass
from pathlib import PurePath

from django.core.files.base import File
from django.http import FileResponse

from core.errors import Conflict, FieldProblem, Invalid

MEGABYTE = 1024 * 1024
LONGEST_NAME = 255
_HEAD = 1024

SIGNATURES: dict[str, tuple[bytes, ...]] = {
    "application/pdf": (b"%PDF-",),
    "image/png": (b"\x89PNG\r\n\x1a\n",),
    "image/jpeg": (b"\xff\xd8\xff",),
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": (b"PK\x03\x04",),
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": (b"PK\x03\x04",),
    "text/plain": (),
    "text/csv": (),
}
"""What people attach, with the first bytes that each type must begin with; a text only has no NUL in it."""

TYPES_BY_ENDING = {
    ".pdf": "application/pdf",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    ".docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    ".txt": "text/plain",
    ".csv": "text/csv",
}


@dataclass(frozen=True, slots=True)
class CheckedFile:
    """What is known of a file that may be kept: its plain name, type and size in bytes, and what it is stored as."""

    name: str
    content_type: str
    sha256: str
    size: int

    @property
    def stored_name(self) -> str:
        """A name that says nothing of the content and cannot lead anywhere else."""
        return f"{self.sha256[:16]}{PurePath(self.name).suffix.lower()}"


def checked_file(name: str, file: File, megabytes: int) -> CheckedFile:
    """Return what is known of an upload; its type is told by its name and must agree with its content.

    Raises Invalid ``file_type_not_allowed``, ``file_empty``, ``file_too_large``, ``file_content_differs``.
    """
    name = PurePath(name.replace("\\", "/")).name.strip()[-LONGEST_NAME:]
    content_type = TYPES_BY_ENDING.get(PurePath(name).suffix.lower())
    if content_type is None:
        endings = ", ".join(sorted(TYPES_BY_ENDING))
        raise _refused("file_type_not_allowed", f"Attach one of these: {endings}.")
    size = checked_size(file.size or 0, megabytes)
    head = file.read(_HEAD)
    file.seek(0)
    signatures = SIGNATURES[content_type]
    if (signatures and not head.startswith(signatures)) or (not signatures and b"\x00" in head):
        raise Invalid("file_content_differs", f"The content is not what the name “{name}” says.")
    return CheckedFile(name, content_type, sha256_of(file), size)


def checked_size(
    size: int, megabytes: int, *, empty: str = "file_empty", too_large: str = "file_too_large"
) -> int:
    """Return the size in bytes, or raise Invalid with the code for an empty or too large file."""
    if not size:
        raise _refused(empty, "The file is empty.")
    if size > megabytes * MEGABYTE:
        raise _refused(too_large, f"The file is larger than {megabytes} MB.")
    return size


def sha256_of(file: File) -> str:
    """Return the fingerprint of a file's content, and leave the file at its beginning."""
    digest = hashlib.sha256()
    for chunk in file.chunks():
        digest.update(chunk)
    file.seek(0)
    return digest.hexdigest()


def download(file: File, *, name: str, content_type: str) -> FileResponse:
    """Answer with a kept file, to be saved and never shown: it must not run where its reader is signed in.

    Raises Conflict ``file_missing`` if it is not where it was stored.
    """
    try:
        opened = file.open("rb")
    except FileNotFoundError as error:
        raise Conflict(
            "file_missing", "The file is not where it was stored. Ask an administrator to restore it."
        ) from error
    response = FileResponse(opened, as_attachment=True, filename=name, content_type=content_type)
    response["X-Content-Type-Options"] = "nosniff"
    return response


def _refused(code: str, detail: str) -> Invalid:
    return Invalid(code, detail, errors=[FieldProblem("/file", code, detail)])
