"""Credits of contracts that no invoice takes become credit notes (INV-01, INV-08, CON-08, CON-16, CON-20).

An invoice takes the credits that its charges cover. What is left over, such as time that was prepaid beyond a
termination, is given back on the invoices that billed it: one credit note for each of them, at its rates and taxes, to
whoever was billed. A credit of a service level, which corrects no single fee, goes to what its contract billed for that
time, then to the newest other lines of the contract. Lines are never credited beyond what they billed: what was given
back by hand before is not given back again.

The billing run plans the notes when it prepares a payer, shows them, and issues exactly those. The credit note holds
the fees as an invoice would, so that each is billed or credited once; when it becomes void they wait again.
"""

import datetime
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import groupby
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import F

from contracts.models import BillableFee
from contracts.services.billing import fees_prepare, usage_terms
from contracts.services.commitments import fees_invoiced
from contracts.usage import UsageTerm
from core import clock
from core.access import Actor, require
from core.errors import Conflict, constraint_name
from core.money import EXACT, exact_sum, plain_amount, round_money
from entities.models import Entity
from invoicing.models import DocumentType, Invoice, InvoiceLine, LineKind
from invoicing.selectors.billing_scope import billing_hierarchy
from invoicing.selectors.contract_fees import FIRST_DAY, contract_scope, unbilled_fees
from invoicing.services.consolidation import claim_fees
from invoicing.services.contract_fees import FeeItem, UsageMoved, units_of
from invoicing.services.credit_notes import (
    copied_facts,
    new_note,
    note_day,
    note_lines,
    note_number,
    note_post,
)
from invoicing.services.credited_lines import (
    CreditedLine,
    creditable,
    line_credit,
    lines_credit,
    share_of,
)
from invoicing.services.invoice import fees_of
from invoicing.services.settlement import ZERO, lock_documents

ONE_DAY = datetime.timedelta(days=1)
_ISSUED = ("credit_note_id", "number")


@dataclass(frozen=True, slots=True)
class FeeOnLine:
    """A fee, and the usage that it prices, as the line of a credit note claims them."""

    fee: Any
    contract_id: int | None
    contract_line: str
    period_start: datetime.date
    period_end: datetime.date


@dataclass(frozen=True, slots=True)
class PlannedNote:
    """A credit note for ``invoice``: the lines it gives back, and what it claims, by line."""

    invoice: Invoice
    lines: tuple[CreditedLine, ...]
    claims: Mapping[int, Sequence[FeeItem]]
    units: Mapping[int, Sequence[FeeItem]]

    @property
    def subtotal(self) -> Decimal:
        return exact_sum([line.amount for line in self.lines])

    @property
    def tax_total(self) -> Decimal:
        return exact_sum([line.tax for line in self.lines])

    @property
    def reason(self) -> str:
        """What is credited, as it is printed."""
        return "; ".join(dict.fromkeys(item.fee.description for item in self._items()))[:500]

    def described(self, line: InvoiceLine) -> str:
        """What stands on the line of the note."""
        return "; ".join(dict.fromkeys(item.fee.description for item in self.units[line.pk]))[:500]

    def stored(self) -> dict[str, Any]:
        """As a billing run keeps it; amounts are strings."""
        currency = self.invoice.currency
        return {
            "corrects_id": self.invoice.pk,
            "corrects": self.invoice.number,
            "payer_id": self.invoice.entity_id,
            "issuer_id": self.invoice.issuer_id,
            "currency": currency,
            "subtotal": plain_amount(self.subtotal, currency),
            "tax_total": plain_amount(self.tax_total, currency),
            "total": plain_amount(EXACT.add(self.subtotal, self.tax_total), currency),
            "reason": self.reason,
            "lines": [
                {
                    "line_id": line.line.pk,
                    "amount": plain_amount(line.amount, currency),
                    "tax_amount": plain_amount(line.tax, currency),
                }
                for line in self.lines
            ],
            "fee_ids": sorted(
                {item.fee.pk for items in self.claims.values() for item in items if item.claim.fee_id}
            ),
            "credit_note_id": None,
            "number": "",
        }

    def _items(self) -> list[FeeItem]:
        return [item for line in self.lines for item in self.units[line.line.pk]]


