"""Plans, subscriptions, licences and what an entity may use (CON-21)."""

from decimal import Decimal
from typing import Any

import pytest
import time_machine

from contracts.models import BillableFee, Plan, Subscription, SubscriptionChange
from contracts.selectors.entitlements import Feature, entitlements, entitlements_of
from contracts.services.billing import fees_prepare
from contracts.services.subscriptions import (
    licences_change,
    plan_create,
    plan_update,
    subscription_create,
    subscription_end,
)
from contracts.services.suspension import contract_suspend
from core.errors import BillingError, Conflict, Forbidden, Invalid, NotFound
from entities.models import Role
from tests.contracts.builders import Place, day
from tests.entities import factories

FEATURES = (
    {"feature": "storage-gb", "limit": 10, "is_per_licence": True},
    {"feature": "sso", "is_included": False},
    {"feature": "support"},
)


def plan(here: Place, code: str = "suite-basic", price: str = "30.00", **fields: Any) -> Plan:
    values: dict[str, Any] = {"product": "Suite", "tier": "Basic", "features": FEATURES, **fields}
    return plan_create(actor=here.finance, issuer=here.issuer, code=code, name=code, price=price, **values)


def subscribed(here: Place, offered: Plan, quantity: int = 10, **fields: Any) -> Subscription:
    contract = fields.pop("contract", None) or here.active(prices=[])
    values: dict[str, Any] = {"starts_on": day("2026-06-01"), **fields}
    return subscription_create(
        actor=here.staff, contract_id=contract.pk, plan_id=offered.pk, quantity=quantity, **values
    )


def billed(subscription: Subscription, until: str) -> list[tuple[str, str, Decimal]]:
    fees_prepare(contract_id=subscription.contract_id, until=day(until))
    fees = BillableFee.objects.filter(line_code=subscription.line_code).order_by("pk")
    return [(fee.kind, fee.period_start.isoformat(), fee.amount) for fee in fees]


def refused(code: str, error: type[BillingError], **change: Any) -> None:
    before = SubscriptionChange.objects.count()
    with pytest.raises(error) as caught:
        licences_change(**change)
    problems = [problem.code for problem in getattr(caught.value, "errors", [])]
    assert code in (caught.value.code, *problems)
    assert SubscriptionChange.objects.count() == before


def test_con_21_licences_are_billed_at_the_list_price_and_changes_are_prorated(here: Place) -> None:
    subscription = subscribed(here, plan(here))
    assert billed(subscription, "2026-06-01") == [("subscription", "2026-06-01", 300)]
    licences_change(
        actor=here.staff, subscription_id=subscription.pk, quantity=16, effective_from=day("2026-06-21")
    )
    # 30.00 × 6 more licences × 10 of 30 days = 60.00, on the next invoice.
    assert billed(subscription, "2026-07-01") == [
        ("subscription", "2026-06-01", 300),
        ("subscription_delta", "2026-06-01", 60),
        ("subscription", "2026-07-01", 480),
    ]
    delta = BillableFee.objects.get(kind="subscription_delta")
    assert delta.bill_on == day("2026-06-21")
    assert "16 licences from 2026-06-21" in delta.description


def test_con_21_contract_prices_override_list_prices(here: Place) -> None:
    offered = plan(here)
    agreed = {
        "code": "suite",
        "name": "Suite, as agreed",
        "pricing": "volume",
        "quantity_source": "licences",
        "plan_id": offered.pk,
        "tiers": [{"up_to": "10", "unit_price": "25"}, {"up_to": None, "unit_price": "20"}],
    }
    contract = here.active(prices=[agreed], discount_percent=Decimal(10))
    subscription = subscribed(here, offered, contract=contract)
    assert billed(subscription, "2026-06-01") == [("subscription", "2026-06-01", 225)]
    licences_change(
        actor=here.staff, subscription_id=subscription.pk, quantity=20, effective_from=day("2026-07-01")
    )
    assert billed(subscription, "2026-07-01")[-1] == ("subscription", "2026-07-01", 360)


def test_con_21_another_tier_from_a_day_on(here: Place) -> None:
    subscription = subscribed(here, plan(here))
    better = plan(here, "suite-pro", "60.00", tier="Pro")
    licences_change(
        actor=here.staff, subscription_id=subscription.pk, plan_id=better.pk, effective_from=day("2026-06-16")
    )
    # 10 × 30 × 15/30 + 10 × 60 × 15/30
    assert billed(subscription, "2026-06-01") == [("subscription", "2026-06-01", 450)]


def test_con_21_an_approved_request_is_applied_once(here: Place) -> None:
    subscription = subscribed(here, plan(here))
    for _ in range(2):
        licences_change(actor=here.staff, subscription_id=subscription.pk, quantity=12, approval_request_id=7)
    assert list(subscription.changes.values_list("quantity", flat=True)) == [10, 12]


def test_con_21_an_ended_subscription_is_credited_to_the_day(here: Place) -> None:
    subscription = subscribed(here, plan(here))
    billed(subscription, "2026-06-01")
    subscription_end(
        actor=here.staff, subscription_id=subscription.pk, ends_on=day("2026-06-16"), reason="Unused"
    )
    assert billed(subscription, "2026-12-31") == [
        ("subscription", "2026-06-01", 300),
        ("subscription_delta", "2026-06-01", -150),
    ]
    with time_machine.travel("2026-06-20T12:00:00Z", tick=False), pytest.raises(Conflict, match="ended on"):
        subscription_end(
            actor=here.staff, subscription_id=subscription.pk, ends_on=day("2026-07-01"), reason="-"
        )


