"""What the page of an invoice offers besides issuing and voiding: payments, notes, write-offs, balances."""

from decimal import Decimal
from typing import Any

from django import forms

from core import clock
from core.admin.actions import ActionCall, ObjectAction
from core.admin.columns import amount_text
from core.money import EXACT, plain_amount
from entities.services.records import field_error
from invoicing.models import DocumentType, Invoice, InvoiceLine, InvoiceStatus, PaymentMethod
from invoicing.selectors.invoice import receivable
from invoicing.services.credit_notes import credit_note_issue
from invoicing.services.credited_lines import LineAmount
from invoicing.services.debit_notes import DebitLine, debit_note_issue
from invoicing.services.payments import Application, payment_record, refund_make
from invoicing.services.settlement import balance_apply, write_off

_INPUT = {"class": "eb-input"}
_AMOUNT: dict[str, Any] = {
    "max_digits": 20,
    "decimal_places": 4,
    "widget": forms.NumberInput(attrs={**_INPUT, "step": "any"}),
}


def date_field(**options: Any) -> forms.DateField:
    """A day."""
    return forms.DateField(widget=forms.DateInput(attrs={**_INPUT, "type": "date"}), **options)


def amount_field(**options: Any) -> forms.DecimalField:
    """An amount in the record's currency."""
    return forms.DecimalField(**_AMOUNT, **options)


def text_field(**options: Any) -> forms.CharField:
    """A line of text."""
    return forms.CharField(widget=forms.TextInput(attrs=_INPUT), **options)


class PaymentForm(forms.Form):
    """What arrived."""

    amount = amount_field(help_text="What exceeds the open amount stays as a balance of the payer.")
    received_on = date_field(label="Received on")
    method = forms.ChoiceField(choices=PaymentMethod, widget=forms.Select(attrs=_INPUT))
    reference = text_field(required=False, max_length=140, help_text="What the payer wrote.")
    external_id = text_field(
        required=False,
        max_length=100,
        label="Bank's id",
        help_text="Taken once: it protects from recording twice.",
    )


class CreditForm(forms.Form):
    """How much is given back, of lines that are told by their numbers."""

    lines = forms.CharField(
        required=False,
        widget=forms.Textarea(attrs={**_INPUT, "rows": 4}),
        help_text=(
            "A row for each line: “3” for all that is left of line 3, “3: 50.00” for a part of it. Empty: the amount "
            "is spread over all lines."
        ),
    )
    amount = amount_field(
        required=False, help_text="Before tax, spread over all lines. Empty: all that is left of the invoice."
    )
    issue_date = date_field(required=False, help_text="Empty: today.")
    release_items = forms.BooleanField(
        required=False,
        label="Let what it bills be billed again",
        help_text="Only when all that is left is credited.",
    )

    def clean_lines(self) -> list[tuple[int, str | None]]:
        """The numbers with their amounts, None where all is meant."""
        found: list[tuple[int, str | None]] = []
        for row in self.cleaned_data["lines"].replace(";", "\n").splitlines():
            number, _, amount = row.partition(":")
            if not row.strip():
                continue
            if not number.strip().isdecimal():
                raise forms.ValidationError(f"“{row.strip()}” does not begin with the number of a line.")
            found.append((int(number), amount.replace(",", "").strip() or None))
        return found


class DebitForm(forms.Form):
    """What is asked for in addition."""

    description = text_field(max_length=500)
    amount = amount_field(help_text="Before tax; the payer's tax is added.")
    issue_date = date_field(required=False, help_text="Empty: today.")


class PartForm(forms.Form):
    """A part, or all."""

    amount = amount_field(required=False, help_text="Empty: all that is open.")


class ApplyForm(forms.Form):
    """Which document is settled."""

    number = text_field(
        max_length=50, label="Invoice", help_text="The number of an invoice of the same payer and issuer."
    )
    amount = amount_field(required=False, help_text="Empty: as much as fits.")


