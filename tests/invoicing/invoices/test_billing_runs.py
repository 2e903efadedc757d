"""Billing runs: prepared, checked, issued as previewed, resumed, cancelled; what is unusual is listed (INV-03, INV-04)."""

import os
import signal
import time
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from io import StringIO
from typing import Any

import pytest
import time_machine
from django.core.management import CommandError, call_command
from django.db import IntegrityError, transaction

from core.access import system_actor
from core.errors import BillingError, Conflict, Forbidden, Invalid
from core.locks import advisory_lock
from core.models import Notification, OutboxEvent
from core.outbox import dispatch_pending
from entities.models import Entity, LinkKind
from entities.services.entity import entity_link_set, entity_update
from invoicing.models import BilledItem, BillingRun, BillingRunItem, BillingSchedule, Invoice
from invoicing.selectors.billing_runs import invoice_fingerprint, payers_in, run_counts
from invoicing.services.billing_runs import (
    item_leave_out,
    run_cancel,
    run_check,
    run_create,
    run_issue,
    run_resume,
    run_work,
)
from invoicing.services.billing_schedules import (
    schedule_create,
    schedule_delete,
    schedule_update,
    schedules_start_due,
)
from invoicing.services.consolidation import consolidated_invoice_draft
from invoicing.services.invoice import invoice_discard, invoice_issue
from invoicing.tasks import resume_billing_runs
from tests.concurrency.test_budgets import together
from tests.invoicing.invoices.builders import SEPTEMBER, Group, build_group, rate

AUGUST = (date(2024, 8, 1), date(2024, 9, 1))
IN_AUGUST = date(2024, 8, 15)


def pays_alone(entity: Entity) -> Entity:
    return entity_update(actor=system_actor(), entity=entity, consolidated_billing=False)


@pytest.fixture
def three(group: Group) -> Group:
    """The root pays for the issuer; Germany and Japan pay for themselves."""
    pays_alone(group.germany)
    pays_alone(group.japan)
    return group


def use(group: Group, root: str = "", germany: str = "", japan: str = "", **fields: Any) -> None:
    """Usage of each payer, in its own currency."""
    if root:
        group.use(root, entity=group.root, **fields)
    if germany:
        group.use(germany, department=group.sales, currency="EUR", **fields)
    if japan:
        group.use(japan, department=group.tokyo, currency="JPY", **fields)


def started(group: Group, period: tuple[date, date] = SEPTEMBER, **options: Any) -> BillingRun:
    return run_create(
        actor=group.manager, scope=group.root, period_start=period[0], period_end=period[1], **options
    )


def prepared(group: Group, **options: Any) -> BillingRun:
    return run_work(run=started(group, **options))


def issued(group: Group, run: BillingRun) -> BillingRun:
    run_check(actor=group.manager, run=run)
    return run_work(run=run_issue(actor=group.manager, run=run))


def fresh(run: BillingRun) -> BillingRun:
    """A protected state is not refreshed on the object."""
    return BillingRun.objects.get(pk=run.pk)


def states(run: BillingRun) -> dict[str, str]:
    return dict(run.items.order_by("position").values_list("entity__code", "status"))


def item_of(run: BillingRun, entity: Entity) -> BillingRunItem:
    return run.items.select_related("run", "entity", "invoice").get(entity=entity)


def codes(item: BillingRunItem) -> list[str]:
    return [anomaly["code"] for anomaly in item.anomalies]


def refused(code: str, error: type[BillingError], act: Callable[[], Any]) -> BillingError:
    before = list(BillingRun.objects.values()), list(BillingRunItem.objects.values())
    with pytest.raises(error) as caught:
        act()
    assert caught.value.code == code
    assert (list(BillingRun.objects.values()), list(BillingRunItem.objects.values())) == before
    return caught.value


# --- The whole way ---------------------------------------------------------------------------------------


