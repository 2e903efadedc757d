"""`manage.py run_approval_timers`: what the scheduler does for approvals, now (APR-19 to APR-21)."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from approvals.services.sweeps import ALL
from core.access import system_actor
from core.history import Channel, acting


class Command(BaseCommand):
    """May run beside the scheduler: what somebody else has just done is not done twice."""

    help = "Expire, reassign, escalate and remind what is due, reviews too, and make the daily mails."

    def handle(self, *args: Any, **options: Any) -> None:
        with acting(user=system_actor(), channel=Channel.COMMAND):
            swept = {name: run() for name, run in ALL.items()}
        self.stdout.write(", ".join(f"{result.done} {name}" for name, result in swept.items()) + ".")
        failed = sum(result.failed for result in swept.values())
        if failed:
            raise CommandError(f"{failed} failed; the log says which and why. The next run tries them again.")
