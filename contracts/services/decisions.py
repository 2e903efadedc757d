"""What contracts ask of approvals: decisions, and the authority of those who sign (APR-11, APR-16, CON-02)."""

from decimal import Decimal

from approvals.models import ApprovalRequest, RequestStatus
from approvals.selectors import request_for
from approvals.services.authority import authority_limit
from approvals.services.requests import request_content_changed, request_submit
from contracts.models import Contract, ContractAmendment, RequiredSignatory
from contracts.selectors.contract import amended_terms, business_today
from core.errors import Conflict, Forbidden
from core.models import User
from core.money import plain_amount

ACTIVATION = "contract_activation"
AMENDMENT = "contract_amendment"


def ask_for_contract(contract: Contract, *, actor: User, reason: str) -> ApprovalRequest:
    """Have the contract decided on, at its total value. An explicit rule may approve it at once (APR-03)."""
    return request_submit(
        actor=actor,
        request_type=ACTIVATION,
        title=f"{contract.number} {contract.title}"[:200],
        description=reason,
        amount=contract.value,
        currency=contract.currency,
        entity_id=contract.entity_id,
        department_id=contract.department_id,
        contract_id=contract.pk,
        subject_id=contract.pk,
    )


def ask_for_amendment(amendment: ContractAmendment, *, actor: User, reason: str) -> ApprovalRequest:
    """Have the amendment decided on, at the new total value (APR-12)."""
    contract = amendment.contract
    terms = amended_terms(amendment)
    return request_submit(
        actor=actor,
        request_type=AMENDMENT,
        title=f"{contract.number} {amendment.title}"[:200],
        description=reason,
        amount=terms.conditions.value,
        currency=terms.conditions.currency,
        entity_id=contract.entity_id,
        department_id=contract.department_id,
        contract_id=contract.pk,
        subject_id=amendment.pk,
    )


def contract_changed(contract: Contract, *, actor: User) -> None:
    """Tell the approvers of a contract that its content has changed: they decide anew (APR-11).

    Raises Conflict ``currency_while_decided``: an amount that they decide on keeps its currency.
    """
    _require_currency(ACTIVATION, contract.pk, contract.currency)
    request_content_changed(
        actor=actor,
        request_type=ACTIVATION,
        subject_id=contract.pk,
        amount=contract.value,
        comment="The contract was changed.",
    )


def amendment_changed(amendment: ContractAmendment, *, actor: User) -> None:
    """The same for an amendment that is with its approvers; raises the same."""
    conditions = amended_terms(amendment).conditions
    _require_currency(AMENDMENT, amendment.pk, conditions.currency)
    request_content_changed(
        actor=actor,
        request_type=AMENDMENT,
        subject_id=amendment.pk,
        amount=conditions.value,
        comment="The amendment was changed.",
    )


def _require_currency(request_type: str, subject_id: int, currency: str) -> None:
    request = request_for(request_type=request_type, subject_id=subject_id)
    decided_on = request is not None and (request.is_open or request.status == RequestStatus.APPROVED)
    if request is not None and decided_on and request.currency != currency:
        raise Conflict(
            "currency_while_decided",
            f"{request.reference_number} asks for a decision in {request.currency}. Withdraw it before the currency "
            "changes.",
            extra={"request_id": request.pk, "currency": request.currency},
        )


def is_being_decided(request_type: str, subject_id: int) -> bool:
    """Whether somebody is asked about the subject now."""
    request = request_for(request_type=request_type, subject_id=subject_id)
    return request is not None and request.is_open


def require_authority(
    signatory: RequiredSignatory, contract: Contract, amendment: ContractAmendment | None
) -> None:
    """Raise Forbidden ``authority_too_low`` if an internal signatory may not bind for the whole value (CON-02)."""
    if signatory.user_id is None:
        return
    conditions = amended_terms(amendment).conditions if amendment else None
    value: Decimal = conditions.value if conditions else contract.value
    currency = conditions.currency if conditions else contract.currency
    limit = authority_limit(
        user_id=signatory.user_id,
        entity_id=contract.entity_id,
        request_type=AMENDMENT if amendment else ACTIVATION,
    )
    if limit.covers(value, currency, business_today(contract)):
        return
    assert limit.amount is not None
    raise Forbidden(
        "authority_too_low",
        f"{signatory.name} may sign up to {plain_amount(limit.amount, limit.currency)} {limit.currency}; the total "
        f"value is {plain_amount(value, currency)} {currency}. Somebody with more authority must sign.",
        extra={
            "authority": plain_amount(limit.amount, limit.currency),
            "authority_currency": limit.currency,
            "value": plain_amount(value, currency),
            "currency": currency,
        },
    )
