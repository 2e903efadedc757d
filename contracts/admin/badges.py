"""The states of contracts, amendments, service levels and credits as people see them."""

from core.admin.badges import Badge, register_badges

register_badges(
    {
        "pending_approval": Badge("Pending approval", "hourglass_top", "info", "◔"),
        "awaiting_signature": Badge("Awaiting signature", "draw", "info", "✍"),
        "suspended": Badge("Suspended", "pause_circle", "warn", "‖"),
        "renewed": Badge("Renewed", "autorenew", "neutral", "↻"),
        "terminated": Badge("Terminated", "cancel", "neutral", "✕"),
        "ends": Badge("Ends", "event_busy", "neutral", "⊘"),
        "ends_by_notice": Badge("Ends by notice", "event_busy", "neutral", "⊘"),
        "ends_unless_exercised": Badge("Ends unless exercised", "help", "warn", "?"),
        "option_lapsed": Badge("Option lapsed", "event_busy", "neutral", "⊘"),
        "renews_unless_notice": Badge("Renews unless notice", "event_repeat", "info", "↻"),
        "renews": Badge("Renews", "autorenew", "good", "↻"),
        "signed": Badge("Signed", "check_circle", "good", "✓"),
        "claimable": Badge("To be claimed", "pan_tool", "warn", "!"),
        "due": Badge("On the next invoice", "receipt_long", "good", "✓"),
        "lapsed": Badge("Lapsed", "event_busy", "neutral", "⊘"),
        "met": Badge("Met", "check_circle", "good", "✓"),
        "missed": Badge("Missed", "error", "bad", "✕"),
        "unmeasured": Badge("Not measured", "help", "neutral", "?"),
    }
)
