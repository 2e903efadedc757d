"""Reading the environment: every setting that differs between machines comes from a variable."""

import os
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlencode, urlsplit

import environ
from django.core.exceptions import ImproperlyConfigured

env = environ.Env()

BASE_DIR = Path(__file__).resolve().parents[2]

# A file for the convenience of developers; tests and production read the environment alone.
if (
    os.environ.get("DJANGO_SETTINGS_MODULE") == "billing_project.settings.development"
    and (BASE_DIR / ".env").exists()
):
    environ.Env.read_env(BASE_DIR / ".env")


def database_from_url(url: str) -> dict[str, Any]:
    """Return Django's DATABASES entry for a `postgres://` URL.

    A UNIX socket is given as `postgres://user@/name?host=/folder/of/the/socket` or percent-encoded in the
    place of the host name; django-environ alone leaves the latter encoded.
    """
    if urlsplit(url).scheme not in {"postgres", "postgresql", "pgsql"}:
        raise ImproperlyConfigured(
            "DATABASE_URL must begin with postgres://; Enterprise Billing runs on PostgreSQL only."
        )
    config = dict(environ.Env.db_url_config(url))
    options = dict(config.get("OPTIONS") or {})
    config["HOST"] = options.pop("host", "") or unquote(config.get("HOST") or "")
    if not config.get("NAME"):
        raise ImproperlyConfigured("DATABASE_URL names no database: postgres://user:password@host:5432/name")
    # Statements prepared on the server over persistent connections are the largest single gain in the
    # measurements of this product. Behind PgBouncer in transaction mode switch them off.
    if env.bool("DATABASE_PREPARED_STATEMENTS", default=True):
        options |= {"server_side_binding": True, "prepare_threshold": 5}
    config |= {
        "ENGINE": "django.db.backends.postgresql",
        "OPTIONS": options,
        "CONN_MAX_AGE": env.int("DATABASE_CONN_MAX_AGE", default=600),
        "CONN_HEALTH_CHECKS": env.bool("DATABASE_HEALTH_CHECKS", default=True),
        "ATOMIC_REQUESTS": False,
    }
    return config


def broker_from_redis_url(url: str) -> str:
    """Return Celery's broker URL for a Redis URL; a `unix://` socket is called `redis+socket://` there."""
    parts = urlsplit(url)
    if parts.scheme != "unix":
        return url
    query = parse_qs(parts.query)
    database = query.pop("db", ["0"])[0]
    return f"redis+socket://{parts.path}?{urlencode({'virtual_host': database, **query}, doseq=True)}"
