"""What core contributes: exchange rates, and from them the period of the sample."""

from datetime import date

from core.clock import month_after
from core.errors import Conflict
from core.exchange import ECB, PIVOT, exchange_rates_import_ecb
from core.models import ExchangeRate, User
from core.sample_data.run import MAIL_DOMAIN, SampleRun, Step

MONTHS = 7
"""Months of usage: all but the last are invoiced."""

RATES_SINCE = date(2024, 1, 1)
"""Early enough for the FOCUS files that are published as examples."""


def load_rates(run: SampleRun) -> None:
    """Add the ECB's rates of the last years, then choose the months that they can convert."""
    there = ExchangeRate.objects.filter(source=ECB, date__gte=RATES_SINCE).count()
    if there:
        run.count("exchange rates", 0, there=there)
    else:
        imported = exchange_rates_import_ecb(since=RATES_SINCE)
        run.count("exchange rates of the European Central Bank", imported.added)
    choose_months(run)


def choose_months(run: SampleRun) -> None:
    """Set the months of the run: those of the sample if it is there, else the last ones that have rates."""
    first = _first_month_there()
    if first is None:
        last_rate = _last_rate_date()
        if last_rate is None:
            raise Conflict(
                "no_exchange_rate",
                "There are no exchange rates. Run: manage.py import_exchange_rates --ecb",
            )
        newest = min(month_after(run.today.replace(day=1), -1), _month_covered(last_rate))
        first = month_after(newest, 1 - MONTHS)
    run.months = tuple(month_after(first, number) for number in range(MONTHS))


def _first_month_there() -> date | None:
    """The month in which the sample's people joined: a later run completes the same months."""
    people = User.objects.filter(email__endswith=f"@{MAIL_DOMAIN}")
    moment = people.order_by("date_joined").values_list("date_joined", flat=True).first()
    return moment.date().replace(day=1) if moment else None


def _last_rate_date() -> date | None:
    return (
        ExchangeRate.objects.filter(source=ECB, base=PIVOT, quote="USD")
        .values_list("date", flat=True)
        .first()
    )


def _month_covered(last_rate: date) -> date:
    """The last month whose end a rate of this date can still convert: rates are days old over a weekend."""
    first = last_rate.replace(day=1)
    days_missing = (month_after(first) - last_rate).days - 1
    return first if days_missing <= 3 else month_after(first, -1)


STEPS = [Step("Exchange rates", load_rates)]
