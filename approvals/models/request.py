"""Requests: what somebody wants decided, and how it stands (APR-05, APR-09 to APR-11, APR-20)."""

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django_fsm import transition

from approvals.querysets import ApprovalRequestQuerySet
from core.crypto import EncryptedTextField
from core.models import TimestampedModel, VersionedModel
from core.money import CurrencyField, MoneyField, RateField
from core.states import StateField


class RequestStatus(models.TextChoices):
    DRAFT = "draft", "Draft"
    PENDING = "pending", "Pending"
    BLOCKED = "blocked", "Blocked"
    CHANGES_REQUESTED = "changes_requested", "Changes requested"
    APPROVED = "approved", "Approved"
    REJECTED = "rejected", "Rejected"
    WITHDRAWN = "withdrawn", "Withdrawn"
    EXPIRED = "expired", "Expired"


# Being decided, or waiting for the requester: these hold their budget's money (BUD-02).
OPEN_STATUSES = (RequestStatus.PENDING, RequestStatus.BLOCKED, RequestStatus.CHANGES_REQUESTED)


class OnApproval(models.TextChoices):
    """What becomes of the committed money when the request is approved (BUD-02)."""

    CHARGE = "charge", "Spend it at once"
    ORDER = "order", "Keep it committed for the invoices to come"


