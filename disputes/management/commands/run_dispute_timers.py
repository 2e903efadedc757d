"""`manage.py run_dispute_timers`: what the scheduler does for disputes, now (DSP-08, DSP-10, DSP-16)."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from core.access import system_actor
from core.history import Channel, acting
from disputes.services.timers import run_timers


class Command(BaseCommand):
    """May run beside the scheduler: what somebody else has just done is not done twice."""

    help = "Note missed deadlines, warn, escalate, remind customers, withdraw what is silent, close what is resolved."

    def handle(self, *args: Any, **options: Any) -> None:
        with acting(user=system_actor(), channel=Channel.COMMAND):
            swept = run_timers()
        self.stdout.write(", ".join(f"{result.done} {name}" for name, result in swept.items()) + ".")
        failed = sum(result.failed for result in swept.values())
        if failed:
            raise CommandError(f"{failed} failed; the log says which and why. The next run tries them again.")
