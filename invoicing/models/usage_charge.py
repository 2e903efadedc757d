"""What imported usage has charged to the departments' budgets, and what a budget refused (USE-05)."""

from django.conf import settings
from django.db import models
from django.db.models import Q

from core.models import TimestampedModel
from core.money import CurrencyField, ExactCostField, MoneyField
from invoicing.querysets import UsageBudgetChargeQuerySet


class UsageChargeStatus(models.TextChoices):
    CHARGED = "charged", "Charged"
    REFUSED = "refused", "Refused"


class UsageBudgetCharge(TimestampedModel):
    """The usage of one import for one department, month and currency, as it stands in the budgets.

    ``exact_amount`` is the sum of the usage; ``charged_amount`` what budgets have booked of it so far, at the
    minor unit of ``currency``. They differ by rounding only, unless the last try was refused.
    """

    usage_import = models.ForeignKey(
        "invoicing.UsageImport", on_delete=models.PROTECT, related_name="budget_charges"
    )
    entity = models.ForeignKey("entities.Entity", on_delete=models.PROTECT, related_name="+")
    department = models.ForeignKey(
        "entities.Department", on_delete=models.PROTECT, related_name="usage_budget_charges"
    )
    month = models.DateField(help_text="Its first day.")
    currency = CurrencyField()
    charge_date = models.DateField(help_text="The last day of the usage in the month: the posting date.")
    exact_amount = ExactCostField(default=0)
    charged_amount = MoneyField(default=0)
    revision = models.PositiveIntegerField(default=0)
    status = models.CharField(max_length=10, choices=UsageChargeStatus)
    budget = models.ForeignKey(
        "budgets.Budget", on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )
    entry = models.ForeignKey(
        "budgets.BudgetEntry", on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )
    refusal_code = models.CharField(max_length=50, blank=True)
    refusal_message = models.TextField(blank=True)
    attempts = models.PositiveIntegerField(default=0)
    last_tried_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")

    objects = UsageBudgetChargeQuerySet.as_manager()

    class Meta:
        db_table = "usage_budget_charges"
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["usage_import", "department", "month", "currency"], name="usage_budget_charge_once"
            ),
            models.CheckConstraint(
                condition=Q(status="charged", refusal_code="") | (Q(status="refused") & ~Q(refusal_code="")),
                name="usage_budget_charge_refusal_has_reason",
            ),
        ]
        indexes = [
            models.Index(fields=["entity"], condition=Q(status="refused"), name="usage_charge_refused"),
        ]

    def __str__(self) -> str:
        return f"{self.department} {self.month:%Y-%m}"

    @property
    def access_entity_id(self) -> int:
        return self.entity_id

    @property
    def access_department_id(self) -> int:
        return self.department_id
