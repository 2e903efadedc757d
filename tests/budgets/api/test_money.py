"""Checking and charging over HTTP: exact figures, refusals that write nothing, both ways give the same answers."""

import json
from typing import Any

import pytest
from django.test import Client
from rest_framework.test import APIClient

from budgets.models import Budget, BudgetEntry
from core.api.tokens import token_pair_issue
from tests.budgets.api.conftest import SignIn
from tests.budgets.builders import Place, rate

BASE = "/api/enterprise-billing"


def at(budget: Budget, path: str = "charge") -> str:
    return f"{BASE}/budgets/{budget.pk}/{path}"


class TestChecking:
    def test_the_answers_of_the_contract(self, api: APIClient, here: Place) -> None:
        budget = here.budget("100", approval_threshold="80")
        here.charge(budget, "40")
        before = BudgetEntry.objects.count()

        def ask(amount: Any) -> dict[str, Any]:
            answer = api.post(at(budget, "check-availability"), {"amount": amount})
            assert answer.status_code == 200
            return dict(answer.json())

        assert ask("60.00") == {
            "available": True,
            "available_amount": "60.00",
            "requires_approval": False,
            "would_overspend": False,
            "reason": "ok",
            "currency": "USD",
        }
        beyond = ask(60.01)
        assert (beyond["available"], beyond["would_overspend"]) == (False, True)
        assert beyond["reason"] == "insufficient_budget"
        above = ask(81)
        assert (above["requires_approval"], above["available"], above["reason"]) == (
            True,
            False,
            "approval_required",
        )
        assert BudgetEntry.objects.count() == before

    def test_advisory_control_lets_it_pass_and_says_so(self, api: APIClient, here: Place) -> None:
        budget = here.budget("100", control="advisory")
        answer = api.post(at(budget, "check-availability"), {"amount": "150"}).json()
        assert (answer["available"], answer["would_overspend"], answer["reason"]) == (
            True,
            True,
            "overspend_allowed",
        )

    def test_a_draft_and_an_ended_period_say_why(self, api: APIClient, here: Place) -> None:
        draft = here.budget("100", draft=True)
        ended = here.budget("100", period_start="2025-01-01", period_end="2026-01-01")
        ask = {"amount": "1"}
        assert api.post(at(draft, "check-availability"), ask).json()["reason"] == "budget_not_open"
        assert api.post(at(ended, "check-availability"), ask).json()["reason"] == "outside_budget_period"

    def test_another_currency_is_refused(self, api: APIClient, here: Place) -> None:
        budget = here.budget("100")
        answer = api.post(at(budget, "check-availability"), {"amount": "1", "currency": "EUR"})
        assert (answer.status_code, answer.json()["code"]) == (400, "other_currency")
        assert (
            api.post(at(budget, "check-availability"), {"amount": "1", "currency": "usd"}).status_code == 200
        )


