"""One desk per test, on a Monday in March 2026 at 09:00 in Berlin; the clocks are proven after each."""

from collections.abc import Iterator

import pytest
import time_machine

from tests.disputes.builders import MONDAY, Desk, assert_clocks_proven, build_desk


@pytest.fixture
def travel() -> Iterator[time_machine.Traveller]:
    """The clock: ``travel.move_to(moment)``; it stands still otherwise."""
    with time_machine.travel(MONDAY, tick=False) as coordinates:
        yield coordinates


@pytest.fixture
def proven() -> bool:
    """Whether the clocks are proven at the end; a test that breaks a log says False."""
    return True


@pytest.fixture
def desk(db: None, travel: time_machine.Traveller, proven: bool) -> Iterator[Desk]:
    yield build_desk()
    if proven:
        assert_clocks_proven()
