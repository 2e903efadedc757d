"""Links in mails by which one decides on a page (APR-25).

A link is for one person, task, action and content, works once and 72 hours at most. Looking at it never decides:
``link_open`` writes nothing, only ``link_use`` does, by way of the votes with all their tests. Only the token's
SHA-256 is stored.
"""

import datetime
import hashlib
import secrets
from dataclasses import dataclass

import structlog
from django.conf import settings
from django.contrib.auth import authenticate
from django.core.cache import cache
from django.db import transaction
from django.db.models import QuerySet
from redis import RedisError

from approvals.models import (
    ActionKind,
    ApprovalLink,
    ApprovalRequest,
    ApprovalTask,
    LinkAction,
    TaskStatus,
)
from approvals.models.trail import LONGEST_LINK
from approvals.services.votes import lock_request, request_approve, request_reject, require_open
from core import clock
from core.access import system_actor
from core.errors import BillingError, Conflict, Forbidden, NotFound, RateLimited
from core.history import Channel, acting
from core.models import User

log = structlog.get_logger(__name__)

TOKEN_BYTES = 32
WINDOW_SECONDS = 600


@dataclass(frozen=True, slots=True)
class OpenedLink:
    """What the confirmation page shows. ``step_up``: it needs the person's session, or their password again."""

    user: User
    request: ApprovalRequest
    task: ApprovalTask
    action: str
    step_up: bool
    comment_required: bool
    expires_at: datetime.datetime


def link_create(*, task: ApprovalTask, user: User, action: str) -> str:
    """Make a link for a mail and return its token, which is stored nowhere."""
    request = task.request
    now = clock.now()
    hours = datetime.timedelta(hours=settings.APPROVAL_LINK_HOURS)
    ends = now + min(hours, LONGEST_LINK)
    if request.expires_at is not None:
        ends = min(ends, request.expires_at)
    token = secrets.token_urlsafe(TOKEN_BYTES)
    ApprovalLink.objects.create(
        token_hash=_digest(token),
        task=task,
        user=user,
        action=action,
        content_hash=request.content_hash,
        created_at=now,
        expires_at=ends,
    )
    return token


def link_path(token: str) -> str:
    """The path of the link's confirmation page."""
    return f"/approvals/links/{token}/"


def link_open(*, token: str, caller: str = "", signed_in: User | None = None) -> OpenedLink:
    """What the confirmation page needs; changes nothing.

    ``caller`` is the address from which it is opened: whoever tries unknown tokens is slowed down. Raises NotFound
    ``link_unknown``, RateLimited ``too_many_links``; Forbidden ``link_of_another``, ``link_user_inactive``; Conflict
    ``link_used``, ``already_decided`` and what else ``require_open`` raises, ``content_changed``,
    ``link_task_closed``, ``link_expired``: each says what happened.
    """
    link = _find(token, caller)
    _require_usable(link, link.task.request)
    _require_same_person(link, signed_in)
    return _opened(link, link.task.request, signed_in)


def link_use(
    *,
    token: str,
    comment: str = "",
    caller: str = "",
    signed_in: User | None = None,
    password: str = "",
) -> ApprovalRequest:
    """Decide as the link says, in the name of its person; returns the request as it stands then.

    Above ``APPROVAL_LINK_STEP_UP_AMOUNT`` (in the group's currency) it takes the person's session or ``password``.
    Where the decision's effect is refused nothing of the vote stays and the link stays good; ``effect_error`` says why.

    Raises what ``link_open`` and the votes raise; Forbidden ``step_up_required``, ``wrong_password``; RateLimited
    ``too_many_passwords``; Invalid ``comment_required``.
    """
    found = _find(token, caller)
    _require_usable(found, found.task.request)
    _require_same_person(found, signed_in)
    if _needs_step_up(found.task.request, signed_in):
        _require_password(found, password)
    with transaction.atomic(), acting(user=found.user, channel=Channel.MAIL):
        request = lock_request(actor=system_actor(), request_id=found.task.request_id)
        link = _rows().select_for_update(of=("self",)).get(pk=found.pk)
        _require_usable(link, request)
        if _needs_step_up(request, signed_in) and not password:
            raise _step_up_required(link)
        vote = request_approve if link.action == LinkAction.APPROVE else request_reject
        decided: ApprovalRequest = vote(
            actor=link.user, request_id=request.pk, comment=comment, content_hash=link.content_hash
        )
        link.task.refresh_from_db()
        if link.task.status != TaskStatus.OPEN:
            link.used_at = clock.now()
            link.save(update_fields=["used_at"])
        return decided


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _rows() -> QuerySet[ApprovalLink]:
    return ApprovalLink.objects.select_related(
        "user",
        "task__step",
        "task__approver",
        "task__for_whom",
        "task__acted_by",
        "task__request__requester",
        "task__request__entity",
    )


def _find(token: str, caller: str) -> ApprovalLink:
    guesses = f"approval-link:guesses:{caller}"
    if _counted(guesses) >= settings.APPROVAL_LINK_GUESSES:
        raise RateLimited(
            "too_many_links",
            "Too many unknown links were tried from your address. Wait ten minutes, or sign in and decide there.",
            extra={"retry_after": WINDOW_SECONDS},
        )
    link: ApprovalLink | None = _rows().filter(token_hash=_digest(token)).first()
    if link is None:
        _count(guesses)
        raise NotFound(
            "link_unknown",
            "This link is not known. Perhaps the mail broke it: copy it whole, or sign in and decide there.",
        )
    return link


