"""The one way in which a budget's counters move (BUD-01, BUD-04 to BUD-08, BUD-17, BUD-26 to BUD-28).

`post` takes the movements of one document and books all of them or none. In one transaction it

1. locks every budget whose counter will move, in ascending id (architecture, convention 2),
2. frees what has expired on them, so that no check depends on a job having run (BUD-17),
3. tests state, period and funds of every line and reports every failing one (BUD-07),
4. appends the entries and moves the counters; the table's CHECK constraints repeat the test of the funds,
5. fires or re-arms the thresholds (BUD-28).
"""

import datetime
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal

from django.db import transaction
from django.db.models import F, Q

from budgets.models import (
    Budget,
    BudgetEntry,
    BudgetException,
    BudgetStatus,
    Commitment,
    CommitmentStatus,
    Control,
    EntryKind,
)
from budgets.services import thresholds
from budgets.services.profile import Use, profile_shortfalls
from budgets.services.refusals import BudgetShortfall, insufficient_budget
from core import clock
from core.access import has, system_actor
from core.errors import Conflict, Forbidden, Misuse, NotFound
from core.history import current_request_id
from core.models import User

ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class Source:
    """The document line that a movement comes from; the same one books nothing twice (BUD-08)."""

    type: str
    id: str
    line: int = 0
    revision: int = 0


@dataclass(frozen=True, slots=True)
class Movement:
    """What one line does to one budget; deltas are signed and in the budget's currency."""

    budget_id: int
    kind: EntryKind
    posting_date: datetime.date
    description: str
    document_amount: Decimal
    document_currency: str
    allocated: Decimal = ZERO
    committed: Decimal = ZERO
    spent: Decimal = ZERO
    override: Decimal = ZERO
    rate: Decimal = Decimal(1)
    rate_date: datetime.date | None = None
    fx_variance: Decimal = ZERO
    tax_recoverable: bool = False
    reference: str = ""
    reason: str = ""
    source: Source | None = None
    commitment_id: int | None = None
    reverses_id: int | None = None
    counterpart_id: int | None = None

    @property
    def claim(self) -> Decimal:
        """By how much it lowers what is available; negative when it gives something back."""
        return self.spent + self.committed - self.allocated - self.override


@dataclass(slots=True)
class Posting:
    """What `post` did: the entries in the order of the movements, and the budgets as they stand now."""

    entries: list[BudgetEntry]
    budgets: dict[int, Budget] = field(default_factory=dict)
    replayed: bool = False


def post(
    movements: Sequence[Movement],
    *,
    actor: User,
    locked: dict[int, Budget] | None = None,
    profile_waived: Collection[int] = (),
) -> Posting:
    """Book the movements of one document, all or none; a retry of the same source returns the first entries.

    ``locked`` are the budgets if the caller holds their locks already (from ``lock_budgets``); their figures are
    kept up to date. ``profile_waived`` are budgets whose monthly profile an override sets aside (BUD-29).

    Raises Conflict: ``insufficient_budget`` (listing every failing budget with allocated, used, asked and short),
    ``budget_not_open``, ``budget_closed``, ``outside_budget_period``; Forbidden ``budget_soft_closed``; Misuse
    ``source_reused`` when the same source booked something else before.
    """
    with transaction.atomic():
        budgets = locked if locked is not None else lock_budgets({each.budget_id for each in movements})
        earlier = earlier_posting(movements, budgets)
        if earlier is not None:
            return earlier
        for movement in movements:
            require_postable(budgets[movement.budget_id], movement.posting_date, actor)
        claims = require_funds(movements, budgets, profile_waived=profile_waived)
        before = {pk: budgets[pk].available_amount for pk in claims}
        entries = _append(movements, actor)
        _move_counters(movements, budgets)
        overspent = _record_exceptions(claims, before, budgets, movements, entries)
        thresholds.evaluate((budgets[pk] for pk in sorted(claims)), entry=entries[-1], overspent=overspent)
        return Posting(entries, budgets)


