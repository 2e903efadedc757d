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
        "invoicing.view_invoicelineshare",
        "invoicing.view_numberseries",
        "invoicing.view_usagebudgetcharge",
        "invoicing.view_payment",
        "invoicing.view_settlement",
        "invoicing.view_refund",
        "invoicing.view_billingrun",
        "invoicing.view_billingrunitem",
        "invoicing.view_billingschedule",
    },
    to=READERS,
)
grant(
    {
        "invoicing.view_usagerecord",
        "invoicing.view_usagebudgetcharge",
        "invoicing.view_invoicelineshare",
    },
    to=(Role.DEPARTMENT_MANAGER,),
)
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
        "invoicing.add_invoicelineshare",
        "invoicing.change_invoicelineshare",
        "invoicing.add_payment",
        "invoicing.add_settlement",
        "invoicing.add_billingrun",
        "invoicing.change_billingrun",
    },
    to=WORKERS,
)
grant({"invoicing.void_invoice", "invoicing.add_numberseries", "invoicing.change_numberseries"}, to=MANAGERS)
grant(
    {
        "invoicing.check_billingrun",
        "invoicing.add_billingschedule",
        "invoicing.change_billingschedule",
        "invoicing.delete_billingschedule",
    },
    to=MANAGERS,
)
grant(
    {
        "invoicing.reverse_payment",
        "invoicing.reverse_settlement",
        "invoicing.write_off_settlement",
        "invoicing.add_refund",
    },
    to=MANAGERS,
)
grant(
    {
        "invoicing.view_bankstatement",
        "invoicing.view_banktransaction",
        "invoicing.view_dunninglevel",
        "invoicing.view_dunningnotice",
    },
    to=READERS,
)
grant(
    {
        "invoicing.add_bankstatement",
        "invoicing.change_banktransaction",
        "invoicing.add_dunningnotice",
    },
    to=WORKERS,
)
grant(
    {"invoicing.add_dunninglevel", "invoicing.change_dunninglevel", "invoicing.delete_dunninglevel"},
    to=MANAGERS,
)
grant({"invoicing.view_taxrule"}, to=READERS)
grant({"invoicing.add_taxrule", "invoicing.change_taxrule", "invoicing.delete_taxrule"}, to=MANAGERS)
