"""Run everything on one machine: engines, migrations, sample data, web server, worker and scheduler.

`make run` ends here. Every process started is ended with this one, also when it is killed.
"""

import ctypes
import fcntl
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import IO

os.environ["DJANGO_SETTINGS_MODULE"] = "billing_project.settings.development"

import psycopg  # the settings module is to be named before anything reads the environment

from billing_project import engines
from billing_project.settings.environment import BASE_DIR, env

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
STOP_SECONDS = 12
FIRST_PORT = 8000
PORTS_TO_TRY = 50


class Stopped(BaseException):
    """Ctrl-C, or the signal of a supervisor."""


def say(text: str = "") -> None:
    """Print a line at once."""
    print(text, flush=True)


def _raise_stopped(number: int, frame: FrameType | None) -> None:
    raise Stopped


# --- One instance ----------------------------------------------------------------------------------------


def claim(data: Path) -> IO[str]:
    """Return the lock of the running instance of this data folder; a second one is told where the first is."""
    lock = (data / "instance").open("a+")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        sys.exit(f"Enterprise Billing runs already{lock.read() or ', it is just starting'}.")
    lock.truncate(0)
    return lock


def free_port(wanted: int) -> int:
    """Return the wanted port, or the next one that nobody listens on."""
    for port in range(wanted, wanted + PORTS_TO_TRY):
        if port < 65536 and _is_free(port):
            return port
    sys.exit(f"No free port from {wanted} on. Name one: PORT=9000 make run")


def _is_free(port: int) -> bool:
    for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        try:
            with socket.socket(family) as probe:
                probe.settimeout(0.5)
                if probe.connect_ex((address, port)) == 0:
                    return False
        except OSError:
            # No IPv6 on this machine.
            continue
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((env.str("HOST", default="127.0.0.1"), port))
        except OSError:
            return False
    return True


# --- The database ----------------------------------------------------------------------------------------


def schema_digest() -> str:
    """Return what changes when a migration of ours or a package does."""
    content = hashlib.sha256()
    for path in [BASE_DIR / "requirements.txt", *sorted(BASE_DIR.glob("*/migrations/*.py"))]:
        content.update(str(path.relative_to(BASE_DIR)).encode() + path.read_bytes())
    return content.hexdigest()


def one_value(database_url: str, query: str) -> object:
    """Return the first value of a query, None when the table does not exist."""
    with psycopg.connect(database_url, connect_timeout=10) as connection:
        try:
            row = connection.execute(query.encode()).fetchone()
        except psycopg.errors.UndefinedTable:
            return None
    return row[0] if row else None


class Preparation:
    """Migrations and sample data, and the memory that they are done: a second start need not look again."""

    def __init__(self, data: Path, database_url: str, environment: Mapping[str, str]) -> None:
        self.database_url = database_url
        self.environment = environment
        name = hashlib.sha256(database_url.encode()).hexdigest()[:12]
        self.file = data / f"prepared-{name}.json"
        self.sign_ins = data / f"sign-ins-{name}.txt"
        self.known: dict[str, object] = {}
        if self.file.exists():
            self.known = json.loads(self.file.read_text())

    def remember(self, **facts: object) -> None:
        """Keep facts for the next start."""
        self.known |= facts
        self.file.write_text(json.dumps(self.known))

    def migrate(self) -> None:
        """Bring the schema up to date, unless nothing changed since the last start."""
        applied = one_value(self.database_url, "SELECT count(*) FROM django_migrations")
        digest = schema_digest()
        if (
            applied is not None
            and self.known.get("applied") == applied
            and self.known.get("schema") == digest
        ):
            return
        say("Migrating the database …")
        done = 0
        last_said = time.monotonic()
        tail: list[str] = []
        with self._manage("migrate", "--no-input", "--no-color", output=subprocess.PIPE) as process:
            assert process.stdout is not None
            for line in process.stdout:
                tail = [*tail[-15:], line.rstrip()]
                done += line.lstrip().startswith("Applying ")
                if time.monotonic() - last_said > 2:
                    last_said = time.monotonic()
                    say(f"  {done} migrations applied")
        if process.returncode:
            print("\n".join(tail), file=sys.stderr)
            sys.exit("The migrations failed (see above).")
        say(f"  done, {done} applied")
        self.remember(
            schema=digest, applied=one_value(self.database_url, "SELECT count(*) FROM django_migrations")
        )

    def load_sample(self) -> None:
        """Load the sample data into a database without entities; what an interrupted run left is completed."""
        if self.known.get("sample") == "loaded":
            return
        empty = not one_value(self.database_url, "SELECT 1 FROM billing_entities LIMIT 1")
        if not empty and self.known.get("sample") != "loading":
            return
        say("Loading the sample data …")
        self.remember(sample="loading")
        with self._manage("initialize_enterprise_billing", output=None) as process:
            process.wait()
        if process.returncode:
            sys.exit("The sample data could not be loaded (see above).")
        with self._manage(
            "initialize_enterprise_billing", "--sign-ins-only", output=subprocess.PIPE
        ) as process:
            text = process.communicate()[0]
        if process.returncode == 0:
            self.sign_ins.write_text(text)
        self.remember(sample="loaded")

    def _manage(self, *arguments: str, output: int | None) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, str(BASE_DIR / "manage.py"), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT if output is not None else None,
            text=True,
            env=dict(self.environment),
            cwd=BASE_DIR,
            preexec_fn=_end_with_launcher,  # one thread so far
        )


# --- Processes -------------------------------------------------------------------------------------------


def _end_with_launcher() -> None:
    """Have the kernel end this child when the launcher is killed; on macOS only Ctrl-C and SIGTERM do."""
    if sys.platform == "linux":
        set_parent_death_signal = 1
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGTERM, 0, 0, 0)


