"""Who is told of what happens to a dispute: a consumer of the outbox (DSP-08, DSP-10, DSP-18).

Each event is told to the customer's side, to staff, or to both, in words of their own. What the customer's side is told
is made of public events and public comments only. Words that are internal stand in no mail at all, not even to staff:
it leads to the dispute, where they stand.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from core import clock
from core.models import OutboxEvent, User
from core.money import format_money
from core.notifications import notify
from disputes.models import (
    BillingDispute,
    DisputeComment,
    DisputeEvent,
    DisputeRound,
    DisputeStatus,
    EventKind,
    Visibility,
)
from disputes.selectors.people import (
    RUNG_LEAD,
    caretakers,
    customers,
    people_on_rung,
    readers_among,
)

TOPIC = "dispute."
LONGEST_QUOTE = 2_000


@dataclass(frozen=True, slots=True)
class _News:
    """What one side is told; ``email`` False leaves it at the message on the page."""

    title: str
    body: str
    email: bool = True


_Told = tuple[Iterable[User], _News]


def tell_of_dispute(event: OutboxEvent) -> None:
    """Consumer of ``dispute.``: tell those whom it concerns, but not who did it."""
    logged = (
        DisputeEvent.objects.select_related(
            "actor", "dispute__invoice__entity", "dispute__invoice_line", "dispute__issuer", "dispute__entity"
        )
        .filter(pk=event.payload["event_id"])
        .first()
    )
    if logged is None:
        return
    kind = EventKind(logged.kind)
    if logged.is_public and kind in _TO_CUSTOMERS:
        _tell_customers(logged, _TO_CUSTOMERS[kind](logged))
    if kind in _TO_STAFF:
        _tell_staff(logged, _TO_STAFF[kind](logged))


def customer_page(dispute: BillingDispute) -> str:
    """Where the customer's side sees the dispute."""
    return f"/disputes/{dispute.pk}/"


def staff_page(dispute: BillingDispute) -> str:
    """Where staff sees it."""
    return f"/admin/disputes/billingdispute/{dispute.pk}/change/"


def _tell_customers(event: DisputeEvent, news: _News | None) -> None:
    if news is None:
        return
    is_receipt = event.kind == EventKind.OPENED
    for person in customers(event.dispute):
        if person.pk != event.actor_id or is_receipt:
            _notify(person, event, news, customer_page(event.dispute))


def _tell_staff(event: DisputeEvent, told: _Told | None) -> None:
    if told is None:
        return
    people, news = told
    for person in people:
        if person.pk != event.actor_id:
            _notify(person, event, news, staff_page(event.dispute))


def _notify(person: User, event: DisputeEvent, news: _News, page: str) -> None:
    notify(
        user=person,
        kind=f"dispute.{event.kind}",
        title=news.title,
        body=news.body,
        url=page,
        email=news.email,
    )


# --- To the customer's side ------------------------------------------------------------------------------


def _received(event: DisputeEvent) -> _News:
    dispute = event.dispute
    return _News(
        f"We have received your dispute {dispute}",
        f"{_about(dispute)}\n\nWhat you dispute need not be paid until it is decided; the rest of the invoice stays "
        "due.",
    )


def _answer(event: DisputeEvent) -> _News | None:
    comment = _public_comment(event)
    if comment is None:
        return None
    return _News(f"{event.dispute}: {event.dispute.issuer} has written to you", _quoted(comment.body))


def _state(event: DisputeEvent) -> _News | None:
    dispute = event.dispute
    if event.details.get("resumed"):
        # The customer's own answer did so.
        return None
    if event.status == DisputeStatus.WAITING_CUSTOMER:
        days = "If nobody answers it is withdrawn after a while, and what was held back is due again."
        # The question itself has just been mailed.
        return _News(
            f"{dispute} waits for your answer",
            f"{_about(dispute)}\n\n{days}",
            "comment_id" not in event.details,
        )
    label = DisputeStatus(event.status).label
    return _News(f"{dispute} is now: {label}", _about(dispute))


def _resolved(event: DisputeEvent) -> _News:
    return _News(f"{event.dispute} is resolved", f"{_about(event.dispute)}\n\n{_quoted(event.note)}")


def _over(event: DisputeEvent) -> _News:
    label = DisputeStatus(event.status).label.lower()
    return _News(f"{event.dispute} is {label}", _with_note(event))


def _reopened(event: DisputeEvent) -> _News:
    return _News(f"{event.dispute} is open again", _with_note(event))


def _merged(event: DisputeEvent) -> _News:
    return _News(f"{event.dispute} has taken in another dispute of this invoice", _with_note(event))


def _reminder(event: DisputeEvent) -> _News:
    dispute = event.dispute
    current = DisputeRound.objects.get(pk=event.round_id)
    until = ""
    if current.withdraw_at is not None:
        day = clock.business_date(current.withdraw_at, dispute.entity.time_zone)
        until = f" Without an answer by {day} it is withdrawn, and what was held back is due again."
    return _News(f"{dispute} still waits for your answer", f"{_about(dispute)}\n\nPlease answer.{until}")


