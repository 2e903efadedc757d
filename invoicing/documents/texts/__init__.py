"""The texts of documents: one module per language, each with every text of the English one.

To add a language, copy `en.py` under its code, translate it, and name it below; a test compares keys and placeholders.
"""

from invoicing.documents.texts.de import TEXTS as GERMAN
from invoicing.documents.texts.en import TEXTS as ENGLISH
from invoicing.documents.texts.es import TEXTS as SPANISH
from invoicing.documents.texts.fr import TEXTS as FRENCH

TEXTS: dict[str, dict[str, str]] = {"en": ENGLISH, "de": GERMAN, "fr": FRENCH, "es": SPANISH}
FALLBACK = "en"
