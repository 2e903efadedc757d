"""Allocation rules: standing instructions in dated versions, run once per period in step-down order (ALC-04, 05, 09).

A run moves the cost that the source department bears in the period, from every registered cost source. What a
version did is kept: it never changes once used, and a run shows in its preview exactly what it will post.
"""

import datetime
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from django.db import transaction
from django.db.models import Max, Q

from core.access import require
from core.errors import Conflict, FieldProblem, Invalid
from core.history import record_as
from core.locks import advisory_lock
from core.models import User
from core.money import exact_sum, plain_amount, round_money
from core.outbox import publish
from entities.models import (
    AllocationBasis,
    AllocationPosting,
    AllocationRule,
    AllocationRuleTarget,
    AllocationRuleVersion,
    AllocationSource,
    Department,
    Entity,
)
from entities.periods import accounting_date, check_period
from entities.selectors import own_cost_by_currency
from entities.services.allocation import (
    AllocationPart,
    AllocationPlan,
    check_percentages,
    check_ratios,
    check_weight,
    post,
    refusal_of_target,
    spread,
)
from entities.services.department import lock_departments
from entities.services.entity import root_id_of
from entities.services.records import check_fields, delete_record, field_error, save_record


@dataclass(frozen=True, slots=True)
class Target:
    """A receiving department with its percent, amount, ratio or driver value."""

    department: Department
    weight: Decimal


@dataclass(frozen=True, slots=True)
class VersionTerms:
    """How a version spreads, from ``valid_from`` until before ``valid_to``."""

    basis: str
    targets: Sequence[Target]
    valid_from: datetime.date
    valid_to: datetime.date | None = None
    driver: str = ""


@dataclass(frozen=True, slots=True)
class RunPlan:
    """What a run will post, one plan per currency, and the version it uses."""

    version: AllocationRuleVersion
    plans: list[AllocationPlan]


@transaction.atomic
def allocation_rule_create(
    *, actor: User, entity: Entity, name: str, source: Department, terms: VersionTerms, step: int = 1
) -> AllocationRule:
    """Create a rule with its first version.

    Raises Forbidden, Invalid (`target_is_source`, `allocation_cycle`, `allocation_step_order`, `percent_not_100`,
    `split_duplicate`, `driver_missing`, …), Conflict (`already_exists`, `source_has_rule`, `department_closed`).
    """
    require(actor, "entities.add_allocationrule", entity)
    _lock_rules(entity)
    if source.entity_id != entity.pk:
        raise field_error(
            "source_id", "department_of_other_entity", f"{source} belongs to another entity than {entity}."
        )
    rule = AllocationRule(entity=entity, name=name.strip(), source=source, step=step)
    check_fields(rule)
    with record_as(actor):
        _save_rule(rule)
        _add_version(actor, rule, terms, number=1)
    publish("allocation_rule.created", {"rule_id": rule.pk}, key=f"allocation_rule:{rule.pk}")
    return rule


@transaction.atomic
def allocation_rule_update(
    *,
    actor: User,
    rule: AllocationRule,
    expected_version: int | None = None,
    name: str | None = None,
    step: int | None = None,
    is_active: bool | None = None,
    reason: str = "",
) -> AllocationRule:
    """Rename a rule, change its step, switch it on or off; the order of the chain is checked again (ALC-05)."""
    require(actor, "entities.change_allocationrule", rule)
    locked = _lock(rule)
    locked.expect_version(expected_version)
    before = (locked.name, locked.step, locked.is_active)
    locked.name = locked.name if name is None else name.strip()
    locked.step = locked.step if step is None else step
    locked.is_active = locked.is_active if is_active is None else is_active
    if before == (locked.name, locked.step, locked.is_active):
        return locked
    check_fields(locked)
    with record_as(actor, reason):
        _save_rule(locked)
    if locked.is_active:
        for version in locked.versions.prefetch_related("targets__department"):
            targets = [target.department for target in version.targets.all()]
            _check_chain(locked, targets, version.valid_from, version.valid_to)
    return locked


