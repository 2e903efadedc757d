"""Idempotency keys: a retried request gets the first answer and does nothing a second time (SEC-04).

    result = run_idempotent(user=user, key=key, scope="POST /invoices", body=request.body, handler=handler)

`handler()` does the work and returns (status, body). Work and answer are stored in one transaction: when the
handler raises, or answers with 400 or above, everything is rolled back and the key may be used again.
"""

import hashlib
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any, NamedTuple

from django.core.serializers.json import DjangoJSONEncoder
from django.db import transaction

from core import clock
from core.errors import Conflict, Invalid, Misuse
from core.locks import try_advisory_lock
from core.models import IdempotencyRecord, User
from core.prepared import PreparedStatement

KEEP = timedelta(days=30)
LONGEST_KEY = 255

_FIND = PreparedStatement(
    "SELECT fingerprint, status, body, scope FROM idempotency_records "
    "WHERE user_id = %(user)s::bigint AND key = %(key)s::text"
)
_STORE = PreparedStatement(
    "INSERT INTO idempotency_records (user_id, key, scope, fingerprint, status, body, created_at, expires_at) "
    "VALUES (%(user)s::bigint, %(key)s::text, %(scope)s::text, %(fingerprint)s::text, %(status)s::smallint, "
    "%(body)s::text, %(now)s::timestamptz, %(expires)s::timestamptz) RETURNING id"
)

Handler = Callable[[], tuple[int, Any]]


class IdempotentResult(NamedTuple):
    """The answer; `replayed` says that it is the stored one."""

    status: int
    body: Any
    replayed: bool


def run_idempotent(
    *, user: User, key: str | None, scope: str, body: bytes, handler: Handler
) -> IdempotentResult:
    """Run `handler` once per user and key, and return its answer or the stored one.

    `scope` names the operation with its object ("POST /invoices/7/issue"): the same key for another scope or
    another body raises Misuse `idempotency_key_reused` (422). While another request with the key runs:
    Conflict `idempotency_in_flight` (409). Without a key the handler simply runs in a transaction.
    """
    if not key:
        with transaction.atomic():
            status, answer = handler()
            if status >= 400:
                transaction.set_rollback(True)
        return IdempotentResult(status, answer, replayed=False)
    if len(key) > LONGEST_KEY or not (key.isascii() and key.isprintable()):
        raise Invalid(
            "invalid_idempotency_key",
            f"An idempotency key has 1 to {LONGEST_KEY} printable ASCII characters. A random UUID is a good one.",
        )
    fingerprint = hashlib.sha256(scope.encode() + b"\n" + body).hexdigest()
    with transaction.atomic():
        locked = try_advisory_lock(f"idempotency:{user.pk}:{key}")
        # Looked for after the lock was tried: whoever held it before has committed the answer by then.
        stored = _stored(user, key, fingerprint)
        if stored is not None:
            return stored
        if not locked:
            raise Conflict(
                "idempotency_in_flight",
                "A request with this idempotency key is still being worked on. Wait a moment, then send it again.",
            )
        status, answer = handler()
        text = json.dumps(answer, cls=DjangoJSONEncoder)
        if status >= 400:
            transaction.set_rollback(True)
        else:
            now = clock.now()
            _STORE.row(
                {
                    "user": user.pk,
                    "key": key,
                    "scope": scope[:255],
                    "fingerprint": fingerprint,
                    "status": status,
                    "body": text,
                    "now": now,
                    "expires": now + KEEP,
                }
            )
    return IdempotentResult(status, json.loads(text), replayed=False)


def _stored(user: User, key: str, fingerprint: str) -> IdempotentResult | None:
    record = _FIND.row({"user": user.pk, "key": key})
    if record is None:
        return None
    known, status, body, scope = record
    if known != fingerprint:
        raise Misuse(
            "idempotency_key_reused",
            "This idempotency key was used for another request. Send the same request to get its answer again, "
            "or take a new key for a new request.",
            extra={"scope": scope},
        )
    return IdempotentResult(status, json.loads(body), replayed=True)


def idempotency_records_purge() -> int:
    """Delete the answers that are older than 30 days; return how many."""
    deleted, _ = IdempotencyRecord.objects.expired().delete()
    return deleted
