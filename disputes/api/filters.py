"""Filters of the lists of disputes."""

import re
from typing import Any

import django_filters
from django.db.models import Q, QuerySet

from core import clock
from core.api.filters import BillingFilterSet, BooleanFilter, IdFilter, filter_fields
from disputes.access import OPEN
from disputes.models import (
    BillingDispute,
    DisputeAttachment,
    DisputeComment,
    DisputeEvent,
    DisputePolicy,
    DisputeStatus,
    RootCause,
    Visibility,
)

INBOXES = [
    ("mine", "What waits for me: what I handle, and what waits for an answer of mine"),
    ("unassigned", "What nobody handles yet, at the issuers that I work for"),
]
NUMBER = re.compile(r"[Dd]-0*(?P<id>[1-9][0-9]{0,17})")


class DisputeFilter(BillingFilterSet):
    """What is internal (owner, escalation, root cause) filters only what the caller handles (DSP-18)."""

    inbox = django_filters.ChoiceFilter(
        choices=INBOXES, method="filter_inbox", label="From the caller's view."
    )
    number = django_filters.CharFilter(method="filter_number", label="As people name it: D-000012.")
    overdue = BooleanFilter(method="filter_overdue", label="Open, and the next deadline has passed.")
    is_open = BooleanFilter(method="filter_open", label="Nothing is decided yet.")
    owner_id = IdFilter(method="filter_internal", label="Who handles it; of what you handle only.")
    is_escalated = BooleanFilter(method="filter_internal", label="Of what you handle only.")
    root_cause = django_filters.ChoiceFilter(
        choices=RootCause.choices, method="filter_internal", label="Of what you handle only."
    )

    class Meta:
        model = BillingDispute
        fields = filter_fields(
            "invoice", "invoice_line", "entity", "issuer", "department", "currency", "direction", "opened_by",
            "customer_reference", "merged_into",
            ranges=["amount", "approved_amount", "opened_at", "resolved_at", "next_deadline_at", "updated_at"],
            lists=["status", "category", "severity"],
        )  # fmt: skip

    def filter_inbox(self, queryset: Any, name: str, value: str) -> QuerySet[Any]:
        user = self.request.user
        handled = BillingDispute.objects.handled_by(user)
        if value == "unassigned":
            own = handled.open().filter(owner__isnull=True)
        else:
            answers = BillingDispute.objects.visible_to(user, OPEN).filter(
                status=DisputeStatus.WAITING_CUSTOMER
            )
            own = BillingDispute.objects.filter(
                Q(pk__in=handled.open().filter(owner=user).values("pk"))
                | Q(pk__in=answers.exclude(pk__in=handled.values("pk")).values("pk"))
            )
        return queryset.filter(pk__in=own.values("pk"))  # type: ignore[no-any-return]

    def filter_number(self, queryset: Any, name: str, value: str) -> QuerySet[Any]:
        found = NUMBER.fullmatch(value.strip())
        return queryset.filter(pk=int(found["id"])) if found else queryset.none()  # type: ignore[no-any-return]

    def filter_overdue(self, queryset: Any, name: str, value: bool) -> QuerySet[Any]:
        """At the deadline itself it is still in time (DSP-10)."""
        overdue = BillingDispute.objects.open().filter(next_deadline_at__lt=clock.now()).values("pk")
        return queryset.filter(pk__in=overdue) if value else queryset.exclude(pk__in=overdue)  # type: ignore[no-any-return]

    def filter_open(self, queryset: Any, name: str, value: bool) -> QuerySet[Any]:
        found = BillingDispute.objects.open().values("pk")
        return queryset.filter(pk__in=found) if value else queryset.exclude(pk__in=found)  # type: ignore[no-any-return]

    def filter_internal(self, queryset: Any, name: str, value: Any) -> QuerySet[Any]:
        """Who cannot read it learns nothing of it by filtering either."""
        return queryset.handled_by(self.request.user).filter(**{name: value})  # type: ignore[no-any-return]


class DisputeCommentFilter(BillingFilterSet):
    """Comments by visibility, side and author."""

    class Meta:
        model = DisputeComment
        fields = filter_fields("author", "visibility", "speaker", ranges=["created_at"])


class DisputeEventFilter(BillingFilterSet):
    """The log by kind, person and time."""

    class Meta:
        model = DisputeEvent
        fields = filter_fields("actor", ranges=["at"], lists=["kind"])


class DisputeAttachmentFilter(BillingFilterSet):
    """Files by dispute, comment, person and readers."""

    visibility = django_filters.ChoiceFilter(choices=Visibility.choices)

    class Meta:
        model = DisputeAttachment
        fields = filter_fields("dispute", "comment", "uploaded_by", "sha256", ranges=["size", "uploaded_at"])


class DisputePolicyFilter(BillingFilterSet):
    """Policies by what they hold for."""

    class Meta:
        model = DisputePolicy
        fields = filter_fields("issuer", "customer", "contract", "calendar", "lead", "is_active")
