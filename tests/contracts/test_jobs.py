"""The jobs of contracts: twice, late, broken, or at two workers, they do nothing twice (CON-01, CON-12, CON-13, CON-20)."""

import datetime
import threading
from decimal import Decimal
from typing import Any

import pytest
import time_machine
from celery import current_app
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import connection

from contracts import tasks
from contracts.models import Contract, RenewalAlert, ServiceCredit, TermRenewal
from contracts.selectors.renewals import renewable_contracts
from contracts.services import jobs
from contracts.services.renewals import contract_lock_terms
from contracts.services.sla import measurement_record
from core.access import system_actor
from core.errors import Invalid
from core.models import Notification, OutboxEvent
from tests.contracts.builders import UPTIME, Place, day, place

AUTO: dict[str, Any] = {"renewal_type": "auto", "renewal_term_months": 12, "sla_terms": [UPTIME]}


def noon(text: str) -> Any:
    return time_machine.travel(f"{text}T12:00:00Z", tick=False)


def ready(here: Place) -> Contract:
    """A contract of which everything is due on 31 October: its lock, a settlement, alerts of another, a credit."""
    contract = here.active(**AUTO, uplift_index="CPI")
    measurement_record(
        actor=here.staff,
        contract_id=contract.pk,
        sla_code="uptime",
        measured_from=datetime.datetime(2026, 6, 1, tzinfo=datetime.UTC),
        measured_to=datetime.datetime(2026, 6, 15, tzinfo=datetime.UTC),
        value=Decimal(98),
        source="monitor",
        external_id="june",
    )
    here.active(**{**AUTO, "notice_period": 30})
    here.active()
    return contract


def counts() -> dict[str, int]:
    return {
        model.__name__: model._default_manager.count()
        for model in (TermRenewal, RenewalAlert, ServiceCredit, Notification, OutboxEvent)
    }


def test_con_12_con_13_con_20_a_second_run_does_nothing(here: Place, capsys: Any) -> None:
    ready(here)
    with noon("2026-10-31"):
        call_command("run_contract_jobs")
        after = counts()
        call_command("run_contract_jobs")
        call_command("run_contract_jobs", "--on", "2026-10-31")
    assert counts() == after
    assert (after["TermRenewal"], after["RenewalAlert"], after["ServiceCredit"]) == (1, 2, 1)
    first, *others = capsys.readouterr().out.splitlines()
    assert first == (
        "0 statuses changed, 1 terms locked, 0 indices settled, 2 alerts sent, 1 credits changed, "
        "0 budgets committed."
    )
    nothing = "0 statuses changed, 0 terms locked, 0 indices settled, 0 alerts sent, 0 credits changed, 0 budgets committed."
    assert others == [nothing, nothing]


def test_con_01_the_state_follows_the_calendar_whenever_the_job_runs(here: Place) -> None:
    contract = here.active()
    with noon("2027-03-01"):
        assert tasks.refresh_statuses() == 1
        assert tasks.refresh_statuses() == 0
    assert Contract.objects.get(pk=contract.pk).status == "expired"


def test_con_12_jobs_look_at_what_may_be_due_and_at_what_was_amended(here: Place) -> None:
    """The deadline is 30 October, a month later with 30 days' notice; amendments may move it anywhere."""
    soon = here.active(**AUTO)
    here.active(**{**AUTO, "end_date": day("2028-01-01")})
    here.active()
    moved = here.active(**{**AUTO, "end_date": day("2028-01-01")})
    here.amend(moved, "2026-06-15", fields={"end_date": "2026-10-01"})

    def looked_at(on: str) -> list[Contract]:
        return list(renewable_contracts(deadline_by=day(on)).order_by("pk"))

    assert [looked_at("2026-09-01"), looked_at("2026-10-30")] == [[moved], [soon, moved]]
    with noon("2026-10-31"):
        assert jobs.lock_terms().done == 2
        assert looked_at("2026-10-31") == [moved]


def test_a_day_that_has_not_come_is_refused(here: Place) -> None:
    ready(here)
    before = counts()
    with pytest.raises(Invalid):
        jobs.run_jobs(day("2026-10-31"))
    with pytest.raises(CommandError, match="has not come yet"):
        call_command("run_contract_jobs", "--on", "2026-10-31")
    assert counts() == before


def test_one_contract_that_fails_stops_no_other(here: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    broken, well = here.active(**AUTO), here.active(**AUTO)

    def lock(*, contract_id: int, on: datetime.date | None) -> list[TermRenewal]:
        if contract_id == broken.pk:
            raise RuntimeError("broken")
        return contract_lock_terms(contract_id=contract_id, on=on)

    with noon("2026-10-31"):
        with monkeypatch.context() as away:
            away.setattr(jobs, "contract_lock_terms", lock)
            with pytest.raises(CommandError, match="1 failed"):
                call_command("run_contract_jobs")
        assert TermRenewal.objects.get().contract == well
        assert tasks.run_renewals() == 1
    assert TermRenewal.objects.filter(contract=broken).count() == 1


def test_what_is_scheduled_exists_and_runs(here: Place) -> None:
    names = {entry["task"] for entry in settings.CELERY_BEAT_SCHEDULE.values()}
    own = {name for name in names if name.startswith("contracts.")}
    assert own == {name for name in current_app.tasks if name.startswith("contracts.")}
    assert len(own) == 5
    ready(here)
    with noon("2026-10-31"):
        done = [current_app.tasks[name]() for name in sorted(own)]
    assert done == [1, 0, 0, 1, 2]


@pytest.mark.concurrency
def test_con_12_con_13_con_20_two_workers_do_nothing_twice() -> None:
    with noon("2026-06-15"):
        system_actor()
        contract = ready(place())
    start = threading.Barrier(2)
    failed: list[int] = []

    def work() -> None:
        try:
            start.wait()
            failed.append(sum(result.failed for result in jobs.run_jobs().values()))
        finally:
            connection.close()

    with noon("2026-10-31"):
        workers = [threading.Thread(target=work) for _ in range(2)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    assert failed == [0, 0]
    assert list(TermRenewal.objects.values_list("contract", "term_number")) == [(contract.pk, 2)]
    assert RenewalAlert.objects.count() == 2
    assert ServiceCredit.objects.count() == 1
    assert OutboxEvent.objects.filter(topic="contract.term_locked").count() == 1
    assert OutboxEvent.objects.filter(topic="contract.renewal_alert").count() == 1
