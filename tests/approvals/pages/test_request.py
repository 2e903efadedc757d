"""The page of one request: deciding on it, in which order, what stops it, its files, and links in mails."""

from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from approvals.models import ApprovalAttachment, ApprovalRequest
from approvals.services.attachments import attachment_add
from approvals.services.links import link_create
from approvals.services.requests import request_update
from tests.approvals.builders import House, asked, people, trail
from tests.approvals.pages.conftest import ClientOf
from tests.approvals.pages.test_inbox import words
from tests.entities import factories

QUERIES = 15


def fresh(request: ApprovalRequest) -> ApprovalRequest:
    return ApprovalRequest.objects.get(pk=request.pk)


def test_approving_shows_the_next_one_at_once(home: House, client_of: ClientOf) -> None:
    home.rule(people(home.anna))
    first, second, third = home.ask(title="One"), home.ask(title="Two"), home.ask(title="Three")
    client = client_of(home.anna)
    page = words(client.get(f"/approvals/requests/{second.pk}/"))
    assert "2 of 3" in page
    seen = {"seen": second.content_hash}
    answer = client.post(f"/approvals/requests/{second.pk}/approve/", seen)
    assert answer["Location"] == f"/approvals/requests/{third.pk}/"
    assert f"APR-{second.pk} “Laptops”" not in page
    assert f"APR-{second.pk} “Two” is approved. 2 more wait for you." in words(client.get(answer["Location"]))
    assert client.post(f"/approvals/requests/{third.pk}/approve/")["Location"].endswith(f"/{first.pk}/")
    last = client.post(f"/approvals/requests/{first.pk}/approve/", follow=True)
    assert "is approved. Nothing else waits for you." in words(last)
    assert last.redirect_chain == [("/approvals/", 302)]
    assert {fresh(each).status for each in (first, second, third)} == {"approved"}


def test_the_page_tells_all_that_a_decision_needs(
    home: House, client_of: ClientOf, django_assert_num_queries: Any
) -> None:
    home.rule(people(home.anna, name="Team lead"), people(home.ben, home.cleo, name="Finance"))
    budget = home.place.budget("1000")
    home.ask("40", title="Before", supplier="Acme", budget_id=budget.pk)
    before = ApprovalRequest.objects.latest("id")
    home.approve(before, home.anna, home.ben)
    request = home.ask(
        "250", title="Screens", description="Old ones flicker.", supplier="acme", budget_id=budget.pk
    )
    request_update(actor=home.asker, request_id=request.pk, changes={"amount": "200", "title": "Two screens"})
    client = client_of(home.anna)
    url = f"/approvals/requests/{request.pk}/"
    client.get(url)
    with django_assert_num_queries(QUERIES):
        text = words(client.get(url))
    for expected in (
        "Old ones flicker.",
        "You are asked at “Team lead”. Rule: Any request of any amount, in Contoso.",
        f"Next: Finance ({home.ben.display_name}, {home.cleo.display_name}).",
        "one of them is enough",
        "The amount is held on the budget while it is decided.",
        "<span>Amount</span> <del>$250.00</del>",
        "<ins>$200.00</ins>",
        "Earlier from acme",
        " with others</span>",
        "Changed since submission",
    ):
        assert expected in text, expected
    bar = client.get(url).context["sheet"].bar
    assert (bar.limit, bar.used, bar.added, bar.after) == (1000, 40, 200, 240)


@pytest.mark.parametrize("action", ["reject", "ask"])
def test_apr_09_reject_and_ask_back_need_a_comment(action: str, home: House, client_of: ClientOf) -> None:
    home.rule(people(home.anna))
    request = home.ask()
    client = client_of(home.anna)
    url = f"/approvals/requests/{request.pk}/{action}/"
    assert client.get(url).status_code == 200
    refused = client.post(url, {"comment": "  "})
    assert refused.status_code == 400 and "Say why: the requester reads it." in words(refused)
    assert (fresh(request).status, asked(request)) == ("pending", [home.anna.username])
    done = client.post(url, {"comment": "Too dear."}, follow=True)
    assert "Nothing else waits for you." in words(done)
    assert fresh(request).status == {"reject": "rejected", "ask": "changes_requested"}[action]


