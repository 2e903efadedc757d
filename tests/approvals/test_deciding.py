"""Votes: whose turn it is, what they count, and who must not (APR-06 to APR-09, APR-13, APR-14, APR-16, APR-17, APR-22)."""

from decimal import Decimal
from typing import Any

import pytest

from approvals.models import ApprovalRequest, ApprovalTask, AuthorityLimit, RequestStatus, TaskStatus
from approvals.services.limits import authority_limit_create
from approvals.services.requests import request_approve_in_emergency, request_update
from approvals.services.votes import request_approve, request_reject, task_pass_on
from core.access import system_actor
from core.models import OutboxEvent, User
from entities.models import Role
from entities.services import membership_grant
from tests.approvals.builders import ROLE_LEVEL, House, people, refused, trail, waiting_on
from tests.budgets.builders import figures, money, rate
from tests.entities import factories

D = Decimal


def reject(request: ApprovalRequest, voter: User, comment: str = "No") -> ApprovalRequest:
    return request_reject(actor=voter, request_id=request.pk, comment=comment)


def told(request: ApprovalRequest) -> list[int]:
    """Who was told that they are asked, in order."""
    events = OutboxEvent.objects.filter(topic="approval.task_opened", payload__request_id=request.pk)
    tasks = [ApprovalTask.objects.get(pk=event.payload["task_id"]) for event in events.order_by("id")]
    return [task.approver_id for task in tasks]


# --- Levels and votes ------------------------------------------------------------------------------------


def test_apr_06_later_levels_are_neither_told_nor_able(home: House) -> None:
    home.rule(people(home.anna), people(home.ben))
    request = home.ask()
    assert told(request) == [home.anna.pk]
    assert not ApprovalTask.objects.waiting_for(home.ben).exists()
    with refused("not_your_turn"):
        home.approve(request, home.ben)
    with refused("not_your_turn"):
        reject(request, home.ben)
    home.approve(request, home.anna)
    assert told(request) == [home.anna.pk, home.ben.pk]
    assert home.approve(request, home.ben).status == RequestStatus.APPROVED


def test_apr_06_parallel_levels_are_asked_at_once_and_vote_in_any_order(home: House) -> None:
    home.rule(people(home.anna), people(home.ben), people(home.cleo), flow="parallel")
    request = home.ask()
    assert set(told(request)) == {home.anna.pk, home.ben.pk, home.cleo.pk}
    request = home.approve(request, home.cleo, home.anna)
    assert (request.status, waiting_on(request)) == (RequestStatus.PENDING, {home.ben})
    assert home.approve(request, home.ben).status == RequestStatus.APPROVED


@pytest.mark.parametrize(("required", "needed"), [(1, 1), (2, 2), (None, 3)])
def test_apr_06_any_n_or_all_of_a_level(home: House, required: int | None, needed: int) -> None:
    home.rule(people(home.anna, home.ben, home.cleo, required=required))
    request = home.ask()
    voters = [home.cleo, home.anna, home.ben][:needed]
    for voter in voters:
        assert request.status == RequestStatus.PENDING
        request = home.approve(request, voter)
    assert request.status == RequestStatus.APPROVED
    assert waiting_on(request) == set()


def test_apr_07_one_person_has_one_vote_whatever_roles_they_hold(home: House) -> None:
    membership_grant(
        actor=system_actor(),
        user=home.anna,
        entity=home.place.entity,
        department=home.place.department,
        role=Role.APPROVER,
    )
    home.rule(people(home.anna, home.ben, required=2))
    request = home.approve(home.ask(), home.anna)
    with refused("already_voted"):
        home.approve(request, home.anna)
    assert home.approve(request, home.ben).status == RequestStatus.APPROVED
    roles = home.rule(ROLE_LEVEL, priority=3)
    asked = home.ask().tasks.filter(step__rule_id=roles.pk).values_list("approver_id", flat=True)
    assert sorted(asked) == sorted(each.pk for each in (home.anna, home.ben, home.cleo, home.dan, home.chief))


