"""Which rules decide on a request, and whom they ask (APR-01 to APR-05, APR-13 to APR-16).

Planning writes nothing: the preview and the submission use the same plan, so what was previewed is what is asked.
"""

import datetime
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import lru_cache
from typing import Any

from approvals.models import (
    ApprovalLevel,
    ApprovalRequest,
    ApprovalRule,
    ApproverKind,
    LevelFlow,
    StepOrigin,
    TaskOrigin,
)
from approvals.registry import type_label
from approvals.services.authority import authority_limits
from approvals.services.people import able, department_manager, eligible, excluded_people, managers_above
from core.money import format_money
from entities.access import holders_of_role
from entities.models import DepartmentClosure, EntityClosure, Role

NO_APPROVER = "no_approver_configured"


@dataclass(frozen=True, slots=True)
class PlannedTask:
    """One person to ask; ``for_whom`` is the one who may not decide and whose place they take.

    ``needs_right_there`` is that of ApprovalTask.
    """

    user_id: int
    origin: TaskOrigin = TaskOrigin.RULE
    for_whom_id: int | None = None
    needs_right_there: bool = True


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """One level with its people; ``missing`` says in a sentence why it could not be filled, or is empty."""

    name: str
    why: str
    required: int
    tasks: tuple[PlannedTask, ...]
    rule: ApprovalRule
    level: ApprovalLevel
    origin: StepOrigin = StepOrigin.RULE
    missing: str = ""


@dataclass(frozen=True, slots=True)
class Route:
    """The rules that decide and the steps in their order; ``blocked_reason`` is empty when it can be decided."""

    rules: tuple[ApprovalRule, ...] = ()
    steps: tuple[PlannedStep, ...] = ()
    auto_approve: bool = False
    may_exceed_budget: bool = False
    flow: str = LevelFlow.SEQUENTIAL
    skip_repeated: bool = True
    blocked_reason: str = ""
    snapshot: list[dict[str, Any]] = field(default_factory=list)


def matching_rules(
    *,
    request_type: str,
    entity_id: int,
    department_id: int | None,
    amount: Decimal,
    currency: str,
    on: datetime.date,
) -> tuple[ApprovalRule | None, list[ApprovalRule]]:
    """The rule that decides, and those that add their levels, by priority, highest first (APR-01, APR-02).

    Among rules of the same priority the more particular one comes first: of a department before of an entity
    before everywhere, the nearest department and entity before those above, for one type before for all.
    """
    entities = dict(EntityClosure.objects.filter(descendant_id=entity_id).values_list("ancestor_id", "depth"))
    departments = dict(
        DepartmentClosure.objects.filter(descendant_id=department_id).values_list("ancestor_id", "depth")
    )

    def precedence(rule: ApprovalRule) -> tuple[int, int, int, bool, int]:
        return (
            -rule.priority,
            len(departments) if rule.department_id is None else departments[rule.department_id],
            len(entities) if rule.entity_id is None else entities[rule.entity_id],
            rule.request_type == "",
            rule.pk,
        )

    rules = (
        ApprovalRule.objects.in_force(on)
        .applying_to(
            request_type=request_type, entity_id=entity_id, department_id=department_id, currency=currency
        )
        .select_related("entity", "department")
        .prefetch_related("levels__users", "levels__entity")
    )
    covering = sorted((rule for rule in rules if rule.covers_amount(amount)), key=precedence)
    deciding = next((rule for rule in covering if not rule.also), None)
    return deciding, [rule for rule in covering if rule.also]


def plan(request: ApprovalRequest, *, amount: Decimal, on: datetime.date) -> Route:
    """Work out who decides; ``amount`` is in the request's base currency and chooses the band (APR-04, APR-12)."""
    deciding, adding = matching_rules(
        request_type=request.request_type,
        entity_id=request.entity_id,
        department_id=request.department_id,
        amount=amount,
        currency=request.base_currency,
        on=on,
    )
    if deciding is None:
        return Route(
            blocked_reason=(
                f"No approver configured: no rule covers {type_label(request.request_type).lower()} of "
                f"{format_money(amount, request.base_currency)} at {request.entity}. "
                "An administrator or finance manager can add one under Approval rules, then recalculate."
            )
        )
    rules = (deciding, *adding)
    if deciding.auto_approve and not adding:
        return Route(
            rules=rules,
            auto_approve=True,
            may_exceed_budget=deciding.may_exceed_budget,
            snapshot=snapshot_of(rules),
        )
    steps = [step for rule in rules for step in _steps_of(rule, request, on)]
    return Route(
        rules=rules,
        steps=tuple(steps),
        may_exceed_budget=deciding.may_exceed_budget,
        flow=deciding.flow,
        skip_repeated=deciding.skip_repeated,
        blocked_reason=next((step.missing for step in steps if step.missing), ""),
        snapshot=snapshot_of(rules),
    )


def snapshot_of(rules: Iterable[ApprovalRule]) -> list[dict[str, Any]]:
    """What is frozen of the rules at submission (APR-05)."""
    return [
        {"rule_id": rule.pk, "version": rule.version, "name": rule.name, "why": describe_rule(rule)}
        for rule in rules
    ]


@lru_cache(maxsize=1024)
def _written(amount: Decimal, currency: str) -> str:
    """The end of a band; there are few, and every submission writes them."""
    return format_money(amount, currency)


