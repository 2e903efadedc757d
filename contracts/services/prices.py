"""Prices and service levels of a contract that is not signed yet; afterwards they change by amendment (CON-05)."""

from collections.abc import Iterable
from typing import Any

from django.db import transaction
from django.db.models import F

from contracts.models import (
    BEFORE_ACTIVATION,
    Contract,
    Plan,
    PriceTerm,
    PriceTier,
    SlaCreditTier,
    SlaTerm,
)
from contracts.services.revision import content_may_change
from contracts.services.status import lock_contract, require_status
from contracts.terms.lines import PRICE_FIELDS, SLA_FIELDS, PriceLine, SlaLine, price_line, sla_line
from contracts.terms.values import raise_problems
from core.errors import FieldProblem, NotFound
from core.history import record_as
from core.models import User
from entities.models import Department


def price_term_set(
    *, actor: User, contract_id: int, price: Any, expected_version: int | None = None
) -> PriceTerm:
    """Add a price, or replace that of the same code, on a contract before its activation.

    Raises Invalid with pointers; Conflict ``contract_status``. A change after signature voids what was signed (CON-02).
    """
    line = price_line(price)
    with transaction.atomic(), record_as(actor):
        contract = _lock(actor, contract_id, expected_version)
        with content_may_change(contract, actor=actor):
            check_references(contract, [line])
            term = save_price(contract, line)
            _raise_version(contract)
        return term


def price_term_remove(
    *, actor: User, contract_id: int, code: str, expected_version: int | None = None
) -> None:
    """Remove a price of a contract before its activation. Raises NotFound, Conflict ``contract_status``."""
    with transaction.atomic(), record_as(actor):
        contract = _lock(actor, contract_id, expected_version)
        term = PriceTerm.objects.filter(contract=contract, code=code).first()
        if term is None:
            raise NotFound("not_found", f"“{contract}” has no price “{code}”.")
        with content_may_change(contract, actor=actor):
            term.delete()
            _raise_version(contract)


def sla_term_set(*, actor: User, contract_id: int, sla: Any, expected_version: int | None = None) -> SlaTerm:
    """Add a service level, or replace that of the same code, on a contract before its activation (CON-20)."""
    line = sla_line(sla)
    with transaction.atomic(), record_as(actor):
        contract = _lock(actor, contract_id, expected_version)
        with content_may_change(contract, actor=actor):
            term = save_service_level(contract, line)
            _raise_version(contract)
        return term


def sla_term_remove(*, actor: User, contract_id: int, code: str, expected_version: int | None = None) -> None:
    """Remove a service level of a contract before its activation."""
    with transaction.atomic(), record_as(actor):
        contract = _lock(actor, contract_id, expected_version)
        term = SlaTerm.objects.filter(contract=contract, code=code).first()
        if term is None:
            raise NotFound("not_found", f"“{contract}” has no service level “{code}”.")
        with content_may_change(contract, actor=actor):
            term.delete()
            _raise_version(contract)


def _lock(actor: User, contract_id: int, expected_version: int | None) -> Contract:
    contract = lock_contract(actor, contract_id, "contracts.change_contract")
    contract.expect_version(expected_version)
    require_status(contract, BEFORE_ACTIVATION, "changed but by amendment")
    return contract


def _raise_version(contract: Contract) -> None:
    """Whoever has the contract open sees that its lines have changed; they have a history of their own."""
    Contract.objects.filter(pk=contract.pk).update(version=F("version") + 1)


def save_price(contract: Contract, line: PriceLine) -> PriceTerm:
    """Write a checked price with its tiers."""
    term = PriceTerm.objects.filter(contract=contract, code=line.code).first() or PriceTerm(contract=contract)
    for name in PRICE_FIELDS:
        setattr(term, name, getattr(line, name))
    term.ramp = line.as_json()["ramp"]
    term.save()
    term.tiers.all().delete()
    PriceTier.objects.bulk_create(
        PriceTier(
            price_term=term,
            position=position,
            up_to=tier.up_to,
            unit_price=tier.unit_price,
            flat_fee=tier.flat_fee,
        )
        for position, tier in enumerate(line.tiers, start=1)
    )
    return term


def save_service_level(contract: Contract, line: SlaLine) -> SlaTerm:
    """Write a checked service level with its credits."""
    term = SlaTerm.objects.filter(contract=contract, code=line.code).first() or SlaTerm(contract=contract)
    for name in SLA_FIELDS:
        setattr(term, name, getattr(line, name))
    term.save()
    term.tiers.all().delete()
    SlaCreditTier.objects.bulk_create(
        SlaCreditTier(sla_term=term, threshold=tier.threshold, credit_percent=tier.credit_percent)
        for tier in line.tiers
    )
    return term


def check_references(contract: Contract, lines: Iterable[PriceLine], *, pointer: str = "") -> None:
    """The departments and plans that prices name: of the contract's entity, in its currency. Raises Invalid."""
    problems = []
    for line in lines:
        if (
            line.department_id is not None
            and not Department.objects.filter(pk=line.department_id, entity_id=contract.entity_id).exists()
        ):
            detail = f"The entity of the contract has no department {line.department_id}."
            problems.append(FieldProblem(f"{pointer}/department_id", "does_not_exist", detail))
        if line.plan_id is not None and not Plan.objects.filter(pk=line.plan_id).exists():
            problems.append(
                FieldProblem(f"{pointer}/plan_id", "does_not_exist", f"There is no plan {line.plan_id}.")
            )
    raise_problems(problems)
