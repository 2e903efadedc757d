"""What disputes tell on the first page: how many are open, which are late, how much is disputed."""

from collections.abc import Iterable
from typing import Any

from django.db.models import Count, Q, QuerySet, Sum
from django.http import HttpRequest
from django.urls import reverse

from core.admin.columns import amount_html, number_text
from core.admin.dashboard import Card, Need, register_card, register_need
from core.models import User
from disputes.access import HANDLE
from disputes.admin.filters import standing_of
from disputes.models import BillingDispute
from disputes.querysets import INTERNAL

LIST = "admin:disputes_billingdispute_changelist"


def _handled(request: HttpRequest) -> QuerySet[Any] | None:
    user = request.user
    if not isinstance(user, User) or not user.has_perm(INTERNAL):
        return None
    return BillingDispute.objects.handled_by(user)


def _url(standing: str) -> str:
    return f"{reverse(LIST)}?standing={standing}"


@register_card
def open_disputes(request: HttpRequest) -> Card | None:
    """How many are not decided, and whose turn it is."""
    rows = _handled(request)
    if rows is None:
        return None
    counts = rows.aggregate(
        open=Count("pk", filter=standing_of("open", request.user)),
        us=Count("pk", filter=standing_of("us", request.user)),
    )
    return Card(
        "Open disputes",
        number_text(counts["open"]),
        _url("open"),
        note=f"{number_text(counts['us'])} waiting for us",
        tone="info" if counts["us"] else "neutral",
        order=32,
    )


@register_card
def overdue_disputes(request: HttpRequest) -> Card | None:
    """How many have missed a deadline and still wait."""
    rows = _handled(request)
    if rows is None:
        return None
    counts = rows.aggregate(
        overdue=Count("pk", filter=standing_of("overdue", request.user)),
        escalated=Count("pk", filter=standing_of("escalated", request.user)),
    )
    return Card(
        "Overdue disputes",
        number_text(counts["overdue"]),
        _url("overdue"),
        note=f"{number_text(counts['escalated'])} escalated",
        tone="bad" if counts["overdue"] else "neutral",
        order=33,
    )


@register_card
def disputed_amount(request: HttpRequest) -> Card | None:
    """How much is not decided, per currency."""
    rows = _handled(request)
    if rows is None:
        return None
    sums = (
        rows.filter(standing_of("open", request.user))
        .order_by()
        .values("currency")
        .annotate(total=Sum("amount"))
        .order_by("currency")
    )
    return Card(
        "Disputed",
        "0",
        _url("open"),
        note="not collected until it is decided",
        order=34,
        lines=tuple(amount_html(row["total"], row["currency"]) for row in sums),
    )


@register_need
def own_disputes(request: HttpRequest) -> Iterable[Need]:
    """What the reader works on, and what nobody does."""
    rows = _handled(request)
    if rows is None or not request.user.has_perm(HANDLE):  # type: ignore[union-attr]  # somebody, see above
        return
    counts = rows.aggregate(
        mine=Count("pk", filter=standing_of("mine", request.user)),
        late=Count("pk", filter=standing_of("mine", request.user) & standing_of("overdue", request.user)),
        nobody=Count("pk", filter=standing_of("nobody", request.user) & Q(merged_into__isnull=True)),
    )
    if counts["mine"]:
        late = f", {number_text(counts['late'])} overdue" if counts["late"] else ""
        what = "dispute is" if counts["mine"] == 1 else "disputes are"
        yield Need(
            f"{number_text(counts['mine'])} {what} yours{late}",
            _url("mine"),
            icon="gavel",
            tone="bad" if counts["late"] else "info",
        )
    if counts["nobody"]:
        what = "dispute has" if counts["nobody"] == 1 else "disputes have"
        yield Need(
            f"{number_text(counts['nobody'])} {what} no owner", _url("nobody"), icon="person_add", tone="warn"
        )
