"""Contract fees on consolidated invoices (INV-03 to INV-05, CON-06, CON-08, CON-14, CON-16, CON-17)."""

from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
import time_machine
from rest_framework.test import APIClient

from budgets.models import Budget
from budgets.services.budget import budget_create
from contracts.models import BillableFee, Contract, TermRenewal
from contracts.services.suspension import contract_resume, contract_suspend
from contracts.services.termination import contract_terminate
from core.access import system_actor
from core.api.tokens import token_pair_issue
from core.clock import month_after
from core.errors import Conflict
from entities.models import Department
from invoicing.models import BilledItem, ImportStatus, Invoice, UsageImport, UsageRecord
from invoicing.selectors.invoice import invoice_subtotals, line_items
from invoicing.services.consolidation import (
    NOT_STORED,
    ConsolidatedContent,
    consolidated_invoice_draft,
    consolidation_preview,
)
from invoicing.services.invoice import invoice_discard, invoice_issue, invoice_void
from tests.contracts.builders import Place, day, place
from tests.entities import factories
from tests.invoicing.invoices.builders import rate, usage

D = Decimal
PLATFORM: dict[str, Any] = {"code": "platform", "name": "Platform", "price": "1000.00"}
SUPPORT: dict[str, Any] = {"code": "support", "name": "Support", "price": "900.00", "interval_months": 3}
SEATS: dict[str, Any] = {
    "code": "seats",
    "name": "Seats",
    "pricing": "per_unit",
    "quantity_source": "fixed",
    "quantity": "10",
    "price": "25.00",
    "timing": "arrears",
    "is_fixed_price": True,
}
CALLS: dict[str, Any] = {
    "code": "calls",
    "name": "API calls",
    "pricing": "graduated",
    "quantity_source": "usage",
    "usage_service": "API",
    "tiers": [
        {"up_to": "100", "unit_price": "0.50"},
        {"up_to": None, "unit_price": "0.20"},
    ],
}


def at(text: str) -> Any:
    return time_machine.travel(f"{text}T12:00:00Z", tick=False)


@pytest.fixture
def here(db: None) -> Iterator[Place]:
    with at("2026-01-01"):
        yield place()


def period(month: str) -> dict[str, date]:
    start = day(f"{month}-01")
    return {"period_start": start, "period_end": month_after(start)}


def draft(here: Place, month: str) -> Invoice:
    return consolidated_invoice_draft(actor=here.finance, payer=here.root, **period(month)).invoice


def preview(here: Place, month: str) -> ConsolidatedContent:
    return consolidation_preview(actor=here.finance, payer=here.root, **period(month))


def lines(invoice: Invoice) -> list[tuple[str, str, Decimal]]:
    """Line of the contract, first day of its period, amount."""
    return [
        (line.contract_line, line.period_start.isoformat(), line.amount)
        for line in invoice.lines.order_by("contract_line", "period_start", "amount")
    ]


def issued(here: Place, month: str, on: str) -> Invoice:
    """The month's invoice, made and issued on a day; a second run finds nothing (CON-08)."""
    with at(on):
        invoice = invoice_issue(actor=here.finance, invoice=draft(here, month))
        with pytest.raises(Conflict, match="is on"):
            draft(here, month)
    return invoice


