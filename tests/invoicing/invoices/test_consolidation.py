"""What a consolidated invoice holds (INV-03, INV-04, USE-04, ENT-02)."""

import dataclasses
from datetime import date
from decimal import Decimal

import pytest

from core.access import system_actor
from core.errors import BillingError, Conflict, Forbidden, Invalid
from core.models import ExchangeRate
from entities.models import Department, Entity
from entities.services.allocation import cost_allocate, posting_reverse
from entities.services.entity import entity_create, entity_link_set, entity_move, entity_update
from invoicing.models import BilledItem, Invoice, InvoiceLine, UsageRecord
from invoicing.selectors.invoice import invoice_subtotals
from invoicing.services import consolidation
from invoicing.services.consolidation import consolidated_invoice_draft, consolidation_preview
from invoicing.services.invoice import invoice_discard, invoice_issue, invoice_void
from tests.invoicing.invoices.builders import SEPTEMBER, Group, rate

START, END = SEPTEMBER


def draft(group: Group, payer: Entity | None = None, start: date = START, end: date = END) -> Invoice:
    return consolidated_invoice_draft(
        actor=group.manager, payer=payer or group.root, period_start=start, period_end=end
    ).invoice


def preview(group: Group, payer: Entity | None = None, start: date = START, end: date = END):
    return consolidation_preview(
        actor=group.manager, payer=payer or group.root, period_start=start, period_end=end
    )


def amounts(invoice: Invoice) -> list[tuple[str, str, str, Decimal]]:
    return [
        (line.entity_name, line.department_code, line.description, line.amount)
        for line in invoice.lines.all()
    ]


def refused(code: str, call, *args, error: type[BillingError] = Conflict, **kwargs) -> BillingError:
    """The call raises `code`, and nothing was written."""
    before = (Invoice.objects.count(), InvoiceLine.objects.count(), BilledItem.objects.count())
    with pytest.raises(error) as caught:
        call(*args, **kwargs)
    assert caught.value.code == code
    assert (Invoice.objects.count(), InvoiceLine.objects.count(), BilledItem.objects.count()) == before
    return caught.value


