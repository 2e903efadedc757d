"""Propose mapping rules and departments from a FOCUS file's own tags, and create them if told so (USE-03)."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from core.errors import BillingError
from core.history import Channel, acting
from core.money import plain_amount
from core.spreadsheets import csv_lines
from invoicing.management.terminal import actor_named, entity_named, table
from invoicing.services.usage_mapping import (
    DEFAULT_TAG,
    MappingChoice,
    MappingProposal,
    MappingProposals,
    usage_mappings_apply,
    usage_mappings_propose,
    usage_remap,
)
from invoicing.services.usage_storage import Sums

_HEADER = ["value", "rows", "cost", "department", "code", "name", "entity", "state"]


class Command(BaseCommand):
    help = (
        "List the values of a tag in a FOCUS file with the department each could go to. With --apply the "
        "departments and rules are created, and rows that are in without a department are mapped."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", help="the FOCUS file, plain or gzip")
        parser.add_argument(
            "--entity", required=True, help="code or number of the entity that imports the file"
        )
        parser.add_argument("--tag", default=DEFAULT_TAG, help=f"key of the tag (default {DEFAULT_TAG})")
        parser.add_argument("--into", help="code or number of the entity that new departments are created in")
        parser.add_argument("--user", help="who does it; without it the system does")
        parser.add_argument("--apply", action="store_true", help="create the departments and the rules")
        parser.add_argument("--output", choices=["table", "csv"], default="table")

    def handle(self, *args: Any, **options: Any) -> None:
        path = Path(options["file"])
        with acting(channel=Channel.COMMAND):
            try:
                actor = actor_named(options["user"])
                entity = entity_named(actor, options["entity"])
                into = entity_named(actor, options["into"]) if options["into"] else entity
                with path.open("rb") as file:
                    proposed = usage_mappings_propose(
                        actor=actor, entity=entity, file=file, tag_key=options["tag"], into=into
                    )
                self._list(proposed, options["output"])
                if options["apply"]:
                    self._apply(actor, proposed)
            except OSError as error:
                raise CommandError(f"{path} cannot be read: {error.strerror}.") from error
            except BillingError as error:
                raise CommandError(error.message) from error

    def _list(self, proposed: MappingProposals, output: str) -> None:
        rows = [_row(proposal) for proposal in proposed.proposals]
        if output == "csv":
            self.stdout.write("".join(csv_lines(_HEADER, rows)), ending="")
            return
        self.stdout.write(table(_HEADER, rows, right=[1, 2]))
        self.stdout.write(
            f"\n{len(proposed.proposals):,} values of the tag {proposed.tag_key}, "
            f"{len(proposed.open):,} without a rule."
        )
        if proposed.untagged_rows:
            self.stdout.write(
                f"{proposed.untagged_rows:,} rows ({_sums(proposed.untagged_cost)}) have no such tag: "
                "they stay unallocated."
            )
        if not proposed.proposals:
            keys = ", ".join(f"{key} ({rows:,})" for key, rows in list(proposed.tag_keys.items())[:10])
            self.stdout.write(f"Tags that the file has: {keys or 'none'}. Choose one with --tag.")

    def _apply(self, actor: Any, proposed: MappingProposals) -> None:
        choices = [
            MappingChoice(
                value=proposal.value,
                department=proposal.department,
                entity=proposal.entity,
                code=proposal.code,
                name=proposal.name,
            )
            for proposal in proposed.open
        ]
        self._say(f"Creating {len(choices):,} rules …")
        applied = usage_mappings_apply(
            actor=actor, entity=proposed.entity, choices=choices, tag_key=proposed.tag_key
        )
        remapped = usage_remap(actor=actor, entity=proposed.entity)
        self._say(
            f"{len(applied.departments):,} departments and {len(applied.rules):,} rules created; "
            f"{remapped.rows:,} rows that were in have their department now."
        )

    def _say(self, text: str) -> None:
        """On standard error: the list may go to a file."""
        self.stderr.write(text, self.style.SUCCESS)


def _row(proposal: MappingProposal) -> list[str]:
    state = "has a rule" if proposal.is_mapped else "existing" if proposal.department else "new"
    return [
        proposal.value,
        f"{proposal.rows}",
        _sums(proposal.cost),
        "" if proposal.department is None else str(proposal.department),
        proposal.code,
        proposal.name,
        proposal.entity.code,
        state,
    ]


def _sums(sums: Sums) -> str:
    return ", ".join(
        f"{plain_amount(amount, currency)} {currency}" for currency, amount in sorted(sums.items())
    )
