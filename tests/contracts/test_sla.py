"""Service levels: measured, judged and credited once (CON-17, CON-20).

January 2026 costs 1 000.00; availability of 99.9 % is promised: below it 5 % are credited, below 99 % 10 %.
"""

import datetime
from decimal import Decimal
from typing import Any

import pytest
import time_machine

from contracts.models import BillableFee, Contract, ServiceCredit, SlaMeasurement
from contracts.selectors.compliance import sla_compliance
from contracts.services.billing import fees_prepare
from contracts.services.sla import (
    contract_close_sla,
    measurement_correct,
    measurement_record,
    measurements_import,
    service_credit_claim,
)
from contracts.services.suspension import contract_resume, contract_suspend
from core.access import system_actor
from core.errors import Conflict, Forbidden, Invalid, NotFound
from core.models import OutboxEvent
from entities.models import Role
from tests.contracts.builders import PLATFORM, UPTIME, Place, day
from tests.entities import factories

CAPPED = {**UPTIME, "credit_cap_percent": "7"}
CLAIMED = {**UPTIME, "claim_within_days": 30}


def noon(text: str) -> Any:
    return time_machine.travel(f"{text}T12:00:00Z", tick=False)


def moment(text: str) -> datetime.datetime:
    return datetime.datetime.fromisoformat(text).replace(tzinfo=datetime.UTC)


def promised(here: Place, *levels: dict[str, Any], **fields: Any) -> Contract:
    return here.active(sla_terms=levels or [UPTIME], **fields)


def measure(
    here: Place, contract: Contract, start: str, end: str, value: str, **fields: Any
) -> SlaMeasurement:
    values: dict[str, Any] = {
        "sla_code": "uptime",
        "source": "monitor",
        "external_id": f"{start}/{end}",
        **fields,
    }
    return measurement_record(
        actor=here.staff,
        contract_id=contract.pk,
        measured_from=moment(start),
        measured_to=moment(end),
        value=Decimal(value),
        **values,
    )


def credits(contract: Contract) -> list[tuple[str, str, str, str]]:
    """Level, period, amount and status."""
    rows = ServiceCredit.objects.filter(contract=contract).order_by("period_start", "sla_code")
    return [(row.sla_code, str(row.period_start), f"{row.amount:.2f}", row.status) for row in rows]


@pytest.mark.parametrize(
    ("value", "met", "percent", "amount"),
    [("99.95", True, 0, 0), ("99.9", True, 0, 0), ("99.5", False, 5, 50), ("98", False, 10, 100)],
)
def test_con_20_the_worst_tier_that_is_breached_is_credited(
    here: Place, value: str, met: bool, percent: int, amount: int
) -> None:
    contract = promised(here)
    measure(here, contract, "2026-01-01", "2026-02-01", value)
    january = sla_compliance(actor=here.staff, contract_id=contract.pk, until=day("2026-02-01"))[0]
    assert january.is_met is met
    assert [january.credit_percent, january.amount] == [percent, amount]
    assert [january.measured, january.covered_percent, january.fee_amount] == [Decimal(value), 100, 1000]
    assert (january.credit.amount if january.credit else 0) == amount
    assert ServiceCredit.objects.count() == (0 if met else 1)


def test_con_20_the_cap_is_a_share_of_the_fee_of_that_period(here: Place) -> None:
    """10 % of 1 000.00 are capped at 7 %; the tier's line alone is the basis; in February, amended to 2 000.00, 140.00."""
    extra = {"code": "extra", "name": "Extra", "price": "500.00"}
    contract = promised(here, {**CAPPED, "fee_line": "platform"}, prices=[PLATFORM, extra])
    here.amend(contract, "2026-02-01", prices={"set": [{**PLATFORM, "price": "2000"}]})
    measure(here, contract, "2026-01-01", "2026-02-01", "98")
    measure(here, contract, "2026-02-01", "2026-03-01", "98")
    assert credits(contract) == [
        ("uptime", "2026-01-01", "70.00", "due"),
        ("uptime", "2026-02-01", "140.00", "due"),
    ]


def test_con_20_two_levels_together_stay_below_the_cap(here: Place) -> None:
    """Each would credit 100.00 of 1 000.00; together at most 10 %."""
    response = {
        "code": "response",
        "metric": "Response time",
        "unit": "h",
        "target": "4",
        "direction": "at_most",
        "tiers": [{"threshold": "4", "credit_percent": "10"}],
        "credit_cap_percent": "10",
    }
    contract = promised(here, UPTIME, response)
    measure(here, contract, "2026-01-01", "2026-02-01", "99.5")
    measure(here, contract, "2026-01-01", "2026-02-01", "6", sla_code="response")
    assert credits(contract) == [
        ("response", "2026-01-01", "100.00", "due"),
        ("uptime", "2026-01-01", "0.00", "due"),
    ]


