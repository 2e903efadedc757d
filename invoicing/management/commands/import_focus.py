"""Take a FOCUS cost and usage file in (USE-01 to USE-03)."""

import time
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from core.errors import BillingError
from core.history import Channel, acting
from core.money import plain_amount
from invoicing.management.terminal import TerminalProgress, actor_named, entity_named, table
from invoicing.models import ImportStatus, UsageImport
from invoicing.selectors.usage import import_totals
from invoicing.services.usage_imports import ImportResult, usage_file_import

_SHOWN_ROWS = 10


class Command(BaseCommand):
    help = (
        "Import a FOCUS 1.0 to 1.2 cost and usage file (CSV, plain or gzip) for an entity and those below it. "
        "The same file twice adds nothing; a run that was killed left nothing behind: start it again."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", help="the file, plain or gzip")
        parser.add_argument(
            "--entity", required=True, help="code or number of the entity that the cost is of"
        )
        parser.add_argument("--user", help="who imports it; without it the system does")

    def handle(self, *args: Any, **options: Any) -> None:
        path = Path(options["file"])
        progress = TerminalProgress(self.stderr._out)
        started = time.monotonic()
        with acting(channel=Channel.COMMAND):
            try:
                actor = actor_named(options["user"])
                entity = entity_named(actor, options["entity"])
                with path.open("rb") as file:
                    result = usage_file_import(
                        actor=actor, entity=entity, file=file, file_name=path.name, on_progress=progress
                    )
            except OSError as error:
                raise CommandError(f"{path} cannot be read: {error.strerror}.") from error
            except BillingError as error:
                raise CommandError(error.message) from error
            finally:
                progress.close()
        self._tell(result, time.monotonic() - started)

    def _tell(self, result: ImportResult, seconds: float) -> None:
        usage_import = result.usage_import
        if usage_import.status == ImportStatus.FAILED:
            raise CommandError(f"Nothing was imported. {usage_import.error_message}")
        if result.already_imported:
            self.stdout.write(result.message)
            return
        self._tell_rows(usage_import, seconds)
        self._tell_sums(usage_import)
        self._tell_rejected(usage_import)

    def _tell_rows(self, usage_import: UsageImport, seconds: float) -> None:
        self.stdout.write(
            self.style.SUCCESS(
                f"Import #{usage_import.pk} of {usage_import.file_name} for {usage_import.entity}: "
                f"FOCUS {usage_import.format_version}, {seconds:.1f} s, {usage_import.rows_read / seconds:,.0f} rows/s"
            )
        )
        rows = [
            ("read", usage_import.rows_read),
            ("imported", usage_import.rows_imported),
            ("  of them equal to an earlier row of the file", usage_import.rows_repeated),
            ("in already by an earlier import", usage_import.rows_duplicate),
            ("rejected", usage_import.rows_rejected),
        ]
        self.stdout.write(table(["rows", ""], [(name, f"{number:,}") for name, number in rows], right=[1]))
        for earlier, number in usage_import.overlaps.items():
            self.stdout.write(f"{number:,} rows had come with import #{earlier}.")

    def _tell_sums(self, usage_import: UsageImport) -> None:
        sums = [
            (
                total.currency,
                plain_amount(total.cost, total.currency),
                plain_amount(total.allocated_cost, total.currency),
                plain_amount(total.unallocated_cost, total.currency),
                f"{total.unallocated_rows:,}",
            )
            for total in import_totals(usage_import)
        ]
        if sums:
            self.stdout.write("")
            self.stdout.write(
                table(
                    ["currency", "billed cost", "allocated", "unallocated", "rows unallocated"],
                    sums,
                    right=[1, 2, 3, 4],
                )
            )

    def _tell_rejected(self, usage_import: UsageImport) -> None:
        if not usage_import.rows_rejected:
            return
        self.stdout.write("")
        self.stdout.write(
            self.style.WARNING("Rejected rows, kept for repair under Rejected rows in the back-office:")
        )
        for row in usage_import.rejected_rows.order_by("line_number")[:_SHOWN_ROWS]:
            reasons = " ".join(problem["detail"] for problem in row.problems)
            self.stdout.write(f"  line {row.line_number:,}: {reasons}")
        more = usage_import.rows_rejected - _SHOWN_ROWS
        if more > 0:
            self.stdout.write(f"  and {more:,} more")
