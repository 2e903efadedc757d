"""Idempotency keys (SEC-04): once per key, also with two real connections at the same moment."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import time_machine
from django.db import connection

from core.errors import BillingError, Conflict, Invalid, Misuse
from core.idempotency import IdempotentResult, idempotency_records_purge, run_idempotent
from core.models import IdempotencyRecord, Notification, User
from core.notifications import notify
from core.tasks import purge_expired_records

SCOPE = "POST /api/enterprise-billing/invoices"


@pytest.fixture
def anna(db: None) -> User:
    return User.objects.create_user("anna", "anna@example.com")


def work(user: User, status: int = 201) -> Callable[[], tuple[int, Any]]:
    """A handler that writes one row and answers with its id and an amount."""

    def handler() -> tuple[int, Any]:
        row = notify(user=user, kind="work", title="done", email=False)
        return status, {"z": row.pk, "amount": Decimal("15000.00"), "a": None}

    return handler


def call(user: User, key: str | None = "key-1", body: bytes = b"{}", **kwargs: Any) -> IdempotentResult:
    return run_idempotent(
        user=user,
        key=key,
        scope=kwargs.pop("scope", SCOPE),
        body=body,
        handler=kwargs.pop("handler", work(user)),
    )


def test_a_retry_gets_the_first_answer_and_does_nothing(anna: User) -> None:
    first = call(anna)
    answer = first.body
    row = Notification.objects.get()
    assert first == (201, {"z": row.pk, "amount": "15000.00", "a": None}, False)
    second = call(anna)
    assert second == (201, answer, True)
    assert list(second.body) == ["z", "amount", "a"]
    assert Notification.objects.count() == 1


@pytest.mark.parametrize(
    "change", [{"body": b'{"a":1}'}, {"scope": "POST /api/enterprise-billing/invoices/2/issue"}]
)
def test_another_request_under_the_same_key_is_refused(anna: User, change: dict[str, Any]) -> None:
    call(anna)
    with pytest.raises(Misuse) as refused:
        call(anna, **change)
    assert (refused.value.code, refused.value.status) == ("idempotency_key_reused", 422)
    assert Notification.objects.count() == 1


def test_keys_belong_to_their_user(anna: User) -> None:
    ben = User.objects.create_user("ben", "ben@example.com")
    assert not call(anna).replayed
    assert not call(ben).replayed
    assert Notification.objects.count() == 2


def test_a_failure_writes_nothing_and_frees_the_key(anna: User) -> None:
    def fails() -> tuple[int, Any]:
        work(anna)()
        raise Conflict("no_money", "Not enough.")

    with pytest.raises(Conflict):
        call(anna, handler=fails)
    assert call(anna, handler=work(anna, status=409)).status == 409
    assert Notification.objects.count() == 0
    assert IdempotencyRecord.objects.count() == 0
    assert call(anna) == (201, {"z": Notification.objects.get().pk, "amount": "15000.00", "a": None}, False)


def test_without_a_key_the_handler_runs_each_time(anna: User) -> None:
    assert [call(anna, key=None).replayed, call(anna, key="").replayed] == [False, False]
    assert Notification.objects.count() == 2
    assert call(anna, key=None, handler=work(anna, status=400)).status == 400
    assert Notification.objects.count() == 2
    assert IdempotencyRecord.objects.count() == 0


@pytest.mark.parametrize("key", ["x" * 256, "with\nnewline", "kéy", "\x00"])
def test_an_odd_key_is_refused(anna: User, key: str) -> None:
    with pytest.raises(Invalid) as refused:
        call(anna, key=key)
    assert refused.value.code == "invalid_idempotency_key"
    assert Notification.objects.count() == 0


def test_answers_are_kept_for_thirty_days(anna: User) -> None:
    with time_machine.travel(datetime(2024, 9, 1, tzinfo=UTC), tick=False) as clock:
        call(anna)
        clock.shift(timedelta(days=30) - timedelta(seconds=1))
        assert idempotency_records_purge() == 0
        assert call(anna).replayed
        clock.shift(1)
        purge_expired_records()
        assert IdempotencyRecord.objects.count() == 0
        assert not call(anna).replayed


@pytest.mark.django_db(transaction=True)
def test_of_two_at_once_one_runs_and_the_other_is_told_to_wait() -> None:
    anna = User.objects.create_user("anna", "anna@example.com")
    started, finish = threading.Event(), threading.Event()
    outcomes: dict[str, Any] = {}

    def slow() -> tuple[int, Any]:
        started.set()
        assert finish.wait(timeout=20)
        return work(anna)()

    def first_request() -> None:
        try:
            outcomes["first"] = call(anna, handler=slow)
        finally:
            connection.close()

    thread = threading.Thread(target=first_request)
    thread.start()
    assert started.wait(timeout=20)
    with pytest.raises(Conflict) as refused:
        call(anna)
    assert (refused.value.code, refused.value.status) == ("idempotency_in_flight", 409)
    # Another key is free meanwhile.
    assert not call(anna, key="key-2").replayed
    finish.set()
    thread.join()
    assert outcomes["first"].replayed is False
    assert call(anna) == (201, outcomes["first"].body, True)
    assert Notification.objects.count() == 2


@pytest.mark.django_db(transaction=True)
def test_of_eight_at_once_exactly_one_runs() -> None:
    anna = User.objects.create_user("anna", "anna@example.com")
    gate = threading.Barrier(8)
    outcomes: list[str] = []

    def request() -> None:
        try:
            gate.wait(timeout=20)
            outcomes.append("replayed" if call(anna).replayed else "ran")
        except BillingError as error:
            outcomes.append(error.code)
        finally:
            connection.close()

    threads = [threading.Thread(target=request) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes.count("ran") == 1
    assert set(outcomes) <= {"ran", "replayed", "idempotency_in_flight"}
    assert len(outcomes) == 8
    assert Notification.objects.count() == 1
