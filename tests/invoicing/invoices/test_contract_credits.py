"""Credits of contracts that no invoice takes become credit notes (INV-01, INV-02, INV-03, INV-08, CON-08, CON-16, CON-20)."""

from collections.abc import Callable, Iterator
from datetime import date
from decimal import Decimal
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.urls import reverse
from rest_framework.test import APIClient

from budgets.models import Budget
from budgets.services.budget import budget_create
from contracts.models import BillableFee, Contract, ServiceCredit
from contracts.services.termination import contract_terminate
from core.api.tokens import token_pair_issue
from core.errors import BillingError, Conflict, Forbidden
from core.money import exact_sum
from entities.models import Entity, LinkKind
from entities.services.entity import entity_link_set
from invoicing.models import BilledItem, BillingRun, BillingRunItem, Invoice, InvoiceLine, NumberSeries
from invoicing.selectors.billing_runs import run_totals
from invoicing.selectors.invoice import numbering_proof
from invoicing.selectors.settlements import settlement_differences
from invoicing.services.billing_runs import (
    item_leave_out,
    run_check,
    run_create,
    run_issue,
    run_resume,
    run_work,
)
from invoicing.services.contract_credits import contract_credits_issue
from invoicing.services.credit_notes import LineAmount, credit_note_issue
from invoicing.services.invoice import invoice_issue, invoice_void
from invoicing.services.payments import payment_record
from invoicing.services.settlement import settlement_reverse
from tests.contracts.builders import Place, day, place
from tests.invoicing.invoices.builders import rate
from tests.invoicing.invoices.test_admin import pages
from tests.invoicing.invoices.test_contract_fees import CALLS, PLATFORM, Used, at, draft, issued, period

D = Decimal
YEAR: dict[str, Any] = {**PLATFORM, "interval_months": 12, "price": "3650.00"}


@pytest.fixture
def here(db: None) -> Iterator[Place]:
    with at("2026-01-01"):
        yield place()


def ending(house: Place, **fields: Any) -> Contract:
    """A contract that can be ended from one day to the next, 10.00 a day and prepaid for the year unless told."""
    values: dict[str, Any] = {"prices": [YEAR], "convenience_allowed": True, "convenience_notice_days": 0}
    return house.active(**{**values, **fields})


def end(house: Place, contract: Contract) -> None:
    contract_terminate(actor=house.finance, contract_id=contract.pk, reason="Unused")


def taxed(house: Place, percent: str = "19", **fields: Any) -> None:
    Entity.objects.filter(pk=house.root.pk).update(tax_treatment="S", tax_rate=D(percent), **fields)
    house.root.refresh_from_db()


def prepared(house: Place, month: str, **fields: Any) -> BillingRun:
    return run_work(run=run_create(actor=house.finance, scope=house.root, **period(month), **fields))


def finished(house: Place, run: BillingRun) -> BillingRun:
    run_check(actor=house.finance, run=run)
    return run_work(run=run_issue(actor=house.finance, run=run))


def item_of(run: BillingRun, entity: Entity) -> BillingRunItem:
    return run.items.select_related("run", "entity", "invoice").get(entity=entity)


def note() -> Invoice:
    return Invoice.objects.get(document_type="credit_note")


def exact() -> None:
    """Numbers without gaps, counters that agree, and no line credited beyond what it billed."""
    assert list(settlement_differences()) == []
    for series in NumberSeries.objects.all():
        assert numbering_proof(series).holds
    for line in InvoiceLine.objects.filter(corrections__isnull=False).distinct():
        credits = line.corrections.exclude(invoice__status="void")
        assert line.credited_amount == exact_sum([credit.amount for credit in credits]) <= line.amount
        assert line.credited_tax == exact_sum([credit.tax_amount for credit in credits]) <= line.tax_amount


def refused(code: str, error: type[BillingError], act: Callable[[], Any]) -> None:
    before = [list(model.objects.order_by("pk").values()) for model in (Invoice, InvoiceLine, BilledItem)]
    with pytest.raises(error) as caught:
        act()
    assert caught.value.code == code
    assert [
        list(model.objects.order_by("pk").values()) for model in (Invoice, InvoiceLine, BilledItem)
    ] == before