def test_a_year_with_amendment_suspension_indexation_and_termination_to_the_cent(here: Place) -> None:
    """Every invoice of a contract over a year against this table (CON-05 to CON-09, CON-14, CON-16, CON-17).

    Platform 1000.00 a month and support 900.00 a quarter in advance; 10 seats at 25.00 a month in arrears, fixed price.

    Jan  1000.00 + support 900.00 (Jan to Mar) + seats 250.00                                    2150.00
    Feb  1000.00 + 250.00                                                                        1250.00
    Mar  1000.00 + 250.00                                                                        1250.00
    Apr  amendment of 20 Apr: platform 1240.00 from 16 Mar. March was 1000 × 15/31 + 1240 × 16/31
         = 483.87 + 640.00 = 1123.87: + 123.87. April 1240.00, support 900.00, seats 250.00      2513.87
    May  suspended from 11 until before 21 May, without billing: 21 of 31 days.
         Platform 1240 × 21/31 = 840.00, seats 250 × 21/31 = 169.35.
         Support, 91 days from 1 Apr: at the suspension 40 days are kept, 900 × 40/91 = 395.60:
         − 504.40; when supply goes on 81 days, 900 × 81/91 = 801.10: + 405.50                    910.45
    Jun  1240.00 + 250.00                                                                        1490.00
    Jul  renewed, index 4.2 %, cap 3 %: platform 1240 × 1.03 = 1277.20, support 900 × 1.03 = 927.00,
         seats stay 250.00                                                                       2454.20
    Aug  1277.20 + 250.00                                                                        1527.20
    Sep  1277.20 + 250.00                                                                        1527.20
    Oct  issued on 2 Oct, ahead of time: 1277.20 + support 927.00 (Oct to Dec)                   2204.20
    Nov  terminated by notice of 5 Oct, 11 days: from 16 Oct. Platform keeps 1277.20 × 15/31 = 618.00:
         − 659.20. Support, 92 days, keeps 927 × 15/92 = 151.14: − 775.86. Seats 250 × 15/31 = 120.97,
         fee 300.00, and another contract's 2000.00 for November                                  985.91
    Dec  the other contract's 2000.00                                                            2000.00
    """
    with at("2025-12-15"):
        contract = here.active(
            start_date=day("2026-01-01"),
            end_date=day("2026-07-01"),
            renewal_type="auto",
            renewal_term_months=12,
            prices=[PLATFORM, SUPPORT, SEATS],
            convenience_allowed=True,
            convenience_notice_days=11,
            termination_fees=[{"from_month": 6, "amount": "300.00"}],
        )
    table: dict[str, list[tuple[str, str, Decimal]]] = {}
    totals: dict[str, Decimal] = {}

    def bill(month: str, on: str) -> None:
        invoice = issued(here, month, on)
        table[month], totals[month] = lines(invoice), invoice.total

    bill("2026-01", "2026-02-01")
    bill("2026-02", "2026-03-01")
    bill("2026-03", "2026-04-01")
    with at("2026-04-20"):
        here.amend(contract, "2026-03-16", prices={"set": [{**PLATFORM, "price": "1240.00"}]})
    bill("2026-04", "2026-05-01")
    with at("2026-05-11"):
        contract_suspend(
            actor=here.finance, contract_id=contract.pk, reason="Not paid", billing_continues=False
        )
    with at("2026-05-21"):
        contract_resume(actor=here.finance, contract_id=contract.pk)
        TermRenewal.objects.create(
            contract=contract,
            term_number=2,
            term_start=day("2026-07-01"),
            term_end=day("2027-07-01"),
            index_name="CPI",
            index_percent=D("4.2"),
            uplift_percent=D("3"),
            locked_by=here.finance,
        )
    for number in range(5, 10):
        bill(f"2026-{number:02}", f"2026-{number + 1:02}-01")
    bill("2026-10", "2026-10-02")
    with at("2026-10-05"):
        contract_terminate(actor=here.finance, contract_id=contract.pk, reason="Replaced")
    with at("2026-10-20"):
        other = {**PLATFORM, "code": "suite", "price": "2000.00"}
        here.active(title="Suite", start_date=day("2026-11-01"), end_date=None, prices=[other])
    bill("2026-11", "2026-12-01")
    bill("2026-12", "2027-01-01")
    assert table["2026-04"] == [
        ("platform", "2026-03-01", D("123.87")),
        ("platform", "2026-04-01", D("1240.00")),
        ("seats", "2026-04-01", D("250.00")),
        ("support", "2026-04-01", D("900.00")),
    ]
    assert table["2026-05"] == [
        ("platform", "2026-05-01", D("840.00")),
        ("seats", "2026-05-01", D("169.35")),
        ("support", "2026-04-01", D("-504.40")),
        ("support", "2026-04-01", D("405.50")),
    ]
    assert table["2026-07"] == [
        ("platform", "2026-07-01", D("1277.20")),
        ("seats", "2026-07-01", D("250.00")),
        ("support", "2026-07-01", D("927.00")),
    ]
    assert table["2026-10"] == [
        ("platform", "2026-10-01", D("1277.20")),
        ("support", "2026-10-01", D("927.00")),
    ]
    assert table["2026-11"] == [
        ("platform", "2026-10-01", D("-659.20")),
        ("seats", "2026-10-01", D("120.97")),
        ("suite", "2026-11-01", D("2000.00")),
        ("support", "2026-10-01", D("-775.86")),
        ("termination-fee", "2026-10-16", D("300.00")),
    ]
    assert totals == {
        "2026-01": D("2150.00"),
        "2026-02": D("1250.00"),
        "2026-03": D("1250.00"),
        "2026-04": D("2513.87"),
        "2026-05": D("910.45"),
        "2026-06": D("1490.00"),
        "2026-07": D("2454.20"),
        "2026-08": D("1527.20"),
        "2026-09": D("1527.20"),
        "2026-10": D("2204.20"),
        "2026-11": D("985.91"),
        "2026-12": D("2000.00"),
    }
    # Each fee that was ever written is on exactly one invoice.
    billed = BilledItem.objects.filter(released_at__isnull=True).values_list("contract_fee_id", flat=True)
    assert sorted(billed) == sorted(BillableFee.objects.values_list("pk", flat=True))


