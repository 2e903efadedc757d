"""One place per test, in the middle of 2026."""

from collections.abc import Iterator

import pytest
import time_machine

from tests.contracts.builders import Place, place


@pytest.fixture
def frozen() -> Iterator[None]:
    with time_machine.travel("2026-06-15T12:00:00Z", tick=False):
        yield


@pytest.fixture
def here(db: None, frozen: None) -> Place:
    """An entity with an issuer and people."""
    return place()
