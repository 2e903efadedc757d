"""What time brings disputes: missed deadlines, warnings, escalation, reminders, withdrawal, closing (DSP-08, DSP-10).

Each run finds what is due and does it one by one. Any number of workers may run them at once, twice or late: each
dispute is locked and looked at again before anything is done. One that fails is logged and left for the next run, and
stops no other.
"""

from collections.abc import Callable
from typing import Any

from django.db import transaction
from django.db.models import F, Q, QuerySet

from core import clock
from core.access import system_actor
from core.calendars import calendar_of, hours_of
from core.history import record_as
from core.models import User
from core.sweeps import Swept, each
from core.work_calendar import next_working_moment
from disputes.models import (
    OPEN_STATUSES,
    BillingDispute,
    DisputeEvent,
    DisputeRound,
    DisputeStatus,
    EventKind,
)
from disputes.selectors.people import caretakers
from disputes.services.ending import end_open, file_resolved
from disputes.services.handling import mark_escalated
from disputes.services.log import event_record, lock_dispute, round_of
from disputes.services.rounds import clocks_refresh, round_clocks

# --- Finding what is due ---------------------------------------------------------------------------------


def note_breaches() -> Swept:
    """Write down the deadlines that were missed; at the deadline exactly it is met (DSP-10)."""
    now = clock.now()
    late = Q(response_due_at__lt=now, response_met_at__isnull=True, response_breached_at__isnull=True) | Q(
        resolution_due_at__lt=now, resolution_breached_at__isnull=True
    )
    return each("note breach", _ids(_running().filter(late)), lambda pk: breach_note(dispute_id=pk))


def send_warnings() -> Swept:
    """Warn at the percentages of the resolution's time that the policy names (DSP-10)."""
    due = _running().filter(next_warning_at__lte=clock.now())
    return each("warn", _ids(due), lambda pk: warning_send(dispute_id=pk))


def escalate_due() -> Swept:
    """Tell the next on the ladder of what is still overdue (DSP-10)."""
    due = _running().filter(next_escalation_at__lte=clock.now())
    return each("escalate", _ids(due), lambda pk: escalation_climb(dispute_id=pk))


def remind_customers() -> Swept:
    """Remind customers of questions (DSP-08)."""
    due = _running().filter(next_reminder_at__lte=clock.now())
    return each("remind", _ids(due), lambda pk: customer_remind(dispute_id=pk))


def withdraw_silent() -> Swept:
    """Withdraw what the customer has not answered for (DSP-08)."""
    due = _running().filter(withdraw_at__lte=clock.now(), next_reminder_at__isnull=True)
    return each("withdraw", _ids(due), lambda pk: silence_withdraw(dispute_id=pk))


def close_resolved() -> Swept:
    """Close what can no longer be reopened (DSP-16)."""
    due = BillingDispute.objects.filter(
        status=DisputeStatus.RESOLVED, rounds__number=F("round_number"), rounds__closes_at__lt=clock.now()
    )
    ids = list(due.order_by("resolved_at").values_list("pk", flat=True))
    return each("close", ids, lambda pk: resolved_close(dispute_id=pk))


def _running() -> QuerySet[DisputeRound]:
    return DisputeRound.objects.filter(ended_at__isnull=True).order_by("pk")


def _ids(rounds: QuerySet[DisputeRound]) -> list[int]:
    return list(rounds.values_list("dispute_id", flat=True))


# A deadline that was missed is not warned of, and nobody is reminded of what is over.
ALL: dict[str, Callable[[], Swept]] = {
    "breaches noted": note_breaches,
    "warnings sent": send_warnings,
    "escalated": escalate_due,
    "customers reminded": remind_customers,
    "withdrawn": withdraw_silent,
    "closed": close_resolved,
}


def run_timers() -> dict[str, Swept]:
    """Do all that is due, by name."""
    return {name: run() for name, run in ALL.items()}


# --- Doing it: False where somebody else has just done so, or it is not due any more ----------------------


