"""Approvals in the back-office: rules, requests to read, delegations, limits, duties, and who is how busy."""

from approvals.admin import badges, dashboard
from approvals.admin.delegation import DelegationAdmin
from approvals.admin.duty import DutyExceptionAdmin, IncompatibleDutiesAdmin
from approvals.admin.limit import AuthorityLimitAdmin
from approvals.admin.request import ApprovalRequestAdmin
from approvals.admin.rule import ApprovalRuleAdmin

__all__ = [
    "ApprovalRequestAdmin",
    "ApprovalRuleAdmin",
    "AuthorityLimitAdmin",
    "DelegationAdmin",
    "DutyExceptionAdmin",
    "IncompatibleDutiesAdmin",
    "badges",
    "dashboard",
]
