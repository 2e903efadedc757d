"""Run the invoicing of a scope for a period: prepare, check, issue, resume (INV-03)."""

import datetime
from argparse import ArgumentParser, ArgumentTypeError
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from core.errors import BillingError
from core.history import Channel, acting
from core.models import User
from core.money import plain_amount
from entities.models import Entity
from invoicing.management.terminal import TerminalProgress, actor_named, entity_named, table
from invoicing.models import BillingRun, BillingRunItem, RunStatus
from invoicing.selectors.billing_anomalies import change_percent
from invoicing.selectors.billing_runs import RunProgress, run_counts, run_totals
from invoicing.services.billing_runs import run_check, run_create, run_issue, run_resume, run_work
from invoicing.services.usage_imports import ImportProgress


def _day(text: str) -> datetime.date:
    try:
        return datetime.date.fromisoformat(text)
    except ValueError as error:
        raise ArgumentTypeError(f'"{text}" is no date; write it as 2024-09-01.') from error


class Command(BaseCommand):
    help = (
        "Invoice all payers of a scope for a period: --prepare makes the drafts and lists what is unusual, --check "
        "confirms them, --issue issues exactly what was previewed. The three may be given together. --resume goes on "
        "with a run that was interrupted, and prepares failed payers again. Without any of them the run is shown."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--scope", required=True, help="code or number of the entity, with all below it")
        parser.add_argument(
            "--from", required=True, type=_day, dest="start", help="first day, e.g. 2024-09-01"
        )
        parser.add_argument(
            "--to", required=True, type=_day, dest="end", help="first day after it, e.g. 2024-10-01"
        )
        parser.add_argument("--issuer", help="code of an issuer: only payers whom it invoices")
        parser.add_argument(
            "--issue-date", type=_day, help="date of the invoices; without it the day they are issued"
        )
        parser.add_argument("--user", help="who does it; without it the system does")
        parser.add_argument("--prepare", action="store_true", help="start the run and make its drafts")
        parser.add_argument("--check", action="store_true", help="confirm what is prepared")
        parser.add_argument("--issue", action="store_true", help="issue what was checked")
        parser.add_argument(
            "--resume", action="store_true", help="go on where it stopped; try failed payers again"
        )
        parser.add_argument("--yes", action="store_true", help="ask nothing before confirming and issuing")

    def handle(self, *args: Any, **options: Any) -> None:
        with acting(channel=Channel.COMMAND):
            try:
                self._run(options)
            except BillingError as error:
                raise CommandError(error.message) from error

    def _run(self, options: dict[str, Any]) -> None:
        actor = actor_named(options["user"])
        scope = entity_named(actor, options["scope"])
        run = self._found(actor, scope, options)
        if options["resume"]:
            run = self._work(run_resume(actor=actor, run=run))
        elif options["prepare"] and run.status == RunStatus.PREPARING:
            run = self._work(run)
        self._show(run)
        if options["check"] and run.status == RunStatus.PREPARED:
            self._ask(options, f"Confirm {run_counts(run.pk).prepared:,} invoices?")
            run = run_check(actor=actor, run=run)
            self.stdout.write(self.style.SUCCESS(f"{run} is checked."))
        if options["issue"] and run.is_open:
            self._ask(options, f"Issue {run_counts(run.pk).prepared:,} invoices?")
            run = self._work(run_issue(actor=actor, run=run, issue_date=options["issue_date"]))
            self._show(run)
        self._tell_outcome(run)

    def _found(self, actor: User, scope: Entity, options: dict[str, Any]) -> BillingRun:
        """The open run of the scope and period, else a new one with --prepare."""
        period = {"period_start": options["start"], "period_end": options["end"]}
        runs = (
            BillingRun.objects.visible_to(actor)
            .select_related("scope", "issuer")
            .filter(scope=scope, **period)
        )
        run = runs.open().first()
        if run is not None:
            return run
        if options["prepare"]:
            issuer = entity_named(actor, options["issuer"]) if options["issuer"] else None
            return run_create(
                actor=actor, scope=scope, issuer=issuer, issue_date=options["issue_date"], **period
            )
        last = runs.first()
        if last is None or options["check"] or options["issue"] or options["resume"]:
            raise CommandError(
                f"There is no open billing run of {scope} for this period. Start one with --prepare."
            )
        return last

    def _work(self, run: BillingRun) -> BillingRun:
        bar = TerminalProgress(self.stderr)

        def show(progress: RunProgress) -> None:
            bar(ImportProgress(progress.done, max(1, progress.total), 0, progress.words))

        try:
            return run_work(run=run, on_progress=show)
        finally:
            bar.close()

    def _ask(self, options: dict[str, Any], question: str) -> None:
        if options["yes"]:
            return
        try:
            answer = input(f"{question} [y/N] ")
        except EOFError:
            answer = ""
        if answer.strip().lower() not in ("y", "yes"):
            raise CommandError("Nothing was done. Answer y, or give --yes.")

    def _show(self, run: BillingRun) -> None:
        items = list(run.items.select_related("entity", "invoice").order_by("position"))
        self.stdout.write(f"{run} of {run.scope}, {run.period_start} until before {run.period_end}")
        rows = [
            (item.position, item.entity.name, item.get_status_display(), *_figures(item), _document(item))
            for item in items
        ]
        header = ["#", "payer", "state", "lines", "total", "", "change", "invoice"]
        self.stdout.write(table(header, rows, right=[0, 3, 4, 6]))
        for item in items:
            for anomaly in item.anomalies:
                self.stdout.write(self.style.WARNING(f"{item.entity.name}: {anomaly['detail']}"))
            if item.error_code:
                self.stdout.write(self.style.ERROR(f"{item.entity.name}: {item.error_text}"))
        for total in run_totals(run):
            amount = plain_amount(total.total, total.currency)
            if total.invoices:
                self.stdout.write(f"{total.invoices:,} {total.status}: {amount} {total.currency}")
            if total.credit_notes:
                credited = plain_amount(total.credited, total.currency)
                notes = "credit note" if total.credit_notes == 1 else "credit notes"
                self.stdout.write(
                    f"{total.credit_notes:,} {notes} {total.status}: {credited} {total.currency}"
                )

    def _tell_outcome(self, run: BillingRun) -> None:
        counts = run_counts(run.pk)
        text = f"{run} is {run.get_status_display().lower()}: {counts.issued:,} issued, {counts.prepared:,} prepared"
        if counts.failed:
            self.stdout.write(
                self.style.WARNING(f"{text}, {counts.failed:,} failed. Put right why, then give --resume.")
            )
        else:
            self.stdout.write(self.style.SUCCESS(f"{text}."))


def _figures(item: BillingRunItem) -> tuple[str, str, str, str]:
    if item.total is None:
        return "", "", "", ""
    percent = None if item.previous_total is None else change_percent(item.total, item.previous_total)
    change = "" if percent is None else f"{percent:+} %"
    return f"{item.line_count:,}", plain_amount(item.total, item.currency), item.currency, change


def _document(item: BillingRunItem) -> str:
    notes = [note["number"] for note in item.credit_notes if note["number"]]
    return ", ".join([str(item.invoice), *notes] if item.invoice else notes)