def test_con_16_prepaid_time_after_termination_is_credited_by_the_run_as_it_was_previewed(
    here: Place,
) -> None:
    taxed(here)
    contract = ending(here)
    invoice = issued(here, "2026-01", "2026-01-01")
    assert (invoice.subtotal, invoice.tax_total) == (D("3650.00"), D("693.50"))
    with at("2026-01-11"):
        end(here, contract)
    with at("2026-03-01"):
        run = prepared(here, "2026-02")
        item = item_of(run, here.root)
        assert (run.status, item.status, item.invoice, item.total) == ("prepared", "prepared", None, 0)
        (planned,) = item.credit_notes
        assert (planned["corrects"], planned["subtotal"], planned["tax_total"], planned["total"]) == (
            invoice.number, "3550.00", "674.50", "4224.50",
        )  # fmt: skip
        assert [anomaly["code"] for anomaly in item.anomalies] == ["contract_credit"]
        assert [(row.status, row.invoices, row.credit_notes, row.credited) for row in run_totals(run)] == [
            ("prepared", 0, 1, D("4224.50"))
        ]
        assert not Invoice.objects.filter(document_type="credit_note").exists()
        run = finished(here, run)
    credit = note()
    assert (run.status, credit.subtotal, credit.tax_total, credit.total) == (
        "finished", D("3550.00"), D("674.50"), D("4224.50"),
    )  # fmt: skip
    assert credit.number is not None
    assert credit.number.endswith("-CN-2026-000001")
    assert (credit.corrects, credit.issue_date, credit.entity) == (invoice, date(2026, 3, 1), here.root)
    assert "100.00 USD due, 3650.00 billed before" in credit.reason
    (line,) = credit.lines.all()
    assert (line.amount, line.tax_amount, line.tax_rate, line.item_count) == (3550, D("674.50"), 19, 1)
    assert line.description == credit.reason
    # What is open of the invoice is set off at once: the ten days that were used stay to be paid.
    invoice = Invoice.objects.get(pk=invoice.pk)
    assert (invoice.status, invoice.open_amount, credit.open_amount) == ("partially_paid", D("119.00"), 0)
    item = item_of(run, here.root)
    assert (item.status, item.credit_notes[0]["credit_note_id"], item.credit_notes[0]["number"]) == (
        "issued", credit.pk, credit.number,
    )  # fmt: skip
    held = BilledItem.objects.filter(released_at__isnull=True).values_list("contract_fee_id", flat=True)
    assert sorted(held) == sorted(BillableFee.objects.values_list("pk", flat=True))
    with at("2026-04-01"):
        again = prepared(here, "2026-03")
        assert (again.status, item_of(again, here.root).status) == ("finished", "nothing_to_invoice")
    assert Invoice.objects.count() == 2
    exact()


def test_con_16_what_the_charges_do_not_cover_is_credited_beside_the_invoice(here: Place) -> None:
    contract = ending(here)
    first = issued(here, "2026-01", "2026-01-01")
    with at("2026-01-11"):
        end(here, contract)
        here.active(title="Small", start_date=day("2026-01-11"), billing_anchor=day("2026-02-01"))
    with at("2026-02-01"):
        run = prepared(here, "2026-02")
        item = item_of(run, here.root)
        # 1000 × 21/31 + 1000 charged, 3550.00 credited.
        assert (item.total, [each["total"] for each in item.credit_notes]) == (D("1677.42"), ["3550.00"])
        run = finished(here, run)
    assert run.status == "finished"
    assert [
        (row.document_type, row.total, row.open_amount) for row in Invoice.objects.order_by("document_type", "pk")
    ] == [
        ("credit_note", 3550, 0), ("invoice", 3650, D("100.00")), ("invoice", D("1677.42"), D("1677.42")),
    ]  # fmt: skip
    assert note().corrects == first
    exact()


def test_a_credit_that_the_charges_cover_stays_on_the_invoice(here: Place) -> None:
    contract = ending(here)
    issued(here, "2026-01", "2026-01-01")
    with at("2026-01-11"):
        end(here, contract)
        here.active(title="Big", start_date=day("2026-02-01"), prices=[{**PLATFORM, "price": "4000.00"}])
    with at("2026-02-01"):
        run = prepared(here, "2026-02")
    item = item_of(run, here.root)
    assert (item.total, item.credit_notes) == (D("450.00"), [])


