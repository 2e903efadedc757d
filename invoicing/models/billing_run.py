"""Billing runs: the invoices of all payers of a scope for a period, previewed, checked, then issued (INV-03).

A run is worked on payer by payer, each in a transaction of its own; the row of a payer says what became of it, so a
run that was interrupted goes on where it stopped.
"""

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import F, Q
from django_fsm import transition

from core.history import AuditedHistory
from core.models import TimestampedModel, VersionedModel
from core.money import CurrencyField, MoneyField
from core.states import StateField
from invoicing.querysets import (
    BillingRunItemQuerySet,
    BillingRunQuerySet,
    BillingScheduleQuerySet,
)


class RunStatus(models.TextChoices):
    PREPARING = "preparing", "Preparing"
    PREPARED = "prepared", "To be checked"
    CHECKED = "checked", "Checked"
    ISSUING = "issuing", "Issuing"
    FINISHED = "finished", "Finished"
    CANCELLED = "cancelled", "Cancelled"


OPEN_RUNS = (RunStatus.PREPARING, RunStatus.PREPARED, RunStatus.CHECKED, RunStatus.ISSUING)
"""States in which a run is not over; a scope has at most one such run of a period."""

WORKING_RUNS = (RunStatus.PREPARING, RunStatus.ISSUING)
"""States in which a worker is at it, or should be."""


class ItemStatus(models.TextChoices):
    WAITING = "waiting", "Waiting"
    NOTHING = "nothing_to_invoice", "Nothing to invoice"
    PREPARED = "prepared", "Prepared"
    FAILED = "failed", "Failed"
    ISSUED = "issued", "Issued"
    LEFT_OUT = "left_out", "Left out"


class IssueMode(models.TextChoices):
    BY_HAND = "by_hand", "By hand, after a check"
    AUTOMATIC = "automatic", "By itself, if nothing is unusual and nothing failed"


