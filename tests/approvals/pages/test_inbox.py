"""The inbox: what waits, in which order, with what one needs to decide, and approving together (APR-18, APR-24)."""

from typing import Any

import pytest
import time_machine

from approvals.models import RequestStatus
from approvals.services.delegations import delegation_create
from approvals.services.requests import request_update
from core import clock
from tests.approvals.builders import House, people
from tests.approvals.pages.conftest import ClientOf

QUERIES = 11


def words(response: Any) -> str:
    return " ".join(response.content.decode().split())


def order(response: Any) -> list[str]:
    return [card.request.title for card in response.context["inbox"].cards]


def test_inbox_counts_and_shows_what_is_due_first(home: House, client_of: ClientOf) -> None:
    home.rule(people(home.anna, escalation_hours=48), amount_to=500)
    home.rule(people(home.anna, escalation_hours=2), name="Large", amount_from=500)
    budget = home.place.budget("5000")
    home.ask("100", title="Later", budget_id=budget.pk)
    home.ask("900", title="Sooner", budget_id=budget.pk)
    done = home.ask("50", title="Done")
    home.approve(done, home.anna)
    client = client_of(home.anna)
    page = client.get("/approvals/")
    assert order(page) == ["Sooner", "Later"]
    assert page.context["inbox"].counts == {"waiting": 2, "overdue": 0, "delegated": 0, "decided": 1}
    text = words(page)
    assert f"Purchase by {home.asker.display_name}" in text
    assert f"{budget.name}," in text and "4,000.00" in text  # left of 5,000 after what is held
    assert '2<span class="eb-hidden"> waiting for you</span>' in text
    assert order(client.get("/approvals/?show=decided")) == ["Done"]
    assert "Nobody has passed anything on to you" in words(client.get("/approvals/?show=delegated"))
    with time_machine.travel("2026-06-15T15:00:00Z", tick=False):
        late = client_of(home.anna).get("/approvals/?show=overdue")
        assert order(late) == ["Sooner"] and "Overdue</span>" in words(late)


def test_inbox_costs_the_same_for_one_and_for_many(
    home: House, client_of: ClientOf, django_assert_num_queries: Any
) -> None:
    home.rule(people(home.anna))
    budget = home.place.budget("5000")
    home.ask("10", budget_id=budget.pk)
    client = client_of(home.anna)
    client.get("/approvals/")
    for _ in range(2):
        with django_assert_num_queries(QUERIES):
            client.get("/approvals/")
        for _ in range(3):
            home.ask("10", budget_id=budget.pk)


def test_cards_warn_of_what_to_look_at_twice(home: House, client_of: ClientOf) -> None:
    """APR-04, APR-11, APR-20, BUD-02."""
    home.rule(people(home.anna), people(home.ben), may_exceed_budget=True)
    budget = home.place.budget("100")
    over = home.ask("150", title="Over", budget_id=budget.pk)
    home.ask("10", title="Half one", supplier="Acme", budget_id=budget.pk)
    home.ask("20", title="Half two", supplier="ACME", budget_id=budget.pk)
    changed = home.approve(home.ask("5", title="Changed", budget_id=budget.pk), home.anna)
    request_update(actor=home.asker, request_id=changed.pk, changes={"supplier_account": "DE02 1203"})
    with time_machine.travel("2026-07-13T12:00:00Z", tick=False):
        cards = client_of(home.anna).get("/approvals/").context["inbox"].cards
    flags = {card.request.title: [flag.word for flag in card.flags] for card in cards}
    assert flags == {
        "Over": ["Over budget by $85.00", "Expires soon"],  # 100 less 35 held by the others
        "Half one": ["Expires soon"],
        "Half two": ["Split: $30.00 with others", "Expires soon"],
        "Changed": ["Bank details changed", "Changed after an approval", "Expires soon"],
    }
    assert over.status == RequestStatus.PENDING


def test_apr_18_a_delegate_sees_for_whom(home: House, client_of: ClientOf) -> None:
    home.rule(people(home.anna))
    home.ask(title="Anna's")
    now = clock.now()
    delegation_create(
        actor=home.anna, delegate=home.ben, valid_from=now, valid_to=now.replace(day=20), reason="Leave"
    )
    page = client_of(home.ben).get("/approvals/?show=delegated")
    assert order(page) == ["Anna's"]
    assert f"For {home.anna.display_name}</span>" in words(page)
    assert order(client_of(home.cleo).get("/approvals/")) == []


def test_live_update_says_nothing_while_nothing_is_new(home: House, client_of: ClientOf) -> None:
    home.rule(people(home.anna))
    first = home.ask()
    client = client_of(home.anna)
    url = client.get("/approvals/").context["live_url"]
    assert client.get(url, headers={"HX-Request": "true"}).status_code == 204
    home.ask()
    page = client.get(f"{url}&request={first.pk}", headers={"HX-Request": "true"})
    assert "2 requests wait for you now." in words(page)
    assert f'value="{first.pk}" id="choose-{first.pk}" checked' in words(page)


def test_apr_24_bulk_shows_sum_and_exceptions_and_then_each_result(
    home: House, client_of: ClientOf, settings: Any
) -> None:
    settings.APPROVAL_BULK_AMOUNT = 500
    home.rule(people(home.anna))
    small, other, large = home.ask("100"), home.ask("20.50"), home.ask("501")
    bens = home.ask("7", title="Decided before")
    home.approve(bens, home.anna)
    client = client_of(home.anna)
    ids = "&".join(f"request={each.pk}" for each in (small, other, large, bens))
    preview = client.get(f"/approvals/bulk/?{ids}&request=nonsense")
    text = words(preview)
    assert "Approve 2 requests?" in text and "120.50" in text
    assert "Left out: 2" in text
    assert "It is above $500.00: open it and decide it by itself." in text
    assert "It is approved by now: nothing is left to decide." in text
    assert "Approve 2</button>" in text
    items = [f"{each.pk}:{each.content_hash}" for each in (small, other, large)]
    request_update(actor=home.asker, request_id=other.pk, changes={"amount": "30"})
    done = client.post("/approvals/bulk/", {"item": items})
    assert "1 approved, 2 not" in words(done)
    assert "The request was changed since you opened it." in words(done)
    for each, status in ((small, "approved"), (other, "pending"), (large, "pending")):
        each = type(each).objects.get(pk=each.pk)
        assert each.status == status
    assert client.post("/approvals/bulk/", {}).status_code == 400
    assert "Nothing is chosen" in words(client.get("/approvals/bulk/"))


@pytest.mark.parametrize("query", ["?page=abc", "?page=99999", "?show=x", "?all=1&request=9" * 3])
def test_inbox_bears_any_address(query: str, home: House, client_of: ClientOf) -> None:
    assert client_of(home.anna).get(f"/approvals/{query}").status_code == 200
