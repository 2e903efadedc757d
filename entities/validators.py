"""Field validators of the organisation's records."""

from babel import Locale, UnknownLocaleError
from django.core.exceptions import ValidationError
from schwifty import BIC, IBAN
from schwifty.exceptions import SchwiftyException
from stdnum import get_cc_module
from stdnum.exceptions import ValidationError as StdnumError

TERRITORIES = frozenset(
    code
    for code in map(str, Locale("en").territories)
    if len(code) == 2 and code.isalpha() and code not in {"ZZ", "EU", "UN"}
)
# Countries whose VAT numbers begin with other letters than their ISO code.
VAT_PREFIXES = {"GR": "EL", "CH": "CHE"}


def validate_country(value: str) -> None:
    if value and value not in TERRITORIES:
        raise ValidationError(
            "“%(value)s” is not an ISO 3166-1 country code such as DE or US.",
            code="unknown_country",
            params={"value": value},
        )


def validate_language(value: str) -> None:
    try:
        Locale.parse(value.replace("-", "_"))
    except (UnknownLocaleError, ValueError) as exc:
        raise ValidationError(
            "“%(value)s” is not a language code such as en or de.",
            code="unknown_language",
            params={"value": value},
        ) from exc


def clean_tax_id(tax_id: str, country: str) -> str:
    """The tax id in its compact form, checked by the rules of ``country`` where they are known (ENT-01).

    Raises ValidationError (code ``invalid_tax_id``) when the check digit or the format is wrong. Countries
    without a published scheme are taken as written.
    """
    compact = " ".join(tax_id.split())
    if not compact or not country:
        return compact
    for scheme in ("vat", "ein", "uid", "tin"):
        module = get_cc_module(country.lower(), scheme)
        if module is None:
            continue
        try:
            number = str(module.validate(compact))
        except StdnumError as exc:
            raise ValidationError(
                "“%(value)s” is not a valid tax id of %(country)s (%(why)s).",
                code="invalid_tax_id",
                params={
                    "value": compact,
                    "country": country,
                    "why": str(exc).rstrip(".").lower(),
                },
            ) from exc
        # The scheme drops the country's letters; documents print them where they were given.
        letters = VAT_PREFIXES.get(country, country)
        given = "".join(filter(str.isalnum, compact)).upper()
        return letters + number if given == letters + number else number
    return compact


def clean_iban(value: str) -> str:
    """The IBAN without spaces; raises ValidationError (code ``invalid_iban``)."""
    if not value.strip():
        return ""
    try:
        return str(IBAN(value).compact)
    except SchwiftyException as exc:
        raise ValidationError(
            "“%(value)s” is not a valid IBAN.",
            code="invalid_iban",
            params={"value": value},
        ) from exc


def clean_bic(value: str) -> str:
    """The BIC (ISO 9362); raises ValidationError (code ``invalid_bic``)."""
    if not value.strip():
        return ""
    try:
        return str(BIC(value).compact)
    except SchwiftyException as exc:
        raise ValidationError(
            "“%(value)s” is not a valid BIC.",
            code="invalid_bic",
            params={"value": value},
        ) from exc
