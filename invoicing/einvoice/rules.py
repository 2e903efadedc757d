"""The business rules of EN 16931 (and of Peppol BIS Billing 3) that our documents could break.

Each breach names its rule and says what to do. Rules on things that we never write (allowances, payment cards, tax
representatives) and on what the mapping cannot get wrong are left to the official Schematron, which the tests run.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

from core.money import EXACT, decimal_places, exact_sum, minor_units, plain_amount, round_money
from entities.models import TaxTreatment
from invoicing.einvoice.model import EInvoice, Line, Party, TaxBreakdown

_CENT_AND_LESS = 2
_TOLERANCE = Decimal(1)
_UNTAXED = (
    TaxTreatment.OUT_OF_SCOPE,
    TaxTreatment.ZERO,
    TaxTreatment.EXEMPT,
    TaxTreatment.REVERSE_CHARGE,
)
_ZERO_RATE_RULE = {category: f"BR-{category}-05" for category in _UNTAXED}


@dataclass(frozen=True, slots=True)
class Breach:
    """A rule that the document would break."""

    rule: str
    detail: str


def breaches(document: EInvoice, *, peppol: bool = False) -> list[Breach]:
    """Return every rule that the document breaks, the master data that is missing first."""
    found = [*_parties(document), *_tax_ids(document)]
    if peppol:
        found += _peppol(document)
    return [*found, *_amounts(document), *_taxes(document), *_payment(document)]


def _parties(document: EInvoice) -> Iterator[Breach]:
    for party, role, name_rule, country_rule in (
        (document.seller, "issuer", "BR-06", "BR-09"),
        (document.buyer, "addressee", "BR-07", "BR-11"),
    ):
        if not party.name:
            yield Breach(name_rule, f"The {role} {party.identifier} has no name.")
        if not party.country:
            yield Breach(country_rule, f"The {role} {party.name} has no country.")


def _tax_ids(document: EInvoice) -> Iterator[Breach]:
    seller, buyer = document.seller, document.buyer
    categories = {line.category for line in document.lines}
    for category in sorted(categories - {TaxTreatment.OUT_OF_SCOPE}):
        if not (seller.vat_id or seller.tax_registration):
            label = TaxTreatment(category).label.lower()
            yield Breach(
                f"BR-{category}-02", f"The issuer {seller.name} has no tax id, which {label} asks for."
            )
    if TaxTreatment.REVERSE_CHARGE in categories and not (buyer.vat_id or buyer.registration):
        yield Breach(
            "BR-AE-02",
            f"The addressee {buyer.name} has neither a VAT id nor a registration number, as reverse charge asks.",
        )
    if TaxTreatment.OUT_OF_SCOPE in categories and len(categories) > 1:
        yield Breach(
            "BR-O-11",
            "The lines are partly outside the scope of tax and partly not; the standard wants two documents.",
        )


def _peppol(document: EInvoice) -> Iterator[Breach]:
    def no_address(party: Party, role: str, rule: str) -> Iterator[Breach]:
        if not party.email:
            yield Breach(rule, f"The {role} {party.name} has no billing e-mail, its electronic address.")

    yield from no_address(document.seller, "issuer", "PEPPOL-EN16931-R020")
    yield from no_address(document.buyer, "addressee", "PEPPOL-EN16931-R010")


def _amounts(document: EInvoice) -> Iterator[Breach]:
    if minor_units(document.currency) > _CENT_AND_LESS:
        yield Breach(
            "BR-DEC-23",
            f"Amounts in {document.currency} have {minor_units(document.currency)} decimals; the standard allows two.",
        )
        return
    if not document.lines:
        yield Breach("BR-16", "The document has no lines.")
    for line in document.lines:
        yield from _line(line)
    if exact_sum([line.amount for line in document.lines]) != document.net:
        yield Breach("BR-CO-10", f"The lines do not sum to the net total {document.net}.")
    if exact_sum([row.tax for row in document.taxes]) != document.tax:
        yield Breach("BR-CO-14", f"The taxes do not sum to the tax total {document.tax}.")
    if EXACT.add(document.net, document.tax) != document.total:
        yield Breach("BR-CO-15", f"Net total and tax do not sum to the total {document.total}.")


def _line(line: Line) -> Iterator[Breach]:
    if not line.name:
        yield Breach("BR-25", f"Line {line.number} has no description.")
    if line.end < line.start:
        yield Breach("BR-30", f"The period of line {line.number} ends before it begins.")
    if decimal_places(line.amount.normalize(EXACT)) > _CENT_AND_LESS:
        yield Breach("BR-DEC-23", f"The amount of line {line.number} has more than two decimals.")
    zero_rule = _ZERO_RATE_RULE.get(TaxTreatment(line.category))
    if zero_rule and line.rate:
        yield Breach(zero_rule, f"Line {line.number} is untaxed by its category, but has a rate.")
    if line.category == TaxTreatment.STANDARD and line.rate <= 0:
        yield Breach(
            "BR-S-05",
            f"Line {line.number} is taxed at the standard rate, but its payer has no rate above zero.",
        )


def _taxes(document: EInvoice) -> Iterator[Breach]:
    if document.lines and not document.taxes:
        yield Breach("BR-CO-18", "The document has no summary of its taxes.")
    for row in document.taxes:
        yield from _breakdown(row, document)


def _breakdown(row: TaxBreakdown, document: EInvoice) -> Iterator[Breach]:
    of_row = [
        line.amount for line in document.lines if (line.category, line.rate) == (row.category, row.rate)
    ]
    if exact_sum(of_row) != row.taxable:
        yield Breach(
            f"BR-{row.category}-08", f"The lines of category {row.category} do not sum to {row.taxable}."
        )
    if row.category in _UNTAXED and row.tax:
        yield Breach(
            f"BR-{row.category}-09", f"Category {row.category} has a tax of {row.tax}; it is untaxed."
        )
    computed = round_money(EXACT.multiply(row.taxable, row.rate).scaleb(-2, EXACT), document.currency)
    # The standard's own check allows less than one unit, for tax that was rounded line by line.
    if abs(EXACT.subtract(row.tax, computed)) >= _TOLERANCE:
        yield Breach(
            "BR-CO-17",
            f"Tax of {row.rate.normalize():f} % on {plain_amount(row.taxable, document.currency)} is {computed}, not "
            f"{plain_amount(row.tax, document.currency)}. Tax that is rounded line by line can be that far off; let "
            "the issuer round it per document.",
        )


def _payment(document: EInvoice) -> Iterator[Breach]:
    if document.total > 0 and document.due_date is None and not document.terms:
        yield Breach("BR-CO-25", "There is an amount to pay, but neither a due date nor terms.")