class TestCharging:
    def test_the_entry_and_the_new_figures(self, api: APIClient, here: Place) -> None:
        budget = here.budget("100.00")
        charged = api.post(at(budget), {"amount": "33.30", "description": "Licences", "reference": "PO-7"})
        assert charged.status_code == 201
        entry = BudgetEntry.objects.get(kind="charge")
        assert charged.json()["budget"] == {
            "id": budget.pk,
            "name": budget.name,
            "status": "open",
            "allocated_amount": "100.00",
            "override_amount": "0.00",
            "spent_amount": "33.30",
            "committed_amount": "0.00",
            "available_amount": "66.70",
            "utilization_percent": "33.3",
            "currency": "USD",
        }
        shown = charged.json()["entry"]
        expected = {
            "id": entry.pk,
            "budget_id": budget.pk,
            "kind": "charge",
            "amount": "33.30",
            "currency": "USD",
            "posting_date": "2026-06-15",
            "description": "Licences",
            "reference": "PO-7",
            "spent_delta": "33.30",
            "document_amount": "33.30",
            "document_currency": "USD",
            "rate": "1",
            "actor_id": here.finance.pk,
            "created_at": "2026-06-15T12:00:00Z",
        }
        assert {name: shown[name] for name in expected} == expected
        assert api.get(f"{BASE}/budget-entries/{entry.pk}").json() == shown
        assert api.get(at(budget, "entries")).json()["results"][0] == shown

    def test_bud06_the_boundary(self, api: APIClient, here: Place) -> None:
        budget = here.budget("100")
        beyond = api.post(at(budget), {"amount": "100.01", "description": "x"})
        assert (beyond.status_code, beyond.json()["code"]) == (409, "insufficient_budget")
        assert beyond.json()["shortfalls"] == [
            {
                "budget_id": budget.pk,
                "name": budget.name,
                "currency": "USD",
                "allocated": "100.00",
                "used": "0.00",
                "available": "100.00",
                "asked": "100.01",
                "short": "0.01",
                "stretch": "",
            }
        ]
        assert api.post(at(budget), {"amount": "100.00", "description": "x"}).status_code == 201

    def test_above_the_threshold_a_request_is_needed(self, api: APIClient, here: Place) -> None:
        budget = here.budget("100", approval_threshold="50")
        above = api.post(at(budget), {"amount": "50.01", "description": "x"})
        assert (above.status_code, above.json()["code"]) == (409, "approval_required")
        assert above.json()["approval_threshold"] == "50.00"

    @pytest.mark.parametrize(
        ("change", "code"),
        [
            ({"amount": "-5"}, "amount_not_positive"),
            ({"amount": 0}, "amount_not_positive"),
            ({"amount": "NaN"}, "amount_not_finite"),
            ({"amount": "Infinity"}, "amount_not_finite"),
            ({"amount": "1e400"}, "amount_too_large"),
            ({"amount": "0." + "1" * 25}, "amount_too_precise"),
            ({"amount": "1.005"}, "amount_too_precise"),
            ({"amount": "ten"}, "invalid_amount"),
            ({"amount": True}, "invalid_amount"),
            ({"amount": None}, "null"),
            ({"amount": ...}, "required"),
            ({"description": ""}, "blank"),
            ({"description": ...}, "required"),
            ({"description": "x" * 501}, "max_length"),
            ({"currency": "XXX"}, "unknown_currency"),
            ({"currency": "EUR"}, "no_exchange_rate"),
            ({"posting_date": "2026-02-30"}, "invalid"),
            ({"posting_date": "2027-01-01"}, "outside_budget_period"),
            ({"colour": "red"}, "unknown_field"),
            ({"source_type": "invoice", "source_line": -1}, "invalid"),
        ],
    )
    def test_each_bad_input_has_its_own_refusal_on_both_ways(
        self, here: Place, sign_in: SignIn, change: dict[str, Any], code: str
    ) -> None:
        budget = here.budget("100")
        sent = {"amount": "5", "description": "x", **change}
        sent = {name: value for name, value in sent.items() if value is not ...}
        before = BudgetEntry.objects.count()
        answers = both_ways(here, at(budget), json.dumps(sent))
        assert [answer.json()["code"] for answer in answers] == [code, code]
        assert answers[0].json() == answers[1].json()
        assert answers[0].status_code == answers[1].status_code
        assert BudgetEntry.objects.count() == before

    @pytest.mark.parametrize(
        ("text", "code"),
        [
            ('{"amount": NaN, "description": "x"}', "not_finite"),
            ('{"amount": 1e400, "description": "x"}', "number_out_of_range"),
            ('{"amount": 1, "amount": 2, "description": "x"}', "duplicate_member"),
            ('{"amount": ', "malformed_json"),
            ("[]", "invalid"),
            ('{"amount": "1", "description": "a\\u0000b"}', "null_characters_not_allowed"),
        ],
    )
    def test_bad_json_is_refused_alike(self, here: Place, text: str, code: str) -> None:
        budget = here.budget("100")
        answers = both_ways(here, at(budget), text)
        assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [(400, code)] * 2

    @pytest.mark.parametrize("state", ["draft", "soft_closed", "closed"])
    def test_bud21_the_state_decides(self, api: APIClient, here: Place, sign_in: SignIn, state: str) -> None:
        budget = here.budget("100", draft=state == "draft")
        if state != "draft":
            api.post(at(budget, "soft-close"))
        if state == "closed":
            api.post(at(budget, "close"))
        client = sign_in(here.manager)
        answer = client.post(at(budget), {"amount": "1", "description": "x"})
        expected = {
            "draft": (409, "budget_not_open"),
            "soft_closed": (403, "budget_soft_closed"),
            "closed": (409, "budget_closed"),
        }
        assert (answer.status_code, answer.json()["code"]) == expected[state]

    def test_a_number_keeps_the_digits_it_was_written_with(self, here: Place) -> None:
        budget = here.budget("1")
        fast, _ = both_ways(here, at(budget), '{"amount": 0.10, "description": "x"}')
        assert fast.json()["entry"]["amount"] == "0.10"

    def test_bud31_another_currency_at_the_rate_of_the_day(self, api: APIClient, here: Place) -> None:
        rate("EUR", "USD", "1.10")
        budget = here.budget("200")
        charged = api.post(at(budget), {"amount": "100", "currency": "EUR", "description": "x"}).json()
        assert (charged["entry"]["amount"], charged["entry"]["document_amount"]) == ("110.00", "100.00")
        assert (charged["entry"]["rate"], charged["entry"]["rate_date"]) == ("1.1", "2026-06-15")
        assert charged["budget"]["available_amount"] == "90.00"

    def test_bud08_a_document_line_is_charged_once(self, api: APIClient, here: Place) -> None:
        budget = here.budget("100")
        sent = {"amount": "5", "description": "x", "source_type": "invoice", "source_id": "4711"}
        first = api.post(at(budget), sent)
        again = api.post(at(budget), sent)
        assert (first.status_code, again.status_code) == (201, 200)
        assert first.json()["entry"] == again.json()["entry"]
        other = api.post(at(budget), {**sent, "amount": "6"})
        assert (other.status_code, other.json()["code"]) == (422, "source_reused")

    def test_the_same_key_charges_once_on_both_ways(self, api: APIClient, here: Place) -> None:
        budget = here.budget("100")
        sent = {"amount": "5", "description": "x"}
        first = api.post(at(budget), sent, headers={"Idempotency-Key": "k"})
        again = api.post(at(budget), sent, headers={"Idempotency-Key": "k"})
        slow = api.post(at(budget), sent, headers={"Idempotency-Key": "k", "Accept": "application/*"})
        assert first.json() == again.json() == slow.json()
        assert (again["Idempotency-Replayed"], slow["Idempotency-Replayed"]) == ("true", "true")
        assert "Idempotency-Replayed" not in first
        other = api.post(at(budget), {**sent, "amount": "6"}, headers={"Idempotency-Key": "k"})
        assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
        empty = api.post(at(budget), sent, headers={"Idempotency-Key": " "})
        assert (empty.status_code, empty.json()["code"]) == (400, "invalid_idempotency_key")
        assert BudgetEntry.objects.filter(kind="charge").count() == 1

    def test_a_refused_key_may_be_used_again(self, api: APIClient, here: Place) -> None:
        budget = here.budget("10")
        headers = {"Idempotency-Key": "r"}
        assert api.post(at(budget), {"amount": "11", "description": "x"}, headers=headers).status_code == 409
        assert api.post(at(budget), {"amount": "10", "description": "x"}, headers=headers).status_code == 201

    def test_a_token_that_does_not_hold_is_401(self, here: Place) -> None:
        budget = here.budget("100")
        answer = Client().post(
            at(budget),
            '{"amount": 1, "description": "x"}',
            content_type="application/json",
            headers={"Authorization": "Bearer no-token"},
        )
        assert (answer.status_code, answer.json()["code"]) == (401, "token_not_valid")
        assert answer["WWW-Authenticate"].startswith("Bearer")

    def test_the_rate_limit_holds(self, here: Place, api: APIClient, settings: Any) -> None:
        settings.API_RATES = {**settings.API_RATES, "user": (3, 60)}
        budget = here.budget("100")
        answers = [api.post(at(budget), {"amount": "1", "description": "x"}) for _ in range(4)]
        assert [answer.status_code for answer in answers] == [201, 201, 201, 429]
        assert int(answers[-1]["Retry-After"]) > 0

    def test_with_a_slash_at_the_end_too(self, here: Place, api: APIClient) -> None:
        budget = here.budget("100")
        assert api.post(at(budget) + "/", {"amount": "1", "description": "x"}).status_code == 201
        assert api.get(at(budget)).status_code == 405

    def test_bud07_a_document_is_charged_as_a_whole(self, api: APIClient, here: Place) -> None:
        first, second = here.budget("100"), here.budget("10")
        lines = [
            {"budget_id": first.pk, "amount": "60", "description": "a"},
            {"budget_id": first.pk, "amount": "60", "description": "b"},
            {"budget_id": second.pk, "amount": "11", "description": "c"},
        ]
        refusal = api.post(f"{BASE}/budgets/charges", {"lines": lines})
        assert refusal.json()["code"] == "insufficient_budget"
        assert [row["short"] for row in refusal.json()["shortfalls"]] == ["20.00", "1.00"]
        lines[1]["amount"], lines[2]["amount"] = "40", "10"
        done = api.post(
            f"{BASE}/budgets/charges", {"lines": lines, "source_type": "invoice", "source_id": "9"}
        )
        assert done.status_code == 201, done.data
        assert [row["available_amount"] for row in done.json()["budgets"]] == ["0.00", "0.00"]
        assert len(done.json()["entries"]) == 3
        again = api.post(
            f"{BASE}/budgets/charges", {"lines": lines, "source_type": "invoice", "source_id": "9"}
        )
        assert (again.status_code, again.json()["entries"]) == (200, done.json()["entries"])

    def test_bud16_a_refund_and_bud32_a_correction(self, api: APIClient, here: Place) -> None:
        budget = here.budget("100")
        entry = api.post(at(budget), {"amount": "40", "description": "x"}).json()["entry"]
        back = api.post(
            at(budget, "refund"), {"amount": "15", "description": "Credit", "reverses_id": entry["id"]}
        )
        assert back.status_code == 201, back.data
        assert back.json()["budget"]["spent_amount"] == "25.00"
        much = api.post(
            at(budget, "refund"), {"amount": "26", "description": "Credit", "reverses_id": entry["id"]}
        )
        assert much.json()["code"] == "refund_exceeds_charge"
        wrong = api.post(at(budget), {"amount": "5", "description": "y"}).json()["entry"]
        undone = api.post(f"{BASE}/budget-entries/{wrong['id']}/correct", {"reason": "Wrong budget"})
        assert undone.json()["entry"]["spent_delta"] == "-5.00"
        assert undone.json()["entry"]["reverses_id"] == wrong["id"]

    def test_bud28_alerts_of_crossed_thresholds(self, api: APIClient, here: Place) -> None:
        budget = here.budget("100", alert_threshold_percent=75)
        api.post(at(budget), {"amount": "92", "description": "x"})
        found = api.get(at(budget, "alerts")).json()["results"]
        assert [(row["level"], row["threshold_percent"]) for row in found] == [
            ("warning", "90"),
            ("alert", "75"),
        ]
        assert (found[0]["used_amount"], found[0]["utilization_percent"]) == ("92.00", "92")
        assert api.get(at(budget, "alerts") + "?active=true&level=alert").json()["count"] == 1


def both_ways(here: Place, path: str, text: str) -> list[Any]:
    """The same call on the short way, and on REST framework's (by an Accept that the short one leaves alone)."""
    token = token_pair_issue(user=here.finance).access
    return [
        Client().post(
            path,
            text,
            content_type="application/json",
            headers={"Authorization": f"Bearer {token}", "Accept": accept},
        )
        for accept in ("application/json", "application/json, text/plain")
    ]


def test_the_session_of_a_browser_charges_with_its_csrf_token(here: Place) -> None:
    budget = here.budget("100")
    client = Client(enforce_csrf_checks=True)
    client.force_login(here.finance, backend="entities.access.PasswordBackend")
    sent = '{"amount": 1, "description": "x"}'
    answer = client.post(at(budget), sent, content_type="application/json")
    assert answer.status_code == 403
    assert not BudgetEntry.objects.filter(kind="charge").exists()
