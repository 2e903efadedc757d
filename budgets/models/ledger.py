"""The commitment ledger: entries, commitments, alerts and exceptions (BUD-01, BUD-08 to BUD-18, BUD-28, BUD-32)."""

from decimal import Decimal

from django.conf import settings
from django.db import models
from django.db.models import F, Q

from budgets.querysets import (
    BudgetAlertQuerySet,
    BudgetEntryQuerySet,
    CommitmentQuerySet,
    OfBudgetQuerySet,
)
from core.models import TimestampedModel
from core.money import CurrencyField, MoneyField, RateField


class EntryKind(models.TextChoices):
    ALLOCATION = "allocation", "Allocation"
    COMMITMENT = "commitment", "Commitment"
    RELEASE = "release", "Release"
    CONSUMPTION = "consumption", "Consumption"
    CHARGE = "charge", "Charge"
    REFUND = "refund", "Refund"
    ADJUSTMENT = "adjustment", "Adjustment"
    TRANSFER = "transfer", "Transfer"
    ROLLOVER = "rollover", "Rollover"
    OVERRIDE = "override", "Override"


class CommitmentStatus(models.TextChoices):
    PENDING = "pending", "Pending"
    APPROVED = "approved", "Approved"
    CONSUMED = "consumed", "Consumed"
    RELEASED = "released", "Released"
    EXPIRED = "expired", "Expired"


OPEN_COMMITMENTS = (CommitmentStatus.PENDING, CommitmentStatus.APPROVED)


class CloseDecision(models.TextChoices):
    """What becomes of an open commitment when its budget closes (BUD-22)."""

    CARRY = "carry", "Carry to the next period"
    RELEASE = "release", "Release"
    LAPSE = "lapse", "Let it lapse"


class Commitment(TimestampedModel):
    """Money of a budget that is promised but not spent: ``amount − consumed − released`` is its remainder.

    Taken when a request is submitted or an order placed; past ``expires_at`` its remainder counts as free even
    if no job has run (BUD-17). Amounts are in the budget's currency; the document's own stand beside them.
    """

    budget = models.ForeignKey("budgets.Budget", on_delete=models.PROTECT, related_name="commitments")
    status = models.CharField(max_length=10, choices=CommitmentStatus, default=CommitmentStatus.APPROVED)
    amount = MoneyField()
    consumed_amount = MoneyField(default=0)
    released_amount = MoneyField(default=0)
    document_amount = MoneyField(null=True, blank=True)
    document_currency = CurrencyField(blank=True)
    rate = RateField(default=1)
    rate_date = models.DateField(null=True, blank=True)
    description = models.CharField(max_length=500)
    reference = models.CharField(max_length=100, blank=True)
    commitment_date = models.DateField()
    expires_at = models.DateTimeField(null=True, blank=True)
    source_type = models.CharField(max_length=50, blank=True)
    source_id = models.CharField(max_length=64, blank=True)
    close_decision = models.CharField(max_length=10, choices=CloseDecision, blank=True)
    carried_from = models.OneToOneField(
        "self",
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="carried_to",
    )
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")

    objects = CommitmentQuerySet.as_manager()

    class Meta:
        db_table = "budget_commitments"
        ordering = ["-id"]
        constraints = [
            models.CheckConstraint(condition=Q(amount__gt=0), name="commitment_positive"),
            models.CheckConstraint(
                condition=Q(consumed_amount__gte=0, released_amount__gte=0),
                name="commitment_use_not_negative",
            ),
            # BUD-12
            models.CheckConstraint(
                condition=Q(amount__gte=F("consumed_amount") + F("released_amount")),
                name="commitment_not_overused",
            ),
            # BUD-13: open while something remains, and the other way round.
            models.CheckConstraint(
                condition=Q(
                    status__in=["pending", "approved"],
                    amount__gt=F("consumed_amount") + F("released_amount"),
                )
                | Q(
                    status__in=["consumed", "released", "expired"],
                    amount=F("consumed_amount") + F("released_amount"),
                ),
                name="commitment_open_while_something_remains",
            ),
        ]
        indexes = [
            models.Index(
                fields=["expires_at", "budget"],
                condition=Q(status__in=["pending", "approved"]),
                name="commitment_open_by_expiry",
            ),
            models.Index(fields=["source_type", "source_id"], name="commitment_source"),
        ]

    def __str__(self) -> str:
        return self.description

    @property
    def access_entity_id(self) -> int:
        return self.budget.entity_id

    @property
    def access_department_id(self) -> int | None:
        return self.budget.department_id

    @property
    def remainder(self) -> Decimal:
        """What is still promised, in the budget's currency."""
        return self.amount - self.consumed_amount - self.released_amount

    @property
    def is_open(self) -> bool:
        return self.status in OPEN_COMMITMENTS


