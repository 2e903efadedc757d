"""The clocks of disputes in words: what is left, what is late, what stands still (DSP-05, DSP-07, DSP-10)."""

import datetime
from dataclasses import dataclass

from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from core import clock
from core.admin.badges import badge_html
from disputes.models import OPEN_STATUSES, BillingDispute
from disputes.selectors.clocks import RoundStanding

_MINUTE, _HOUR, _DAY = 60, 60 * 60, 24 * 60 * 60


def span_words(seconds: int) -> str:
    """ "less than 1 min", "25 min", "3 h 20 min", "2 d 4 h"; a day is 24 hours. clocks.js says the same."""
    seconds = abs(seconds)
    if seconds < _MINUTE:
        return "less than 1 min"
    days, hours, minutes = seconds // _DAY, seconds // _HOUR % 24, seconds // _MINUTE % 60
    if days:
        return f"{days} d {hours} h" if hours else f"{days} d"
    if hours:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return f"{minutes} min"


def hours_words(seconds: int) -> str:
    """Working time: "6 h 30 min". It is not told in days, because those of calendars differ."""
    hours, minutes = abs(seconds) // _HOUR, abs(seconds) // _MINUTE % 60
    if hours:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return f"{minutes} min"


def moment_text(moment: datetime.datetime) -> str:
    """A moment in the reader's zone, to the minute, with the zone named."""
    local = timezone.localtime(moment)
    return f"{local:%Y-%m-%d %H:%M} {local.tzname()}"


def countdown_html(due: datetime.datetime, *, what: str = "") -> SafeString:
    """How long until a deadline, or since; a script keeps it up to date. At the deadline itself it is in time."""
    left = int((due - clock.now()).total_seconds())
    late = clock.now() > due
    return format_html(
        '<span class="dsp-clock" data-tone="{}" data-due="{}" title="{}">'
        '<span class="material-symbols-outlined" aria-hidden="true">{}</span>'
        "<span data-words>{}</span>{}</span>",
        "bad" if late else "warn" if left < 4 * _HOUR else "neutral",
        due.isoformat(),
        moment_text(due),
        "alarm" if late else "timer",
        f"Overdue {span_words(left)}" if late else f"{span_words(left)} left",
        format_html(' <span class="eb-quiet-text">{}</span>', what) if what else "",
    )


def deadline_html(dispute: BillingDispute) -> SafeString:
    """The next deadline of a row of the work list; wants ``response_due`` of the round while no answer was given."""
    if dispute.status not in OPEN_STATUSES:
        return SafeString("–")
    if dispute.next_deadline_at is None:
        return badge_html("clock_paused")
    answer = getattr(dispute, "response_due", None) == dispute.next_deadline_at
    return countdown_html(dispute.next_deadline_at, what="to answer" if answer else "")


@dataclass(frozen=True)
class ShownClock:
    """One clock of one round: its state, in words, and what explains it."""

    label: str
    badge: SafeString
    words: SafeString | str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class ShownRound:
    """The clocks of a round."""

    number: int
    is_current: bool
    policy: str
    started_at: datetime.datetime
    ended_at: datetime.datetime | None
    clocks: tuple[ShownClock, ShownClock]


def rounds_shown(standings: list[RoundStanding]) -> list[ShownRound]:
    """Each round with its two clocks, the current one first."""
    return [
        ShownRound(
            number=each.round.number,
            is_current=place == 0,
            policy=each.round.terms["policy"]["name"],
            started_at=each.round.started_at,
            ended_at=each.clocks.stopped_at,
            clocks=(_response(each), _resolution(each)),
        )
        for place, each in enumerate(standings)
    ]


def _response(of: RoundStanding) -> ShownClock:
    clocks = of.clocks
    due = f"Due {moment_text(clocks.response_due_at)}"
    if clocks.response_met_at is not None:
        badge = badge_html("clock_missed" if clocks.response_is_breached else "clock_met")
        return ShownClock("Answer", badge, f"Answered {moment_text(clocks.response_met_at)}", (due,))
    if clocks.stopped_at is not None:
        return ShownClock("Answer", badge_html("clock_stopped"), "Ended without an answer", (due,))
    return ShownClock(
        "Answer",
        badge_html("clock_overdue" if clocks.response_is_breached else "clock_running"),
        countdown_html(clocks.response_due_at),
        (due, _left(of.response_remaining)),
    )


def _resolution(of: RoundStanding) -> ShownClock:
    clocks = of.clocks
    missed = clocks.resolution_breached_at
    used, paused = int(clocks.elapsed.total_seconds()), int(clocks.paused.total_seconds())
    notes = [f"{hours_words(used)} of working time used"] if used >= _MINUTE or clocks.stopped_at else []
    if paused >= _MINUTE:
        notes.append(f"paused for {hours_words(paused)}")
    if clocks.stopped_at is not None:
        state = {True: "clock_met", False: "clock_missed", None: "clock_stopped"}[clocks.resolved_in_time]
        word = "Decided" if clocks.resolved_in_time is not None else "Ended"
        return ShownClock(
            "Decision", badge_html(state), f"{word} {moment_text(clocks.stopped_at)}", tuple(notes)
        )
    if missed is not None:
        notes.append(f"missed on {moment_text(missed)}")
    if clocks.paused_since is not None:
        return ShownClock(
            "Decision",
            badge_html("clock_paused"),
            f"Paused since {moment_text(clocks.paused_since)}",
            (_left(of.resolution_remaining), *notes),
        )
    assert clocks.resolution_due_at is not None  # a clock that runs has a deadline
    late = clock.now() > clocks.resolution_due_at
    return ShownClock(
        "Decision",
        badge_html("clock_overdue" if late else "clock_running"),
        countdown_html(clocks.resolution_due_at),
        (f"Due {moment_text(clocks.resolution_due_at)}", _left(of.resolution_remaining), *notes),
    )


def _left(seconds: int | None) -> str:
    if seconds is None:
        return ""
    return f"{hours_words(seconds)} of working time {'over' if seconds < 0 else 'left'}"
