"""Prove that the numbers of issued documents have no gap and no duplicate (INV-02)."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from invoicing.models import NumberSeries
from invoicing.selectors.invoice import numbering_defects_of_unknown_series, numbering_proof


class Command(BaseCommand):
    help = (
        "Check every number series: no gap, no duplicate, numbers follow dates. "
        "Exits with 1 and names the first fault."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--issuer", help="code of one issuer; without it all series are checked")
        parser.add_argument("--fiscal-year", type=int, help="one fiscal year")

    def handle(self, *args: Any, **options: Any) -> None:
        series = NumberSeries.objects.select_related("issuer").order_by(
            "issuer__code", "document_type", "fiscal_year"
        )
        if options["issuer"]:
            series = series.filter(issuer__code__iexact=options["issuer"])
        if options["fiscal_year"]:
            series = series.filter(fiscal_year=options["fiscal_year"])
        proofs = [numbering_proof(row) for row in series]
        for proof in proofs:
            self.stdout.write(("ok    " if proof.holds else "FAULT ") + proof.sentence)
        faults = [proof.sentence for proof in proofs if not proof.holds]
        faults += [
            f"{row['document_count']} documents of issuer {row['issuer_id']} in {row['fiscal_year']} have no series."
            for row in numbering_defects_of_unknown_series()
        ]
        if faults:
            raise CommandError(faults[0], returncode=1)
        self.stdout.write(
            self.style.SUCCESS(
                f"{len(proofs)} series, {sum(p.documents for p in proofs):,} documents: no gap, no duplicate."
            )
        )
