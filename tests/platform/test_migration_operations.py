"""Grouped operations make the same tables and the same models as one by one, forwards and backwards."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection, migrations, models
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ProjectState
from django.db.migrations.writer import OperationWriter
from django.db.models.functions import Lower

from core.migration_operations import AtOnce, at_once

APP = "scratch"


def operations() -> list[Operation]:
    """Two models that point at each other, then changes of what was just made."""
    key = models.BigAutoField(primary_key=True)
    once = models.UniqueConstraint(Lower("name"), condition=~models.Q(name=""), name="scratch_name_once")
    positive = models.CheckConstraint(condition=models.Q(amount__gt=0), name="scratch_amount_positive")
    return [
        migrations.CreateModel("Order", [("id", key), ("amount", models.IntegerField())]),
        migrations.CreateModel(
            "Item",
            [("id", key), ("order", models.ForeignKey("scratch.Order", models.CASCADE))],
            options={"indexes": [models.Index(fields=["-order"], name="scratch_item_order")]},
        ),
        migrations.AddField(
            "order", "best", models.ForeignKey("scratch.Item", models.SET_NULL, null=True, related_name="+")
        ),
        migrations.AddField("order", "name", models.CharField(max_length=20, default="")),
        migrations.AddConstraint("order", positive),
        migrations.AddConstraint("order", once),
        migrations.AlterField("order", "name", models.CharField(max_length=50, unique=True)),
        migrations.AddIndex("item", models.Index(fields=["id", "order"], name="scratch_item_both")),
        migrations.RunSQL(
            "COMMENT ON TABLE scratch_order IS 'ours'", "COMMENT ON TABLE scratch_order IS NULL"
        ),
        migrations.RemoveConstraint("order", "scratch_amount_positive"),
        migrations.AlterField("order", "amount", models.BigIntegerField(null=True)),
    ]


def shape(operations: list[Operation]) -> list[Any]:
    return [
        [type(part).__name__ for part in operation.operations]
        if isinstance(operation, AtOnce)
        else type(operation).__name__
        for operation in operations
    ]


def tables() -> list[str]:
    """Return the columns, indexes and constraints of the scratch tables, without the names that Django makes up."""
    queries = (
        "SELECT table_name, ordinal_position::text, column_name, data_type, is_nullable, character_maximum_length::text"
        " FROM information_schema.columns WHERE table_name LIKE 'scratch_%'",
        "SELECT tablename, regexp_replace(indexdef, '_[0-9a-f]{8}', '', 'g') FROM pg_indexes"
        " WHERE tablename LIKE 'scratch_%'",
        "SELECT conrelid::regclass::text, contype::text, pg_get_constraintdef(oid) FROM pg_constraint"
        " WHERE conrelid::regclass::text LIKE 'scratch_%'",
    )
    found: list[str] = []
    with connection.cursor() as cursor:
        for query in queries:
            cursor.execute(query)
            found += sorted(map(repr, cursor.fetchall()))
    return found


def up(migration: migrations.Migration, before: ProjectState) -> ProjectState:
    with connection.schema_editor(atomic=False) as editor:
        return migration.apply(before.clone(), editor)


def down(migration: migrations.Migration, before: ProjectState) -> None:
    with connection.schema_editor(atomic=False) as editor:
        migration.unapply(before.clone(), editor)


def migration_of(operations: list[Operation]) -> migrations.Migration:
    return type("Migration", (migrations.Migration,), {"operations": operations})("0001_initial", APP)


@pytest.fixture
def before(db: None) -> Iterator[ProjectState]:
    """The models before: none, with their classes made, as when a migration follows others."""
    state = ProjectState()
    assert not state.apps.get_models()
    yield state
    assert tables() == []


def test_a_group_ends_where_the_next_operation_needs_what_it_made() -> None:
    assert shape(at_once(operations())) == [
        ["CreateModel", "CreateModel"],
        ["AddField", "AddField", "AddConstraint", "AddConstraint"],
        ["AlterField", "AddIndex"],
        "RunSQL",
        ["RemoveConstraint", "AlterField"],
    ]


def test_what_takes_away_stands_alone() -> None:
    removal = migrations.RemoveField("order", "name")
    renaming = migrations.RenameField("order", "amount", "sum")
    assert at_once([removal, renaming]) == [removal, renaming]


def test_tables_and_models_are_the_same_as_one_by_one(before: ProjectState) -> None:
    single, grouped = migration_of(operations()), migration_of(at_once(operations()))
    expected = up(single, before)
    wanted = tables()
    assert any("scratch_item_both" in line for line in wanted)
    down(single, before)
    assert tables() == []

    found = up(grouped, before)
    assert tables() == wanted
    assert found == expected
    order = found.apps.get_model(APP, "order")
    assert [field.name for field in order._meta.related_objects] == ["item"]
    assert order._meta.get_field("best").related_model is found.apps.get_model(APP, "item")
    down(grouped, before)


def test_a_group_can_be_written_into_a_file() -> None:
    group = at_once(operations()[:2])[0]
    text, imports = OperationWriter(group).serialize()
    assert text.strip().startswith("core.migration_operations.AtOnce(")
    assert "import core.migration_operations" in imports
    assert "Create model Order; Create model Item" in group.describe()