class TestContent:
    def test_inv_03_bills_the_parent_and_its_consolidated_descendants_in_detail(self, group: Group) -> None:
        group.use("10.004", department=group.sales)
        group.use("0.004", department=group.sales)
        group.use("2.5", department=group.sales, service_name="Amazon Simple Storage Service")
        group.use("-1.25", department=group.sales, charge_category="Credit")
        group.use("3", department=group.research)
        group.use("7", entity=group.japan)
        group.use("1", entity=group.root)
        invoice = draft(group)
        assert amounts(invoice) == [
            ("Northwind Group Inc.", "", "Amazon Elastic Compute Cloud", Decimal("1.0000")),
            ("Northwind Germany", "100", "Amazon Elastic Compute Cloud", Decimal("10.0100")),
            ("Northwind Germany", "100", "Amazon Elastic Compute Cloud (credit)", Decimal("-1.2500")),
            ("Northwind Germany", "100", "Amazon Simple Storage Service", Decimal("2.5000")),
            ("Northwind Germany", "200", "Amazon Elastic Compute Cloud", Decimal("3.0000")),
            ("Northwind Japan", "", "Amazon Elastic Compute Cloud", Decimal("7.0000")),
        ]
        assert (invoice.subtotal, invoice.tax_total, invoice.total) == (Decimal("22.26"), 0, Decimal("22.26"))
        assert [(s.entity_name, s.amount) for s in invoice_subtotals(invoice, by_department=False)] == [
            ("Northwind Group Inc.", Decimal("1.0000")),
            ("Northwind Germany", Decimal("14.2600")),
            ("Northwind Japan", Decimal("7.0000")),
        ]
        assert [
            (s.entity_name, s.department_code, s.line_count, s.item_count, s.amount)
            for s in invoice_subtotals(invoice, by_department=True)
        ] == [
            ("Northwind Group Inc.", "", 1, 1, Decimal("1.0000")),
            ("Northwind Germany", "100", 3, 4, Decimal("11.2600")),
            ("Northwind Germany", "200", 1, 1, Decimal("3.0000")),
            ("Northwind Japan", "", 1, 1, Decimal("7.0000")),
        ]
        assert BilledItem.objects.count() == 7
        assert invoice.lines.get(line_number=2).gl_code == "6000"

    def test_use_04_sub_cent_amounts_sum_exactly_and_round_together(self, group: Group) -> None:
        for number in range(9):
            group.use("0.0016", department=group.sales, service_name=f"Service {number}")
        group.use("0.00000000001", department=group.research)
        invoice = draft(group)
        # 0.0144 + 1e-11 rounds to 0.01: one line carries the cent, the others none.
        assert invoice.total == Decimal("0.01")
        assert sorted(line.amount for line in invoice.lines.all())[-2:] == [0, Decimal("0.01")]
        assert sum(line.exact_amount for line in invoice.lines.all()) == Decimal("0.01440000001")

    def test_use_04_the_charge_period_decides_not_the_billing_period(self, group: Group) -> None:
        group.use("1", entity=group.japan, day=date(2024, 8, 31))
        group.use("2", entity=group.japan, day=date(2024, 9, 1))
        group.use("4", entity=group.japan, day=date(2024, 9, 30))
        group.use("8", entity=group.japan, day=date(2024, 10, 1))
        assert draft(group).total == 6

    def test_preview_writes_nothing_and_shows_exactly_what_the_run_issues(self, group: Group) -> None:
        rate("EUR", "USD", "1.1196")
        group.use("10.005", department=group.sales)
        group.use("3.333", department=group.research, currency="EUR")
        group.use("-0.5", entity=group.japan)
        shown = preview(group)
        assert not Invoice.objects.exists()
        assert not BilledItem.objects.exists()
        invoice = invoice_issue(actor=group.manager, invoice=draft(group))
        fields = [
            f.name for f in dataclasses.fields(shown.lines[0]) if f.name not in consolidation.NOT_STORED
        ]
        stored = [
            tuple(getattr(line, name) for name in fields) for line in invoice.lines.order_by("line_number")
        ]
        assert stored == [tuple(getattr(line, name) for name in fields) for line in shown.lines]
        assert (shown.subtotal, shown.tax_total, shown.total) == (
            invoice.subtotal, invoice.tax_total, invoice.total,
        )  # fmt: skip
        assert list(shown.subtotals_by_entity) == invoice_subtotals(invoice, by_department=False)
        assert list(shown.subtotals_by_department) == invoice_subtotals(invoice, by_department=True)
        assert shown.item_count == BilledItem.objects.count() == 3

    def test_a_second_run_issues_nothing_and_names_the_invoice(self, group: Group) -> None:
        group.use("5", entity=group.japan)
        issued = invoice_issue(actor=group.manager, invoice=draft(group))
        error = refused("nothing_to_invoice", draft, group)
        assert error.extra["invoices"] == [{"id": issued.pk, "number": issued.number, "status": "issued"}]
        assert issued.number in error.message
        refused("nothing_to_invoice", preview, group)

    def test_what_arrives_late_goes_to_the_next_invoice(self, group: Group) -> None:
        group.use("5", entity=group.japan)
        first = invoice_issue(actor=group.manager, invoice=draft(group))
        group.use("0.75", entity=group.japan)
        second = draft(group)
        assert second.pk != first.pk
        assert second.total == Decimal("0.75")
        assert Invoice.objects.get(pk=first.pk).total == 5

    def test_inv_03_the_next_period_takes_along_what_arrived_late(self, group: Group) -> None:
        group.use("5", entity=group.japan)
        invoice_issue(actor=group.manager, invoice=draft(group))
        group.use("0.75", entity=group.japan)  # late, for September
        group.use("100", entity=group.japan, day=date(2024, 8, 31))  # August was never invoiced
        group.use("2", entity=group.japan, day=date(2024, 10, 3))
        october = {"payer": group.root, "period_start": END, "period_end": date(2024, 11, 1)}
        shown = consolidation_preview(actor=group.manager, **october)
        assert [warning.code for warning in shown.warnings][:1] == ["late_charges"]
        invoice = consolidated_invoice_draft(actor=group.manager, **october).invoice
        lines = [
            (line.period_start, line.period_end, line.amount)
            for line in invoice.lines.order_by("line_number")
        ]
        assert lines == [(START, END, Decimal("0.75")), (END, date(2024, 11, 1), Decimal("2"))]
        assert "late" in invoice.lines.earliest("line_number").description
        assert invoice.total == Decimal("2.75")
        invoice_issue(actor=group.manager, invoice=invoice)
        refused("nothing_to_invoice", consolidated_invoice_draft, actor=group.manager, **october)
        assert UsageRecord.objects.unbilled().get().billed_cost == 100

    def test_inv_03_a_voided_period_is_billed_by_its_own_run_not_as_late(self, group: Group) -> None:
        group.use("5", entity=group.japan)
        invoice_void(
            actor=group.manager,
            invoice=invoice_issue(actor=group.manager, invoice=draft(group)),
            reason="Wrong",
        )
        group.use("2", entity=group.japan, day=date(2024, 10, 3))
        october = consolidation_preview(
            actor=group.manager, payer=group.root, period_start=END, period_end=date(2024, 11, 1)
        )
        assert october.total == 2
        assert draft(group).total == 5

    def test_a_draft_is_refreshed_with_late_items(self, group: Group) -> None:
        group.use("5", entity=group.japan)
        first = consolidated_invoice_draft(
            actor=group.manager, payer=group.root, period_start=START, period_end=END
        )
        group.use("0.75", entity=group.japan)
        group.use("1", department=group.sales)
        assert preview(group).total == Decimal("6.75")
        again = consolidated_invoice_draft(
            actor=group.manager, payer=group.root, period_start=START, period_end=END
        )
        assert (first.created, again.created) == (True, False)
        assert again.invoice.pk == first.invoice.pk
        assert again.invoice.total == Decimal("6.75")
        assert again.invoice.version == first.invoice.version + 1
        assert BilledItem.objects.count() == 3

    def test_a_discarded_draft_frees_what_it_held(self, group: Group) -> None:
        group.use("5", entity=group.japan)
        invoice_discard(actor=group.manager, invoice=draft(group))
        assert not Invoice.objects.exists()
        assert not InvoiceLine.objects.exists()
        assert Invoice.history.filter(history_type="-").count() == 1
        assert draft(group).total == 5

    def test_a_void_invoice_frees_what_it_billed_and_keeps_its_number(self, group: Group) -> None:
        group.use("5", entity=group.japan)
        first = invoice_issue(actor=group.manager, invoice=draft(group))
        invoice_void(actor=group.manager, invoice=first, reason="Wrong period")
        second = invoice_issue(actor=group.manager, invoice=draft(group))
        assert [first.sequence_number, second.sequence_number] == [1, 2]
        assert BilledItem.objects.filter(released_at__isnull=False).count() == 1
        assert BilledItem.objects.filter(released_at__isnull=True).count() == 1

    def test_a_period_that_ends_on_a_last_day_warns(self, group: Group) -> None:
        group.use("5", entity=group.japan)
        shown = preview(group, end=date(2024, 9, 30))
        assert [w.code for w in shown.warnings] == ["period_end_is_exclusive", "unallocated_usage"]
        assert "2024-10-01" in shown.warnings[0].detail
        refused("period_not_ordered", preview, group, start=END, end=START, error=Invalid)
        for start, end in ((date.min, END), (START, date.max)):
            refused("period_out_of_range", preview, group, start=start, end=end, error=Invalid)


