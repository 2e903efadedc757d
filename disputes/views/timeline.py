"""How it went, as the customer reads it."""

from core.pages.components import TimelineEvent
from disputes.models import DisputeEvent, DisputeStatus, EventKind
from disputes.selectors.customer import CustomerSheet

LOOKS = {
    EventKind.OPENED: ("neutral", "flag"),
    EventKind.REOPENED: ("info", "replay"),
    EventKind.ACKNOWLEDGED: ("info", "visibility"),
    EventKind.STAFF_MESSAGE: ("info", "support_agent"),
    EventKind.CUSTOMER_MESSAGE: ("neutral", "chat"),
    EventKind.ATTACHED: ("neutral", "attach_file"),
    EventKind.DETACHED: ("neutral", "attach_file"),
    EventKind.RESOLVED: ("good", "gavel"),
    EventKind.CLOSED: ("neutral", "lock"),
    EventKind.WITHDRAWN: ("neutral", "undo"),
    EventKind.MOOT: ("neutral", "block"),
    EventKind.MERGED: ("neutral", "merge"),
    EventKind.REMINDED: ("warn", "notifications"),
}


def timeline_of(sheet: CustomerSheet) -> list[TimelineEvent]:
    """What happened, without repeating what stands in the thread."""
    return [_told(event) for event in sheet.events]


def _told(event: DisputeEvent) -> TimelineEvent:
    tone, icon = LOOKS.get(EventKind(event.kind), ("neutral", "circle"))
    what = event.get_kind_display()
    if event.kind == EventKind.STATUS:
        what = DisputeStatus(event.status).label
    who = "" if event.actor.is_system else event.actor.display_name
    return TimelineEvent(what=what, who=who, when=event.at, note=event.note, tone=tone, icon=icon)