def _opened(link: ApprovalLink, request: ApprovalRequest, signed_in: User | None) -> OpenedLink:
    return OpenedLink(
        user=link.user,
        request=request,
        task=link.task,
        action=link.action,
        step_up=_needs_step_up(request, signed_in),
        comment_required=link.action == LinkAction.REJECT or link.task.step.comment_required,
        expires_at=link.expires_at,
    )


# --- What has happened since -----------------------------------------------------------------------------


def _require_usable(link: ApprovalLink, request: ApprovalRequest) -> None:
    if link.used_at is not None:
        done = "approved" if link.action == LinkAction.APPROVE else "rejected"
        raise Conflict(
            "link_used",
            f"{link.user.display_name} {done} it by this link on {link.used_at:%d %B %Y at %H:%M} UTC. The request is "
            f"{request.get_status_display().lower()}. A link works once.",
            extra={"status": request.status, "used_at": link.used_at.isoformat()},
        )
    if not link.user.is_active:
        raise Forbidden(
            "link_user_inactive", f"{link.user.display_name} no longer works here: somebody else is asked."
        )
    require_open(request)
    if link.content_hash != request.content_hash or link.task.step.round != request.round:
        raise _edited_since(link, request)
    if link.task.status != TaskStatus.OPEN:
        raise _task_closed(link.task)
    if link.expires_at <= clock.now():
        raise Conflict(
            "link_expired",
            f"This link was good until {link.expires_at:%d %B %Y at %H:%M} UTC. The request still waits for you: sign "
            "in and decide there.",
            extra={"expired_at": link.expires_at.isoformat()},
        )


def _edited_since(link: ApprovalLink, request: ApprovalRequest) -> BillingError:
    last = (
        request.actions.filter(
            created_at__gte=link.created_at,
            kind__in=[
                ActionKind.EDITED,
                ActionKind.ROUND_STARTED,
                ActionKind.RECALCULATED,
                ActionKind.SUBMITTED,
            ],
        )
        .select_related("actor")
        .order_by("-id")
        .first()
    )
    who = f" by {last.actor.display_name} on {last.created_at:%d %B %Y at %H:%M} UTC" if last else ""
    return Conflict(
        "content_changed",
        f"The request was changed{who}, after the mail was sent. Sign in and look at it again, then decide; if you are "
        "still asked, a new mail has been sent.",
        extra={"content_hash": request.content_hash, "round": request.round},
    )


def _task_closed(task: ApprovalTask) -> BillingError:
    if task.acted_by is not None and task.acted_at is not None:
        happened = (
            f"{task.get_status_display()} by {task.acted_by.display_name} on "
            f"{task.acted_at:%d %B %Y at %H:%M} UTC."
        )
    elif task.status == TaskStatus.PASSED_ON:
        happened = "It was passed on to somebody else."
    elif task.status == TaskStatus.WAITING:
        happened = "A vote before yours was taken back: you are asked again when it is your turn."
    else:
        happened = "Others have decided at this level."
    return Conflict(
        "link_task_closed",
        f"This no longer waits for you. {happened} The request itself is still being decided.",
        extra={"status": task.status},
    )


# --- Who is there ----------------------------------------------------------------------------------------


def _require_same_person(link: ApprovalLink, signed_in: User | None) -> None:
    if signed_in is not None and signed_in.pk != link.user_id:
        raise Forbidden(
            "link_of_another",
            f"This link is {link.user.display_name}'s, and you are signed in as {signed_in.display_name}. Nobody "
            "decides by another's link: sign out first, or ask them.",
        )


def _needs_step_up(request: ApprovalRequest, signed_in: User | None) -> bool:
    return signed_in is None and request.base_amount > settings.APPROVAL_LINK_STEP_UP_AMOUNT


def _step_up_required(link: ApprovalLink) -> Forbidden:
    return Forbidden(
        "step_up_required",
        f"For an amount like this the link is not enough: sign in as {link.user.display_name}, or give your password.",
    )


def _require_password(link: ApprovalLink, password: str) -> None:
    if not password:
        raise _step_up_required(link)
    # Counted before it is checked, so that guesses made at once are all counted.
    tried = _count(f"approval-link:passwords:{link.pk}")
    if tried is None or tried > settings.APPROVAL_LINK_PASSWORDS:
        raise RateLimited(
            "too_many_passwords",
            "No more passwords are taken here for ten minutes. Sign in and decide there.",
            extra={"retry_after": WINDOW_SECONDS},
        )
    known = authenticate(username=link.user.username, password=password)
    if known is None or known.pk != link.user_id:
        raise Forbidden("wrong_password", "That is not the password. Capitals matter.")


# --- Counting guesses ------------------------------------------------------------------------------------


def _window(key: str) -> str:
    return f"{key}:{int(clock.now().timestamp()) // WINDOW_SECONDS}"


def _counted(key: str) -> int:
    """How often it was counted in this window; 0 where the counter is away: tokens are too long to be guessed."""
    try:
        return int(cache.get(_window(key)) or 0)
    except RedisError as error:
        log.warning("approval_link_not_counted", error=type(error).__name__)
        return 0


def _count(key: str) -> int | None:
    """Count it and return the number; None where the counter is away."""
    name = _window(key)
    try:
        cache.add(name, 0, WINDOW_SECONDS)
        return int(cache.incr(name))
    except (RedisError, ValueError) as error:
        # ValueError: the window has just ended.
        log.warning("approval_link_not_counted", error=type(error).__name__)
        return None
