"""What a request does to its budget (BUD-02, BUD-18, APR-09, APR-20, APR-23)."""

from decimal import Decimal

import pytest

from approvals.models import OnApproval, RequestStatus
from approvals.services.requests import request_submit, request_withdraw
from approvals.services.votes import request_reject
from core.errors import Conflict
from tests.approvals.builders import House, people, trail
from tests.budgets.builders import figures


def money(*amounts: str) -> tuple[Decimal, ...]:
    return tuple(Decimal(each) for each in amounts)


def test_bud_02_submission_commits_and_the_last_approval_spends(home: House) -> None:
    home.rule(people(home.anna), people(home.ben))
    budget = home.place.budget("1000.00")
    request = home.ask("400.00", budget_id=budget.pk)
    assert figures(budget) == money("1000", "400", "0", "600")
    home.approve(request, home.anna)
    assert figures(budget) == money("1000", "400", "0", "600")
    request = home.approve(request, home.ben)
    assert request.status == RequestStatus.APPROVED
    assert figures(budget) == money("1000", "0", "400", "600")
    assert trail(request) == ["submitted", "approved", "approved", "effect_booked"]


def test_bud_02_an_order_stays_committed_for_its_invoices(home: House) -> None:
    home.rule()
    budget = home.place.budget("1000.00")
    request = home.ask("400.00", budget_id=budget.pk, on_approval=OnApproval.ORDER)
    request = home.approve(request, home.anna)
    assert figures(budget) == money("1000", "400", "0", "600")
    request.commitment.refresh_from_db()
    assert request.commitment.status == "approved"


def test_bud_18_rejection_and_withdrawal_free_the_money(home: House) -> None:
    home.rule()
    budget = home.place.budget("1000.00")
    rejected = home.ask("400.00", budget_id=budget.pk)
    request_reject(actor=home.anna, request_id=rejected.pk, comment="Too dear")
    withdrawn = home.ask("300.00", budget_id=budget.pk)
    request_withdraw(actor=home.asker, request_id=withdrawn.pk)
    assert figures(budget) == money("1000", "0", "0", "1000")


def test_bud_02_what_does_not_fit_is_refused_and_leaves_nothing(home: House) -> None:
    home.rule()
    budget = home.place.budget("100.00")
    with pytest.raises(Conflict, match="short"):
        home.ask("100.01", budget_id=budget.pk)
    assert figures(budget) == money("100", "0", "0", "100")
    assert not budget.approval_requests.exists()


def test_a_budget_increase_raises_the_allocation_on_approval(home: House) -> None:
    home.rule()
    budget = home.place.budget("100.00")
    request = request_submit(
        actor=home.asker,
        request_type="budget_increase",
        title="More cloud",
        amount="50.00",
        budget_id=budget.pk,
    )
    assert figures(budget) == money("100", "0", "0", "100")
    home.approve(request, home.anna)
    assert figures(budget) == money("150", "0", "0", "150")


def test_apr_23_a_refused_effect_leaves_the_request_pending_and_says_why(home: House) -> None:
    home.rule(may_exceed_budget=True)
    budget = home.place.budget("100.00")
    request = home.ask("150.00", budget_id=budget.pk)
    assert request.commitment is None
    request = home.approve(request, home.anna)
    assert request.status == RequestStatus.PENDING
    assert "short" in request.effect_error
    assert trail(request) == ["submitted", "effect_failed"]
    assert figures(budget) == money("100", "0", "0", "100")
