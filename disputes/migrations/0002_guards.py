"""What only the database can promise: what was said and done stays, and nothing is disputed twice (DSP-02, DSP-09)."""

from django.db import migrations

# DSP-09, DSP-18: the log and the comments are only ever added to.
APPEND_ONLY = ("dispute_events", "dispute_comments")

# What a dispute is about stays; it is never deleted. An invoice is disputed as a whole or by its lines (DSP-02): the
# invoice's row is locked, so that of two who open at once one sees the other.
DISPUTE_GUARD = """
CREATE FUNCTION guard_dispute() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    open_states text[] := ARRAY['open', 'acknowledged', 'investigating', 'waiting_customer', 'waiting_third_party',
                                'proposed'];
BEGIN
    IF TG_OP = 'DELETE' THEN
        RAISE EXCEPTION 'dispute % is never deleted', OLD.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'dispute_is_kept';
    END IF;
    IF TG_OP = 'UPDATE' THEN
        IF (NEW.invoice_id, NEW.issuer_id, NEW.entity_id, NEW.currency, NEW.direction, NEW.opened_by_id, NEW.opened_at)
           IS DISTINCT FROM
           (OLD.invoice_id, OLD.issuer_id, OLD.entity_id, OLD.currency, OLD.direction, OLD.opened_by_id, OLD.opened_at)
        THEN
            RAISE EXCEPTION 'what dispute % is about stays as it is', OLD.id
                USING ERRCODE = 'restrict_violation', CONSTRAINT = 'dispute_subject_stays';
        END IF;
        IF OLD.status IN ('withdrawn', 'moot') AND NEW.status <> OLD.status THEN
            RAISE EXCEPTION 'dispute % is over', OLD.id
                USING ERRCODE = 'restrict_violation', CONSTRAINT = 'dispute_is_over';
        END IF;
        IF NEW.status = OLD.status AND NEW.invoice_line_id IS NOT DISTINCT FROM OLD.invoice_line_id THEN
            RETURN NEW;
        END IF;
    END IF;
    IF NEW.status = ANY(open_states) THEN
        PERFORM 1 FROM invoices WHERE id = NEW.invoice_id FOR NO KEY UPDATE;
        IF EXISTS (
            SELECT 1 FROM billing_disputes other
            WHERE other.invoice_id = NEW.invoice_id AND other.id <> NEW.id AND other.status = ANY(open_states)
              AND (other.invoice_line_id IS NULL) <> (NEW.invoice_line_id IS NULL)
        ) THEN
            RAISE EXCEPTION 'invoice % is disputed as a whole or by its lines, not both', NEW.invoice_id
                USING ERRCODE = 'exclusion_violation', CONSTRAINT = 'dispute_whole_or_lines';
        END IF;
    END IF;
    IF NEW.invoice_line_id IS NOT NULL AND NOT EXISTS (
        SELECT 1 FROM invoice_lines WHERE id = NEW.invoice_line_id AND invoice_id = NEW.invoice_id
    ) THEN
        RAISE EXCEPTION 'line % is none of invoice %', NEW.invoice_line_id, NEW.invoice_id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'dispute_line_of_its_invoice';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER dispute_guard BEFORE INSERT OR UPDATE OR DELETE ON billing_disputes
    FOR EACH ROW EXECUTE FUNCTION guard_dispute();
"""

# DSP-09, DSP-10: frozen terms stay, and so does a breach that was written down.
ROUND_GUARD = """
CREATE FUNCTION guard_dispute_round() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE'
       OR (NEW.dispute_id, NEW.number, NEW.policy_id, NEW.terms, NEW.started_at)
          IS DISTINCT FROM (OLD.dispute_id, OLD.number, OLD.policy_id, OLD.terms, OLD.started_at) THEN
        RAISE EXCEPTION 'the terms of round % of dispute % are frozen', OLD.number, OLD.dispute_id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'dispute_round_is_frozen';
    END IF;
    IF (OLD.response_breached_at IS NOT NULL AND NEW.response_breached_at IS DISTINCT FROM OLD.response_breached_at)
       OR (OLD.resolution_breached_at IS NOT NULL
           AND NEW.resolution_breached_at IS DISTINCT FROM OLD.resolution_breached_at) THEN
        RAISE EXCEPTION 'a missed deadline of dispute % stays missed', OLD.dispute_id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'dispute_breach_stays';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER dispute_round_guard BEFORE UPDATE OR DELETE ON dispute_rounds
    FOR EACH ROW EXECUTE FUNCTION guard_dispute_round();
"""

# DSP-15: what was decided stays; a proposal becomes one thing or the other, once.
RESOLUTION_GUARD = """
CREATE FUNCTION guard_dispute_resolution() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' OR OLD.status <> 'pending' THEN
        RAISE EXCEPTION 'resolution % is decided and stays as it is', OLD.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'dispute_resolution_is_decided';
    END IF;
    IF (NEW.dispute_id, NEW.round_id, NEW.outcome, NEW.amount, NEW.note, NEW.proposed_by_id)
       IS DISTINCT FROM (OLD.dispute_id, OLD.round_id, OLD.outcome, OLD.amount, OLD.note, OLD.proposed_by_id) THEN
        RAISE EXCEPTION 'resolution % is proposed: take it back and propose another', OLD.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'dispute_resolution_is_proposed';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER dispute_resolution_guard BEFORE UPDATE OR DELETE ON dispute_resolutions
    FOR EACH ROW EXECUTE FUNCTION guard_dispute_resolution();
"""

ATTACHMENT_GUARD = """
CREATE FUNCTION guard_dispute_attachment() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    changeable text[] := ARRAY['removed_at', 'removed_by_id'];
BEGIN
    IF TG_OP = 'DELETE' OR OLD.removed_at IS NOT NULL
       OR (to_jsonb(NEW) - changeable) IS DISTINCT FROM (to_jsonb(OLD) - changeable) THEN
        RAISE EXCEPTION 'file % stays as it was attached', OLD.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'dispute_attachment_is_kept';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER dispute_attachment_guard BEFORE UPDATE OR DELETE ON dispute_attachments
    FOR EACH ROW EXECUTE FUNCTION guard_dispute_attachment();
"""

GUARDS = [
    (DISPUTE_GUARD, "dispute_guard ON billing_disputes", "guard_dispute"),
    (ROUND_GUARD, "dispute_round_guard ON dispute_rounds", "guard_dispute_round"),
    (RESOLUTION_GUARD, "dispute_resolution_guard ON dispute_resolutions", "guard_dispute_resolution"),
    (ATTACHMENT_GUARD, "dispute_attachment_guard ON dispute_attachments", "guard_dispute_attachment"),
]


class Migration(migrations.Migration):
    dependencies = [("disputes", "0001_initial")]

    operations = [
        *(
            migrations.RunSQL(guard, f"DROP TRIGGER {trigger}; DROP FUNCTION {function}();")
            for guard, trigger, function in GUARDS
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
