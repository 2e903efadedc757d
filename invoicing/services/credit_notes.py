"""Credit notes: what is given back of an invoice, whole, by line or by amount (INV-01, INV-02, INV-08, BUD-16)."""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.db import transaction

from contracts.services.commitments import fees_credited
from core.access import require
from core.errors import Conflict
from core.history import record_as
from core.models import User
from core.money import EXACT, exact_sum, plain_amount
from core.outbox import publish
from entities.services.records import field_error
from invoicing.models import BilledItem, DocumentType, Invoice, InvoiceLine, SettlementKind
from invoicing.selectors.holds import creditable_including_tax
from invoicing.services.credited_lines import (
    CreditedLine,
    LineAmount,
    credit_amount,
    credit_amount_including_tax,
    credit_lines,
    credit_whole,
    creditable_total,
    fee_credits,
    lines_credit,
    share_of,
)
from invoicing.services.invoice import (
    document_event,
    document_number,
    document_post,
    issue_day,
    items_release,
)
from invoicing.services.settlement import (
    Part,
    checked_reason,
    lock_documents,
    money_text,
    set_settled,
    settle,
)

_COPIED = (
    "kind", "entity_id", "entity_name", "department_id", "department_code", "department_name", "gl_code", "description",
    "provider", "service", "charge_category", "contract_id", "contract_line", "period_start", "period_end",
    "original_currency", "rate", "rate_date", "rate_source", "markup_percent", "tax_category",
    "tax_rate",
)  # fmt: skip
_ORIGINAL_PLACES, _EXACT_PLACES = 15, 25


@dataclass(frozen=True, slots=True)
class CreditNoteContent:
    """What a credit note gives back, and what becomes of it: set off against the invoice at once, or left over."""

    invoice: Invoice
    lines: Sequence[CreditedLine]
    subtotal: Decimal
    tax_total: Decimal
    total: Decimal
    set_off: Decimal
    balance: Decimal
    is_whole: bool
    """Nothing is left of the invoice to be credited then."""


def credit_note_preview(
    *,
    actor: User,
    invoice: Invoice,
    lines: Sequence[LineAmount] | None = None,
    amount: Decimal | str | int | None = None,
    amount_including_tax: Decimal | str | int | None = None,
) -> CreditNoteContent:
    """Say what ``credit_note_issue`` would credit; writes nothing. Raises the same."""
    require(actor, "invoicing.issue_invoice", invoice.issuer)
    now = Invoice.objects.select_related("issuer", "entity").get(pk=invoice.pk)
    return _content(now, _lines_of(now), lines, amount, amount_including_tax)


def credit_note_issue(
    *,
    actor: User,
    invoice: Invoice,
    reason: str,
    lines: Sequence[LineAmount] | None = None,
    amount: Decimal | str | int | None = None,
    amount_including_tax: Decimal | str | int | None = None,
    issue_date: datetime.date | None = None,
    release_items: bool = False,
) -> Invoice:
    """Credit ``lines``, an amount before or including tax spread over the lines, or, without these, all that is left.

    An amount including tax, of a line or of all, is credited exactly (DSP-11). Tax is credited in proportion at the
    original rate; the credits of a line never exceed it, and the last one gives exactly the rest (INV-08). What is open
    of the invoice is settled at once, the rest stays as a balance. Budgets of contracts get back what is credited of
    their fees (BUD-16). ``release_items``, only when nothing is left to be credited then, frees what the invoice billed
    to be billed again, as voiding does.

    Raises Invalid ``reason_required``, ``lines_or_amount``, ``one_amount``, ``negative_line``,
    ``issue_date_in_future``, ``issue_date_before_invoice``; Conflict ``not_creditable``, ``credit_exceeds_line``,
    ``credit_exceeds_invoice``, ``nothing_to_credit``, ``not_whole``, ``contract_credited``, ``issue_date_before_last``.
    """
    require(actor, "invoicing.issue_invoice", invoice.issuer)
    reason = checked_reason(reason, "why it is credited: the reason is printed on the credit note")
    with transaction.atomic(), record_as(actor, reason):
        locked = lock_documents(invoice.pk)[invoice.pk]
        day = note_day(locked, issue_date)
        billed = _lines_of(locked)
        content = _content(locked, billed, lines, amount, amount_including_tax)
        if release_items and not content.is_whole:
            raise Conflict(
                "not_whole",
                f"Something of {locked} would not be credited, so what it billed cannot be billed again. Credit all "
                "that is left, or do not release the items.",
            )
        if release_items:
            _refuse_release(locked)
        note = new_note(locked, DocumentType.CREDIT_NOTE, actor, reason)
        note.subtotal, note.tax_total, note.total = content.subtotal, content.tax_total, content.total
        note.save()
        InvoiceLine.objects.bulk_create(note_lines(note, content.lines), batch_size=500)
        fees = fee_credits(billed, content.lines)
        lines_credit(content.lines)
        note_post(note, locked, actor=actor, day=day, copied=copied_facts(locked))
        if release_items:
            items_release(locked, {credit.fee.pk: credit.earlier for credit in fees})
        else:
            fees_credited(
                credits=fees, invoice_id=locked.pk, credit_note_id=note.pk, reference=f"Credit note {note.pk}"
            )
        note_number(note)
    return note


