"""Budgets: money set aside for a department or an entity over a period (BUD-01 to BUD-32)."""

import datetime
from decimal import Decimal

from django.conf import settings
from django.contrib.postgres.constraints import ExclusionConstraint
from django.contrib.postgres.fields import ArrayField, RangeOperators
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import F, Func, Q, Value
from django.db.models.functions import Coalesce, Lower, NullIf
from django_fsm import transition

from budgets.querysets import BudgetQuerySet, OfBudgetQuerySet
from core.constraints import same_number
from core.history import AuditedHistory
from core.models import TimestampedModel, VersionedModel
from core.money import CurrencyField, MoneyField
from core.states import StateField


class PeriodType(models.TextChoices):
    MONTHLY = "monthly", "Month"
    QUARTERLY = "quarterly", "Quarter"
    ANNUAL = "annual", "Year"
    CUSTOM = "custom", "Custom"


class BudgetStatus(models.TextChoices):
    DRAFT = "draft", "Draft"
    OPEN = "open", "Open"
    SOFT_CLOSED = "soft_closed", "Soft-closed"
    CLOSED = "closed", "Closed"


class Control(models.TextChoices):
    """What happens to a charge beyond what is available (BUD-03)."""

    OFF = "off", "Off: recorded only"
    ADVISORY = "advisory", "Advisory: overspend allowed and flagged"
    ABSOLUTE = "absolute", "Absolute: never overspent"


class CheckScope(models.TextChoices):
    """The stretch of the monthly profile a charge is tested against (BUD-27)."""

    PERIOD = "period", "Whole period"
    MONTH = "month", "Its month"
    QUARTER = "quarter", "Its quarter"
    YEAR_TO_DATE = "ytd", "Period to date"


class RolloverPolicy(models.TextChoices):
    """What passes to the next period at close (BUD-23)."""

    LAPSE = "lapse", "Nothing: the rest lapses"
    COMMITMENTS = "commitments", "Open commitments with their money"
    COMMITMENTS_UNFUNDED = "commitments_unfunded", "Open commitments without money"
    UNSPENT = "unspent", "Open commitments and a share of what is unspent"


# What a budget pays for is its category, or else its name; as a number: see core.constraints.
_PURPOSE = (
    Func(
        Lower(Coalesce(NullIf(F("category"), Value("")), F("name"))),
        Value(0),
        function="hashtextextended",
        output_field=models.BigIntegerField(),
    )
    / 2
)


