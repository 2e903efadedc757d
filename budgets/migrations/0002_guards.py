"""What only the database can promise about the ledger: entries are never rewritten (BUD-32)."""

from django.db import migrations

SAME_ENTITY = """
ALTER TABLE budgets ADD CONSTRAINT budgets_department_same_entity
    FOREIGN KEY (department_id, entity_id) REFERENCES departments (id, entity_id) DEFERRABLE INITIALLY IMMEDIATE;
"""
# Everything a budget shows is in its currency; once it has entries the currency and the dimensions stay.
APPEND_ONLY = """
CREATE TRIGGER budget_entries_append_only BEFORE UPDATE OR DELETE ON budget_entries
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_rewrite();
"""


class Migration(migrations.Migration):
    dependencies = [("budgets", "0001_initial"), ("entities", "0002_guards")]

    operations = [
        migrations.RunSQL(
            SAME_ENTITY, "ALTER TABLE budgets DROP CONSTRAINT budgets_department_same_entity;"
        ),
        migrations.RunSQL(APPEND_ONLY, "DROP TRIGGER budget_entries_append_only ON budget_entries;"),
    ]
