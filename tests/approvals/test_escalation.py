"""APR-19, APR-20: reminders, escalation and expiry, at exact moments and after outages."""

from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest
import time_machine
from django.core.management import call_command
from django.core.management.base import CommandError

from approvals.approval_types import PurchaseApproval
from approvals.models import ActionKind, ApprovalRequest, ApprovalStep, TaskStatus
from approvals.services import sweeps
from approvals.services.escalation import request_escalate
from approvals.services.votes import request_approve
from core.errors import BillingError, Conflict, Forbidden
from core.models import OutboxEvent
from core.sweeps import Swept
from entities.models import Role
from tests.approvals.builders import House, asked, people, trail
from tests.budgets.builders import figures, money
from tests.entities import factories

QUIET: dict[str, Any] = {"escalation_target": ""}


def at(moment: str) -> Any:
    return time_machine.travel(f"{moment}Z", tick=False)


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[arg-type]  # mypy sees tzinfo among the parts


def step_of(request: ApprovalRequest) -> ApprovalStep:
    return request.steps.get(round=request.round, order=1)


def refused(code: str, act: Any) -> BillingError:
    with pytest.raises(BillingError) as caught:
        act()
    assert caught.value.code == code
    return caught.value


def test_apr_19_reminders_come_to_the_second_keep_their_hours_and_are_counted(home: House) -> None:
    home.rule(people(home.anna, reminder_hours=24, **QUIET))
    task = home.ask().tasks.get()
    with at("2026-06-16T11:59:59"):
        assert sweeps.remind_due() == Swept(0, 0)
    with at("2026-06-16T12:00:00"):
        assert sweeps.remind_due() == Swept(1, 0)
        assert sweeps.remind_due() == Swept(0, 0)
    with at("2026-06-17T12:04:00"):
        assert sweeps.remind_due() == Swept(1, 0)
    task.refresh_from_db()
    assert (task.reminders_sent, task.remind_at) == (2, utc(2026, 6, 18, 12))
    reminded = task.request.actions.filter(kind=ActionKind.REMINDED)
    assert [action.details for action in reminded] == [
        {"approver": home.anna.pk, "number": 1},
        {"approver": home.anna.pk, "number": 2},
    ]
    with at("2026-06-18T11:00:00"):
        home.approve(task.request, home.anna)
    with at("2026-06-18T12:00:00"):
        assert sweeps.remind_due() == Swept(0, 0)


def test_apr_19_after_a_week_without_jobs_there_is_one_reminder_and_one_hop(home: House) -> None:
    home.rule(people(home.anna, reminder_hours=24, escalation_hours=48, escalation_hops=3))
    request = home.ask()
    with at("2026-06-23T09:00:00"):
        assert (sweeps.escalate_due(), sweeps.remind_due()) == (Swept(1, 0), Swept(1, 0))
        assert (sweeps.escalate_due(), sweeps.remind_due()) == (Swept(0, 0), Swept(0, 0))
    step = step_of(request)
    assert (step.hops_done, step.escalates_at) == (1, utc(2026, 6, 25, 9))
    first, second = request.tasks.order_by("id")
    assert (first.reminders_sent, first.remind_at) == (1, utc(2026, 6, 24, 9))
    assert (second.approver, second.reminders_sent, second.remind_at) == (
        home.chief,
        0,
        utc(2026, 6, 24, 9),
    )
    assert trail(request) == ["submitted", "escalated", "reminded"]


def test_apr_19_business_hours_skip_the_night_the_weekend_and_follow_the_change_of_the_clocks(
    home: House,
) -> None:
    home.anna.time_zone = "Europe/Berlin"
    home.anna.save()
    home.rule(people(home.anna, reminder_hours=2, escalation_hours=8, timer_basis="business"))
    # Friday 16:00 in Berlin; on Sunday the clocks go back. One hour is left on Friday.
    with at("2026-10-23T14:00:00"):
        request = home.ask()
    task, step = request.tasks.get(), step_of(request)
    assert task.remind_at == utc(2026, 10, 26, 9)  # Monday 10:00 CET
    assert step.escalates_at == utc(2026, 10, 26, 15)  # Monday 16:00 CET
    with at("2026-10-26T14:59:59"):
        assert sweeps.escalate_due() == Swept(0, 0)
    with at("2026-10-26T15:00:00"):
        assert sweeps.escalate_due() == Swept(1, 0)


def test_apr_19_clock_hours_count_through_the_change_of_the_clocks(home: House) -> None:
    home.anna.time_zone = "Europe/Berlin"
    home.anna.save()
    home.rule(people(home.anna, reminder_hours=24, **QUIET))
    with at("2026-10-24T12:00:00"):
        request = home.ask()
    assert request.tasks.get().remind_at == utc(2026, 10, 25, 12)


def test_apr_19_the_manager_is_asked_too_and_when_nobody_is_left_it_says_so_once(home: House) -> None:
    home.rule(people(home.anna, escalation_hours=48, escalation_hops=3, reminder_hours=None))
    request = home.ask()
    with at("2026-06-17T12:00:00"):
        sweeps.escalate_due()
    assert asked(request) == sorted([home.anna.username, home.chief.username])
    with at("2026-06-19T12:00:00"):
        assert sweeps.escalate_due() == Swept(1, 0)
        assert sweeps.escalate_due() == Swept(0, 0)
    step = step_of(request)
    assert (step.hops_done, step.escalates_at) == (1, None)
    hops = list(request.actions.filter(kind=ActionKind.ESCALATED))
    assert [(hop.details["to"], hop.comment) for hop in hops] == [
        ([home.chief.pk], ""),
        ([], "Nobody is left to escalate to."),
    ]
    assert request_approve(actor=home.chief, request_id=request.pk).status == "approved"


