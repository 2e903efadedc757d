"""Jobs of contracts; each may run twice, late, or at several workers at once without harm (CON-01, CON-12 to CON-20).

Fees are not prepared here: the invoicing run does that for the days it bills, so that usage which comes in until then
is no correction.
"""

from celery import shared_task

from contracts.services import jobs
from core.access import system_actor
from core.history import Channel, acting


@shared_task(name="contracts.refresh_statuses")
def refresh_statuses() -> int:
    """Bring the stored states up to date; readers compute them anyway. Returns how many there were."""
    with acting(user=system_actor(), channel=Channel.JOB):
        return jobs.refresh_statuses().done


@shared_task(name="contracts.run_renewals")
def run_renewals() -> int:
    """Lock the terms whose notice deadline is over, and settle indices that are published by now."""
    with acting(user=system_actor(), channel=Channel.JOB):
        return jobs.lock_terms().done + jobs.settle_indices().done


@shared_task(name="contracts.send_renewal_alerts")
def send_renewal_alerts() -> int:
    """Tell people of notice deadlines that come."""
    with acting(user=system_actor(), channel=Channel.JOB):
        return jobs.send_alerts().done


@shared_task(name="contracts.close_sla_periods")
def close_sla_periods() -> int:
    """Work out the credits of service levels that were missed; let go of those not claimed in time."""
    with acting(user=system_actor(), channel=Channel.JOB):
        return jobs.close_sla_periods().done


@shared_task(name="contracts.commit_budgets")
def commit_budgets() -> int:
    """Commit budgets that have opened since the contracts that name them were activated."""
    with acting(user=system_actor(), channel=Channel.JOB):
        return jobs.commit_budgets().done
