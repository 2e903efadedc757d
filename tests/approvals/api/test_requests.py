"""Requests over HTTP: asking, reading, deciding, the trail and files, exact to the JSON."""

import json
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from approvals.models import ApprovalAction, ApprovalRequest, ApprovalTask
from approvals.services.delegations import delegation_create
from core import clock
from core.models import IdempotencyRecord, User
from entities.models import Role
from tests.approvals.api.conftest import APPROVALS, BASE, SignIn
from tests.approvals.builders import House, people, trail
from tests.budgets.builders import figures, money
from tests.entities import factories

WRONG_VALUES: tuple[tuple[dict[str, Any], int, str, str | None], ...] = (
    ({"amount": "-1"}, 400, "amount_not_positive", "/amount"),
    ({"amount": "NaN"}, 400, "amount_not_finite", "/amount"),
    ({"amount": "1e400"}, 400, "amount_too_large", "/amount"),
    ({"amount": "1.001"}, 400, "amount_too_precise", "/amount"),
    ({"amount": None}, 400, "null", "/amount"),
    ({"amount": "0"}, 400, "amount_not_positive", "/amount"),
    ({"title": " "}, 400, "blank", "/title"),
    ({"request_type": "holiday"}, 400, "invalid_choice", "/request_type"),
    ({"currency": "XXX"}, 400, "unknown_currency", "/currency"),
    ({"quantity": "-2"}, 400, "min_value", "/quantity"),
    ({"payee_id": 999_999}, 400, "does_not_exist", "/payee_id"),
    ({"status": "approved"}, 400, "unknown_field", "/status"),
    ({"department_id": None}, 400, "required", "/entity_id"),
    ({"contract_id": 999_999}, 404, "not_found", None),
    ({"department_id": 999_999}, 404, "not_found", None),
    ({"budget_id": 999_999}, 404, "not_found", None),
)


@pytest.fixture
def asker(home: House, sign_in: SignIn) -> APIClient:
    return sign_in(home.asker)


@pytest.fixture
def anna(home: House, sign_in: SignIn) -> APIClient:
    return sign_in(home.anna)


def body(home: House, **changes: Any) -> dict[str, Any]:
    return {
        "request_type": "purchase",
        "title": "Monitors",
        "description": "Six of them",
        "amount": "400.00",
        "department_id": home.place.department.pk,
        **changes,
    }


def at(request: ApprovalRequest | int, *below: str) -> str:
    number = request if isinstance(request, int) else request.pk
    return "/".join([APPROVALS, str(number), *below])


def act(client: APIClient, request: ApprovalRequest, action: str, **more: Any) -> Any:
    return client.post(at(request, "action"), {"action": action, **more})


def stand_in(home: House, delegate: User, **fields: Any) -> None:
    """`delegate` stands in for Anna this week."""
    now = clock.now()
    delegation_create(
        actor=home.anna,
        delegate=delegate,
        valid_from=now,
        valid_to=now.replace(day=22),
        reason="On leave",
        **fields,
    )


