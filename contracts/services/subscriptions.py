"""Plans, subscriptions under contracts and their dated changes (CON-21)."""

import datetime
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Q

from contracts.models import RUNNING, Contract, Plan, PlanFeature, Subscription, SubscriptionChange
from contracts.selectors.contract import business_today, status_on
from contracts.services.billing import fees_adjust
from contracts.services.commitments import commitments_adjust
from contracts.services.status import lock_contract
from core.access import get_visible, require
from core.errors import Conflict, constraint_name
from core.history import record_as
from core.models import User
from core.money import parse_amount
from core.outbox import publish
from entities.models import Department, Entity
from entities.services.records import apply_changes, check_fields, field_error, save_record

PLAN_CHANGEABLE = frozenset(
    {"name", "product", "tier", "rank", "price", "currency", "interval_months", "gl_code", "is_active"}
)
FIXED_ONCE_USED = frozenset({"product", "tier", "price", "currency", "interval_months"})


@transaction.atomic
def plan_create(
    *,
    actor: User,
    issuer: Entity,
    code: str,
    name: str,
    product: str,
    price: Decimal | str | int = 0,
    currency: str | None = None,
    features: Iterable[Mapping[str, Any]] = (),
    **details: Any,
) -> Plan:
    """Offer a tier of a product at a list price per licence and interval, in ``currency`` (the issuer's by default).

    A feature is ``{"feature", "is_included", "limit", "is_per_licence"}``; without a limit it is unlimited. Raises
    Invalid with pointers, Conflict ``plan_code_taken``, Forbidden.
    """
    plan = Plan(issuer=issuer, code=code)
    require(actor, "contracts.add_plan", plan)
    values = {"name": name, "product": product, "price": parse_amount(price), **details}
    apply_changes(plan, {"currency": currency or issuer.currency, **values}, allowed=PLAN_CHANGEABLE)
    check_fields(plan)
    taken = Conflict("plan_code_taken", f"There is a plan “{code}” already.", extra={"code": code})
    if Plan.objects.filter(code=code).exists():
        raise taken
    with record_as(actor):
        save_record(plan, {"plans_code_key": taken})
        _write_features(plan, features)
    return plan


def _write_features(plan: Plan, features: Iterable[Mapping[str, Any]]) -> None:
    for fields in features:
        feature = PlanFeature(plan=plan, **fields)
        check_fields(feature)
        if PlanFeature.objects.filter(plan=plan, feature=feature.feature).exists():
            detail = f"The feature “{feature.feature}” is given twice."
            raise field_error("features", "feature_given_twice", detail)
        if feature.limit is not None and not feature.is_included:
            raise field_error(
                "features", "limit_of_excluded_feature", "Only a feature that is included has a limit."
            )
        feature.save()


@transaction.atomic
def plan_update(
    *,
    actor: User,
    plan_id: int,
    changes: Mapping[str, Any],
    features: Iterable[Mapping[str, Any]] | None = None,
    expected_version: int | None = None,
    reason: str = "",
) -> Plan:
    """Change a plan. What subscribers pay and get is fixed once somebody has subscribed: make another plan.

    Raises Conflict ``plan_in_use``, Stale, Invalid with pointers.
    """
    seen: Plan = get_visible(Plan.objects.all(), actor, plan_id, name="plan")
    require(actor, "contracts.change_plan", seen)
    plan = Plan.objects.select_for_update(of=("self",)).get(pk=seen.pk)
    plan.expect_version(expected_version)
    is_used = SubscriptionChange.objects.filter(plan=plan).exists()
    if is_used and (FIXED_ONCE_USED & set(changes) or features is not None):
        raise Conflict(
            "plan_in_use",
            f"“{plan}” has subscribers: its price and features stay. Make another plan and change the subscriptions.",
            extra={"plan_id": plan.pk},
        )
    apply_changes(plan, changes, allowed=PLAN_CHANGEABLE)
    check_fields(plan)
    with record_as(actor, reason):
        plan.save()
        if features is not None:
            PlanFeature.objects.filter(plan=plan).delete()
            _write_features(plan, features)
    return plan


