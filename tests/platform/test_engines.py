"""The private PostgreSQL and Redis start, are shared, survive crashes and end with their last user."""

import contextlib
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest
import redis

from billing_project import engines
from tests.conftest import REPOSITORY
from tests.platform.processes import gone, private_engines_absent, server_pids

pytestmark = pytest.mark.skipif(bool(private_engines_absent()), reason=private_engines_absent())

USE = """
import json, sys
sys.path.insert(0, sys.argv[1])
from billing_project import engines
print(json.dumps([engines.postgres_url("billing"), engines.redis_url(0), str(engines.data_directory())]), flush=True)
sys.stdin.read()
engines.leave()
"""


class User:
    """A process that uses both engines until it is told to end."""

    def __init__(self, data: Path | None, checkout: Path = REPOSITORY) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("BILLING_")}
        if data is not None:
            environment["BILLING_DATA_DIR"] = str(data)
        self.process = subprocess.Popen(
            [sys.executable, "-c", USE, str(checkout)],
            env=environment,
            cwd="/",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def urls(self) -> tuple[str, str, Path]:
        """Wait until both engines run and return their URLs and the data folder."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise AssertionError(self.process.communicate()[1])
        postgres, redis_url, data = json.loads(line)
        return postgres, redis_url, Path(data)

    def end(self) -> None:
        """Let the process end by itself."""
        self.process.communicate(timeout=60)


def answer(postgres: str, redis_url: str) -> None:
    """Assert that both engines answer."""
    with psycopg.connect(postgres) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    assert redis.Redis.from_url(redis_url).ping()


def test_they_start_keep_data_and_end_with_their_last_user(data: Path) -> None:
    first = User(data)
    postgres, redis_url, _ = first.urls()
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute("CREATE TABLE kept (n integer)")
        connection.execute("INSERT INTO kept VALUES (7)")
        settings = dict(connection.execute("SELECT name, setting FROM pg_settings").fetchall())
    assert (settings["fsync"], settings["synchronous_commit"], settings["listen_addresses"]) == (
        "on",
        "on",
        "",
    )
    redis.Redis.from_url(redis_url).set("kept", "7")
    second = User(data)
    assert second.urls()[0] == postgres
    first.end()
    time.sleep(1)
    answer(postgres, redis_url)
    second.end()
    assert gone(data)

    third = User(data)
    third.urls()
    with psycopg.connect(postgres) as connection:
        assert connection.execute("SELECT n FROM kept").fetchone() == (7,)
    assert redis.Redis.from_url(redis_url).get("kept") == b"7"
    third.end()
    assert gone(data)


def test_many_may_start_at_once(data: Path) -> None:
    users = [User(data) for _ in range(6)]
    found = {user.urls()[:2] for user in users}
    assert len(found) == 1
    answer(*found.pop())
    for user in users:
        user.end()
    assert gone(data)


def test_a_killed_user_leaves_nothing_running(data: Path) -> None:
    user = User(data)
    user.urls()
    user.process.kill()
    user.process.communicate()
    assert gone(data)


def test_they_start_again_after_everything_was_killed(data: Path) -> None:
    user = User(data)
    postgres, _, _ = user.urls()
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute("CREATE TABLE kept (n integer)")
    user.process.kill()
    for pid in server_pids(data):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    user.process.communicate()
    assert (data / "postgres" / "postmaster.pid").exists()
    # The number in the stale file belongs to a living stranger by now.
    lines = (data / "postgres" / "postmaster.pid").read_text().splitlines()
    (data / "postgres" / "postmaster.pid").write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")
    (data / "run" / "postgres.pid").write_text(str(os.getpid()))

    again = User(data)
    answer(*again.urls()[:2])
    with psycopg.connect(postgres) as connection:
        assert connection.execute("SELECT count(*) FROM kept").fetchone() == (0,)
    again.end()
    assert gone(data)


def test_they_start_again_after_a_keeper_was_killed(data: Path) -> None:
    user = User(data)
    user.urls()
    for pid in server_pids(data):
        if "engines.py" in engines._command_of(pid):
            os.kill(pid, signal.SIGKILL)
    again = User(data)
    answer(*again.urls()[:2])
    user.end()
    again.end()
    assert gone(data)


def test_an_interrupted_first_start_is_begun_anew(data: Path) -> None:
    scratch = data / "postgres.new"
    scratch.mkdir()
    (scratch / "half").write_text("half")
    user = User(data)
    answer(*user.urls()[:2])
    user.end()
    assert gone(data)


@pytest.mark.parametrize("name", ["a folder, with 'quotes\" and 100%", "x" * 120])
def test_odd_and_long_paths(data: Path, name: str) -> None:
    folder = data / name
    folder.mkdir()
    if os.geteuid() == 0:
        data.chmod(0o711)
    user = User(folder)
    postgres, redis_url, told = user.urls()
    assert told == folder
    answer(postgres, redis_url)
    user.end()
    assert gone(folder)


def copy_checkout(target: Path) -> Path:
    """Copy what the engines need of a checkout."""
    shutil.copytree(REPOSITORY / "billing_project", target / "billing_project")
    return target


def forget(checkout: Path, data: Path) -> None:
    """Remove what a checkout of a test left in the system's folder."""
    if not data.is_relative_to(checkout):
        shutil.rmtree(data, ignore_errors=True)


def test_two_checkouts_side_by_side_in_a_closed_folder(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    checkouts = [copy_checkout(tmp_path / name) for name in ("one", "two")]
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in [tmp_path, *tmp_path.parents]}
    users = [User(None, checkout) for checkout in checkouts]
    urls = [user.urls() for user in users]
    assert urls[0][0] != urls[1][0]
    assert urls[0][1] != urls[1][1]
    for postgres, redis_url, _ in urls:
        answer(postgres, redis_url)
    with psycopg.connect(urls[0][0], autocommit=True) as connection:
        connection.execute("CREATE TABLE only_here (n integer)")
    with psycopg.connect(urls[1][0]) as connection:
        assert connection.execute("SELECT to_regclass('only_here')").fetchone() == (None,)
    assert modes == {path: stat.S_IMODE(path.stat().st_mode) for path in modes}
    for user, (_, _, data), checkout in zip(users, urls, checkouts, strict=True):
        user.end()
        assert gone(data)
        forget(checkout, data)


def test_a_new_checkout_at_the_same_path_starts_empty(tmp_path: Path) -> None:
    seen = []
    for _ in range(2):
        checkout = copy_checkout(tmp_path / "checkout")
        user = User(None, checkout)
        postgres, _, data = user.urls()
        with psycopg.connect(postgres, autocommit=True) as connection:
            connection.execute("CREATE TABLE first_time (n integer)")
        user.end()
        assert gone(data)
        seen.append((checkout, data))
        shutil.rmtree(checkout)
    for checkout, data in seen:
        forget(checkout, data)


@pytest.mark.skipif(os.geteuid() != 0, reason="root only")
def test_root_is_told_that_a_closed_folder_cannot_hold_the_data(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    user = User(closed / "data")
    _, problem = user.process.communicate(timeout=60)
    assert user.process.returncode != 0
    assert "the user that it runs as cannot enter" in problem
    assert "Set BILLING_DATA_DIR" in problem
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_an_unwritable_folder_is_refused_in_words(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    user = User(tmp_path / "data")
    _, problem = user.process.communicate(timeout=60)
    assert "Name another one with BILLING_DATA_DIR" in problem


def test_development_secrets_are_made_once_and_private(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BILLING_DATA_DIR", str(data))
    first = engines.development_secrets()
    assert engines.development_secrets() == first
    assert len(set(first.values())) == 3
    assert stat.S_IMODE((data / "secrets.json").stat().st_mode) == 0o600
