"""Import exchange rates: the shipped history of the European Central Bank, or a CSV file."""

from argparse import ArgumentParser
from datetime import date
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from core.access import system_actor
from core.errors import BillingError
from core.exchange import RatesImported, exchange_rates_import_csv, exchange_rates_import_ecb
from core.history import Channel, acting


class Command(BaseCommand):
    help = (
        "Import exchange rates: --ecb adds the ECB's history shipped with the product, --csv FILE a file with the "
        "columns date, base, quote, rate and optionally source. A second run adds nothing."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        choice = parser.add_mutually_exclusive_group(required=True)
        choice.add_argument("--ecb", action="store_true", help="the ECB's history shipped with the product")
        choice.add_argument("--csv", type=Path, metavar="FILE", help="a CSV file of your own")
        parser.add_argument(
            "--since", type=date.fromisoformat, help="with --ecb: from this date on (2024-01-01)"
        )
        parser.add_argument("--source", default="CSV", help="with --csv: the source to record (default CSV)")

    def handle(self, *args: Any, **options: Any) -> None:
        with acting(channel=Channel.COMMAND):
            result = self._import_ecb(options["since"]) if options["ecb"] else self._import_csv(options)
        self.stdout.write(f"{result.added} exchange rates added, {result.unchanged} were there already.")

    def _import_ecb(self, since: date | None) -> RatesImported:
        self.stdout.write("Reading the rates of the European Central Bank …")
        return exchange_rates_import_ecb(since=since, progress=self._say)

    def _say(self, count: int) -> None:
        self.stdout.write(f"{count:,} rates read")

    def _import_csv(self, options: dict[str, Any]) -> RatesImported:
        try:
            with options["csv"].open(encoding="utf-8-sig", newline="") as lines:
                return exchange_rates_import_csv(actor=system_actor(), lines=lines, source=options["source"])
        except OSError as error:
            raise CommandError(f"{options['csv']} cannot be read: {error.strerror}.") from error
        except UnicodeDecodeError as error:
            raise CommandError(
                f"{options['csv']} is no UTF-8 text. Save it as CSV UTF-8 and try again."
            ) from error
        except BillingError as error:
            details = "\n".join(problem.detail for problem in error.errors)
            raise CommandError(f"{error.message}\n{details}".strip()) from error