@transaction.atomic
def subscription_create(
    *,
    actor: User,
    contract_id: int,
    plan_id: int,
    quantity: int,
    starts_on: datetime.date,
    entity: Entity | None = None,
    department: Department | None = None,
    ends_on: datetime.date | None = None,
    reason: str = "",
) -> Subscription:
    """Subscribe an entity (the contract's, or one below it) to a plan under a contract that is in force then.

    It is billed at the contract's price for the plan, else at the list price. Raises Conflict
    ``contract_not_in_force``, ``already_subscribed``, ``plan_not_offered``; Invalid with pointers.
    """
    contract = lock_contract(actor, contract_id, "contracts.add_subscription")
    plan: Plan = get_visible(Plan.objects.all(), actor, plan_id, name="plan")
    subscriber = entity or contract.entity
    if not Entity.objects.descendants_of(contract.entity_id).filter(pk=subscriber.pk).exists():
        detail = f"“{subscriber}” is neither “{contract.entity}”, whose contract it is, nor below it."
        raise field_error("entity", "outside_the_contract", detail)
    if department is not None and department.entity_id != subscriber.pk:
        detail = f"“{department}” is no department of “{subscriber}”."
        raise field_error("department", "department_of_other_entity", detail)
    _check_quantity(quantity)
    _check_offered(plan)
    _check_in_force(contract, starts_on)
    subscription = Subscription(
        contract=contract,
        entity=subscriber,
        department=department,
        product=plan.product,
        starts_on=starts_on,
        ends_on=ends_on,
        created_by=actor,
    )
    check_fields(subscription)
    if ends_on is not None and ends_on <= starts_on:
        raise field_error("ends_on", "end_before_start", "It ends before it has begun: give a later day.")
    _save(subscription, actor, reason)
    _change(subscription, actor, plan, quantity, starts_on, reason)
    _settle(contract, subscription, "subscription.created")
    return subscription


def _check_quantity(quantity: int) -> None:
    if isinstance(quantity, bool) or not isinstance(quantity, int) or not 1 <= quantity <= 2**31 - 1:
        raise field_error("quantity", "invalid_quantity", "Give a whole number of licences, at least 1.")


def _check_offered(plan: Plan) -> None:
    if not plan.is_active:
        raise Conflict(
            "plan_not_offered",
            f"“{plan}” is not offered any more. Choose another plan.",
            extra={"plan_id": plan.pk},
        )


def _check_in_force(contract: Contract, day: datetime.date) -> None:
    if day < contract.start_date or status_on(contract, day) not in RUNNING:
        raise Conflict(
            "contract_not_in_force",
            f"“{contract}” is not in force on {day}. Activate or renew it first, or give another day.",
            extra={"contract_id": contract.pk, "day": day.isoformat()},
        )


def _save(subscription: Subscription, actor: User, reason: str) -> None:
    """Once per contract, entity and product on a day: the database refuses what overlaps another."""
    try:
        with record_as(actor, reason), transaction.atomic():
            subscription.save()
    except IntegrityError as error:
        if constraint_name(error) != "subscription_no_overlap":
            raise
        raise _already_subscribed(subscription) from error


def _already_subscribed(subscription: Subscription) -> Conflict:
    others = Subscription.objects.filter(
        Q(ends_on__isnull=True) | Q(ends_on__gt=subscription.starts_on),
        contract_id=subscription.contract_id,
        entity_id=subscription.entity_id,
        product=subscription.product,
    ).exclude(pk=subscription.pk)
    if subscription.ends_on is not None:
        others = others.filter(starts_on__lt=subscription.ends_on)
    other = others.order_by("starts_on").first()
    since = f" from {other.starts_on}" if other else ""
    return Conflict(
        "already_subscribed",
        f"“{subscription.entity}” has subscribed to {subscription.product} under this contract{since}. Change its "
        "licences instead.",
        extra={"subscription_id": other.pk if other else None},
    )


