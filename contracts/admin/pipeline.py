"""The renewal pipeline: whose term ends when, what will happen then, and until when that can be decided (CON-13)."""

import datetime
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from django.urls import reverse
from django.utils.safestring import SafeString

from contracts.models import Contract
from contracts.pricing import add_months
from contracts.selectors.renewals import UNDECIDED, Outcome, PipelineEntry, RenewalCheck, renewal_pipeline
from core import clock
from core.admin.badges import badge_html
from core.admin.columns import amount_html
from core.models import User

HORIZONS = (3, 6, 12, 24)
ORDERS = (("deadline", "By notice deadline"), ("end", "By end of term"))
SOON_DAYS = 30
"""A decision is pressing so many days before its deadline: when the last alert is sent (CON-13)."""

_RENEWING = (Outcome.RENEWS,)


@dataclass(frozen=True, slots=True)
class Decision:
    """A button: what is decided, where that is confirmed and given its reason."""

    label: str
    icon: str
    url: str


@dataclass(frozen=True, slots=True)
class Row:
    """A contract in the pipeline, ready to be shown."""

    contract: Contract
    check: RenewalCheck
    badge: SafeString
    value: SafeString
    tone: str
    decisions: tuple[Decision, ...]


@dataclass(frozen=True, slots=True)
class Group:
    """The rows of a month, or those of which nothing is to be decided any more."""

    title: str
    rows: list[Row] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Sum:
    """How many contracts come to the same, and what they are worth in each currency."""

    label: str
    count: int
    amounts: list[SafeString]


def pipeline_context(actor: User, *, months: str, order: str) -> dict[str, Any]:
    """What the page shows; what is asked for in a way that it does not know is as if it was not asked for."""
    horizon = int(months) if months.isdecimal() and int(months) in HORIZONS else 12
    by_end = order == "end"
    today = clock.today()
    entries = renewal_pipeline(actor=actor, start=today, end=add_months(today, horizon))
    decide = _decidable(actor, entries)
    rows = [_row(entry, may_decide=entry.contract.pk in decide) for entry in entries]
    return {
        "groups": _by_end(rows) if by_end else _by_deadline(rows),
        "sums": [
            _sum("To decide", (row for row in rows if row.check.outcome in UNDECIDED)),
            _sum("Renewed", (row for row in rows if row.check.outcome in _RENEWING)),
            _sum("Ending", (row for row in rows if row.check.outcome not in (*UNDECIDED, *_RENEWING))),
        ],
        "horizons": [
            (f"{each} months", f"?months={each}&order={'end' if by_end else 'deadline'}", each == horizon)
            for each in HORIZONS
        ],
        "orders": [
            (label, f"?months={horizon}&order={name}", (name == "end") == by_end) for name, label in ORDERS
        ],
        "many_url": f"{reverse('admin:contracts_contract_changelist')}?standing=renewal",
    }


def _decidable(actor: User, entries: Iterable[PipelineEntry]) -> set[int]:
    keys = [entry.contract.pk for entry in entries if entry.check.outcome in UNDECIDED]
    mine = Contract.objects.visible_to(actor, "contracts.renew_contract").filter(pk__in=keys)
    return set(mine.values_list("pk", flat=True))


def _row(entry: PipelineEntry, *, may_decide: bool) -> Row:
    contract, check = entry.contract, entry.check
    tone = ""
    if check.decision_due is not None and check.days_left is not None:
        tone = "bad" if check.days_left <= SOON_DAYS else "warn" if check.days_left <= 90 else ""
    return Row(
        contract,
        check,
        badge_html(check.outcome),
        amount_html(check.value, check.currency),
        tone,
        tuple(_decisions(contract, check)) if may_decide else (),
    )


def _decisions(contract: Contract, check: RenewalCheck) -> Iterable[Decision]:
    if check.outcome == Outcome.ENDS_UNLESS_EXERCISED:
        yield Decision("Exercise the option", "autorenew", _action(contract, "renew"))
    else:
        yield Decision("Do not renew", "event_busy", _action(contract, "decline"))
    amend = reverse("admin:contracts_contractamendment_add")
    yield Decision("Amend", "post_add", f"{amend}?contract={contract.pk}")


def _action(contract: Contract, name: str) -> str:
    return reverse("admin:contracts_contract_do", args=[contract.pk, name])


def _by_deadline(rows: Iterable[Row]) -> list[Group]:
    groups: dict[str, Group] = {}
    for row in rows:
        due = row.check.decision_due
        title = f"Decide in {_month(due)}" if due else "Nothing to decide"
        groups.setdefault(title, Group(title)).rows.append(row)
    return list(groups.values())


def _by_end(rows: Iterable[Row]) -> list[Group]:
    groups: dict[str, Group] = {}
    for row in sorted(rows, key=lambda row: (row.check.term_end or datetime.date.max, row.contract.pk)):
        assert row.check.term_end is not None
        title = f"Term ends in {_month(row.check.term_end)}"
        groups.setdefault(title, Group(title)).rows.append(row)
    return list(groups.values())


def _month(day: datetime.date) -> str:
    return f"{day:%B %Y}"


def _sum(label: str, rows: Iterable[Row]) -> Sum:
    count = 0
    worth: dict[str, Decimal] = defaultdict(Decimal)
    for row in rows:
        count += 1
        worth[row.check.currency] += row.check.value
    return Sum(label, count, [amount_html(amount, currency) for currency, amount in sorted(worth.items())])
