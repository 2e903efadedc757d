"""Two runs at once bill each contract fee once (CON-08, INV-03)."""

from datetime import timedelta
from decimal import Decimal

import pytest

from contracts.models import BillableFee
from contracts.services.billing import fees_prepare
from core import clock
from core.clock import month_after
from entities.models import Entity
from invoicing.models import BilledItem, Invoice
from invoicing.services.consolidation import consolidated_invoice_draft
from tests.concurrency.test_budgets import together
from tests.contracts.builders import PLATFORM, place

pytestmark = pytest.mark.concurrency


def test_con_08_two_runs_at_once_bill_each_fee_once() -> None:
    here = place()
    first = clock.today().replace(day=1)
    here.active(start_date=first, end_date=None, prices=[PLATFORM, {**PLATFORM, "code": "second"}])

    def run(payer: Entity) -> str:
        consolidated_invoice_draft(
            actor=here.finance, payer=payer, period_start=first, period_end=month_after(first)
        )
        return "made"

    # The group's invoice and the entity's own want the same fees: one has them, the other finds nothing.
    outcomes = together(lambda: run(here.root), lambda: run(here.entity))
    assert sorted(outcomes) == ["made", "nothing_to_invoice"]
    assert Invoice.objects.get().total == Decimal("2000.00")
    assert BillableFee.objects.count() == BilledItem.objects.count() == 2


def test_con_08_two_preparations_at_once_write_each_fee_once() -> None:
    here = place()
    first = clock.today().replace(day=1)
    contract = here.active(start_date=first, end_date=None)
    until = month_after(first, 3) - timedelta(days=1)

    def prepare() -> int:
        return len(fees_prepare(contract_id=contract.pk, until=until))

    assert sorted(together(prepare, prepare)) == [0, 3]
    assert BillableFee.objects.count() == 3
