"""Disputes, their rounds and their log (DSP-01 to DSP-10, DSP-16 to DSP-18)."""

from django.conf import settings
from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.db.models import F, Q
from django_fsm import transition

from core.history import AuditedHistory, current_channel, current_request_id
from core.models import TimestampedModel, VersionedModel
from core.money import CurrencyField, MoneyField
from core.states import StateField
from disputes.models.policy import DisputePolicy, Severity
from disputes.querysets import DisputeQuerySet, EventQuerySet, OfDisputeQuerySet


class Category(models.TextChoices):
    BILLING_ERROR = "billing_error", "Billing error"
    SERVICE_ISSUE = "service_issue", "Service issue"
    USAGE_DISCREPANCY = "usage_discrepancy", "Usage discrepancy"
    DUPLICATE = "duplicate", "Billed twice"
    PRICING = "pricing", "Price"
    TAX = "tax", "Tax"
    REFUND_REQUEST = "refund_request", "Refund request"
    OTHER = "other", "Other"


class Direction(models.TextChoices):
    OVER = "over", "Too much was billed"
    UNDER = "under", "Too little was billed"


class RootCause(models.TextChoices):
    """What finance found to be the cause, for the report on reasons."""

    WRONG_PRICE = "wrong_price", "Wrong price"
    WRONG_QUANTITY = "wrong_quantity", "Wrong quantity or usage"
    BILLED_TWICE = "billed_twice", "Billed twice"
    TERMS_NOT_APPLIED = "terms_not_applied", "Contract terms not applied"
    WRONG_TAX = "wrong_tax", "Wrong tax"
    WRONG_ALLOCATION = "wrong_allocation", "Billed to the wrong entity or department"
    SERVICE_FAILURE = "service_failure", "Service not as promised"
    CUSTOMER_MISUNDERSTANDING = "customer_misunderstanding", "Billed correctly, misunderstood"
    OTHER = "other", "Other"


class DisputeStatus(models.TextChoices):
    OPEN = "open", "Open"
    ACKNOWLEDGED = "acknowledged", "Acknowledged"
    INVESTIGATING = "investigating", "Investigating"
    WAITING_CUSTOMER = "waiting_customer", "Waiting for the customer"
    WAITING_THIRD_PARTY = "waiting_third_party", "Waiting for somebody else"
    PROPOSED = "proposed", "Resolution proposed"
    RESOLVED = "resolved", "Resolved"
    CLOSED = "closed", "Closed"
    WITHDRAWN = "withdrawn", "Withdrawn"
    MOOT = "moot", "Moot"


IN_WORK = (
    DisputeStatus.OPEN,
    DisputeStatus.ACKNOWLEDGED,
    DisputeStatus.INVESTIGATING,
    DisputeStatus.WAITING_CUSTOMER,
    DisputeStatus.WAITING_THIRD_PARTY,
)
"""Somebody is working on it, or waits."""

OPEN_STATUSES = (*IN_WORK, DisputeStatus.PROPOSED)
"""Nothing is decided: the amount is held back from collection (DSP-03)."""

DECIDED = (DisputeStatus.RESOLVED, DisputeStatus.CLOSED)
"""Decided, and perhaps to be reopened (DSP-16)."""

MAX_REOPENED = 2