def test_inv_06_what_was_paid_becomes_a_balance_of_the_payer(here: Place) -> None:
    contract = ending(here)
    first = issued(here, "2026-01", "2026-01-01")
    with at("2026-01-05"):
        payment_record(
            actor=here.finance, issuer=here.issuer, entity=here.root, amount="3650.00", currency="USD",
            received_on=date(2026, 1, 5),
        )  # fmt: skip
    with at("2026-01-11"):
        end(here, contract)
    with at("2026-03-01"):
        finished(here, prepared(here, "2026-02"))
    assert Invoice.objects.get(pk=first.pk).status == "paid"
    assert (note().status, note().open_amount) == ("issued", D("3550.00"))
    exact()


@pytest.mark.parametrize(
    ("currency", "quote", "billed", "credited"),
    [("JPY", "161.37", "58900", "57286"), ("KWD", "0.3301", "120.487", "117.186")],
)
def test_inv_08_in_another_currency_at_the_rate_and_tax_of_the_invoice(
    here: Place, currency: str, quote: str, billed: str, credited: str
) -> None:
    """365.00 EUR for the year, 355.00 EUR of it given back; later rates do not count."""
    taxed(here, "7.7", currency=currency)
    rate("EUR", currency, quote, on=date(2026, 1, 30))
    rate("EUR", currency, "99", on=date(2026, 2, 27))
    contract = ending(here, currency="EUR", prices=[{**YEAR, "price": "365.00"}])
    with at("2026-02-01"):
        first = invoice_issue(actor=here.finance, invoice=draft(here, "2026-01"))
    assert first.subtotal == D(billed)
    with at("2026-01-11"):
        end(here, contract)
    with at("2026-03-01"):
        finished(here, prepared(here, "2026-02"))
        credit = note()
        assert credit.subtotal == D(credited)
        assert credit.currency == currency
        # All that is left, by hand: together they are the line, to the last minor unit.
        credit_note_issue(actor=here.finance, invoice=first, reason="Goodwill")
    line = first.lines.get()
    line.refresh_from_db()
    assert (line.credited_amount, line.credited_tax) == (line.amount, line.tax_amount)
    exact()


def test_con_20_the_last_service_credit_of_a_contract_goes_to_what_it_billed_for_that_time(
    here: Place,
) -> None:
    contract = ending(here, prices=[PLATFORM, {**PLATFORM, "code": "second", "price": "10.00"}])
    first = issued(here, "2026-01", "2026-02-01")
    second = issued(here, "2026-02", "2026-02-01")
    with at("2026-03-01"):
        end(here, contract)
        ServiceCredit.objects.create(
            contract=contract, sla_code="uptime", period_start=day("2026-02-01"), period_end=day("2026-03-01"),
            measured=D(98), target=D("99.9"), credit_percent=D(100), fee_amount=D("1010.00"), amount=D("1010.00"),
            currency="USD", status="due",
        )  # fmt: skip
        ServiceCredit.objects.create(
            contract=contract, sla_code="support", period_start=day("2026-02-01"), period_end=day("2026-03-01"),
            measured=D(98), target=D("99.9"), credit_percent=D(5), fee_amount=D("1010.00"), amount=D("50.50"),
            currency="USD", status="due",
        )  # fmt: skip
        finished(here, prepared(here, "2026-03"))
    notes = Invoice.objects.filter(document_type="credit_note").order_by("corrects_id")
    # February is given back whole; what is beyond it goes to January.
    assert [(row.corrects, row.total) for row in notes] == [(first, D("50.50")), (second, D("1010.00"))]
    assert [line.amount for line in notes[1].lines.order_by("line_number")] == [D(1000), D(10)]
    exact()


