"""Jobs of core; each may run any number of times."""

from celery import shared_task

from core.idempotency import idempotency_records_purge
from core.outbox import DISPATCH_TASK, dispatch_begins, dispatch_pending, wake_dispatcher

_EVENTS_PER_RUN = 500


@shared_task(name=DISPATCH_TASK)
def dispatch_outbox() -> None:
    """Deliver due outbox events; woken after each commit and, for retries, by the scheduler."""
    dispatch_begins()
    result = dispatch_pending(limit=_EVENTS_PER_RUN)
    if result.delivered + result.failed == _EVENTS_PER_RUN:
        wake_dispatcher()


@shared_task(name="core.purge_expired_records")
def purge_expired_records() -> None:
    """Delete idempotency answers that are older than 30 days."""
    idempotency_records_purge()
