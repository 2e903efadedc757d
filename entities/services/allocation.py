"""Cost allocations: an amount to one department or spread over several, put right by reversal or credit (ALC).

A preview and the posting come from one plan, so that what is shown is what is written, to the minor unit.
"""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from django.db import transaction
from django.db.models import Sum

from core.access import require
from core.errors import BillingError, Conflict, FieldProblem, Invalid
from core.models import User
from core.money import allocate, decimal_places, exact_sum, minor_units, plain_amount, round_money
from core.outbox import publish
from entities.allocation_checks import AllocatedPart, check_allocation
from entities.models import (
    AllocationBasis,
    AllocationPosting,
    AllocationSource,
    CostAllocation,
    Department,
    Entity,
    EntityClosure,
)
from entities.periods import accounting_date, check_period
from entities.services.department import lock_departments
from entities.services.records import field_error

HUNDRED = Decimal(100)
WEIGHT_DECIMALS = 4
LARGEST_WEIGHT = Decimal(10) ** 15
# What a caller may say of where the cost comes from; the other sources are made by services.
SOURCES_OF_CALLERS = (AllocationSource.MANUAL, AllocationSource.USAGE, AllocationSource.IMPORT)


@dataclass(frozen=True, slots=True)
class Split:
    """One target of an allocation, with exactly one of ``percent``, ``amount`` and ``ratio``."""

    department: Department
    percent: Decimal | None = None
    amount: Decimal | None = None
    ratio: Decimal | None = None


@dataclass(frozen=True, slots=True)
class AllocationPart:
    """What one department gets of a plan."""

    department: Department
    weight: Decimal | None
    amount: Decimal


@dataclass(frozen=True, slots=True)
class AllocationPlan:
    """An allocation as it will be posted; the parts sum to ``amount`` exactly."""

    entity: Entity
    amount: Decimal
    currency: str
    basis: str
    parts: list[AllocationPart]


def cost_allocation_preview(
    *,
    actor: User,
    department: Department,
    amount: Decimal,
    period_start: datetime.date,
    period_end: datetime.date,
    currency: str = "",
    splits: Sequence[Split] = (),
) -> AllocationPlan:
    """What `cost_allocate` would post, to the minor unit; writes nothing and raises the same."""
    require(actor, "entities.add_costallocation", department)
    return _plan(actor, department, amount, period_start, period_end, currency, splits)


@transaction.atomic
def cost_allocate(
    *,
    actor: User,
    department: Department,
    amount: Decimal,
    description: str,
    period_start: datetime.date,
    period_end: datetime.date,
    currency: str = "",
    source: str = AllocationSource.MANUAL,
    splits: Sequence[Split] = (),
    billable: bool = False,
    gl_code: str = "",
) -> AllocationPosting:
    """Allocate a cost to a department, or by ``splits`` over several departments of its group (ALC-01 to ALC-03).

    ``amount`` is in ``currency`` (that of the department's entity unless given), at its minor unit, not zero, and
    may be negative. ``[period_start, period_end)`` is when the cost arose. ``billable`` parts go on the next invoice.

    Raises Forbidden (the right is needed at every target), Invalid (`amount_zero`, `amount_not_at_minor_unit`,
    `splits_mixed`, `split_negative`, `split_duplicate`, `percent_not_100`, `amounts_not_total`, …), Conflict
    (`department_closed`, `department_inactive`, `entity_inactive`).
    """
    require(actor, "entities.add_costallocation", department)
    rows = lock_departments([department.pk, *(split.department.pk for split in splits)])
    department = rows[department.pk]
    splits = [replace(split, department=rows[split.department.pk]) for split in splits]
    plan = _plan(actor, department, amount, period_start, period_end, currency, splits)
    if source not in SOURCES_OF_CALLERS:
        raise field_error("source", "invalid_choice", f"Give one of {', '.join(SOURCES_OF_CALLERS)}.")
    if billable and source == AllocationSource.USAGE:
        detail = "Usage is billed itself: what is derived from it is never billable."
        raise field_error("billable", "usage_not_billable", detail)
    if not description.strip():
        raise field_error("description", "blank", "Say what the cost is for.")
    posting = AllocationPosting(
        entity=plan.entity,
        source=source,
        amount=plan.amount,
        currency=plan.currency,
        description=description.strip(),
        period_start=period_start,
        period_end=period_end,
        basis=plan.basis,
        created_by=actor,
    )
    return post(posting, plan.parts, billable=billable, gl_code=gl_code.strip())


