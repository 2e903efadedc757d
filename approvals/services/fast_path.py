"""The common submission and the common vote, as a few prepared statements.

A purchase from a plain budget in the group's currency, without supplier, that one rule decides whose levels ask named
people or holders of a role, all of whom may decide: one statement reads what the rules make of it, the same code as
always builds the rows, and one statement writes them together with the commitment on the budget, or nothing.

A vote on such a request by who is asked, in their own name: the request's row is locked, one statement reads how the
round stands, and one writes what the vote does: it counts, or passes the level and opens the next one, or approves the
request and books its effect.

Whenever something is not plain the answer is None, "not me", and nothing has been written: the general way decides,
and says why it refuses. So this module refuses nothing and knows no error messages.
"""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from approvals.approval_types import PurchaseApproval
from approvals.models import (
    ActionKind,
    ApprovalAction,
    ApprovalLevel,
    ApprovalRequest,
    ApprovalRule,
    ApprovalStep,
    ApprovalTask,
    ApproverKind,
    LevelFlow,
    TimerBasis,
)
from approvals.registry import approval_types, type_with_extensions
from approvals.selectors.whole import PERSON, WholeRequest
from approvals.services import rounds
from approvals.services.outcome import source_of
from approvals.services.people import DECIDE
from approvals.services.routing import (
    PlannedStep,
    PlannedTask,
    Route,
    describe_rule,
    level_name,
    snapshot_of,
)
from approvals.services.trail import action_of
from budgets.models import Budget, BudgetEntry, Commitment
from budgets.services import reservation_sql
from budgets.services.reservations import reservation_promise
from core import clock
from core.errors import BillingError
from core.models import OutboxEvent, User
from core.money import parse_amount, round_money
from core.outbox import wake_after_commit
from core.prepared import PreparedStatement
from core.row_sql import as_json, columns_of, in_order, insert, stored
from entities.access import roles_granting
from entities.models import Department, Entity
from entities.querysets import sees_everything
from entities.reach_sql import holds, reaches
from entities.services.records import check_fields

# Keys of the product fit a bigint; any other key names nothing.
LARGEST_KEY = 2**63 - 1
ASK = "approvals.add_approvalrequest"
KINDS = (ApproverKind.USERS, ApproverKind.ROLE)

# --- What the rules make of it ---------------------------------------------------------------------------

_FIGURES = in_order(
    Budget,
    {"status", "planned_amount", "allocated_amount", "spent_amount", "committed_amount", "override_amount"},
)
_BUDGET = in_order(Budget, {"id", "name", "entity_id", "department_id", "currency", "period_end", *_FIGURES})
_ENTITY = ["id", "name", "currency", "time_zone"]
_DAY = "(%(now)s::timestamptz AT TIME ZONE e.time_zone)::date"


def _matching(also: str) -> str:
    """Rules in force that cover the request, as ``matching_rules`` has it (APR-01)."""
    return f"""
    SELECT r.*, ec.depth AS entity_depth, dc.depth AS department_depth
    FROM approval_rules r
    LEFT JOIN entity_closure ec ON ec.ancestor_id = r.entity_id AND ec.descendant_id = b.entity_id
    LEFT JOIN department_closure dc ON dc.ancestor_id = r.department_id AND dc.descendant_id = b.department_id
    WHERE r.is_active AND {also} AND r.request_type IN ('', %(type)s::text) AND r.currency = b.currency
      AND (r.entity_id IS NULL OR ec.id IS NOT NULL) AND (r.department_id IS NULL OR dc.id IS NOT NULL)
      AND (r.valid_from IS NULL OR r.valid_from <= {_DAY}) AND (r.valid_to IS NULL OR r.valid_to > {_DAY})
      AND r.amount_from <= %(amount)s::numeric AND (r.amount_to IS NULL OR %(amount)s::numeric < r.amount_to)"""


def _able(user: str) -> str:
    """Whether an active person may decide somewhere, as ``able`` has it."""
    return (
        f"{user}.is_active AND NOT {user}.is_service_account AND EXISTS (SELECT 1 FROM memberships m"
        f" WHERE m.user_id = {user}.id AND m.role = ANY(%(deciding)s::text[])"
        " AND (m.valid_from IS NULL OR m.valid_from <= %(today)s::date)"
        " AND (m.valid_to IS NULL OR m.valid_to > %(today)s::date))"
    )


def _eligible(user: str, place: str) -> str:
    """Whether an active person may decide at a place, as ``eligible`` has it."""
    there = holds(f"{user}.id", "deciding", f"{place}.entity_id", f"{place}.department_id")
    return f"{user}.is_active AND NOT {user}.is_service_account AND {there}"