class TestRun:
    def test_inv_03_what_is_previewed_is_issued_and_a_second_run_bills_nothing(self, three: Group) -> None:
        use(three, root="10.004", germany="20.5", japan="300")
        run = prepared(three)
        assert (run.status, states(run)) == (
            "prepared",
            {"NORTH": "prepared", "NDE": "prepared", "NJP": "prepared"},
        )
        seen = list(run.items.values_list("entity__code", "total", "currency", "line_count", "fingerprint"))
        assert [row[:4] for row in seen] == [
            ("NORTH", Decimal("10"), "USD", 1), ("NDE", Decimal("20.5"), "EUR", 1), ("NJP", Decimal("300"), "JPY", 1),
        ]  # fmt: skip
        assert not Invoice.objects.posted().exists()

        run = issued(three, run)
        assert (run.status, run.finished_by) == ("finished", three.manager)
        assert set(states(run).values()) == {"issued"}
        invoices = Invoice.objects.posted().order_by("sequence_number")
        assert [(row.number, row.entity.code, row.total) for row in invoices] == [
            ("SHS-INV-2026-000001", "NORTH", Decimal("10")),
            ("SHS-INV-2026-000002", "NDE", Decimal("20.5")),
            ("SHS-INV-2026-000003", "NJP", Decimal("300")),
        ]
        assert [invoice_fingerprint(row.pk) for row in invoices] == [row[4] for row in seen]

        again = prepared(three)
        assert again.status == "finished"
        assert set(states(again).values()) == {"nothing_to_invoice"}
        assert Invoice.objects.count() == 3

    def test_inv_04_one_that_fails_stops_no_other_and_is_tried_again(self, three: Group) -> None:
        use(three, root="10", germany="20")
        three.use("7", department=three.tokyo)  # USD, and nobody knows its rate in JPY
        run = prepared(three)
        assert states(run) == {"NORTH": "prepared", "NDE": "prepared", "NJP": "failed"}
        japan = item_of(run, three.japan)
        assert (japan.error_code, japan.attempts, japan.invoice) == ("no_exchange_rate", 1, None)
        run = issued(three, run)
        # Two are issued, and the run waits for somebody to decide about the third.
        assert (run.status, run.checked_by) == ("prepared", None)
        assert states(run) == {"NORTH": "issued", "NDE": "issued", "NJP": "failed"}
        rate("USD", "JPY", "150")
        run = run_work(run=run_resume(actor=three.manager, run=run))
        assert states(run) == {"NORTH": "issued", "NDE": "issued", "NJP": "prepared"}
        assert issued(three, run).status == "finished"
        assert item_of(run, three.japan).invoice.total == Decimal("1050")
        assert Invoice.objects.posted().count() == 3

    def test_a_payer_without_an_issuer_fails_alone(self, three: Group) -> None:
        """Nobody invoices itself: the default issuer is its own payer here (ENT-00)."""
        pays_alone(three.issuer)
        use(three, germany="20")
        three.use("5", entity=three.issuer)
        run = prepared(three)
        assert states(run) == {
            "NORTH": "nothing_to_invoice", "NDE": "prepared", "NJP": "nothing_to_invoice", "SHS": "failed",
        }  # fmt: skip
        assert item_of(run, three.issuer).error_code == "no_issuer"
        run = issued(three, run)
        left = item_leave_out(actor=three.manager, item=item_of(run, three.issuer), reason="Own use")
        assert (left.status, left.left_out_reason) == ("left_out", "Own use")
        # Nothing is left to be decided.
        assert fresh(run).status == "finished"

    def test_inv_03_a_draft_that_was_changed_is_reported_and_not_issued(self, three: Group) -> None:
        use(three, root="10", germany="20")
        run = prepared(three)
        run_check(actor=three.manager, run=run)
        use(three, germany="1")  # arrives after the check, and somebody brings the draft up to date
        changed = consolidated_invoice_draft(
            actor=three.manager, payer=three.germany, period_start=SEPTEMBER[0], period_end=SEPTEMBER[1]
        ).invoice
        run = run_work(run=run_issue(actor=three.manager, run=run))
        assert run.status == "prepared"
        assert states(run) == {"NORTH": "issued", "NDE": "failed", "NJP": "nothing_to_invoice"}
        germany = item_of(run, three.germany)
        assert (germany.error_code, germany.total, germany.invoice) == (
            "draft_changed", Decimal("20"), changed,
        )  # fmt: skip
        assert Invoice.objects.get(pk=changed.pk).status == "draft"
        run = run_work(run=run_resume(actor=three.manager, run=run))
        assert item_of(run, three.germany).total == Decimal("21")
        assert issued(three, run).status == "finished"

    def test_a_draft_issued_or_discarded_by_hand(self, three: Group) -> None:
        use(three, root="10", germany="20")
        run = prepared(three)
        run_check(actor=three.manager, run=run)
        by_hand = invoice_issue(actor=three.manager, invoice=item_of(run, three.root).invoice)
        invoice_discard(actor=three.manager, invoice=item_of(run, three.germany).invoice)
        run = run_work(run=run_issue(actor=three.manager, run=run))
        root, germany = item_of(run, three.root), item_of(run, three.germany)
        assert (root.status, root.invoice, root.issued_at) == ("issued", by_hand, by_hand.issued_at)
        assert (germany.status, germany.error_code) == ("failed", "draft_gone")
        assert Invoice.objects.count() == 1

    def test_payers_are_left_out_at_the_check_and_billed_by_the_next_run(self, three: Group) -> None:
        use(three, root="10", germany="20")
        run = prepared(three)
        germany = item_of(run, three.germany)
        refused(
            "reason_required",
            Invalid,
            lambda: run_check(actor=three.manager, run=run, leave_out={germany.pk: " "}),
        )
        run_check(actor=three.manager, run=run, leave_out={germany.pk: "Waits for the audit"})
        assert not Invoice.objects.filter(entity=three.germany).exists()
        assert run_work(run=run_issue(actor=three.manager, run=run)).status == "finished"
        assert states(prepared(three)) == {
            "NORTH": "nothing_to_invoice", "NDE": "prepared", "NJP": "nothing_to_invoice",
        }  # fmt: skip

    def test_cancelling_discards_its_own_drafts_and_keeps_what_was_there(self, three: Group) -> None:
        use(three, root="10", germany="20")
        earlier = consolidated_invoice_draft(
            actor=three.manager, payer=three.root, period_start=SEPTEMBER[0], period_end=SEPTEMBER[1]
        ).invoice
        run = prepared(three)
        assert item_of(run, three.root).invoice == earlier
        run = run_work(run=run_cancel(actor=three.manager, run=run, reason="Wrong month"))
        assert (run.status, run.cancel_reason) == ("cancelled", "Wrong month")
        assert states(run) == {"NORTH": "left_out", "NDE": "left_out", "NJP": "nothing_to_invoice"}
        assert list(Invoice.objects.all()) == [earlier]
        assert BilledItem.objects.count() == 1
        refused("run_over", Conflict, lambda: run_resume(actor=three.manager, run=run))
        assert prepared(three).status == "prepared"

    def test_who_checks_is_told_and_who_started_it_hears_the_end(self, three: Group) -> None:
        use(three, root="10")
        second = three.person("finance_manager")
        run = prepared(three)
        dispatch_pending()
        told = Notification.objects.filter(kind="billing_run_prepared")
        assert {message.user for message in told} == {three.manager, second}
        assert "1 invoices are prepared, 1 of them unusual." in told[0].body
        issued(three, run)
        dispatch_pending()
        assert [row.user for row in Notification.objects.filter(kind="billing_run_finished")] == [
            three.manager
        ]
        topics = OutboxEvent.objects.filter(topic__startswith="billing_run").order_by("pk")
        assert [event.topic for event in topics] == [
            "billing_run.prepared", "billing_run.checked", "billing_run.finished",
        ]  # fmt: skip


