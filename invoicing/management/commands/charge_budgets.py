"""Charge the departments' budgets with the allocated usage of an import (USE-05)."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from core.errors import BillingError
from core.history import Channel, acting
from core.money import plain_amount
from invoicing.management.terminal import actor_named, table
from invoicing.models import UsageBudgetCharge, UsageChargeStatus
from invoicing.services.usage_charging import usage_budgets_charge


class Command(BaseCommand):
    help = "Charge budgets with the allocated usage of an import; run it again after raising what refused."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--import", dest="import_id", type=int, required=True, help="number of the import"
        )
        parser.add_argument("--user", help="who does it; without it the system does")

    def handle(self, *args: Any, **options: Any) -> None:
        with acting(channel=Channel.COMMAND):
            try:
                done = usage_budgets_charge(
                    actor=actor_named(options["user"]), import_id=options["import_id"]
                )
            except BillingError as error:
                raise CommandError(error.message) from error
        self.stdout.write(
            f"{done.charged:,} charged, {done.unchanged:,} unchanged, {done.refused:,} refused."
        )
        self._tell_refused(options["import_id"])

    def _tell_refused(self, import_id: int) -> None:
        refused = UsageBudgetCharge.objects.filter(
            usage_import_id=import_id, status=UsageChargeStatus.REFUSED
        ).select_related("department")
        rows = [
            (
                str(charge.department),
                f"{charge.month:%Y-%m}",
                f"{plain_amount(charge.exact_amount, charge.currency)} {charge.currency}",
                charge.refusal_message,
            )
            for charge in refused.order_by("department__code", "month")
        ]
        if rows:
            self.stdout.write(table(["department", "month", "usage", "refused because"], rows, right=[2]))
