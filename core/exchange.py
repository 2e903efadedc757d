"""Exchange rates: which rate applies on a date, and where rates come from (INV-04)."""

from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal

from django.conf import settings
from django.db.models import Case, IntegerField, Value, When

from core.errors import Conflict
from core.models import ExchangeRate
from core.money import EXACT, minor_units

PIVOT = "EUR"
"""The European Central Bank publishes every rate against the euro: crosses go through it."""

ECB = "ECB"
SAME_CURRENCY = "same currency"
_RATE_QUANTUM = Decimal("0.0000000001")


@dataclass(frozen=True, slots=True)
class RateUsed:
    """A rate as it stands on a document: one `base` costs `rate` of `quote`, published on `rate_date`."""

    base: str
    quote: str
    rate: Decimal
    rate_date: date
    source: str


@dataclass(frozen=True, slots=True)
class _Quotation:
    """One published rate, read in the wanted direction, as a fraction: nothing is rounded before the end."""

    numerator: Decimal
    denominator: Decimal
    day: date
    source: str
    steps: int

    def through(self, other: "_Quotation") -> "_Quotation":
        source = self.source if self.source == other.source else f"{self.source}, {other.source}"
        return _Quotation(
            EXACT.multiply(self.numerator, other.numerator),
            EXACT.multiply(self.denominator, other.denominator),
            min(self.day, other.day),
            source,
            self.steps + other.steps,
        )


def rate_for(base: str, quote: str, on: date) -> RateUsed:
    """Return the rate from `base` to `quote` that applies on a date: the latest published on or before it.

    Published rates are read in both directions and crossed through the euro; of several ways the one with the
    latest date wins, then the most direct one. On one date a company's own source wins over the ECB. The result
    has ten decimals, rounded half up once, after all multiplications and divisions.

    Raises Conflict `no_exchange_rate`, or `stale_exchange_rate` when the rate would be older than
    settings.EXCHANGE_RATE_MAX_AGE_DAYS; Invalid `unknown_currency`.
    """
    minor_units(base)
    minor_units(quote)
    if base == quote:
        return RateUsed(base, quote, Decimal(1), on, SAME_CURRENCY)
    oldest_allowed = on - timedelta(days=settings.EXCHANGE_RATE_MAX_AGE_DAYS)
    best = _best_way(base, quote, on, since=oldest_allowed)
    if best is None:
        raise _refusal(base, quote, on, _best_way(base, quote, on, since=None))
    rate = EXACT.divide(best.numerator, best.denominator).quantize(_RATE_QUANTUM, context=EXACT)
    if not rate:
        raise _refusal(base, quote, on, None)
    return RateUsed(base, quote, rate, best.day, best.source)


def convert(amount: Decimal, rate: RateUsed) -> Decimal:
    """Return the amount of `rate.base` in `rate.quote`, exact: the caller rounds once, at the end."""
    return EXACT.multiply(amount, rate.rate)


def _best_way(base: str, quote: str, on: date, *, since: date | None) -> _Quotation | None:
    """Return the way whose (older) date is the latest, of those the one with the fewest steps."""
    latest = _latest_quotations({base, quote, PIVOT}, on, since)
    ways = [latest.get((base, quote))]
    to_pivot, from_pivot = latest.get((base, PIVOT)), latest.get((PIVOT, quote))
    if to_pivot is not None and from_pivot is not None:
        ways.append(to_pivot.through(from_pivot))
    return max((way for way in ways if way is not None), key=lambda way: (way.day, -way.steps), default=None)


def _latest_quotations(
    currencies: set[str], on: date, since: date | None
) -> dict[tuple[str, str], _Quotation]:
    """Return the latest quotation of each pair, published or inverted, in one query."""
    rates = ExchangeRate.objects.filter(base__in=currencies, quote__in=currencies, date__lte=on)
    if since is not None:
        rates = rates.filter(date__gte=since)
    ecb_last = Case(When(source=ECB, then=Value(1)), default=Value(0), output_field=IntegerField())
    latest = rates.order_by("base", "quote", "-date", ecb_last, "-id").distinct("base", "quote")
    found: dict[tuple[str, str], _Quotation] = {}
    for row in latest:
        for pair, numerator, denominator, steps in (
            ((row.base, row.quote), row.rate, Decimal(1), 1),
            ((row.quote, row.base), Decimal(1), row.rate, 2),
        ):
            candidate = _Quotation(numerator, denominator, row.date, row.source, steps)
            other = found.get(pair)
            if other is None or (candidate.day, -candidate.steps) > (other.day, -other.steps):
                found[pair] = candidate
    return found


def _refusal(base: str, quote: str, on: date, stale: _Quotation | None) -> Conflict:
    todo = (
        'Import rates with the command "import_exchange_rates --ecb" (or --csv FILE), or add one in the '
        "back-office under Exchange rates, then try again."
    )
    extra = {"base": base, "quote": quote, "date": on.isoformat()}
    if stale is None:
        return Conflict(
            "no_exchange_rate",
            f"There is no exchange rate from {base} to {quote} on or before {on}. {todo}",
            extra=extra,
        )
    days = settings.EXCHANGE_RATE_MAX_AGE_DAYS
    return Conflict(
        "stale_exchange_rate",
        f"The latest exchange rate from {base} to {quote} before {on} is of {stale.day}, which is more than "
        f"{days} days old. {todo}",
        extra=extra | {"rate_date": stale.day.isoformat(), "max_age_days": days},
    )
