"""Suspension and termination through the services (CON-15, CON-16, CON-17)."""

import datetime
from decimal import Decimal
from typing import Any

import pytest
import time_machine

from contracts.models import Contract, ContractBreach, ContractEvent
from contracts.selectors.contract import status_on, supply_spans, suspensions, terms_on
from contracts.services.jobs import refresh_statuses
from contracts.services.suspension import contract_resume, contract_suspend
from contracts.services.termination import (
    breach_cure,
    breach_notify,
    contract_terminate,
    contract_terminate_for_cause,
    termination_preview,
)
from core.errors import Conflict, Forbidden, Invalid
from core.models import OutboxEvent
from tests.contracts.builders import END, Place, day

CONVENIENCE: dict[str, Any] = {"convenience_allowed": True, "convenience_notice_days": 60}


def at(text: str) -> Any:
    return time_machine.travel(f"{text}T12:00:00Z", tick=False)


def suspend(here: Place, contract: Contract, **fields: Any) -> Contract:
    values: dict[str, Any] = {"reason": "Not paid", "billing_continues": False, **fields}
    return contract_suspend(actor=here.finance, contract_id=contract.pk, **values)


def test_con_17_suspension_says_whether_billing_runs_on_and_whether_the_term_is_extended(here: Place) -> None:
    contract = here.active()
    assert suspend(here, contract, extends_term=True).status == "suspended"
    with at("2026-06-25"):
        assert contract_resume(actor=here.finance, contract_id=contract.pk).status == "active"
    assert terms_on(contract, day("2026-06-24")).conditions.end_date == END
    assert terms_on(contract, day("2026-06-25")).conditions.end_date == day("2027-01-11")
    (suspension,) = suspensions(contract)
    assert (suspension.start, suspension.end, suspension.billed) == (
        day("2026-06-15"),
        day("2026-06-25"),
        False,
    )


def test_con_17_without_an_extension_the_end_stays_and_billing_may_run_on(here: Place) -> None:
    contract = here.active()
    suspend(here, contract, billing_continues=True)
    with at("2026-06-25"):
        contract_resume(actor=here.finance, contract_id=contract.pk)
    assert terms_on(contract, day("2026-12-01")).conditions.end_date == END
    assert [span.is_billed for span in supply_spans(contract)] == [True, True, True]


def test_con_17_a_suspension_may_begin_later_but_not_in_the_past(here: Place) -> None:
    contract = here.active()
    with pytest.raises(Invalid) as refusal:
        suspend(here, contract, on=day("2026-06-14"))
    assert refusal.value.code == "day_in_the_past"
    with pytest.raises(Invalid):
        suspend(here, contract, reason=" ")
    assert suspend(here, contract, on=day("2026-07-01")).status == "active"
    with pytest.raises(Conflict) as conflict:
        suspend(here, contract, on=day("2026-06-20"))
    assert conflict.value.code == "later_event"
    with at("2026-07-01"):
        assert refresh_statuses().done == 1
    assert Contract.objects.get().status == "suspended"
    with at("2026-07-02"), pytest.raises(Conflict) as conflict:
        suspend(here, contract)
    assert conflict.value.code == "contract_status"


def test_con_15_for_convenience_only_with_the_clause(here: Place) -> None:
    contract = here.active()
    with pytest.raises(Conflict) as refusal:
        contract_terminate(actor=here.finance, contract_id=contract.pk, reason="Cheaper elsewhere")
    assert refusal.value.code == "no_convenience_clause"
    with pytest.raises(Forbidden):
        contract_terminate(actor=here.staff, contract_id=contract.pk, reason="Cheaper elsewhere")
    assert not ContractEvent.objects.filter(kind="terminated").exists()


def test_con_15_effective_is_receipt_plus_notice_and_it_stays_active_until_then(here: Place) -> None:
    """Received on 10 June with 60 days' notice: effective on 9 August."""
    contract = here.active(**CONVENIENCE)
    left = contract_terminate(
        actor=here.finance, contract_id=contract.pk, reason="Cheaper elsewhere", received_on=day("2026-06-10")
    )
    assert left.status == "active"
    assert [status_on(left, day(on)) for on in ("2026-08-08", "2026-08-09")] == ["active", "terminated"]
    assert supply_spans(left)[-1].end == day("2026-08-09")
    assert OutboxEvent.objects.filter(topic="contract.termination_recorded").count() == 1
    with at("2026-08-09"):
        assert refresh_statuses().done == 1
        assert Contract.objects.get().status == "terminated"
    with pytest.raises(Conflict):
        contract_terminate(actor=here.finance, contract_id=contract.pk, reason="Again")


