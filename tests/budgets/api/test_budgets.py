"""Budgets over HTTP: making, reading, changing, opening and closing, exact to the JSON."""

import datetime
from typing import Any

import pytest
import time_machine
from django.db import connection
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from budgets.models import Budget, BudgetEntry
from core import clock
from core.api.tokens import token_pair_issue
from entities.models import Role
from tests.budgets.api.conftest import SignIn
from tests.budgets.builders import Place, place
from tests.entities import factories

BUDGETS = "/api/enterprise-billing/budgets"


def body(here: Place, **changes: Any) -> dict[str, Any]:
    return {
        "name": "Cloud 2026",
        "allocated_amount": "15000.00",
        "period_start": "2026-01-01",
        "period_end": "2027-01-01",
        "department_id": here.department.pk,
        **changes,
    }


class TestMaking:
    def test_made_open_with_all_that_the_contract_names(self, api: APIClient, here: Place) -> None:
        made = api.post(
            BUDGETS,
            body(
                here,
                period_type="annual",
                allow_overspend=False,
                approval_threshold=5000,
                alert_threshold_percent=75,
                warning_threshold_percent=90,
                critical_threshold_percent=100,
                rollover_policy="unspent",
            ),
        )
        assert made.status_code == 201, made.data
        budget = Budget.objects.get()
        assert made["Location"].endswith(f"/budgets/{budget.pk}")
        expected = {
            "id": budget.pk,
            "name": "Cloud 2026",
            "entity_id": here.entity.pk,
            "department_id": here.department.pk,
            "category": "",
            "currency": "USD",
            "period_type": "annual",
            "period_start": "2026-01-01",
            "period_end": "2027-01-01",
            "status": "open",
            "allocated_amount": "15000.00",
            "override_amount": "0.00",
            "spent_amount": "0.00",
            "committed_amount": "0.00",
            "available_amount": "15000.00",
            "utilization_percent": "0",
            "control": "absolute",
            "allow_overspend": False,
            "overspend_limit": None,
            "approval_threshold": "5000.00",
            "alert_threshold_percent": "75",
            "warning_threshold_percent": "90",
            "critical_threshold_percent": "100",
            "rollover_policy": "unspent",
            "warnings": [],
        }
        assert {name: made.json()[name] for name in expected} == expected
        assert api.get(f"{BUDGETS}/{budget.pk}").json() == made.json()

    def test_a_draft_shows_what_opening_will_book(self, api: APIClient, here: Place) -> None:
        draft = api.post(BUDGETS, body(here, status="draft", allow_overspend=True)).json()
        assert (draft["status"], draft["control"], draft["allow_overspend"]) == ("draft", "advisory", True)
        assert (draft["allocated_amount"], draft["available_amount"]) == ("15000.00", "15000.00")
        assert not BudgetEntry.objects.exists()
        changed = api.patch(f"{BUDGETS}/{draft['id']}", {"allocated_amount": "15500"})
        assert changed.json()["allocated_amount"] == "15500.00"
        opened = api.post(f"{BUDGETS}/{draft['id']}/open")
        assert (opened.json()["status"], opened.json()["allocated_amount"]) == ("open", "15500.00")
        months = api.get(f"{BUDGETS}/{draft['id']}/months").json()["results"]
        assert [month["amount"] for month in months][:3] == ["1291.67", "1291.67", "1291.67"]
        assert len(months) == 12

    def test_the_last_day_of_a_month_as_end_is_warned_of(self, api: APIClient, here: Place) -> None:
        made = api.post(BUDGETS, body(here, period_end="2026-12-31"))
        assert made.status_code == 201
        assert [warning["code"] for warning in made.json()["warnings"]] == ["period_end_is_exclusive"]
        assert made.json()["period_type"] == "custom"

    @pytest.mark.parametrize(
        ("end", "name"), [("2026-02-01", "monthly"), ("2026-04-01", "quarterly"), ("2026-03-01", "custom")]
    )
    def test_a_period_is_named_by_its_length(self, api: APIClient, here: Place, end: str, name: str) -> None:
        assert api.post(BUDGETS, body(here, period_end=end)).json()["period_type"] == name

    def test_of_an_entity_as_a_whole_in_its_own_currency(self, api: APIClient, here: Place) -> None:
        made = api.post(
            BUDGETS, {**body(here, entity_id=here.entity.pk, is_control_point=True), "department_id": None}
        )
        assert made.status_code == 201, made.data
        assert (made.json()["department_id"], made.json()["is_control_point"]) == (None, True)

    @pytest.mark.parametrize(
        ("change", "code", "pointer"),
        [
            ({"allocated_amount": "-1"}, "invalid_allocation", "/allocated_amount"),
            ({"allocated_amount": "NaN"}, "amount_not_finite", "/allocated_amount"),
            ({"allocated_amount": "1e400"}, "amount_too_large", "/allocated_amount"),
            ({"allocated_amount": "1." + "1" * 25}, "amount_too_precise", "/allocated_amount"),
            ({"allocated_amount": "1.001"}, "invalid_allocation", "/allocated_amount"),
            ({"allocated_amount": "1,000"}, "invalid_amount", "/allocated_amount"),
            ({"period_end": "2026-01-01"}, "period_not_ordered", "/period_end"),
            ({"currency": "XXX"}, "unknown_currency", "/currency"),
            ({"department_id": 999_999}, "does_not_exist", "/department_id"),
            ({"department_id": None}, "required", "/department_id"),
            ({"name": " "}, "blank", "/name"),
            ({"status": "closed"}, "invalid_choice", "/status"),
            ({"allow_overspend": True, "control": "absolute"}, "contradicting_control", "/allow_overspend"),
            ({"spent_amount": "5"}, "unknown_field", "/spent_amount"),
            ({"alert_threshold_percent": -1}, "min_value", "/alert_threshold_percent"),
        ],
    )
    def test_each_wrong_value_has_its_own_refusal(
        self, api: APIClient, here: Place, change: dict[str, Any], code: str, pointer: str
    ) -> None:
        refused = api.post(BUDGETS, body(here, **change))
        assert refused.status_code == 400
        assert refused["Content-Type"] == "application/problem+json"
        assert [(error["code"], error["pointer"]) for error in refused.json()["errors"]] == [(code, pointer)]
        assert not Budget.objects.exists()

    def test_bud19_a_second_one_for_the_same_days_is_refused(self, api: APIClient, here: Place) -> None:
        api.post(BUDGETS, body(here))
        refused = api.post(BUDGETS, body(here))
        assert (refused.status_code, refused.json()["code"]) == (409, "budget_overlaps")
        assert api.post(BUDGETS, body(here, category="travel")).status_code == 201

    def test_the_same_key_makes_one_budget(self, api: APIClient, here: Place) -> None:
        first = api.post(BUDGETS, body(here), headers={"Idempotency-Key": "b-1"})
        again = api.post(BUDGETS, body(here), headers={"Idempotency-Key": "b-1"})
        assert (again.status_code, again.json()) == (201, first.json())
        assert again["Idempotency-Replayed"] == "true"
        other = api.post(BUDGETS, body(here, name="Another"), headers={"Idempotency-Key": "b-1"})
        assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