class Budget(VersionedModel, TimestampedModel):
    """Money in ``currency`` for ``[period_start, period_end)``, of a department or of an entity as a whole.

    ``available = allocated + override − spent − committed`` (BUD-01). The counters are sums of append-only
    entries and change only with them, in one transaction. A budget that is a control point counts what its
    whole subtree spends and commits (BUD-26): ``counted_by`` of a budget lists the budgets whose counters its
    entries move, itself and every control point above it, ascending.
    """

    name = models.CharField(max_length=200)
    entity = models.ForeignKey("entities.Entity", on_delete=models.PROTECT, related_name="budgets")
    department = models.ForeignKey(
        "entities.Department",
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="budgets",
    )
    category = models.CharField(
        max_length=100,
        blank=True,
        help_text="What it pays for, where a department has several, e.g. cloud.",
    )
    parent = models.ForeignKey(
        "self", on_delete=models.PROTECT, null=True, blank=True, related_name="children"
    )
    is_control_point = models.BooleanField(
        default=False, help_text="Everything charged below it is tested against it too."
    )
    strict_children = models.BooleanField(
        default=False,
        help_text="The allocations of its children may not exceed its own.",
    )
    counted_by = ArrayField(models.BigIntegerField(), default=list, editable=False)
    currency = CurrencyField()
    period_type = models.CharField(max_length=10, choices=PeriodType, default=PeriodType.ANNUAL)
    period_start = models.DateField()
    period_end = models.DateField(help_text="The first day after the period.")
    status = StateField(max_length=12, choices=BudgetStatus, default=BudgetStatus.DRAFT, protected=True)
    control = models.CharField(max_length=10, choices=Control, default=Control.ABSOLUTE)
    overspend_limit = MoneyField(
        null=True,
        blank=True,
        help_text="Advisory control: how far beyond the budget; empty means no limit.",
    )
    approval_threshold = MoneyField(
        null=True,
        blank=True,
        help_text="A charge above it needs an approved request; empty means none does.",
    )
    check_scope = models.CharField(max_length=10, choices=CheckScope, default=CheckScope.PERIOD)
    over_invoice_percent = models.DecimalField(
        max_digits=5,
        decimal_places=2,
        null=True,
        blank=True,
        validators=[MinValueValidator(0)],
        help_text="An invoice may exceed its commitment by at most this share of it; empty: by what is available.",
    )
    over_invoice_amount = MoneyField(
        null=True,
        blank=True,
        help_text="An invoice may exceed its commitment by at most this much; empty: by what is available.",
    )
    strict_periods = models.BooleanField(
        default=False,
        help_text="An invoice dated in another period is refused instead of being borne by that period's budget.",
    )
    alert_threshold_percent = models.DecimalField(
        max_digits=6,
        decimal_places=2,
        null=True,
        blank=True,
        default=80,
        validators=[MinValueValidator(0)],
    )
    warning_threshold_percent = models.DecimalField(
        max_digits=6,
        decimal_places=2,
        null=True,
        blank=True,
        default=90,
        validators=[MinValueValidator(0)],
    )
    critical_threshold_percent = models.DecimalField(
        max_digits=6,
        decimal_places=2,
        null=True,
        blank=True,
        default=100,
        validators=[MinValueValidator(0)],
    )
    rollover_policy = models.CharField(
        max_length=20, choices=RolloverPolicy, default=RolloverPolicy.COMMITMENTS
    )
    rollover_percent = models.DecimalField(
        max_digits=5,
        decimal_places=2,
        default=100,
        validators=[MinValueValidator(0), MaxValueValidator(100)],
        help_text="Share of the unspent rest that passes on.",
    )
    rollover_cap = MoneyField(
        null=True,
        blank=True,
        help_text="At most this much of the unspent rest passes on.",
    )
    carry_deficit = models.BooleanField(
        default=False, help_text="An overspend lowers the next period's budget."
    )
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="owned_budgets",
        help_text="Who answers for it; empty: the manager of the department.",
    )

    planned_amount = MoneyField(
        default=0,
        validators=[MinValueValidator(0)],
        help_text="The allocation of a draft; opening the budget books it.",
    )
    # Counters: only services/ledger.py moves them, together with the entries that they are sums of.
    allocated_amount = MoneyField(default=0, editable=False)
    spent_amount = MoneyField(default=0, editable=False)
    committed_amount = MoneyField(default=0, editable=False)
    override_amount = MoneyField(default=0, editable=False)
    # Thresholds that have fired and are not re-armed yet (BUD-28).
    alert_fired = models.BooleanField(default=False, editable=False)
    warning_fired = models.BooleanField(default=False, editable=False)
    critical_fired = models.BooleanField(default=False, editable=False)

    history = AuditedHistory(
        excluded_fields=[
            "allocated_amount",
            "spent_amount",
            "committed_amount",
            "override_amount",
            "alert_fired",
            "warning_fired",
            "critical_fired",
            "counted_by",
        ]
    )
    objects = BudgetQuerySet.as_manager()

    class Meta:
        db_table = "budgets"
        ordering = ["-period_start", "name", "id"]
        permissions = [
            ("charge_budget", "Can charge and commit a budget"),
            ("close_budget", "Can open and close a budget period"),
            ("post_soft_closed_budget", "Can post to a soft-closed budget"),
            ("transfer_budget", "Can move money between budgets"),
            (
                "approve_budget_change",
                "Can approve transfers, revisions and reopenings",
            ),
            ("override_budget", "Can let a budget be exceeded"),
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(period_end__gt=F("period_start")),
                name="budget_period_ordered",
            ),
            models.CheckConstraint(
                condition=Q(allocated_amount__gte=0),
                name="budget_allocated_not_negative",
            ),
            models.CheckConstraint(
                condition=Q(committed_amount__gte=0),
                name="budget_committed_not_negative",
            ),
            models.CheckConstraint(condition=Q(override_amount__gte=0), name="budget_override_not_negative"),
            models.CheckConstraint(
                condition=Q(overspend_limit__isnull=True) | Q(overspend_limit__gte=0),
                name="budget_overspend_limit_not_negative",
            ),
            models.CheckConstraint(
                condition=(Q(over_invoice_percent__isnull=True) | Q(over_invoice_percent__gte=0))
                & (Q(over_invoice_amount__isnull=True) | Q(over_invoice_amount__gte=0)),
                name="budget_over_invoice_not_negative",
            ),
            # BUD-05: the last guard. The services never let it come to this.
            models.CheckConstraint(
                condition=~Q(control="absolute")
                | Q(allocated_amount__gte=F("spent_amount") + F("committed_amount") - F("override_amount")),
                name="budget_never_overspent",
            ),
            models.CheckConstraint(
                condition=~Q(control="advisory")
                | Q(overspend_limit__isnull=True)
                | Q(
                    allocated_amount__gte=F("spent_amount")
                    + F("committed_amount")
                    - F("override_amount")
                    - F("overspend_limit")
                ),
                name="budget_within_overspend_limit",
            ),
            # BUD-19
            ExclusionConstraint(
                name="budget_no_overlap",
                expressions=[
                    (same_number(F("entity_id")), RangeOperators.OVERLAPS),
                    (same_number(Coalesce(F("department_id"), Value(0))), RangeOperators.OVERLAPS),
                    (same_number(_PURPOSE), RangeOperators.OVERLAPS),
                    (
                        Func(
                            F("period_start"),
                            F("period_end"),
                            function="daterange",
                            output_field=models.DateField(),
                        ),
                        RangeOperators.OVERLAPS,
                    ),
                ],
            ),
        ]
        indexes = [
            models.Index(fields=["entity", "-period_start"], name="budget_entity_period"),
            models.Index(fields=["department", "-period_start"], name="budget_department_period"),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def access_entity_id(self) -> int:
        return self.entity_id

    @property
    def access_department_id(self) -> int | None:
        return self.department_id

    @property
    def used_amount(self) -> Decimal:
        """Spent and committed: what thresholds look at (BUD-28)."""
        return self.spent_amount + self.committed_amount

    @property
    def available_amount(self) -> Decimal:
        """What may still be charged or committed without overspending; negative when overspent (BUD-01)."""
        return self.allocated_amount + self.override_amount - self.used_amount

    def covers(self, day: datetime.date) -> bool:
        return self.period_start <= day < self.period_end

    @transition(field=status, source=BudgetStatus.DRAFT, target=BudgetStatus.OPEN)
    def open(self) -> None:
        """Entries may be posted from now on."""

    @transition(field=status, source=BudgetStatus.OPEN, target=BudgetStatus.SOFT_CLOSED)
    def soft_close(self) -> None:
        """Only finance posts from now on (BUD-21)."""

    @transition(
        field=status,
        source=[BudgetStatus.OPEN, BudgetStatus.SOFT_CLOSED],
        target=BudgetStatus.CLOSED,
    )
    def close(self) -> None:
        """No entry of any kind from now on (BUD-21)."""

    @transition(
        field=status,
        source=[BudgetStatus.SOFT_CLOSED, BudgetStatus.CLOSED],
        target=BudgetStatus.OPEN,
    )
    def reopen(self) -> None:
        """Entries may be posted again; the service has seen a reason and a second person."""


class BudgetMonth(models.Model):
    """One month of a budget's profile; the amounts of a budget sum to its allocation exactly (BUD-27)."""

    budget = models.ForeignKey(Budget, on_delete=models.CASCADE, related_name="months")
    month = models.DateField(help_text="The first day of the month.")
    amount = MoneyField()

    class Meta:
        db_table = "budget_months"
        ordering = ["budget", "month"]
        default_permissions = ()
        constraints = [models.UniqueConstraint(fields=["budget", "month"], name="budget_month_once")]

    def __str__(self) -> str:
        return f"{self.month:%Y-%m}: {self.amount}"


class PeriodChange(models.Model):
    """Who opened, closed or reopened a budget, when and why; reopening needs a second person (BUD-21)."""

    budget = models.ForeignKey(Budget, on_delete=models.PROTECT, related_name="period_changes")
    from_status = models.CharField(max_length=12, choices=BudgetStatus)
    to_status = models.CharField(max_length=12, choices=BudgetStatus)
    reason = models.CharField(max_length=500, blank=True)
    requested_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    requested_at = models.DateTimeField()
    approved_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
    )
    approved_at = models.DateTimeField(null=True, blank=True)

    objects = OfBudgetQuerySet.as_manager()

    class Meta:
        db_table = "budget_period_changes"
        ordering = ["-id"]
        constraints = [
            models.CheckConstraint(
                condition=Q(approved_by__isnull=True)
                | ~Q(approved_by=F("requested_by"))
                | ~Q(to_status="open", from_status__in=["closed", "soft_closed"]),
                name="budget_reopened_by_a_second_person",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_from_status_display()} → {self.get_to_status_display()}"

    @property
    def access_entity_id(self) -> int:
        return self.budget.entity_id

    @property
    def access_department_id(self) -> int | None:
        return self.budget.department_id
