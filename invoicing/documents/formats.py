"""Numbers, dates and words as the reader of a document writes them."""

import datetime
from dataclasses import dataclass
from decimal import Decimal
from typing import ClassVar

from babel.core import Locale, UnknownLocaleError
from babel.dates import format_date
from babel.numbers import format_decimal

from core.money import minor_units, round_money

MINUS = "\N{MINUS SIGN}"

# The texts of documents, by language. A language without texts of its own gets English words and its own formats.
_TEXTS: dict[str, dict[str, str]] = {
    "en": {
        "invoice": "Invoice",
        "draft": "Draft",
        "void": "Void",
        "number": "Invoice number",
        "issue_date": "Issue date",
        "due_date": "Due date",
        "period": "Period",
        "customer": "Customer",
        "customer_tax_id": "Your tax ID",
        "paid_by": "Payer",
        "currency": "Currency",
        "not_issued": "assigned at issue",
        "subject": "Consolidated usage and cost, {period}",
        "amount_due": "Amount due",
        "payable_by": "Payable by {date}",
        "no_payment": "Nothing to pay",
        "summary": "Summary by entity",
        "entity": "Entity",
        "department": "Department",
        "charges": "Charges",
        "net": "Net",
        "tax": "Tax",
        "total": "Total",
        "subtotal": "Subtotal",
        "tax_summary": "Tax",
        "taxable": "Taxable amount",
        "rate": "Rate",
        "payment": "Payment",
        "bank": "Bank",
        "account_holder": "Account holder",
        "reference": "Reference",
        "terms": "Terms",
        "terms_days": "{days} days from the issue date",
        "details": "Charges in detail",
        "line": "Line",
        "description": "Description",
        "provider": "Provider",
        "amount": "Amount",
        "unallocated": "Not allocated to a department",
        "total_of": "Total of {name}",
        "continued": "{title} {number}, continued",
        "page": "Page {page} of {pages}",
        "rates": "Exchange rates",
        "rates_row": "1 {currency} = {rate} {quote}, {date}, {source}",
        "rounding": "Charges smaller than the smallest unit of the currency are added up exactly and rounded together: "
        "the lines always sum to the total, and a line that shows {zero} may hold less than half a unit.",
        "credits": "Negative amounts are credits.",
        "tax_O": "Outside the scope of tax: charged within the group",
        "tax_S": "Standard rate",
        "tax_Z": "Zero rate",
        "tax_E": "Exempt from tax",
        "tax_AE": "Reverse charge: the recipient accounts for the tax",
        "tax_id": "Tax ID",
        "registration": "Registration",
        "voided": "This invoice is void since {date}: {reason}",
        "draft_notice": "This is a draft: it has no number and asks for no payment.",
    }
}


@dataclass(frozen=True)
class Words:
    """Formats of one locale with texts of its language."""

    locale: Locale
    texts: dict[str, str]
    text_language: str

    do_not_call_in_templates: ClassVar[bool] = True

    def __call__(self, key: str, **values: object) -> str:
        text = self.texts[key]
        return text.format(**values) if values else text

    def __getitem__(self, key: str) -> str:
        return self.texts[key]

    def amount(self, value: Decimal, currency: str) -> str:
        """1,234.50 at the currency's minor unit; a negative one with a true minus sign."""
        rounded = round_money(value, currency)
        places = minor_units(currency)
        pattern = "#,##0" + (f".{'0' * places}" if places else "")
        sign = MINUS if rounded < 0 else ""
        return sign + str(format_decimal(abs(rounded), format=pattern, locale=self.locale))

    def exact(self, value: Decimal) -> str:
        """Every digit, no zeros at the end."""
        places = max(0, -int(value.normalize().as_tuple().exponent)) if value else 0
        pattern = "#,##0" + (f".{'0' * places}" if places else "")
        sign = MINUS if value < 0 else ""
        return sign + str(format_decimal(abs(value), format=pattern, locale=self.locale))

    def count(self, value: int) -> str:
        return str(format_decimal(value, format="#,##0", locale=self.locale))

    def date(self, day: datetime.date) -> str:
        """The date as the locale writes it in full, such as 4 Oct 2024; year always with four digits."""
        return str(format_date(day, format="medium", locale=self.locale))

    def period(self, start: datetime.date, end: datetime.date) -> str:
        """From the first to the last day; a whole month by its name."""
        last = end - datetime.timedelta(days=1)
        if start.day == 1 and end.day == 1 and last.year == start.year and last.month == start.month:
            return str(format_date(start, format="LLLL y", locale=self.locale))
        return f"{self.date(start)} – {self.date(last)}"


def words_for(language: str, country: str = "") -> Words:
    """Return the words of a language ("de", "en-GB"); numbers and dates follow the language's usual country."""
    locale = _locale(language.replace("-", "_"), country)
    known = locale.language if locale.language in _TEXTS else "en"
    return Words(locale, _TEXTS[known], known)


def _locale(name: str, country: str) -> Locale:
    language = name.partition("_")[0] or "en"
    for candidate in (name if "_" in name else f"{language}_{country}" if country else name, language, "en"):
        try:
            return Locale.parse(candidate)
        except (UnknownLocaleError, ValueError):
            continue
    raise LookupError("babel has no English")
