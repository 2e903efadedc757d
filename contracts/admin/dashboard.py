"""What contracts tell on the first page: renewals to decide on, and what waits for somebody."""

from collections.abc import Iterable

from django.http import HttpRequest
from django.urls import reverse

from contracts.admin.deadlines import renewals_due
from contracts.models import Contract, ContractStatus, CreditStatus, ServiceCredit
from core.admin.columns import number_text
from core.admin.dashboard import Card, Need, register_card, register_need
from core.models import User

CONTRACTS = "admin:contracts_contract_changelist"


@register_card
def due_renewals(request: HttpRequest) -> Card | None:
    """Contracts whose notice deadline is near."""
    user = request.user
    if not isinstance(user, User) or not user.has_perm("contracts.view_contract"):
        return None
    due = renewals_due(Contract.objects.visible_to(user))
    soon = min((each.deadline for each in due.values() if each.deadline), default=None)
    return Card(
        "Renewals due",
        number_text(len(due)),
        f"{reverse(CONTRACTS)}?standing=renewal",
        note=f"first notice deadline {soon}" if soon else "no notice deadline within 90 days",
        tone="warn" if due else "neutral",
        order=58,
    )


@register_need
def waiting_contracts(request: HttpRequest) -> Iterable[Need]:
    """What those who sign and claim have before them."""
    user = request.user
    assert isinstance(user, User)
    if user.has_perm("contracts.sign_contract"):
        unsigned = (
            Contract.objects.visible_to(user, "contracts.sign_contract")
            .filter(status=ContractStatus.AWAITING_SIGNATURE)
            .count()
        )
        if unsigned:
            what = "contract awaits" if unsigned == 1 else "contracts await"
            yield Need(
                f"{number_text(unsigned)} {what} signatures",
                f"{reverse(CONTRACTS)}?standing=signing",
                icon="draw",
            )
    if user.has_perm("contracts.change_servicecredit"):
        claimable = (
            ServiceCredit.objects.visible_to(user, "contracts.change_servicecredit")
            .filter(status=CreditStatus.CLAIMABLE)
            .count()
        )
        if claimable:
            what = "service credit is" if claimable == 1 else "service credits are"
            yield Need(
                f"{number_text(claimable)} {what} to be claimed",
                f"{reverse('admin:contracts_servicecredit_changelist')}?status__exact=claimable",
                icon="pan_tool",
                tone="warn",
            )