class RefundForm(forms.Form):
    """What is paid back."""

    amount = amount_field(required=False, help_text="Empty: all that can be refunded.")
    refunded_on = date_field(required=False, label="Refunded on", help_text="Empty: today.")
    method = forms.ChoiceField(choices=PaymentMethod, widget=forms.Select(attrs=_INPUT))
    reference = text_field(required=False, max_length=140)


# --- What is possible ------------------------------------------------------------------------------------


def _owed(invoice: Invoice, user: Any) -> str | None:
    if invoice.is_credit_note:
        return "A credit note is not paid: set it off or refund it."
    if not invoice.is_posted:
        return "Only an issued invoice is settled."
    return None if invoice.open_amount else "Nothing of it is open."


def correctable(invoice: Invoice, user: Any) -> str | None:
    """Why a document is not credited; None if it can be."""
    if invoice.is_credit_note:
        return "A credit note is not corrected by another one."
    return None if invoice.is_posted else "Only an issued invoice is corrected."


def _debitable(invoice: Invoice, user: Any) -> str | None:
    if invoice.document_type != DocumentType.INVOICE:
        return "A debit note adds to an invoice: open that."
    return correctable(invoice, user)


def _usable(invoice: Invoice, user: Any) -> str | None:
    if not invoice.is_credit_note:
        return "Only what is left of a credit note."
    return None if invoice.open_amount else "Nothing of it is left."


def _money(amount: Decimal, invoice: Invoice) -> str:
    return f"{amount_text(amount, invoice.currency)} {invoice.currency}"


# --- What is done ----------------------------------------------------------------------------------------


def document_numbered(number: str, like: Any) -> Invoice:
    """The invoice with that number of the issuer of a payment or credit note."""
    found = Invoice.objects.filter(
        number=number.strip(), issuer_id=like.issuer_id, entity_id=like.entity_id
    ).first()
    if found is None:
        raise field_error("number", "not_found", f"{like.entity} has no invoice {number} of {like.issuer}.")
    return found


def oldest_number(like: Any) -> str:
    """The number of what the payer of a payment or credit note owes the longest."""
    rows = Invoice.objects.filter(
        receivable(), issuer_id=like.issuer_id, entity_id=like.entity_id, currency=like.currency
    )
    return rows.order_by("due_date", "pk").values_list("number", flat=True).first() or ""


def _pay(call: ActionCall) -> Any:
    invoice = call.obj
    return payment_record(
        actor=call.actor, issuer=invoice.issuer, entity=invoice.entity, currency=invoice.currency,
        applications=[Application(invoice.pk)], **call.data,
    )  # fmt: skip


def _paid(payment: Any) -> str:
    left = (
        f" {_money(payment.unapplied_amount, payment)} stays as a balance."
        if payment.unapplied_amount
        else ""
    )
    return f"The payment of {_money(payment.amount, payment)} is recorded.{left}"


def _credit(call: ActionCall) -> Invoice:
    data, invoice = dict(call.data), call.obj
    asked = data.pop("lines")
    lines = None
    if asked:
        numbers = InvoiceLine.objects.filter(invoice=invoice, line_number__in=[number for number, _ in asked])
        ids = dict(numbers.values_list("line_number", "pk"))
        unknown = next((number for number, _ in asked if number not in ids), None)
        if unknown is not None:
            raise field_error("lines", "not_found", f"The invoice has no line {unknown}.")
        lines = [LineAmount(ids[number], amount) for number, amount in asked]
    return credit_note_issue(actor=call.actor, invoice=invoice, reason=call.reason, lines=lines, **data)


def _debit(call: ActionCall) -> Invoice:
    line = DebitLine(call.data["description"], call.data["amount"])
    return debit_note_issue(
        actor=call.actor,
        invoice=call.obj,
        reason=call.reason,
        lines=[line],
        issue_date=call.data["issue_date"],
    )


def noted(note: Invoice) -> str:
    """What is said of a note that was made."""
    return f"{note.get_document_type_display()} {note.number} over {_money(note.total, note)} is issued."


