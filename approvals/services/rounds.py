"""A round of decisions: its steps are written, opened one by one or together, and counted (APR-06 to APR-08, APR-17).

Whoever calls holds the request's row lock. What comes of the last step is the outcome's business.
"""

import datetime
from collections.abc import Sequence

from django.conf import settings

from approvals.models import (
    ActionKind,
    ApprovalRequest,
    ApprovalStep,
    ApprovalTask,
    EscalationMode,
    EscalationTarget,
    LevelFlow,
    RequestStatus,
    StepOrigin,
    StepStatus,
    TaskOrigin,
    TaskStatus,
    TimerBasis,
)
from approvals.services.authority import authority_limits, ultimate_approver
from approvals.services.fingerprint import content_hash, material_content
from approvals.services.people import (
    able,
    eligible,
    entitled_tasks,
    excluded_people,
    managers_above,
    right_holder,
)
from approvals.services.routing import PlannedStep, Route
from approvals.services.timers import due_after
from approvals.services.trail import record
from core import clock
from core.access import system_actor
from core.errors import Conflict
from core.models import User
from core.outbox import publish
from entities.access import holders_of_role, users_holding
from entities.models import Role

UNDECIDED = (StepStatus.WAITING, StepStatus.OPEN, StepStatus.BLOCKED)
# A step that the authority climb adds reminds and escalates like a level's defaults.
CLIMB_HOURS = {"reminder_hours": 24, "escalation_hours": 48, "escalation_hops": 3}


def begin(request: ApprovalRequest, route: Route, now: datetime.datetime) -> None:
    """Freeze route and fingerprint on the request (APR-05); nothing is written yet."""
    request.start_round()
    request.round += 1
    request.submitted_at = request.submitted_at or now
    request.decided_at = None
    request.expires_at = now + datetime.timedelta(days=settings.APPROVAL_EXPIRY_DAYS)
    request.content_hash = content_hash(material_content(request))
    request.route = route.snapshot
    request.flow, request.skip_repeated = route.flow, route.skip_repeated
    request.may_exceed_budget = route.may_exceed_budget
    request.blocked_reason = request.effect_error = ""


def write_steps(request: ApprovalRequest, route: Route) -> list[ApprovalStep]:
    """Freeze the planned steps and people for the request's round (APR-05); nothing is open yet."""
    asked = steps_of(request, route)
    steps = ApprovalStep.objects.bulk_create([step for step, _ in asked])
    ApprovalTask.objects.bulk_create(_of_step(step, task) for step, tasks in asked for task in tasks)
    return steps


def _of_step(step: ApprovalStep, task: ApprovalTask) -> ApprovalTask:
    task.step = step
    return task


def steps_of(request: ApprovalRequest, route: Route) -> list[tuple[ApprovalStep, list[ApprovalTask]]]:
    """The planned steps with their tasks, not written yet."""
    return [
        (
            _step(request, order, planned),
            [
                ApprovalTask(
                    request=request,
                    approver_id=task.user_id,
                    origin=task.origin,
                    for_whom_id=task.for_whom_id,
                    needs_right_there=task.needs_right_there,
                )
                for task in planned.tasks
            ],
        )
        for order, planned in enumerate(route.steps, start=1)
    ]


def _step(request: ApprovalRequest, order: int, planned: PlannedStep) -> ApprovalStep:
    level = planned.level
    return ApprovalStep(
        request=request,
        round=request.round,
        order=order,
        name=planned.name,
        origin=planned.origin,
        rule_id=planned.rule.pk,
        rule_version=planned.rule.version,
        why=planned.why[:500],
        required_approvals=planned.required,
        veto=level.veto,
        comment_required=level.comment_required,
        fallback_role=level.fallback_role,
        reminder_hours=level.reminder_hours,
        escalation_hours=level.escalation_hours,
        escalation_target=level.escalation_target,
        escalation_user_id=level.escalation_user_id,
        escalation_role=level.escalation_role,
        escalation_mode=level.escalation_mode,
        escalation_hops=level.escalation_hops,
        timer_basis=level.timer_basis,
    )


