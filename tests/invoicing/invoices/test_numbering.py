"""Numbers without gap or duplicate (INV-02), also under threads with connections of their own."""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction

from core.errors import Conflict
from entities.models import Department
from entities.services.department import department_create
from entities.services.entity import entity_create
from invoicing.models import BilledItem, Invoice, InvoiceLine, NumberSeries, UsageRecord
from invoicing.selectors.invoice import numbering_proof
from invoicing.services.consolidation import consolidated_invoice_draft
from invoicing.services.invoice import invoice_issue
from invoicing.services.numbering import number_take, series_for
from tests.invoicing.invoices.builders import SEPTEMBER, Group, build_group, row, usage

THREADS = 8


def in_threads(count: int, work: Callable[[int], object]) -> list[object]:
    """Run `work(n)` in 8 threads, each with its own connection; return results and exceptions."""

    def run(number: int) -> object:
        try:
            return work(number)
        except Exception as error:  # noqa: BLE001  # the test looks at every outcome
            return error
        finally:
            connection.close()

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(run, range(count)))


def drafts(group: Group, count: int) -> list[Invoice]:
    """Drafts of as many separate payers."""
    made = []
    for number in range(count):
        payer = entity_create(
            actor=group.manager, name=f"Unit {number}", code=f"U{number}", entity_type="division", parent=group.root,
            currency="USD", consolidated_billing=False,
        )  # fmt: skip
        group.use("1", entity=payer)
        made.append(
            consolidated_invoice_draft(
                actor=group.manager, payer=payer, period_start=SEPTEMBER[0], period_end=SEPTEMBER[1]
            ).invoice
        )
    return made


@pytest.mark.concurrency
class TestNumbersUnderThreads:
    def test_inv_02_eight_threads_leave_no_gap_and_no_duplicate(self) -> None:
        group = build_group()
        waiting = drafts(group, 24)
        results = in_threads(
            24, lambda n: invoice_issue(actor=group.manager, invoice=waiting[n]).sequence_number
        )
        assert sorted(results) == list(range(1, 25))
        proof = numbering_proof(NumberSeries.objects.get())
        assert proof.holds
        assert (proof.documents, proof.counter) == (24, 24)

    def test_inv_02_rollbacks_leave_no_gap(self) -> None:
        group = build_group()
        waiting = drafts(group, 24)
        failing = set(random.Random(7).sample(range(24), 9))

        class Undone(Exception):
            pass

        def issue(number: int) -> int | None:
            try:
                with transaction.atomic():
                    invoice = invoice_issue(actor=group.manager, invoice=waiting[number])
                    if number in failing:
                        raise Undone
            except Undone:
                return None
            return invoice.sequence_number

        results = in_threads(24, issue)
        assert sorted(r for r in results if r is not None) == list(range(1, 16))
        assert numbering_proof(NumberSeries.objects.get()).holds
        assert Invoice.objects.drafts().count() == 9

    def test_one_draft_is_issued_once(self) -> None:
        group = build_group()
        (waiting,) = drafts(group, 1)
        results = in_threads(8, lambda n: invoice_issue(actor=group.manager, invoice=waiting).sequence_number)
        assert [r for r in results if not isinstance(r, Exception)] == [1]
        assert {r.code for r in results if isinstance(r, Exception)} == {"not_a_draft"}
        assert numbering_proof(NumberSeries.objects.get()).holds


