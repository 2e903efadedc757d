"""Standing in for somebody for a time (APR-18)."""

import datetime
from collections.abc import Iterable, Sequence
from decimal import Decimal

from django.db import transaction

from approvals.models import AuthorityLimit, Delegation
from approvals.registry import approval_type
from approvals.services.people import DECIDE, may_stand_in
from core import clock
from core.access import get_visible, require
from core.errors import Conflict, Forbidden
from core.exchange import convert, rate_for
from core.history import record_as
from core.locks import advisory_lock
from core.models import User
from core.money import format_money
from core.outbox import publish
from entities.access import roles_granting
from entities.models import Department
from entities.querysets import (
    department_ids_visible_to,
    entity_ids_visible_to,
    memberships_in_force,
    sees_everything,
)
from entities.services.records import check_fields, field_error


def delegation_create(
    *,
    actor: User,
    delegate: User,
    valid_from: datetime.datetime,
    valid_to: datetime.datetime,
    reason: str,
    delegator: User | None = None,
    request_types: Sequence[str] = (),
    departments: Iterable[Department] = (),
    max_amount: Decimal | None = None,
    currency: str = "",
) -> Delegation:
    """Let somebody decide in one's place in ``[valid_from, valid_to)``.

    Who may override approvals does so for somebody else who is away, at the places that it is for: the departments,
    or without any wherever that person decides. Empty types and departments are all.

    Raises Forbidden ``service_account`` and ``delegation_of_another``; Invalid for oneself, dates, limits; Conflict
    ``delegation_circle``, ``redelegation`` and ``delegation_overlaps``, naming the other one.
    """
    who = delegator or actor
    delegation = Delegation(
        delegator=who,
        delegate=delegate,
        valid_from=valid_from,
        valid_to=valid_to,
        reason=reason.strip(),
        request_types=list(request_types),
        max_amount=max_amount,
        currency=currency,
        created_by=actor,
    )
    places = list(departments)
    with transaction.atomic(), record_as(actor):
        require(actor, "approvals.add_delegation")
        if actor.is_service_account or who.is_service_account:
            raise Forbidden(
                "service_account",
                "A connected system decides nothing, so it passes no decisions on. Have a person do it.",
            )
        if who.pk != actor.pk and not _looks_after(actor, who, places):
            raise Forbidden(
                "delegation_of_another",
                "Only who may override approvals everywhere that it reaches delegates for somebody else. Name the "
                "departments that you look after, or ask them to do it themselves.",
            )
        _check(delegation)
        advisory_lock("approval_delegations")
        _check_others(delegation)
        delegation.save()
        delegation.departments.set(places)
        publish(
            "approval.delegated",
            {"delegation_id": delegation.pk},
            key=f"delegation:{delegation.pk}",
        )
        return delegation


def delegation_end(*, actor: User, delegation_id: int) -> Delegation:
    """End it now; what the delegate has not decided is the delegator's again."""
    with transaction.atomic(), record_as(actor):
        seen = get_visible(Delegation.objects.all(), actor, delegation_id, name="delegation")
        delegation = Delegation.objects.select_for_update(of=("self",)).get(pk=seen.pk)
        own = actor.pk in (delegation.delegator_id, delegation.delegate_id)
        if not own and not _looks_after(actor, delegation.delegator, list(delegation.departments.all())):
            raise Forbidden(
                "delegation_of_another",
                "Only the two of them, or who may override approvals everywhere that it reaches, end it.",
            )
        now = clock.now()
        if delegation.ended_at is not None or delegation.valid_to <= now:
            raise Conflict("delegation_over", "That delegation is over already.")
        delegation.ended_at = now
        delegation.save()
        return delegation


