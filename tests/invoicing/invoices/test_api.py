"""The HTTP door of invoices and number series (api.md, INV-01 to INV-04, ENT-04)."""

import io
from collections.abc import Iterator
from datetime import date
from decimal import Decimal

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pypdf import PdfReader
from rest_framework.test import APIClient

from core.access import system_actor
from core.api.tokens import forget_all, token_pair_issue
from core.models import User
from entities.services.entity import entity_create, entity_update
from invoicing.models import BilledItem, Invoice, InvoiceLine, NumberSeries, TaxRule
from tests.invoicing.invoices.builders import Group, rate

BASE = "/api/enterprise-billing"
PERIOD = {"period_start": "2024-09-01", "period_end": "2024-10-01"}


@pytest.fixture(autouse=True)
def fresh_user_cache() -> Iterator[None]:
    forget_all()
    yield
    forget_all()


def client(user: User) -> APIClient:
    api = APIClient()
    api.credentials(HTTP_AUTHORIZATION=f"Bearer {token_pair_issue(user=user).access}")
    return api


@pytest.fixture
def api(group: Group) -> APIClient:
    return client(group.manager)


def run(api: APIClient, group: Group, **body: object):
    return api.post(
        f"{BASE}/entities/{group.root.pk}/consolidated-invoice", {**PERIOD, **body}, format="json"
    )


def fill(group: Group) -> None:
    group.use("10.004", department=group.sales)
    group.use("0.516", department=group.research)
    group.use("10", entity=group.japan)


