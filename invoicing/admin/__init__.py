"""Invoicing in the back-office."""

from invoicing.admin import invoice, usage

__all__ = ["invoice", "usage"]