def describe_rule(rule: ApprovalRule) -> str:
    """The rule in words: “Purchase of 1,000.00 EUR or more, below 10,000.00 EUR, in Tarnholm Germany”."""
    what = type_label(rule.request_type) if rule.request_type else "Any request"
    lower = _written(rule.amount_from, rule.currency)
    if rule.amount_to is not None:
        upper = _written(rule.amount_to, rule.currency)
        band = f"below {upper}" if rule.amount_from == 0 else f"of {lower} or more, below {upper}"
    else:
        band = "of any amount" if rule.amount_from == 0 else f"of {lower} or more"
    where = rule.department or rule.entity
    return f"{what} {band}" + (f", in {where}" if where else "")


# --- One level's people ----------------------------------------------------------------------------------


def _steps_of(rule: ApprovalRule, request: ApprovalRequest, on: datetime.date) -> list[PlannedStep]:
    why = describe_rule(rule)
    steps: list[PlannedStep] = []
    for level in rule.levels.all():
        name = level.name or level_name(level)
        if level.approver_kind == ApproverKind.MANAGER:
            steps += _manager_steps(rule, level, name, why, request, on)
        else:
            steps.append(_staffed(rule, level, name, why, _candidates(level, request), request))
    return steps


def level_name(level: ApprovalLevel) -> str:
    """What a level is called that has no name of its own."""
    if level.approver_kind == ApproverKind.ROLE:
        return Role(level.role).label
    if level.approver_kind == ApproverKind.USERS:
        return f"Level {level.order}"
    return "Department manager" if level.approver_kind == ApproverKind.DEPARTMENT_MANAGER else "Manager"


def _candidates(level: ApprovalLevel, request: ApprovalRequest) -> list[int]:
    if level.approver_kind == ApproverKind.USERS:
        return sorted(user.pk for user in level.users.all())
    if level.approver_kind == ApproverKind.ROLE:
        place = _Place(level.entity_id, None) if level.entity_id else request
        return [user.pk for user in holders_of_role(level.role, place)]
    manager = department_manager(request.department)
    return [] if manager is None else [manager]


@dataclass(frozen=True, slots=True)
class _Place:
    access_entity_id: int | None
    access_department_id: int | None


def _staffed(
    rule: ApprovalRule,
    level: ApprovalLevel,
    name: str,
    why: str,
    candidates: Sequence[int],
    request: ApprovalRequest,
) -> PlannedStep:
    """The level's people without those who may not decide; what is missing then comes from the fallbacks."""
    excluded = excluded_people(request)
    there = eligible(candidates, request) if level.approver_kind == ApproverKind.ROLE else set()
    # A role that the rule names at another entity is held there; others are named, or the manager.
    elsewhere = level.approver_kind != ApproverKind.ROLE or level.entity_id is not None
    allowed = there | (able(candidates) if elsewhere else set())
    tasks = [
        PlannedTask(pk, needs_right_there=pk in there)
        for pk in candidates
        if pk in allowed and pk not in excluded
    ]
    required = level.required_approvals or max(len(candidates), 1)
    step = PlannedStep(name=name, why=why, required=required, tasks=tuple(tasks), rule=rule, level=level)
    if len(tasks) >= required:
        return step
    left_out = [pk for pk in candidates if pk not in {task.user_id for task in tasks}]
    return _with_fallback(step, left_out, request, excluded)


def _with_fallback(
    step: PlannedStep, left_out: Sequence[int], request: ApprovalRequest, excluded: set[int]
) -> PlannedStep:
    """Managers of those left out, then everyone with the fallback role; else it says what is missing (APR-14)."""
    tasks = list(step.tasks)
    for person in left_out:
        if len(tasks) >= step.required:
            break
        taken = {task.user_id for task in tasks}
        above = list(managers_above(person))
        usable = able(above) - excluded - taken
        stand_in = next((pk for pk in above if pk in usable), None)
        if stand_in is not None:
            tasks.append(PlannedTask(stand_in, TaskOrigin.FALLBACK, person, needs_right_there=False))
    if len(tasks) < step.required and step.level.fallback_role:
        taken = {task.user_id for task in tasks}
        holders = [user.pk for user in holders_of_role(step.level.fallback_role, request)]
        usable = eligible(holders, request) - excluded - taken
        tasks += [PlannedTask(pk, TaskOrigin.FALLBACK) for pk in holders if pk in usable]
    missing = ""
    if len(tasks) < step.required:
        missing = (
            f"“{step.name}” of the rule “{step.rule.name}” needs {step.required} people who may decide, and there "
            f"are {len(tasks)}: the others asked for it, would be paid by it or may no longer decide. "
            "Name others in the rule or grant the role, then recalculate."
        )
    return replace(step, tasks=tuple(tasks), missing=missing)


def _manager_steps(
    rule: ApprovalRule,
    level: ApprovalLevel,
    name: str,
    why: str,
    request: ApprovalRequest,
    on: datetime.date,
) -> list[PlannedStep]:
    """One step per manager up the line, until one has the authority (APR-16)."""
    chain = list(managers_above(request.requester_id))
    excluded = excluded_people(request)
    allowed = able(chain) - excluded
    limits = authority_limits(chain, entity_id=request.entity_id, request_type=request.request_type)
    steps: list[PlannedStep] = []
    for manager in chain:
        if manager not in allowed:
            continue
        steps.append(
            PlannedStep(
                name=name if not steps else f"{name}, {len(steps) + 1}",
                why=why,
                required=1,
                tasks=(PlannedTask(manager, needs_right_there=False),),
                rule=rule,
                level=level,
            )
        )
        if limits[manager].covers(request.base_amount, request.base_currency, on):
            break
    if steps:
        return steps
    nobody = PlannedStep(name=name, why=why, required=1, tasks=(), rule=rule, level=level)
    return [_with_fallback(nobody, [], request, excluded)]
