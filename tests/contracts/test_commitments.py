"""The budget that contracts commit (CON-16, CON-19)."""

from decimal import Decimal

import pytest
import time_machine

from budgets.models import Budget
from budgets.services.budget import budget_create
from contracts.models import BillableFee, Contract, ContractCommitment
from contracts.services.billing import fees_prepare
from contracts.services.commitments import (
    budget_outlook,
    commitments_refresh,
    fees_freed,
    fees_invoiced,
)
from contracts.services.renewals import contract_lock_terms, price_index_record, term_settle
from contracts.services.termination import contract_terminate
from core.errors import Conflict
from core.models import OutboxEvent
from tests.contracts.builders import PLATFORM, Place, day

D = Decimal


def budget(here: Place, amount: str = "20000.00", year: int = 2026) -> Budget:
    return budget_create(
        actor=here.finance,
        entity=here.entity,
        department=None,
        name="Software",
        allocated_amount=amount,
        period_start=day(f"{year}-01-01"),
        period_end=day(f"{year + 1}-01-01"),
    )


def figures(found: Budget) -> tuple[Decimal, Decimal]:
    """Committed and spent."""
    current = Budget.objects.get(pk=found.pk)
    return current.committed_amount, current.spent_amount


def invoiced(contract: Contract, until: str, invoice_id: int = 1) -> list[BillableFee]:
    fees = fees_prepare(contract_id=contract.pk, until=day(until))
    fees_invoiced(fees=fees, invoice_id=invoice_id, reference="INV-1")
    return fees


def test_con_19_activation_commits_the_current_period_and_forecasts_the_others(here: Place) -> None:
    funded = budget(here)
    contract = here.active(budget=funded, end_date=day("2028-01-01"))
    assert figures(funded) == (12000, 0)
    outlook = budget_outlook(actor=here.staff, contract_id=contract.pk, years=2)
    assert [(each.start.year, each.amount, each.budget_id) for each in outlook] == [
        (2026, 12000, funded.pk),
        (2027, 12000, None),
    ]
    # A budget that opens is committed by the job, once.
    following = budget(here, year=2027)
    assert (commitments_refresh(), commitments_refresh()) == (1, 0)
    assert figures(following) == (12000, 0)


def test_con_19_a_budget_without_the_money_refuses_the_activation(here: Place) -> None:
    funded = budget(here, "11999.99")
    with pytest.raises(Conflict):
        here.active(budget=funded)
    assert (figures(funded), ContractCommitment.objects.count()) == ((0, 0), 0)
    assert Contract.objects.get().status == "awaiting_signature"


def test_con_19_invoiced_fees_use_the_commitment_and_a_void_invoice_gives_it_back(here: Place) -> None:
    funded = budget(here)
    contract = here.active(budget=funded)
    fees = invoiced(contract, "2026-02-28")
    assert figures(funded) == (10000, 2000)
    fees_invoiced(fees=fees, invoice_id=1, reference="INV-1")
    assert figures(funded) == (10000, 2000)
    fees_freed(fees=fees, invoice_id=1, reference="INV-1")
    assert figures(funded) == (12000, 0)
    fees_invoiced(fees=fees, invoice_id=2, reference="INV-2")
    assert figures(funded) == (10000, 2000)


def test_con_19_an_amendment_changes_what_is_committed(here: Place) -> None:
    funded = budget(here)
    contract = here.active(budget=funded)
    invoiced(contract, "2026-01-31")
    here.amend(contract, "2026-07-01", prices={"set": [{**PLATFORM, "price": "1500.00"}]})
    # Eleven months are left: five at 1000, six at 1500.
    assert figures(funded) == (14000, 1000)


def test_con_16_termination_releases_what_is_committed(here: Place) -> None:
    funded = budget(here)
    contract = here.active(budget=funded, convenience_allowed=True, convenience_notice_days=16)
    invoiced(contract, "2026-05-31")
    assert figures(funded) == (7000, 5000)
    contract_terminate(actor=here.finance, contract_id=contract.pk, reason="Unused")
    # June is billed until the end of the month; nothing afterwards.
    assert figures(funded) == (1000, 5000)
    invoiced(contract, "2026-12-31")
    assert figures(funded) == (0, 6000)


def test_con_16_reinstatement_commits_again(here: Place) -> None:
    funded = budget(here)
    contract = here.active(budget=funded, convenience_allowed=True, convenience_notice_days=0)
    invoiced(contract, "2026-06-01")
    contract_terminate(actor=here.finance, contract_id=contract.pk, reason="Unused")
    assert figures(funded) == (0, 6000)
    here.amend(contract, "2026-06-15", reinstate=True)
    # June was credited and is billed again, by adjustments that no invoice holds yet; then July to December.
    assert figures(funded) == (6000, 6000)


def test_con_19_credits_lower_what_is_spent(here: Place) -> None:
    funded = budget(here)
    contract = here.active(budget=funded, convenience_allowed=True, convenience_notice_days=0)
    invoiced(contract, "2026-06-30")
    contract_terminate(actor=here.finance, contract_id=contract.pk, reason="Unused")
    credit = BillableFee.objects.get(kind="termination_credit")
    fees_invoiced(fees=[credit], invoice_id=2, reference="INV-2")
    # 14 of 30 days of June are kept.
    assert figures(funded) == (0, D("5466.67"))


def test_con_19_what_a_budget_refuses_is_told_and_holds_no_invoice_up(here: Place) -> None:
    funded = budget(here)
    contract = here.active(budget=funded)
    # 90 days after its period the commitment has expired (BUD-17).
    with time_machine.travel("2027-06-15T12:00:00Z", tick=False):
        assert len(invoiced(contract, "2026-01-31")) == 1
    (told,) = OutboxEvent.objects.filter(topic="contract.budget_refused")
    assert told.payload["code"] == "commitment_expired"
    assert told.payload["contract_id"] == contract.pk


def test_con_12_con_14_a_locked_term_is_committed_and_its_settled_index_too(here: Place) -> None:
    """What 2027 promises rises by last year's 1 % when its term is locked, by the published 2 % when that is settled."""
    this_year, next_year = budget(here), budget(here, year=2027)
    index = {"actor": here.finance, "index_name": "CPI"}
    price_index_record(**index, day=day("2025-12-01"), percent=D(1))
    contract = here.active(budget=this_year, renewal_type="auto", renewal_term_months=12, uplift_index="CPI")
    assert (figures(this_year), figures(next_year)) == ((12000, 0), (12000, 0))
    with time_machine.travel("2026-11-03T12:00:00Z", tick=False):
        (term,) = contract_lock_terms(contract_id=contract.pk)
    assert figures(next_year) == (12120, 0)
    with time_machine.travel("2027-01-20T12:00:00Z", tick=False):
        price_index_record(**index, day=day("2027-01-01"), percent=D(2))
        assert term_settle(renewal_id=term.pk)
    assert (figures(this_year), figures(next_year)) == ((12000, 0), (12240, 0))
