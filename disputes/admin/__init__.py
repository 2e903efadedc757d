"""Disputes in the back-office: the work list, the page of each, policies and the report on reasons; for staff only."""

from disputes.admin import badges, dashboard, invoice_parts
from disputes.admin.dispute import DisputeAdmin
from disputes.admin.policy import DisputePolicyAdmin

__all__ = ["DisputeAdmin", "DisputePolicyAdmin", "badges", "dashboard", "invoice_parts"]