def require_funds(
    movements: Sequence[Movement], locked: dict[int, Budget], *, profile_waived: Collection[int] = ()
) -> dict[int, Decimal]:
    """Refuse what the locked budgets do not have, naming every one that is short (BUD-06, BUD-07).

    Returns how much each counter loses of what it has available.
    """
    claims = _claims_by_counter(movements, locked)
    shortfalls = _shortfalls(claims, locked) or profile_shortfalls(
        locked, _uses(movements), waived=profile_waived
    )
    if shortfalls:
        raise insufficient_budget(shortfalls)
    return claims


def lock_budgets(budget_ids: Collection[int]) -> dict[int, Budget]:
    """Lock the budgets and every control point that counts them, and free what has expired on them.

    Expired commitments of other budgets below the same control points are freed too; their budgets are locked
    with the rest, in one ascending pass, so that two documents never wait for each other in a circle.
    """
    now = clock.now()
    counters = _counters_of(budget_ids)
    if not counters.issuperset(budget_ids):
        raise NotFound(
            "not_found", "The budget was deleted meanwhile. Open the list again and choose another."
        )
    below = set(
        Commitment.objects.expired(now)
        .filter(budget__counted_by__overlap=sorted(counters))
        .values_list("budget_id", flat=True)
    )
    wanted = counters | _counters_of(below - set(budget_ids))
    locked = {
        budget.pk: budget
        for budget in Budget.objects.filter(pk__in=wanted)
        .select_related("entity")
        .order_by("pk")
        .select_for_update(of=("self",), no_key=True)
    }
    if any(not locked.keys() >= set(locked[pk].counted_by) for pk in {*budget_ids, *below} & locked.keys()):
        # Somebody made a control point while this one waited for the lock. Locking it now, out of turn, could
        # end in a deadlock.
        raise Conflict(
            "budget_tree_changed",
            "The tree of budgets was being changed at this moment. Send the same again.",
        )
    if below:
        _free_expired(locked, below, now)
    return locked


def _counters_of(budget_ids: Collection[int]) -> set[int]:
    found: set[int] = set()
    for counted_by in Budget.objects.filter(pk__in=budget_ids).values_list("counted_by", flat=True):
        found.update(counted_by)
    return found


def _free_expired(locked: dict[int, Budget], budget_ids: set[int], now: datetime.datetime) -> None:
    """Write the release of each expired remainder, once (BUD-17)."""
    expired = list(
        Commitment.objects.expired(now)
        .filter(budget_id__in=budget_ids)
        .order_by("pk")
        .select_for_update(of=("self",))
    )
    releases = []
    for commitment in expired:
        releases.append(
            Movement(
                budget_id=commitment.budget_id,
                kind=EntryKind.RELEASE,
                posting_date=posting_date_within(locked[commitment.budget_id], clock.today()),
                description=f"Expired: {commitment.description}"[:500],
                document_amount=-commitment.remainder,
                document_currency=locked[commitment.budget_id].currency,
                committed=-commitment.remainder,
                reference=commitment.reference,
                reason="Expired",
                commitment_id=commitment.pk,
            )
        )
        commitment.released_amount += commitment.remainder
        commitment.status = CommitmentStatus.EXPIRED
    if not releases:
        return
    Commitment.objects.bulk_update(expired, ["released_amount", "status"])
    entries = _append(releases, system_actor())
    _move_counters(releases, locked)
    thresholds.evaluate(locked.values(), entry=entries[-1])


def earlier_posting(movements: Sequence[Movement], budgets: dict[int, Budget]) -> Posting | None:
    """What the same sources booked before, or None; the budgets are locked (BUD-08).

    Raises Misuse ``source_reused`` when they booked another amount, or only some of the lines.
    """
    sourced = {
        (each.source, each.kind, each.budget_id): each for each in movements if each.source is not None
    }
    wanted = Q(pk__in=[])
    for source, kind, budget_id in sourced:
        wanted |= _is_of(source, kind, budget_id)
    found = list(BudgetEntry.objects.filter(wanted).order_by("pk")) if sourced else []
    if not found:
        return None
    same = len(found) == len(sourced) and all(_booked_the_same(entry, sourced) for entry in found)
    if not same:
        raise Misuse(
            "source_reused",
            "This document line was booked before with other figures. Send the same again, or a new revision.",
            extra={"entries": [entry.pk for entry in found]},
        )
    return Posting(found, budgets, replayed=True)


