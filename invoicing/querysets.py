"""Reads that chain, of usage and invoices."""

import datetime
from typing import TYPE_CHECKING, Self

from django.db.models import Count, Exists, OuterRef, Q, QuerySet, Sum

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


class TaxRuleQuerySet(EntityScopedQuerySet):
    entity_path = "issuer_id"


class BetweenTwoQuerySet(QuerySet):
    """Rows between a payer (`entity`) and an issuer: seen by who sees either of them as a whole."""

    path = ""

    def visible_to(self, user: "User", permission: str | None = None) -> Self:
        if sees_everything(user):
            return self
        visible = entity_ids_visible_to(user, permission)
        return self.filter(
            Q(**{f"{self.path}entity_id__in": visible}) | Q(**{f"{self.path}issuer_id__in": visible})
        )


class PaymentQuerySet(BetweenTwoQuerySet):
    pass


class RefundQuerySet(BetweenTwoQuerySet):
    pass


class SettlementQuerySet(BetweenTwoQuerySet):
    path = "invoice__"


class InvoiceQuerySet(BetweenTwoQuerySet):
    def drafts(self) -> Self:
        return self.filter(status="draft")

    def posted(self) -> Self:
        """Numbered and not withdrawn, whether paid or not."""
        return self.filter(status__in=("issued", "partially_paid", "paid"))

    def of_type(self, document_type: str) -> Self:
        return self.filter(document_type=document_type)


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


class InvoiceLineShareQuerySet(QuerySet):
    def visible_to(self, user: "User", permission: str | None = None) -> Self:
        """Shares in visible invoices, in lines of visible entities, and those of departments the user sees."""
        if sees_everything(user):
            return self
        visible = entity_ids_visible_to(user, permission)
        return self.filter(
            Q(invoice_line__invoice__entity_id__in=visible)
            | Q(invoice_line__invoice__issuer_id__in=visible)
            | Q(invoice_line__entity_id__in=visible)
            | Q(department__entity_id__in=visible)
            | Q(department_id__in=department_ids_visible_to(user, permission))
        )

    def live(self) -> Self:
        """Those that count, and together never exceed their line."""
        return self.filter(status__in=("charged", "refused", "not_booked"))

    def listed(self) -> Self:
        """What budgets refused, to be tried again."""
        return self.filter(status__in=("refused", "still_borne"))


OPEN_RUNS = ("preparing", "prepared", "checked", "issuing")
RUN_COUNTS = ("waiting", "nothing_to_invoice", "prepared", "failed", "issued", "left_out")


class BillingScheduleQuerySet(EntityScopedQuerySet):
    entity_path = "scope_id"

    def active(self) -> Self:
        return self.filter(is_active=True)


class BillingRunQuerySet(EntityScopedQuerySet):
    entity_path = "scope_id"

    def open(self) -> Self:
        return self.filter(status__in=OPEN_RUNS)

    def counted(self) -> Self:
        """Each with how many payers it has, in all (``payers``), per state (``count_failed`` …) and unusual ones."""
        counts = {f"count_{status}": Count("items", filter=Q(items__status=status)) for status in RUN_COUNTS}
        unusual = Count("items", filter=Q(items__status="prepared") & ~Q(items__anomalies=[]))
        return self.annotate(payers=Count("items"), count_unusual=unusual, **counts)


class BillingRunItemQuerySet(EntityScopedQuerySet):
    entity_path = "run__scope_id"

    def unusual(self) -> Self:
        """Those with anomalies."""
        return self.exclude(anomalies=[])


class BankStatementQuerySet(EntityScopedQuerySet):
    entity_path = "issuer_id"


class BankTransactionQuerySet(EntityScopedQuerySet):
    entity_path = "issuer_id"

    def open(self) -> Self:
        """Money that arrived and that no payment records yet."""
        return self.filter(status="open")


class DunningLevelQuerySet(EntityScopedQuerySet):
    entity_path = "issuer_id"


class DunningNoticeQuerySet(BetweenTwoQuerySet):
    pass
