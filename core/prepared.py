"""Statements of the busiest paths: their text never changes, so it is read once and prepared on the server.

psycopg reads the text of a long statement anew at every call, and Django adds a cursor, a health check and
query building around it: together more than the database needs for the statement itself.
"""

import re
from collections.abc import Mapping
from typing import Any

import psycopg
from django.db import connection

_PARAMETER = re.compile(r"%\((\w+)\)s")


class PreparedStatement:
    """SQL with parameters as `%(name)s`, each of them cast where its type does not follow from its place.

    Part of the caller's transaction if there is one. Errors are Django's.
    """

    def __init__(self, statement: str) -> None:
        self.statement = statement
        self._names = tuple(dict.fromkeys(_PARAMETER.findall(statement)))
        numbers = {name: f"${number}" for number, name in enumerate(self._names, start=1)}
        text = _PARAMETER.sub(lambda found: numbers[found[1]], statement)
        self._text = " ".join(text.split()).encode()

    def row(self, values: Mapping[str, Any]) -> tuple[Any, ...] | None:
        """Run it; return the first row."""
        found = self.rows(values)
        return found[0] if found else None

    def rows(self, values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """Run it; return all rows."""
        connection.ensure_connection()
        with connection.wrap_database_errors, psycopg.RawCursor(connection.connection) as cursor:
            cursor.execute(self._text, [values[name] for name in self._names], prepare=True)
            found: list[tuple[Any, ...]] = cursor.fetchall()
            return found
