"""Reads over several models of approvals; upper apps need only ``request_for``."""

from approvals.selectors.requests import request_for

__all__ = ["request_for"]
