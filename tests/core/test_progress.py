"""Live progress of jobs, in the real Redis."""

import uuid
from typing import Any

import pytest

from core.progress import Progress, read


@pytest.fixture
def key() -> str:
    return f"test:{uuid.uuid4().hex}"


def test_a_page_sees_how_far_a_job_is(key: str) -> None:
    assert read(key) is None
    job = Progress(key)
    job.update(2_999, 10_000, "2,999 rows read")
    seen = read(key)
    assert seen is not None
    assert (seen.done, seen.total, seen.percent, seen.message, seen.state) == (
        2_999, 10_000, 29, "2,999 rows read", "running",
    )  # fmt: skip
    job.update(9_999, 10_000)
    job.finish("10,000 rows imported")
    done = read(key)
    assert done is not None
    assert (done.done, done.percent, done.state, done.message) == (9_999, 99, "done", "10,000 rows imported")


def test_frequent_updates_are_thinned(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("core.progress.time.monotonic", lambda: now)
    job = Progress(key)
    job.update(1, 10)
    now = 100.2
    job.update(2, 10)
    assert read(key).done == 1  # type: ignore[union-attr]  # it was written
    now = 100.3
    job.update(3, 10)
    assert read(key).done == 3  # type: ignore[union-attr]  # it was written


def test_an_unknown_total_and_a_failure(key: str) -> None:
    job = Progress(key)
    job.update(5)
    seen = read(key)
    assert seen is not None
    assert seen.percent is None
    job.fail("Line 17: no number")
    failed = read(key)
    assert failed is not None
    assert (failed.done, failed.state, failed.message) == (5, "failed", "Line 17: no number")


def test_a_redis_that_is_away_stops_no_job(settings: Any, key: str) -> None:
    settings.CACHES = {
        "default": {
            "BACKEND": "django.core.cache.backends.redis.RedisCache",
            "LOCATION": "redis://127.0.0.1:1/0",
        }
    }
    job = Progress(key)
    job.update(1, 2)
    job.finish()
    assert read(key) is None
