"""The common vote, as a few prepared statements.

Somebody who is asked approves a plain purchase (``fast_path.plain_types``) in their own name. The request's row is
locked; two statements read how the round stands; one writes what the vote does: it counts, or passes its level and
opens the next one, or approves the request and books its effect.

Whenever something is not plain the answer is None, "not me", and nothing has been written: the general way decides,
and says why it refuses.
"""

import datetime
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder
from django.db import transaction

from approvals.models import (
    ActionKind,
    ApprovalAction,
    ApprovalRequest,
    ApprovalStep,
    ApprovalTask,
    AuthorityLimit,
    LevelFlow,
    OnApproval,
    RequestStatus,
    StepOrigin,
    StepStatus,
    TaskOrigin,
    TaskStatus,
    TimerBasis,
)
from approvals.selectors.whole import WholeRequest, whole_request
from approvals.services import rounds
from approvals.services.authority import limit_among
from approvals.services.fast_path import plain_types
from approvals.services.fingerprint import material_content
from approvals.services.outcome import decision_event, source_of
from approvals.services.trail import action_of
from budgets.models import BudgetEntry, CommitmentStatus
from budgets.services import reservation_sql
from core import clock
from core.models import OutboxEvent, User
from core.outbox import wake_after_commit
from core.prepared import PreparedStatement
from core.row_sql import as_json, columns_of, insert, stored

_LOCK = PreparedStatement(
    "SELECT id FROM approval_requests WHERE id = %(request)s::bigint AND status = 'pending'"
    " AND request_type = ANY(%(types)s::text[]) FOR UPDATE"
)
_LOCK_BUDGET = PreparedStatement(reservation_sql.LOCK)

# The voter's limits there, and the roles by which they may have one (APR-16).
LIMITS = f"""
SELECT {", ".join(f"a.{column}" for column in columns_of(AuthorityLimit))}, c.depth, ARRAY(
    SELECT m.role FROM memberships m JOIN entity_closure h ON h.ancestor_id = m.entity_id
    WHERE h.descendant_id = %(entity)s::bigint AND m.user_id = %(user)s::bigint
      AND (m.entity_id = %(entity)s::bigint OR m.include_descendants)
      AND (m.valid_from IS NULL OR m.valid_from <= %(today)s::date)
      AND (m.valid_to IS NULL OR m.valid_to > %(today)s::date))
FROM approval_authority_limits a
LEFT JOIN entity_closure c ON c.ancestor_id = a.entity_id AND c.descendant_id = %(entity)s::bigint
WHERE (a.user_id = %(user)s::bigint OR a.role <> '') AND a.request_type IN ('', %(type)s::text)
  AND (a.entity_id IS NULL OR c.id IS NOT NULL)
"""
_LIMITS = PreparedStatement(LIMITS)

_VOTED = """
voted AS (
    UPDATE approval_tasks x SET status = 'approved', acted_by_id = %(user)s::bigint, acted_at = %(now)s::timestamptz,
        remind_at = NULL
    FROM {moved} WHERE x.id = %(task)s::bigint
    RETURNING x.id
), closed AS (
    UPDATE approval_steps x SET status = 'passed', decided_at = %(now)s::timestamptz, escalates_at = NULL
    FROM {moved} WHERE x.id = %(passed)s::bigint
), cancelled AS (
    UPDATE approval_tasks x SET status = 'cancelled', remind_at = NULL
    FROM {moved} WHERE x.step_id = %(passed)s::bigint AND x.id <> %(task)s::bigint
      AND x.status IN ('open', 'waiting')
)"""
VOTE = f"""
WITH one AS (SELECT 1), {_VOTED.format(moved="one")}, opened AS (
    UPDATE approval_steps x SET status = 'open', opened_at = %(now)s::timestamptz,
        escalates_at = %(escalates_at)s::timestamptz
    WHERE x.id = %(next)s::bigint
), asked AS (
    UPDATE approval_tasks x SET status = 'open', opened_at = %(now)s::timestamptz,
        remind_at = %(remind_at)s::timestamptz
    WHERE x.step_id = %(next)s::bigint AND x.status = 'waiting'
    RETURNING x.id, x.request_id
), action AS (
    {insert(ApprovalAction, "actions")}
), events AS (
    {
    insert(
        OutboxEvent,
        "event",
        " CROSS JOIN asked t",
        order="t.id",
        payload="jsonb_build_object('request_id', t.request_id, 'task_id', t.id)",
        key="'approval:' || t.request_id",
    )
}
)
SELECT id FROM voted
"""


