"""Numbers, dates and words as the reader of a document writes them."""

import datetime
import re
from dataclasses import dataclass
from decimal import Decimal
from typing import ClassVar

from babel.core import Locale, UnknownLocaleError
from babel.dates import format_date
from babel.numbers import format_decimal

from core.money import minor_units, round_money
from invoicing.documents.texts import FALLBACK, TEXTS

MINUS = "\N{MINUS SIGN}"


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

    def percent(self, value: Decimal) -> str:
        """19 as 19% in English, 19 % in German; every digit."""
        pattern = self.locale.percent_formats[None].pattern
        return re.sub("[#,0.]+", self.exact(value), pattern)

    def markup(self, percent: Decimal) -> str:
        """What is added to a cost, such as "+ 7.5% mark-up"."""
        return f"+ {self.percent(percent)} {self['markup']}"

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


def words_for(language: str, country: str = "", *, english: bool = False) -> Words:
    """Return the words of a language ("de", "en-GB"); numbers and dates follow the language's usual country.

    A language without texts of its own, and any with ``english``, gets English texts with its own formats.
    """
    locale = _locale(language.replace("-", "_"), country)
    known = FALLBACK if english or locale.language not in TEXTS else locale.language
    return Words(locale, TEXTS[known], known)


def _locale(name: str, country: str) -> Locale:
    language = name.partition("_")[0] or "en"
    for candidate in (name if "_" in name else f"{language}_{country}" if country else name, language, "en"):
        try:
            return Locale.parse(candidate)
        except (UnknownLocaleError, ValueError):
            continue
    raise LookupError("babel has no English")