class TestReading:
    def test_filters_and_search(self, api: APIClient, here: Place) -> None:
        travel = here.budget("50", category="travel", name="Travel")
        here.budget("60", category="cloud", control="advisory")
        here.next_year(travel, "70", draft=True)

        def names(query: str) -> list[str]:
            found = api.get(f"{BUDGETS}?{query}")
            assert found.status_code == 200, found.data
            return [row["name"] for row in found.json()["results"]]

        assert len(names("")) == 3
        assert len(names(f"entity_id={here.entity.pk}&department_id={here.department.pk}")) == 3
        assert names("category=travel&status=open") == ["Travel"]
        assert names("status=draft&period_start_gte=2027-01-01") == ["Travel"]
        assert len(names("period_end_lte=2027-01-01")) == 2
        assert names("active_on=2027-06-01") == ["Travel"]
        assert len(names("search=travel")) == 2
        assert names("control=advisory&ordering=-allocated_amount")[0].startswith("Budget")
        assert names("overspent=true") == []
        assert api.get(f"{BUDGETS}?colour=red").json()["errors"][0]["code"] == "unknown_parameter"

    def test_bud17_expired_promises_count_as_free(self, api: APIClient, here: Place) -> None:
        budget = here.budget("100")
        later = clock.now() + datetime.timedelta(days=1)
        here.commit(budget, "60", expires_at=later)
        assert api.get(f"{BUDGETS}/{budget.pk}").json()["available_amount"] == "40.00"
        with time_machine.travel("2026-06-17T12:00:00Z", tick=False):
            api.credentials(HTTP_AUTHORIZATION=f"Bearer {token_pair_issue(user=here.finance).access}")
            shown = api.get(f"{BUDGETS}/{budget.pk}").json()
            listed = api.get(BUDGETS).json()["results"][0]
        for row in (shown, listed):
            assert (row["committed_amount"], row["available_amount"]) == ("0.00", "100.00")
            assert row["utilization_percent"] == "0"

    def test_minor_units_of_the_currency(self, here: Place, sign_in: SignIn) -> None:
        japan = place("JPY")
        budget = japan.budget("1000")
        shown = sign_in(japan.finance).get(f"{BUDGETS}/{budget.pk}").json()
        assert (shown["allocated_amount"], shown["currency"]) == ("1000", "JPY")

    def test_a_list_takes_the_same_queries_for_5_and_50(self, api: APIClient, here: Place) -> None:
        def queries(number: int) -> int:
            while Budget.objects.count() < number:
                here.budget("10")
            with CaptureQueriesContext(
                connection,
            ) as captured:
                assert len(api.get(f"{BUDGETS}?page_size=100").json()["results"]) == number
            return len(captured)

        queries(1)  # reads the user once for all
        assert queries(5) == queries(50) <= 3