def test_apr_22_who_comes_late_is_told_who_decided_and_what_is_left(home: House, client_of: ClientOf) -> None:
    home.rule(people(home.anna, home.ben))
    request, other = home.ask(title="Contested"), home.ask()
    client = client_of(home.ben)
    client.get(f"/approvals/requests/{request.pk}/")
    home.approve(request, home.anna)
    late = client.post(f"/approvals/requests/{request.pk}/approve/", {"seen": request.content_hash})
    text = words(late)
    assert late.status_code == 409
    assert "It is decided already" in text
    assert f"approved by {home.anna.display_name} on 15 June 2026 at 12:00 UTC." in text
    assert "Nothing of what you sent was recorded." in text
    assert f'href="/approvals/requests/{other.pk}/">Go on to the next one' in text
    assert trail(request).count("approved") == 1
    # A vote on what has changed since one looked.
    changed = home.ask("10")
    request_update(actor=home.asker, request_id=changed.pk, changes={"amount": "90"})
    stale = client.post(f"/approvals/requests/{changed.pk}/approve/", {"seen": changed.content_hash})
    assert stale.status_code == 409 and "It was changed meanwhile" in words(stale)
    assert fresh(changed).status == "pending"


def test_apr_13_nobody_decides_on_their_own_request(home: House, client_of: ClientOf) -> None:
    home.rule(people(home.anna, home.ben))
    request = home.ask()
    client = client_of(home.asker)
    text = words(client.get(f"/approvals/requests/{request.pk}/"))
    assert "Nobody decides on their own request." in text
    assert f"It waits for {home.anna.display_name} or {home.ben.display_name}." in text
    assert "Withdraw</a>" in text and "Approve</button>" not in text
    assert client.post(f"/approvals/requests/{request.pk}/approve/").status_code == 403
    assert trail(request) == ["submitted"]


def test_ent_04_a_stranger_finds_nothing(home: House, client_of: ClientOf) -> None:
    home.rule(people(home.anna))
    request = home.ask()
    file = attachment_add(
        actor=home.asker,
        request_id=request.pk,
        name="offer.pdf",
        file=SimpleUploadedFile("offer.pdf", b"%PDF-1.7 offer"),
    )
    client = client_of(home.place.outsider)
    for url in (
        f"requests/{request.pk}/",
        f"requests/{request.pk}/approve/",
        f"requests/{request.pk}/edit/",
        f"files/{file.pk}/",
    ):
        assert client.get(f"/approvals/{url}").status_code == 404, url
    for action in ("approve", "withdraw", "comment", "escalate", "submit", "delete"):
        answer = client.post(f"/approvals/requests/{request.pk}/{action}/", {"comment": "x"})
        assert answer.status_code == 404, action
    assert client.post(f"/approvals/files/{file.pk}/").status_code == 404
    assert trail(request) == ["submitted", "attached"]
    service = factories.user("machine", is_service_account=True)
    assert client_of(service).get("/approvals/").status_code == 403


def test_files_are_shown_in_place_to_who_sees_the_request(
    home: House, client_of: ClientOf, settings: Any, tmp_path: Any
) -> None:
    settings.MEDIA_ROOT = tmp_path
    home.rule(people(home.anna))
    request = home.ask(draft=True)
    client = client_of(home.asker)
    url = f"/approvals/requests/{request.pk}/attach/"
    wrong = client.post(url, {"file": SimpleUploadedFile("a.pdf", b"<html>")})
    assert wrong.status_code == 400 and "The content is not what the name “a.pdf” says." in words(wrong)
    client.post(url, {"file": SimpleUploadedFile("offer.pdf", b"%PDF-1.7 offer")})
    file = ApprovalAttachment.objects.get()
    assert "offer.pdf" in words(client.get(f"/approvals/requests/{request.pk}/"))
    shown = client.get(f"/approvals/files/{file.pk}/")
    assert b"".join(shown.streaming_content) == b"%PDF-1.7 offer"
    assert shown["Content-Type"] == "application/pdf"
    assert shown["Content-Disposition"].startswith("inline")
    assert (shown["X-Frame-Options"], shown["X-Content-Type-Options"]) == ("SAMEORIGIN", "nosniff")
    saved = client.get(f"/approvals/files/{file.pk}/?download")
    assert saved["Content-Disposition"].startswith("attachment")
    assert b"".join(saved.streaming_content) == b"%PDF-1.7 offer"
    client.post(f"/approvals/files/{file.pk}/")
    assert client.get(f"/approvals/files/{file.pk}/").status_code == 404


