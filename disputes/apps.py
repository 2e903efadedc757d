"""The disputes' registration with Django."""

from django.apps import AppConfig


class DisputesConfig(AppConfig):
    """Grants rights, tells approvals what disputes have approved, hears of invoices, and tells people."""

    name = "disputes"
    default_auto_field = "django.db.models.BigAutoField"
    verbose_name = "Disputes"

    def ready(self) -> None:
        from core.outbox import register_consumer
        from disputes import roles  # noqa: F401  # grants its rights
        from disputes.approval_types import register_types
        from disputes.invoice_events import end_disputes_of_credited_lines, end_disputes_of_void_invoice
        from disputes.navigation import register_pages
        from disputes.notifications import TOPIC, tell_of_dispute

        register_types()
        register_pages()
        register_consumer("invoice.voided", end_disputes_of_void_invoice)
        register_consumer("credit_note.issued", end_disputes_of_credited_lines)
        register_consumer(TOPIC, tell_of_dispute)
