"""Contracts until they are activated: written, changed, submitted, approved, sent back, deleted (CON-01, CON-02)."""

import datetime
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from django.db import transaction

from contracts.models import (
    BEFORE_ACTIVATION,
    AccessAction,
    AccessedPart,
    Contract,
    ContractAccess,
    ContractStatus,
    ContractType,
    EventKind,
)
from contracts.services.decisions import ask_for_contract
from contracts.services.prices import check_references, save_price, save_service_level
from contracts.services.revision import content_may_change, signatures_void
from contracts.services.signing import signatory_save
from contracts.services.status import (
    contract_status_refresh,
    event_record,
    lock_contract,
    lock_known_contract,
    require_status,
)
from contracts.terms.conditions import CONDITIONS, coherence_problems, conditions_of, value_problems
from contracts.terms.lines import price_line, sla_line
from contracts.terms.values import raise_problems
from core import clock
from core.access import require
from core.errors import Conflict, FieldProblem, Invalid
from core.history import record_as
from core.models import User
from core.money import minor_units, parse_amount, round_money
from core.outbox import publish
from entities.models import Entity
from entities.selectors import issuer_for
from entities.services.records import apply_changes, check_fields, delete_record, field_error

# What is not signed: it may change at any time.
INTERNAL = frozenset({"title", "reference", "owner", "department", "gl_code", "budget"})
CHANGEABLE = (
    INTERNAL
    | set(CONDITIONS)
    | {"contract_type", "parent", "predecessor", "issuer", "is_retroactive", "confidential_terms"}
)
AMOUNTS = ("value", "not_to_exceed", "minimum_commitment")


@transaction.atomic
def contract_create(
    *,
    actor: User,
    entity: Entity,
    title: str,
    start_date: datetime.date,
    value: Decimal | str | int,
    contract_type: str = ContractType.STANDARD,
    prices: Iterable[Any] = (),
    sla_terms: Iterable[Any] = (),
    signatories: Iterable[Mapping[str, Any]] = (),
    **details: Any,
) -> Contract:
    """Write a draft contract of ``entity`` (bill-to) with its prices, service levels and required signatories.

    ``value`` is the total value of the first term in ``currency``, which defaults to the entity's, as do zone and
    payment terms; the issuer defaults to the entity's, the billing anchor to the start. Related records come as
    records that the actor may see. Raises Invalid with pointers, Forbidden, Conflict ``no_issuer``.
    """
    contract = Contract(entity=entity, contract_type=contract_type, created_by=actor)
    defaults: dict[str, Any] = {
        "currency": entity.currency,
        "time_zone": entity.time_zone,
        "payment_terms_days": entity.payment_terms_days,
        "billing_anchor": start_date,
    }
    given = {"title": title, "start_date": start_date, "value": value, **details}
    contract.department = given.get("department")
    require(actor, "contracts.add_contract", contract)
    contract.issuer = given.pop("issuer", None) or issuer_for(entity)
    apply_changes(contract, {**defaults, **given}, allowed=CHANGEABLE)
    _check(contract)
    price_lines = [price_line(item, pointer=f"/prices/{index}") for index, item in enumerate(prices)]
    levels = [sla_line(item, pointer=f"/sla_terms/{index}") for index, item in enumerate(sla_terms)]
    _check_codes([line.code for line in price_lines], "prices")
    _check_codes([line.code for line in levels], "sla_terms")
    check_references(contract, price_lines)
    with record_as(actor):
        contract.save()
        for line in price_lines:
            save_price(contract, line)
        for level in levels:
            save_service_level(contract, level)
        for signatory in signatories:
            signatory_save(contract, None, signatory)
    contract_status_refresh(contract)
    publish("contract.created", {"contract_id": contract.pk}, key=f"contract:{contract.pk}")
    return contract


def _check_codes(codes: list[str], name: str) -> None:
    double = next((code for code in codes if codes.count(code) > 1), None)
    if double is not None:
        raise field_error(name, "line_given_twice", f"The line “{double}” is given twice.")


@transaction.atomic
def contract_update(
    *,
    actor: User,
    contract_id: int,
    changes: Mapping[str, Any],
    expected_version: int | None = None,
    reason: str = "",
) -> Contract:
    """Change a contract: anything before its activation, afterwards only what was not signed (`INTERNAL`).

    A change of content after approval sends it back to its approvers and voids the signatures (CON-02). Raises
    Stale, Invalid with pointers, Conflict ``contract_is_signed``.
    """
    contract = lock_contract(actor, contract_id, "contracts.change_contract")
    contract.expect_version(expected_version)
    if contract.status not in BEFORE_ACTIVATION and not set(changes) <= INTERNAL:
        refused = sorted(set(changes) - INTERNAL)
        raise Conflict(
            "contract_is_signed",
            f"{', '.join(refused)}: the terms of “{contract}” are signed. Write an amendment to change them.",
            errors=[
                FieldProblem(f"/{name}", "contract_is_signed", "Changes by amendment.") for name in refused
            ],
        )
    with record_as(actor, reason):
        if contract.status in BEFORE_ACTIVATION:
            with content_may_change(contract, actor=actor):
                _change(contract, changes, actor)
        else:
            _change(contract, changes, actor)
    return lock_known_contract(contract.pk)


