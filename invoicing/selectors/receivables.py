"""What payers owe: open documents by age, and what lies in the payers' favour (INV-06, DSP-03)."""

import datetime
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from django.db.models import (
    Case,
    Count,
    DateField,
    DecimalField,
    F,
    Func,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
    Sum,
    Value,
    When,
)
from django.db.models.functions import Cast, Coalesce, Least

from core.money import EXACT, exact_sum
from entities.models import Entity
from invoicing.models import (
    OPEN_STATUSES,
    DocumentType,
    Invoice,
    InvoiceStatus,
    Payment,
    PaymentStatus,
    Refund,
    Settlement,
)

if TYPE_CHECKING:
    from core.models import User

NOT_DUE = "not_due"
_MONEY: Any = DecimalField(max_digits=20, decimal_places=4)
_NOTHING = Value(Decimal(0), output_field=_MONEY)


@dataclass(frozen=True, slots=True)
class Bucket:
    """Documents overdue by ``first`` to ``last`` days; without a last day all that are older."""

    key: str
    label: str
    first: int | None
    last: int | None

    def due_between(self, on: datetime.date) -> Q:
        """The due dates that fall into it on a day."""
        if self.first is None:
            return Q(due_date__gte=on)
        latest = Q(due_date__lte=on - datetime.timedelta(days=self.first))
        if self.last is None:
            return latest
        return latest & Q(due_date__gte=on - datetime.timedelta(days=self.last))

    def holds(self, days: int) -> bool:
        """Whether what is overdue by so many days falls into it."""
        if self.first is None:
            return days == 0
        return days >= self.first and (self.last is None or days <= self.last)


BUCKETS = (
    Bucket(NOT_DUE, "Not due", None, None),
    Bucket("days_1_30", "1–30 days", 1, 30),
    Bucket("days_31_60", "31–60 days", 31, 60),
    Bucket("days_61_90", "61–90 days", 61, 90),
    Bucket("days_over_90", "Over 90 days", 91, None),
)
"""A document is not due on its due date; the first day after it is day 1."""


@dataclass(frozen=True, slots=True)
class AgeingRow:
    """What one payer owes one issuer in one currency on a day.

    ``buckets`` are in the order of BUCKETS and add up to ``open``; ``disputed`` is the part of ``open`` that open
    disputes hold back (DSP-03). ``credit`` is what lies in the payer's favour: payments and credit notes, or parts
    of them, that settle nothing yet. ``net`` is what the account balances to.
    """

    entity_id: int
    entity_name: str
    issuer_id: int
    issuer_name: str
    currency: str
    documents: int
    buckets: tuple[Decimal, ...]
    open: Decimal
    overdue: Decimal
    disputed: Decimal
    credit: Decimal

    @property
    def net(self) -> Decimal:
        return EXACT.subtract(self.open, self.credit)


@dataclass(frozen=True, slots=True)
class AgeingTotal:
    """The sums of the rows of one currency."""

    currency: str
    documents: int
    buckets: tuple[Decimal, ...]
    open: Decimal
    overdue: Decimal
    disputed: Decimal
    credit: Decimal
    net: Decimal


def local_day(moment: str, zone: str) -> Cast:
    """The day of a stored moment in the time zone that the path ``zone`` names."""
    return Cast(Func(F(zone), F(moment), function="timezone"), DateField())


def _sum_of(rows: QuerySet[Any]) -> Coalesce:
    """The sum of ``amount`` over rows that point to the outer one, as a subquery; nothing is 0."""
    total = rows.order_by().annotate(one=Value(1)).values("one").annotate(sum=Sum("amount")).values("sum")
    return Coalesce(Subquery(total, output_field=_MONEY), _NOTHING)


def documents_on(on: datetime.date | None, invoices: QuerySet[Invoice]) -> QuerySet[Invoice]:
    """Documents of which something was open on a day, with ``open`` and ``disputed`` of them.

    None is now, from the counters. A past day is worked out from what settled them until the end of that day. What
    was disputed is known as of now only, so ``disputed`` is at most what was open.
    """
    if on is None:
        rows = invoices.filter(status__in=OPEN_STATUSES).annotate(open=F("total") - F("settled_amount"))
    else:
        settled = Case(
            When(
                document_type=DocumentType.CREDIT_NOTE,
                then=_sum_of(Settlement.objects.filter(credit_note=OuterRef("pk"), settled_on__lte=on))
                + _sum_of(Refund.objects.filter(credit_note=OuterRef("pk"), refunded_on__lte=on)),
            ),
            default=_sum_of(Settlement.objects.filter(invoice=OuterRef("pk"), settled_on__lte=on)),
            output_field=_MONEY,
        )
        counted = ~Q(status__in=(InvoiceStatus.DRAFT, InvoiceStatus.VOID)) | Q(
            status=InvoiceStatus.VOID, voided_day__gt=on
        )
        rows = (
            invoices.annotate(voided_day=local_day("voided_at", "issuer__time_zone"))
            .filter(counted, issue_date__lte=on)
            .annotate(open=F("total") - settled)
            .filter(open__gt=0)
        )
    return rows.annotate(disputed=Least(F("disputed_amount"), F("open")))


