"""The outbox: in the transaction or not at all, at least once, by any number of workers (INT-01)."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from celery import Celery, current_app
from django.db import connection, transaction

from core import outbox
from core.access import system_actor
from core.errors import Conflict, Forbidden
from core.history import acting, current
from core.models import Notification, OutboxEvent, User
from core.notifications import notify
from core.outbox import (
    Dispatched,
    claim_next,
    dispatch_begins,
    dispatch_pending,
    outbox_event_retry,
    publish,
    register_consumer,
)
from core.tasks import dispatch_outbox

NOON = datetime(2024, 9, 30, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def consumers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test registers its own consumers."""
    monkeypatch.setattr(outbox, "_consumers", [])


@pytest.fixture
def queue() -> Iterator[Any]:
    """The broker's real queue, empty before and after."""
    with current_app.connection_for_write() as broker:
        channel: Any = broker.default_channel
        name = current_app.conf.task_default_queue
        channel.client.delete(name)
        yield lambda: channel.client.llen(name)
        channel.client.delete(name)


def publish_and_fail(topic: str) -> None:
    with transaction.atomic():
        publish(topic, {})
        raise ZeroDivisionError


class Recorder:
    """A consumer that keeps what it was given, and fails as often as it is told."""

    __qualname__ = "Recorder"

    def __init__(self, failures: int = 0, name: str = "Recorder") -> None:
        self.seen: list[tuple[str, dict[str, Any]]] = []
        self.failures = failures
        self.__qualname__ = name

    def __call__(self, event: OutboxEvent) -> None:
        Notification.objects.create(user=system_actor(), kind=self.__qualname__, title="done")
        self.seen.append((event.topic, event.payload))
        if self.failures:
            self.failures -= 1
            raise ZeroDivisionError("on purpose")


@pytest.mark.django_db
def test_an_event_reaches_the_consumers_of_its_topic_once() -> None:
    invoices, everything = Recorder(name="a"), Recorder(name="b")
    register_consumer("invoice.", invoices)
    register_consumer("invoice.", invoices)
    register_consumer("", everything)
    publish("invoice.issued", {"invoice_id": 7, "total": "20.52"}, key="invoice:7")
    publish("budget.crossed", {"budget_id": 1})
    assert dispatch_pending() == Dispatched(delivered=2, failed=0)
    assert dispatch_pending() == Dispatched(delivered=0, failed=0)
    assert invoices.seen == [("invoice.issued", {"invoice_id": 7, "total": "20.52"})]
    assert [topic for topic, _ in everything.seen] == ["invoice.issued", "budget.crossed"]
    assert OutboxEvent.objects.filter(published_at__isnull=True).count() == 0


@pytest.mark.django_db(transaction=True)
def test_a_rollback_writes_no_event_and_wakes_nobody(queue: Any) -> None:
    with pytest.raises(ZeroDivisionError):
        publish_and_fail("invoice.issued")
    assert OutboxEvent.objects.count() == 0
    assert queue() == 0


@pytest.mark.django_db(transaction=True)
def test_a_fact_needs_a_transaction(queue: Any) -> None:
    with pytest.raises(transaction.TransactionManagementError):
        publish("invoice.issued", {})
    assert OutboxEvent.objects.count() == 0


@pytest.mark.django_db(transaction=True)
def test_one_wake_up_per_transaction_and_only_after_commit(queue: Any) -> None:
    with transaction.atomic():
        publish("a", {})
        publish("b", {})
        assert queue() == 0
    assert queue() == 1
    with transaction.atomic():
        with pytest.raises(ZeroDivisionError):
            publish_and_fail("lost")
        with transaction.atomic():
            publish("kept", {})
        publish("kept too", {})
    # Whoever was asked has not begun, and will see this transaction too.
    assert queue() == 1
    dispatch_begins()
    with transaction.atomic():
        publish("c", {})
    assert queue() == 2
    assert sorted(OutboxEvent.objects.values_list("topic", flat=True)) == ["a", "b", "c", "kept", "kept too"]


@pytest.mark.django_db(transaction=True)
def test_a_broker_that_is_away_loses_nothing(
    monkeypatch: pytest.MonkeyPatch, queue: Any, settings: Any
) -> None:
    consumer = Recorder()
    register_consumer("", consumer)
    unreachable = Celery(broker="redis://127.0.0.1:1/0", set_as_current=False)
    unreachable.conf.broker_transport_options = settings.CELERY_BROKER_TRANSPORT_OPTIONS
    monkeypatch.setattr(outbox, "current_app", unreachable)
    with transaction.atomic():
        publish("a", {})
    assert queue() == 0
    dispatch_outbox()
    assert [topic for topic, _ in consumer.seen] == ["a"]


