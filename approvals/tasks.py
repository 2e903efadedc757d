"""Jobs of approvals; each may run twice, late, or at several workers at once without harm (APR-19 to APR-21)."""

from celery import shared_task

from approvals.services import sweeps
from core.access import system_actor
from core.history import Channel, acting


@shared_task(name="approvals.expire")
def expire() -> int:
    """End the requests whose time is over; returns how many."""
    with acting(user=system_actor(), channel=Channel.JOB):
        return sweeps.expire_due().done


@shared_task(name="approvals.reassign")
def reassign() -> int:
    """Give away what waits for people who may no longer decide; events do so at once, this finds what is left."""
    with acting(user=system_actor(), channel=Channel.JOB):
        return sweeps.reassign_lost_tasks().done


@shared_task(name="approvals.escalate")
def escalate() -> int:
    """Escalate the levels that nobody has decided in time."""
    with acting(user=system_actor(), channel=Channel.JOB):
        return sweeps.escalate_due().done


@shared_task(name="approvals.remind")
def remind() -> int:
    """Remind those who have not decided, and those who may review an emergency."""
    with acting(user=system_actor(), channel=Channel.JOB):
        return sweeps.remind_due().done + sweeps.remind_of_reviews().done


@shared_task(name="approvals.send_digests")
def send_digests() -> int:
    """Make the daily mails of those who want one mail a day."""
    with acting(user=system_actor(), channel=Channel.JOB):
        return sweeps.send_digests().done
