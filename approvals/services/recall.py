"""Taking a vote back before anything has come of it (APR-26).

A vote that is not the last one has had no effect yet: until the next level has been acted on it can be taken back. The
last one cannot: decision and effect are one transaction (APR-23), so a window in which a decided request is not yet
approved does not exist.
"""

from collections.abc import Sequence

from django.db import transaction

from approvals.models import (
    ActionKind,
    ApprovalRequest,
    ApprovalStep,
    ApprovalTask,
    LevelFlow,
    StepOrigin,
    StepStatus,
    TaskStatus,
)
from approvals.models.trail import VOTES
from approvals.services import rounds
from approvals.services.trail import record
from approvals.services.votes import in_place_of, lock_request, require_open
from core.errors import Conflict
from core.models import User

VOTED = (TaskStatus.APPROVED, TaskStatus.REJECTED)
# What somebody has done with a task; a reminder is nothing that they did.
ACTED = (*VOTED, TaskStatus.RETURNED, TaskStatus.PASSED_ON)


def vote_recall(*, actor: User, request_id: int, comment: str = "") -> ApprovalRequest:
    """Take the actor's vote back: their level asks them again, and the levels after it wait again (APR-06).

    Raises Conflict ``nothing_to_recall``; ``too_late_to_recall`` once the next level has been acted on; and what
    acting on a request raises: ``already_decided``, ``request_blocked``, ``request_expired``.
    """
    with transaction.atomic():
        request = lock_request(actor=actor, request_id=request_id)
        require_open(request)
        votes = votes_of(request, actor)
        if not votes:
            raise Conflict("nothing_to_recall", "You have given no vote that still counts on this request.")
        later = _later(request, votes)
        if _acted_on(later, actor):
            raise Conflict(
                "too_late_to_recall",
                "The next level has been acted on since your vote. Leave a comment, or ask those who decide now to "
                "reject it or to ask for changes.",
            )
        for step in later:
            _close_again(step)
        for task in votes:
            for_whom = in_place_of(task, actor)
            _ask_again(request, task)
            record(
                request,
                ActionKind.RECALLED,
                actor=actor,
                step=task.step,
                on_behalf_of_id=for_whom,
                comment=comment.strip(),
            )
        request.save()
        return request


def may_recall(request: ApprovalRequest, actor: User) -> bool:
    """Whether the actor has a vote on a request that is being decided and could take it back now."""
    votes = votes_of(request, actor)
    return bool(votes) and not _acted_on(_later(request, votes), actor)


def votes_of(request: ApprovalRequest, actor: User) -> list[ApprovalTask]:
    """The actor's last vote of the round; where levels are asked all at once, all of theirs.

    What was counted again from the level before (APR-17) is no vote of its own.
    """
    given = request.actions.filter(actor=actor, round=request.round, kind__in=VOTES)
    tasks = list(
        request.tasks.filter(acted_by=actor, status__in=VOTED, step__round=request.round)
        .filter(step_id__in=given.values("step_id"))
        .select_related("step", "approver")
        .order_by("-step__order")
    )
    return tasks if request.flow == LevelFlow.PARALLEL else tasks[:1]


def _later(request: ApprovalRequest, votes: Sequence[ApprovalTask]) -> list[ApprovalStep]:
    """The levels that the votes let open."""
    steps = request.steps.filter(round=request.round, order__gt=min(task.step.order for task in votes))
    if request.flow == LevelFlow.PARALLEL:
        steps = steps.filter(origin=StepOrigin.AUTHORITY)
    return list(steps.exclude(status=StepStatus.CANCELLED).order_by("order"))


def _acted_on(steps: Sequence[ApprovalStep], actor: User) -> bool:
    if any(step.hops_done for step in steps):
        return True
    acted = ApprovalTask.objects.filter(step__in=steps, status__in=ACTED)
    return acted.exclude(acted_by=actor, status=TaskStatus.APPROVED).exists()


def _close_again(step: ApprovalStep) -> None:
    """Let a level wait for its turn again; one for missing authority is made anew when its turn comes."""
    added = step.origin == StepOrigin.AUTHORITY
    step.status = StepStatus.CANCELLED if added else StepStatus.WAITING
    step.opened_at = step.escalates_at = step.decided_at = None
    step.save(update_fields=["status", "opened_at", "escalates_at", "decided_at"])
    step.tasks.update(
        status=TaskStatus.CANCELLED if added else TaskStatus.WAITING,
        opened_at=None,
        remind_at=None,
        acted_at=None,
        acted_by=None,
    )


def _ask_again(request: ApprovalRequest, task: ApprovalTask) -> None:
    """Open the vote's task again, with those who were no longer needed once it was given."""
    step = task.step
    task.status, task.acted_by, task.acted_at = TaskStatus.WAITING, None, None
    task.save()
    if step.status == StepStatus.PASSED:
        step.tasks.filter(status=TaskStatus.CANCELLED).update(status=TaskStatus.WAITING)
        step.decided_at = None
        rounds.open_step(request, step)
    else:
        rounds.open_task(request, step, task)
