"""What one asks for, and who stands in (APR-05, APR-10, APR-11, APR-18, APR-20, BUD-02)."""

from typing import Any

import pytest

from approvals.models import ApprovalRequest, Delegation
from approvals.services.votes import request_send_back
from tests.approvals.builders import House, asked, people, trail
from tests.approvals.pages.conftest import ClientOf
from tests.approvals.pages.test_inbox import words
from tests.budgets.builders import figures, money

QUERIES = 8


@pytest.fixture
def values(home: House) -> dict[str, Any]:
    home.rule(people(home.anna, name="Team lead"))
    budget = home.place.budget("500")
    return {
        "request_type": "purchase",
        "title": "Chairs",
        "amount": "120.50",
        "budget_id": budget.pk,
        "supplier": "Acme",
    }


def test_apr_05_preview_says_what_would_happen_and_writes_nothing(
    home: House, client_of: ClientOf, values: dict[str, Any]
) -> None:
    client = client_of(home.asker)
    page = words(client.post("/approvals/new/", {**values, "do": "preview"}))
    assert home.anna.display_name in page and "Team lead" in page and "379.50" in page
    assert 'value="Chairs"' in page
    live = words(client.post("/approvals/new/preview/", {**values, "amount": "500.01"}))
    assert "The budget has not enough left: it would be refused." in live
    assert "Exceeded by" in live
    assert "stand here then." in words(client.post("/approvals/new/preview/", {"title": "Chairs"}))
    assert not ApprovalRequest.objects.exists()
    assert client.get("/approvals/new/preview/").status_code == 405


def test_bud_02_submit_holds_the_money_or_says_why_not(
    home: House, client_of: ClientOf, values: dict[str, Any]
) -> None:
    client = client_of(home.asker)
    for changed, sentence in (
        ({"amount": "12,5"}, "12,5"),
        ({"amount": "0"}, "The amount must be greater than zero."),
        ({"budget_id": ""}, "Name the budget, the department or the entity that it is for."),
    ):
        refused = client.post("/approvals/new/", {**values, **changed, "do": "submit"})
        assert refused.status_code == 400 and sentence in words(refused), sentence
    short = client.post("/approvals/new/", {**values, "amount": "501", "do": "submit"})
    assert short.status_code == 409
    assert not ApprovalRequest.objects.exists()
    done = client.post("/approvals/new/", {**values, "do": "submit"}, follow=True)
    request = ApprovalRequest.objects.get()
    assert f"APR-{request.pk} is submitted; those who decide are told." in words(done)
    assert asked(request) == [home.anna.username]
    assert figures(request.budget) == money("500", "120.50", "0", "379.50")


def test_draft_is_changed_submitted_sent_back_and_withdrawn(
    home: House, client_of: ClientOf, values: dict[str, Any]
) -> None:
    """APR-10, APR-20."""
    client = client_of(home.asker)
    client.post("/approvals/new/", {**values, "do": "draft"})
    request = ApprovalRequest.objects.get()
    page = f"/approvals/requests/{request.pk}"
    assert "This is a draft." in words(client.get(f"{page}/"))
    assert "Chairs" in words(client.get("/approvals/mine/?show=drafts"))
    form = client.get(f"{page}/edit/").context["form"]
    assert form["amount"].value() == "120.5"
    place = {name: form[name].value() for name in ("budget_id", "department_id")}
    assert place == {"budget_id": request.budget_id, "department_id": None}
    sent = {"title": "Chairs", "amount": "200", "currency": "USD", "supplier": "Acme", "do": "submit"}
    sent |= {"budget_id": request.budget_id}
    client.post(f"{page}/edit/", {**sent, "version": request.version})
    request = ApprovalRequest.objects.get()
    assert (request.status, request.amount, asked(request)) == ("pending", 200, [home.anna.username])
    stale = client.post(f"{page}/edit/", {**sent, "title": "Stools", "version": 0})
    assert stale.status_code == 412
    request_send_back(actor=home.anna, request_id=request.pk, comment="Cheaper ones, please.")
    back = words(client.get(f"{page}/"))
    assert f"{home.anna.display_name} asked for changes:</strong> Cheaper ones, please." in back
    client.post(f"{page}/submit/")
    mine = words(client.get("/approvals/mine/"))
    assert f"Waits for {home.anna.display_name}" in mine
    assert client_of(home.anna).get(f"{page}/edit/").status_code == 404
    gone = client.post(f"{page}/withdraw/", {"comment": "Not needed."}, follow=True)
    assert f"APR-{request.pk} is withdrawn." in words(gone)
    assert figures(request.budget) == money("500", "0", "0", "500")
    assert trail(request) == ["submitted", "changes_requested", "submitted", "withdrawn"]
    assert client.post(f"{page}/withdraw/").status_code == 409


