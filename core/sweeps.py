"""Runs over what is due, one by one: a timer's or a job's. One item that fails stops no other."""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Swept:
    """How much a run has done, and how many items failed."""

    done: int = 0
    failed: int = 0


def each(what: str, ids: Iterable[int], act: Callable[[int], int]) -> Swept:
    """Do something about each item, in a transaction that ``act`` opens; it returns how much it has done.

    What fails is logged under ``what`` with its id and left for the next run.
    """
    done = failed = 0
    for pk in list(ids):
        try:
            done += act(pk)
        except Exception:
            failed += 1
            logger.exception("sweep failed: %s %s", what, pk)
    return Swept(done, failed)
