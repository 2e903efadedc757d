"""What somebody needs to know to decide, in words: for mails."""

import datetime

from approvals.models import ApprovalRequest, ApprovalTask, TaskOrigin
from approvals.registry import Fact, approval_type, type_label
from approvals.selectors.requests import budget_effect, due_at
from budgets.models import Budget
from core import clock
from core.models import User
from core.money import format_money


def request_facts(request: ApprovalRequest, viewer: User, task: ApprovalTask | None = None) -> list[Fact]:
    """Who asks, what, how much, what it does to the budget, until when, and why the viewer is asked."""
    facts = [
        Fact("Asked by", _who(request)),
        Fact("What", f"{type_label(request.request_type)}: {request.title}"),
        Fact("Amount", amount_in_words(request)),
    ]
    if request.supplier:
        facts.append(Fact("Supplier", request.supplier))
    budget = _budget_in_words(request)
    if budget:
        facts.append(Fact("Budget", budget))
    facts += approval_type(request.request_type).facts(request)
    files = request.attachments.filter(removed_at__isnull=True).count()
    if files:
        facts.append(Fact("Attachments", str(files)))
    if task is not None:
        due = due_at(request, task)
        if due is not None:
            facts.append(Fact("Decide by", moment_in_words(due, viewer)))
        facts.append(Fact("Why you", why(task, viewer)))
    return facts


def amount_in_words(request: ApprovalRequest) -> str:
    """The amount, with that in the group's currency and the rate where they differ."""
    amount = format_money(request.amount, request.currency)
    if not request.base_currency or request.base_currency == request.currency:
        return amount
    base = format_money(request.base_amount, request.base_currency)
    day = f" of {request.rate_date:%d %B %Y}" if request.rate_date else ""
    return f"{amount} = {base} at {request.rate.normalize():f}{day}"


def moment_in_words(moment: datetime.datetime, viewer: User) -> str:
    """Date and time in the viewer's own zone, named."""
    local = moment.astimezone(clock.zone(viewer.time_zone))
    return f"{local:%d %B %Y, %H:%M} {local.tzname()}"


def why(task: ApprovalTask, viewer: User) -> str:
    """Why somebody is asked: the rule in words, and in whose place."""
    return task.step.why.rstrip(".") + "." + in_whose_place(task, viewer)


def in_whose_place(task: ApprovalTask, viewer: User) -> str:
    """Sentences, each after a space, for who is asked in somebody's place; empty for others."""
    parts = [""]
    for_whom = task.for_whom.display_name if task.for_whom is not None else ""
    in_place = {
        TaskOrigin.FALLBACK: f"In place of {for_whom}, who may not decide on it.",
        TaskOrigin.ESCALATION: f"Escalated, because {for_whom} has not decided.",
        TaskOrigin.DELEGATED: f"{for_whom} has passed it on to you.",
        TaskOrigin.REASSIGNED: f"In place of {for_whom}.",
    }
    if for_whom and task.origin in in_place:
        parts.append(in_place[TaskOrigin(task.origin)])
    if viewer.pk != task.approver_id:
        parts.append(f"You stand in for {task.approver.display_name}.")
    return " ".join(parts)


def _who(request: ApprovalRequest) -> str:
    name = request.requester.display_name
    place = request.department or request.entity
    entered = (
        f", entered by {request.created_by.display_name}"
        if request.created_by_id != request.requester_id
        else ""
    )
    return f"{name} ({place.name}){entered}"


def _budget_in_words(request: ApprovalRequest) -> str:
    """Before and after; what is missing where it does not fit."""
    if request.budget_id is None:
        return ""
    request.budget = Budget.objects.with_expired().get(pk=request.budget_id)
    effect = budget_effect(request)
    if effect is None:
        return request.budget.name
    currency = effect.budget.currency
    words = f"{effect.budget.name}: {format_money(effect.before, currency)} available"
    if effect.after is None:
        return words
    words += f", {format_money(effect.after, currency)} after it"
    if effect.after < 0:
        words += f" – it exceeds the budget by {format_money(-effect.after, currency)}"
    return words