def test_con_20_measurements_count_by_their_time(here: Place) -> None:
    """30 of 31 days at 100 %, one at 90 %: 99.677419 %."""
    contract = promised(here)
    measure(here, contract, "2026-01-01", "2026-01-31", "100")
    assert credits(contract) == []
    measure(here, contract, "2026-01-31", "2026-02-01", "90")
    (january, *_) = sla_compliance(actor=here.staff, contract_id=contract.pk, sla_code="uptime")
    assert january.measured == Decimal("99.677419")
    assert credits(contract) == [("uptime", "2026-01-01", "50.00", "due")]


def test_con_17_the_clock_of_a_level_stands_still_while_suspended(here: Place) -> None:
    """Down from 20 June on, suspended on that day: of June 19 days count, and they were kept."""
    contract = promised(here)
    contract_suspend(
        actor=here.finance,
        contract_id=contract.pk,
        reason="Not paid",
        billing_continues=True,
        on=day("2026-06-20"),
    )
    with noon("2026-06-30"):
        contract_resume(actor=here.finance, contract_id=contract.pk, on=day("2026-07-01"))
    with noon("2026-07-02"):
        measure(here, contract, "2026-06-01", "2026-06-20", "99.95")
        measure(here, contract, "2026-06-20", "2026-07-01", "0")
        june = sla_compliance(actor=here.staff, contract_id=contract.pk)[-1]
    assert june.is_met
    assert [june.measured, june.covered_percent] == [Decimal("99.95"), 100]
    assert credits(contract) == []


def test_con_20_applied_to_the_next_invoice_once(here: Place) -> None:
    contract = promised(here)
    measure(here, contract, "2026-01-01", "2026-02-01", "99.5")
    fees_prepare(contract_id=contract.pk, until=day("2026-02-01"))
    fees_prepare(contract_id=contract.pk, until=day("2026-03-01"))
    assert [fee.amount for fee in BillableFee.objects.filter(kind="service_credit")] == [Decimal("-50.00")]
    assert ServiceCredit.objects.get().fee is not None
    correction = measurement_correct(
        actor=here.staff, measurement_id=SlaMeasurement.objects.get().pk, value=Decimal(98)
    )
    assert correction.replaces is not None
    assert credits(contract) == [("uptime", "2026-01-01", "50.00", "due")]


def test_con_20_a_correction_counts_until_the_credit_is_billed(here: Place) -> None:
    contract = promised(here)
    first = measure(here, contract, "2026-01-01", "2026-02-01", "99.5")
    second = measurement_correct(actor=here.staff, measurement_id=first.pk, value=Decimal(98))
    assert credits(contract) == [("uptime", "2026-01-01", "100.00", "due")]
    with pytest.raises(Conflict) as refusal:
        measurement_correct(actor=here.staff, measurement_id=first.pk, value=Decimal(97))
    assert refusal.value.code == "measurement_replaced"
    measurement_correct(actor=here.staff, measurement_id=second.pk, value=Decimal(100))
    assert credits(contract) == [("uptime", "2026-01-01", "0.00", "due")]
    fees_prepare(contract_id=contract.pk, until=day("2026-03-01"))
    assert not BillableFee.objects.filter(kind="service_credit").exists()


def test_con_20_a_credit_is_claimed_within_the_days_agreed_or_lapses(here: Place) -> None:
    """30 days after June: 30 July is the last. What counts is when the claim was received."""
    contract = promised(here, CLAIMED)
    with noon("2026-07-03"):
        measure(here, contract, "2026-06-01", "2026-07-01", "99.5")
    (credit,) = ServiceCredit.objects.all()
    assert (credit.status, str(credit.claim_by)) == ("claimable", "2026-07-30")
    fees_prepare(contract_id=contract.pk, until=day("2026-07-28"))
    assert not BillableFee.objects.filter(kind="service_credit").exists()
    run: dict[str, Any] = {"contract_id": contract.pk, "actor": system_actor(), "since": day("2026-01-01")}
    with noon("2026-07-30"):
        assert contract_close_sla(**run) == 0
    with noon("2026-07-31"):
        assert [contract_close_sla(**run), contract_close_sla(**run)] == [1, 0]
        assert ServiceCredit.objects.get().status == "lapsed"
        with pytest.raises(Conflict) as refusal:
            service_credit_claim(actor=here.staff, credit_id=credit.pk)
        assert (refusal.value.code, refusal.value.extra) == ("claim_too_late", {"claim_by": "2026-07-30"})
        with pytest.raises(NotFound):
            service_credit_claim(actor=here.outsider, credit_id=credit.pk)
        received = moment("2026-07-30T23:59:59")
        claimed = service_credit_claim(actor=here.staff, credit_id=credit.pk, received_at=received)
        assert (claimed.status, claimed.claimed_at) == ("due", received)
        assert service_credit_claim(actor=here.staff, credit_id=credit.pk).claimed_at == received
    fees_prepare(contract_id=contract.pk, until=day("2026-08-31"))
    assert [fee.amount for fee in BillableFee.objects.filter(kind="service_credit")] == [Decimal("-50.00")]