def test_con_21_a_subsidiary_subscribes_and_is_billed_itself(here: Place) -> None:
    below = factories.entity("Contoso Berlin", parent=here.entity)
    sales = factories.department(below, "100", "Sales")
    subscription = subscribed(here, plan(here), entity=below, department=sales)
    billed(subscription, "2026-06-01")
    fee = BillableFee.objects.get()
    assert (fee.entity, fee.department) == (below, sales)
    with pytest.raises(Invalid, match="below it"):
        subscribed(here, Plan.objects.get(), entity=here.issuer)


def test_con_21_refused_subscriptions_and_changes_change_nothing(here: Place) -> None:
    offered = plan(here)
    subscription = subscribed(here, offered)
    change: dict[str, Any] = {"actor": here.staff, "subscription_id": subscription.pk}
    other = plan(here, "tool", product="Tool")
    refused("nothing_changes", Conflict, **change, quantity=10)
    refused("invalid_quantity", Invalid, **change, quantity=0)
    refused("outside_the_subscription", Invalid, **change, quantity=5, effective_from=day("2026-05-31"))
    refused("plan_of_another_product", Conflict, **change, plan_id=other.pk)
    refused("contract_not_in_force", Conflict, **change, quantity=5, effective_from=day("2027-01-01"))
    refused("not_found", NotFound, **{**change, "actor": here.outsider}, quantity=5)
    auditor = factories.member(here.root, Role.AUDITOR)
    refused("permission_denied", Forbidden, **{**change, "actor": auditor}, quantity=5)
    with pytest.raises(Conflict, match="Change its licences"):
        subscribed(here, offered, contract=subscription.contract)
    with pytest.raises(Conflict, match="not in force"):
        subscribed(here, other, contract=here.approved())
    assert Subscription.objects.count() == 1


def test_a_plan_that_has_subscribers_keeps_its_price_and_features(here: Place) -> None:
    offered = plan(here)
    plan_update(actor=here.finance, plan_id=offered.pk, changes={"price": Decimal("31.00")})
    subscribed(here, offered)
    with pytest.raises(Conflict, match="has subscribers"):
        plan_update(actor=here.finance, plan_id=offered.pk, changes={"price": Decimal("32.00")})
    plan_update(actor=here.finance, plan_id=offered.pk, changes={"is_active": False})
    offered.refresh_from_db()
    assert (offered.price, offered.is_active) == (Decimal("31.00"), False)
    with pytest.raises(Conflict, match="is a plan"):
        plan(here)


def test_con_21_entitlements_merge_contracts_and_subscriptions_on_the_day(here: Place) -> None:
    offered = plan(here)
    limits: dict[str, Any] = {"storage-gb": 50, "sso": True, "api": None, "beta": False}
    contract = here.active(feature_limits=limits, licence_tier="Gold")
    subscription = subscribed(here, offered, contract=contract)
    licences_change(
        actor=here.staff, subscription_id=subscription.pk, quantity=12, effective_from=day("2026-07-01")
    )
    found = entitlements_of(actor=here.staff, entity_id=here.entity.pk, on=day("2026-06-30"))
    assert [(each.product, each.tier, each.quantity) for each in found.products] == [("Suite", "Basic", 10)]
    assert found.licence_tiers == ("Gold",)
    own = (contract.pk,)
    assert found.features == {
        "api": Feature("api", True, None, own),
        "beta": Feature("beta", False, None, own),
        "sso": Feature("sso", True, None, own),
        "storage-gb": Feature("storage-gb", True, 50 + 10 * 10, own),
        "support": Feature("support", True, None, own),
    }
    assert entitlements(here.entity, day("2026-07-01")).features["storage-gb"].limit == 170
    assert entitlements(here.entity, day("2026-05-31")).products == ()
    assert entitlements(here.entity, day("2027-01-01")).features == {}


def test_con_17_nothing_may_be_used_while_the_contract_is_suspended(here: Place) -> None:
    subscription = subscribed(here, plan(here))
    contract_suspend(
        actor=here.finance, contract_id=subscription.contract_id, reason="Not paid", billing_continues=True
    )
    assert entitlements(here.entity, day("2026-06-14")).products
    assert not entitlements(here.entity, day("2026-06-15")).products


def test_con_21_a_product_is_subscribed_to_once_per_contract_and_day(here: Place) -> None:
    offered = plan(here)
    first = subscribed(here, offered, ends_on=day("2026-09-01"))
    contract = first.contract
    after = subscribed(here, offered, contract=contract, starts_on=day("2026-09-01"))
    with pytest.raises(Conflict) as twice:
        subscribed(here, offered, contract=contract, starts_on=day("2026-08-31"), ends_on=day("2026-10-01"))
    assert (twice.value.code, twice.value.extra) == ("already_subscribed", {"subscription_id": first.pk})
    assert "from 2026-06-01. Change its licences" in twice.value.message
    with pytest.raises(Conflict) as prolonged:
        subscription_end(
            actor=here.staff, subscription_id=first.pk, ends_on=day("2026-09-02"), reason="Longer"
        )
    assert (prolonged.value.code, prolonged.value.extra) == (
        "already_subscribed",
        {"subscription_id": after.pk},
    )
    assert list(Subscription.objects.order_by("pk").values_list("pk", "ends_on")) == [
        (first.pk, day("2026-09-01")),
        (after.pk, None),
    ]
