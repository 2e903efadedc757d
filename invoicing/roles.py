"""What each role may do with usage and invoices (ENT-05)."""

from entities.access import grant
from entities.models import Role
from entities.roles import MANAGERS, READERS, WORKERS

grant(
    {
        "invoicing.view_usageimport",
        "invoicing.view_usagerecord",
        "invoicing.view_rejectedrow",
        "invoicing.view_usagemappingrule",
        "invoicing.view_invoice",
        "invoicing.view_invoiceline",
        "invoicing.view_numberseries",
        "invoicing.view_usagebudgetcharge",
    },
    to=READERS,
)
grant({"invoicing.view_usagerecord", "invoicing.view_usagebudgetcharge"}, to=(Role.DEPARTMENT_MANAGER,))
grant(
    {
        "invoicing.add_usageimport",
        "invoicing.change_usageimport",
        "invoicing.change_rejectedrow",
        "invoicing.add_usagemappingrule",
        "invoicing.change_usagemappingrule",
        "invoicing.delete_usagemappingrule",
        "invoicing.add_invoice",
        "invoicing.change_invoice",
        "invoicing.delete_invoice",
        "invoicing.issue_invoice",
    },
    to=WORKERS,
)
grant({"invoicing.void_invoice", "invoicing.add_numberseries", "invoicing.change_numberseries"}, to=MANAGERS)
