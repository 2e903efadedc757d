"""What each role may do with approvals (ENT-05)."""

from entities.access import grant
from entities.models import Role
from entities.roles import EVERYONE, FINANCE, MANAGERS, WORKERS

grant(
    {"approvals.view_approvalrequest", "approvals.view_approvalaction", "approvals.view_approvalattachment"},
    to=EVERYONE,
)
grant(
    {
        "approvals.add_approvalrequest",
        "approvals.change_approvalrequest",
        "approvals.add_delegation",
        "approvals.change_delegation",
    },
    to=(*WORKERS, Role.DEPARTMENT_MANAGER, Role.APPROVER),
)
grant(
    {"approvals.decide_approvalrequest"},
    to=(*FINANCE, Role.DEPARTMENT_MANAGER, Role.APPROVER),
)
grant({"approvals.view_payee"}, to=FINANCE)
grant({"approvals.maintain_payee"}, to=(*WORKERS, Role.DEPARTMENT_MANAGER, Role.APPROVER))
grant(
    {
        "approvals.view_approvalrule",
        "approvals.view_approvallevel",
        "approvals.view_authoritylimit",
        "approvals.view_delegation",
        "approvals.view_incompatibleduties",
        "approvals.view_dutyexception",
    },
    to=(*FINANCE, Role.AUDITOR, Role.SERVICE_ACCOUNT),
)
grant(
    {
        "approvals.add_approvalrule",
        "approvals.change_approvalrule",
        "approvals.delete_approvalrule",
        "approvals.add_authoritylimit",
        "approvals.change_authoritylimit",
        "approvals.delete_authoritylimit",
        "approvals.override_approvalrequest",
    },
    to=MANAGERS,
)
grant(
    {
        "approvals.add_incompatibleduties",
        "approvals.change_incompatibleduties",
        "approvals.delete_incompatibleduties",
        "approvals.add_dutyexception",
        "approvals.change_dutyexception",
    },
    to=(Role.ADMINISTRATOR,),
)