class TestStatesAndRights:
    def test_one_open_run_per_scope_and_period(self, three: Group) -> None:
        run = started(three)
        refusal = refused("run_open", Conflict, lambda: started(three))
        assert refusal.extra == {"billing_run_id": run.pk}
        with pytest.raises(IntegrityError, match="billing_run_one_open"), transaction.atomic():
            BillingRun.objects.create(
                scope=three.root, period_start=SEPTEMBER[0], period_end=SEPTEMBER[1], acting=three.manager,
                started_by=three.manager, started_at=run.started_at,
            )  # fmt: skip
        assert started(three, AUGUST).pk != run.pk

    def test_nothing_is_checked_while_payers_wait_nor_issued_unchecked(self, three: Group) -> None:
        use(three, root="10")
        run = started(three)
        refused("run_not_prepared", Conflict, lambda: run_check(actor=three.manager, run=run))
        refused("run_not_checked", Conflict, lambda: run_issue(actor=three.manager, run=run))
        run = run_work(run=run)
        refused("run_not_checked", Conflict, lambda: run_issue(actor=three.manager, run=run))
        refused("nothing_to_resume", Conflict, lambda: run_resume(actor=three.manager, run=run))
        run_check(actor=three.manager, run=run)
        refused(
            "issue_date_in_future",
            Invalid,
            lambda: run_issue(actor=three.manager, run=run, issue_date=date(2199, 1, 1)),
        )
        with pytest.raises(IntegrityError, match="billing_run_checked"), transaction.atomic():
            BillingRun.objects.filter(pk=run.pk).update(checked_at=None)
        with pytest.raises(IntegrityError, match="item_failed_says_why"), transaction.atomic():
            BillingRunItem.objects.filter(run=run).update(status="failed", error_code="")

    def test_ent_04_each_step_needs_its_right(self, three: Group) -> None:
        use(three, root="10", germany="20")
        auditor, staff = three.person("auditor"), three.person("finance_staff")
        refused(
            "permission_denied",
            Forbidden,
            lambda: run_create(
                actor=auditor, scope=three.root, period_start=SEPTEMBER[0], period_end=SEPTEMBER[1]
            ),
        )
        run = run_work(
            run=run_create(actor=staff, scope=three.root, period_start=SEPTEMBER[0], period_end=SEPTEMBER[1])
        )
        refused("permission_denied", Forbidden, lambda: run_check(actor=staff, run=run))
        run_check(actor=three.manager, run=run)
        refused("permission_denied", Forbidden, lambda: run_issue(actor=auditor, run=run))
        refused("permission_denied", Forbidden, lambda: run_cancel(actor=auditor, run=run, reason="No"))
        assert run_work(run=run_issue(actor=staff, run=run)).status == "finished"
        assert Invoice.objects.posted().first().issued_by == staff
        local = three.person("finance_manager", three.germany)
        assert not BillingRun.objects.visible_to(local).exists()
        assert not BillingRunItem.objects.visible_to(local).exists()

    def test_two_open_runs_never_share_a_draft(self, three: Group) -> None:
        use(three, germany="20")
        whole = prepared(three)
        part = run_work(
            run=run_create(
                actor=three.manager, scope=three.germany, period_start=SEPTEMBER[0], period_end=SEPTEMBER[1]
            )
        )
        item = item_of(part, three.germany)
        assert (item.status, item.error_code) == ("failed", "in_another_run")
        assert f"billing run {whole.pk}" in item.error_text

    def test_an_unforeseen_fault_is_kept_and_gives_nothing_away(
        self, three: Group, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        use(three, root="10", germany="20")

        def broken(draft: Invoice) -> Any:
            if draft.entity == three.root:
                raise ZeroDivisionError("secret")
            return look(draft)

        from invoicing.services import billing_runs

        look = billing_runs.look_at
        monkeypatch.setattr(billing_runs, "look_at", broken)
        run = prepared(three)
        assert states(run) == {"NORTH": "failed", "NDE": "prepared", "NJP": "nothing_to_invoice"}
        item = item_of(run, three.root)
        assert item.error_code == "unexpected"
        assert "secret" not in item.error_text
        assert not Invoice.objects.filter(entity=three.root).exists()


class TestPayers:
    def test_ent_02_who_pays_on_some_day_is_a_payer_those_above_first(self, three: Group) -> None:
        def of(scope: Entity) -> list[str]:
            names = dict(Entity.objects.values_list("pk", "code"))
            return [names[pk] for pk in payers_in(scope, *SEPTEMBER)]

        assert of(three.root) == ["NORTH", "NDE", "NJP"]
        assert of(three.issuer) == []
        refused(
            "no_payers",
            Conflict,
            lambda: run_create(
                actor=three.manager, scope=three.issuer, period_start=SEPTEMBER[0], period_end=SEPTEMBER[1]
            ),
        )

        def link(entity: Entity, target: Entity, start: date, end: date | None) -> None:
            entity_link_set(
                actor=system_actor(),
                entity=entity,
                kind=LinkKind.PAYER,
                target=target,
                valid_from=start,
                valid_to=end,
            )

        # Germany pays for Japan all month; the issuer for Germany until the 10th.
        link(three.japan, three.germany, date(2024, 1, 1), None)
        link(three.germany, three.issuer, date(2024, 1, 1), date(2024, 9, 10))
        assert of(three.root) == ["NORTH", "NDE", "SHS"]

    def test_ent_00_a_run_of_one_issuer_takes_its_payers_only(self, three: Group) -> None:
        germany = entity_update(actor=system_actor(), entity=three.germany, is_issuer=True)
        assert states(started(three, issuer=three.issuer)) == {
            "NORTH": "waiting", "NDE": "waiting", "NJP": "waiting",
        }  # fmt: skip
        refused("no_payers", Conflict, lambda: started(three, AUGUST, issuer=germany))
        refused("not_an_issuer", Invalid, lambda: started(three, AUGUST, issuer=three.japan))


# --- What is unusual -------------------------------------------------------------------------------------


class TestAnomalies:
    def before(self, group: Group, **amounts: str) -> None:
        """August is issued."""
        use(group, day=IN_AUGUST, **amounts)
        issued(group, prepared(group, period=AUGUST))

    def test_inv_03_nothing_is_said_of_a_usual_invoice(self, three: Group) -> None:
        self.before(three, root="100")
        three.use("129.99", department=None, entity=three.root)
        item = item_of(prepared(three), three.root)
        # All of it is unallocated, as the root has no department.
        assert codes(item) == ["unallocated_usage"]
        assert item.anomalies[0]["data"] == {"amount": "129.99", "percent": "100.0"}
        assert (item.previous_total, item.previous_invoice.period_start) == (Decimal("100"), AUGUST[0])

    def test_inv_03_a_total_that_changed_and_services_that_come_and_go(self, three: Group) -> None:
        entity_update(
            actor=system_actor(), entity=three.germany, street="Hafenstr. 1", city="Hamburg", country="DE"
        )
        self.before(three, germany="100")
        use(three, germany="60", service_name="Amazon S3")
        use(three, germany="70.5", service_name="Amazon EKS")
        germany = item_of(prepared(three), three.germany)
        assert [(row["code"], row["data"]) for row in germany.anomalies] == [
            ("total_changed", {"total": "130.50", "last_total": "100.00", "percent": "30.5"}),
            ("services_appeared", {"AWS Amazon EKS": "70.50", "AWS Amazon S3": "60.00"}),
            ("services_vanished", {"AWS Amazon Elastic Compute Cloud": "100.00"}),
        ]
        assert germany.anomalies[0]["detail"] == (
            "130.50 EUR after 100.00 EUR in the last period (2024-08-01 to 2024-08-31): +30.5\N{NO-BREAK SPACE}%."
        )
        assert germany.anomalies[1]["detail"] == (
            "2 services are new since the last invoice: AWS Amazon EKS (70.50 EUR), AWS Amazon S3 (60.00 EUR)."
        )

    def test_a_payer_that_takes_over_another_entity(self, three: Group) -> None:
        self.before(three, root="100", japan="100")
        entity_update(actor=system_actor(), entity=three.japan, consolidated_billing=True)
        rate("JPY", "USD", "0.01", on=date(2024, 9, 26))
        use(three, root="100", japan="1000")
        item = item_of(prepared(three), three.root)
        assert codes(item) == ["entities_appeared", "unallocated_usage", "old_rate"]
        assert item.anomalies[0]["data"] == {"Northwind Japan": "10.00"}
        assert item.anomalies[2]["data"] == {"currency": "JPY", "date": "2024-09-26"}

    def test_first_zero_negative_and_missing_details(self, three: Group) -> None:
        entity_update(actor=system_actor(), entity=three.issuer, iban="", bic="", tax_id="")
        entity_update(
            actor=system_actor(), entity=three.germany, tax_treatment="S", street="Hafenstr. 1", country="DE"
        )
        use(three, root="5", germany="-20", japan="1")
        use(three, japan="-1")
        run = prepared(three)
        assert codes(item_of(run, three.root)) == [
            "first_invoice",
            "unallocated_usage",
            "issuer_bank_missing",
        ]
        assert codes(item_of(run, three.germany)) == [
            "negative_total", "first_invoice", "issuer_bank_missing", "issuer_tax_id_missing", "tax_rate_missing",
            "address_missing",
        ]  # fmt: skip
        assert codes(item_of(run, three.japan)) == [
            "zero_total", "first_invoice", "issuer_bank_missing", "address_missing",
        ]  # fmt: skip
        run = issued(three, run)
        germany = item_of(run, three.germany)
        assert (run.status, germany.status, germany.error_code) == ("prepared", "failed", "negative_total")


# --- Schedules -------------------------------------------------------------------------------------------


def schedule(group: Group, **fields: Any) -> BillingSchedule:
    return schedule_create(actor=group.manager, scope=group.root, **{"day_of_month": 3, **fields})


class TestSchedules:
    def test_rep_04_missed_months_are_caught_up_once_each(self, three: Group) -> None:
        with time_machine.travel(datetime(2024, 8, 2, tzinfo=UTC), tick=False):
            made = schedule(three)
            assert made.next_period == date(2024, 7, 1)
            assert schedules_start_due(actor=system_actor()).runs == []
        with time_machine.travel(datetime(2024, 10, 4, tzinfo=UTC), tick=False):
            runs = schedules_start_due(actor=system_actor()).runs
            assert [run.period_start for run in runs] == [date(2024, month, 1) for month in (7, 8, 9)]
            assert {run.started_by for run in runs} == {system_actor()}
            assert schedules_start_due(actor=system_actor()).runs == []
        made.refresh_from_db()
        assert made.next_period == date(2024, 10, 1)
        run_cancel(actor=three.manager, run=runs[1], reason="Not needed")
        # It stays the schedule's run of the month.
        with pytest.raises(IntegrityError, match="billing_run_once_per_schedule"), transaction.atomic():
            BillingRun.objects.filter(pk=runs[0].pk).update(
                period_start=date(2024, 8, 1), period_end=date(2024, 9, 1)
            )
        refused("in_use", Conflict, lambda: schedule_delete(actor=three.manager, schedule=made))

    def test_what_cannot_start_is_told_and_tried_again(self, three: Group) -> None:
        made = schedule(three, next_period=SEPTEMBER[0])
        by_hand = started(three)
        assert schedules_start_due(actor=system_actor()).problems == 1
        made.refresh_from_db()
        assert "is not finished yet" in made.last_problem
        assert made.next_period == SEPTEMBER[0]
        run_cancel(actor=three.manager, run=by_hand, reason="The schedule does it")
        with time_machine.travel(datetime(2024, 10, 4, tzinfo=UTC), tick=False):
            assert [run.schedule_id for run in schedules_start_due(actor=system_actor()).runs] == [made.pk]

    def test_it_issues_by_itself_only_what_is_not_unusual(self, three: Group) -> None:
        entity_update(
            actor=system_actor(), entity=three.germany, street="Hafenstr. 1", city="Hamburg", country="DE"
        )
        with time_machine.travel(datetime(2024, 9, 4, tzinfo=UTC), tick=False):
            schedule(three, issue_mode="automatic", next_period=AUGUST[0])
            use(three, germany="100", day=IN_AUGUST)
            (august,) = schedules_start_due(actor=system_actor()).runs
            august = run_work(run=august)
            # The first invoice of a payer: somebody has to look.
            assert (august.status, august.issue_mode) == ("prepared", "by_hand")
            issued(three, august)
        with time_machine.travel(datetime(2024, 10, 4, tzinfo=UTC), tick=False):
            use(three, germany="101")
            (september,) = schedules_start_due(actor=system_actor()).runs
            september = run_work(run=september)
        assert (september.status, september.checked_by) == ("finished", system_actor())
        assert Invoice.objects.posted().count() == 2

    def test_ent_04_rights_and_refusals(self, three: Group) -> None:
        staff = three.person("finance_staff")
        with pytest.raises(Forbidden):
            schedule_create(actor=staff, scope=three.root)
        made = schedule(three)
        for code, fields in (
            ("schedule_exists", {}),
            ("not_an_issuer", {"issuer": three.japan}),
            ("not_first_of_month", {"next_period": date(2024, 9, 2)}),
        ):
            with pytest.raises(BillingError) as caught:
                schedule(three, **fields)
            assert caught.value.code == code
        with pytest.raises(Invalid):
            schedule_update(actor=three.manager, schedule=made, day_of_month=29)
        changed = schedule_update(actor=three.manager, schedule=made, day_of_month=28, is_active=False)
        assert (changed.day_of_month, changed.version) == (28, 2)
        schedule_delete(actor=three.manager, schedule=made)
        assert not BillingSchedule.objects.exists()


# --- The command -----------------------------------------------------------------------------------------


def run_billing(*options: str, scope: str = "NORTH") -> str:
    out = StringIO()
    period = ("--from", "2024-09-01", "--to", "2024-10-01")
    call_command("run_billing", "--scope", scope, *period, *options, stdout=out, stderr=StringIO())
    return out.getvalue()


class TestCommand:
    def test_prepare_check_issue_and_again(self, three: Group) -> None:
        use(three, root="10", germany="20.5")
        shown = run_billing("--prepare")
        assert "Northwind Germany" in shown
        assert "1 prepared: 20.50 EUR" in shown
        assert "is to be checked: 0 issued, 2 prepared." in shown
        run = BillingRun.objects.get()
        assert run.history.earliest().channel == "command"
        assert "is finished: 2 issued, 0 prepared." in run_billing("--check", "--issue", "--yes")
        assert run_billing() == run_billing()
        assert "is finished: 0 issued" in run_billing("--prepare", "--check", "--issue", "--yes")
        with pytest.raises(CommandError, match="Start one with --prepare"):
            run_billing("--issue", "--yes")
        assert Invoice.objects.count() == 2

    def test_failures_are_told_and_resumed(self, three: Group) -> None:
        use(three, root="10")
        three.use("7", department=three.tokyo)
        shown = run_billing("--prepare", "--check", "--issue", "--yes")
        assert "1 issued, 0 prepared, 1 failed. Put right why, then give --resume." in shown
        assert "Northwind Japan: There is no exchange rate" in shown
        rate("USD", "JPY", "150")
        assert "is finished: 2 issued" in run_billing("--resume", "--check", "--issue", "--yes")


# --- At once, and killed ---------------------------------------------------------------------------------


@pytest.fixture
def committed(transactional_db: None) -> Group:
    group = build_group()
    pays_alone(group.germany)
    pays_alone(group.japan)
    use(group, root="10", germany="20", japan="30")
    return group


def wait_for(condition: Callable[[], Any], what: str, process: Any = None) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, f"never: {what}"
        assert process is None or process.poll() is None, process.stdout.read()
        time.sleep(0.02)


@pytest.mark.concurrency
class TestAtOnce:
    def test_inv_03_two_workers_share_a_run_and_do_nothing_twice(self, committed: Group) -> None:
        run = started(committed)
        together(*[lambda: run_work(run=run).status] * 2)
        run = fresh(run)
        assert (run.status, run_counts(run.pk).prepared) == ("prepared", 3)
        run_check(actor=committed.manager, run=run)
        run_issue(actor=committed.manager, run=run)
        together(*[lambda: run_work(run=run).status] * 2)
        assert fresh(run).status == "finished"
        assert sorted(Invoice.objects.posted().values_list("sequence_number", flat=True)) == [1, 2, 3]
        assert BilledItem.objects.count() == 3
        assert OutboxEvent.objects.filter(topic="invoice.issued").count() == 3

    def test_inv_03_two_runs_over_the_same_scope_at_once_are_one(self, committed: Group) -> None:
        outcomes = together(*[lambda: run_work(run=started(committed)).status] * 2)
        assert sorted(outcomes) == ["prepared", "run_open"]
        assert Invoice.objects.count() == 3

    @pytest.mark.parametrize("stage", ["preparing", "issuing"])
    def test_inv_03_a_killed_run_goes_on_where_it_stopped(
        self, committed: Group, start_process: Callable[..., Any], stage: str
    ) -> None:
        """The process is killed while it works on the second payer: that one is undone, the first one stays."""
        command = (
            "manage.py",
            "run_billing",
            "--scope",
            "NORTH",
            "--from",
            "2024-09-01",
            "--to",
            "2024-10-01",
            "--yes",
        )
        options = ["--prepare"]
        if stage == "issuing":
            prepared(committed)
            options = ["--check", "--issue"]
        done = "prepared" if stage == "preparing" else "issued"
        with transaction.atomic():
            if stage == "preparing":
                advisory_lock(f"consolidated-invoice:{committed.germany.pk}")
            else:
                Invoice.objects.select_for_update().get(entity=committed.germany)
            process = start_process(*command, *options)
            wait_for(
                lambda: BillingRunItem.objects.filter(status=done).exists(), f"first one {done}", process
            )
            wait_for(lambda: _waits_for_lock(), "held up at the second", process)
            os.kill(process.pid, signal.SIGKILL)
            assert process.wait() == -signal.SIGKILL
        run = BillingRun.objects.get()
        wait_for(lambda: not _is_locked(run), "its locks are free")
        assert run.status == stage
        assert list(run.items.order_by("position").values_list("status", flat=True)) == (
            ["prepared", "waiting", "waiting"] if stage == "preparing" else ["issued", "prepared", "prepared"]
        )
        with time_machine.travel(datetime.now(UTC).replace(year=2027), tick=False):
            # The scheduler would take it up; here its worker is us.
            assert resume_billing_runs() == 1
        run = run_work(run=run)
        if stage == "preparing":
            assert run.status == "prepared"
            run = issued(committed, run)
        assert run.status == "finished"
        invoices = Invoice.objects.posted().order_by("sequence_number")
        assert [(row.sequence_number, row.total) for row in invoices] == [
            (1, Decimal("10")), (2, Decimal("20")), (3, Decimal("30")),
        ]  # fmt: skip
        assert Invoice.objects.count() == BilledItem.objects.count() == 3
        assert OutboxEvent.objects.filter(topic="invoice.issued").count() == 3


def _waits_for_lock() -> bool:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT exists(SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock')"
        )
        return bool(cursor.fetchone()[0])


def _is_locked(run: BillingRun) -> bool:
    with transaction.atomic():
        return (
            BillingRun.objects.select_for_update(skip_locked=True).filter(pk=run.pk).first() is None
            or BillingRunItem.objects.select_for_update(skip_locked=True).filter(run=run).count() < 3
        )
