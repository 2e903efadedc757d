"""APR-25: links in mails – bound, single-use, 72 hours at most, dead after an edit or a decision."""

import hashlib
from typing import Any

import pytest
import time_machine
from django.db import IntegrityError, transaction
from django.test import override_settings

from approvals.models import ApprovalLink, ApprovalRequest
from approvals.services.links import link_create, link_open, link_use
from approvals.services.requests import request_update, request_withdraw
from approvals.services.votes import request_approve, request_reject, task_pass_on
from core.access import system_actor
from core.accounts import user_deactivate
from core.errors import BillingError, RateLimited
from core.history import Channel, acting
from tests.approvals.builders import House, people, trail
from tests.entities.factories import PASSWORD

LONG = 31  # characters; a token has 43


def at(moment: str) -> Any:
    return time_machine.travel(f"{moment}Z", tick=False)


def asked(home: House, amount: str = "100.00", *approvers: Any) -> ApprovalRequest:
    home.rule(people(*(approvers or (home.anna,))))
    return home.ask(amount)


def link(request: ApprovalRequest, action: str = "approve", index: int = 0) -> str:
    task = request.tasks.order_by("id")[index]
    return link_create(task=task, user=task.approver, action=action)


def refused(code: str, act: Any, *args: Any, **options: Any) -> BillingError:
    with pytest.raises(BillingError) as caught:
        act(*args, **options)
    assert caught.value.code == code, caught.value
    return caught.value


def test_apr_25_opening_changes_nothing_and_using_decides_once(home: House) -> None:
    request = asked(home)
    token = link(request)
    stored = ApprovalLink.objects.get()
    assert stored.token_hash == hashlib.sha256(token.encode()).hexdigest()
    assert len(token) > LONG
    for _ in range(3):
        opened = link_open(token=token)
    assert (opened.user, opened.action, opened.step_up, opened.comment_required) == (
        home.anna,
        "approve",
        False,
        False,
    )
    assert trail(request) == ["submitted"]
    with acting(channel=Channel.PAGE):
        decided = link_use(token=token, comment="Fine.")
    assert decided.status == "approved"
    vote = decided.actions.get(kind="approved")
    assert (vote.actor, vote.comment, vote.content_hash) == (home.anna, "Fine.", request.content_hash)
    # APR-26: the page is where the link led; the door was the mail.
    assert vote.channel == Channel.MAIL
    error = refused("link_used", link_use, token=token)
    assert "approved it by this link on 15 June 2026 at 12:00 UTC" in error.message
    refused("link_used", link_open, token=token)
    assert trail(request) == ["submitted", "approved", "effect_booked"]


def test_apr_25_the_other_link_of_the_mail_is_dead_with_the_first(home: House) -> None:
    request = asked(home, "100.00", home.anna, home.ben)
    approve, reject = link(request), link(request, "reject")
    refused("comment_required", link_use, token=reject)
    assert ApprovalLink.objects.filter(used_at__isnull=False).count() == 0
    assert link_use(token=reject, comment="No.").status == "rejected"
    error = refused("already_decided", link_use, token=approve)
    assert error.extra["decided_by"] == home.anna.display_name


def test_apr_25_it_ends_after_72_hours_whatever_the_setting_says(home: House) -> None:
    request = asked(home)
    with override_settings(APPROVAL_LINK_HOURS=1000):
        token = link(request)
    with at("2026-06-18T11:59:59"):
        assert link_open(token=token).action == "approve"
    with at("2026-06-18T12:00:00"):
        refused("link_expired", link_open, token=token)
        refused("link_expired", link_use, token=token)
    stored = ApprovalLink.objects.get()
    stored.expires_at = stored.created_at.replace(day=19)
    with pytest.raises(IntegrityError, match="approval_link_lives_72_hours_at_most"), transaction.atomic():
        stored.save()


