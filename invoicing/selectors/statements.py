"""Statements of account: what moved a payer's balance with an issuer, and what is open at the end (INV-06)."""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from django.db import connection
from django.db.models import Q

from core.access import has
from core.errors import Invalid
from core.money import EXACT, exact_sum
from entities.models import Entity
from invoicing.models import DocumentType, Invoice, Payment
from invoicing.selectors.receivables import documents_on, payers_with_accounts, payments_on

if TYPE_CHECKING:
    from core.models import User

LONGEST = datetime.timedelta(days=3 * 366)

# What settles an invoice moves the balance when it arrives (a payment, a credit note), not when it is applied. A
# write-off is the exception: it exists only as what it settles. A void document counts until it was voided.
_MOVEMENTS = """
WITH movement AS (
    SELECT issuer_id, currency, issue_date AS day, 1 AS place, document_type AS kind, id AS row_id,
           number AS reference, due_date, CASE document_type WHEN 'credit_note' THEN -total ELSE total END AS amount
    FROM invoices WHERE entity_id = %(entity)s AND status <> 'draft'
  UNION ALL
    SELECT document.issuer_id, document.currency, (document.voided_at AT TIME ZONE issuer.time_zone)::date, 2, 'void',
           document.id, document.number, NULL,
           CASE document.document_type WHEN 'credit_note' THEN document.total ELSE -document.total END
    FROM invoices document JOIN billing_entities issuer ON issuer.id = document.issuer_id
    WHERE document.entity_id = %(entity)s AND document.status = 'void'
  UNION ALL
    SELECT issuer_id, currency, received_on, 3, 'payment', id, reference, NULL, -amount
    FROM payments WHERE entity_id = %(entity)s
  UNION ALL
    SELECT payment.issuer_id, payment.currency, (payment.reversed_at AT TIME ZONE issuer.time_zone)::date, 4,
           'payment_reversed', payment.id, payment.reference, NULL, payment.amount
    FROM payments payment JOIN billing_entities issuer ON issuer.id = payment.issuer_id
    WHERE payment.entity_id = %(entity)s AND payment.status = 'reversed'
  UNION ALL
    SELECT issuer_id, currency, refunded_on, 5, 'refund', id, reference, NULL, amount
    FROM refunds WHERE entity_id = %(entity)s
  UNION ALL
    SELECT document.issuer_id, document.currency, settlement.settled_on, 6,
           CASE WHEN settlement.amount > 0 THEN 'write_off' ELSE 'write_off_reversed' END,
           document.id, document.number, NULL, -settlement.amount
    FROM settlements settlement JOIN invoices document ON document.id = settlement.invoice_id
    WHERE document.entity_id = %(entity)s AND settlement.kind = 'write_off'
)
SELECT issuer_id, currency, NULL::date AS day, 0 AS place, 'opening' AS kind, 0 AS row_id, '' AS reference,
       NULL::date AS due_date, sum(amount) AS amount
FROM movement WHERE day < %(start)s GROUP BY issuer_id, currency
UNION ALL
SELECT issuer_id, currency, day, place, kind, row_id, reference, due_date, amount
FROM movement WHERE day >= %(start)s AND day < %(end)s
ORDER BY issuer_id, currency, day NULLS FIRST, place, row_id
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that moved the balance: positive is owed by the payer. ``balance`` is the one after it.

    ``kind`` is a document type, `void`, `payment`, `payment_reversed`, `refund`, `write_off` or
    `write_off_reversed`; ``row_id`` is the id of the document, the payment or the refund.
    """

    day: datetime.date
    kind: str
    row_id: int
    reference: str
    due_date: datetime.date | None
    amount: Decimal
    balance: Decimal


@dataclass(frozen=True, slots=True)
class OpenItem:
    """A document with its open part at the end, or (negative) what lies in the payer's favour."""

    kind: str
    row_id: int
    reference: str
    day: datetime.date
    due_date: datetime.date | None
    open: Decimal
    disputed: Decimal


@dataclass(frozen=True, slots=True)
class Account:
    """The account of the payer with one issuer in one currency.

    ``opening`` + Σ entries = ``closing`` = Σ ``open_items``, exactly: the movements and the documents with their
    settlements are two ways to the same balance.
    """

    issuer: Entity
    currency: str
    opening: Decimal
    entries: Sequence[Entry]
    closing: Decimal
    open_items: Sequence[OpenItem]

    @property
    def debits(self) -> Decimal:
        """What was charged."""
        return exact_sum([entry.amount for entry in self.entries if entry.amount > 0])

    @property
    def credits(self) -> Decimal:
        """What was paid or given back, as a positive amount."""
        return -exact_sum([entry.amount for entry in self.entries if entry.amount < 0])