_TO_CUSTOMERS: dict[EventKind, Callable[[DisputeEvent], _News | None]] = {
    EventKind.OPENED: _received,
    EventKind.STAFF_MESSAGE: _answer,
    EventKind.ACKNOWLEDGED: _state,
    EventKind.STATUS: _state,
    EventKind.RESOLVED: _resolved,
    EventKind.CLOSED: _over,
    EventKind.WITHDRAWN: _over,
    EventKind.MOOT: _over,
    EventKind.REOPENED: _reopened,
    EventKind.MERGED: _merged,
    EventKind.REMINDED: _reminder,
}


# --- To staff --------------------------------------------------------------------------------------------


def _new(event: DisputeEvent) -> _Told:
    dispute = event.dispute
    verb = "opened" if event.kind == EventKind.OPENED else "reopened"
    text = dispute.reason if event.kind == EventKind.OPENED else event.note
    return caretakers(dispute), _News(
        f"{dispute} {verb}: {dispute.get_category_display()}, {dispute.entity}",
        f"{_about(dispute)} Severity: {dispute.get_severity_display().lower()}.\n\n{_quoted(text)}",
    )


def _customer_wrote(event: DisputeEvent) -> _Told | None:
    comment = _public_comment(event)
    if comment is None:
        return None
    title = f"{event.dispute}: {event.actor.display_name} of {event.dispute.entity} has written"
    return caretakers(event.dispute), _News(title, _quoted(comment.body))


def _mentioned(event: DisputeEvent) -> _Told | None:
    ids = event.details.get("mentioned")
    if not ids:
        return None
    return readers_among(event.dispute, ids), _News(
        f"{event.actor.display_name} mentioned you in {event.dispute}", "Read the comment with the dispute."
    )


def _assigned(event: DisputeEvent) -> _Told | None:
    if "owner" not in event.details.get("changes", {}) or event.dispute.owner_id is None:
        return None
    owner = readers_among(event.dispute, [event.dispute.owner_id])
    return owner, _News(f"{event.dispute} is yours now", _about(event.dispute))


def _changed(event: DisputeEvent) -> _Told | None:
    return _mentioned(event) or _assigned(event)


def _warned(event: DisputeEvent) -> _Told:
    percent = event.details["percent"]
    return readers_among(event.dispute, event.details["told"]), _News(
        f"{event.dispute}: {percent} % of the time to resolve it is used", _about(event.dispute)
    )


def _missed(event: DisputeEvent) -> _Told:
    what = {"response": "answered", "resolution": "resolved"}[event.details["what"]]
    return caretakers(event.dispute), _News(
        f"{event.dispute} was not {what} in time", f"{_about(event.dispute)} It is escalated."
    )


def _escalated(event: DisputeEvent) -> _Told:
    dispute, level = event.dispute, event.details["level"]
    people = people_on_rung(dispute, level) or caretakers(dispute)
    who = "the lead" if level == RUNG_LEAD else "the finance managers"
    return people, _News(
        f"{dispute} is escalated to {who}", f"{_about(dispute)} What is wrong stands with the dispute."
    )


def _ended(event: DisputeEvent) -> _Told:
    label = DisputeStatus(event.status).label.lower()
    return caretakers(event.dispute), _News(f"{event.dispute} is {label}", _with_note(event))


_TO_STAFF: dict[EventKind, Callable[[DisputeEvent], _Told | None]] = {
    EventKind.OPENED: _new,
    EventKind.REOPENED: _new,
    EventKind.CUSTOMER_MESSAGE: _customer_wrote,
    EventKind.INTERNAL_NOTE: _mentioned,
    EventKind.STAFF_MESSAGE: _mentioned,
    EventKind.CHANGED: _changed,
    EventKind.ASSIGNED: _assigned,
    EventKind.WARNED: _warned,
    EventKind.BREACHED: _missed,
    EventKind.ESCALATED: _escalated,
    EventKind.WITHDRAWN: _ended,
    EventKind.MOOT: _ended,
}


# --- Words -----------------------------------------------------------------------------------------------


def _about(dispute: BillingDispute) -> str:
    line = dispute.invoice_line
    what = f"line {line.line_number} of {dispute.invoice}" if line is not None else str(dispute.invoice)
    return f"{format_money(dispute.amount, dispute.currency)} of {what} is disputed."


def _public_comment(event: DisputeEvent) -> DisputeComment | None:
    """The comment of the event, if it is one that the customer sees (DSP-18)."""
    return DisputeComment.objects.filter(
        pk=event.details.get("comment_id"), dispute_id=event.dispute_id, visibility=Visibility.CUSTOMER
    ).first()


def _with_note(event: DisputeEvent) -> str:
    """With the note of a public event, which the customer sees."""
    return f"{_about(event.dispute)}\n\n{_quoted(event.note)}" if event.note else _about(event.dispute)


def _quoted(text: str) -> str:
    text = text.strip()
    return f"“{text[:LONGEST_QUOTE]}{'…' if len(text) > LONGEST_QUOTE else ''}”"