class TestConsolidate:
    def test_inv_03_the_invoice_with_lines_and_subtotals(self, api: APIClient, group: Group) -> None:
        fill(group)
        answer = run(api, group, issue=True)
        assert answer.status_code == 201
        body = answer.json()
        assert body["total"] == "20.52"
        assert body["number"].startswith("SHS-INV-")
        assert body["status"] == "issued"
        assert (body["line_count"], body["item_count"], body["preview"]) == (3, 3, False)
        assert [(row["entity_name"], row["amount"]) for row in body["subtotals_by_entity"]] == [
            ("Northwind Germany", "10.52"), ("Northwind Japan", "10.00"),
        ]  # fmt: skip
        assert [(row["department_code"], row["amount"]) for row in body["subtotals_by_department"]] == [
            ("100", "10.00"), ("200", "0.52"), ("", "10.00"),
        ]  # fmt: skip
        line = body["lines"][0]
        assert (line["amount"], line["original_amount"], line["rate"], line["exact_amount"]) == (
            "10.00", "10.004", "1", "10.004",
        )  # fmt: skip
        assert [warning["code"] for warning in body["warnings"]] == ["unallocated_usage"]
        assert answer["Location"] == f"{BASE}/invoices/{body['id']}"
        assert api.get(answer["Location"]).json() == body

    def test_inv_03_a_second_run_is_409_and_names_the_invoice(self, api: APIClient, group: Group) -> None:
        fill(group)
        first = run(api, group, issue=True).json()
        again = run(api, group, issue=True)
        assert again.status_code == 409
        assert again["Content-Type"] == "application/problem+json"
        problem = again.json()
        assert problem["code"] == "nothing_to_invoice"
        assert problem["invoices"] == [{"id": first["id"], "number": first["number"], "status": "issued"}]
        assert Invoice.objects.count() == 1

    def test_preview_writes_nothing_and_equals_the_run(self, api: APIClient, group: Group) -> None:
        rate("EUR", "USD", "1.1196")
        fill(group)
        group.use("3.333", department=group.research, currency="EUR")
        shown = run(api, group, preview=True)
        assert shown.status_code == 200
        assert not Invoice.objects.exists()
        preview, issued = shown.json(), run(api, group, issue=True).json()
        assert preview["id"] is None
        assert preview["preview"] is True
        same = ("lines", "subtotals_by_entity", "subtotals_by_department", "subtotal", "tax_total", "total", "warnings",
                "line_count", "item_count", "currency", "issuer_id", "bill_to_id")  # fmt: skip
        assert {name: preview[name] for name in same} == {name: issued[name] for name in same}

    def test_a_draft_is_made_then_refreshed_then_issued(self, api: APIClient, group: Group) -> None:
        fill(group)
        made = run(api, group)
        assert (made.status_code, made.json()["status"], made.json()["number"]) == (201, "draft", None)
        group.use("1", entity=group.japan)
        refreshed = run(api, group)
        assert (refreshed.status_code, refreshed.json()["id"], refreshed.json()["total"]) == (
            200,
            made.json()["id"],
            "21.52",
        )
        issued = api.post(f"{BASE}/invoices/{made.json()['id']}/issue", {}, format="json")
        assert issued.status_code == 200
        assert issued.json()["sequence_number"] == 1

    def test_the_preview_tells_of_earlier_charges(self, api: APIClient, group: Group) -> None:
        fill(group)
        group.use("7", entity=group.japan, day=date(2024, 8, 20))
        warnings = run(api, group, preview=True).json()["warnings"]
        assert warnings[-1]["code"] == "earlier_charges_not_invoiced"
        assert "2024-08-20" in warnings[-1]["detail"]

    def test_a_repeated_request_gets_the_first_answer(self, api: APIClient, group: Group) -> None:
        fill(group)
        headers = {"HTTP_IDEMPOTENCY_KEY": "run-september"}
        address = f"{BASE}/entities/{group.root.pk}/consolidated-invoice"
        first = api.post(address, {**PERIOD, "issue": True}, format="json", **headers)
        again = api.post(address, {**PERIOD, "issue": True}, format="json", **headers)
        assert (first.status_code, again.status_code) == (201, 201)
        assert again["Idempotency-Replayed"] == "true"
        assert again.json() == first.json()
        assert Invoice.objects.count() == 1
        other = api.post(address, {**PERIOD, "issue": False}, format="json", **headers)
        assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")

    @pytest.mark.parametrize(
        ("body", "pointer", "code"),
        [
            ({"period_start": "2024-10-01", "period_end": "2024-09-01"}, "/period_end", "period_not_ordered"),
            ({"period_start": "2024-09-31"}, "/period_start", "invalid"),
            ({"period_start": "0001-01-01"}, "/period_start", "period_out_of_range"),
            ({"period_end": "9999-12-31"}, "/period_end", "period_out_of_range"),
            ({"issue": True, "preview": True}, "/preview", "contradiction"),
            ({"surprise": 1}, "/surprise", "unknown_field"),
        ],
    )
    def test_bad_input(
        self, api: APIClient, group: Group, body: dict[str, object], pointer: str, code: str
    ) -> None:
        fill(group)
        answer = run(api, group, **body)
        assert answer.status_code == 400
        assert {(error["pointer"].lstrip("#"), error["code"]) for error in answer.json()["errors"]} == {
            (pointer, code)
        }
        assert not Invoice.objects.exists()

    def test_inv_04_no_rate_is_409_and_nothing_is_written(self, api: APIClient, group: Group) -> None:
        group.use("1", department=group.sales, currency="EUR")
        answer = run(api, group, issue=True)
        assert (answer.status_code, answer.json()["code"]) == (409, "no_exchange_rate")
        assert not Invoice.objects.exists()
        assert not BilledItem.objects.exists()

    def test_a_negative_total_is_409_and_an_existing_draft_stays(self, api: APIClient, group: Group) -> None:
        group.use("-1", department=group.sales)
        assert run(api, group).status_code == 201
        answer = run(api, group, issue=True)
        assert (answer.status_code, answer.json()["code"]) == (409, "negative_total")
        assert Invoice.objects.get().status == "draft"
        assert not NumberSeries.objects.exists()


