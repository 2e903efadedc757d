"""Live progress of long jobs, kept in Redis for a day.

    progress = Progress(f"usage-import:{usage_import.pk}")
    progress.update(done=2_000, total=10_000, message="2,000 rows read")
    progress.finish("10,000 rows imported")         # or progress.fail("Line 17: …")

A page reads it with `read(key)`. It is for watching only: no rule depends on it, and a Redis that is away stops no job.
"""

import logging
import time
from dataclasses import asdict, dataclass
from typing import Literal

from django.core.cache import cache
from redis.exceptions import RedisError

from core import clock

logger = logging.getLogger(__name__)

State = Literal["running", "done", "failed"]
_KEEP_SECONDS = 24 * 60 * 60
_SECONDS_BETWEEN_WRITES = 0.25


@dataclass(frozen=True, slots=True)
class ProgressState:
    """How far a job is; `total` is 0 while it is not known."""

    done: int
    total: int
    message: str
    state: State
    updated_at: str

    @property
    def percent(self) -> int | None:
        """Whole per cent, rounded down so that 100 means all; None while the total is not known."""
        return min(100, self.done * 100 // self.total) if self.total else None


def _cache_key(key: str) -> str:
    return f"progress:{key}"


class Progress:
    """Writes the progress of one job; frequent updates are thinned to four a second."""

    def __init__(self, key: str) -> None:
        self.key = key
        self._last_write = float("-inf")
        self._done, self._total = 0, 0

    def update(self, done: int, total: int = 0, message: str = "") -> None:
        """Say how far the job is."""
        self._done, self._total = done, total
        if time.monotonic() - self._last_write >= _SECONDS_BETWEEN_WRITES:
            self._write("running", message)

    def finish(self, message: str = "") -> None:
        """Say that the job is done."""
        self._total = self._total or self._done
        self._write("done", message)

    def fail(self, message: str) -> None:
        """Say why the job ended early."""
        self._write("failed", message)

    def _write(self, state: State, message: str) -> None:
        now = ProgressState(self._done, self._total, message, state, clock.now().isoformat())
        self._last_write = time.monotonic()
        try:
            cache.set(_cache_key(self.key), asdict(now), timeout=_KEEP_SECONDS)
        except RedisError as error:
            logger.warning("progress of %s not written: %s", self.key, error)


def read(key: str) -> ProgressState | None:
    """Return the last progress of a job, or None if there is none (or Redis is away)."""
    try:
        stored = cache.get(_cache_key(key))
    except RedisError as error:
        logger.warning("progress of %s not read: %s", key, error)
        return None
    return None if stored is None else ProgressState(**stored)
