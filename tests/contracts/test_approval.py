"""Contracts and amendments before their approvers (CON-02, CON-04, APR-11, APR-13, APR-23)."""

from decimal import Decimal

import pytest

from approvals.models import ApprovalRequest, AuthorityLimit
from approvals.selectors import request_for
from approvals.services.requests import request_submit
from approvals.services.rules import approval_rule_create
from approvals.services.votes import request_approve, request_reject
from contracts.models import Contract, ContractAmendment
from contracts.services.amendments import amendment_delete, amendment_submit, amendment_update, amendment_void
from contracts.services.contract import contract_submit, contract_update
from contracts.services.signing import signing_places
from core.errors import Conflict, Forbidden
from core.models import User
from entities.models import Role
from tests.approvals.builders import people
from tests.contracts.builders import Place
from tests.entities import factories


@pytest.fixture
def decider(here: Place) -> User:
    """Decides on everything of the entity."""
    person = factories.member(here.root, Role.APPROVER)
    approval_rule_create(
        actor=here.finance, levels=(people(person),), name="Contracts", currency="USD", entity=here.root
    )
    return person


def asked(contract: Contract) -> ApprovalRequest:
    request = request_for(request_type="contract_activation", subject_id=contract.pk)
    assert request is not None
    return request


def test_con_02_submission_asks_and_the_final_vote_approves(here: Place, decider: User) -> None:
    contract = here.draft()
    contract_submit(actor=here.staff, contract_id=contract.pk)
    request = asked(contract)
    assert (request.status, request.amount, request.currency) == ("pending", Decimal(12000), "USD")
    request_approve(actor=decider, request_id=request.pk)
    contract = Contract.objects.get()
    assert (contract.status, contract.approved_at is not None) == ("awaiting_signature", True)


def test_apr_09_a_rejected_contract_is_a_draft_again(here: Place, decider: User) -> None:
    contract = here.draft()
    contract_submit(actor=here.staff, contract_id=contract.pk)
    request_reject(actor=decider, request_id=asked(contract).pk, comment="Too dear")
    assert Contract.objects.get().status == "draft"
    contract_submit(actor=here.staff, contract_id=contract.pk)
    assert ApprovalRequest.objects.count() == 2


def test_apr_11_a_change_after_approval_asks_anew_in_another_round(here: Place, decider: User) -> None:
    contract = here.draft()
    contract_submit(actor=here.staff, contract_id=contract.pk)
    request_approve(actor=decider, request_id=asked(contract).pk)
    here.signature(signing_places(Contract.objects.get())[0].signatory)
    contract_update(actor=here.staff, contract_id=contract.pk, changes={"value": "20000"})
    request = asked(contract)
    assert (request.status, request.round, request.amount) == ("pending", 2, Decimal(20000))
    assert Contract.objects.get().status == "pending_approval"
    request_approve(actor=decider, request_id=request.pk)
    assert Contract.objects.get().status == "awaiting_signature"
    with pytest.raises(Conflict) as refusal:
        contract_update(actor=here.staff, contract_id=contract.pk, changes={"currency": "EUR"})
    assert refusal.value.code == "currency_while_decided"


def test_con_02_an_internal_signatory_needs_authority_for_the_total_value(here: Place) -> None:
    """A limit equal to the value signs; a cent less does not."""
    contract = here.approved(
        signatories=[{"side": "issuer", "user": here.finance}, {"side": "customer", "name": "Carl Customer"}]
    )
    signatory = contract.signatories.get(side="issuer")
    limit = AuthorityLimit.objects.create(user=here.finance, max_amount=Decimal("11999.99"), currency="USD")
    with pytest.raises(Forbidden) as refusal:
        here.signature(signatory)
    assert (refusal.value.code, refusal.value.extra["authority"]) == ("authority_too_low", "11999.99")
    AuthorityLimit.objects.filter(pk=limit.pk).update(max_amount=Decimal("12000.00"))
    assert here.signature(signatory).signatory == signatory


def test_con_04_an_amendment_is_decided_on_at_the_new_total(here: Place, decider: User) -> None:
    contract = here.active()
    amendment = here.amendment(contract, "2026-07-01", fields={"value": "15000"})
    amendment_submit(actor=here.staff, amendment_id=amendment.pk)
    request = request_for(request_type="contract_amendment", subject_id=amendment.pk)
    assert request is not None and request.amount == 15000
    for act in (amendment_delete, amendment_void):
        with pytest.raises(Conflict):
            act(
                actor=here.staff,
                amendment_id=amendment.pk,
                **({"reason": "X"} if act is amendment_void else {}),
            )
    amendment_update(
        actor=here.staff, amendment_id=amendment.pk, changes={"changes": {"fields": {"value": "16000"}}}
    )
    request = ApprovalRequest.objects.get(pk=request.pk)
    assert (request.round, request.amount) == (2, 16000)
    request_approve(actor=decider, request_id=request.pk)
    stored = ContractAmendment.objects.get()
    assert (stored.status, stored.number) == ("awaiting_signature", 1)


def test_people_may_ask_for_the_one_draft_of_a_contract(here: Place, decider: User) -> None:
    """As `POST /approvals` does, with the contract's number only."""
    contract = here.active()
    amendment = here.amendment(contract, "2026-07-01", fields={"value": "15000"})
    request = request_submit(
        actor=here.staff,
        request_type="contract_amendment",
        title="More seats",
        amount="15000",
        entity_id=here.entity.pk,
        contract_id=contract.pk,
    )
    assert request.subject_id == amendment.pk
    request_approve(actor=decider, request_id=request.pk)
    assert ContractAmendment.objects.get().status == "awaiting_signature"


def test_apr_13_who_wrote_the_contract_does_not_decide_on_it(here: Place) -> None:
    person = factories.member(here.root, Role.FINANCE_STAFF)
    approval_rule_create(
        actor=here.finance, levels=(people(person),), name="Contracts", currency="USD", entity=here.root
    )
    here.staff = person
    contract = here.draft()
    contract_submit(actor=here.finance, contract_id=contract.pk)
    assert asked(contract).status == "blocked"
