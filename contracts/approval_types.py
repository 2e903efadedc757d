"""What contracts have approved: their activation and their amendments (CON-02, CON-04)."""

import datetime
from collections.abc import Mapping
from typing import Any, ClassVar

from approvals.models import ApprovalRequest
from approvals.registry import (
    ApprovalType,
    Fact,
    TypeExtension,
    extend,
    register,
    register_contract_finder,
)
from contracts.models import AmendmentStatus, Contract, ContractAmendment, ContractStatus, Subscription
from contracts.selectors.contract import amended_terms, amendment_difference
from contracts.services.amendments import amendment_approved, amendment_sent_back
from contracts.services.contract import contract_approved, contract_sent_back
from contracts.services.decisions import ACTIVATION, AMENDMENT, is_being_decided
from contracts.services.fingerprint import amendment_content, contract_content
from contracts.services.subscriptions import licences_change
from core.access import get_visible, system_actor
from core.errors import Conflict
from core.models import User
from core.money import format_money
from entities.services.records import field_error


class ContractActivationApproval(ApprovalType):
    """A contract is to be signed and activated; asked for by submitting it."""

    code, label = ACTIVATION, "Contract activation"
    asked_by_people: ClassVar[bool] = False

    def check(self, request: ApprovalRequest, *, actor: User) -> None:
        if request.subject_id is None:
            raise field_error(
                "contract_id", "submit_the_contract", "Submit the contract itself for approval."
            )
        contract = get_visible(Contract.objects.all(), actor, request.subject_id, name="contract")
        if contract.status != ContractStatus.PENDING_APPROVAL or is_being_decided(ACTIVATION, contract.pk):
            raise Conflict("contract_status", f"“{contract}” is not waiting for a decision to be asked for.")
        request.contract_id = contract.pk

    def lock(self, request: ApprovalRequest) -> None:
        Contract.objects.select_for_update(of=("self",)).get(pk=_subject_id(request))

    def content(self, request: ApprovalRequest) -> Mapping[str, Any]:
        return contract_content(_contract(request))

    def excluded_people(self, request: ApprovalRequest) -> set[int]:
        return {_contract(request).created_by_id}

    def facts(self, request: ApprovalRequest) -> list[Fact]:
        contract = _contract(request)
        facts = [
            Fact("Contract", f"{contract.number} {contract.title}"),
            Fact("Type", contract.get_contract_type_display()),
            Fact("Value", format_money(contract.value, contract.currency)),
            Fact("From", contract.start_date.isoformat()),
            Fact("Until before", contract.end_date.isoformat() if contract.end_date else "no end"),
            Fact("Renewal", contract.get_renewal_type_display()),
        ]
        if contract.is_retroactive:
            facts.append(Fact("Retroactive", "May take effect before its last signature"))
        return facts

    def on_approved(self, request: ApprovalRequest, *, actor: User) -> None:
        contract_approved(actor=actor, contract_id=_contract(request).pk)

    def on_closed(self, request: ApprovalRequest, *, actor: User) -> None:
        contract = _contract(request)
        if contract.status == ContractStatus.PENDING_APPROVAL:
            contract_sent_back(actor=actor, contract_id=contract.pk, reason=request.get_status_display())


class ContractAmendmentApproval(ApprovalType):
    """An amendment is to be signed and put in force. People may ask for it by naming the contract only."""

    code, label = AMENDMENT, "Contract amendment"

    def check(self, request: ApprovalRequest, *, actor: User) -> None:
        amendments = ContractAmendment.objects.filter(
            status__in=[AmendmentStatus.DRAFT, AmendmentStatus.PENDING_APPROVAL]
        )
        if request.subject_id is None:
            if request.contract_id is None:
                raise field_error("contract_id", "required", "Name the contract that is to be amended.")
            drafts = list(amendments.visible_to(actor).filter(contract_id=request.contract_id)[:2])
            if len(drafts) != 1:
                found = "There are several drafts" if drafts else "There is no draft of an amendment"
                detail = f"{found} for this contract. Write one, then submit it for approval."
                raise field_error("contract_id", "no_single_draft", detail)
            request.subject_id = drafts[0].pk
        amendment = get_visible(amendments, actor, request.subject_id, name="amendment")
        if is_being_decided(AMENDMENT, amendment.pk):
            raise Conflict("already_asked", f"Somebody is deciding on {amendment} already.")
        request.contract_id = amendment.contract_id

    def lock(self, request: ApprovalRequest) -> None:
        amendment = _amendment(request)
        Contract.objects.select_for_update(of=("self",)).get(pk=amendment.contract_id)

    def content(self, request: ApprovalRequest) -> Mapping[str, Any]:
        return amendment_content(_amendment(request))

    def excluded_people(self, request: ApprovalRequest) -> set[int]:
        return {_amendment(request).created_by_id}

    def facts(self, request: ApprovalRequest) -> list[Fact]:
        amendment = _amendment(request)
        terms = amended_terms(amendment)
        facts = [
            Fact("Contract", f"{amendment.contract.number} {amendment.contract.title}"),
            Fact("Effective from", amendment.effective_from.isoformat()),
            Fact("New value", format_money(terms.conditions.value, terms.conditions.currency)),
        ]
        return facts + [
            Fact(each.what, f"{each.before or '–'} → {each.after or '–'}")
            for each in amendment_difference(amendment)
        ]

    def on_approved(self, request: ApprovalRequest, *, actor: User) -> None:
        amendment_approved(actor=actor, amendment_id=_amendment(request).pk)

    def on_closed(self, request: ApprovalRequest, *, actor: User) -> None:
        amendment = _amendment(request)
        if amendment.status == AmendmentStatus.PENDING_APPROVAL:
            amendment_sent_back(actor=actor, amendment_id=amendment.pk, reason=request.get_status_display())