@transaction.atomic
def licences_change(
    *,
    actor: User,
    subscription_id: int,
    quantity: int | None = None,
    plan_id: int | None = None,
    effective_from: datetime.date | None = None,
    reason: str = "",
    approval_request_id: int | None = None,
) -> Subscription:
    """Change licences, tier or both from a day on: today by default, or a day before (CON-21).

    What was billed of the periods concerned is prorated on the next invoice. The effect of an approved
    ``license_change`` request, which is applied once. Raises Conflict ``nothing_changes``, ``plan_of_another_product``,
    ``plan_not_offered``, ``contract_not_in_force``; Invalid with pointers.
    """
    seen: Subscription = get_visible(Subscription.objects.all(), actor, subscription_id, name="subscription")
    contract = lock_contract(actor, seen.contract_id, "contracts.change_subscription")
    subscription = Subscription.objects.select_for_update(of=("self",)).get(pk=seen.pk)
    if (
        approval_request_id is not None
        and subscription.changes.filter(approval_request_id=approval_request_id).exists()
    ):
        return subscription
    day = effective_from or business_today(contract)
    if day < subscription.starts_on or (subscription.ends_on is not None and day >= subscription.ends_on):
        detail = f"The subscription runs from {subscription.starts_on}" + (
            f" until before {subscription.ends_on}." if subscription.ends_on else "."
        )
        raise field_error("effective_from", "outside_the_subscription", detail)
    _check_in_force(contract, day)
    current = subscription.changes.effective(day).first()
    assert current is not None
    plan: Plan = (
        current.plan if plan_id is None else get_visible(Plan.objects.all(), actor, plan_id, name="plan")
    )
    licences = current.quantity if quantity is None else quantity
    _check_quantity(licences)
    if plan.pk != current.plan_id:
        _check_offered(plan)
        if plan.product != subscription.product:
            raise Conflict(
                "plan_of_another_product",
                f"“{plan}” is a plan of {plan.product}, the subscription is of {subscription.product}.",
                extra={"plan_id": plan.pk},
            )
    if (plan.pk, licences) == (current.plan_id, current.quantity):
        raise Conflict(
            "nothing_changes",
            f"From {day} it already is {licences} × {plan}.",
            extra={"subscription_id": subscription.pk},
        )
    _change(subscription, actor, plan, licences, day, reason, approval_request_id)
    _settle(contract, subscription, "subscription.changed")
    return subscription


def _change(
    subscription: Subscription,
    actor: User,
    plan: Plan,
    quantity: int,
    day: datetime.date,
    reason: str,
    approval_request_id: int | None = None,
) -> None:
    SubscriptionChange.objects.create(
        subscription=subscription,
        effective_from=day,
        plan=plan,
        quantity=quantity,
        reason=reason,
        approval_request_id=approval_request_id,
        actor=actor,
    )


def _settle(contract: Contract, subscription: Subscription, topic: str) -> None:
    fees_adjust(contract)
    commitments_adjust(contract, "Licences changed")
    publish(
        topic,
        {"subscription_id": subscription.pk, "contract_id": contract.pk, "entity_id": subscription.entity_id},
        key=f"subscription:{subscription.pk}",
    )


@transaction.atomic
def subscription_end(
    *, actor: User, subscription_id: int, ends_on: datetime.date, reason: str
) -> Subscription:
    """End a subscription; ``ends_on`` is the first day without it, today or later. Prepaid days are credited.

    Raises Invalid ``day_in_the_past``, ``end_before_start``; Conflict ``subscription_ended``, ``already_subscribed``.
    """
    seen: Subscription = get_visible(Subscription.objects.all(), actor, subscription_id, name="subscription")
    contract = lock_contract(actor, seen.contract_id, "contracts.change_subscription")
    subscription = Subscription.objects.select_for_update(of=("self",)).get(pk=seen.pk)
    today = business_today(contract)
    if subscription.ends_on is not None and subscription.ends_on <= today:
        raise Conflict(
            "subscription_ended",
            f"The subscription ended on {subscription.ends_on} already.",
            extra={"subscription_id": subscription.pk},
        )
    if ends_on < today:
        raise field_error("ends_on", "day_in_the_past", f"Give today, {today}, or a later day.")
    if ends_on <= subscription.starts_on:
        detail = f"It starts on {subscription.starts_on}: give a later day."
        raise field_error("ends_on", "end_before_start", detail)
    subscription.ends_on = ends_on
    _save(subscription, actor, reason)
    _settle(contract, subscription, "subscription.ended")
    return subscription
