"""What happens when nobody answers: reminders and escalations, by timer and by hand (APR-19).

Timers look at the present moment only, so a long outage makes neither a burst of reminders nor a chain of hops: one
reminder, and one hop whose people get their full time from when they are asked.
"""

from collections.abc import Sequence

from django.db import transaction

from approvals.models import (
    ActionKind,
    ApprovalRequest,
    ApprovalStep,
    ApprovalTask,
    EscalationMode,
    EscalationTarget,
    RequestStatus,
    StepStatus,
    TaskOrigin,
    TaskStatus,
)
from approvals.services.people import able, eligible, excluded_people, managers_above
from approvals.services.rounds import open_task
from approvals.services.timers import due_after
from approvals.services.trail import record
from approvals.services.votes import lock_request, require_open
from core import clock
from core.access import has, system_actor
from core.errors import Conflict, Forbidden
from core.models import User
from core.outbox import publish
from entities.access import holders_of_role

# --- Reminders -------------------------------------------------------------------------------------------


def task_remind(*, task_id: int) -> bool:
    """Remind whom a task waits for, if it is time; False where it is decided, or somebody else has just done so.

    The next reminder keeps to the hours of the first; after an outage it counts from now.
    """
    with transaction.atomic():
        system = system_actor()
        request = lock_request(actor=system, request_id=_request_of_task(task_id))
        task = ApprovalTask.objects.select_related("step", "approver").get(pk=task_id)
        now = clock.now()
        if not _runs(request) or task.status != TaskStatus.OPEN:
            return False
        if task.remind_at is None or task.remind_at > now:
            return False
        step = task.step
        following = due_after(task.remind_at, step.reminder_hours, step.timer_basis, task.approver)
        if following is not None and following <= now:
            following = due_after(now, step.reminder_hours, step.timer_basis, task.approver)
        task.remind_at = following
        task.reminders_sent += 1
        task.save(update_fields=["remind_at", "reminders_sent"])
        record(
            request,
            ActionKind.REMINDED,
            actor=system,
            step=step,
            details={"approver": task.approver_id, "number": task.reminders_sent},
        )
        publish(
            "approval.reminded",
            {"request_id": request.pk, "task_id": task.pk},
            key=f"approval:{request.pk}",
        )
        return True


def _request_of_task(task_id: int) -> int:
    return ApprovalTask.objects.values_list("request_id", flat=True).get(pk=task_id)


def _runs(request: ApprovalRequest) -> bool:
    """Whether timers count: blocked requests and those whose time is over wait for something else."""
    if request.status != RequestStatus.PENDING:
        return False
    return request.expires_at is None or request.expires_at > clock.now()


# --- Escalation ------------------------------------------------------------------------------------------


def step_escalate(*, step_id: int) -> bool:
    """Escalate a step whose time is over; False where it is decided, or somebody else has just done so.

    When all hops are made, or nobody is left, those who look after approvals are told, once.
    """
    with transaction.atomic():
        system = system_actor()
        request_id = ApprovalStep.objects.values_list("request_id", flat=True).get(pk=step_id)
        request = lock_request(actor=system, request_id=request_id)
        step = ApprovalStep.objects.get(pk=step_id)
        if not _runs(request) or step.status != StepStatus.OPEN:
            return False
        if step.escalates_at is None or step.escalates_at > clock.now():
            return False
        if step.hops_done >= step.escalation_hops or not _hop(request, step, actor=system, comment=""):
            _give_up(request, step, system)
        return True


def request_escalate(*, actor: User, request_id: int, comment: str = "") -> ApprovalRequest:
    """Escalate now: by somebody who is asked, the requester, or who may override approvals (APR-19).

    Raises Forbidden ``not_yours_to_escalate``; Conflict ``escalated_enough``, ``nobody_to_escalate_to``, and what
    acting on a request raises: ``already_decided``, ``request_blocked``, ``request_expired``.
    """
    with transaction.atomic():
        request = lock_request(actor=actor, request_id=request_id)
        require_open(request)
        steps = _steps_to_escalate(request, actor)
        left = [step for step in steps if step.hops_done < max(step.escalation_hops, 1)]
        if not left:
            raise Conflict(
                "escalated_enough",
                "It has been escalated as often as its rule allows. Ask one of those who are asked, or who may "
                "reassign approvals.",
            )
        hops = [_hop(request, step, actor=actor, comment=comment.strip()) for step in left]
        if not any(hops):
            raise Conflict(
                "nobody_to_escalate_to",
                "There is nobody left to escalate to: everyone above is asked already, or may not decide on this. "
                "Who may reassign approvals can name somebody.",
            )
        return request