def test_inv_03_the_preview_shows_what_the_run_bills_and_writes_nothing(here: Place) -> None:
    here.active(prices=[PLATFORM, SEATS])
    with at("2026-02-01"):
        shown = preview(here, "2026-01")
        assert not BillableFee.objects.exists()
        invoice = draft(here, "2026-01")
        again = preview(here, "2026-01")
    names = [name for name in shown.lines[0].__dataclass_fields__ if name not in NOT_STORED]
    stored = [tuple(getattr(line, name) for name in names) for line in invoice.lines.order_by("line_number")]
    for content in (shown, again):
        assert [tuple(getattr(line, name) for name in names) for line in content.lines] == stored
    assert invoice.total == shown.total == 1250
    line = invoice.lines.get(contract_line="seats")
    assert (line.kind, line.item_count, line.entity_name) == ("fee", 1, "Contoso Retail")
    assert [fee.parts[0]["explanation"] for fee in line_items(line)] == [
        "2026-01-01 to 2026-01-31: 10 × 25.00 = 250.00 USD."
    ]


def test_inv_03_discarding_or_voiding_frees_the_fees_and_a_refresh_changes_nothing(here: Place) -> None:
    here.active()
    first = draft(here, "2026-01")
    assert draft(here, "2026-01").pk == first.pk
    invoice_discard(actor=here.finance, invoice=first)
    invoice = invoice_issue(actor=here.finance, invoice=draft(here, "2026-01"))
    invoice_void(actor=here.finance, invoice=invoice, reason="Wrong address")
    again = draft(here, "2026-01")
    assert (again.total, BillableFee.objects.count()) == (1000, 1)
    assert BilledItem.objects.filter(released_at__isnull=True).count() == 1


def test_con_08_the_database_bills_a_fee_once(here: Place) -> None:
    here.active()
    held = BilledItem.objects.get(invoice_line__invoice=draft(here, "2026-01"))
    with pytest.raises(Exception, match="contract_fee_billed_once"):
        BilledItem.objects.create(invoice_line=held.invoice_line, contract_fee=held.contract_fee)


def test_fees_that_no_invoice_took_are_on_the_next_one_however_old(here: Place) -> None:
    here.active()
    with at("2026-04-01"):
        assert lines(draft(here, "2026-03")) == [
            ("platform", "2026-01-01", 1000),
            ("platform", "2026-02-01", 1000),
            ("platform", "2026-03-01", 1000),
        ]


def test_credits_wait_until_charges_cover_them(here: Place) -> None:
    contract = here.active(
        prices=[{**PLATFORM, "interval_months": 12, "price": "3650.00"}],
        convenience_allowed=True,
        convenience_notice_days=0,
    )
    issued(here, "2026-01", "2026-01-01")
    with at("2026-01-11"):
        contract_terminate(actor=here.finance, contract_id=contract.pk, reason="Unused")
        with pytest.raises(Conflict, match="never comes to less than zero") as caught:
            draft(here, "2026-02")
        assert caught.value.code == "nothing_to_invoice"
        here.active(title="Small", start_date=day("2026-01-11"), billing_anchor=day("2026-02-01"))
        invoice = draft(here, "2026-02")
    # 3550.00 to be credited, 1000 × 21/31 + 1000 charged: it waits, and people are told.
    assert invoice.total == D("1677.42")
    assert [warning["code"] for warning in invoice.snapshot["warnings"]] == ["credits_waiting"]
    with at("2026-04-01"):
        invoice_issue(actor=here.finance, invoice=invoice)
        assert draft(here, "2026-04").total == D("2000.00")
        with at("2026-06-01"):
            assert draft(here, "2026-05").total == D("1000.00")
            invoice_discard(
                actor=here.finance, invoice=Invoice.objects.drafts().get(period_start=day("2026-05-01"))
            )
            invoice_discard(
                actor=here.finance, invoice=Invoice.objects.drafts().get(period_start=day("2026-04-01"))
            )
            # March to June: 4000.00 of charges cover it at last.
            assert draft(here, "2026-06").total == D("450.00")


