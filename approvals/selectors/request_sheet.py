"""One request as its page tells it: what it is, what it does to the budget, who decides and why, and what happened."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from django.utils.html import format_html

from approvals.models import (
    ActionKind,
    ApprovalAction,
    ApprovalAttachment,
    ApprovalRequest,
    ApprovalStep,
    ApprovalTask,
    OnApproval,
    RequestStatus,
    StepOrigin,
    StepStatus,
    TaskOrigin,
    TaskStatus,
)
from approvals.models.trail import VOTES
from approvals.registry import approval_type, type_label
from approvals.selectors.inbox import EDITS, Flag, risk_flags
from approvals.selectors.requests import BudgetEffect, Standing, budget_effect, standings, with_chain
from approvals.services.people import excluded_people
from approvals.services.recall import may_recall
from approvals.services.routing import Route
from budgets.figures import figures_of
from core.access import get_visible
from core.models import User
from core.money import format_money
from core.pages.components import Fact, LimitBar, TimelineEvent

EARLIER_SHOWN = 3
_LABELS = {
    "supplier_account": "Bank details",
    "gl_code": "GL code",
    "on_approval": "When approved",
    "reference": "Your number",
}
_KINDS: dict[str, tuple[str, str]] = {
    ActionKind.SUBMITTED: ("send", "info"),
    ActionKind.EDITED: ("edit_note", "warn"),
    ActionKind.APPROVED: ("check", "good"),
    ActionKind.REJECTED: ("close", "bad"),
    ActionKind.CHANGES_REQUESTED: ("undo", "warn"),
    ActionKind.RECALLED: ("undo", "warn"),
    ActionKind.WITHDRAWN: ("block", "neutral"),
    ActionKind.EXPIRED: ("event_busy", "neutral"),
    ActionKind.COMMENTED: ("chat_bubble", "neutral"),
    ActionKind.ATTACHED: ("attach_file", "neutral"),
    ActionKind.DETACHED: ("attach_file", "neutral"),
    ActionKind.DELEGATED: ("forward", "info"),
    ActionKind.REASSIGNED: ("forward", "info"),
    ActionKind.ESCALATED: ("priority_high", "warn"),
    ActionKind.REMINDED: ("notifications", "neutral"),
    ActionKind.CARRIED: ("check", "good"),
    ActionKind.AUTHORITY_ADDED: ("arrow_upward", "info"),
    ActionKind.BLOCKED: ("block", "bad"),
    ActionKind.RECALCULATED: ("sync", "info"),
    ActionKind.ROUND_STARTED: ("restart_alt", "warn"),
    ActionKind.AUTO_APPROVED: ("check", "good"),
    ActionKind.EMERGENCY_APPROVED: ("emergency", "warn"),
    ActionKind.EMERGENCY_REVIEWED: ("fact_check", "good"),
    ActionKind.EFFECT_BOOKED: ("account_balance_wallet", "good"),
    ActionKind.EFFECT_FAILED: ("error", "bad"),
}
_TASKS: dict[str, tuple[str, str]] = {
    TaskStatus.WAITING: ("more_horiz", "neutral"),
    TaskStatus.OPEN: ("hourglass_top", "info"),
    TaskStatus.APPROVED: ("check", "good"),
    TaskStatus.REJECTED: ("close", "bad"),
    TaskStatus.RETURNED: ("undo", "warn"),
    TaskStatus.PASSED_ON: ("forward", "neutral"),
    TaskStatus.CANCELLED: ("remove", "neutral"),
}
_ORIGINS: dict[str, str] = {
    TaskOrigin.FALLBACK: "in place of somebody who may not decide on it",
    TaskOrigin.AUTHORITY: "for the authority that the levels before lack",
    TaskOrigin.ESCALATION: "since it was escalated",
    TaskOrigin.REASSIGNED: "since it was given to them",
}


@dataclass(frozen=True, slots=True)
class ChainPerson:
    """Somebody asked at a level, or to be asked."""

    name: str
    word: str
    icon: str
    tone: str
    note: str = ""
    is_you: bool = False


@dataclass(frozen=True, slots=True)
class ChainLevel:
    """One level: ``state`` is "passed", "now", "later" or "over"."""

    order: int
    name: str
    why: str
    needs: str
    state: str
    people: tuple[ChainPerson, ...]


@dataclass(frozen=True, slots=True)
class RequestSheet:
    """All that the page of a request shows to one person."""

    request: ApprovalRequest
    type_label: str
    standing: Standing
    is_own: bool
    is_excluded: bool
    facts: tuple[Fact, ...]
    flags: tuple[Flag, ...]
    effect: BudgetEffect | None
    bar: LimitBar | None
    why: tuple[str, ...]
    afterwards: tuple[ChainLevel, ...]
    chain: tuple[ChainLevel, ...]
    events: tuple[TimelineEvent, ...]
    attachments: tuple[ApprovalAttachment, ...]
    earlier: tuple[ApprovalRequest, ...]
    closing: ApprovalAction | None
    may_recall: bool

    @property
    def asked(self) -> list[ChainPerson]:
        """Whose decision it waits for now."""
        return [
            person
            for level in self.chain
            if level.state == "now"
            for person in level.people
            if person.icon == "hourglass_top"
        ]


def request_sheet(*, actor: User, request_id: int) -> RequestSheet:
    """The page of a request that the actor sees; raises NotFound. Costs a fixed number of queries."""
    rows = with_chain(ApprovalRequest.objects.select_related("entity", "department", "created_by"), actor)
    request = get_visible(rows, actor, request_id, name="approval request")
    standing = standings([request], actor)[request.pk]
    actions = list(request.actions.select_related("actor", "on_behalf_of", "step").order_by("id"))
    effect = budget_effect(request)
    chain = tuple(_level(step, actor) for step in request.chain)
    return RequestSheet(
        request=request,
        type_label=type_label(request.request_type),
        standing=standing,
        is_own=actor.pk in (request.requester_id, request.created_by_id),
        is_excluded=actor.pk in excluded_people(request),
        facts=tuple(_facts(request, standing)),
        flags=risk_flags(
            request,
            effect,
            [each for each in actions if each.kind in EDITS],
        ),
        effect=effect,
        bar=limit_bar(effect),
        why=tuple(_why(standing)),
        afterwards=tuple(level for level in chain if level.state == "later"),
        chain=chain,
        events=_events(request, actions),
        attachments=tuple(request.attachments.filter(removed_at__isnull=True).select_related("uploaded_by")),
        earlier=_earlier(request, actor),
        closing=_closing(actions),
        # Who is asked now is shown the decision instead.
        may_recall=request.status == RequestStatus.PENDING
        and not standing.can_decide
        and may_recall(request, actor),
    )


def limit_bar(effect: BudgetEffect | None) -> LimitBar | None:
    """What the request adds to what its budget has used; None where it takes nothing or the rate is unknown."""
    if effect is None or effect.amount is None or effect.amount <= 0:
        return None
    figures = figures_of(effect.budget)
    limit = figures.allocated + figures.override
    return LimitBar(
        label=effect.budget.name,
        limit=limit,
        used=limit - effect.before,
        added=effect.amount,
        currency=effect.budget.currency,
    )


def preview_chain(route: Route, people: dict[int, User]) -> tuple[ChainLevel, ...]:
    """The levels that a request would pass (APR-05); ``people`` are the users of its tasks."""
    return tuple(
        ChainLevel(
            order=order,
            name=step.name,
            why=step.why,
            needs=_needs(step.required, len(step.tasks)),
            state="later",
            people=tuple(
                ChainPerson(
                    name=people[task.user_id].display_name,
                    word="",
                    icon="person",
                    tone="neutral",
                    note=_ORIGINS.get(task.origin, ""),
                )
                for task in step.tasks
                if task.user_id in people
            ),
        )
        for order, step in enumerate(route.steps, start=1)
    )


# --- What it is ------------------------------------------------------------------------------------------


def _facts(request: ApprovalRequest, standing: Standing) -> Iterable[Fact]:
    kind = approval_type(request.request_type)
    place = request.department.name if request.department else ""
    spent = kind.commits_budget and request.budget is not None
    quantity = "" if request.quantity is None else f"{request.quantity.normalize():f}"
    lines = (
        ("Asked by", request.requester.display_name, _entered_by(request)),
        ("For", place or request.entity.name, request.entity.name if place else ""),
        ("Budget", request.budget.name if request.budget else "", ""),
        ("Supplier", request.supplier, ""),
        ("Bank details", _account(request, standing), ""),
        ("Paid to", request.payee.display_name if request.payee else "", ""),
        ("Quantity", quantity, ""),
        ("GL code", request.gl_code, ""),
        ("Terms", request.terms, ""),
        ("Requester's number", request.reference, ""),
        ("When approved", str(OnApproval(request.on_approval).label) if spent else "", ""),
    )
    yield from (Fact(label, value, note) for label, value, note in lines if value)
    for fact in kind.facts(request):
        value = format_html('<a href="{}">{}</a>', fact.url, fact.value) if fact.url else fact.value
        yield Fact(fact.label, value)


def _account(request: ApprovalRequest, standing: Standing) -> str:
    account = request.supplier_account
    return account if standing.sees_account or not account else f"…{account[-4:]}"


def _entered_by(request: ApprovalRequest) -> str:
    if request.created_by_id == request.requester_id:
        return ""
    return f"entered by {request.created_by.display_name}"


def _earlier(request: ApprovalRequest, actor: User) -> tuple[ApprovalRequest, ...]:
    """The last decided requests for the same supplier that the actor sees, to compare with."""
    if not request.supplier:
        return ()
    same = ApprovalRequest.objects.visible_to(actor).filter(
        supplier__iexact=request.supplier,
        status__in=[RequestStatus.APPROVED, RequestStatus.REJECTED],
        id__lt=request.pk,
    )
    return tuple(same.select_related("requester").order_by("-id")[:EARLIER_SHOWN])


# --- Who decides -----------------------------------------------------------------------------------------


def _why(standing: Standing) -> Iterable[str]:
    """Why it is the reader who is asked, in sentences."""
    for each in standing.waiting:
        step = each.task.step
        for_whom = f" for {each.on_behalf_of.display_name}" if each.on_behalf_of else ""
        if step.origin == StepOrigin.AUTHORITY:
            yield f"You are asked at “{step.name}”{for_whom}: nobody before has the authority for this amount."
            continue
        origin = ""
        if each.task.origin in (TaskOrigin.FALLBACK, TaskOrigin.ESCALATION, TaskOrigin.REASSIGNED):
            origin = {
                TaskOrigin.FALLBACK: ", in place of somebody who may not decide on it",
                TaskOrigin.ESCALATION: ", since it was escalated to you",
                TaskOrigin.REASSIGNED: ", since it was given to you",
            }[TaskOrigin(each.task.origin)]
        yield f"You are asked at “{step.name}”{for_whom}{origin}. Rule: {step.why}."


def _needs(required: int, of: int) -> str:
    if of <= 1:
        return ""
    if required == 1:
        return "one of them is enough"
    return "all of them" if required >= of else f"{required} of {of} are needed"


def _level(step: ApprovalStep, actor: User) -> ChainLevel:
    tasks = list(step.tasks.all())
    state = {
        StepStatus.PASSED: "passed",
        StepStatus.OPEN: "now",
        StepStatus.BLOCKED: "now",
        StepStatus.WAITING: "later",
    }.get(StepStatus(step.status), "over")
    voters = [task for task in tasks if task.status != TaskStatus.PASSED_ON]
    return ChainLevel(
        order=step.order,
        name=step.name,
        why=step.why,
        needs=_needs(step.required_approvals, len(voters)) if state in ("now", "later") else "",
        state=state,
        people=tuple(_person(task, actor) for task in tasks),
    )


def _person(task: ApprovalTask, actor: User) -> ChainPerson:
    icon, tone = _TASKS[task.status]
    name, note = task.approver.display_name, _ORIGINS.get(task.origin, "")
    if task.acted_by is not None and task.acted_by_id != task.approver_id:
        name, note = task.acted_by.display_name, f"for {task.approver.display_name}"
    elif task.origin == TaskOrigin.DELEGATED and task.for_whom is not None:
        note = f"for {task.for_whom.display_name}"
    return ChainPerson(
        name=name,
        word=str(TaskStatus(task.status).label),
        icon=icon,
        tone=tone,
        note=note,
        is_you=actor.pk in (task.approver_id, task.acted_by_id),
    )


# --- What happened ---------------------------------------------------------------------------------------


def _closing(actions: Sequence[ApprovalAction]) -> ApprovalAction | None:
    """The vote or event that ended it."""
    kinds = (
        ActionKind.APPROVED,
        ActionKind.REJECTED,
        ActionKind.CHANGES_REQUESTED,
        ActionKind.WITHDRAWN,
        ActionKind.EXPIRED,
        ActionKind.AUTO_APPROVED,
        ActionKind.EMERGENCY_APPROVED,
    )
    return next((each for each in reversed(actions) if each.kind in kinds), None)


def _events(request: ApprovalRequest, actions: Sequence[ApprovalAction]) -> tuple[TimelineEvent, ...]:
    named = {pk for action in actions for pk in _given_to(action)}
    people = User.objects.in_bulk(named) if named else {}
    return tuple(_event(request, action, people) for action in actions)


def _given_to(action: ApprovalAction) -> list[int]:
    """Ids of those to whom it was passed on or escalated."""
    to = action.details.get("to") or []
    return to if isinstance(to, list) else [to]


def _event(request: ApprovalRequest, action: ApprovalAction, people: dict[int, User]) -> TimelineEvent:
    icon, tone = _KINDS.get(action.kind, ("circle", "neutral"))
    what = str(ActionKind(action.kind).label)
    names = [people[pk].display_name for pk in _given_to(action) if pk in people]
    if names:
        what = f"{what} to {', '.join(names)}"
    if action.kind in (ActionKind.ATTACHED, ActionKind.DETACHED):
        what = f"{what}: {action.details.get('name', '')}"
    who = "" if action.actor.is_system else f"by {action.actor.display_name}"
    if action.on_behalf_of is not None:
        who = f"{who} for {action.on_behalf_of.display_name}".strip()
    if action.step is not None and action.kind in (*VOTES, ActionKind.RECALLED):
        who = f"{who}, {action.step.name}"
    return TimelineEvent(
        what=what,
        who=who,
        when=action.created_at,
        note=action.comment,
        tone=tone,
        icon=icon,
        changes=[
            (_label(name), _shown(request, name, old), _shown(request, name, new))
            for name, (old, new) in action.details.get("changes", {}).items()
        ],
    )


def _label(name: str) -> str:
    return _LABELS.get(name, name.replace("_", " ").capitalize())


def _shown(request: ApprovalRequest, name: str, value: Any) -> str:
    if value in (None, ""):
        return "nothing"
    if name == "amount":
        return format_money(type(request.amount)(value), request.currency)
    if name == "on_approval" and value in OnApproval.values:
        return str(OnApproval(value).label)
    return str(value)