def test_apr_25_an_edit_kills_it_and_says_who_edited(home: House) -> None:
    request = asked(home)
    token = link(request)
    request_update(actor=home.asker, request_id=request.pk, changes={"title": "Laptops, black"})
    assert link_open(token=token).action == "approve"  # no material change
    request_update(actor=home.asker, request_id=request.pk, changes={"amount": "900.00"})
    for act in (link_open, link_use):
        error = refused("content_changed", act, token=token)
        assert f"by {home.asker.display_name} on 15 June 2026" in error.message
    assert ApprovalRequest.objects.get(pk=request.pk).status == "pending"


def test_apr_25_a_decision_meanwhile_kills_it_and_says_whose(home: House) -> None:
    home.rule(people(home.anna, home.ben))
    for act, word in ((request_approve, "approved"), (request_reject, "rejected")):
        request = home.ask()
        token = link(request)
        act(actor=home.ben, request_id=request.pk, comment="Seen.")
        error = refused("already_decided", link_use, token=token)
        assert f"The request is {word}: {word} by {home.ben.display_name}" in error.message
    request = home.ask()
    token = link(request)
    request_withdraw(actor=home.asker, request_id=request.pk)
    refused("already_decided", link_open, token=token)


def test_apr_25_a_task_that_waits_no_more_kills_it(home: House) -> None:
    home.rule(people(home.anna, home.ben), people(home.cleo))
    request = home.ask()
    token = link(request)
    home.approve(request, home.ben)
    assert "Others have decided" in refused("link_task_closed", link_use, token=token).message
    other = home.ask()
    token = link(other)
    task_pass_on(actor=home.anna, request_id=other.pk, to_user=home.dan)
    assert "passed on" in refused("link_task_closed", link_open, token=token).message


def test_apr_25_somebody_else_who_is_signed_in_cannot_use_it(home: House) -> None:
    request = asked(home)
    token = link(request)
    refused("link_of_another", link_use, token=token, signed_in=home.ben)
    refused("link_of_another", link_open, token=token, signed_in=home.asker)
    assert trail(request) == ["submitted"]
    home.anna.refresh_from_db()
    user_deactivate(actor=system_actor(), user=home.anna)
    refused("link_user_inactive", link_use, token=token)


@override_settings(APPROVAL_LINK_STEP_UP_AMOUNT=1000, APPROVAL_LINK_PASSWORDS=2)
def test_apr_25_above_the_amount_it_takes_the_session_or_the_password(home: House) -> None:
    home.rule(people(home.anna))
    small, first, second = home.ask("1000.00"), home.ask("1000.01"), home.ask("5000.00")
    assert not link_open(token=link(small)).step_up
    token = link(first)
    assert link_open(token=token).step_up
    assert not link_open(token=token, signed_in=home.anna).step_up
    refused("step_up_required", link_use, token=token)
    refused("wrong_password", link_use, token=token, password="guess")
    assert link_use(token=token, password=PASSWORD).status == "approved"
    token = link(second)
    for _ in range(2):
        refused("wrong_password", link_use, token=token, password="guess")
    error = refused("too_many_passwords", link_use, token=token, password=PASSWORD)
    assert isinstance(error, RateLimited)
    assert link_use(token=token, signed_in=home.anna).status == "approved"


@override_settings(APPROVAL_LINK_GUESSES=3)
def test_apr_25_who_tries_unknown_links_is_slowed_down(home: House) -> None:
    request = asked(home)
    token = link(request)
    for number in range(3):
        refused("link_unknown", link_open, token=f"guess{number}", caller="203.0.113.9")
    error = refused("too_many_links", link_open, token=token, caller="203.0.113.9")
    assert error.status == 429
    assert link_open(token=token, caller="198.51.100.7").user == home.anna
    with at("2026-06-15T12:10:00"):
        assert link_open(token=token, caller="203.0.113.9").user == home.anna


def test_apr_23_a_refused_effect_leaves_the_link_good(home: House) -> None:
    home.rule(people(home.anna), may_exceed_budget=True)
    budget = home.place.budget("50.00")
    request = home.ask("100.00", budget_id=budget.pk)
    token = link(request)
    refused_effect = link_use(token=token)
    assert refused_effect.status == "pending"
    assert refused_effect.effect_error
    assert link_open(token=token).action == "approve"