class TestInvoices:
    def issued(self, api: APIClient, group: Group) -> dict:
        fill(group)
        return run(api, group, issue=True).json()

    def test_void_and_bill_again(self, api: APIClient, group: Group) -> None:
        first = self.issued(api, group)
        missing = api.post(f"{BASE}/invoices/{first['id']}/void", {}, format="json")
        assert missing.status_code == 400
        void = api.post(f"{BASE}/invoices/{first['id']}/void", {"reason": "Wrong address"}, format="json")
        assert (void.status_code, void.json()["status"], void.json()["void_reason"]) == (
            200,
            "void",
            "Wrong address",
        )
        again = api.post(f"{BASE}/invoices/{first['id']}/void", {"reason": "x"}, format="json")
        assert (again.status_code, again.json()["code"]) == (409, "not_issued")
        second = run(api, group, issue=True).json()
        assert (second["total"], second["sequence_number"]) == ("20.52", 2)

    def test_delete_is_for_drafts(self, api: APIClient, group: Group) -> None:
        first = self.issued(api, group)
        refused = api.delete(f"{BASE}/invoices/{first['id']}")
        assert (refused.status_code, refused.json()["code"]) == (409, "not_a_draft")
        group.use("1", entity=group.japan)
        draft = run(api, group).json()
        assert api.delete(f"{BASE}/invoices/{draft['id']}").status_code == 204
        assert Invoice.objects.count() == 1

    def test_if_match(self, api: APIClient, group: Group) -> None:
        fill(group)
        draft = run(api, group)
        group.use("1", entity=group.japan)
        run(api, group)
        address = f"{BASE}/invoices/{draft.json()['id']}/issue"
        stale = api.post(address, {}, format="json", HTTP_IF_MATCH=draft["ETag"])
        assert (stale.status_code, stale.json()["code"]) == (412, "stale_version")
        fresh = api.get(f"{BASE}/invoices/{draft.json()['id']}")["ETag"]
        assert api.post(address, {}, format="json", HTTP_IF_MATCH=fresh).status_code == 200

    def test_filters(self, api: APIClient, group: Group) -> None:
        first = self.issued(api, group)
        group.use("1", entity=group.japan)
        draft = run(api, group).json()

        def ids(query: str) -> list[int]:
            return [row["id"] for row in api.get(f"{BASE}/invoices?{query}").json()["results"]]

        assert ids("") == [draft["id"], first["id"]]
        assert ids("status=issued") == [first["id"]]
        assert ids("status_in=issued,draft&ordering=total") == [draft["id"], first["id"]]
        assert ids(f"number={first['number']}") == [first["id"]]
        assert ids("total_gte=20.52") == [first["id"]]
        assert ids(f"entity_id={group.root.pk}&issuer_id={group.issuer.pk}&total_lte=5") == [draft["id"]]
        assert ids("period_start_gte=2024-10-01") == []
        assert ids("charged_on=2024-09-15") == [draft["id"], first["id"]]
        assert ids("overdue=true") == []
        assert ids("search=Northwind") == [draft["id"], first["id"]]
        assert api.get(f"{BASE}/invoices?colour=red").status_code == 400

    def test_lines_and_what_they_bill(self, api: APIClient, group: Group) -> None:
        first = self.issued(api, group)
        page = api.get(f"{BASE}/invoices/{first['id']}/lines?page_size=2").json()
        assert (page["count"], len(page["results"])) == (3, 2)
        assert page["results"] == first["lines"][:2]
        items = api.get(f"{BASE}/invoices/{first['id']}/lines/1/items").json()
        assert [(row["billed_cost"], row["currency"]) for row in items["results"]] == [("10.004", "USD")]
        assert api.get(f"{BASE}/invoices/{first['id']}/lines/9/items").status_code == 404

    def test_pdf(self, api: APIClient, group: Group) -> None:
        first = self.issued(api, group)
        answer = api.get(f"{BASE}/invoices/{first['id']}/pdf", HTTP_ACCEPT="application/pdf")
        assert (answer.status_code, answer["Content-Type"]) == (200, "application/pdf")
        assert first["number"] in answer["Content-Disposition"]
        assert "USD 20.52" in PdfReader(io.BytesIO(answer.content)).pages[0].extract_text()
        assert api.get(f"{BASE}/invoices/{first['id']}/pdf").content == answer.content
        missing = api.get(f"{BASE}/invoices/999999/pdf", HTTP_ACCEPT="application/pdf")
        assert (missing.status_code, missing.json()["code"]) == (404, "not_found")

    def test_money_has_the_decimals_of_its_currency(self, group: Group) -> None:
        rate("USD", "JPY", "143.5")
        rate("USD", "KWD", "0.305")
        group.use("1", entity=group.japan)
        kuwait = entity_create(
            actor=system_actor(), name="Kuwait", entity_type="branch", parent=group.root, currency="KWD",
            consolidated_billing=False,
        )  # fmt: skip
        group.use("1", entity=kuwait)
        api = client(group.manager)
        for entity, total in ((group.japan, "144"), (kuwait, "0.305")):
            answer = api.post(
                f"{BASE}/entities/{entity.pk}/consolidated-invoice",
                {**PERIOD, "preview": True},
                format="json",
            )
            assert answer.json()["total"] == total