def test_apr_07_who_is_asked_at_two_parallel_levels_answers_both_with_one_act(home: House) -> None:
    home.rule(people(home.anna, home.ben, required=2), people(home.anna), flow="parallel")
    request = home.approve(home.ask(), home.anna)
    assert list(request.steps.order_by("order").values_list("status", flat=True)) == ["open", "passed"]
    assert trail(request) == ["submitted", "approved", "approved"]
    assert home.approve(request, home.ben).status == RequestStatus.APPROVED


def test_apr_08_two_of_three_without_veto_passes_after_a_rejection(home: House) -> None:
    home.rule(people(home.anna, home.ben, home.cleo, required=2, veto=False))
    request = reject(home.ask(), home.anna)
    assert request.status == RequestStatus.PENDING
    assert home.approve(request, home.ben, home.cleo).status == RequestStatus.APPROVED


def test_apr_08_two_of_three_without_veto_fails_with_the_second_rejection(home: House) -> None:
    home.rule(people(home.anna, home.ben, home.cleo, required=2, veto=False))
    request = reject(reject(home.ask(), home.anna), home.ben)
    assert (request.status, waiting_on(request)) == (RequestStatus.REJECTED, set())


def test_apr_08_with_veto_one_rejection_ends_it(home: House) -> None:
    home.rule(people(home.anna, home.ben, home.cleo, required=1))
    assert reject(home.ask(), home.anna).status == RequestStatus.REJECTED


def test_apr_09_a_rejection_ends_everything_and_says_why(home: House) -> None:
    home.rule(people(home.anna), people(home.ben), flow="parallel")
    budget = home.place.budget("1000.00")
    request = home.ask("400.00", budget_id=budget.pk)
    with refused("comment_required"):
        reject(request, home.anna, "  ")
    request = reject(request, home.anna, "Too dear")
    assert request.status == RequestStatus.REJECTED
    assert figures(budget) == money("1000", "0", "0", "1000")
    assert set(request.tasks.values_list("status", "remind_at")) == {("rejected", None), ("cancelled", None)}
    assert set(request.steps.values_list("status", "escalates_at")) == {("failed", None), ("cancelled", None)}
    decided = OutboxEvent.objects.get(topic="approval.decided")
    assert decided.payload == {"request_id": request.pk, "status": "rejected", "comment": "Too dear"}
    with refused("already_decided") as late:
        home.approve(request, home.ben)
    assert late.value.extra["decided_by"] == home.anna.display_name


def test_apr_17_the_same_approver_on_consecutive_levels_is_asked_once(home: House) -> None:
    home.rule(people(home.anna), people(home.anna), people(home.ben), people(home.anna))
    request = home.approve(home.ask(), home.anna)
    assert waiting_on(request) == {home.ben}
    assert trail(request) == ["submitted", "approved", "carried"]
    request = home.approve(request, home.ben)
    assert (request.status, waiting_on(request)) == (RequestStatus.PENDING, {home.anna})
    assert home.approve(request, home.anna).status == RequestStatus.APPROVED


def test_apr_17_a_rule_may_want_every_level_asked(home: House) -> None:
    home.rule(people(home.anna), people(home.anna), skip_repeated=False)
    request = home.approve(home.ask(), home.anna)
    assert (request.status, waiting_on(request)) == (RequestStatus.PENDING, {home.anna})
    assert home.approve(request, home.anna).status == RequestStatus.APPROVED


def test_apr_22_a_vote_on_content_that_changed_meanwhile_is_refused(home: House) -> None:
    home.rule(people(home.anna, home.ben, required=2))
    request = home.ask("500.00")
    seen = request.content_hash
    request_update(actor=home.asker, request_id=request.pk, changes={"amount": "450.00"})
    with refused("content_changed") as stale:
        request_approve(actor=home.anna, request_id=request.pk, content_hash=seen)
    request = home.again(request)
    assert stale.value.extra == {"content_hash": request.content_hash, "round": 1}
    with refused("content_changed"):
        request_reject(actor=home.anna, request_id=request.pk, comment="No", content_hash=seen)
    request_update(actor=home.asker, request_id=request.pk, changes={"title": "Notebooks"})
    request = request_approve(actor=home.anna, request_id=request.pk, content_hash=request.content_hash)
    assert trail(request)[-1] == "approved"


