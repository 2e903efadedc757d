"""How the clocks of a dispute stand now, round by round (DSP-05 to DSP-10, DSP-16)."""

import datetime
from dataclasses import dataclass

from django.db.models import Prefetch

from core import clock
from core.work_calendar import WorkingHours, working_time_between
from disputes.clocks import Clocks, thawed
from disputes.models import BillingDispute, DisputeEvent, DisputeRound
from disputes.services.rounds import round_clocks


@dataclass(frozen=True, slots=True)
class RoundStanding:
    """One round's clocks; durations are seconds of working time, below zero where the deadline has passed.

    ``response_remaining`` is None once staff has answered, ``resolution_remaining`` once the round is over.
    """

    round: DisputeRound
    clocks: Clocks
    response_remaining: int | None
    resolution_remaining: int | None


def clock_standings(dispute: BillingDispute) -> list[RoundStanding]:
    """Each round's clocks as they tick now, the current round first; two queries."""
    log = Prefetch("events", DisputeEvent.objects.order_by("id"))
    rounds = dispute.rounds.select_related("policy").prefetch_related(log).order_by("-number")
    now = clock.now()
    return [_standing(dispute, each, now) for each in rounds]


def _standing(dispute: BillingDispute, of: DisputeRound, now: datetime.datetime) -> RoundStanding:
    of.dispute = dispute
    clocks = round_clocks(of, now=now, events=of.events.all())
    answered = clocks.response_met_at is not None or clocks.stopped_at is not None
    hours = thawed(of.terms["clock"]).hours
    return RoundStanding(
        round=of,
        clocks=clocks,
        response_remaining=None if answered else _left(hours, now, clocks.response_due_at),
        resolution_remaining=None if clocks.stopped_at else int(clocks.remaining.total_seconds()),
    )


def _left(hours: WorkingHours, now: datetime.datetime, due: datetime.datetime) -> int:
    if now <= due:
        return int(working_time_between(hours, now, due).total_seconds())
    return -int(working_time_between(hours, due, now).total_seconds())
