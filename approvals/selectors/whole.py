"""One request with all that a door shows of it and a vote asks of it, in two prepared statements.

The same as ``with_chain`` and ``standings`` read, for the plain case: without bank details or a payee, and seen by
somebody who stands in for nobody. Anything else is None, and the general way reads it.
"""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from approvals.models import ApprovalRequest, ApprovalStep, ApprovalTask, RequestStatus, TaskStatus
from approvals.selectors.requests import standing_of
from approvals.services.people import DECIDE
from budgets.models import Budget, Commitment
from core import clock
from core.models import User
from core.prepared import PreparedStatement
from core.row_sql import columns_of, in_order, names_of, stored
from entities.access import roles_granting
from entities.models import Entity
from entities.reach_sql import holds

PERSON = ["id", "username", "first_name", "last_name"]
_BUDGET = in_order(Budget, {
    "id", "name", "entity_id", "department_id", "currency", "status", "period_start", "period_end", "planned_amount",
    "allocated_amount", "spent_amount", "committed_amount", "override_amount",
})  # fmt: skip
_ENTITY = ["id", "name", "currency", "time_zone"]
_TASK_PEOPLE = ("approver", "for_whom", "acted_by")


def _list(alias: str, columns: Sequence[str]) -> str:
    return ", ".join(f'{alias}."{column}"' for column in columns)


REQUEST = f"""
SELECT {_list("r", columns_of(ApprovalRequest))}, {_list("u", PERSON)}, {_list("e", _ENTITY)},
       {_list("c", columns_of(Commitment))}, {_list("b", _BUDGET)},
       coalesce((
            SELECT sum(x.amount - x.consumed_amount - x.released_amount)
            FROM budget_commitments x JOIN budgets y ON y.id = x.budget_id
            WHERE x.status IN ('pending', 'approved') AND x.expires_at <= %(now)s::timestamptz
              AND y.counted_by @> ARRAY[b.id]
       ), 0)
FROM approval_requests r
JOIN users u ON u.id = r.requester_id
JOIN billing_entities e ON e.id = r.entity_id
LEFT JOIN budget_commitments c ON c.id = r.commitment_id
LEFT JOIN budgets b ON b.id = r.budget_id
WHERE r.id = %(request)s::bigint AND r.supplier_account = '' AND r.payee_id IS NULL
  AND NOT EXISTS (
    SELECT 1 FROM approval_delegations d
    WHERE d.delegate_id = %(user)s::bigint AND d.ended_at IS NULL
      AND d.valid_from <= %(now)s::timestamptz AND d.valid_to > %(now)s::timestamptz)
"""
CHAIN = f"""
SELECT {_list("s", columns_of(ApprovalStep))}, {_list("t", columns_of(ApprovalTask))},
       {", ".join(_list(alias, PERSON) for alias in _TASK_PEOPLE)},
       t.id IS NOT NULL AND approver.is_active AND NOT approver.is_service_account AND CASE
         WHEN t.needs_right_there THEN {holds("approver.id", "deciding", "q.entity_id", "q.department_id")}
         ELSE EXISTS (
            SELECT 1 FROM memberships m
            WHERE m.user_id = approver.id AND m.role = ANY(%(deciding)s::text[])
              AND (m.valid_from IS NULL OR m.valid_from <= %(today)s::date)
              AND (m.valid_to IS NULL OR m.valid_to > %(today)s::date))
       END
FROM approval_requests q
JOIN approval_steps s ON s.request_id = q.id AND s.round = q.round
LEFT JOIN approval_tasks t ON t.step_id = s.id
LEFT JOIN users approver ON approver.id = t.approver_id
LEFT JOIN users for_whom ON for_whom.id = t.for_whom_id
LEFT JOIN users acted_by ON acted_by.id = t.acted_by_id
WHERE q.id = %(request)s::bigint
ORDER BY s."order", t.id
"""
_REQUEST, _CHAIN = PreparedStatement(REQUEST), PreparedStatement(CHAIN)
_REQUEST_NAMES, _COMMITMENT_NAMES = names_of(ApprovalRequest), names_of(Commitment)
_STEP_NAMES, _TASK_NAMES = names_of(ApprovalStep), names_of(ApprovalTask)


