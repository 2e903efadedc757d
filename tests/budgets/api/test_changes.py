"""Commitments, transfers, revisions, overrides and rollovers over HTTP."""

from typing import Any

import pytest
from rest_framework.test import APIClient

from entities.models import Role
from tests.budgets.api.conftest import SignIn
from tests.budgets.builders import Place, figures, money
from tests.entities import factories

BASE = "/api/enterprise-billing"


class TestCommitments:
    def make(self, api: APIClient, here: Place, amount: str = "100") -> tuple[Any, Any]:
        budget = here.budget("150")
        made = api.post(
            f"{BASE}/budgets/{budget.pk}/commitments",
            {"amount": amount, "description": "Laptops", "reference": "PO-1"},
        )
        assert made.status_code == 201, made.data
        return budget, made

    def test_taken_consumed_and_released(self, api: APIClient, here: Place) -> None:
        budget, made = self.make(api, here)
        at = f"{BASE}/commitments/{made.json()['id']}"
        assert made["Location"] == at
        expected = {
            "status": "approved",
            "amount": "100.00",
            "remainder_amount": "100.00",
            "currency": "USD",
            "expires_at": "2027-04-01T00:00:00Z",
            "close_decision": "",
        }
        assert {name: made.json()[name] for name in expected} == expected
        used = api.post(f"{at}/consume", {"amount": "40", "description": "Invoice 1"})
        assert used.status_code == 201, used.data
        assert used.json()["commitment"]["remainder_amount"] == "60.00"
        assert [row["kind"] for row in used.json()["entries"]] == ["consumption"]
        assert used.json()["budget"]["available_amount"] == "50.00"
        much = api.post(f"{at}/release", {"amount": "60.01", "reason": "x"})
        assert (much.status_code, much.json()["code"]) == (409, "release_exceeds_remainder")
        assert api.post(f"{at}/release", {"reason": "Cancelled"}).json()["commitment"]["status"] == "released"
        closed = api.post(f"{at}/consume", {"amount": "1", "description": "x"})
        assert (closed.status_code, closed.json()["code"]) == (409, "commitment_closed")
        again = api.post(f"{at}/reopen", {"reason": "Delivered after all"})
        assert (again.json()["status"], again.json()["remainder_amount"]) == ("approved", "60.00")
        assert figures(budget) == money("150", "60", "40", "50")

    def test_changed_and_decided(self, api: APIClient, here: Place) -> None:
        budget, made = self.make(api, here)
        at = f"{BASE}/commitments/{made.json()['id']}"
        assert api.post(f"{at}/change", {"amount": "120", "reason": "More"}).json()["amount"] == "120.00"
        over = api.post(f"{at}/change", {"amount": "151", "reason": "More"})
        assert over.json()["code"] == "insufficient_budget"
        assert api.post(f"{at}/decide", {"decision": "carry"}).json()["close_decision"] == "carry"
        assert api.post(f"{at}/decide", {"decision": "keep"}).json()["code"] == "invalid_choice"
        listed = api.get(f"{BASE}/commitments?budget_id={budget.pk}&status=approved&close_decision=carry")
        assert listed.json()["count"] == 1
        assert api.get(f"{BASE}/budgets/{budget.pk}/commitments").json()["count"] == 1

    def test_hidden_and_not_allowed(self, api: APIClient, here: Place, sign_in: SignIn) -> None:
        _, made = self.make(api, here)
        at = f"{BASE}/commitments/{made.json()['id']}"
        bodies: dict[str, dict[str, Any]] = {
            "consume": {"amount": "1", "description": "x"},
            "release": {"reason": "x"},
            "change": {"amount": "1", "reason": "x"},
            "reopen": {"reason": "x"},
            "decide": {"decision": "lapse"},
        }
        outsider = sign_in(here.outsider)
        auditor = sign_in(factories.member(here.entity, Role.AUDITOR))
        assert outsider.get(at).status_code == 404
        assert auditor.get(at).status_code == 200
        for path, body in bodies.items():
            assert outsider.post(f"{at}/{path}", body).status_code == 404, path
            assert auditor.post(f"{at}/{path}", body).status_code == 403, path