class TestPayers:
    """ENT-02: links hold on days, and the invoice honours each day."""

    def test_an_entity_not_consolidated_is_left_out_with_all_below_it(self, group: Group) -> None:
        below = entity_create(
            actor=system_actor(), name="Branch", entity_type="branch", parent=group.japan, currency="JPY"
        )
        entity_update(actor=system_actor(), entity=group.japan, consolidated_billing=False)
        rate("USD", "JPY", "143")
        group.use("1", entity=group.japan)
        group.use("2", entity=below)
        group.use("4", department=group.sales)
        assert draft(group).total == 4
        assert draft(group, payer=Entity.objects.get(pk=group.japan.pk)).total == 3 * 143

    def test_a_payer_link_inside_the_period_splits_it_by_day(self, group: Group) -> None:
        entity_link_set(
            actor=system_actor(), entity=group.japan, kind="payer", target=group.germany,
            valid_from=date(2024, 9, 10), valid_to=date(2024, 9, 20),
        )  # fmt: skip
        rate("USD", "EUR", "0.9")
        for day, amount in ((9, "1"), (10, "2"), (19, "4"), (20, "8")):
            group.use(amount, entity=group.japan, day=date(2024, 9, day))
        assert draft(group).total == 9
        germany = draft(group, payer=group.germany)
        assert germany.total == Decimal("5.40")
        assert [line.entity_name for line in germany.lines.all()] == ["Northwind Japan"]

    def test_a_payer_billed_elsewhere_is_refused_and_names_who_pays(self, group: Group) -> None:
        entity_link_set(
            actor=system_actor(),
            entity=group.japan,
            kind="payer",
            target=group.germany,
            valid_from=date(2024, 1, 1),
        )
        group.use("1", entity=group.japan)
        error = refused("billed_elsewhere", draft, group, payer=group.japan)
        assert "Northwind Germany" in error.message
        assert error.extra["payers"] == [{"id": group.germany.pk, "name": "Northwind Germany"}]

    def test_a_payer_billed_elsewhere_on_some_days_bills_the_others_and_warns(self, group: Group) -> None:
        rate("USD", "JPY", "143")
        entity_link_set(
            actor=system_actor(), entity=group.japan, kind="payer", target=group.germany,
            valid_from=date(2024, 9, 10),
        )  # fmt: skip
        group.use("1", entity=group.japan, day=date(2024, 9, 9))
        group.use("2", entity=group.japan, day=date(2024, 9, 10))
        shown = preview(group, payer=group.japan)
        assert shown.total == 143
        assert "partly_billed_elsewhere" in [w.code for w in shown.warnings]

    def test_the_owner_is_named_on_the_line_and_the_invoice_owner_is_addressed(self, group: Group) -> None:
        links = {"actor": system_actor(), "valid_from": date(2024, 9, 15)}
        entity_link_set(entity=group.japan, kind="owner", target=group.germany, **links)
        entity_link_set(entity=group.root, kind="invoice_owner", target=group.issuer, **links)
        group.use("1", entity=group.japan, day=date(2024, 9, 14))
        group.use("2", entity=group.japan, day=date(2024, 9, 15))
        invoice = draft(group)
        assert [(line.entity_name, line.amount) for line in invoice.lines.all()] == [
            ("Northwind Germany", 2), ("Northwind Japan", 1),
        ]  # fmt: skip
        assert (invoice.entity_id, invoice.bill_to_id) == (group.root.pk, group.issuer.pk)

    def test_moving_an_entity_changes_no_past_document(self, group: Group) -> None:
        group.use("5", entity=group.japan)
        issued = invoice_issue(actor=group.manager, invoice=draft(group))
        entity_move(actor=system_actor(), entity=group.japan, parent=group.germany)
        entity_update(actor=system_actor(), entity=group.japan, name="Renamed")
        same = Invoice.objects.get(pk=issued.pk)
        assert [line.entity_name for line in same.lines.all()] == ["Northwind Japan"]
        assert same.snapshot == issued.snapshot

    def test_no_issuer_is_refused_with_what_to_do(self, group: Group) -> None:
        group.use("5", entity=group.japan)
        Entity.objects.filter(pk=group.issuer.pk).update(is_issuer=False, is_default_issuer=False)
        assert "mark it as issuer" in refused("no_issuer", draft, group).message

    def test_the_nearest_issuer_above_the_payer_issues(self, group: Group) -> None:
        Entity.objects.filter(pk=group.germany.pk).update(is_issuer=True)
        branch = entity_create(
            actor=system_actor(), name="Branch", entity_type="branch", parent=group.germany, currency="EUR"
        )
        rate("USD", "EUR", "0.9")
        group.use("5", entity=branch)
        assert draft(group, payer=branch).issuer_id == group.germany.pk


