"""Invoicing's registration with Django."""

from django.apps import AppConfig


class InvoicingConfig(AppConfig):
    """Registers the consumers that tell finance of invoices, and the jobs and checks of documents."""

    name = "invoicing"
    default_auto_field = "django.db.models.BigAutoField"
    verbose_name = "Invoicing"

    def ready(self) -> None:
        from contracts.invoiced import register_fee_documents
        from contracts.usage import register_usage_reader
        from core.outbox import register_consumer
        from entities.cost_sources import register_cost_source
        from invoicing import roles  # noqa: F401  # grants its rights
        from invoicing.cost_sources import USAGE, usage_cost_rows
        from invoicing.documents import checks, jobs  # noqa: F401  # they register themselves
        from invoicing.notifications import tell_finance
        from invoicing.run_notifications import tell_of_run
        from invoicing.selectors.contract_fees import contract_usage
        from invoicing.selectors.fee_documents import fee_documents
        from invoicing.services.dunning import TOPIC as DUNNING_TOPIC
        from invoicing.services.dunning import send_notice
        from invoicing.settlement_notifications import SETTLEMENT_TOPICS, tell_of_settlement
        from invoicing.share_events import apply_to_budgets, tell_of_refused_shares

        register_consumer("invoice.issued", tell_finance)
        register_consumer("invoice.voided", tell_finance)
        register_consumer("invoice.issued", jobs.prepare_document)
        register_consumer("credit_note.issued", jobs.prepare_document)
        register_consumer("debit_note.issued", jobs.prepare_document)
        for topic in SETTLEMENT_TOPICS:
            register_consumer(topic, tell_of_settlement)
        register_consumer("billing_run.prepared", tell_of_run)
        register_consumer("billing_run.finished", tell_of_run)
        for topic in ("invoice.issued", "invoice.voided", "credit_note.issued", "debit_note.issued"):
            register_consumer(topic, apply_to_budgets)
        register_consumer(DUNNING_TOPIC, send_notice)
        register_consumer("invoice_line_share.refused", tell_of_refused_shares)
        register_cost_source(USAGE, usage_cost_rows)
        register_usage_reader(contract_usage)
        register_fee_documents(fee_documents)