class TestAsking:
    def test_asked_with_all_that_the_contract_names(self, home: House, asker: APIClient) -> None:
        rule = home.rule(people(home.anna), people(home.ben, home.cleo, required=2, name="Chiefs"))
        budget = home.place.budget("1000.00")
        made = asker.post(APPROVALS, body(home, budget_id=budget.pk, amount=400, supplier="Acme"))
        assert made.status_code == 201, made.data
        request = ApprovalRequest.objects.get()
        assert made["Location"] == at(request)
        shown = made.json()
        expected = {
            "id": request.pk,
            "reference_number": f"APR-{request.pk}",
            "request_type": "purchase",
            "amount": "400.00",
            "currency": "USD",
            "status": "pending",
            "round": 1,
            "entity_id": home.place.entity.pk,
            "department_id": home.place.department.pk,
            "budget_id": budget.pk,
            "requester_id": home.asker.pk,
            "requester_name": home.asker.display_name,
            "content_hash": request.content_hash,
            "rules": [
                {
                    "rule_id": rule.pk,
                    "version": rule.version,
                    "name": "Purchases",
                    "why": f"Any request of any amount, in {home.place.entity.name}",
                }
            ],
            "may_act": [
                {"user_id": home.anna.pk, "name": home.anna.display_name, "level": "Level 1"},
            ],
            "can_decide": False,
            "waiting_for_me": [],
            "due_at": None,
            "actions": ["escalate", "withdraw", "update"],
            "budget_effect": {
                "budget_id": budget.pk,
                "budget_name": budget.name,
                "currency": "USD",
                "allocated_amount": "1000.00",
                "available_before": "1000.00",
                "amount": "400.00",
                "available_after": "600.00",
                "held": True,
                "fits": True,
            },
            "blocked_reason": "",
            "effect_error": "",
            "expires_at": "2026-07-15T12:00:00Z",
        }
        assert {name: shown[name] for name in expected} == expected
        first, second = shown["levels"]
        task = ApprovalTask.objects.get(approver=home.anna)
        assert (first["status"], first["required_approvals"]) == ("open", 1)
        assert first["tasks"] == [
            {
                "id": task.pk,
                "approver_id": home.anna.pk,
                "approver_name": home.anna.display_name,
                "status": "open",
                "origin": "rule",
                "for_whom_id": None,
                "for_whom_name": None,
                "since": "2026-06-15T12:00:00Z",
                "due_at": "2026-06-17T12:00:00Z",
                "reminders_sent": 0,
                "acted_at": None,
                "acted_by_id": None,
                "acted_by_name": None,
            }
        ]
        assert (second["name"], second["status"], second["required_approvals"]) == ("Chiefs", "waiting", 2)
        assert [each["due_at"] for each in second["tasks"]] == [None, None]
        assert asker.get(at(request)).json() == shown
        assert figures(budget) == money("1000", "400", "0", "600")

    def test_apr_03_without_a_rule_it_is_blocked_and_says_why(self, home: House, asker: APIClient) -> None:
        made = asker.post(APPROVALS, body(home))
        assert (made.status_code, made.json()["status"]) == (201, "blocked")
        assert "No approver configured" in made.json()["blocked_reason"]
        assert (made.json()["rules"], made.json()["levels"], made.json()["may_act"]) == ([], [], [])

    def test_a_draft_is_kept_submitted_or_deleted(
        self, home: House, asker: APIClient, anna: APIClient
    ) -> None:
        home.rule()
        draft = asker.post(APPROVALS, body(home, draft=True)).json()
        assert (draft["status"], draft["levels"], draft["actions"]) == ("draft", [], ["submit", "update"])
        assert anna.delete(at(draft["id"])).json()["code"] == "not_the_requester"
        submitted = asker.post(at(draft["id"], "submit"))
        assert (submitted.status_code, submitted.json()["status"]) == (200, "pending")
        again = asker.post(at(draft["id"], "submit"))
        assert (again.status_code, again.json()["code"]) == (409, "already_submitted")
        assert asker.delete(at(draft["id"])).json()["code"] == "not_a_draft"
        other = asker.post(APPROVALS, body(home, draft=True)).json()
        assert asker.delete(at(other["id"])).status_code == 204
        assert asker.get(at(other["id"])).status_code == 404

    def test_apr_05_the_preview_shows_the_chain_and_writes_nothing(
        self, home: House, asker: APIClient
    ) -> None:
        rule = home.rule(people(home.anna, home.asker))
        budget = home.place.budget("100.00")
        shown = asker.post(f"{APPROVALS}/preview", body(home, budget_id=budget.pk))
        assert shown.status_code == 200, shown.data
        assert shown.json()["outcome"] == "asked"
        assert shown.json()["rules"][0]["rule_id"] == rule.pk
        assert shown.json()["levels"][0]["tasks"] == [
            {
                "approver_id": home.anna.pk,
                "approver_name": home.anna.display_name,
                "origin": "rule",
                "for_whom_id": None,
            }
        ]
        effect = shown.json()["budget_effect"]
        assert (effect["available_before"], effect["available_after"]) == ("100.00", "-300.00")
        assert (effect["held"], effect["fits"]) == (False, False)
        assert not ApprovalRequest.objects.exists()
        assert figures(budget) == money("100", "0", "0", "100")

    def test_bud_02_what_does_not_fit_is_409_and_leaves_nothing(self, home: House, asker: APIClient) -> None:
        home.rule()
        budget = home.place.budget("399.99")
        refused = asker.post(APPROVALS, body(home, budget_id=budget.pk))
        assert (refused.status_code, refused.json()["code"]) == (409, "insufficient_budget")
        assert refused["Content-Type"] == "application/problem+json"
        assert not ApprovalRequest.objects.exists()
        assert figures(budget) == money("399.99", "0", "0", "399.99")

    def test_each_wrong_value_has_its_own_refusal(self, home: House, asker: APIClient) -> None:
        for change, status, code, pointer in WRONG_VALUES:
            refused = asker.post(APPROVALS, body(home, **change))
            assert (refused.status_code, refused.json()["code"]) == (status, code), change
            pointers = [error["pointer"] for error in refused.json()["errors"]]
            assert pointers == ([pointer] if pointer else []), change
        assert not ApprovalRequest.objects.exists()

    def test_the_description_is_asked_for(self, home: House, asker: APIClient) -> None:
        sent = body(home)
        del sent["description"]
        refused = asker.post(APPROVALS, sent)
        assert refused.json()["errors"][0]["pointer"] == "/description"

    def test_sec_04_the_same_key_makes_one_request(self, home: House, asker: APIClient) -> None:
        home.rule()
        key = {"Idempotency-Key": "a-1"}
        first = asker.post(APPROVALS, body(home), headers=key)
        again = asker.post(APPROVALS, body(home), headers=key)
        assert (again.json(), again["Idempotency-Replayed"]) == (first.json(), "true")
        other = asker.post(APPROVALS, body(home, amount="401.00"), headers=key)
        assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
        assert ApprovalRequest.objects.count() == 1

    def test_only_a_system_enters_for_somebody_else(
        self, home: House, asker: APIClient, sign_in: SignIn
    ) -> None:
        home.rule()
        refused = asker.post(APPROVALS, body(home, requester_id=home.ben.pk))
        assert (refused.status_code, refused.json()["code"]) == (403, "requester_is_another")
        system = sign_in(factories.member(home.place.entity, Role.SERVICE_ACCOUNT))
        made = system.post(APPROVALS, body(home, requester_id=home.asker.pk))
        assert (made.status_code, made.json()["requester_id"]) == (201, home.asker.pk)


