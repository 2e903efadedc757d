"""`make run`: everything starts, a second one is told, and nothing is left when it is stopped or killed."""

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import psutil
import pytest

from billing_project import engines, launch
from tests.conftest import REPOSITORY
from tests.platform.processes import data_folder, gone, private_engines_absent, server_pids

pytestmark = [
    pytest.mark.skipif(bool(private_engines_absent()), reason=private_engines_absent()),
    pytest.mark.slow,
    # One data folder for all, and one first start in it.
    pytest.mark.xdist_group("launch"),
]


def free_port() -> int:
    """Return a port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Launched:
    """A running launcher and what it printed."""

    started: ClassVar[list["Launched"]] = []

    def __init__(self, data: Path, port: int) -> None:
        ours = ("BILLING_", "DATABASE_URL", "REDIS_URL", "DJANGO_")
        environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "billing_project.launch"],
            cwd=REPOSITORY,
            env={**environment, "BILLING_DATA_DIR": str(data), "PORT": str(port)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.started.append(self)
        self.text = ""
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.text += line

    def wait_for(self, words: str, seconds: float = 600) -> None:
        """Wait until it has printed some words."""
        deadline = time.monotonic() + seconds
        while words not in self.text:
            assert self.process.poll() is None, self.text
            assert time.monotonic() < deadline, self.text
            time.sleep(0.05)

    def end(self, number: int) -> int:
        """Send a signal and return the exit status."""
        self.process.send_signal(number)
        status = self.process.wait(60)
        self.reader.join(5)
        return status


@pytest.fixture(scope="module")
def sample_is_there() -> Iterator[Path]:
    """Return an empty data folder that counts as having its sample data: loading it is tested elsewhere."""
    with data_folder() as data:
        url = engines.Postgres(data).url("billing")
        name = hashlib.sha256(url.encode()).hexdigest()[:12]
        (data / f"prepared-{name}.json").write_text(json.dumps({"sample": "loaded"}))
        yield data


@pytest.fixture
def prepared(sample_is_there: Path) -> Iterator[Path]:
    """Return the data folder, which only the first test finds without a database; nothing runs in it after a test."""
    yield sample_is_there
    while Launched.started:
        launched = Launched.started.pop()
        launched.process.kill()
        launched.process.wait()
    assert gone(sample_is_there), [engines._command_of(pid) for pid in server_pids(sample_is_there)]


def get(port: int, path: str) -> int:
    """Return the status of a page."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=20) as answer:
        return int(answer.status)


def tree(pid: int) -> list[int]:
    """Return the processes below one."""
    return [child.pid for child in psutil.Process(pid).children(recursive=True)]


def alive(pids: list[int]) -> list[str]:
    """Return the command lines of those that still run, zombies aside."""
    return [command for command in map(engines._command_of, pids) if command]


def test_it_starts_serves_and_ends_without_a_trace(prepared: Path) -> None:
    port = free_port()
    first = Launched(prepared, port)
    first.wait_for("(started in")
    assert f"http://localhost:{port}" in first.text
    for path in ("/health/live", "/health/ready", "/admin/login/", "/docs", "/static/unfold/css/styles.css"):
        assert get(port, path) == 200
    below = tree(first.process.pid)
    assert len(below) >= 8

    second = Launched(prepared, port)
    assert second.process.wait(60) == 1
    second.reader.join(5)
    assert f"runs already at http://localhost:{port}." in second.text

    assert first.end(signal.SIGINT) == 0
    assert first.text.rstrip().endswith("Stopped.")
    assert alive(below) == []

    # The second start neither migrates nor loads anything; the port is taken meanwhile.
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", port))
        other.listen()
        again = Launched(prepared, port)
        again.wait_for("(started in")
    assert f"Port {port} is taken; using " in again.text
    assert "Migrating" not in again.text
    below = tree(again.process.pid)
    again.process.kill()
    again.process.wait()
    deadline = time.monotonic() + 30
    while alive(below) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert alive(below) == []


def test_when_one_part_dies_everything_ends_and_says_so(prepared: Path) -> None:
    launched = Launched(prepared, free_port())
    launched.wait_for("(started in")
    below = tree(launched.process.pid)
    web = next(pid for pid in below if "granian" in engines._command_of(pid))
    os.kill(web, signal.SIGKILL)
    assert launched.process.wait(60) == 1
    launched.reader.join(5)
    assert "The web ended with status -9; stopping everything." in launched.text
    assert alive(below) == []


def test_a_taken_port_is_passed_over() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = int(taken.getsockname()[1])
        assert launch.free_port(port) > port
