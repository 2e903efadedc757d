"""`manage.py verify_dispute_clocks [--repair]`: work all clocks out of their logs anew (DSP-09)."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from core.access import system_actor
from core.history import Channel, acting
from disputes.models import DisputeRound
from disputes.selectors.clock_proof import clock_differences
from disputes.services.rounds import clocks_rebuild


class Command(BaseCommand):
    """Names what is stored and not what the log says, and ends with 1; with --repair it writes what the log says."""

    help = "Compare the stored clocks of disputes with their logs; --repair writes what the logs say."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--repair", action="store_true", help="Write what the logs say.")

    def handle(self, *args: Any, **options: Any) -> None:
        differences = list(clock_differences())
        for difference in differences:
            self.stdout.write(str(difference))
        if differences and options["repair"]:
            with acting(user=system_actor(), channel=Channel.COMMAND):
                for dispute_id in sorted({difference.dispute_id for difference in differences}):
                    clocks_rebuild(dispute_id=dispute_id)
            self.stdout.write(f"{len(differences)} differences were there and are repaired.")
            differences = list(clock_differences())
        if differences:
            raise CommandError(f"{len(differences)} differences; the first: {differences[0]}", returncode=1)
        self.stdout.write(
            self.style.SUCCESS(
                f"The clocks of {DisputeRound.objects.count():,} rounds are what their logs say."
            )
        )
