"""How products are taxed that differ from what their payer is taxed by default (INV-05)."""

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Lower

from contracts.models.contract import no_overlap
from core.constraints import same_number, same_text
from core.history import AuditedHistory
from core.models import TimestampedModel, VersionedModel
from entities.models import TaxTreatment
from invoicing.models.invoice import LineKind
from invoicing.querysets import TaxRuleQuerySet

# Of two rules with as many criteria, the one with the first of these is the more particular one.
TAX_CRITERIA = ("contract_line", "service", "provider", "charge_category", "kind")
# EN 16931 lets a document that is out of scope of tax hold nothing else (BR-O-11): products cannot be so by themselves.
PRODUCT_TREATMENTS = [choice for choice in TaxTreatment.choices if choice[0] != TaxTreatment.OUT_OF_SCOPE]
# A further charge, on a debit note, says its tax itself.
PRODUCT_KINDS = [choice for choice in LineKind.choices if choice[0] != LineKind.CHARGE]
NO_CRITERION = (
    "Say what the rule is about: give a contract line, a service, a provider, a charge category or a kind."
)
OVERLAP = "The issuer has a rule for the same on some of these days. End that one first, or change it."


class TaxRule(VersionedModel, TimestampedModel):
    """How ``issuer`` taxes the lines that meet every criterion given, from ``valid_from`` until before ``valid_to``.

    Texts are compared whole, upper and lower case alike; an empty criterion is met by every line. Of several rules
    that a line meets, the most particular one decides: the one with the most criteria, then by `TAX_CRITERIA`. The
    day that counts is the first of the line's period. Only a payer who is taxed at the standard rate is taxed by
    product: one who is out of scope, exempt, zero-rated or under reverse charge stays so, whatever the product.
    ``tax_rate`` is a percentage; documents keep the tax that they were made with.
    """

    issuer = models.ForeignKey("entities.Entity", on_delete=models.PROTECT, related_name="tax_rules")
    name = models.CharField(max_length=200)
    kind = models.CharField(
        max_length=10, choices=PRODUCT_KINDS, blank=True, help_text="What the line bills; empty: anything."
    )
    provider = models.CharField(max_length=255, blank=True, help_text="Of usage, as in the usage data.")
    service = models.CharField(max_length=255, blank=True, help_text="Of usage, as in the usage data.")
    charge_category = models.CharField(
        max_length=30, blank=True, help_text="Of usage: Usage, Purchase, Tax, Credit or Adjustment."
    )
    contract_line = models.CharField(
        max_length=60, blank=True, help_text="The code of a contract's price line, in any contract."
    )
    tax_category = models.CharField("treatment", max_length=2, choices=PRODUCT_TREATMENTS)
    tax_rate = models.DecimalField(
        max_digits=6,
        decimal_places=3,
        default=0,
        validators=[MinValueValidator(0), MaxValueValidator(100)],
        help_text="Percent, for the standard rate and reduced ones; 0 for every other treatment.",
    )
    valid_from = models.DateField()
    valid_to = models.DateField(
        null=True, blank=True, help_text="The first day on which it no longer applies."
    )

    history = AuditedHistory()
    objects = TaxRuleQuerySet.as_manager()

    class Meta:
        db_table = "tax_rules"
        ordering = ["issuer", "name", "valid_from", "id"]
        constraints = [
            models.CheckConstraint(
                condition=~Q(**dict.fromkeys(TAX_CRITERIA, "")),
                name="tax_rule_has_criterion",
                violation_error_message=NO_CRITERION,
            ),
            models.CheckConstraint(
                condition=Q(tax_category="S", tax_rate__gt=0, tax_rate__lte=100)
                | Q(tax_category__in=("Z", "E", "AE"), tax_rate=0),
                name="tax_rule_rate_of_treatment",
                violation_error_message="The standard rate has a percentage; every other treatment has none: give 0.",
            ),
            models.CheckConstraint(
                condition=Q(valid_to__isnull=True) | Q(valid_to__gt=F("valid_from")),
                name="tax_rule_dates_ordered",
                violation_error_message="It must end after the day on which it starts.",
            ),
            # Of two rules for the same, nobody could say which decides.
            no_overlap(
                same_number(F("issuer_id")),
                *(same_text(Lower(name)) for name in TAX_CRITERIA),
                start="valid_from",
                end="valid_to",
                name="tax_rule_no_overlap",
                message=OVERLAP,
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def about(self) -> str:
        """What a line must be, as a person reads it."""
        contract_line = f"contract line {self.contract_line}" if self.contract_line else ""
        criteria = (
            self.get_kind_display(),
            self.provider,
            self.service,
            self.charge_category,
            contract_line,
        )
        return ", ".join(filter(None, criteria))

    @property
    def access_entity_id(self) -> int:
        return self.issuer_id

    @property
    def access_department_id(self) -> None:
        return None
