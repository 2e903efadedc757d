"""Issuing, voiding, and what the database refuses afterwards (INV-01, INV-02)."""

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
import time_machine
from django.db import IntegrityError, connection, transaction

from core.access import system_actor
from core.errors import BillingError, Conflict, Forbidden, Invalid, Stale
from core.models import Notification, OutboxEvent
from core.outbox import dispatch_pending
from entities.models import Entity
from entities.services.entity import entity_update
from invoicing.models import BilledItem, Invoice, InvoiceLine, NumberSeries
from invoicing.services.consolidation import consolidated_invoice_draft
from invoicing.services.invoice import invoice_discard, invoice_issue, invoice_void
from tests.invoicing.invoices.builders import SEPTEMBER, Group


def draft(group: Group, amount: str = "5", day: date = date(2024, 9, 15)) -> Invoice:
    group.use(amount, department=group.sales, day=day)
    return consolidated_invoice_draft(
        actor=group.manager, payer=group.root, period_start=SEPTEMBER[0], period_end=SEPTEMBER[1]
    ).invoice


def issued(group: Group, amount: str = "5", **kwargs) -> Invoice:
    return invoice_issue(actor=group.manager, invoice=draft(group, amount), **kwargs)


def refused(code: str, error: type[BillingError], call, **kwargs) -> BillingError:
    """The call raises `code`; documents and counters stay as they were."""
    state = (list(Invoice.objects.values()), list(NumberSeries.objects.values()), OutboxEvent.objects.count())
    with pytest.raises(error) as caught:
        call(**kwargs)
    assert caught.value.code == code
    assert (
        list(Invoice.objects.values()), list(NumberSeries.objects.values()), OutboxEvent.objects.count(),
    ) == state  # fmt: skip
    return caught.value