@dataclass(frozen=True, slots=True)
class WholeRequest:
    """The request with ``chain``; ``entitled`` are the ids of tasks whose approver still has the right to decide."""

    request: ApprovalRequest
    chain: list[ApprovalStep]
    entitled: set[int]

    @classmethod
    def of(
        cls, request: ApprovalRequest, asked: Sequence[tuple[ApprovalStep, list[ApprovalTask]]]
    ) -> "WholeRequest":
        """The request with these steps and tasks, all of whose people may decide."""
        for step, tasks in asked:
            _cache(step)["tasks"] = tasks
        chain = [step for step, _ in asked]
        vars(request)["chain"] = chain
        return cls(request, chain, {task.pk for _, tasks in asked for task in tasks})

    def tasks_of(self, step: ApprovalStep) -> list[ApprovalTask]:
        """The people asked at a step of the chain."""
        return list(step.tasks.all())


def whole_request(request_id: int, user: User) -> WholeRequest | None:
    """Read it as the user sees it; who sees it is for the caller to know."""
    now = clock.now()
    values = {
        "request": request_id,
        "user": user.pk,
        "now": now,
        "today": clock.business_date(now),
        "deciding": list(roles_granting(DECIDE)),
    }
    row = _REQUEST.row(values)
    if row is None:
        return None
    request = _request(row)
    return _with_chain(request, _CHAIN.rows(values))


def _request(row: tuple[Any, ...]) -> ApprovalRequest:
    cells = iter(row)

    def take(model: Any, names: Sequence[str]) -> Any:
        values = [next(cells) for _ in names]
        return model.from_db("default", names, values) if values[0] is not None else None

    request: ApprovalRequest = stored(ApprovalRequest, [next(cells) for _ in _REQUEST_NAMES])
    request.requester, request.payee = take(User, PERSON), None
    request.entity = take(Entity, _ENTITY)
    request.commitment = take(Commitment, _COMMITMENT_NAMES)
    request.budget = take(Budget, _BUDGET)
    if request.budget is not None:
        request.budget.entity = request.entity
        vars(request.budget)["expired_amount"] = next(cells)
    return request


def _cache(step: ApprovalStep) -> dict[str, Any]:
    """Where Django keeps what ``prefetch_related`` has read."""
    kept: dict[str, Any] = vars(step).setdefault("_prefetched_objects_cache", {})
    return kept


def _with_chain(request: ApprovalRequest, rows: list[tuple[Any, ...]]) -> WholeRequest:
    chain: list[ApprovalStep] = []
    entitled: set[int] = set()
    steps, tasks = len(_STEP_NAMES), len(_TASK_NAMES)
    for row in rows:
        if not chain or chain[-1].pk != row[0]:
            step = ApprovalStep.from_db("default", _STEP_NAMES, row[:steps])
            step.request = request
            _cache(step)["tasks"] = []
            chain.append(step)
        if row[steps] is None:
            continue
        task = ApprovalTask.from_db("default", _TASK_NAMES, row[steps : steps + tasks])
        task.step, task.request = chain[-1], request
        start = steps + tasks
        for name in _TASK_PEOPLE:
            person = row[start : start + len(PERSON)]
            setattr(task, name, User.from_db("default", PERSON, person) if person[0] is not None else None)
            start += len(PERSON)
        _cache(chain[-1])["tasks"].append(task)
        if row[-1]:
            entitled.add(task.pk)
    vars(request)["chain"] = chain
    return WholeRequest(request, chain, entitled)


def with_standing(whole: WholeRequest, user: User, now: datetime.datetime | None = None) -> ApprovalRequest:
    """Add how it stands for the user, as ``standings`` does; they stand in for nobody."""
    request = whole.request
    waiting: list[ApprovalTask] = []
    concerned = {request.requester_id, request.created_by_id, request.edited_by_id, request.payee_id}
    in_time = request.expires_at is None or request.expires_at > (now or clock.now())
    if request.status == RequestStatus.PENDING and user.pk not in concerned and in_time:
        for step in whole.chain:
            tasks = whole.tasks_of(step)
            if any(_voted(task, user) for task in tasks):
                continue
            waiting += [t for t in tasks if t.approver_id == user.pk and t.status == TaskStatus.OPEN]
    request.standing = standing_of(request, user, waiting)  # type: ignore[attr-defined]
    return request


def _voted(task: ApprovalTask, user: User) -> bool:
    return task.acted_by_id == user.pk and task.status in (TaskStatus.APPROVED, TaskStatus.REJECTED)
