"""Invoicing in the back-office."""

from invoicing.admin import dashboard, invoice, usage, usage_charge

__all__ = ["dashboard", "invoice", "usage", "usage_charge"]