class TestCurrencies:
    """INV-04: every line keeps its original amount, rate, rate date and source."""

    def test_a_line_of_another_currency_keeps_amount_rate_date_and_source(self, group: Group) -> None:
        rate("EUR", "USD", "1.1196", date(2024, 9, 28))
        group.use("100.005", department=group.sales, currency="EUR")
        group.use("10", department=group.sales)
        invoice = draft(group)
        converted = invoice.lines.get(original_currency="EUR")
        assert converted.original_amount == Decimal("100.005")
        assert (converted.rate, converted.rate_date, converted.rate_source) == (
            Decimal("1.1196"), date(2024, 9, 28), "ECB",
        )  # fmt: skip
        assert converted.exact_amount == Decimal("111.965598")
        assert converted.amount == Decimal("111.97")
        own = invoice.lines.get(original_currency="USD")
        assert (own.rate, own.rate_date, own.rate_source) == (1, None, "")
        assert invoice.total == Decimal("121.97")

    def test_no_rate_or_a_stale_rate_stops_the_run_and_writes_nothing(self, group: Group) -> None:
        group.use("100", department=group.sales, currency="EUR")
        group.use("10", department=group.sales)
        refused("no_exchange_rate", draft, group)
        rate("EUR", "USD", "1.1", date(2024, 9, 22))
        refused("stale_exchange_rate", draft, group)
        refused("stale_exchange_rate", preview, group)
        rate("EUR", "USD", "1.1", date(2024, 9, 23))
        assert draft(group).total == 120

    def test_a_stale_rate_leaves_the_existing_draft_as_it_was(self, group: Group) -> None:
        group.use("10", department=group.sales)
        before = draft(group)
        group.use("100", department=group.sales, currency="EUR")
        refused("no_exchange_rate", draft, group)
        after = Invoice.objects.get(pk=before.pk)
        assert (after.total, after.version, after.lines.count()) == (10, before.version, 1)

    def test_issued_lines_keep_their_rate_when_rates_change(self, group: Group) -> None:
        published = rate("EUR", "USD", "1.1")
        group.use("100", department=group.sales, currency="EUR")
        issued = invoice_issue(actor=group.manager, invoice=draft(group))
        ExchangeRate.objects.filter(pk=published.pk).update(rate=2)
        assert issued.lines.get().amount == 110
        assert issued.snapshot["rates"] == [
            {"currency": "EUR", "rate": "1.1", "date": "2024-09-30", "source": "ECB"}
        ]


