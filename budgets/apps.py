"""The budgets' registration with Django."""

from django.apps import AppConfig


class BudgetsConfig(AppConfig):
    """Grants rights, tells people of crossed thresholds, and has a say in allocations."""

    name = "budgets"
    default_auto_field = "django.db.models.BigAutoField"
    verbose_name = "Budgets"

    def ready(self) -> None:
        from budgets import roles  # noqa: F401  # grants its rights
        from budgets.allocation_check import check_against_budgets
        from budgets.notifications import tell_of_threshold
        from core.outbox import register_consumer
        from entities.allocation_checks import register_allocation_check

        register_allocation_check(check_against_budgets)
        register_consumer("budget.threshold_crossed", tell_of_threshold)
