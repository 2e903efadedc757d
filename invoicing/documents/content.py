"""What the pages of an invoice show, made from its snapshot and its lines alone (INV-01, INV-09).

Nothing here reads the entities, rates or settings of today, so that the same invoice gives the same pages for ever.
A draft has no snapshot yet: it shows what the snapshot would be if it were issued now.
"""

import datetime
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import groupby
from typing import Any

from babel.core import Locale

from core.money import EXACT, exact_sum, minor_units
from invoicing.documents.formats import Words, words_for
from invoicing.documents.payment_code import payment_code
from invoicing.models import DocumentType, Invoice, InvoiceLine, InvoiceStatus, LineKind
from invoicing.services.invoice import invoice_snapshot

TRANSLATED = 2
"""Snapshots of format 1 are set as they always were: English texts, no payment code (INV-09)."""


@dataclass(frozen=True, slots=True)
class Amount:
    """An amount as text; negative ones are set apart."""

    text: str
    negative: bool


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the invoice."""

    number: str
    description: str
    provider: str
    note: str
    items: str
    amount: Amount


@dataclass(frozen=True, slots=True)
class DepartmentBlock:
    """The lines of one department with their sum."""

    title: str
    gl_codes: str
    rows: Sequence[Row]
    items: str
    amount: Amount


@dataclass(frozen=True, slots=True)
class EntityBlock:
    """The departments of one entity with their sum."""

    name: str
    departments: Sequence[DepartmentBlock]
    items: str
    net: Amount
    tax: Amount
    total: Amount
    total_label: str


@dataclass(frozen=True, slots=True)
class TaxRow:
    """One tax rate: what it applies to and what it comes to."""

    label: str
    rate: str
    taxable: Amount
    tax: Amount


@dataclass(frozen=True, slots=True)
class PaymentCode:
    """The QR code for banking apps, and what it says in words."""

    svg: bytes
    alt: str


@dataclass(frozen=True, slots=True)
class InvoiceContent:
    """The whole document, ready to be set."""

    words: Words
    title: str
    number: str
    state: str
    is_first_format: bool
    notice: str
    subject: str
    reason: str
    language: str
    created: str
    issuer_name: str
    issuer_lines: Sequence[str]
    issuer_facts: Sequence[tuple[str, str]]
    return_address: str
    logo: dict[str, str] | None
    addressee: Sequence[str]
    facts: Sequence[tuple[str, str]]
    currency: str
    amount_due: Amount
    due: str
    amount_label: str
    payment: Sequence[tuple[str, str]]
    payment_code: PaymentCode | None
    entities: Sequence[EntityBlock]
    items: str
    shows_items: bool
    net: Amount
    tax: Amount
    total: Amount
    taxes: Sequence[TaxRow]
    rates: Sequence[str]
    notes: Sequence[str]
    shows_tax: bool
    continued: str

    @property
    def page_css(self) -> str:
        """The page number as the value of CSS `content`: "Page " counter(page) " of " counter(pages)."""
        text = self.words("page", page="\0", pages="\1").replace("\\", "").replace('"', "")
        return f'"{text}"'.replace("\0", '" counter(page) "').replace("\1", '" counter(pages) "')

    @property
    def mark(self) -> str:
        """The word across the page of a draft or a void invoice."""
        return {"draft": self.words["draft"], "void": self.words["void"]}.get(self.state, "")


def invoice_content(invoice: Invoice, *, marked_void: bool = True) -> InvoiceContent:
    """Return what the document shows; with ``marked_void`` false a void invoice looks as it was issued."""
    draft = invoice.status == InvoiceStatus.DRAFT
    snapshot = invoice_snapshot(invoice) if draft else invoice.snapshot
    words = words_for(
        snapshot["language"], snapshot["bill_to"]["country"], english=snapshot["format"] < TRANSLATED
    )
    return _Composer(invoice, snapshot, words, marked_void).compose()


class _Composer:
    def __init__(self, invoice: Invoice, snapshot: dict[str, Any], words: Words, marked_void: bool) -> None:
        self.invoice, self.snapshot, self.words = invoice, snapshot, words
        self.state: str = invoice.status
        # What was paid since is not the document's to say: it stays as it was issued (INV-09).
        if invoice.is_posted or (self.state == InvoiceStatus.VOID and not marked_void):
            self.state = InvoiceStatus.ISSUED
        self.is_first_format = snapshot["format"] < TRANSLATED
        self.lines = list(InvoiceLine.objects.filter(invoice=invoice).order_by("line_number"))

    def compose(self) -> InvoiceContent:
        invoice, words, snapshot = self.invoice, self.words, self.snapshot
        issuer = snapshot["issuer"]
        period = words.period(invoice.period_start, invoice.period_end)
        number = invoice.number or words["draft"]
        return InvoiceContent(
            words=words,
            title=words[invoice.document_type],
            number=number,
            state=self.state,
            is_first_format=self.is_first_format,
            notice=self._notice(),
            subject=self._subject(period),
            reason=invoice.reason,
            language=words.text_language,
            created=invoice.issued_at.strftime("%Y-%m-%dT%H:%M:%SZ") if invoice.issued_at else "",
            issuer_name=issuer["name"],
            issuer_lines=self._address(issuer, with_name=False),
            issuer_facts=self._issuer_facts(issuer),
            return_address=" · ".join(
                [issuer["name"], *self._address(issuer, with_name=False, with_country=False)]
            ),
            logo=issuer["logo"],
            addressee=self._address(snapshot["bill_to"]),
            facts=self._facts(period),
            currency=invoice.currency,
            amount_due=self.amount(invoice.total),
            due=self._due(),
            amount_label=self._amount_label(),
            payment=self._payment(issuer, number),
            payment_code=self._payment_code(issuer, number),
            entities=list(self._entities()),
            items=words.count(sum(line.item_count for line in self.lines)),
            # The lines of credit and debit notes bill no charges of their own.
            shows_items=any(line.item_count for line in self.lines),
            net=self.amount(invoice.subtotal),
            tax=self.amount(invoice.tax_total),
            total=self.amount(invoice.total),
            taxes=list(self._taxes()),
            rates=[self._rate(rate) for rate in snapshot["rates"]],
            notes=self._notes(),
            shows_tax=any(line.tax_rate for line in self.lines),
            continued=words("continued", title=words[invoice.document_type], number=number),
        )

    def amount(self, value: Decimal) -> Amount:
        return Amount(self.words.amount(value, self.invoice.currency), value < 0)

    # --- Head ---

    def _notice(self) -> str:
        if self.state == InvoiceStatus.DRAFT:
            return self.words["draft_notice"]
        if self.state == InvoiceStatus.VOID and self.invoice.voided_at is not None:
            day = self.words.date(self.invoice.voided_at.date())
            return self.words(self._of_type("voided"), date=day, reason=self.invoice.void_reason)
        return ""

    def _of_type(self, key: str) -> str:
        """The key of a text that differs between invoices, credit notes and debit notes."""
        kind = self.invoice.document_type
        return key if kind == DocumentType.INVOICE else f"{kind}_{key}"

    def _corrected(self) -> tuple[str, str]:
        """Number and date of the invoice that the note corrects."""
        corrects = self.snapshot["corrects"]
        return corrects["number"], self.words.date(datetime.date.fromisoformat(corrects["issue_date"]))

    def _subject(self, period: str) -> str:
        if self.invoice.document_type == DocumentType.INVOICE:
            return self.words("subject", period=period)
        number, day = self._corrected()
        return self.words(self._of_type("subject"), number=number, date=day)

    def _amount_label(self) -> str:
        if self.state != InvoiceStatus.ISSUED:
            return self.words["total"]
        return self.words["amount_credited" if self.invoice.is_credit_note else "amount_due"]

    def _country(self, code: str) -> str:
        return str(Locale.parse(self.words.text_language).territories.get(code, code))

    def _address(
        self, party: dict[str, Any], *, with_name: bool = True, with_country: bool = True
    ) -> list[str]:
        city = " ".join(filter(None, (party["postal_code"], party["city"])))
        place = ", ".join(filter(None, (city, party["region"])))
        lines = [party["name"]] if with_name else []
        lines += [party["street"], place]
        if with_country and party["country"]:
            lines.append(self._country(party["country"]))
        return [line for line in lines if line]

    def _issuer_facts(self, issuer: dict[str, Any]) -> list[tuple[str, str]]:
        facts = [
            (self.words["tax_id"], issuer["tax_id"]),
            (self.words["registration"], issuer["registration_number"]),
            ("", issuer["email"]),
        ]
        return [(label, value) for label, value in facts if value]

    def _facts(self, period: str) -> list[tuple[str, str]]:
        invoice, words, snapshot = self.invoice, self.words, self.snapshot
        open_text = words["not_issued"]
        facts = [
            (words[self._of_type("number")], invoice.number or open_text),
            (words["issue_date"], words.date(invoice.issue_date) if invoice.issue_date else open_text),
        ]
        if not invoice.is_credit_note:
            facts.append((words["due_date"], words.date(invoice.due_date) if invoice.due_date else open_text))
        if invoice.document_type != DocumentType.INVOICE:
            facts.append((words["corrects"], self._corrected()[0]))
        facts += [
            (words["period"], period),
            (words["customer"], snapshot["payer"]["code"]),
            (words["customer_tax_id"], snapshot["bill_to"]["tax_id"]),
        ]
        if snapshot["payer"]["id"] != snapshot["bill_to"]["id"]:
            facts.append((words["paid_by"], snapshot["payer"]["name"]))
        facts.append((words["currency"], invoice.currency))
        return [(label, value) for label, value in facts if value]

    def _due(self) -> str:
        if self.state != InvoiceStatus.ISSUED or self.invoice.due_date is None:
            return ""
        if self.invoice.is_credit_note:
            return self.words["credit_use"]
        if not self.invoice.total:
            return self.words["no_payment"]
        return self.words("payable_by", date=self.words.date(self.invoice.due_date))

    def _payment(self, issuer: dict[str, Any], number: str) -> list[tuple[str, str]]:
        if self.state != InvoiceStatus.ISSUED or not self.invoice.total or self.invoice.is_credit_note:
            return []
        words, bank = self.words, issuer["bank"]
        iban = _grouped(bank["iban"])
        facts = [
            (words["due_date"], words.date(self.invoice.due_date) if self.invoice.due_date else ""),
            (words["terms"], self._terms()),
            (words["account_holder"], bank["holder"] if iban else ""),
            (words["bank"], bank["name"]),
            ("IBAN", iban),
            ("BIC", bank["bic"]),
            (words["reference"], number),
        ]
        return [(label, value) for label, value in facts if value]

    def _terms(self) -> str:
        days = self.snapshot["payment_terms_days"]
        if not days and not self.is_first_format:
            return self.words["terms_at_once"]
        return self.words("terms_days", days=days)

    def _payment_code(self, issuer: dict[str, Any], number: str) -> PaymentCode | None:
        invoice = self.invoice
        if self.is_first_format or self.state != InvoiceStatus.ISSUED or invoice.is_credit_note:
            return None
        svg = payment_code(
            bank=issuer["bank"], currency=invoice.currency, amount=invoice.total, reference=number
        )
        if svg is None:
            return None
        amount = f"{invoice.currency} {self.amount(invoice.total).text}"
        alt = self.words("qr_alt", amount=amount, iban=_grouped(issuer["bank"]["iban"]), reference=number)
        return PaymentCode(svg, alt)

    # --- Lines ---

    def _entities(self) -> Iterable[EntityBlock]:
        for (_, name), group in groupby(self.lines, lambda line: (line.entity_id, line.entity_name)):
            lines = list(group)
            net = exact_sum([line.amount for line in lines])
            tax = exact_sum([line.tax_amount for line in lines])
            yield EntityBlock(
                name=name,
                departments=[
                    self._department(list(members))
                    for _, members in groupby(lines, lambda line: (line.department_id, line.department_code))
                ],
                items=self.words.count(sum(line.item_count for line in lines)),
                net=self.amount(net),
                tax=self.amount(tax),
                total=self.amount(EXACT.add(net, tax)),
                total_label=self.words("total_of", name=name),
            )

    def _department(self, lines: list[InvoiceLine]) -> DepartmentBlock:
        first = lines[0]
        title = f"{first.department_code} {first.department_name}".strip() or self.words["unallocated"]
        return DepartmentBlock(
            title=title,
            gl_codes=", ".join(sorted({line.gl_code for line in lines if line.gl_code})),
            rows=[self._row(line) for line in lines],
            items=self.words.count(sum(line.item_count for line in lines)),
            amount=self.amount(exact_sum([line.amount for line in lines])),
        )

    def _row(self, line: InvoiceLine) -> Row:
        notes = []
        if line.kind != LineKind.USAGE:
            notes.append(self.words.period(line.period_start, line.period_end))
        if made := amount_made_of(line, self.words):
            notes.append(made)
        return Row(
            number=str(line.line_number),
            description=line.description,
            provider=line.provider,
            note=" · ".join(notes),
            items=self.words.count(line.item_count),
            amount=self.amount(line.amount),
        )

    def _taxes(self) -> Iterable[TaxRow]:
        def key(line: InvoiceLine) -> tuple[str, Decimal]:
            return line.tax_category, line.tax_rate

        for (category, rate), group in groupby(sorted(self.lines, key=key), key):
            lines = list(group)
            yield TaxRow(
                label=self.words[f"tax_{category}"],
                rate=f"{self.words.exact(rate)} %" if self.is_first_format else self.words.percent(rate),
                taxable=self.amount(exact_sum([line.amount for line in lines])),
                tax=self.amount(exact_sum([line.tax_amount for line in lines])),
            )

    def _rate(self, rate: dict[str, str]) -> str:
        return self.words(
            "rates_row",
            currency=rate["currency"],
            rate=self.words.exact(Decimal(rate["rate"])),
            quote=self.invoice.currency,
            date=self.words.date(datetime.date.fromisoformat(rate["date"])),
            source=rate["source"],
        )

    def _notes(self) -> list[str]:
        quantum = Decimal(1).scaleb(-minor_units(self.invoice.currency))
        notes = []
        if any(line.exact_amount % quantum for line in self.lines):
            notes.append(self.words("rounding", zero=self.words.amount(Decimal(0), self.invoice.currency)))
        if any(line.amount < 0 for line in self.lines):
            notes.append(self.words["credits"])
        return notes


def amount_made_of(line: InvoiceLine, words: Words) -> str:
    """The exact cost with the rate and the mark-up that make the line's amount; nothing where it is the amount."""
    if line.rate_date is None and not line.markup_percent:
        return ""
    parts = [f"{words.exact(line.original_amount)} {line.original_currency}"]
    if line.rate_date is not None:
        parts.append(f"× {words.exact(line.rate)} ({words.date(line.rate_date)}, {line.rate_source})")
    if line.markup_percent:
        parts.append(words.markup(line.markup_percent))
    return " ".join(parts)


def _grouped(iban: str) -> str:
    """In groups of four, as people read it."""
    return " ".join(iban[start : start + 4] for start in range(0, len(iban), 4))
