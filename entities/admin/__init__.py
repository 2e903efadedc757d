"""The organisation in the back-office. Every write goes through the services, every choice through the scope."""

from entities.admin.allocation import AllocationPostingAdmin, CostAllocationAdmin
from entities.admin.allocation_rule import AllocationRuleAdmin
from entities.admin.department import DepartmentAdmin
from entities.admin.entity import EntityAdmin
from entities.admin.membership import MembershipAdmin

__all__ = [
    "AllocationPostingAdmin",
    "AllocationRuleAdmin",
    "CostAllocationAdmin",
    "DepartmentAdmin",
    "EntityAdmin",
    "MembershipAdmin",
]