class TestIssue:
    @time_machine.travel(datetime(2024, 10, 3, 22, 30, tzinfo=UTC), tick=False)
    def test_inv_01_issue_posts_with_number_dates_and_snapshot(self, group: Group) -> None:
        entity_update(actor=system_actor(), entity=group.root, payment_terms_days=14)
        invoice = issued(group)
        # Already the 4th in the issuer's Berlin.
        assert (invoice.issue_date, invoice.due_date) == (date(2024, 10, 4), date(2024, 10, 18))
        assert (invoice.number, invoice.fiscal_year, invoice.sequence_number) == (
            "SHS-INV-2024-000001",
            2024,
            1,
        )
        assert invoice.issued_by == group.manager
        assert invoice.snapshot["issuer"]["name"] == "Northwind Shared Services GmbH"
        assert invoice.snapshot["issuer"]["bank"]["iban"] == "DE02120300000000202051"
        assert invoice.snapshot["bill_to"]["street"] == "1 Harbor Street"
        assert invoice.snapshot["payment_terms_days"] == 14
        assert invoice.snapshot["tax"] == {"treatment": "O", "rate": "0"}
        history = Invoice.history.filter(id=invoice.pk).latest()
        assert (history.status, history.history_user) == ("issued", group.manager)
        event = OutboxEvent.objects.get(topic="invoice.issued")
        assert event.payload["number"] == "SHS-INV-2024-000001"
        assert event.payload["total"] == "5.00"

    def test_finance_is_notified_once_after_issue(self, group: Group) -> None:
        staff = group.person("finance_staff")
        invoice = issued(group)
        dispatch_pending()
        dispatch_pending()
        told = Notification.objects.filter(kind="invoice_issued")
        assert [message.user for message in told] == [staff]
        assert invoice.number in told[0].title
        assert "5.00" in told[0].body

    def test_a_document_is_issued_once(self, group: Group) -> None:
        invoice = issued(group)
        refused("not_a_draft", Conflict, invoice_issue, actor=group.manager, invoice=invoice)

    def test_somebody_elses_change_is_not_overwritten(self, group: Group) -> None:
        invoice = draft(group)
        draft(group)
        refused(
            "stale_version", Stale, invoice_issue,
            actor=group.manager, invoice=invoice, expected_version=invoice.version,
        )  # fmt: skip

    def test_a_negative_total_is_no_invoice_and_the_draft_stays(self, group: Group) -> None:
        invoice = draft(group, "-3")
        assert "negative_total" in [w["code"] for w in invoice.snapshot["warnings"]]
        error = refused("negative_total", Conflict, invoice_issue, actor=group.manager, invoice=invoice)
        assert error.extra["total"] == "-3.00"

    def test_a_zero_total_with_items_is_issued(self, group: Group) -> None:
        group.use("-5", department=group.research)
        assert issued(group).total == 0

    @time_machine.travel(datetime(2024, 10, 3, tzinfo=UTC), tick=False)
    def test_an_issue_date_is_neither_in_the_future_nor_before_the_last(self, group: Group) -> None:
        issued(group, issue_date=date(2024, 10, 2))
        second = draft(group)
        kwargs = {"actor": group.manager, "invoice": second}
        refused("issue_date_in_future", Invalid, invoice_issue, issue_date=date(2024, 10, 4), **kwargs)
        refused("issue_date_before_last", Conflict, invoice_issue, issue_date=date(2024, 10, 1), **kwargs)
        assert invoice_issue(issue_date=date(2024, 10, 2), **kwargs).sequence_number == 2

    @pytest.mark.parametrize(
        ("month", "day", "year"),
        [
            (1, date(2024, 12, 31), 2024),
            (4, date(2024, 3, 31), 2024),
            (4, date(2024, 4, 1), 2025),
            (10, date(2024, 10, 1), 2025),
        ],
    )
    def test_inv_02_each_fiscal_year_has_its_series(
        self, group: Group, month: int, day: date, year: int
    ) -> None:
        Entity.objects.filter(pk=group.issuer.pk).update(fiscal_year_start_month=month)
        invoice = issued(group, issue_date=day)
        assert invoice.number == f"SHS-INV-{year}-000001"

    @pytest.mark.parametrize(
        ("role", "may_issue", "may_void", "may_discard"),
        [
            ("administrator", True, True, True),
            ("finance_manager", True, True, True),
            ("finance_staff", True, False, True),
            ("service_account", True, False, True),
            ("auditor", False, False, False),
            ("approver", False, False, False),
        ],
    )
    def test_rights(
        self, group: Group, role: str, may_issue: bool, may_void: bool, may_discard: bool
    ) -> None:
        actor = group.person(role)
        posted = issued(group)
        for allowed, call, kwargs in (
            (may_void, invoice_void, {"invoice": lambda: posted, "reason": "Wrong"}),
            (may_discard, invoice_discard, {"invoice": lambda: draft(group)}),
            (may_issue, invoice_issue, {"invoice": lambda: draft(group)}),
        ):
            given = kwargs | {"invoice": kwargs["invoice"](), "actor": actor}
            if allowed:
                call(**given)
            else:
                refused("permission_denied", Forbidden, call, **given)

    def test_rights_at_the_payer_do_not_reach_the_issuer(self, group: Group) -> None:
        actor = group.person("finance_manager", entity=group.germany)
        invoice = draft(group)
        refused("permission_denied", Forbidden, invoice_issue, actor=actor, invoice=invoice)


class TestVoid:
    def test_void_keeps_the_document_and_releases_its_items(self, group: Group) -> None:
        invoice = issued(group)
        void = invoice_void(actor=group.manager, invoice=invoice, reason=" Wrong period ")
        assert (void.status, void.void_reason, void.number) == ("void", "Wrong period", invoice.number)
        assert InvoiceLine.objects.filter(invoice=invoice).count() == 1
        assert BilledItem.objects.get().released_at is not None
        history = Invoice.history.filter(id=invoice.pk).latest()
        assert history.history_change_reason == "Wrong period"
        assert OutboxEvent.objects.filter(topic="invoice.voided").count() == 1

    def test_a_reason_is_required(self, group: Group) -> None:
        invoice = issued(group)
        refused("reason_required", Invalid, invoice_void, actor=group.manager, invoice=invoice, reason="  ")

    def test_only_an_issued_invoice_is_voided(self, group: Group) -> None:
        invoice = draft(group)
        refused("not_issued", Conflict, invoice_void, actor=group.manager, invoice=invoice, reason="x")
        void = invoice_void(actor=group.manager, invoice=issued(group), reason="x")
        refused("not_issued", Conflict, invoice_void, actor=group.manager, invoice=void, reason="x")

    def test_what_was_issued_is_never_deleted(self, group: Group) -> None:
        invoice = issued(group)
        refused("not_a_draft", Conflict, invoice_discard, actor=group.manager, invoice=invoice)
        void = invoice_void(actor=group.manager, invoice=invoice, reason="x")
        refused("not_a_draft", Conflict, invoice_discard, actor=group.manager, invoice=void)