def _refuse_release(invoice: Invoice) -> None:
    """What contracts credited of the invoice would be billed again without the credit."""
    holding = BilledItem.objects.filter(
        invoice_line__invoice__corrects=invoice, contract_fee__isnull=False, released_at__isnull=True
    )
    note = Invoice.objects.posted().filter(lines__billed_items__in=holding).order_by("pk").first()
    if note is not None:
        raise Conflict(
            "contract_credited",
            f"{note} gives back credits of contracts on {invoice}. Void that first, or do not release the items.",
            extra={"credit_note_id": note.pk},
        )


def _lines_of(invoice: Invoice) -> list[InvoiceLine]:
    return list(InvoiceLine.objects.filter(invoice=invoice).order_by("line_number"))


def _content(
    invoice: Invoice,
    billed: Sequence[InvoiceLine],
    lines: Sequence[LineAmount] | None,
    amount: Decimal | str | int | None,
    amount_including_tax: Decimal | str | int | None,
) -> CreditNoteContent:
    _require_creditable(invoice)
    if sum(asked is not None for asked in (lines, amount, amount_including_tax)) > 1:
        raise field_error(
            "amount",
            "lines_or_amount",
            "Give lines, an amount before tax or one including tax: one of these.",
        )
    if lines is not None:
        credits = credit_lines(billed, lines, invoice.currency)
    elif amount is not None:
        credits = credit_amount(billed, amount, invoice.currency)
    elif amount_including_tax is not None:
        credits = credit_amount_including_tax(billed, amount_including_tax, invoice.currency)
    else:
        credits = credit_whole(billed, invoice.currency)
    subtotal = exact_sum([credit.amount for credit in credits])
    tax_total = exact_sum([credit.tax for credit in credits])
    total, rest = EXACT.add(subtotal, tax_total), creditable_total(billed)
    if total > rest:
        raise Conflict(
            "credit_exceeds_invoice",
            f"Only {money_text(rest, invoice.currency)} of {invoice} is left to be credited, with tax, because it has "
            "lines that are credits. Credit less, or all that is left.",
            extra={"creditable": plain_amount(rest, invoice.currency), "currency": invoice.currency},
        )
    if total <= 0:
        raise Conflict("nothing_to_credit", f"Nothing of {invoice} is left to be credited.")
    set_off = min(total, invoice.open_amount)
    whole = {credit.line.pk: credit for credit in credits}
    left = any(
        (line.amount, line.tax_amount) != (then.credited_amount, then.credited_tax)
        for line, then in ((line, whole.get(line.pk, line)) for line in billed)
    )
    return CreditNoteContent(
        invoice=invoice,
        lines=credits,
        subtotal=subtotal,
        tax_total=tax_total,
        total=total,
        set_off=set_off,
        balance=EXACT.subtract(total, set_off),
        is_whole=not left,
    )


def _require_creditable(invoice: Invoice) -> None:
    if invoice.is_credit_note:
        raise Conflict(
            "not_creditable", f"{invoice} is a credit note. Make a debit note for the invoice instead."
        )
    if not invoice.is_posted:
        advice = "A draft is changed or discarded." if invoice.number is None else "Nothing of it is owed."
        raise Conflict(
            "not_creditable",
            f"{invoice} is {invoice.get_status_display().lower()}; only an issued invoice is credited. {advice}",
            extra={"status": invoice.status},
        )


