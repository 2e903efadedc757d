"""How busy each approver is: what waits for them, how long, what they have decided, and who stands in for them."""

import datetime
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.db.models import Aggregate, Count, DurationField, ExpressionWrapper, F, FloatField, Max, Min, Q

from approvals.models import ApprovalTask, Delegation, TaskStatus
from core import clock
from core.models import User

DAYS = 30
DECIDED = (TaskStatus.APPROVED, TaskStatus.REJECTED, TaskStatus.RETURNED)


class MedianSeconds(Aggregate):
    """The median of durations, in seconds."""

    function = "PERCENTILE_CONT"
    template = "%(function)s(0.5) WITHIN GROUP (ORDER BY EXTRACT(EPOCH FROM %(expressions)s))"
    output_field = FloatField()


@dataclass(frozen=True, slots=True)
class ApproverLoad:
    """One approver; ``median`` is how long what they decided in the last 30 days had waited, None where nothing was."""

    person: User
    waiting: int
    overdue: int
    oldest: datetime.datetime | None
    decided: int
    median: datetime.timedelta | None
    last_decided: datetime.datetime | None
    stand_ins: tuple[Delegation, ...]


def workload(user: User) -> list[ApproverLoad]:
    """Everybody who is asked now or decided in the last 30 days on requests that the user sees; the busiest first."""
    now = clock.now()
    seen = ApprovalTask.objects.visible_to(user)
    late = Q(step__escalates_at__lte=now) | Q(step__hops_done__gt=0) | Q(request__expires_at__lte=now)
    asked: dict[int, dict[str, Any]] = {
        row["approver_id"]: dict(row)
        for row in seen.open()
        .order_by()
        .values("approver_id")
        .annotate(waiting=Count("pk"), overdue=Count("pk", filter=late), oldest=Min("opened_at"))
    }
    waited = ExpressionWrapper(F("acted_at") - F("opened_at"), output_field=DurationField())
    decided: dict[int, dict[str, Any]] = {
        row["acted_by_id"]: dict(row)
        for row in seen.filter(status__in=DECIDED, acted_at__gt=now - datetime.timedelta(days=DAYS))
        .order_by()
        .values("acted_by_id")
        .annotate(decided=Count("pk"), median=MedianSeconds(waited), last=Max("acted_at"))
    }
    people = User.objects.in_bulk({*asked, *decided})
    stand_ins: dict[int, list[Delegation]] = {}
    held = Delegation.objects.in_force(now).filter(delegator_id__in=people).select_related("delegate")
    for delegation in held.order_by("valid_to"):
        stand_ins.setdefault(delegation.delegator_id, []).append(delegation)
    loads = [
        _load(person, asked.get(pk, {}), decided.get(pk, {}), stand_ins.get(pk, ()))
        for pk, person in people.items()
    ]
    return sorted(
        loads, key=lambda each: (-each.overdue, -each.waiting, -each.decided, each.person.display_name)
    )


def _load(
    person: User, asked: dict[str, Any], decided: dict[str, Any], stand_ins: Iterable[Delegation]
) -> ApproverLoad:
    seconds = decided.get("median")
    return ApproverLoad(
        person=person,
        waiting=asked.get("waiting", 0),
        overdue=asked.get("overdue", 0),
        oldest=asked.get("oldest"),
        decided=decided.get("decided", 0),
        median=None if seconds is None else datetime.timedelta(seconds=round(seconds)),
        last_decided=decided.get("last"),
        stand_ins=tuple(stand_ins),
    )


def duration_words(duration: datetime.timedelta) -> str:
    """ "less than a minute", "25 minutes", "3 hours", "2 days 4 hours"."""
    minutes = int(duration.total_seconds() // 60)
    if minutes < 1:
        return "less than a minute"
    if minutes < 60:
        return _count(minutes, "minute")
    hours, days = minutes // 60 % 24, minutes // (60 * 24)
    if not days:
        return _count(hours, "hour")
    return f"{_count(days, 'day')} {_count(hours, 'hour')}" if hours else _count(days, "day")


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
