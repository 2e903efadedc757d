"""What approvals tell on the first page: how many wait, and what waits for the reader."""

from collections.abc import Iterable

from django.db.models import Count, Q
from django.http import HttpRequest
from django.urls import reverse

from approvals.admin.request import OVERRIDE, TO_REVIEW, overdue_condition
from approvals.models import ApprovalRequest, RequestStatus
from approvals.selectors.inbox import waiting_items
from core.admin.columns import number_text
from core.admin.dashboard import Card, Need, register_card, register_need
from core.models import User

REQUESTS = "admin:approvals_approvalrequest_changelist"


@register_card
def being_decided(request: HttpRequest) -> Card | None:
    """Requests that wait for somebody's decision, and which of them stand still."""
    user = request.user
    if not isinstance(user, User) or not user.has_perm("approvals.view_approvalrequest"):
        return None
    counts = ApprovalRequest.objects.visible_to(user).aggregate(
        pending=Count("pk", filter=Q(status=RequestStatus.PENDING)),
        blocked=Count("pk", filter=Q(status=RequestStatus.BLOCKED)),
        overdue=Count("pk", filter=overdue_condition()),
    )
    notes = [f"{number_text(counts[name])} {name}" for name in ("overdue", "blocked") if counts[name]]
    query = "status__exact=pending"
    if not counts["pending"] and counts["blocked"]:
        query = "status__exact=blocked"
    return Card(
        "Requests being decided",
        number_text(counts["pending"]),
        f"{reverse(REQUESTS)}?{query}",
        note=", ".join(notes) or "none overdue or blocked",
        tone="bad"
        if counts["blocked"]
        else "warn"
        if counts["overdue"]
        else "info"
        if counts["pending"]
        else "neutral",
        order=55,
    )


@register_need
def decisions(request: HttpRequest) -> Iterable[Need]:
    """What waits for the reader's own decision; it opens their inbox."""
    user = request.user
    assert isinstance(user, User)
    items = waiting_items(user)
    if not items:
        return
    overdue = sum(item.is_overdue for item in items)
    what = "request waits" if len(items) == 1 else "requests wait"
    yield Need(
        f"{number_text(len(items))} {what} for your decision{f', {number_text(overdue)} overdue' if overdue else ''}",
        reverse("approvals:inbox"),
        icon="approval",
        tone="warn" if overdue else "info",
    )


@register_need
def looking_after(request: HttpRequest) -> Iterable[Need]:
    """What those who look after approvals unblock, review and repair."""
    user = request.user
    assert isinstance(user, User)
    if not user.has_perm(OVERRIDE):
        return
    counts = ApprovalRequest.objects.visible_to(user, OVERRIDE).aggregate(
        blocked=Count("pk", filter=Q(status=RequestStatus.BLOCKED)),
        review=Count("pk", filter=TO_REVIEW),
        failed=Count("pk", filter=Q(status=RequestStatus.PENDING) & ~Q(effect_error="")),
    )
    for name, one, many, query, icon in (
        ("blocked", "request is blocked", "requests are blocked", "status__exact=blocked", "front_hand"),
        (
            "review",
            "emergency approval to review",
            "emergency approvals to review",
            "standing=review",
            "emergency",
        ),
        (
            "failed",
            "approval whose effect was refused",
            "approvals whose effect was refused",
            "standing=failed",
            "error",
        ),
    ):
        if counts[name]:
            yield Need(
                f"{number_text(counts[name])} {one if counts[name] == 1 else many}",
                f"{reverse(REQUESTS)}?{query}",
                icon=icon,
                tone="bad" if name == "blocked" else "warn",
            )