# --- Who must not decide ---------------------------------------------------------------------------------


def test_apr_13_requester_creator_and_payee_are_not_asked_and_cannot_act(home: House) -> None:
    home.rule(people(home.anna, home.ben, home.cleo, home.dan))
    finance = home.place.finance
    request = home.ask(actor=finance, requester=home.anna, payee=home.ben)
    assert waiting_on(request) == {home.cleo, home.dan}
    assert request.actions.get(kind="submitted").on_behalf_of == home.anna
    for person in (home.anna, home.ben, finance):
        with refused("separation_of_duties"):
            home.approve(request, person)
        with refused("separation_of_duties"):
            reject(request, person)
        with refused("delegate_may_not_decide"):
            task_pass_on(actor=home.cleo, request_id=request.pk, to_user=person)
    with refused("separation_of_duties"):
        request_approve_in_emergency(actor=finance, request_id=request.pk, reason="Now")


def test_apr_13_holds_for_administrators_and_superusers(home: House) -> None:
    home.rule()
    root = factories.user("root", is_superuser=True)
    membership_grant(actor=system_actor(), user=root, entity=home.place.entity, role=Role.ADMINISTRATOR)
    request = home.ask(actor=root, department_id=home.place.department.pk)
    with refused("separation_of_duties"):
        home.approve(request, root)
    with refused("separation_of_duties"):
        request_approve_in_emergency(actor=root, request_id=request.pk, reason="Now")
    other = home.ask()
    with refused("not_an_approver"):
        home.approve(other, root)


def test_apr_13_what_the_payee_becomes_later_counts_when_acting(home: House) -> None:
    home.rule(people(home.anna, home.ben))
    request = home.ask()
    request = request_update(actor=home.asker, request_id=request.pk, changes={"payee": home.anna})
    assert (waiting_on(request), request.round) == ({home.ben}, 2)
    with refused("separation_of_duties"):
        home.approve(request, home.anna)


def test_apr_14_the_manager_takes_the_place_of_who_may_not_decide(home: House) -> None:
    home.rule(people(home.anna, fallback_role=Role.FINANCE_MANAGER))
    request = home.ask(payee=home.anna)
    assert waiting_on(request) == {home.chief}
    task = request.tasks.get()
    assert (task.origin, task.for_whom) == ("fallback", home.anna)
    assert home.approve(request, home.chief).status == RequestStatus.APPROVED


def test_apr_14_then_those_with_the_fallback_role(home: House) -> None:
    home.rule(people(home.chief, fallback_role=Role.FINANCE_MANAGER))
    request = home.ask(payee=home.chief)
    assert waiting_on(request) == {home.place.finance, home.place.colleague}


def test_apr_14_with_nobody_left_it_is_blocked_and_never_skipped(home: House) -> None:
    home.rule(people(home.anna), people(home.chief, fallback_role=Role.AUDITOR))
    request = home.ask(payee=home.chief)
    assert (request.status, waiting_on(request)) == (RequestStatus.BLOCKED, set())
    assert "needs 1 people who may decide, and there are 0" in request.blocked_reason
    assert OutboxEvent.objects.filter(topic="approval.blocked").count() == 1
    with refused("request_blocked"):
        home.approve(request, home.anna)


def test_apr_14_all_of_a_level_means_its_number_also_with_stand_ins(home: House) -> None:
    home.rule(people(home.anna, home.ben, required=None))
    request = home.ask(payee=home.ben)
    assert waiting_on(request) == {home.anna, home.chief}
    assert home.approve(request, home.anna).status == RequestStatus.PENDING


# --- Authority -------------------------------------------------------------------------------------------


def limit(home: House, user: User, amount: str | None, **fields: Any) -> AuthorityLimit:
    return authority_limit_create(
        actor=home.place.finance,
        user=user,
        max_amount=None if amount is None else D(amount),
        currency=fields.pop("currency", "USD"),
        entity=home.place.entity,
        **fields,
    )


