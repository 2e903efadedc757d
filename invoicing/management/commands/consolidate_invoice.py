"""Make, preview or issue the consolidated invoice of a payer for a period (INV-03)."""

import datetime
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Sequence
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from core.errors import BillingError
from core.history import Channel, acting
from core.money import plain_amount
from invoicing.management.terminal import actor_named, entity_named, table
from invoicing.models import Invoice, InvoiceLine
from invoicing.selectors.invoice import invoice_subtotals
from invoicing.services.consolidation import (
    ConsolidatedContent,
    LineContent,
    Subtotal,
    consolidated_invoice_draft,
    consolidation_preview,
    late_items_warning,
)
from invoicing.services.invoice import invoice_issue

_UNALLOCATED = "unallocated"


def _day(text: str) -> datetime.date:
    try:
        return datetime.date.fromisoformat(text)
    except ValueError as error:
        raise ArgumentTypeError(f'"{text}" is no date; write it as 2024-09-01.') from error


class Command(BaseCommand):
    help = (
        "Consolidate what a payer and those it pays for used in a period into one invoice: a draft, or issued with "
        "--issue. --preview shows what would be billed and writes nothing. A second run bills only what is new."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--entity", required=True, help="code or number of the payer")
        parser.add_argument(
            "--from", required=True, type=_day, dest="start", help="first day, e.g. 2024-09-01"
        )
        parser.add_argument(
            "--to", required=True, type=_day, dest="end", help="first day after it, e.g. 2024-10-01"
        )
        parser.add_argument("--user", help="who does it; without it the system does")
        how = parser.add_mutually_exclusive_group()
        how.add_argument("--preview", action="store_true", help="show it and write nothing")
        how.add_argument("--issue", action="store_true", help="give it its number and post it")

    def handle(self, *args: Any, **options: Any) -> None:
        with acting(channel=Channel.COMMAND):
            try:
                self._run(options)
            except BillingError as error:
                raise CommandError(error.message) from error

    def _run(self, options: dict[str, Any]) -> None:
        actor = actor_named(options["user"])
        scope = {
            "actor": actor,
            "payer": entity_named(actor, options["entity"]),
            "period_start": options["start"],
            "period_end": options["end"],
        }
        if options["preview"]:
            self._show_preview(consolidation_preview(**scope))
            return
        with transaction.atomic():
            result = consolidated_invoice_draft(**scope)
            invoice = result.invoice
            if options["issue"]:
                invoice = invoice_issue(actor=actor, invoice=invoice)
        self._show_invoice(invoice)
        if options["issue"]:
            self.stdout.write(
                self.style.SUCCESS(f"Invoice {invoice.number} is issued, due {invoice.due_date}.")
            )
        else:
            verb = "made" if result.created else "brought up to date"
            self.stdout.write(self.style.SUCCESS(f"Draft {invoice.pk} is {verb}. Issue it with --issue."))

    def _show_preview(self, content: ConsolidatedContent) -> None:
        late = late_items_warning(content)
        warnings = [warning.detail for warning in (*content.warnings, *([late] if late else []))]
        self._show(content, content.lines, content.subtotals_by_department, warnings)
        self.stdout.write("This is a preview: nothing was written.")

    def _show_invoice(self, invoice: Invoice) -> None:
        warnings = [warning["detail"] for warning in invoice.snapshot.get("warnings", [])]
        self._show(
            invoice, list(invoice.lines.all()), invoice_subtotals(invoice, by_department=True), warnings
        )

    def _show(
        self,
        document: ConsolidatedContent | Invoice,
        lines: Sequence[LineContent | InvoiceLine],
        subtotals: Sequence[Subtotal],
        warnings: Sequence[str],
    ) -> None:
        currency = document.currency
        rows = [
            (
                number,
                line.entity_name,
                line.department_code or _UNALLOCATED,
                line.provider,
                line.description,
                f"{line.item_count:,}",
                f"{line.original_amount.normalize():f} {line.original_currency}"
                + (f" + {line.markup_percent.normalize():f} %" if line.markup_percent else ""),
                plain_amount(line.amount, currency),
            )
            for number, line in enumerate(lines, start=1)
        ]
        header = ["#", "entity", "department", "provider", "description", "items", "exact", currency]
        self.stdout.write(table(header, rows, right=[0, 5, 6, 7]))
        self.stdout.write("")
        sums = [
            (
                s.entity_name,
                s.department_code or _UNALLOCATED,
                f"{s.item_count:,}",
                plain_amount(s.amount, currency),
            )
            for s in subtotals
        ]
        self.stdout.write(table(["entity", "department", "items", currency], sums, right=[2, 3]))
        self.stdout.write("")
        for label, amount in (
            ("Subtotal", document.subtotal),
            ("Tax", document.tax_total),
            ("Total", document.total),
        ):
            self.stdout.write(f"{label:9}{plain_amount(amount, currency):>16} {currency}")
        for warning in warnings:
            self.stdout.write(self.style.WARNING(f"Note: {warning}"))