def breach_note(*, dispute_id: int) -> bool:
    """Write down what was missed; the clocks say what."""
    with transaction.atomic(), record_as(system_actor()):
        dispute = lock_dispute(system_actor(), dispute_id)
        if not dispute.is_open:
            return False
        before = _breaches(round_of(dispute))
        return _breaches(clocks_refresh(dispute)) != before


def _breaches(of: DisputeRound) -> tuple[Any, Any]:
    return of.response_breached_at, of.resolution_breached_at


def warning_send(*, dispute_id: int) -> bool:
    """Warn who looks after the dispute, each in their own working hours; of several due only the highest."""
    with transaction.atomic(), record_as(system_actor()):
        dispute = lock_dispute(system_actor(), dispute_id)
        current, now = round_of(dispute), clock.now()
        if not dispute.is_open or current.next_warning_at is None or current.next_warning_at > now:
            return False
        current.dispute = dispute
        come = [
            percent
            for percent, moment in round_clocks(current, now=now).warnings
            if current.warned_percent < percent and moment <= now
        ]
        if not come:
            return False
        percent = max(come)
        waiting = [user for user in caretakers(dispute) if user.pk not in _told(current, percent)]
        told = [user.pk for user in waiting if _is_at_work(user)]
        complete = len(told) == len(waiting)
        if not told and not complete:
            return False
        event_record(
            dispute, EventKind.WARNED, actor=system_actor(), percent=percent, told=told, complete=complete
        )
        clocks_refresh(dispute)
        return True


def _told(current: DisputeRound, percent: int) -> set[int]:
    sent = DisputeEvent.objects.filter(round=current, kind=EventKind.WARNED, details__percent=percent)
    return {pk for details in sent.values_list("details", flat=True) for pk in details["told"]}


def _is_at_work(user: User) -> bool:
    now = clock.now()
    return next_working_moment(hours_of(calendar_of(user)), now) == now


def escalation_climb(*, dispute_id: int) -> bool:
    """One rung up; the next one a working day later."""
    with transaction.atomic(), record_as(system_actor()):
        dispute = lock_dispute(system_actor(), dispute_id)
        due = round_of(dispute).next_escalation_at
        if not dispute.is_open or due is None or due > clock.now():
            return False
        mark_escalated(dispute, actor=system_actor(), note="A deadline was missed, and it is still overdue.")
        return True


def customer_remind(*, dispute_id: int) -> bool:
    """Remind the customer of what they were asked."""
    with transaction.atomic(), record_as(system_actor()):
        dispute = lock_dispute(system_actor(), dispute_id)
        current = round_of(dispute)
        due = current.next_reminder_at
        if dispute.status != DisputeStatus.WAITING_CUSTOMER or due is None or due > clock.now():
            return False
        event_record(
            dispute, EventKind.REMINDED, actor=system_actor(), is_public=True,
            number=current.silence_reminders + 1,
        )  # fmt: skip
        clocks_refresh(dispute)
        return True


def silence_withdraw(*, dispute_id: int) -> bool:
    """Withdraw for want of an answer, after all reminders: no breach (DSP-08)."""
    with transaction.atomic(), record_as(system_actor()):
        dispute = lock_dispute(system_actor(), dispute_id)
        current = round_of(dispute)
        if dispute.status not in OPEN_STATUSES or current.next_reminder_at is not None:
            return False
        if current.withdraw_at is None or current.withdraw_at > clock.now():
            return False
        end_open(
            dispute,
            EventKind.WITHDRAWN,
            actor=system_actor(),
            reason=f"Nobody answered our question, also after {current.silence_reminders} reminders.",
            silent=True,
        )
        return True


def resolved_close(*, dispute_id: int) -> bool:
    """File a resolved dispute whose time to be reopened is over."""
    with transaction.atomic(), record_as(system_actor()):
        dispute = lock_dispute(system_actor(), dispute_id)
        closes_at = round_of(dispute).closes_at
        if dispute.status != DisputeStatus.RESOLVED or closes_at is None or closes_at >= clock.now():
            return False
        file_resolved(dispute, actor=system_actor())
        return True