class TestTax:
    def test_tax_per_line_sums_to_the_tax_of_the_total(self, group: Group) -> None:
        entity_update(actor=system_actor(), entity=group.root, tax_treatment="S", tax_rate=Decimal("19"))
        for number in range(3):
            group.use("0.33", department=group.sales, service_name=f"Service {number}")
        invoice = draft(group, payer=Entity.objects.get(pk=group.root.pk))
        assert [line.tax_amount for line in invoice.lines.all()] == [
            Decimal("0.07"), Decimal("0.06"), Decimal("0.06"),
        ]  # fmt: skip
        assert (invoice.subtotal, invoice.tax_total, invoice.total) == (
            Decimal("0.99"), Decimal("0.19"), Decimal("1.18"),
        )  # fmt: skip

    @pytest.mark.parametrize("treatment", ["O", "Z", "E", "AE"])
    def test_other_treatments_charge_none(self, group: Group, treatment: str) -> None:
        Entity.objects.filter(pk=group.root.pk).update(tax_treatment=treatment, tax_rate=19)
        group.use("10", department=group.sales)
        invoice = draft(group, payer=Entity.objects.get(pk=group.root.pk))
        line = invoice.lines.get()
        assert (line.tax_category, line.tax_rate, line.tax_amount) == (treatment, 0, 0)


class TestRights:
    @pytest.mark.parametrize(
        ("role", "may_preview", "may_draft"),
        [
            ("administrator", True, True),
            ("finance_manager", True, True),
            ("finance_staff", True, True),
            ("service_account", True, True),
            ("auditor", True, False),
            ("approver", False, False),
            ("department_manager", False, False),
        ],
    )
    def test_rights(self, group: Group, role: str, may_preview: bool, may_draft: bool) -> None:
        group.use("1", entity=group.japan)
        actor = group.person(role)
        scope = {"actor": actor, "payer": group.root, "period_start": START, "period_end": END}
        if may_preview:
            assert consolidation_preview(**scope).total == 1
        else:
            refused("permission_denied", consolidation_preview, error=Forbidden, **scope)
        if may_draft:
            assert consolidated_invoice_draft(**scope).created
        else:
            refused("permission_denied", consolidated_invoice_draft, error=Forbidden, **scope)


