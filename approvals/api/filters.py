"""Filters of the lists of approvals."""

from typing import Any

import django_filters
from django.db.models import F, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce

from approvals.models import (
    ApprovalAction,
    ApprovalAttachment,
    ApprovalRequest,
    ApprovalRule,
    ApprovalTask,
    AuthorityLimit,
    Delegation,
    TaskOrigin,
    TaskStatus,
)
from core import clock
from core.api.filters import BillingFilterSet, BooleanFilter, IdFilter, filter_fields

INBOXES = [
    ("mine", "What waits for me"),
    ("overdue", "What waits for me and has been escalated, or is about to be"),
    ("delegated", "What waits for me in somebody else's place"),
    ("decided", "What I have decided"),
]


class ApprovalFilter(BillingFilterSet):
    """`inbox=mine` for what waits for the caller, delegations included, the most urgent first."""

    inbox = django_filters.ChoiceFilter(
        choices=INBOXES, method="filter_inbox", label="From the caller's view."
    )
    review_due = BooleanFilter(
        method="filter_review", label="An emergency approval that nobody has reviewed yet."
    )

    class Meta:
        model = ApprovalRequest
        fields = filter_fields(
            "entity", "department", "budget", "requester", "created_by", "contract_id", "subject_id", "reference",
            ranges=["amount", "base_amount", "created_at", "submitted_at", "decided_at", "expires_at"],
            lists=["status", "request_type", "currency"],
        )  # fmt: skip

    def filter_inbox(self, queryset: QuerySet[Any], name: str, value: str) -> QuerySet[Any]:
        """Of what waits, ``waits_until`` is when the first of it is due."""
        user = self.request.user
        if value == "decided":
            decided = ApprovalTask.objects.filter(
                acted_by=user, status__in=[TaskStatus.APPROVED, TaskStatus.REJECTED, TaskStatus.RETURNED]
            )
            return queryset.filter(pk__in=decided.values("request_id"))
        waiting = ApprovalTask.objects.waiting_for(user)
        if value == "overdue":
            waiting = waiting.filter(Q(step__hops_done__gt=0) | Q(step__escalates_at__lte=clock.now()))
        elif value == "delegated":
            waiting = waiting.filter(~Q(approver=user) | Q(origin=TaskOrigin.DELEGATED))
        of_request = (
            waiting.filter(request_id=OuterRef("pk"))
            .annotate(due=Coalesce(F("step__escalates_at"), F("request__expires_at")))
            .order_by("due")
        )
        rows = queryset.filter(pk__in=waiting.values("request_id"))
        return rows.annotate(waits_until=Subquery(of_request.values("due")[:1]))

    def filter_review(self, queryset: QuerySet[Any], name: str, value: bool) -> QuerySet[Any]:
        due = Q(emergency_review_due__isnull=False, emergency_reviewed_by__isnull=True)
        return queryset.filter(due) if value else queryset.exclude(due)


class ApprovalTrailFilter(BillingFilterSet):
    """The trail of a request by kind, person, round and time."""

    class Meta:
        model = ApprovalAction
        fields = filter_fields("actor", "on_behalf_of", "round", ranges=["created_at"], lists=["kind"])


class ApprovalTaskFilter(BillingFilterSet):
    """Tasks by person, state and place: the workload of an approver is `approver_id=7&status=open`."""

    entity_id = IdFilter(field_name="request__entity_id")
    department_id = IdFilter(field_name="request__department_id")

    class Meta:
        model = ApprovalTask
        fields = filter_fields(
            "request", "approver", "acted_by", "origin", ranges=["opened_at", "acted_at"], lists=["status"]
        )


class ApprovalAttachmentFilter(BillingFilterSet):
    """Files by request and person."""

    class Meta:
        model = ApprovalAttachment
        fields = filter_fields("request", "uploaded_by", "sha256", ranges=["size", "uploaded_at"])


class ApprovalRuleFilter(BillingFilterSet):
    """Rules by type and place; `in_force_on=2031-03-31` for those of a day."""

    in_force_on = django_filters.DateFilter(method="filter_day", label="In force on this day.")

    class Meta:
        model = ApprovalRule
        fields = filter_fields(
            "entity", "department", "currency", "is_active", "also", "auto_approve",
            ranges=["priority", "amount_from", "amount_to"],
            lists=["request_type"],
        )  # fmt: skip

    def filter_day(self, queryset: Any, name: str, value: Any) -> QuerySet[Any]:
        found: QuerySet[Any] = queryset.in_force(value)
        return found


class DelegationFilter(BillingFilterSet):
    """Delegations by person; `in_force=true` for those that count now."""

    in_force = BooleanFilter(method="filter_in_force", label="In force now.")

    class Meta:
        model = Delegation
        fields = filter_fields("delegator", "delegate", ranges=["valid_from", "valid_to"])

    def filter_in_force(self, queryset: Any, name: str, value: bool) -> QuerySet[Any]:
        now = Delegation.objects.in_force().values("pk")
        return queryset.filter(pk__in=now) if value else queryset.exclude(pk__in=now)


class AuthorityLimitFilter(BillingFilterSet):
    """Limits by person, role, place and type."""

    class Meta:
        model = AuthorityLimit
        fields = filter_fields(
            "user", "entity", "request_type", "is_ultimate", ranges=["max_amount"], lists=["role"]
        )