def steps_of_round(request: ApprovalRequest) -> list[ApprovalStep]:
    """The steps of the round in progress, in their order."""
    return list(request.steps.filter(round=request.round).order_by("order"))


def open_next(request: ApprovalRequest) -> bool:
    """Open what is to be decided next; True when nothing is left to decide, the authority included."""
    while True:
        steps = steps_of_round(request)
        if any(step.status in (StepStatus.OPEN, StepStatus.BLOCKED) for step in steps):
            return False
        waiting = [step for step in steps if step.status == StepStatus.WAITING]
        if not waiting:
            climbing = _authority_step(request, steps)
            if climbing is None:
                return request.status != RequestStatus.BLOCKED
            waiting = [climbing]
        opening = waiting if request.flow == LevelFlow.PARALLEL else waiting[:1]
        for step in opening:
            open_step(request, step)
        if request.status == RequestStatus.BLOCKED or any(step.status == StepStatus.OPEN for step in opening):
            return False


def open_step(request: ApprovalRequest, step: ApprovalStep) -> None:
    """Ask the step's people; a vote of the step just before counts again where the rule says so (APR-17)."""
    now = clock.now()
    replace_ineligible(request, step)
    tasks = list(step.tasks.filter(status=TaskStatus.WAITING).select_related("approver"))
    carried = _carry_votes(request, step, tasks)
    standing = count(step)
    if standing == StepStatus.PASSED:
        close_step(step, StepStatus.PASSED)
        return
    asked = [task for task in tasks if task not in carried]
    if standing == StepStatus.FAILED:
        block_short(request, [step])
        return
    mark_step_open(step, asked, now)
    step.save(update_fields=["status", "opened_at", "escalates_at"])
    for task in asked:
        open_task(request, step, task)


def mark_step_open(step: ApprovalStep, asked: Sequence[ApprovalTask], now: datetime.datetime) -> None:
    """Set what being open means of a step; nothing is written."""
    step.status, step.opened_at = StepStatus.OPEN, now
    step.escalates_at = _escalates_at(step, asked)


def _escalates_at(step: ApprovalStep, asked: Sequence[ApprovalTask]) -> datetime.datetime | None:
    if step.escalation_target == EscalationTarget.NOBODY or not asked:
        return None
    return due_after(clock.now(), step.escalation_hours, step.timer_basis, asked[0].approver)


def open_task(request: ApprovalRequest, step: ApprovalStep, task: ApprovalTask) -> None:
    """Ask one person, now; they are told after commit."""
    mark_task_open(step, task, clock.now())
    task.save()
    publish(
        "approval.task_opened",
        {"request_id": request.pk, "task_id": task.pk},
        key=f"approval:{request.pk}",
    )


def mark_task_open(step: ApprovalStep, task: ApprovalTask, now: datetime.datetime) -> None:
    """Set what being asked means of a task; nothing is written."""
    task.status, task.opened_at = TaskStatus.OPEN, now
    task.remind_at = due_after(now, step.reminder_hours, step.timer_basis, task.approver)


def _carry_votes(
    request: ApprovalRequest, step: ApprovalStep, tasks: Sequence[ApprovalTask]
) -> list[ApprovalTask]:
    """Count the approvals of the step just before again for the same people: A, A is asked once (APR-17).

    Not where the level asked for changes in the round before: it is asked again, whoever is on it (APR-10). Nor where
    it wants a comment of its own (APR-24).
    """
    repeats = request.skip_repeated and request.flow != LevelFlow.PARALLEL and step.origin == StepOrigin.RULE
    if not repeats or step.order == 1:
        return []
    if step.comment_required:
        return []
    before = ApprovalTask.objects.filter(
        step__request=request,
        step__round=request.round,
        step__order=step.order - 1,
        status=TaskStatus.APPROVED,
    )
    voters = {task.acted_by_id for task in before if task.acted_by_id == task.approver_id}
    carried = [task for task in tasks if task.approver_id in voters]
    if carried and _sent_back_before(request, step):
        return []
    for task in carried:
        task.status, task.acted_by, task.acted_at = TaskStatus.APPROVED, task.approver, clock.now()
        task.save()
        record(request, ActionKind.CARRIED, actor=task.approver, step=step)
    return carried


