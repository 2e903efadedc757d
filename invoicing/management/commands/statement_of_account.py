"""Write a payer's statement of account as PDF."""

import datetime
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from core.errors import BillingError
from core.money import plain_amount
from invoicing.documents.statement import statement_name, statement_pdf
from invoicing.management.terminal import actor_named, entity_named, table
from invoicing.selectors.statements import account_statement


class Command(BaseCommand):
    help = "Write a payer's statement of account as PDF, and its balances to the terminal."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("entity", help="code or number of the payer")
        parser.add_argument("--from", dest="start", type=datetime.date.fromisoformat, required=True)
        parser.add_argument(
            "--to", dest="end", type=datetime.date.fromisoformat, required=True, help="the first day after it"
        )
        parser.add_argument(
            "--output", type=Path, help="the PDF's name; without it only the balances are shown"
        )
        parser.add_argument("--user", help="who reads; without it the system does")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            actor = actor_named(options["user"])
            statement = account_statement(
                user=actor,
                payer=entity_named(actor, options["entity"]),
                start=options["start"],
                end=options["end"],
            )
            if options["output"] is not None:
                options["output"].write_bytes(statement_pdf(statement))
        except BillingError as error:
            raise CommandError(error.message) from error
        rows = [
            (
                account.issuer.name,
                account.currency,
                *(
                    plain_amount(amount, account.currency)
                    for amount in (account.opening, account.debits, account.credits, account.closing)
                ),
            )
            for account in statement.accounts
        ]
        self.stdout.write(f"{statement_name(statement)}: {len(rows)} account{'' if len(rows) == 1 else 's'}.")
        if rows:
            header = ["issuer", "currency", "opening", "charged", "paid or credited", "closing"]
            self.stdout.write(table(header, rows, right=[2, 3, 4, 5]))
