"""Who is told of what happens to a request: consumers of the outbox (APR-06, APR-09, APR-19, APR-21).

One notification per person and event. Who is not asked yet hears nothing: only an opened task tells its approver, and
those who stand in for them. The mails are designed in ``approvals.mails``.
"""

from collections.abc import Iterable
from typing import Any

from approvals.models import (
    ActionKind,
    ApprovalNews,
    ApprovalRequest,
    ApprovalStep,
    ApprovalTask,
    Delegation,
    MailDelivery,
    RequestStatus,
    TaskOrigin,
    TaskStatus,
)
from approvals.registry import type_label
from approvals.selectors.facts import in_whose_place, moment_in_words
from approvals.services.digests import mail_preference_of
from approvals.services.people import excluded_people
from approvals.services.reviews import who_can_review
from approvals.services.rounds import who_can_unblock
from approvals.services.votes import delegation_covers
from core import clock
from core.models import OutboxEvent, User
from core.money import format_money
from core.notifications import notify

TASK_OPENED = "approval.task_opened"
REMINDER = "approval.reminder"
ESCALATED = "approval.escalated"
DECIDED = "approval.decided"
COMMENTED = "approval.commented"
BLOCKED = "approval.blocked"
REVIEW = "approval.review_overdue"
DELEGATED = "approval.delegated"
# These tell of a task that waits; they are not sent once it does not.
ABOUT_TASKS = (TASK_OPENED, REMINDER)


# --- Asked and reminded ----------------------------------------------------------------------------------


def tell_of_task(event: OutboxEvent) -> None:
    """Consumer of "approval.task_opened": the approver and who stands in for them."""
    task = _open_task(event)
    if task is None:
        return
    request = task.request
    for person in _asked_by(task):
        _tell(
            person,
            TASK_OPENED,
            f"Please decide: {request.title} ({request.reference_number})",
            f"{request.requester.display_name} asks for {_amount(request)}.{in_whose_place(task, person)}",
            request=request,
            task=task,
        )


def tell_of_reminder(event: OutboxEvent) -> None:
    """Consumer of "approval.reminded"; who has muted reminders gets none."""
    task = _open_task(event)
    if task is None:
        return
    request = task.request
    for person in _asked_by(task):
        if mail_preference_of(person).mute_reminders:
            continue
        since = moment_in_words(task.opened_at or clock.now(), person)
        _tell(
            person,
            REMINDER,
            f"Still waiting for you: {request.title} ({request.reference_number})",
            f"{request.requester.display_name} has been waiting since {since} for your decision on "
            f"{_amount(request)}.",
            request=request,
            task=task,
        )


def _open_task(event: OutboxEvent) -> ApprovalTask | None:
    """The event's task, if it still waits when the event is delivered."""
    return (
        ApprovalTask.objects.open()
        .filter(pk=event.payload["task_id"], status=TaskStatus.OPEN)
        .select_related(
            "step",
            "approver",
            "for_whom",
            "request__requester",
            "request__created_by",
            "request__entity",
            "request__department",
        )
        .first()
    )


def _asked_by(task: ApprovalTask) -> list[User]:
    """The approver, and their delegates who are not asked themselves (APR-18)."""
    request = task.request
    people = [task.approver]
    if task.origin != TaskOrigin.DELEGATED:
        barred = excluded_people(request) | set(
            request.tasks.filter(status=TaskStatus.OPEN).values_list("approver_id", flat=True)
        )
        delegations = (
            Delegation.objects.in_force()
            .filter(delegator_id=task.approver_id)
            .reaching(request_type=request.request_type, department_id=request.department_id)
            .select_related("delegate")
        )
        people += [
            row.delegate
            for row in delegations
            if row.delegate_id not in barred and delegation_covers(row, request)
        ]
    return _once(people)


# --- Escalated -------------------------------------------------------------------------------------------


