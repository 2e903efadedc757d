"""Why customers dispute, and what came of it: the report on reasons.

For staff only, because causes are internal (DSP-18). What was merged counts once, in the dispute that took it in.
"""

import datetime
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from django.db.models import (
    Aggregate,
    BigIntegerField,
    Case,
    CharField,
    Count,
    Exists,
    F,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
    Sum,
    Value,
    When,
)
from django.db.models.functions import Coalesce

from core.models import User
from disputes.models import (
    BillingDispute,
    Category,
    DisputeResolution,
    DisputeRound,
    DisputeStatus,
    Outcome,
    ResolutionStatus,
    RootCause,
)
from entities.services.records import field_error

UNDECIDED, UNKNOWN_CAUSE = "Not decided", "Not found yet"
ENDED = (DisputeStatus.WITHDRAWN, DisputeStatus.MOOT)
_TENTH = Decimal("0.1")


@dataclass(frozen=True, slots=True)
class ReasonAmounts:
    """What was disputed in one currency, and what was found to be right of it; both include tax."""

    currency: str
    disputed: Decimal
    approved: Decimal


@dataclass(frozen=True, slots=True)
class ReasonRow:
    """The disputes of one category, root cause or outcome.

    ``in_time`` counts those decided whose resolution clock never ran out, in any round (DSP-10). ``median_seconds`` is
    the working time that half of those decided took at most, in their last round and without pauses.
    """

    key: str
    label: str
    disputes: int
    decided: int
    in_time: int
    median_seconds: int | None
    amounts: tuple[ReasonAmounts, ...]

    @property
    def in_time_percent(self) -> Decimal | None:
        """The share of those decided that were decided in time, to a tenth; None where nothing is decided."""
        if not self.decided:
            return None
        return (Decimal(100 * self.in_time) / self.decided).quantize(_TENTH, ROUND_HALF_UP)


@dataclass(frozen=True, slots=True)
class DisputeReasons:
    """The same disputes in three groupings, each with the most frequent first."""

    by_category: tuple[ReasonRow, ...]
    by_root_cause: tuple[ReasonRow, ...]
    by_outcome: tuple[ReasonRow, ...]


def dispute_reasons(
    user: User,
    *,
    opened_from: datetime.date | None = None,
    opened_to: datetime.date | None = None,
    issuer_id: int | None = None,
    entity_id: int | None = None,
) -> DisputeReasons:
    """Report on the disputes that the user handles, opened in ``[opened_from, opened_to)`` (days in UTC).

    Two queries for each grouping. Raises Invalid ``period_not_ordered``.
    """
    if opened_from is not None and opened_to is not None and opened_to <= opened_from:
        raise field_error(
            "opened_to", "period_not_ordered", "The period ends on the day before: give a later one."
        )
    rows = BillingDispute.objects.handled_by(user).filter(merged_into__isnull=True)
    if opened_from is not None:
        rows = rows.filter(opened_at__gte=_midnight(opened_from))
    if opened_to is not None:
        rows = rows.filter(opened_at__lt=_midnight(opened_to))
    if issuer_id is not None:
        rows = rows.filter(issuer_id=issuer_id)
    if entity_id is not None:
        rows = rows.filter(entity_id=entity_id)
    return DisputeReasons(
        by_category=_grouped(rows, "category", dict(Category.choices)),
        by_root_cause=_grouped(rows, "root_cause", {**dict(RootCause.choices), "": UNKNOWN_CAUSE}),
        by_outcome=_grouped(rows, "last_outcome", outcome_labels()),
    )


def outcome_labels() -> dict[str, str]:
    """What ``last_outcome`` may be, in words."""
    ended = {status.value: str(status.label) for status in ENDED}
    return {**{key: str(label) for key, label in Outcome.choices}, **ended, "": UNDECIDED}


def with_reasons(rows: QuerySet[Any]) -> QuerySet[Any]:
    """Add what the report groups and counts by: ``last_outcome`` and ``was_late``, in any round."""
    late = DisputeRound.objects.filter(dispute_id=OuterRef("pk"), resolution_breached_at__isnull=False)
    return rows.annotate(last_outcome=_outcome(), was_late=Exists(late))


def _midnight(day: datetime.date) -> datetime.datetime:
    return datetime.datetime.combine(day, datetime.time(), tzinfo=datetime.UTC)


def _outcome() -> Any:
    """What the last round came to; "" while it runs."""
    applied = DisputeResolution.objects.filter(
        dispute_id=OuterRef("pk"),
        round__number=OuterRef("round_number"),
        status=ResolutionStatus.APPLIED,
    )
    ended = Case(
        When(status__in=ENDED, then=F("status")), default=Value(""), output_field=CharField(max_length=20)
    )
    return Coalesce(Subquery(applied.values("outcome")[:1]), ended, output_field=CharField())


class Median(Aggregate):
    """The value in the middle; of two in the middle the lower one."""

    function = "PERCENTILE_DISC"
    template = "%(function)s(0.5) WITHIN GROUP (ORDER BY %(expressions)s)"
    output_field = BigIntegerField()


def _grouped(rows: QuerySet[Any], group: str, labels: Mapping[str, str]) -> tuple[ReasonRow, ...]:
    decided = Q(resolved_at__isnull=False)
    rows = with_reasons(rows.order_by())
    found = (
        rows.annotate(group=F(group))
        .values("group", "currency")
        .annotate(
            disputes=Count("pk"),
            decided_number=Count("pk", filter=decided),
            in_time=Count("pk", filter=decided & Q(was_late=False)),
            disputed=Sum("amount"),
            approved=Coalesce(Sum("approved_amount"), Value(Decimal(0))),
        )
        .order_by("group", "currency")
    )
    last = DisputeRound.objects.filter(dispute_id=OuterRef("pk"), number=OuterRef("round_number"))
    took = rows.filter(decided).annotate(group=F(group), took=Subquery(last.values("elapsed_seconds")))
    medians = dict(took.values("group").annotate(median=Median("took")).values_list("group", "median"))
    by_key: dict[str, list[dict[str, Any]]] = {}
    for row in found:
        by_key.setdefault(row["group"], []).append(row)
    shown = (_row(key, labels[key], medians.get(key), parts) for key, parts in by_key.items())
    return tuple(sorted(shown, key=lambda row: (-row.disputes, row.label)))


def _row(key: str, label: str, median: int | None, parts: Iterable[Mapping[str, Any]]) -> ReasonRow:
    parts = list(parts)
    return ReasonRow(
        key=key,
        label=label,
        disputes=sum(part["disputes"] for part in parts),
        decided=sum(part["decided_number"] for part in parts),
        in_time=sum(part["in_time"] for part in parts),
        median_seconds=median,
        amounts=tuple(ReasonAmounts(part["currency"], part["disputed"], part["approved"]) for part in parts),
    )
