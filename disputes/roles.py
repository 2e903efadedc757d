"""What each role may do with disputes (ENT-05).

A dispute has two sides. Who may see the disputed invoice's payer, or the department of the disputed line, stands on
the customer's side; who holds the rights of handling at the issuer is staff. Rights are asked for where each side is.
"""

from entities.access import grant
from entities.models import Role
from entities.roles import EVERYONE, FINANCE, MANAGERS, READERS, WORKERS

grant({"disputes.view_billingdispute"}, to=EVERYONE)
grant({"disputes.add_billingdispute"}, to=(*WORKERS, Role.DEPARTMENT_MANAGER))
grant(
    {
        "disputes.view_internal",
        "disputes.view_disputeround",
        "disputes.view_disputeevent",
        "disputes.view_disputecomment",
        "disputes.view_disputeattachment",
        "disputes.view_disputeresolution",
        "disputes.view_disputepolicy",
    },
    to=READERS,
)
grant({"disputes.change_billingdispute", "disputes.handle_billingdispute"}, to=WORKERS)
grant({"disputes.merge_billingdispute"}, to=FINANCE)
grant(
    {
        "disputes.add_disputepolicy",
        "disputes.change_disputepolicy",
        "disputes.delete_disputepolicy",
    },
    to=MANAGERS,
)
