"""Rows that services have made, written by one statement together with others.

A service builds the rows as models, as it always does; a statement takes them as JSON and adds what only it knows
(keys that it draws, sums). So a new field of a model needs no change of any statement.
"""

import datetime
import json
from collections.abc import Iterable
from decimal import Decimal
from functools import cache
from typing import Any

from django.db import connection
from django.db.models import Model


@cache
def columns_of(model: type[Model]) -> list[str]:
    """The table's columns, in the order of the model's fields."""
    return [str(field.column) for field in model._meta.concrete_fields]


@cache
def names_of(model: type[Model]) -> list[str]:
    """The names by which ``Model.from_db`` takes the values of those columns."""
    return [field.attname for field in model._meta.concrete_fields]


def in_order(model: type[Model], names: Iterable[str]) -> list[str]:
    """Some of a model's fields in its own order, in which ``Model.from_db`` takes them."""
    wanted = set(names)
    return [name for name in names_of(model) if name in wanted]


def as_json(rows: Iterable[Model]) -> str:
    """The rows as a JSON array of objects, by column. Keys are left out where they are not known yet."""
    return json.dumps([_record(row) for row in rows], default=_plain, ensure_ascii=False)


def _record(row: Model) -> dict[str, Any]:
    return {str(field.column): getattr(row, field.attname) for field in row._meta.concrete_fields}


def _plain(value: Any) -> str:
    if isinstance(value, (datetime.datetime, datetime.date)):
        return value.isoformat()
    if isinstance(value, Decimal):
        return f"{value:f}"
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


def insert(model: type[Model], rows: str, source: str = "", *, order: str = "", **known: str) -> str:
    """INSERT of the rows in the parameter ``rows`` (``as_json``), as ``r``.

    ``source`` names further tables to take values from, ``known`` is SQL for columns that the rows do not say. A
    primary key that is not among them is drawn in the given ``order``.
    """
    table, key = model._meta.db_table, model._meta.pk.column
    columns = [column for column in columns_of(model) if column != key or column in known]
    values = ", ".join(known.get(column, f'r."{column}"') for column in columns)
    names = ", ".join(f'"{column}"' for column in columns)
    taken_from = f"jsonb_populate_recordset(NULL::{table}, %({rows})s::jsonb) r{source}"
    ordered = f" ORDER BY {order}" if order else ""
    return f"INSERT INTO {table} ({names}) SELECT {values} FROM {taken_from}{ordered}"


@cache
def _readers(model: type[Model]) -> list[tuple[int, Any]]:
    """Where the database's own values need reading: JSON, encrypted text."""
    fields = enumerate(model._meta.concrete_fields)
    return [(place, field.from_db_value) for place, field in fields if hasattr(field, "from_db_value")]


def stored(model: type[Model], values: Iterable[Any]) -> Any:
    """A stored row as the model, from all of its columns in their order (``columns_of``)."""
    read = list(values)
    for place, reader in _readers(model):
        read[place] = reader(read[place], None, connection)
    return model.from_db("default", names_of(model), read)
