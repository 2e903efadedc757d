"""Activation: everything that is missing is listed at once (CON-01 to CON-03)."""

from dataclasses import dataclass

from django.db import transaction

from contracts.models import RUNNING, Contract, ContractStatus, EventKind
from contracts.selectors.contract import business_today, status_on
from contracts.services.billing import fees_adjust
from contracts.services.commitments import commitments_adjust, contract_commit
from contracts.services.signing import last_signed_on, missing_signatures
from contracts.services.status import (
    contract_status_refresh,
    event_record,
    lock_contract,
    lock_known_contract,
    require_status,
)
from contracts.terms.conditions import coherence_problems, conditions_of
from core import clock
from core.access import get_visible
from core.errors import Conflict
from core.history import record_as
from core.models import User
from core.outbox import publish


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that stands in the way: a code for machines, a sentence for people."""

    code: str
    detail: str


def not_ready(name: str, verb: str, problems: list[Problem]) -> Conflict:
    """Conflict ``not_ready`` that lists everything that is missing."""
    return Conflict(
        "not_ready",
        f"{name} cannot {verb} yet: " + " ".join(problem.detail for problem in problems),
        extra={"missing": [{"code": problem.code, "detail": problem.detail} for problem in problems]},
    )


def activation_problems(contract: Contract) -> list[Problem]:
    """All that is missing before the contract can be activated; nothing means that it can (CON-02, CON-03)."""
    problems = []
    if contract.status != ContractStatus.AWAITING_SIGNATURE:
        submitted = contract.status == ContractStatus.PENDING_APPROVAL
        detail = "Its approval is not decided yet." if submitted else "It was not approved. Submit it first."
        problems.append(Problem("approval_missing", detail))
    problems += [Problem(*missing) for missing in missing_signatures(contract)]
    signed_on = last_signed_on(contract)
    if signed_on is not None and contract.start_date < signed_on and not contract.is_retroactive:
        problems.append(
            Problem(
                "retroactive_not_agreed",
                f"It starts on {contract.start_date}, before its last signature on {signed_on}. Mark it as "
                "retroactive and have that approved, or let it start later.",
            )
        )
    problems += [Problem(each.code, each.detail) for each in coherence_problems(conditions_of(contract))]
    return problems + _related_problems(contract)


def _related_problems(contract: Contract) -> list[Problem]:
    problems = []
    today = business_today(contract)
    if contract.parent is not None and status_on(contract.parent, today) != ContractStatus.ACTIVE:
        detail = f"“{contract.parent}”, under which it is made, is not active."
        problems.append(Problem("parent_not_active", detail))
    if contract.predecessor is not None and status_on(contract.predecessor, contract.start_date) not in {
        *RUNNING,
        ContractStatus.EXPIRED,
    }:
        detail = f"“{contract.predecessor}”, which it replaces, is not in force before {contract.start_date}."
        problems.append(Problem("predecessor_not_in_force", detail))
    if not contract.entity.is_active:
        problems.append(Problem("entity_inactive", f"“{contract.entity}” is switched off."))
    return problems


@transaction.atomic
def contract_activate(*, actor: User, contract_id: int, reason: str = "") -> Contract:
    """Put an approved and signed contract into force (CON-02).

    It is active from today, or from its start where that was agreed to lie before. A predecessor is renewed by it
    from its start. It commits its budget (CON-19). Raises Conflict ``not_ready`` with all that is missing,
    ``contract_status`` after activation, and what the budget refuses.
    """
    seen = get_visible(Contract.objects.all(), actor, contract_id, name="contract")
    both = Contract.objects.filter(pk__in=[seen.pk, seen.predecessor_id or seen.pk])
    list(both.select_for_update(of=("self",)).order_by("pk"))
    contract = lock_contract(actor, seen.pk, "contracts.activate_contract")
    require_status(
        contract,
        [ContractStatus.DRAFT, ContractStatus.PENDING_APPROVAL, ContractStatus.AWAITING_SIGNATURE],
        "activated again",
    )
    problems = activation_problems(contract)
    if problems:
        raise not_ready(f"“{contract}”", "be activated", problems)
    effective_on = min(contract.start_date, business_today(contract))
    with record_as(actor, reason):
        contract.activate()
        contract.activated_at = clock.now()
        contract.save()
    event_record(contract, EventKind.ACTIVATED, actor=actor, effective_on=effective_on, reason=reason)
    contract_status_refresh(contract)
    if contract.predecessor_id is not None:
        _succeed(contract, actor)
    contract_commit(contract)
    publish(
        "contract.activated",
        {"contract_id": contract.pk, "effective_on": effective_on.isoformat()},
        key=f"contract:{contract.pk}",
    )
    return Contract.objects.get(pk=contract.pk)


def _succeed(contract: Contract, actor: User) -> None:
    assert contract.predecessor_id is not None
    predecessor = lock_known_contract(contract.predecessor_id)
    event_record(
        predecessor,
        EventKind.RENEWED,
        actor=actor,
        effective_on=contract.start_date,
        reason=f"Succeeded by {contract.number} “{contract}”",
    )
    contract_status_refresh(predecessor)
    fees_adjust(predecessor)
    commitments_adjust(predecessor, "Succeeded by another contract")
