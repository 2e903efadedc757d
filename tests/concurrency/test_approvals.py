"""Approvals under real concurrency: threads with connections of their own (APR-04, APR-20, APR-22, BUD-02)."""

import datetime
from collections.abc import Callable
from typing import Any

import pytest

from approvals.models import ApprovalRequest, OnApproval, RequestStatus
from approvals.services.recall import vote_recall
from approvals.services.requests import request_expire, request_update, request_withdraw
from approvals.services.votes import request_approve, request_reject
from budgets.models import Budget, EntryKind
from core import clock
from core.models import OutboxEvent, User
from tests.approvals.builders import House, house, people, trail, waiting_on
from tests.budgets.builders import assert_proven, figures, money
from tests.concurrency.test_budgets import by_many_threads, open_budget, together

pytestmark = pytest.mark.concurrency

ROUNDS = 5


@pytest.fixture
def home() -> House:
    return house()


def vote(request: ApprovalRequest, voter: User, **fields: Any) -> Callable[[], str]:
    return lambda: request_approve(actor=voter, request_id=request.pk, **fields).status


def outcome_of(home: House, request: ApprovalRequest, budget: Budget, outcomes: list[Any]) -> str:
    """How it stands now; exactly one act won, one event tells of it, one effect at most, and the money is right."""
    now = home.again(request)
    decided = OutboxEvent.objects.filter(topic="approval.decided", payload__request_id=request.pk)
    assert [event.payload["status"] for event in decided] == [now.status], outcomes
    assert outcomes.count("already_decided") == len(outcomes) - 1, outcomes
    charged = budget.entries.filter(kind=EntryKind.CONSUMPTION).count()
    if now.status == RequestStatus.APPROVED:
        assert (charged, figures(budget)) == (1, money("100", "0", "60", "40"))
    else:
        assert (charged, figures(budget)) == (0, money("100", "0", "0", "100"))
    assert trail(request).count("effect_booked") == charged
    assert not now.tasks.filter(status="open").exists()
    return str(now.status)


def test_apr_22_the_two_last_votes_at_once_decide_once(home: House) -> None:
    """Each would be the last: one passes the level, the other comes late."""
    home.rule(people(home.anna, home.ben, home.cleo, required=2))
    for number in range(ROUNDS):
        budget = open_budget(home.place, "100.00", name=f"Round {number}")
        request = home.approve(home.ask("60.00", budget_id=budget.pk), home.cleo)
        outcomes = together(vote(request, home.anna), vote(request, home.ben))
        assert outcome_of(home, request, budget, outcomes) == RequestStatus.APPROVED
        assert trail(request).count("approved") == 2
    assert_proven()


def test_apr_22_both_votes_that_are_needed_at_once_pass_the_level(home: House) -> None:
    home.rule(people(home.anna, home.ben, required=2))
    for number in range(ROUNDS):
        budget = open_budget(home.place, "100.00", name=f"Round {number}")
        request = home.ask("60.00", budget_id=budget.pk)
        assert sorted(together(vote(request, home.anna), vote(request, home.ben))) == ["approved", "pending"]
        assert trail(request).count("effect_booked") == 1
        assert figures(budget) == money("100", "0", "60", "40")
        assert (
            OutboxEvent.objects.filter(topic="approval.decided", payload__request_id=request.pk).count() == 1
        )
    assert_proven()


def test_apr_07_the_same_person_voting_many_times_at_once_votes_once(home: House) -> None:
    home.rule(people(home.anna, home.ben, required=2))
    request = home.ask()
    outcomes = together(*[vote(request, home.anna)] * 6)
    assert sorted(outcomes) == ["already_voted"] * 5 + ["pending"]
    assert trail(request) == ["submitted", "approved"]


def test_apr_22_a_vote_against_what_is_being_edited_is_never_counted_for_the_new_content(home: House) -> None:
    home.rule(people(home.anna, home.ben, required=2))
    codes = set()
    for _ in range(ROUNDS):
        request = home.ask("100.00")
        outcomes = together(
            vote(request, home.anna, content_hash=request.content_hash),
            lambda r=request: (
                request_update(actor=home.asker, request_id=r.pk, changes={"amount": "900.00"}).status
            ),
        )
        assert outcomes[1] == "pending"
        codes.add(outcomes[0])
        now = home.again(request)
        assert (now.round, now.tasks.filter(step__round=2, status="open").count()) == (2, 2)
        late = together(vote(request, home.ben, content_hash=request.content_hash))
        assert late == ["content_changed"]
    assert codes <= {"pending", "content_changed"}


