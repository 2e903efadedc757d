"""Amendments: written, approved, numbered, signed, in force, or void (CON-03 to CON-06, CON-16)."""

import datetime
from collections.abc import Iterable, Mapping
from typing import Any

from django.db import transaction

from contracts.models import (
    RUNNING,
    AmendmentStatus,
    Contract,
    ContractAmendment,
    EventKind,
    RequiredSignatory,
)
from contracts.pricing.periods import is_period_start
from contracts.selectors.contract import agreement_of, amended_by, business_today, status_on
from contracts.services.activation import Problem, not_ready
from contracts.services.billing import fees_adjust
from contracts.services.commitments import commitments_adjust
from contracts.services.decisions import AMENDMENT, amendment_changed, ask_for_amendment, is_being_decided
from contracts.services.prices import check_references
from contracts.services.revision import signatures_void
from contracts.services.signing import last_signed_on, missing_signatures, signatory_save
from contracts.services.status import (
    contract_status_refresh,
    event_record,
    lock_contract,
    lock_known_contract,
)
from contracts.services.suspension import require_reason
from contracts.terms.changes import changed_prices, read_changes, removed_codes
from contracts.terms.conditions import coherence_problems
from contracts.terms.fold import Agreement, Terms, terms_at
from contracts.terms.values import raise_problems
from core import clock
from core.access import get_visible
from core.errors import Conflict, FieldProblem
from core.history import record_as
from core.models import User
from core.outbox import publish
from entities.services.records import apply_changes, check_fields, field_error

CHANGEABLE = frozenset({"title", "effective_from", "changes", "is_retroactive"})
SIGNATORY_COPIED = ("side", "name", "job_title", "email", "user", "position")


@transaction.atomic
def amendment_create(
    *,
    actor: User,
    contract_id: int,
    title: str,
    effective_from: datetime.date,
    changes: Any,
    is_retroactive: bool = False,
    signatories: Iterable[Mapping[str, Any]] | None = None,
) -> ContractAmendment:
    """Draft an amendment of an activated contract; it has no number yet (CON-04).

    ``changes`` is what `contracts.terms.changes` reads. Without ``signatories`` those of the contract sign. Raises
    Invalid with pointers; Conflict ``not_activated``.
    """
    contract = lock_contract(actor, contract_id, "contracts.add_contractamendment")
    if not contract.is_activated:
        raise Conflict(
            "not_activated", f"“{contract}” is not activated yet: change the contract itself.", extra={}
        )
    amendment = ContractAmendment(
        contract=contract,
        title=title,
        effective_from=effective_from,
        changes=read_changes(changes),
        is_retroactive=is_retroactive,
        created_by=actor,
    )
    _check(contract, amendment)
    with record_as(actor):
        amendment.save()
        for fields in _copied(contract) if signatories is None else signatories:
            signatory_save(contract, amendment, fields)
    return amendment


def _copied(contract: Contract) -> list[dict[str, Any]]:
    own = RequiredSignatory.objects.of(contract.pk, None).select_related("user")
    return [{name: getattr(signatory, name) for name in SIGNATORY_COPIED} for signatory in own]


def _check(contract: Contract, amendment: ContractAmendment) -> None:
    """Whether the terms with the amendment make sense, on the day from which it takes effect."""
    check_fields(amendment)
    if amendment.effective_from < contract.start_date:
        detail = f"The contract starts on {contract.start_date}: an amendment cannot take effect before."
        raise field_error("effective_from", "before_the_contract", detail)
    agreement = agreement_of(contract)
    # Before it, in the order of the fold: what it changes must be there.
    before = terms_at(agreement, amendment.effective_from)
    after = terms_at(_with(agreement, amendment), amendment.effective_from)
    check_references(contract, changed_prices(amendment.changes), pointer="/changes/prices")
    raise_problems(
        [
            *coherence_problems(after.conditions, pointer="/changes/fields"),
            *_removal_problems(before, amendment),
            *_currency_problems(before, after, amendment),
            *_reinstatement_problems(contract, after, amendment),
        ]
    )


