"""Filters of the work list; each says what it means by a service's or selector's own condition."""

from typing import Any

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest

from core import clock
from disputes.models import IN_WORK, OPEN_STATUSES, DisputeStatus, RootCause
from disputes.selectors.reasons import UNDECIDED, UNKNOWN_CAUSE, outcome_labels, with_reasons
from entities.admin.base import actor_of

NONE = "none"
"""Stands for what is not known yet, because an empty value is no filter."""

FOR_US = (DisputeStatus.OPEN, DisputeStatus.ACKNOWLEDGED, DisputeStatus.INVESTIGATING)


def standing_of(name: str, user: Any) -> Q:
    """Which disputes stand so."""
    is_open = Q(status__in=OPEN_STATUSES)
    conditions = {
        "open": is_open,
        "mine": is_open & Q(owner=user),
        "nobody": is_open & Q(owner__isnull=True),
        "overdue": is_open & Q(next_deadline_at__lt=clock.now()),
        "us": Q(status__in=FOR_US),
        "customer": Q(status=DisputeStatus.WAITING_CUSTOMER),
        "escalated": is_open & Q(is_escalated=True),
        "proposed": Q(status=DisputeStatus.PROPOSED),
        "chargeback": is_open & Q(chargeback_deadline__isnull=False),
        "work": Q(status__in=IN_WORK),
    }
    return conditions.get(name, Q())


class StandingFilter(admin.SimpleListFilter):
    """Whose turn it is, and what is late."""

    title = "standing"
    parameter_name = "standing"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [
            ("open", "Open"),
            ("mine", "Mine"),
            ("nobody", "Nobody’s"),
            ("overdue", "Overdue"),
            ("us", "Waiting for us"),
            ("customer", "Waiting for the customer"),
            ("escalated", "Escalated"),
            ("proposed", "Proposed"),
            ("chargeback", "Chargebacks"),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(standing_of(str(self.value()), actor_of(request)))


class OutcomeFilter(admin.SimpleListFilter):
    """What the last round came to."""

    title = "outcome"
    parameter_name = "outcome"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(NONE, UNDECIDED), *((key, label) for key, label in outcome_labels().items() if key)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        wanted = self.value()
        if wanted is None:
            return queryset
        return with_reasons(queryset).filter(last_outcome="" if wanted == NONE else wanted)


class CauseFilter(admin.SimpleListFilter):
    """What was found to be the cause."""

    title = "root cause"
    parameter_name = "cause"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(NONE, UNKNOWN_CAUSE), *RootCause.choices]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        wanted = self.value()
        return queryset if wanted is None else queryset.filter(root_cause="" if wanted == NONE else wanted)


class DecisionFilter(admin.SimpleListFilter):
    """Whether it was decided, and in time (DSP-10)."""

    title = "decision"
    parameter_name = "decision"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("made", "Decided"), ("in_time", "Decided in time"), ("late", "Decided too late")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        wanted = self.value()
        if wanted is None:
            return queryset
        decided = with_reasons(queryset).filter(resolved_at__isnull=False)
        return decided if wanted == "made" else decided.filter(was_late=wanted == "late")
