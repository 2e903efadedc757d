"""Data folders for engines of tests, and what still runs in them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.platform.processes import data_folder


@pytest.fixture
def data() -> Iterator[Path]:
    """Return an empty data folder."""
    with data_folder() as folder:
        yield folder
