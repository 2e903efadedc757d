"""The budgets' registration with Django."""

from django.apps import AppConfig


class BudgetsConfig(AppConfig):
    """Grants rights and tells people of crossed thresholds."""

    name = "budgets"
    default_auto_field = "django.db.models.BigAutoField"
    verbose_name = "Budgets"

    def ready(self) -> None:
        from budgets import roles  # noqa: F401  # grants its rights
        from budgets.notifications import tell_of_threshold
        from core.outbox import register_consumer

        register_consumer("budget.threshold_crossed", tell_of_threshold)