class TestLife:
    def test_closing_and_reopening_by_two_people(
        self, api: APIClient, colleague: APIClient, here: Place
    ) -> None:
        budget = here.budget("100")
        at = f"{BUDGETS}/{budget.pk}"
        assert api.post(f"{at}/soft-close", {"reason": "Year end"}).json()["status"] == "soft_closed"
        assert api.post(f"{at}/close").json()["status"] == "closed"
        assert api.post(f"{at}/close").json()["code"] == "budget_status"
        assert colleague.post(f"{at}/reopen/approve").json()["code"] == "no_reopening_asked"
        asked = api.post(f"{at}/reopen", {"reason": "A late credit note"})
        assert (asked.status_code, asked.json()["approved_by_id"]) == (201, None)
        own = api.post(f"{at}/reopen/approve")
        assert (own.status_code, own.json()["code"]) == (403, "second_person_needed")
        assert colleague.post(f"{at}/reopen/approve").json()["status"] == "open"
        history = api.get(f"{at}/period-changes").json()["results"]
        assert [row["to_status"] for row in history] == ["open", "closed", "soft_closed", "open"]

    def test_bud22_closing_lists_what_has_no_decision(self, api: APIClient, here: Place) -> None:
        budget = here.budget("100")
        commitment = here.commit(budget, "30")
        refused = api.post(f"{BUDGETS}/{budget.pk}/close")
        assert refused.json()["code"] == "commitments_undecided"
        assert refused.json()["commitments"] == [commitment.pk]
        decided = api.post(
            f"/api/enterprise-billing/commitments/{commitment.pk}/decide", {"decision": "lapse"}
        )
        assert decided.json()["close_decision"] == "lapse"
        assert api.post(f"{BUDGETS}/{budget.pk}/close").json()["committed_amount"] == "0.00"

    def test_only_a_draft_is_deleted_and_amounts_stay(self, api: APIClient, here: Place) -> None:
        budget, draft = here.budget("100"), here.budget("100", draft=True)
        assert api.delete(f"{BUDGETS}/{draft.pk}").status_code == 204
        assert api.delete(f"{BUDGETS}/{budget.pk}").json()["code"] == "budget_status"
        refused = api.patch(f"{BUDGETS}/{budget.pk}", {"allocated_amount": "5"})
        assert (refused.status_code, refused.json()["code"]) == (409, "budget_not_draft")

    def test_a_stale_version_is_412(self, api: APIClient, here: Place) -> None:
        budget = here.budget("100")
        seen = api.get(f"{BUDGETS}/{budget.pk}")
        changed = api.patch(f"{BUDGETS}/{budget.pk}", {"name": "New"}, headers={"If-Match": seen["ETag"]})
        assert (changed.status_code, changed.json()["name"]) == (200, "New")
        stale = api.patch(f"{BUDGETS}/{budget.pk}", {"name": "Newer"}, headers={"If-Match": seen["ETag"]})
        assert (stale.status_code, stale.json()["code"]) == (412, "stale_version")
        assert Budget.objects.get().name == "New"