def _with(agreement: Agreement, amendment: ContractAmendment) -> Agreement:
    return Agreement(
        agreement.contract_id,
        agreement.conditions,
        agreement.prices,
        agreement.sla,
        (*agreement.sources, amended_by(amendment)),
    )


def _removal_problems(before: Terms, amendment: ContractAmendment) -> list[FieldProblem]:
    known: dict[str, set[str]] = {"prices": set(before.prices), "sla": set(before.sla)}
    return [
        FieldProblem(
            f"/changes/{part}/remove",
            "unknown_line",
            f"On {amendment.effective_from} there is no line “{code}”.",
        )
        for part, codes in known.items()
        for code in removed_codes(amendment.changes, part)
        if code not in codes
    ]


def _currency_problems(before: Terms, after: Terms, amendment: ContractAmendment) -> list[FieldProblem]:
    """Another currency begins with a period of every line, and each line gets its price in it (CON-06)."""
    if before.conditions.currency == after.conditions.currency:
        return []
    day, anchor = amendment.effective_from, after.conditions.billing_anchor
    pointer = "/changes/fields/currency"
    problems = [
        FieldProblem(
            pointer,
            "currency_within_period",
            f"The currency changes only where a period starts; “{line.code}” has one that runs on {day}.",
        )
        for line in before.prices.values()
        if line.runs_on(day) and not is_period_start(anchor, line.interval_months, day)
    ]
    priced = {line.code for line in changed_prices(amendment.changes)}
    problems += [
        FieldProblem(
            pointer,
            "price_in_old_currency",
            f"Give the price of “{code}” in {after.conditions.currency}, or remove it: figures are not converted.",
        )
        for code in sorted(set(after.prices) - priced)
    ]
    if "value" not in amendment.changes.get("fields", {}):
        detail = f"Give the value in {after.conditions.currency} too."
        problems.append(FieldProblem("/changes/fields/value", "value_in_old_currency", detail))
    return problems


def _reinstatement_problems(
    contract: Contract, after: Terms, amendment: ContractAmendment
) -> list[FieldProblem]:
    if not amendment.changes.get("reinstate"):
        return []
    day, pointer = amendment.effective_from, "/changes/reinstate"
    if status_on(contract, day) in RUNNING:
        return [FieldProblem(pointer, "nothing_to_reinstate", f"The contract is in force on {day}.")]
    end = after.conditions.end_date
    if end is not None and end <= day:
        return [
            FieldProblem(pointer, "reinstated_after_its_end", "Give an end_date after the reinstatement.")
        ]
    return []


@transaction.atomic
def amendment_update(
    *,
    actor: User,
    amendment_id: int,
    changes: Mapping[str, Any],
    expected_version: int | None = None,
    reason: str = "",
) -> ContractAmendment:
    """Change what is not approved yet: ``title``, ``effective_from``, ``changes``, ``is_retroactive``.

    Approvers who have it decide anew (APR-11); what was approved is made void and written anew. Raises Stale,
    Conflict ``amendment_status``, Invalid with pointers.
    """
    contract, amendment = _lock(actor, amendment_id, "contracts.change_contractamendment")
    amendment.expect_version(expected_version)
    if amendment.status not in {AmendmentStatus.DRAFT, AmendmentStatus.PENDING_APPROVAL}:
        raise _wrong_status(amendment, "changed")
    values = dict(changes)
    if "changes" in values:
        values["changes"] = read_changes(values["changes"])
    if apply_changes(amendment, values, allowed=CHANGEABLE):
        _check(contract, amendment)
        with record_as(actor, reason):
            amendment.save()
            amendment_changed(amendment, actor=actor)
    return amendment


