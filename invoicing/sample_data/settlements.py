"""What the sample group's payers paid: most in full, one in part, one too much, one not at all; and a credit note."""

from datetime import timedelta
from decimal import Decimal

from core.history import acting
from core.money import EXACT, round_money
from core.sample_data.run import SampleRun, person
from entities.sample_data.organisation import ROOT
from entities.sample_data.people import FINANCE_MANAGER, FINANCE_STAFF
from invoicing.models import DocumentType, Invoice, Payment
from invoicing.sample_data.invoices import PAYERS
from invoicing.services.credit_notes import credit_note_issue
from invoicing.services.payments import Application, payment_record

PAID_AFTER = timedelta(days=16)
UNPAID = ("TARN-DE-SEN", 1)
"""Whose invoice, counted from 0, is overdue because nobody paid it."""

OVERPAID, TOO_MUCH = ("TARN-GB", 1), Decimal(250)
CREDITED = ("TARN-DE-SEN", 0)
CREDIT_REASON = "Storage was unreachable on two days; credited as a goodwill gesture."


def load_settlements(run: SampleRun) -> None:
    """Credit one invoice, then pay the others; the payments name their invoices, and are recorded once."""
    made = there = 0
    for payer in PAYERS:
        invoices = list(
            Invoice.objects.posted()
            .of_type(DocumentType.INVOICE)
            .filter(entity__code=payer.entity)
            .select_related("issuer", "entity")
            .order_by("period_start", "pk")
        )
        for place, invoice in enumerate(invoices):
            if (payer.entity, place) == CREDITED:
                _credit(run, invoice)
            done = _pay(run, payer.entity, place, invoice, is_last=place == len(invoices) - 1)
            made, there = made + (done is True), there + (done is False)
    run.count("payments", made, there=there)


def _credit(run: SampleRun, invoice: Invoice) -> None:
    if invoice.corrections.exists() or invoice.issue_date is None:
        return
    with acting(reason="Goodwill"):
        credit_note_issue(
            actor=person(FINANCE_MANAGER),
            invoice=invoice,
            amount=round_money(invoice.subtotal / 20, invoice.currency),
            reason=CREDIT_REASON,
            issue_date=min(invoice.issue_date + timedelta(days=5), run.today),
        )


def _pay(run: SampleRun, code: str, place: int, invoice: Invoice, *, is_last: bool) -> bool | None:
    """Record the payment of an invoice; False if it is there, None if nobody pays it yet."""
    external_id = f"SAMPLE-{invoice.number}"
    if Payment.objects.filter(issuer=invoice.issuer, external_id=external_id).exists():
        return False
    # A credit note may have come; a protected state cannot be refreshed on the object.
    invoice = Invoice.objects.select_related("issuer", "entity").get(pk=invoice.pk)
    if (
        (code, place) == UNPAID
        or (is_last and code != ROOT)
        or not invoice.open_amount
        or invoice.issue_date is None
    ):
        return None
    amount = invoice.open_amount
    if is_last:
        amount = round_money(amount * 2 / 5, invoice.currency)
    if (code, place) == OVERPAID:
        amount = EXACT.add(amount, TOO_MUCH)
    with acting(reason="Payment received"):
        payment_record(
            actor=person(FINANCE_STAFF),
            issuer=invoice.issuer,
            entity=invoice.entity,
            amount=amount,
            currency=invoice.currency,
            received_on=min(invoice.issue_date + PAID_AFTER, run.today),
            reference=invoice.number or "",
            external_id=external_id,
            applications=[Application(invoice.pk)],
        )
    return True