@transaction.atomic
def posting_reverse(*, actor: User, posting: AllocationPosting, reason: str) -> AllocationPosting:
    """Take an allocation back as a whole: its stored lines are negated, nothing is computed anew (ALC-07).

    Raises Invalid ``reason_required``, Conflict ``not_reversible``, ``already_reversed``, ``partly_credited``,
    ``later_step_posted``.
    """
    locked = _lock_for_correction(actor, posting, reason)
    if locked.credited_by.exists():
        raise Conflict(
            "partly_credited",
            "A part of this allocation was credited. Credit the rest of it instead of reversing it.",
        )
    _check_no_later_step(locked)
    reversal = _correction(locked, actor, reason, source=AllocationSource.REVERSAL, amount=-locked.amount)
    reversal.reverses = locked
    reversal.save()
    CostAllocation.objects.bulk_create(
        _corrected_line(reversal, line, -line.amount, reverses=line)
        for line in locked.lines.order_by("line_number")
    )
    publish(
        "allocation.reversed",
        {"posting_id": locked.pk, "reversal_id": reversal.pk},
        key=f"allocation_posting:{locked.pk}",
    )
    return reversal


@transaction.atomic
def posting_credit(
    *, actor: User, posting: AllocationPosting, amount: Decimal, reason: str
) -> AllocationPosting:
    """Take back a part of an allocation, spread by what remains of each line (ALC-07).

    ``amount`` is positive and at the minor unit. No line falls below zero; when the credits reach the whole every
    line is exactly zero. Raises Invalid ``amount_not_positive``, Conflict ``credit_exceeds_remaining``, and what
    `posting_reverse` raises.
    """
    locked = _lock_for_correction(actor, posting, reason)
    if amount <= 0:
        raise field_error(
            "amount", "amount_not_positive", "Give the amount to take back as a positive number."
        )
    check_minor_unit(amount, locked.currency)
    _check_no_later_step(locked)
    lines = list(locked.lines.annotate(credited=Sum("credited_by__amount")).order_by("line_number"))
    giving = locked.source_department_id
    targets = [line for line in lines if line.department_id != giving]
    remaining = [abs(line.amount + (line.credited or 0)) for line in targets]
    left = exact_sum(remaining)
    if amount > left:
        raise Conflict(
            "credit_exceeds_remaining",
            f"{plain_amount(left, locked.currency)} {locked.currency} of this allocation remain; "
            f"{plain_amount(amount, locked.currency)} cannot be credited.",
            extra={
                "remaining": plain_amount(left, locked.currency),
                "asked": plain_amount(amount, locked.currency),
            },
        )
    sign = -1 if locked.amount > 0 else 1
    parts = dict(
        zip((line.pk for line in targets), allocate(amount, remaining, locked.currency), strict=True)
    )
    credit = _correction(locked, actor, reason, source=AllocationSource.CREDIT, amount=sign * amount)
    credit.credits = locked
    credit.save()
    CostAllocation.objects.bulk_create(
        # The line of a department that gave the cost away gets back what its targets lose.
        _corrected_line(
            credit, line, sign * parts[line.pk] if line.pk in parts else -sign * amount, credits=line
        )
        for line in lines
    )
    publish(
        "allocation.credited",
        {"posting_id": locked.pk, "credit_id": credit.pk},
        key=f"allocation_posting:{locked.pk}",
    )
    return credit


def post(
    posting: AllocationPosting, parts: Sequence[AllocationPart], *, billable: bool = False, gl_code: str = ""
) -> AllocationPosting:
    """Write a posting and its lines; the line of a source department stands first, minus the total (ALC-05)."""
    _ask_checks(posting, parts)
    posting.save()
    giving = posting.source_department
    if giving is not None:
        parts = [AllocationPart(giving, None, -posting.amount), *parts]
    CostAllocation.objects.bulk_create(
        CostAllocation(
            posting=posting,
            line_number=number,
            entity_id=part.department.entity_id,
            department=part.department,
            amount=part.amount,
            currency=posting.currency,
            weight=part.weight,
            description=posting.description,
            period_start=posting.period_start,
            period_end=posting.period_end,
            source=posting.source,
            gl_code=gl_code or part.department.gl_code,
            billable=billable,
        )
        for number, part in enumerate(parts, start=1)
    )
    publish("allocation.posted", {"posting_id": posting.pk}, key=f"allocation_posting:{posting.pk}")
    return posting