def _is_of(source: Source, kind: str, budget_id: int) -> Q:
    return Q(
        source_type=source.type,
        source_id=source.id,
        source_line=source.line,
        source_revision=source.revision,
        kind=kind,
        budget_id=budget_id,
    )


def _booked_the_same(entry: BudgetEntry, sourced: dict[tuple[Source, EntryKind, int], Movement]) -> bool:
    source = Source(entry.source_type, entry.source_id, entry.source_line, entry.source_revision)
    movement = sourced[source, EntryKind(entry.kind), entry.budget_id]
    return (entry.document_amount, entry.document_currency) == (
        movement.document_amount,
        movement.document_currency,
    )


def posting_date_within(budget: Budget, day: datetime.date) -> datetime.date:
    """``day``, or the nearest day of the budget's period."""
    last = budget.period_end - datetime.timedelta(days=1)
    return min(max(day, budget.period_start), last)


def require_postable(budget: Budget, posting_date: datetime.date, actor: User) -> None:
    """Refuse what the state or the period of the budget does not take (BUD-19, BUD-21)."""
    if budget.status == BudgetStatus.DRAFT:
        raise Conflict(
            "budget_not_open",
            f"The budget “{budget.name}” is still a draft. Open it first; whoever may close budgets can.",
            extra={"budget_id": budget.pk, "status": budget.status},
        )
    if budget.status == BudgetStatus.CLOSED:
        raise Conflict(
            "budget_closed",
            f"The budget “{budget.name}” is closed. Post to the open period, or have it reopened by two people.",
            extra={"budget_id": budget.pk, "status": budget.status},
        )
    if budget.status == BudgetStatus.SOFT_CLOSED and not has(
        actor, "budgets.post_soft_closed_budget", budget
    ):
        raise Forbidden(
            "budget_soft_closed",
            f"The budget “{budget.name}” is being closed: only finance may still post to it.",
            extra={"budget_id": budget.pk, "status": budget.status},
        )
    if not budget.covers(posting_date):
        raise Conflict(
            "outside_budget_period",
            f"{posting_date} is outside the budget “{budget.name}”, which runs from {budget.period_start} until "
            f"before {budget.period_end}. Use the budget of that day.",
            extra={
                "budget_id": budget.pk,
                "posting_date": posting_date.isoformat(),
                "period_start": budget.period_start.isoformat(),
                "period_end": budget.period_end.isoformat(),
            },
        )


def _claims_by_counter(movements: Sequence[Movement], budgets: dict[int, Budget]) -> dict[int, Decimal]:
    """How much each counter loses of what it has available: lines on one budget are summed first (BUD-07)."""
    claims: dict[int, Decimal] = defaultdict(lambda: ZERO)
    for movement in movements:
        own = movement.claim
        for counter_id in budgets[movement.budget_id].counted_by:
            # What a budget is given is its own; what it uses counts at every control point above it (BUD-26).
            claims[counter_id] += (
                own if counter_id == movement.budget_id else movement.spent + movement.committed
            )
    return claims


def _shortfalls(claims: dict[int, Decimal], budgets: dict[int, Budget]) -> list[BudgetShortfall]:
    found = []
    for budget_id, claim in sorted(claims.items()):
        room = headroom(budgets[budget_id])
        if claim > 0 and room is not None and claim > room:
            found.append(BudgetShortfall(budget=budgets[budget_id], asked=claim, short=claim - room))
    return found


def _uses(movements: Iterable[Movement]) -> list[Use]:
    return [Use(each.budget_id, each.posting_date, each.committed + each.spent) for each in movements]


def headroom(budget: Budget) -> Decimal | None:
    """How much more may be claimed before a refusal; None when nothing is refused (BUD-03, BUD-06)."""
    if budget.control == Control.OFF:
        return None
    if budget.control == Control.ADVISORY:
        return None if budget.overspend_limit is None else budget.available_amount + budget.overspend_limit
    return budget.available_amount


