"""Schedules of billing runs: which scope is invoiced every month, on which day (INV-03, REP-04)."""

import datetime
import logging
from dataclasses import dataclass, field
from typing import Any

from django.db import transaction

from core import clock
from core.access import Actor, require
from core.clock import month_after
from core.errors import BillingError, Conflict
from core.history import record_as
from entities.models import Entity
from entities.services.records import apply_changes, check_fields, delete_record, field_error, save_record
from invoicing.models import BillingRun, BillingSchedule, IssueMode
from invoicing.services.billing_runs import run_create

logger = logging.getLogger(__name__)

_CHANGEABLE = ("issuer", "day_of_month", "issue_mode", "is_active", "next_period")
_THERE = {
    "billing_schedule_once": Conflict(
        "schedule_exists", "The scope has a schedule with this issuer already. Change that one."
    )
}


def schedule_create(
    *,
    actor: Actor,
    scope: Entity,
    day_of_month: int = 3,
    issuer: Entity | None = None,
    issue_mode: str = IssueMode.BY_HAND,
    is_active: bool = True,
    next_period: datetime.date | None = None,
) -> BillingSchedule:
    """Have the month before invoiced every month; ``next_period``, a first of a month, is invoiced first.

    Without it that is the month whose day of invoicing comes next. A schedule that issues by itself needs the right to
    check. Raises Conflict ``schedule_exists``; Invalid ``not_an_issuer``, ``not_first_of_month``.
    """
    require(actor, "invoicing.add_billingschedule", scope)
    schedule = BillingSchedule(
        scope=scope,
        issuer=issuer,
        day_of_month=day_of_month,
        issue_mode=issue_mode,
        is_active=is_active,
        next_period=next_period or _first_period(scope, day_of_month),
        created_by=actor,
    )
    with transaction.atomic(), record_as(actor):
        _save(actor, schedule)
    return schedule


def schedule_update(
    *,
    actor: Actor,
    schedule: BillingSchedule,
    expected_version: int | None = None,
    reason: str = "",
    **changes: Any,
) -> BillingSchedule:
    """Change a schedule; runs that it has started stay. Raises as ``schedule_create``; Stale."""
    require(actor, "invoicing.change_billingschedule", schedule)
    with transaction.atomic(), record_as(actor, reason):
        locked = _lock(schedule.pk)
        locked.expect_version(expected_version)
        if apply_changes(locked, changes, allowed=_CHANGEABLE):
            _save(actor, locked)
    return locked


def schedule_delete(*, actor: Actor, schedule: BillingSchedule) -> None:
    """Delete a schedule that has started no run. Raises Conflict ``in_use``."""
    require(actor, "invoicing.delete_billingschedule", schedule)
    with transaction.atomic(), record_as(actor):
        delete_record(_lock(schedule.pk), name="The schedule", instead="Make it inactive.")


def _save(actor: Actor, schedule: BillingSchedule) -> None:
    if schedule.issuer is not None and not schedule.issuer.is_issuer:
        raise field_error("issuer_id", "not_an_issuer", f"{schedule.issuer} issues no invoices.")
    if schedule.next_period.day != 1:
        raise field_error("next_period", "not_first_of_month", "Give the first day of a month.")
    if schedule.issue_mode == IssueMode.AUTOMATIC:
        require(actor, "invoicing.check_billingrun", schedule.scope)
    check_fields(schedule)
    schedule.last_problem = ""
    save_record(schedule, _THERE)


def _first_period(scope: Entity, day_of_month: int) -> datetime.date:
    today = clock.today(scope.time_zone)
    return month_after(today.replace(day=1), -1 if today.day <= day_of_month else 0)


def due_on(schedule: BillingSchedule) -> datetime.date:
    """The day on which the schedule's next month is invoiced."""
    return month_after(schedule.next_period).replace(day=schedule.day_of_month)


@dataclass(slots=True)
class Started:
    """The runs that due schedules began, and how many could not begin."""

    runs: list[BillingRun] = field(default_factory=list)
    problems: int = 0


def schedules_start_due(*, actor: Actor) -> Started:
    """Begin the runs that are due, one per schedule and month, the missed ones too (REP-04).

    Any number of workers may do so at once. What cannot begin is kept with the schedule and tried again the next time.
    The caller then has the runs worked on.
    """
    started = Started()
    for schedule_id in BillingSchedule.objects.active().order_by("pk").values_list("pk", flat=True):
        while True:
            try:
                run = _start_next(actor, schedule_id)
            except BillingError as refusal:
                logger.warning("billing schedule %s not started: %s", schedule_id, refusal)
                BillingSchedule.objects.filter(pk=schedule_id).update(last_problem=refusal.message[:500])
                started.problems += 1
                break
            if run is None:
                break
            started.runs.append(run)
    return started


def _start_next(actor: Actor, schedule_id: int) -> BillingRun | None:
    """Begin the schedule's next run if it is due, and move on to the month after it; both or neither."""
    with transaction.atomic(), record_as(actor, "Scheduled"):
        schedule = (
            BillingSchedule.objects.active()
            .select_for_update(of=("self",), skip_locked=True)
            .select_related("scope", "issuer")
            .filter(pk=schedule_id)
            .first()
        )
        if schedule is None or clock.today(schedule.scope.time_zone) < due_on(schedule):
            return None
        run = run_create(
            actor=actor,
            scope=schedule.scope,
            issuer=schedule.issuer,
            period_start=schedule.next_period,
            period_end=month_after(schedule.next_period),
            schedule=schedule,
        )
        schedule.next_period, schedule.last_problem = month_after(schedule.next_period), ""
        schedule.save()
    return run


def _lock(pk: int) -> BillingSchedule:
    return (
        BillingSchedule.objects.select_for_update(of=("self",)).select_related("scope", "issuer").get(pk=pk)
    )