def tell_of_escalation(event: OutboxEvent) -> None:
    """Consumer of "approval.escalated": those who had not decided, and the requester.

    Whom it was escalated to hear it by their own task. Where nobody is left, those who can reassign it are told.
    """
    facts = event.payload
    request = _request(facts)
    if request is None:
        return
    step = ApprovalStep.objects.get(pk=facts["step_id"])
    if not facts["to"]:
        title = f"Nobody decides: {request.title} ({request.reference_number})"
        text = (
            f"“{step.name}” has not been decided, and nobody is left to escalate to. Reassign it to somebody, or work "
            "the approvers out anew."
        )
        for person in _once(who_can_unblock(request)):
            _tell(person, ESCALATED, title, text, request=request)
        return
    names = _names(facts["to"])
    title = f"Escalated: {request.title} ({request.reference_number})"
    comment = _quoted(facts["comment"])
    instead = facts["mode"] == "replace"
    approvers = User.objects.filter(pk__in=facts["from"], is_active=True).exclude(pk=facts["actor_id"])
    told = _once(approvers)
    for person in told:
        text = (
            f"It was not decided in time at “{step.name}”: {names} is asked instead of you."
            if instead
            else f"It was not decided in time at “{step.name}”: {names} is asked too. You can still decide."
        )
        _tell(person, ESCALATED, title, text + comment, request=request)
    requester = request.requester
    if requester.pk != facts["actor_id"] and requester not in told:
        text = f"Your request was not decided in time at “{step.name}”: {names} is asked now."
        _tell(requester, ESCALATED, title, text + comment, request=request)


# --- Decided, commented, blocked -------------------------------------------------------------------------

_ENDINGS = {
    RequestStatus.APPROVED: ("Approved", "was approved"),
    RequestStatus.REJECTED: ("Rejected", "was rejected"),
    RequestStatus.CHANGES_REQUESTED: (
        "Changes wanted",
        "was sent back to you: change it, and submit it again",
    ),
    RequestStatus.WITHDRAWN: ("Withdrawn", "was withdrawn"),
    RequestStatus.EXPIRED: ("Expired", "was not decided in time. Submit it anew if you still need it"),
}
_DECIDING = {
    RequestStatus.APPROVED: (
        ActionKind.APPROVED,
        ActionKind.AUTO_APPROVED,
        ActionKind.EMERGENCY_APPROVED,
    ),
    RequestStatus.REJECTED: (ActionKind.REJECTED,),
    RequestStatus.CHANGES_REQUESTED: (ActionKind.CHANGES_REQUESTED,),
    RequestStatus.WITHDRAWN: (ActionKind.WITHDRAWN,),
    RequestStatus.EXPIRED: (ActionKind.EXPIRED,),
}


def tell_of_decision(event: OutboxEvent) -> None:
    """Consumer of "approval.decided": the requester, with the comment; not of what they did themselves."""
    request = _request(event.payload)
    status = RequestStatus(event.payload["status"])
    if request is None or status not in _ENDINGS:
        return
    last = (
        request.actions.filter(kind__in=_DECIDING[status])
        .filter(created_at__lte=event.created_at)
        .select_related("actor")
        .order_by("-id")
        .first()
    )
    requester = request.requester
    if last is not None and last.actor_id == requester.pk:
        return
    word, sentence = _ENDINGS[status]
    by = f" by {last.actor.display_name}" if last is not None and not last.actor.is_system else ""
    text = f"“{request.title}”, {type_label(request.request_type).lower()} of {_amount(request)}, {sentence}"
    text = text.replace(" was approved", f" was approved{by}").replace(" was rejected", f" was rejected{by}")
    comment = event.payload.get("comment") or (last.comment if last is not None else "")
    _tell(
        requester,
        DECIDED,
        f"{word}: {request.title} ({request.reference_number})",
        f"{text}." + _quoted(comment),
        request=request,
    )


def tell_of_comment(event: OutboxEvent) -> None:
    """Consumer of "approval.commented": everyone who takes part, but not who said it."""
    request = _request(event.payload)
    if request is None:
        return
    said = (
        request.actions.filter(
            kind=ActionKind.COMMENTED,
            actor_id=event.payload["actor_id"],
            created_at__lte=event.created_at,
        )
        .select_related("actor")
        .order_by("-id")
        .first()
    )
    if said is None:
        return
    for person in _once(_taking_part(request)):
        if person.pk != said.actor_id:
            _tell(
                person,
                COMMENTED,
                f"{said.actor.display_name} on {request.title} ({request.reference_number})",
                _quoted(said.comment).strip(),
                request=request,
            )


