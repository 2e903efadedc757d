"""Who is told when a contract nears what it may cost, or when its budget refuses (CON-18, CON-19)."""

from decimal import Decimal

from contracts.models import Contract
from core.models import OutboxEvent, User
from core.money import format_money
from core.notifications import notify
from entities.access import users_holding


def tell_of_cap(event: OutboxEvent) -> None:
    """Tell the owner and the finance managers that 80 % or all of a not-to-exceed amount is billed."""
    contract = _contract(event)
    currency = event.payload["currency"]
    used = format_money(Decimal(event.payload["used"]), currency)
    cap = format_money(Decimal(event.payload["cap"]), currency)
    if event.topic == "contract.cap_reached":
        title = f"{contract.number} {contract.title} has reached its not-to-exceed amount"
        body = (
            f"{used} of {cap} are billed: nothing more is. Agree on a higher amount by amendment, or end it."
        )
    else:
        title = f"{contract.number} {contract.title} nears its not-to-exceed amount"
        body = f"{used} of {cap} are billed. What goes beyond will not be billed."
    _tell(contract, "contract.cap", title, body)


def tell_of_refusal(event: OutboxEvent) -> None:
    """Tell the same people what a budget refused, and why."""
    contract = _contract(event)
    title = f"The budget of {contract.number} {contract.title} refused"
    _tell(contract, "contract.budget_refused", title, event.payload["message"])


def _contract(event: OutboxEvent) -> Contract:
    return Contract.objects.select_related("owner").get(pk=event.payload["contract_id"])


def _tell(contract: Contract, kind: str, title: str, body: str) -> None:
    people: dict[int, User] = {
        user.pk: user
        for user in (contract.owner, *users_holding("contracts.renew_contract", entity_id=contract.entity_id))
        if user is not None and user.is_active and not user.is_service_account
    }
    for pk in sorted(people):
        notify(user=people[pk], kind=kind, title=title, body=body)