def _change(contract: Contract, changes: Mapping[str, Any], actor: User) -> None:
    changed = apply_changes(contract, dict(changes), allowed=CHANGEABLE)
    if not changed:
        return
    _check(contract)
    contract.save()
    if "confidential_terms" in changed:
        ContractAccess.objects.create(
            contract=contract,
            part=AccessedPart.CONFIDENTIAL_TERMS,
            action=AccessAction.CHANGED,
            actor=actor,
        )


def _check(contract: Contract) -> None:
    """Validate fields, amounts, places and coherence; the constraints of the database repeat what matters."""
    try:
        minor_units(contract.currency)
    except Invalid as error:
        raise field_error("currency", error.code, error.message) from error
    for name in AMOUNTS:
        value = getattr(contract, name)
        if value is not None:
            setattr(contract, name, _amount(name, value, contract.currency))
    check_fields(contract)
    values = {name: getattr(contract, name) for name in ("feature_limits", "termination_fees")}
    problems = [*value_problems(values), *coherence_problems(conditions_of(contract))]
    problems += _place_problems(contract)
    raise_problems(problems)


def _amount(name: str, value: Decimal | str | int, currency: str) -> Decimal:
    try:
        amount = parse_amount(value)
    except Invalid as error:
        raise field_error(name, error.code, error.message) from error
    if round_money(amount, currency) != amount:
        detail = f"Give the amount in whole minor units of {currency}."
        raise field_error(name, "amount_not_at_minor_unit", detail)
    return amount


def _place_problems(contract: Contract) -> list[FieldProblem]:
    """Whether issuer, department, parent, predecessor and budget fit the contract's entity."""
    parent, predecessor = contract.parent, contract.predecessor
    rules = (
        (contract.issuer.is_issuer, "issuer_id", "not_an_issuer", f"{contract.issuer} issues no invoices."),
        (
            contract.department is None or contract.department.entity_id == contract.entity_id,
            "department_id",
            "department_of_another_entity",
            "The department must belong to the contract's entity.",
        ),
        (
            parent is None or parent.contract_type == ContractType.MSA,
            "parent_id",
            "parent_is_no_msa",
            "Only a master service agreement has agreements below it.",
        ),
        (
            parent is None
            or Entity.objects.ancestors_of(contract.entity_id, include_self=True)
            .filter(pk=parent.entity_id)
            .exists(),
            "parent_id",
            "parent_of_another_entity",
            "The master service agreement must be of the contract's entity or of one above it.",
        ),
        (
            contract.contract_type != ContractType.MSA or parent is None,
            "parent_id",
            "msa_has_no_parent",
            "A master service agreement stands below no other contract.",
        ),
        (
            predecessor is None or predecessor.entity_id == contract.entity_id,
            "predecessor_id",
            "predecessor_of_another_entity",
            "A contract replaces one of the same entity.",
        ),
    )
    return [FieldProblem(f"/{name}", code, detail) for holds, name, code, detail in rules if not holds]


@transaction.atomic
def contract_delete(*, actor: User, contract_id: int) -> None:
    """Remove a draft on which nothing has happened; what was submitted or activated stays (CON-01).

    Raises Conflict ``contract_status``, ``in_use``.
    """
    contract = lock_contract(actor, contract_id, "contracts.delete_contract")
    require_status(contract, [ContractStatus.DRAFT], "deleted")
    with record_as(actor):
        delete_record(contract, name=f"“{contract}”", instead="Leave it as a draft.")


@transaction.atomic
def contract_submit(*, actor: User, contract_id: int, reason: str = "") -> Contract:
    """Ask for approval: draft → pending approval (CON-01). Raises Conflict ``contract_status``."""
    contract = lock_contract(actor, contract_id, "contracts.change_contract")
    require_status(contract, [ContractStatus.DRAFT], "submitted")
    with record_as(actor, reason):
        contract.submit()
        contract.save()
    _happened(contract, EventKind.SUBMITTED, actor, reason)
    ask_for_contract(contract, actor=actor, reason=reason)
    return Contract.objects.get(pk=contract.pk)


@transaction.atomic
def contract_approved(*, actor: User, contract_id: int) -> Contract:
    """The effect of the final approval: it awaits its signatures now. Called by its approval, by no door."""
    contract = lock_known_contract(contract_id)
    require_status(contract, [ContractStatus.PENDING_APPROVAL], "approved")
    with record_as(actor):
        contract.approve()
        contract.approved_at = clock.now()
        contract.save()
    return _happened(contract, EventKind.APPROVED, actor)


@transaction.atomic
def contract_sent_back(*, actor: User, contract_id: int, reason: str) -> Contract:
    """The effect of a rejection, a withdrawal or an expiry: it is a draft again. Called by its approval, by no door."""
    contract = lock_known_contract(contract_id)
    require_status(
        contract, [ContractStatus.PENDING_APPROVAL, ContractStatus.AWAITING_SIGNATURE], "sent back"
    )
    with record_as(actor, reason):
        signatures_void(contract, actor=actor, reason=reason or "Sent back to draft.")
        contract.send_back()
        contract.approved_at = None
        contract.save()
    return _happened(contract, EventKind.SENT_BACK, actor, reason)


def _happened(contract: Contract, kind: EventKind, actor: User, reason: str = "") -> Contract:
    event_record(contract, kind, actor=actor, reason=reason)
    contract_status_refresh(contract)
    publish(f"contract.{kind}", {"contract_id": contract.pk}, key=f"contract:{contract.pk}")
    return Contract.objects.get(pk=contract.pk)