def test_inv_04_a_fee_in_another_currency_keeps_its_amount_and_rate(here: Place) -> None:
    rate("EUR", "USD", "1.0900", on=date(2025, 12, 31))
    rate("EUR", "USD", "1.1000", on=date(2026, 1, 30))
    here.active(currency="EUR", prices=[{**PLATFORM, "price": "99.99"}])
    (line,) = draft(here, "2026-01").lines.all()
    assert (line.original_amount, line.original_currency, line.amount) == (D("99.99"), "EUR", D("109.99"))
    assert (line.rate, line.rate_date) == (D("1.1"), date(2026, 1, 30))


def test_inv_03_fees_have_their_place_among_entities_and_departments(here: Place) -> None:
    sales = factories.department(here.entity, "100", "Sales", gl_code="6000")
    here.active(prices=[{**PLATFORM, "department_id": sales.pk}, {**SUPPORT, "gl_code": "6400"}])
    invoice = draft(here, "2026-01")
    assert [
        (s.entity_name, s.department_code, s.amount) for s in invoice_subtotals(invoice, by_department=True)
    ] == [
        ("Contoso Retail", "100", 1000),
        ("Contoso Retail", "", 900),
    ]
    assert list(invoice.lines.order_by("line_number").values_list("gl_code", flat=True)) == ["6000", "6400"]


class Used:
    """Usage of the place's entity."""

    def __init__(self, here: Place) -> None:
        self.here = here
        self.sales = factories.department(here.entity, "100", "Sales")
        self.research = factories.department(here.entity, "200", "Research")
        self.usage_import = UsageImport(
            entity=here.root, root=here.root, file_name="usage.csv", file_sha256="0" * 64,
            created_by=system_actor(), status=ImportStatus.COMPLETED,
        )  # fmt: skip
        self.usage_import.save()

    def use(
        self, quantity: str | None, on: str, department: Department | None = None, **fields: Any
    ) -> UsageRecord:
        row = {
            "billed_cost": D("7.00"),
            "entity_id": self.here.entity.pk,
            "department": department,
            "day": day(on),
            "service_name": "API",
            "pricing_quantity": None if quantity is None else D(quantity),
            **fields,
        }
        return usage(self.usage_import, [row])[0]


def test_inv_05_usage_with_a_price_is_billed_at_it_and_other_usage_at_cost(here: Place) -> None:
    used = Used(here)
    here.active(prices=[CALLS])
    used.use("90", "2026-01-05", used.sales)
    used.use("60", "2026-01-31", used.research)
    used.use("5", "2026-01-31", used.sales, service_name="Storage", billed_cost=D("3.21"))
    used.use(None, "2026-01-31", used.sales, charge_category="Tax", billed_cost=D("1.00"))
    with at("2026-02-01"):
        shown, invoice = preview(here, "2026-01"), draft(here, "2026-01")
    # 100 × 0.50 + 50 × 0.20 = 60.00, of which sales used 90 of 150 and research 60.
    found = [(line.kind, line.department_code, line.item_count, line.amount) for line in invoice.lines.all()]
    assert found == [
        ("fee", "100", 2, D("36.00")),
        ("usage", "100", 1, D("1.00")),
        ("usage", "100", 1, D("3.21")),
        ("fee", "200", 1, D("24.00")),
    ]
    assert [(line.kind, line.department_code, line.item_count, line.amount) for line in shown.lines] == found
    assert BilledItem.objects.count() == shown.item_count == 5
    assert invoice.lines.first().description.endswith(": 90 used")


def test_inv_05_late_usage_goes_on_through_the_tiers_on_the_next_invoice(here: Place) -> None:
    used = Used(here)
    here.active(prices=[CALLS])
    used.use("90", "2026-01-05")
    issued(here, "2026-01", "2026-02-01")
    with at("2026-03-01"):
        used.use("20", "2026-01-06")
        used.use("10", "2026-02-06")
        invoice = draft(here, "2026-02")
    # January is 110 now: 50.00 + 2.00, of which 45.00 were billed.
    assert lines(invoice) == [("calls", "2026-01-01", D("7.00")), ("calls", "2026-02-01", D("5.00"))]
    assert not UsageRecord.objects.unbilled().exists()


