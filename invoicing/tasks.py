"""Jobs of invoicing; each may run any number of times. Those of documents are in documents/jobs.py."""

import logging
from datetime import timedelta

from celery import shared_task
from django.db import transaction
from django.urls import reverse

from core import clock
from core.access import Actor
from core.errors import Forbidden
from core.history import Channel, acting
from core.models import User
from core.notifications import notify
from invoicing.documents.jobs import render_document
from invoicing.models import ImportStatus, UsageImport
from invoicing.services.usage_imports import ImportResult, usage_import_is_running, usage_import_run

__all__ = ["import_usage", "import_usage_after_commit", "render_document", "resume_usage_imports"]

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
