"""Invoicing in the back-office."""

from invoicing.admin import invoice

__all__ = ["invoice"]
