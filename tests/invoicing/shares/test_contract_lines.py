"""Contract fees at issue: the department's budget, or the contract's, and usage at its price (CON-19, USE-05)."""

from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from budgets.models import Budget
from budgets.services.budget import budget_create
from entities.models import Department
from invoicing.models import Invoice, InvoiceLineShare
from invoicing.services.invoice import invoice_issue, invoice_void
from invoicing.services.line_shares import LineSplit, document_shares_apply, line_allocate
from invoicing.services.usage_charging import UsageCharged, usage_budgets_charge
from tests.budgets.builders import assert_proven, figures, refused
from tests.contracts.builders import Place, place
from tests.invoicing.invoices.test_contract_fees import CALLS, PLATFORM, Used, at, draft

D = Decimal


@pytest.fixture
def here(db: None) -> Iterator[Place]:
    with at("2026-01-01"):
        yield place()
    assert_proven()


def budget(here: Place, department: Department | None, **fields: Any) -> Budget:
    values = {"entity": None if department else here.entity, "department": department, **fields}
    return budget_create(
        actor=here.finance,
        name="Platform",
        period_start=date(2026, 1, 1),
        period_end=date(2027, 1, 1),
        allocated_amount="50000",
        **values,
    )


def issued(here: Place) -> Invoice:
    with at("2026-02-01"):
        invoice = invoice_issue(actor=here.finance, invoice=draft(here, "2026-01"))
        document_shares_apply(invoice_id=invoice.pk)
    return invoice


def test_a_fee_of_a_contract_without_a_budget_is_its_department_s(here: Place) -> None:
    used = Used(here)
    sales = budget(here, used.sales)
    here.active(prices=[{**PLATFORM, "department_id": used.sales.pk}])
    invoice = issued(here)
    assert figures(sales)[2] == D("1000.00")
    with at("2026-02-02"):
        invoice_void(actor=here.finance, invoice=invoice, reason="Mistake")
        document_shares_apply(invoice_id=invoice.pk)
    assert figures(sales)[2] == 0


def test_con_19_a_fee_of_a_contract_with_a_budget_is_borne_once(here: Place) -> None:
    used = Used(here)
    sales, own = budget(here, used.sales), budget(here, None, category="Contracts")
    here.active(
        budget=own, prices=[{**PLATFORM, "department_id": used.sales.pk}, {**PLATFORM, "code": "second"}]
    )
    invoice = issued(here)
    assert (figures(own)[2], figures(sales)[2]) == (D("2000.00"), 0)
    assert not InvoiceLineShare.objects.exists()
    free = invoice.lines.get(department=None)
    with refused("borne_by_contract"):
        line_allocate(
            actor=here.finance, line_id=free.pk, splits=[LineSplit(department=used.sales, percent=D(100))]
        )


def test_use_05_usage_with_a_price_costs_its_departments_the_price(here: Place) -> None:
    used = Used(here)
    sales = budget(here, used.sales)
    here.active(prices=[CALLS])
    used.use("90", "2026-01-05", used.sales)
    used.use("60", "2026-01-31", used.research)
    used.use("5", "2026-01-31", used.sales, service_name="Storage", billed_cost=D("3.21"))

    def charge_import() -> UsageCharged:
        return usage_budgets_charge(actor=here.finance, import_id=used.usage_import.pk)

    assert charge_import() == UsageCharged(1, 0, 1)
    assert figures(sales)[2] == D("10.21"), "the provider's cost, as long as no invoice says more"
    invoice = issued(here)
    # 36.00 for 90 calls, by the contract, instead of 7.00.
    assert figures(sales)[2] == D("39.21")
    assert charge_import().charged == 0
    with at("2026-02-02"):
        invoice_void(actor=here.finance, invoice=invoice, reason="Mistake")
        document_shares_apply(invoice_id=invoice.pk)
    assert figures(sales)[2] == D("10.21")
