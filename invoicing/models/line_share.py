"""What departments bear of invoice lines, and what it did to their budgets (ALC-01 to ALC-08, BUD-09, BUD-16)."""

from decimal import Decimal

from django.conf import settings
from django.db import models
from django.db.models import F, Q

from core.models import TimestampedModel
from core.money import EXACT, MoneyField
from invoicing.querysets import InvoiceLineShareQuerySet


class ShareStatus(models.TextChoices):
    CHARGED = "charged", "Charged"
    REFUSED = "refused", "Refused"
    NOT_BOOKED = "not_booked", "Nothing to book"
    TAKEN_BACK = "taken_back", "Taken back"
    STILL_BORNE = "still_borne", "Could not be taken back"


LIVE_SHARES = (ShareStatus.CHARGED, ShareStatus.REFUSED, ShareStatus.NOT_BOOKED)
"""What counts: together they never exceed the line."""

LISTED_SHARES = (ShareStatus.REFUSED, ShareStatus.STILL_BORNE)
"""What a budget refused, to be tried again."""


class InvoiceLineShare(TimestampedModel):
    """What ``department`` bears of a posted document's line: ``amount``, before tax, in the document's currency.

    It has the line's sign. On a line of a credit note it is what the department gets back: of the share that it
    ``credits``, whose ``credited_amount`` counts it, or of usage that was charged with its import (USE-05).
    ``entry`` is what a budget booked for it on ``posting_date``, as new spend or of ``commitment``. Rows are never
    deleted, and who bears how much of which line never changes (a trigger refuses it).
    """

    invoice_line = models.ForeignKey("invoicing.InvoiceLine", on_delete=models.PROTECT, related_name="shares")
    department = models.ForeignKey(
        "entities.Department", on_delete=models.PROTECT, related_name="invoice_line_shares"
    )
    amount = MoneyField()
    credited_amount = MoneyField(default=0, help_text="Given back by credit notes.")
    weight = models.DecimalField(
        max_digits=20,
        decimal_places=4,
        null=True,
        blank=True,
        help_text="The percent, amount or ratio that was given for it.",
    )
    posting_date = models.DateField(help_text="The day whose budget bears it.")
    commitment = models.ForeignKey(
        "budgets.Commitment", on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )
    is_final = models.BooleanField(default=False, help_text="Frees what the commitment has left after it.")
    credits = models.ForeignKey(
        "self",
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="credited_by",
        help_text="The share that this one of a credit note gives back.",
    )
    entry = models.ForeignKey(
        "budgets.BudgetEntry", on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )
    status = models.CharField(max_length=12, choices=ShareStatus, default=ShareStatus.NOT_BOOKED)
    refusal_code = models.CharField(max_length=50, blank=True)
    refusal_message = models.TextField(blank=True)
    undo_reason = models.CharField(max_length=500, blank=True)
    taken_back_at = models.DateTimeField(null=True, blank=True)
    taken_back_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")

    objects = InvoiceLineShareQuerySet.as_manager()

    class Meta:
        db_table = "invoice_line_shares"
        ordering = ["-id"]
        verbose_name = "department's share"
        verbose_name_plural = "departments' shares"
        constraints = [
            models.UniqueConstraint(
                fields=["invoice_line", "department"],
                condition=Q(status__in=("charged", "refused", "not_booked")),
                name="invoice_line_share_once",
            ),
            models.CheckConstraint(
                condition=Q(amount__gte=0, credited_amount__gte=0, credited_amount__lte=F("amount"))
                | Q(amount__lt=0, credited_amount__lte=0, credited_amount__gte=F("amount")),
                name="invoice_line_share_credited_within_amount",
            ),
            models.CheckConstraint(
                condition=Q(status__in=("refused", "still_borne")) & ~Q(refusal_code="")
                | Q(~Q(status__in=("refused", "still_borne")), refusal_code=""),
                name="invoice_line_share_refusal_has_reason",
            ),
            models.CheckConstraint(
                condition=Q(status__in=("charged", "still_borne"), entry__isnull=False)
                | Q(status__in=("refused", "not_booked"), entry__isnull=True)
                | Q(status="taken_back"),
                name="invoice_line_share_booked_as_its_status_says",
            ),
            models.CheckConstraint(
                condition=Q(status__in=("taken_back", "still_borne"), taken_back_at__isnull=False)
                | Q(~Q(status__in=("taken_back", "still_borne")), taken_back_at__isnull=True),
                name="invoice_line_share_taken_back_when",
            ),
        ]
        indexes = [
            models.Index(
                fields=["department"],
                condition=Q(status__in=("refused", "still_borne")),
                name="invoice_line_share_refused",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.department}: {self.invoice_line}"

    @property
    def access_entity_id(self) -> int:
        return self.department.entity_id

    @property
    def access_department_id(self) -> int:
        return self.department_id

    @property
    def remaining(self) -> Decimal:
        """What is left after credit notes."""
        return EXACT.subtract(self.amount, self.credited_amount)

    @property
    def is_live(self) -> bool:
        return self.status in LIVE_SHARES
