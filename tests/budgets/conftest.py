"""One place per test, in the middle of 2026."""

from collections.abc import Iterator

import pytest
import time_machine

from tests.budgets.builders import Place, assert_proven, place


@pytest.fixture
def frozen() -> Iterator[None]:
    with time_machine.travel("2026-06-15T12:00:00Z", tick=False):
        yield


@pytest.fixture
def here(db: None, frozen: None) -> Iterator[Place]:
    """A department with its people; at the end of every test the ledger is proven (BUD-01)."""
    yield place()
    assert_proven()