@dataclass(frozen=True, slots=True)
class Statement:
    """A payer's accounts from ``start`` until before ``end``."""

    payer: Entity
    start: datetime.date
    end: datetime.date
    accounts: Sequence[Account] = field(default_factory=list)

    @property
    def last_day(self) -> datetime.date:
        return self.end - datetime.timedelta(days=1)


def payer_seen_by(user: "User", entity_id: int) -> Entity | None:
    """The entity, if the user sees it or sees what an issuer bills it."""
    found = Q(pk__in=Entity.objects.seen_whole_by(user).values("pk")) | Q(
        pk__in=payers_with_accounts(user).values("pk")
    )
    return Entity.objects.filter(found, pk=entity_id).first()


def account_statement(
    *,
    user: "User",
    payer: Entity,
    start: datetime.date,
    end: datetime.date,
    issuer_id: int | None = None,
    currency: str = "",
) -> Statement:
    """The accounts of ``payer`` from ``start`` until before ``end``, of those that ``user`` may see.

    Accounts without balance and movement are left out. A fixed number of statements. Raises Invalid
    `period_not_ordered`, `period_too_long`.
    """
    if end <= start:
        raise Invalid("period_not_ordered", "The last day of a statement must not be before its first.")
    if end - start > LONGEST:
        raise Invalid("period_too_long", "A statement covers at most three years. Ask for a shorter period.")
    issuers = _issuers_seen(user, payer)
    with connection.cursor() as cursor:
        cursor.execute(_MOVEMENTS, {"entity": payer.pk, "start": start, "end": end})
        rows = [
            row
            for row in cursor.fetchall()
            if (issuers is None or row[0] in issuers)
            and issuer_id in (None, row[0])
            and currency in ("", row[1])
        ]
    moved: dict[tuple[int, str], list[Any]] = {}
    for row in rows:
        moved.setdefault((row[0], row[1]), []).append(row[2:])
    found = Entity.objects.in_bulk({key[0] for key in moved})
    open_items = _open_items(payer, end - datetime.timedelta(days=1))
    accounts = [_account(found[key[0]], key[1], rows, open_items.get(key, [])) for key, rows in moved.items()]
    shown = [account for account in accounts if account.opening or account.entries]
    return Statement(payer, start, end, sorted(shown, key=lambda one: (one.issuer.name, one.currency)))


def _issuers_seen(user: "User", payer: Entity) -> set[int] | None:
    """None where the user sees all that the payer is billed, else the issuers whose documents they see."""
    if has(user, "invoicing.view_invoice", payer):
        return None
    return set(Entity.objects.seen_whole_by(user, "invoicing.view_invoice").values_list("pk", flat=True))


def _account(issuer: Entity, currency: str, rows: Sequence[Any], open_items: Sequence[OpenItem]) -> Account:
    opening = exact_sum([amount for _, _, kind, *_, amount in rows if kind == "opening"])
    balance = opening
    entries = []
    for day, _, kind, row_id, reference, due_date, amount in rows:
        if kind == "opening":
            continue
        balance = EXACT.add(balance, amount)
        entries.append(Entry(day, kind, row_id, reference, due_date, amount, balance))
    return Account(issuer, currency, opening, entries, balance, open_items)


def _open_items(payer: Entity, on: datetime.date) -> dict[tuple[int, str], list[OpenItem]]:
    """What is open at the end of a day, by issuer and currency: documents by due date, then what is in favour."""
    items: dict[tuple[int, str], list[OpenItem]] = {}
    documents: Any = documents_on(on, Invoice.objects.filter(entity=payer)).order_by("due_date", "id")
    for document in documents.values(
        "pk", "issuer_id", "currency", "document_type", "number", "issue_date", "due_date", "open", "disputed"
    ):
        in_favour = document["document_type"] == DocumentType.CREDIT_NOTE
        items.setdefault((document["issuer_id"], document["currency"]), []).append(
            OpenItem(
                kind=document["document_type"],
                row_id=document["pk"],
                reference=document["number"],
                day=document["issue_date"],
                due_date=None if in_favour else document["due_date"],
                open=-document["open"] if in_favour else document["open"],
                disputed=Decimal(0) if in_favour else document["disputed"],
            )
        )
    for payment in payments_on(on, Payment.objects.filter(entity=payer)).order_by("received_on", "id"):
        items.setdefault((payment.issuer_id, payment.currency), []).append(
            OpenItem(
                kind="payment",
                row_id=payment.pk,
                reference=payment.reference,
                day=payment.received_on,
                due_date=None,
                open=-payment.unapplied,  # type: ignore[attr-defined]  # annotated
                disputed=Decimal(0),
            )
        )
    return items
