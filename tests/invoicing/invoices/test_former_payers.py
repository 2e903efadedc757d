"""What arrives late is billed to whoever paid on its days, also when another pays by now (INV-03, ENT-02)."""

from datetime import date
from decimal import Decimal

import pytest

from contracts.models import BillableFee
from core.access import system_actor
from core.errors import Conflict
from entities.models import Entity, LinkKind
from entities.services.allocation import cost_allocate
from entities.services.entity import entity_link_set, entity_update
from invoicing.models import BilledItem, BillingRun, Invoice
from invoicing.selectors.billing_runs import payers_in
from invoicing.services.billing_runs import run_check, run_create, run_issue, run_work
from invoicing.services.consolidation import consolidated_invoice_draft, consolidation_preview
from tests.contracts.builders import day, place
from tests.invoicing.invoices.builders import SEPTEMBER, Group, rate
from tests.invoicing.invoices.test_contract_fees import at, period

D = Decimal
AUGUST = (date(2024, 8, 1), date(2024, 9, 1))
IN_AUGUST = date(2024, 8, 15)


def run_of(group: Group, start: date, end: date) -> BillingRun:
    return run_work(run=run_create(actor=group.manager, scope=group.root, period_start=start, period_end=end))


def issued(group: Group, start: date, end: date) -> BillingRun:
    run = run_of(group, start, end)
    run_check(actor=group.manager, run=run)
    return run_work(run=run_issue(actor=group.manager, run=run))


def rows(run: BillingRun) -> dict[str, tuple[str, Decimal | None]]:
    found = run.items.order_by("position").values_list("entity__code", "status", "total")
    return {code: (status, total) for code, status, total in found}


def pays(entity: Entity, target: Entity, since: date) -> None:
    entity_link_set(actor=system_actor(), entity=entity, kind=LinkKind.PAYER, target=target, valid_from=since)


@pytest.fixture
def billed(group: Group) -> Group:
    """Germany paid for itself in August and has its invoice of it; Japan pays for it since September."""
    for entity in (group.germany, group.japan):
        entity_update(actor=system_actor(), entity=entity, consolidated_billing=False)
    group.use("20.5", department=group.sales, currency="EUR", day=IN_AUGUST)
    issued(group, *AUGUST)
    pays(group.germany, group.japan, SEPTEMBER[0])
    rate("EUR", "JPY", "160")
    return group


def test_inv_03_late_charges_of_a_former_payer_are_billed_to_it(billed: Group) -> None:
    billed.use("3.25", department=billed.sales, currency="EUR", day=IN_AUGUST)
    billed.use("2", department=billed.sales, currency="EUR")
    run = issued(billed, *SEPTEMBER)
    assert rows(run) == {
        "NORTH": ("nothing_to_invoice", None), "NDE": ("issued", D("3.25")), "NJP": ("issued", D("320")),
    }  # fmt: skip
    invoice = Invoice.objects.get(entity=billed.germany, period_start=SEPTEMBER[0])
    line = invoice.lines.get()
    assert (line.period_start, line.period_end, line.amount) == (*AUGUST, D("3.25"))
    assert [warning["code"] for warning in invoice.snapshot["warnings"]] == [
        "late_charges", "partly_billed_elsewhere",
    ]  # fmt: skip
    assert BilledItem.objects.count() == 3
    # Nothing is left of those days: there is no row any more.
    assert "NDE" not in rows(run_of(billed, *SEPTEMBER))


def test_ent_02_nothing_late_no_row(billed: Group) -> None:
    billed.use("2", department=billed.sales, currency="EUR")
    assert rows(run_of(billed, *SEPTEMBER)) == {
        "NORTH": ("nothing_to_invoice", None), "NJP": ("prepared", D("320")),
    }  # fmt: skip
    with pytest.raises(Conflict) as caught:
        consolidated_invoice_draft(
            actor=billed.manager, payer=billed.germany, period_start=SEPTEMBER[0], period_end=SEPTEMBER[1]
        )
    assert caught.value.code == "billed_elsewhere"


def test_inv_03_of_entities_that_it_paid_for_and_of_allocations(group: Group) -> None:
    """In August Japan paid for itself and for the issuer; by now the root pays for both."""
    entity_update(actor=system_actor(), entity=group.japan, consolidated_billing=False)
    entity_link_set(
        actor=system_actor(), entity=group.issuer, kind=LinkKind.PAYER, target=group.japan,
        valid_from=date(2024, 7, 1), valid_to=SEPTEMBER[0],
    )  # fmt: skip
    group.use("7", entity=group.issuer, day=IN_AUGUST, currency="JPY")
    issued(group, *AUGUST)
    pays(group.japan, group.root, SEPTEMBER[0])
    group.use("5", entity=group.issuer, day=IN_AUGUST, currency="JPY")
    cost_allocate(
        actor=group.manager, department=group.tokyo, amount=D(40), currency="JPY", description="Desk",
        billable=True, period_start=AUGUST[0], period_end=AUGUST[1],
    )  # fmt: skip
    run = run_of(group, *SEPTEMBER)
    assert rows(run)["NJP"] == ("prepared", D(45))
    shown = consolidation_preview(
        actor=group.manager, payer=group.japan, period_start=SEPTEMBER[0], period_end=SEPTEMBER[1]
    )
    assert shown.total == D(45)


def test_con_08_fees_in_arrears_go_to_who_paid_when_they_fell_due(db: None) -> None:
    """Seats of January, 250.00 on its last day; its invoice was made ahead of time, and the payer changed."""
    with at("2026-01-01"):
        here = place()
        seats = {
            "code": "seats", "name": "Seats", "pricing": "per_unit", "quantity_source": "fixed", "quantity": "10",
            "price": "25.00", "timing": "arrears",
        }  # fmt: skip
        base = {"code": "platform", "name": "Platform", "price": "1000.00"}
        here.active(prices=[base, seats])
        pays(here.entity, here.entity, day("2025-12-01"))
    with at("2026-01-02"):
        for_january = run_work(run=run_create(actor=here.finance, scope=here.root, **period("2026-01")))
        run_check(actor=here.finance, run=for_january)
        run_work(run=run_issue(actor=here.finance, run=for_january))
        pays(here.entity, here.root, day("2026-02-01"))
    with at("2026-03-02"):
        run = run_work(run=run_create(actor=here.finance, scope=here.root, **period("2026-02")))
    totals = dict(run.items.values_list("entity_id", "total"))
    assert (totals[here.entity.pk], totals[here.root.pk]) == (D("250.00"), D("1250.00"))
    assert BillableFee.objects.count() == BilledItem.objects.count() == 4


def test_payers_in_asks_the_same_number_of_questions_whatever_the_group(
    billed: Group, django_assert_num_queries: object
) -> None:
    with django_assert_num_queries(3):  # type: ignore[operator]
        assert billed.germany.pk not in payers_in(billed.root, *SEPTEMBER)
