"""`manage.py verify_settlements`: recompute what settles, credits and disputes documents (INV-06, INV-08, DSP-03)."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from invoicing.models import Invoice, Payment, Settlement
from invoicing.selectors.settlements import settlement_differences


class Command(BaseCommand):
    """Names the first counter that is not the sum of its rows, and ends with 1."""

    help = "Recompute what is settled, applied, credited and disputed from its rows and name the first difference."

    def handle(self, *args: Any, **options: Any) -> None:
        differences = list(settlement_differences())
        if differences:
            raise CommandError(f"{len(differences)} differences; the first: {differences[0]}", returncode=1)
        self.stdout.write(
            self.style.SUCCESS(
                f"{Settlement.objects.count():,} settlements: {Invoice.objects.count():,} documents and "
                f"{Payment.objects.count():,} payments equal their rows."
            )
        )
