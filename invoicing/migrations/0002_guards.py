"""Issued documents and imported charges cannot be rewritten, whoever asks (INV-01, USE-02, INV-03)."""

from django.db import migrations

INVOICE_GUARD = """
CREATE FUNCTION guard_invoice() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    -- All that may change on a posted document: that it was voided, by whom and why.
    changeable text[] := ARRAY['status', 'voided_at', 'voided_by_id', 'void_reason', 'version', 'updated_at'];
    sum_of_lines numeric;
    sum_of_tax numeric;
BEGIN
    IF TG_OP = 'DELETE' THEN
        IF OLD.status <> 'draft' THEN
            RAISE EXCEPTION 'invoice % is issued and is never deleted', OLD.number
                USING ERRCODE = 'restrict_violation', CONSTRAINT = 'invoice_issued_is_kept';
        END IF;
        RETURN OLD;
    END IF;
    IF OLD.status = 'draft' THEN
        IF NEW.status <> 'draft' THEN
            SELECT coalesce(sum(amount), 0), coalesce(sum(tax_amount), 0) INTO sum_of_lines, sum_of_tax
            FROM invoice_lines WHERE invoice_id = NEW.id;
            IF sum_of_lines <> NEW.subtotal OR sum_of_tax <> NEW.tax_total THEN
                RAISE EXCEPTION 'invoice % does not equal its lines', NEW.id
                    USING ERRCODE = 'check_violation', CONSTRAINT = 'invoice_equals_its_lines';
            END IF;
        END IF;
        RETURN NEW;
    END IF;
    IF OLD.status = 'void' OR NEW.status = 'draft'
       OR (to_jsonb(NEW) - changeable) IS DISTINCT FROM (to_jsonb(OLD) - changeable) THEN
        RAISE EXCEPTION 'invoice % is issued and cannot be changed', OLD.number
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'invoice_issued_is_immutable';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER invoice_guard BEFORE UPDATE OR DELETE ON invoices FOR EACH ROW EXECUTE FUNCTION guard_invoice();
"""

LINE_GUARD = """
CREATE FUNCTION guard_invoice_lines() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- Waits for a posting that is under way elsewhere, so that the check below sees its outcome.
    PERFORM 1 FROM invoices WHERE id IN (SELECT invoice_id FROM changed) ORDER BY id FOR SHARE;
    IF EXISTS (
        SELECT 1 FROM changed JOIN invoices ON invoices.id = changed.invoice_id WHERE invoices.status <> 'draft'
    ) THEN
        RAISE EXCEPTION 'the lines of an issued invoice cannot be changed'
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'invoice_line_issued_is_immutable';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER invoice_line_insert AFTER INSERT ON invoice_lines
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION guard_invoice_lines();
CREATE TRIGGER invoice_line_update AFTER UPDATE ON invoice_lines
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION guard_invoice_lines();
CREATE TRIGGER invoice_line_delete AFTER DELETE ON invoice_lines
    REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION guard_invoice_lines();
"""

USAGE_GUARD = """
CREATE FUNCTION guard_usage_content() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'an imported charge cannot be changed'
        USING ERRCODE = 'restrict_violation', CONSTRAINT = 'usage_record_is_immutable';
END $$;
CREATE TRIGGER usage_record_content BEFORE UPDATE OF
    root_id, usage_import_id, row_hash, occurrence, line_number, billed_cost, currency, charge_date,
    charge_period_start, charge_period_end, billing_period_start, billing_period_end
    ON usage_records FOR EACH STATEMENT EXECUTE FUNCTION guard_usage_content();

CREATE FUNCTION guard_billed_usage() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM billed_items WHERE usage_record_id = OLD.id AND released_at IS NULL) THEN
        RAISE EXCEPTION 'charge % is billed: it stays where it was billed', OLD.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'usage_record_billed_stays';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER usage_record_billed BEFORE UPDATE OF entity_id, department_id ON usage_records
    FOR EACH ROW WHEN (
        OLD.department_id IS DISTINCT FROM NEW.department_id OR OLD.entity_id IS DISTINCT FROM NEW.entity_id
    ) EXECUTE FUNCTION guard_billed_usage();
"""