@transaction.atomic
def amendment_delete(*, actor: User, amendment_id: int) -> None:
    """Remove a draft; what was ever approved has a number and stays (CON-04)."""
    _, amendment = _lock(actor, amendment_id, "contracts.delete_contractamendment")
    _require(amendment, AmendmentStatus.DRAFT, "deleted")
    _require_undecided(amendment)
    with record_as(actor):
        amendment.delete()


@transaction.atomic
def amendment_submit(*, actor: User, amendment_id: int, reason: str = "") -> ContractAmendment:
    """Ask for approval of a draft. Raises Conflict ``amendment_status``, Invalid if it no longer fits the terms."""
    contract, amendment = _lock(actor, amendment_id, "contracts.change_contractamendment")
    _require(amendment, AmendmentStatus.DRAFT, "submitted")
    _check(contract, amendment)
    with record_as(actor, reason):
        amendment.submit()
        amendment.save()
    _publish("contract.amendment_submitted", amendment)
    ask_for_amendment(amendment, actor=actor, reason=reason)
    return ContractAmendment.objects.get(pk=amendment.pk)


@transaction.atomic
def amendment_approved(*, actor: User, amendment_id: int) -> ContractAmendment:
    """The effect of the final approval: it gets its number and awaits signature. Called by its approval, by no door."""
    contract, amendment = _lock_known(amendment_id)
    if amendment.status == AmendmentStatus.DRAFT:
        # Somebody asked for its approval without submitting it first.
        amendment.submit()
    _require(amendment, AmendmentStatus.PENDING_APPROVAL, "approved")
    number = contract.last_amendment_number + 1
    # The contract is locked: the number is taken when this commits, and free again when it does not.
    Contract.objects.filter(pk=contract.pk).update(last_amendment_number=number)
    amendment.number, amendment.approved_at = number, clock.now()
    with record_as(actor):
        amendment.approve()
        amendment.save()
    _publish("contract.amendment_approved", amendment)
    return ContractAmendment.objects.get(pk=amendment.pk)


@transaction.atomic
def amendment_sent_back(*, actor: User, amendment_id: int, reason: str) -> ContractAmendment:
    """The effect of a rejection, a withdrawal or an expiry: a draft again. Called by its approval, by no door."""
    _, amendment = _lock_known(amendment_id)
    _require(amendment, AmendmentStatus.PENDING_APPROVAL, "sent back")
    with record_as(actor, reason):
        amendment.send_back()
        amendment.save()
    _publish("contract.amendment_sent_back", amendment)
    return ContractAmendment.objects.get(pk=amendment.pk)


def amendment_problems(amendment: ContractAmendment) -> list[Problem]:
    """All that is missing before the amendment can come into force (CON-02, CON-03)."""
    contract = amendment.contract
    problems = []
    if amendment.status != AmendmentStatus.AWAITING_SIGNATURE:
        problems.append(Problem("approval_missing", "It is not approved."))
    problems += [Problem(*missing) for missing in missing_signatures(contract, amendment)]
    signed_on = last_signed_on(contract, amendment)
    if signed_on is not None and amendment.effective_from < signed_on and not amendment.is_retroactive:
        problems.append(
            Problem(
                "retroactive_not_agreed",
                f"It takes effect on {amendment.effective_from}, before its last signature on {signed_on}, and was "
                "not approved as retroactive.",
            )
        )
    return problems


