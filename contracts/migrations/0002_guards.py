"""What only the database can promise: signed terms stay, the past is not rewritten, numbers have no gap (CON-01 to CON-05)."""

from django.db import migrations

# CON-01, CON-05: after activation the base terms stay, and nothing is deleted.
CONTRACT_GUARD = """
CREATE FUNCTION guard_contract() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    -- What may change on an activated contract: its state, and what the other side did not sign.
    changeable text[] := ARRAY['status', 'version', 'updated_at', 'title', 'reference', 'owner_id', 'department_id',
                               'gl_code', 'budget_id', 'last_amendment_number'];
BEGIN
    IF OLD.activated_at IS NULL THEN
        IF TG_OP = 'DELETE' THEN
            RETURN OLD;
        END IF;
        RETURN NEW;
    END IF;
    IF TG_OP = 'DELETE' THEN
        RAISE EXCEPTION 'contract % was activated and is never deleted', OLD.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'contract_activated_is_kept';
    END IF;
    IF (to_jsonb(NEW) - changeable) IS DISTINCT FROM (to_jsonb(OLD) - changeable) THEN
        RAISE EXCEPTION 'the terms of contract % are signed: they change by amendment', OLD.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'contract_terms_are_signed';
    END IF;
    IF NEW.last_amendment_number < OLD.last_amendment_number THEN
        RAISE EXCEPTION 'the amendments of contract % are numbered upwards', OLD.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'contract_amendments_numbered_upwards';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER contract_guard BEFORE UPDATE OR DELETE ON billing_contracts
    FOR EACH ROW EXECUTE FUNCTION guard_contract();
"""

LINE_GUARD = """
CREATE FUNCTION guard_contract_lines() RETURNS trigger LANGUAGE plpgsql AS $$
-- Arguments: the column that leads to the parent, and the parent's table where it is not the contract itself.
DECLARE
    found bigint[];
BEGIN
    IF TG_OP <> 'INSERT' THEN
        found := array_append(found, (to_jsonb(OLD) ->> TG_ARGV[0])::bigint);
    END IF;
    IF TG_OP <> 'DELETE' THEN
        found := array_append(found, (to_jsonb(NEW) ->> TG_ARGV[0])::bigint);
    END IF;
    IF TG_NARGS > 1 THEN
        EXECUTE format('SELECT array_agg(contract_id) FROM %I WHERE id = ANY($1)', TG_ARGV[1]) INTO found USING found;
    END IF;
    IF EXISTS (SELECT 1 FROM billing_contracts WHERE id = ANY(found) AND activated_at IS NOT NULL) THEN
        RAISE EXCEPTION 'the contract is signed: its lines change by amendment'
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'contract_lines_are_signed';
    END IF;
    IF TG_OP = 'DELETE' THEN
        RETURN OLD;
    END IF;
    RETURN NEW;
END $$;
"""
LINES = {
    "contract_price_terms": "'contract_id'",
    "contract_price_tiers": "'price_term_id', 'contract_price_terms'",
    "contract_sla_terms": "'contract_id'",
    "contract_sla_credit_tiers": "'sla_term_id', 'contract_sla_terms'",
}

# CON-04, CON-05: an amendment in force or void stays as it is; a numbered one is kept; no number is left out.
AMENDMENT_GUARD = """
CREATE FUNCTION guard_amendment() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    changeable text[] := ARRAY['status', 'version', 'updated_at', 'in_force_at', 'void_reason'];
BEGIN
    IF TG_OP = 'DELETE' THEN
        IF OLD.number IS NOT NULL THEN
            RAISE EXCEPTION 'amendment % of contract % is numbered and never deleted', OLD.number, OLD.contract_id
                USING ERRCODE = 'restrict_violation', CONSTRAINT = 'contract_amendment_numbered_is_kept';
        END IF;
        RETURN OLD;
    END IF;
    IF OLD.status IN ('in_force', 'void') THEN
        RAISE EXCEPTION 'amendment % is decided and stays as it is', OLD.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'contract_amendment_is_decided';
    END IF;
    IF OLD.number IS NOT NULL
       AND (to_jsonb(NEW) - changeable) IS DISTINCT FROM (to_jsonb(OLD) - changeable) THEN
        RAISE EXCEPTION 'amendment % is approved: what is to be signed stays', OLD.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'contract_amendment_is_approved';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER contract_amendment_guard BEFORE UPDATE OR DELETE ON contract_amendments
    FOR EACH ROW EXECUTE FUNCTION guard_amendment();

CREATE FUNCTION check_amendment_numbers() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    highest integer;
    numbered integer;
    counter integer;
BEGIN
    SELECT coalesce(max(number), 0), count(number) INTO highest, numbered
        FROM contract_amendments WHERE contract_id = NEW.contract_id;
    SELECT last_amendment_number INTO counter FROM billing_contracts WHERE id = NEW.contract_id;
    IF highest <> numbered OR highest <> counter THEN
        RAISE EXCEPTION 'the amendments of contract % are not numbered 1 to %', NEW.contract_id, counter
            USING ERRCODE = 'check_violation', CONSTRAINT = 'contract_amendment_numbers_without_gap';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER contract_amendment_numbers AFTER INSERT OR UPDATE OF number ON contract_amendments
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION check_amendment_numbers();
"""