def credit_consequence(invoice: Invoice) -> str:
    """What a credit note would do."""
    left = EXACT.subtract(invoice.total, _credited(invoice))
    return (
        f"A credit note with its own number is issued; {_money(left, invoice)} of {invoice}, with tax, is not "
        "credited yet. What is open of the invoice is settled with it, the rest stays as a balance of the payer. "
        "Tax is credited in proportion."
    )


def _credited(invoice: Invoice) -> Decimal:
    amounts = invoice.lines.values_list("credited_amount", "credited_tax")
    total = Decimal(0)
    for net, tax in amounts:
        total = EXACT.add(total, EXACT.add(net, tax))
    return total


SETTLEMENT_ACTIONS = [
    ObjectAction(
        name="pay",
        label="Record payment",
        main=True,
        perm="invoicing.add_payment",
        icon="payments",
        form=PaymentForm,
        initial=lambda invoice, user: {
            "amount": plain_amount(invoice.open_amount, invoice.currency),
            "received_on": clock.today(invoice.issuer.time_zone),
        },
        possible=_owed,
        consequence=lambda invoice: (
            f"{_money(invoice.open_amount, invoice)} of {invoice} is open; the payment settles it as far as it reaches."
        ),
        run=_pay,
        done=_paid,
    ),
    ObjectAction(
        name="credit",
        label="Credit note",
        perm="invoicing.issue_invoice",
        icon="undo",
        needs_reason=True,
        form=CreditForm,
        possible=correctable,
        consequence=credit_consequence,
        run=_credit,
        done=noted,
    ),
    ObjectAction(
        name="debit",
        label="Debit note",
        perm="invoicing.issue_invoice",
        icon="add_notes",
        needs_reason=True,
        form=DebitForm,
        possible=_debitable,
        consequence="A debit note with its own number is issued; it is due after the payer's terms like an invoice.",
        run=_debit,
        done=noted,
    ),
    ObjectAction(
        name="apply",
        label="Set off",
        main=True,
        perm="invoicing.add_settlement",
        icon="swap_horiz",
        form=ApplyForm,
        initial=lambda note, user: {"number": oldest_number(note)},
        possible=_usable,
        consequence=lambda note: (
            f"What is left of the credit note, {_money(note.open_amount, note)}, settles an invoice."
        ),
        run=lambda call: balance_apply(
            actor=call.actor,
            credit_note=call.obj,
            invoice=document_numbered(call.data["number"], call.obj),
            amount=call.data["amount"],
        ),
        done=lambda row: f"{_money(row.amount, row.invoice)} is set off against {row.invoice}.",
    ),
    ObjectAction(
        name="refund",
        label="Refund",
        perm="invoicing.add_refund",
        icon="currency_exchange",
        needs_reason=True,
        form=RefundForm,
        possible=_usable,
        consequence="Money goes back to the payer: at most what was paid on the corrected invoice and is not refunded.",
        run=lambda call: refund_make(actor=call.actor, source=call.obj, reason=call.reason, **call.data),
        done=lambda refund: f"The refund of {_money(refund.amount, refund)} is recorded.",
    ),
    ObjectAction(
        name="write-off",
        label="Write off",
        perm="invoicing.write_off_settlement",
        icon="money_off",
        danger=True,
        needs_reason=True,
        form=PartForm,
        possible=_owed,
        consequence=lambda invoice: (
            f"{_money(invoice.open_amount, invoice)} of {invoice} is open. What is written off is not asked for any "
            "more; it can be taken back."
        ),
        run=lambda call: write_off(
            actor=call.actor, invoice=call.obj, reason=call.reason, amount=call.data["amount"]
        ),
        done=lambda row: f"{_money(row.amount, row.invoice)} is written off.",
    ),
]


def actions_for(invoice: Invoice) -> set[str]:
    """Which of the actions mean anything on a document, so that its bar stays short."""
    if invoice.is_credit_note:
        return {"apply", "refund"}
    names = {"pay", "credit", "write-off"}
    if invoice.document_type == DocumentType.INVOICE:
        names.add("debit")
    return names if invoice.status not in (InvoiceStatus.DRAFT, InvoiceStatus.VOID) else set()
