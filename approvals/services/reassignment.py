"""Open tasks of people who may no longer decide: given to others at once (APR-14, APR-21).

Told by events when a membership changes or a user is deactivated; a sweep finds what no event tells, such as a
membership whose last day has passed.
"""

from collections import defaultdict

from django.db import transaction
from django.db.models import Q

from approvals.models import (
    ApprovalRequest,
    ApprovalStep,
    ApprovalTask,
    RequestStatus,
    StepStatus,
    TaskOrigin,
)
from approvals.services import rounds
from approvals.services.people import entitled_tasks
from approvals.services.votes import lock_request
from core.access import system_actor
from core.models import OutboxEvent
from core.outbox import publish

TOPIC = "approval.approver_lost"


def requests_with_lost_approvers(user_id: int | None = None) -> list[int]:
    """Ids of pending requests that ask somebody who may not decide on them; only that person's, if one is given."""
    tasks = ApprovalTask.objects.open().filter(step__status=StepStatus.OPEN)
    if user_id is not None:
        tasks = tasks.filter(Q(approver_id=user_id) | Q(origin=TaskOrigin.DELEGATED, for_whom_id=user_id))
    by_place: dict[tuple[int, int | None], list[ApprovalTask]] = defaultdict(list)
    for task in tasks.select_related("request").only(
        "approver_id",
        "for_whom_id",
        "origin",
        "needs_right_there",
        "request__entity_id",
        "request__department_id",
    ):
        by_place[task.request.entity_id, task.request.department_id].append(task)
    lost: set[int] = set()
    for found in by_place.values():
        entitled = entitled_tasks(found, found[0].request)
        lost.update(task.request_id for task in found if task.pk not in entitled)
    return sorted(lost)


def request_reassign_lost(*, request_id: int) -> int:
    """Give the open tasks of people who lost the right to others; returns how many tasks were made.

    A level that is left with too few people is blocked, and those who can unblock the request are told (APR-14).
    """
    with transaction.atomic():
        request = lock_request(actor=system_actor(), request_id=request_id)
        if request.status != RequestStatus.PENDING:
            return 0
        made = 0
        short: list[ApprovalStep] = []
        for step in rounds.steps_of_round(request):
            if step.status != StepStatus.OPEN:
                continue
            made += len(rounds.replace_ineligible(request, step))
            if rounds.count(step) == StepStatus.FAILED:
                short.append(step)
        if short:
            rounds.block_short(request, short)
        return made


# --- Told by the outbox ----------------------------------------------------------------------------------


def look_at_tasks_of(event: OutboxEvent) -> None:
    """Consumer of "membership." and "user.deactivated": one event per request, so that one cannot hold up others."""
    for request_id in requests_with_lost_approvers(int(event.payload["user_id"])):
        publish(TOPIC, {"request_id": request_id}, key=f"approval:{request_id}")


def reassign_lost(event: OutboxEvent) -> None:
    """Consumer of the event above."""
    if ApprovalRequest.objects.filter(pk=event.payload["request_id"]).exists():
        request_reassign_lost(request_id=int(event.payload["request_id"]))