def _list(alias: str, columns: Sequence[str], prefix: str = "") -> str:
    return ", ".join(f'{alias}."{prefix}{column}"' for column in columns)


_PEOPLE = ", ".join(f"array_agg(u.{column} ORDER BY u.id) AS {column}s" for column in PERSON)

PLAN = f"""
SELECT {_list("b", _BUDGET)}, {_list("e", _ENTITY)}, re.name, rd.code, rd.name,
       {_list("r", columns_of(ApprovalRule))}, {_list("l", columns_of(ApprovalLevel))},
       {_list("people", [f"{column}s" for column in PERSON])}, people.all_may
FROM budgets b
JOIN billing_entities e ON e.id = b.entity_id
JOIN LATERAL ({_matching("NOT r.also")}
    ORDER BY r.priority DESC, dc.depth NULLS LAST, ec.depth NULLS LAST, (r.request_type = ''), r.id LIMIT 1
) r ON true
LEFT JOIN billing_entities re ON re.id = r.entity_id
LEFT JOIN departments rd ON rd.id = r.department_id
JOIN approval_levels l ON l.rule_id = r.id
JOIN LATERAL (
    SELECT {_PEOPLE}, bool_and(
        CASE WHEN l.approver_kind = 'users' THEN {_able("u")} ELSE {_eligible("u", "b")} END
    ) AS all_may
    FROM users u
    WHERE u.id IN (
        SELECT lu.user_id FROM approval_levels_users lu
        WHERE lu.approvallevel_id = l.id AND l.approver_kind = 'users'
        UNION ALL
        SELECT m.user_id FROM memberships m
        WHERE l.approver_kind = 'role' AND l.entity_id IS NULL AND m.role = l.role
          AND {reaches("b.entity_id", "b.department_id")}
    ) AND (l.approver_kind = 'users' OR (u.is_active AND NOT u.is_service_account))
) people ON true
WHERE b.id = %(budget)s::bigint
  AND (%(all)s::boolean OR {holds("%(user)s::bigint", "asking", "b.entity_id", "b.department_id")})
  AND b.currency = (
    SELECT x.currency FROM entity_closure c JOIN billing_entities x ON x.id = c.ancestor_id
    WHERE c.descendant_id = b.entity_id ORDER BY c.depth DESC LIMIT 1)
  AND NOT EXISTS ({_matching("r.also")})
ORDER BY l."order"
"""
_PLAN = PreparedStatement(PLAN)


@dataclass(frozen=True, slots=True)
class _Asked:
    """A level of the rule with the people it asks."""

    level: ApprovalLevel
    people: list[User]
    all_may: bool


@dataclass(frozen=True, slots=True)
class _Plan:
    """What was read for a submission."""

    budget: Budget
    rule: ApprovalRule
    levels: list[_Asked]


def _read_plan(values: dict[str, Any]) -> _Plan | None:
    rows = _PLAN.rows(values)
    if not rows:
        return None
    parts = [list(_cut(row)) for row in rows]
    of_budget, of_entity, (where, code, department), of_rule, *_ = parts[0]
    budget = Budget.from_db("default", _BUDGET, of_budget)
    budget.entity = Entity.from_db("default", _ENTITY, of_entity)
    rule: ApprovalRule = stored(ApprovalRule, of_rule)
    if rule.entity_id is not None:
        rule.entity = Entity.from_db("default", ["id", "name"], [rule.entity_id, where])
    if rule.department_id is not None:
        rule.department = Department.from_db(
            "default", ["id", "code", "name"], [rule.department_id, code, department]
        )
    return _Plan(budget, rule, [_asked(*each[4:]) for each in parts])


_CUTS = (
    len(_BUDGET),
    len(_ENTITY),
    3,
    len(columns_of(ApprovalRule)),
    len(columns_of(ApprovalLevel)),
    len(PERSON),
)


def _cut(row: tuple[Any, ...]) -> Any:
    start = 0
    for length in _CUTS:
        yield row[start : start + length]
        start += length
    yield row[start:]


def _asked(level: tuple[Any, ...], people: tuple[Any, ...], all_may: tuple[bool | None]) -> _Asked:
    columns = zip(*people, strict=True) if people[0] is not None else ()
    return _Asked(
        stored(ApprovalLevel, level),
        [User.from_db("default", PERSON, each) for each in columns],
        bool(all_may[0]),
    )


# --- Submitting ------------------------------------------------------------------------------------------