class BillingDispute(VersionedModel, TimestampedModel):
    """A claim that a posted invoice, or one of its lines, is wrong by ``amount`` (including tax, invoice currency).

    ``entity`` is the payer, ``issuer`` whose staff handles it, ``department`` the disputed line's. While it is open
    ``hold`` keeps the amount out of collection. ``next_deadline_at`` is a cache of the current round's clocks.
    """

    invoice = models.ForeignKey("invoicing.Invoice", on_delete=models.PROTECT, related_name="disputes")
    invoice_line = models.ForeignKey(
        "invoicing.InvoiceLine",
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="disputes",
        help_text="Empty: the invoice as a whole.",
    )
    issuer = models.ForeignKey("entities.Entity", on_delete=models.PROTECT, related_name="+")
    entity = models.ForeignKey("entities.Entity", on_delete=models.PROTECT, related_name="disputes")
    department = models.ForeignKey(
        "entities.Department", on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )
    currency = CurrencyField()
    category = models.CharField(max_length=20, choices=Category)
    severity = models.CharField(max_length=8, choices=Severity, default=Severity.MEDIUM)
    direction = models.CharField(max_length=5, choices=Direction, default=Direction.OVER)
    amount = MoneyField(help_text="What is disputed, including tax.")
    approved_amount = MoneyField(null=True, blank=True, help_text="What was found to be right of it.")
    reason = models.TextField(max_length=4000)
    customer_reference = models.CharField(
        max_length=100, blank=True, help_text="The customer's own number for it."
    )
    status = StateField(max_length=20, choices=DisputeStatus, default=DisputeStatus.OPEN, protected=True)
    round_number = models.PositiveSmallIntegerField(default=1, editable=False)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
        help_text="Who works on it.",
    )
    is_escalated = models.BooleanField(default=False, editable=False)
    escalated_at = models.DateTimeField(null=True, blank=True, editable=False)
    root_cause = models.CharField(max_length=30, choices=RootCause, blank=True)
    root_cause_note = models.CharField(max_length=1000, blank=True)
    chargeback_scheme = models.CharField(
        max_length=40, blank=True, help_text="Of a card chargeback: Visa, Mastercard, …"
    )
    chargeback_reference = models.CharField(max_length=60, blank=True)
    chargeback_deadline = models.DateField(
        null=True, blank=True, help_text="The scheme's last day to answer; it never pauses (DSP-18)."
    )
    hold = models.OneToOneField(
        "invoicing.CollectionHold",
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
        editable=False,
    )
    merged_into = models.ForeignKey(
        "self", on_delete=models.PROTECT, null=True, blank=True, related_name="merged", editable=False
    )
    next_deadline_at = models.DateTimeField(null=True, blank=True, editable=False)
    opened_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    opened_at = models.DateTimeField(editable=False)
    resolved_at = models.DateTimeField(null=True, blank=True, editable=False)
    ended_at = models.DateTimeField(null=True, blank=True, editable=False)
    end_reason = models.CharField(max_length=500, blank=True, editable=False)

    history = AuditedHistory()
    objects = DisputeQuerySet.as_manager()

    class Meta:
        db_table = "billing_disputes"
        ordering = ["-id"]
        verbose_name = "dispute"
        default_permissions = ("add", "change", "view")
        permissions = [
            ("handle_billingdispute", "Can handle disputes: answer, investigate, propose"),
            ("merge_billingdispute", "Can merge disputes"),
            ("view_internal", "Can read what is internal about disputes"),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["invoice_line"],
                condition=Q(status__in=OPEN_STATUSES),
                name="dispute_one_open_per_line",
            ),
            models.UniqueConstraint(
                fields=["invoice"],
                condition=Q(status__in=OPEN_STATUSES, invoice_line__isnull=True),
                name="dispute_one_open_per_invoice",
            ),
            models.CheckConstraint(condition=Q(amount__gt=0), name="dispute_amount_positive"),
            models.CheckConstraint(
                condition=Q(approved_amount__isnull=True)
                | Q(approved_amount__gte=0, approved_amount__lte=F("amount")),
                name="dispute_approved_within_amount",
            ),
            models.CheckConstraint(
                condition=Q(status__in=DECIDED, resolved_at__isnull=False)
                | Q(status__in=OPEN_STATUSES, resolved_at__isnull=True)
                | Q(status__in=("withdrawn", "moot")),
                name="dispute_resolved_when_decided",
            ),
            models.CheckConstraint(
                condition=Q(status__in=("closed", "withdrawn", "moot"), ended_at__isnull=False)
                | Q(~Q(status__in=("closed", "withdrawn", "moot")), ended_at__isnull=True),
                name="dispute_ended_when_over",
            ),
            models.CheckConstraint(
                condition=Q(round_number__range=(1, 1 + MAX_REOPENED)), name="dispute_reopened_twice_at_most"
            ),
            models.CheckConstraint(
                condition=Q(merged_into__isnull=True) | Q(status="moot"), name="dispute_merged_is_moot"
            ),
            models.CheckConstraint(
                condition=Q(chargeback_deadline__isnull=True) | ~Q(chargeback_scheme=""),
                name="dispute_chargeback_names_scheme",
            ),
        ]
        indexes = [
            models.Index(
                fields=["next_deadline_at"], condition=Q(status__in=OPEN_STATUSES), name="dispute_work_list"
            ),
            models.Index(
                fields=["resolved_at"], condition=Q(status=DisputeStatus.RESOLVED), name="dispute_to_close"
            ),
            models.Index(fields=["entity", "-id"], name="dispute_of_customer"),
            models.Index(fields=["issuer", "status"], name="dispute_of_issuer"),
        ]

    def __str__(self) -> str:
        return self.number if self.pk else "New dispute"

    @property
    def number(self) -> str:
        """How people name it."""
        return f"D-{self.pk:06d}"

    @property
    def access_entity_id(self) -> int:
        return self.entity_id

    @property
    def access_department_id(self) -> int | None:
        return self.department_id

    @property
    def is_open(self) -> bool:
        return self.status in OPEN_STATUSES

    @property
    def is_chargeback(self) -> bool:
        return self.chargeback_deadline is not None

    @transition(field=status, source=DisputeStatus.OPEN, target=DisputeStatus.ACKNOWLEDGED)
    def acknowledge(self) -> None:
        """Staff has answered (DSP-05)."""

    @transition(
        field=status,
        source=[each for each in IN_WORK if each != DisputeStatus.INVESTIGATING],
        target=DisputeStatus.INVESTIGATING,
    )
    def investigate(self) -> None:
        """Work begins, or goes on after waiting (DSP-08)."""

    @transition(
        field=status,
        source=[each for each in IN_WORK if each != DisputeStatus.WAITING_CUSTOMER],
        target=DisputeStatus.WAITING_CUSTOMER,
    )
    def wait_for_customer(self) -> None:
        """The customer was asked something: the resolution clock stops (DSP-07)."""

    @transition(
        field=status,
        source=[each for each in IN_WORK if each != DisputeStatus.WAITING_THIRD_PARTY],
        target=DisputeStatus.WAITING_THIRD_PARTY,
    )
    def wait_for_third_party(self) -> None:
        """Somebody else was asked."""

    @transition(field=status, source=list(IN_WORK), target=DisputeStatus.PROPOSED)
    def propose(self) -> None:
        """A resolution waits for its approval (DSP-13)."""

    @transition(field=status, source=DisputeStatus.PROPOSED, target=DisputeStatus.INVESTIGATING)
    def return_to_work(self) -> None:
        """The proposed resolution was rejected or taken back (DSP-13)."""

    @transition(field=status, source=DisputeStatus.PROPOSED, target=DisputeStatus.RESOLVED)
    def resolve(self) -> None:
        """The resolution is carried out; the service has made its documents (DSP-15)."""

    @transition(field=status, source=DisputeStatus.RESOLVED, target=DisputeStatus.CLOSED)
    def close(self) -> None:
        """Nothing more is to be said about it."""

    @transition(field=status, source=list(DECIDED), target=DisputeStatus.OPEN)
    def reopen(self) -> None:
        """A new round with new clocks (DSP-16)."""

    @transition(field=status, source=list(OPEN_STATUSES), target=DisputeStatus.WITHDRAWN)
    def withdraw(self) -> None:
        """The customer gives it up, or was silent for too long (DSP-08)."""

    @transition(field=status, source=list(OPEN_STATUSES), target=DisputeStatus.MOOT)
    def make_moot(self) -> None:
        """The invoice is void or wholly credited, or another dispute took it in (DSP-17)."""


