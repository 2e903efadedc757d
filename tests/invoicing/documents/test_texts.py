"""Every language has every text, and documents read as their addressee's language has them (INV-09)."""

import string
from datetime import date
from decimal import Decimal

import pytest

from invoicing.documents.formats import words_for
from invoicing.documents.texts import TEXTS


def placeholders(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


@pytest.mark.parametrize("language", ["de", "fr", "es"])
def test_every_language_has_every_text(language: str) -> None:
    texts, english = TEXTS[language], TEXTS["en"]
    assert set(texts) == set(english)
    assert all(texts.values())
    assert {key: placeholders(text) for key, text in texts.items()} == {
        key: placeholders(text) for key, text in english.items()
    }


@pytest.mark.parametrize(
    ("language", "country", "title", "page", "period", "rate"),
    [
        ("en", "GB", "Credit note", "Page 2 of 9", "September 2024", "8.1%"),
        ("de", "AT", "Rechnungskorrektur", "Seite 2 von 9", "September 2024", "8,1\u00a0%"),
        ("fr", "BE", "Avoir", "Page 2 sur 9", "septembre 2024", "8,1\u00a0%"),
        ("es", "ES", "Factura rectificativa", "Página 2 de 9", "septiembre 2024", "8,1\u00a0%"),
        ("nl", "NL", "Credit note", "Page 2 of 9", "september 2024", "8,1%"),
    ],
)
def test_a_document_in_each_language(
    language: str, country: str, title: str, page: str, period: str, rate: str
) -> None:
    """A language without texts of its own has English words and its own formats."""
    words = words_for(language, country)
    assert words["credit_note"] == title
    assert words("page", page=2, pages=9) == page
    assert words.period(date(2024, 9, 1), date(2024, 10, 1)) == period
    assert words.percent(Decimal("8.100")) == rate


def test_the_texts_of_a_first_snapshot_stay_english() -> None:
    words = words_for("de", "DE", english=True)
    assert (words["invoice"], words.text_language) == ("Invoice", "en")
    assert words.amount(Decimal("1234.5"), "EUR") == "1.234,50"
