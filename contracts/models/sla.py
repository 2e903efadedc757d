"""Service levels: what was promised, measured and credited (CON-20)."""

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import F, Q

from contracts.fields import PercentField, QuantityField
from contracts.models.contract import Contract
from contracts.models.paper import OfContract
from contracts.models.prices import LINE_CODE
from contracts.querysets import OfContractQuerySet, OfSlaTermQuerySet
from core import clock
from core.history import AuditedHistory
from core.models import TimestampedModel
from core.money import CurrencyField, MoneyField

_SHARE = [MinValueValidator(0), MaxValueValidator(100)]


class Direction(models.TextChoices):
    AT_LEAST = "at_least", "At least"
    AT_MOST = "at_most", "At most"


class SlaTerm(OfContract, TimestampedModel):
    """One promised service level, as signed; afterwards amendments replace it by its ``code``.

    A period runs ``period_months`` from the billing anchor. Credits are percentages of that period's fees (of
    ``fee_line`` where one is named), together at most ``credit_cap_percent`` of them.
    """

    contract = models.ForeignKey(Contract, on_delete=models.CASCADE, related_name="sla_terms")
    code = models.CharField(max_length=40, validators=[LINE_CODE])
    metric = models.CharField(max_length=200)
    unit = models.CharField(max_length=20, default="%")
    target = QuantityField()
    direction = models.CharField(max_length=8, choices=Direction, default=Direction.AT_LEAST)
    period_months = models.PositiveSmallIntegerField(default=1, validators=[MinValueValidator(1)])
    fee_line = models.CharField(max_length=40, blank=True, help_text="Code of a price; empty: all fees.")
    credit_cap_percent = PercentField(default=100, validators=_SHARE)
    claim_within_days = models.PositiveSmallIntegerField(
        null=True,
        blank=True,
        help_text="A credit must be claimed so soon after the period; empty: it is automatic.",
    )

    history = AuditedHistory()
    objects = OfContractQuerySet.as_manager()

    class Meta:
        db_table = "contract_sla_terms"
        ordering = ["contract", "code"]
        verbose_name = "SLA term"
        constraints = [
            models.UniqueConstraint(fields=["contract", "code"], name="contract_sla_code_once"),
            models.CheckConstraint(
                condition=Q(credit_cap_percent__range=(0, 100), period_months__gte=1),
                name="contract_sla_valid",
            ),
        ]

    def __str__(self) -> str:
        return self.metric


class SlaCreditTier(models.Model):
    """A measured value beyond ``threshold`` (below it, for at least) earns ``credit_percent``; the largest counts."""

    sla_term = models.ForeignKey(SlaTerm, on_delete=models.CASCADE, related_name="tiers")
    threshold = QuantityField()
    credit_percent = PercentField(validators=_SHARE)

    objects = OfSlaTermQuerySet.as_manager()

    class Meta:
        db_table = "contract_sla_credit_tiers"
        ordering = ["sla_term", "credit_percent"]
        default_permissions = ()
        verbose_name = "SLA credit tier"
        constraints = [
            models.UniqueConstraint(fields=["sla_term", "threshold"], name="contract_sla_tier_once"),
            models.CheckConstraint(
                condition=Q(credit_percent__gt=0, credit_percent__lte=100), name="contract_sla_tier_valid"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.threshold}: {self.credit_percent} %"


class SlaMeasurement(OfContract):
    """A value measured over ``[measured_from, measured_to)``; a correction is another one that replaces it."""

    contract = models.ForeignKey(Contract, on_delete=models.PROTECT, related_name="sla_measurements")
    sla_code = models.CharField(max_length=40)
    measured_from = models.DateTimeField()
    measured_to = models.DateTimeField()
    value = QuantityField()
    source = models.CharField(max_length=100, help_text="Who measured it, such as the monitoring system.")
    external_id = models.CharField(max_length=100, help_text="The source's own key: the same is taken once.")
    replaces = models.OneToOneField(
        "self", on_delete=models.PROTECT, null=True, blank=True, related_name="replaced_by"
    )
    recorded_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(default=clock.now, editable=False)

    objects = OfContractQuerySet.as_manager()

    class Meta:
        db_table = "contract_sla_measurements"
        ordering = ["-measured_from", "-id"]
        verbose_name = "SLA measurement"
        constraints = [
            models.UniqueConstraint(
                fields=["contract", "sla_code", "source", "external_id"], name="contract_measurement_once"
            ),
            models.CheckConstraint(
                condition=Q(measured_to__gt=F("measured_from")), name="contract_measurement_ordered"
            ),
        ]
        indexes = [
            models.Index(fields=["contract", "sla_code", "measured_from"], name="contract_measurement_when")
        ]

    def __str__(self) -> str:
        return f"{self.sla_code}: {self.value}"


class CreditStatus(models.TextChoices):
    CLAIMABLE = "claimable", "To be claimed"
    DUE = "due", "On the next invoice"
    LAPSED = "lapsed", "Not claimed in time"


class ServiceCredit(OfContract, TimestampedModel):
    """What a missed service level of one period is worth: once per level and period, on the next invoice (CON-20)."""

    contract = models.ForeignKey(Contract, on_delete=models.PROTECT, related_name="service_credits")
    sla_code = models.CharField(max_length=40)
    period_start = models.DateField()
    period_end = models.DateField()
    measured = QuantityField()
    target = QuantityField()
    credit_percent = PercentField(validators=_SHARE)
    fee_amount = MoneyField(help_text="The fees of the period that the percentage is taken of.")
    amount = MoneyField(help_text="The credit, positive.")
    currency = CurrencyField()
    status = models.CharField(max_length=9, choices=CreditStatus)
    claim_by = models.DateField(null=True, blank=True, help_text="The last day to claim it.")
    claimed_at = models.DateTimeField(null=True, blank=True)
    fee = models.OneToOneField(
        "contracts.BillableFee",
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="service_credit",
    )

    history = AuditedHistory()
    objects = OfContractQuerySet.as_manager()

    class Meta:
        db_table = "contract_service_credits"
        ordering = ["-period_start", "-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["contract", "sla_code", "period_start"], name="service_credit_once_per_period"
            ),
            models.CheckConstraint(
                condition=Q(amount__gte=0, amount__lte=F("fee_amount")), name="service_credit_within_fee"
            ),
            models.CheckConstraint(
                condition=Q(period_end__gt=F("period_start")), name="service_credit_period_ordered"
            ),
            models.CheckConstraint(
                condition=Q(fee__isnull=True) | Q(status="due"), name="service_credit_billed_when_due"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.sla_code} {self.period_start}: {self.amount} {self.currency}"