class DisputeRound(models.Model):
    """One run of the clocks: from opening or reopening to the end (DSP-16).

    ``terms`` are the policy and calendar frozen at its start (DSP-09), in the form that `disputes.clocks` reads. The
    moments are a cache of what its log of events says, which a rebuild reproduces; breaches are facts that stay
    (DSP-10).
    """

    dispute = models.ForeignKey(BillingDispute, on_delete=models.PROTECT, related_name="rounds")
    number = models.PositiveSmallIntegerField()
    policy = models.ForeignKey(
        DisputePolicy, on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )
    terms = models.JSONField(encoder=DjangoJSONEncoder)
    started_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True, blank=True)
    closes_at = models.DateTimeField(
        null=True, blank=True, help_text="Until when what is resolved can be reopened; then it is closed."
    )
    response_due_at = models.DateTimeField()
    response_met_at = models.DateTimeField(null=True, blank=True)
    response_breached_at = models.DateTimeField(null=True, blank=True)
    resolution_due_at = models.DateTimeField(
        null=True, blank=True, help_text="Empty while the clock is paused."
    )
    resolution_breached_at = models.DateTimeField(null=True, blank=True)
    paused_since = models.DateTimeField(null=True, blank=True)
    paused_seconds = models.PositiveBigIntegerField(
        default=0, help_text="Working time of the pauses that are over."
    )
    elapsed_seconds = models.PositiveBigIntegerField(
        null=True, blank=True, help_text="Working time that it took, without pauses; known at its end."
    )
    warned_percent = models.PositiveSmallIntegerField(default=0)
    next_warning_at = models.DateTimeField(null=True, blank=True)
    escalation_level = models.PositiveSmallIntegerField(
        default=0, help_text="How far up the ladder: 1 owner, 2 lead, 3 finance managers."
    )
    next_escalation_at = models.DateTimeField(null=True, blank=True)
    silence_reminders = models.PositiveSmallIntegerField(default=0)
    next_reminder_at = models.DateTimeField(null=True, blank=True)
    withdraw_at = models.DateTimeField(null=True, blank=True)

    objects = OfDisputeQuerySet.as_manager()

    class Meta:
        db_table = "dispute_rounds"
        ordering = ["dispute", "number"]
        default_permissions = ("view",)
        constraints = [
            models.UniqueConstraint(fields=["dispute", "number"], name="dispute_round_once"),
            models.UniqueConstraint(
                fields=["dispute"], condition=Q(ended_at__isnull=True), name="dispute_one_round_runs"
            ),
        ]
        indexes = [
            models.Index(
                fields=["response_due_at"], condition=Q(ended_at__isnull=True), name="dispute_round_running"
            )
        ]

    def __str__(self) -> str:
        return f"Round {self.number} of {self.dispute}"


