"""Tax on the lines of a document, rounded as its issuer says (INV-05)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from core.money import EXACT, round_money, round_together
from entities.models import TaxRounding


@dataclass(frozen=True, slots=True)
class Taxable:
    """A line's amount before tax, already rounded; ``rate`` is a percentage."""

    amount: Decimal
    category: str
    rate: Decimal


def line_taxes(lines: Sequence[Taxable], currency: str, rounding: str) -> list[Decimal]:
    """Return the tax of each line; what a document asks for is always the sum of them.

    Rounded per line, each line's tax is rounded by itself, half away from zero. Rounded per document, the exact tax
    of all lines of one category and rate is rounded once, and the lines share it by the largest remainder.
    """
    exact = [EXACT.multiply(line.amount, line.rate).scaleb(-2, EXACT) for line in lines]
    if rounding == TaxRounding.LINE:
        return [round_money(tax, currency) for tax in exact]
    taxes = [Decimal(0)] * len(lines)
    for members in _by_category_and_rate(lines):
        rounded = round_together([exact[position] for position in members], currency)
        for position, tax in zip(members, rounded, strict=True):
            taxes[position] = tax
    return taxes


def _by_category_and_rate(lines: Sequence[Taxable]) -> Iterable[list[int]]:
    groups: dict[tuple[str, Decimal], list[int]] = {}
    for position, line in enumerate(lines):
        if line.rate:
            groups.setdefault((line.category, line.rate), []).append(position)
    return groups.values()
