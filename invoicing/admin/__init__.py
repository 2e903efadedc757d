"""Invoicing in the back-office."""

from invoicing.admin import (
    bank,
    billing_run,
    dashboard,
    dunning,
    entity_parts,
    invoice,
    line_share,
    payment,
    tax,
    usage,
    usage_charge,
)

__all__ = [
    "bank",
    "billing_run",
    "dashboard",
    "dunning",
    "entity_parts",
    "invoice",
    "line_share",
    "payment",
    "tax",
    "usage",
    "usage_charge",
]