def test_my_requests_cost_the_same_for_one_and_for_many(
    home: House, client_of: ClientOf, django_assert_num_queries: Any
) -> None:
    home.rule(people(home.anna, home.ben))
    client = client_of(home.asker)
    home.ask()
    client.get("/approvals/mine/")
    for _ in range(2):
        with django_assert_num_queries(QUERIES):
            client.get("/approvals/mine/")
        home.ask()


def test_apr_18_delegate_to_the_minute_and_end_it(home: House, client_of: ClientOf) -> None:
    home.rule(people(home.anna))
    request = home.ask()
    home.anna.time_zone = "Europe/Berlin"
    home.anna.save()
    client = client_of(home.anna)
    values = {
        "delegate": home.ben.pk,
        "valid_from": "2026-06-15T14:00",  # 12:00 UTC, now
        "valid_to": "2026-06-20T18:30",
        "reason": "Leave",
        "request_types": ["purchase"],
        "max_amount": "500",
        "currency": "USD",
        "departments": [home.place.department.pk],
    }
    for changed, sentence in (
        ({"valid_to": "2026-06-15T13:00"}, "It must end after it begins."),
        ({"delegate": home.place.outsider.pk}, "Select a valid choice."),
        ({"currency": ""}, "Say in which currency the limit is."),
    ):
        refused = client.post("/approvals/delegations/", {**values, **changed})
        assert refused.status_code == 400 and sentence in words(refused), sentence
    done = words(client.post("/approvals/delegations/", values, follow=True))
    assert f"{home.ben.display_name} decides for you then, and is told." in done
    assert "20 Jun 2026, 18:30" in done and "In force" in done
    delegation = Delegation.objects.get()
    assert delegation.valid_to.isoformat() == "2026-06-20T16:30:00+00:00"
    assert list(delegation.departments.all()) == [home.place.department]
    assert f"Purchase, {home.place.department.name}, up to" in done
    again = client.post("/approvals/delegations/", values)
    assert again.status_code == 409
    bens = client_of(home.ben)
    assert "For whom I decide" in words(bens.get("/approvals/delegations/"))
    assert "For " + home.anna.display_name in words(bens.get("/approvals/"))
    assert client_of(home.cleo).get(f"/approvals/delegations/{delegation.pk}/end/").status_code == 404
    client.get(f"/approvals/delegations/{delegation.pk}/end/")
    assert Delegation.objects.get().ended_at is None
    client.post(f"/approvals/delegations/{delegation.pk}/end/")
    assert Delegation.objects.get().ended_at is not None
    assert bens.post(f"/approvals/requests/{request.pk}/approve/").status_code in (403, 404)


def test_apr_11_and_apr_13_the_place_and_the_payee_are_changed_until_it_is_approved(
    home: House, client_of: ClientOf, values: dict[str, Any]
) -> None:
    client = client_of(home.asker)
    client.post("/approvals/new/", {**values, "payee": home.ben.pk, "do": "submit"})
    request = ApprovalRequest.objects.get()
    assert request.payee == home.ben
    page = f"/approvals/requests/{request.pk}/edit/"
    other = home.place.budget("800", name="Other")
    sent = {**values, "currency": "USD", "payee": "", "budget_id": other.pk, "version": request.version}
    answer = client.post(page, sent)
    assert answer.status_code == 302, words(answer)
    moved = ApprovalRequest.objects.get()
    assert (moved.budget, moved.payee, moved.round) == (other, None, 2)
    assert figures(other) == money("800", "120.50", "0", "679.50")
    without = {**sent, "budget_id": "", "department_id": home.place.department.pk, "version": moved.version}
    assert client.post(page, without).status_code == 302
    moved = ApprovalRequest.objects.get()
    assert (moved.budget, moved.department) == (None, home.place.department)
    assert figures(other) == money("800", "0", "0", "800")
    home.approve(moved, home.anna)
    assert "budget_id" not in client.get(page).context["form"].fields
