"""The fast ways of approvals under real concurrency: many callers at once over HTTP (APR-22, BUD-02, BUD-04)."""

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from approvals.models import ApprovalRequest
from approvals.services import fast_votes
from budgets.models import EntryKind
from core.api.tokens import forget_all, token_pair_issue
from core.models import OutboxEvent, User
from tests.approvals.builders import House, house, people, trail
from tests.budgets.builders import assert_proven, figures, money
from tests.concurrency.test_budgets import by_many_threads, open_budget, together

pytestmark = pytest.mark.concurrency

APPROVALS = "/api/enterprise-billing/approvals"


@pytest.fixture
def home() -> House:
    forget_all()
    return house()


def caller_of(user: User) -> Callable[..., Any]:
    token = token_pair_issue(user=user).access

    def post(path: str, body: dict[str, Any]) -> tuple[int, str]:
        answer = Client().post(
            path,
            json.dumps(body),
            content_type="application/json",
            headers={"Authorization": f"Bearer {token}"},
        )
        shown = answer.json()
        return answer.status_code, shown.get("code") or shown["status"]

    return post


def test_bud_04_a_hundred_requests_for_the_last_fifty_units_commit_what_fits(home: House) -> None:
    home.rule(people(home.anna))
    budget = open_budget(home.place, "50.00", alert_threshold_percent=None, warning_threshold_percent=None,
                         critical_threshold_percent=None)  # fmt: skip
    post = caller_of(home.asker)
    asked = {
        "request_type": "purchase", "title": "Seat", "description": "", "amount": "1.00", "budget_id": budget.pk
    }  # fmt: skip
    answers: list[tuple[int, str]] = []
    by_many_threads(20, [lambda: answers.append(post(APPROVALS, asked))] * 100)
    assert Counter(answers) == {(201, "pending"): 50, (409, "insufficient_budget"): 50}
    assert figures(budget) == money("50", "50", "0", "0")
    assert ApprovalRequest.objects.count() == budget.commitments.count() == 50
    assert_proven()


def test_apr_22_two_last_votes_at_once_over_http_make_one_transition_and_one_effect(home: House) -> None:
    home.rule(people(home.anna, home.ben, required=1))
    anna, ben = caller_of(home.anna), caller_of(home.ben)
    vote = {"action": "approve"}
    for number in range(5):
        budget = open_budget(home.place, "100.00", name=f"Round {number}")
        request = home.ask("60.00", budget_id=budget.pk)
        path = f"{APPROVALS}/{request.pk}/action"
        outcomes = together(lambda path=path: anna(path, vote), lambda path=path: ben(path, vote))  # type: ignore[misc]
        assert Counter(outcomes) == {(200, "approved"): 1, (409, "already_decided"): 1}
        assert trail(request) == ["submitted", "approved", "effect_booked"]
        assert budget.entries.filter(kind=EntryKind.CONSUMPTION).count() == 1
        assert figures(budget) == money("100", "0", "60", "40")
        told = OutboxEvent.objects.filter(topic="approval.decided", payload__request_id=request.pk)
        assert told.count() == 1
    assert_proven()


def test_apr_22_both_votes_that_are_needed_at_once_pass_the_level(home: House) -> None:
    home.rule(people(home.anna, home.ben, required=2))
    for number in range(5):
        budget = open_budget(home.place, "100.00", name=f"Round {number}")
        request = home.ask("60.00", budget_id=budget.pk)

        def vote(voter: User, request_id: int = request.pk) -> str:
            whole = fast_votes.approve(actor=voter, request_id=request_id, comment="", content_hash=None)
            assert whole is not None
            return str(whole.request.status)

        outcomes = together(lambda vote=vote: vote(home.anna), lambda vote=vote: vote(home.ben))  # type: ignore[misc]
        assert sorted(outcomes) == ["approved", "pending"]
        assert trail(request) == ["submitted", "approved", "approved", "effect_booked"]
    assert_proven()
