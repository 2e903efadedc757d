"""Emergency approvals that nobody has reviewed in time (APR-26)."""

import datetime
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet

from approvals.models import ActionKind, ApprovalAction, ApprovalRequest
from approvals.services.people import excluded_people
from approvals.services.rounds import who_can_unblock
from approvals.services.trail import record
from approvals.services.votes import lock_request
from core import clock
from core.access import system_actor
from core.models import User
from core.outbox import publish

OF_A_REVIEW = {"emergency_review": True}


def reviews_to_remind_of() -> QuerySet[Any]:
    """Requests approved in an emergency whose review is overdue and was not reminded of lately."""
    now = clock.now()
    lately = now - datetime.timedelta(hours=settings.APPROVAL_EMERGENCY_REVIEW_HOURS)
    reminded = ApprovalAction.objects.filter(
        request=OuterRef("pk"),
        kind=ActionKind.REMINDED,
        details__contains=OF_A_REVIEW,
        created_at__gt=lately,
    )
    due: QuerySet[Any] = ApprovalRequest.objects.filter(
        emergency_review_due__lte=now, emergency_reviewed_by__isnull=True
    )
    return due.exclude(Exists(reminded))


def review_remind(*, request_id: int) -> bool:
    """Remind those who may review; False where somebody has reviewed it, or has just been reminded."""
    with transaction.atomic():
        system = system_actor()
        request = lock_request(actor=system, request_id=request_id)
        if not reviews_to_remind_of().filter(pk=request.pk).exists():
            return False
        record(
            request,
            ActionKind.REMINDED,
            actor=system,
            comment="The review of the emergency is overdue.",
            details=OF_A_REVIEW,
        )
        publish("approval.review_overdue", {"request_id": request.pk}, key=f"approval:{request.pk}")
        return True


def who_can_review(request: ApprovalRequest) -> list[User]:
    """Those who may override approvals there and had no part in it."""
    approver = request.actions.filter(kind=ActionKind.EMERGENCY_APPROVED).latest("id").actor_id
    barred = excluded_people(request) | {approver}
    return [user for user in who_can_unblock(request) if user.pk not in barred]