@pytest.mark.concurrency
class TestBilledOnce:
    """INV-03: no charge is billed twice and none is lost, whoever runs at the same time."""

    def run(self, group: Group, payers: list) -> list[object]:
        def work(number: int) -> object:
            with transaction.atomic():
                made = consolidated_invoice_draft(
                    actor=group.manager,
                    payer=payers[number % len(payers)],
                    period_start=SEPTEMBER[0],
                    period_end=SEPTEMBER[1],
                )
                return invoice_issue(actor=group.manager, invoice=made.invoice)

        return in_threads(THREADS, work)

    def check(self, results: list[object], charges: int) -> None:
        refused = {r.code for r in results if isinstance(r, Conflict)}
        assert [r for r in results if isinstance(r, Exception) and not isinstance(r, Conflict)] == []
        assert refused <= {"nothing_to_invoice"}
        assert BilledItem.objects.count() == charges
        assert sum(i.total for i in Invoice.objects.posted()) == charges
        assert sum(line.item_count for line in InvoiceLine.objects.all()) == charges
        assert numbering_proof(NumberSeries.objects.get()).holds

    def test_the_same_scope(self) -> None:
        group = build_group()
        usage(group.usage_import, [row("1", None, group.sales, group.root) for _ in range(400)])
        results = self.run(group, [group.root])
        self.check(results, 400)
        assert Invoice.objects.count() == 1

    def test_overlapping_scopes(self) -> None:
        group = build_group(currency="USD")
        payers = [group.root]
        departments: list[Department] = []
        parent = group.root
        for depth in range(3):
            parent = entity_create(
                actor=group.manager, name=f"Level {depth}", code=f"L{depth}", entity_type="division", parent=parent,
                currency="USD",
            )  # fmt: skip
            payers.append(parent)
            departments.append(department_create(actor=group.manager, entity=parent, name="All", code="1"))
        usage(
            group.usage_import,
            [row("1", None, departments[n % 3], group.root, service_name=f"S{n % 5}") for n in range(600)],
        )
        self.check(self.run(group, payers), 600)

    def test_a_charge_that_is_being_remapped_is_billed_where_it_ends_up(self) -> None:
        group = build_group()
        records = usage(group.usage_import, [row("1", None, group.sales, group.root) for _ in range(3)])
        moved, run_started = threading.Event(), threading.Event()

        def remap() -> None:
            with transaction.atomic():
                UsageRecord.objects.filter(pk=records[1].pk).update(department=group.research)
                moved.set()
                run_started.wait(10)
                # The run has computed by now, or waits for this row's lock.
                time.sleep(0.5)

        def consolidate() -> Invoice:
            moved.wait(10)
            run_started.set()
            return consolidated_invoice_draft(
                actor=group.manager, payer=group.root, period_start=SEPTEMBER[0], period_end=SEPTEMBER[1]
            ).invoice

        first, second = in_threads(2, lambda n: (remap, consolidate)[n]())
        assert first is None
        assert isinstance(second, Invoice)
        billed = {line.department_id: line.item_count for line in second.lines.all()}
        stored = Counter(UsageRecord.objects.values_list("department_id", flat=True))
        assert billed == stored == {group.sales.pk: 2, group.research.pk: 1}

    def test_charges_that_arrive_during_the_run_are_billed_whole_or_later(self) -> None:
        group = build_group()
        usage(group.usage_import, [row("1", None, group.sales, group.root) for _ in range(50)])

        def work(number: int) -> object:
            if number % 2:
                return usage(group.usage_import, [row("1", None, group.sales, group.root) for _ in range(20)])
            return consolidated_invoice_draft(
                actor=group.manager, payer=group.root, period_start=SEPTEMBER[0], period_end=SEPTEMBER[1]
            )

        results = in_threads(THREADS, work)
        assert {getattr(r, "code", None) for r in results if isinstance(r, Exception)} <= {
            "charges_in_motion"
        }
        invoice = Invoice.objects.get()
        assert invoice.total == BilledItem.objects.count() == invoice.lines.get().item_count
        work(0)
        assert Invoice.objects.get().total == 130


class TestProof:
    def issued(self, group: Group, count: int) -> NumberSeries:
        for invoice in drafts(group, count):
            invoice_issue(actor=group.manager, invoice=invoice)
        return NumberSeries.objects.get()

    def test_a_complete_series_holds(self, group: Group) -> None:
        proof = numbering_proof(self.issued(group, 3))
        assert proof.holds
        assert proof.sentence.endswith(": numbers 1 to 3 are all there, each once.")
        assert (proof.first, proof.last, proof.documents, proof.counter) == (1, 3, 3, 3)

    def test_an_empty_series_holds(self, group: Group) -> None:
        series = series_for(issuer=group.issuer, document_type="invoice", fiscal_year=2024)
        assert numbering_proof(series).holds
        call_command("verify_numbering", stdout=StringIO())

    def test_the_first_gap_is_named(self, group: Group) -> None:
        series = self.issued(group, 3)
        with connection.cursor() as cursor:
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
            cursor.execute("ALTER TABLE invoices DISABLE TRIGGER USER")
            cursor.execute("UPDATE invoices SET sequence_number = 7 WHERE sequence_number = 2")
            cursor.execute("ALTER TABLE invoices ENABLE TRIGGER USER")
        proof = numbering_proof(series)
        assert not proof.holds
        assert list(proof.missing) == [2, 4, 5, 6]
        assert len(proof.misspelt) == 1
        errors = StringIO()
        with pytest.raises(CommandError, match="number 2 is missing") as caught:
            call_command("verify_numbering", stdout=errors)
        assert caught.value.returncode == 1

    def test_a_counter_that_ran_ahead_is_a_gap(self, group: Group) -> None:
        series = self.issued(group, 2)
        number_take(
            issuer=series.issuer,
            document_type=series.document_type,
            fiscal_year=series.fiscal_year,
            issue_date=date(2030, 1, 1),
        )
        proof = numbering_proof(NumberSeries.objects.get())
        assert list(proof.missing) == [3]
        assert not proof.holds

    def test_a_duplicate_is_refused_by_the_database_and_found_by_the_proof(self, group: Group) -> None:
        series = self.issued(group, 2)
        with connection.cursor() as cursor:
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
            cursor.execute("ALTER TABLE invoices DISABLE TRIGGER USER")
            cursor.execute("ALTER TABLE invoices DROP CONSTRAINT invoice_sequence_once")
            cursor.execute("UPDATE invoices SET sequence_number = 1")
        proof = numbering_proof(series)
        assert list(proof.duplicates) == [1]
        assert list(proof.missing) == [2]
        assert not proof.holds
