"""Files on a request: of known types and sizes, outside the web root, for those who see the request."""

from django.conf import settings
from django.core.files.base import File
from django.db import transaction

from approvals.models import ActionKind, ApprovalAttachment, ApprovalRequest
from approvals.services.trail import record
from approvals.services.votes import lock_request
from core import clock
from core.access import get_visible
from core.errors import Conflict, Forbidden
from core.files import checked_file
from core.models import User


def attachment_add(*, actor: User, request_id: int, name: str, file: File) -> ApprovalAttachment:
    """Keep a file with a request; the type is told by its name and must agree with its content.

    Raises Invalid ``file_type_not_allowed``, ``file_content_differs``, ``file_too_large``, ``file_empty``;
    Conflict ``attached_before`` for the same content; Forbidden for who takes no part in the request.
    """
    checked = checked_file(name, file, settings.APPROVAL_ATTACHMENT_MEGABYTES)
    with transaction.atomic():
        request = lock_request(actor=actor, request_id=request_id)
        _require_part(request, actor)
        if request.attachments.filter(sha256=checked.sha256, removed_at__isnull=True).exists():
            raise Conflict("attached_before", "A file with the same content is attached already.")
        attachment = ApprovalAttachment(
            request=request,
            name=checked.name,
            content_type=checked.content_type,
            size=checked.size,
            sha256=checked.sha256,
            uploaded_by=actor,
        )
        attachment.file.save(checked.stored_name, file, save=True)
        record(
            request,
            ActionKind.ATTACHED,
            actor=actor,
            details={"attachment_id": attachment.pk, "name": checked.name, "sha256": checked.sha256},
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


def _require_part(request: ApprovalRequest, actor: User) -> None:
    own = actor.pk in (request.requester_id, request.created_by_id)
    if not own and not request.tasks.filter(approver=actor).exists():
        raise Forbidden("takes_no_part", "Only the requester and the approvers attach files.")