def _steps_to_escalate(request: ApprovalRequest, actor: User) -> list[ApprovalStep]:
    steps = request.steps.filter(round=request.round, status=StepStatus.OPEN).order_by("order")
    own = actor.pk in (request.requester_id, request.created_by_id)
    if own or has(actor, "approvals.override_approvalrequest", request):
        return list(steps)
    asked = ApprovalTask.objects.waiting_for(actor).filter(request=request)
    found = list(steps.filter(pk__in=asked.values("step_id")))
    if not found:
        raise Forbidden(
            "not_yours_to_escalate",
            "Those who are asked, the requester, and who may override approvals escalate a request.",
        )
    return found


def _hop(request: ApprovalRequest, step: ApprovalStep, *, actor: User, comment: str) -> bool:
    """Ask the next people, too or instead, with a fresh timer; False if there is nobody to ask."""
    undecided = list(step.tasks.filter(status=TaskStatus.OPEN).select_related("approver"))
    chosen = _targets(request, step, undecided)
    if not chosen:
        return False
    replaced = _replaced(step, undecided, chosen)
    for task in replaced:
        task.status, task.remind_at = TaskStatus.PASSED_ON, None
        task.save(update_fields=["status", "remind_at"])
    made = [
        ApprovalTask.objects.create(
            step=step,
            request=request,
            approver_id=user_id,
            origin=TaskOrigin.ESCALATION,
            for_whom_id=tasks[0].approver_id,
            needs_right_there=step.escalation_target == EscalationTarget.ROLE,
        )
        for user_id, tasks in chosen.items()
    ]
    step.hops_done += 1
    step.escalates_at = due_after(clock.now(), step.escalation_hours, step.timer_basis, made[0].approver)
    step.save(update_fields=["hops_done", "escalates_at"])
    for task in made:
        open_task(request, step, task)
    mode = EscalationMode.REPLACE if replaced else EscalationMode.ADD
    _log(request, step, actor, comment, undecided, list(chosen), mode)
    return True


def _targets(
    request: ApprovalRequest, step: ApprovalStep, undecided: Sequence[ApprovalTask]
) -> dict[int, list[ApprovalTask]]:
    """Whom to ask next, each with the tasks they are asked in place of.

    Nobody who must not decide on the request, and nobody who is or was asked at this level already. Who escalates by
    hand where the rule names nobody reaches the managers of those who have not decided.
    """
    barred = excluded_people(request) | set(step.tasks.values_list("approver_id", flat=True))
    chosen: dict[int, list[ApprovalTask]] = {}
    if step.escalation_target in (EscalationTarget.USER, EscalationTarget.ROLE):
        named = (
            [step.escalation_user_id]
            if step.escalation_target == EscalationTarget.USER
            else [user.pk for user in holders_of_role(step.escalation_role, request)]
        )
        people = [pk for pk in named if pk is not None]
        by_role = step.escalation_target == EscalationTarget.ROLE
        usable = (eligible(people, request) if by_role else able(people)) - barred
        return {pk: list(undecided) for pk in people if pk in usable} if undecided else {}
    for task in undecided:
        above = list(managers_above(_whose_line(task)))
        usable = able(above) - barred
        nearest = next((pk for pk in above if pk in usable), None)
        if nearest is not None:
            chosen.setdefault(nearest, []).append(task)
    return chosen


def _whose_line(task: ApprovalTask) -> int:
    """What was passed on goes up the line of whom it came from."""
    if task.origin == TaskOrigin.DELEGATED and task.for_whom_id is not None:
        return task.for_whom_id
    return task.approver_id


def _replaced(
    step: ApprovalStep, undecided: Sequence[ApprovalTask], chosen: dict[int, list[ApprovalTask]]
) -> list[ApprovalTask]:
    """The tasks that end, where the rule says "instead" and enough people are left to pass the level."""
    if step.escalation_mode != EscalationMode.REPLACE:
        return []
    ended = {task.pk: task for tasks in chosen.values() for task in tasks}
    approvals = step.tasks.filter(status=TaskStatus.APPROVED).count()
    left = len(undecided) - len(ended) + len(chosen)
    return list(ended.values()) if approvals + left >= step.required_approvals else []


def _give_up(request: ApprovalRequest, step: ApprovalStep, system: User) -> None:
    step.escalates_at = None
    step.save(update_fields=["escalates_at"])
    if step.escalation_hops:
        undecided = list(step.tasks.filter(status=TaskStatus.OPEN))
        _log(request, step, system, "Nobody is left to escalate to.", undecided, [], EscalationMode.ADD)


def _log(
    request: ApprovalRequest,
    step: ApprovalStep,
    actor: User,
    comment: str,
    undecided: Sequence[ApprovalTask],
    people: list[int],
    mode: EscalationMode,
) -> None:
    facts = {
        "from": [task.approver_id for task in undecided],
        "to": people,
        "mode": str(mode),
        "hop": step.hops_done,
    }
    record(request, ActionKind.ESCALATED, actor=actor, step=step, comment=comment, details=facts)
    publish(
        "approval.escalated",
        {
            "request_id": request.pk,
            "step_id": step.pk,
            "actor_id": actor.pk,
            "comment": comment,
            **facts,
        },
        key=f"approval:{request.pk}",
    )
