"""Statuses as people see them: one map of word, icon and tone for the admin, the pages, the mails and the PDFs.

A status is never shown by colour alone: each has a word and a sign, and tones are told apart by the colour-blind too
(blue, teal, amber, vermilion, grey). An upper app adds its states with `register_badges` when it starts.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from django.contrib import admin
from django.utils.html import format_html
from django.utils.safestring import SafeString

TONES = ("neutral", "info", "good", "warn", "bad")


@dataclass(frozen=True)
class Badge:
    """How one status looks. `icon` is a Material Symbols name, `sign` its twin in plain text for PDFs and mails."""

    word: str
    icon: str
    tone: str
    sign: str


BADGES: dict[str, Badge] = {
    "draft": Badge("Draft", "edit_note", "neutral", "✎"),
    "pending": Badge("Pending", "hourglass_top", "info", "◔"),
    "queued": Badge("Queued", "schedule", "info", "◔"),
    "running": Badge("Running", "sync", "info", "↻"),
    "processing": Badge("Running", "sync", "info", "↻"),
    "in_progress": Badge("In progress", "sync", "info", "↻"),
    "completed": Badge("Completed", "check_circle", "good", "✓"),
    "completed_with_errors": Badge("Completed with errors", "rule", "warn", "!"),
    "partial": Badge("Partly done", "rule", "warn", "!"),
    "failed": Badge("Failed", "error", "bad", "✕"),
    "issued": Badge("Issued", "send", "info", "➤"),
    "sent": Badge("Sent", "mark_email_read", "info", "➤"),
    "partially_paid": Badge("Partly paid", "pie_chart", "info", "◑"),
    "paid": Badge("Paid", "check_circle", "good", "✓"),
    "overdue": Badge("Overdue", "alarm", "bad", "!"),
    "void": Badge("Void", "block", "neutral", "⊘"),
    "voided": Badge("Void", "block", "neutral", "⊘"),
    "cancelled": Badge("Cancelled", "block", "neutral", "⊘"),
    "credited": Badge("Credited", "undo", "neutral", "↩"),
    "active": Badge("Active", "check_circle", "good", "✓"),
    "inactive": Badge("Inactive", "pause_circle", "neutral", "‖"),
    "closed": Badge("Closed", "lock", "neutral", "■"),
    "open": Badge("Open", "radio_button_unchecked", "info", "○"),
    "allocated": Badge("Allocated", "call_split", "good", "✓"),
    "unallocated": Badge("Unallocated", "help", "warn", "?"),
    "mapped": Badge("Mapped", "call_split", "good", "✓"),
    "unmapped": Badge("Unmapped", "help", "warn", "?"),
    "billed": Badge("Billed", "receipt_long", "good", "✓"),
    "unbilled": Badge("Not billed", "pending", "info", "○"),
    "rejected": Badge("Rejected", "cancel", "bad", "✕"),
    "repaired": Badge("Repaired", "build", "good", "✓"),
    "approved": Badge("Approved", "check_circle", "good", "✓"),
    "expired": Badge("Expired", "event_busy", "neutral", "⊘"),
    "undone": Badge("Undone", "undo", "neutral", "↩"),
    "unread": Badge("Unread", "mark_email_unread", "info", "●"),
    "read": Badge("Read", "drafts", "neutral", "○"),
    "delivered": Badge("Delivered", "check_circle", "good", "✓"),
}


def register_badges(badges: Mapping[str, Badge]) -> None:
    """Add the statuses of an app; a status keeps one look everywhere, so an existing one cannot be changed."""
    for value, badge in badges.items():
        if BADGES.setdefault(value, badge) != badge:
            raise ValueError(f"The status {value!r} already has another badge.")


def badge_of(value: object, word: str = "") -> Badge:
    """Return the badge of a status; an unknown one is neutral and says its own name (or `word`)."""
    key = str(value)
    known = BADGES.get(key)
    if known is None:
        return Badge(word or key.replace("_", " ").capitalize(), "radio_button_unchecked", "neutral", "○")
    return Badge(word, known.icon, known.tone, known.sign) if word else known


def badge_html(value: object, word: str = "") -> SafeString:
    """Return a status as HTML: icon, word and tone."""
    if value in (None, ""):
        return SafeString("–")
    badge = badge_of(value, word)
    return format_html(
        '<span class="eb-badge" data-tone="{}">'
        '<span class="material-symbols-outlined" aria-hidden="true">{}</span>{}</span>',
        badge.tone,
        badge.icon,
        badge.word,
    )


def badge_column(field: str, label: str = "") -> Callable[..., Any]:
    """Return a list or detail column that shows the status `field` as a badge, sortable by the field."""

    @admin.display(description=label or field.replace("_", " ").capitalize(), ordering=field)
    def column(obj: Any) -> SafeString:
        value = getattr(obj, field)
        known = str(value) in BADGES
        words = getattr(obj, f"get_{field}_display", None)
        return badge_html(value, "" if known or words is None else str(words()))

    column.__name__ = f"badge_{field}"
    column.export_value = lambda obj: badge_of(getattr(obj, field)).word  # type: ignore[attr-defined]  # see export.py
    return column