class BillingSchedule(VersionedModel, TimestampedModel):
    """Every month on ``day_of_month``, in the scope's time zone, a run of the month before is started, once.

    ``next_period`` is the first day of the oldest month that it has not started yet: what was missed is caught up.
    """

    scope = models.ForeignKey(
        "entities.Entity",
        on_delete=models.PROTECT,
        related_name="billing_schedules",
        help_text="The entity whose payers, itself and below, are invoiced.",
    )
    issuer = models.ForeignKey(
        "entities.Entity",
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
        help_text="Only payers whom this entity invoices; empty: all.",
    )
    day_of_month = models.PositiveSmallIntegerField(
        default=3,
        validators=[MinValueValidator(1), MaxValueValidator(28)],
        help_text="On this day, 1 to 28, the month before is invoiced.",
    )
    issue_mode = models.CharField(max_length=10, choices=IssueMode, default=IssueMode.BY_HAND)
    is_active = models.BooleanField(default=True)
    next_period = models.DateField(
        help_text="The first day of the month that is invoiced next.", verbose_name="next month"
    )
    last_problem = models.CharField(
        max_length=500, blank=True, editable=False, help_text="Why the last run could not be started."
    )
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+", editable=False
    )

    history = AuditedHistory()
    objects = BillingScheduleQuerySet.as_manager()

    class Meta:
        db_table = "billing_schedules"
        ordering = ["scope__name", "id"]
        constraints = [
            models.UniqueConstraint(
                fields=["scope", "issuer"],
                nulls_distinct=False,
                name="billing_schedule_once",
                violation_error_message="The scope has a schedule with this issuer.",
            ),
            models.CheckConstraint(
                condition=Q(day_of_month__range=(1, 28)), name="billing_schedule_day_valid"
            ),
            models.CheckConstraint(
                condition=Q(next_period__day=1), name="billing_schedule_month_begins_on_first"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.scope}, monthly on day {self.day_of_month}"

    @property
    def access_entity_id(self) -> int:
        return self.scope_id

    @property
    def access_department_id(self) -> None:
        return None


class BillingRun(VersionedModel, TimestampedModel):
    """The invoicing of ``scope`` and all below it for ``[period_start, period_end)``.

    ``acting`` is in whose name the work under way is done: who started it, ordered the issue or resumed it.
    """

    scope = models.ForeignKey(
        "entities.Entity",
        on_delete=models.PROTECT,
        related_name="billing_runs",
        help_text="Its payers, itself and below, are invoiced.",
    )
    issuer = models.ForeignKey(
        "entities.Entity",
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
        help_text="Only payers whom this entity invoices; empty: all.",
    )
    period_start = models.DateField()
    period_end = models.DateField(help_text="The first day after the period.")
    status = StateField(max_length=10, choices=RunStatus, default=RunStatus.PREPARING, protected=True)
    issue_date = models.DateField(
        null=True, blank=True, help_text="The date of the invoices; empty: the day on which each is issued."
    )
    schedule = models.ForeignKey(
        BillingSchedule, on_delete=models.PROTECT, null=True, blank=True, related_name="runs"
    )
    issue_mode = models.CharField(max_length=10, choices=IssueMode, default=IssueMode.BY_HAND)
    acting = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    started_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    started_at = models.DateTimeField()
    prepared_at = models.DateTimeField(null=True, blank=True)
    checked_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )
    checked_at = models.DateTimeField(null=True, blank=True)
    issuing_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )
    issuing_at = models.DateTimeField(null=True, blank=True)
    finished_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )
    finished_at = models.DateTimeField(null=True, blank=True)
    cancel_reason = models.CharField(max_length=500, blank=True)

    history = AuditedHistory()
    objects = BillingRunQuerySet.as_manager()

    class Meta:
        db_table = "billing_runs"
        ordering = ["-id"]
        permissions = [("check_billingrun", "Can check a billing run")]
        constraints = [
            models.UniqueConstraint(
                fields=["scope", "period_start", "period_end"],
                condition=Q(status__in=["preparing", "prepared", "checked", "issuing"]),
                name="billing_run_one_open",
            ),
            models.UniqueConstraint(
                fields=["schedule", "period_start"],
                condition=Q(schedule__isnull=False),
                name="billing_run_once_per_schedule",
            ),
            models.CheckConstraint(
                condition=Q(period_end__gt=F("period_start")), name="billing_run_period_ordered"
            ),
            models.CheckConstraint(
                condition=~Q(status__in=["checked", "issuing"])
                | Q(checked_at__isnull=False, checked_by__isnull=False),
                name="billing_run_checked_before_issue",
            ),
            models.CheckConstraint(
                condition=Q(status__in=["finished", "cancelled"], finished_at__isnull=False)
                | Q(~Q(status__in=["finished", "cancelled"]), finished_at__isnull=True),
                name="billing_run_finished_when_over",
            ),
        ]

    def __str__(self) -> str:
        return f"Billing run {self.pk}"

    @property
    def access_entity_id(self) -> int:
        return self.scope_id

    @property
    def access_department_id(self) -> None:
        return None

    @property
    def is_open(self) -> bool:
        """Whether something can still become of it."""
        return self.status in OPEN_RUNS

    @transition(field=status, source=RunStatus.PREPARING, target=RunStatus.PREPARED)
    def prepare_done(self) -> None:
        """Every payer has been looked at."""

    @transition(field=status, source=[RunStatus.PREPARED, RunStatus.CHECKED], target=RunStatus.PREPARING)
    def prepare_again(self) -> None:
        """Some payers wait once more."""

    @transition(field=status, source=RunStatus.PREPARED, target=RunStatus.CHECKED)
    def check_done(self) -> None:
        """Somebody has looked at it and confirmed it."""

    @transition(field=status, source=RunStatus.CHECKED, target=RunStatus.ISSUING)
    def issue(self) -> None:
        """The invoices are being issued."""

    @transition(field=status, source=RunStatus.ISSUING, target=RunStatus.PREPARED)
    def issue_left_some(self) -> None:
        """Some could not be issued: somebody has to decide about them."""

    @transition(field=status, source=[RunStatus.ISSUING, RunStatus.PREPARED], target=RunStatus.FINISHED)
    def finish(self) -> None:
        """Nothing is left to be issued."""

    @transition(field=status, source=list(OPEN_RUNS), target=RunStatus.CANCELLED)
    def cancel(self) -> None:
        """What was issued stays; the rest is given up."""


