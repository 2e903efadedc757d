"""The outbox: facts for others, written with what they tell of, delivered after commit, at least once (INT-01).

In a service, inside its transaction:

    publish("invoice.issued", {"invoice_id": invoice.pk}, key=f"invoice:{invoice.pk}")

In the AppConfig.ready() of whoever wants to know:

    register_consumer("invoice.", sync_invoice)       # def sync_invoice(event: OutboxEvent) -> None

Each consumer runs in a transaction of its own together with the note that it has had the event, so its writes to
our database happen once. What it does outside (a mail, a call) can happen again when the process dies between the
act and the commit: such a consumer must recognise a repetition, by a key it sends along or a mark it keeps.
A consumer that raises is tried again later, without holding up other consumers or events; order is not promised.
"""

import contextlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType
from typing import Any

import redis
from celery import current_app
from django.core.cache import cache
from django.core.serializers.json import DjangoJSONEncoder
from django.db import connection, transaction

from core import clock
from core.access import require
from core.api.redis_client import redis_client
from core.errors import Conflict
from core.history import Channel, acting
from core.models import OutboxEvent, User
from core.prepared import PreparedStatement

logger = logging.getLogger(__name__)

Consumer = Callable[[OutboxEvent], None]

DISPATCH_TASK = "core.dispatch_outbox"
_ASKED = "outbox:asked"
ASKED_SECONDS = 20
"""For so long it counts that a worker was asked: a message that is lost keeps nobody waiting for longer."""
FIRST_PAUSE = timedelta(seconds=10)
LONGEST_PAUSE = timedelta(hours=1)
MAX_ATTEMPTS = 20
LEASE = timedelta(minutes=15)
"""An event whose worker died is taken up again after this time; no delivery may last longer."""

# Every service writes events: the queryset takes longer to be built than the row to be written.
_WRITE = PreparedStatement("""
INSERT INTO outbox_events
    (topic, key, payload, created_at, next_try_at, attempts, last_error, request_id, delivered_to)
VALUES
    (%(topic)s::text, %(key)s::text, %(payload)s::jsonb, %(now)s::timestamptz, %(now)s::timestamptz, 0, '',
     %(request_id)s::text, '[]'::jsonb)
RETURNING id
""")

_consumers: list[tuple[str, Consumer]] = []


def register_consumer(topic_prefix: str, consumer: Consumer) -> None:
    """Have `consumer(event)` called for every event whose topic begins with the prefix."""
    if (topic_prefix, consumer) not in _consumers:
        _consumers.append((topic_prefix, consumer))


def consumer_name(consumer: Consumer) -> str:
    """The name under which an event remembers who has had it."""
    return f"{consumer.__module__}.{consumer.__qualname__}"


def consumers_of(topic: str) -> Iterator[Consumer]:
    """Yield those registered for a topic."""
    return (consumer for prefix, consumer in _consumers if topic.startswith(prefix))


def publish(topic: str, payload: Mapping[str, Any], key: str = "") -> OutboxEvent:
    """Write an event in the caller's transaction and wake the dispatcher once it is committed.

    `payload` carries ids and amounts as strings, never objects; `key` says what it is about ("invoice:42").
    Outside a transaction it raises TransactionManagementError: the fact and its event must commit together.
    """
    if not connection.in_atomic_block:
        raise transaction.TransactionManagementError(
            "publish() belongs in the transaction that makes the fact."
        )
    event = OutboxEvent(topic=topic, key=key, payload=dict(payload))
    row = _WRITE.row(
        {
            "topic": event.topic,
            "key": event.key,
            "payload": json.dumps(event.payload, cls=DjangoJSONEncoder),
            "now": event.created_at,
            "request_id": event.request_id,
        }
    )
    assert row is not None
    event.pk = row[0]
    event._state.adding, event._state.db = False, connection.alias
    wake_after_commit()
    return event


def wake_after_commit() -> None:
    """Wake the dispatcher once the transaction is committed, or now outside of one; once, however many events.

    One that a savepoint registered is enough: if that savepoint is rolled back, Django drops it from the list.
    """
    if not any(function is wake_dispatcher for _, function, *_ in connection.run_on_commit):
        transaction.on_commit(wake_dispatcher, robust=True)


def wake_dispatcher() -> None:
    """Ask a worker to deliver now, unless one was asked that has not begun: it will see this commit too.

    If the broker is away nothing is lost: the scheduler asks again.
    """
    if _is_first_to_ask():
        current_app.send_task(DISPATCH_TASK, retry=False, ignore_result=True)