@transaction.atomic
def allocation_rule_version_create(
    *, actor: User, rule: AllocationRule, terms: VersionTerms, reason: str = ""
) -> AllocationRuleVersion:
    """Give a rule new terms from a day on; an open version before it ends that day (ALC-04).

    What was posted keeps its version. Raises Conflict ``version_in_use`` when the version before has been used on
    that day or later, ``version_overlaps``, and what `allocation_rule_create` raises.
    """
    require(actor, "entities.change_allocationrule", rule)
    locked = _lock(rule)
    current = locked.versions.filter(valid_to__isnull=True, valid_from__lt=terms.valid_from).first()
    with record_as(actor, reason):
        if current is not None:
            _check_unused_from(current, terms.valid_from)
            current.valid_to = terms.valid_from
            current.save()
        number = (locked.versions.aggregate(last=Max("number"))["last"] or 0) + 1
        version = _add_version(actor, locked, terms, number=number)
        locked.save()
    publish(
        "allocation_rule.version_created",
        {"rule_id": rule.pk, "number": number},
        key=f"allocation_rule:{rule.pk}",
    )
    return version


@transaction.atomic
def allocation_rule_version_delete(*, actor: User, version: AllocationRuleVersion, reason: str = "") -> None:
    """Delete a version that was never used; the one before it is open again. Else Conflict ``in_use``."""
    require(actor, "entities.change_allocationrule", version)
    rule = _lock(version.rule)
    locked = AllocationRuleVersion.objects.get(pk=version.pk)
    if locked.postings.exists():
        raise Conflict("in_use", f"{locked} has been used and never changes. Make a new version instead.")
    if rule.versions.count() == 1:
        raise Conflict("last_version", "This is the only version of the rule. Delete the rule instead.")
    with record_as(actor, reason):
        locked.targets.all().delete()
        locked.delete()
        before = rule.versions.filter(valid_to=locked.valid_from).first()
        if before is not None and not rule.versions.filter(valid_from__gte=locked.valid_from).exists():
            before.valid_to = None
            before.save()
        rule.save()


@transaction.atomic
def allocation_rule_delete(*, actor: User, rule: AllocationRule, reason: str = "") -> None:
    """Delete a rule that has never been run; else Conflict ``in_use``."""
    require(actor, "entities.delete_allocationrule", rule)
    locked = _lock(rule)
    if AllocationPosting.objects.filter(rule_version__rule=locked).exists():
        raise Conflict("in_use", f"{locked} has been run: its postings keep it. Switch it off instead.")
    with record_as(actor, reason):
        AllocationRuleTarget.objects.filter(version__rule=locked).delete()
        locked.versions.all().delete()
        delete_record(locked, name=str(locked), instead="Switch it off instead.")


def allocation_rule_preview(
    *, actor: User, rule: AllocationRule, period_start: datetime.date, period_end: datetime.date
) -> RunPlan:
    """What `allocation_rule_run` would post; writes nothing and raises the same."""
    require(actor, "entities.view_allocationrule", rule)
    return _plan_run(rule, period_start, period_end)


@transaction.atomic
def allocation_rule_run(
    *, actor: User, rule: AllocationRule, period_start: datetime.date, period_end: datetime.date
) -> list[AllocationPosting]:
    """Move the source department's cost of the period to the targets, one posting per currency (ALC-04, ALC-05).

    The lines of a posting sum to zero: what the targets get the source gives. Never billable. Raises Conflict
    ``rule_inactive``, ``no_version``, ``already_run``, ``nothing_to_allocate``, ``earlier_step_not_run``,
    ``later_step_posted``, ``amounts_not_total``, ``department_closed``.
    """
    require(actor, "entities.run_allocationrule", rule)
    locked = _lock(rule)
    # The targets first: none is closed between the check and the posting.
    lock_departments(list(_target_ids(locked, accounting_date(period_end))))
    run = _plan_run(locked, period_start, period_end)
    postings = []
    for plan in run.plans:
        same = AllocationPosting.objects.filter(
            rule_version=run.version,
            period_start=period_start,
            period_end=period_end,
            currency=plan.currency,
            reverses__isnull=True,
            credits__isnull=True,
        )
        posting = AllocationPosting(
            entity=locked.entity,
            source=AllocationSource.RULE,
            source_department=locked.source,
            rule_version=run.version,
            amount=plan.amount,
            currency=plan.currency,
            description=f"{locked.name} {period_start:%Y-%m}"[:500],
            period_start=period_start,
            period_end=period_end,
            run=(same.aggregate(last=Max("run"))["last"] or 0) + 1,
            basis=plan.basis,
            driver_values=_driver_values(run.version),
            created_by=actor,
        )
        postings.append(post(posting, plan.parts))
    return postings


