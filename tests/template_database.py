"""The migrated database that test databases are copied from.

Running every migration takes the better part of a minute, once for each process of a test run; copying the result
takes a second. The template is named after the migrations and the packages, so any change to them makes a new one,
out of the nearest where only migrations were added; it stays on the server for the next run.
"""

import contextlib
import datetime
import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
from django.conf import settings
from psycopg import sql

REPOSITORY = Path(__file__).resolve().parents[1]
PREFIX = "billing_template_"
LOCK = 0x62696C6C
KEPT = datetime.timedelta(days=2)


@contextlib.contextmanager
def maintenance() -> Iterator[psycopg.Connection[tuple[str, str]]]:
    """Connect to the server's own database, as the role of the tests."""
    server = settings.DATABASES["default"]
    with psycopg.connect(
        dbname="postgres",
        host=server["HOST"] or None,
        port=server["PORT"] or None,
        user=server["USER"] or None,
        password=server["PASSWORD"] or None,
        autocommit=True,
    ) as connection:
        yield connection


def _sources() -> list[str]:
    """Return a short hash of each migration, after one of the packages and the role that all templates depend on."""
    role = str(settings.DATABASES["default"]["USER"]).encode()
    return [
        _short_hash((REPOSITORY / "requirements.txt").read_bytes() + role),
        *(
            _short_hash(str(path.relative_to(REPOSITORY)).encode() + path.read_bytes())
            for path in sorted(REPOSITORY.glob("*/migrations/*.py"))
        ),
    ]


def _short_hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:8]


def template_database() -> str:
    """Return the name of the migrated template; made where it is missing, by one process at a time."""
    sources = _sources()
    name = PREFIX + hashlib.sha256(" ".join(sources).encode()).hexdigest()[:16]
    today = datetime.datetime.now(datetime.UTC).date()
    with maintenance() as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", [LOCK])
        templates = _templates(connection)
        if name not in templates:
            _make(connection, name, base=_nearest(templates, sources))
        note = f"{today} {' '.join(sources)}"
        connection.execute(sql.SQL("COMMENT ON DATABASE {} IS {}").format(sql.Identifier(name), note))
        for other, (last_used, *_) in templates.items():
            if other != name and last_used < str(today - KEPT):
                connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(other)))
    return name


def _templates(connection: psycopg.Connection[tuple[str, str]]) -> dict[str, list[str]]:
    """Return the templates on the server, each with the day on which it was last used and its sources."""
    query = """
        SELECT datname, coalesce(shobj_description(oid, 'pg_database'), '') FROM pg_database WHERE datname LIKE %s
    """
    rows = connection.execute(query, [f"{PREFIX}%"]).fetchall()
    return {name: note.split() or [""] for name, note in rows}


def _nearest(templates: dict[str, list[str]], sources: list[str]) -> str:
    """Return the template that lacks the fewest migrations and has none that is not wanted, else an empty one."""
    fitting = [
        (len(made_of), name)
        for name, (_, *made_of) in templates.items()
        if made_of[:1] == sources[:1] and set(made_of) < set(sources)
    ]
    return max(fitting, default=(0, "template0"))[1]


def _make(connection: psycopg.Connection[tuple[str, str]], name: str, base: str) -> None:
    """Migrate under another name first: what was cut short is never taken for a template."""
    unfinished = f"unfinished_{name}"
    drop = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(unfinished))
    connection.execute(drop)
    connection.execute(
        sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(unfinished), sql.Identifier(base))
    )
    done = subprocess.run(
        [sys.executable, "manage.py", "migrate", "--no-input", "--no-color", "--verbosity", "0"],
        cwd=REPOSITORY,
        env={
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "billing_project.settings.test",
            "BILLING_TEST_DATABASE": unfinished,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        connection.execute(drop)
        raise RuntimeError(f"The migrations fail:\n{done.stdout}{done.stderr}")
    connection.execute(
        sql.SQL("ALTER DATABASE {} RENAME TO {}").format(sql.Identifier(unfinished), sql.Identifier(name))
    )