_EVENT = {
    "payload": "jsonb_build_object('request_id', t.request_id, 'task_id', t.id)",
    "key": "'approval:' || t.request_id",
}
SUBMIT = f"""
WITH {reservation_sql.TAKEN}, keys AS (
    SELECT nextval(pg_get_serial_sequence('approval_requests', 'id')) AS request_id,
           nextval(pg_get_serial_sequence('budget_commitments', 'id')) AS commitment_id
    FROM taken
), named AS (
    SELECT *, 'APR-' || request_id AS number FROM keys
), commitment AS (
    {
    insert(
        Commitment,
        "commitment",
        " CROSS JOIN named",
        id="named.commitment_id",
        description="left(named.number || ' ' || r.description, 500)",
        reference="named.number",
        source_id="named.request_id::text",
    )
}
), entry AS (
    {
    insert(
        BudgetEntry,
        "entry",
        " CROSS JOIN named",
        commitment_id="named.commitment_id",
        description="left(named.number || ' ' || r.description, 500)",
        reference="named.number",
        source_id="named.request_id::text",
    )
}
), request AS (
    {
    insert(
        ApprovalRequest,
        "request",
        " CROSS JOIN named",
        id="named.request_id",
        commitment_id="named.commitment_id",
    )
}
), steps AS (
    {insert(ApprovalStep, "steps", " CROSS JOIN named", order='r."order"', request_id="named.request_id")}
    RETURNING id, "order"
), tasks AS (
    {
    insert(
        ApprovalTask,
        "tasks",
        ' JOIN steps ON steps."order" = r.step_id CROSS JOIN named',
        order='steps."order", r.approver_id',
        request_id="named.request_id",
        step_id="steps.id",
    )
}
    RETURNING id, request_id, status
), action AS (
    {insert(ApprovalAction, "actions", " CROSS JOIN named", request_id="named.request_id")}
), events AS (
    {insert(OutboxEvent, "event", " JOIN tasks t ON t.status = 'open'", order="t.id", **_EVENT)}
)
SELECT request_id, commitment_id, (SELECT array_agg(id ORDER BY id) FROM steps),
       (SELECT array_agg(id ORDER BY id) FROM tasks), {_list("taken", _FIGURES)}
FROM named CROSS JOIN taken
"""
_SUBMIT = PreparedStatement(SUBMIT)


def plain_types() -> list[str]:
    """The types whose requests are decided by themselves: no subject to lock, no effect but on the budget."""
    return [
        kind.code
        for kind in approval_types()
        if type(kind) is PurchaseApproval and len(type_with_extensions(kind.code)) == 1
    ]


def submit(request: ApprovalRequest, *, actor: User, budget_id: Any, amount: Any) -> WholeRequest | None:
    """Submit a purchase that has all but its place and amount, if it is a plain one; ``request`` is used up.

    Part of the caller's transaction if there is one, else of its own.
    """
    if not _is_plain(request, actor, budget_id):
        return None
    try:
        amount = parse_amount(amount)
    except BillingError:
        return None
    if amount <= 0:
        return None
    now = clock.now()
    values = {
        "user": actor.pk,
        "all": sees_everything(actor),
        "asking": list(roles_granting(ASK)),
        "deciding": list(roles_granting(DECIDE)),
        "today": clock.business_date(now),
        "now": now,
        "budget": budget_id,
        "type": request.request_type,
        "amount": amount,
    }
    found = _read_plan(values)
    route = None if found is None else _route(found, actor)
    if found is None or route is None:
        return None
    made = _placed(request, found.budget, amount)
    if made is None:
        return None
    return _write(made, found, route, actor, values)


def _is_plain(request: ApprovalRequest, actor: User, budget_id: Any) -> bool:
    return (
        isinstance(budget_id, int)
        and 0 < budget_id <= LARGEST_KEY
        and (actor.is_active or actor.is_system)
        and actor.pk is not None
        and request.requester_id == actor.pk
        and not (request.supplier or request.supplier_account or request.details)
        and request.contract_id is request.subject_id is request.payee_id is None
        and request.title != ""
        and request.request_type in plain_types()
    )