def test_apr_03_apr_23_blocked_and_refused_effects_are_told(home: House, client_of: ClientOf) -> None:
    blocked = home.ask("5")
    assert "Nobody can decide it as things are." in words(
        client_of(home.asker).get(f"/approvals/requests/{blocked.pk}/")
    )
    home.rule(people(home.anna), may_exceed_budget=True)
    request = home.ask("150", budget_id=home.place.budget("100").pk)
    client = client_of(home.anna)
    answer = client.post(f"/approvals/requests/{request.pk}/approve/", follow=True)
    text = words(answer)
    assert "It was approved, but its effect was refused." in text
    assert "Your approval could not take effect, so nothing was decided." in text
    assert "Exceeded by" in text and "The amount is not held on the budget" in text
    assert fresh(request).status == "pending"
    assert asked(request) == [home.anna.username]


def test_pass_on_comment_and_escalate(home: House, client_of: ClientOf) -> None:
    """APR-18, APR-19."""
    home.rule(people(home.anna))
    request, other = home.ask(), home.ask()
    client = client_of(home.anna)
    page = f"/approvals/requests/{request.pk}"
    offered = client.get(f"{page}/pass-on/").context["form"].fields["delegate_to"].queryset
    assert home.ben in offered and home.anna not in offered and home.asker not in offered
    done = client.post(f"{page}/pass-on/", {"delegate_to": home.ben.pk, "comment": "You know it."})
    assert done["Location"] == f"/approvals/requests/{other.pk}/"
    assert asked(request) == [home.ben.username]
    said = client.post(f"{page}/comment/", {"comment": "See page 2."}, follow=True)
    assert "See page 2." in words(said)
    escalated = client.post(f"/approvals/requests/{other.pk}/escalate/", follow=True)
    assert "is escalated; the next ones are told." in words(escalated)
    assert set(asked(other)) == {home.anna.username, home.chief.username}


def test_apr_25_a_link_shows_first_and_decides_once(home: House, client_of: ClientOf, client: Any) -> None:
    home.rule(people(home.anna))
    request = home.ask("80")
    task = request.tasks.get()
    url = f"/approvals/links/{link_create(task=task, user=home.anna, action='reject')}/"
    page = client.get(url)
    assert "Nothing is decided until you press the button" in words(page)
    assert page["Referrer-Policy"] == "no-referrer" and "no-store" in page["Cache-Control"]
    assert fresh(request).status == "pending"
    assert client.post(url, {}).status_code == 400
    assert client_of(home.ben).post(url, {"comment": "No"}).status_code == 403
    assert fresh(request).status == "pending"
    assert "Your rejection of" in words(client.post(url, {"comment": "Too dear."}))
    assert fresh(request).status == "rejected"
    again = client.post(url, {"comment": "Again"})
    assert again.status_code == 409 and "A link works once." in words(again)
    assert client.get("/approvals/links/nonsense/").status_code == 404


def test_apr_25_above_an_amount_the_link_asks_for_the_password(
    home: House, client: Any, settings: Any
) -> None:
    settings.APPROVAL_LINK_STEP_UP_AMOUNT = 50
    home.rule(people(home.anna))
    request = home.ask("80")
    url = f"/approvals/links/{link_create(task=request.tasks.get(), user=home.anna, action='approve')}/"
    wrong = client.post(url, {"password": "guess"})
    assert wrong.status_code == 403 and "That is not the password." in words(wrong)
    assert fresh(request).status == "pending"
    client.post(url, {"password": factories.PASSWORD})
    assert fresh(request).status == "approved"
