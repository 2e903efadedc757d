"""Billing runs and schedules at the API and in the back-office (INV-03, ENT-04)."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from rest_framework.test import APIClient

from core import clock
from core.access import system_actor
from core.api.tokens import forget_all
from entities.services.entity import entity_create
from invoicing.models import BillingRun, BillingRunItem, BillingSchedule, Invoice
from invoicing.services.billing_runs import run_work
from tests.invoicing.invoices.builders import Group
from tests.invoicing.invoices.test_admin import pages
from tests.invoicing.invoices.test_api import BASE, PERIOD, client
from tests.invoicing.invoices.test_billing_runs import issued, item_of, pays_alone, prepared, use

RUNS = f"{BASE}/billing-runs"


@pytest.fixture
def three(group: Group) -> Group:
    forget_all()
    pays_alone(group.germany)
    pays_alone(group.japan)
    return group


@pytest.fixture
def api(three: Group) -> APIClient:
    return client(three.manager)


def post(api: APIClient, run_id: int, what: str, **body: Any) -> Any:
    return api.post(f"{RUNS}/{run_id}/{what}", body, format="json")


class TestApi:
    def test_inv_03_the_whole_way(self, api: APIClient, three: Group) -> None:
        use(three, root="10", germany="20.5")
        three.use("7", department=three.tokyo)
        answer = api.post(RUNS, {"scope_id": three.root.pk, **PERIOD}, format="json")
        assert answer.status_code == 201
        body = answer.json()
        run_id = body["id"]
        assert (body["status"], body["counts"]["waiting"], body["progress"]["words"]) == (
            "preparing", 3, "0 of 3 payers looked at",
        )  # fmt: skip
        assert (
            api.post(RUNS, {"scope_id": three.root.pk, **PERIOD}, format="json").json()["code"] == "run_open"
        )
        assert post(api, run_id, "check").json()["code"] == "run_not_prepared"
        run = run_work(run=BillingRun.objects.get())

        body = api.get(f"{RUNS}/{run_id}").json()
        assert body["progress"] == {"done": 3, "total": 3, "words": "3 of 3 payers looked at, 1 failed"}
        assert body["totals"] == [
            {"currency": "EUR", "status": "prepared", "invoices": 1, "subtotal": "20.50", "tax_total": "0.00",
             "total": "20.50", "credit_notes": 0, "credited": "0.00"},
            {"currency": "USD", "status": "prepared", "invoices": 1, "subtotal": "10.00", "tax_total": "0.00",
             "total": "10.00", "credit_notes": 0, "credited": "0.00"},
        ]  # fmt: skip
        failed = api.get(f"{RUNS}/{run_id}/items?status=failed").json()["results"]
        assert [(row["entity_name"], row["error_code"], row["total"]) for row in failed] == [
            ("Northwind Japan", "no_exchange_rate", None)
        ]
        unusual = api.get(f"{RUNS}/{run_id}/items?unusual=true").json()["results"]
        assert [row["anomalies"][0]["code"] for row in unusual] == ["first_invoice", "first_invoice"]
        out = {"item_id": failed[0]["id"], "reason": "Not yet"}
        body = post(api, run_id, "check", leave_out=[out]).json()
        assert (body["status"], body["counts"]["left_out"]) == ("checked", 1)
        assert post(api, run_id, "issue").json()["status"] == "issuing"
        run_work(run=run)
        body = api.get(f"{RUNS}/{run_id}").json()
        assert (body["status"], body["counts"]["issued"], body["finished_by_id"]) == (
            "finished",
            2,
            three.manager.pk,
        )
        assert post(api, run_id, "resume").json()["code"] == "run_over"
        assert post(api, run_id, "cancel", reason="Late").json()["code"] == "run_over"
        assert api.get(f"{RUNS}?open=true").json()["count"] == 0
        assert api.get(f"{RUNS}?status=finished&scope_id={three.root.pk}").json()["count"] == 1

    def test_resume_of_given_payers_and_cancel(self, api: APIClient, three: Group) -> None:
        use(three, root="10", germany="20")
        run = prepared(three)
        item = item_of(run, three.germany)
        assert post(api, run.pk, "resume", item_ids=[item.pk, 0]).status_code == 400
        assert post(api, run.pk, "resume", item_ids=[item.pk, item.pk + 999]).json()["code"] == "unknown_item"
        assert post(api, run.pk, "resume", item_ids=[item.pk]).json()["counts"]["waiting"] == 1
        body = post(api, run.pk, "cancel", reason="Wrong month").json()
        assert (body["status"], body["cancel_reason"]) == ("cancelled", "Wrong month")

    def test_ent_04_outside_the_scope_it_does_not_exist(self, three: Group) -> None:
        use(three, germany="20")
        run = prepared(three)
        local = client(three.person("finance_manager", three.germany))
        assert local.get(RUNS).json()["count"] == 0
        for what in ("check", "issue", "resume", "cancel"):
            assert post(local, run.pk, what, reason="x").status_code == 404
        refused = local.post(RUNS, {"scope_id": three.root.pk, **PERIOD}, format="json")
        assert refused.status_code == 400
        auditor = client(three.person("auditor"))
        assert auditor.get(f"{RUNS}/{run.pk}/items").json()["count"] == 3
        assert post(auditor, run.pk, "check").status_code == 403

    def test_schedules(self, api: APIClient, three: Group) -> None:
        url = f"{BASE}/billing-schedules"
        made = api.post(url, {"scope_id": three.root.pk, "day_of_month": 5}, format="json")
        assert made.status_code == 201
        body = made.json()
        assert (body["issue_mode"], body["is_active"], body["due_on"][-3:]) == ("by_hand", True, "-05")
        one = f"{url}/{body['id']}"
        assert api.patch(one, {"day_of_month": 30}, format="json").status_code == 400
        assert api.patch(one, {"day_of_month": 7}, format="json").json()["due_on"].endswith("-07")
        assert api.post(url, {"scope_id": three.root.pk}, format="json").json()["code"] == "schedule_exists"
        assert api.delete(one).status_code == 204
        assert not BillingSchedule.objects.exists()

    def test_the_list_of_payers_costs_the_same_for_more(self, api: APIClient, three: Group) -> None:
        use(three, root="10", germany="20", japan="30")
        run = prepared(three)
        api.get(f"{RUNS}/{run.pk}/items")
        few = _queries(lambda: api.get(f"{RUNS}/{run.pk}/items?page_size=1"))
        assert _queries(lambda: api.get(f"{RUNS}/{run.pk}/items?page_size=100")) == few


def _queries(act: Any) -> int:
    with CaptureQueriesContext(connection) as captured:
        assert act().status_code == 200
    return len(captured)


@pytest.fixture
def admin(three: Group) -> Client:
    return pages(three.manager)


def page(run: BillingRun, query: str = "") -> str:
    return reverse("admin:invoicing_billingrun_change", args=[run.pk]) + query


def do(run: Any, action: str) -> str:
    return reverse(f"admin:invoicing_{run._meta.model_name}_do", args=[run.pk, action])


class TestBackOffice:
    def test_inv_03_start_look_check_issue(self, admin: Client, three: Group) -> None:
        use(three, root="10", germany="20.5")
        three.use("7", department=three.tokyo)
        start = reverse("admin:invoicing_billingrun_add")
        assert "New billing run" in admin.get(start).content.decode()
        data = {"scope": three.root.pk, **PERIOD, "issuer": ""}
        run = BillingRun.objects.get(pk=admin.post(start, data).url.rstrip("/").split("/")[-2])
        again = admin.post(start, data)
        assert again.status_code == 400
        assert "is not finished yet" in again.content.decode()
        progress = reverse("admin:invoicing_billingrun_progress", args=[run.pk])
        assert admin.get(progress).json() == {
            "percent": 0,
            "state": "running",
            "words": "0 of 3 payers looked at.",
        }
        assert "data-progress" in admin.get(page(run)).content.decode()
        run = run_work(run=run)
        assert admin.get(progress).json()["state"] == "done"

        html = admin.get(page(run)).content.decode()
        assert "It is the first invoice of this payer" in html
        assert "There is no exchange rate" in html
        assert "20.50" in html
        only = admin.get(page(run, "?show=failed")).content.decode()
        assert "Northwind Japan" in only
        assert "Northwind Germany" not in only
        assert "2 invoices (20.5 EUR, 10 USD)" in admin.get(do(run, "check")).content.decode()
        admin.post(do(run, "check"))
        admin.post(do(run, "issue"), {"issue_date": ""})
        run = run_work(run=BillingRun.objects.get())
        assert (run.status, Invoice.objects.posted().count()) == ("prepared", 2)
        admin.post(do(item_of(run, three.japan), "leave-out"), {"reason": "No rate"})
        assert BillingRun.objects.get().status == "finished"
        assert "No rate" in admin.get(page(run, "?show=left_out")).content.decode()
        assert admin.get(reverse("admin:invoicing_billingrun_changelist")).status_code == 200
        items = admin.get(reverse("admin:invoicing_billingrunitem_changelist"))
        assert "Northwind Germany" in items.content.decode()

    def test_a_payer_is_prepared_again_and_the_run_cancelled(self, admin: Client, three: Group) -> None:
        use(three, root="10")
        run = prepared(three)
        item = item_of(run, three.root)
        shown = admin.get(reverse("admin:invoicing_billingrunitem_change", args=[item.pk])).content.decode()
        assert "It is the first invoice of this payer" in shown
        admin.post(do(item, "again"))
        assert BillingRun.objects.get().status == "preparing"
        admin.post(do(run, "cancel"), {"reason": "Wrong month"})
        assert "Wrong month" in admin.get(page(run)).content.decode()

    def test_a_run_that_stands_still_can_be_resumed(self, admin: Client, three: Group) -> None:
        run = prepared(three, period=(clock.today().replace(day=1), clock.today() + timedelta(days=40)))
        use(three, root="10")
        run = BillingRun.objects.create(
            scope=three.root, period_start=run.period_start, period_end=run.period_end, acting=three.manager,
            started_by=three.manager, started_at=clock.now(),
        )  # fmt: skip
        assert admin.get(do(run, "resume")).status_code == 409
        BillingRun.objects.filter(pk=run.pk).update(updated_at=clock.now() - timedelta(hours=1))
        assert admin.get(do(run, "resume")).status_code == 200

    def test_the_page_of_a_run_costs_the_same_for_more_payers(self, admin: Client, three: Group) -> None:
        use(three, root="10", germany="20", japan="30")
        run = issued(three, prepared(three))
        admin.get(page(run))
        few = _queries(lambda: admin.get(page(run)))
        for number in range(5):
            entity = entity_create(
                actor=system_actor(), name=f"More {number}", entity_type="branch", code=f"M{number}",
                parent=three.root, currency="USD",
            )  # fmt: skip
            BillingRunItem.objects.create(run=run, entity=entity, position=10 + number)
        assert _queries(lambda: admin.get(page(run))) == few

    def test_schedules(self, admin: Client, three: Group) -> None:
        data = {
            "scope": three.root.pk,
            "issuer": "",
            "day_of_month": 4,
            "issue_mode": "by_hand",
            "is_active": "on",
        }
        admin.post(reverse("admin:invoicing_billingschedule_add"), data)
        made = BillingSchedule.objects.get()
        assert (made.day_of_month, made.created_by) == (4, three.manager)
        change = reverse("admin:invoicing_billingschedule_change", args=[made.pk])
        admin.post(change, {**data, "day_of_month": 9, "loaded_version": made.version})
        assert BillingSchedule.objects.get().day_of_month == 9
        assert (
            "Northwind Group"
            in admin.get(reverse("admin:invoicing_billingschedule_changelist")).content.decode()
        )
