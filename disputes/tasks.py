"""Jobs of disputes; each may run twice, late, or at several workers at once without harm (DSP-08 to DSP-10)."""

import logging

from celery import shared_task

from core.access import system_actor
from core.history import Channel, acting
from disputes.selectors.clock_proof import clock_differences
from disputes.services import timers

logger = logging.getLogger(__name__)


@shared_task(name="disputes.run_timers")
def run_timers() -> int:
    """Note missed deadlines, warn, escalate, remind, withdraw and close what is due. Returns how much was done."""
    with acting(user=system_actor(), channel=Channel.JOB):
        return sum(swept.done for swept in timers.run_timers().values())


@shared_task(name="disputes.verify_clocks")
def verify_clocks() -> int:
    """Prove every night that stored clocks are what the log says; a difference is an error in the log (DSP-09)."""
    found = 0
    for difference in clock_differences():
        found += 1
        logger.error("dispute clock differs: %s", difference)
    return found