# --- Terms -----------------------------------------------------------------------------------------------


def _lock_rules(entity: Entity) -> None:
    """One change of the group's rules at a time: chains cross rules, which no row lock covers."""
    advisory_lock(f"allocation-rules:{root_id_of(entity.pk)}")


def _lock(rule: AllocationRule) -> AllocationRule:
    _lock_rules(rule.entity)
    rows = AllocationRule.objects.select_for_update(no_key=True, of=("self",)).select_related(
        "entity", "source"
    )
    return rows.get(pk=rule.pk)


def _save_rule(rule: AllocationRule) -> None:
    taken = f'{rule.entity} has a rule "{rule.name}" already. Choose another name.'
    second = f"{rule.source} has an active rule already. Give that one a new version, or switch it off first."
    save_record(
        rule,
        {
            "allocation_rule_name_unique": Conflict(
                "already_exists", taken, errors=[FieldProblem("/name", "already_exists", taken)]
            ),
            "allocation_rule_one_active_per_source": Conflict(
                "source_has_rule", second, errors=[FieldProblem("/source_id", "source_has_rule", second)]
            ),
        },
    )


def _add_version(
    actor: User, rule: AllocationRule, terms: VersionTerms, *, number: int
) -> AllocationRuleVersion:
    if terms.valid_to is not None and terms.valid_to <= terms.valid_from:
        raise field_error("valid_to", "dates_not_ordered", "valid_to must be later than valid_from.")
    version = AllocationRuleVersion(
        rule=rule,
        number=number,
        basis=terms.basis,
        driver=terms.driver.strip(),
        valid_from=terms.valid_from,
        valid_to=terms.valid_to,
    )
    check_fields(version)
    _check_targets(actor, rule, terms)
    _check_chain(rule, [target.department for target in terms.targets], terms.valid_from, terms.valid_to)
    detail = "Another version of this rule holds within these dates. Choose a later day, or delete the unused version."
    save_record(
        version,
        {
            "allocation_rule_version_no_overlap": Conflict(
                "version_overlaps", detail, errors=[FieldProblem("/valid_from", "version_overlaps", detail)]
            )
        },
    )
    AllocationRuleTarget.objects.bulk_create(
        AllocationRuleTarget(
            version=version, line_number=line, department=target.department, weight=target.weight
        )
        for line, target in enumerate(terms.targets, start=1)
    )
    return version


def _check_targets(actor: User, rule: AllocationRule, terms: VersionTerms) -> None:
    if not terms.targets:
        raise field_error(
            "targets", "targets_missing", "Give at least one department that receives the cost."
        )
    root_id = root_id_of(rule.entity_id)
    seen: set[int] = set()
    weights = []
    for number, target in enumerate(terms.targets):
        department, pointer = target.department, f"/targets/{number}/department_id"
        weights.append(check_weight(target.weight, f"/targets/{number}/weight"))
        code = ""
        if department.pk == rule.source_id:
            code, detail = "target_is_source", f"{department} gives the cost and cannot receive it too."
        elif department.pk in seen:
            code, detail = "split_duplicate", f"{department} is named twice. Give each department once."
        elif department.entity_id != rule.entity_id and root_id_of(department.entity_id) != root_id:
            code, detail = "other_group", f"{department} belongs to another group than {rule.entity}."
        if code:
            raise Invalid(code, detail, errors=[FieldProblem(pointer, code, detail)])
        seen.add(department.pk)
        require(actor, "entities.add_costallocation", department)
        refusal = refusal_of_target(department, terms.valid_from, pointer)
        if refusal is not None:
            raise refusal
    if terms.basis == AllocationBasis.PERCENT:
        check_percentages(weights, "/targets")
    else:
        check_ratios(weights, "/targets")
    if terms.basis == AllocationBasis.DRIVER and not terms.driver.strip():
        raise field_error("driver", "driver_missing", "Say what is counted, such as headcount or m².")


