"""Reads that chain, of usage and invoices."""

import datetime
from typing import TYPE_CHECKING, Self

from django.db.models import Exists, OuterRef, Q, QuerySet, Sum

from entities.querysets import (
    DepartmentScopedQuerySet,
    EntityScopedQuerySet,
    department_ids_visible_to,
    entity_ids_visible_to,
    sees_everything,
)

if TYPE_CHECKING:
    from core.models import User


class UsageImportQuerySet(EntityScopedQuerySet):
    pass


class UsageMappingRuleQuerySet(EntityScopedQuerySet):
    pass


class UsageBudgetChargeQuerySet(DepartmentScopedQuerySet):
    def refused(self) -> Self:
        """What budgets refused at the last try (USE-05)."""
        return self.filter(status="refused")


class RejectedRowQuerySet(EntityScopedQuerySet):
    entity_path = "usage_import__entity_id"

    def open(self) -> Self:
        return self.filter(status="open")


class UsageRecordQuerySet(DepartmentScopedQuerySet):
    def unbilled(self) -> Self:
        """Rows that no invoice line holds (INV-03)."""
        from invoicing.models import BilledItem

        held = BilledItem.objects.filter(usage_record=OuterRef("pk"), released_at__isnull=True)
        return self.filter(~Exists(held))

    def charged_in(self, start: datetime.date, end: datetime.date) -> Self:
        """Rows whose charge period starts within ``[start, end)`` (USE-04)."""
        return self.filter(charge_date__gte=start, charge_date__lt=end)

    def unallocated(self) -> Self:
        return self.filter(department__isnull=True)

    def billed_cost_by_currency(self) -> dict:
        """Exact sums of BilledCost, one per currency."""
        rows = self.order_by().values("currency").annotate(total=Sum("billed_cost")).order_by("currency")
        return {row["currency"]: row["total"] for row in rows}


class NumberSeriesQuerySet(EntityScopedQuerySet):
    entity_path = "issuer_id"


class InvoiceQuerySet(QuerySet):
    def visible_to(self, user: "User", permission: str | None = None) -> Self:
        """Invoices of a payer or of an issuer that the user sees whole."""
        if sees_everything(user):
            return self
        visible = entity_ids_visible_to(user, permission)
        return self.filter(Q(entity_id__in=visible) | Q(issuer_id__in=visible))

    def drafts(self) -> Self:
        return self.filter(status="draft")

    def issued(self) -> Self:
        return self.filter(status="issued")


class InvoiceLineQuerySet(QuerySet):
    def visible_to(self, user: "User", permission: str | None = None) -> Self:
        """Lines of visible invoices, and of any invoice those for an entity or department the user sees."""
        if sees_everything(user):
            return self
        visible = entity_ids_visible_to(user, permission)
        return self.filter(
            Q(invoice__entity_id__in=visible)
            | Q(invoice__issuer_id__in=visible)
            | Q(entity_id__in=visible)
            | Q(department_id__in=department_ids_visible_to(user, permission))
        )
