"""Who is told of what, by which mail, and once (APR-06, APR-09, APR-10, APR-19; experience 12 and 13)."""

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.core import mail
from django.test import Client, override_settings

from approvals.models import ApprovalLink
from approvals.services import sweeps
from approvals.services.delegations import delegation_create
from approvals.services.digests import mail_preference_of, mail_preference_set
from approvals.services.requests import comment_add, request_withdraw
from approvals.services.votes import request_approve, request_reject, request_send_back, task_pass_on
from core import clock
from core.errors import Invalid
from core.models import Notification, User
from core.outbox import dispatch_pending
from core.sweeps import Swept
from tests.approvals.builders import House, people
from tests.budgets.builders import rate


@pytest.fixture(autouse=True)
def address() -> Iterator[None]:
    with override_settings(PUBLIC_URL="https://billing.example.com"):
        yield


def at(moment: str) -> Any:
    return time_machine.travel(f"{moment}Z", tick=False)


def mails() -> list[tuple[str, str]]:
    """Deliver what is due and return the new mails: to whom (user name), and the subject."""
    mail.outbox.clear()
    while True:
        done = dispatch_pending()
        assert done.failed == 0
        if not done.delivered:
            break
    return sorted((sent.to[0].partition("@")[0], sent.subject) for sent in mail.outbox)


def html_of(sent: Any) -> str:
    return str(sent.alternatives[0][0])


def told(user: User) -> list[str]:
    return list(Notification.objects.filter(user=user).order_by("id").values_list("kind", flat=True))


def test_the_mail_has_the_facts_a_deep_link_and_why_in_text_and_html(home: House) -> None:
    rate("EUR", "USD", "1.10")
    home.anna.time_zone = "Europe/Berlin"
    home.anna.save()
    home.rule(people(home.anna, escalation_hours=48))
    budget = home.place.budget("1000.00", name="Hardware")
    request = home.ask(
        "100.00",
        currency="EUR",
        budget_id=budget.pk,
        title="Ten <laptops>",
        supplier="ACME",
        description="For the new people",
    )
    assert mails() == [(home.anna.username, f"Please decide: Ten <laptops> (APR-{request.pk})")]
    sent: Any = mail.outbox[0]
    step = request.steps.get()
    for line in (
        f"Asked by: {home.asker.display_name} (Engineering)",
        "What: Purchase: Ten <laptops>",
        "Amount: €100.00 = $110.00 at 1.1 of 15 June 2026",
        "Supplier: ACME",
        "Budget: Hardware: $1,000.00 available, $890.00 after it",
        "Decide by: 17 June 2026, 14:00 CEST",
        f"Why you: {step.why}.",
        f"https://billing.example.com/approvals/requests/{request.pk}/",
        "For the new people",
    ):
        assert line in sent.body
    html = html_of(sent)
    for fact in ("Ten &lt;laptops&gt;", "$890.00 after it", "17 June 2026, 14:00 CEST", "For the new people"):
        assert fact in html
    assert "<laptops>" not in html
    assert "prefers-color-scheme: dark" in html
    links = re.findall(r"https://billing\.example\.com/approvals/links/[\w-]+/", sent.body)
    assert len(links) == 2
    assert all(link in html for link in links)
    assert ApprovalLink.objects.filter(user=home.anna, content_hash=request.content_hash).count() == 2


def test_apr_06_later_levels_hear_nothing_before_their_turn(home: House) -> None:
    home.rule(people(home.anna), people(home.ben), people(home.cleo))
    request = home.ask()
    assert [who for who, _ in mails()] == [home.anna.username]
    home.approve(request, home.anna)
    assert [who for who, _ in mails()] == [home.ben.username]
    assert told(home.cleo) == []
    home.approve(request, home.ben)
    assert [who for who, _ in mails()] == [home.cleo.username]


def test_what_no_longer_waits_when_the_mail_would_leave_is_not_mailed(home: House) -> None:
    home.rule(people(home.anna, home.ben))
    mails()
    request = home.ask()
    assert dispatch_pending(limit=2).delivered == 2
    assert told(home.ben) == ["approval.task_opened"]  # and its mail is about to leave
    home.approve(request, home.anna)
    assert mails() == [(home.asker.username, f"Approved: Laptops (APR-{request.pk})")]