def test_con_16_a_credit_over_several_invoices_is_taken_back_with_neither(here: Place) -> None:
    contract = ending(here, prices=[YEAR])
    issued(here, "2026-01", "2026-01-01")
    with at("2026-01-02"):
        here.amend(contract, "2026-01-01", prices={"set": [{**YEAR, "price": "7300.00"}]})
    more = issued(here, "2026-02", "2026-02-01")
    assert more.total == D("3650.00")
    with at("2026-01-11"):
        end(here, contract)
    with at("2026-03-01"):
        finished(here, prepared(here, "2026-02"))
        notes = list(Invoice.objects.filter(document_type="credit_note").order_by("corrects_id"))
        # Ten days of 20.00 stay.
        assert [row.total for row in notes] == [D("3650.00"), D("3450.00")]
        for row in notes:
            for settlement in row.set_off.all():
                settlement_reverse(actor=here.finance, settlement=settlement, reason="Again")
        for row in notes:
            refused(
                "credited_together",
                Conflict,
                lambda row=row: invoice_void(actor=here.finance, invoice=row, reason="Wrong"),
            )
    exact()


def budgeted(house: Place) -> Budget:
    return budget_create(
        actor=house.finance, entity=house.entity, department=None, name="Software", allocated_amount="20000.00",
        period_start=day("2026-01-01"), period_end=day("2027-01-01"),
    )  # fmt: skip


def test_bud_16_the_budget_gets_it_back_and_a_void_note_is_borne_and_credited_anew(here: Place) -> None:
    funded = budgeted(here)
    contract = ending(here, budget=funded)

    def figures() -> tuple[Decimal, Decimal]:
        current = Budget.objects.get(pk=funded.pk)
        return current.committed_amount, current.spent_amount

    issued(here, "2026-01", "2026-01-01")
    with at("2026-01-11"):
        end(here, contract)
    assert figures() == (0, D("3650.00"))
    with at("2026-03-01"):
        finished(here, prepared(here, "2026-02"))
        assert figures() == (0, D("100.00"))
        credit = note()
        settlement_reverse(actor=here.finance, settlement=credit.set_off.get(), reason="Again")
        invoice_void(actor=here.finance, invoice=credit, reason="Wrong address")
        assert figures() == (0, D("3650.00"))
        exact()
        run = prepared(here, "2026-02")
        assert [each["total"] for each in item_of(run, here.root).credit_notes] == ["3550.00"]
        finished(here, run)
    assert figures() == (0, D("100.00"))
    assert Invoice.objects.posted().filter(document_type="credit_note").get().number.endswith("000002")
    exact()


def test_inv_08_what_was_credited_by_hand_is_not_credited_again_nor_is_a_changed_preview_issued(
    here: Place,
) -> None:
    contract = ending(here)
    first = issued(here, "2026-01", "2026-01-01")
    with at("2026-01-11"):
        end(here, contract)
    with at("2026-03-01"):
        run = prepared(here, "2026-02")
        run_check(actor=here.finance, run=run)
        line = first.lines.get()
        credit_note_issue(
            actor=here.finance, invoice=first, lines=[LineAmount(line.pk, "200.00")], reason="Outage"
        )
        run = run_work(run=run_issue(actor=here.finance, run=run))
        item = item_of(run, here.root)
        assert (run.status, item.status, item.error_code) == ("prepared", "failed", "credits_changed")
        assert Invoice.objects.filter(document_type="credit_note").count() == 1
        run = run_work(run=run_resume(actor=here.finance, run=run))
        # 3450.00 of the line are left.
        assert [each["total"] for each in item_of(run, here.root).credit_notes] == ["3450.00"]
        assert finished(here, run).status == "finished"
    line.refresh_from_db()
    assert line.credited_amount == line.amount
    exact()


def test_what_a_run_leaves_out_waits_and_what_was_credited_is_not_released_alone(here: Place) -> None:
    contract = ending(here)
    first = issued(here, "2026-01", "2026-01-01")
    with at("2026-01-11"):
        end(here, contract)
    with at("2026-03-01"):
        run = prepared(here, "2026-02")
        left = item_leave_out(actor=here.finance, item=item_of(run, here.root), reason="Disputed")
        assert (left.status, left.credit_notes) == ("left_out", [])
        assert not Invoice.objects.filter(document_type="credit_note").exists()
        finished(here, prepared(here, "2026-02"))
        refused(
            "contract_credited",
            Conflict,
            lambda: credit_note_issue(
                actor=here.finance, invoice=first, reason="All anew", release_items=True
            ),
        )