def _taking_part(request: ApprovalRequest) -> list[User]:
    """Requester, those who are asked now, and everyone who has done something on it."""
    asked = request.tasks.filter(status=TaskStatus.OPEN).values("approver_id")
    acted = request.actions.values("actor_id")
    people = User.objects.filter(is_system=False, is_service_account=False)
    return [
        request.requester,
        *people.filter(pk__in=asked).order_by("pk"),
        *people.filter(pk__in=acted).order_by("pk"),
    ]


def tell_of_block(event: OutboxEvent) -> None:
    """Consumer of "approval.blocked": those who can unblock it (APR-03, APR-14)."""
    request = _request(event.payload)
    if request is None or request.status != RequestStatus.BLOCKED:
        return
    people = User.objects.filter(pk__in=event.payload["user_ids"], is_active=True).order_by("pk")
    for person in people:
        _tell(
            person,
            BLOCKED,
            f"Blocked: {request.title} ({request.reference_number})",
            f"{request.blocked_reason} Add what is missing, then work the approvers out anew; nothing is approved by "
            "itself.",
            request=request,
        )


def tell_of_review(event: OutboxEvent) -> None:
    """Consumer of "approval.review_overdue": those who may review the emergency (APR-26)."""
    request = _request(event.payload)
    if request is None or request.emergency_reviewed_by_id is not None:
        return
    approved = request.actions.filter(kind=ActionKind.EMERGENCY_APPROVED).select_related("actor").latest("id")
    for person in _once(who_can_review(request)):
        since = moment_in_words(request.emergency_review_due or clock.now(), person)
        _tell(
            person,
            REVIEW,
            f"Not reviewed yet: {request.title} ({request.reference_number})",
            f"{approved.actor.display_name} approved {_amount(request)} in an emergency: “{approved.comment}” A second "
            f"person was to review it by {since}. Look at it, and confirm that it was an emergency.",
            request=request,
        )


def tell_of_delegation(event: OutboxEvent) -> None:
    """Consumer of "approval.delegated": who is to stand in, from when to when; they agree by doing nothing."""
    delegation = (
        Delegation.objects.filter(pk=event.payload["delegation_id"])
        .select_related("delegator", "delegate")
        .first()
    )
    if delegation is None or not delegation.delegate.is_active:
        return
    who, you = delegation.delegator, delegation.delegate
    notify(
        user=you,
        kind=DELEGATED,
        title=f"You stand in for {who.display_name}",
        body=(
            f"From {moment_in_words(delegation.valid_from, you)} to {moment_in_words(delegation.valid_to, you)} what "
            f"waits for {who.display_name} waits for you too. Reason: {delegation.reason}"
        ),
        url="/approvals/",
    )


# --- Telling ---------------------------------------------------------------------------------------------


def _tell(
    person: User,
    kind: str,
    title: str,
    text: str,
    *,
    request: ApprovalRequest,
    task: ApprovalTask | None = None,
) -> None:
    daily = mail_preference_of(person).delivery == MailDelivery.DIGEST
    notification = notify(
        user=person,
        kind=kind,
        title=title,
        body=text,
        url=f"/approvals/requests/{request.pk}/",
        email=not daily,
    )
    # What waits stands in the digest by itself, as it is when the digest is sent.
    ApprovalNews.objects.create(
        notification=notification, request=request, task=task, for_digest=daily and task is None
    )


def _amount(request: ApprovalRequest) -> str:
    return format_money(request.amount, request.currency)


def _request(payload: dict[str, Any]) -> ApprovalRequest | None:
    return (
        ApprovalRequest.objects.select_related("requester", "created_by", "entity", "department")
        .filter(pk=payload["request_id"])
        .first()
    )


def _once(people: Iterable[User]) -> list[User]:
    """Each active person once."""
    return list({person.pk: person for person in people if person.is_active}.values())


def _names(user_ids: Iterable[int]) -> str:
    names = [user.display_name for user in User.objects.filter(pk__in=list(user_ids)).order_by("pk")]
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else "".join(names)


def _quoted(comment: str) -> str:
    return f"\n\n“{comment.strip()}”" if comment.strip() else ""
