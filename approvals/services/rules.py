"""Keeping rules: their bands leave no gap and never overlap, and what is saved can be decided (APR-01, APR-02)."""

import copy
import datetime
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from django.db import transaction
from django.db.models import Q

from approvals.models import (
    ApprovalLevel,
    ApprovalRule,
    ApproverKind,
    EscalationTarget,
)
from approvals.registry import approval_type
from approvals.services.people import require_at_place
from core import clock
from core.access import get_visible
from core.errors import Conflict, FieldProblem, Invalid
from core.history import record_as
from core.locks import advisory_lock
from core.models import User
from core.money import format_money, plain_amount
from entities.models import Entity
from entities.services.entity import root_id_of
from entities.services.records import apply_changes, check_fields, field_error, save_record

CHANGEABLE = frozenset(
    {
        "name",
        "description",
        "request_type",
        "entity",
        "department",
        "currency",
        "amount_from",
        "amount_to",
        "priority",
        "also",
        "auto_approve",
        "may_exceed_budget",
        "flow",
        "skip_repeated",
        "valid_from",
        "valid_to",
        "is_active",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelTerms:
    """One level as somebody wants it; ``users`` are for named people, ``settings`` the other fields of a level."""

    approver_kind: str = ApproverKind.ROLE
    users: Sequence[User] = ()
    required_approvals: int | None = 1
    settings: Mapping[str, Any] = field(default_factory=dict)


def approval_rule_create(*, actor: User, levels: Sequence[LevelTerms], **fields: Any) -> ApprovalRule:
    """Add a rule with its levels, in their order.

    Raises Conflict ``bands_overlap`` or ``bands_gap`` naming the neighbour; Invalid for what cannot decide anything.
    """
    rule = ApprovalRule(**fields)
    with transaction.atomic(), record_as(actor):
        _set_entity(rule)
        require_at_place(actor, "approvals.add_approvalrule", rule)
        advisory_lock("approval_rules")
        _save_rule(rule)
        _check_no_gap(rule)
        _set_levels(rule, levels)
        _check_levels(rule)
        return rule


def approval_rule_update(
    *,
    actor: User,
    rule_id: int,
    changes: Mapping[str, Any],
    levels: Sequence[LevelTerms] | None = None,
    expected_version: int | None = None,
) -> ApprovalRule:
    """Change a rule; requests in flight keep what was frozen for them (APR-05).

    A neighbour whose band touches a changed end moves with it, so that no gap opens.
    """
    with transaction.atomic(), record_as(actor):
        seen = get_visible(ApprovalRule.objects.all(), actor, rule_id, name="approval rule")
        require_at_place(actor, "approvals.change_approvalrule", seen)
        advisory_lock("approval_rules")
        rule = ApprovalRule.objects.select_for_update(of=("self",)).get(pk=seen.pk)
        rule.expect_version(expected_version)
        before = copy.copy(rule)
        neighbours = _touching(rule)
        changed = apply_changes(rule, changes, allowed=CHANGEABLE)
        if changed:
            _set_entity(rule)
            require_at_place(actor, "approvals.change_approvalrule", rule)
            check_fields(rule)
            _check_band(rule)
            _move_neighbours(rule, before, neighbours)
        if changed or levels is not None:
            _save_rule(rule)
            _check_no_gap(before)
            _check_no_gap(rule)
        if levels is not None:
            rule.levels.all().delete()
            _set_levels(rule, levels)
        _check_levels(rule)
        return rule


def approval_rule_retire(*, actor: User, rule_id: int, reason: str) -> ApprovalRule:
    """Take a rule out of force; refused with ``bands_gap`` where it would leave a hole between two others."""
    if not reason.strip():
        raise Invalid("reason_required", "Say why the rule is no longer wanted.")
    with record_as(actor, reason):
        return approval_rule_update(actor=actor, rule_id=rule_id, changes={"is_active": False})


# --- Bands -----------------------------------------------------------------------------------------------


def _save_rule(rule: ApprovalRule) -> None:
    check_fields(rule)
    _check_band(rule)
    _check_place(rule)
    if rule.request_type:
        approval_type(rule.request_type)
    overlap = _overlapping(rule).first()
    if overlap is not None:
        raise _overlap(rule, overlap)
    save_record(rule, {"approval_rule_no_overlap": _overlap(rule, None)})


def _set_entity(rule: ApprovalRule) -> None:
    if rule.department is not None and rule.entity_id is None:
        rule.entity = rule.department.entity


def _check_band(rule: ApprovalRule) -> None:
    if Decimal(rule.amount_from) < 0:
        raise field_error("amount_from", "amount_negative", "A band starts at zero or above.")
    if rule.amount_to is not None and Decimal(rule.amount_to) <= Decimal(rule.amount_from):
        raise field_error("amount_to", "band_empty", "The band must end above the amount where it starts.")
    if rule.valid_from is not None and rule.valid_to is not None and rule.valid_to <= rule.valid_from:
        raise field_error("valid_to", "dates_not_ordered", "It must end after the day on which it starts.")


def _check_place(rule: ApprovalRule) -> None:
    if rule.department is not None and rule.department.entity_id != rule.entity_id:
        raise field_error("department", "other_entity", "The department is of another entity.")
    if rule.entity_id is not None:
        base = Entity.objects.only("currency").get(pk=root_id_of(rule.entity_id)).currency
        if rule.currency != base:
            raise field_error(
                "currency",
                "not_base_currency",
                f"Bands are in the currency of the group's root entity, {base}: requests are converted to it.",
            )
    if rule.also and rule.auto_approve:
        raise field_error("also", "also_asks_somebody", "A rule that adds levels cannot approve by itself.")


def _same_requests(rule: ApprovalRule) -> Any:
    """Active rules for the same type, place, currency and priority, without this one."""
    return ApprovalRule.objects.filter(
        request_type=rule.request_type,
        entity=rule.entity,
        department=rule.department,
        currency=rule.currency,
        priority=rule.priority,
        is_active=True,
        also=False,
    ).exclude(pk=rule.pk)


def _siblings(rule: ApprovalRule) -> Any:
    """Those of the same requests that are in force at some time when this one is."""
    found = _same_requests(rule)
    if rule.valid_from is not None:
        found = found.filter(Q(valid_to__isnull=True) | Q(valid_to__gt=rule.valid_from))
    if rule.valid_to is not None:
        found = found.filter(Q(valid_from__isnull=True) | Q(valid_from__lt=rule.valid_to))
    return found


def _overlapping(rule: ApprovalRule) -> Any:
    if rule.also or not rule.is_active:
        return ApprovalRule.objects.none()
    found = _siblings(rule).filter(Q(amount_to__isnull=True) | Q(amount_to__gt=rule.amount_from))
    return found if rule.amount_to is None else found.filter(amount_from__lt=rule.amount_to)


def _overlap(rule: ApprovalRule, other: ApprovalRule | None) -> Conflict:
    which = f"the rule “{other.name}” ({band_text(other)})" if other else "another rule"
    return Conflict(
        "bands_overlap",
        f"The band {band_text(rule)} overlaps {which} for the same requests with the same priority: nobody could "
        "say which decides. Change the band, the dates or the priority.",
        errors=[FieldProblem("/amount_from", "bands_overlap", "Overlaps another rule's band.")],
        extra={"rule_id": other.pk if other else None},
    )


def band_text(rule: ApprovalRule) -> str:
    """The band in words: "from 0.00 EUR to below 1,000.00 EUR"."""
    lower = format_money(rule.amount_from, rule.currency)
    upper = "" if rule.amount_to is None else f" to below {format_money(rule.amount_to, rule.currency)}"
    return f"from {lower}{upper}"


def _check_no_gap(rule: ApprovalRule) -> None:
    """Among rules for the same, each band begins where the one below it ends, from today on (APR-02)."""
    gap = first_gap(list(_stored_with(rule)))
    if gap is None:
        return
    start, end = gap
    raise Conflict(
        "bands_gap",
        f"Requests from {format_money(start, rule.currency)} to below {format_money(end, rule.currency)} would have "
        "no rule. Let the bands touch: change this rule's, or the one beside it.",
        errors=[FieldProblem("/amount_from", "bands_gap", "Leaves a gap between bands.")],
        extra={
            "gap_from": plain_amount(start, rule.currency),
            "gap_to": plain_amount(end, rule.currency),
            "currency": rule.currency,
        },
    )


def _stored_with(rule: ApprovalRule) -> Any:
    """All rules, as stored, for the requests that this one is or was for."""
    if rule.also:
        return ApprovalRule.objects.none()
    return _same_requests(rule) | ApprovalRule.objects.filter(
        pk=rule.pk,
        request_type=rule.request_type,
        entity=rule.entity,
        department=rule.department,
        currency=rule.currency,
        priority=rule.priority,
        is_active=True,
        also=False,
    )


def first_gap(rules: Sequence[ApprovalRule]) -> tuple[Decimal, Decimal] | None:
    """The first hole between the bands of rules for the same requests, on any day from today on.

    Below the lowest band and above the highest there is no hole: rules of a lower priority may go on there.
    """
    today = clock.today()
    days = {
        today,
        *(day for rule in rules for day in (rule.valid_from, rule.valid_to) if day and day > today),
    }
    for day in sorted(days):
        gap = _gap_among([rule for rule in rules if _in_force(rule, day)])
        if gap is not None:
            return gap
    return None


def _in_force(rule: ApprovalRule, day: datetime.date) -> bool:
    return (rule.valid_from is None or rule.valid_from <= day) and (
        rule.valid_to is None or rule.valid_to > day
    )


def _gap_among(rules: Sequence[ApprovalRule]) -> tuple[Decimal, Decimal] | None:
    ordered = sorted(rules, key=lambda each: each.amount_from)
    for below, above in itertools.pairwise(ordered):
        if below.amount_to is not None and below.amount_to < above.amount_from:
            return below.amount_to, above.amount_from
    return None


def _touching(rule: ApprovalRule) -> tuple[ApprovalRule | None, ApprovalRule | None]:
    """The rules just below and just above, before a change."""
    if rule.also or not rule.is_active:
        return None, None
    below = _siblings(rule).filter(amount_to=rule.amount_from).first()
    above = None if rule.amount_to is None else _siblings(rule).filter(amount_from=rule.amount_to).first()
    return below, above


def _move_neighbours(
    rule: ApprovalRule,
    before: ApprovalRule,
    neighbours: tuple[ApprovalRule | None, ApprovalRule | None],
) -> None:
    """Let the neighbours' bands end and begin where this one's now does; where that cannot be, a check refuses."""
    if not rule.is_active or rule.also or _group(rule) != _group(before):
        return
    # The constraint is tested at every statement: the rule steps out of it until its own save.
    ApprovalRule.objects.filter(pk=rule.pk).update(is_active=False)
    below, above = neighbours
    moved = []
    if below is not None and below.amount_from < rule.amount_from != before.amount_from:
        below.amount_to = rule.amount_from
        moved.append(below)
    upper = rule.amount_to
    if (
        above is not None
        and upper is not None
        and upper != before.amount_to
        and (above.amount_to is None or upper < above.amount_to)
    ):
        above.amount_from = upper
        moved.append(above)
    # Who gives room first: the upper one where the band rises, the lower one where it falls.
    for neighbour in reversed(moved) if rule.amount_from > before.amount_from else moved:
        save_record(neighbour, {"approval_rule_no_overlap": _overlap(neighbour, None)})


def _group(rule: ApprovalRule) -> tuple[Any, ...]:
    """What rules have in common whose bands lie beside each other."""
    return rule.request_type, rule.entity_id, rule.department_id, rule.currency, rule.priority


# --- Levels ----------------------------------------------------------------------------------------------


def _set_levels(rule: ApprovalRule, levels: Sequence[LevelTerms]) -> None:
    for order, terms in enumerate(levels, start=1):
        level = ApprovalLevel(
            rule=rule,
            order=order,
            approver_kind=terms.approver_kind,
            required_approvals=terms.required_approvals,
            **terms.settings,
        )
        check_fields(level)
        _check_level(level, terms)
        level.save()
        level.users.set(terms.users)


def _check_level(level: ApprovalLevel, terms: LevelTerms) -> None:
    if level.required_approvals is not None and level.required_approvals < 1:
        raise field_error("levels", "approvals_required", f"Level {level.order}: at least one must approve.")
    if 0 in (level.reminder_hours, level.escalation_hours):
        raise field_error("levels", "hours_required", f"Level {level.order}: give whole hours, or none.")
    if level.escalation_target == EscalationTarget.USER and level.escalation_user_id is None:
        raise field_error(
            "levels", "escalation_user_required", f"Level {level.order}: name whom it escalates to."
        )
    if level.escalation_target == EscalationTarget.ROLE and not level.escalation_role:
        raise field_error(
            "levels", "escalation_role_required", f"Level {level.order}: name the role it escalates to."
        )
    if level.approver_kind == ApproverKind.ROLE and not level.role:
        raise field_error("levels", "role_required", f"Level {level.order}: name the role that is asked.")
    if level.approver_kind == ApproverKind.USERS:
        if not terms.users:
            raise field_error("levels", "people_required", f"Level {level.order}: name the people to ask.")
        if terms.required_approvals is not None and terms.required_approvals > len(terms.users):
            raise field_error(
                "levels",
                "too_few_people",
                f"Level {level.order} needs {terms.required_approvals} approvals, and asks {len(terms.users)}.",
            )


def _check_levels(rule: ApprovalRule) -> None:
    asks = rule.levels.exists()
    if rule.auto_approve and asks:
        raise field_error(
            "levels", "auto_approve_asks_nobody", "A rule that approves by itself has no levels."
        )
    if not rule.auto_approve and not asks:
        raise field_error(
            "levels", "levels_required", "Add a level, or say that the rule approves by itself."
        )
