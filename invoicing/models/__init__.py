from invoicing.models.invoice import (
    BilledItem,
    DocumentType,
    Invoice,
    InvoiceDocument,
    InvoiceLine,
    InvoiceStatus,
    LineKind,
    NumberSeries,
)
from invoicing.models.usage import (
    ImportStatus,
    MappingSource,
    RejectedRow,
    RejectedRowStatus,
    UsageImport,
    UsageMappingRule,
    UsageRecord,
)
from invoicing.models.usage_charge import UsageBudgetCharge, UsageChargeStatus

__all__ = [
    "BilledItem",
    "DocumentType",
    "ImportStatus",
    "Invoice",
    "InvoiceDocument",
    "InvoiceLine",
    "InvoiceStatus",
    "LineKind",
    "MappingSource",
    "NumberSeries",
    "RejectedRow",
    "RejectedRowStatus",
    "UsageBudgetCharge",
    "UsageChargeStatus",
    "UsageImport",
    "UsageMappingRule",
    "UsageRecord",
]
