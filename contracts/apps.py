"""The contracts' registration with Django."""

from django.apps import AppConfig


class ContractsConfig(AppConfig):
    """Grants rights, tells approvals what contracts have approved, and people of caps and refused budgets."""

    name = "contracts"
    default_auto_field = "django.db.models.BigAutoField"
    verbose_name = "Contracts"

    def ready(self) -> None:
        from contracts import roles  # noqa: F401  # grants its rights
        from contracts.approval_types import register_types
        from contracts.notifications import tell_of_cap, tell_of_refusal
        from core.outbox import register_consumer

        register_types()
        register_consumer("contract.cap_", tell_of_cap)
        register_consumer("contract.budget_refused", tell_of_refusal)
