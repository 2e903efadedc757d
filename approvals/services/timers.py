"""When somebody is reminded and when a step escalates (APR-19)."""

import datetime

from approvals.models import TimerBasis
from core.calendars import calendar_of, hours_of
from core.models import User
from core.work_calendar import add_working_time


def due_after(
    moment: datetime.datetime, hours: int | None, basis: str, person: User
) -> datetime.datetime | None:
    """So many hours later, by the clock or in the person's working hours; None stays None."""
    if hours is None:
        return None
    duration = datetime.timedelta(hours=hours)
    if basis == TimerBasis.CLOCK:
        return moment + duration
    return add_working_time(hours_of(calendar_of(person)), moment, duration)