def test_apr_19_no_more_hops_than_the_rule_allows(home: House) -> None:
    boss = factories.member(home.place.entity, Role.APPROVER)
    home.chief.manager = boss
    home.chief.save()
    home.rule(people(home.anna, escalation_hours=1, escalation_hops=1, reminder_hours=None))
    request = home.ask()
    for hour in ("13", "14", "15"):
        with at(f"2026-06-15T{hour}:00:00"):
            sweeps.escalate_due()
    assert asked(request) == sorted([home.anna.username, home.chief.username])
    assert step_of(request).hops_done == 1


def test_apr_19_replacing_takes_the_task_away(home: House) -> None:
    home.rule(people(home.anna, escalation_hours=48, escalation_mode="replace", reminder_hours=1))
    request = home.ask()
    with at("2026-06-17T12:00:00"):
        sweeps.escalate_due()
        assert asked(request) == [home.chief.username]
        old = request.tasks.get(approver=home.anna)
        assert (old.status, old.remind_at) == (TaskStatus.PASSED_ON, None)
        refused("not_an_approver", lambda: request_approve(actor=home.anna, request_id=request.pk))


def test_apr_19_replacing_never_leaves_a_level_with_too_few_people(home: House) -> None:
    home.rule(people(home.anna, home.ben, required=2, escalation_hours=48, escalation_mode="replace"))
    request = home.ask()
    with at("2026-06-17T12:00:00"):
        sweeps.escalate_due()
    # Both have the same chief: one person cannot stand for two votes.
    assert len(asked(request)) == 3
    assert request.actions.get(kind=ActionKind.ESCALATED).details["mode"] == "add"


def test_apr_13_it_never_escalates_to_who_must_not_decide(home: House) -> None:
    home.rule(people(home.anna, escalation_hours=48))
    home.chief.manager = None
    home.chief.save()
    request = home.ask(actor=home.place.manager, payee=home.chief)
    with at("2026-06-17T12:00:00"):
        sweeps.escalate_due()
    assert asked(request) == [home.anna.username]


def test_apr_19_a_role_is_escalated_to_as_the_rule_says(home: House) -> None:
    home.rule(
        people(
            home.anna,
            escalation_hours=48,
            escalation_target="role",
            escalation_role=Role.FINANCE_MANAGER,
            escalation_mode="replace",
        )
    )
    request = home.ask()
    with at("2026-06-17T12:00:00"):
        sweeps.escalate_due()
    assert asked(request) == sorted([home.place.finance.username, home.place.colleague.username])


def test_apr_19_by_hand_the_requester_an_approver_or_who_may_override_escalates(home: House) -> None:
    home.rule(people(home.anna, escalation_hops=1))
    for actor in (home.asker, home.anna, home.place.finance):
        request = home.ask()
        request_escalate(actor=actor, request_id=request.pk, comment="Needed today.")
        assert asked(request) == sorted([home.anna.username, home.chief.username])
        last = request.actions.latest("id")
        assert (last.kind, last.actor, last.comment) == ("escalated", actor, "Needed today.")
        again = partial(request_escalate, actor=actor, request_id=request.pk)
        assert isinstance(refused("escalated_enough", again), Conflict)
    request = home.ask()
    other = home.place.manager  # sees the department's requests, but is not asked
    error = refused("not_yours_to_escalate", lambda: request_escalate(actor=other, request_id=request.pk))
    assert isinstance(error, Forbidden)
    home.approve(request, home.anna)
    refused("already_decided", lambda: request_escalate(actor=home.asker, request_id=request.pk))


def test_apr_19_by_hand_it_says_when_nobody_is_left(home: House) -> None:
    home.rule(people(home.chief))
    request = home.ask()
    refused("nobody_to_escalate_to", lambda: request_escalate(actor=home.asker, request_id=request.pk))
    assert trail(request) == ["submitted"]


def test_apr_20_what_is_over_expires_and_is_neither_reminded_nor_escalated(home: House) -> None:
    home.rule(people(home.anna, reminder_hours=24, escalation_hours=48))
    budget = home.place.budget("1000.00")
    request = home.ask(budget_id=budget.pk)
    with at("2026-07-15T12:00:00"):
        assert (sweeps.escalate_due(), sweeps.remind_due()) == (Swept(0, 0), Swept(0, 0))
        assert sweeps.expire_due() == Swept(1, 0)
        assert sweeps.expire_due() == Swept(0, 0)
    request = ApprovalRequest.objects.get(pk=request.pk)
    assert request.status == "expired"
    assert trail(request) == ["submitted", "expired"]
    assert figures(budget) == money("1000", "0", "0", "1000")


def test_one_that_fails_stops_no_other_and_is_tried_again(
    home: House, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home.rule(people(home.anna, reminder_hours=24, **QUIET))
    broken, well = home.ask(), home.ask()

    def lock(self: PurchaseApproval, request: ApprovalRequest) -> None:
        if request.pk == broken.pk:
            raise RuntimeError("the subject is away")

    with at("2026-06-16T12:00:00"):
        with monkeypatch.context() as away:
            away.setattr(PurchaseApproval, "lock", lock)
            with pytest.raises(CommandError, match="1 failed"):
                call_command("run_approval_timers")
        assert well.tasks.get().reminders_sent == 1
        assert broken.tasks.get().reminders_sent == 0
        call_command("run_approval_timers")
    assert broken.tasks.get().reminders_sent == 1
    assert (
        "0 expired, 0 reassigned, 0 escalated, 1 reminded, 0 reviews reminded, 0 digests."
        in capsys.readouterr().out
    )
    assert OutboxEvent.objects.filter(topic="approval.reminded").count() == 2
