"""What core contributes: exchange rates, from them the period of the sample, and when its people work."""

from datetime import date
from typing import Any

from core.access import system_actor
from core.calendars import work_calendar_create
from core.clock import month_after
from core.errors import Conflict
from core.exchange import ECB, PIVOT, exchange_rate_record, exchange_rates_import_ecb
from core.models import ExchangeRate, User, WorkCalendar
from core.sample_data.run import MAIL_DOMAIN, SampleRun, Step
from core.work_calendar import WEEKDAYS

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


def _office(hours: str, friday: str = "") -> dict[str, str]:
    return {**dict.fromkeys(WEEKDAYS[:5], hours), "friday": friday or hours}


CALENDARS: tuple[dict[str, Any], ...] = (
    {
        "name": "Ireland",
        "time_zone": "Europe/Dublin",
        "holiday_country": "IE",
        **_office("09:00-13:00, 14:00-17:30"),
    },
    {
        "name": "Germany",
        "time_zone": "Europe/Berlin",
        "holiday_country": "DE",
        "holiday_subdivision": "BW",
        **_office("08:30-12:30, 13:00-17:00", friday="08:30-12:30, 13:00-15:00"),
    },
    {
        "name": "United Kingdom",
        "time_zone": "Europe/London",
        "holiday_country": "GB",
        "holiday_subdivision": "ENG",
        **_office("09:00-12:30, 13:30-17:30"),
    },
    {
        "name": "Japan",
        "time_zone": "Asia/Tokyo",
        "holiday_country": "JP",
        **_office("09:00-12:00, 13:00-18:00"),
    },
    {
        "name": "United States",
        "time_zone": "America/New_York",
        "holiday_country": "US",
        **_office("09:00-12:00, 13:00-17:00"),
    },
)
"""The first one is the default."""


def load_calendars(run: SampleRun) -> None:
    """Add the calendars; the mark of the default stays with one that the database has already."""
    there = set(WorkCalendar.objects.values_list("name", flat=True))
    has_default = WorkCalendar.objects.filter(is_default=True).exists()
    missing = [values for values in CALENDARS if values["name"] not in there]
    for values in missing:
        is_default = values is CALENDARS[0] and not has_default
        work_calendar_create(actor=system_actor(), reason="Sample group", is_default=is_default, **values)
    run.count("work calendars", len(missing), there=len(CALENDARS))


TREASURY = "Treasury"
"""The group's own rates: they bridge the days from the bank's last published ones until today."""


def bridge_rates(run: SampleRun) -> None:
    """Keep the bank's last rates as the group's own for today, so that amounts of today can be converted."""
    last = _last_rate_date()
    there = ExchangeRate.objects.filter(source=TREASURY, date=run.today).count()
    if last is None or last >= run.today or there:
        run.count("rates of the group's treasury", 0, there=there)
        return
    rates = ExchangeRate.objects.filter(source=ECB, base=PIVOT, date=last).order_by("quote")
    made = [
        exchange_rate_record(
            actor=system_actor(),
            date=run.today,
            base=PIVOT,
            quote=row.quote,
            rate=row.rate,
            source=TREASURY,
        )
        for row in rates.filter(quote__in=["USD", "GBP", "JPY"])
    ]
    run.count("rates of the group's treasury", len(made))


STEPS = [
    Step("Exchange rates", load_rates),
    Step("Rates of today", bridge_rates),
    Step("Work calendars", load_calendars),
]