def contract_credits_plan(
    *, payer: Entity, period_end: datetime.date, issuer: Entity | None = None
) -> list[PlannedNote]:
    """Have the contracts write what is due before ``period_end``, and say which credits no invoice takes (CON-16).

    Called when the payer's draft holds what it can. With ``issuer`` only what that one billed.
    Raises Conflict ``charges_in_motion``.
    """
    contracts = contract_scope(billing_hierarchy(payer, FIRST_DAY, period_end)).contracts
    with transaction.atomic():
        for contract in contracts:
            fees_prepare(
                contract_id=contract.pk,
                until=period_end - ONE_DAY,
                arrears_until=clock.today(payer.time_zone),
            )
        return _plan(payer, period_end, issuer, [contract.pk for contract in contracts])


def contract_credits_issue(
    *,
    actor: Actor,
    payer: Entity,
    period_end: datetime.date,
    planned: Sequence[Mapping[str, Any]],
    issuer: Entity | None = None,
    issue_date: datetime.date | None = None,
) -> list[Invoice]:
    """Issue exactly the credit notes that were planned, all or none; one before its invoice is dated as that.

    Needs the right to issue at their issuers. Raises Conflict ``credits_changed``, ``issue_date_before_last``.
    """
    with transaction.atomic():
        locked = lock_documents(*(note["corrects_id"] for note in planned))
        for invoice in locked.values():
            require(actor, "invoicing.issue_invoice", invoice.issuer)
        fee_ids = [pk for note in planned for pk in note["fee_ids"]]
        fees = BillableFee.objects.filter(pk__in=fee_ids)
        contracts = list(fees.order_by("contract_id").values_list("contract_id", flat=True).distinct())
        notes = _plan(payer, period_end, issuer, contracts, only=fee_ids)
        if [_unissued(note.stored()) for note in notes] != [_unissued(note) for note in planned]:
            raise _changed(payer)
        terms = _terms(contracts, period_end)
        try:
            with transaction.atomic():
                return _issue(actor, notes, locked, terms, issue_date)
        except UsageMoved as error:
            raise _changed(payer) from error
        except IntegrityError as error:
            if constraint_name(error) not in ("contract_fee_billed_once", "usage_record_billed_once"):
                raise
            raise _changed(payer) from error


def _unissued(note: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in note.items() if key not in _ISSUED}


def _changed(payer: Entity) -> Conflict:
    return Conflict(
        "credits_changed",
        f"What contracts credit {payer} is not what was previewed: fees or invoices have changed since. Prepare the "
        "payer again, and check it.",
    )


# --- Planning --------------------------------------------------------------------------------------------


def _plan(
    payer: Entity,
    period_end: datetime.date,
    issuer: Entity | None,
    contract_ids: Sequence[int],
    only: Collection[int] | None = None,
) -> list[PlannedNote]:
    units = _waiting_units(contract_ids, period_end, only)
    if not units:
        return []
    lines = _billed_lines({unit[0].fee.contract_id for unit in units})
    taken: dict[int, Decimal] = defaultdict(Decimal)
    found: dict[int, InvoiceLine] = {}
    claims: dict[int, list[FeeItem]] = defaultdict(list)
    of_line: dict[int, list[FeeItem]] = defaultdict(list)
    for unit in units:
        parts = _given_back(unit, lines, taken)
        if not parts or parts[0][0].invoice.entity_id != payer.pk:
            continue
        if issuer is not None and any(line.invoice.issuer_id != issuer.pk for line, _ in parts):
            continue
        claims[parts[0][0].pk] += unit
        for line, amount in parts:
            found[line.pk] = line
            taken[line.pk] = EXACT.add(taken[line.pk], amount)
            of_line[line.pk] += unit
    members = sorted(found.values(), key=lambda line: (line.invoice_id, line.line_number))
    notes = []
    for _, group in groupby(members, key=lambda line: line.invoice_id):
        credited = tuple(line_credit(line, taken[line.pk], line.invoice.currency) for line in group)
        notes.append(
            PlannedNote(
                credited[0].line.invoice,
                credited,
                {line.line.pk: claims[line.line.pk] for line in credited},
                {line.line.pk: of_line[line.line.pk] for line in credited},
            )
        )
    return notes


def _waiting_units(
    contract_ids: Sequence[int], period_end: datetime.date, only: Collection[int] | None
) -> list[list[FeeItem]]:
    """What is billed together, comes to less than nothing, and is on no document; the oldest first."""
    free = unbilled_fees(contract_ids, period_end - ONE_DAY, None)
    if only is not None:
        free = free.filter(pk__in=only)
    fees = list(free.select_related("adjusts"))
    if not any(fee.amount < 0 for fee in fees):
        return []
    try:
        units = units_of(fees, _terms(contract_ids, period_end), below_zero=True)
    except UsageMoved as error:
        raise Conflict(
            "charges_in_motion",
            "Usage that a contract prices is being imported or mapped just now. Wait for that, then try again.",
        ) from error
    return [unit for unit in units if len({item.fee.currency for item in unit}) == 1]


