"""What the benchmark runs on: PostgreSQL as durable as in production, Redis, and the web server of production."""

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
from cryptography.fernet import Fernet
from psycopg import sql

from billing_project import engines

CHECKOUT = Path(__file__).resolve().parents[1]
FOLDER = Path(os.environ.get("BENCH_DIR", CHECKOUT / ".bench"))
MARK = "made by make bench; it drops this database"
DURABLE = ("fsync", "synchronous_commit", "full_page_writes")
REDIS_DATABASE = 14
START_SECONDS = 60
STOP_SECONDS = 10


class CannotMeasure(Exception):
    """The benchmark cannot run here; the message says why."""


def _named(url: str, database: str) -> str:
    return urlunsplit(urlsplit(url)._replace(path=f"/{database}"))


def make_database() -> str:
    """Return the URL of an empty database of the benchmark's own, on the named server or on the private one.

    An existing one is dropped only if the benchmark made it.
    """
    given = os.environ.get("DATABASE_URL", "")
    server = given or engines.postgres_url("billing")
    name = f"{urlsplit(server).path.lstrip('/') or 'billing'}_bench"
    # By way of the database that every server has: the named one need not exist yet.
    with psycopg.connect(server, dbname="postgres", autocommit=True, connect_timeout=10) as connection:
        _require_durable(connection)
        found = connection.execute(
            "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s", [name]
        ).fetchone()
        if found is not None:
            if found[0] != MARK:
                raise CannotMeasure(
                    f"The database {name} exists and was not made by the benchmark: drop it yourself."
                )
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        connection.execute(
            sql.SQL("COMMENT ON DATABASE {} IS {}").format(sql.Identifier(name), sql.Literal(MARK))
        )
    return _named(server, name)


def _require_durable(connection: psycopg.Connection) -> None:
    for name in DURABLE:
        row = connection.execute(sql.SQL("SHOW {}").format(sql.Identifier(name))).fetchone()
        if row is None or row[0] != "on":
            raise CannotMeasure(
                f"{name} is {row and row[0]} on this server. Figures without it mean nothing: switch it on."
            )


def environment(database_url: str) -> dict[str, str]:
    """What the web server and this process run with: production's settings and their defaults, secrets made now."""
    FOLDER.mkdir(exist_ok=True)
    return {
        "DJANGO_SETTINGS_MODULE": "billing_project.settings.production",
        "DATABASE_URL": database_url,
        "REDIS_URL": os.environ.get("REDIS_URL") or engines.redis_url(REDIS_DATABASE),
        "SECRET_KEY": secrets.token_urlsafe(50),
        "FIELD_ENCRYPTION_KEYS": Fernet.generate_key().decode(),
        "BLIND_INDEX_KEY": secrets.token_urlsafe(40),
        "ALLOWED_HOSTS": "127.0.0.1",
        "BILLING_DATA_DIR": str(FOLDER / "data"),
        # The tokens are made once, at the start.
        "JWT_ACCESS_MINUTES": "600",
    }


def migrate() -> None:
    """Make the tables, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "manage.py", "migrate", "--no-input", "--verbosity", "0"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise CannotMeasure(f"The migrations failed:\n{done.stderr[-2000:]}")


@dataclass(frozen=True, slots=True)
class Website:
    """The running web server."""

    address: tuple[str, int]
    command: list[str]
    pid: int


@contextlib.contextmanager
def website(workers: int, threads: int) -> Iterator[Website]:
    """Run the web server as operations.md has it; what it logs goes to a file."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    command = [
        *(sys.executable, "-m", "granian", "--interface", "wsgi", "--host", "127.0.0.1"),
        *("--port", str(port), "--workers", str(workers), "--blocking-threads", str(threads)),
        *("--log-level", "warning", "billing_project.wsgi:application"),
    ]
    with (FOLDER / "web.log").open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=CHECKOUT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=engines._end_with_parent(signal.SIGTERM),  # it only asks the kernel, and takes no lock
        )
        try:
            _await(process, port)
            yield Website(("127.0.0.1", port), command[1:], process.pid)
        finally:
            _end(process)


def _await(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        if process.poll() is not None or time.monotonic() > deadline:
            raise CannotMeasure(f"The web server did not start; see {FOLDER / 'web.log'}.")
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/live", timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def pgbench_program() -> str:
    """Return pgbench: the one beside the private PostgreSQL, else the system's."""
    with contextlib.suppress(engines.EngineError):
        beside = engines.Postgres(engines.data_directory()).binaries(engines.server_account()) / "pgbench"
        if beside.exists():
            return str(beside)
    found = shutil.which("pgbench")
    if found is None:
        raise CannotMeasure("There is no pgbench. Debian: apt-get install postgresql-contrib.")
    return found
