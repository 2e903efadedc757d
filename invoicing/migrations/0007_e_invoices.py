"""An issued document is kept in several kinds: as PDF and as e-invoice (INV-09)."""

import django.db.models.deletion
from django.db import migrations, models

from core.migration_operations import at_once


class Migration(migrations.Migration):
    dependencies = [("invoicing", "0006_billing_runs")]

    operations = at_once([
        migrations.AddField(
            model_name="invoicedocument",
            name="kind",
            field=models.CharField(
                choices=[
                    ("pdf", "PDF"),
                    ("facturx", "Factur-X (PDF with XML)"),
                    ("cii", "CII (XML)"),
                    ("ubl", "Peppol BIS Billing 3 (UBL, XML)"),
                ],
                db_default="pdf",
                default="pdf",
                max_length=10,
            ),
        ),
        migrations.AlterField(
            model_name="invoicedocument",
            name="invoice",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="documents", to="invoicing.invoice"
            ),
        ),
        migrations.AddConstraint(
            model_name="invoicedocument",
            constraint=models.UniqueConstraint(
                fields=("invoice", "kind"), name="invoice_document_once_per_kind"
            ),
        ),
        # On the way down only the PDF has a place; e-invoices are made again from the snapshot.
        migrations.RunSQL(migrations.RunSQL.noop, "DELETE FROM invoice_documents WHERE kind <> 'pdf'"),
    ])