class TestNumberSeries:
    def test_proof(self, api: APIClient, group: Group) -> None:
        fill(group)
        run(api, group, issue=True)
        (series,) = api.get(f"{BASE}/number-series").json()["results"]
        assert (series["prefix"], series["last_number"]) == ("SHS-INV-", 1)
        proof = api.get(f"{BASE}/number-series/{series['id']}/proof").json()
        assert (proof["holds"], proof["documents"], proof["missing"], proof["duplicates"]) == (
            True,
            1,
            [],
            [],
        )

    def test_a_prefix_is_chosen_before_the_first_number_only(self, api: APIClient, group: Group) -> None:
        fill(group)
        body = {"issuer_id": group.issuer.pk, "fiscal_year": 2024, "prefix": "NW/"}
        made = api.post(f"{BASE}/number-series", body, format="json")
        assert made.status_code == 201
        address = f"{BASE}/number-series/{made.json()['id']}"
        assert api.patch(address, {"prefix": "NW-"}, format="json").json()["prefix"] == "NW-"
        assert api.patch(address, {"prefix": "!x"}, format="json").status_code == 400
        assert api.post(f"{BASE}/number-series", body, format="json").json()["code"] == "series_exists"
        issued = run(api, group, issue=True, issue_date="2024-12-31").json()
        assert issued["number"] == "NW-2024-000001"
        refused = api.patch(address, {"prefix": "X-"}, format="json")
        assert (refused.status_code, refused.json()["code"]) == (409, "series_in_use")
        assert api.patch(address, {"last_number": 0}, format="json").status_code == 400


def test_ent_04_who_reaches_what(group: Group) -> None:
    """404 outside the scope, 403 inside without the right; the same answers whatever the verb."""
    fill(group)
    posted = run(client(group.manager), group, issue=True).json()["id"]
    group.use("1", entity=group.japan)
    draft = run(client(group.manager), group).json()["id"]
    other = entity_create(actor=system_actor(), name="Other Group", entity_type="root", currency="USD")
    stranger = group.person("administrator", entity=other)
    below = group.person("finance_manager", entity=group.germany)
    of_department = group.person("department_manager", entity=group.germany, department=group.sales)
    of_issuer = group.person("finance_manager", entity=group.issuer)
    auditor, staff, approver = (group.person(role) for role in ("auditor", "finance_staff", "approver"))
    expected = {
        # who: list length, detail, lines, pdf, preview, run, issue, void, delete
        "stranger": (stranger, 0, 404, 404, 404, 404, 404, 404, 404, 404),
        "below": (below, 0, 404, 404, 404, 404, 404, 404, 404, 404),
        "of_department": (of_department, None, 404, 404, 404, 404, 404, 404, 404, 404),
        "approver": (approver, None, 403, 403, 403, 403, 403, 403, 403, 403),
        "auditor": (auditor, 2, 200, 200, 200, 200, 403, 403, 403, 403),
        "of_issuer": (of_issuer, 2, 200, 200, 200, 404, 404, None, None, 403),
        "staff": (staff, 2, 200, 200, 200, 200, 200, None, 403, None),
    }  # fmt: skip
    for who, (user, listed, *statuses) in expected.items():
        api = client(user)
        rows = api.get(f"{BASE}/invoices")
        assert (rows.json()["count"] if rows.status_code == 200 else None) == listed, who
        calls = [
            lambda api=api: api.get(f"{BASE}/invoices/{posted}"),
            lambda api=api: api.get(f"{BASE}/invoices/{posted}/lines"),
            lambda api=api: api.get(f"{BASE}/invoices/{posted}/pdf"),
            lambda api=api: run(api, group, preview=True),
            lambda api=api: run(api, group),
            lambda api=api: api.post(f"{BASE}/invoices/{draft}/issue", {}, format="json"),
            lambda api=api: api.post(f"{BASE}/invoices/{posted}/void", {"reason": "x"}, format="json"),
            lambda api=api: api.delete(f"{BASE}/invoices/{draft}"),
        ]
        for call, status in zip(calls, statuses, strict=True):
            if status is not None:
                assert call().status_code == status, (who, calls.index(call))
    assert {i.status for i in Invoice.objects.all()} == {"issued", "draft"}
    assert APIClient().get(f"{BASE}/invoices").status_code == 401


