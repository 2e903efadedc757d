"""Numbers in the sentences that explain a fee."""

from decimal import Decimal

from core.money import EXACT


def plain_number(value: Decimal) -> str:
    """Return the number without exponent or idle zeros: "201", "99.95"."""
    return f"{value.normalize(EXACT):f}"
