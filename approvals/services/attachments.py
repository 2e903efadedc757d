"""Files on a request: of known types and sizes, outside the web root, for those who see the request."""

import hashlib
from pathlib import PurePath

from django.conf import settings
from django.core.files.base import File
from django.db import transaction

from approvals.models import ActionKind, ApprovalAttachment, ApprovalRequest
from approvals.services.trail import record
from approvals.services.votes import lock_request
from core import clock
from core.access import get_visible
from core.errors import Conflict, Forbidden, Invalid
from core.models import User
from entities.services.records import field_error

# What people attach to purchases, by the first bytes that each type must begin with.
SIGNATURES: dict[str, tuple[bytes, ...]] = {
    "application/pdf": (b"%PDF-",),
    "image/png": (b"\x89PNG\r\n\x1a\n",),
    "image/jpeg": (b"\xff\xd8\xff",),
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": (b"PK\x03\x04",),
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": (b"PK\x03\x04",),
    "text/plain": (),
    "text/csv": (),
}
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


def attachment_add(*, actor: User, request_id: int, name: str, file: File) -> ApprovalAttachment:
    """Keep a file with a request; the type is told by its name and must agree with its content.

    Raises Invalid ``file_type_not_allowed``, ``file_content_differs``, ``file_too_large``, ``file_empty``;
    Conflict ``attached_before`` for the same content; Forbidden for who takes no part in the request.
    """
    name = PurePath(name.replace("\\", "/")).name.strip()[-255:]
    content_type = _checked_type(name, file)
    digest = hashlib.sha256()
    for chunk in file.chunks():
        digest.update(chunk)
    file.seek(0)
    with transaction.atomic():
        request = lock_request(actor=actor, request_id=request_id)
        _require_part(request, actor)
        if request.attachments.filter(sha256=digest.hexdigest(), removed_at__isnull=True).exists():
            raise Conflict("attached_before", "A file with the same content is attached already.")
        attachment = ApprovalAttachment(
            request=request,
            name=name,
            content_type=content_type,
            size=file.size,
            sha256=digest.hexdigest(),
            uploaded_by=actor,
        )
        attachment.file.save(f"{digest.hexdigest()[:16]}{PurePath(name).suffix.lower()}", file, save=True)
        record(
            request,
            ActionKind.ATTACHED,
            actor=actor,
            details={"attachment_id": attachment.pk, "name": name, "sha256": attachment.sha256},
        )
        return attachment


def attachment_remove(*, actor: User, attachment_id: int, reason: str = "") -> ApprovalAttachment:
    """Take a file off a request; the trail keeps its name and fingerprint. Only who attached it, while it is open."""
    with transaction.atomic():
        seen = get_visible(ApprovalAttachment.objects.all(), actor, attachment_id, name="attachment")
        request = lock_request(actor=actor, request_id=seen.request_id)
        attachment = request.attachments.get(pk=seen.pk)
        if attachment.uploaded_by_id != actor.pk:
            raise Forbidden("not_the_uploader", "Only who attached a file can take it off.")
        if attachment.removed_at is not None or request.status not in ("draft", "changes_requested"):
            raise Conflict(
                "attachment_kept",
                "Files stay with a request once it is being decided. Withdraw it, or wait until it is sent back.",
            )
        attachment.removed_at = clock.now()
        attachment.save(update_fields=["removed_at"])
        record(
            request,
            ActionKind.DETACHED,
            actor=actor,
            comment=reason,
            details={"name": attachment.name, "sha256": attachment.sha256},
        )
        return attachment


def _checked_type(name: str, file: File) -> str:
    content_type = TYPES_BY_ENDING.get(PurePath(name).suffix.lower())
    if content_type is None:
        endings = ", ".join(sorted(TYPES_BY_ENDING))
        raise field_error("file", "file_type_not_allowed", f"Attach one of these: {endings}.")
    if not file.size:
        raise field_error("file", "file_empty", "The file is empty.")
    limit = settings.APPROVAL_ATTACHMENT_MEGABYTES
    if file.size > limit * 1024 * 1024:
        raise field_error("file", "file_too_large", f"The file is larger than {limit} MB.")
    head = file.read(1024)
    file.seek(0)
    signatures = SIGNATURES[content_type]
    if (signatures and not head.startswith(signatures)) or (not signatures and b"\x00" in head):
        raise Invalid("file_content_differs", f"The content is not what the name “{name}” says.")
    return content_type


def _require_part(request: ApprovalRequest, actor: User) -> None:
    own = actor.pk in (request.requester_id, request.created_by_id)
    if not own and not request.tasks.filter(approver=actor).exists():
        raise Forbidden("takes_no_part", "Only the requester and the approvers attach files.")
