"""Reads that chain, of budgets and their ledger."""

import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Self

from django.apps import apps
from django.contrib.postgres.fields import ArrayField
from django.db.models import (
    BigIntegerField,
    F,
    Func,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
    Sum,
    Value,
)
from django.db.models.functions import Coalesce

from core import clock
from core.money import MoneyField
from entities.querysets import (
    DepartmentScopedQuerySet,
    department_ids_visible_to,
    entity_ids_visible_to,
    sees_everything,
)

if TYPE_CHECKING:
    from core.models import User


class ArrayOf(Func):
    """ARRAY[expression], for containment tests."""

    template = "ARRAY[%(expressions)s]"
    output_field = ArrayField(BigIntegerField())


class BudgetQuerySet(DepartmentScopedQuerySet):
    def covering(self, day: datetime.date) -> Self:
        return self.filter(period_start__lte=day, period_end__gt=day)

    def of(self, *, entity_id: int, department_id: int | None) -> Self:
        """The budgets of a department, or of an entity as a whole."""
        return self.filter(Q(entity_id=entity_id) & Q(department_id=department_id))

    def expired_amounts(self) -> dict[int, Decimal]:
        """What of each budget's committed amount has expired already, by the budget's key (BUD-17)."""
        return dict(self.with_expired().order_by().values_list("pk", "expired_amount"))

    def postable(self) -> Self:
        return self.filter(status__in=["open", "soft_closed"])

    def with_expired(self, at: datetime.datetime | None = None) -> Self:
        """Adds ``expired_amount``: remainders past their expiry, of all that the budget counts (BUD-17)."""
        expired = (
            apps.get_model("budgets", "Commitment")
            .objects.expired(at)
            .filter(budget__counted_by__contains=ArrayOf(OuterRef("pk")))
            .order_by()
            .annotate(group=Value(1))
            .values("group")
            .annotate(total=Sum(F("amount") - F("consumed_amount") - F("released_amount")))
            .values("total")
        )
        return self.annotate(
            expired_amount=Coalesce(Subquery(expired), Decimal(0), output_field=MoneyField())
        )


class OfBudgetQuerySet(DepartmentScopedQuerySet):
    """For rows that belong to a budget."""

    entity_path = "budget__entity_id"
    department_path = "budget__department_id"


class BudgetEntryQuerySet(OfBudgetQuerySet):
    def as_of(self, day: datetime.date) -> Self:
        """Entries posted up to and including ``day`` (BUD-32)."""
        return self.filter(posting_date__lte=day)

    def sums(self) -> dict:
        """The counters that these entries make."""
        return self.aggregate(
            allocated=Sum("allocated_delta", default=0),
            committed=Sum("committed_delta", default=0),
            spent=Sum("spent_delta", default=0),
            override=Sum("override_delta", default=0),
        )


class CommitmentQuerySet(OfBudgetQuerySet):
    def open(self) -> Self:
        return self.filter(status__in=["pending", "approved"])

    def expired(self, at: datetime.datetime | None = None) -> Self:
        """Open in name, but past their expiry (BUD-17)."""
        return self.open().filter(expires_at__lte=at or clock.now())


class BudgetAlertQuerySet(OfBudgetQuerySet):
    pass


class BudgetChangeQuerySet(OfBudgetQuerySet):
    pass


class BudgetRolloverQuerySet(DepartmentScopedQuerySet):
    """Rollovers stay within one department: who sees the source sees them."""

    entity_path = "from_budget__entity_id"
    department_path = "from_budget__department_id"


class BudgetTransferQuerySet(QuerySet):
    def visible_to(self, user: "User", permission: str | None = None) -> Self:
        """Transfers of which the user sees either budget."""
        if sees_everything(user):
            return self
        entities = entity_ids_visible_to(user, permission)
        departments = department_ids_visible_to(user, permission)
        return self.filter(
            Q(from_budget__entity_id__in=entities)
            | Q(to_budget__entity_id__in=entities)
            | Q(from_budget__department_id__in=departments)
            | Q(to_budget__department_id__in=departments)
        )
