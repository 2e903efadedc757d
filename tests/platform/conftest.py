"""Data folders for engines of tests, and what still runs in them."""

import contextlib
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from billing_project import engines
from tests.platform.processes import server_pids


@pytest.fixture
def data() -> Iterator[Path]:
    """Return an empty data folder; as root one of the system's, where PostgreSQL's own user may go."""
    parent = None
    if os.geteuid() == 0:
        engines.SYSTEM_FOLDER.mkdir(mode=0o755, parents=True, exist_ok=True)
        parent = engines.SYSTEM_FOLDER
    folder = Path(tempfile.mkdtemp(prefix="test-", dir=parent)).resolve()
    yield folder
    for pid in server_pids(folder):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    shutil.rmtree(folder, ignore_errors=True)