class TestScope:
    """404 outside of the caller's scope, 403 inside it without the right (ENT-04)."""

    POSTS = [
        ("open", {}),
        ("soft-close", {}),
        ("close", {}),
        ("reopen", {"reason": "x"}),
        ("reopen/approve", {}),
        ("commitments", {"amount": "1", "description": "x"}),
        ("refund", {"amount": "1", "description": "x"}),
        ("charge", {"amount": "1", "description": "x"}),
        ("check-availability", {"amount": "1"}),
        ("rollover-preview", {"to_budget_id": 1}),
        ("rollover", {"to_budget_id": 1}),
    ]
    GETS = ["", "/entries", "/alerts", "/commitments", "/months", "/period-changes"]

    def test_hidden_is_404_in_the_words_of_absent(self, here: Place, sign_in: SignIn) -> None:
        budget = here.budget("100")
        outsider = sign_in(here.outsider)
        for key in (budget.pk, 999_999_999):
            for path in self.GETS:
                assert outsider.get(f"{BUDGETS}/{key}{path}").status_code == 404, path
            for path, sent in self.POSTS:
                refused = outsider.post(f"{BUDGETS}/{key}/{path}", sent)
                assert (refused.status_code, refused.json()["code"]) == (404, "not_found"), path
            assert outsider.patch(f"{BUDGETS}/{key}", {"name": "x"}).status_code == 404
            assert outsider.delete(f"{BUDGETS}/{key}").status_code == 404
        assert outsider.get(BUDGETS).json()["count"] == 0

    def test_an_auditor_reads_and_changes_nothing(self, here: Place, sign_in: SignIn) -> None:
        budget = here.budget("100")
        auditor = sign_in(factories.member(here.entity, Role.AUDITOR))
        for path in self.GETS:
            assert auditor.get(f"{BUDGETS}/{budget.pk}{path}").status_code == 200, path
        for path, sent in self.POSTS:
            wanted = {"check-availability": 200, "rollover-preview": 404}.get(path, 403)
            assert auditor.post(f"{BUDGETS}/{budget.pk}/{path}", sent).status_code == wanted, path
        assert auditor.post(BUDGETS, body(here)).status_code == 403
        assert auditor.patch(f"{BUDGETS}/{budget.pk}", {"name": "x"}).status_code == 403
        assert auditor.delete(f"{BUDGETS}/{budget.pk}").status_code == 403

    def test_a_department_manager_charges_and_does_not_close(self, here: Place, sign_in: SignIn) -> None:
        budget = here.budget("100")
        manager = sign_in(here.manager)
        assert (
            manager.post(f"{BUDGETS}/{budget.pk}/charge", {"amount": "1", "description": "x"}).status_code
            == 201
        )
        assert manager.post(f"{BUDGETS}/{budget.pk}/close").status_code == 403

    def test_nobody_signed_in_is_401(self, here: Place) -> None:
        budget = here.budget("100")
        client = APIClient()
        for path in ("charge", "check-availability"):
            refused = client.post(f"{BUDGETS}/{budget.pk}/{path}", {"amount": "1"}, format="json")
            assert (refused.status_code, refused.json()["code"]) == (401, "not_authenticated")
