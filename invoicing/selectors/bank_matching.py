"""What a payment most likely settles, with the reasons and how sure they make it. Nothing is booked here (INV-06).

The open documents are read once for all payments that are looked at; what is left is looking up numbers, amounts,
accounts and names.
"""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import combinations
from typing import Any

from django.db.models import F
from stdnum import iso11649

from core.money import EXACT, exact_sum
from invoicing.models import BankTransaction, Invoice
from invoicing.selectors.invoice import receivable

CERTAIN = 100
_MOST_FOR_SUMS = 14
_MOST_PROPOSALS = 3
_LEGAL_FORMS = {
    "INC", "LLC", "LTD", "LIMITED", "GMBH", "AG", "KG", "SE", "SA", "SAS", "SARL", "SL", "BV", "NV", "PLC", "CORP",
    "CO", "COMPANY", "THE", "AND", "UND", "KK",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Money:
    """Money that arrived, as far as is known of it; ``entity_id`` where the payer is."""

    amount: Decimal
    currency: str
    text: str = ""
    name: str = ""
    iban: str = ""
    entity_id: int | None = None


@dataclass(frozen=True, slots=True)
class OpenDocument:
    """A receivable document; ``open`` includes what is ``disputed``."""

    pk: int
    number: str
    entity_id: int
    entity_name: str
    currency: str
    due_date: Any
    open: Decimal
    disputed: Decimal


@dataclass(frozen=True, slots=True)
class ProposedPart:
    """How much of the payment settles which document."""

    document: OpenDocument
    amount: Decimal


@dataclass(frozen=True, slots=True)
class Proposal:
    """Whose payment it seems to be and what it settles.

    ``score`` is 1 to 100. ``certain`` only where the text names every document and their open amounts add up to the
    payment to the last unit; also that is booked only when a person says so. ``rest`` would stay as a balance.
    """

    entity_id: int
    entity_name: str
    parts: Sequence[ProposedPart]
    rest: Decimal
    score: int
    reasons: Sequence[str]

    @property
    def certain(self) -> bool:
        return self.score >= CERTAIN


@dataclass(slots=True)
class Receivables:
    """The open documents of an issuer, to be looked up by number, amount, payer, account and name."""

    documents: Sequence[OpenDocument]
    payer_of_iban: Mapping[str, int]
    by_number: dict[str, OpenDocument] = field(default_factory=dict)
    by_amount: dict[tuple[str, Decimal], list[OpenDocument]] = field(
        default_factory=lambda: defaultdict(list)
    )
    by_payer: dict[tuple[int, str], list[OpenDocument]] = field(default_factory=lambda: defaultdict(list))
    names: dict[int, tuple[str, set[str]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for document in self.documents:
            self.by_number[_plain(document.number)] = document
            self.by_amount[document.currency, document.open].append(document)
            self.by_payer[document.entity_id, document.currency].append(document)
            if document.entity_id not in self.names:
                self.names[document.entity_id] = (document.entity_name, _words(document.entity_name))

    def named_in(self, text: str) -> list[OpenDocument]:
        """The documents whose whole number stands in the text, however it is punctuated."""
        plain = _plain(text)
        found: dict[int, OpenDocument] = {}
        for length in sorted({len(number) for number in self.by_number}, reverse=True):
            for start in range(len(plain) - length + 1):
                document = self.by_number.get(plain[start : start + length])
                following = plain[start + length : start + length + 1]
                if document is not None and not following.isdigit():
                    found[document.pk] = document
        return list(found.values())


def open_receivables(issuer_id: int, money: Sequence[Money]) -> Receivables:
    """Read what is open with the issuer in the currencies of the payments: two statements."""
    rows = (
        Invoice.objects.filter(
            receivable(), issuer_id=issuer_id, currency__in={one.currency for one in money}
        )
        .annotate(open=F("total") - F("settled_amount"))
        .order_by("due_date", "id")
        .values_list(
            "pk", "number", "entity_id", "entity__name", "currency", "due_date", "open", "disputed_amount"
        )
    )
    documents: Any = list(rows)
    ibans = {one.iban for one in money if one.iban}
    known = (
        BankTransaction.objects.filter(
            issuer_id=issuer_id, counterparty_iban__in=ibans, payment__status="received"
        )
        .order_by("pk")
        .values_list("counterparty_iban", "payment__entity_id")
    )
    return Receivables([OpenDocument(*row) for row in documents], dict(known))


def proposals_for(money: Money, receivables: Receivables) -> list[Proposal]:
    """The most likely matches of one payment, the best first; at most three, each of another set of documents."""
    if money.amount <= 0:
        return []
    found = [
        *_by_number(money, receivables),
        *_by_payer(money, receivables),
        *_by_amount(money, receivables),
    ]
    if money.entity_id is not None:
        found = [proposal for proposal in found if proposal.entity_id == money.entity_id]
    best: dict[tuple[Any, ...], Proposal] = {}
    for proposal in sorted(found, key=lambda one: -one.score):
        key = (proposal.entity_id, *sorted((part.document.pk, part.amount) for part in proposal.parts))
        best.setdefault(key, proposal)
    return list(best.values())[:_MOST_PROPOSALS]


# --- Ways to a match -------------------------------------------------------------------------------------


def _by_number(money: Money, receivables: Receivables) -> Iterable[Proposal]:
    documents = [one for one in receivables.named_in(money.text) if one.currency == money.currency]
    payers = {document.entity_id for document in documents}
    if len(payers) != 1:
        return
    named = ", ".join(document.number for document in documents)
    reasons = [f"The text names {named}."]
    if any(iso11649.is_valid(word) for word in money.text.split()):
        reasons.append("The text carries a valid RF creditor reference.")
    total = exact_sum([document.open for document in documents])
    if total == money.amount:
        reasons.append("It is exactly what is open.")
        yield _proposal(money, documents, CERTAIN, reasons)
    elif money.amount < total:
        reasons.append("It is less than what is open: a part payment.")
        yield _proposal(money, documents, 80, reasons)
    else:
        reasons.append("It is more than what is open; the rest stays as a balance.")
        yield _proposal(money, documents, 75, reasons)


def _by_payer(money: Money, receivables: Receivables) -> Iterable[Proposal]:
    for entity_id, reason, sure in _payers(money, receivables):
        documents = receivables.by_payer.get((entity_id, money.currency), [])
        if not documents:
            continue
        exact = [document for document in documents if document.open == money.amount]
        if exact:
            several = (
                f" It has {len(exact)} documents over this amount; this is the oldest."
                if len(exact) > 1
                else ""
            )
            words = f"{exact[0].number} is open with exactly this amount.{several}"
            yield _proposal(money, exact[:1], sure - (8 if len(exact) > 1 else 0), [reason, words])
        group = _adding_up(documents, money.amount)
        if group:
            words = f"{len(group)} documents add up to exactly this amount."
            yield _proposal(money, group, sure - 12, [reason, words])
        if not exact and not group:
            words = "No open amount fits: the oldest due first, leaving out what is disputed."
            yield _proposal(money, documents, sure - 50, [reason, words], undisputed=True)


def _by_amount(money: Money, receivables: Receivables) -> Iterable[Proposal]:
    documents = receivables.by_amount.get((money.currency, money.amount), [])
    if len(documents) == 1:
        reasons = [f"{documents[0].number} is the only document with exactly this amount open."]
        yield _proposal(money, documents, 60, reasons)
    for document in documents[:_MOST_PROPOSALS] if len(documents) > 1 else []:
        reasons = [f"One of {len(documents)} documents with exactly this amount open."]
        yield _proposal(money, [document], 30, reasons)


def _payers(money: Money, receivables: Receivables) -> Iterable[tuple[int, str, int]]:
    """Who may have paid: id, why, and how sure an exact amount of theirs would be."""
    if money.entity_id is not None:
        yield money.entity_id, "It is this payer's payment.", 90
        return
    known = receivables.payer_of_iban.get(money.iban) if money.iban else None
    if known is not None:
        yield known, f"Earlier payments from {money.iban} were this payer's.", 92
    words = _words(money.name)
    for entity_id, (name, own) in receivables.names.items() if words else ():
        # One word alone, such as the group's name, does not tell its companies apart.
        if entity_id != known and own and (own <= words or (len(words) > 1 and words <= own)):
            yield entity_id, f"The sender “{money.name}” is called like {name}.", 85


def _adding_up(documents: Sequence[OpenDocument], amount: Decimal) -> list[OpenDocument]:
    """Two or more documents that add up to the amount: the oldest ones, all, else any few."""
    sums = Decimal(0)
    for count, document in enumerate(documents, start=1):
        sums = EXACT.add(sums, document.open)
        if sums == amount and count > 1:
            return list(documents[:count])
    few = documents[:_MOST_FOR_SUMS]
    for size in (2, 3, 4):
        for group in combinations(few, size):
            if exact_sum([document.open for document in group]) == amount:
                return list(group)
    return []


def _proposal(
    money: Money,
    documents: Sequence[OpenDocument],
    score: int,
    reasons: Sequence[str],
    *,
    undisputed: bool = False,
) -> Proposal:
    left = money.amount
    parts = []
    for document in documents:
        free = EXACT.subtract(document.open, document.disputed) if undisputed else document.open
        amount = min(left, free)
        if amount > 0:
            parts.append(ProposedPart(document, amount))
            left = EXACT.subtract(left, amount)
    first = documents[0]
    return Proposal(first.entity_id, first.entity_name, parts, left, score, tuple(reasons))


def _plain(text: str) -> str:
    return re.sub(r"[^0-9A-Z]", "", text.upper())


def _words(name: str) -> set[str]:
    """The words of a name that tell it from others: without accents, legal forms and single letters."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().upper()
    words = set(re.findall(r"[0-9A-Z]{2,}", plain))
    return words - _LEGAL_FORMS


def money_of(transaction: BankTransaction) -> Money:
    """What is known of a bank transaction."""
    return Money(
        amount=transaction.amount,
        currency=transaction.currency,
        text=f"{transaction.text} {transaction.bank_reference}",
        name=transaction.counterparty_name,
        iban=transaction.counterparty_iban,
    )


def transaction_proposals(
    issuer_id: int, transactions: Sequence[BankTransaction]
) -> dict[int, list[Proposal]]:
    """Proposals for each open transaction, by its id; the number of statements does not depend on how many there are.

    A document that one payment settles for certain is not proposed to another of the same list.
    """
    money = {one.pk: money_of(one) for one in transactions}
    receivables = open_receivables(issuer_id, list(money.values()))
    found = {pk: proposals_for(one, receivables) for pk, one in money.items()}
    taken: dict[int, int] = {}
    for pk, proposals in found.items():
        for proposal in proposals[:1]:
            if proposal.certain:
                for part in proposal.parts:
                    taken.setdefault(part.document.pk, pk)
    return {
        pk: [one for one in proposals if all(taken.get(part.document.pk, pk) == pk for part in one.parts)]
        for pk, proposals in found.items()
    }
