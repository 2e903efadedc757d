"""`manage.py check_ledger`: recompute every budget from its ledger (BUD-01)."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from budgets.models import Budget
from budgets.services.proof import ledger_differences


class Command(BaseCommand):
    """Names the first counter that is not the sum of its entries, and ends with 1."""

    help = "Recompute every budget's counters from its entries and name the first difference."

    def handle(self, *args: Any, **options: Any) -> None:
        differences = list(ledger_differences())
        if differences:
            raise CommandError(f"{len(differences)} differences; the first: {differences[0]}")
        self.stdout.write(f"{Budget.objects.count()} budgets equal their ledger.")
