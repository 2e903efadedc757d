"""Migrations run from empty up, down to zero and up again, and leave the same schema."""

import contextlib
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator

import psycopg
import pytest
from django.apps import apps
from django.conf import settings
from django.core.management import call_command

from tests.conftest import REPOSITORY
from tests.template_database import template_database

SCHEMA_QUERIES = {
    "columns": """
        SELECT table_name, column_name, data_type, is_nullable, column_default, is_generated
        FROM information_schema.columns WHERE table_schema = 'public'
    """,
    "constraints": """
        SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
        WHERE connamespace = 'public'::regnamespace
    """,
    "indexes": "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'",
    "triggers": "SELECT tgrelid::regclass::text, tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal",
    "functions": """
        SELECT proname, pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = 'public'::regnamespace
    """,
}


def connect(database: str) -> psycopg.Connection[tuple[object, ...]]:
    """Connect to a database on the server of the tests."""
    server = settings.DATABASES["default"]
    return psycopg.connect(
        dbname=database,
        host=server["HOST"] or None,
        port=server["PORT"] or None,
        user=server["USER"] or None,
        password=server["PASSWORD"] or None,
        autocommit=True,
    )


@pytest.fixture
def migrated_database() -> Iterator[str]:
    """Copy the template, which was migrated from empty, and remove the copy afterwards."""
    name = f"test_migrations_{uuid.uuid4().hex[:12]}"
    template = template_database()
    with contextlib.closing(connect("postgres")) as connection:
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"'.encode())
        yield name
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)'.encode())


def migrate(database: str, *arguments: str) -> str:
    """Run `manage.py migrate` on a database."""
    done = subprocess.run(
        [sys.executable, "manage.py", "migrate", "--no-input", "--no-color", *arguments],
        cwd=REPOSITORY,
        env={
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "billing_project.settings.test",
            "BILLING_TEST_DATABASE": database,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def schema(database: str) -> dict[str, list[tuple[object, ...]]]:
    """Return all that the database says about its tables, rules and functions."""
    with contextlib.closing(connect(database)) as connection:
        return {
            name: sorted(connection.execute(query.encode()).fetchall(), key=repr)
            for name, query in SCHEMA_QUERIES.items()
        }


@pytest.mark.slow
def test_up_from_empty_down_to_zero_and_up_again(migrated_database: str) -> None:
    first = schema(migrated_database)
    assert "No migrations to apply" in migrate(migrated_database)

    # The custom user stands at the bottom: all that has to do with people goes with it.
    migrate(migrated_database, "core", "zero")
    left = {str(row[0]) for row in schema(migrated_database)["columns"]}
    ours = {str(row[0]) for row in first["columns"]} & {
        model._meta.db_table
        for config in apps.get_app_configs()
        if config.name in settings.PRODUCT_APPS
        for model in config.get_models()
    }
    assert ours, "the test must know the product's tables"
    assert left & ours == set()
    assert [row for row in schema(migrated_database)["functions"] if row in first["functions"]] == []

    migrate(migrated_database)
    assert schema(migrated_database) == first


@pytest.mark.django_db
def test_every_change_of_a_model_has_its_migration() -> None:
    call_command("makemigrations", "--check", "--dry-run", verbosity=0)
