"""Advisory locks, with two real connections."""

import threading

import pytest
from django.db import connection, transaction

from core.locks import advisory_lock, try_advisory_lock


@pytest.mark.django_db(transaction=True)
def test_one_transaction_holds_a_lock_until_it_ends() -> None:
    answers: list[bool] = []

    def other_connection() -> None:
        try:
            with transaction.atomic():
                answers.append(try_advisory_lock("ledger"))
                answers.append(try_advisory_lock("another name"))
        finally:
            connection.close()

    def ask() -> None:
        thread = threading.Thread(target=other_connection)
        thread.start()
        thread.join()

    with transaction.atomic():
        advisory_lock("ledger")
        ask()
    ask()
    assert answers == [False, True, True, True]


@pytest.mark.django_db(transaction=True)
def test_a_lock_needs_a_transaction() -> None:
    with pytest.raises(transaction.TransactionManagementError):
        advisory_lock("ledger")
