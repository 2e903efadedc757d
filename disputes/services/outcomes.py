"""What each outcome of a dispute does to the money (DSP-11, DSP-12, DSP-14, DSP-15).

The dispute and its invoice are locked. Everything is written in the caller's transaction: the documents stand if and
only if the dispute is resolved. Documents are made in the system's name, because whoever voted for them last need not
hold the right to issue invoices; the resolution says who proposed and who decided.
"""

import datetime
from collections.abc import Callable
from decimal import Decimal

from contracts.models import AmendmentStatus, ContractAmendment
from core import clock
from core.access import system_actor
from core.errors import Conflict
from core.history import history_row, record_as
from core.models import User
from core.money import EXACT, plain_amount, quantum, round_money
from disputes.clocks import collectible_from
from disputes.models import BillingDispute, Direction, DisputeResolution, Outcome
from disputes.selectors.policies import PolicyTerms, stored_terms
from entities.models import TaxTreatment
from entities.services.records import field_error
from invoicing.models import DocumentType, Invoice, InvoiceLine
from invoicing.selectors.holds import creditable_including_tax, refundable
from invoicing.services.consolidation import consolidated_invoice_draft
from invoicing.services.credit_notes import credit_note_issue
from invoicing.services.credited_lines import LineAmount
from invoicing.services.debit_notes import DebitLine, debit_note_issue
from invoicing.services.holds import hold_defer, hold_release
from invoicing.services.payments import refund_make
from invoicing.services.settlement import money_text, write_off

ZERO = Decimal(0)
GIVES_CREDIT = (Outcome.CREDIT_NOTE, Outcome.GOODWILL, Outcome.REFUND, Outcome.CREDIT_AND_REBILL)
GIVES_BACK = (*GIVES_CREDIT, Outcome.WRITE_OFF)
OF_INVOICES = (Outcome.CREDIT_AND_REBILL, Outcome.DEBIT_NOTE)
"""Only invoices are billed again or added to; a debit note is credited."""


# --- Checking --------------------------------------------------------------------------------------------


def check_outcome(dispute: BillingDispute, resolution: DisputeResolution) -> None:
    """Refuse what cannot be carried out now; asked when it is proposed, and again when it is carried out.

    Raises Conflict ``not_disputable``, ``undercharge_is_not_credited``, ``overcharge_is_not_debited``,
    ``not_correctable``, ``exceeds_creditable``, ``refund_exceeds_cash``, ``exceeds_open``; Invalid
    ``amendment_required``.
    """
    if not dispute.invoice.is_posted:
        raise Conflict(
            "not_disputable",
            f"{dispute.invoice} is {dispute.invoice.get_status_display().lower()}: nothing is to be decided about it.",
            extra={"status": dispute.invoice.status},
        )
    outcome = Outcome(resolution.outcome)
    _check_direction(dispute, outcome)
    if outcome in OF_INVOICES:
        _check_is_invoice(dispute, outcome)
    if outcome in GIVES_CREDIT:
        _check_creditable(dispute, resolution.amount)
    if outcome == Outcome.REFUND:
        _check_refundable(dispute, resolution.amount)
    if outcome == Outcome.WRITE_OFF:
        _check_open(dispute, resolution.amount)
    if outcome == Outcome.PRICE_FIX:
        _check_amendment(dispute, resolution)


def at_stake(dispute: BillingDispute, resolution: DisputeResolution) -> Decimal:
    """What is decided on: the amount, and where all is credited to be billed anew, all that is left of the invoice."""
    if resolution.outcome == Outcome.CREDIT_AND_REBILL:
        return max(resolution.amount, creditable_including_tax(dispute.invoice))
    return resolution.amount


def creditable_of(dispute: BillingDispute) -> Decimal:
    """What is left to be credited of what is disputed, whoever credited the rest (DSP-11).

    A line of an invoice that also has credits is worth no more than the invoice as a whole.
    """
    left = creditable_including_tax(dispute.invoice)
    if dispute.invoice_line is not None:
        left = min(left, creditable_including_tax(dispute.invoice, dispute.invoice_line))
    return max(ZERO, left)


def _check_direction(dispute: BillingDispute, outcome: Outcome) -> None:
    """An undercharge never yields a credit (DSP-01)."""
    if dispute.direction == Direction.UNDER and outcome in GIVES_BACK:
        raise Conflict(
            "undercharge_is_not_credited",
            f"{dispute} says that too little was billed, so nothing is given back. Make a debit note for what is "
            "missing, or reject it.",
        )
    if dispute.direction == Direction.OVER and outcome == Outcome.DEBIT_NOTE:
        raise Conflict(
            "overcharge_is_not_debited",
            f"{dispute} says that too much was billed: a debit note would ask for more. Choose a credit, a refund or "
            "no action.",
        )