def _finish(moved: str, effect: str, entry: str) -> str:
    """The last vote: ``moved`` has a row where the budget's part was plain, ``effect`` is what the trail says."""
    return f"""
WITH {moved}, {_VOTED.format(moved="moved")}, request AS (
    UPDATE approval_requests x SET status = 'approved', decided_at = %(now)s::timestamptz,
        updated_at = %(now)s::timestamptz, version = x.version + 1, approved_amount = x.base_amount,
        approved_content = %(content)s::jsonb
    FROM moved WHERE x.id = %(request)s::bigint
){entry}, action AS (
    {
        insert(
            ApprovalAction,
            "actions",
            " CROSS JOIN moved" + (" CROSS JOIN entry" if entry else ""),
            order="r.kind",
            details=f"CASE WHEN r.kind = 'effect_booked' THEN {effect} ELSE r.details END",
        )
    }
), events AS (
    {insert(OutboxEvent, "event", " CROSS JOIN moved")}
)
SELECT id FROM voted
"""


SPEND = _finish(
    f"{reservation_sql.SETTLED}, moved AS (SELECT id FROM consumed)",
    "jsonb_build_object('entry_id', entry.id, 'effect', 'charge')",
    f""", entry AS (
    {insert(BudgetEntry, "entry", " CROSS JOIN moved")} RETURNING id
)""",
)
KEEP = _finish(
    f"{reservation_sql.KEPT}, moved AS (SELECT id FROM kept)",
    "jsonb_build_object('commitment_id', %(commitment)s::bigint, 'effect', 'order')",
    "",
)
_VOTE, _SPEND, _KEEP = PreparedStatement(VOTE), PreparedStatement(SPEND), PreparedStatement(KEEP)


def approve(*, actor: User, request_id: Any, comment: str, content_hash: str | None) -> WholeRequest | None:
    """Vote for it if that is plain; the request as it stands after the vote."""
    if not isinstance(request_id, int) or not 0 < request_id < 2**63 or "\x00" in comment:
        return None
    with transaction.atomic():
        if _LOCK.row({"request": request_id, "types": plain_types()}) is None:
            return None
        whole = whole_request(request_id, actor)
        task = None if whole is None else _task_of(whole, actor, comment, content_hash)
        if whole is None or task is None:
            return None
        return _count(_Vote(whole, task, actor, comment, clock.now()))


@dataclass(frozen=True, slots=True)
class _Vote:
    """What is written: the vote, the step that it passes, the one that it opens."""

    whole: WholeRequest
    task: ApprovalTask
    actor: User
    comment: str
    now: datetime.datetime
    passes: bool = False
    opens: ApprovalStep | None = None

    @property
    def request(self) -> ApprovalRequest:
        return self.whole.request

    @property
    def step(self) -> ApprovalStep:
        return self.task.step

    def values(self) -> dict[str, Any]:
        """What every statement is given."""
        return {
            "user": self.actor.pk,
            "now": self.now,
            "request": self.request.pk,
            "task": self.task.pk,
            "passed": self.step.pk if self.passes else None,
        }

    def action(self) -> ApprovalAction:
        """The vote in the trail."""
        return action_of(
            self.request, ActionKind.APPROVED, actor=self.actor, step=self.step, comment=self.comment
        )


def _task_of(whole: WholeRequest, actor: User, comment: str, content_hash: str | None) -> ApprovalTask | None:
    """The one open task that is the actor's own, if everything lets them decide it now."""
    request = whole.request
    if (
        request.effect_error
        or (request.expires_at is not None and request.expires_at <= clock.now())
        or (content_hash is not None and content_hash != request.content_hash)
        or actor.pk in (request.requester_id, request.created_by_id, request.edited_by_id)
    ):
        return None
    own = [
        task
        for step in whole.chain
        for task in whole.tasks_of(step)
        if task.approver_id == actor.pk and task.status == TaskStatus.OPEN
    ]
    if len(own) != 1:
        return None
    (task,) = own
    if (
        task.origin == TaskOrigin.DELEGATED
        or task.pk not in whole.entitled
        or task.step.status != StepStatus.OPEN
        or (task.step.comment_required and not comment.strip())
        or any(other.acted_by_id == actor.pk for other in whole.tasks_of(task.step))
    ):
        return None
    return task


def _count(vote: _Vote) -> WholeRequest | None:
    """As ``rounds`` counts: the level goes on, or the next one opens, or nothing is left to decide."""
    whole, step = vote.whole, vote.step
    given = sum(task.status == TaskStatus.APPROVED for task in whole.tasks_of(step)) + 1
    if given < step.required_approvals:
        return _write_vote(vote)
    vote = replace(vote, passes=True)
    others = [each for each in whole.chain if each is not step]
    if any(each.status in (StepStatus.OPEN, StepStatus.BLOCKED) for each in others):
        return _write_vote(vote)
    waiting = [each for each in others if each.status == StepStatus.WAITING]
    if waiting:
        following = waiting[0]
        if vote.request.flow == LevelFlow.PARALLEL or not _opens_plainly(vote, following):
            return None
        return _write_vote(replace(vote, opens=following))
    return _write_decision(vote) if _has_authority(vote) else None