class TestReading:
    def test_filters_search_and_order(self, home: House, sign_in: SignIn) -> None:
        home.rule()
        home.ask("100.00", title="Laptops", supplier="Acme")
        home.ask("200.00", title="Chairs", draft=True)
        rejected = home.ask("300.00", title="Desks")
        act(sign_in(home.anna), rejected, "reject", comment="No room")
        finance = sign_in(home.place.finance)

        def titles(query: str) -> list[str]:
            found = finance.get(f"{APPROVALS}?{query}")
            assert found.status_code == 200, found.data
            return [row["title"] for row in found.json()["results"]]

        assert titles("") == ["Desks", "Chairs", "Laptops"]
        assert titles("status=rejected") == ["Desks"]
        assert titles("status_in=draft,pending&ordering=amount") == ["Laptops", "Chairs"]
        assert titles("amount_gte=150&amount_lte=250") == ["Chairs"]
        place = home.place
        assert len(titles(f"entity_id={place.entity.pk}&department_id={place.department.pk}")) == 3
        assert len(titles(f"requester_id={home.asker.pk}&request_type=purchase")) == 3
        assert titles("budget_id=999") == titles("created_at_gte=2027-01-01") == []
        assert titles("search=acme") == ["Laptops"]
        assert titles("decided_at_gte=2026-06-01T00:00:00Z") == ["Desks"]
        assert titles("review_due=true") == []
        wrong = finance.get(f"{APPROVALS}?inbox=yours")
        assert (wrong.status_code, wrong.json()["errors"][0]["pointer"]) == (400, "/inbox")
        assert finance.get(f"{APPROVALS}?colour=red").json()["errors"][0]["code"] == "unknown_parameter"

    def test_apr_18_the_inbox_holds_what_waits_for_the_caller_and_why(
        self, home: House, sign_in: SignIn
    ) -> None:
        home.rule(people(home.anna), people(home.dan))
        late = home.ask("100.00", title="Calm")
        urgent = home.ask("100.00", title="Urgent")
        urgent.steps.filter(order=1).update(escalates_at="2026-06-16T08:00:00Z")
        anna, ben, dan = (sign_in(user) for user in (home.anna, home.ben, home.dan))
        mine = anna.get(f"{APPROVALS}?inbox=mine").json()
        assert [row["id"] for row in mine["results"]] == [urgent.pk, late.pk]
        first = mine["results"][0]
        assert (first["can_decide"], first["due_at"]) == (True, "2026-06-16T08:00:00Z")
        task = ApprovalTask.objects.get(request=urgent, approver=home.anna)
        assert first["waiting_for_me"] == [
            {
                "task_id": task.pk,
                "level": "Level 1",
                "why": f"Named by the rule: Any request of any amount, in {home.place.entity.name}",
                "since": "2026-06-15T12:00:00Z",
                "due_at": "2026-06-16T08:00:00Z",
                "on_behalf_of_id": None,
                "on_behalf_of_name": None,
            }
        ]
        assert first["actions"] == ["approve", "reject", "request_changes", "delegate", "escalate"]
        assert ben.get(f"{APPROVALS}?inbox=mine").json()["count"] == 0
        assert dan.get(at(urgent)).status_code == 200
        assert dan.get(f"{APPROVALS}?inbox=mine").json()["count"] == 0  # APR-06: not their turn yet
        stand_in(home, home.ben)
        for inbox in ("mine", "delegated"):
            found = ben.get(f"{APPROVALS}?inbox={inbox}").json()["results"]
            assert [row["id"] for row in found] == [urgent.pk, late.pk]
            assert found[0]["waiting_for_me"][0]["why"] == f"You stand in for {home.anna.display_name}."
            assert "delegate" not in found[0]["actions"]
        assert anna.get(f"{APPROVALS}?inbox=delegated").json()["count"] == 0
        assert act(ben, urgent, "approve").json()["levels"][0]["tasks"][0]["acted_by_id"] == home.ben.pk
        decided = ben.get(f"{APPROVALS}?inbox=decided").json()["results"]
        assert [row["id"] for row in decided] == [urgent.pk]
        assert anna.get(f"{APPROVALS}?inbox=overdue").json()["count"] == 0
        late.steps.filter(order=1).update(hops_done=1)
        overdue = anna.get(f"{APPROVALS}?inbox=overdue").json()["results"]
        assert [row["id"] for row in overdue] == [late.pk]

    def test_ent_04_what_is_out_of_scope_is_404_everywhere(self, home: House, sign_in: SignIn) -> None:
        home.rule()
        request = home.ask()
        outsider = sign_in(home.place.outsider)
        assert outsider.get(APPROVALS).json()["count"] == 0
        before = trail(request)
        tries = [
            outsider.get(at(request)),
            outsider.get(at(request, "history")),
            outsider.get(at(request, "attachments")),
            outsider.patch(at(request), {"title": "Mine"}),
            outsider.delete(at(request)),
            act(outsider, request, "approve"),
            act(outsider, request, "withdraw"),
            outsider.post(at(request, "submit")),
            outsider.post(at(request, "comments"), {"comment": "Hello"}),
            outsider.post(at(request, "recalculate"), {"reason": "x"}),
            outsider.post(at(request, "emergency-approval"), {"reason": "x"}),
        ]
        assert {each.status_code for each in tries} == {404}
        assert trail(request) == before

    def test_bank_details_show_whole_only_to_whom_they_concern(self, home: House, sign_in: SignIn) -> None:
        home.rule()
        request = home.ask(supplier="Acme", supplier_account="DE02 1203 0000 0000 2020 51")
        auditor = factories.member(home.place.entity, Role.AUDITOR)

        def account(user: User) -> str:
            shown: str = sign_in(user).get(at(request)).json()["supplier_account"]
            return shown

        assert account(home.asker) == account(home.anna) == "DE02 1203 0000 0000 2020 51"
        assert account(home.place.finance) == "DE02 1203 0000 0000 2020 51"
        assert account(auditor) == account(home.ben) == "…0 51"
        history = sign_in(auditor).get(at(request, "history")).content.decode()
        listed = sign_in(auditor).get(APPROVALS).content.decode()
        assert "1203" not in history + listed
        home.approve(request, home.anna)
        assert account(home.anna) == "…0 51"

    def test_a_list_takes_the_same_queries_for_2_and_6(self, home: House, sign_in: SignIn) -> None:
        home.rule(people(home.anna, home.ben), people(home.cleo))
        budgets = [
            home.place.budget("5000.00", name=f"B{number}", category=f"c{number}") for number in range(3)
        ]
        finance, anna = sign_in(home.place.finance), sign_in(home.anna)

        def queries(client: APIClient, query: str, number: int) -> int:
            while ApprovalRequest.objects.count() < number:
                home.ask(budget_id=budgets[number % 3].pk, supplier_account="DE1", supplier="A")
            client.get(APPROVALS)  # reads the user once for all
            with CaptureQueriesContext(connection) as captured:
                assert len(client.get(f"{APPROVALS}?{query}").json()["results"]) == number
            return len(captured)

        few = [queries(finance, "", 2), queries(anna, "inbox=mine", 2)]
        many = [queries(finance, "", 6), queries(anna, "inbox=mine", 6)]
        assert few == many
        assert max(many) <= 9


