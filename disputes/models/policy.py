"""Dispute policies: how soon, by which calendar, up to which amount (DSP-01, DSP-05 to DSP-10, DSP-13, DSP-16)."""

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import F, Q

from core.history import AuditedHistory
from core.models import TimestampedModel, VersionedModel
from core.money import MoneyField
from disputes.querysets import PolicyQuerySet, PolicyTargetQuerySet

_AT_LEAST_ONE = [MinValueValidator(1)]


class Severity(models.TextChoices):
    LOW = "low", "Low"
    MEDIUM = "medium", "Medium"
    HIGH = "high", "High"
    CRITICAL = "critical", "Critical"


class DisputePolicy(VersionedModel, TimestampedModel):
    """How an issuer handles disputes: in general, of one customer (and those below it), or under one contract.

    The most particular active one holds: contract before customer before issuer. It is frozen on a dispute when that
    is opened, so later changes touch only what is opened later (DSP-09). ``small_claims_amount`` is in the issuer's
    currency and includes tax. Without a policy the product's defaults hold.
    """

    name = models.CharField(max_length=100)
    issuer = models.ForeignKey("entities.Entity", on_delete=models.PROTECT, related_name="dispute_policies")
    customer = models.ForeignKey(
        "entities.Entity",
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
        help_text="Holds for invoices of this entity and those below it; empty for all customers.",
    )
    contract = models.ForeignKey(
        "contracts.Contract",
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
        help_text="Holds for lines that bill this contract only.",
    )
    calendar = models.ForeignKey(
        "core.WorkCalendar",
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
        help_text="The hours in which the clocks run; empty: around the clock.",
    )
    window_days = models.PositiveSmallIntegerField(
        default=90,
        validators=_AT_LEAST_ONE,
        help_text="Days after the issue date within which an invoice can be disputed.",
    )
    pauses_for_third_party = models.BooleanField(
        default=False,
        help_text="The resolution clock also stops while somebody else is waited for, not only the customer.",
    )
    silence_days = models.PositiveSmallIntegerField(
        default=10,
        validators=[MinValueValidator(3)],
        help_text="Working days without a word of the customer, with two reminders, after which it is withdrawn.",
    )
    collectible_days = models.PositiveSmallIntegerField(
        default=14, help_text="Days after the decision until what stays owed is collected again."
    )
    reopen_days = models.PositiveSmallIntegerField(
        default=30, help_text="Days after the decision within which it can be reopened."
    )
    small_claims_amount = MoneyField(
        default=0, help_text="Up to this amount who proposes a resolution may carry it out alone."
    )
    late_fees_from_original_date = models.BooleanField(
        default=False,
        help_text="What is rejected is overdue since the invoice's own due date, not since the new one.",
    )
    first_warning_percent = models.PositiveSmallIntegerField(
        default=75, validators=[MinValueValidator(1), MaxValueValidator(99)]
    )
    second_warning_percent = models.PositiveSmallIntegerField(
        default=90, validators=[MinValueValidator(1), MaxValueValidator(99)]
    )
    lead = models.ForeignKey(
        "core.User",
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
        help_text="Who is told after the owner when a deadline is missed; then the finance managers.",
    )
    is_active = models.BooleanField(default=True)

    history = AuditedHistory()
    objects = PolicyQuerySet.as_manager()

    class Meta:
        db_table = "dispute_policies"
        ordering = ["issuer", "name"]
        verbose_name_plural = "dispute policies"
        constraints = [
            models.UniqueConstraint(
                fields=["issuer", "customer", "contract"],
                condition=Q(is_active=True),
                nulls_distinct=False,
                name="dispute_policy_once_per_scope",
                violation_error_message="There is an active policy for this issuer, customer and contract already.",
            ),
            models.CheckConstraint(
                condition=Q(customer__isnull=True) | Q(contract__isnull=True),
                name="dispute_policy_one_scope",
                violation_error_message="A policy is for a customer or for a contract, not for both.",
            ),
            models.CheckConstraint(
                condition=Q(first_warning_percent__range=(1, 99), second_warning_percent__range=(1, 99))
                & Q(second_warning_percent__gt=F("first_warning_percent")),
                name="dispute_policy_warnings_in_order",
                violation_error_message="The second warning comes after the first one.",
            ),
            models.CheckConstraint(
                condition=Q(window_days__gte=1, silence_days__gte=3, small_claims_amount__gte=0),
                name="dispute_policy_values",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def access_entity_id(self) -> int:
        return self.issuer_id

    @property
    def access_department_id(self) -> None:
        return None


class DisputePolicyTarget(models.Model):
    """How soon a dispute of one severity is answered and resolved, in minutes of the policy's calendar (DSP-05)."""

    policy = models.ForeignKey(DisputePolicy, on_delete=models.CASCADE, related_name="targets")
    severity = models.CharField(max_length=8, choices=Severity)
    response_minutes = models.PositiveIntegerField(default=24 * 60, validators=_AT_LEAST_ONE)
    resolution_minutes = models.PositiveIntegerField(validators=_AT_LEAST_ONE)

    history = AuditedHistory()
    objects = PolicyTargetQuerySet.as_manager()

    class Meta:
        db_table = "dispute_policy_targets"
        ordering = ["policy", "resolution_minutes", "id"]
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(fields=["policy", "severity"], name="dispute_policy_target_once"),
            models.CheckConstraint(
                condition=Q(response_minutes__gte=1, resolution_minutes__gte=1),
                name="dispute_policy_target_takes_time",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_severity_display()} of {self.policy}"