def _check_is_invoice(dispute: BillingDispute, outcome: Outcome) -> None:
    invoice = dispute.invoice
    if invoice.document_type == DocumentType.INVOICE:
        return
    raise Conflict(
        "not_correctable",
        f"{invoice} is a {invoice.get_document_type_display().lower()}: “{outcome.label}” is for invoices. Give a "
        "credit, or dispute the invoice that it corrects.",
        extra={"document_type": invoice.document_type},
    )


def _check_creditable(dispute: BillingDispute, amount: Decimal) -> None:
    """Credits of every source count (DSP-11)."""
    left = creditable_of(dispute)
    if amount > left:
        raise Conflict(
            "exceeds_creditable",
            f"Only {money_text(left, dispute.currency)} can still be credited: the rest was credited otherwise since "
            f"{dispute} was opened. Resolve at most that.",
            extra={"creditable": plain_amount(left, dispute.currency), "currency": dispute.currency},
        )


def _check_refundable(dispute: BillingDispute, amount: Decimal) -> None:
    """What was paid is given back, what was not is credited (DSP-12)."""
    invoice = dispute.invoice
    left_over = max(ZERO, EXACT.subtract(amount, invoice.open_amount))
    cash = refundable(invoice)
    if left_over and left_over <= cash:
        return
    most = min(EXACT.add(cash, invoice.open_amount), creditable_of(dispute))
    advice = (
        f"{money_text(invoice.open_amount, invoice.currency)} of it is still to be paid: give a credit instead."
        if not left_over
        else f"Refund at most {money_text(most, invoice.currency)} and credit the rest."
    )
    raise Conflict(
        "refund_exceeds_cash",
        f"{money_text(cash, invoice.currency)} was received for {invoice} and not refunded yet. {advice}",
        extra={"refundable": plain_amount(cash, invoice.currency), "currency": invoice.currency},
    )


def _check_open(dispute: BillingDispute, amount: Decimal) -> None:
    """Only what is not paid is written off."""
    invoice = dispute.invoice
    if amount > invoice.open_amount:
        raise Conflict(
            "exceeds_open",
            f"Only {money_text(invoice.open_amount, invoice.currency)} of {invoice} is still to be paid. Write off at "
            "most that, and credit or refund what was paid.",
            extra={
                "open_amount": plain_amount(invoice.open_amount, invoice.currency),
                "currency": invoice.currency,
            },
        )


def _check_amendment(dispute: BillingDispute, resolution: DisputeResolution) -> None:
    """An amendment, not given up, of the contract that the line bills; of the issuer where it bills none."""
    amendments = ContractAmendment.objects.exclude(status=AmendmentStatus.VOID).select_related("contract")
    amendment = amendments.filter(pk=resolution.amendment_id or 0).first()
    if amendment is not None:
        billed = _billed_contracts(dispute)
        if amendment.contract_id in billed or (
            not billed and amendment.contract.issuer_id == dispute.issuer_id
        ):
            return
    raise field_error(
        "amendment_id",
        "amendment_required",
        "Name the amendment, in force or on its way, of the contract that was billed: it fixes the price from now on.",
    )


def _billed_contracts(dispute: BillingDispute) -> set[int]:
    lines = InvoiceLine.objects.filter(invoice=dispute.invoice, contract__isnull=False).order_by()
    if dispute.invoice_line is not None:
        lines = lines.filter(pk=dispute.invoice_line.pk)
    return set(lines.values_list("contract_id", flat=True))


# --- Carrying out ----------------------------------------------------------------------------------------


def outcome_carry_out(dispute: BillingDispute, resolution: DisputeResolution) -> None:
    """Let go what was held back, make the documents, and name them on the resolution."""
    _release(dispute, resolution)
    _ACTS[Outcome(resolution.outcome)](dispute, resolution)


def name_who_decided(resolution: DisputeResolution, actor: User) -> None:
    """Write into the history of the documents, made in the system's name, who proposed and who decided."""
    ids = [pk for pk in (resolution.credit_note_id, resolution.debit_note_id) if pk is not None]
    why = (
        f"{resolution.dispute}: {resolution.get_outcome_display()}, proposed by "
        f"{resolution.proposed_by.display_name}, decided by {actor.display_name}"
    )
    with record_as(actor, why):
        for document in Invoice.objects.filter(pk__in=ids):
            history_row(Invoice.history.model, document, "~").save()


def _release(dispute: BillingDispute, resolution: DisputeResolution) -> None:
    """What is not given back returns to collectible, some days after the decision (DSP-14).

    What was credited elsewhere meanwhile does not: nobody owes it any more.
    """
    hold = dispute.hold
    if hold is None or hold.released_at is not None:
        return
    given_back = resolution.amount if resolution.outcome in GIVES_BACK else ZERO
    owed = creditable_of(dispute)
    if resolution.outcome in GIVES_CREDIT:
        owed = EXACT.subtract(owed, at_stake(dispute, resolution))
    rest = min(EXACT.subtract(hold.amount, given_back), owed)
    terms = stored_terms(resolution.round.terms["policy"])
    why = f"{dispute}: {resolution.get_outcome_display()}"
    if rest <= ZERO or (resolution.outcome == Outcome.REJECTED and terms.late_fees_from_original_date):
        hold_release(actor=system_actor(), hold=hold, reason=why)
        return
    due = _due_again(dispute, terms)
    dispute.hold = hold_defer(actor=system_actor(), hold=hold, amount=rest, due_date=due, reason=why)


