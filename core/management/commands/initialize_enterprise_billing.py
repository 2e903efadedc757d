"""Load the sample group."""

from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import connection

from core.errors import BillingError
from core.history import Channel, acting
from core.sample_data.run import SampleRun, steps
from core.sample_data.sign_ins import API_SIGN_INS, DEMO_PASSWORD, DEMO_SIGN_INS, PAGE_SIGN_INS

ANY_TWO_NUMBERS = (0x5461, 0x6D70)
"""Names the advisory lock: two loads at once wait for each other."""


class Command(BaseCommand):
    help = (
        'Load the sample group "Tarnholm": entities in five countries, departments, people, exchange rates, seven '
        "months of cloud cost and the invoices for it. A second run changes nothing, and other data stays as it is."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--sign-ins",
            "--sign-ins-only",
            action="store_true",
            dest="sign_ins",
            help="print who may sign in, and load nothing",
        )
        parser.add_argument(
            "--allow-in-production",
            action="store_true",
            help="load it in production too; the sample's people then have no password and cannot sign in",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["sign_ins"]:
            self._print_sign_ins()
            return
        if not _sign_ins_known() and not options["allow_in_production"]:
            raise CommandError(
                "These are production settings, and the sample data is for development. If you want it here all "
                "the same, add --allow-in-production: its people get no password."
            )
        run = SampleRun(say=self._say, password=DEMO_PASSWORD if _sign_ins_known() else None)
        self._load(run)
        if run.made:
            self._say(f"The sample group is loaded: {run.made:,} records added.")
        else:
            self._say("The sample group was complete; nothing was changed.")
        self._say("Who may sign in: add --sign-ins.")

    def _load(self, run: SampleRun) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_lock(%s, %s)", ANY_TWO_NUMBERS)
            try:
                with acting(channel=Channel.COMMAND, reason="Sample data"):
                    for step in steps():
                        self._say(f"{step.title} …")
                        step.run(run)
            except BillingError as error:
                details = "\n".join(problem.detail for problem in error.errors)
                raise CommandError(f"{error.message}\n{details}".strip()) from error
            finally:
                cursor.execute("SELECT pg_advisory_unlock(%s, %s)", ANY_TWO_NUMBERS)

    def _say(self, text: str) -> None:
        self.stdout.write(text)
        self.stdout.flush()

    def _print_sign_ins(self) -> None:
        if not _sign_ins_known():
            self._say("With these settings nobody of the sample group can sign in.")
            return
        self._say(f"Sign in with the password {DEMO_PASSWORD} as:")
        groups = (
            ("back-office, pages and API", DEMO_SIGN_INS),
            ("pages and API", PAGE_SIGN_INS),
            ("API only", API_SIGN_INS),
        )
        width = max(len(username) for _, people in groups for _, username, _ in people)
        for where, people in groups:
            for role, username, _ in people:
                self._say(f"  {username:<{width}}  {role} ({where})")


def _sign_ins_known() -> bool:
    """Whether these settings have people sign in with the published password: never in production."""
    return bool(getattr(settings, "DEMO_SIGN_INS", None))