CHANGED = ("quantity", "plan_id")


class LicenceChanges(TypeExtension):
    """An approved ``license_change`` changes the subscription that its ``details`` name (CON-21).

    ``details`` are ``{subscription_id, quantity?, plan_id?, effective_from?}``. A request that names no subscription
    is a decision on money only.
    """

    def check(self, request: ApprovalRequest, *, actor: User) -> None:
        subscription = self._subscription(request, actor)
        if subscription is None:
            return
        unknown = sorted(set(request.details) - {"subscription_id", "effective_from", *CHANGED})
        if unknown:
            raise field_error(
                f"details/{unknown[0]}", "unknown_field", "A licence change knows no such detail."
            )
        if not any(name in request.details for name in CHANGED):
            raise field_error(
                "details", "nothing_changes", "Give the new quantity, the new plan_id, or both."
            )
        for name in CHANGED:
            value = request.details.get(name, 1)
            if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value < 2**31:
                raise field_error(f"details/{name}", "invalid", "Give a whole number from 1 on.")
        self._day(request)
        request.contract_id = subscription.contract_id

    def lock(self, request: ApprovalRequest) -> None:
        if "subscription_id" in request.details and request.contract_id is not None:
            Contract.objects.select_for_update(of=("self",)).filter(pk=request.contract_id).first()

    def on_approved(self, request: ApprovalRequest, *, actor: User) -> None:
        if "subscription_id" not in request.details:
            return
        # Approvals has seen to it who may; the request names them.
        licences_change(
            actor=system_actor(),
            subscription_id=request.details["subscription_id"],
            quantity=request.details.get("quantity"),
            plan_id=request.details.get("plan_id"),
            effective_from=self._day(request),
            reason=f"{request.reference_number} {request.title}"[:500],
            approval_request_id=request.pk,
        )

    def _subscription(self, request: ApprovalRequest, actor: User) -> Subscription | None:
        number = request.details.get("subscription_id")
        if number is None:
            return None
        found: Subscription = get_visible(Subscription.objects.all(), actor, number, name="subscription")
        return found

    def _day(self, request: ApprovalRequest) -> datetime.date | None:
        text = request.details.get("effective_from")
        if text is None:
            return None
        try:
            return datetime.date.fromisoformat(text)
        except (TypeError, ValueError) as error:
            raise field_error(
                "details/effective_from", "invalid", "Give a day such as 2027-01-31."
            ) from error


def _subject_id(request: ApprovalRequest) -> int:
    assert request.subject_id is not None  # the check has seen to it
    return request.subject_id


def _contract(request: ApprovalRequest) -> Contract:
    return Contract.objects.get(pk=_subject_id(request))


def _amendment(request: ApprovalRequest) -> ContractAmendment:
    return ContractAmendment.objects.select_related("contract").get(pk=_subject_id(request))


def contract_found(actor: User, contract_id: int) -> Contract:
    """The contract that a request names, among those that the actor sees."""
    contract: Contract = get_visible(Contract.objects.all(), actor, contract_id, name="contract")
    return contract


def register_types() -> None:
    """Add them to the registry of approvals."""
    register(ContractActivationApproval())
    register(ContractAmendmentApproval())
    extend("license_change", LicenceChanges())
    register_contract_finder(contract_found)
