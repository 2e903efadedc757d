"""What each role may do with budgets (ENT-05)."""

from entities.access import grant
from entities.models import Role
from entities.roles import EVERYONE, FINANCE, MANAGERS, WORKERS

grant(
    {
        "budgets.view_budget",
        "budgets.view_budgetentry",
        "budgets.view_budgetalert",
        "budgets.view_commitment",
        "budgets.view_budgettransfer",
        "budgets.view_budgetrevision",
        "budgets.view_budgetoverride",
        "budgets.view_budgetrollover",
    },
    to=EVERYONE,
)
grant(
    {
        "budgets.add_budget",
        "budgets.change_budget",
        "budgets.delete_budget",
    },
    to=WORKERS,
)
grant({"budgets.charge_budget"}, to=(*WORKERS, Role.DEPARTMENT_MANAGER))
grant({"budgets.transfer_budget"}, to=(*FINANCE, Role.DEPARTMENT_MANAGER))
grant({"budgets.post_soft_closed_budget"}, to=FINANCE)
grant({"budgets.close_budget", "budgets.approve_budget_change", "budgets.override_budget"}, to=MANAGERS)