class TestUsageStays:
    def test_billed_usage_keeps_its_department(self, group: Group) -> None:
        from django.db import IntegrityError, transaction

        record = group.use("1", department=group.sales)
        draft(group)
        with pytest.raises(IntegrityError, match="stays where it was billed"), transaction.atomic():
            UsageRecord.objects.filter(pk=record.pk).update(department=group.research)
        assert UsageRecord.objects.get(pk=record.pk).department_id == group.sales.pk
        assert Department.objects.get(pk=group.sales.pk).usage_records.count() == 1


class TestAllocations:
    """INV-03: billable manual allocations are billed once; what they were derived from never twice."""

    def allocate(self, group: Group, amount: str, *, billable: bool = True, day: date = START):
        return cost_allocate(
            actor=group.manager,
            department=group.sales,
            amount=Decimal(amount),
            currency="USD",
            description=f"Shared desk {amount}",
            period_start=day,
            period_end=END,
            billable=billable,
        )

    def test_a_billable_allocation_makes_a_line_of_its_own(self, group: Group) -> None:
        self.allocate(group, "40.00")
        self.allocate(group, "2.00", billable=False)
        self.allocate(group, "4.00", day=date(2024, 8, 1))
        group.use("1", department=group.sales)
        invoice = draft(group)
        assert [(line.kind, line.description, line.amount) for line in invoice.lines.all()] == [
            ("usage", "Amazon Elastic Compute Cloud", 1),
            ("allocation", "Shared desk 40.00", 40),
        ]
        assert BilledItem.objects.filter(cost_allocation__isnull=False).count() == 1
        refused("nothing_to_invoice", draft, group, start=date(2024, 9, 2))

    def test_an_allocation_reversed_before_it_was_billed_is_not_billed(self, group: Group) -> None:
        posting = self.allocate(group, "40.00")
        self.allocate(group, "2.00")
        posting_reverse(actor=group.manager, posting=posting, reason="Wrong department")
        invoice = draft(group)
        assert [line.description for line in invoice.lines.all()] == ["Shared desk 2.00"]

    def test_a_reversal_after_billing_is_credited_on_the_next_invoice(self, group: Group) -> None:
        posting = self.allocate(group, "40.00")
        invoice_issue(actor=group.manager, invoice=draft(group))
        posting_reverse(actor=group.manager, posting=posting, reason="Wrong department")
        assert [line.amount for line in draft(group).lines.all()] == [-40]

    def test_a_reversal_while_the_first_stands_on_a_draft_takes_both_off(self, group: Group) -> None:
        group.use("1", department=group.sales)
        posting = self.allocate(group, "40.00")
        draft(group)
        posting_reverse(actor=group.manager, posting=posting, reason="Wrong department")
        assert draft(group).total == 1


def test_a_charge_remapped_while_the_run_computes_is_billed_where_it_is(
    group: Group, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The claim compares what it takes with what was computed, and starts anew if a charge moved in between."""
    record = group.use("1", department=group.sales)
    group.use("2", department=group.research)
    real, runs = consolidation._write_lines, []

    def moving(invoice: Invoice, lines: object) -> object:
        if not runs:
            UsageRecord.objects.filter(pk=record.pk).update(department=group.research)
            group.use("4", department=group.research)
        runs.append(invoice)
        return real(invoice, lines)

    monkeypatch.setattr(consolidation, "_write_lines", moving)
    invoice = draft(group)
    # The first attempt was undone, the move with it, as both were in its savepoint; the second is whole.
    assert len(runs) == 2
    assert sum(line.item_count for line in invoice.lines.all()) == BilledItem.objects.count()
    assert invoice.total == sum(r.billed_cost for r in UsageRecord.objects.filter(billed_items__isnull=False))
