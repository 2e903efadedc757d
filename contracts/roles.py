"""What each role may do with contracts (ENT-05)."""

from entities.access import grant
from entities.models import Role
from entities.roles import EVERYONE, FINANCE, MANAGERS, READERS, WORKERS

grant(
    {
        "contracts.view_contract",
        "contracts.view_contractevent",
        "contracts.view_contractbreach",
        "contracts.view_contractamendment",
        "contracts.view_requiredsignatory",
        "contracts.view_signature",
        "contracts.view_priceterm",
        "contracts.view_slaterm",
        "contracts.view_slameasurement",
        "contracts.view_servicecredit",
        "contracts.view_renewalnotice",
        "contracts.view_termrenewal",
        "contracts.view_plan",
        "contracts.view_planfeature",
        "contracts.view_subscription",
        "contracts.view_subscriptionchange",
        "contracts.view_priceindexvalue",
    },
    to=EVERYONE,
)
grant({"contracts.view_billablefee", "contracts.view_renewalalert"}, to=READERS)
grant(
    {"contracts.view_confidential_terms", "contracts.view_contractdocument", "contracts.view_contractaccess"},
    to=(*FINANCE, Role.AUDITOR),
)
grant(
    {
        "contracts.add_contract",
        "contracts.change_contract",
        "contracts.delete_contract",
        "contracts.add_contractamendment",
        "contracts.change_contractamendment",
        "contracts.delete_contractamendment",
        "contracts.add_slameasurement",
        "contracts.change_servicecredit",
        "contracts.add_subscription",
        "contracts.change_subscription",
    },
    to=WORKERS,
)
grant({"contracts.sign_contract", "contracts.add_contractdocument"}, to=FINANCE)
grant(
    {
        "contracts.activate_contract",
        "contracts.suspend_contract",
        "contracts.terminate_contract",
        "contracts.renew_contract",
        "contracts.add_plan",
        "contracts.change_plan",
        "contracts.delete_plan",
        "contracts.add_priceindexvalue",
        "contracts.change_priceindexvalue",
    },
    to=MANAGERS,
)
