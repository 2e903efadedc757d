"""Invoicing in the back-office."""

from invoicing.admin import dashboard, invoice, usage

__all__ = ["dashboard", "invoice", "usage"]