@pytest.mark.django_db
def test_a_failing_consumer_is_tried_again_later_and_holds_up_nobody() -> None:
    failing, healthy = Recorder(failures=2, name="failing"), Recorder(name="healthy")
    register_consumer("", failing)
    register_consumer("", healthy)
    with time_machine.travel(NOON, tick=False) as clock:
        event = publish("a", {})
        publish("b", {})
        failing.failures = 1
        assert dispatch_pending() == Dispatched(delivered=1, failed=1)
        event.refresh_from_db()
        assert event.last_error == f"{Recorder.__module__}.failing: ZeroDivisionError: on purpose"
        assert (event.attempts, event.next_try_at) == (1, NOON + timedelta(seconds=10))
        assert event.delivered_to == [f"{Recorder.__module__}.healthy"]
        assert dispatch_pending() == Dispatched(delivered=0, failed=0)
        clock.shift(10)
        failing.failures = 1
        assert dispatch_pending() == Dispatched(delivered=0, failed=1)
        event.refresh_from_db()
        assert (event.attempts, event.next_try_at) == (2, NOON + timedelta(seconds=30))
        clock.shift(20)
        assert dispatch_pending() == Dispatched(delivered=1, failed=0)
    event.refresh_from_db()
    assert (event.last_error, event.attempts, event.published_at) == ("", 3, NOON + timedelta(seconds=30))
    # The healthy one was not called again, and what the failing one wrote before it failed was rolled back.
    assert [topic for topic, _ in healthy.seen] == ["a", "b"]
    assert [topic for topic, _ in failing.seen] == ["a", "b", "a", "a"]
    assert Notification.objects.filter(kind="failing").count() == 2


@pytest.mark.parametrize(
    ("attempts", "seconds"), [(1, 10), (2, 20), (5, 160), (9, 2560), (10, 3600), (19, 3600)]
)
def test_pauses_double_up_to_an_hour(attempts: int, seconds: int) -> None:
    assert outbox.pause_after(attempts) == timedelta(seconds=seconds)


@pytest.mark.django_db
def test_an_event_is_given_up_in_the_end_and_can_be_retried_by_a_person() -> None:
    failing = Recorder(failures=outbox.MAX_ATTEMPTS)
    register_consumer("", failing)
    with time_machine.travel(NOON, tick=False) as clock:
        event = publish("a", {})
        for _ in range(outbox.MAX_ATTEMPTS):
            assert dispatch_pending() == Dispatched(delivered=0, failed=1)
            clock.shift(3600)
        assert dispatch_pending() == Dispatched(delivered=0, failed=0)
        assert list(OutboxEvent.objects.given_up()) == [event]
        with pytest.raises(Forbidden):
            outbox_event_retry(actor=User.objects.create_user("anna"), event=event)
        outbox_event_retry(actor=system_actor(), event=event)
        assert dispatch_pending() == Dispatched(delivered=1, failed=0)
        with pytest.raises(Conflict) as refused:
            outbox_event_retry(actor=system_actor(), event=event)
    assert refused.value.code == "outbox_event_published"
    assert len(failing.seen) == outbox.MAX_ATTEMPTS + 1


@pytest.mark.django_db
def test_an_event_whose_worker_died_comes_back_after_the_lease() -> None:
    consumer = Recorder()
    register_consumer("", consumer)
    with time_machine.travel(NOON, tick=False) as clock:
        event = publish("a", {})
        assert claim_next() == event  # and the worker dies
        assert dispatch_pending() == Dispatched(delivered=0, failed=0)
        clock.shift(outbox.LEASE)
        assert dispatch_pending() == Dispatched(delivered=1, failed=0)
    event.refresh_from_db()
    assert event.attempts == 2
    assert len(consumer.seen) == 1


@pytest.mark.django_db
def test_a_consumer_works_in_the_name_of_the_request_that_published() -> None:
    contexts: list[tuple[str, str]] = []

    def consumer(event: OutboxEvent) -> None:
        contexts.append((current().channel, current().request_id))

    register_consumer("", consumer)
    with acting(channel="api", request_id="call-0123456789"):
        publish("a", {})
    dispatch_pending()
    assert contexts == [("job", "call-0123456789")]


@pytest.mark.django_db(transaction=True)
def test_a_second_worker_skips_the_event_that_the_first_is_taking(queue: Any) -> None:
    with transaction.atomic():
        first, second = publish("a", {}), publish("b", {})
    taken: list[OutboxEvent | None] = []

    def other_worker() -> None:
        try:
            taken.append(claim_next())
            taken.append(claim_next())
        finally:
            connection.close()

    with transaction.atomic():
        assert claim_next() == first  # its row lock is held until this block ends
        thread = threading.Thread(target=other_worker)
        thread.start()
        thread.join(timeout=20)
        assert not thread.is_alive()
    assert taken == [second, None]


@pytest.mark.django_db(transaction=True)
def test_four_workers_deliver_forty_events_once_each(queue: Any) -> None:
    user = User.objects.create_user("anna")
    seen: list[int] = []

    def consumer(event: OutboxEvent) -> None:
        seen.append(event.payload["number"])
        notify(user=user, kind="counted", title=str(event.payload["number"]), email=False)

    register_consumer("count", consumer)
    with transaction.atomic():
        for number in range(40):
            publish("count", {"number": number})

    def worker() -> None:
        try:
            dispatch_pending()
        finally:
            connection.close()

    threads = [threading.Thread(target=worker) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(seen) == list(range(40))
    assert Notification.objects.filter(kind="counted").count() == 40
    assert OutboxEvent.objects.pending().count() == 0
