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
    "UsageImport",
    "UsageMappingRule",
    "UsageRecord",
]