def note_lines(note: Invoice, credits: Sequence[CreditedLine]) -> list[InvoiceLine]:
    """The lines of the credit note, with the facts of those that they give back."""
    return [
        InvoiceLine(
            invoice=note,
            line_number=number,
            corrects_line=credit.line,
            item_count=0,
            amount=credit.amount,
            tax_amount=credit.tax,
            original_amount=_telescoped(credit.line.original_amount, credit, _ORIGINAL_PLACES),
            exact_amount=_telescoped(credit.line.exact_amount, credit, _EXACT_PLACES),
            **{name: getattr(credit.line, name) for name in _COPIED},
        )
        for number, credit in enumerate(credits, start=1)
    ]


def _telescoped(value: Decimal, credit: CreditedLine, places: int) -> Decimal:
    """What a credit gives back of an exact amount, so that all credits together give back exactly it."""
    line, step = credit.line, Decimal(1).scaleb(-places)

    def until(credited: Decimal) -> Decimal:
        if credited == line.amount:
            return value
        return share_of(value, credited, line.amount).quantize(step, context=EXACT)

    return EXACT.subtract(until(credit.credited_amount), until(line.credited_amount))


# --- What credit and debit notes have in common -----------------------------------------------------------


def new_note(invoice: Invoice, document_type: str, actor: User, reason: str) -> Invoice:
    """A draft between the same parties, for the same period, that corrects the invoice."""
    return Invoice(
        document_type=document_type, issuer=invoice.issuer, entity=invoice.entity, bill_to_id=invoice.bill_to_id,
        corrects=invoice, reason=reason, period_start=invoice.period_start, period_end=invoice.period_end,
        currency=invoice.currency, created_by=actor,
    )  # fmt: skip


def note_post(
    note: Invoice, invoice: Invoice, *, actor: User, day: datetime.date, copied: dict[str, Any]
) -> None:
    """Post a credit note whose lines are written, and settle with it what is open of the locked invoice.

    Budgets and the number (`note_number`) are still to come.
    """
    document_post(note, actor=actor, day=day, copied=copied)
    set_off = min(note.total, invoice.open_amount)
    if set_off:
        settle(
            actor=actor, parts=[Part(invoice, set_off, day)], kind=SettlementKind.CREDIT_NOTE,
            credit_note=note, reason=note.reason,
        )  # fmt: skip
    set_settled(note, set_off)


def note_number(note: Invoice) -> None:
    """Give a posted credit note its number, the last lock, and tell of it and whether its invoice is used up."""
    assert note.corrects is not None
    credited = InvoiceLine.objects.filter(invoice=note).order_by("line_number")
    told = note_event(note) | {
        "credited_lines": list(credited.values_list("corrects_line_id", flat=True)),
        "nothing_left": not creditable_including_tax(note.corrects),
    }
    document_number(note)
    note.save()
    publish("credit_note.issued", told | {"number": note.number}, key=f"invoice:{note.pk}")


def note_day(invoice: Invoice, asked: datetime.date | None) -> datetime.date:
    """The date of a note, which is not before that of the invoice."""
    day = issue_day(invoice.issuer, asked)
    if invoice.issue_date is not None and day < invoice.issue_date:
        raise field_error(
            "issue_date",
            "issue_date_before_invoice",
            f"{invoice} is dated {invoice.issue_date}: give that day or a later one.",
        )
    return day


def copied_facts(invoice: Invoice) -> dict[str, Any]:
    """What the snapshot of a note shows of the invoice that it corrects."""
    facts: dict[str, Any] = {
        "corrects": {"id": invoice.pk, "number": invoice.number, "issue_date": str(invoice.issue_date)}
    }
    if "tax" in invoice.snapshot:
        facts["tax"] = invoice.snapshot["tax"]
    return facts


def note_event(note: Invoice) -> dict[str, Any]:
    """What the outbox tells of a credit or debit note."""
    return document_event(note) | {
        "corrects_id": note.corrects_id,
        "reason": note.reason,
        "settled_amount": plain_amount(note.settled_amount, note.currency),
    }