class TestChanging:
    def test_apr_11_a_material_change_starts_a_new_round(
        self, home: House, asker: APIClient, anna: APIClient
    ) -> None:
        home.rule(people(home.anna), people(home.ben))
        request = home.ask("100.00")
        act(anna, request, "approve")
        shown = asker.get(at(request))
        changed = asker.patch(at(request), {"amount": "150.00"}, headers={"If-Match": shown["ETag"]})
        assert changed.status_code == 200, changed.data
        assert (changed.json()["amount"], changed.json()["round"]) == ("150.00", 2)
        assert [level["status"] for level in changed.json()["levels"]] == ["open", "waiting"]
        assert changed.json()["content_hash"] != shown.json()["content_hash"]
        stale = asker.patch(at(request), {"amount": "160.00"}, headers={"If-Match": shown["ETag"]})
        assert (stale.status_code, stale.json()["code"]) == (412, "stale_version")
        other = anna.patch(at(request), {"amount": "1.00"})
        assert (other.status_code, other.json()["code"]) == (403, "not_the_requester")
        fixed = asker.patch(at(request), {"budget_id": 1})
        assert (fixed.status_code, fixed.json()["code"]) == (404, "not_found")
        assert asker.get(at(request)).json()["amount"] == "150.00"

    def test_apr_10_sent_back_and_submitted_again(
        self, home: House, asker: APIClient, anna: APIClient
    ) -> None:
        home.rule()
        request = home.ask()
        silent = act(anna, request, "request_changes")
        assert (silent.status_code, silent.json()["code"]) == (400, "comment_required")
        back = act(anna, request, "request_changes", comment="Which model?")
        assert (back.json()["status"], back.json()["actions"]) == ("changes_requested", [])
        assert asker.get(at(request)).json()["actions"] == ["submit", "withdraw", "update"]
        again = asker.post(at(request, "submit"))
        assert (again.json()["status"], again.json()["round"]) == ("pending", 2)