def _check_unused_from(version: AllocationRuleVersion, day: datetime.date) -> None:
    # The accounting date is the last day of the period, that is before period_end.
    used = version.postings.standing().filter(period_end__gt=day).order_by("-period_end").first()
    if used is not None:
        raise Conflict(
            "version_in_use",
            f"{version} was used for the period until {accounting_date(used.period_end)}. Begin the new version after "
            "that day, or reverse the posting first.",
            extra={"posting_id": used.pk},
        )


# --- Chains (ALC-05) -------------------------------------------------------------------------------------


def _active_versions(
    entity: Entity, start: datetime.date, end: datetime.date | None
) -> "list[AllocationRuleVersion]":
    """The versions of the group's active rules in force on some day of ``[start, end)``, with their targets."""
    group = Entity.objects.descendants_of(root_id_of(entity.pk))
    found = AllocationRuleVersion.objects.filter(rule__is_active=True, rule__entity__in=group).touching(
        start, end
    )
    return list(found.select_related("rule", "rule__source").prefetch_related("targets"))


def _check_chain(
    rule: AllocationRule,
    targets: Iterable[Department],
    valid_from: datetime.date,
    valid_to: datetime.date | None,
) -> None:
    """Refuse a version that closes a circle, or that gives to a department whose own rule runs before it."""
    if not rule.is_active:
        return
    others = [
        version
        for version in _active_versions(rule.entity, valid_from, valid_to)
        if version.rule_id != rule.pk
    ]
    gives: dict[int, set[int]] = {}
    for version in others:
        gives.setdefault(version.rule.source_id, set()).update(t.department_id for t in version.targets.all())
    names = {target.pk: target for target in targets}
    reached, todo = set(names), list(names)
    while todo:
        for department_id in gives.get(todo.pop(), ()):
            if department_id not in reached:
                reached.add(department_id)
                todo.append(department_id)
    if rule.source_id in reached:
        detail = (
            f"The cost would come back to {rule.source} by way of other rules. Take it out of one of them."
        )
        raise Invalid(
            "allocation_cycle", detail, errors=[FieldProblem("/targets", "allocation_cycle", detail)]
        )
    for version in others:
        other = version.rule
        if other.source_id in names and other.step <= rule.step:
            _refuse_order(
                f"{other.source} spreads its cost in step {other.step} ({other.name}): this rule must run before."
            )
        if (
            rule.source_id in {target.department_id for target in version.targets.all()}
            and other.step >= rule.step
        ):
            _refuse_order(
                f"{other.name} gives to {rule.source} in step {other.step}: this rule must run after it."
            )


def _refuse_order(detail: str) -> None:
    raise Invalid(
        "allocation_step_order", detail, errors=[FieldProblem("/step", "allocation_step_order", detail)]
    )


# --- Runs ------------------------------------------------------------------------------------------------


def _plan_run(rule: AllocationRule, start: datetime.date, end: datetime.date) -> RunPlan:
    check_period(start, end)
    if not rule.is_active:
        raise Conflict("rule_inactive", f"{rule} is switched off. Switch it on before you run it.")
    day = accounting_date(end)
    version = rule.versions.in_force(day).first()
    if version is None:
        raise Conflict("no_version", f"{rule} has no version for {day}. Add one that is valid on that day.")
    targets = list(version.targets.select_related("department", "department__entity").order_by("line_number"))
    for number, target in enumerate(targets):
        refusal = refusal_of_target(target.department, day, f"/targets/{number}/department_id")
        if refusal is not None:
            raise refusal
    _check_not_run(rule, start, end)
    _check_steps(rule, start, end)
    plans = [
        plan
        for currency, cost in own_cost_by_currency(rule.source_id, start=start, end=end).items()
        if (plan := _plan_currency(rule, version, targets, cost, currency)) is not None
    ]
    if not plans:
        raise Conflict(
            "nothing_to_allocate",
            f"{rule.source} has no cost between {start} and {day} that could be spread.",
        )
    return RunPlan(version, plans)


def _target_ids(rule: AllocationRule, day: datetime.date) -> Iterable[int]:
    targets = AllocationRuleTarget.objects.filter(version__in=rule.versions.in_force(day))
    return targets.values_list("department_id", flat=True)


