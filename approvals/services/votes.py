"""Deciding: approve, reject, ask for changes, pass on (APR-06 to APR-10, APR-13, APR-18, APR-22, APR-23)."""

from collections.abc import Iterable

from django.db import transaction

from approvals.models import (
    ActionKind,
    ApprovalRequest,
    ApprovalStep,
    ApprovalTask,
    Delegation,
    RequestStatus,
    StepStatus,
    TaskOrigin,
    TaskStatus,
)
from approvals.registry import type_with_extensions
from approvals.services import fast_votes, outcome, rounds
from approvals.services.people import able, entitled_tasks, excluded_people, may_stand_in
from approvals.services.trail import record
from core import clock
from core.access import get_visible
from core.errors import BillingError, Conflict, FieldProblem, Forbidden, Invalid
from core.exchange import convert, rate_for
from core.models import User
from entities.services.records import field_error


def lock_request(*, actor: User, request_id: int) -> ApprovalRequest:
    """Find the request among those the actor sees and lock it, the subject's rows of an upper app before it."""
    seen: ApprovalRequest = get_visible(
        ApprovalRequest.objects.all(), actor, request_id, name="approval request"
    )
    for part in type_with_extensions(seen.request_type):
        part.lock(seen)
    return (
        ApprovalRequest.objects.select_for_update(of=("self",))
        .select_related("entity", "department", "budget", "requester")
        .get(pk=seen.pk)
    )


def request_approve(
    *, actor: User, request_id: int, comment: str = "", content_hash: str | None = None
) -> ApprovalRequest:
    """Vote for it; the last vote needed approves it and books its effect in the same transaction (APR-23).

    Where the effect is refused nothing of the vote stays: the request is pending as before and its
    ``effect_error`` says why. ``content_hash`` is the fingerprint that the approver saw.

    Raises Invalid ``comment_required`` where the level wants one; Conflict ``already_decided``, ``request_blocked``,
    ``request_expired``, ``content_changed``, ``already_voted``; Forbidden ``separation_of_duties``,
    ``not_an_approver``, ``not_your_turn``.
    """
    quick = fast_votes.approve(actor=actor, request_id=request_id, comment=comment, content_hash=content_hash)
    if quick is not None:
        return quick.request
    with transaction.atomic():
        request = lock_request(actor=actor, request_id=request_id)
        tasks = _tasks_to_act_on(request, actor, content_hash)
        wanting = next((task.step.name for task in tasks if task.step.comment_required), "")
        if wanting:
            _require_comment(comment, f"“{wanting}” wants a comment: say why you approve it.")
        try:
            with transaction.atomic():
                return _approve(request, tasks, actor, comment)
        except BillingError as error:
            request = lock_request(actor=actor, request_id=request_id)
            outcome.note_failed_effect(request, error, actor=actor)
            return request


def _approve(
    request: ApprovalRequest, tasks: Iterable[ApprovalTask], actor: User, comment: str
) -> ApprovalRequest:
    if request.effect_error:
        request.effect_error = ""
        request.save()
    for task in tasks:
        _vote(request, task, TaskStatus.APPROVED, actor, comment)
        if rounds.count(task.step) == StepStatus.PASSED:
            rounds.close_step(task.step, StepStatus.PASSED)
    if request.status == RequestStatus.PENDING and rounds.open_next(request):
        outcome.finish_approved(request, actor=actor)
    return request


def request_reject(
    *, actor: User, request_id: int, comment: str, content_hash: str | None = None
) -> ApprovalRequest:
    """Vote against it; with veto, or when the level cannot reach its number any more, that ends it (APR-08, APR-09).

    Raises Invalid ``comment_required`` and what ``request_approve`` raises.
    """
    _require_comment(comment, "Say why you reject it: the requester reads it.")
    with transaction.atomic():
        request = lock_request(actor=actor, request_id=request_id)
        tasks = _tasks_to_act_on(request, actor, content_hash)
        failed = False
        for task in tasks:
            _vote(request, task, TaskStatus.REJECTED, actor, comment)
            if rounds.count(task.step) == StepStatus.FAILED:
                rounds.close_step(task.step, StepStatus.FAILED)
                failed = True
        if failed:
            outcome.close(request, RequestStatus.REJECTED, actor=actor, comment=comment)
        return request


def _vote(
    request: ApprovalRequest, task: ApprovalTask, status: TaskStatus, actor: User, comment: str
) -> None:
    task.status, task.acted_by, task.acted_at, task.remind_at = status, actor, clock.now(), None
    task.save()
    record(
        request,
        ActionKind.APPROVED if status == TaskStatus.APPROVED else ActionKind.REJECTED,
        actor=actor,
        step=task.step,
        on_behalf_of_id=in_place_of(task, actor),
        comment=comment,
    )


def in_place_of(task: ApprovalTask, actor: User) -> int | None:
    """Whom the voter stands for: the approver they act for, or who passed the task on ("B for A", APR-18)."""
    if task.approver_id != actor.pk:
        return task.approver_id
    return task.for_whom_id if task.origin == TaskOrigin.DELEGATED else None


