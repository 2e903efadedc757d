"""Opening disputes (DSP-01, DSP-02)."""

import datetime
import uuid
from decimal import Decimal
from typing import TypedDict, Unpack

from django.db import transaction

from core import clock
from core.access import has, require, system_actor
from core.errors import Conflict
from core.history import record_as
from core.models import User
from core.money import plain_amount
from disputes.access import HANDLE, OPEN, customer_places, opens_at
from disputes.models import (
    OPEN_STATUSES,
    BillingDispute,
    Direction,
    DisputeComment,
    EventKind,
    Severity,
    Speaker,
    Visibility,
)
from disputes.selectors.policies import PolicyTerms, policy_for, policy_terms
from disputes.services.handling import check_chargeback
from disputes.services.log import event_record
from disputes.services.rounds import round_start
from entities.services.records import check_fields, field_error, save_record
from invoicing.models import DocumentType, Invoice, InvoiceLine
from invoicing.services.holds import hold_place
from invoicing.services.settlement import checked_amount, lock_documents


class FurtherFacts(TypedDict, total=False):
    """What may be known besides."""

    customer_reference: str
    chargeback_scheme: str
    chargeback_reference: str
    chargeback_deadline: datetime.date | None


def dispute_open(
    *,
    actor: User,
    invoice: Invoice,
    category: str,
    amount: Decimal | str | int,
    reason: str,
    invoice_line: InvoiceLine | None = None,
    severity: str = Severity.MEDIUM,
    direction: str = Direction.OVER,
    **facts: Unpack[FurtherFacts],
) -> BillingDispute:
    """Say that a posted invoice, or one of its lines, is wrong by ``amount`` (including tax, invoice currency).

    The customer's people do so, and staff of the issuer for them. What is billed too much is held back from
    collection at once (DSP-03); its amount is at most what is left of the line or invoice. The policy and its calendar
    are frozen (DSP-09). Raises Invalid ``reason_required``, ``amount_not_positive``, ``amount_too_precise``,
    ``line_of_another_invoice``, ``scheme_required``, ``day_out_of_range``; Conflict ``not_disputable``,
    ``dispute_window_closed``, ``disputed_already``, ``hold_exceeds_line``, ``hold_exceeds_invoice``; Forbidden.
    """
    _require_may_open(actor, invoice, invoice_line)
    if not reason.strip():
        raise field_error(
            "reason", "reason_required", "Say what is wrong: whoever handles it reads this first."
        )
    if invoice_line is not None and invoice_line.invoice_id != invoice.pk:
        raise field_error(
            "invoice_line_id",
            "line_of_another_invoice",
            f"That line is none of {invoice}. Choose one of its lines.",
        )
    with transaction.atomic(), record_as(actor):
        locked = lock_documents(invoice.pk)[invoice.pk]
        _require_disputable(locked)
        policy = policy_for(locked, invoice_line)
        _require_in_window(locked, policy_terms(policy, locked.issuer))
        require_undisputed(locked, invoice_line)
        dispute = BillingDispute(
            invoice=locked, invoice_line=invoice_line, issuer=locked.issuer, entity=locked.entity,
            department_id=invoice_line.department_id if invoice_line else None, currency=locked.currency,
            category=category, severity=severity, direction=direction,
            amount=checked_amount(amount, locked.currency), reason=reason.strip(), opened_by=actor,
            opened_at=clock.now(), **facts,
        )  # fmt: skip
        check_fields(dispute)
        check_chargeback(dispute)
        taken = _disputed_already(locked, invoice_line)
        save_record(dispute, {"dispute_one_open_per_line": taken, "dispute_one_open_per_invoice": taken})
        hold_amount(dispute, actor=actor)
        started = round_start(dispute, policy=policy)
        event_record(
            dispute, EventKind.OPENED, actor=actor, is_public=True, at=started.started_at,
            amount=plain_amount(dispute.amount, dispute.currency),
        )  # fmt: skip
        _confirm_receipt(dispute)
    return dispute


def hold_amount(dispute: BillingDispute, *, actor: User) -> None:
    """Keep the disputed amount out of collection; of an undercharge nothing is held back (DSP-01, DSP-03)."""
    if dispute.direction == Direction.UNDER:
        return
    dispute.hold = hold_place(
        actor=actor,
        invoice=dispute.invoice,
        invoice_line=dispute.invoice_line,
        amount=dispute.amount,
        reference=dispute.number,
        reason=dispute.get_category_display(),
    )
    dispute.save()


def _require_may_open(actor: User, invoice: Invoice, line: InvoiceLine | None) -> None:
    if has(actor, HANDLE, invoice.issuer):
        return
    places = customer_places(invoice, line)
    if not opens_at(actor, places):
        require(actor, OPEN, places[-1])  # type: ignore[arg-type]


def _require_disputable(invoice: Invoice) -> None:
    if invoice.is_posted and not invoice.is_credit_note:
        return
    advice = (
        "A credit note gives money back: dispute the invoice that it corrects."
        if invoice.document_type == DocumentType.CREDIT_NOTE
        else "Only what was issued and is not void can be disputed."
    )
    raise Conflict(
        "not_disputable",
        f"{invoice} is {invoice.get_status_display().lower()}. {advice}",
        extra={"status": invoice.status, "document_type": invoice.document_type},
    )


def _require_in_window(invoice: Invoice, terms: PolicyTerms) -> None:
    assert invoice.issue_date is not None
    last = invoice.issue_date + datetime.timedelta(days=terms.window_days)
    if clock.today(invoice.issuer.time_zone) <= last:
        return
    raise Conflict(
        "dispute_window_closed",
        f"{invoice} could be disputed until {last}, {terms.window_days} days after it was issued. Ask "
        f"{invoice.issuer} for a goodwill credit instead.",
        extra={"last_day": str(last), "window_days": terms.window_days},
    )


def require_undisputed(invoice: Invoice, line: InvoiceLine | None) -> None:
    """One open dispute per line, and none of the whole invoice beside those of its lines (DSP-02)."""
    others = BillingDispute.objects.open().filter(invoice=invoice)
    if line is not None:
        others = others.filter(invoice_line_id=line.pk) | others.filter(invoice_line__isnull=True)
    if others.exists():
        raise _disputed_already(invoice, line)


def _disputed_already(invoice: Invoice, line: InvoiceLine | None) -> Conflict:
    others = BillingDispute.objects.filter(invoice=invoice, status__in=OPEN_STATUSES).order_by("pk")
    numbers = [other.number for other in others]
    what = f"Line {line.line_number} of {invoice}" if line is not None else str(invoice)
    named = f" ({', '.join(numbers)})" if numbers else ""
    return Conflict(
        "disputed_already",
        f"{what} is disputed already{named}. Write what is new into that dispute: an invoice is disputed as a whole or "
        "by its lines, each once at a time.",
        extra={"disputes": numbers},
    )


def _confirm_receipt(dispute: BillingDispute) -> None:
    """The automatic answer, which does not count as one of staff (DSP-05)."""
    DisputeComment.objects.create(
        dispute=dispute,
        thread_key=uuid.uuid4(),
        visibility=Visibility.CUSTOMER,
        speaker=Speaker.SYSTEM,
        body=f"We have received your dispute {dispute.number}. What you dispute need not be paid until it is decided; "
        "the rest of the invoice stays due.",
        author=system_actor(),
    )