def test_apr_09_the_requester_reads_the_comment_of_the_rejection(home: House) -> None:
    home.rule(people(home.anna, home.ben))
    request = home.ask()
    mails()
    request_reject(actor=home.anna, request_id=request.pk, comment="Too dear.\nAsk for <two> offers.")
    assert mails() == [(home.asker.username, f"Rejected: Laptops (APR-{request.pk})")]
    sent: Any = mail.outbox[0]
    assert f"was rejected by {home.anna.display_name}." in sent.body
    assert "“Too dear.\nAsk for <two> offers.”" in sent.body
    assert "“Too dear.<br>Ask for &lt;two&gt; offers.”" in html_of(sent)
    with at("2026-06-20T12:00:00"):
        assert sweeps.remind_due() == Swept(0, 0)


def test_apr_10_sent_back_says_what_to_change(home: House) -> None:
    home.rule(people(home.anna))
    request = home.ask()
    mails()
    request_send_back(actor=home.anna, request_id=request.pk, comment="Which model?")
    assert mails() == [(home.asker.username, f"Changes wanted: Laptops (APR-{request.pk})")]
    assert "“Which model?”" in mail.outbox[0].body


def test_nobody_is_mailed_what_they_did_themselves(home: House) -> None:
    home.rule(people(home.anna))
    request = home.ask()
    mails()
    comment_add(actor=home.anna, request_id=request.pk, body="Is it urgent?")
    assert [who for who, _ in mails()] == [home.asker.username]
    comment_add(actor=home.asker, request_id=request.pk, body="Yes.")
    assert [who for who, _ in mails()] == [home.anna.username]
    request_withdraw(actor=home.asker, request_id=request.pk)
    assert mails() == []


def test_apr_14_blocked_tells_those_who_can_unblock(home: House) -> None:
    home.ask()
    assert [who for who, _ in mails()] == sorted([home.place.finance.username, home.place.colleague.username])
    assert "Blocked" in mail.outbox[0].subject


def test_apr_18_passed_on_and_standing_in_are_told_in_whose_name(home: House) -> None:
    home.rule(people(home.anna))
    request = home.ask()
    mails()
    task_pass_on(actor=home.anna, request_id=request.pk, to_user=home.ben)
    assert [who for who, _ in mails()] == [home.ben.username]
    assert f"{home.anna.display_name} has passed it on to you." in mail.outbox[0].body
    now = clock.now()
    delegation_create(
        actor=home.anna,
        delegate=home.cleo,
        valid_from=now,
        valid_to=now + timedelta(days=7),
        reason="On leave",
    )
    assert mails() == [(home.cleo.username, f"You stand in for {home.anna.display_name}")]
    home.ask()
    assert [who for who, _ in mails()] == sorted([home.anna.username, home.cleo.username])
    bodies = {sent.to[0]: sent.body for sent in mail.outbox}
    assert f"You stand in for {home.anna.display_name}." in bodies[home.cleo.email]
    assert "You stand in" not in bodies[home.anna.email]


def test_apr_18_who_is_asked_and_stands_in_gets_one_mail(home: House) -> None:
    home.rule(people(home.anna, home.ben))
    now = clock.now()
    delegation_create(
        actor=home.anna,
        delegate=home.ben,
        valid_from=now,
        valid_to=now + timedelta(days=7),
        reason="On leave",
    )
    mails()
    home.ask()
    assert [who for who, _ in mails()] == sorted([home.anna.username, home.ben.username])


