"""What the calendar brings contracts: each run finds what is due and does it, one by one (CON-01, CON-12 to CON-20).

Any number of workers may run them at once, twice, or days late: each contract is locked and looked at again before
anything is done. One that fails is logged and left for the next run, and stops no other.
"""

import datetime
from collections.abc import Callable

from contracts.models import SlaMeasurement, TermRenewal
from contracts.selectors.renewals import ALERT_DAYS, renewable_contracts
from contracts.services.commitments import commitments_refresh
from contracts.services.renewals import contract_lock_terms, renewal_alerts_send, term_settle
from contracts.services.sla import contract_close_sla
from contracts.services.status import contract_follow_calendar, contracts_out_of_date
from core import clock
from core.access import system_actor
from core.errors import Invalid
from core.sweeps import Swept, each

EARLIEST_ZONE = "Pacific/Kiritimati"
"""Where a day begins first: what is due anywhere is due there."""

SLA_LOOKBACK = datetime.timedelta(days=400)
"""Levels of periods that ended so long ago are worked out when something is measured, no longer by the clock."""


def refresh_statuses(on: datetime.date | None = None) -> Swept:
    """Bring the stored states up to date (CON-01)."""
    return each(
        "refresh status",
        contracts_out_of_date(day=on),
        lambda pk: contract_follow_calendar(contract_id=pk),
    )


def lock_terms(on: datetime.date | None = None) -> Swept:
    """Lock the terms whose notice deadline is over (CON-12)."""
    due = renewable_contracts(deadline_by=on or clock.today(EARLIEST_ZONE))
    ids = due.order_by("pk").values_list("pk", flat=True)
    return each("lock terms", ids, lambda pk: len(contract_lock_terms(contract_id=pk, on=on)))


def settle_indices(on: datetime.date | None = None) -> Swept:
    """Settle provisional uplifts whose index is published by now (CON-14)."""
    open_terms = TermRenewal.objects.filter(is_provisional=True, settled_at__isnull=True)
    ids = open_terms.order_by("contract_id", "term_number").values_list("pk", flat=True)
    return each("settle index", ids, lambda pk: term_settle(renewal_id=pk))


def send_alerts(on: datetime.date | None = None) -> Swept:
    """Tell people of notice deadlines that come (CON-13)."""
    day = on or clock.today(EARLIEST_ZONE)
    due = renewable_contracts(deadline_by=day + datetime.timedelta(days=max(ALERT_DAYS)))
    ids = due.order_by("pk").values_list("pk", flat=True)
    return each("send alerts", ids, lambda pk: renewal_alerts_send(contract_id=pk, on=on))


def close_sla_periods(on: datetime.date | None = None) -> Swept:
    """Work out the credits of periods that are over; let go of those not claimed in time (CON-20)."""
    since = (on or clock.today()) - SLA_LOOKBACK
    measured = SlaMeasurement.objects.filter(measured_to__gte=clock.start_of_day(since))
    ids = measured.order_by("contract_id").values_list("contract_id", flat=True).distinct()
    actor = system_actor()
    return each(
        "close SLA periods",
        ids,
        lambda pk: contract_close_sla(contract_id=pk, actor=actor, since=since, on=on),
    )


def commit_budgets(on: datetime.date | None = None) -> Swept:
    """Commit budgets that have opened since; what they refuse is told by an event of its own (CON-19)."""
    return Swept(commitments_refresh())


# In this order nobody is told of a decision whose time is over.
ALL: dict[str, Callable[[datetime.date | None], Swept]] = {
    "statuses_changed": refresh_statuses,
    "terms_locked": lock_terms,
    "indices_settled": settle_indices,
    "alerts_sent": send_alerts,
    "credits_changed": close_sla_periods,
    "budgets_committed": commit_budgets,
}


def run_jobs(on: datetime.date | None = None) -> dict[str, Swept]:
    """Do all of it as of a day, today by default. Raises Invalid ``day_in_the_future``: nothing is done ahead."""
    if on is not None and on > clock.today(EARLIEST_ZONE):
        raise Invalid("day_in_the_future", f"{on} has not come yet. Give today or an earlier day.")
    return {name: run(on) for name, run in ALL.items()}