def _terms(contract_ids: Sequence[int], period_end: datetime.date) -> list[UsageTerm]:
    entities = Entity.objects.filter(contracts__in=contract_ids).values_list("pk", flat=True)
    return usage_terms(set(entities), until=period_end)


def _billed_lines(contract_ids: Collection[int]) -> list[InvoiceLine]:
    """The lines with which posted invoices bill fees of the contracts, as far as something of them is left."""
    lines = InvoiceLine.objects.filter(
        kind=LineKind.FEE, contract_id__in=contract_ids, amount__gt=F("credited_amount"), original_amount__gt=0,
        invoice__in=Invoice.objects.posted().of_type(DocumentType.INVOICE),
    )  # fmt: skip
    return list(
        lines.select_related("invoice__entity", "invoice__issuer").order_by("invoice_id", "line_number")
    )


def _given_back(
    unit: Sequence[FeeItem], lines: Sequence[InvoiceLine], taken: Mapping[int, Decimal]
) -> list[tuple[InvoiceLine, Decimal]]:
    """Which lines a unit gives back, and how much of each, before tax; less than it where less is left."""
    need = -exact_sum([item.amount for item in unit])
    parts = []
    for line in _targets(unit[0].fee, lines):
        left = EXACT.subtract(creditable(line), taken.get(line.pk, ZERO))
        asked = round_money(share_of(line.amount, need, line.original_amount), line.invoice.currency)
        part = min(asked, left)
        if part <= 0:
            continue
        parts.append((line, part))
        if asked <= left:
            break
        need = EXACT.subtract(need, share_of(line.original_amount, left, line.amount))
    return parts


def _targets(fee: BillableFee, lines: Sequence[InvoiceLine]) -> list[InvoiceLine]:
    """The lines that a credit corrects, in the order in which they are given back."""
    own = [
        line
        for line in lines
        if line.contract_id == fee.contract_id and line.original_currency == fee.currency
    ]
    if fee.adjusts_id is not None:
        return [
            line
            for line in own
            if line.contract_line == fee.line_code and line.period_start == fee.period_start
        ]
    at_that_time = [
        line for line in own if line.period_start < fee.period_end and line.period_end > fee.period_start
    ]
    others = [line for line in own if line not in at_that_time]
    return at_that_time + sorted(others, key=lambda line: (line.period_start, line.pk), reverse=True)


# --- Issuing: the invoices are locked ---------------------------------------------------------------------


def _issue(
    actor: Actor,
    planned: Sequence[PlannedNote],
    locked: Mapping[int, Invoice],
    terms: Sequence[UsageTerm],
    issue_date: datetime.date | None,
) -> list[Invoice]:
    notes = [_draft(actor, plan, locked[plan.invoice.pk], terms) for plan in planned]
    together = [note.pk for note in notes]
    for plan, note in zip(planned, notes, strict=True):
        invoice = locked[plan.invoice.pk]
        assert invoice.issue_date is not None
        day = note_day(invoice, issue_date and max(issue_date, invoice.issue_date))
        lines_credit(plan.lines)
        copied = copied_facts(invoice) | {"contract_credits": together}
        note_post(note, invoice, actor=actor, day=day, copied=copied)
    for note in notes:
        fees_invoiced(fees=fees_of(note), invoice_id=note.pk, reference=f"Credit note {note.pk}")
    for note in notes:
        note_number(note)
    return notes


def _draft(actor: Actor, plan: PlannedNote, invoice: Invoice, terms: Sequence[UsageTerm]) -> Invoice:
    note = new_note(invoice, DocumentType.CREDIT_NOTE, actor, plan.reason)
    note.subtotal, note.tax_total = plan.subtotal, plan.tax_total
    note.total = EXACT.add(note.subtotal, note.tax_total)
    note.save()
    rows = note_lines(note, plan.lines)
    for row, credit in zip(rows, plan.lines, strict=True):
        row.description = plan.described(credit.line)
        row.item_count = sum(item.item_count for item in plan.claims[credit.line.pk])
    InvoiceLine.objects.bulk_create(rows, batch_size=500)
    holding = [
        (
            row.pk,
            FeeOnLine(
                item.claim, item.fee.contract_id, item.fee.line_code, item.fee.period_start, item.period_end
            ),
        )
        for row, credit in zip(rows, plan.lines, strict=True)
        for item in plan.claims[credit.line.pk]
    ]
    claim_fees(terms, [key for key, _ in holding], [claim for _, claim in holding])
    return note