def _opens_plainly(vote: _Vote, step: ApprovalStep) -> bool:
    """Whether ``open_step`` would ask the step's people as they are: all may decide, none has voted just before."""
    tasks = vote.whole.tasks_of(step)
    request = vote.request
    excluded = {request.requester_id, request.created_by_id, request.edited_by_id}
    voters = {vote.actor.pk} | {
        task.acted_by_id
        for task in vote.whole.tasks_of(vote.step)
        if task.status == TaskStatus.APPROVED and task.acted_by_id == task.approver_id
    }
    carries = request.skip_repeated and step.origin == StepOrigin.RULE
    return (
        step.timer_basis == TimerBasis.CLOCK
        and step.order == vote.step.order + 1
        and len(tasks) >= step.required_approvals
        and all(
            task.status == TaskStatus.WAITING
            and task.origin != TaskOrigin.DELEGATED
            and task.pk in vote.whole.entitled
            and task.approver_id not in excluded
            and not (carries and task.approver_id in voters)
            for task in tasks
        )
    )


def _has_authority(vote: _Vote) -> bool:
    """Whether the voter's own word is enough for the amount, so that nobody further up is asked (APR-16)."""
    request = vote.request
    rows = _LIMITS.rows(
        {
            "user": vote.actor.pk,
            "entity": request.entity_id,
            "type": request.request_type,
            "today": clock.business_date(vote.now),
        }
    )
    if not rows:
        return True
    found: list[tuple[AuthorityLimit, int | None]] = [
        (stored(AuthorityLimit, row[:-2]), row[-2]) for row in rows
    ]
    depths = {
        each.entity_id: depth for each, depth in found if each.entity_id is not None and depth is not None
    }
    limit = limit_among(vote.actor.pk, set(rows[0][-1]), [each for each, _ in found], depths)
    return limit.amount is None or (
        limit.currency == request.base_currency and request.base_amount <= limit.amount
    )


# --- Writing ---------------------------------------------------------------------------------------------


def _write_vote(vote: _Vote) -> WholeRequest | None:
    following = vote.opens
    asked: Sequence[ApprovalTask] = ()
    if following is not None:
        asked = vote.whole.tasks_of(following)
        rounds.mark_step_open(following, asked, vote.now)
        for task in asked:
            rounds.mark_task_open(following, task, vote.now)
    written = _VOTE.row(
        vote.values()
        | {
            "next": following.pk if following is not None else None,
            "escalates_at": following.escalates_at if following is not None else None,
            "remind_at": asked[0].remind_at if asked else None,
            "actions": as_json([vote.action()]),
            "event": as_json([OutboxEvent(topic="approval.task_opened")]),
        }
    )
    if written is None:
        return None
    if asked:
        wake_after_commit()
    return _voted(vote)


def _voted(vote: _Vote) -> WholeRequest:
    """What was written, on the objects that were read."""
    task = vote.task
    task.status, task.acted_by, task.acted_at, task.remind_at = (
        TaskStatus.APPROVED,
        vote.actor,
        vote.now,
        None,
    )
    if vote.passes:
        step = vote.step
        step.status, step.decided_at, step.escalates_at = StepStatus.PASSED, vote.now, None
        for other in vote.whole.tasks_of(step):
            if other.status in (TaskStatus.OPEN, TaskStatus.WAITING):
                other.status, other.remind_at = TaskStatus.CANCELLED, None
    return vote.whole


def _write_decision(vote: _Vote) -> WholeRequest | None:
    """The last vote: the request is approved and what it held is spent, or kept for an order."""
    request = vote.request
    budget, held = request.budget, request.commitment
    if budget is None or held is None or not held.is_open or held.remainder <= 0:
        return None
    _LOCK_BUDGET.row({"budget": budget.pk})
    values = vote.values() | {
        "budget": budget.pk,
        "commitment": held.pk,
        "rest": held.remainder,
    }
    values["content"] = json.dumps(material_content(request), cls=DjangoJSONEncoder)
    booked = action_of(request, ActionKind.EFFECT_BOOKED, actor=vote.actor)
    values["actions"] = as_json([vote.action(), booked])
    values["event"] = as_json([decision_event(request.pk, RequestStatus.APPROVED)])
    if request.on_approval == OnApproval.ORDER:
        written = _KEEP.row(values)
    else:
        source = source_of(request)
        entry = reservation_sql.spent(
            budget,
            held,
            actor=vote.actor,
            description=f"{request.reference_number} {request.title}"[:500],
            reference=request.reference_number,
            source=source,
        )
        written = _SPEND.row(
            values | {"source_id": source.id, "source_revision": source.revision, "entry": as_json([entry])}
        )
    if written is None:
        return None
    wake_after_commit()
    if request.on_approval == OnApproval.ORDER:
        held.status = CommitmentStatus.APPROVED
    else:
        budget.committed_amount -= held.remainder
        budget.spent_amount += held.remainder
        held.consumed_amount, held.status = held.amount - held.released_amount, CommitmentStatus.CONSUMED
    request.approve()
    request.decided_at = request.updated_at = vote.now
    request.version += 1
    request.approved_amount, request.approved_content = request.base_amount, material_content(request)
    return _voted(vote)