def test_ent_04_issuing_a_planned_credit_note_needs_the_right_at_its_issuer(here: Place) -> None:
    contract = ending(here)
    issued(here, "2026-01", "2026-01-01")
    with at("2026-01-11"):
        end(here, contract)
    with at("2026-03-01"):
        run = prepared(here, "2026-02")
        run_check(actor=here.finance, run=run)
        refused("permission_denied", Forbidden, lambda: run_issue(actor=here.outsider, run=run))
        planned = item_of(run, here.root).credit_notes
        refused(
            "permission_denied",
            Forbidden,
            lambda: contract_credits_issue(
                actor=here.outsider, payer=here.root, period_end=day("2026-03-01"), planned=planned
            ),
        )


def test_con_16_whoever_was_billed_gets_it_back_though_another_pays_by_now(here: Place) -> None:
    contract = ending(here)
    first = issued(here, "2026-01", "2026-01-01")
    entity_link_set(
        actor=here.finance, entity=here.entity, kind=LinkKind.PAYER, target=here.entity,
        valid_from=day("2026-01-05"),
    )  # fmt: skip
    with at("2026-01-11"):
        end(here, contract)
    with at("2026-03-01"):
        run = prepared(here, "2026-02")
        assert item_of(run, here.entity).status == "nothing_to_invoice"
        finished(here, run)
    assert (note().corrects, note().entity, note().total) == (first, here.root, D("3550.00"))
    exact()


def test_inv_05_usage_taken_back_after_the_end_is_credited_with_its_rows(here: Place) -> None:
    used = Used(here)
    contract = ending(here, prices=[{**CALLS, "pricing": "per_unit", "price": "2.00", "tiers": []}])
    used.use("90", "2026-01-05", used.sales)
    used.use("10", "2026-01-05", used.research)
    first = issued(here, "2026-01", "2026-02-01")
    assert first.total == D("200.00")
    with at("2026-02-01"):
        end(here, contract)
    used.use("-30", "2026-01-06", used.sales)
    used.use("-5", "2026-01-06", used.research)
    with at("2026-03-01"):
        finished(here, prepared(here, "2026-02"))
    credit = note()
    assert credit.total == D("70.00")
    assert credit.lines.get().billed_items.count() == 3
    assert not BilledItem.objects.filter(released_at__isnull=False).exists()
    exact()


def test_the_doors_show_what_a_run_credits(here: Place) -> None:
    contract = ending(here)
    first = issued(here, "2026-01", "2026-01-01")
    with at("2026-01-11"):
        end(here, contract)
    api = APIClient()
    with at("2026-03-01"):
        client = pages(here.finance)
        api.credentials(HTTP_AUTHORIZATION=f"Bearer {token_pair_issue(user=here.finance).access}")
        run = prepared(here, "2026-02")
        address = f"/api/enterprise-billing/billing-runs/{run.pk}"
        (shown,) = api.get(f"{address}/items?status=prepared").json()["results"]
        (planned,) = shown["credit_notes"]
        assert (planned["credit_note_id"], planned["corrects"], planned["total"], planned["lines"]) == (
            None, first.number, "3550.00",
            [{"line_id": first.lines.get().pk, "amount": "3550.00", "tax_amount": "0.00"}],
        )  # fmt: skip
        page = client.get(reverse("admin:invoicing_billingrun_change", args=[run.pk])).content.decode()
        assert f"A credit note of 3550.00 USD for {first.number}" in page
        assert "3,550.00" in page
        out = StringIO()
        call_command(
            "run_billing", "--scope", here.root.code, "--from", "2026-02-01", "--to", "2026-03-01", "--user",
            here.finance.username, "--check", "--issue", "--yes", stdout=out,
        )  # fmt: skip
        assert "1 credit note issued: 3550.00 USD" in out.getvalue()
        assert note().number in out.getvalue()
        (total,) = api.get(address).json()["totals"]
        assert (total["status"], total["invoices"], total["credit_notes"], total["credited"]) == (
            "issued", 0, 1, "3550.00",
        )  # fmt: skip
        client = pages(here.finance)
        page = client.get(
            reverse("admin:invoicing_billingrunitem_change", args=[shown["id"]])
        ).content.decode()
        assert f"{note().number}: 3550.00 USD for {first.number}" in page