def test_apr_16_the_chain_climbs_until_somebody_has_the_authority(home: House) -> None:
    top = factories.member(home.place.entity, Role.APPROVER)
    home.chief.manager = top
    home.chief.save()
    limit(home, home.anna, "100.00")
    limit(home, home.chief, "500.00")
    limit(home, top, "1000.00")
    home.rule()
    assert home.approve(home.ask("100.00"), home.anna).status == RequestStatus.APPROVED
    request = home.approve(home.ask("500.01"), home.anna)
    assert (request.status, waiting_on(request)) == (RequestStatus.PENDING, {home.chief})
    request = home.approve(request, home.chief)
    assert waiting_on(request) == {top}
    assert home.approve(request, top).status == RequestStatus.APPROVED
    assert trail(request) == [
        "submitted", "approved", "authority_added", "approved", "authority_added", "approved", "effect_booked",
    ]  # fmt: skip


def test_apr_16_who_was_asked_but_did_not_vote_is_still_the_next_up_the_line(home: House) -> None:
    limit(home, home.anna, "100.00")
    home.rule(people(home.anna, home.chief, required=1))
    request = home.approve(home.ask("500.00"), home.anna)
    assert (request.status, waiting_on(request)) == (RequestStatus.PENDING, {home.chief})
    assert home.approve(request, home.chief).status == RequestStatus.APPROVED


def test_apr_16_a_broken_line_ends_with_the_ultimate_approver(home: House) -> None:
    limit(home, home.anna, "100.00")
    limit(home, home.chief, "200.00")
    limit(home, home.dan, None, is_ultimate=True)
    home.rule()
    request = home.approve(home.ask("300.00"), home.anna, home.chief)
    assert waiting_on(request) == {home.dan}
    assert home.approve(request, home.dan).status == RequestStatus.APPROVED


def test_apr_16_a_line_in_circles_without_an_ultimate_approver_blocks(home: House) -> None:
    User.objects.filter(pk=home.chief.pk).update(manager=home.anna)
    limit(home, home.anna, "100.00")
    limit(home, home.chief, "200.00")
    home.rule()
    request = home.approve(home.ask("300.00"), home.anna, home.chief)
    assert (request.status, waiting_on(request)) == (RequestStatus.BLOCKED, set())
    assert "no ultimate approver" in request.blocked_reason


def test_apr_16_a_level_of_managers_asks_up_the_line_to_the_first_with_authority(home: House) -> None:
    home.asker.manager = home.anna
    home.asker.save()
    rate("EUR", "USD", "1.25")
    limit(home, home.anna, "80.00", currency="EUR")
    home.rule(people(approver_kind="manager"))
    assert [waiting_on(home.ask(amount)) for amount in ("100.00", "100.01")] == [{home.anna}] * 2
    small, large = ApprovalRequest.objects.order_by("pk")
    assert (small.steps.count(), large.steps.count()) == (1, 2)
    assert home.approve(small, home.anna).status == RequestStatus.APPROVED
    assert home.approve(large, home.anna, home.chief).status == RequestStatus.APPROVED


def test_apr_18_who_was_passed_a_task_decides_with_the_authority_of_who_passed_it(home: House) -> None:
    limit(home, home.anna, "500.00")
    limit(home, home.ben, "10.00")
    home.rule()
    request = task_pass_on(actor=home.anna, request_id=home.ask("500.00").pk, to_user=home.ben)
    with refused("not_an_approver"):
        home.approve(request, home.anna)
    with refused("redelegation"):
        task_pass_on(actor=home.ben, request_id=request.pk, to_user=home.cleo)
    request = home.approve(request, home.ben)
    assert request.status == RequestStatus.APPROVED
    vote = request.actions.get(kind="approved")
    assert (vote.actor, vote.on_behalf_of) == (home.ben, home.anna)
    assert request.tasks.get(approver=home.anna).status == TaskStatus.PASSED_ON