class EventKind(models.TextChoices):
    OPENED = "opened", "Opened"
    REOPENED = "reopened", "Reopened"
    ACKNOWLEDGED = "acknowledged", "Acknowledged"
    STATUS = "status", "State changed"
    STAFF_MESSAGE = "staff_message", "Answer to the customer"
    CUSTOMER_MESSAGE = "customer_message", "Message of the customer"
    INTERNAL_NOTE = "internal_note", "Internal note"
    SEVERITY = "severity", "Severity changed"
    AMOUNT = "amount", "Amount changed"
    CHANGED = "changed", "Changed"
    ASSIGNED = "assigned", "Assigned"
    ATTACHED = "attached", "File attached"
    DETACHED = "detached", "File removed"
    PROPOSED = "proposed", "Resolution proposed"
    RETURNED = "returned", "Proposal returned"
    RESOLVED = "resolved", "Resolved"
    CLOSED = "closed", "Closed"
    WITHDRAWN = "withdrawn", "Withdrawn"
    MOOT = "moot", "Moot"
    MERGED = "merged", "Merged"
    WARNED = "warned", "Warning"
    BREACHED = "breached", "Deadline missed"
    ESCALATED = "escalated", "Escalated"
    REMINDED = "reminded", "Customer reminded"


class DisputeEvent(models.Model):
    """What happened to a dispute; only ever added to, and what the clocks are derived from (DSP-09)."""

    dispute = models.ForeignKey(BillingDispute, on_delete=models.PROTECT, related_name="events")
    round = models.ForeignKey(DisputeRound, on_delete=models.PROTECT, related_name="events")
    kind = models.CharField(max_length=20, choices=EventKind)
    status = models.CharField(max_length=20, choices=DisputeStatus, help_text="The state after it.")
    severity = models.CharField(max_length=8, choices=Severity, help_text="The severity after it.")
    at = models.DateTimeField()
    actor = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+", help_text="Who did it."
    )
    is_public = models.BooleanField(default=False, help_text="The customer sees it.")
    note = models.CharField(max_length=1000, blank=True)
    details = models.JSONField(default=dict, encoder=DjangoJSONEncoder)
    channel = models.CharField(max_length=10, blank=True, default=current_channel)
    request_id = models.CharField(max_length=64, blank=True, default=current_request_id)

    objects = EventQuerySet.as_manager()

    class Meta:
        db_table = "dispute_events"
        ordering = ["id"]
        default_permissions = ("view",)
        indexes = [models.Index(fields=["dispute", "id"], name="dispute_event_log")]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} at {self.at:%Y-%m-%d %H:%M}"
