"""Dispute policies: kept by who manages the issuer's finances (DSP-01, DSP-05 to DSP-10, DSP-13, DSP-16).

A dispute freezes its policy when it is opened, so a change touches only what is opened later (DSP-09).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, TypedDict, Unpack

from django.db import transaction

from contracts.models import Contract
from core import clock
from core.access import get_visible, require
from core.calendars import hours_of
from core.errors import Conflict, Invalid
from core.history import record_as
from core.models import User, WorkCalendar
from core.money import minor_units, parse_amount, round_money
from core.outbox import publish
from core.work_calendar import next_working_moment
from disputes.access import HANDLE, Place
from disputes.models import DisputePolicy, DisputePolicyTarget, DisputeRound, Severity
from entities.access import holders_among
from entities.models import Entity
from entities.services.entity import root_id_of
from entities.services.records import apply_changes, check_fields, delete_record, field_error, save_record


class PolicyDetails(TypedDict, total=False):
    """What a policy may say; days are calendar days but ``silence_days``, amounts in the issuer's currency."""

    customer: Entity | None
    contract: Contract | None
    calendar: WorkCalendar | None
    window_days: int
    pauses_for_third_party: bool
    silence_days: int
    collectible_days: int
    reopen_days: int
    small_claims_amount: Decimal | str | int
    late_fees_from_original_date: bool
    first_warning_percent: int
    second_warning_percent: int
    lead: User | None


class PolicyChanges(PolicyDetails, total=False):
    """What ``policy_update`` can change."""

    name: str
    is_active: bool


DETAILS = frozenset(PolicyDetails.__optional_keys__)
CHANGEABLE = frozenset(PolicyChanges.__optional_keys__)


@dataclass(frozen=True, slots=True)
class Target:
    """How soon disputes of one severity are answered and resolved, in minutes of the policy's calendar (DSP-05)."""

    resolution_minutes: int
    response_minutes: int = 24 * 60


Targets = Mapping[str, Target]


def policy_create(
    *,
    actor: User,
    issuer: Entity,
    name: str,
    targets: Targets | None = None,
    **details: Unpack[PolicyDetails],
) -> DisputePolicy:
    """Add a policy of an issuer: for all its customers, for one and those below it, or for one contract.

    A severity without a target keeps the product's own. Raises Forbidden; Conflict ``already_exists``; Invalid
    ``not_an_issuer``, ``other_group``, ``contract_of_other_issuer``, ``two_scopes``, ``warnings_not_ordered``,
    ``lead_cannot_handle``, ``no_working_time``, ``unknown_severity``, and fields by pointer.
    """
    require(actor, "disputes.add_disputepolicy", issuer)
    if not issuer.is_issuer:
        raise field_error("issuer_id", "not_an_issuer", f"{issuer} issues no invoices. Choose an issuer.")
    policy = DisputePolicy(issuer=issuer, name=name)
    apply_changes(policy, details, allowed=DETAILS)
    with transaction.atomic(), record_as(actor):
        _check(policy)
        _save(policy)
        _set_targets(policy, targets or {})
        _publish("dispute_policy.created", policy)
    return policy


def policy_update(
    *,
    actor: User,
    policy_id: int,
    targets: Targets | None = None,
    expected_version: int | None = None,
    reason: str = "",
    **changes: Unpack[PolicyChanges],
) -> DisputePolicy:
    """Change a policy; ``targets`` replaces all of its targets. Open disputes keep what they froze (DSP-09).

    ``is_active=False`` takes it out of use. Raises NotFound, Stale and what ``policy_create`` raises.
    """
    with transaction.atomic(), record_as(actor, reason):
        policy = _lock(actor, policy_id, "disputes.change_disputepolicy")
        policy.expect_version(expected_version)
        changed = apply_changes(policy, changes, allowed=CHANGEABLE)
        if changed:
            _check(policy)
        retargeted = targets is not None and _set_targets(policy, targets)
        if changed or retargeted:
            _save(policy)
            _publish("dispute_policy.updated", policy)
    return policy


def policy_delete(*, actor: User, policy_id: int, reason: str = "") -> None:
    """Delete a policy that no dispute has frozen. Raises Conflict ``in_use``: one that was used is deactivated."""
    with transaction.atomic(), record_as(actor, reason):
        policy = _lock(actor, policy_id, "disputes.delete_disputepolicy")
        if DisputeRound.objects.filter(policy=policy).exists():
            raise Conflict(
                "in_use",
                f"Disputes were opened under {policy}, and name it. Deactivate it instead.",
                extra={"used_by": ["disputes"]},
            )
        _publish("dispute_policy.deleted", policy)
        delete_record(policy, name=str(policy), instead="Deactivate it instead.")