@transaction.atomic
def amendment_bring_into_force(*, actor: User, amendment_id: int, reason: str = "") -> ContractAmendment:
    """Put an approved and signed amendment into force; the terms change from its day on (CON-04, CON-05).

    One that reinstates ends a termination or expiry from that day (CON-16). What was billed for periods that it
    changes is adjusted (CON-06). Raises Conflict ``not_ready`` with all
    that is missing, ``amendment_status``; Invalid if it no longer fits the terms.
    """
    contract, amendment = _lock(actor, amendment_id, "contracts.activate_contract")
    if amendment.status in {AmendmentStatus.IN_FORCE, AmendmentStatus.VOID}:
        _require(amendment, AmendmentStatus.AWAITING_SIGNATURE, "brought into force")
    problems = amendment_problems(amendment)
    if problems:
        raise not_ready(str(amendment), "come into force", problems)
    _check(contract, amendment)
    with record_as(actor, reason):
        amendment.bring_into_force()
        amendment.in_force_at = clock.now()
        amendment.save()
    if amendment.changes.get("reinstate"):
        event_record(
            contract,
            EventKind.REINSTATED,
            actor=actor,
            effective_on=amendment.effective_from,
            reason=f"{amendment}: {amendment.title}",
            amendment=amendment,
        )
    contract_status_refresh(contract)
    fees_adjust(contract)
    commitments_adjust(contract, f"{amendment}: {amendment.title}"[:500])
    publish(
        "contract.amended",
        {
            "contract_id": contract.pk,
            "amendment_id": amendment.pk,
            "number": amendment.number,
            "effective_from": amendment.effective_from.isoformat(),
            "is_retroactive": amendment.effective_from < business_today(contract),
        },
        key=f"contract:{contract.pk}",
    )
    return ContractAmendment.objects.get(pk=amendment.pk)


@transaction.atomic
def amendment_void(*, actor: User, amendment_id: int, reason: str) -> ContractAmendment:
    """Give an amendment up before it is in force; its number, if it has one, stays taken (CON-04).

    Raises Conflict ``amendment_status``: what is in force is changed by another amendment.
    """
    require_reason(reason)
    contract, amendment = _lock(actor, amendment_id, "contracts.change_contractamendment")
    if amendment.status in {AmendmentStatus.IN_FORCE, AmendmentStatus.VOID}:
        raise _wrong_status(amendment, "made void; write another amendment instead")
    if amendment.status != AmendmentStatus.AWAITING_SIGNATURE:
        _require_undecided(amendment)
    with record_as(actor, reason):
        signatures_void(contract, actor=actor, reason=reason, amendment=amendment)
        amendment.void()
        amendment.void_reason = reason
        amendment.save()
    _publish("contract.amendment_void", amendment)
    return ContractAmendment.objects.get(pk=amendment.pk)


def _lock(actor: User, amendment_id: int, permission: str) -> tuple[Contract, ContractAmendment]:
    seen: ContractAmendment = get_visible(
        ContractAmendment.objects.all(), actor, amendment_id, name="amendment"
    )
    contract = lock_contract(actor, seen.contract_id, permission)
    return contract, _locked_amendment(seen.pk)


def _lock_known(amendment_id: int) -> tuple[Contract, ContractAmendment]:
    contract_id = ContractAmendment.objects.values_list("contract_id", flat=True).get(pk=amendment_id)
    return lock_known_contract(contract_id), _locked_amendment(amendment_id)


def _locked_amendment(amendment_id: int) -> ContractAmendment:
    locked = ContractAmendment.objects.select_for_update(of=("self",)).select_related("contract")
    return locked.get(pk=amendment_id)


def _require(amendment: ContractAmendment, status: str, verb: str) -> None:
    if amendment.status != status:
        raise _wrong_status(amendment, verb)


def _require_undecided(amendment: ContractAmendment) -> None:
    if is_being_decided(AMENDMENT, amendment.pk):
        raise Conflict(
            "being_decided",
            f"Somebody is deciding on {amendment}. Withdraw the request for its approval first.",
        )


def _wrong_status(amendment: ContractAmendment, verb: str) -> Conflict:
    return Conflict(
        "amendment_status",
        f"{amendment} is {amendment.get_status_display().lower()} and cannot be {verb}.",
        extra={"amendment_id": amendment.pk, "status": amendment.status},
    )


def _publish(topic: str, amendment: ContractAmendment) -> None:
    publish(
        topic,
        {"contract_id": amendment.contract_id, "amendment_id": amendment.pk, "number": amendment.number},
        key=f"contract:{amendment.contract_id}",
    )
