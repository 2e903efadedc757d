"""Finding requests again, and how somebody decides: what the page of the history shows."""

import datetime
from dataclasses import dataclass
from typing import Any

from django.db.models import Count, DurationField, ExpressionWrapper, F, Q, QuerySet

from approvals.models import ApprovalRequest, ApprovalTask, TaskStatus
from approvals.selectors.inbox import DECIDED, waiting_items
from approvals.selectors.workload import DAYS, MedianSeconds
from core import clock
from core.models import User

NUMBER = "APR-"


@dataclass(frozen=True, slots=True)
class OwnFigures:
    """How somebody has decided in the last 30 days and what waits for them; ``median`` is None where nothing was."""

    approved: int
    rejected: int
    asked_back: int
    median: datetime.timedelta | None
    waiting: int
    overdue: int

    @property
    def decided(self) -> int:
        return self.approved + self.rejected + self.asked_back


def own_figures(user: User) -> OwnFigures:
    """The figures of one person; two queries."""
    since = clock.now() - datetime.timedelta(days=DAYS)
    waited = ExpressionWrapper(F("acted_at") - F("opened_at"), output_field=DurationField())
    found = ApprovalTask.objects.filter(acted_by=user, status__in=DECIDED, acted_at__gt=since).aggregate(
        approved=Count("pk", filter=Q(status=TaskStatus.APPROVED)),
        rejected=Count("pk", filter=Q(status=TaskStatus.REJECTED)),
        asked_back=Count("pk", filter=Q(status=TaskStatus.RETURNED)),
        median=MedianSeconds(waited),
    )
    seconds = found.pop("median")
    items = waiting_items(user)
    return OwnFigures(
        **found,
        median=None if seconds is None else datetime.timedelta(seconds=round(seconds)),
        waiting=len(items),
        overdue=sum(item.is_overdue for item in items),
    )


def search_requests(
    user: User,
    *,
    text: str = "",
    request_type: str = "",
    status: str = "",
    asked_from: datetime.date | None = None,
    asked_to: datetime.date | None = None,
    mine: bool = False,
) -> QuerySet[Any]:
    """Submitted requests that the user sees, the newest first.

    ``text`` is looked for in the title, the supplier, both numbers and the requester's name. ``asked_to`` is the last
    day that counts, in the user's zone. ``mine`` are those on which the user has decided.
    """
    rows: QuerySet[Any] = ApprovalRequest.objects.visible_to(user).filter(submitted_at__isnull=False)
    for word in text.split():
        rows = rows.filter(_has(word))
    if request_type:
        rows = rows.filter(request_type=request_type)
    if status:
        rows = rows.filter(status=status)
    if asked_from is not None:
        rows = rows.filter(submitted_at__gte=clock.start_of_day(asked_from, user.time_zone))
    if asked_to is not None:
        after = asked_to + datetime.timedelta(days=1)
        rows = rows.filter(submitted_at__lt=clock.start_of_day(after, user.time_zone))
    if mine:
        decided = ApprovalTask.objects.filter(acted_by=user, status__in=DECIDED)
        rows = rows.filter(pk__in=decided.values("request_id"))
    return rows.select_related("requester", "entity", "department").order_by("-id")


def _has(word: str) -> Q:
    found = Q(title__icontains=word) | Q(supplier__icontains=word) | Q(reference__icontains=word)
    found |= Q(requester__first_name__icontains=word) | Q(requester__last_name__icontains=word)
    number = word.upper().removeprefix(NUMBER)
    if number.isdecimal() and len(number) < 19:
        found |= Q(pk=int(number))
    return found