def _lock(actor: User, policy_id: int, permission: str) -> DisputePolicy:
    seen: DisputePolicy = get_visible(
        DisputePolicy.objects.select_related("issuer"), actor, policy_id, name="dispute policy"
    )
    require(actor, permission, seen.issuer)
    locked = DisputePolicy.objects.select_for_update(of=("self",)).select_related(
        "issuer", "customer", "contract", "calendar", "lead"
    )
    policy: DisputePolicy = locked.get(pk=seen.pk)
    return policy


# --- Checks ----------------------------------------------------------------------------------------------


def _check(policy: DisputePolicy) -> None:
    policy.name = " ".join(policy.name.split())
    policy.small_claims_amount = _checked_amount(policy)
    check_fields(policy)
    _check_scope(policy)
    if policy.second_warning_percent <= policy.first_warning_percent:
        raise field_error(
            "second_warning_percent",
            "warnings_not_ordered",
            f"The second warning comes after the first one, at {policy.first_warning_percent} %. Give more.",
        )
    if policy.calendar is not None:
        _check_hours(policy.calendar)
    if policy.lead is not None:
        _check_lead(policy, policy.lead)


def _checked_amount(policy: DisputePolicy) -> Decimal:
    try:
        amount = parse_amount(policy.small_claims_amount)
    except Invalid as error:
        raise field_error("small_claims_amount", error.code, error.message) from error
    currency = policy.issuer.currency
    if amount < 0:
        raise field_error(
            "small_claims_amount", "amount_negative", "Give zero, for no small claims, or more than that."
        )
    if round_money(amount, currency) != amount:
        raise field_error(
            "small_claims_amount",
            "amount_too_precise",
            f"{currency} has {minor_units(currency)} decimals; {amount} has more. Round it first.",
        )
    return amount


def _check_scope(policy: DisputePolicy) -> None:
    """A customer of the issuer's group, or a contract that the issuer has, not both."""
    customer, contract = policy.customer, policy.contract
    if customer is not None and contract is not None:
        raise field_error(
            "contract_id", "two_scopes", "A policy is for a customer or for a contract, not for both."
        )
    if customer is not None and root_id_of(customer.pk) != root_id_of(policy.issuer_id):
        raise field_error(
            "customer_id",
            "other_group",
            f"{customer} is in another group than {policy.issuer}, which sends it no invoices.",
        )
    if contract is not None and contract.issuer_id != policy.issuer_id:
        raise field_error(
            "contract_id",
            "contract_of_other_issuer",
            f"{policy.issuer} has no such contract. Choose one of its own.",
        )


def _check_hours(calendar: WorkCalendar) -> None:
    """Refuse a calendar by which no deadline could ever come: with hours, but all of them days off (DSP-06)."""
    try:
        next_working_moment(hours_of(calendar), clock.now())
    except Invalid as error:
        raise field_error("calendar_id", error.code, error.message) from error


def _check_lead(policy: DisputePolicy, lead: User) -> None:
    """Who is told of missed deadlines may handle disputes of the issuer, and so read what is internal (DSP-18)."""
    place = Place(policy.issuer.name, policy.issuer_id, None)
    if not holders_among([lead.pk], HANDLE, place):
        raise field_error(
            "lead_id",
            "lead_cannot_handle",
            f"{lead} does not handle disputes of {policy.issuer}. Choose somebody of its finance staff.",
        )


# --- Writing ---------------------------------------------------------------------------------------------


def _save(policy: DisputePolicy) -> None:
    taken = Conflict(
        "already_exists",
        f"{policy.issuer} has an active policy for {_scope(policy)} already. Change that one, or deactivate it first.",
    )
    save_record(policy, {"dispute_policy_once_per_scope": taken})


def _scope(policy: DisputePolicy) -> str:
    return str(policy.customer or policy.contract or "all customers")


def _set_targets(policy: DisputePolicy, targets: Targets) -> bool:
    """Make these the policy's targets, and say whether anything changed."""
    unknown = sorted(set(targets) - set(Severity.values))
    if unknown:
        raise field_error(
            "targets", "unknown_severity", f"“{unknown[0]}” is none of {', '.join(Severity.values)}."
        )
    there = {target.severity: target for target in policy.targets.all()}
    changed = False
    for severity in sorted(there.keys() - targets.keys()):
        there[severity].delete()
        changed = True
    for severity, wanted in sorted(targets.items()):
        target = there.get(severity) or DisputePolicyTarget(policy=policy, severity=severity)
        given = {
            "resolution_minutes": wanted.resolution_minutes,
            "response_minutes": wanted.response_minutes,
        }
        if apply_changes(target, given, allowed=given.keys()) or target.pk is None:
            check_fields(target)
            target.save()
            changed = True
    return changed


def _publish(topic: str, policy: DisputePolicy) -> None:
    facts: dict[str, Any] = {"dispute_policy_id": policy.pk, "issuer_id": policy.issuer_id}
    publish(topic, facts, key=f"dispute_policy:{policy.pk}")
