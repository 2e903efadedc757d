"""What contracts have to bill: fees of periods and their adjustments (CON-06, CON-08, CON-16, CON-19)."""

from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.db.models import F, Q

from contracts.fields import QuantityField
from contracts.models.contract import Contract
from contracts.models.paper import ContractAmendment, OfContract
from contracts.querysets import BillableFeeQuerySet, OfContractQuerySet
from core import clock
from core.money import CurrencyField, MoneyField


class FeeKind(models.TextChoices):
    RECURRING = "recurring", "Recurring fee"
    ONE_TIME = "one_time", "One-time fee"
    UNITS = "units", "Units"
    SUBSCRIPTION = "subscription", "Subscription"
    USAGE = "usage", "Usage"
    MINIMUM_SHORTFALL = "minimum_shortfall", "Minimum commitment shortfall"
    TERMINATION_FEE = "termination_fee", "Termination fee"
    HOLDOVER = "holdover", "Holdover"
    AMENDMENT_DELTA = "amendment_delta", "Retroactive amendment"
    TERMINATION_CREDIT = "termination_credit", "Credit for the time after termination"
    SERVICE_CREDIT = "service_credit", "Service credit"
    INDEX_TRUE_UP = "index_true_up", "Index true-up"
    SUBSCRIPTION_DELTA = "subscription_delta", "Change of licences"
    CORRECTION = "correction", "Correction"


PERIOD_FEES = (
    FeeKind.RECURRING,
    FeeKind.ONE_TIME,
    FeeKind.UNITS,
    FeeKind.SUBSCRIPTION,
    FeeKind.USAGE,
    FeeKind.MINIMUM_SHORTFALL,
    FeeKind.TERMINATION_FEE,
    FeeKind.HOLDOVER,
)
ADJUSTMENTS = tuple(kind for kind in FeeKind.values if kind not in PERIOD_FEES)


class BillableFee(OfContract):
    """One amount that a contract bills for ``[period_start, period_end)``, or a correction of one. Append-only.

    Fees of periods exist once per line and period start (CON-08); adjustments once per ``source_key``. What was
    invoiced is invoicing's knowledge. ``parts`` lists the stretches of the period with their price and amount.
    """

    contract = models.ForeignKey(Contract, on_delete=models.PROTECT, related_name="fees")
    entity = models.ForeignKey("entities.Entity", on_delete=models.PROTECT, related_name="contract_fees")
    department = models.ForeignKey(
        "entities.Department", on_delete=models.PROTECT, null=True, blank=True, related_name="contract_fees"
    )
    gl_code = models.CharField("GL code", max_length=50, blank=True)
    kind = models.CharField(max_length=20, choices=FeeKind)
    line_code = models.CharField(max_length=60)
    period_start = models.DateField()
    period_end = models.DateField()
    quantity = QuantityField(null=True, blank=True)
    amount = MoneyField(help_text="Signed, at the minor unit.")
    currency = CurrencyField()
    description = models.CharField(max_length=500)
    parts = models.JSONField(default=list, blank=True, encoder=DjangoJSONEncoder)
    bill_on = models.DateField(help_text="The first day on which it may be invoiced.")
    adjusts = models.ForeignKey(
        "self", on_delete=models.PROTECT, null=True, blank=True, related_name="adjusted_by"
    )
    amendment = models.ForeignKey(
        ContractAmendment, on_delete=models.PROTECT, null=True, blank=True, related_name="fees"
    )
    source_key = models.CharField(max_length=120, blank=True, help_text="What an adjustment comes from.")
    created_at = models.DateTimeField(default=clock.now, editable=False)

    objects = BillableFeeQuerySet.as_manager()

    class Meta:
        db_table = "contract_fees"
        ordering = ["contract", "period_start", "line_code", "id"]
        constraints = [
            models.UniqueConstraint(
                fields=["contract", "line_code", "period_start"],
                condition=Q(source_key=""),
                name="contract_fee_once_per_period",
            ),
            models.UniqueConstraint(
                fields=["contract", "source_key"],
                condition=~Q(source_key=""),
                name="contract_fee_adjusted_once",
            ),
            models.CheckConstraint(
                condition=Q(kind__in=[*PERIOD_FEES], source_key="", amount__gte=0)
                | (Q(kind__in=[*ADJUSTMENTS]) & ~Q(source_key="")),
                name="contract_fee_or_adjustment",
            ),
            models.CheckConstraint(
                condition=Q(period_end__gt=F("period_start")), name="contract_fee_period_ordered"
            ),
        ]
        indexes = [
            models.Index(fields=["entity", "bill_on"], name="contract_fee_entity_due"),
        ]

    def __str__(self) -> str:
        return f"{self.description}: {self.amount} {self.currency}"

    @property
    def access_entity_id(self) -> int:
        return self.entity_id

    @property
    def access_department_id(self) -> int | None:
        return self.department_id


class ContractCommitment(OfContract):
    """The money of a budget that a contract has committed for one funded period (CON-19)."""

    contract = models.ForeignKey(Contract, on_delete=models.PROTECT, related_name="commitments")
    commitment = models.OneToOneField(
        "budgets.Commitment", on_delete=models.PROTECT, related_name="contract_commitment"
    )
    period_start = models.DateField()
    period_end = models.DateField()
    created_at = models.DateTimeField(default=clock.now, editable=False)

    objects = OfContractQuerySet.as_manager()

    class Meta:
        db_table = "contract_commitments"
        ordering = ["contract", "period_start"]
        constraints = [
            models.UniqueConstraint(
                fields=["contract", "period_start"], name="contract_commitment_once_per_period"
            ),
            models.CheckConstraint(
                condition=Q(period_end__gt=F("period_start")), name="contract_commitment_period_ordered"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.contract} {self.period_start}"