def _looks_after(actor: User, who: User, departments: Sequence[Department]) -> bool:
    """Whether the actor may override approvals wherever a delegation reaches (ENT-04, APR-18)."""
    if sees_everything(actor):
        return True
    permission = "approvals.override_approvalrequest"
    entities = set(entity_ids_visible_to(actor, permission).values_list("descendant_id", flat=True))
    below = set(department_ids_visible_to(actor, permission).values_list("descendant_id", flat=True))
    places = [(each.entity_id, each.pk) for each in departments] or list(
        memberships_in_force(who)
        .filter(role__in=roles_granting(DECIDE))
        .values_list("entity_id", "department_id")
    )
    return bool(entities or below) and all(
        entity_id in entities or department_id in below for entity_id, department_id in places
    )


def _check(delegation: Delegation) -> None:
    if delegation.delegate_id == delegation.delegator_id:
        raise field_error("delegate_id", "delegate_to_self", "Name somebody else than yourself.")
    if not may_stand_in(delegation.delegate):
        raise field_error(
            "delegate_id",
            "delegate_may_not_decide",
            f"{delegation.delegate.display_name} may not decide on requests. Name somebody who may.",
        )
    if delegation.valid_to <= delegation.valid_from:
        raise field_error("valid_to", "dates_not_ordered", "It must end after it begins.")
    if delegation.valid_to <= clock.now():
        raise field_error("valid_to", "in_the_past", "It would be over already. Give a later end.")
    if not delegation.reason:
        raise field_error("reason", "required", "Say why, for example: on leave.")
    for code in delegation.request_types:
        approval_type(code)
    check_fields(delegation)
    _check_amount(delegation)


def _check_amount(delegation: Delegation) -> None:
    """The delegate may not decide more than the delegator could (APR-18)."""
    if delegation.max_amount is None:
        return
    if delegation.max_amount <= 0:
        raise field_error("max_amount", "amount_not_positive", "The limit must be greater than zero.")
    if not delegation.currency:
        raise field_error("currency", "required", "Say in which currency the limit is.")
    limits = list(AuthorityLimit.objects.filter(user=delegation.delegator).exclude(max_amount__isnull=True))
    for limit in limits:
        assert limit.max_amount is not None  # excluded by the query
        rate = rate_for(delegation.currency, limit.currency, clock.today(delegation.delegator.time_zone))
        if convert(delegation.max_amount, rate) > limit.max_amount:
            raise field_error(
                "max_amount",
                "above_own_limit",
                f"{delegation.delegator.display_name} may decide up to "
                f"{format_money(limit.max_amount, limit.currency)}: nobody can pass on more.",
            )


def _check_others(delegation: Delegation) -> None:
    """No circles, no passing on of what was passed on, one stand-in at a time for the same things (APR-18)."""
    then = Delegation.objects.touching(delegation.valid_from, delegation.valid_to).select_related(
        "delegator", "delegate"
    )
    back = then.filter(delegator=delegation.delegate, delegate=delegation.delegator).first()
    if back is not None:
        raise Conflict(
            "delegation_circle",
            f"{back.delegator.display_name} has delegated to {back.delegate.display_name} then: nobody would be left "
            "to decide. End that delegation, or name somebody else.",
            extra={"delegation_id": back.pk},
        )
    onwards = then.filter(delegator=delegation.delegate).first()
    if onwards is not None:
        raise Conflict(
            "redelegation",
            f"{onwards.delegator.display_name} is away then and has delegated to {onwards.delegate.display_name}. "
            "Name somebody who is there.",
            extra={"delegation_id": onwards.pk},
        )
    held = then.filter(delegate=delegation.delegator).first()
    if held is not None:
        raise Conflict(
            "redelegation",
            f"{held.delegate.display_name} stands in for {held.delegator.display_name} then: what was passed on "
            "cannot be passed on again. End that delegation first, or choose other dates.",
            extra={"delegation_id": held.pk},
        )
    twice = then.filter(delegator=delegation.delegator, delegate=delegation.delegate).first()
    if twice is not None:
        raise Conflict(
            "delegation_overlaps",
            f"{twice.delegate.display_name} stands in for {twice.delegator.display_name} then already. "
            "End that delegation, or choose other dates.",
            extra={"delegation_id": twice.pk},
        )
