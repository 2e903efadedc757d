"""The common charge and the common check, as one statement of the database each.

A charge of one line, in the budget's own currency, on an open budget that nothing above it controls, with the whole
period as its check scope, within what is available, that crosses no threshold and needs no approval: one UPDATE
repeats every test of the general way on the row that it locks, and its entry is inserted by the same statement, so
that both are there or neither is. PostgreSQL evaluates the conditions anew on the row's latest version when it had
to wait for it: concurrent charges cannot pass on the same money (BUD-04).

Whenever the statement changes nothing the answer is None, "not me": the general way decides and says why. So this
module refuses nothing and knows no error messages.
"""

import datetime
from contextlib import nullcontext
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from typing import Any

from django.db import IntegrityError, connection, transaction

from budgets.models import Budget, BudgetEntry, EntryKind
from budgets.services.availability import Availability
from budgets.services.ledger import Source
from core import clock
from core.errors import constraint_name
from core.history import current_request_id
from core.models import User
from core.money import EXACT, decimal_places, known_currencies, minor_units
from core.prepared import PreparedStatement
from entities.access import roles_granting
from entities.querysets import sees_everything

# Keys of the product fit a bigint; any other key names nothing.
LARGEST_KEY = 2**63 - 1

# The user's memberships in force that reach the budget: as MembershipBackend and visible_to have it (ENT-04).
_REACHED = """
EXISTS (
    SELECT 1 FROM memberships m
    WHERE m.user_id = %(user)s::bigint AND m.role = ANY(%(roles)s::text[])
      AND (m.valid_from IS NULL OR m.valid_from <= %(today)s::date)
      AND (m.valid_to IS NULL OR m.valid_to > %(today)s::date)
      AND (
        (m.department_id IS NULL AND (m.entity_id = b.entity_id OR (m.include_descendants AND EXISTS (
            SELECT 1 FROM entity_closure c
            WHERE c.descendant_id = b.entity_id AND c.ancestor_id = m.entity_id))))
        OR m.department_id = b.department_id
        OR (m.department_id IS NOT NULL AND m.include_descendants AND EXISTS (
            SELECT 1 FROM department_closure c
            WHERE c.descendant_id = b.department_id AND c.ancestor_id = m.department_id))
      )
)
"""
# What both ask of the budget itself; the rest is the general way's.
_PLAIN = f"""
b.id = %(budget)s::bigint
AND b.status = 'open'
AND b.counted_by = ARRAY[b.id]
AND b.check_scope = 'period'
AND b.currency <> ALL(%(coarser)s::text[])
AND (%(all)s::boolean OR {_REACHED})
AND NOT EXISTS (
    SELECT 1 FROM budget_commitments c
    WHERE c.budget_id = b.id AND c.status IN ('pending', 'approved') AND c.expires_at <= %(now)s::timestamptz
)
"""
_DAY = "coalesce(%(day)s::date, (%(now)s::timestamptz AT TIME ZONE e.time_zone)::date)"
_USED_AFTER = "(b.spent_amount + b.committed_amount + %(amount)s::numeric)"


def _not_crossing(level: str) -> str:
    """A threshold that is unset, has fired, or stays uncrossed; a budget of 0 is left to the general way."""
    return (
        f"(b.{level}_threshold_percent IS NULL OR b.{level}_fired"
        f" OR {_USED_AFTER} * 100 < b.{level}_threshold_percent * b.allocated_amount)"
    )


_BUDGET_COLUMNS = [str(field.column) for field in Budget._meta.concrete_fields]
_ENTRY_COLUMNS = [str(field.column) for field in BudgetEntry._meta.concrete_fields]
# What the statement writes; the columns left out are NULL.
_ENTRY_VALUES = {
    "budget_id": "charged.id",
    "kind": f"'{EntryKind.CHARGE}'",
    "spent_delta": "%(amount)s::numeric",
    "document_amount": "%(amount)s::numeric",
    "document_currency": "charged.currency",
    "rate": "1",
    "tax_recoverable": "%(tax_recoverable)s::boolean",
    "posting_date": "charged.posting_day",
    "description": "%(description)s::text",
    "reference": "%(reference)s::text",
    "source_type": "%(source_type)s::text",
    "source_id": "%(source_id)s::text",
    "source_line": "%(source_line)s::integer",
    "source_revision": "%(source_revision)s::integer",
    "actor_id": "%(user)s::bigint",
    "created_at": "%(now)s::timestamptz",
    "request_id": "%(request_id)s::text",
    "allocated_delta": "0",
    "committed_delta": "0",
    "override_delta": "0",
    "fx_variance": "0",
    "reason": "''",
}

