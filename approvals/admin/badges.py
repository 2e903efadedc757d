"""The states of requests, their steps and tasks, and of delegations, as people see them."""

from core.admin.badges import Badge, register_badges

register_badges(
    {
        "blocked": Badge("Blocked", "front_hand", "bad", "!"),
        "changes_requested": Badge("Changes requested", "undo", "warn", "↩"),
        "withdrawn": Badge("Withdrawn", "remove_done", "neutral", "⊘"),
        "later": Badge("Later", "more_horiz", "neutral", "…"),
        "passed": Badge("Passed", "check_circle", "good", "✓"),
        "returned": Badge("Sent back", "undo", "warn", "↩"),
        "passed_on": Badge("Passed on", "forward", "neutral", "→"),
        "coming": Badge("Coming", "event_upcoming", "info", "◔"),
        "in_force": Badge("In force", "check_circle", "good", "✓"),
        "over": Badge("Over", "event_busy", "neutral", "■"),
        "to_review": Badge("To review", "emergency", "warn", "!"),
    }
)
