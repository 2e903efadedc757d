"""Map usage rows that are in by the rules as they are now (USE-03)."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from core.errors import BillingError
from core.history import Channel, acting
from core.money import plain_amount
from invoicing.management.terminal import actor_named, entity_named, table
from invoicing.services.usage_mapping import (
    Remap,
    RemapScope,
    departments_of,
    usage_remap,
    usage_remap_preview,
)


class Command(BaseCommand):
    help = (
        "Give rows without a department the one that the rules name now. Rows on an invoice never move. "
        "With --preview nothing is written."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--entity", required=True, help="code or number of the entity that imported the rows"
        )
        parser.add_argument(
            "--all", action="store_true", help="ask all unbilled rows anew, not only the unallocated"
        )
        parser.add_argument("--preview", action="store_true", help="only say what would move")
        parser.add_argument("--user", help="who does it; without it the system does")

    def handle(self, *args: Any, **options: Any) -> None:
        scope = RemapScope.UNBILLED if options["all"] else RemapScope.UNALLOCATED
        work = usage_remap_preview if options["preview"] else usage_remap
        with acting(channel=Channel.COMMAND):
            try:
                actor = actor_named(options["user"])
                entity = entity_named(actor, options["entity"])
                remap = work(actor=actor, entity=entity, scope=scope)
            except BillingError as error:
                raise CommandError(error.message) from error
        self._tell(remap, "would move" if options["preview"] else "moved")

    def _tell(self, remap: Remap, verb: str) -> None:
        departments = departments_of(remap.moves)

        def name(key: int | None) -> str:
            return "unallocated" if key is None else str(departments[key])

        if remap.moves:
            rows = [
                (
                    name(move.from_department_id),
                    name(move.to_department_id),
                    f"{move.rows:,}",
                    f"{plain_amount(move.cost, move.currency)} {move.currency}",
                )
                for move in remap.moves
            ]
            self.stdout.write(table(["from", "to", "rows", "cost"], rows, right=[2, 3]))
        self.stdout.write(f"{remap.rows:,} rows {verb}.")
