"""The forest of billed organisations (ENT-00, ENT-01, ENT-02)."""

from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models
from django.db.models import F, Q

from core.clock import validate_time_zone
from core.history import AuditedHistory
from core.models import TimestampedModel, VersionedModel
from core.money import CurrencyField, MoneyField
from entities.constraints import no_overlapping_dates
from entities.querysets import EntityLinkQuerySet, EntityQuerySet
from entities.validators import validate_country, validate_language

MOST_MARKUP_PERCENT = 1000


class EntityType(models.TextChoices):
    ROOT = "root", "Root"
    SUBSIDIARY = "subsidiary", "Subsidiary"
    DIVISION = "division", "Division"
    BRANCH = "branch", "Branch"
    BUSINESS_UNIT = "business_unit", "Business unit"


class TaxTreatment(models.TextChoices):
    """How what this entity is billed is taxed; the letter is the EN 16931 category code (UNCL 5305)."""

    OUT_OF_SCOPE = "O", "Out of scope (within the group)"
    STANDARD = "S", "Standard rate"
    ZERO = "Z", "Zero rate"
    EXEMPT = "E", "Exempt"
    REVERSE_CHARGE = "AE", "Reverse charge"


class TaxRounding(models.TextChoices):
    """How an issuer rounds the tax of its documents (INV-05)."""

    DOCUMENT = "document", "Per document"
    LINE = "line", "Per line"


class CreditLimitPolicy(models.TextChoices):
    """What happens when a payer would owe more than its credit limit (INV-07)."""

    WARN = "warn", "Warn"
    REFUSE = "refuse", "Refuse"