def test_con_20_a_period_that_runs_is_worked_out_by_the_job_once_it_is_over(here: Place) -> None:
    contract = promised(here)
    measure(here, contract, "2026-06-01", "2026-06-15", "98")
    assert credits(contract) == []
    run: dict[str, Any] = {"contract_id": contract.pk, "actor": system_actor(), "since": day("2026-01-01")}
    with noon("2026-07-01"):
        assert contract_close_sla(**run, on=day("2026-06-30")) == 0
        assert [contract_close_sla(**run), contract_close_sla(**run)] == [1, 0]
    assert credits(contract) == [("uptime", "2026-06-01", "100.00", "due")]
    assert OutboxEvent.objects.filter(topic="contract.service_credit").count() == 1


def test_con_20_the_same_measurement_is_taken_once_and_a_contradiction_is_refused(here: Place) -> None:
    contract = promised(here)
    first = measure(here, contract, "2026-01-01", "2026-02-01", "99.5", external_id="jan")
    assert measure(here, contract, "2026-01-01", "2026-02-01", "99.5", external_id="jan") == first
    wrong = {
        "measurement_differs": ("2026-01-01", "2026-02-01", "99", {"external_id": "jan"}),
        "measurements_overlap": ("2026-01-15", "2026-02-15", "99", {}),
    }
    for code, (start, end, value, fields) in wrong.items():
        with pytest.raises(Conflict) as conflict:
            measure(here, contract, start, end, value, **fields)
        assert conflict.value.code == code
    refused = {
        "unknown_level": ("2026-03-01", "2026-04-01", {"sla_code": "latency"}),
        "measured_in_the_future": ("2026-06-01", "2026-07-01", {}),
        "invalid_window": ("2026-03-02", "2026-03-01", {}),
    }
    for code, (start, end, fields) in refused.items():
        with pytest.raises(Invalid) as invalid:
            measure(here, contract, start, end, "99", **fields)
        assert invalid.value.code == code
    with pytest.raises(NotFound):
        measurement_record(
            actor=here.outsider,
            contract_id=contract.pk,
            sla_code="uptime",
            measured_from=moment("2026-03-01"),
            measured_to=moment("2026-04-01"),
            value=Decimal(99),
            source="monitor",
            external_id="x",
        )
    with pytest.raises(Conflict):
        measure(here, here.draft(sla_terms=[UPTIME]), "2026-01-01", "2026-02-01", "99")
    assert SlaMeasurement.objects.count() == 1


def test_con_20_a_file_is_taken_line_by_line_and_once(here: Place) -> None:
    contract = promised(here)
    lines = [
        "contract,sla_code,measured_from,measured_to,value,external_id",
        f"{contract.number},uptime,2026-01-01T00:00:00Z,2026-02-01T00:00:00Z,99.5,jan",
        f"{contract.pk},uptime,2026-02-01T00:00:00Z,2026-03-01T00:00:00Z,99.95,feb",
        f"{contract.pk},latency,2026-03-01T00:00:00Z,2026-04-01T00:00:00Z,99,mar",
        f"{contract.pk},uptime,yesterday,2026-04-01T00:00:00Z,99,mar",
        f"{contract.pk},uptime,2026-03-01T00:00:00Z,2026-04-01T00:00:00Z,good,mar",
        f"{contract.pk},uptime,2026-03-01T00:00:00,2026-04-01T00:00:00,99,mar",
        "CTR-999999,uptime,2026-03-01T00:00:00Z,2026-04-01T00:00:00Z,99,mar",
    ]
    taken = measurements_import(actor=here.staff, lines=lines)
    assert (taken.added, taken.unchanged, taken.failed) == (2, 0, 5)
    assert [(problem.pointer, problem.code) for problem in taken.problems] == [
        ("/lines/4", "unknown_level"),
        ("/lines/5", "invalid_moment"),
        ("/lines/6", "invalid_amount"),
        ("/lines/7", "zone_missing"),
        ("/lines/8", "not_found"),
    ]
    assert credits(contract) == [("uptime", "2026-01-01", "50.00", "due")]
    again = measurements_import(actor=here.staff, lines=lines)
    assert (again.added, again.unchanged, again.failed) == (0, 2, 5)
    assert SlaMeasurement.objects.count() == 2
    with pytest.raises(Invalid) as refusal:
        measurements_import(actor=here.staff, lines=["contract;value", "1;2"])
    assert refusal.value.code == "invalid_measurements"
    outside = measurements_import(actor=here.outsider, lines=lines[:2])
    assert [problem.code for problem in outside.problems] == ["not_found"]
    with pytest.raises(Forbidden):
        measurements_import(actor=factories.member(here.root, Role.AUDITOR), lines=lines)