def sql(statement: str, *params: object) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, params)


class TestDatabaseGuards:
    """INV-01: whoever asks, the database refuses to rewrite what was issued."""

    @pytest.mark.parametrize(
        "change",
        [
            lambda i: Invoice.objects.filter(pk=i.pk).update(total=1, subtotal=1),
            lambda i: Invoice.objects.filter(pk=i.pk).update(number="X-1"),
            lambda i: Invoice.objects.filter(pk=i.pk).update(snapshot={}),
            lambda i: Invoice.objects.filter(pk=i.pk).update(status="draft"),
            lambda i: Invoice.objects.filter(pk=i.pk).update(due_date=date(2030, 1, 1)),
            lambda i: Invoice.objects.filter(pk=i.pk)._raw_delete("default"),
            lambda i: sql("UPDATE invoices SET entity_id = issuer_id WHERE id = %s", i.pk),
            lambda i: sql("DELETE FROM invoices WHERE id = %s", i.pk),
            lambda i: InvoiceLine.objects.filter(invoice=i).update(amount=1),
            lambda i: InvoiceLine.objects.filter(invoice=i).update(description="other"),
            lambda i: InvoiceLine.objects.filter(invoice=i)._raw_delete("default"),
            lambda i: sql("UPDATE invoice_lines SET amount = amount + 1 WHERE invoice_id = %s", i.pk),
            lambda i: sql(
                "INSERT INTO invoice_lines SELECT (jsonb_populate_record(l, jsonb_build_object("
                "'id', l.id + 1000, 'line_number', 99))).* FROM invoice_lines l WHERE invoice_id = %s", i.pk,
            ),
            lambda i: BilledItem.objects.filter(invoice_line__invoice=i)._raw_delete("default"),
            lambda i: sql("DELETE FROM billed_items"),
            lambda i: BilledItem.objects.update(released_at=datetime(2024, 10, 1, tzinfo=UTC)),
            lambda i: sql("UPDATE billed_items SET usage_record_id = usage_record_id + 1"),
        ],
    )  # fmt: skip
    def test_inv_01_an_issued_document_cannot_be_changed(self, group: Group, change) -> None:
        invoice = issued(group)
        before = (
            list(Invoice.objects.values()),
            list(InvoiceLine.objects.values()),
            list(BilledItem.objects.values()),
        )
        with pytest.raises(IntegrityError), transaction.atomic():
            change(invoice)
            sql("SET CONSTRAINTS ALL IMMEDIATE")
        assert before == (
            list(Invoice.objects.values()), list(InvoiceLine.objects.values()), list(BilledItem.objects.values()),
        )  # fmt: skip

    def test_a_void_document_cannot_come_back(self, group: Group) -> None:
        invoice = invoice_void(actor=group.manager, invoice=issued(group), reason="x")
        for change in ({"status": "issued"}, {"void_reason": "y"}):
            with pytest.raises(IntegrityError), transaction.atomic():
                Invoice.objects.filter(pk=invoice.pk).update(**change)
        with pytest.raises(IntegrityError), transaction.atomic():
            BilledItem.objects.update(released_at=None)

    def test_an_invoice_that_differs_from_its_lines_cannot_be_posted(self, group: Group) -> None:
        invoice = draft(group)
        Invoice.objects.filter(pk=invoice.pk).update(subtotal=Decimal(4), total=Decimal(4))
        with pytest.raises(IntegrityError, match="does not equal its lines"), transaction.atomic():
            invoice_issue(actor=group.manager, invoice=invoice)
        assert not NumberSeries.objects.exists()

    def test_an_item_is_billed_once_by_constraint(self, group: Group) -> None:
        line = issued(group).lines.get()
        record = group.usage_import.records.get()
        other = draft(group).lines.get()
        assert other.pk != line.pk
        with pytest.raises(IntegrityError, match="usage_record_billed_once"), transaction.atomic():
            BilledItem.objects.create(invoice_line=other, usage_record=record)