class TestTaxRules:
    """INV-05: rules by product over the API."""

    BODY = {
        "name": "Books",
        "service": "Books",
        "tax_category": "S",
        "tax_rate": "7",
        "valid_from": "2024-01-01",
    }

    def test_inv_05_from_making_to_deleting(self, api: APIClient, group: Group) -> None:
        made = api.post(f"{BASE}/tax-rules", {**self.BODY, "issuer_id": group.issuer.pk}, format="json")
        assert made.status_code == 201, made.content
        assert {name: made.json()[name] for name in (*self.BODY, "kind", "valid_to", "version")} == {
            **self.BODY,
            "kind": "",
            "valid_to": None,
            "version": 1,
        }
        entity_update(actor=system_actor(), entity=group.root, tax_treatment="S", tax_rate=Decimal(19))
        group.use("100", service_name="Books")
        assert run(api, group, preview=True).json()["tax_total"] == "7.00"
        address = f"{BASE}/tax-rules/{made.json()['id']}"
        ended = api.patch(address, {"valid_to": "2024-09-01"}, format="json", HTTP_IF_MATCH=made["ETag"])
        assert (ended.status_code, ended.json()["valid_to"], ended.json()["version"]) == (
            200,
            "2024-09-01",
            2,
        )
        assert run(api, group, preview=True).json()["tax_total"] == "19.00"
        stale = api.patch(address, {"name": "X"}, format="json", HTTP_IF_MATCH=made["ETag"])
        assert stale.status_code == 412
        found = api.get(f"{BASE}/tax-rules", {"service": "Books", "valid_from_lte": "2024-01-01"}).json()
        assert [row["id"] for row in found["results"]] == [made.json()["id"]]
        assert api.delete(address).status_code == 204
        assert not TaxRule.objects.exists()

    @pytest.mark.parametrize(
        ("body", "status", "code"),
        [
            ({"service": ""}, 400, "criterion_required"),
            ({"tax_rate": "0"}, 400, "rate_required"),
            ({"tax_category": "E"}, 400, "rate_not_allowed"),
            ({"valid_to": "2024-01-01"}, 400, "dates_not_ordered"),
            ({"tax_category": "O", "tax_rate": "0"}, 400, None),
            ({"service": "BOOKS"}, 409, "tax_rules_overlap"),
        ],
    )
    def test_inv_05_what_is_refused(
        self, api: APIClient, group: Group, body: dict[str, str], status: int, code: str | None
    ) -> None:
        given = {**self.BODY, "issuer_id": group.issuer.pk}
        assert api.post(f"{BASE}/tax-rules", given, format="json").status_code == 201
        answer = api.post(f"{BASE}/tax-rules", {**given, "service": "Other", **body}, format="json")
        assert answer.status_code == status, answer.content
        assert code is None or answer.json()["code"] == code
        assert TaxRule.objects.count() == 1

    def test_inv_05_managers_write_auditors_read_outsiders_see_nothing(
        self, api: APIClient, group: Group
    ) -> None:
        given = {**self.BODY, "issuer_id": group.issuer.pk}
        pk = api.post(f"{BASE}/tax-rules", given, format="json").json()["id"]
        for role, entity, status in (("finance_staff", None, 403), ("auditor", None, 403),
                                     ("finance_manager", group.japan, 404)):  # fmt: skip
            other = client(group.person(role, entity))
            assert other.get(f"{BASE}/tax-rules").json()["count"] == (0 if status == 404 else 1)
            assert other.patch(f"{BASE}/tax-rules/{pk}", {"name": "X"}, format="json").status_code == status
            assert other.delete(f"{BASE}/tax-rules/{pk}").status_code == status
            refused = other.post(f"{BASE}/tax-rules", {**given, "service": "B"}, format="json")
            assert refused.status_code in (400, 403)
        assert list(TaxRule.objects.values_list("pk", "name", "version")) == [(pk, "Books", 1)]


class TestQueryCounts:
    """The number of statements does not grow with the charges, lines or invoices."""

    def counted(self, call) -> int:
        with CaptureQueriesContext(
            connection,
        ) as queries:
            answer = call()
        assert answer.status_code < 400, answer.content
        return len(queries)

    def test_constant(self, group: Group) -> None:
        api = client(group.manager)
        counts = []
        for size in (3, 60):
            for number in range(size):
                group.use("1.001", department=(group.sales, group.research, group.tokyo)[number % 3],
                          service_name=f"Service {number % 20}")  # fmt: skip
            api.get(f"{BASE}/me")
            previewed = self.counted(lambda: run(api, group, preview=True))
            drafted = self.counted(lambda: run(api, group))
            pk = Invoice.objects.drafts().get().pk
            issued = self.counted(lambda pk=pk: api.post(f"{BASE}/invoices/{pk}/issue", {}, format="json"))
            shown = self.counted(lambda pk=pk: api.get(f"{BASE}/invoices/{pk}"))
            listed = self.counted(lambda: api.get(f"{BASE}/invoices"))
            counts.append((previewed, drafted, shown, listed))
            assert issued <= 25
        assert counts[0] == counts[1]
        assert all(count <= most for count, most in zip(counts[0], (8, 16, 10, 5), strict=True)), counts
        assert InvoiceLine.objects.count() > 20
        assert Invoice.objects.get(sequence_number=2).total == Decimal("60.06")