# CON-02: a given signature is never edited; it can become void, once.
SIGNATURE_GUARD = """
CREATE FUNCTION guard_signature() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    changeable text[] := ARRAY['voided_at', 'void_reason'];
BEGIN
    IF TG_OP = 'DELETE' OR OLD.voided_at IS NOT NULL
       OR (to_jsonb(NEW) - changeable) IS DISTINCT FROM (to_jsonb(OLD) - changeable) THEN
        RAISE EXCEPTION 'signature % was given and stays as it is', OLD.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'contract_signature_is_given';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER contract_signature_guard BEFORE UPDATE OR DELETE ON contract_signatures
    FOR EACH ROW EXECUTE FUNCTION guard_signature();
"""

# CON-12, CON-14: a locked term stays; a provisional uplift is settled, once.
RENEWAL_GUARD = """
CREATE FUNCTION guard_term_renewal() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    changeable text[] := ARRAY['settled_percent', 'settled_at', 'index_percent'];
BEGIN
    IF TG_OP = 'DELETE' OR OLD.settled_at IS NOT NULL
       OR (to_jsonb(NEW) - changeable) IS DISTINCT FROM (to_jsonb(OLD) - changeable) THEN
        RAISE EXCEPTION 'term % of contract % is locked', OLD.term_number, OLD.contract_id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'contract_term_is_locked';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER contract_term_guard BEFORE UPDATE OR DELETE ON contract_term_renewals
    FOR EACH ROW EXECUTE FUNCTION guard_term_renewal();
"""

SAME_ENTITY = {
    "billing_contracts": "entity_id",
    "contract_fees": "entity_id",
    "subscriptions": "entity_id",
}

APPEND_ONLY = (
    "contract_events",
    "contract_renewal_notices",
    "contract_documents",
    "contract_access_log",
    "contract_sla_measurements",
    "subscription_changes",
    "contract_fees",
)


class Migration(migrations.Migration):
    dependencies = [("contracts", "0001_initial"), ("entities", "0002_guards")]

    operations = [
        migrations.RunSQL(
            CONTRACT_GUARD, "DROP TRIGGER contract_guard ON billing_contracts; DROP FUNCTION guard_contract();"
        ),
        migrations.RunSQL(LINE_GUARD, "DROP FUNCTION guard_contract_lines();"),
        *(
            migrations.RunSQL(
                f"CREATE TRIGGER {table}_signed BEFORE INSERT OR UPDATE OR DELETE ON {table} "
                f"FOR EACH ROW EXECUTE FUNCTION guard_contract_lines({arguments});",
                f"DROP TRIGGER {table}_signed ON {table};",
            )
            for table, arguments in LINES.items()
        ),
        migrations.RunSQL(
            AMENDMENT_GUARD,
            "DROP TRIGGER contract_amendment_numbers ON contract_amendments; DROP FUNCTION check_amendment_numbers();"
            "DROP TRIGGER contract_amendment_guard ON contract_amendments; DROP FUNCTION guard_amendment();",
        ),
        migrations.RunSQL(
            SIGNATURE_GUARD,
            "DROP TRIGGER contract_signature_guard ON contract_signatures; DROP FUNCTION guard_signature();",
        ),
        migrations.RunSQL(
            RENEWAL_GUARD,
            "DROP TRIGGER contract_term_guard ON contract_term_renewals; DROP FUNCTION guard_term_renewal();",
        ),
        *(
            migrations.RunSQL(
                f"ALTER TABLE {table} ADD CONSTRAINT {table}_department_same_entity FOREIGN KEY "
                f"(department_id, {column}) REFERENCES departments (id, entity_id) DEFERRABLE INITIALLY IMMEDIATE;",
                f"ALTER TABLE {table} DROP CONSTRAINT {table}_department_same_entity;",
            )
            for table, column in SAME_ENTITY.items()
        ),
        *(
            migrations.RunSQL(
                f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE ON {table} "
                "FOR EACH STATEMENT EXECUTE FUNCTION refuse_rewrite();",
                f"DROP TRIGGER {table}_append_only ON {table};",
            )
            for table in APPEND_ONLY
        ),
    ]
