"""A record and the history row of its change, written by one prepared statement.

What `save()` does with two statements that it builds anew each time: for the few services that save by the thousand.
Only for models whose saving has no other effect: no signal is sent.
"""

from typing import Any

from django.db import models

from core.history import history_row
from core.prepared import PreparedStatement
from core.row_sql import as_json, columns_of, insert


class RecordedSave:
    """Inserts and updates of a versioned model, with its history (SEC-02)."""

    def __init__(self, model: type[models.Model]) -> None:
        # Asked once: simple_history makes a manager class anew each time.
        history: type[models.Model] = model.history.model  # type: ignore[attr-defined]
        self._history = history
        key = model._meta.pk.column
        noted = insert(history, "history", " CROSS JOIN written", **{str(key): f"written.{key}"})
        self._insert = PreparedStatement(f"""
            WITH written AS ({insert(model, "record")} RETURNING {key}), noted AS ({noted}) SELECT {key} FROM written
        """)
        self._update = PreparedStatement(f"""
            WITH written AS ({_update(model, "record")} RETURNING t.{key}), noted AS ({noted}) SELECT {key} FROM written
        """)

    def __call__(self, record: Any) -> None:
        """Save the record; one that is stored already gets the next version, or raises DoesNotExist if it is gone."""
        is_new = record._state.adding
        if not is_new:
            record.version += 1
        for field in record._meta.concrete_fields:
            field.pre_save(record, is_new)
        noted = history_row(self._history, record, "+" if is_new else "~")
        statement = self._insert if is_new else self._update
        row = statement.row({"record": as_json([record]), "history": as_json([noted])})
        if row is None:
            raise type(record).DoesNotExist(
                f"There is no {record._meta.verbose_name} {record.pk} to be changed."
            )
        record.pk = row[0]
        record._state.adding, record._state.db = False, "default"


def _update(model: type[models.Model], rows: str) -> str:
    """UPDATE of the rows in that parameter, as ``t``."""
    table, key = model._meta.db_table, model._meta.pk.column
    changed = ", ".join(f'"{column}" = r."{column}"' for column in columns_of(model) if column != key)
    return (
        f"UPDATE {table} t SET {changed} FROM jsonb_populate_recordset(NULL::{table}, %({rows})s::jsonb) r"
        f" WHERE t.{key} = r.{key}"
    )
