"""Jobs of invoicing; each may run any number of times. Those of documents are in documents/jobs.py."""

import logging
from datetime import timedelta

from celery import shared_task
from django.db import transaction
from django.db.models import Q
from django.urls import reverse

from core import clock
from core.access import Actor, system_actor
from core.errors import Forbidden
from core.history import Channel, acting
from core.models import User
from core.notifications import notify
from invoicing.documents.jobs import render_document
from invoicing.models import (
    WORKING_RUNS,
    BillingRun,
    BillingRunItem,
    ImportStatus,
    ItemStatus,
    RunStatus,
    UsageImport,
)
from invoicing.selectors.settlements import settlement_differences
from invoicing.services.billing_runs import run_work
from invoicing.services.billing_schedules import schedules_start_due
from invoicing.services.dunning import dunning_run
from invoicing.services.usage_imports import ImportResult, usage_import_is_running, usage_import_run

__all__ = [
    "import_usage",
    "import_usage_after_commit",
    "render_document",
    "resume_billing_runs",
    "resume_usage_imports",
    "run_dunning",
    "start_scheduled_billing_runs",
    "verify_settlements",
    "work_on_billing_run",
    "work_on_billing_run_after_commit",
]

logger = logging.getLogger(__name__)

_LEFT_ALONE = timedelta(minutes=5)


@shared_task(name="invoicing.import_usage")
def import_usage(usage_import_id: int, actor_id: int) -> None:
    """Take a registered file in; one that is in already, or that another worker has in hand, is left alone."""
    actor = User.objects.get(pk=actor_id)
    usage_import = UsageImport.objects.select_related("entity").get(pk=usage_import_id)
    if usage_import.status in {ImportStatus.COMPLETED, ImportStatus.UNDONE} or usage_import_is_running(
        usage_import
    ):
        return
    with acting(user=actor, channel=Channel.IMPORT):
        try:
            result = usage_import_run(actor=actor, usage_import=usage_import)
        except Forbidden as error:
            # The right was taken away between the upload and now: the file waits for somebody who has it.
            logger.warning("usage import %s not run: %s", usage_import_id, error)
            return
        _tell(actor, result)


def import_usage_after_commit(usage_import: UsageImport, actor: Actor) -> None:
    """Have a worker take the file in, once what the caller has written is committed."""
    transaction.on_commit(lambda: import_usage.delay(usage_import.pk, actor.pk), robust=True)


@shared_task(name="invoicing.resume_usage_imports")
def resume_usage_imports() -> None:
    """Take up imports whose worker died, or that no worker was told of."""
    unfinished = UsageImport.objects.filter(
        status__in=[ImportStatus.WAITING, ImportStatus.RUNNING], updated_at__lt=clock.now() - _LEFT_ALONE
    )
    for usage_import in unfinished.order_by("pk"):
        if not usage_import_is_running(usage_import):
            import_usage.delay(usage_import.pk, usage_import.created_by_id)


def _tell(actor: Actor, result: ImportResult) -> None:
    """Tell who uploaded the file what became of it; the mail is left out, as they can watch the page."""
    usage_import = result.usage_import
    if actor.is_system:
        return
    if usage_import.status == ImportStatus.COMPLETED:
        title = f"{usage_import.file_name}: {usage_import.rows_imported:,} rows imported"
        body = (
            f"{usage_import.rows_duplicate:,} rows were in already, {usage_import.rows_rejected:,} were rejected "
            "and are kept for repair."
        )
    else:
        title, body = f"{usage_import.file_name} was not imported", usage_import.error_message
    notify(
        user=actor,
        kind="usage_import",
        title=title,
        body=body,
        url=reverse("admin:invoicing_usageimport_change", args=[usage_import.pk]),
        email=False,
    )


# --- Billing runs ----------------------------------------------------------------------------------------


@shared_task(name="invoicing.work_on_billing_run")
def work_on_billing_run(billing_run_id: int) -> str:
    """Prepare, issue or clear up what the state of a run calls for; returns the state it is in then."""
    with acting(channel=Channel.JOB):
        return str(run_work(run=BillingRun.objects.get(pk=billing_run_id)).status)


def work_on_billing_run_after_commit(run: BillingRun) -> None:
    """Have a worker go on with a run, once what the caller has written is committed."""
    transaction.on_commit(lambda: work_on_billing_run.delay(run.pk), robust=True)


@shared_task(name="invoicing.resume_billing_runs")
def resume_billing_runs() -> int:
    """Take up runs whose worker died, or that no worker was told of. Returns how many."""
    quiet_since = clock.now() - _LEFT_ALONE
    left = BillingRunItem.objects.filter(
        run__status=RunStatus.CANCELLED,
        status__in=[ItemStatus.WAITING, ItemStatus.PREPARED, ItemStatus.FAILED],
    )
    unfinished = BillingRun.objects.filter(Q(status__in=WORKING_RUNS) | Q(pk__in=left.values("run_id")))
    busy = BillingRunItem.objects.filter(updated_at__gte=quiet_since)
    keys = list(
        unfinished.filter(updated_at__lt=quiet_since)
        .exclude(pk__in=busy.values("run_id"))
        .order_by("pk")
        .values_list("pk", flat=True)
    )
    for pk in keys:
        work_on_billing_run.delay(pk)
    return len(keys)


@shared_task(name="invoicing.start_scheduled_billing_runs")
def start_scheduled_billing_runs() -> int:
    """Begin the runs of schedules that are due, the missed ones too. Returns how many began."""
    with acting(user=system_actor(), channel=Channel.JOB):
        started = schedules_start_due(actor=system_actor())
    for run in started.runs:
        work_on_billing_run_after_commit(run)
    return len(started.runs)


# --- What settles documents ------------------------------------------------------------------------------


@shared_task(name="invoicing.verify_settlements")
def verify_settlements() -> int:
    """Prove every night what is settled, applied and credited; a difference is an error in the log (INV-06, INV-08)."""
    differences = list(settlement_differences())
    for difference in differences:
        logger.error("settlement differs: %s", difference)
    return len(differences)


@shared_task(name="invoicing.run_dunning")
def run_dunning() -> int:
    """Remind of what is overdue; a day that was missed is caught up, and a document comes once per level (DSP-03)."""
    with acting(channel=Channel.JOB):
        return len(dunning_run(actor=system_actor()))
