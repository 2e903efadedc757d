"""Plans, subscriptions to them under contracts, and their dated changes (CON-21)."""

from django.conf import settings
from django.core.validators import MinValueValidator
from django.db import models
from django.db.models import F, Q

from contracts.models.contract import Contract, no_overlap
from contracts.models.prices import LINE_CODE
from contracts.querysets import (
    PlanFeatureQuerySet,
    PlanQuerySet,
    SubscriptionChangeQuerySet,
    SubscriptionQuerySet,
)
from core import clock
from core.constraints import same_number, same_text
from core.history import AuditedHistory
from core.models import TimestampedModel, VersionedModel
from core.money import CurrencyField, ExactCostField


class Plan(VersionedModel, TimestampedModel):
    """A tier of a product with its list price per licence and interval."""

    code = models.CharField(max_length=40, unique=True, validators=[LINE_CODE])
    name = models.CharField(max_length=200)
    product = models.CharField(max_length=100)
    tier = models.CharField(max_length=50, blank=True)
    rank = models.PositiveSmallIntegerField(
        default=0, help_text="Order of the product's tiers, the lowest first."
    )
    issuer = models.ForeignKey("entities.Entity", on_delete=models.PROTECT, related_name="plans")
    currency = CurrencyField()
    price = ExactCostField(default=0, validators=[MinValueValidator(0)])
    interval_months = models.PositiveSmallIntegerField(default=1, validators=[MinValueValidator(1)])
    gl_code = models.CharField("GL code", max_length=50, blank=True)
    is_active = models.BooleanField(default=True, help_text="Can be subscribed to.")

    history = AuditedHistory()
    objects = PlanQuerySet.as_manager()

    class Meta:
        db_table = "plans"
        ordering = ["product", "rank", "code"]
        constraints = [
            models.CheckConstraint(
                condition=Q(price__gte=0, interval_months__gte=1), name="plan_price_valid"
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


class PlanFeature(models.Model):
    """What a plan lets its subscribers use: yes or no, or up to a limit; without one it is unlimited."""

    plan = models.ForeignKey(Plan, on_delete=models.CASCADE, related_name="features")
    feature = models.CharField(max_length=60)
    is_included = models.BooleanField(default=True)
    limit = models.PositiveBigIntegerField(null=True, blank=True)
    is_per_licence = models.BooleanField(default=False, help_text="The limit counts once per licence.")

    history = AuditedHistory()
    objects = PlanFeatureQuerySet.as_manager()

    class Meta:
        db_table = "plan_features"
        ordering = ["plan", "feature"]
        constraints = [
            models.UniqueConstraint(fields=["plan", "feature"], name="plan_feature_once"),
            models.CheckConstraint(
                condition=Q(is_included=True) | Q(limit__isnull=True), name="plan_feature_limit_if_included"
            ),
        ]

    def __str__(self) -> str:
        return self.feature


class Subscription(VersionedModel, TimestampedModel):
    """That an entity uses a product under a contract from ``starts_on`` until before ``ends_on``.

    Plan and quantity on a day are those of the last change that had taken effect (CON-21).
    """

    contract = models.ForeignKey(Contract, on_delete=models.PROTECT, related_name="subscriptions")
    entity = models.ForeignKey("entities.Entity", on_delete=models.PROTECT, related_name="subscriptions")
    department = models.ForeignKey(
        "entities.Department", on_delete=models.PROTECT, null=True, blank=True, related_name="subscriptions"
    )
    product = models.CharField(max_length=100)
    starts_on = models.DateField()
    ends_on = models.DateField(
        null=True, blank=True, help_text="The first day without it; empty: with the contract."
    )
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")

    history = AuditedHistory()
    objects = SubscriptionQuerySet.as_manager()

    class Meta:
        db_table = "subscriptions"
        ordering = ["-id"]
        constraints = [
            models.CheckConstraint(
                condition=Q(ends_on__isnull=True) | Q(ends_on__gt=F("starts_on")),
                name="subscription_dates_ordered",
            ),
            # CON-21
            no_overlap(
                same_number(F("contract_id")),
                same_number(F("entity_id")),
                same_text(F("product")),
                start="starts_on",
                end="ends_on",
                name="subscription_no_overlap",
            ),
        ]
        indexes = [models.Index(fields=["entity", "starts_on"], name="subscription_entity_start")]

    def __str__(self) -> str:
        return f"{self.product} for {self.entity}"

    @property
    def line_code(self) -> str:
        """The code of its line on invoices."""
        return f"sub-{self.pk}"

    @property
    def access_entity_id(self) -> int:
        return self.contract.entity_id

    @property
    def access_department_id(self) -> int | None:
        return self.contract.department_id


class SubscriptionChange(models.Model):
    """Plan and quantity of a subscription from ``effective_from`` on; the first is its start. Append-only."""

    subscription = models.ForeignKey(Subscription, on_delete=models.PROTECT, related_name="changes")
    effective_from = models.DateField()
    plan = models.ForeignKey(Plan, on_delete=models.PROTECT, related_name="+")
    quantity = models.PositiveIntegerField(help_text="Licences.")
    reason = models.CharField(max_length=500, blank=True)
    approval_request_id = models.BigIntegerField(
        null=True, blank=True, help_text="The approved request that asked for it: it is applied once."
    )
    actor = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(default=clock.now, editable=False)

    objects = SubscriptionChangeQuerySet.as_manager()

    class Meta:
        db_table = "subscription_changes"
        ordering = ["subscription", "effective_from", "id"]
        constraints = [
            models.UniqueConstraint(
                fields=["approval_request_id"],
                condition=Q(approval_request_id__isnull=False),
                name="subscription_change_once_per_request",
            ),
        ]
        indexes = [
            models.Index(fields=["subscription", "effective_from"], name="subscription_change_by_date")
        ]

    def __str__(self) -> str:
        return f"{self.quantity} × {self.plan} from {self.effective_from}"

    @property
    def access_entity_id(self) -> int:
        return self.subscription.access_entity_id

    @property
    def access_department_id(self) -> int | None:
        return self.subscription.access_department_id
