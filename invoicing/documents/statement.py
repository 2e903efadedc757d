"""Statements of account as HTML and PDF, in the payer's language; the same statement gives the same bytes."""

import datetime
from typing import Any

from django.template.loader import render_to_string
from django.templatetags.static import static
from django.utils.safestring import SafeString

from core.money import exact_sum
from core.pdf import html_to_pdf
from entities.models import Entity
from invoicing.documents.formats import Words, words_for
from invoicing.documents.statement_texts import STATEMENT_TEXTS
from invoicing.selectors.receivables import BUCKETS, days_overdue
from invoicing.selectors.statements import Account, OpenItem, Statement

TEMPLATE = "documents/statement.html"
PAGE_CSS = 'counter(page) " / " counter(pages)'
SCREEN_FONT = "core/fonts/InterVariable.woff2"


def statement_words(language: str, country: str = "") -> Words:
    """The statement's texts in that language, or in English, with the formats of the country."""
    found = words_for(language, country)
    return Words(found.locale, STATEMENT_TEXTS[found.text_language], found.text_language)


def statement_html(statement: Statement, *, for_screen: bool = False) -> SafeString:
    """Return the statement as one HTML page, an account after the other."""
    payer = statement.payer
    words = statement_words(payer.language, payer.country)
    context: dict[str, Any] = {
        "words": words,
        "language": words.text_language,
        "title": words["title"],
        "doc": {"page_css": PAGE_CSS},
        "payer": payer,
        "addressee": _address(payer),
        "period": words.period(statement.start, statement.end),
        "accounts": [_shown(account, statement, words) for account in statement.accounts],
        "continued": words("continued", name=payer.printed_name),
        "for_screen": for_screen,
        "font_url": static(SCREEN_FONT) if for_screen else "",
    }
    return render_to_string(TEMPLATE, context)


def statement_pdf(statement: Statement) -> bytes:
    """Return the PDF, tagged for screen readers. Raises PDFUnavailable."""
    return html_to_pdf(statement_html(statement))


def statement_name(statement: Statement) -> str:
    """The file name of the PDF."""
    return f"statement-{statement.payer.code}-{statement.start}-{statement.last_day}.pdf"


def _address(party: Entity) -> list[str]:
    place = " ".join(filter(None, (party.postal_code, party.city)))
    return [line for line in (party.printed_name, party.street, place, party.region) if line]


def _shown(account: Account, statement: Statement, words: Words) -> dict[str, Any]:
    def amount(value: Any) -> dict[str, Any]:
        return {"text": words.amount(value, account.currency), "negative": value < 0}

    last = statement.last_day
    issuer = account.issuer
    label = words("in_favour" if account.closing < 0 else "owed", date=words.date(last))
    return {
        "issuer": issuer,
        "issuer_lines": _address(issuer)[1:],
        "issuer_facts": [value for value in (issuer.tax_id, issuer.billing_email) if value],
        "currency": account.currency,
        "facts": [
            (words["customer"], statement.payer.code),
            (words["period"], words.period(statement.start, statement.end)),
            (words["currency"], account.currency),
        ],
        "label": label,
        "closing": amount(account.closing),
        "opening": amount(account.opening),
        "opening_day": words.date(statement.start),
        "closing_day": words.date(last),
        "debits": amount(account.debits),
        "credits": amount(account.credits),
        "entries": [
            {
                "day": words.date(entry.day),
                "kind": words[entry.kind],
                "reference": entry.reference,
                "due": words.date(entry.due_date) if entry.due_date and entry.amount > 0 else "",
                "debit": amount(entry.amount) if entry.amount > 0 else None,
                "credit": amount(-entry.amount) if entry.amount < 0 else None,
                "balance": amount(entry.balance),
            }
            for entry in account.entries
        ],
        "open_title": words("open_items", date=words.date(last)),
        "open_items": [
            {
                "day": words.date(item.day),
                "kind": words[item.kind],
                "reference": item.reference,
                "due": words.date(item.due_date) if item.due_date else "",
                "age": _age(item, last, words),
                "disputed": amount(item.disputed) if item.disputed else None,
                "open": amount(item.open),
            }
            for item in account.open_items
        ],
        "any_disputed": any(item.disputed for item in account.open_items),
        "ageing": [(words[key], amount(total)) for key, total in ageing_of(account, last).items()],
        "payment": _payment(account),
    }


def ageing_of(account: Account, on: datetime.date) -> dict[str, Any]:
    """The open items by age; what lies in the payer's favour is the last, ``credit``."""
    sums = {
        bucket.key: exact_sum(
            [
                item.open
                for item in account.open_items
                if item.open > 0 and bucket.holds(days_overdue(item.due_date, on))
            ]
        )
        for bucket in BUCKETS
    }
    return sums | {"credit": exact_sum([item.open for item in account.open_items if item.open < 0])}


def _age(item: OpenItem, on: datetime.date, words: Words) -> str:
    if item.due_date is None:
        return ""
    days = days_overdue(item.due_date, on)
    return words[next(bucket.key for bucket in BUCKETS if bucket.holds(days))]


def _payment(account: Account) -> list[tuple[str, str]]:
    issuer = account.issuer
    if account.closing <= 0 or not issuer.iban:
        return []
    iban = " ".join(issuer.iban[start : start + 4] for start in range(0, len(issuer.iban), 4))
    return [(label, value) for label, value in (("IBAN", iban), ("BIC", issuer.bic)) if value]