def _route(found: _Plan, actor: User) -> Route | None:
    """As ``plan`` makes it where every level is filled by who is asked first."""
    rule = found.rule
    if rule.auto_approve:
        return None
    why = describe_rule(rule)
    steps = []
    for asked in found.levels:
        level = asked.level
        required = level.required_approvals or max(len(asked.people), 1)
        if (
            level.approver_kind not in KINDS
            or (level.approver_kind == ApproverKind.ROLE and level.entity_id is not None)
            or level.timer_basis != TimerBasis.CLOCK
            or not asked.all_may
            or len(asked.people) < required
            or any(person.pk == actor.pk for person in asked.people)
        ):
            return None
        there = level.approver_kind == ApproverKind.ROLE
        tasks = tuple(PlannedTask(person.pk, needs_right_there=there) for person in asked.people)
        steps.append(PlannedStep(level.name or level_name(level), why, required, tasks, rule, level))
    return Route(
        rules=(rule,),
        steps=tuple(steps),
        may_exceed_budget=rule.may_exceed_budget,
        flow=rule.flow,
        skip_repeated=rule.skip_repeated,
        snapshot=snapshot_of([rule]),
    )


def _placed(request: ApprovalRequest, budget: Budget, amount: Decimal) -> ApprovalRequest | None:
    """The request with its place and its amount in the group's currency, which is the budget's; None if refused."""
    if request.currency not in ("", budget.currency) or round_money(amount, budget.currency) != amount:
        return None
    request.budget, request.entity = budget, budget.entity
    request.department_id = budget.department_id
    request.currency = request.base_currency = budget.currency
    request.amount = request.base_amount = request.split_total = amount
    request.rate, request.rate_date = Decimal(1), clock.today(budget.entity.time_zone)
    try:
        check_fields(request)
    except BillingError:
        return None
    return request


def _write(
    request: ApprovalRequest, found: _Plan, route: Route, actor: User, values: dict[str, Any]
) -> WholeRequest | None:
    now: datetime.datetime = values["now"]
    budget = found.budget
    rounds.begin(request, route, now)
    # The general way saves it twice: as a draft, then submitted.
    request.version, request.updated_at = 2, now
    asked = rounds.steps_of(request, route)
    opening = len(asked) if route.flow == LevelFlow.PARALLEL else 1
    for number, (step, tasks) in enumerate(asked):
        for task, person in zip(tasks, found.levels[number].people, strict=True):
            task.approver, task.step_id = person, step.order
        if number < opening:
            rounds.mark_step_open(step, tasks, now)
            for task in tasks:
                rounds.mark_task_open(step, task, now)
    assert request.rate_date is not None
    # The request's number stands before the title and names the source: the statement adds it.
    promise = reservation_promise(request.amount, request.currency, request.title, "", source_of(request))
    commitment, entry = reservation_sql.held(budget, promise, request.rate_date, actor)
    commitment.updated_at = now
    submitted = action_of(request, ActionKind.SUBMITTED, actor=actor, details={"rules": route.snapshot})
    row = _SUBMIT.row(
        {
            "budget": budget.pk,
            "amount": request.amount,
            "now": now,
            "day": request.rate_date,
            "entity": budget.entity_id,
            "department": budget.department_id,
            "currency": budget.currency,
            "period_end": budget.period_end,
            "commitment": as_json([commitment]),
            "entry": as_json([entry]),
            "request": as_json([request]),
            "steps": as_json(step for step, _ in asked),
            "tasks": as_json(task for _, tasks in asked for task in tasks),
            "actions": as_json([submitted]),
            "event": as_json([OutboxEvent(topic="approval.task_opened")]),
        }
    )
    if row is None:
        return None
    wake_after_commit()
    return _made(request, commitment, asked, row)


def _made(
    request: ApprovalRequest,
    commitment: Commitment,
    asked: Sequence[tuple[ApprovalStep, list[ApprovalTask]]],
    row: tuple[Any, ...],
) -> WholeRequest:
    """What was written, on the objects that it was made from."""
    request_id, commitment.pk, step_ids, task_ids, *figures = row
    budget = request.budget
    assert budget is not None
    vars(budget).update(zip(_FIGURES, figures, strict=True), expired_amount=Decimal(0))
    request.pk, request.commitment = request_id, commitment
    commitment.description = f"{request.reference_number} {request.title}"[:500]
    commitment.reference, commitment.source_id = request.reference_number, str(request_id)
    for (step, _), pk in zip(asked, step_ids, strict=True):
        step.pk, step.request = pk, request
    tasks = [(step, task) for step, each in asked for task in each]
    for (step, task), pk in zip(tasks, task_ids, strict=True):
        task.pk, task.step, task.request, task.for_whom, task.acted_by = pk, step, request, None, None
    for each in (request, commitment, *(step for step, _ in asked), *(task for _, task in tasks)):
        each._state.adding, each._state.db = False, "default"
    return WholeRequest.of(request, asked)
