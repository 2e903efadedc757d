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
        f"DROP TRIGGER IF EXISTS {closure}_{event} ON {table};"
        for event in ("insert", "move", "delete")
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


class Migration(migrations.Migration):
    dependencies = [("entities", "0001_initial")]

    operations = [
        migrations.RunSQL(CLOSURE_FUNCTION, "DROP FUNCTION keep_closure();"),
        migrations.RunSQL(
            closure_triggers("billing_entities", "entity_closure", "entity_no_cycle"),
            drop_closure_triggers("billing_entities", "entity_closure"),
        ),
        migrations.RunSQL(
            closure_triggers(
                "departments", "department_closure", "department_no_cycle"
            ),
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
    ]
