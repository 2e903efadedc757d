"""What an entity may use on a day, merged from its contracts and subscriptions (CON-21)."""

import datetime
from dataclasses import dataclass, field

from contracts.models import Contract, ContractStatus, Subscription, SubscriptionChange
from contracts.selectors.contract import terms_on
from core.access import get_visible, require
from core.models import User
from entities.models import Entity


@dataclass(frozen=True, slots=True)
class Product:
    """A product that the entity has licences of."""

    product: str
    plan_code: str
    tier: str
    quantity: int
    subscription_id: int
    contract_id: int


@dataclass(frozen=True, slots=True)
class Feature:
    """Whether a feature may be used, up to which ``limit`` (None: without limit), and by which contracts."""

    feature: str
    is_included: bool
    limit: int | None
    contract_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Entitlements:
    """All that an entity may use on a day. ``licence_tiers`` are those of its contracts, each once."""

    entity_id: int
    on: datetime.date
    products: tuple[Product, ...] = ()
    licence_tiers: tuple[str, ...] = ()
    features: dict[str, Feature] = field(default_factory=dict)


def entitlements_of(*, actor: User, entity_id: int, on: datetime.date) -> Entitlements:
    """The same for people. Raises NotFound, Forbidden."""
    entity: Entity = get_visible(Entity.objects.all(), actor, entity_id, name="entity")
    require(actor, "contracts.view_subscription", entity)
    return entitlements(entity, on)


def entitlements(entity: Entity, on: datetime.date) -> Entitlements:
    """What the entity may use on a day, past or future.

    Only contracts that are active then count: a suspension pauses use. What several grant adds up: numbers are summed,
    unlimited wins over a number, and being included wins over not being so.
    """
    granted: dict[str, Feature] = {}
    tiers = set()
    active = Contract.objects.in_status([ContractStatus.ACTIVE], on)
    for contract in active.filter(entity=entity, start_date__lte=on).order_by("pk"):
        conditions = terms_on(contract, on).conditions
        tiers |= {conditions.licence_tier} - {""}
        for name, value in conditions.feature_limits.items():
            is_number = isinstance(value, int) and not isinstance(value, bool)
            _grant(granted, name, value is not False, value if is_number else None, contract.pk)
    products = []
    running = Subscription.objects.running(on).filter(entity=entity, contract__in=active)
    for subscription in running.order_by("product", "pk"):
        change = _licences(subscription, on)
        if change is None:
            continue
        plan, contract_id = change.plan, subscription.contract_id
        products.append(
            Product(subscription.product, plan.code, plan.tier, change.quantity, subscription.pk, contract_id)
        )
        for own in plan.features.all():
            times = change.quantity if own.is_per_licence else 1
            limit = None if own.limit is None else own.limit * times
            _grant(granted, own.feature, own.is_included, limit, contract_id)
    return Entitlements(entity.pk, on, tuple(products), tuple(sorted(tiers)), dict(sorted(granted.items())))


def _licences(subscription: Subscription, on: datetime.date) -> SubscriptionChange | None:
    changes = subscription.changes.effective(on).select_related("plan").prefetch_related("plan__features")
    return changes.first()


def _grant(
    granted: dict[str, Feature], name: str, is_included: bool, limit: int | None, contract_id: int
) -> None:
    before = granted.get(name)
    if before is None or (is_included and not before.is_included):
        granted[name] = Feature(name, is_included, limit if is_included else None, (contract_id,))
    elif is_included:
        total = None if limit is None or before.limit is None else before.limit + limit
        granted[name] = Feature(name, True, total, tuple(dict.fromkeys((*before.contract_ids, contract_id))))
