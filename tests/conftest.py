"""What every test may use. People, entities and documents come from the conftest.py of their own folder."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from django.conf import settings
from django.db import connection, transaction
from django.db.utils import ProgrammingError
from django.test import TransactionTestCase
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from psycopg.errors import InsufficientPrivilege

from tests.template_database import template_database

# Playwright keeps an event loop in the thread of the test; Django would refuse the database there.
os.environ.setdefault("DJANGO_ALLOW_ASYNC_UNSAFE", "true")

# No example fails for being slow: that is a matter of the machine. Where CI is set, every run tries the same examples.
hypothesis_settings.register_profile(
    "unhurried",
    deadline=None,
    derandomize=bool(os.environ.get("CI")),
    suppress_health_check=[HealthCheck.too_slow],
)
hypothesis_settings.load_profile("unhurried")

REPOSITORY = Path(__file__).resolve().parents[1]
CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
WORKER_SECONDS = 60


def chromium_path() -> str | None:
    """Return the browser of the system: CHROMIUM, or what is on the PATH."""
    named = os.environ.get("CHROMIUM")
    return named or next(filter(None, map(shutil.which, CHROMIUM_NAMES)), None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give the marks their meaning, and put what takes long first, so that no process waits for another at the end.

    `concurrency` is given a real database; `browser` too, and the files keep to one process each. Slow tests that
    empty the database stay where pytest-django put them: the others would miss what migrations wrote.
    """
    no_browser = pytest.mark.skip(reason="needs Chromium (Debian: apt-get install chromium), absent here")
    for item in items:
        if item.get_closest_marker("concurrency"):
            item.add_marker(pytest.mark.django_db(transaction=True))
        if item.get_closest_marker("browser"):
            item.add_marker(pytest.mark.django_db(transaction=True))
            item.add_marker(pytest.mark.xdist_group(f"browser-{item.path.stem}"))
            if chromium_path() is None:
                item.add_marker(no_browser)
    items.sort(
        key=lambda item: not item.get_closest_marker("slow") or bool(item.get_closest_marker("concurrency"))
    )


flush_as_django_does = TransactionTestCase._fixture_teardown  # type: ignore[attr-defined]
# What Django makes anew after every flush stays as it is.
KEPT_TABLES = {"django_migrations", "django_content_type", "auth_permission"}


def empty_tables(case: TransactionTestCase) -> None:
    """Empty the tables after a test that committed.

    Django's TRUNCATE makes new files for every table and index; as most tables are empty and the others hold a few
    rows, DELETE takes a tenth of the time. No trigger runs: neither foreign keys nor those that guard what is only
    ever added to. Who still writes is waited for, as TRUNCATE does.
    """
    names = set(connection.introspection.django_table_names(only_existing=True, include_views=False))
    tables = [connection.ops.quote_name(name) for name in sorted(names - KEPT_TABLES)]
    statements = [
        "SET LOCAL session_replication_role = replica",
        f"LOCK TABLE {', '.join(tables)} IN EXCLUSIVE MODE",
        *(f"DELETE FROM {table}" for table in tables),
    ]
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("; ".join(statements))
    except ProgrammingError as problem:
        if not isinstance(problem.__cause__, InsufficientPrivilege):
            raise
        # The role of the tests is not a superuser.
        flush_as_django_does(case)


TransactionTestCase._fixture_teardown = empty_tables  # type: ignore[attr-defined]


@pytest.fixture(scope="session")
def django_db_modify_db_settings(django_db_modify_db_settings_parallel_suffix: None) -> None:
    """Copy the test database from the migrated template."""
    settings.DATABASES["default"].setdefault("TEST", {})["TEMPLATE"] = template_database()


def pytest_sessionfinish() -> None:
    """Take this run's keys out of Redis."""
    if not settings.configured:
        return
    client = redis.Redis.from_url(settings.REDIS_URL)
    try:
        keys = list(client.scan_iter(match=f"*{settings.PREFIX}*", count=1000))
        if keys:
            client.delete(*keys)
    except redis.RedisError as problem:
        print(f"Keys of this run stay in Redis: {problem}", file=sys.stderr)
    if "PYTEST_XDIST_WORKER" not in os.environ:
        shutil.rmtree(settings.DATA_DIR, ignore_errors=True)


@pytest.fixture(autouse=True)
def own_cache() -> Iterator[None]:
    """Give each test a cache of its own, shared with the processes and threads that it starts."""
    os.environ["BILLING_TEST_CACHE"] = uuid.uuid4().hex
    yield
    del os.environ["BILLING_TEST_CACHE"]


@pytest.fixture(autouse=True)
def own_media(settings: object, tmp_path: Path) -> None:
    """Keep the uploads of each test apart."""
    settings.MEDIA_ROOT = tmp_path / "uploads"  # type: ignore[attr-defined]


StartProcess = Callable[..., subprocess.Popen[str]]


def process_environment(**extra: str) -> dict[str, str]:
    """Return the environment for a process that works in this test's database, cache and queue."""
    return {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "billing_project.settings.test",
        "BILLING_TEST_DATABASE": connection.settings_dict["NAME"],
        "BILLING_TEST_MEDIA": str(settings.MEDIA_ROOT),
        "PYTHONUNBUFFERED": "1",
        **extra,
    }


@pytest.fixture
def start_process(transactional_db: None) -> Iterator[StartProcess]:
    """Start `python <arguments>` in this test's database; what still runs at the end of the test is ended."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str, **options: object) -> subprocess.Popen[str]:
        environment = process_environment(**options.pop("env", {}))  # type: ignore[arg-type]
        process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=REPOSITORY,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            **options,  # type: ignore[call-overload]
        )
        started.append(process)
        return process

    yield start
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


@pytest.fixture
def celery_worker_process(start_process: StartProcess) -> subprocess.Popen[str]:
    """Run a real worker on this test's database and queue."""
    worker = start_process(
        *("-m", "celery", "--app", "billing_project", "worker", "--loglevel", "INFO", "--concurrency", "1"),
        *("--without-gossip", "--without-mingle", "--without-heartbeat"),
    )
    said: list[str] = []

    def listen() -> None:
        assert worker.stdout is not None
        for line in worker.stdout:
            said.append(line)

    # Read to its end, so that the worker never waits for somebody to read what it says.
    threading.Thread(target=listen, daemon=True).start()
    deadline = time.monotonic() + WORKER_SECONDS
    while not any("ready." in line for line in said):
        if worker.poll() is not None or time.monotonic() > deadline:
            pytest.fail(f"The worker did not start:\n{''.join(said)}")
        time.sleep(0.05)
    return worker


@pytest.fixture(scope="session")
def browser_type_launch_args() -> dict[str, object]:
    """Have Playwright use the system's Chromium; its own download is never made."""
    return {"executable_path": chromium_path(), "args": ["--no-sandbox"]}
