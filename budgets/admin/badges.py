"""The states of budgets as people see them."""

from core.admin.badges import Badge, register_badges

register_badges(
    {
        "soft_closed": Badge("Closing", "lock_clock", "warn", "◑"),
        "proposed": Badge("Waiting", "hourglass_top", "info", "◔"),
        "consumed": Badge("Consumed", "task_alt", "good", "✓"),
        "released": Badge("Released", "undo", "neutral", "↩"),
        "posted": Badge("Posted", "check_circle", "good", "✓"),
        "overspent": Badge("Overspent", "error", "bad", "!"),
        "alert": Badge("Alert", "notifications", "info", "!"),
        "warning": Badge("Warning", "warning", "warn", "!"),
        "critical": Badge("Critical", "error", "bad", "!"),
    }
)
