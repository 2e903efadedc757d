"""Billing runs with real connections: two over scopes that overlap, and credits of contracts (INV-03, INV-08, CON-16)."""

from datetime import date
from decimal import Decimal

import pytest

from contracts.services.termination import contract_terminate
from core import clock
from core.access import system_actor
from core.clock import month_after
from entities.models import Entity, LinkKind
from entities.services.entity import entity_link_set, entity_update
from invoicing.models import BilledItem, BillingRun, Invoice, InvoiceLine, NumberSeries
from invoicing.selectors.billing_runs import run_counts
from invoicing.selectors.invoice import numbering_proof
from invoicing.selectors.settlements import settlement_differences
from invoicing.services.billing_runs import run_check, run_create, run_issue, run_work
from invoicing.services.consolidation import consolidated_invoice_draft
from invoicing.services.credit_notes import credit_note_issue
from invoicing.services.invoice import invoice_issue, invoice_void
from tests.concurrency.test_budgets import together
from tests.contracts.builders import PLATFORM, Place, place
from tests.invoicing.invoices.builders import SEPTEMBER, build_group

pytestmark = pytest.mark.concurrency

D = Decimal


def proven() -> None:
    assert list(settlement_differences()) == []
    for series in NumberSeries.objects.all():
        assert numbering_proof(series).holds


def test_inv_03_two_runs_over_scopes_that_overlap_bill_everything_once() -> None:
    """The group's run and that of Germany both want Germany's invoice: one has it, the other says which run holds it."""
    group = build_group()
    for entity in (group.germany, group.japan):
        entity_update(actor=system_actor(), entity=entity, consolidated_billing=False)
    group.use("10", entity=group.root)
    for number in range(20):
        group.use(str(number + 1), department=group.sales, currency="EUR", service_name=f"Service {number}")
    group.use("300", department=group.tokyo, currency="JPY")

    def run_of(scope: Entity) -> BillingRun:
        return run_create(
            actor=group.manager, scope=scope, period_start=SEPTEMBER[0], period_end=SEPTEMBER[1]
        )

    runs = [run_of(group.root), run_of(group.germany)]
    together(*[lambda run=run: run_work(run=run).status for run in runs])
    held = [(item.status, item.error_code) for run in runs for item in run.items.filter(entity=group.germany)]
    assert sorted(held) == [("failed", "in_another_run"), ("prepared", "")]
    going = [run for run in runs if run_counts(run.pk).prepared]
    for run in going:
        run_check(actor=group.manager, run=run)
        run_issue(actor=group.manager, run=run)
    together(*[lambda run=run: run_work(run=run).status for run in going])
    assert sorted(Invoice.objects.posted().values_list("entity__code", "total")) == [
        ("NDE", 210), ("NJP", 300), ("NORTH", 10),
    ]  # fmt: skip
    assert BilledItem.objects.count() == 22
    assert Invoice.objects.count() == 3
    proven()


class Ended:
    """A contract prepaid for a year and ended: what is left of it waits to be credited."""

    def __init__(self) -> None:
        self.here: Place = place()
        self.first = clock.today().replace(day=1)
        self.end = month_after(self.first)
        year = {**PLATFORM, "interval_months": 12, "price": "3650.00"}
        contract = self.here.active(
            start_date=self.first, end_date=None, prices=[year], convenience_allowed=True,
            convenience_notice_days=0,
        )  # fmt: skip
        draft = consolidated_invoice_draft(
            actor=self.here.finance, payer=self.here.root, period_start=self.first, period_end=self.end
        )
        self.invoice = invoice_issue(actor=self.here.finance, invoice=draft.invoice)
        contract_terminate(actor=self.here.finance, contract_id=contract.pk, reason="Unused")

    def checked(self, start: date, end: date) -> BillingRun:
        run = run_work(
            run=run_create(actor=self.here.finance, scope=self.here.root, period_start=start, period_end=end)
        )
        assert run.items.get(entity=self.here.root).status == "prepared"
        run_check(actor=self.here.finance, run=run)
        return run_issue(actor=self.here.finance, run=run)


def line_of(invoice: Invoice) -> InvoiceLine:
    return InvoiceLine.objects.get(invoice=invoice)


def test_con_16_two_runs_at_once_credit_once() -> None:
    ended = Ended()
    later = month_after(ended.end)
    runs = [ended.checked(ended.first, ended.end), ended.checked(ended.end, later)]
    together(*[lambda run=run: run_work(run=run).status for run in runs])
    items = [run.items.get(entity=ended.here.root) for run in runs]
    assert sorted((item.status, item.error_code) for item in items) == [
        ("failed", "credits_changed"), ("issued", ""),
    ]  # fmt: skip
    note = Invoice.objects.get(document_type="credit_note")
    assert line_of(ended.invoice).credited_amount == note.total
    proven()


def test_inv_08_a_run_and_a_person_who_credits_at_once_never_exceed_the_line() -> None:
    ended = Ended()
    run = ended.checked(ended.end, month_after(ended.end))
    together(
        lambda: run_work(run=run).status,
        lambda: credit_note_issue(actor=ended.here.finance, invoice=ended.invoice, reason="Goodwill").total,
    )
    line = line_of(ended.invoice)
    assert line.credited_amount == line.amount == D("3650.00")
    assert Invoice.objects.get(pk=ended.invoice.pk).settled_amount == D("3650.00")
    proven()


def test_inv_01_a_run_that_credits_and_a_void_at_once_one_wins() -> None:
    ended = Ended()
    run = ended.checked(ended.end, month_after(ended.end))

    def void() -> str:
        return invoice_void(actor=ended.here.finance, invoice=ended.invoice, reason="Wrong address").status

    _, outcome = together(lambda: run_work(run=run).status, void)
    item = run.items.get(entity=ended.here.root)
    assert (outcome, item.status, item.error_code) in (
        ("void", "failed", "credits_changed"), ("settled", "issued", ""),
    )  # fmt: skip
    assert BilledItem.objects.filter(released_at__isnull=True).count() == (0 if outcome == "void" else 2)
    proven()


def test_inv_03_late_charges_of_a_former_payer_are_billed_once_by_two_runs() -> None:
    group = build_group()
    for entity in (group.germany, group.japan):
        entity_update(actor=system_actor(), entity=entity, consolidated_billing=False)
    august = (date(2024, 8, 1), date(2024, 9, 1))
    group.use("20", department=group.sales, currency="EUR", day=date(2024, 8, 15))
    draft = consolidated_invoice_draft(
        actor=group.manager, payer=group.germany, period_start=august[0], period_end=august[1]
    )
    invoice_issue(actor=group.manager, invoice=draft.invoice)
    entity_link_set(
        actor=system_actor(), entity=group.germany, kind=LinkKind.PAYER, target=group.japan,
        valid_from=august[1],
    )  # fmt: skip
    group.use("3", department=group.sales, currency="EUR", day=date(2024, 8, 15))
    runs = [
        run_create(actor=group.manager, scope=scope, period_start=SEPTEMBER[0], period_end=SEPTEMBER[1])
        for scope in (group.root, group.germany)
    ]
    together(*[lambda run=run: run_work(run=run).status for run in runs])
    assert Invoice.objects.drafts().get().total == D(3)
    assert BilledItem.objects.count() == 2
