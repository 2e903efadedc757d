"""One house per test, in the middle of 2026; the ledger is proven after each."""

from collections.abc import Iterator

import pytest
import time_machine

from tests.approvals.builders import House, house
from tests.budgets.builders import assert_proven


@pytest.fixture
def home(db: None) -> Iterator[House]:
    with time_machine.travel("2026-06-15T12:00:00Z", tick=False):
        yield house()
        assert_proven()
