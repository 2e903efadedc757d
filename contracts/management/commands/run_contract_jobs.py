"""`manage.py run_contract_jobs [--on DATE]`: what the scheduler does for contracts, now (CON-01, CON-12 to CON-20)."""

import datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from contracts.services.jobs import run_jobs
from core.access import system_actor
from core.errors import Invalid
from core.history import Channel, acting


class Command(BaseCommand):
    """May run beside the scheduler: what somebody else has just done is not done twice."""

    help = "Refresh states, lock renewals, settle indices, send alerts, work out service credits, commit budgets."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--on",
            type=datetime.date.fromisoformat,
            help="Do what was due on that day, such as 2026-10-31; by default today.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            with acting(user=system_actor(), channel=Channel.COMMAND):
                done = run_jobs(options["on"])
        except Invalid as error:
            raise CommandError(error.message) from error
        said = (f"{result.done} {name.replace('_', ' ')}" for name, result in done.items())
        self.stdout.write(", ".join(said) + ".")
        failed = sum(result.failed for result in done.values())
        if failed:
            raise CommandError(f"{failed} failed; the log says which and why. The next run tries them again.")
