"""An approved licence change takes effect on its subscription, once (CON-21, APR-23)."""

from decimal import Decimal
from typing import Any

import pytest

from approvals.models import ApprovalRequest, RequestStatus
from approvals.services.requests import request_submit
from approvals.services.rules import LevelTerms, approval_rule_create
from approvals.services.votes import request_approve
from contracts.models import Subscription
from contracts.services.subscriptions import subscription_create
from core.errors import Invalid, NotFound
from entities.models import Role
from tests.contracts.builders import Place, day
from tests.contracts.test_subscriptions import plan


@pytest.fixture
def subscription(here: Place) -> Subscription:
    approval_rule_create(
        actor=here.finance,
        name="Licences",
        currency="USD",
        entity=here.root,
        request_type="license_change",
        levels=[LevelTerms(settings={"role": Role.FINANCE_MANAGER})],
    )
    return subscription_create(
        actor=here.staff,
        contract_id=here.active(prices=[]).pk,
        plan_id=plan(here).pk,
        quantity=10,
        starts_on=day("2026-06-01"),
    )


def ask(here: Place, **details: Any) -> ApprovalRequest:
    return request_submit(
        actor=here.staff,
        request_type="license_change",
        title="Ten more seats",
        amount=Decimal(300),
        entity_id=here.entity.pk,
        details=details,
    )


def quantities(subscription: Subscription) -> list[tuple[str, int]]:
    return [(each.effective_from.isoformat(), each.quantity) for each in subscription.changes.order_by("pk")]


def test_con_21_an_approved_request_changes_the_licences_from_its_day(
    here: Place, subscription: Subscription
) -> None:
    request = ask(here, subscription_id=subscription.pk, quantity=20, effective_from="2026-07-01")
    assert request.contract_id == subscription.contract_id
    assert quantities(subscription) == [("2026-06-01", 10)]
    request = request_approve(actor=here.finance, request_id=request.pk)
    assert request.status == RequestStatus.APPROVED
    assert quantities(subscription) == [("2026-06-01", 10), ("2026-07-01", 20)]
    last = subscription.changes.order_by("pk").last()
    assert last is not None
    assert last.approval_request_id == request.pk


def test_apr_23_what_cannot_take_effect_stays_pending_and_says_why(
    here: Place, subscription: Subscription
) -> None:
    request = ask(here, subscription_id=subscription.pk, quantity=10)
    request = request_approve(actor=here.finance, request_id=request.pk)
    assert request.status == RequestStatus.PENDING
    assert "it already is 10" in request.effect_error
    assert quantities(subscription) == [("2026-06-01", 10)]


@pytest.mark.parametrize(
    "wrong",
    [
        {"quantity": 0},
        {"quantity": True},
        {},
        {"quantity": 2, "colour": 1},
        {"quantity": 2, "effective_from": "x"},
    ],
)
def test_con_21_a_change_that_says_nothing_sensible_is_refused(
    here: Place, subscription: Subscription, wrong: dict[str, Any]
) -> None:
    with pytest.raises(Invalid):
        ask(here, subscription_id=subscription.pk, **wrong)
    assert not ApprovalRequest.objects.filter(request_type="license_change").exists()


def test_ent_04_a_subscription_that_one_does_not_see_does_not_exist(
    here: Place, subscription: Subscription
) -> None:
    with pytest.raises(NotFound):
        ask(here, subscription_id=subscription.pk + 1, quantity=5)