def request_send_back(
    *, actor: User, request_id: int, comment: str, content_hash: str | None = None
) -> ApprovalRequest:
    """Ask the requester for changes: the request can be edited again and keeps its money (APR-10)."""
    _require_comment(comment, "Say what is to be changed: the requester reads it.")
    with transaction.atomic():
        request = lock_request(actor=actor, request_id=request_id)
        task = _tasks_to_act_on(request, actor, content_hash)[0]
        task.status, task.acted_by, task.acted_at = TaskStatus.RETURNED, actor, clock.now()
        task.remind_at = None
        task.save()
        rounds.cancel_round(request)
        request.send_back()
        request.effect_error = ""
        request.save()
        record(
            request,
            ActionKind.CHANGES_REQUESTED,
            actor=actor,
            step=task.step,
            on_behalf_of_id=in_place_of(task, actor),
            comment=comment,
        )
        outcome.tell(request, comment)
        return request


def task_pass_on(*, actor: User, request_id: int, to_user: User, comment: str = "") -> ApprovalRequest:
    """Have somebody decide in one's place on this request; recorded as "B for A" (APR-18).

    Raises Invalid ``delegate_to_self``, ``delegate_may_not_decide``; Conflict ``redelegation``,
    ``already_asked``.
    """
    with transaction.atomic():
        request = lock_request(actor=actor, request_id=request_id)
        for task in _tasks_to_act_on(request, actor, None):
            _pass_on(request, task, actor, to_user, comment)
        return request


def _pass_on(request: ApprovalRequest, task: ApprovalTask, actor: User, to_user: User, comment: str) -> None:
    if task.origin == TaskOrigin.DELEGATED or task.approver_id != actor.pk:
        raise Conflict(
            "redelegation",
            "This was passed on to you: it cannot be passed on again. Decide it, or leave it to who asked you.",
        )
    if to_user.pk == actor.pk:
        raise field_error("delegate_to_id", "delegate_to_self", "Name somebody else than yourself.")
    if to_user.pk in excluded_people(request) or not may_stand_in(to_user):
        raise field_error(
            "delegate_to_id",
            "delegate_may_not_decide",
            f"{to_user.display_name} asked for it, would be paid by it, or may not decide on requests. "
            "Name somebody else.",
        )
    if task.step.tasks.filter(approver=to_user).exists():
        raise Conflict(
            "already_asked", f"{to_user.display_name} is asked at this level already. Name somebody else."
        )
    task.status, task.remind_at = TaskStatus.PASSED_ON, None
    task.save()
    given = ApprovalTask.objects.create(
        step=task.step,
        request=request,
        approver=to_user,
        origin=TaskOrigin.DELEGATED,
        for_whom=actor,
        needs_right_there=task.needs_right_there,
    )
    record(
        request,
        ActionKind.DELEGATED,
        actor=actor,
        step=task.step,
        comment=comment,
        details={"from": actor.pk, "to": to_user.pk},
    )
    rounds.open_task(request, task.step, given)


# --- Whose turn it is ------------------------------------------------------------------------------------


def _tasks_to_act_on(request: ApprovalRequest, actor: User, content_hash: str | None) -> list[ApprovalTask]:
    """The open tasks that the actor decides: their own, else one per level of whom they stand for.

    Tested when acting, on the server, for delegates and administrators too (APR-13, APR-22).
    """
    require_open(request)
    if content_hash is not None and content_hash != request.content_hash:
        raise Conflict(
            "content_changed",
            "The request was changed since you opened it. Look at it again, then decide.",
            extra={"content_hash": request.content_hash, "round": request.round},
        )
    if actor.pk in excluded_people(request):
        raise Forbidden(
            "separation_of_duties",
            "Nobody decides on a request that they asked for, entered, changed or would be paid by. "
            "Ask one of the other approvers.",
        )
    own = list(
        request.tasks.filter(approver=actor, status=TaskStatus.OPEN, step__round=request.round)
        .select_related("step")
        .order_by("step__order")
    )
    entitled = entitled_tasks(own, request)
    usable = [task for task in own if task.pk in entitled]
    if usable:
        return _not_voted_on(usable, actor)
    if own:
        raise Forbidden(
            "role_lost",
            "You may no longer decide on requests there; somebody else will be asked. "
            "Ask an administrator if that is a mistake.",
        )
    delegated = _delegated_tasks(request, actor)
    if delegated:
        return delegated
    raise _not_asked(request, actor)


def _delegated_tasks(request: ApprovalRequest, actor: User) -> list[ApprovalTask]:
    """One open task per level, of somebody who has delegated to the actor and may still decide (APR-18)."""
    open_tasks = list(
        request.tasks.filter(status=TaskStatus.OPEN, step__round=request.round)
        .exclude(origin=TaskOrigin.DELEGATED)
        .select_related("step")
        .order_by("step__order", "id")
    )
    delegations = (
        Delegation.objects.in_force()
        .filter(delegate=actor, delegator_id__in=[task.approver_id for task in open_tasks])
        .reaching(request_type=request.request_type, department_id=request.department_id)
    )
    reaching = {row.delegator_id for row in delegations if delegation_covers(row, request)}
    stood_for = [task for task in open_tasks if task.approver_id in reaching] if able([actor.pk]) else []
    entitled = entitled_tasks(stood_for, request)
    by_step: dict[int, ApprovalTask] = {}
    for task in stood_for:
        if task.pk in entitled:
            by_step.setdefault(task.step_id, task)
    return _not_voted_on(list(by_step.values()), actor) if by_step else []


