"""What a contract says, in words: the same in the back-office and in print."""

import datetime
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from contracts.models import Contract, Pricing, Timing
from contracts.terms.conditions import Conditions
from contracts.terms.fold import Terms
from contracts.terms.lines import PriceLine, SlaLine
from core.admin.columns import number_text
from core.money import format_money

Fact = tuple[str, str]


def interval_text(months: int) -> str:
    """Per month, per quarter, per year, or every so many months."""
    known = {1: "per month", 3: "per quarter", 6: "per half-year", 12: "per year"}
    return known.get(months, f"every {months} months")


@dataclass(frozen=True)
class ShownPrice:
    """A price as people read it; ``lines`` are tiers, later prices and discounts."""

    code: str
    name: str
    price: str
    how: str
    lines: Sequence[str]
    is_running: bool


def prices_shown(terms: Terms, day: datetime.date) -> list[ShownPrice]:
    """The prices of a day, in words."""
    currency = terms.conditions.currency
    return [_price(line, day, currency) for line in terms.prices.values()]


def _price(line: PriceLine, day: datetime.date, currency: str) -> ShownPrice:
    amount = f"{number_text(line.price_on(day))} {currency}"
    if line.pricing == Pricing.ONE_TIME:
        how = "once"
    else:
        timing = str(Timing(line.timing).label).lower()
        how = f"{interval_text(line.interval_months)}, {timing}"
    unit = line.unit or "unit"
    if line.tiers:
        amount = "By tier"
    elif line.pricing == Pricing.PER_UNIT:
        amount = f"{amount} per {unit}"
    elif line.pricing == Pricing.PACKAGE and line.package_size is not None:
        amount = f"{amount} per begun {number_text(line.package_size)} {unit}"
    return ShownPrice(
        line.code, line.name, amount, how, list(_price_notes(line, currency, unit)), line.runs_on(day)
    )


def _price_notes(line: PriceLine, currency: str, unit: str) -> Iterable[str]:
    if line.quantity is not None:
        yield f"{number_text(line.quantity)} {line.unit or 'units'}"
    elif line.quantity_source:
        yield {"licences": "For the licences subscribed", "usage": "For the usage imported"}[
            line.quantity_source
        ]
    if line.tiers:
        yield str(Pricing(line.pricing).label)
    for tier in line.tiers:
        limit = "above" if tier.up_to is None else f"up to {number_text(tier.up_to)}"
        flat = f" plus {number_text(tier.flat_fee)} {currency}" if tier.flat_fee else ""
        yield f"{limit}: {number_text(tier.unit_price)} {currency} per {unit}{flat}"
    if line.free_units:
        yield f"{number_text(line.free_units)} {line.unit or 'units'} free in each period"
    for step in line.ramp:
        yield f"from {step.start}: {number_text(step.price)} {currency}"
    yield from _conditions(line, currency)


def _conditions(line: PriceLine, currency: str) -> Iterable[str]:
    """Discounts, days and what renewals do."""
    until = f" until before {line.discount_until}" if line.discount_until else ""
    if line.discount_percent:
        yield f"less {number_text(line.discount_percent)} %{until}"
    if line.discount_amount:
        yield f"less {format_money(line.discount_amount, currency)} each period{until}"
    if line.starts_on:
        yield f"from {line.starts_on}"
    if line.ends_on:
        yield f"until before {line.ends_on}"
    if line.is_fixed_price:
        yield "stays at renewals"


def level_text(level: SlaLine) -> str:
    """What is promised and what a miss earns."""
    sign = "at least" if level.direction == "at_least" else "at most"
    beyond = "below" if level.direction == "at_least" else "above"
    credits = ", ".join(
        f"{beyond} {number_text(tier.threshold)}: {number_text(tier.credit_percent)} %"
        for tier in level.tiers
    )
    promised = f"{sign} {number_text(level.target)} {level.unit} {interval_text(level.period_months)}"
    return f"{promised}; credit {credits}" if credits else promised


def _limit_text(limit: int | bool | None) -> str:
    if isinstance(limit, bool):
        return "yes" if limit else "no"
    return "unlimited" if limit is None else str(limit)


def facts_of(contract: Contract, conditions: Conditions) -> list[Fact]:
    """What the contract says on a day, but for prices and service levels."""
    currency = conditions.currency

    def money(amount: Decimal | None) -> str:
        return "" if amount is None else format_money(amount, currency)

    renewal = str(dict(Contract._meta.get_field("renewal_type").flatchoices)[conditions.renewal_type])  # type: ignore[union-attr]
    if conditions.renewal_term_months:
        renewal = f"{renewal}, by {conditions.renewal_term_months} months"
    notice = f"{conditions.notice_period} {conditions.notice_unit}"
    convenience = "no"
    if conditions.convenience_allowed:
        convenience = f"with {conditions.convenience_notice_days} days' notice"
        if conditions.minimum_term_end:
            convenience = f"{convenience}, not before {conditions.minimum_term_end}"
    uplift = ""
    if conditions.uplift_index:
        floor, cap = number_text(conditions.uplift_floor_percent), number_text(conditions.uplift_cap_percent)
        uplift = f"{conditions.uplift_index}, from {floor} to {cap} %"
    minimum = ""
    if conditions.minimum_commitment is not None:
        minimum = f"{money(conditions.minimum_commitment)} in {conditions.minimum_commitment_months} months"
    limits = ", ".join(f"{name}: {_limit_text(limit)}" for name, limit in conditions.feature_limits.items())
    facts: list[Fact] = [
        ("Customer", str(contract.entity)),
        ("Issuer", str(contract.issuer)),
        ("Type", str(contract.get_contract_type_display())),
        ("Starts", str(conditions.start_date)),
        ("Ends before", str(conditions.end_date) if conditions.end_date else "no end"),
        ("Payment", f"{conditions.payment_terms_days} days"),
        ("Discount", f"{number_text(conditions.discount_percent)} %" if conditions.discount_percent else ""),
        ("At the end of a term", renewal),
        ("Notice", notice),
        ("Prices follow", uplift),
        ("Termination for convenience", convenience),
        ("Days to cure a breach", str(conditions.cure_days)),
        ("Never bills more than", money(conditions.not_to_exceed)),
        ("Bills at least", minimum),
        (
            "Use after expiry",
            f"billed at {number_text(conditions.holdover_rate_percent)} %"
            if conditions.holdover_allowed
            else "",
        ),
        ("Licence tier", conditions.licence_tier),
        ("Features", limits),
        ("Scope", conditions.scope),
    ]
    return [(label, value) for label, value in facts if value]