class BudgetEntry(models.Model):
    """One movement of a budget. Append-only: a trigger refuses UPDATE and DELETE (BUD-32).

    The three deltas are in the budget's currency; the sum of each over all entries of the budgets that a
    counter counts is that counter. ``document_amount`` and ``rate`` keep what the movement came from (BUD-31).
    """

    budget = models.ForeignKey(
        "budgets.Budget",
        on_delete=models.PROTECT,
        related_name="entries",
        db_index=False,
    )
    kind = models.CharField(max_length=12, choices=EntryKind)
    allocated_delta = MoneyField(default=0)
    committed_delta = MoneyField(default=0)
    spent_delta = MoneyField(default=0)
    override_delta = MoneyField(default=0)
    document_amount = MoneyField()
    document_currency = CurrencyField()
    rate = RateField(default=1)
    rate_date = models.DateField(null=True)
    fx_variance = MoneyField(default=0)
    tax_recoverable = models.BooleanField(
        default=False,
        help_text="Whether the document's tax was left out because it comes back (BUD-30).",
    )
    posting_date = models.DateField()
    description = models.CharField(max_length=500)
    reference = models.CharField(max_length=100, blank=True)
    reason = models.CharField(max_length=500, blank=True)
    source_type = models.CharField(max_length=50, blank=True)
    source_id = models.CharField(max_length=64, blank=True)
    source_line = models.PositiveIntegerField(default=0)
    source_revision = models.PositiveIntegerField(default=0)
    commitment = models.ForeignKey(
        Commitment,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="entries",
    )
    reverses = models.ForeignKey(
        "self",
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="reversed_by",
    )
    counterpart = models.ForeignKey(
        "budgets.Budget",
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
        db_index=False,
        help_text="The other budget of a transfer or rollover.",
    )
    actor = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.PROTECT,
        related_name="+",
        db_index=False,
    )
    created_at = models.DateTimeField()
    request_id = models.CharField(max_length=64, blank=True)

    objects = BudgetEntryQuerySet.as_manager()

    class Meta:
        db_table = "budget_entries"
        ordering = ["-id"]
        verbose_name_plural = "budget entries"
        constraints = [
            # BUD-08: a retry of the same source books nothing twice.
            models.UniqueConstraint(
                fields=[
                    "source_type",
                    "source_id",
                    "source_line",
                    "source_revision",
                    "kind",
                    "budget",
                ],
                condition=~Q(source_type=""),
                name="budget_entry_source_once",
            ),
        ]
        indexes = [
            models.Index(fields=["budget", "posting_date"], name="budget_entry_by_date"),
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()}: {self.description}"

    @property
    def access_entity_id(self) -> int:
        return self.budget.entity_id

    @property
    def access_department_id(self) -> int | None:
        return self.budget.department_id


class BudgetException(models.Model):
    """An entry that went beyond what was available, and by how much (BUD-03)."""

    entry = models.ForeignKey(BudgetEntry, on_delete=models.PROTECT, related_name="exceptions")
    budget = models.ForeignKey(
        "budgets.Budget",
        on_delete=models.PROTECT,
        related_name="exceptions",
        help_text="The budget that was exceeded: the entry's own, or a control point above it.",
    )
    over_by = MoneyField()
    created_at = models.DateTimeField()

    objects = OfBudgetQuerySet.as_manager()

    class Meta:
        db_table = "budget_exceptions"
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(fields=["entry", "budget"], name="budget_exception_once"),
            models.CheckConstraint(condition=Q(over_by__gt=0), name="budget_exception_positive"),
        ]

    def __str__(self) -> str:
        return f"over by {self.over_by}"

    @property
    def access_entity_id(self) -> int:
        return self.budget.entity_id

    @property
    def access_department_id(self) -> int | None:
        return self.budget.department_id


class AlertLevel(models.TextChoices):
    ALERT = "alert", "Alert"
    WARNING = "warning", "Warning"
    CRITICAL = "critical", "Critical"


class BudgetAlert(models.Model):
    """A threshold was crossed upwards; it can fire again once use has fallen 5 points below it (BUD-28)."""

    budget = models.ForeignKey("budgets.Budget", on_delete=models.PROTECT, related_name="alerts")
    level = models.CharField(max_length=10, choices=AlertLevel)
    threshold_percent = models.DecimalField(max_digits=6, decimal_places=2)
    utilization_percent = models.DecimalField(max_digits=12, decimal_places=2)
    used_amount = MoneyField()
    allocated_amount = MoneyField()
    entry = models.ForeignKey(BudgetEntry, on_delete=models.PROTECT, null=True, related_name="+")
    created_at = models.DateTimeField()
    rearmed_at = models.DateTimeField(null=True, blank=True)

    objects = BudgetAlertQuerySet.as_manager()

    class Meta:
        db_table = "budget_alerts"
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["budget", "level"],
                condition=Q(rearmed_at__isnull=True),
                name="budget_alert_once_per_crossing",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_level_display()} at {self.threshold_percent} %"

    @property
    def access_entity_id(self) -> int:
        return self.budget.entity_id

    @property
    def access_department_id(self) -> int | None:
        return self.budget.department_id
