"""Debit notes: what is asked for in addition, on an invoice that was issued (INV-01, INV-02)."""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from django.db import transaction

from core.access import require
from core.errors import Conflict, FieldProblem, Invalid
from core.history import record_as
from core.models import User
from core.money import EXACT, exact_sum
from core.outbox import publish
from entities.models import Department, Entity, TaxTreatment
from entities.services.records import check_fields, field_error
from invoicing.models import DocumentType, Invoice, InvoiceLine, LineKind
from invoicing.services.credit_notes import copied_facts, new_note, note_day, note_event
from invoicing.services.invoice import document_number, document_post
from invoicing.services.settlement import ZERO, checked_amount, checked_reason, lock_documents
from invoicing.services.tax import Taxable, line_taxes


@dataclass(frozen=True, slots=True)
class DebitLine:
    """What is asked for, before tax; by default of the payer, tax as the payer's unless category and rate are given.

    ``tax_rate`` is a percentage; ``department`` belongs to ``entity``.
    """

    description: str
    amount: Decimal | str | int
    entity: Entity | None = None
    department: Department | None = None
    gl_code: str = ""
    tax_category: str = ""
    tax_rate: Decimal | None = None


def debit_note_issue(
    *,
    actor: User,
    invoice: Invoice,
    lines: Sequence[DebitLine],
    reason: str,
    issue_date: datetime.date | None = None,
) -> Invoice:
    """Ask the payer of an issued invoice for more; the note has a number of its own and is settled like an invoice.

    Raises Invalid ``reason_required``, ``no_lines``, ``amount_not_positive``, ``department_of_another_entity``,
    ``entity_of_another_group``, ``tax_rate_without_category``, ``issue_date_in_future``, ``issue_date_before_invoice``;
    Conflict ``not_correctable``, ``issue_date_before_last``.
    """
    require(actor, "invoicing.issue_invoice", invoice.issuer)
    reason = checked_reason(reason, "why more is asked for: the reason is printed on the debit note")
    if not lines:
        raise field_error("lines", "no_lines", "Give at least one line.")
    with transaction.atomic(), record_as(actor, reason):
        locked = lock_documents(invoice.pk)[invoice.pk]
        if locked.document_type != DocumentType.INVOICE or not locked.is_posted:
            raise Conflict(
                "not_correctable",
                f"A debit note adds to an issued invoice; {locked} is none. Choose the invoice.",
                extra={"status": locked.status, "document_type": locked.document_type},
            )
        day = note_day(locked, issue_date)
        note = new_note(locked, DocumentType.DEBIT_NOTE, actor, reason)
        rows = _note_lines(note, locked, lines)
        note.subtotal = exact_sum([row.amount for row in rows])
        note.tax_total = exact_sum([row.tax_amount for row in rows])
        note.total = EXACT.add(note.subtotal, note.tax_total)
        note.save()
        InvoiceLine.objects.bulk_create(rows)
        document_post(note, actor=actor, day=day, copied={"corrects": copied_facts(locked)["corrects"]})
        document_number(note)
        note.save()
        publish("debit_note.issued", note_event(note), key=f"invoice:{note.pk}")
    return note


def _note_lines(note: Invoice, invoice: Invoice, lines: Sequence[DebitLine]) -> list[InvoiceLine]:
    """The lines with their tax, rounded as the issuer says (INV-05)."""
    rows = [_row(note, invoice, line, number) for number, line in enumerate(lines, start=1)]
    taxables = [Taxable(row.amount, row.tax_category, row.tax_rate) for row in rows]
    taxes = line_taxes(taxables, note.currency, note.issuer.tax_rounding)
    for row, tax in zip(rows, taxes, strict=True):
        row.tax_amount = tax
    return rows


def _row(note: Invoice, invoice: Invoice, line: DebitLine, number: int) -> InvoiceLine:
    field = f"lines/{number - 1}"
    entity, department = line.entity or invoice.entity, line.department
    if department is not None and department.entity_id != entity.pk:
        raise field_error(
            f"{field}/department_id",
            "department_of_another_entity",
            f"{department} does not belong to {entity}. Choose one of its departments.",
        )
    amount = checked_amount(line.amount, note.currency, f"{field}/amount")
    category, rate = _tax(line, invoice.entity, field)
    row = InvoiceLine(
        invoice=note, line_number=number, kind=LineKind.CHARGE, entity=entity, entity_name=entity.name,
        department=department, department_code=department.code if department else "",
        department_name=department.name if department else "",
        gl_code=line.gl_code or (department.gl_code if department else ""), description=line.description.strip(),
        item_count=0, period_start=invoice.period_start, period_end=invoice.period_end,
        original_currency=note.currency, original_amount=amount, exact_amount=amount, amount=amount,
        tax_category=category, tax_rate=rate,
    )  # fmt: skip
    try:
        check_fields(row)
    except Invalid as error:
        problems = [FieldProblem(f"/{field}{p.pointer}", p.code, p.detail) for p in error.errors]
        raise Invalid(error.code, error.message, errors=problems) from error
    return row


def _tax(line: DebitLine, payer: Entity, field: str) -> tuple[str, Decimal]:
    if line.tax_category:
        return line.tax_category, line.tax_rate or ZERO
    if line.tax_rate is not None:
        raise field_error(
            f"{field}/tax_rate", "tax_rate_without_category", "Give the tax category that goes with the rate."
        )
    taxed = payer.tax_treatment == TaxTreatment.STANDARD
    return payer.tax_treatment, payer.tax_rate if taxed else ZERO
