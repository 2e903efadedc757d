"""Months as the first day of them."""

from datetime import date


def month_after(first: date, months: int = 1) -> date:
    """Return the first day of the month that many months later (or, negative, earlier)."""
    index = first.year * 12 + first.month - 1 + months
    return date(index // 12, index % 12 + 1, 1)
