"""What a contract charges: recurring fees, unit prices and tiers, as signed (CON-07 to CON-09, CON-14, INV-05)."""

from django.core.serializers.json import DjangoJSONEncoder
from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models
from django.db.models import F, Q

from contracts.fields import PercentField, QuantityField
from contracts.models.contract import Contract
from contracts.models.paper import OfContract
from contracts.querysets import OfContractQuerySet, OfPriceTermQuerySet, PriceIndexQuerySet
from core.history import AuditedHistory
from core.models import TimestampedModel
from core.money import ExactCostField, MoneyField

LINE_CODE = RegexValidator(
    r"^[a-z0-9][a-z0-9-]{0,39}\Z",
    "A line code has 1 to 40 small letters, digits and hyphens, such as platform or api-calls.",
    code="invalid_line_code",
)


class Pricing(models.TextChoices):
    """How the amount comes from the price."""

    ONE_TIME = "one_time", "One-time fee"
    RECURRING = "recurring", "Recurring fee"
    PER_UNIT = "per_unit", "Price per unit"
    GRADUATED = "graduated", "Graduated tiers: each unit at the price of its tier"
    VOLUME = "volume", "Volume tiers: all units at the price of the tier reached"
    PACKAGE = "package", "Price per begun package"


WITHOUT_QUANTITY = (Pricing.ONE_TIME, Pricing.RECURRING)
TIERED = (Pricing.GRADUATED, Pricing.VOLUME)


class QuantitySource(models.TextChoices):
    FIXED = "fixed", "As agreed"
    LICENCES = "licences", "Licences subscribed"
    USAGE = "usage", "Usage imported"


class Timing(models.TextChoices):
    ADVANCE = "advance", "In advance"
    ARREARS = "arrears", "In arrears"


class PriceTerm(OfContract, TimestampedModel):
    """One line of a contract's prices, as signed; afterwards amendments replace it by its ``code`` (CON-05).

    ``price`` is the fee per interval, or the price of one unit or package, in the contract's currency, exact.
    ``ramp`` lists prices from later days on: ``[{"from": "2027-01-01", "price": "120.00"}]``.
    """

    contract = models.ForeignKey(Contract, on_delete=models.CASCADE, related_name="price_terms")
    code = models.CharField(max_length=40, validators=[LINE_CODE])
    name = models.CharField(max_length=200)
    pricing = models.CharField(max_length=10, choices=Pricing, default=Pricing.RECURRING)
    price = ExactCostField(default=0, validators=[MinValueValidator(0)])
    price_decimals = models.PositiveSmallIntegerField(
        null=True,
        blank=True,
        validators=[MaxValueValidator(15)],
        help_text="Decimals that an uplift rounds the price to; empty: those of the currency.",
    )
    quantity_source = models.CharField(max_length=8, choices=QuantitySource, blank=True)
    quantity = QuantityField(null=True, blank=True, validators=[MinValueValidator(0)])
    unit = models.CharField(max_length=50, blank=True)
    package_size = QuantityField(null=True, blank=True, validators=[MinValueValidator(0)])
    free_units = models.DecimalField(
        max_digits=20,
        decimal_places=6,
        default=0,
        validators=[MinValueValidator(0)],
        help_text="Free in each period.",
    )
    plan = models.ForeignKey(
        "contracts.Plan",
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="price_terms",
        help_text="The plan whose licences it prices instead of the list price.",
    )
    usage_provider = models.CharField(max_length=255, blank=True, help_text="Empty: usage of any provider.")
    usage_service = models.CharField(max_length=255, blank=True, help_text="Empty: of any service.")
    usage_category = models.CharField(max_length=30, blank=True, help_text="Empty: of any charge category.")
    interval_months = models.PositiveSmallIntegerField(
        default=1, validators=[MinValueValidator(1), MaxValueValidator(120)]
    )
    timing = models.CharField(max_length=8, choices=Timing, default=Timing.ADVANCE)
    starts_on = models.DateField(null=True, blank=True, help_text="Empty: with the contract.")
    ends_on = models.DateField(
        null=True, blank=True, help_text="The first day without it; empty: with the contract."
    )
    is_prorated = models.BooleanField(default=True, help_text="A part of a period costs its share of days.")
    is_fixed_price = models.BooleanField(default=False, help_text="Renewals do not raise it.")
    discount_percent = PercentField(default=0, validators=[MinValueValidator(0), MaxValueValidator(100)])
    discount_amount = MoneyField(
        default=0, validators=[MinValueValidator(0)], help_text="Taken off each period, after the percentage."
    )
    discount_until = models.DateField(null=True, blank=True, help_text="The first day without the discount.")
    ramp = models.JSONField(default=list, blank=True, encoder=DjangoJSONEncoder)
    department = models.ForeignKey(
        "entities.Department",
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="price_terms",
        help_text="Empty: the contract's.",
    )
    gl_code = models.CharField("GL code", max_length=50, blank=True, help_text="Empty: the contract's.")

    history = AuditedHistory()
    objects = OfContractQuerySet.as_manager()

    class Meta:
        db_table = "contract_price_terms"
        ordering = ["contract", "code"]
        constraints = [
            models.UniqueConstraint(fields=["contract", "code"], name="contract_price_code_once"),
            models.CheckConstraint(
                condition=Q(price__gte=0, discount_amount__gte=0, discount_percent__range=(0, 100)),
                name="contract_price_not_negative",
            ),
            models.CheckConstraint(
                condition=Q(pricing__in=["one_time", "recurring"], quantity_source="")
                | Q(
                    pricing__in=["per_unit", "graduated", "volume", "package"],
                    quantity_source__in=["fixed", "licences", "usage"],
                ),
                name="contract_price_has_its_quantity",
            ),
            models.CheckConstraint(
                condition=Q(quantity_source="fixed", quantity__isnull=False)
                | Q(~Q(quantity_source="fixed"), quantity__isnull=True),
                name="contract_price_fixed_quantity",
            ),
            models.CheckConstraint(
                condition=Q(quantity_source="licences", plan__isnull=False)
                | Q(~Q(quantity_source="licences"), plan__isnull=True),
                name="contract_price_of_a_plan",
            ),
            models.CheckConstraint(
                condition=Q(pricing="package", package_size__gt=0)
                | Q(~Q(pricing="package"), package_size__isnull=True),
                name="contract_price_package_size",
            ),
            models.CheckConstraint(condition=Q(interval_months__gte=1), name="contract_price_interval"),
            models.CheckConstraint(
                condition=Q(starts_on__isnull=True) | Q(ends_on__isnull=True) | Q(ends_on__gt=F("starts_on")),
                name="contract_price_dates_ordered",
            ),
        ]

    def __str__(self) -> str:
        return self.name