def _not_voted_on(tasks: list[ApprovalTask], actor: User) -> list[ApprovalTask]:
    """One person, one vote per level: also who holds a task and stands for somebody else there (APR-07)."""
    voted = set(
        ApprovalTask.objects.filter(
            step__in=[task.step_id for task in tasks],
            acted_by=actor,
            status__in=[TaskStatus.APPROVED, TaskStatus.REJECTED],
        ).values_list("step_id", flat=True)
    )
    left = [task for task in tasks if task.step_id not in voted]
    if not left:
        raise _voted_before(tasks[0].step)
    return left


def delegation_covers(delegation: Delegation, request: ApprovalRequest) -> bool:
    """Whether the request is within the delegation's amount, at the rate of the day."""
    if delegation.max_amount is None:
        return True
    today = clock.today(request.entity.time_zone)
    rate = rate_for(request.base_currency, delegation.currency, today)
    return convert(request.base_amount, rate) <= delegation.max_amount


def require_open(request: ApprovalRequest) -> None:
    """Raise Conflict ``request_blocked``, ``already_decided`` or ``request_expired`` unless it is being decided."""
    if request.status == RequestStatus.BLOCKED:
        raise Conflict("request_blocked", request.blocked_reason, extra={"status": request.status})
    if request.status != RequestStatus.PENDING:
        raise already_decided(request)
    require_in_time(request)


def require_in_time(request: ApprovalRequest) -> None:
    """Raise Conflict ``request_expired`` once its time is over, also before the job has ended it (APR-20)."""
    if request.is_open and request.expires_at is not None and request.expires_at <= clock.now():
        raise Conflict(
            "request_expired",
            f"Its time to be decided ended on {request.expires_at:%d %B %Y at %H:%M} UTC. "
            "The requester can submit it anew.",
            extra={"status": RequestStatus.EXPIRED, "expires_at": request.expires_at.isoformat()},
        )


def already_decided(request: ApprovalRequest) -> Conflict:
    """Who decided what and when, for the one who comes late (APR-22)."""
    last = (
        request.actions.filter(
            kind__in=[
                ActionKind.APPROVED,
                ActionKind.REJECTED,
                ActionKind.CHANGES_REQUESTED,
                ActionKind.WITHDRAWN,
                ActionKind.EXPIRED,
                ActionKind.AUTO_APPROVED,
                ActionKind.EMERGENCY_APPROVED,
            ]
        )
        .select_related("actor")
        .order_by("-id")
        .first()
    )
    state = request.get_status_display().lower()
    if last is None:
        return Conflict(
            "not_submitted",
            f"The request is {state}: nothing is to be decided.",
            extra={"status": request.status},
        )
    return Conflict(
        "already_decided",
        f"The request is {state}: {last.get_kind_display().lower()} by {last.actor.display_name} on "
        f"{last.created_at:%d %B %Y at %H:%M} UTC. Nothing is left to decide.",
        extra={
            "status": request.status,
            "decided_by": last.actor.display_name,
            "decided_at": last.created_at.isoformat(),
        },
    )


def _voted_before(step: ApprovalStep) -> Conflict:
    return Conflict(
        "already_voted",
        f"You have voted at “{step.name}” already: one person has one vote per level. The others are still asked.",
    )


def _not_asked(request: ApprovalRequest, actor: User) -> BillingError:
    """Why the actor cannot decide now: voted before, later in line, or not asked at all (APR-06, APR-07)."""
    tasks = list(request.tasks.filter(approver=actor, step__round=request.round).select_related("step"))
    voted = request.tasks.filter(
        acted_by=actor,
        step__round=request.round,
        status__in=[TaskStatus.APPROVED, TaskStatus.REJECTED],
    ).select_related("step")
    earlier = voted.order_by("-step__order").first()
    waiting = next((task for task in tasks if task.status == TaskStatus.WAITING), None)
    if earlier is not None and (waiting is None or earlier.step.status == StepStatus.OPEN):
        return _voted_before(earlier.step)
    if waiting is not None:
        return Forbidden(
            "not_your_turn",
            f"You are asked at “{waiting.step.name}”, which opens when the levels before it have passed.",
        )
    names = [
        task.approver.display_name
        for task in request.tasks.filter(status=TaskStatus.OPEN).select_related("approver")[:5]
    ]
    return Forbidden(
        "not_an_approver",
        "You are not asked about this request." + (f" Waiting for: {', '.join(names)}." if names else ""),
        extra={"waiting_for": names},
    )


def _require_comment(comment: str, sentence: str) -> None:
    if not comment.strip():
        raise Invalid(
            "comment_required", sentence, errors=[FieldProblem("/comment", "comment_required", sentence)]
        )