def _plan_currency(
    rule: AllocationRule,
    version: AllocationRuleVersion,
    targets: Sequence[AllocationRuleTarget],
    cost: Decimal,
    currency: str,
) -> AllocationPlan | None:
    # What rounding leaves stays with the source and is never spread (ALC-08).
    total = round_money(cost, currency)
    if not total:
        return None
    weights = [target.weight for target in targets]
    if version.basis == AllocationBasis.AMOUNT:
        found = exact_sum(weights)
        if found != abs(total):
            raise Conflict(
                "amounts_not_total",
                f"The amounts of {version} sum to {plain_amount(found, currency)}, but {rule.source} bears "
                f"{plain_amount(total, currency)} {currency}. Make a version whose amounts fit, or use percent.",
                extra={"sum": plain_amount(found, currency), "total": plain_amount(total, currency)},
            )
    amounts = spread(total, weights, currency)
    parts = [
        AllocationPart(target.department, target.weight, amount)
        for target, amount in zip(targets, amounts, strict=True)
    ]
    return AllocationPlan(rule.entity, total, currency, version.basis, parts)


def _driver_values(version: AllocationRuleVersion) -> dict[str, object]:
    """The driver values used, by department, as they stood (ALC-09)."""
    if version.basis != AllocationBasis.DRIVER:
        return {}
    rows = version.targets.select_related("department").order_by("line_number")
    return {
        "driver": version.driver,
        "values": [
            {
                "department_id": row.department_id,
                "code": row.department.code,
                "value": f"{row.weight.normalize():f}",
            }
            for row in rows
        ],
    }


def _check_not_run(rule: AllocationRule, start: datetime.date, end: datetime.date) -> None:
    done = (
        AllocationPosting.objects.standing()
        .filter(rule_version__rule=rule)
        .filter(Q(period_start__lt=end, period_end__gt=start))
    )
    ids = list(done.order_by("pk").values_list("pk", flat=True))
    if ids:
        raise Conflict(
            "already_run",
            f"{rule} has been run for this period (postings {', '.join(map(str, ids))}). To run it again, with cost "
            "that came later, reverse them first.",
            extra={"posting_ids": ids},
        )


def _check_steps(rule: AllocationRule, start: datetime.date, end: datetime.date) -> None:
    """Rules above this one in the chain have run, rules below it have not (step-down)."""
    versions = _active_versions(rule.entity, start, end)
    ran = set(
        AllocationPosting.objects.standing()
        .filter(rule_version__isnull=False, period_start__lt=end, period_end__gt=start)
        .values_list("rule_version__rule_id", flat=True)
    )
    own_targets = {
        t.department_id for version in versions if version.rule_id == rule.pk for t in version.targets.all()
    }
    later = sorted({v.rule.name for v in versions if v.rule_id in ran and v.rule.source_id in own_targets})
    if later:
        raise Conflict(
            "later_step_posted",
            f"Later steps have run for this period ({', '.join(later)}). Reverse their postings first.",
        )
    waiting = sorted(
        {
            version.rule.name
            for version in _feeding(rule, versions)
            if version.rule_id not in ran and _has_cost(version.rule.source_id, start, end)
        }
    )
    if waiting:
        raise Conflict(
            "earlier_step_not_run",
            f"Earlier steps give to {rule.source} and have not run for this period: {', '.join(waiting)}. "
            "Run them first.",
        )


def _feeding(rule: AllocationRule, versions: Sequence[AllocationRuleVersion]) -> list[AllocationRuleVersion]:
    """The versions whose cost ends up, directly or through others, at the rule's source."""
    reached = {rule.source_id}
    found: list[AllocationRuleVersion] = []
    grew = True
    while grew:
        grew = False
        for version in versions:
            if version in found or version.rule_id == rule.pk:
                continue
            if reached & {target.department_id for target in version.targets.all()}:
                found.append(version)
                reached.add(version.rule.source_id)
                grew = True
    return found


def _has_cost(department_id: int, start: datetime.date, end: datetime.date) -> bool:
    costs = own_cost_by_currency(department_id, start=start, end=end)
    return any(round_money(amount, currency) for currency, amount in costs.items())
