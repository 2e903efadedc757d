"""Advisory locks of PostgreSQL for what has no row to lock. They end with the transaction."""

import hashlib

from django.db import connection, transaction

from core.prepared import PreparedStatement

_WAIT = PreparedStatement("SELECT pg_advisory_xact_lock(%(number)s::bigint)")
_TRY = PreparedStatement("SELECT pg_try_advisory_xact_lock(%(number)s::bigint)")


def _number(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], signed=True)


def _run(statement: PreparedStatement, name: str) -> bool:
    if not connection.in_atomic_block:
        raise transaction.TransactionManagementError("An advisory lock needs a transaction to end it.")
    row = statement.row({"number": _number(name)})
    return bool(row and row[0])


def advisory_lock(name: str) -> None:
    """Wait for the lock of that name and hold it until the transaction ends."""
    _run(_WAIT, name)


def try_advisory_lock(name: str) -> bool:
    """Take the lock if it is free, and say whether it was."""
    return _run(_TRY, name)