def test_apr_19_one_mail_each_after_a_week_without_jobs(home: House) -> None:
    home.rule(people(home.anna, reminder_hours=24, escalation_hours=48))
    request = home.ask()
    mails()
    with at("2026-06-22T12:00:00"):
        sweeps.escalate_due()
        sweeps.remind_due()
        assert mails() == sorted(
            [
                (home.anna.username, f"Escalated: Laptops (APR-{request.pk})"),
                (home.anna.username, f"Still waiting for you: Laptops (APR-{request.pk})"),
                (home.asker.username, f"Escalated: Laptops (APR-{request.pk})"),
                (home.chief.username, f"Please decide: Laptops (APR-{request.pk})"),
            ]
        )
        by_person = {(sent.to[0], sent.subject[:9]): sent.body for sent in mail.outbox}
        assert "You can still decide." in by_person[home.anna.email, "Escalated"]
        assert (
            f"Escalated, because {home.anna.display_name} has not decided."
            in by_person[home.chief.email, "Please de"]
        )
    with at("2026-06-24T12:00:00"):
        sweeps.escalate_due()
        assert [who for who, _ in mails()] == sorted(
            [home.place.finance.username, home.place.colleague.username]
        )
        assert "Nobody decides" in mail.outbox[0].subject


def test_muted_reminders_are_counted_and_not_sent(home: House) -> None:
    home.rule(people(home.anna, reminder_hours=24, escalation_target=""))
    mail_preference_set(actor=home.anna, mute_reminders=True)
    request = home.ask()
    assert len(mails()) == 1
    with at("2026-06-16T12:00:00"):
        assert sweeps.remind_due() == Swept(1, 0)
        assert mails() == []
    assert request.tasks.get().reminders_sent == 1
    assert told(home.anna) == ["approval.task_opened"]


def test_a_digest_is_one_mail_a_day_in_the_morning_of_the_person(home: House) -> None:
    home.anna.time_zone = "America/New_York"
    home.anna.save()
    home.rule(people(home.anna, home.ben, reminder_hours=24, escalation_target=""))
    mail_preference_set(actor=home.anna, delivery="digest")
    first, second, gone = home.ask(), home.ask("250.00", title="Desks"), home.ask()
    request_approve(actor=home.ben, request_id=gone.pk)
    comment_add(actor=home.asker, request_id=first.pk, body="Soon, please.")
    assert home.anna.username not in [who for who, _ in mails()]
    assert told(home.anna) == ["approval.task_opened", "approval.task_opened", "approval.commented"]
    # Two days without jobs: at 6:59 in New York nothing, at 7:00 one mail.
    with at("2026-06-17T10:59:59"):
        assert sweeps.send_digests() == Swept(0, 0)
    with at("2026-06-17T11:00:00"):
        assert sweeps.send_digests() == Swept(1, 0)
        assert sweeps.send_digests() == Swept(0, 0)
        assert mails() == [(home.anna.username, "Approvals: 2 requests wait for you, 1 piece of news")]
        body = mail.outbox[0].body
        assert f"- Desks (APR-{second.pk})" in body
        assert f"https://billing.example.com/approvals/requests/{first.pk}/" in body
        assert f"APR-{gone.pk}" not in body
        assert f"- {home.asker.display_name} on Laptops (APR-{first.pk})" in body
    home.approve(first, home.ben)
    home.approve(second, home.ben)
    mails()
    with at("2026-06-18T11:00:00"):
        assert sweeps.send_digests() == Swept(0, 0)
        assert mails() == []


def test_the_page_of_mails_keeps_ones_choice(home: House, client: Client) -> None:
    client.force_login(home.anna, backend="entities.access.PasswordBackend")
    assert client.get("/approvals/mails/").status_code == 200
    answer = client.post("/approvals/mails/", {"delivery": "digest", "mute_reminders": "on"})
    assert (answer.status_code, answer["Location"]) == (302, "/approvals/mails/")
    kept = mail_preference_of(home.anna)
    assert (kept.delivery, kept.mute_reminders) == ("digest", True)


def test_preferences_are_checked_and_kept(home: House) -> None:
    assert mail_preference_of(home.anna).delivery == "immediate"
    with pytest.raises(Invalid):
        mail_preference_set(actor=home.anna, delivery="pigeon")
    mail_preference_set(actor=home.anna, delivery="digest")
    mail_preference_set(actor=home.anna, mute_reminders=True)
    kept = mail_preference_of(home.anna)
    assert (kept.delivery, kept.mute_reminders) == ("digest", True)
    assert kept.history.count() == 3
