"""What passes from a closed budget to the next period: preview, run and undo (BUD-20, BUD-23)."""

import datetime
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Any

from django.db import transaction
from django.db.models import QuerySet, Sum

from budgets.models import (
    Budget,
    BudgetEntry,
    BudgetRollover,
    BudgetStatus,
    CloseDecision,
    Commitment,
    CommitmentStatus,
    EntryKind,
    RolloverPolicy,
    RolloverStatus,
)
from budgets.services.ledger import Movement, post
from budgets.services.profile import spread_allocation
from budgets.services.tree import lock_for_allocation, require_allocations_fit
from core import clock
from core.access import get_visible, require
from core.errors import Conflict, Invalid
from core.history import record_as
from core.models import User
from core.money import plain_amount, round_money

ZERO = Decimal(0)
HUNDRED = Decimal(100)
CARRIED = frozenset({"", CloseDecision.CARRY})
CARRYING = frozenset(
    {RolloverPolicy.COMMITMENTS, RolloverPolicy.COMMITMENTS_UNFUNDED, RolloverPolicy.UNSPENT}
)
FUNDED = frozenset({RolloverPolicy.COMMITMENTS, RolloverPolicy.UNSPENT})


@dataclass(frozen=True, slots=True)
class RolloverLine:
    """One row of a rollover: money, or a commitment, that passes on; amounts in the budgets' currency."""

    what: str
    amount: str
    commitment_id: int | None = None
    funded: bool = True
    description: str = ""


@dataclass(frozen=True, slots=True)
class RolloverPreview:
    """Exactly the rows that the run posts."""

    from_budget: Budget
    to_budget: Budget
    lines: list[RolloverLine]

    @property
    def money(self) -> Decimal:
        """By how much the target's allocation changes."""
        return sum((Decimal(line.amount) for line in self.lines if line.commitment_id is None), ZERO)

    @property
    def commitments(self) -> Decimal:
        """How much is promised anew on the target."""
        return sum((Decimal(line.amount) for line in self.lines if line.what == "commitment"), ZERO)


def rollover_preview(*, actor: User, from_budget_id: int, to_budget_id: int) -> RolloverPreview:
    """Show what the source's policy would pass to the target; writes nothing."""
    source = get_visible(Budget.objects.all(), actor, from_budget_id, name="budget")
    target = get_visible(Budget.objects.all(), actor, to_budget_id, name="budget")
    require(actor, "budgets.view_budget", source)
    _check_pair(source, target)
    # The run frees what has expired first; the preview counts it as free.
    source.committed_amount -= Budget.objects.filter(pk=source.pk).expired_amounts()[source.pk]
    return RolloverPreview(source, target, _lines(source))


def _check_pair(source: Budget, target: Budget) -> None:
    if source.currency != target.currency:
        raise Invalid("rollover_across_currencies", "Both budgets must be in one currency.")
    if (source.entity_id, source.department_id) != (target.entity_id, target.department_id):
        raise Invalid(
            "rollover_across_departments", "A budget rolls over to the same department. Use a transfer."
        )
    if target.period_start < source.period_end:
        raise Invalid("rollover_backwards", "The target's period must begin when or after the source's ends.")


def _lines(source: Budget) -> list[RolloverLine]:
    """The rows, from the source's figures as they stand: what ends here, what is carried, then the rest.

    The rest is what remains of the allocation when nothing of the source is promised any more: its unspent money,
    or its deficit.
    """
    policy = RolloverPolicy(source.rollover_policy)
    standing = _standing_commitments(source)
    carried = [each for each in standing if policy in CARRYING and each.close_decision in CARRIED]
    ending = [each for each in standing if each not in carried and each.close_decision]
    lines = [
        RolloverLine("release", str(each.remainder), each.pk, description=each.description) for each in ending
    ]
    money = sum((each.remainder for each in carried), ZERO) if policy in FUNDED else ZERO
    if money:
        lines.append(RolloverLine("commitment_money", str(money), description="Money of the commitments"))
    lines += [
        RolloverLine("commitment", str(each.remainder), each.pk, policy in FUNDED, each.description)
        for each in carried
    ]
    own_open = sum((each.remainder for each in standing), ZERO)
    rest = source.allocated_amount - source.used_amount + own_open - money
    if rest < 0 and source.carry_deficit:
        lines.append(RolloverLine("deficit", str(rest), description="Overspend of the last period"))
    if policy == RolloverPolicy.UNSPENT and rest > 0:
        share = round_money(rest * source.rollover_percent / HUNDRED, source.currency)
        share = min(share, rest, *([source.rollover_cap] if source.rollover_cap is not None else []))
        if share:
            lines.append(RolloverLine("unspent", str(share), description="Share of what is unspent"))
    return lines


