"""Budgets in the back-office. Every write goes through the services; figures are never edited."""

from budgets.admin import badges, dashboard
from budgets.admin.budget import BudgetAdmin
from budgets.admin.changes import (
    BudgetOverrideAdmin,
    BudgetRevisionAdmin,
    BudgetRolloverAdmin,
    BudgetTransferAdmin,
)
from budgets.admin.ledger import BudgetAlertAdmin, BudgetEntryAdmin, CommitmentAdmin

__all__ = [
    "BudgetAdmin",
    "BudgetAlertAdmin",
    "BudgetEntryAdmin",
    "BudgetOverrideAdmin",
    "BudgetRevisionAdmin",
    "BudgetRolloverAdmin",
    "BudgetTransferAdmin",
    "CommitmentAdmin",
    "badges",
    "dashboard",
]
