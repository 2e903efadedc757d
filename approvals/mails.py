"""The mails of approvals: the facts to decide on, a deep link, and links by which one decides on a page (APR-25).

They are written as they leave, from how things stand then: what no longer waits is not sent. Text and HTML say the
same. Styles are inline, as mail programs need them; colours are those of core/static/core/common.css.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.template.loader import render_to_string
from django.urls import reverse

from approvals.models import ApprovalNews, ApprovalTask, LinkAction, RequestStatus, TaskStatus
from approvals.registry import Fact
from approvals.selectors.facts import amount_in_words, moment_in_words, request_facts
from approvals.selectors.requests import due_at
from approvals.services import notifications
from approvals.services.digests import KIND as DIGEST
from approvals.services.digests import overdue, waiting_tasks
from approvals.services.links import link_create, link_path
from core.models import Notification, User
from core.notifications import MailContent, public_address


@dataclass(frozen=True, slots=True)
class Button:
    """A link that stands out; ``tone`` is "approve", "reject" or "plain"."""

    label: str
    url: str
    tone: str


def design(notification: Notification) -> MailContent | None:
    """The mail of a notification of approvals; None where it is no longer true."""
    if notification.kind == DIGEST:
        return _digest(notification)
    news = (
        ApprovalNews.objects.select_related(
            "request__requester",
            "request__created_by",
            "request__entity",
            "request__department",
            "task__step",
            "task__approver",
            "task__for_whom",
        )
        .filter(notification=notification)
        .first()
    )
    if news is None:
        return _render("news", notification, facts=[], buttons=[_open(notification)])
    if news.task is not None:
        return _task_mail(notification, news)
    if notification.kind == notifications.BLOCKED and news.request.status != RequestStatus.BLOCKED:
        return None
    if notification.kind == notifications.REVIEW and news.request.emergency_reviewed_by_id is not None:
        return None
    facts = request_facts(news.request, notification.user)
    return _render("news", notification, facts=facts, buttons=[_open(notification)])


def _task_mail(notification: Notification, news: ApprovalNews) -> MailContent | None:
    task, request = news.task, news.request
    assert task is not None
    if task.status != TaskStatus.OPEN or request.status != RequestStatus.PENDING:
        return None
    user = notification.user
    task.request = request
    buttons = [
        Button("Approve…", _decide(task, user, LinkAction.APPROVE), "approve"),
        Button("Reject…", _decide(task, user, LinkAction.REJECT), "reject"),
        _open(notification),
    ]
    return _render(
        "task",
        notification,
        facts=request_facts(request, user, task),
        buttons=buttons,
        description=request.description,
        hours=min(settings.APPROVAL_LINK_HOURS, 72),
    )


def _decide(task: ApprovalTask, user: User, action: str) -> str:
    return public_address(link_path(link_create(task=task, user=user, action=action)))


def _open(notification: Notification) -> Button:
    return Button("Open it in Enterprise Billing", public_address(notification.url), "plain")


def _digest(notification: Notification) -> MailContent | None:
    user = notification.user
    waiting = [
        {
            "title": f"{task.request.title} ({task.request.reference_number})",
            "url": public_address(f"/approvals/requests/{task.request_id}/"),
            "facts": _in_short(task, user),
            "overdue": overdue(task),
        }
        for task in waiting_tasks(user)
    ]
    news = [
        {"title": each.notification.title, "url": public_address(each.notification.url)}
        for each in ApprovalNews.objects.filter(digest=notification)
        .select_related("notification")
        .order_by("id")
    ]
    if not waiting and not news:
        return None
    return _render(
        "digest", notification, facts=[], buttons=[_open(notification)], waiting=waiting, news=news
    )


def _in_short(task: ApprovalTask, user: User) -> list[Fact]:
    facts = [
        Fact("Asked by", task.request.requester.display_name),
        Fact("Amount", amount_in_words(task.request)),
    ]
    due = due_at(task.request, task)
    if due is not None:
        facts.append(Fact("Decide by", moment_in_words(due, user)))
    return facts


def _render(
    name: str,
    notification: Notification,
    *,
    facts: Sequence[Fact],
    buttons: Sequence[Button],
    **more: Any,
) -> MailContent:
    context = {
        "notification": notification,
        "user": notification.user,
        "facts": facts,
        "buttons": buttons,
        "preferences_url": public_address(reverse("approvals:mails")),
        **more,
    }
    return MailContent(
        text=render_to_string(f"approvals/mail/{name}.txt", context).strip() + "\n",
        html=render_to_string(f"approvals/mail/{name}.html", context),
    )
