"""Remind payers of what is overdue and not disputed; the scheduler does it every day."""

import datetime
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from core.errors import BillingError
from core.history import Channel, acting
from core.money import plain_amount
from invoicing.management.terminal import actor_named, table
from invoicing.services.dunning import checked_day, dunning_plan, dunning_run


class Command(BaseCommand):
    help = "Remind payers of what is overdue and not disputed: each document once per level."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="show what would be sent, write nothing")
        parser.add_argument(
            "--on", type=datetime.date.fromisoformat, help="as of that day; today unless given"
        )
        parser.add_argument("--user", help="who does it; without it the system does")

    def handle(self, *args: Any, **options: Any) -> None:
        with acting(channel=Channel.COMMAND):
            try:
                actor, on = actor_named(options["user"]), checked_day(options["on"])
                found: Any = (
                    dunning_plan(actor=actor, on=on)
                    if options["dry_run"]
                    else dunning_run(actor=actor, on=on)
                )
            except BillingError as error:
                raise CommandError(error.message) from error
        rows = [
            (
                str(one.entity),
                str(one.issuer),
                str(one.level.level if options["dry_run"] else one.level),
                f"{plain_amount(one.amount, one.currency)} {one.currency}",
            )
            for one in found
        ]
        verb = "would be sent" if options["dry_run"] else "made"
        self.stdout.write(f"{len(rows)} reminder{'' if len(rows) == 1 else 's'} {verb}.")
        if rows:
            self.stdout.write(table(["payer", "issuer", "level", "amount"], rows, right=[3]))