class Child:
    """One of our processes, in a process group of its own, its output marked with its name."""

    def __init__(self, name: str, command: list[str], environment: Mapping[str, str]) -> None:
        self.name = name
        self.process = subprocess.Popen(
            [sys.executable, *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=dict(environment),
            cwd=BASE_DIR,
            start_new_session=True,
            preexec_fn=_end_with_launcher,  # it only asks the kernel, and takes no lock
        )
        self.reader = threading.Thread(target=self._relay, daemon=True)
        self.reader.start()

    def _relay(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            say(f"{self.name:<9} | {line.rstrip()}")

    def ended(self) -> bool:
        """Say whether the process has ended."""
        return self.process.poll() is not None

    def ask_to_end(self) -> None:
        """Ask the process to finish what it does and end."""
        if not self.ended():
            self.process.terminate()

    def make_end(self) -> None:
        """End what is left of the process and of those it started."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        self.process.wait()


def end_all(children: list[Child]) -> None:
    """End all children: politely, then, after some seconds, by force."""
    for child in children:
        child.ask_to_end()
    deadline = time.monotonic() + STOP_SECONDS
    while time.monotonic() < deadline and not all(child.ended() for child in children):
        time.sleep(0.05)
    for child in children:
        child.make_end()


def await_web(child: Child, port: int) -> None:
    """Return when the web server answers."""
    started = last_said = time.monotonic()
    while True:
        if child.ended():
            child.reader.join(2)
            sys.exit("The web server ended while starting (see above).")
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/live", timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
        if time.monotonic() - last_said > 4:
            last_said = time.monotonic()
            say(f"  the web server is starting ({last_said - started:.0f} s)")


def commands(port: int) -> dict[str, list[str]]:
    """Return what runs besides the engines."""
    celery = ["-m", "celery", "--quiet", "--app", "billing_project"]
    return {
        "web": [
            *("-m", "granian", "--interface", "wsgi", "--host", env.str("HOST", default="127.0.0.1")),
            *("--port", str(port), "--workers", env.str("WEB_PROCESSES", default="1")),
            *("--blocking-threads", env.str("WEB_THREADS", default="4"), "--log-level", "warning"),
            "billing_project.wsgi:application",
        ],
        "worker": [
            *celery,
            *("worker", "--loglevel", "WARNING", "--concurrency", env.str("WORKER_PROCESSES", default="2")),
            *("--without-gossip", "--without-mingle"),
        ],
        "scheduler": [*celery, "beat", "--loglevel", "WARNING", "--pidfile="],
    }


def greet(port: int, preparation: Preparation) -> None:
    """Say where it runs, who may sign in, what to look at first, how to stop."""
    address = f"http://localhost:{port}"
    say()
    say(f"Enterprise Billing runs at {address}")
    say()
    if preparation.sign_ins.exists():
        say(preparation.sign_ins.read_text().rstrip())
        say()
    say("Look first at:")
    say(f"  {address}/         sign in: managers get their pages, finance the back-office")
    say(f"  {address}/admin/   the back-office: entities, imports of real cost, consolidated invoices")
    say(f"  {address}/docs     the API, to read and to try")
    say()
    say("Ctrl-C stops everything; the data stays.")


def run() -> None:
    """Start everything and stay until something ends or somebody stops it."""
    started = time.monotonic()
    data = engines.data_directory()
    instance = claim(data)
    wanted = env.int("PORT", default=FIRST_PORT)
    database_url = env.str("DATABASE_URL", default="") or engines.postgres_url("billing")
    redis_url = env.str("REDIS_URL", default="") or engines.redis_url(0)
    environment = {
        **os.environ,
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "DEBUG": env.str("DEBUG", default="false"),
        "PYTHONUNBUFFERED": "1",
        # Celery warns root on every start; here root is whoever owns this machine.
        "PYTHONWARNINGS": "ignore:You're running the worker with superuser privileges",
    }
    preparation = Preparation(data, database_url, environment)
    preparation.migrate()
    preparation.load_sample()

    port = free_port(wanted)
    if port != wanted:
        say(f"Port {wanted} is taken; using {port}.")
    children: list[Child] = []
    try:
        to_start = commands(port)
        children.append(Child("web", to_start.pop("web"), environment))
        await_web(children[0], port)
        children.extend(Child(name, command, environment) for name, command in to_start.items())
        instance.write(f" at http://localhost:{port}")
        instance.flush()
        greet(port, preparation)
        say(f"(started in {time.monotonic() - started:.1f} s)")
        watch(children)
    finally:
        for number in STOP_SIGNALS:
            # A second Ctrl-C must not interrupt the ending of the others.
            signal.signal(number, signal.SIG_IGN)
        end_all(children)


def watch(children: list[Child]) -> None:
    """Return only by an exception: when a child or an engine ends."""
    while True:
        for child in children:
            if child.ended():
                child.reader.join(2)
                sys.exit(
                    f"The {child.name} ended with status {child.process.returncode}; stopping everything."
                )
        lost = engines.lost()
        if lost:
            sys.exit(f"{' and '.join(lost)} ended; stopping everything. Start again with: make run")
        time.sleep(0.3)


def main() -> None:
    """Run until stopped; a stop that was asked for is no error."""
    for number in STOP_SIGNALS:
        signal.signal(number, _raise_stopped)
    try:
        try:
            run()
        finally:
            engines.leave()
    except Stopped:
        say("\nStopped.")
    except engines.EngineError as problem:
        sys.exit(str(problem))
    except psycopg.OperationalError as problem:
        sys.exit(f"The database does not answer: {problem}")


if __name__ == "__main__":
    main()