class ApprovalRequest(VersionedModel, TimestampedModel):
    """Something that needs a decision; ``amount`` is in ``currency``, ``base_amount`` in the group's (APR-02).

    Its trail (``ApprovalAction``) is its history: every change is written there, append-only (APR-26).
    ``content_hash`` is the fingerprint of what approvers decide on (APR-05); ``route`` are the rules that
    decided, as they stood at submission.
    """

    request_type = models.CharField(max_length=50)
    title = models.CharField(max_length=200)
    description = models.TextField(blank=True)
    amount = MoneyField(default=0)
    currency = CurrencyField()
    base_amount = MoneyField(default=0, editable=False)
    base_currency = CurrencyField(blank=True, editable=False)
    rate = RateField(default=1, editable=False)
    rate_date = models.DateField(null=True, blank=True, editable=False)
    entity = models.ForeignKey("entities.Entity", on_delete=models.PROTECT, related_name="approval_requests")
    department = models.ForeignKey(
        "entities.Department",
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="approval_requests",
    )
    budget = models.ForeignKey(
        "budgets.Budget", on_delete=models.PROTECT, null=True, blank=True, related_name="approval_requests"
    )
    # Records of apps above this one: their approval types look after them.
    contract_id = models.BigIntegerField(null=True, blank=True)
    subject_id = models.BigIntegerField(
        null=True, blank=True, help_text="The record that the request's type is about, where it has one."
    )
    supplier = models.CharField(max_length=200, blank=True)
    supplier_account = EncryptedTextField(blank=True, help_text="The supplier's bank details.")
    gl_code = models.CharField("GL code", max_length=50, blank=True)
    quantity = models.DecimalField(max_digits=20, decimal_places=6, null=True, blank=True)
    terms = models.TextField(blank=True)
    reference = models.CharField(max_length=100, blank=True, help_text="Your own number for it.")
    details = models.JSONField(default=dict, blank=True, help_text="What the request's type needs besides.")
    on_approval = models.CharField(max_length=10, choices=OnApproval, default=OnApproval.CHARGE)
    requester = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="approval_requests"
    )
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+", editable=False
    )
    edited_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
        editable=False,
        help_text="Who last changed something material.",
    )
    payee = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
        help_text="The person who gets the money, if it is one of the users.",
    )

    status = StateField(
        max_length=20, choices=RequestStatus, default=RequestStatus.DRAFT, protected=True, editable=False
    )
    round = models.PositiveSmallIntegerField(default=0, editable=False)
    content_hash = models.CharField(max_length=64, blank=True, editable=False)
    route = models.JSONField(default=list, blank=True, editable=False)
    flow = models.CharField(max_length=10, blank=True, editable=False)
    skip_repeated = models.BooleanField(default=True, editable=False)
    may_exceed_budget = models.BooleanField(default=False, editable=False)
    split_total = MoneyField(
        default=0,
        editable=False,
        help_text="With the same requester's other requests that the split guard adds up, in the base currency.",
    )
    blocked_reason = models.CharField(max_length=500, blank=True, editable=False)
    effect_error = models.TextField(blank=True, editable=False)
    commitment = models.ForeignKey(
        "budgets.Commitment",
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="approval_requests",
        editable=False,
    )
    submitted_at = models.DateTimeField(null=True, blank=True, editable=False)
    decided_at = models.DateTimeField(null=True, blank=True, editable=False)
    expires_at = models.DateTimeField(null=True, blank=True, editable=False)
    approved_amount = MoneyField(
        null=True,
        blank=True,
        editable=False,
        help_text="The last approved total, in the base currency: what later increases are measured by (APR-11).",
    )
    approved_content = models.JSONField(null=True, blank=True, editable=False)
    emergency_reason = models.TextField(blank=True, editable=False)
    emergency_review_due = models.DateTimeField(null=True, blank=True, editable=False)
    emergency_reviewed_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
        editable=False,
    )

    objects = ApprovalRequestQuerySet.as_manager()

    class Meta:
        db_table = "approval_requests"
        ordering = ["-id"]
        permissions = [
            ("decide_approvalrequest", "Can decide approval requests"),
            ("maintain_payee", "Can enter the bank details of a supplier on a request"),
            ("view_payee", "Can see the bank details of a supplier on any request"),
            ("override_approvalrequest", "Can reassign, recalculate and approve requests in an emergency"),
        ]
        constraints = [
            models.CheckConstraint(condition=Q(amount__gte=0), name="approval_request_not_negative"),
            models.CheckConstraint(
                condition=Q(quantity__isnull=True) | Q(quantity__gt=0), name="approval_request_some_quantity"
            ),
            models.CheckConstraint(
                condition=Q(status="draft") | Q(submitted_at__isnull=False, round__gte=1),
                name="approval_request_submitted",
            ),
            models.CheckConstraint(
                condition=Q(decided_at__isnull=True, status__in=["draft", *OPEN_STATUSES])
                | Q(decided_at__isnull=False, status__in=["approved", "rejected", "withdrawn", "expired"]),
                name="approval_request_decided_when_closed",
            ),
            models.CheckConstraint(
                condition=Q(emergency_reviewed_by__isnull=True) | ~Q(emergency_reviewed_by=F("requester")),
                name="approval_emergency_reviewed_by_another",
            ),
        ]
        indexes = [
            models.Index(fields=["status", "-id"], name="approval_request_status"),
            models.Index(fields=["entity", "-id"], name="approval_request_entity"),
            models.Index(fields=["department", "-id"], name="approval_request_department"),
            models.Index(fields=["requester", "-id"], name="approval_request_requester"),
            models.Index(fields=["request_type", "subject_id"], name="approval_request_subject"),
            models.Index(
                fields=["emergency_review_due"],
                condition=Q(emergency_review_due__isnull=False, emergency_reviewed_by__isnull=True),
                name="approval_request_review",
            ),
            models.Index(
                fields=["expires_at"],
                condition=Q(status__in=["pending", "blocked", "changes_requested"]),
                name="approval_request_expiry",
            ),
        ]

    def __str__(self) -> str:
        return self.title if self.pk is None else f"{self.reference_number} {self.title}"

    @property
    def reference_number(self) -> str:
        """How people and the ledger name the request."""
        return f"APR-{self.pk}"

    @property
    def access_entity_id(self) -> int:
        return self.entity_id

    @property
    def access_department_id(self) -> int | None:
        return self.department_id

    @property
    def is_open(self) -> bool:
        return self.status in OPEN_STATUSES

    @transition(
        field=status,
        source=[
            RequestStatus.DRAFT,
            RequestStatus.CHANGES_REQUESTED,
            RequestStatus.BLOCKED,
            RequestStatus.PENDING,
            RequestStatus.APPROVED,
        ],
        target=RequestStatus.PENDING,
    )
    def start_round(self) -> None:
        """A round of decisions begins (APR-10, APR-11)."""

    @transition(
        field=status, source=[RequestStatus.PENDING, RequestStatus.BLOCKED], target=RequestStatus.BLOCKED
    )
    def block(self) -> None:
        """Nobody may decide it as things are: an administrator is told (APR-03, APR-14)."""

    @transition(field=status, source=RequestStatus.BLOCKED, target=RequestStatus.PENDING)
    def unblock(self) -> None:
        """Somebody can decide again."""

    @transition(
        field=status,
        source=[RequestStatus.PENDING, RequestStatus.BLOCKED],
        target=RequestStatus.CHANGES_REQUESTED,
    )
    def send_back(self) -> None:
        """The requester is to change something (APR-10)."""

    @transition(
        field=status, source=[RequestStatus.PENDING, RequestStatus.BLOCKED], target=RequestStatus.APPROVED
    )
    def approve(self) -> None:
        """Granted; its effect is booked in the same transaction (APR-23)."""

    @transition(field=status, source=RequestStatus.PENDING, target=RequestStatus.REJECTED)
    def reject(self) -> None:
        """Refused; what was committed is released in the same transaction (APR-09)."""

    @transition(field=status, source=list(OPEN_STATUSES), target=RequestStatus.WITHDRAWN)
    def withdraw(self) -> None:
        """Taken back by the requester (APR-20)."""

    @transition(field=status, source=list(OPEN_STATUSES), target=RequestStatus.EXPIRED)
    def expire(self) -> None:
        """Not decided in time (APR-20)."""