def _standing_commitments(source: Budget) -> list[Commitment]:
    """Its open commitments, those past their expiry left out as free already (BUD-17)."""
    return list(
        Commitment.objects.open().filter(budget=source).exclude(expires_at__lte=clock.now()).order_by("pk")
    )


def rollover_run(*, actor: User, from_budget_id: int, to_budget_id: int) -> BudgetRollover:
    """Post what the preview shows, once: a second run returns the first and posts nothing (BUD-23).

    The source must be closing (soft-closed); its carried commitments end there and begin on the target. Raises
    Conflict ``rollover_source_open``, and ``insufficient_budget`` when unfunded commitments do not fit the target.
    """
    preview = rollover_preview(actor=actor, from_budget_id=from_budget_id, to_budget_id=to_budget_id)
    require(actor, "budgets.close_budget", preview.from_budget)
    require(actor, "budgets.close_budget", preview.to_budget)
    both = {from_budget_id, to_budget_id}
    with transaction.atomic(), record_as(actor):
        budgets = lock_for_allocation(both)
        source, target = budgets[from_budget_id], budgets[to_budget_id]
        earlier = BudgetRollover.objects.filter(from_budget=source, status=RolloverStatus.POSTED).first()
        if earlier is not None:
            return _same_rollover(earlier, target)
        if source.status != BudgetStatus.SOFT_CLOSED:
            raise Conflict(
                "rollover_source_open",
                f"“{source.name}” is {source.get_status_display().lower()}. Soft-close it first, so that its figures "
                "stand still.",
                extra={"status": source.status},
            )
        lines = _lines(source)
        rollover = BudgetRollover.objects.create(
            from_budget=source, to_budget=target, lines=[asdict(line) for line in lines], created_by=actor
        )
        movements = _endings(rollover, source, target, lines)
        movements += _money_movements(rollover, source, target, lines)
        movements += _commitment_movements(rollover, source, target, lines, actor)
        if movements:
            post(movements, actor=actor, locked=budgets)
            require_allocations_fit(budgets, both)
            spread_allocation(source)
            spread_allocation(target)
        return rollover


def _locked_commitments(lines: list[RolloverLine], what: str) -> QuerySet[Commitment]:
    wanted = [line.commitment_id for line in lines if line.what == what and line.commitment_id is not None]
    return Commitment.objects.filter(pk__in=wanted).order_by("pk").select_for_update(of=("self",))


def _endings(
    rollover: BudgetRollover, source: Budget, target: Budget, lines: list[RolloverLine]
) -> list[Movement]:
    """Release what people decided to release or let lapse: it is part of the rest."""
    movements = []
    for commitment in _locked_commitments(lines, "release"):
        remainder = commitment.remainder
        commitment.released_amount += remainder
        commitment.status = CommitmentStatus.RELEASED
        commitment.save()
        movements.append(
            Movement(
                budget_id=source.pk,
                kind=EntryKind.RELEASE,
                posting_date=_last_day(source),
                description=f"{commitment.get_close_decision_display()}: {commitment.description}"[:500],
                document_amount=-remainder,
                document_currency=source.currency,
                committed=-remainder,
                reference=commitment.reference,
                reason=f"Decided before the rollover to “{target.name}”"[:500],
                commitment_id=commitment.pk,
            )
        )
    return movements


def _same_rollover(earlier: BudgetRollover, target: Budget) -> BudgetRollover:
    if earlier.to_budget_id != target.pk:
        raise Conflict(
            "rolled_over_elsewhere",
            f"This budget was rolled over to “{earlier.to_budget}” already. Undo that first.",
            extra={"rollover_id": earlier.pk},
        )
    return earlier


def _last_day(budget: Budget) -> datetime.date:
    return budget.period_end - datetime.timedelta(days=1)


def _movement(
    rollover: BudgetRollover, budget: Budget, other: Budget, day: datetime.date, **values: Any
) -> Movement:
    return Movement(
        budget_id=budget.pk,
        kind=values.pop("kind", EntryKind.ROLLOVER),
        posting_date=day,
        description=f"Rollover “{rollover.from_budget.name}” → “{rollover.to_budget.name}”"[:500],
        document_currency=budget.currency,
        reference=f"rollover:{rollover.pk}",
        counterpart_id=other.pk,
        **values,
    )


def _money_movements(
    rollover: BudgetRollover, source: Budget, target: Budget, lines: list[RolloverLine]
) -> list[Movement]:
    """Money leaves one allocation and joins the other; a deficit only lowers the new one."""
    movements = []
    for line in lines:
        if line.commitment_id is not None:
            continue
        amount = Decimal(line.amount)
        if line.what != "deficit":
            movements.append(
                _movement(
                    rollover, source, target, _last_day(source), allocated=-amount, document_amount=-amount
                )
            )
        movements.append(
            _movement(rollover, target, source, target.period_start, allocated=amount, document_amount=amount)
        )
    return movements


