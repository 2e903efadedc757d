"""The timers' runs: each finds what is due and does it one by one (APR-19 to APR-21).

Any number of workers may run them at once: each item is locked and looked at again before anything is done. One that
fails is logged and left for the next run, and stops no other.
"""

from collections.abc import Callable
from typing import Any

from django.db.models import QuerySet

from approvals.models import ApprovalRequest, ApprovalStep, ApprovalTask, RequestStatus
from approvals.services.digests import digest_send, users_due_for_a_digest
from approvals.services.escalation import step_escalate, task_remind
from approvals.services.reassignment import request_reassign_lost, requests_with_lost_approvers
from approvals.services.requests import request_expire
from approvals.services.reviews import review_remind, reviews_to_remind_of
from core import clock
from core.sweeps import Swept, each


def expire_due() -> Swept:
    """End the requests whose time is over (APR-20)."""
    due = ApprovalRequest.objects.overdue_at(clock.now()).order_by("expires_at")
    return each("expire", _ids(due), lambda pk: request_expire(request_id=pk))


def reassign_lost_tasks() -> Swept:
    """Give away open tasks of people who may no longer decide (APR-21)."""
    return each(
        "reassign", requests_with_lost_approvers(), lambda pk: bool(request_reassign_lost(request_id=pk))
    )


def escalate_due() -> Swept:
    """Escalate the levels whose hours are over (APR-19)."""
    due = ApprovalStep.objects.due_to_escalate(clock.now()).filter(request__status=RequestStatus.PENDING)
    return each("escalate", _ids(due.order_by("escalates_at")), lambda pk: step_escalate(step_id=pk))


def remind_due() -> Swept:
    """Remind those whose time to be reminded has come (APR-19)."""
    due = ApprovalTask.objects.open().filter(remind_at__lte=clock.now())
    return each("remind", _ids(due.order_by("remind_at")), lambda pk: task_remind(task_id=pk))


def remind_of_reviews() -> Swept:
    """Remind of emergency approvals that nobody has reviewed in time (APR-26)."""
    due = reviews_to_remind_of().order_by("emergency_review_due")
    return each("review", _ids(due), lambda pk: review_remind(request_id=pk))


def send_digests() -> Swept:
    """Make the daily mails of those who want one mail a day."""
    return each("digest", users_due_for_a_digest(), lambda pk: digest_send(user_id=pk))


# In this order nobody is reminded of what is over, and nobody who cannot decide is waited for.
ALL: dict[str, Callable[[], Swept]] = {
    "expired": expire_due,
    "reassigned": reassign_lost_tasks,
    "escalated": escalate_due,
    "reminded": remind_due,
    "reviews reminded": remind_of_reviews,
    "digests": send_digests,
}


def _ids(rows: QuerySet[Any]) -> list[int]:
    return list(rows.values_list("pk", flat=True))
