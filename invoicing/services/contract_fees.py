"""Contract fees as items of a consolidated invoice (INV-03, INV-05).

A unit is what is billed together or not at all: one fee, or all fees of one priced period of usage, because together
they hold that usage. The fee of usage that names no department is shared by the departments that used it.
"""

import datetime
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import groupby

from contracts.models import BillableFee, FeeKind
from contracts.usage import UsageTerm
from core.money import EXACT, allocate, exact_sum
from invoicing.selectors.billing_scope import BillingScope
from invoicing.selectors.contract_fees import PricedUsage, free_priced_usage, unbilled_fees

ONE_DAY = datetime.timedelta(days=1)
ALL_DEPARTMENTS = -1
_OF_USAGE = (FeeKind.USAGE, FeeKind.HOLDOVER)


class UsageMoved(Exception):
    """Usage that a fee prices has arrived or gone since the fee was written."""


@dataclass(frozen=True, slots=True)
class FeeClaim:
    """What a line of a contract fee claims: the fee, and usage that it prices.

    ``order`` is the fee's place on the invoice. ``fee_id`` is None on a line that only shares a fee between
    departments, and in a preview of what is not written yet. ``department_id`` -1 takes the usage of all departments.
    """

    order: int
    fee_id: int | None
    usage_count: int = 0
    usage_quantity: Decimal = Decimal(0)
    department_id: int = ALL_DEPARTMENTS


@dataclass(frozen=True, slots=True)
class FeeItem:
    """A line to be: (a department's share of) a fee for ``[fee.period_start, period_end)``, in the fee's currency."""

    fee: BillableFee
    named_id: int
    department_id: int | None
    amount: Decimal
    item_count: int
    period_end: datetime.date
    claim: FeeClaim


def fee_units(
    scope: BillingScope,
    contract_ids: Sequence[int],
    terms: Sequence[UsageTerm],
    *,
    until: datetime.date,
    draft_id: int | None,
    upcoming: Iterable[BillableFee] | None,
) -> list[list[FeeItem]]:
    """What may be billed by ``until`` and is on no invoice, the oldest first.

    ``upcoming`` are fees that a run would write first; None in the run itself, which then raises UsageMoved where fees
    and free usage do not fit together.
    """
    if not contract_ids:
        return []
    fees = list(unbilled_fees(contract_ids, until, draft_id).select_related("adjusts"))
    fees += [fee for fee in upcoming or () if fee.bill_on <= until]
    placed = [
        (order, fee, named_id)
        for order, fee in enumerate(fees)
        if (named_id := _named(scope, fee.entity_id, fee.bill_on)) is not None
    ]
    return _units(placed, terms, draft_id, strict=upcoming is None)


def units_of(
    fees: Sequence[BillableFee], terms: Sequence[UsageTerm], *, below_zero: bool = False
) -> list[list[FeeItem]]:
    """The units that free fees make, whoever pays for them; with ``below_zero`` those that give something back.

    Raises UsageMoved where fees and free usage do not fit together.
    """
    sums: dict[object, Decimal] = {}
    for fee in fees:
        sums[_unit_key(fee)] = EXACT.add(sums.get(_unit_key(fee), Decimal(0)), fee.amount)
    placed = [
        (order, fee, fee.entity_id)
        for order, fee in enumerate(fees)
        if not below_zero or sums[_unit_key(fee)] < 0
    ]
    return _units(placed, terms, None, strict=True)


def _units(
    placed: Sequence[tuple[int, BillableFee, int]],
    terms: Sequence[UsageTerm],
    draft_id: int | None,
    *,
    strict: bool,
) -> list[list[FeeItem]]:
    plain = [item for item in placed if not _is_of_usage(item[1])]
    of_usage = sorted(
        (item for item in placed if _is_of_usage(item[1])), key=lambda item: (_key(item[1]), item[0])
    )
    units = [[_whole(order, fee, named_id)] for order, fee, named_id in plain]
    if of_usage:
        rows = free_priced_usage(sorted({fee.contract_id for _, fee, _ in of_usage}), terms, draft_id)
        for _, members in groupby(of_usage, key=lambda item: _key(item[1])):
            units.append(_usage_unit(list(members), rows, strict=strict))
    return sorted(units, key=lambda unit: (unit[0].fee.bill_on, unit[0].claim.order))


def _named(scope: BillingScope, entity_id: int, day: datetime.date) -> int | None:
    parts = (part for part in scope.parts if part.entity_id == entity_id and part.start <= day < part.end)
    return next((part.named_id for part in parts), None)


def _is_of_usage(fee: BillableFee) -> bool:
    base = fee.adjusts or fee
    return base.kind in _OF_USAGE


def _unit_key(fee: BillableFee) -> object:
    """What fees of one unit have in common."""
    return _key(fee) if _is_of_usage(fee) else fee.pk


def _key(fee: BillableFee) -> tuple[int, str, datetime.date]:
    return fee.contract_id, fee.line_code, fee.period_start


def _whole(order: int, fee: BillableFee, named_id: int) -> FeeItem:
    return FeeItem(fee, named_id, fee.department_id, fee.amount, 1, fee.period_end, FeeClaim(order, fee.pk))


def _usage_unit(
    members: Sequence[tuple[int, BillableFee, int]], rows: Sequence[PricedUsage], *, strict: bool
) -> list[FeeItem]:
    first = members[0][1]
    end = max(fee.period_end for _, fee, _ in members)
    own = [
        row
        for row in rows
        if (row.contract_id, row.code) == (first.contract_id, first.line_code)
        and first.period_start <= row.day < end
    ]
    priced = exact_sum([fee.quantity or Decimal(0) for _, fee, _ in members])
    if strict and priced != exact_sum([row.quantity for row in own]):
        raise UsageMoved
    items: list[FeeItem] = []
    for order, fee, named_id in members:
        # The first fee's lines hold the usage; corrections of it only have an amount.
        held = own if not items else []
        items += _shared(order, fee, named_id, end, held, shares=_shares(fee, own))
    return items


def _shares(fee: BillableFee, rows: Sequence[PricedUsage]) -> Mapping[int | None, Decimal]:
    """By department what it used; a fee that names a department is all its own."""
    if fee.department_id is not None or not rows:
        return {fee.department_id: Decimal(1)}
    used: dict[int | None, Decimal] = {}
    for row in rows:
        used[row.department_id] = EXACT.add(used.get(row.department_id, Decimal(0)), row.quantity)
    shares = {
        key: max(used[key], Decimal(0)) for key in sorted(used, key=lambda key: (key is None, key or 0))
    }
    return shares if any(shares.values()) else dict.fromkeys(shares, Decimal(1))


def _shared(
    order: int,
    fee: BillableFee,
    named_id: int,
    end: datetime.date,
    held: Sequence[PricedUsage],
    *,
    shares: Mapping[int | None, Decimal],
) -> list[FeeItem]:
    items = []
    amounts = allocate(fee.amount, list(shares.values()), fee.currency)
    own_department = fee.department_id is not None or (len(shares) == 1 and None in shares)
    for index, (department_id, amount) in enumerate(zip(shares, amounts, strict=True)):
        rows = [row for row in held if own_department or row.department_id == department_id]
        count = sum(row.item_count for row in rows)
        if index and not amount and not count:
            continue
        claim = FeeClaim(
            order,
            fee.pk if index == 0 else None,
            count,
            exact_sum([row.quantity for row in rows]),
            ALL_DEPARTMENTS if own_department else department_id or 0,
        )
        items.append(FeeItem(fee, named_id, department_id, amount, count + (index == 0), end, claim))
    return items