class Entity(VersionedModel, TimestampedModel):
    """A billed organisation, or a part of its group (ENT-00).

    Entities form a forest through ``parent`` (ENT-01). The database keeps ``EntityClosure`` in step by
    trigger and refuses a cycle. Amounts of the entity are in ``currency``; business dates are in
    ``time_zone``. An issuer is the legal entity that sells or charges: it owns number series, tax
    registration, bank details and logo.
    """

    name = models.CharField(max_length=200)
    code = models.CharField(
        max_length=24,
        unique=True,
        validators=[
            RegexValidator(
                r"^[A-Z0-9][A-Z0-9._-]*\Z",
                "A code has capital letters, digits, dots, hyphens and underscores, e.g. ACME-DE.",
                code="invalid_code",
            )
        ],
        help_text="Short and unique, used in document numbers and on the command line, e.g. ACME-DE.",
    )
    entity_type = models.CharField(max_length=20, choices=EntityType, default=EntityType.SUBSIDIARY)
    parent = models.ForeignKey(
        "self", on_delete=models.PROTECT, null=True, blank=True, related_name="children"
    )
    legal_name = models.CharField(max_length=250, blank=True)
    registration_number = models.CharField(max_length=50, blank=True)
    tax_id = models.CharField(
        max_length=32,
        blank=True,
        help_text="VAT or tax number, checked for the country.",
    )
    country = models.CharField(
        max_length=2,
        blank=True,
        validators=[validate_country],
        help_text="ISO 3166-1, e.g. DE.",
    )
    street = models.CharField(max_length=200, blank=True)
    postal_code = models.CharField(max_length=20, blank=True)
    city = models.CharField(max_length=100, blank=True)
    region = models.CharField(max_length=100, blank=True)
    billing_email = models.EmailField(blank=True)
    language = models.CharField(
        max_length=5,
        default="en",
        validators=[validate_language],
        help_text="Language of its documents.",
    )
    currency = CurrencyField()
    payment_terms_days = models.PositiveSmallIntegerField(default=30, validators=[MaxValueValidator(365)])
    credit_limit = MoneyField(
        null=True, blank=True, validators=[MinValueValidator(0)], help_text="Empty means no limit."
    )
    credit_limit_policy = models.CharField(
        max_length=6,
        choices=CreditLimitPolicy,
        default=CreditLimitPolicy.WARN,
        db_default=CreditLimitPolicy.WARN,
        help_text="Whether an invoice beyond the credit limit is issued with a warning or refused.",
    )
    consolidated_billing = models.BooleanField(
        default=True,
        help_text="Billed on the invoice of its payer (by default an entity above it).",
    )
    time_zone = models.CharField(max_length=50, default="UTC", validators=[validate_time_zone])
    fiscal_year_start_month = models.PositiveSmallIntegerField(
        default=1, validators=[MinValueValidator(1), MaxValueValidator(12)]
    )
    tax_treatment = models.CharField(max_length=2, choices=TaxTreatment, default=TaxTreatment.OUT_OF_SCOPE)
    tax_rate = models.DecimalField(
        max_digits=6,
        decimal_places=3,
        default=0,
        validators=[MinValueValidator(0), MaxValueValidator(100)],
        help_text="Percent charged on what this entity is billed when its treatment is the standard rate.",
    )
    usage_markup_percent = models.DecimalField(
        max_digits=7,
        decimal_places=3,
        default=0,
        db_default=0,
        validators=[MinValueValidator(0), MaxValueValidator(MOST_MARKUP_PERCENT)],
        help_text="Percent added to the cost of usage that no contract prices and that this entity used.",
    )
    is_issuer = models.BooleanField(default=False, help_text="Issues invoices in its own name.")
    is_default_issuer = models.BooleanField(default=False)
    tax_rounding = models.CharField(
        max_length=8,
        choices=TaxRounding,
        default=TaxRounding.DOCUMENT,
        db_default=TaxRounding.DOCUMENT,
        help_text="Whether tax on what it issues is rounded once per document and rate, or on each line by itself.",
    )
    bank_name = models.CharField(max_length=100, blank=True)
    iban = models.CharField(max_length=34, blank=True)
    bic = models.CharField(max_length=11, blank=True)
    logo = models.FileField(upload_to="logos/", blank=True)
    is_active = models.BooleanField(default=True)

    history = AuditedHistory()
    objects = EntityQuerySet.as_manager()

    class Meta:
        db_table = "billing_entities"
        ordering = ["name", "id"]
        verbose_name_plural = "entities"
        permissions = [("view_entity_costs", "Can see what an entity costs")]
        constraints = [
            models.CheckConstraint(
                condition=Q(parent__isnull=True) | ~Q(parent=F("id")),
                name="entity_not_its_own_parent",
            ),
            models.CheckConstraint(
                condition=~Q(entity_type="root") | Q(parent__isnull=True),
                name="entity_root_has_no_parent",
            ),
            models.CheckConstraint(
                condition=Q(credit_limit__isnull=True) | Q(credit_limit__gte=0),
                name="entity_credit_limit_not_negative",
            ),
            models.CheckConstraint(
                condition=Q(fiscal_year_start_month__range=(1, 12)),
                name="entity_fiscal_month_valid",
            ),
            models.CheckConstraint(condition=Q(tax_rate__range=(0, 100)), name="entity_tax_rate_valid"),
            models.CheckConstraint(
                condition=Q(usage_markup_percent__range=(0, MOST_MARKUP_PERCENT)),
                name="entity_usage_markup_valid",
            ),
            models.CheckConstraint(
                condition=Q(tax_rounding__in=TaxRounding.values), name="entity_tax_rounding_known"
            ),
            models.CheckConstraint(
                condition=Q(is_default_issuer=False) | Q(is_issuer=True),
                name="entity_default_issuer_issues",
            ),
            models.UniqueConstraint(
                fields=["is_default_issuer"],
                condition=Q(is_default_issuer=True),
                name="entity_one_default_issuer",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def access_entity_id(self) -> int:
        return self.pk

    @property
    def access_department_id(self) -> None:
        return None

    @property
    def printed_name(self) -> str:
        """The name on documents: the legal one where it is known."""
        return self.legal_name or self.name


class EntityClosure(models.Model):
    """Every (ancestor, descendant) pair with its distance, the pair with itself included. Kept by trigger."""

    ancestor = models.ForeignKey(Entity, on_delete=models.DO_NOTHING, related_name="below")
    descendant = models.ForeignKey(Entity, on_delete=models.DO_NOTHING, related_name="above")
    depth = models.PositiveSmallIntegerField()

    class Meta:
        db_table = "entity_closure"
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(fields=["ancestor", "descendant"], name="entity_closure_pair"),
        ]


class LinkKind(models.TextChoices):
    OWNER = "owner", "Owner (who uses)"
    INVOICE_OWNER = "invoice_owner", "Invoice owner (who is billed)"
    PAYER = "payer", "Payer"


class EntityLink(TimestampedModel):
    """From ``valid_from`` until before ``valid_to``, ``target`` plays ``kind`` for ``entity`` (ENT-02).

    Where no link is in force an entity is its own owner and invoice owner, and its payer follows
    ``consolidated_billing``. Links of one kind never overlap for one entity.
    """

    entity = models.ForeignKey(Entity, on_delete=models.PROTECT, related_name="links")
    kind = models.CharField(max_length=15, choices=LinkKind)
    target = models.ForeignKey(Entity, on_delete=models.PROTECT, related_name="linked_from")
    valid_from = models.DateField()
    valid_to = models.DateField(
        null=True,
        blank=True,
        help_text="The first day it no longer holds; empty: open.",
    )

    history = AuditedHistory()
    objects = EntityLinkQuerySet.as_manager()

    class Meta:
        db_table = "entity_links"
        ordering = ["entity", "kind", "-valid_from"]
        constraints = [
            models.CheckConstraint(
                condition=Q(valid_to__isnull=True) | Q(valid_to__gt=F("valid_from")),
                name="entity_link_dates_ordered",
            ),
            *(
                no_overlapping_dates(
                    "entity_id",
                    name=f"entity_link_{kind}_no_overlap",
                    condition=Q(kind=kind),
                )
                for kind in LinkKind.values
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} from {self.valid_from}"

    @property
    def access_entity_id(self) -> int:
        return self.entity_id

    @property
    def access_department_id(self) -> None:
        return None