def _sent_back_before(request: ApprovalRequest, step: ApprovalStep) -> bool:
    returned = ApprovalTask.objects.filter(
        step__request=request,
        step__round=request.round - 1,
        step__order=step.order,
        status=TaskStatus.RETURNED,
    )
    return returned.exists()


def count(step: ApprovalStep) -> StepStatus:
    """How a step stands (APR-08): passed with enough approvals, failed when they cannot be reached any more.

    One rejection fails a step with veto.
    """
    statuses = list(step.tasks.values_list("status", flat=True))
    approvals = statuses.count(TaskStatus.APPROVED)
    undecided = statuses.count(TaskStatus.OPEN) + statuses.count(TaskStatus.WAITING)
    if approvals >= step.required_approvals:
        return StepStatus.PASSED
    if step.veto and TaskStatus.REJECTED in statuses:
        return StepStatus.FAILED
    return StepStatus.OPEN if approvals + undecided >= step.required_approvals else StepStatus.FAILED


def close_step(step: ApprovalStep, status: StepStatus) -> None:
    """Settle a step; those who were asked and have not answered need not any more (APR-09)."""
    step.status, step.decided_at, step.escalates_at = status, clock.now(), None
    step.save(update_fields=["status", "decided_at", "escalates_at"])
    step.tasks.filter(status__in=[TaskStatus.OPEN, TaskStatus.WAITING]).update(
        status=TaskStatus.CANCELLED, remind_at=None
    )


def cancel_round(request: ApprovalRequest) -> None:
    """Nothing of the round is to be decided any more: reminders and escalations stop with it (APR-09)."""
    if not request.round:
        return
    request.tasks.filter(step__round=request.round, status__in=[TaskStatus.OPEN, TaskStatus.WAITING]).update(
        status=TaskStatus.CANCELLED, remind_at=None
    )
    request.steps.filter(round=request.round, status__in=UNDECIDED).update(
        status=StepStatus.CANCELLED, decided_at=clock.now(), escalates_at=None
    )


# --- Who can no longer decide ----------------------------------------------------------------------------


def replace_ineligible(request: ApprovalRequest, step: ApprovalStep) -> list[ApprovalTask]:
    """Give the tasks of people who lost the right, or were deactivated, to others at once (APR-14, APR-21).

    A manager up the line takes the place, else everyone with the fallback role; what somebody passed on falls back
    to them first (APR-18). Returns the new tasks; they are opened if the step is.
    """
    pending = list(
        step.tasks.filter(status__in=[TaskStatus.OPEN, TaskStatus.WAITING]).select_related("approver")
    )
    excluded = excluded_people(request)
    entitled = entitled_tasks(pending, request)
    lost = [task for task in pending if task.pk not in entitled or task.approver_id in excluded]
    made: list[ApprovalTask] = []
    if not lost:
        return made
    system = system_actor()
    for task in lost:
        status = task.status
        task.status, task.remind_at = TaskStatus.PASSED_ON, None
        task.save()
        given = _hand_back(request, step, task, excluded)
        if given is not None:
            replacements = [given]
        else:
            replacements = [
                ApprovalTask.objects.create(
                    step=step,
                    request=request,
                    approver_id=user_id,
                    origin=TaskOrigin.REASSIGNED,
                    for_whom_id=task.approver_id,
                    needs_right_there=needs_right_there,
                )
                for user_id, needs_right_there in _stand_ins(request, step, task.approver_id, excluded)
            ]
        if status == TaskStatus.OPEN:
            for replacement in replacements:
                open_task(request, step, replacement)
        made += replacements
        record(
            request,
            ActionKind.REASSIGNED,
            actor=system,
            step=step,
            on_behalf_of_id=task.approver_id,
            comment=f"{task.approver.display_name} may no longer decide.",
            details={"from": task.approver_id, "to": [given.approver_id for given in replacements]},
        )
    return made


