"""Cost allocations: what a department bears, by hand or by rule (ALC-01 to ALC-09)."""

from django.conf import settings
from django.core.validators import MinValueValidator
from django.db import models
from django.db.models import F, Q

from core import clock
from core.history import AuditedHistory
from core.models import TimestampedModel, VersionedModel
from core.money import CurrencyField, MoneyField
from entities.constraints import no_overlapping_dates
from entities.querysets import (
    AllocationPostingQuerySet,
    AllocationRuleQuerySet,
    AllocationRuleVersionQuerySet,
    CostAllocationQuerySet,
)


class AllocationBasis(models.TextChoices):
    PERCENT = "percent", "Percent (sums to 100)"
    AMOUNT = "amount", "Fixed amounts (sum to the total)"
    RATIO = "ratio", "Ratio"
    DRIVER = "driver", "Driver (headcount, m², …)"


class AllocationRule(VersionedModel, TimestampedModel):
    """A standing instruction to spread the cost of ``source`` over other departments.

    Rules of one entity run in ascending ``step`` (step-down, ALC-05): what a rule gives to a department is
    spread on by the rules of later steps only.
    """

    entity = models.ForeignKey("entities.Entity", on_delete=models.PROTECT, related_name="allocation_rules")
    name = models.CharField(max_length=200)
    source = models.ForeignKey(
        "entities.Department",
        on_delete=models.PROTECT,
        related_name="allocation_rules",
        help_text="Whose cost is spread.",
    )
    step = models.PositiveSmallIntegerField(default=1, validators=[MinValueValidator(1)])
    is_active = models.BooleanField(default=True)

    history = AuditedHistory()
    objects = AllocationRuleQuerySet.as_manager()

    class Meta:
        db_table = "allocation_rules"
        ordering = ["entity", "step", "name"]
        permissions = [("run_allocationrule", "Can run an allocation rule")]
        constraints = [
            models.UniqueConstraint(fields=["entity", "name"], name="allocation_rule_name_unique"),
            models.UniqueConstraint(
                fields=["source"],
                condition=Q(is_active=True),
                name="allocation_rule_one_active_per_source",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def access_entity_id(self) -> int:
        return self.entity_id

    @property
    def access_department_id(self) -> None:
        return None


class AllocationRuleVersion(TimestampedModel):
    """How a rule spreads from ``valid_from`` until before ``valid_to`` (ALC-04). Never edited once used."""

    rule = models.ForeignKey(AllocationRule, on_delete=models.PROTECT, related_name="versions")
    number = models.PositiveIntegerField()
    basis = models.CharField(max_length=10, choices=AllocationBasis, default=AllocationBasis.PERCENT)
    driver = models.CharField(max_length=50, blank=True, help_text="What is counted, e.g. headcount or m².")
    valid_from = models.DateField()
    valid_to = models.DateField(null=True, blank=True)

    objects = AllocationRuleVersionQuerySet.as_manager()

    class Meta:
        db_table = "allocation_rule_versions"
        ordering = ["rule", "-valid_from"]
        constraints = [
            models.UniqueConstraint(fields=["rule", "number"], name="allocation_rule_version_number"),
            models.CheckConstraint(
                condition=Q(valid_to__isnull=True) | Q(valid_to__gt=F("valid_from")),
                name="allocation_rule_version_dates_ordered",
            ),
            no_overlapping_dates("rule_id", name="allocation_rule_version_no_overlap"),
        ]

    def __str__(self) -> str:
        return f"version {self.number} from {self.valid_from}"

    @property
    def access_entity_id(self) -> int:
        return self.rule.entity_id

    @property
    def access_department_id(self) -> None:
        return None


class AllocationRuleTarget(models.Model):
    """One receiving department of a rule version; ``weight`` is its percent, amount, ratio or driver value."""

    version = models.ForeignKey(AllocationRuleVersion, on_delete=models.PROTECT, related_name="targets")
    line_number = models.PositiveSmallIntegerField()
    department = models.ForeignKey(
        "entities.Department",
        on_delete=models.PROTECT,
        related_name="allocation_targets",
    )
    weight = models.DecimalField(max_digits=20, decimal_places=4, validators=[MinValueValidator(0)])

    class Meta:
        db_table = "allocation_rule_targets"
        ordering = ["version", "line_number"]
        constraints = [
            models.UniqueConstraint(fields=["version", "department"], name="allocation_target_once"),
            models.UniqueConstraint(fields=["version", "line_number"], name="allocation_target_line"),
            models.CheckConstraint(condition=Q(weight__gte=0), name="allocation_target_weight_not_negative"),
        ]

    def __str__(self) -> str:
        return f"{self.department}: {self.weight:f}"

    @property
    def access_entity_id(self) -> int:
        return self.version.rule.entity_id

    @property
    def access_department_id(self) -> None:
        return None


class AllocationSource(models.TextChoices):
    MANUAL = "manual", "Entered by hand"
    USAGE = "usage", "Derived from usage"
    RULE = "rule", "Allocation rule"
    IMPORT = "import", "Imported"
    REVERSAL = "reversal", "Reversal"
    CREDIT = "credit", "Credit"


class AllocationPosting(models.Model):
    """One act of allocating ``amount``: the total, its grounds, and the lines that sum to it exactly.

    Immutable; a mistake is put right by a posting that ``reverses`` it, or by postings that credit a part of it
    (ALC-07). The posting keeps the rule version and the driver values it used (ALC-04, ALC-09). Where cost moves
    from ``source_department`` its own line is minus the total, so that the lines sum to zero.
    """

    entity = models.ForeignKey(
        "entities.Entity", on_delete=models.PROTECT, related_name="allocation_postings"
    )
    source = models.CharField(max_length=10, choices=AllocationSource)
    source_department = models.ForeignKey(
        "entities.Department",
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="postings_given",
        help_text="Set when cost moves from this department; its line is minus the total.",
    )
    rule_version = models.ForeignKey(
        AllocationRuleVersion,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="postings",
    )
    amount = MoneyField()
    currency = CurrencyField()
    description = models.CharField(max_length=500)
    period_start = models.DateField()
    period_end = models.DateField(help_text="The first day after the period.")
    run = models.PositiveSmallIntegerField(
        default=1,
        help_text="Counts the runs of a rule for the period: 2 after the first was reversed.",
    )
    basis = models.CharField(max_length=10, choices=AllocationBasis, blank=True)
    driver_values = models.JSONField(default=dict, blank=True)
    reverses = models.OneToOneField(
        "self",
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="reversed_by",
    )
    credits = models.ForeignKey(
        "self",
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="credited_by",
        help_text="The posting of which this credits a part.",
    )
    reason = models.CharField(max_length=500, blank=True)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(default=clock.now, editable=False)

    objects = AllocationPostingQuerySet.as_manager()

    class Meta:
        db_table = "allocation_postings"
        ordering = ["-id"]
        permissions = [("reverse_allocationposting", "Can reverse a cost allocation")]
        constraints = [
            models.CheckConstraint(
                condition=Q(period_end__gt=F("period_start")),
                name="allocation_posting_period_ordered",
            ),
            models.CheckConstraint(
                condition=Q(reverses__isnull=True) | Q(credits__isnull=True),
                name="allocation_posting_reverses_or_credits",
            ),
            models.UniqueConstraint(
                fields=[
                    "rule_version",
                    "period_start",
                    "period_end",
                    "currency",
                    "run",
                ],
                condition=Q(rule_version__isnull=False, reverses__isnull=True, credits__isnull=True),
                name="allocation_posting_once_per_period",
            ),
        ]

    def __str__(self) -> str:
        return self.description

    @property
    def access_entity_id(self) -> int:
        return self.entity_id

    @property
    def access_department_id(self) -> None:
        return None


class CostAllocation(models.Model):
    """What one department bears of a posting: ``amount`` in ``currency``, at the minor unit.

    Append-only (a trigger refuses UPDATE and DELETE). ``billable`` parts are invoiced once (INV-03); parts
    derived from usage are never billable, as the usage itself is billed.
    """

    posting = models.ForeignKey(AllocationPosting, on_delete=models.PROTECT, related_name="lines")
    line_number = models.PositiveSmallIntegerField()
    entity = models.ForeignKey("entities.Entity", on_delete=models.PROTECT, related_name="cost_allocations")
    department = models.ForeignKey(
        "entities.Department", on_delete=models.PROTECT, related_name="cost_allocations"
    )
    amount = MoneyField()
    currency = CurrencyField()
    weight = models.DecimalField(max_digits=20, decimal_places=4, null=True, blank=True)
    description = models.CharField(max_length=500)
    period_start = models.DateField()
    period_end = models.DateField()
    source = models.CharField(max_length=10, choices=AllocationSource)
    gl_code = models.CharField("GL code", max_length=50, blank=True)
    billable = models.BooleanField(default=False)
    reverses = models.OneToOneField(
        "self",
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="reversed_by",
    )
    credits = models.ForeignKey(
        "self", on_delete=models.PROTECT, null=True, blank=True, related_name="credited_by"
    )
    created_at = models.DateTimeField(default=clock.now, editable=False)

    objects = CostAllocationQuerySet.as_manager()

    class Meta:
        db_table = "cost_allocations"
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(fields=["posting", "line_number"], name="cost_allocation_line"),
            models.CheckConstraint(
                condition=~Q(source__in=["usage", "rule"]) | Q(billable=False),
                name="cost_allocation_from_usage_not_billable",
            ),
        ]
        indexes = [
            models.Index(
                fields=["department", "period_start"],
                name="cost_alloc_department_period",
            ),
            models.Index(fields=["entity", "period_start"], name="cost_alloc_entity_period"),
        ]

    def __str__(self) -> str:
        return self.description

    @property
    def access_entity_id(self) -> int:
        return self.entity_id

    @property
    def access_department_id(self) -> int:
        return self.department_id
