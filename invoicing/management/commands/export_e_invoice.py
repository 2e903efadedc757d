"""Write the e-invoice of an issued document to a file (INV-09)."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from core.errors import BillingError
from invoicing.documents.kept import document_name
from invoicing.documents.store import PDFPending
from invoicing.einvoice.store import E_INVOICE_KINDS, e_invoice, e_invoice_keep
from invoicing.models import DocumentKind, Invoice


class Command(BaseCommand):
    help = (
        "Write an issued document as e-invoice (EN 16931): Factur-X, CII or Peppol UBL. Says what is missing."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("number", help="number of the document, e.g. SHS-INV-2024-000001")
        parser.add_argument("--issuer", help="code of its issuer, where several have the number")
        parser.add_argument("--format", choices=E_INVOICE_KINDS, default=DocumentKind.FACTURX)
        parser.add_argument(
            "--to", type=Path, default=Path(), help="a folder, or a file's name; here by default"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        kind = options["format"]
        invoice = self._found(options["number"], options["issuer"])
        try:
            content = self._made(invoice, kind)
        except BillingError as error:
            raise CommandError(error.message) from error
        path = options["to"]
        if path.is_dir():
            path /= document_name(invoice, kind)
        path.write_bytes(content)
        self.stdout.write(self.style.SUCCESS(f"{path}: {len(content):,} bytes."))

    @staticmethod
    def _found(number: str, issuer: str | None) -> Invoice:
        found = Invoice.objects.filter(number=number)
        if issuer:
            found = found.filter(issuer__code__iexact=issuer)
        invoices = list(found[:2])
        if not invoices:
            raise CommandError(f"No document has the number {number}.")
        if len(invoices) > 1:
            raise CommandError(f"Several issuers have a document {number}: name one with --issuer.")
        return invoices[0]

    @staticmethod
    def _made(invoice: Invoice, kind: str) -> bytes:
        try:
            return e_invoice(invoice, kind)
        except PDFPending:
            # Nobody waits for an answer of the web server here.
            return e_invoice_keep(invoice, kind)