@pytest.mark.parametrize("other", ["withdraw", "reject", "expire"])
def test_apr_20_approval_and_its_opposite_at_once_one_wins_and_the_money_is_right(
    home: House, other: str
) -> None:
    home.rule(people(home.anna, home.ben, required=1))
    for number in range(ROUNDS):
        budget = open_budget(home.place, "100.00", name=f"Round {number}")
        request = home.ask("60.00", budget_id=budget.pk)
        if other == "expire":
            # At once in the first round, later and later in the others: either may come first.
            ApprovalRequest.objects.filter(pk=request.pk).update(
                expires_at=clock.now() + datetime.timedelta(milliseconds=40 * number)
            )
        opposites: dict[str, Callable[[], Any]] = {
            "withdraw": lambda r=request: request_withdraw(actor=home.asker, request_id=r.pk).status,
            "reject": lambda r=request: request_reject(actor=home.ben, request_id=r.pk, comment="No").status,
            "expire": lambda r=request: expire_when_due(r.pk),
        }
        outcomes = together(vote(request, home.anna), opposites[other])
        if other == "expire":
            outcomes = [
                "already_decided" if each in (False, "request_expired") else each for each in outcomes
            ]
        outcome_of(home, request, budget, outcomes)
    assert_proven()


def test_apr_26_a_vote_is_taken_back_or_the_next_level_has_voted_never_both(home: House) -> None:
    home.rule(people(home.anna), people(home.ben))
    for _ in range(ROUNDS):
        request = home.approve(home.ask(), home.anna)
        outcomes = together(
            lambda r=request: vote_recall(actor=home.anna, request_id=r.pk).status, vote(request, home.ben)
        )
        taken_back = (["pending", "not_your_turn"], {home.anna})
        assert (outcomes, waiting_on(request)) in (taken_back, (["already_decided", "approved"], set()))


def expire_when_due(request_id: int) -> Any:
    """Call the job until the moment has come, as its schedule does."""
    while True:
        ended = request_expire(request_id=request_id)
        now = ApprovalRequest.objects.get(pk=request_id)
        if ended or not now.is_open:
            return ended


def test_bud_02_a_hundred_requests_race_for_the_last_fifty(home: House) -> None:
    home.rule()
    budget = open_budget(home.place, "50.00")
    outcomes = by_many_threads(8, [lambda: home.ask("1.00", budget_id=budget.pk)] * 100)
    assert outcomes == {"done": 50, "insufficient_budget": 50}
    assert figures(budget) == money("50", "50", "0", "0")
    assert ApprovalRequest.objects.count() == 50
    assert_proven()


def test_apr_04_two_halves_submitted_at_once_do_not_slip_under_the_split_guard(home: House) -> None:
    home.rule(people(home.anna), amount_to=1000)
    home.rule(people(home.ben), amount_from=1000)
    for number in range(ROUNDS):
        half = {"supplier": f"Acme {number}", "amount": "600.00"}
        totals = together(*[lambda h=half: home.ask(**h).split_total] * 2)
        assert sorted(totals) == [600, 1200]


def test_requests_on_crossed_budgets_and_votes_do_not_deadlock(home: House) -> None:
    """Submissions, votes, withdrawals and edits of many requests on two budgets and one parent, all at once."""
    parent = open_budget(home.place, "100000.00", department=None, is_control_point=True)
    budgets = [open_budget(home.place, "50000.00", parent=parent) for _ in range(2)]
    home.rule(people(home.anna, home.ben, required=1))
    requests = [
        home.ask("10.00", budget_id=budgets[n % 2].pk, on_approval=OnApproval.ORDER, supplier="Acme")
        for n in range(12)
    ]
    acts: list[Callable[[], Any]] = []
    for number, request in enumerate(requests):
        acts += [
            vote(request, home.anna),
            lambda r=request: request_update(actor=home.asker, request_id=r.pk, changes={"amount": "12.00"}),
            lambda n=number: home.ask("5.00", budget_id=budgets[n % 2].pk, supplier="Acme"),
            lambda r=request: request_withdraw(actor=home.asker, request_id=r.pk),
        ]
    outcomes = by_many_threads(6, acts)
    assert set(outcomes) <= {"done", "already_decided"}, outcomes
    assert_proven()
    for budget in budgets:
        held = sum(
            request.commitment.remainder
            for request in ApprovalRequest.objects.filter(budget=budget).select_related("commitment")
            if request.commitment is not None and request.commitment.is_open
        )
        assert figures(budget)[1] == held
