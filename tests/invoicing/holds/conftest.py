"""Issued invoices of a small group, to be disputed."""

from tests.invoicing.settlement.conftest import account, group

__all__ = ["account", "group"]