class TestDeciding:
    def test_apr_23_the_last_approval_books_the_effect(
        self, home: House, anna: APIClient, sign_in: SignIn
    ) -> None:
        home.rule(people(home.anna), people(home.ben))
        budget = home.place.budget("1000.00")
        request = home.ask("400.00", budget_id=budget.pk)
        seen = anna.get(at(request)).json()["content_hash"]
        first = act(anna, request, "approve", comment="Fine", content_hash=seen)
        assert first.status_code == 200, first.data
        assert (first.json()["status"], first.json()["can_decide"]) == ("pending", False)
        assert [each["user_id"] for each in first.json()["may_act"]] == [home.ben.pk]
        last = act(sign_in(home.ben), request, "approve").json()
        assert (last["status"], last["decided_at"]) == ("approved", "2026-06-15T12:00:00Z")
        assert (last["may_act"], last["actions"], last["budget_effect"]) == ([], [], None)
        assert figures(budget) == money("1000", "0", "400", "600")
        late = act(anna, request, "reject", comment="Wait")
        assert (late.status_code, late.json()["code"]) == (409, "already_decided")
        assert late.json()["decided_by"] == home.ben.display_name
        assert figures(budget) == money("1000", "0", "400", "600")

    def test_apr_22_a_vote_on_other_content_is_409(
        self, home: House, anna: APIClient, asker: APIClient
    ) -> None:
        home.rule()
        request = home.ask()
        seen = anna.get(at(request)).json()["content_hash"]
        asker.patch(at(request), {"amount": "150.00"})
        refused = act(anna, request, "approve", content_hash=seen)
        assert (refused.status_code, refused.json()["code"]) == (409, "content_changed")
        assert refused.json()["content_hash"] == anna.get(at(request)).json()["content_hash"]
        assert "approved" not in trail(request)

    def test_apr_13_nobody_decides_on_their_own(self, home: House, sign_in: SignIn) -> None:
        home.rule(people(home.anna, home.ben))
        request = home.ask(actor=home.place.finance)
        own = act(sign_in(home.place.finance), request, "approve")
        assert (own.status_code, own.json()["code"]) == (403, "separation_of_duties")
        other = act(sign_in(home.cleo), request, "approve")
        assert (other.status_code, other.json()["code"]) == (403, "not_an_approver")
        assert other.json()["waiting_for"] == [home.anna.display_name, home.ben.display_name]
        assert trail(request) == ["submitted"]

    def test_apr_09_rejected_with_its_reason_the_money_is_free(self, home: House, anna: APIClient) -> None:
        home.rule()
        budget = home.place.budget("1000.00")
        request = home.ask("400.00", budget_id=budget.pk)
        silent = act(anna, request, "reject", comment=" ")
        assert (silent.status_code, silent.json()["errors"][0]["pointer"]) == (400, "/comment")
        assert act(anna, request, "reject", comment="Too dear").json()["status"] == "rejected"
        assert figures(budget) == money("1000", "0", "0", "1000")

    def test_apr_23_a_refused_effect_shows_its_reason(self, home: House, anna: APIClient) -> None:
        home.rule(may_exceed_budget=True)
        budget = home.place.budget("100.00")
        request = home.ask("150.00", budget_id=budget.pk)
        shown = anna.get(at(request)).json()["budget_effect"]
        assert (shown["held"], shown["available_after"], shown["fits"]) == (False, "-50.00", False)
        answer = act(anna, request, "approve")
        assert (answer.status_code, answer.json()["status"]) == (200, "pending")
        assert "short" in answer.json()["effect_error"]
        assert figures(budget) == money("100", "0", "0", "100")

    def test_apr_18_passed_on_to_a_colleague(self, home: House, anna: APIClient, sign_in: SignIn) -> None:
        home.rule()
        request = home.ask()
        assert act(anna, request, "delegate").json()["errors"][0]["pointer"] == "/delegate_to_id"
        stranger = act(anna, request, "delegate", delegate_to_id=home.place.outsider.pk)
        assert (stranger.status_code, stranger.json()["code"]) == (400, "does_not_exist")
        own = act(anna, request, "delegate", delegate_to_id=home.asker.pk)
        assert (own.status_code, own.json()["code"]) == (400, "delegate_may_not_decide")
        passed = act(anna, request, "delegate", delegate_to_id=home.ben.pk, comment="On leave")
        assert [each["user_id"] for each in passed.json()["may_act"]] == [home.ben.pk]
        ben = sign_in(home.ben)
        mine = ben.get(f"{APPROVALS}?inbox=delegated").json()["results"][0]
        assert mine["waiting_for_me"][0]["on_behalf_of_id"] == home.anna.pk
        assert act(ben, request, "approve").json()["status"] == "approved"
        voted = ben.get(at(request, "history") + "?kind=approved").json()["results"][0]
        assert (voted["actor_id"], voted["on_behalf_of_id"]) == (home.ben.pk, home.anna.pk)

    def test_apr_19_and_apr_20_escalated_by_hand_then_withdrawn(
        self, home: House, asker: APIClient, anna: APIClient
    ) -> None:
        home.rule()
        request = home.ask()
        asked = act(asker, request, "escalate", comment="Needed today").json()["may_act"]
        assert {each["user_id"] for each in asked} == {home.anna.pk, home.chief.pk}
        refused = act(anna, request, "withdraw")
        assert (refused.status_code, refused.json()["code"]) == (403, "not_the_requester")
        assert act(asker, request, "withdraw").json()["status"] == "withdrawn"
        unknown = act(asker, request, "postpone")
        assert (unknown.status_code, unknown.json()["code"]) == (400, "invalid_choice")

    def test_apr_24_bulk_tells_each_item_apart(self, home: House, anna: APIClient, asker: APIClient) -> None:
        home.rule(amount_to="50000.00")
        home.rule(people(home.ben), amount_from="50000.00", name="Large")
        good, changed, large = home.ask(), home.ask(), home.ask("20000.00")
        seen = changed.content_hash
        asker.patch(at(changed), {"amount": "120.00"})
        items = [
            {"id": good.pk, "content_hash": good.content_hash},
            {"id": changed.pk, "content_hash": seen},
            {"id": large.pk},
            {"id": 999_999},
            {"id": good.pk},
        ]
        key = {"Idempotency-Key": "bulk"}
        sent = {"items": items, "action": "approve"}
        answer = anna.post(f"{APPROVALS}/bulk-action", sent, headers=key)
        assert answer.status_code == 200, answer.data
        assert [(row["id"], row["done"], row["code"]) for row in answer.json()["results"]] == [
            (good.pk, True, "approved"),
            (changed.pk, False, "content_changed"),
            (large.pk, False, "above_bulk_cap"),
            (999_999, False, "not_found"),
            (good.pk, False, "already_decided"),
        ]
        assert (answer.json()["done"], answer.json()["refused"]) == (1, 4)
        assert not IdempotencyRecord.objects.exists()
        assert [home.again(each).status for each in (good, changed, large)] == [
            "approved",
            "pending",
            "pending",
        ]
        empty = anna.post(f"{APPROVALS}/bulk-action", {"items": [], "action": "approve"})
        assert empty.status_code == 400

    def test_apr_05_and_apr_26_recalculated_then_approved_in_an_emergency(
        self, home: House, sign_in: SignIn, anna: APIClient
    ) -> None:
        request = home.ask()
        assert request.status == "blocked"
        home.rule()
        finance = sign_in(home.place.finance)
        why = {"reason": "A rule was added"}
        assert finance.post(at(request, "recalculate"), why).json()["status"] == "pending"
        refused = anna.post(at(request, "emergency-approval"), why)
        assert (refused.status_code, refused.json()["code"]) == (403, "permission_denied")
        assert finance.post(at(request, "emergency-approval"), {"reason": " "}).status_code == 400
        done = finance.post(at(request, "emergency-approval"), {"reason": "Cooling failed"}).json()
        assert (done["status"], done["emergency_review_due"]) == ("approved", "2026-06-16T12:00:00Z")
        assert finance.get(f"{APPROVALS}?review_due=true").json()["count"] == 1
        own = finance.post(at(request, "emergency-review"), {"comment": "Yes"})
        assert (own.status_code, own.json()["code"]) == (403, "second_person_needed")
        colleague = sign_in(home.place.colleague)
        reviewed = colleague.post(at(request, "emergency-review"), {"comment": "Yes"}).json()
        assert reviewed["emergency_reviewed_by_id"] == home.place.colleague.pk
        again = colleague.post(at(request, "emergency-review"), {"comment": "Yes"})
        assert (again.status_code, again.json()["code"]) == (409, "nothing_to_review")

    def test_apr_21_a_task_is_given_to_somebody_else(self, home: House, sign_in: SignIn) -> None:
        home.rule()
        request = home.ask()
        finance = sign_in(home.place.finance)
        tasks = finance.get(f"{BASE}/approval-tasks?approver_id={home.anna.pk}&status=open").json()
        assert [(row["request_id"], row["level"]) for row in tasks["results"]] == [(request.pk, "Level 1")]
        where = f"{BASE}/approval-tasks/{tasks['results'][0]['id']}"
        assert finance.get(where).json()["due_at"] == "2026-06-17T12:00:00Z"
        give = {"to_user_id": home.ben.pk, "reason": "On leave"}
        assert sign_in(home.anna).post(f"{where}/reassign", give).status_code == 403
        given = finance.post(f"{where}/reassign", give)
        assert given.status_code == 200, given.data
        assert (given.json()["approver_id"], given.json()["for_whom_id"]) == (home.ben.pk, home.anna.pk)
        again = finance.post(f"{where}/reassign", give)
        assert (again.status_code, again.json()["code"]) == (409, "task_closed")
        assert finance.post(f"{where}/reassign", {**give, "to_user_id": 999_999}).status_code == 400


