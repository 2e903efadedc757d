"""What only the database can promise: the trail is never rewritten, and a department is of its entity (APR-26)."""

from django.db import migrations

APPEND_ONLY = """
CREATE TRIGGER approval_actions_append_only BEFORE UPDATE OR DELETE ON approval_actions
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_rewrite();
"""
SAME_ENTITY = """
ALTER TABLE approval_requests ADD CONSTRAINT approval_requests_department_same_entity
    FOREIGN KEY (department_id, entity_id) REFERENCES departments (id, entity_id) DEFERRABLE INITIALLY IMMEDIATE;
ALTER TABLE approval_rules ADD CONSTRAINT approval_rules_department_same_entity
    FOREIGN KEY (department_id, entity_id) REFERENCES departments (id, entity_id) DEFERRABLE INITIALLY IMMEDIATE;
"""
SAME_ENTITY_UNDO = """
ALTER TABLE approval_requests DROP CONSTRAINT approval_requests_department_same_entity;
ALTER TABLE approval_rules DROP CONSTRAINT approval_rules_department_same_entity;
"""


class Migration(migrations.Migration):
    dependencies = [("approvals", "0001_initial"), ("entities", "0002_guards")]

    operations = [
        migrations.RunSQL(SAME_ENTITY, SAME_ENTITY_UNDO),
        migrations.RunSQL(APPEND_ONLY, "DROP TRIGGER approval_actions_append_only ON approval_actions;"),
    ]
