"""Amounts from outside: positive, at the minor unit, with their tax, in the budget's currency (BUD-30, BUD-31)."""

import datetime
from dataclasses import dataclass
from decimal import Decimal

from budgets.models import Budget
from core import clock
from core.errors import Invalid
from core.exchange import rate_for
from core.money import AMOUNT_LIMIT, EXACT, minor_units, parse_amount, round_money

ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class BudgetAmount:
    """A document's amount and what it is in the budget's currency (BUD-31)."""

    amount: Decimal
    document_amount: Decimal
    document_currency: str
    rate: Decimal
    rate_date: datetime.date | None


def positive_amount(value: Decimal | str | int, currency: str | None) -> Decimal:
    """Read an amount that must be positive and at the currency's minor unit; None tests no minor unit.

    Raises Invalid ``amount_not_positive`` or ``amount_too_precise``, besides those of ``parse_amount``.
    """
    amount = parse_amount(value)
    if amount <= 0:
        raise Invalid("amount_not_positive", "The amount must be greater than zero.")
    return amount if currency is None else at_minor_unit(amount, currency)


def at_minor_unit(amount: Decimal, currency: str) -> Decimal:
    """The amount itself, refused if the currency has fewer decimals (``amount_too_precise``)."""
    if round_money(amount, currency) != amount:
        raise Invalid(
            "amount_too_precise",
            f"{currency} has {minor_units(currency)} decimals; {amount} has more. Round it first.",
        )
    return amount


def cost_with_tax(
    amount: Decimal | str | int, tax: Decimal | str | int, currency: str | None, *, tax_recoverable: bool
) -> Decimal:
    """What a document costs: tax counts where it does not come back (BUD-30)."""
    net = positive_amount(amount, currency)
    tax_amount = parse_amount(tax)
    if currency is not None:
        at_minor_unit(tax_amount, currency)
    if tax_amount < 0:
        raise Invalid("amount_not_positive", "The tax cannot be negative.")
    return net if tax_recoverable else net + tax_amount


def in_budget_currency(
    budget: Budget, amount: Decimal | str | int, currency: str | None, on: datetime.date
) -> BudgetAmount:
    """Convert a document's amount at the stored rate of the day; refuses without a rate fresh enough (BUD-31)."""
    document_currency = currency or budget.currency
    document_amount = positive_amount(amount, document_currency)
    if document_currency == budget.currency:
        return BudgetAmount(document_amount, document_amount, document_currency, Decimal(1), None)
    used = rate_for(document_currency, budget.currency, on)
    return BudgetAmount(
        at_rate(budget, document_amount, used.rate),
        document_amount,
        document_currency,
        used.rate,
        used.rate_date,
    )


def at_rate(budget: Budget, document_amount: Decimal, rate: Decimal) -> Decimal:
    """A document's amount in the budget's currency, rounded once; too much for a ledger is refused."""
    amount = round_money(EXACT.multiply(document_amount, rate), budget.currency)
    if abs(amount) >= AMOUNT_LIMIT:
        raise Invalid(
            "amount_too_large",
            f"In {budget.currency} the amount is too large. It must be smaller than 1,000,000,000,000,000.",
        )
    return amount


def business_day(budget: Budget) -> datetime.date:
    """Today where the budget's entity does its business."""
    return clock.today(budget.entity.time_zone)
