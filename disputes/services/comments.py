"""What is said about a dispute (DSP-05, DSP-08, DSP-18)."""

import re
import uuid
from collections.abc import Iterable

from django.db import transaction
from django.db.models.functions import Lower

from core.access import get_visible
from core.errors import Conflict, Forbidden
from core.models import User
from disputes.access import Place, speaks_as
from disputes.models import (
    BillingDispute,
    DisputeComment,
    DisputeStatus,
    EventKind,
    Speaker,
    Visibility,
)
from disputes.querysets import INTERNAL
from disputes.services.handling import dispute_resume
from disputes.services.log import event_record, lock_dispute
from disputes.services.rounds import clocks_refresh
from entities.access import holders_among
from entities.services.records import field_error

MENTION = re.compile(r"(?<![\w@.])@([\w.+-]+)")
LONGEST = 10_000


def comment_add(
    *, actor: User, dispute_id: int, body: str, visibility: str = Visibility.INTERNAL
) -> DisputeComment:
    """Write a comment: to the customer, or for staff only.

    A customer's comment is always to be seen by both, and ends the waiting for them at once (DSP-08). The first
    comment of staff to the customer stops the response clock, and acknowledges the dispute (DSP-05). ``@username``
    tells a colleague of an internal comment. Raises Invalid ``body_required``, ``body_too_long``; Conflict
    ``dispute_over`` for customers; Forbidden ``takes_no_part``, ``internal_is_for_staff``.
    """
    body = _checked(body)
    with transaction.atomic():
        dispute = lock_dispute(actor, dispute_id)
        speaker = speaks_as(actor, dispute)
        require_may_write(dispute, speaker, visibility)
        comment = DisputeComment.objects.create(
            dispute=dispute,
            thread_key=uuid.uuid4(),
            visibility=visibility,
            speaker=speaker,
            body=body,
            author=actor,
        )
        comment.mentions.set(_mentioned(comment, dispute))
        _record(dispute, comment, actor)
    return comment


def comment_edit(*, actor: User, comment_id: int, body: str) -> DisputeComment:
    """Write a further version of one's own comment; the earlier ones stay (DSP-18).

    Raises Forbidden ``not_the_author``; Conflict ``not_the_latest_version``; Invalid ``body_required``.
    """
    body = _checked(body)
    with transaction.atomic():
        seen = get_visible(DisputeComment.objects.all(), actor, comment_id, name="comment")
        dispute = lock_dispute(actor, seen.dispute_id)
        latest = DisputeComment.objects.filter(thread_key=seen.thread_key).order_by("-version")[0]
        if latest.author_id != actor.pk:
            raise Forbidden(
                "not_the_author", "Only who wrote a comment corrects it. Write a comment of your own."
            )
        if latest.pk != seen.pk:
            raise Conflict(
                "not_the_latest_version",
                "There is a newer version of this comment. Open it again, then repeat your change.",
                extra={"comment_id": latest.pk},
            )
        comment = DisputeComment.objects.create(
            dispute=dispute,
            thread_key=latest.thread_key,
            version=latest.version + 1,
            visibility=latest.visibility,
            speaker=latest.speaker,
            body=body,
            author=actor,
        )
        before = set(latest.mentions.values_list("pk", flat=True))
        mentioned = _mentioned(comment, dispute)
        comment.mentions.set(mentioned)
        event_record(
            dispute,
            EventKind.CHANGED,
            actor=actor,
            is_public=not comment.is_internal,
            comment_id=comment.pk,
            version=comment.version,
            mentioned=sorted({user.pk for user in mentioned} - before),
        )
    return comment


def _checked(body: str) -> str:
    body = body.strip()
    if not body:
        raise field_error("body", "body_required", "Write something.")
    if len(body) > LONGEST:
        raise field_error("body", "body_too_long", f"A comment has at most {LONGEST} characters.")
    return body


def require_may_write(dispute: BillingDispute, speaker: Speaker, visibility: str) -> None:
    """Refuse what is internal to customers, and anything of theirs once the dispute is over (DSP-18)."""
    if visibility not in Visibility.values:
        raise field_error("visibility", "invalid_choice", "Choose internal or customer.")
    if speaker == Speaker.STAFF:
        return
    if visibility == Visibility.INTERNAL:
        raise Forbidden(
            "internal_is_for_staff",
            f"Only staff of {dispute.issuer} writes internal comments. Write it with visibility “customer”.",
        )
    if dispute.status in (DisputeStatus.CLOSED, DisputeStatus.WITHDRAWN, DisputeStatus.MOOT):
        raise Conflict(
            "dispute_over",
            f"{dispute} is {dispute.get_status_display().lower()}. Reopen it, or open another one.",
            extra={"status": dispute.status},
        )


def _record(dispute: BillingDispute, comment: DisputeComment, actor: User) -> None:
    mentioned = sorted(comment.mentions.values_list("pk", flat=True))
    if comment.is_internal:
        event_record(
            dispute, EventKind.INTERNAL_NOTE, actor=actor, comment_id=comment.pk, mentioned=mentioned
        )
        return
    if comment.speaker == Speaker.CUSTOMER:
        event_record(dispute, EventKind.CUSTOMER_MESSAGE, actor=actor, is_public=True, comment_id=comment.pk)
        dispute_resume(dispute, actor=actor)
    else:
        if dispute.status == DisputeStatus.OPEN:
            dispute.acknowledge()
            dispute.save()
        event_record(
            dispute, EventKind.STAFF_MESSAGE, actor=actor, is_public=True, comment_id=comment.pk,
            mentioned=mentioned,
        )  # fmt: skip
    if dispute.is_open:
        clocks_refresh(dispute)


def _mentioned(comment: DisputeComment, dispute: BillingDispute) -> list[User]:
    """Colleagues named with @: of an internal comment only those who may read it, so that nothing internal leaves."""
    names = {name.rstrip(".").lower() for name in MENTION.findall(comment.body)}
    if not names:
        return []
    users = list(
        User.objects.annotate(lower=Lower("username")).filter(lower__in=names, is_active=True).order_by("pk")
    )
    readers = _staff_among(dispute, (user.pk for user in users))
    return [user for user in users if user.pk in readers]


def _staff_among(dispute: BillingDispute, ids: Iterable[int]) -> set[int]:
    return holders_among(ids, INTERNAL, Place(dispute.issuer.name, dispute.issuer_id, None))