def _ask_checks(posting: AllocationPosting, parts: Sequence[AllocationPart]) -> None:
    """All parts together, on their target departments; parts of zero bear nothing (ALC-06, ALC-08)."""
    day = accounting_date(posting.period_end)
    check_allocation(
        [
            AllocatedPart(part.department, day, part.amount, posting.currency, posting.description)
            for part in parts
            if part.amount
        ],
        posting.created_by,
    )


def refusal_of_target(department: Department, day: datetime.date, pointer: str) -> Conflict | None:
    """Why a department takes no cost on a day, or None (ALC-05)."""
    if department.takes_cost_on(day):
        return None
    if not department.is_active:
        code, detail = "department_inactive", f"{department} is inactive. Choose another department."
    else:
        code = "department_closed"
        detail = f"{department} is closed since {department.closed_on} and takes no cost on {day}."
    return Conflict(code, detail, errors=[FieldProblem(pointer, code, detail)])


# --- The plan --------------------------------------------------------------------------------------------


def _plan(
    actor: User,
    department: Department,
    amount: Decimal,
    period_start: datetime.date,
    period_end: datetime.date,
    currency: str,
    splits: Sequence[Split],
) -> AllocationPlan:
    check_period(period_start, period_end)
    entity = department.entity
    currency = currency or entity.currency
    check_minor_unit(amount, currency)
    if amount == 0:
        raise field_error(
            "amount", "amount_zero", "There is nothing to allocate: give an amount other than zero."
        )
    targets = [split.department for split in splits]
    check_targets(
        actor,
        entity,
        targets or [department],
        accounting_date(period_end),
        pointer="/splits/{}/department_id" if targets else "/department_id",
        granted=[department],
    )
    if not splits:
        return AllocationPlan(entity, amount, currency, "", [AllocationPart(department, None, amount)])
    basis, parts = parts_of(splits, amount, currency)
    return AllocationPlan(entity, amount, currency, basis, parts)


def parts_of(
    splits: Sequence[Split], amount: Decimal, currency: str
) -> tuple[AllocationBasis, list[AllocationPart]]:
    """The basis of the splits and what each target gets of ``amount``, to the minor unit (ALC-01 to ALC-03).

    Raises Invalid ``splits_mixed``, ``split_negative``, ``too_precise``, ``percent_not_100``, ``amounts_not_total``,
    ``ratio_not_positive``, ….
    """
    basis, weights = _weights(splits)
    if basis == AllocationBasis.PERCENT:
        check_percentages(weights)
    amounts = _amounts_of(weights, amount, currency) if basis == AllocationBasis.AMOUNT else None
    if amounts is None:
        amounts = spread(amount, weights, currency)
    parts = [
        AllocationPart(split.department, abs(weight), part)
        for split, weight, part in zip(splits, weights, amounts, strict=True)
    ]
    return basis, parts


def check_minor_unit(amount: Decimal, currency: str) -> None:
    """Refuse an amount that is finer than the currency's minor unit, or too large."""
    try:
        at_minor_unit = round_money(amount, currency) == amount
    except Invalid as error:
        field = "currency" if error.code == "unknown_currency" else "amount"
        raise field_error(field, error.code, error.message) from error
    if not at_minor_unit:
        detail = f"{currency} amounts have at most {minor_units(currency)} decimals."
        raise field_error("amount", "amount_not_at_minor_unit", detail)
    if abs(amount) >= LARGEST_WEIGHT:
        raise field_error(
            "amount", "amount_too_large", "The amount must be smaller than 1,000,000,000,000,000."
        )


