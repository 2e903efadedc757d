"""APR-26, APR-23: a vote can be taken back until something has come of it; the trail keeps both."""

from decimal import Decimal

import time_machine

from approvals.models import StepStatus
from approvals.services.limits import authority_limit_create
from approvals.services.recall import may_recall, vote_recall
from approvals.services.votes import request_reject, task_pass_on
from tests.approvals.builders import House, asked, people, refused, trail, waiting_on


def test_apr_26_a_vote_is_taken_back_and_the_next_level_waits_again(home: House) -> None:
    home.rule(people(home.anna, home.dan), people(home.ben))
    request = home.approve(home.ask(), home.anna)
    assert waiting_on(request) == {home.ben}
    assert may_recall(request, home.anna)
    with refused("already_voted"):
        home.approve(request, home.anna)
    with refused("nothing_to_recall"):
        vote_recall(actor=home.ben, request_id=request.pk)
    vote_recall(actor=home.anna, request_id=request.pk, comment="Wrong tab.")
    assert asked(request) == sorted([home.anna.username, home.dan.username])
    assert trail(request) == ["submitted", "approved", "recalled"]
    assert request.actions.latest("id").comment == "Wrong tab."
    assert [step.status for step in request.steps.order_by("order")] == [StepStatus.OPEN, StepStatus.WAITING]
    with refused("not_your_turn"):
        home.approve(request, home.ben)
    assert home.approve(request, home.dan, home.ben).status == "approved"


def test_apr_26_it_is_too_late_once_the_next_level_has_been_acted_on(home: House) -> None:
    home.rule(people(home.anna), people(home.ben, home.cleo, required=2))
    voted = home.approve(home.ask(), home.anna, home.ben)
    passed = home.approve(home.ask(), home.anna)
    task_pass_on(actor=home.ben, request_id=passed.pk, to_user=home.dan)
    for request in (voted, passed):
        assert not may_recall(request, home.anna)
        with refused("too_late_to_recall"):
            vote_recall(actor=home.anna, request_id=request.pk)
    vote_recall(actor=home.ben, request_id=voted.pk)
    vote_recall(actor=home.anna, request_id=voted.pk)
    assert waiting_on(voted) == {home.anna}


def test_apr_23_what_is_decided_has_had_its_effect_and_stays(home: House) -> None:
    home.rule()
    request = home.approve(home.ask(), home.anna)
    with refused("already_decided"):
        vote_recall(actor=home.anna, request_id=request.pk)


def test_apr_17_a_vote_that_counted_twice_is_taken_back_whole(home: House) -> None:
    home.rule(people(home.anna), people(home.anna, home.ben, required=2))
    request = home.approve(home.ask(), home.anna)
    assert trail(request) == ["submitted", "approved", "carried"]
    vote_recall(actor=home.anna, request_id=request.pk)
    assert waiting_on(request) == {home.anna}
    assert home.approve(request, home.anna, home.ben).status == "approved"


def test_apr_16_the_step_for_missing_authority_is_made_anew(home: House) -> None:
    authority_limit_create(
        actor=home.place.finance,
        user=home.anna,
        max_amount=Decimal(50),
        entity=home.place.entity,
        currency="USD",
    )
    home.rule(people(home.anna, home.ben, required=1, veto=False))
    request = home.approve(home.ask(), home.anna)
    assert waiting_on(request) == {home.chief}
    with time_machine.travel("2026-06-15T12:05:00Z", tick=False):
        vote_recall(actor=home.anna, request_id=request.pk)
        assert waiting_on(request) == {home.anna, home.ben}
        request_reject(actor=home.ben, request_id=request.pk, comment="Not this one.")
        assert waiting_on(request) == {home.anna}
        vote_recall(actor=home.ben, request_id=request.pk)
        assert waiting_on(request) == {home.anna, home.ben}
        home.approve(request, home.anna)
    assert waiting_on(request) == {home.chief}
    assert home.approve(request, home.chief).status == "approved"
