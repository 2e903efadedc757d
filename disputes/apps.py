"""The disputes' registration with Django."""

from django.apps import AppConfig


class DisputesConfig(AppConfig):
    """Grants rights, tells approvals what disputes have approved, and hears what becomes of invoices."""

    name = "disputes"
    default_auto_field = "django.db.models.BigAutoField"
    verbose_name = "Disputes"

    def ready(self) -> None:
        from disputes import roles  # noqa: F401  # grants its rights