def _commitment_movements(
    rollover: BudgetRollover, source: Budget, target: Budget, lines: list[RolloverLine], actor: User
) -> list[Movement]:
    """End each carried commitment on the source and take it anew on the target, linked both ways."""
    movements = []
    for old in _locked_commitments(lines, "commitment"):
        remainder = old.remainder
        new = Commitment.objects.create(
            budget=target,
            status=old.status,
            amount=remainder,
            document_amount=_document_rest(old),
            document_currency=old.document_currency,
            rate=old.rate,
            rate_date=old.rate_date,
            description=old.description,
            reference=old.reference,
            commitment_date=target.period_start,
            expires_at=old.expires_at,
            source_type=old.source_type,
            source_id=old.source_id,
            carried_from=old,
            created_by=actor,
        )
        old.released_amount += remainder
        old.status = CommitmentStatus.RELEASED
        old.save()
        movements.append(
            _movement(
                rollover,
                source,
                target,
                _last_day(source),
                kind=EntryKind.RELEASE,
                committed=-remainder,
                document_amount=-remainder,
                commitment_id=old.pk,
            )
        )
        movements.append(
            _movement(
                rollover,
                target,
                source,
                target.period_start,
                kind=EntryKind.COMMITMENT,
                committed=remainder,
                document_amount=remainder,
                commitment_id=new.pk,
            )
        )
    return movements


def _document_rest(commitment: Commitment) -> Decimal | None:
    """What of the document is still to come, in its currency; None where parts were released."""
    if commitment.document_amount is None or commitment.released_amount:
        return None
    invoiced = commitment.entries.filter(kind=EntryKind.CONSUMPTION).aggregate(
        total=Sum("document_amount", default=ZERO)
    )
    rest: Decimal = commitment.document_amount - invoiced["total"]
    return rest if rest > 0 else None


def rollover_undo(*, actor: User, rollover_id: int, reason: str) -> BudgetRollover:
    """Take a rollover back by opposite entries, while the target has not been used since (BUD-23)."""
    if not reason.strip():
        raise Invalid("reason_required", "Say why the rollover is undone.")
    with transaction.atomic(), record_as(actor, reason):
        seen = get_visible(BudgetRollover.objects.all(), actor, rollover_id, name="rollover")
        both = {seen.from_budget_id, seen.to_budget_id}
        budgets = lock_for_allocation(both)
        rollover = BudgetRollover.objects.select_for_update(of=("self",)).get(pk=seen.pk)
        source, target = budgets[rollover.from_budget_id], budgets[rollover.to_budget_id]
        require(actor, "budgets.close_budget", source)
        require(actor, "budgets.close_budget", target)
        if rollover.status == RolloverStatus.UNDONE:
            raise Conflict("already_undone", "This rollover was undone before.")
        entries = list(
            BudgetEntry.objects.filter(budget_id__in=both, reference=f"rollover:{rollover.pk}").order_by("pk")
        )
        _require_unused(target, entries)
        _restore_commitments(rollover)
        movements = [
            Movement(
                budget_id=entry.budget_id,
                kind=EntryKind(entry.kind),
                posting_date=entry.posting_date,
                description=f"Undone: {entry.description}"[:500],
                document_amount=-entry.document_amount,
                document_currency=entry.document_currency,
                allocated=-entry.allocated_delta,
                committed=-entry.committed_delta,
                reference=f"rollover:{rollover.pk}:undo",
                reason=reason,
                commitment_id=entry.commitment_id,
                reverses_id=entry.pk,
                counterpart_id=entry.counterpart_id,
            )
            for entry in entries
        ]
        if movements:
            post(movements, actor=actor, locked=budgets)
            require_allocations_fit(budgets, both)
            spread_allocation(source)
            spread_allocation(target)
        rollover.status, rollover.undone_by, rollover.undone_at = RolloverStatus.UNDONE, actor, clock.now()
        rollover.save()
        return rollover


def _require_unused(target: Budget, entries: list[BudgetEntry]) -> None:
    last = max((entry.pk for entry in entries), default=0)
    used = (
        BudgetEntry.objects.filter(budget=target, pk__gt=last)
        .exclude(committed_delta=0, spent_delta=0)
        .exists()
    )
    if used:
        raise Conflict(
            "rollover_used",
            f"“{target.name}” has been used since ({plain_amount(target.used_amount, target.currency)} "
            f"{target.currency} are spent or committed). Move money by a transfer instead.",
        )


def _restore_commitments(rollover: BudgetRollover) -> None:
    carried = Commitment.objects.filter(
        pk__in=[line["commitment_id"] for line in rollover.lines if line["what"] == "commitment"]
    ).select_related("carried_to")
    for old in carried.order_by("pk"):
        new = old.carried_to
        old.released_amount -= new.amount
        old.status = new.status
        old.save()
        new.carried_from = None
        new.released_amount = new.amount
        new.status = CommitmentStatus.RELEASED
        new.save()
