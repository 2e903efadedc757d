"""What the page of a request shows: facts, the budget, every round's chain, the trail, the files."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings
from django.urls import reverse
from django.utils.safestring import SafeString

from approvals.models import (
    ApprovalAction,
    ApprovalRequest,
    ApprovalStep,
    ApprovalTask,
    StepOrigin,
    StepStatus,
    TaskOrigin,
    TaskStatus,
)
from approvals.selectors.request_sheet import request_sheet
from budgets.admin.effects import Bar, bar_of_figures
from budgets.admin.page import tone_of
from budgets.figures import figures_of
from budgets.models import Budget
from core.admin.badges import badge_html
from core.admin.columns import amount_html
from core.history import Channel
from core.models import User
from core.pages.components import TimelineEvent

# Where a status of steps and tasks means something else than elsewhere.
STEP_BADGES: dict[str, str] = {"open": "pending", "waiting": "later"}
IN_PLACE = {
    TaskOrigin.FALLBACK: "in place of {}, who may not decide",
    TaskOrigin.ESCALATION: "escalated from {}",
    TaskOrigin.DELEGATED: "passed on by {}",
    TaskOrigin.REASSIGNED: "reassigned from {}",
}
BY_ITSELF = {
    TaskOrigin.FALLBACK: "fallback",
    TaskOrigin.AUTHORITY: "has the authority",
    TaskOrigin.ESCALATION: "escalated",
}


@dataclass(frozen=True)
class ShownTask:
    """One person asked at a level."""

    name: str
    badge: SafeString
    note: str
    acted_at: Any
    reassign_url: str = ""


@dataclass(frozen=True)
class ShownStep:
    """A level of a round; ``rule_url`` leads to the rule that asked for it."""

    name: str
    badge: SafeString
    needed: str
    why: str
    rule_url: str
    step: ApprovalStep
    tasks: list[ShownTask] = field(default_factory=list)


@dataclass(frozen=True)
class TrailLine:
    """One event with what proves it."""

    event: TimelineEvent
    action: ApprovalAction
    channel: str


def page_context(found: ApprovalRequest, user: User, *, may_reassign: bool) -> dict[str, Any]:
    """Everything that the template of a request shows."""
    sheet = request_sheet(actor=user, request_id=found.pk)
    request = sheet.request
    actions = list(request.actions.select_related("actor", "on_behalf_of", "step").order_by("id"))
    rounds = shown_rounds(request, may_reassign=may_reassign)
    return {
        "request_": request,
        "status_badge": badge_html(request.status),
        "type_label": sheet.type_label,
        "amount": amount_html(request.amount, request.currency),
        "base_amount": amount_html(request.base_amount, request.base_currency)
        if request.base_currency and request.base_currency != request.currency
        else "",
        "flags": sheet.flags,
        "facts": sheet.facts,
        "budget": _budget(request, user, sheet.effect),
        "chain": rounds.pop(request.round, []),
        "earlier_rounds": sorted(rounds.items(), reverse=True),
        "flow": "All levels are asked at once." if request.flow == "parallel" else "",
        "trail": [
            TrailLine(event, action, str(Channel(action.channel).label) if action.channel else "")
            for event, action in zip(sheet.events, actions, strict=False)
        ],
        "attachments": sheet.attachments,
        "to_review": request.emergency_review_due is not None and request.emergency_reviewed_by_id is None,
        "pages_url": reverse("approvals:request", args=[request.pk]),
        "is_excluded": sheet.is_excluded,
        "expiry_days": settings.APPROVAL_EXPIRY_DAYS,
    }


# --- The budget ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ShownBudget:
    """The budget with what the request does to it; ``after`` is None where it is decided, or the rate is unknown."""

    name: str
    url: str
    tone: str
    bar: Bar
    words: Sequence[tuple[str, SafeString | str]]
    exceeded: SafeString | str


def _budget(request: ApprovalRequest, user: User, effect: Any) -> ShownBudget | None:
    budget = request.budget
    if budget is None:
        return None
    figures = figures_of(budget)
    words: list[tuple[str, SafeString | str]] = []
    exceeded: SafeString | str = ""
    if effect is None:
        words.append(("Available", amount_html(figures.available, budget.currency)))
    else:
        words.append(("Available without it", amount_html(effect.before, budget.currency)))
        if effect.amount is not None:
            label = "It adds" if effect.amount < 0 else "It takes"
            words.append((label, amount_html(abs(effect.amount), budget.currency)))
        if effect.after is not None:
            words.append(("Available with it", amount_html(effect.after, budget.currency)))
            if effect.after < 0:
                exceeded = amount_html(-effect.after, budget.currency)
        if effect.amount is not None and not effect.held and effect.amount > 0:
            figures = figures.plus(committed=effect.amount)
    seen = Budget.objects.visible_to(user).filter(pk=budget.pk).exists()
    return ShownBudget(
        name=budget.name,
        url=reverse("admin:budgets_budget_change", args=[budget.pk]) if seen else "",
        tone=tone_of(figures, budget),
        bar=bar_of_figures(figures, budget.currency),
        words=words,
        exceeded=exceeded,
    )


# --- The chain -------------------------------------------------------------------------------------------


def shown_rounds(request: ApprovalRequest, *, may_reassign: bool) -> dict[int, list[ShownStep]]:
    """The levels of every round with their people, in two queries."""
    tasks: dict[int, list[ApprovalTask]] = defaultdict(list)
    for task in request.tasks.select_related("approver", "acted_by", "for_whom").order_by("id"):
        tasks[task.step_id].append(task)
    found: dict[int, list[ShownStep]] = defaultdict(list)
    for step in request.steps.order_by("round", "order"):
        open_here = may_reassign and step.round == request.round and request.is_open
        found[step.round].append(_step(request, step, tasks[step.pk], may_reassign=open_here))
    return dict(found)


def _step(
    request: ApprovalRequest, step: ApprovalStep, tasks: Sequence[ApprovalTask], *, may_reassign: bool
) -> ShownStep:
    asked = [task for task in tasks if task.status != TaskStatus.PASSED_ON]
    needed = ""
    if len(asked) > 1:
        every = step.required_approvals >= len(asked)
        needed = "all must approve" if every else f"{step.required_approvals} of {len(asked)} must approve"
    word = {StepStatus.OPEN: "Being decided", StepStatus.BLOCKED: "Nobody can decide"}.get(
        StepStatus(step.status), ""
    )
    return ShownStep(
        name=step.name,
        badge=badge_html(STEP_BADGES.get(step.status, step.status), word),
        needed=needed,
        why="Nobody before has the authority for this amount."
        if step.origin == StepOrigin.AUTHORITY
        else step.why,
        rule_url=reverse("admin:approvals_approvalrule_change", args=[step.rule_id]) if step.rule_id else "",
        step=step,
        tasks=[_task(request, task, may_reassign=may_reassign) for task in tasks],
    )


def _task(request: ApprovalRequest, task: ApprovalTask, *, may_reassign: bool) -> ShownTask:
    is_open = task.status == TaskStatus.OPEN
    notes = []
    if task.for_whom is not None and task.origin in IN_PLACE:
        notes.append(IN_PLACE[TaskOrigin(task.origin)].format(task.for_whom.display_name))
    elif task.origin in BY_ITSELF:
        notes.append(BY_ITSELF[TaskOrigin(task.origin)])
    if task.acted_by is not None and task.acted_by_id != task.approver_id:
        notes.append(f"{task.acted_by.display_name} decided for them")
    if is_open and task.reminders_sent:
        notes.append(f"reminded {task.reminders_sent} time{'' if task.reminders_sent == 1 else 's'}")
    return ShownTask(
        name=task.approver.display_name,
        # Of a level that is not open yet the level says so.
        badge=SafeString("")
        if task.status == TaskStatus.WAITING
        else badge_html(STEP_BADGES.get(task.status, task.status), "Is asked" if is_open else ""),
        note=", ".join(notes),
        acted_at=task.acted_at,
        reassign_url=reverse("admin:approvals_approvalrequest_reassign", args=[request.pk, task.pk])
        if may_reassign and is_open
        else "",
    )
