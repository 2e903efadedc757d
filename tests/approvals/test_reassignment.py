"""APR-21, APR-14: open tasks of people who leave or lose their role go to others at once, and that is logged."""

from typing import Any

import pytest
import time_machine
from django.test import Client

from approvals.models import ActionKind, ApprovalRequest, StepStatus
from approvals.services import sweeps
from approvals.services.votes import request_approve, task_pass_on
from core.access import system_actor
from core.accounts import user_activate, user_deactivate
from core.errors import BillingError
from core.models import OutboxEvent, User
from core.outbox import dispatch_pending
from core.sweeps import Swept
from entities.models import Membership, Role
from entities.services import membership_end, membership_update
from tests.approvals.builders import House, asked, people, trail
from tests.entities import factories

BACKEND = "entities.access.PasswordBackend"


def deliver() -> None:
    while (done := dispatch_pending()).delivered:
        assert done.failed == 0


def leave(user: User) -> None:
    user_deactivate(actor=system_actor(), user=user)
    deliver()


def now_is(request: ApprovalRequest) -> ApprovalRequest:
    return ApprovalRequest.objects.get(pk=request.pk)


def test_apr_21_who_is_deactivated_is_replaced_at_once_and_the_trail_says_so(home: House) -> None:
    home.rule(people(home.anna, home.ben, required=None))
    request = home.ask()
    leave(home.anna)
    assert asked(request) == sorted([home.ben.username, home.chief.username])
    action = request.actions.get(kind=ActionKind.REASSIGNED)
    assert (action.actor, action.on_behalf_of) == (system_actor(), home.anna)
    assert action.details == {"from": home.anna.pk, "to": [home.chief.pk]}
    home.approve(request, home.ben, home.chief)
    assert now_is(request).status == "approved"


def test_apr_21_a_membership_that_ends_moves_the_tasks_there_and_no_others(home: House) -> None:
    home.rule(people(home.anna))
    request = home.ask()
    other = factories.entity("Elsewhere")
    also = factories.grant(home.anna, other, Role.APPROVER)
    membership_end(actor=system_actor(), membership=also)
    deliver()
    assert asked(request) == [home.anna.username]
    membership = Membership.objects.get(user=home.anna, entity=home.place.entity)
    membership_end(actor=system_actor(), membership=membership)
    deliver()
    assert asked(request) == [home.chief.username]


def test_apr_21_the_sweep_finds_a_membership_whose_last_day_has_passed(home: House) -> None:
    home.rule(people(home.anna))
    request = home.ask()
    membership = Membership.objects.get(user=home.anna, entity=home.place.entity)
    membership_update(
        actor=system_actor(), membership=membership, valid_to=membership.created_at.date().replace(day=18)
    )
    deliver()
    assert sweeps.reassign_lost_tasks() == Swept(0, 0)
    with time_machine.travel("2026-06-18T00:00:00Z", tick=False):
        assert sweeps.reassign_lost_tasks() == Swept(1, 0)
        assert sweeps.reassign_lost_tasks() == Swept(0, 0)
    assert asked(request) == [home.chief.username]


def test_apr_14_a_level_with_too_few_people_left_is_blocked_never_passed(home: House) -> None:
    for finance in (home.place.finance, home.place.colleague):
        assert finance.is_active
    home.rule(people(home.chief, required=1, escalation_target=""), people(home.anna))
    request = home.ask(actor=home.place.finance, payee=home.place.colleague)
    leave(home.chief)
    request = now_is(request)
    assert request.status == "blocked"
    assert request.steps.get(order=1).status == StepStatus.BLOCKED
    assert trail(request) == ["submitted", "reassigned", "blocked"]
    blocked = OutboxEvent.objects.get(topic="approval.blocked")
    assert blocked.payload["user_ids"] == [home.place.finance.pk, home.place.colleague.pk]
    with pytest.raises(BillingError) as caught:
        request_approve(actor=home.anna, request_id=request.pk)
    assert caught.value.code == "request_blocked"


def test_apr_18_what_was_passed_on_falls_back_to_whom_it_came_from(home: House) -> None:
    home.rule(people(home.anna))
    elsewhere = factories.member(factories.entity("Elsewhere"), Role.APPROVER)
    request = home.ask()
    task_pass_on(actor=home.anna, request_id=request.pk, to_user=elsewhere)
    # Whoever it was passed on to decides with anna's right: nothing is lost.
    assert sweeps.reassign_lost_tasks() == Swept(0, 0)
    leave(elsewhere)
    assert asked(request) == [home.anna.username]
    home.approve(request, home.anna)
    assert now_is(request).status == "approved"


def test_apr_18_what_was_passed_on_does_not_outlast_the_right_of_whom_it_came_from(home: House) -> None:
    home.rule(people(home.anna))
    elsewhere = factories.member(factories.entity("Elsewhere"), Role.APPROVER)
    elsewhere.manager = home.dan
    elsewhere.save()
    request = home.ask()
    task_pass_on(actor=home.anna, request_id=request.pk, to_user=elsewhere)
    leave(home.anna)
    assert asked(request) == [home.dan.username]


# --- The doors -------------------------------------------------------------------------------------------


def switch_off(client: Client, user: User) -> Any:
    """Post the back-office's form of a user with "active" unticked."""
    page = f"/admin/core/user/{user.pk}/change/"
    form = client.get(page).context["adminform"].form
    data = {
        name: value
        for name, value in ((name, form[name].value()) for name in form.fields)
        if value not in (None, False)
    }
    data.pop("is_active", None)
    data.pop("password", None)
    return client.post(page, data)


def test_apr_21_deactivating_in_the_back_office_reassigns(home: House, client: Client) -> None:
    home.rule(people(home.anna))
    request = home.ask()
    administrator = factories.member(home.place.entity, Role.ADMINISTRATOR)
    client.force_login(administrator, backend=BACKEND)
    assert switch_off(client, home.anna).status_code == 302
    home.anna.refresh_from_db()
    assert not home.anna.is_active
    last = home.anna.history.latest()
    assert (last.history_user, last.channel) == (administrator, "admin")
    deliver()
    assert asked(request) == [home.chief.username]


def test_the_last_administrator_cannot_be_deactivated(home: House, client: Client) -> None:
    first = factories.member(home.place.entity, Role.ADMINISTRATOR)
    client.force_login(first, backend=BACKEND)
    answer = switch_off(client, first)
    assert answer.status_code == 200
    assert "is the last administrator of Contoso" in answer.content.decode()
    first.refresh_from_db()
    assert first.is_active
    second = factories.member(home.place.entity, Role.ADMINISTRATOR)
    user_deactivate(actor=second, user=first)
    with pytest.raises(BillingError) as caught:
        user_deactivate(actor=system_actor(), user=second)
    assert caught.value.code == "last_administrator"
    user_activate(actor=second, user=first)
    assert User.objects.get(pk=first.pk).is_active
    topics = OutboxEvent.objects.filter(topic__startswith="user.").order_by("id")
    assert [(event.topic, event.payload["user_id"]) for event in topics] == [
        ("user.deactivated", first.pk),
        ("user.activated", first.pk),
    ]
    with pytest.raises(BillingError) as caught:
        user_deactivate(actor=home.anna, user=home.ben)
    assert caught.value.code == "permission_denied"
