"""What a whole credit gave back can be billed again: items are released of void and of wholly credited invoices."""

from importlib import import_module

from django.db import migrations

_GUARDS = import_module("invoicing.migrations.0002_guards")
BEFORE = _GUARDS.BILLED_ITEM_GUARD.partition("CREATE TRIGGER")[0].replace(
    "CREATE FUNCTION", "CREATE OR REPLACE FUNCTION"
)
_ONLY_VOID = "WHERE invoices.status <> 'void' OR"
_VOID_OR_CREDITED = """WHERE NOT (
                invoices.status = 'void'
                OR (
                    invoices.status <> 'draft' AND invoices.document_type = 'invoice'
                    AND EXISTS (
                        SELECT 1 FROM invoice_lines line
                        WHERE line.invoice_id = invoices.id AND line.credited_amount <> 0
                    )
                    AND NOT EXISTS (
                        SELECT 1 FROM invoice_lines line
                        WHERE line.invoice_id = invoices.id
                          AND (line.credited_amount <> line.amount OR line.credited_tax <> line.tax_amount)
                    )
                )
            ) OR"""
assert _ONLY_VOID in BEFORE
AFTER = BEFORE.replace(_ONLY_VOID, _VOID_OR_CREDITED).replace(
    "a billed item changes only when its invoice is void",
    "a billed item changes only when its invoice is void or wholly credited",
)


class Migration(migrations.Migration):
    dependencies = [("invoicing", "0007_e_invoices")]

    operations = [migrations.RunSQL(AFTER, BEFORE)]
