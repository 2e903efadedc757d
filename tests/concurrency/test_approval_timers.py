"""Approvals' timers and links at several workers at once: everything happens once (APR-19, APR-20, APR-25)."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection

from approvals.models import ApprovalRequest, ApprovalStep, ApprovalTask
from approvals.services import sweeps
from approvals.services.escalation import step_escalate, task_remind
from approvals.services.links import link_create, link_use
from approvals.services.requests import request_expire
from approvals.services.votes import request_approve
from core import clock
from core.accounts import user_deactivate
from core.errors import BillingError
from core.models import OutboxEvent, User
from entities.models import Role
from tests.approvals.builders import House, house, people, trail
from tests.entities import factories

pytestmark = pytest.mark.concurrency


@pytest.fixture
def home() -> House:
    return house()


def together(*acts: Callable[[], Any]) -> list[Any]:
    """Run all at once, each on its own connection; a refusal's code, or what the act returns."""
    barrier = threading.Barrier(len(acts))

    def run(act: Callable[[], Any]) -> Any:
        try:
            connection.ensure_connection()
            barrier.wait(timeout=30)
            return act()
        except BillingError as error:
            return error.code
        finally:
            connection.close()

    with ThreadPoolExecutor(len(acts)) as pool:
        return list(pool.map(run, acts))


def test_apr_19_two_workers_remind_and_escalate_once(home: House) -> None:
    home.rule(people(home.anna, reminder_hours=24, escalation_hours=48))
    requests = [home.ask() for _ in range(3)]
    past = clock.now() - timedelta(minutes=1)
    ApprovalTask.objects.update(remind_at=past)
    ApprovalStep.objects.update(escalates_at=past)
    swept = together(sweeps.remind_due, sweeps.remind_due, sweeps.escalate_due, sweeps.escalate_due)
    assert all(run.failed == 0 for run in swept)
    assert [sum(run.done for run in swept[:2]), sum(run.done for run in swept[2:])] == [3, 3]
    for request in requests:
        assert sorted(trail(request)) == ["escalated", "reminded", "submitted"]
        assert request.steps.get().hops_done == 1
    assert OutboxEvent.objects.filter(topic="approval.reminded").count() == 3
    assert OutboxEvent.objects.filter(topic="approval.task_opened").count() == 6


def test_apr_20_expiry_against_the_vote_one_wins_and_the_money_is_right(home: House) -> None:
    home.rule(people(home.anna))
    today = clock.today()
    span = {"period_start": today - timedelta(days=9), "period_end": today + timedelta(days=9)}
    budget = home.place.budget("1000.00", **span)
    for _ in range(5):
        request = home.ask("100.00", budget_id=budget.pk)
        soon = clock.now() + timedelta(milliseconds=15)
        ApprovalRequest.objects.filter(pk=request.pk).update(expires_at=soon)
        while not request_expire_or_vote(home, request):
            pass
        request = ApprovalRequest.objects.select_related("commitment").get(pk=request.pk)
        assert request.status in ("approved", "expired")
        assert request.commitment is not None
        assert not request.commitment.is_open
    budget = type(budget).objects.get(pk=budget.pk)
    approved = ApprovalRequest.objects.filter(status="approved").count()
    assert (budget.committed_amount, budget.spent_amount) == (0, 100 * approved)


def request_expire_or_vote(home: House, request: ApprovalRequest) -> bool:
    """Try both at once; False while its time is not over and the vote did not come through either."""
    outcomes = together(
        lambda: request_expire(request_id=request.pk),
        lambda: request_approve(actor=home.anna, request_id=request.pk).status,
    )
    return True in outcomes or "approved" in outcomes


def test_timers_do_not_act_on_what_is_decided_at_that_moment(home: House) -> None:
    home.rule(people(home.anna, reminder_hours=24, escalation_hours=48))
    request = home.ask()
    past = clock.now() - timedelta(minutes=1)
    ApprovalTask.objects.update(remind_at=past)
    ApprovalStep.objects.update(escalates_at=past)
    task, step = request.tasks.get(), request.steps.get()
    together(
        lambda: request_approve(actor=home.anna, request_id=request.pk).status,
        lambda: task_remind(task_id=task.pk),
        lambda: step_escalate(step_id=step.pk),
    )
    assert ApprovalRequest.objects.get(pk=request.pk).status == "approved"
    kinds = trail(request)
    decided = kinds.index("approved")
    assert "escalated" not in kinds[decided:]
    assert "reminded" not in kinds[decided:]
    assert not request.tasks.filter(status="open").exists()


def test_apr_25_a_link_opened_twice_decides_once(home: House) -> None:
    home.rule(people(home.anna, home.ben, required=2))
    for _ in range(5):
        request = home.ask()
        token = link_create(task=request.tasks.get(approver=home.anna), user=home.anna, action="approve")
        outcomes = together(*[lambda token=token: link_use(token=token).status] * 3)  # type: ignore[misc]
        assert sorted(outcomes) == ["link_used", "link_used", "pending"]
        assert trail(request) == ["submitted", "approved"]


def test_two_administrators_who_deactivate_each_other_do_not_both_succeed(home: House) -> None:
    first, second = (factories.member(home.place.entity, Role.ADMINISTRATOR) for _ in range(2))
    outcomes = together(
        lambda: user_deactivate(actor=first, user=second).username,
        lambda: user_deactivate(actor=second, user=first).username,
    )
    assert outcomes.count("last_administrator") == 1
    assert User.objects.filter(pk__in=[first.pk, second.pk], is_active=True).count() == 1