def check_targets(
    actor: User,
    entity: Entity,
    targets: Sequence[Department],
    day: datetime.date,
    *,
    pointer: str = "/splits/{}/department_id",
    granted: Sequence[Department] = (),
) -> None:
    """Refuse targets that are named twice, of another group than ``entity``, or take no cost on the day (ALC-05).

    The right to allocate is asked at every target but those ``granted``. ``pointer`` names the input by its number.
    """
    refused: list[BillingError] = []
    entity_ids = {target.entity_id for target in targets} | {entity.pk}
    inactive = set(Entity.objects.filter(pk__in=entity_ids, is_active=False).values_list("pk", flat=True))
    foreign = _outside_group(entity, entity_ids)
    seen: set[int] = set()
    free = {department.pk for department in granted}
    for number, target in enumerate(targets):
        where = pointer.format(number)
        if target.pk in seen:
            detail = f"{target} is named twice. Give each department once."
            raise Invalid("split_duplicate", detail, errors=[FieldProblem(where, "split_duplicate", detail)])
        seen.add(target.pk)
        if target.pk not in free:
            require(actor, "entities.add_costallocation", target)
        if target.entity_id in foreign:
            detail = f"{target} belongs to another group than {entity}."
            raise Invalid("other_group", detail, errors=[FieldProblem(where, "other_group", detail)])
        if target.entity_id in inactive:
            detail = f"The entity of {target} is inactive. Choose another department."
            refused.append(
                Conflict("entity_inactive", detail, errors=[FieldProblem(where, "entity_inactive", detail)])
            )
        elif (refusal := refusal_of_target(target, day, where)) is not None:
            refused.append(refusal)
    if refused:
        problems = [problem for refusal in refused for problem in refusal.errors]
        raise Conflict(refused[0].code, " ".join(refusal.message for refusal in refused), errors=problems)


def _outside_group(entity: Entity, entity_ids: set[int]) -> set[int]:
    """Those of the entities that have another root than ``entity``."""
    if entity_ids == {entity.pk}:
        return set()
    tops: dict[int, int] = {}
    above = EntityClosure.objects.filter(descendant_id__in=entity_ids).order_by("depth")
    for ancestor_id, descendant_id in above.values_list("ancestor_id", "descendant_id"):
        tops[descendant_id] = ancestor_id
    return {entity_id for entity_id in entity_ids if tops[entity_id] != tops[entity.pk]}


def _weights(splits: Sequence[Split]) -> tuple[AllocationBasis, list[Decimal]]:
    """The one kind of weight that all splits have, and the weights."""
    kinds = (AllocationBasis.PERCENT, AllocationBasis.AMOUNT, AllocationBasis.RATIO)
    used: set[AllocationBasis] = set()
    weights: list[Decimal] = []
    for number, split in enumerate(splits):
        given = [(kind, getattr(split, kind)) for kind in kinds if getattr(split, kind) is not None]
        if len(given) != 1:
            _refuse_split(
                number, "", "splits_mixed", "Give exactly one of percent, amount and ratio for each split."
            )
        kind, weight = given[0]
        used.add(kind)
        weights.append(
            _checked_weight(weight, f"/splits/{number}/{kind}", signed=kind == AllocationBasis.AMOUNT)
        )
    if len(used) > 1:
        detail = "Give all splits in percent, or all as amounts, or all as ratios."
        raise field_error("splits", "splits_mixed", detail)
    return used.pop(), weights


def _refuse_split(number: int, name: str, code: str, detail: str) -> None:
    raise Invalid(code, detail, errors=[FieldProblem(f"/splits/{number}{name}", code, detail)])


def _checked_weight(weight: Decimal, pointer: str, *, signed: bool) -> Decimal:
    code = ""
    if not weight.is_finite():
        code, detail = "amount_not_finite", "NaN and Infinity are refused."
    elif weight < 0 and not signed:
        code, detail = "split_negative", "A share cannot be negative. Give zero or more."
    elif decimal_places(weight.normalize()) > WEIGHT_DECIMALS:
        code, detail = "too_precise", f"At most {WEIGHT_DECIMALS} decimals are kept."
    elif abs(weight) >= LARGEST_WEIGHT:
        code, detail = "amount_too_large", "The share is too large."
    if code:
        raise Invalid(code, detail, errors=[FieldProblem(pointer, code, detail)])
    return weight


def check_weight(weight: Decimal, pointer: str) -> Decimal:
    """Refuse a share that is no number, negative, or has more than four decimals (ALC-01)."""
    return _checked_weight(weight, pointer, signed=False)


def check_percentages(weights: Sequence[Decimal], pointer: str = "/splits") -> None:
    """Percentages sum to exactly 100 (ALC-01)."""
    total = exact_sum(weights)
    if total != HUNDRED:
        short = HUNDRED - total
        gap = f"{short:f} are missing" if short > 0 else f"{-short:f} too much"
        detail = f"The percentages sum to {total:f}, not 100: {gap}."
        raise Invalid("percent_not_100", detail, errors=[FieldProblem(pointer, "percent_not_100", detail)])


def check_ratios(weights: Sequence[Decimal], pointer: str = "/splits") -> None:
    """Ratios and driver values need a positive sum (ALC-01)."""
    if exact_sum(weights) <= 0:
        detail = "All shares are zero. Give at least one target a positive share."
        raise Invalid(
            "ratio_not_positive", detail, errors=[FieldProblem(pointer, "ratio_not_positive", detail)]
        )


