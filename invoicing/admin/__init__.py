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
    "usage",
    "usage_charge",
]
