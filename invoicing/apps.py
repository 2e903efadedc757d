"""Invoicing's registration with Django."""

from django.apps import AppConfig


class InvoicingConfig(AppConfig):
    """Registers the consumers that tell finance of invoices, and the jobs and checks of documents."""

    name = "invoicing"
    default_auto_field = "django.db.models.BigAutoField"
    verbose_name = "Invoicing"

    def ready(self) -> None:
        from core.outbox import register_consumer
        from entities.cost_sources import register_cost_source
        from invoicing import roles  # noqa: F401  # grants its rights
        from invoicing.cost_sources import USAGE, usage_cost_rows
        from invoicing.documents import checks, jobs  # noqa: F401  # they register themselves
        from invoicing.notifications import tell_finance

        register_consumer("invoice.issued", tell_finance)
        register_consumer("invoice.voided", tell_finance)
        register_consumer("invoice.issued", jobs.prepare_document)
        register_cost_source(USAGE, usage_cost_rows)