def _due_again(dispute: BillingDispute, terms: PolicyTerms) -> datetime.date:
    assert dispute.invoice.due_date is not None
    today = clock.today(dispute.issuer.time_zone)
    return collectible_from(dispute.invoice.due_date, today, terms.collectible_days)


def _credit(dispute: BillingDispute, resolution: DisputeResolution) -> None:
    line = dispute.invoice_line
    reason = _printed_reason(dispute, resolution)
    if line is None:
        resolution.credit_note = credit_note_issue(
            actor=system_actor(),
            invoice=dispute.invoice,
            reason=reason,
            amount_including_tax=resolution.amount,
        )
        return
    resolution.credit_note = credit_note_issue(
        actor=system_actor(),
        invoice=dispute.invoice,
        reason=reason,
        lines=[LineAmount(line.pk, including_tax=resolution.amount)],
    )


def _refund(dispute: BillingDispute, resolution: DisputeResolution) -> None:
    """A credit note first; what it does not settle of the invoice is paid back."""
    _credit(dispute, resolution)
    assert resolution.credit_note is not None
    resolution.refund = refund_make(
        actor=system_actor(), source=resolution.credit_note, reason=_printed_reason(dispute, resolution)
    )


def _credit_and_rebill(dispute: BillingDispute, resolution: DisputeResolution) -> None:
    """All that is left is credited and freed, and a draft for the period bills it anew by the terms as they are now."""
    invoice = dispute.invoice
    resolution.credit_note = credit_note_issue(
        actor=system_actor(),
        invoice=invoice,
        reason=_printed_reason(dispute, resolution),
        release_items=True,
    )
    resolution.rebilled_as = consolidated_invoice_draft(
        actor=system_actor(),
        payer=invoice.entity,
        period_start=invoice.period_start,
        period_end=invoice.period_end,
    ).invoice


def _debit(dispute: BillingDispute, resolution: DisputeResolution) -> None:
    """Ask for what was billed too little, for whom the line was and at its tax."""
    line, invoice = dispute.invoice_line, dispute.invoice
    if line is not None:
        entity, department, category, rate = line.entity, line.department, line.tax_category, line.tax_rate
    else:
        payer = invoice.entity
        taxed = payer.tax_treatment == TaxTreatment.STANDARD
        entity, department, category = payer, None, payer.tax_treatment
        rate = payer.tax_rate if taxed else ZERO
    resolution.debit_note = debit_note_issue(
        actor=system_actor(),
        invoice=invoice,
        reason=_printed_reason(dispute, resolution),
        lines=[
            DebitLine(
                description=f"{dispute}: {line.description if line is not None else invoice}"[:500],
                amount=_before_tax(resolution.amount, rate, invoice.currency),
                entity=entity,
                department=department,
                gl_code=line.gl_code if line is not None else "",
                tax_category=category,
                tax_rate=rate,
            )
        ],
    )


def _before_tax(amount: Decimal, rate: Decimal, currency: str) -> Decimal:
    """The amount that, with its rounded tax, is ``amount``; the largest below it where rounding leaves none."""
    near = round_money(EXACT.divide(EXACT.multiply(amount, 100), EXACT.add(100, rate)), currency)
    step = quantum(currency)
    net = EXACT.add(near, step)
    while EXACT.add(net, round_money(EXACT.divide(EXACT.multiply(net, rate), 100), currency)) > amount:
        net = EXACT.subtract(net, step)
    return net


def _write_off(dispute: BillingDispute, resolution: DisputeResolution) -> None:
    resolution.write_off = write_off(
        actor=system_actor(),
        invoice=dispute.invoice,
        amount=resolution.amount,
        reason=_printed_reason(dispute, resolution),
    )


def _nothing(dispute: BillingDispute, resolution: DisputeResolution) -> None:
    """No money moves: it is rejected, or the price is right from now on."""


def _printed_reason(dispute: BillingDispute, resolution: DisputeResolution) -> str:
    return f"{dispute}: {resolution.note}"[:500]


_ACTS: dict[Outcome, Callable[[BillingDispute, DisputeResolution], None]] = {
    Outcome.CREDIT_NOTE: _credit,
    Outcome.GOODWILL: _credit,
    Outcome.REFUND: _refund,
    Outcome.WRITE_OFF: _write_off,
    Outcome.CREDIT_AND_REBILL: _credit_and_rebill,
    Outcome.DEBIT_NOTE: _debit,
    Outcome.PRICE_FIX: _nothing,
    Outcome.REJECTED: _nothing,
}