def block_short(request: ApprovalRequest, steps: Sequence[ApprovalStep]) -> None:
    """Block steps in which too few people are left to approve, and the request with them (APR-14)."""
    sentences = []
    for step in steps:
        statuses = list(step.tasks.values_list("status", flat=True))
        needed = step.required_approvals - statuses.count(TaskStatus.APPROVED)
        left = statuses.count(TaskStatus.OPEN) + statuses.count(TaskStatus.WAITING)
        step.status, step.escalates_at = StepStatus.BLOCKED, None
        step.opened_at = step.opened_at or clock.now()
        step.save(update_fields=["status", "opened_at", "escalates_at"])
        sentences.append(f"“{step.name}” needs {needed} more to approve it, and {left} may still decide.")
    block(request, " ".join([*sentences, "Name others in the rule or grant the role, then recalculate."]))


def _hand_back(
    request: ApprovalRequest, step: ApprovalStep, task: ApprovalTask, excluded: set[int]
) -> ApprovalTask | None:
    """Give a task that was passed on back to whom it came from, if they may decide."""
    if task.origin != TaskOrigin.DELEGATED or task.for_whom_id is None or task.for_whom_id in excluded:
        return None
    behind = step.tasks.filter(approver_id=task.for_whom_id, status=TaskStatus.PASSED_ON).first()
    if behind is None or not entitled_tasks([behind], request):
        return None
    behind.status = TaskStatus.WAITING
    behind.save()
    return behind


def _stand_ins(
    request: ApprovalRequest, step: ApprovalStep, person: int, excluded: set[int]
) -> list[tuple[int, bool]]:
    """Who takes somebody's place, each with whether they need the right there."""
    taken = excluded | set(step.tasks.values_list("approver_id", flat=True))
    above = list(managers_above(person))
    usable = able(above) - taken
    nearest = next((pk for pk in above if pk in usable), None)
    if nearest is not None:
        return [(nearest, False)]
    if not step.fallback_role:
        return []
    holders = [user.pk for user in holders_of_role(step.fallback_role, request)]
    usable = eligible(holders, request) - taken
    return [(pk, True) for pk in holders if pk in usable]


def reassign(
    request: ApprovalRequest, task_id: int, to_user: User, *, actor: User, reason: str
) -> ApprovalTask:
    """Give one open task to another person; raises Conflict ``task_closed``, ``already_asked``."""
    task = request.tasks.select_related("step", "approver").get(pk=task_id)
    if task.status not in (TaskStatus.OPEN, TaskStatus.WAITING):
        raise Conflict(
            "task_closed", "That task is decided or no longer needed.", extra={"status": task.status}
        )
    if task.step.tasks.filter(approver=to_user).exists():
        raise Conflict(
            "already_asked", f"{to_user.display_name} is asked at this level already. Name somebody else."
        )
    if to_user.pk in excluded_people(request) or not eligible([to_user.pk], request):
        raise Conflict(
            "approver_may_not_decide",
            f"{to_user.display_name} asked for it, would be paid by it, or has no right to decide there.",
        )
    status = task.status
    task.status, task.remind_at = TaskStatus.PASSED_ON, None
    task.save()
    given = ApprovalTask.objects.create(
        step=task.step,
        request=request,
        approver=to_user,
        origin=TaskOrigin.REASSIGNED,
        for_whom=task.approver,
    )
    if status == TaskStatus.OPEN:
        open_task(request, task.step, given)
    record(
        request,
        ActionKind.REASSIGNED,
        actor=actor,
        step=task.step,
        on_behalf_of_id=task.approver_id,
        comment=reason,
        details={"from": task.approver_id, "to": [to_user.pk]},
    )
    return given