class BillingRunItem(VersionedModel, TimestampedModel):
    """One payer of a run, and what became of it.

    The totals and ``fingerprint`` are those of the draft as it was previewed: only such a draft is issued (INV-03).
    ``anomalies`` lists what is unusual, as ``code``, ``detail`` and ``data``. ``credit_notes`` are what the services of
    `contract_credits` planned, with ``credit_note_id`` and ``number`` once issued; such a payer may have no invoice.
    """

    run = models.ForeignKey(BillingRun, on_delete=models.PROTECT, related_name="items")
    entity = models.ForeignKey(
        "entities.Entity",
        on_delete=models.PROTECT,
        related_name="billing_run_items",
        verbose_name="payer",
    )
    position = models.PositiveIntegerField(help_text="Payers above others come first.")
    status = models.CharField(max_length=20, choices=ItemStatus, default=ItemStatus.WAITING)
    invoice = models.OneToOneField(
        "invoicing.Invoice",
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="billing_run_item",
    )
    made_draft = models.BooleanField(
        default=False, help_text="The run made the draft; one that was there before outlives the run."
    )
    currency = CurrencyField(blank=True)
    subtotal = MoneyField(null=True, blank=True)
    tax_total = MoneyField(null=True, blank=True)
    total = MoneyField(null=True, blank=True)
    line_count = models.PositiveIntegerField(default=0)
    fingerprint = models.CharField(max_length=64, blank=True, editable=False)
    previous_invoice = models.ForeignKey(
        "invoicing.Invoice",
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
        help_text="The payer's last invoice before this period.",
    )
    previous_total = MoneyField(
        null=True,
        blank=True,
        help_text="Of all invoices of the payer's last period, if in the same currency.",
    )
    anomalies = models.JSONField(default=list, blank=True)
    credit_notes = models.JSONField(
        default=list,
        db_default=[],
        blank=True,
        help_text="Credits of contracts that no invoice takes: the credit notes, planned and issued.",
    )
    error_code = models.CharField(max_length=60, blank=True)
    error_text = models.CharField(max_length=1000, blank=True)
    attempts = models.PositiveSmallIntegerField(default=0)
    left_out_reason = models.CharField(max_length=500, blank=True)
    prepared_at = models.DateTimeField(null=True, blank=True)
    issued_at = models.DateTimeField(null=True, blank=True)

    history = AuditedHistory(excluded_fields=["attempts"])
    objects = BillingRunItemQuerySet.as_manager()

    class Meta:
        db_table = "billing_run_items"
        ordering = ["run", "position"]
        verbose_name = "payer of a billing run"
        verbose_name_plural = "payers of billing runs"
        constraints = [
            models.UniqueConstraint(fields=["run", "entity"], name="billing_run_item_once"),
            models.UniqueConstraint(fields=["run", "position"], name="billing_run_item_position"),
            models.CheckConstraint(
                condition=~Q(status="issued")
                | Q(Q(invoice__isnull=False) | ~Q(credit_notes=[]), issued_at__isnull=False),
                name="billing_run_item_issued_has_document",
            ),
            models.CheckConstraint(
                condition=~Q(status="prepared") | (Q(total__isnull=False) & ~Q(fingerprint="")),
                name="billing_run_item_prepared_was_previewed",
            ),
            models.CheckConstraint(
                condition=~Q(status="failed") | ~Q(error_code=""), name="billing_run_item_failed_says_why"
            ),
            models.CheckConstraint(
                condition=~Q(status="left_out") | ~Q(left_out_reason=""),
                name="billing_run_item_left_out_says_why",
            ),
        ]
        indexes = [models.Index(fields=["run", "status", "position"], name="billing_run_item_next")]

    def __str__(self) -> str:
        return f"{self.entity} in run {self.run_id}"

    @property
    def access_entity_id(self) -> int:
        return self.run.scope_id

    @property
    def access_department_id(self) -> None:
        return None