def _is_first_to_ask() -> bool:
    try:
        return bool(redis_client().set(cache.make_key(_ASKED), 1, nx=True, ex=ASKED_SECONDS))
    except redis.RedisError:
        return True


def dispatch_begins() -> None:
    """Say, before looking for events, that whoever commits one from now on has to ask anew."""
    with contextlib.suppress(redis.RedisError):
        redis_client().delete(cache.make_key(_ASKED))


@dataclass(frozen=True, slots=True)
class Dispatched:
    """How many events one run delivered to all their consumers, and how many it could not."""

    delivered: int
    failed: int


def dispatch_pending(*, limit: int = 500) -> Dispatched:
    """Deliver due events, oldest first, at most `limit`. Any number of workers may run it at once."""
    delivered = failed = 0
    for _ in range(limit):
        event = claim_next()
        if event is None:
            break
        if deliver(event):
            delivered += 1
        else:
            failed += 1
    return Dispatched(delivered, failed)


def claim_next() -> OutboxEvent | None:
    """Take the oldest due event for this worker; events that another worker is taking are skipped.

    The attempt is committed before anything is delivered, so that an event which kills its worker is counted,
    waits, and is given up in the end like any other failure.
    """
    with transaction.atomic():
        event = OutboxEvent.objects.due().select_for_update(skip_locked=True).order_by("id").first()
        if event is not None:
            event.attempts += 1
            event.next_try_at = clock.now() + LEASE
            event.save(update_fields=["attempts", "next_try_at"])
    return event


class _Delivery(AbstractContextManager["_Delivery"]):
    """Runs one consumer; what it raises becomes the event's error and the log's, and goes no further."""

    def __init__(self, event: OutboxEvent, name: str, errors: list[str]) -> None:
        self.event, self.name, self.errors = event, name, errors

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if not isinstance(error, Exception):
            return False
        self.errors.append(f"{self.name}: {type(error).__name__}: {error}")
        logger.error(
            "outbox consumer failed: event %s %s, %s",
            self.event.pk,
            self.event.topic,
            self.name,
            exc_info=error,
        )
        return True


def deliver(event: OutboxEvent) -> bool:
    """Hand a claimed event to the consumers that have not had it; say whether all have now."""
    errors: list[str] = []
    for consumer in consumers_of(event.topic):
        name = consumer_name(consumer)
        if name in event.delivered_to:
            continue
        with (
            _Delivery(event, name, errors),
            acting(channel=Channel.JOB, request_id=event.request_id or None),
            transaction.atomic(),
        ):
            consumer(event)
            OutboxEvent.objects.filter(pk=event.pk).update(delivered_to=[*event.delivered_to, name])
            event.delivered_to = [*event.delivered_to, name]
    if errors:
        _postpone(event, "\n".join(errors))
    else:
        event.published_at, event.last_error = clock.now(), ""
        event.save(update_fields=["published_at", "last_error"])
    return not errors


def pause_after(attempts: int) -> timedelta:
    """How long to wait after so many failures: 10 s, doubled each time, at most an hour."""
    return min(FIRST_PAUSE * 2 ** min(attempts - 1, 16), LONGEST_PAUSE)


def _postpone(event: OutboxEvent, error: str) -> None:
    now = clock.now()
    event.last_error = error[:4000]
    event.next_try_at = now + pause_after(event.attempts)
    if event.attempts >= MAX_ATTEMPTS:
        event.given_up_at = now
    event.save(update_fields=["last_error", "next_try_at", "given_up_at"])


def outbox_event_retry(*, actor: User, event: OutboxEvent) -> OutboxEvent:
    """Have an undelivered event tried again at once, also one that was given up.

    Raises Conflict `outbox_event_published` if every consumer has had it.
    """
    require(actor, "core.change_outboxevent")
    with transaction.atomic():
        locked = OutboxEvent.objects.select_for_update().get(pk=event.pk)
        if locked.published_at is not None:
            raise Conflict(
                "outbox_event_published",
                "Everyone concerned has had this event. There is nothing to send again.",
            )
        locked.attempts, locked.given_up_at, locked.next_try_at = 0, None, clock.now()
        locked.save(update_fields=["attempts", "given_up_at", "next_try_at"])
        wake_after_commit()
    return locked
