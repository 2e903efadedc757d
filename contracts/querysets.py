"""Reads that chain, of contracts and what belongs to them (ENT-04, CON-01)."""

import datetime
from collections.abc import Iterable
from typing import TYPE_CHECKING, Self

from django.apps import apps
from django.db.models import CharField, Exists, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce

from core import clock
from entities.querysets import DepartmentScopedQuerySet

if TYPE_CHECKING:
    from core.models import User


def _spans_on(day: datetime.date) -> QuerySet:
    spans = apps.get_model("contracts", "ContractStatusSpan").objects
    return spans.filter(contract_id=OuterRef("pk"), valid_from__lte=day).filter(
        Q(valid_to__isnull=True) | Q(valid_to__gt=day)
    )


class ContractQuerySet(DepartmentScopedQuerySet):
    def with_status(self, day: datetime.date | None = None) -> Self:
        """Adds ``current_status``: the state on ``day`` (today in UTC), whether or not a job has run (CON-01)."""
        found = _spans_on(day or clock.today()).values("status")[:1]
        return self.annotate(current_status=Coalesce(Subquery(found), "status", output_field=CharField()))

    def in_status(self, statuses: Iterable[str], day: datetime.date | None = None) -> Self:
        """Contracts whose state on ``day`` is one of those."""
        return self.filter(Exists(_spans_on(day or clock.today()).filter(status__in=list(statuses))))

    def in_force(self, day: datetime.date) -> Self:
        """Active or suspended on ``day``, and begun."""
        return self.in_status(["active", "suspended"], day).filter(start_date__lte=day)


class OfContractQuerySet(DepartmentScopedQuerySet):
    """For rows that belong to a contract."""

    entity_path = "contract__entity_id"
    department_path = "contract__department_id"


class StatusSpanQuerySet(OfContractQuerySet):
    def on(self, day: datetime.date) -> Self:
        return self.filter(valid_from__lte=day).filter(Q(valid_to__isnull=True) | Q(valid_to__gt=day))


class SignatoryQuerySet(OfContractQuerySet):
    def of(self, contract_id: int, amendment_id: int | None) -> Self:
        """Those who sign the contract itself, or one of its amendments, in signing order."""
        return self.filter(contract_id=contract_id, amendment_id=amendment_id).order_by("position", "pk")


class SignatureQuerySet(DepartmentScopedQuerySet):
    entity_path = "signatory__contract__entity_id"
    department_path = "signatory__contract__department_id"

    def standing(self) -> Self:
        """Given and not void."""
        return self.filter(voided_at__isnull=True)


class OfPriceTermQuerySet(DepartmentScopedQuerySet):
    entity_path = "price_term__contract__entity_id"
    department_path = "price_term__contract__department_id"


class OfSlaTermQuerySet(DepartmentScopedQuerySet):
    entity_path = "sla_term__contract__entity_id"
    department_path = "sla_term__contract__department_id"


class PlanQuerySet(QuerySet):
    def visible_to(self, user: "User") -> Self:
        """The list of plans is no secret: everyone who is signed in sees it."""
        return self if user.is_authenticated or user.is_system else self.none()


class PlanFeatureQuerySet(PlanQuerySet):
    pass


class PriceIndexQuerySet(PlanQuerySet):
    pass


class SubscriptionQuerySet(DepartmentScopedQuerySet):
    """Seen by those who see the subscribing entity, or the contract."""

    def visible_to(self, user: "User", permission: str | None = None) -> Self:
        contracts = apps.get_model("contracts", "Contract").objects.visible_to(user, permission)
        entities = apps.get_model("entities", "Entity").objects.seen_whole_by(user, permission)
        return self.filter(Q(contract__in=contracts) | Q(entity__in=entities))

    def running(self, day: datetime.date) -> Self:
        return self.filter(starts_on__lte=day).filter(Q(ends_on__isnull=True) | Q(ends_on__gt=day))


class SubscriptionChangeQuerySet(QuerySet):
    def visible_to(self, user: "User", permission: str | None = None) -> Self:
        subscriptions = apps.get_model("contracts", "Subscription").objects.visible_to(user, permission)
        return self.filter(subscription__in=subscriptions)

    def effective(self, day: datetime.date) -> Self:
        """Changes that have taken effect, the one that counts first."""
        return self.filter(effective_from__lte=day).order_by("-effective_from", "-pk")


class BillableFeeQuerySet(DepartmentScopedQuerySet):
    def due(self, day: datetime.date) -> Self:
        """What may be invoiced on ``day``."""
        return self.filter(bill_on__lte=day)
