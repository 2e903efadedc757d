"""Authority limits: up to which amount somebody's approval is enough by itself (APR-16)."""

import datetime
from collections.abc import Collection
from dataclasses import dataclass
from decimal import Decimal

from django.db.models import Q

from approvals.models import AuthorityLimit
from core.exchange import convert, rate_for
from entities.models import EntityClosure, Membership


@dataclass(frozen=True, slots=True)
class Limit:
    """``amount`` is None where there is no limit, else in ``currency``."""

    amount: Decimal | None
    currency: str

    def covers(self, amount: Decimal, currency: str, on: datetime.date) -> bool:
        """Whether an amount is within the limit, at the rate of the day; the limit itself is."""
        if self.amount is None:
            return True
        return convert(amount, rate_for(currency, self.currency, on)) <= self.amount


UNLIMITED = Limit(None, "")


def authority_limits(user_ids: Collection[int], *, entity_id: int, request_type: str) -> dict[int, Limit]:
    """The limit of each user there: the person's own before their roles', the nearest entity's, there the highest.

    Whom no limit is set for may decide any amount.
    """
    depths = dict(EntityClosure.objects.filter(descendant_id=entity_id).values_list("ancestor_id", "depth"))
    roles: dict[int, set[str]] = {pk: set() for pk in user_ids}
    held = Membership.objects.in_force().filter(user_id__in=user_ids, entity_id__in=depths)
    for user_id, role, held_at, below in held.values_list(
        "user_id", "role", "entity_id", "include_descendants"
    ):
        if held_at == entity_id or below:
            roles[user_id].add(role)
    rows = list(
        AuthorityLimit.objects.filter(
            Q(entity__isnull=True) | Q(entity_id__in=depths),
            Q(user_id__in=user_ids) | ~Q(role=""),
            request_type__in=["", request_type],
        )
    )
    return {pk: limit_among(pk, roles[pk], rows, depths) for pk in user_ids}


def authority_limit(*, user_id: int, entity_id: int, request_type: str = "") -> Limit:
    """One person's limit at an entity."""
    return authority_limits([user_id], entity_id=entity_id, request_type=request_type)[user_id]


def limit_among(user_id: int, roles: set[str], rows: list[AuthorityLimit], depths: dict[int, int]) -> Limit:
    """Which of the limits of a place counts for somebody with these roles; ``depths`` are those of its entities."""
    own = [row for row in rows if row.user_id == user_id]
    candidates = own or [row for row in rows if row.role in roles]
    if not candidates:
        return UNLIMITED
    # The nearest entity first; there a limit for this type before one for all, then the highest.
    farthest = max(depths.values(), default=0) + 1

    def nearness(row: AuthorityLimit) -> tuple[int, bool]:
        return (farthest if row.entity_id is None else depths[row.entity_id], row.request_type == "")

    nearest = min(nearness(row) for row in candidates)
    best = max(
        (row for row in candidates if nearness(row) == nearest),
        key=lambda row: (row.max_amount is None, row.max_amount or Decimal(0)),
    )
    return Limit(best.max_amount, best.currency)


def ultimate_approver(*, entity_id: int, request_type: str) -> int | None:
    """Who decides when no manager has the authority: the nearest entity's, one for this type first."""
    depths = dict(EntityClosure.objects.filter(descendant_id=entity_id).values_list("ancestor_id", "depth"))
    rows = AuthorityLimit.objects.filter(
        Q(entity__isnull=True) | Q(entity_id__in=depths),
        is_ultimate=True,
        request_type__in=["", request_type],
    )
    ordered = sorted(
        rows,
        key=lambda row: (
            len(depths) if row.entity_id is None else depths[row.entity_id],
            row.request_type == "",
        ),
    )
    return ordered[0].user_id if ordered else None
