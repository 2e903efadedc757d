"""What only the database can promise: closures in step, no cycles, one entity per department, no rewriting."""

from django.db import migrations

CLOSURE_FUNCTION = """
CREATE FUNCTION keep_closure() RETURNS trigger LANGUAGE plpgsql AS $$
-- Arguments: the closure table, the name under which a cycle is reported.
DECLARE
    closure text := TG_ARGV[0];
    is_cycle boolean;
BEGIN
    IF TG_OP = 'DELETE' THEN
        EXECUTE format('DELETE FROM %I WHERE descendant_id = $1', closure) USING OLD.id;
        RETURN OLD;
    END IF;
    IF TG_OP = 'INSERT' THEN
        -- Shared with other inserts, exclusive against a move that would change the ancestors read here.
        PERFORM pg_advisory_xact_lock_shared(hashtext(closure));
        EXECUTE format(
            'INSERT INTO %1$I (ancestor_id, descendant_id, depth)
             SELECT ancestor_id, $1, depth + 1 FROM %1$I WHERE descendant_id = $2
             UNION ALL SELECT $1, $1, 0', closure) USING NEW.id, NEW.parent_id;
        RETURN NEW;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext(closure));
    EXECUTE format('SELECT EXISTS (SELECT 1 FROM %I WHERE ancestor_id = $1 AND descendant_id = $2)', closure)
        INTO is_cycle USING NEW.id, NEW.parent_id;
    IF is_cycle THEN
        RAISE EXCEPTION 'row % cannot be placed under its own descendant %', NEW.id, NEW.parent_id
            USING ERRCODE = 'check_violation', CONSTRAINT = TG_ARGV[1];
    END IF;
    EXECUTE format(
        'DELETE FROM %1$I WHERE descendant_id IN (SELECT descendant_id FROM %1$I WHERE ancestor_id = $1)
           AND ancestor_id NOT IN (SELECT descendant_id FROM %1$I WHERE ancestor_id = $1)', closure) USING NEW.id;
    EXECUTE format(
        'INSERT INTO %1$I (ancestor_id, descendant_id, depth)
         SELECT above.ancestor_id, below.descendant_id, above.depth + below.depth + 1
         FROM %1$I above CROSS JOIN %1$I below
         WHERE above.descendant_id = $2 AND below.ancestor_id = $1', closure) USING NEW.id, NEW.parent_id;
    RETURN NEW;
END $$;
"""


def closure_triggers(table: str, closure: str, cycle: str) -> str:
    return f"""
CREATE TRIGGER {closure}_insert AFTER INSERT ON {table}
    FOR EACH ROW EXECUTE FUNCTION keep_closure('{closure}', '{cycle}');
CREATE TRIGGER {closure}_move AFTER UPDATE OF parent_id ON {table}
    FOR EACH ROW WHEN (OLD.parent_id IS DISTINCT FROM NEW.parent_id)
    EXECUTE FUNCTION keep_closure('{closure}', '{cycle}');
CREATE TRIGGER {closure}_delete BEFORE DELETE ON {table}
    FOR EACH ROW EXECUTE FUNCTION keep_closure('{closure}', '{cycle}');
"""


def drop_closure_triggers(table: str, closure: str) -> str:
    return "".join(
        f"DROP TRIGGER IF EXISTS {closure}_{event} ON {table};" for event in ("insert", "move", "delete")
    )


# A department's parent, a membership's department and an allocation's department are of the same entity.
SAME_ENTITY = {
    "departments": "parent_id",
    "memberships": "department_id",
    "cost_allocations": "department_id",
}


def same_entity_key(table: str, column: str) -> str:
    return (
        f"ALTER TABLE {table} ADD CONSTRAINT {table}_{column}_same_entity FOREIGN KEY ({column}, entity_id) "
        "REFERENCES departments (id, entity_id) DEFERRABLE INITIALLY IMMEDIATE;"
    )


APPEND_ONLY_FUNCTION = """
CREATE FUNCTION refuse_rewrite() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only: post a reversal instead', TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation', CONSTRAINT = TG_TABLE_NAME || '_append_only';
END $$;
"""
APPEND_ONLY = ("allocation_postings", "cost_allocations")


def append_only_trigger(table: str) -> str:
    return (
        f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE ON {table} "
        "FOR EACH STATEMENT EXECUTE FUNCTION refuse_rewrite();"
    )