def test_inv_05_the_terms_of_each_day_price_the_usage_of_that_day(here: Place) -> None:
    used = Used(here)
    flat = {**CALLS, "pricing": "per_unit", "price": "1.00", "tiers": []}
    contract = here.active(prices=[flat])
    here.amend(contract, "2026-01-16", prices={"set": [{**flat, "price": "2.00"}]})
    used.use("3", "2026-01-15")
    used.use("4", "2026-01-16")
    with at("2026-02-01"):
        assert draft(here, "2026-01").total == 11


def test_inv_05_what_was_billed_at_cost_before_a_contract_is_not_billed_again(here: Place) -> None:
    used = Used(here)
    used.use("90", "2026-01-05")
    issued(here, "2026-01", "2026-02-01")
    with at("2026-02-10"):
        here.active(prices=[CALLS])
        used.use("10", "2026-01-06")
        assert lines(draft(here, "2026-02")) == [("calls", "2026-01-01", D("5.00"))]


def test_inv_05_the_line_that_names_more_has_the_usage(here: Place) -> None:
    used = Used(here)
    any_usage = {
        **CALLS,
        "code": "any",
        "usage_service": "",
        "pricing": "per_unit",
        "price": "9.00",
        "tiers": [],
    }
    here.active(prices=[any_usage, CALLS])
    used.use("1", "2026-01-05")
    used.use("1", "2026-01-05", service_name="Storage")
    with at("2026-02-01"):
        assert lines(draft(here, "2026-01")) == [
            ("any", "2026-01-01", D("9.00")),
            ("calls", "2026-01-01", D("0.50")),
        ]


def test_con_17_use_after_expiry_is_billed_at_the_holdover_rate_only_where_agreed(here: Place) -> None:
    used = Used(here)
    flat = {**CALLS, "pricing": "per_unit", "price": "1.00", "tiers": []}
    ends: dict[str, Any] = {"end_date": day("2026-02-01"), "prices": [flat]}
    here.active(**ends, holdover_allowed=True, holdover_rate_percent=D("150"))
    used.use("10", "2026-01-31")
    used.use("10", "2026-02-01")
    with at("2026-03-01"):
        assert lines(draft(here, "2026-02")) == [
            ("calls", "2026-01-01", D("10.00")),
            ("calls", "2026-02-01", D("15.00")),
        ]
    assert BillableFee.objects.get(period_start=day("2026-02-01")).kind == "holdover"


def test_a_contract_without_usage_prices_leaves_usage_alone(here: Place) -> None:
    used = Used(here)
    contract: Contract = here.active()
    used.use("10", "2026-01-05")
    with at("2026-02-01"):
        assert draft(here, "2026-01").total == D("1007.00")
    assert not BillableFee.objects.filter(contract=contract, kind="usage").exists()


def test_the_api_shows_a_fee_with_how_it_came_about(here: Place) -> None:
    contract = here.active()
    invoice = draft(here, "2026-01")
    api = APIClient()
    api.credentials(HTTP_AUTHORIZATION=f"Bearer {token_pair_issue(user=here.finance).access}")
    shown = api.get(f"/api/enterprise-billing/invoices/{invoice.pk}").json()["lines"][0]
    assert (shown["kind"], shown["contract_id"], shown["contract_line"]) == ("fee", contract.pk, "platform")
    items = api.get(f"/api/enterprise-billing/invoices/{invoice.pk}/lines/1/items").json()["results"]
    assert [(item["kind"], item["amount"], item["parts"][0]["explanation"]) for item in items] == [
        ("recurring", "1000.00", "2026-01-01 to 2026-01-31: 1 × 1000.00 = 1000.00 USD.")
    ]


def test_con_19_issuing_uses_the_contract_s_budget_and_voiding_gives_it_back(here: Place) -> None:
    funded = budget_create(
        actor=here.finance,
        entity=here.entity,
        department=None,
        name="Software",
        allocated_amount="20000.00",
        period_start=day("2026-01-01"),
        period_end=day("2027-01-01"),
    )
    here.active(budget=funded)

    def figures() -> tuple[Decimal, Decimal]:
        current = Budget.objects.get(pk=funded.pk)
        return current.committed_amount, current.spent_amount

    assert figures() == (12000, 0)
    invoice = invoice_issue(actor=here.finance, invoice=draft(here, "2026-01"))
    assert figures() == (11000, 1000)
    invoice_void(actor=here.finance, invoice=invoice, reason="Wrong address")
    assert figures() == (12000, 0)
