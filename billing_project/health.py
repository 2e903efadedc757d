"""Whether this process lives and whether it can serve, for load balancers and supervisors."""

from collections.abc import Callable

import redis
from celery import current_app
from django.core.cache import cache
from django.db import Error as DatabaseError
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from kombu.exceptions import OperationalError as BrokerError

_migrated = False


@require_safe
@never_cache
def live(request: HttpRequest) -> JsonResponse:
    """Answer 200 as long as the process handles requests; it asks nobody else."""
    return JsonResponse({"status": "ok"})


@require_safe
@never_cache
def ready(request: HttpRequest) -> JsonResponse:
    """Answer 200 when database, cache and queue answer and the schema is up to date, else 503 and what is not."""
    checks: dict[str, Callable[[], str]] = {
        "database": _database,
        "migrations": _migrations,
        "cache": _cache,
        "queue": _queue,
    }
    found = {name: check() for name, check in checks.items()}
    good = all(answer == "ok" for answer in found.values())
    return JsonResponse(
        {"status": "ok" if good else "unavailable", "checks": found}, status=200 if good else 503
    )


def _database() -> str:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError:
        return "no answer"
    return "ok"


def _migrations() -> str:
    # A schema never goes back under a running process: once good is good.
    global _migrated
    if not _migrated:
        try:
            executor = MigrationExecutor(connection)
            _migrated = not executor.migration_plan(executor.loader.graph.leaf_nodes())
        except DatabaseError:
            return "no answer"
    return "ok" if _migrated else "not applied"


def _cache() -> str:
    try:
        cache.get("health")
    except redis.RedisError:
        return "no answer"
    return "ok"


def _queue() -> str:
    try:
        with current_app.connection_for_write(connect_timeout=2) as broker:
            broker.ensure_connection(max_retries=1, timeout=2)
    except (BrokerError, redis.RedisError):
        return "no answer"
    return "ok"