BILLED_ITEM_GUARD = """
CREATE FUNCTION guard_billed_items() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- What an issued document bills is fixed; an item leaves a draft, or is released when its document is void.
    IF TG_OP = 'UPDATE' THEN
        IF EXISTS (
            SELECT 1 FROM changed JOIN before ON before.id = changed.id
            JOIN invoice_lines ON invoice_lines.id = before.invoice_line_id
            JOIN invoices ON invoices.id = invoice_lines.invoice_id
            WHERE invoices.status <> 'void' OR before.released_at IS NOT NULL OR changed.released_at IS NULL
               OR (to_jsonb(changed) - 'released_at') <> (to_jsonb(before) - 'released_at')
        ) OR (SELECT count(*) FROM changed JOIN before ON before.id = changed.id) <> (SELECT count(*) FROM changed) THEN
            RAISE EXCEPTION 'a billed item changes only when its invoice is void'
                USING ERRCODE = 'restrict_violation', CONSTRAINT = 'billed_item_is_immutable';
        END IF;
        RETURN NULL;
    END IF;
    IF EXISTS (
        SELECT 1 FROM changed JOIN invoice_lines ON invoice_lines.id = changed.invoice_line_id
        JOIN invoices ON invoices.id = invoice_lines.invoice_id WHERE invoices.status <> 'draft'
    ) THEN
        RAISE EXCEPTION 'what an issued invoice bills cannot be changed'
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'billed_item_issued_is_immutable';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER billed_item_insert AFTER INSERT ON billed_items
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION guard_billed_items();
CREATE TRIGGER billed_item_update AFTER UPDATE ON billed_items
    REFERENCING NEW TABLE AS changed OLD TABLE AS before FOR EACH STATEMENT EXECUTE FUNCTION guard_billed_items();
CREATE TRIGGER billed_item_delete AFTER DELETE ON billed_items
    REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION guard_billed_items();
"""

IMPORT_OF_ROOT = """
ALTER TABLE usage_records ADD CONSTRAINT usage_records_import_same_root
    FOREIGN KEY (usage_import_id, root_id) REFERENCES usage_imports (id, root_id) DEFERRABLE INITIALLY DEFERRED;
"""

DEPARTMENT_OF_ENTITY = """
ALTER TABLE usage_records ADD CONSTRAINT usage_records_department_same_entity
    FOREIGN KEY (department_id, entity_id) REFERENCES departments (id, entity_id) DEFERRABLE INITIALLY IMMEDIATE;
"""


class Migration(migrations.Migration):
    dependencies = [("invoicing", "0001_initial"), ("entities", "0002_guards")]

    operations = [
        migrations.RunSQL(
            INVOICE_GUARD,
            "DROP TRIGGER invoice_guard ON invoices; DROP FUNCTION guard_invoice();",
        ),
        migrations.RunSQL(
            LINE_GUARD,
            "DROP TRIGGER invoice_line_insert ON invoice_lines; DROP TRIGGER invoice_line_update ON invoice_lines;"
            "DROP TRIGGER invoice_line_delete ON invoice_lines; DROP FUNCTION guard_invoice_lines();",
        ),
        migrations.RunSQL(
            USAGE_GUARD,
            "DROP TRIGGER usage_record_content ON usage_records; DROP FUNCTION guard_usage_content();"
            "DROP TRIGGER usage_record_billed ON usage_records; DROP FUNCTION guard_billed_usage();",
        ),
        migrations.RunSQL(
            BILLED_ITEM_GUARD,
            "DROP TRIGGER billed_item_insert ON billed_items; DROP TRIGGER billed_item_update ON billed_items;"
            "DROP TRIGGER billed_item_delete ON billed_items; DROP FUNCTION guard_billed_items();",
        ),
        migrations.RunSQL(
            DEPARTMENT_OF_ENTITY,
            "ALTER TABLE usage_records DROP CONSTRAINT usage_records_department_same_entity;",
        ),
        migrations.RunSQL(
            IMPORT_OF_ROOT,
            "ALTER TABLE usage_records DROP CONSTRAINT usage_records_import_same_root;",
        ),
    ]