# --- Authority -------------------------------------------------------------------------------------------


def _authority_step(request: ApprovalRequest, steps: Sequence[ApprovalStep]) -> ApprovalStep | None:
    """One more step for the next manager up the line, if nobody who approved has the authority (APR-16).

    A vote above one's own limit counts, but the chain climbs until somebody has it; a broken line, or one that
    leads in circles, ends with the ultimate approver, and without one the request is blocked.
    """
    approved = list(
        ApprovalTask.objects.filter(step__in=steps, status=TaskStatus.APPROVED).order_by("acted_at", "id")
    )
    if not approved:
        return None
    voters = [right_holder(task) for task in approved]
    today = clock.today(request.entity.time_zone)

    ultimate = ultimate_approver(entity_id=request.entity_id, request_type=request.request_type)
    limits = authority_limits(set(voters), entity_id=request.entity_id, request_type=request.request_type)
    if ultimate in voters or any(
        limit.covers(request.base_amount, request.base_currency, today) for limit in limits.values()
    ):
        return None
    next_up = _next_with_a_say(request, voters[-1], set(voters), ultimate)
    if next_up is None:
        block(
            request,
            "Nobody up the line of those who approved has the authority for this amount, and there is no ultimate "
            "approver. Set an authority limit or name one, then recalculate.",
        )
        return None
    order = max(step.order for step in steps) + 1
    step = ApprovalStep.objects.create(
        request=request,
        round=request.round,
        order=order,
        name="Authority",
        origin=StepOrigin.AUTHORITY,
        why="Nobody who has approved so far may approve this amount alone.",
        required_approvals=1,
        fallback_role=Role.FINANCE_MANAGER,
        escalation_target=EscalationTarget.MANAGER,
        escalation_mode=EscalationMode.ADD,
        timer_basis=TimerBasis.CLOCK,
        **CLIMB_HOURS,
    )
    ApprovalTask.objects.create(
        step=step,
        request=request,
        approver_id=next_up,
        origin=TaskOrigin.AUTHORITY,
        needs_right_there=False,
    )
    record(
        request,
        ActionKind.AUTHORITY_ADDED,
        actor=system_actor(),
        step=step,
        details={"approver": next_up, "after": voters[-1]},
    )
    return step


def _next_with_a_say(
    request: ApprovalRequest, after: int, voted: set[int], ultimate: int | None
) -> int | None:
    """The next manager up who may decide, at the end of the line the ultimate approver.

    Who has approved is not asked again; who was asked at a level and did not have to answer is.
    """
    excluded = excluded_people(request) | voted
    above = list(managers_above(after))
    usable = able(above) - excluded
    nearest = next((pk for pk in above if pk in usable), None)
    if nearest is not None:
        return nearest
    if ultimate is None or ultimate in excluded or not able([ultimate]):
        return None
    return ultimate


# --- Blocked ---------------------------------------------------------------------------------------------


def block(request: ApprovalRequest, reason: str) -> None:
    """Stop: nobody may decide as things are. Those who can change that are told (APR-03, APR-14)."""
    request.block()
    request.blocked_reason = reason[:500]
    request.save()
    record(request, ActionKind.BLOCKED, actor=system_actor(), comment=request.blocked_reason)
    publish(
        "approval.blocked",
        {
            "request_id": request.pk,
            "user_ids": [user.pk for user in who_can_unblock(request)],
        },
        key=f"approval:{request.pk}",
    )


def who_can_unblock(request: ApprovalRequest) -> list[User]:
    """Those who may change rules and recalculate at the request's entity."""
    return users_holding("approvals.override_approvalrequest", entity_id=request.entity_id)