CHARGE = f"""
WITH charged AS (
    UPDATE budgets b SET spent_amount = b.spent_amount + %(amount)s::numeric
    FROM billing_entities e
    WHERE e.id = b.entity_id AND {_PLAIN}
      AND (%(currency)s::text IS NULL OR b.currency = %(currency)s::text)
      AND {_DAY} >= b.period_start AND {_DAY} < b.period_end
      AND (b.approval_threshold IS NULL OR %(amount)s::numeric <= b.approval_threshold)
      AND (b.control = 'off' OR {_USED_AFTER} <= b.allocated_amount + b.override_amount)
      AND {_not_crossing("alert")} AND {_not_crossing("warning")} AND {_not_crossing("critical")}
      AND (%(source_type)s::text = '' OR NOT EXISTS (
        SELECT 1 FROM budget_entries x
        WHERE x.source_type <> '' AND x.source_type = %(source_type)s::text AND x.source_id = %(source_id)s::text
          AND x.source_line = %(source_line)s::integer AND x.source_revision = %(source_revision)s::integer
          AND x.kind = '{EntryKind.CHARGE}' AND x.budget_id = b.id))
    RETURNING {", ".join(f"b.{column}" for column in _BUDGET_COLUMNS)}, {_DAY} AS posting_day
), entry AS (
    INSERT INTO budget_entries ({", ".join(_ENTRY_VALUES)})
    SELECT {", ".join(_ENTRY_VALUES.values())} FROM charged
    RETURNING {", ".join(_ENTRY_COLUMNS)}
)
SELECT {", ".join(f"charged.{column}" for column in _BUDGET_COLUMNS)},
       {", ".join(f"entry.{column}" for column in _ENTRY_COLUMNS)}
FROM charged LEFT JOIN entry ON true
"""

CHECK = f"""
SELECT b.currency, b.control, b.overspend_limit,
       b.allocated_amount + b.override_amount - b.spent_amount - b.committed_amount,
       b.approval_threshold IS NOT NULL AND %(amount)s::numeric > b.approval_threshold
FROM budgets b JOIN billing_entities e ON e.id = b.entity_id
WHERE {_PLAIN} AND {_DAY} >= b.period_start AND {_DAY} < b.period_end
"""

_CHARGE, _CHECK = PreparedStatement(CHARGE), PreparedStatement(CHECK)


@dataclass(frozen=True, slots=True)
class Charged:
    """The entry of a charge, and the budget as it stands after it."""

    entry: BudgetEntry
    budget: Budget


def charge(
    *,
    actor: User,
    budget_id: int,
    amount: Decimal,
    currency: str | None = None,
    description: str = "",
    reference: str = "",
    posting_date: datetime.date | None = None,
    tax_recoverable: bool = True,
    source: Source | None = None,
) -> Charged | None:
    """Book the charge if it is a plain one; None leaves it, untouched, to the general way.

    ``amount`` is positive and finite. Part of the caller's transaction if there is one, else of its own.
    """
    common = _common(actor, "budgets.charge_budget", budget_id, amount, posting_date)
    if common is None:
        return None
    row = _charged_row(
        common
        | {
            "currency": currency,
            "description": description,
            "reference": reference,
            "tax_recoverable": tax_recoverable,
            "source_type": source.type if source else "",
            "source_id": source.id if source else "",
            "source_line": source.line if source else 0,
            "source_revision": source.revision if source else 0,
            "request_id": current_request_id(),
        },
        may_repeat=source is not None,
    )
    if row is None:
        return None
    cut = len(_BUDGET_COLUMNS)
    return Charged(
        entry=BudgetEntry.from_db(
            "default", [f.attname for f in BudgetEntry._meta.concrete_fields], row[cut:]
        ),
        budget=Budget.from_db("default", [f.attname for f in Budget._meta.concrete_fields], row[:cut]),
    )


def check(*, actor: User, budget_id: int, amount: Decimal) -> Availability | None:
    """Answer whether the charge would pass if the budget is a plain one; None leaves it to the general way."""
    common = _common(actor, "budgets.view_budget", budget_id, amount, None)
    row = _CHECK.row(common) if common is not None else None
    if row is None:
        return None
    currency, control, overspend_limit, available, requires_approval = row
    beyond = amount > available
    refused = beyond and (
        control == "absolute"
        or (control == "advisory" and overspend_limit is not None and amount > available + overspend_limit)
    )
    if requires_approval:
        reason = "approval_required"
    elif refused:
        reason = "insufficient_budget"
    else:
        reason = "overspend_allowed" if beyond else "ok"
    return Availability(
        available=not requires_approval and not refused,
        available_amount=available,
        requires_approval=requires_approval,
        would_overspend=beyond,
        reason=reason,
        currency=currency,
    )


def _common(
    actor: User, permission: str, budget_id: Any, amount: Decimal, day: datetime.date | None
) -> dict[str, Any] | None:
    """What both statements are given; None for what they cannot take: a key that is none, too many decimals."""
    places = decimal_places(amount.normalize(EXACT))
    if not isinstance(budget_id, int) or not 0 < budget_id <= LARGEST_KEY or places > 3 or not actor.pk:
        return None
    if not (actor.is_active or actor.is_system):
        return None
    now = clock.now()
    return {
        "user": actor.pk,
        "all": sees_everything(actor),
        "roles": list(roles_granting(permission)),
        "today": clock.business_date(now),
        "now": now,
        "budget": budget_id,
        "amount": amount,
        "day": day,
        "coarser": _currencies_coarser_than(places),
    }


@cache
def _currencies_coarser_than(places: int) -> list[str]:
    """The currencies whose minor unit has fewer decimals than these: none, those without decimals, …"""
    return sorted(code for code in known_currencies() if minor_units(code) < places)


def _charged_row(values: dict[str, Any], *, may_repeat: bool) -> tuple[Any, ...] | None:
    """Run the charge; the same source booked by somebody else at this moment is the general way's to answer."""
    # In the caller's transaction a refused statement would spoil all of it: only a savepoint keeps it whole.
    guard = transaction.atomic() if may_repeat and connection.in_atomic_block else nullcontext()
    try:
        with guard:
            return _CHARGE.row(values)
    except IntegrityError as error:
        if constraint_name(error) != "budget_entry_source_once":
            raise
        return None