class TestTrail:
    def test_apr_26_the_trail_tells_everything_by_cursor(
        self, home: House, asker: APIClient, anna: APIClient
    ) -> None:
        rule = home.rule()
        request = home.ask()
        said = asker.post(at(request, "comments"), {"comment": "It is urgent"})
        assert (said.status_code, said["Location"]) == (201, at(request, "history"))
        act(anna, request, "approve", comment="Fine")
        page = anna.get(at(request, "history") + "?page_size=3").json()
        assert [row["kind"] for row in page["results"]] == ["effect_booked", "approved", "commented"]
        vote = page["results"][1]
        expected = {
            "kind_label": "Approved",
            "round": 1,
            "level": "Level 1",
            "actor_id": home.anna.pk,
            "actor_name": home.anna.display_name,
            "on_behalf_of_id": None,
            "comment": "Fine",
            "content_hash": request.content_hash,
            "rule_id": rule.pk,
            "rule_version": rule.version,
            "channel": "api",
            "created_at": "2026-06-15T12:00:00Z",
        }
        assert {name: vote[name] for name in expected} == expected
        assert page["results"][2] == said.json()
        rest = anna.get(page["next"]).json()
        assert [row["kind"] for row in rest["results"]] == ["submitted"]
        assert rest["results"][0]["details"]["rules"][0]["rule_id"] == rule.pk
        assert anna.get(at(request, "history") + "?sort=up").status_code == 400
        assert asker.post(at(request, "comments"), {"comment": ""}).status_code == 400

    def test_files_are_attached_read_and_taken_off(
        self, home: House, asker: APIClient, anna: APIClient, sign_in: SignIn, settings: Any, tmp_path: Any
    ) -> None:
        settings.MEDIA_ROOT = tmp_path
        home.rule()
        request = home.ask(draft=True)

        def attach(client: APIClient, name: str, content: bytes) -> Any:
            file = SimpleUploadedFile(name, content)
            return client.post(at(request, "attachments"), {"file": file}, format="multipart")

        made = attach(asker, "offer.pdf", b"%PDF-1.7 offer")
        assert made.status_code == 201, made.data
        where = f"{BASE}/approval-attachments/{made.json()['id']}"
        assert made["Location"] == where
        expected = {"name": "offer.pdf", "content_type": "application/pdf", "size": 14}
        assert {name: made.json()[name] for name in expected} == expected
        assert asker.get(at(request, "attachments")).json()["results"] == [made.json()]
        assert asker.get(where).json() == made.json()
        content = asker.get(f"{where}/content", headers={"Accept": "application/pdf"})
        assert b"".join(content) == b"%PDF-1.7 offer"
        assert content["Content-Disposition"] == 'attachment; filename="offer.pdf"'
        assert content["X-Content-Type-Options"] == "nosniff"
        assert sign_in(home.place.outsider).get(f"{where}/content").status_code == 404
        refusals = [("offer.exe", b"MZ"), ("offer.pdf", b"no pdf"), ("offer.txt", b"")]
        codes = [attach(asker, *refused).json()["code"] for refused in refusals]
        assert codes == ["file_type_not_allowed", "file_content_differs", "file_empty"]
        assert attach(asker, "same.pdf", b"%PDF-1.7 offer").json()["code"] == "attached_before"
        assert asker.post(at(request, "attachments"), {"file": "x"}).status_code == 415
        assert asker.delete(where).status_code == 204
        assert asker.get(where).status_code == 404
        assert trail(request) == ["attached", "detached"]
        kept = asker.delete(at(request))
        assert (kept.status_code, kept.json()["code"]) == (409, "draft_has_history")

    def test_who_only_reads_writes_nothing(self, home: House, sign_in: SignIn) -> None:
        home.rule()
        request = home.ask()
        auditor = sign_in(factories.member(home.place.entity, Role.AUDITOR))
        assert auditor.get(at(request)).status_code == 200
        assert auditor.post(APPROVALS, body(home)).status_code == 403
        assert auditor.post(at(request, "comments"), {"comment": "Hm"}).status_code == 403
        assert act(auditor, request, "approve").status_code == 403
        assert ApprovalAction.objects.filter(request=request).count() == 1


def test_numbers_that_are_no_json_are_refused(home: House, asker: APIClient) -> None:
    for literal in ("NaN", "1e400", "-Infinity"):
        text = json.dumps(body(home, amount="?")).replace('"?"', literal)
        refused = asker.post(APPROVALS, text, content_type="application/json")
        assert refused.status_code == 400, literal
    assert not ApprovalRequest.objects.exists()
