"""From an invoice, its snapshot and its lines to the semantic model of EN 16931.

As with the PDF, nothing of today is read: the same document gives the same data ever after (INV-09).
"""

import datetime
from decimal import Decimal
from itertools import groupby
from typing import Any

from schwifty import IBAN
from stdnum.eu import vat

from core import clock
from core.money import exact_sum
from entities.models import TaxTreatment
from entities.validators import VAT_PREFIXES
from invoicing.documents.content import amount_made_of
from invoicing.documents.formats import Words, words_for
from invoicing.einvoice import model
from invoicing.einvoice.model import Account, EInvoice, Line, Party, Preceding, TaxBreakdown
from invoicing.models import DocumentType, Invoice, InvoiceLine, InvoiceStatus
from invoicing.services.invoice import invoice_snapshot

TYPE_CODES = {
    DocumentType.INVOICE: model.INVOICE,
    DocumentType.CREDIT_NOTE: model.CREDIT_NOTE,
    DocumentType.DEBIT_NOTE: model.DEBIT_NOTE,
}
_REASON_CODES = {TaxTreatment.OUT_OF_SCOPE: "VATEX-EU-O", TaxTreatment.REVERSE_CHARGE: "VATEX-EU-AE"}
_WITH_REASON = (TaxTreatment.OUT_OF_SCOPE, TaxTreatment.EXEMPT, TaxTreatment.REVERSE_CHARGE)
_SEPA_TRANSFER, _CREDIT_TRANSFER = "58", "30"
_DAY = datetime.timedelta(days=1)


def e_invoice_of(invoice: Invoice) -> EInvoice:
    """Return the data of a document; of a draft, what it would be if it were issued today."""
    is_draft = invoice.status == InvoiceStatus.DRAFT
    snapshot = invoice_snapshot(invoice) if is_draft else invoice.snapshot
    words = words_for(snapshot["language"], snapshot["bill_to"]["country"], english=snapshot["format"] < 2)
    rows = list(InvoiceLine.objects.filter(invoice=invoice).order_by("line_number"))
    lines = [_line(row, words) for row in rows]
    # Category O is "not subject to VAT": such a document may not carry a VAT id (BR-O-02).
    with_vat_ids = all(row.tax_category != TaxTreatment.OUT_OF_SCOPE for row in rows)
    corrects = snapshot.get("corrects")
    is_credit = invoice.is_credit_note
    number = invoice.number or words["draft"]
    return EInvoice(
        type_code=TYPE_CODES[DocumentType(invoice.document_type)],
        number=number,
        issue_date=invoice.issue_date or clock.today(snapshot["time_zone"]),
        due_date=None if is_credit else invoice.due_date,
        currency=invoice.currency,
        note=invoice.reason,
        buyer_reference=snapshot["payer"]["code"],
        terms=_terms(snapshot, words, is_credit=is_credit),
        # What arrived late may lie before the invoice's own period: the period covers every line.
        period_start=min([invoice.period_start, *(line.start for line in lines)]),
        period_end=max([invoice.period_end - _DAY, *(line.end for line in lines)]),
        preceding=Preceding(corrects["number"], datetime.date.fromisoformat(corrects["issue_date"]))
        if corrects
        else None,
        seller=_party(snapshot["issuer"], with_vat_id=with_vat_ids, is_seller=True),
        buyer=_party(snapshot["bill_to"], with_vat_id=with_vat_ids, is_seller=False),
        account=None if is_credit else _account(snapshot["issuer"]["bank"], invoice.currency, number),
        lines=lines,
        taxes=_taxes(rows, words),
        net=invoice.subtotal,
        tax=invoice.tax_total,
        total=invoice.total,
    )


def _terms(snapshot: dict[str, Any], words: Words, *, is_credit: bool) -> str:
    if is_credit:
        return words["credit_use"]
    days = snapshot["payment_terms_days"]
    return words("terms_days", days=days) if days else words["terms_at_once"]


def _line(row: InvoiceLine, words: Words) -> Line:
    department = f"{row.department_code} {row.department_name}".strip()
    attributes = [
        (words["entity"], row.entity_name),
        (words["department"], department),
        (words["provider"], row.provider),
    ]
    return Line(
        number=str(row.line_number),
        note=amount_made_of(row, words),
        amount=row.amount,
        account=row.gl_code,
        start=row.period_start,
        end=row.period_end - _DAY,
        category=row.tax_category,
        rate=row.tax_rate,
        name=row.description,
        attributes=[(name, value) for name, value in attributes if value],
    )


def _taxes(rows: list[InvoiceLine], words: Words) -> list[TaxBreakdown]:
    def key(row: InvoiceLine) -> tuple[str, Decimal]:
        return row.tax_category, row.tax_rate

    breakdown = []
    for (category, rate), group in groupby(sorted(rows, key=key), key):
        members = list(group)
        breakdown.append(
            TaxBreakdown(
                category=category,
                rate=rate,
                taxable=exact_sum([row.amount for row in members]),
                tax=exact_sum([row.tax_amount for row in members]),
                reason=words[f"tax_{category}"] if category in _WITH_REASON else "",
                reason_code=_REASON_CODES.get(TaxTreatment(category), ""),
            )
        )
    return breakdown


def _account(bank: dict[str, Any], currency: str, number: str) -> Account | None:
    if not bank["iban"]:
        return None
    in_sepa = currency == "EUR" and IBAN(bank["iban"], allow_invalid=True).in_sepa_zone
    return Account(
        means=_SEPA_TRANSFER if in_sepa else _CREDIT_TRANSFER,
        remittance=number,
        iban=bank["iban"],
        holder=bank["holder"],
        bic=bank["bic"],
    )


def _party(party: dict[str, Any], *, with_vat_id: bool, is_seller: bool) -> Party:
    vat_id = vat_identifier(party["tax_id"], party["country"]) if with_vat_id else ""
    return Party(
        identifier=party["code"],
        name=party["name"],
        registration=party["registration_number"],
        vat_id=vat_id,
        tax_registration=party["tax_id"] if is_seller and not vat_id else "",
        street=party["street"],
        postal_code=party["postal_code"],
        city=party["city"],
        region=party["region"],
        country=party["country"],
        email=party["email"],
    )


def vat_identifier(tax_id: str, country: str) -> str:
    """Return the VAT id with its country's letters (BR-CO-9), or nothing where the number is another tax number."""
    compact = "".join(filter(str.isalnum, tax_id)).upper()
    letters = VAT_PREFIXES.get(country, country)
    if not compact or not country:
        return ""
    if compact.startswith((letters, country)):
        return compact
    is_eu = country.lower() in vat.MEMBER_STATES
    return letters + compact if is_eu and vat.is_valid(letters + compact) else ""
