"""Load the sample group."""

from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import connection

from core.errors import BillingError
from core.history import Channel, acting
from core.sample_data.run import SampleRun, steps
from core.sample_data.sign_ins import DEMO_PASSWORD

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
        sign_ins: list[tuple[str, str, str]] = getattr(settings, "DEMO_SIGN_INS", [])
        if options["sign_ins"]:
            self._print_sign_ins(sign_ins)
            return
        if not sign_ins and not options["allow_in_production"]:
            raise CommandError(
                "These are production settings, and the sample data is for development. If you want it here all "
                "the same, add --allow-in-production: its people get no password."
            )
        run = SampleRun(say=self._say, password=DEMO_PASSWORD if sign_ins else None)
        self._load(run)
        if run.made:
            self._say(f"The sample group is loaded: {run.made:,} records added.")
        else:
            self._say("The sample group was complete; nothing was changed.")
        self._print_sign_ins(sign_ins)

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

    def _print_sign_ins(self, sign_ins: list[tuple[str, str, str]]) -> None:
        if not sign_ins:
            self._say("There are no sample sign-ins with these settings.")
            return
        self._say("Sign in as (the password of all is the same):")
        width = max(len(username) for _, username, _ in sign_ins)
        for role, username, password in sign_ins:
            self._say(f"  {username:<{width}}  {password}  {role}")