# ALC-01, ALC-07: at commit the lines of a posting sum to its amount (to zero where the cost moves within it), and
# what was credited of a line lies between nothing and the line.
BALANCE_FUNCTION = """
CREATE FUNCTION check_allocation_balance() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    changed bigint;
    wanted numeric;
    found numeric;
    line cost_allocations;
BEGIN
    IF TG_TABLE_NAME = 'cost_allocations' THEN
        changed := NEW.posting_id;
    ELSE
        changed := NEW.id;
    END IF;
    SELECT CASE WHEN source_department_id IS NULL THEN amount ELSE 0 END INTO wanted
        FROM allocation_postings WHERE id = changed;
    SELECT coalesce(sum(amount), 0) INTO found FROM cost_allocations WHERE posting_id = changed;
    IF found <> wanted THEN
        RAISE EXCEPTION 'the lines of allocation posting % sum to %, not %', changed, found, wanted
            USING ERRCODE = 'check_violation', CONSTRAINT = 'allocation_posting_balanced';
    END IF;
    IF TG_TABLE_NAME = 'cost_allocations' AND NEW.credits_id IS NOT NULL THEN
        SELECT * INTO line FROM cost_allocations WHERE id = NEW.credits_id;
        SELECT line.amount + coalesce(sum(amount), 0) INTO found
            FROM cost_allocations WHERE credits_id = line.id;
        IF found * line.amount < 0 OR abs(found) > abs(line.amount) THEN
            RAISE EXCEPTION 'the credits of cost allocation % leave % of %', line.id, found, line.amount
                USING ERRCODE = 'check_violation', CONSTRAINT = 'cost_allocation_credited_within_line';
        END IF;
    END IF;
    RETURN NULL;
END $$;
"""


def balance_trigger(table: str) -> str:
    return (
        f"CREATE CONSTRAINT TRIGGER {table}_balanced AFTER INSERT ON {table} DEFERRABLE INITIALLY DEFERRED "
        "FOR EACH ROW EXECUTE FUNCTION check_allocation_balance();"
    )


# ALC-04: a rule version that was used keeps its weights; only its open end may be set.
USED_VERSION_FUNCTION = """
CREATE FUNCTION keep_used_rule_version() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    version bigint;
BEGIN
    IF TG_TABLE_NAME = 'allocation_rule_versions' THEN
        version := OLD.id;
        IF TG_OP = 'UPDATE' AND (NEW.id, NEW.rule_id, NEW.number, NEW.basis, NEW.driver, NEW.valid_from)
                IS NOT DISTINCT FROM (OLD.id, OLD.rule_id, OLD.number, OLD.basis, OLD.driver, OLD.valid_from) THEN
            RETURN NEW;
        END IF;
    ELSIF TG_OP = 'INSERT' THEN
        version := NEW.version_id;
    ELSE
        version := OLD.version_id;
    END IF;
    IF EXISTS (SELECT 1 FROM allocation_postings WHERE rule_version_id = version) THEN
        RAISE EXCEPTION 'allocation rule version % has been used and never changes', version
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'allocation_rule_version_used';
    END IF;
    IF TG_OP = 'DELETE' THEN
        RETURN OLD;
    END IF;
    RETURN NEW;
END $$;
"""
USED_VERSION_EVENTS = {
    "allocation_rule_versions": "UPDATE OR DELETE",
    "allocation_rule_targets": "INSERT OR UPDATE OR DELETE",
}


class Migration(migrations.Migration):
    dependencies = [("entities", "0001_initial")]

    operations = [
        migrations.RunSQL(CLOSURE_FUNCTION, "DROP FUNCTION keep_closure();"),
        migrations.RunSQL(
            closure_triggers("billing_entities", "entity_closure", "entity_no_cycle"),
            drop_closure_triggers("billing_entities", "entity_closure"),
        ),
        migrations.RunSQL(
            closure_triggers("departments", "department_closure", "department_no_cycle"),
            drop_closure_triggers("departments", "department_closure"),
        ),
        *(
            migrations.RunSQL(
                same_entity_key(table, column),
                f"ALTER TABLE {table} DROP CONSTRAINT {table}_{column}_same_entity;",
            )
            for table, column in SAME_ENTITY.items()
        ),
        migrations.RunSQL(APPEND_ONLY_FUNCTION, "DROP FUNCTION refuse_rewrite();"),
        *(
            migrations.RunSQL(
                append_only_trigger(table),
                f"DROP TRIGGER {table}_append_only ON {table};",
            )
            for table in APPEND_ONLY
        ),
        migrations.RunSQL(BALANCE_FUNCTION, "DROP FUNCTION check_allocation_balance();"),
        *(
            migrations.RunSQL(balance_trigger(table), f"DROP TRIGGER {table}_balanced ON {table};")
            for table in APPEND_ONLY
        ),
        migrations.RunSQL(USED_VERSION_FUNCTION, "DROP FUNCTION keep_used_rule_version();"),
        *(
            migrations.RunSQL(
                f"CREATE TRIGGER {table}_used BEFORE {events} ON {table} "
                "FOR EACH ROW EXECUTE FUNCTION keep_used_rule_version();",
                f"DROP TRIGGER {table}_used ON {table};",
            )
            for table, events in USED_VERSION_EVENTS.items()
        ),
    ]