def test_con_15_not_before_the_minimum_term(here: Place) -> None:
    contract = here.active(**CONVENIENCE, minimum_term_end=day("2026-10-01"))
    outcome = termination_preview(contract, day("2026-06-15"))
    assert (outcome.effective_on, outcome.fee) == (day("2026-10-01"), Decimal(0))
    with pytest.raises(Conflict) as refusal:
        termination_preview(here.active(**CONVENIENCE, minimum_term_end=END), day("2026-06-15"))
    assert refusal.value.code == "ends_before"


def test_con_15_the_fee_goes_by_the_schedule(here: Place) -> None:
    """Effective on 14 August: 140 of 365 days still run, 50 % of 12 000 x 140/365 = 2 301.37."""
    fees = [
        {"from_month": 0, "amount": "5000.00"},
        {"from_month": 6, "percent": "50"},
        {"from_month": 9, "amount": "0"},
    ]
    contract = here.active(**CONVENIENCE, termination_fees=fees)
    outcome = termination_preview(contract, day("2026-06-15"))
    assert (outcome.effective_on, outcome.fee) == (day("2026-08-14"), Decimal("2301.37"))
    early = here.active(convenience_allowed=True, convenience_notice_days=0, termination_fees=fees)
    assert termination_preview(early, day("2026-06-15")).fee == Decimal(5000)
    contract_terminate(actor=here.finance, contract_id=contract.pk, reason="Over")
    event = ContractEvent.objects.get(contract=contract, kind="terminated")
    assert (event.data["ground"], event.data["fee"]) == ("convenience", "2301.37")


def breach(here: Place, contract: Contract, **fields: Any) -> ContractBreach:
    return breach_notify(
        actor=here.finance,
        contract_id=contract.pk,
        breaching_side="customer",
        description="Did not pay",
        **fields,
    )


def test_con_15_for_cause_only_after_the_cure_days_and_without_a_fee(here: Place) -> None:
    """Notified on 15 June with 30 days to cure: 15 July is the last of them."""
    contract = here.active(termination_fees=[{"from_month": 0, "amount": "5000"}])
    noticed = breach(here, contract)
    with at("2026-07-15"), pytest.raises(Conflict) as refusal:
        contract_terminate_for_cause(actor=here.finance, breach_id=noticed.pk, reason="Not cured")
    assert refusal.value.extra == {"cure_until": "2026-07-16"}
    with at("2026-07-16"):
        ended = contract_terminate_for_cause(actor=here.finance, breach_id=noticed.pk, reason="Not cured")
    assert ended.status == "terminated"
    assert ContractEvent.objects.get(kind="terminated").data["fee"] == "0.00"
    assert ContractBreach.objects.get().status == "terminated"


def test_con_15_a_cured_breach_is_closed(here: Place) -> None:
    contract = here.active()
    noticed = breach(here, contract)
    with at("2026-07-20"):
        breach_cure(actor=here.finance, breach_id=noticed.pk, cured_on=day("2026-07-01"))
        with pytest.raises(Conflict) as refusal:
            contract_terminate_for_cause(actor=here.finance, breach_id=noticed.pk, reason="Too late")
    assert refusal.value.code == "breach_closed"
    assert Contract.objects.get().status == "active"


def test_con_15_a_cause_overtakes_a_termination_that_is_to_come(here: Place) -> None:
    contract = here.active(**CONVENIENCE)
    noticed = breach(here, contract, received_on=day("2026-05-01"))
    contract_terminate(actor=here.finance, contract_id=contract.pk, reason="Leaving")
    contract_terminate_for_cause(actor=here.finance, breach_id=noticed.pk, reason="Not cured")
    assert status_on(contract, day("2026-06-15")) == "terminated"
    assert status_on(contract, day("2026-06-14")) == "active"


def test_the_day_is_that_of_the_contract_zone(here: Place) -> None:
    """At noon in UTC it is the 16th in Kiritimati."""
    contract = here.active(time_zone="Pacific/Kiritimati")
    suspend(here, contract)
    assert ContractEvent.objects.get(kind="suspended").effective_on == datetime.date(2026, 6, 16)