class PriceTier(models.Model):
    """A tier of a graduated or volume price: up to and including ``up_to`` units; the last has no limit."""

    price_term = models.ForeignKey(PriceTerm, on_delete=models.CASCADE, related_name="tiers")
    position = models.PositiveSmallIntegerField()
    up_to = QuantityField(null=True, blank=True)
    unit_price = ExactCostField(default=0, validators=[MinValueValidator(0)])
    flat_fee = MoneyField(
        default=0, validators=[MinValueValidator(0)], help_text="Once when the tier is reached."
    )

    objects = OfPriceTermQuerySet.as_manager()

    class Meta:
        db_table = "contract_price_tiers"
        ordering = ["price_term", "position"]
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(fields=["price_term", "position"], name="contract_price_tier_position"),
            models.UniqueConstraint(
                fields=["price_term", "up_to"], nulls_distinct=False, name="contract_price_tier_limit"
            ),
            models.CheckConstraint(
                condition=Q(up_to__isnull=True) | Q(up_to__gt=0), name="contract_price_tier_above_zero"
            ),
            models.CheckConstraint(
                condition=Q(unit_price__gte=0, flat_fee__gte=0), name="contract_price_tier_not_negative"
            ),
        ]

    def __str__(self) -> str:
        return f"up to {self.up_to}" if self.up_to is not None else "the rest"

    @property
    def access_entity_id(self) -> int:
        return self.price_term.access_entity_id

    @property
    def access_department_id(self) -> int | None:
        return self.price_term.access_department_id


class PriceIndexValue(TimestampedModel):
    """What a price index says for a day: the change over a year in percent, as published (CON-14)."""

    index_name = models.CharField(max_length=50)
    day = models.DateField(help_text="The day from which the value applies.")
    percent = PercentField()
    source = models.CharField(max_length=200, blank=True)

    history = AuditedHistory()
    objects = PriceIndexQuerySet.as_manager()

    class Meta:
        db_table = "price_index_values"
        ordering = ["index_name", "-day"]
        constraints = [models.UniqueConstraint(fields=["index_name", "day"], name="price_index_value_once")]

    def __str__(self) -> str:
        return f"{self.index_name} {self.day}: {self.percent} %"
