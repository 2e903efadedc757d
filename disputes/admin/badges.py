"""The states, severities and clocks of disputes as people see them."""

from core.admin.badges import Badge, register_badges

register_badges(
    {
        "acknowledged": Badge("Acknowledged", "visibility", "info", "◔"),
        "investigating": Badge("Investigating", "search", "info", "◑"),
        "waiting_customer": Badge("Waiting for the customer", "forum", "neutral", "‖"),
        "waiting_third_party": Badge("Waiting for somebody else", "hourglass_top", "neutral", "◔"),
        "resolution_proposed": Badge("Resolution proposed", "balance", "warn", "!"),
        "resolved": Badge("Resolved", "check_circle", "good", "✓"),
        "moot": Badge("Moot", "block", "neutral", "⊘"),
        "severity_low": Badge("Low", "keyboard_arrow_down", "neutral", "↓"),
        "severity_medium": Badge("Medium", "drag_handle", "neutral", "="),
        "severity_high": Badge("High", "keyboard_arrow_up", "warn", "↑"),
        "severity_critical": Badge("Critical", "keyboard_double_arrow_up", "bad", "⇈"),
        "escalated": Badge("Escalated", "priority_high", "bad", "!"),
        "chargeback": Badge("Chargeback", "credit_card", "warn", "!"),
        "clock_paused": Badge("Paused", "pause_circle", "neutral", "‖"),
        "clock_running": Badge("Running", "timer", "info", "◔"),
        "clock_overdue": Badge("Overdue", "alarm", "bad", "!"),
        "clock_met": Badge("In time", "check_circle", "good", "✓"),
        "clock_missed": Badge("Too late", "alarm_off", "bad", "✕"),
        "clock_stopped": Badge("Stopped", "stop_circle", "neutral", "■"),
    }
)