def spread(amount: Decimal, weights: Sequence[Decimal], currency: str) -> list[Decimal]:
    """Split by the largest remainder (ALC-02, ALC-03)."""
    check_ratios(weights)
    return allocate(amount, weights, currency)


def _amounts_of(weights: Sequence[Decimal], total: Decimal, currency: str) -> list[Decimal]:
    """Fixed amounts have the sign of the total, are at the minor unit and sum to it exactly (ALC-01)."""
    for number, weight in enumerate(weights):
        if weight * total < 0:
            _refuse_split(
                number, "/amount", "split_negative", "A split has the sign of the total, or is zero."
            )
        if round_money(weight, currency) != weight:
            detail = f"{currency} amounts have at most {minor_units(currency)} decimals."
            _refuse_split(number, "/amount", "amount_not_at_minor_unit", detail)
    found = exact_sum(weights)
    if found != total:
        shown, wanted = plain_amount(found, currency), plain_amount(total, currency)
        detail = f"The amounts sum to {shown} {currency}, not to the total of {wanted} {currency}."
        raise Invalid(
            "amounts_not_total",
            detail,
            errors=[FieldProblem("/splits", "amounts_not_total", detail)],
            extra={"sum": shown, "total": wanted, "difference": plain_amount(total - found, currency)},
        )
    return list(weights)


# --- Corrections -----------------------------------------------------------------------------------------


def _lock_for_correction(actor: User, posting: AllocationPosting, reason: str) -> AllocationPosting:
    require(actor, "entities.reverse_allocationposting", posting)
    if not reason.strip():
        raise field_error("reason", "reason_required", "Say why: the reason is kept with the correction.")
    locked = AllocationPosting.objects.select_for_update(no_key=True, of=("self",)).get(pk=posting.pk)
    if locked.reverses_id is not None or locked.credits_id is not None:
        raise Conflict("not_reversible", "This is a correction itself. Allocate the cost again to undo it.")
    reversal = AllocationPosting.objects.filter(reverses=locked).first()
    if reversal is not None:
        raise Conflict(
            "already_reversed",
            f"This allocation was reversed on {reversal.created_at:%Y-%m-%d} (posting {reversal.pk}).",
            extra={"reversal_id": reversal.pk},
        )
    return locked


def _check_no_later_step(posting: AllocationPosting) -> None:
    """Cost that a later step has spread on cannot be taken away beneath it (ALC-05)."""
    if posting.source_department_id is None:
        return
    receivers = posting.lines.exclude(department_id=posting.source_department_id).values("department_id")
    later = (
        AllocationPosting.objects.standing()
        .filter(rule_version__isnull=False, source_department_id__in=receivers, currency=posting.currency)
        .filter(period_start__lt=posting.period_end, period_end__gt=posting.period_start)
    )
    ids = list(later.order_by("pk").values_list("pk", flat=True))
    if ids:
        raise Conflict(
            "later_step_posted",
            f"Later steps have spread this cost on (postings {', '.join(map(str, ids))}). Reverse those first.",
            extra={"posting_ids": ids},
        )


def _correction(
    posting: AllocationPosting, actor: User, reason: str, *, source: str, amount: Decimal
) -> AllocationPosting:
    return AllocationPosting(
        entity_id=posting.entity_id,
        source=source,
        source_department_id=posting.source_department_id,
        rule_version_id=posting.rule_version_id,
        amount=amount,
        currency=posting.currency,
        description=posting.description,
        period_start=posting.period_start,
        period_end=posting.period_end,
        run=posting.run,
        basis=posting.basis,
        driver_values=posting.driver_values,
        reason=reason.strip(),
        created_by=actor,
    )


def _corrected_line(
    posting: AllocationPosting,
    line: CostAllocation,
    amount: Decimal,
    *,
    reverses: CostAllocation | None = None,
    credits: CostAllocation | None = None,
) -> CostAllocation:
    return CostAllocation(
        posting=posting,
        line_number=line.line_number,
        entity_id=line.entity_id,
        department_id=line.department_id,
        amount=amount if amount else Decimal(0),
        currency=line.currency,
        weight=line.weight,
        description=line.description,
        period_start=line.period_start,
        period_end=line.period_end,
        source=posting.source,
        gl_code=line.gl_code,
        billable=line.billable,
        reverses=reverses,
        credits=credits,
    )
