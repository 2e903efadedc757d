"""Filling tables set by set: INSERT … SELECT for any model, its defaults filled in."""

import json
from collections.abc import Mapping
from typing import Any

from django.db import connection, models

from core import clock


def insert(model: type[models.Model], values: Mapping[str, str], source: str, **parameters: Any) -> int:
    """Insert what `source` (a FROM clause) yields; return the number of rows.

    `values` are columns with SQL expressions, in which `%(name)s` is a parameter. Columns that are not named get
    the field's default, an empty text, or NULL.
    """
    columns = dict(values)
    given = dict(parameters)
    for field in model._meta.concrete_fields:
        if field.column in columns or (field.primary_key and not field.is_relation):
            continue
        default = column_default(field)
        if default is not None:
            given[f"default_{field.column}"] = default
            columns[str(field.column)] = f"%(default_{field.column})s::{field.db_type(connection)}"
    names = [connection.ops.quote_name(name) for name in columns]
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {model._meta.db_table} ({', '.join(names)}) SELECT {', '.join(columns.values())} {source}",
            given,
        )
        return int(cursor.rowcount)


def column_default(field: models.Field) -> Any:
    """What a column gets that is not named: the field's default, an empty text, or None for NULL."""
    if getattr(field, "auto_now", False) or getattr(field, "auto_now_add", False):
        return clock.now()
    if isinstance(field, models.JSONField):
        return json.dumps(field.get_default())
    if field.has_default():
        return field.get_default()
    if field.null or field.is_relation:
        return None
    return "" if field.empty_strings_allowed else None


def one(statement: str, **parameters: Any) -> Any:
    """Return the first value of a query."""
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        row = cursor.fetchone()
    return row[0] if row else None


def execute(statement: str, **parameters: Any) -> int:
    """Run a statement; return the number of rows it changed."""
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return int(cursor.rowcount)


def vacuum() -> None:
    """Let the planner know the tables, as autovacuum does in time."""
    execute("VACUUM (ANALYZE)")