def payments_on(on: datetime.date | None, payments: QuerySet[Payment]) -> QuerySet[Payment]:
    """Payments of which something settled nothing on a day (None: now), with that part as ``unapplied``."""
    if on is None:
        rows = payments.filter(status=PaymentStatus.RECEIVED)
        return rows.annotate(unapplied=F("amount") - F("applied_amount")).filter(unapplied__gt=0)
    used = _sum_of(Settlement.objects.filter(payment=OuterRef("pk"), settled_on__lte=on)) + _sum_of(
        Refund.objects.filter(payment=OuterRef("pk"), refunded_on__lte=on)
    )
    return (
        payments.annotate(reversed_day=local_day("reversed_at", "issuer__time_zone"))
        .filter(Q(reversed_day__isnull=True) | Q(reversed_day__gt=on), received_on__lte=on)
        .annotate(unapplied=F("amount") - used)
        .filter(unapplied__gt=0)
    )


def receivables_ageing(
    *,
    user: "User",
    today: datetime.date,
    on: datetime.date | None = None,
    entity_id: int | None = None,
    issuer_id: int | None = None,
    currency: str = "",
) -> list[AgeingRow]:
    """What is open on a day, by payer, issuer and currency, of all that ``user`` may see; two statements.

    Without ``on`` it is what is open now, aged by ``today``. Rows without anything open and without credit are left
    out. The largest overdue amount comes first.
    """
    given: dict[str, Any] = {"entity_id": entity_id, "issuer_id": issuer_id, "currency": currency}
    chosen = {name: value for name, value in given.items() if value}
    keys = ("entity_id", "entity__name", "issuer_id", "issuer__name", "currency")
    day = on or today
    owed = ~Q(document_type=DocumentType.CREDIT_NOTE)
    documents = documents_on(
        on, Invoice.objects.visible_to(user, "invoicing.view_invoice").filter(**chosen).order_by()
    )
    sums = {
        bucket.key: Coalesce(Sum("open", filter=owed & bucket.due_between(day)), _NOTHING)
        for bucket in BUCKETS
    }
    found = documents.values(*keys).annotate(
        documents=Count("pk", filter=owed),
        held_back=Coalesce(Sum("disputed", filter=owed), _NOTHING),
        credit=Coalesce(Sum("open", filter=~owed), _NOTHING),
        **sums,
    )
    balances = (
        payments_on(
            on, Payment.objects.visible_to(user, "invoicing.view_payment").filter(**chosen).order_by()
        )
        .values(*keys)
        .annotate(credit=Sum("unapplied"))
    )
    return _merged(found, balances, keys)


def _merged(
    documents: Iterable[dict[str, Any]], balances: Iterable[dict[str, Any]], keys: Sequence[str]
) -> list[AgeingRow]:
    credit: dict[tuple[Any, ...], Decimal] = {
        tuple(row[key] for key in keys): row["credit"] for row in balances
    }
    rows = []
    for row in documents:
        account = tuple(row[key] for key in keys)
        amounts = tuple(row[bucket.key] for bucket in BUCKETS)
        more = EXACT.add(row["credit"], credit.pop(account, Decimal(0)))
        rows.append(_row(account, row["documents"], amounts, row["held_back"], more))
    nothing = (Decimal(0),) * len(BUCKETS)
    rows += [_row(account, 0, nothing, Decimal(0), amount) for account, amount in credit.items()]
    return sorted(
        rows, key=lambda row: (-row.overdue, -row.open, row.entity_name, row.issuer_name, row.currency)
    )


def _row(
    account: tuple[Any, ...],
    documents: int,
    buckets: tuple[Decimal, ...],
    disputed: Decimal,
    credit: Decimal,
) -> AgeingRow:
    entity_id, entity_name, issuer_id, issuer_name, currency = account
    return AgeingRow(
        entity_id=entity_id,
        entity_name=entity_name,
        issuer_id=issuer_id,
        issuer_name=issuer_name,
        currency=currency,
        documents=documents,
        buckets=buckets,
        open=exact_sum(buckets),
        overdue=exact_sum(buckets[1:]),
        disputed=disputed,
        credit=credit,
    )


def ageing_totals(rows: Sequence[AgeingRow]) -> list[AgeingTotal]:
    """The sums per currency, in the order of the currencies; never one sum over several."""
    totals = []
    for currency in sorted({row.currency for row in rows}):
        members = [row for row in rows if row.currency == currency]
        totals.append(
            AgeingTotal(
                currency=currency,
                documents=sum(row.documents for row in members),
                buckets=tuple(
                    exact_sum(amounts) for amounts in zip(*(row.buckets for row in members), strict=True)
                ),
                open=exact_sum([row.open for row in members]),
                overdue=exact_sum([row.overdue for row in members]),
                disputed=exact_sum([row.disputed for row in members]),
                credit=exact_sum([row.credit for row in members]),
                net=exact_sum([row.net for row in members]),
            )
        )
    return totals


def bucket_of(key: str) -> Bucket | None:
    """The bucket with that key."""
    return next((bucket for bucket in BUCKETS if bucket.key == key), None)


def days_overdue(due_date: datetime.date | None, on: datetime.date) -> int:
    """How many days after its due date; 0 on it and before."""
    return max(0, (on - due_date).days) if due_date else 0


def payers_with_accounts(user: "User") -> QuerySet[Entity]:
    """Entities that ``user`` sees and that were ever billed or paid."""
    billed = Invoice.objects.visible_to(user, "invoicing.view_invoice").values("entity_id")
    return Entity.objects.filter(pk__in=billed).order_by("name")
