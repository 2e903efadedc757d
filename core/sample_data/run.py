"""One run of the sample data: its period, its people's password, its progress lines, its steps."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from importlib import import_module

from django.apps import apps
from django.utils.module_loading import module_has_submodule

from core import clock
from core.clock import month_after
from core.models import User

MAIL_DOMAIN = "tarnholm.example"


@dataclass
class SampleRun:
    """What the steps of one run share.

    `months` are the first days of the sample's months, the oldest first; the last one is still being billed.
    `password` is what every person signs in with; None leaves people without one.
    """

    say: Callable[[str], None]
    password: str | None
    months: tuple[date, ...] = ()
    today: date = field(default_factory=clock.today)
    made: int = 0

    @property
    def start(self) -> date:
        """The first day of the sample's period."""
        return self.months[0]

    @property
    def year_start(self) -> date:
        """The first of January before the period: from then on links and rules hold."""
        return date(self.start.year, 1, 1)

    def count(self, what: str, made: int, *, there: int = 0) -> None:
        """Say how many of something were made in this run, and how many were there."""
        self.made += made
        if made:
            self.say(f"  {made:,} {what}")
        elif there:
            self.say(f"  {what}: nothing to do, {there:,} are there")

    def day_after(self, month: date, days: int) -> date:
        """Return a day of the month that follows `month`, not after today: when its invoices are written."""
        return min(month_after(month) + timedelta(days=days - 1), self.today)


@dataclass(frozen=True)
class Step:
    """One part of the sample: a title for people, and what makes it, doing nothing that is done already."""

    title: str
    run: Callable[[SampleRun], None]


def steps() -> Iterator[Step]:
    """Yield the steps of all apps, from the lowest app to the highest (their order in INSTALLED_APPS)."""
    for config in apps.get_app_configs():
        if config.module is None or not module_has_submodule(config.module, "sample_data"):
            continue
        yield from import_module(f"{config.name}.sample_data.steps").STEPS


def person(username: str) -> User:
    """Return one of the sample's people."""
    return User.objects.get(username=username)
