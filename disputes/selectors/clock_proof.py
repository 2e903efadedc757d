"""Whether what is stored of the clocks is what the log says (DSP-09)."""

from collections.abc import Iterator
from dataclasses import dataclass

from django.db.models import Prefetch

from disputes.models import DisputeEvent, DisputeRound
from disputes.services.rounds import clocks_differ

_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class ClockDifference:
    """One figure of a round that its log does not say."""

    dispute_id: int
    dispute: str
    round_number: int
    name: str
    kept: object
    derived: object

    def __str__(self) -> str:
        return f"{self.dispute}, round {self.round_number}: {self.name} is {self.kept}, by the log {self.derived}"


def clock_differences() -> Iterator[ClockDifference]:
    """Each difference, over all rounds there are; three queries per five hundred rounds."""
    log = Prefetch("events", DisputeEvent.objects.order_by("id"))
    rounds = DisputeRound.objects.select_related("dispute").prefetch_related(log).order_by("pk")
    for each in rounds.iterator(chunk_size=_AT_ONCE):
        for name, (kept, derived) in clocks_differ(each, list(each.events.all())).items():
            yield ClockDifference(each.dispute_id, each.dispute.number, each.number, name, kept, derived)
