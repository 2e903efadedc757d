"""Files on a dispute: of known types and sizes, outside the web root, for those who may see them (DSP-18)."""

from django.conf import settings
from django.core.files.base import File
from django.db import transaction

from core import clock
from core.access import get_visible
from core.errors import Conflict, Forbidden
from core.files import checked_file
from core.history import record_as
from core.models import User
from disputes.access import speaks_as
from disputes.models import (
    BillingDispute,
    DisputeAttachment,
    DisputeComment,
    EventKind,
    Speaker,
    Visibility,
)
from disputes.services.comments import require_may_write
from disputes.services.handling import dispute_resume
from disputes.services.log import event_record, lock_dispute
from disputes.services.rounds import clocks_refresh
from entities.services.records import field_error


def attachment_add(
    *,
    actor: User,
    dispute_id: int,
    name: str,
    file: File,
    visibility: str,
    comment_id: int | None = None,
) -> DisputeAttachment:
    """Keep a file with a dispute, for both sides or for staff only, perhaps as part of one's own comment.

    What a customer sends is always for both, and ends the waiting for them at once, as words do (DSP-08). Raises
    Invalid ``file_type_not_allowed``, ``file_content_differs``, ``file_too_large``, ``file_empty``,
    ``invalid_choice``, ``does_not_exist`` (comment), ``comment_visibility_differs``; Conflict ``attached_before`` for
    the same content, ``dispute_over``; Forbidden ``takes_no_part``, ``internal_is_for_staff``, ``not_the_author``.
    """
    checked = checked_file(name, file, settings.DISPUTE_ATTACHMENT_MEGABYTES)
    with transaction.atomic(), record_as(actor):
        dispute = lock_dispute(actor, dispute_id)
        speaker = speaks_as(actor, dispute)
        require_may_write(dispute, speaker, visibility)
        comment = _own_comment(dispute, actor, comment_id, visibility)
        same = DisputeAttachment.objects.attached().filter(dispute=dispute, visibility=visibility)
        if same.filter(sha256=checked.sha256).exists():
            raise Conflict("attached_before", "A file with the same content is attached already.")
        attachment = DisputeAttachment(
            dispute=dispute, comment=comment, visibility=visibility, name=checked.name,
            content_type=checked.content_type, size=checked.size, sha256=checked.sha256, uploaded_by=actor,
        )  # fmt: skip
        attachment.file.save(checked.stored_name, file, save=True)
        _record(attachment, EventKind.ATTACHED, actor)
        if speaker == Speaker.CUSTOMER:
            dispute_resume(dispute, actor=actor)
        if dispute.is_open:
            clocks_refresh(dispute)
    return attachment


def attachment_remove(*, actor: User, attachment_id: int, reason: str = "") -> DisputeAttachment:
    """Take a file off while the dispute is open; its row stays, and the log keeps its name and fingerprint.

    Only who attached it. Raises NotFound; Forbidden ``not_the_uploader``; Conflict ``attachment_kept``.
    """
    with transaction.atomic(), record_as(actor, reason):
        seen = get_visible(DisputeAttachment.objects.attached(), actor, attachment_id, name="file")
        dispute = lock_dispute(actor, seen.dispute_id)
        attachment = dispute.attachments.get(pk=seen.pk)
        if attachment.uploaded_by_id != actor.pk:
            raise Forbidden("not_the_uploader", "Only who attached a file can take it off.")
        if attachment.removed_at is not None or not dispute.is_open:
            raise Conflict(
                "attachment_kept",
                f"{dispute} is {dispute.get_status_display().lower()}: its files stay with it.",
                extra={"status": dispute.status},
            )
        attachment.removed_at, attachment.removed_by = clock.now(), actor
        attachment.save(update_fields=["removed_at", "removed_by"])
        _record(attachment, EventKind.DETACHED, actor, note=reason)
    return attachment


def _own_comment(
    dispute: BillingDispute, actor: User, comment_id: int | None, visibility: str
) -> DisputeComment | None:
    """The comment that the file is part of: one's own, with the same readers."""
    if comment_id is None:
        return None
    comments = DisputeComment.objects.visible_to(actor).filter(dispute=dispute)
    comment: DisputeComment | None = comments.filter(pk=comment_id).first()
    if comment is None:
        raise field_error(
            "comment_id", "does_not_exist", f"{dispute} has no comment {comment_id} that you see."
        )
    if comment.author_id != actor.pk:
        raise Forbidden("not_the_author", "A file is attached to a comment by who wrote it.")
    if comment.visibility != visibility:
        raise field_error(
            "visibility",
            "comment_visibility_differs",
            f"That comment is {Visibility(comment.visibility).label.lower()}: so is what is attached to it.",
        )
    return comment


def _record(attachment: DisputeAttachment, kind: EventKind, actor: User, note: str = "") -> None:
    event_record(
        attachment.dispute,
        kind,
        actor=actor,
        is_public=attachment.visibility == Visibility.CUSTOMER,
        note=note,
        attachment_id=attachment.pk,
        name=attachment.name,
        sha256=attachment.sha256,
    )
