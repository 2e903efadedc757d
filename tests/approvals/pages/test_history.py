"""Finding requests again, one's own figures, and taking a vote back on the pages."""

import time_machine

from approvals.models import ApprovalRequest
from approvals.services.votes import request_reject
from tests.approvals.builders import House, people, waiting_on
from tests.approvals.pages.conftest import ClientOf
from tests.approvals.pages.test_inbox import words


def test_the_history_finds_what_one_may_see_and_counts_what_one_decided(
    home: House, client_of: ClientOf
) -> None:
    home.rule(people(home.anna, required=1))
    chairs, desks = home.ask(title="Chairs", supplier="Acme"), home.ask(title="Desks")
    home.ask(title="Lamps", draft=True)
    with time_machine.travel("2026-06-15T15:00:00Z", tick=False):
        home.approve(chairs, home.anna)
        request_reject(actor=home.anna, request_id=desks.pk, comment="Later.")
        client = client_of(home.anna)
        everything = words(client.get("/approvals/history/"))
        assert "2 </dd>" in everything.replace(">2<", ">2 <")
        assert "1 approved, 1 rejected, 0 asked back" in everything
        assert "3 hours" in everything

        def found(query: str) -> list[str]:
            rows = client.get(f"/approvals/history/?{query}").context["rows"]
            return [row.title for row, _ in rows]

        assert found("") == ["Desks", "Chairs"]
        assert found("text=acme") == found(f"text=APR-{chairs.pk}") == ["Chairs"]
        assert found("text=chairs+desks") == []
        assert found("status=rejected&mine=on") == ["Desks"]
        assert found("asked_to=2026-06-14") == [] == found("asked_from=2026-06-16")
        assert found("asked_from=2026-06-15&asked_to=2026-06-15") == ["Desks", "Chairs"]
        assert "Enter a valid date" in words(client.get("/approvals/history/?asked_to=soon"))
    stranger = client_of(home.place.outsider).get("/approvals/history/")
    assert stranger.status_code == 403 or stranger.context["rows"] == []


def test_apr_26_a_vote_is_taken_back_from_where_it_was_said(home: House, client_of: ClientOf) -> None:
    home.rule(people(home.anna), people(home.ben))
    request = home.ask()
    page = f"/approvals/requests/{request.pk}"
    client = client_of(home.anna)
    said = words(client.post(f"{page}/approve/", follow=True))
    assert f'others are still asked. <a href="{page}/recall/">Take it back</a>.' in said
    assert "Take my vote back" in words(client.get(f"{page}/"))
    assert "Take your vote back?" in words(client.get(f"{page}/recall/"))
    assert waiting_on(request) == {home.ben}
    client.post(f"{page}/recall/")
    assert waiting_on(request) == {home.anna}
    assert client.post(f"{page}/recall/").status_code == 409


def test_apr_24_a_level_that_wants_a_comment_gets_one(home: House, client_of: ClientOf) -> None:
    home.rule(people(home.anna, comment_required=True))
    request = home.ask()
    page = f"/approvals/requests/{request.pk}"
    client = client_of(home.anna)
    assert "Why you approve it" in words(client.get(f"{page}/"))
    assert client.post(f"{page}/approve/", {"comment": ""}).status_code == 400
    assert client.post(f"{page}/approve/", {"comment": "Compared three offers."}).status_code == 302
    assert ApprovalRequest.objects.get().status == "approved"