def _append(movements: Sequence[Movement], actor: User) -> list[BudgetEntry]:
    return BudgetEntry.objects.bulk_create(entries_of(movements, actor))


def entries_of(movements: Iterable[Movement], actor: User) -> list[BudgetEntry]:
    """The entries that book the movements, not written yet."""
    now = clock.now()
    request_id = current_request_id()
    return [
        BudgetEntry(
            budget_id=movement.budget_id,
            kind=movement.kind,
            allocated_delta=movement.allocated,
            committed_delta=movement.committed,
            spent_delta=movement.spent,
            override_delta=movement.override,
            document_amount=movement.document_amount,
            document_currency=movement.document_currency,
            rate=movement.rate,
            rate_date=movement.rate_date,
            fx_variance=movement.fx_variance,
            tax_recoverable=movement.tax_recoverable,
            posting_date=movement.posting_date,
            description=movement.description,
            reference=movement.reference,
            reason=movement.reason,
            source_type=movement.source.type if movement.source else "",
            source_id=movement.source.id if movement.source else "",
            source_line=movement.source.line if movement.source else 0,
            source_revision=movement.source.revision if movement.source else 0,
            commitment_id=movement.commitment_id,
            reverses_id=movement.reverses_id,
            counterpart_id=movement.counterpart_id,
            actor=actor,
            created_at=now,
            request_id=request_id,
        )
        for movement in movements
    ]


@dataclass(frozen=True, slots=True)
class _Change:
    allocated: Decimal = ZERO
    committed: Decimal = ZERO
    spent: Decimal = ZERO
    override: Decimal = ZERO


def _move_counters(movements: Sequence[Movement], budgets: dict[int, Budget]) -> None:
    """Apply the sums to the counters, in the database and on the locked objects.

    The rows are locked, so the figures tested are the figures changed; the CHECK constraints repeat the test.
    """
    changes: dict[int, _Change] = defaultdict(_Change)
    for movement in movements:
        for counter_id in budgets[movement.budget_id].counted_by:
            change = changes[counter_id]
            own = counter_id == movement.budget_id
            changes[counter_id] = replace(
                change,
                allocated=change.allocated + (movement.allocated if own else ZERO),
                override=change.override + (movement.override if own else ZERO),
                committed=change.committed + movement.committed,
                spent=change.spent + movement.spent,
            )
    for budget_id, change in sorted(changes.items()):
        Budget.objects.filter(pk=budget_id).update(
            allocated_amount=F("allocated_amount") + change.allocated,
            override_amount=F("override_amount") + change.override,
            committed_amount=F("committed_amount") + change.committed,
            spent_amount=F("spent_amount") + change.spent,
        )
        budget = budgets[budget_id]
        budget.allocated_amount += change.allocated
        budget.override_amount += change.override
        budget.committed_amount += change.committed
        budget.spent_amount += change.spent


def _record_exceptions(
    claims: dict[int, Decimal],
    before: dict[int, Decimal],
    budgets: dict[int, Budget],
    movements: Sequence[Movement],
    entries: Sequence[BudgetEntry],
) -> set[int]:
    """Note each claim that was let through beyond what was available, and by how much (BUD-03).

    Returns the budgets that were exceeded: those with advisory control, the movement's own or above it.
    """
    exceeded: dict[int, BudgetEntry] = {}
    for movement, entry in zip(movements, entries, strict=True):
        for counter_id in budgets[movement.budget_id].counted_by:
            counter = budgets[counter_id]
            if (
                claims[counter_id] > 0
                and counter.control == Control.ADVISORY
                and counter.available_amount < 0
            ):
                exceeded[counter_id] = entry
    now = clock.now()
    BudgetException.objects.bulk_create(
        BudgetException(
            entry=entry,
            budget_id=budget_id,
            over_by=claims[budget_id] - max(before[budget_id], ZERO),
            created_at=now,
        )
        for budget_id, entry in exceeded.items()
    )
    return set(exceeded)