class TestTransfers:
    def test_bud24_asked_and_approved(self, api: APIClient, colleague: APIClient, here: Place) -> None:
        giving, taking = here.budget("100"), here.budget("10")
        asked = api.post(
            f"{BASE}/budget-transfers",
            {"from_budget_id": giving.pk, "to_budget_id": taking.pk, "amount": "30", "reason": "Licence"},
        )
        assert asked.status_code == 201, asked.data
        assert (asked.json()["status"], asked.json()["amount"]) == ("proposed", "30.00")
        at = f"{BASE}/budget-transfers/{asked.json()['id']}"
        own = api.post(f"{at}/approve", {})
        assert (own.status_code, own.json()["code"]) == (403, "second_person_needed")
        assert colleague.post(f"{at}/approve", {"comment": "Fine"}).json()["status"] == "approved"
        assert figures(taking) == money("40", "0", "0", "40")
        decided = colleague.post(f"{at}/reject", {"comment": "x"})
        assert (decided.status_code, decided.json()["code"]) == (409, "already_decided")
        assert (
            api.get(f"{BASE}/budget-transfers?status=approved&from_budget_id={giving.pk}").json()["count"]
            == 1
        )

    def test_refusals(self, api: APIClient, here: Place, sign_in: SignIn) -> None:
        giving = here.budget("100")
        sent = {"from_budget_id": giving.pk, "to_budget_id": giving.pk, "amount": "30", "reason": "x"}
        assert api.post(f"{BASE}/budget-transfers", sent).json()["code"] == "transfer_to_itself"
        hidden = api.post(f"{BASE}/budget-transfers", {**sent, "to_budget_id": 999_999})
        assert hidden.status_code == 404
        assert sign_in(here.outsider).get(f"{BASE}/budget-transfers").json()["count"] == 0


class TestRevisionsAndOverrides:
    def test_bud25_a_revision(self, api: APIClient, colleague: APIClient, here: Place) -> None:
        budget = here.budget("100")
        asked = api.post(
            f"{BASE}/budget-revisions", {"budget_id": budget.pk, "delta": "-20.00", "reason": "Less"}
        )
        assert (asked.status_code, asked.json()["delta"], asked.json()["number"]) == (201, "-20.00", 1)
        at = f"{BASE}/budget-revisions/{asked.json()['id']}"
        assert colleague.post(f"{at}/approve", {}).json()["status"] == "approved"
        assert figures(budget) == money("80", "0", "0", "80")
        nothing = api.post(f"{BASE}/budget-revisions", {"budget_id": budget.pk, "delta": "0", "reason": "x"})
        assert nothing.json()["code"] == "revision_changes_nothing"

    def test_bud29_an_override_is_spent_by_one_charge(
        self, api: APIClient, colleague: APIClient, here: Place
    ) -> None:
        budget = here.budget("100")
        asked = api.post(
            f"{BASE}/budget-overrides", {"budget_id": budget.pk, "limit": "15", "reason": "Repair"}
        ).json()
        charge = {"amount": "110", "description": "x", "override_id": asked["id"]}
        early = api.post(f"{BASE}/budgets/{budget.pk}/charge", charge)
        assert (early.status_code, early.json()["code"]) == (409, "override_not_usable")
        granted = colleague.post(f"{BASE}/budget-overrides/{asked['id']}/approve", {})
        assert granted.json()["status"] == "approved"
        spent = api.post(f"{BASE}/budgets/{budget.pk}/charge", charge)
        assert spent.status_code == 201, spent.data
        assert (spent.json()["budget"]["override_amount"], spent.json()["budget"]["available_amount"]) == (
            "10.00",
            "0.00",
        )
        shown = api.get(f"{BASE}/budget-overrides/{asked['id']}").json()
        assert (shown["used_amount"], shown["before"]["spent"], shown["after"]["spent"]) == (
            "10.00",
            "0.00",
            "110.00",
        )
        assert api.post(f"{BASE}/budgets/{budget.pk}/charge", charge).json()["code"] == "override_not_usable"

    @pytest.mark.parametrize("what", ["budget-revisions", "budget-overrides", "budget-transfers"])
    def test_the_outsider_finds_nothing(self, here: Place, sign_in: SignIn, what: str) -> None:
        outsider = sign_in(here.outsider)
        assert outsider.get(f"{BASE}/{what}/1").status_code == 404
        assert outsider.post(f"{BASE}/{what}/1/approve", {}).status_code == 404


class TestRollover:
    def test_bud23_preview_run_and_undo(self, api: APIClient, here: Place) -> None:
        budget = here.budget("100", rollover_policy="unspent")
        target = here.next_year(budget, "10")
        here.charge(budget, "40")
        here.commit(budget, "20")
        at = f"{BASE}/budgets/{budget.pk}"
        preview = api.post(f"{at}/rollover-preview", {"to_budget_id": target.pk})
        assert preview.status_code == 200, preview.data
        assert (preview.json()["money"], preview.json()["commitments"]) == ("60.00", "20.00")
        early = api.post(f"{at}/rollover", {"to_budget_id": target.pk})
        assert early.json()["code"] == "rollover_source_open"
        api.post(f"{at}/soft-close", {})
        done = api.post(f"{at}/rollover", {"to_budget_id": target.pk})
        assert done.status_code == 201
        assert done.json()["lines"] == preview.json()["lines"]
        again = api.post(f"{at}/rollover", {"to_budget_id": target.pk})
        assert again.json()["id"] == done.json()["id"]
        undone = api.post(f"{BASE}/budget-rollovers/{done.json()['id']}/undo", {"reason": "Too early"})
        assert undone.json()["status"] == "undone"
        assert figures(target) == money("10", "0", "0", "10")
