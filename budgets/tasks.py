"""Jobs of the budgets; each may run twice, late, or not at all without harm."""

import logging

from celery import shared_task
from django.db import transaction

from budgets.models import Commitment
from budgets.services.ledger import lock_budgets
from budgets.services.proof import ledger_differences
from core.access import system_actor
from core.history import Channel, acting

logger = logging.getLogger(__name__)


@shared_task(name="budgets.release_expired_commitments")
def release_expired_commitments() -> int:
    """Write the release of what has expired; checks do not depend on it (BUD-17)."""
    budget_ids = list(Commitment.objects.expired().order_by().values_list("budget_id", flat=True).distinct())
    with acting(user=system_actor(), channel=Channel.JOB):
        for budget_id in budget_ids:
            with transaction.atomic():
                lock_budgets({budget_id})
    return len(budget_ids)


@shared_task(name="budgets.check_ledger")
def check_ledger() -> int:
    """Prove the ledger every night; a difference is an error in the log, naming it (BUD-01)."""
    differences = list(ledger_differences())
    for difference in differences:
        logger.error("budget ledger differs: %s", difference)
    return len(differences)
