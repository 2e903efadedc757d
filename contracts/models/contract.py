"""The agreement itself: its base terms, its dated events and its states (CON-01, CON-03, CON-10, CON-15 to CON-18)."""

from django.conf import settings
from django.contrib.postgres.constraints import ExclusionConstraint
from django.contrib.postgres.fields import RangeOperators
from django.core.serializers.json import DjangoJSONEncoder
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import F, Func, Q
from django_fsm import transition

from contracts.fields import PercentField
from contracts.querysets import ContractQuerySet, OfContractQuerySet, StatusSpanQuerySet
from core import clock
from core.clock import validate_time_zone
from core.constraints import same_number
from core.crypto import EncryptedTextField
from core.history import AuditedHistory
from core.models import TimestampedModel, VersionedModel
from core.money import CurrencyField, MoneyField
from core.states import StateField


class ContractType(models.TextChoices):
    STANDARD = "standard", "Standard"
    CUSTOM = "custom", "Custom"
    ENTERPRISE = "enterprise", "Enterprise"
    MSA = "msa", "Master service agreement"
    PILOT = "pilot", "Pilot"


class ContractStatus(models.TextChoices):
    DRAFT = "draft", "Draft"
    PENDING_APPROVAL = "pending_approval", "Pending approval"
    AWAITING_SIGNATURE = "awaiting_signature", "Awaiting signature"
    ACTIVE = "active", "Active"
    SUSPENDED = "suspended", "Suspended"
    EXPIRED = "expired", "Expired"
    RENEWED = "renewed", "Renewed"
    TERMINATED = "terminated", "Terminated"


BEFORE_ACTIVATION = (
    ContractStatus.DRAFT,
    ContractStatus.PENDING_APPROVAL,
    ContractStatus.AWAITING_SIGNATURE,
)
RUNNING = (ContractStatus.ACTIVE, ContractStatus.SUSPENDED)
ENDED = (ContractStatus.EXPIRED, ContractStatus.RENEWED, ContractStatus.TERMINATED)


class RenewalType(models.TextChoices):
    """What happens at the end of a term (CON-10)."""

    NONE = "none", "Ends"
    OPTION = "option", "Renewed if the option is exercised"
    AUTO = "auto", "Renewed unless notice is given"
    EVERGREEN = "evergreen", "No end: runs until notice is given"


class NoticeUnit(models.TextChoices):
    DAYS = "days", "Days"
    MONTHS = "months", "Months"


class EventKind(models.TextChoices):
    SUBMITTED = "submitted", "Submitted for approval"
    SENT_BACK = "sent_back", "Sent back to draft"
    APPROVED = "approved", "Approved"
    REVISED = "revised", "Changed after approval"
    ACTIVATED = "activated", "Activated"
    SUSPENDED = "suspended", "Suspended"
    RESUMED = "resumed", "Resumed"
    BREACH_NOTIFIED = "breach_notified", "Breach notified"
    BREACH_CURED = "breach_cured", "Breach cured"
    TERMINATED = "terminated", "Terminated"
    EXPIRED = "expired", "Expired"
    RENEWED = "renewed", "Renewed by a successor"
    REINSTATED = "reinstated", "Reinstated"


class Side(models.TextChoices):
    ISSUER = "issuer", "Issuer"
    CUSTOMER = "customer", "Customer"


_NOT_NEGATIVE = [MinValueValidator(0)]


def no_overlap(
    *same: Func, start: str, end: str, name: str, condition: Q | None = None, message: str | None = None
) -> models.BaseConstraint:
    """Refuse two rows that are the ``same`` and whose ``[start, end)`` overlap; an empty end is open.

    ``message`` is what a form says of it.
    """
    days = Func(F(start), F(end), function="daterange", output_field=models.DateField())
    return ExclusionConstraint(
        name=name,
        expressions=[*((each, RangeOperators.OVERLAPS) for each in same), (days, RangeOperators.OVERLAPS)],
        condition=condition,
        violation_error_message=message,
    )


class Contract(VersionedModel, TimestampedModel):
    """An agreement that ``entity`` (bill-to) has with ``issuer``: amounts in ``currency``, days in ``time_zone``.

    The terms here are the base: what was signed. Once it is activated a trigger keeps them as they are; they change
    by amendments and renewals only, and `selectors.terms_on` answers for any day (CON-05). ``status`` is what
    `selectors.status_on` said when it was last looked at; lists read ``with_status()``, decisions refresh it first.
    """

    title = models.CharField(max_length=200)
    reference = models.CharField(
        max_length=100, blank=True, help_text="The number that the other side gave it."
    )
    contract_type = models.CharField(max_length=12, choices=ContractType, default=ContractType.STANDARD)
    parent = models.ForeignKey(
        "self",
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="children",
        help_text="The master service agreement that it is made under.",
    )
    predecessor = models.OneToOneField(
        "self",
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="successor",
        help_text="The contract that this one replaces from its start.",
    )
    entity = models.ForeignKey("entities.Entity", on_delete=models.PROTECT, related_name="contracts")
    issuer = models.ForeignKey("entities.Entity", on_delete=models.PROTECT, related_name="issued_contracts")
    department = models.ForeignKey(
        "entities.Department",
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="contracts",
        help_text="Who bears its fees; a price term may name another.",
    )
    gl_code = models.CharField("GL code", max_length=50, blank=True)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="owned_contracts",
        help_text="Who answers for it and is told of its renewal.",
    )
    budget = models.ForeignKey(
        "budgets.Budget",
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="contracts",
        help_text="The budget that it commits; later years commit the budgets of the same purpose.",
    )
    status = StateField(max_length=20, choices=ContractStatus, default=ContractStatus.DRAFT, protected=True)

    start_date = models.DateField()
    end_date = models.DateField(
        null=True, blank=True, help_text="The first day after the contract's first term."
    )
    time_zone = models.CharField(max_length=50, default="UTC", validators=[validate_time_zone])
    value = MoneyField(validators=_NOT_NEGATIVE, help_text="Total value of the first term.")
    currency = CurrencyField()
    billing_anchor = models.DateField(
        help_text="Billing period n begins n months after it, at most at the month's last day."
    )
    payment_terms_days = models.PositiveSmallIntegerField(default=30, validators=[MaxValueValidator(365)])
    discount_percent = PercentField(default=0, validators=[MinValueValidator(0), MaxValueValidator(100)])
    scope = models.TextField(blank=True, help_text="What is supplied, in words.")
    licence_tier = models.CharField(max_length=50, blank=True)
    feature_limits = models.JSONField(
        default=dict, blank=True, help_text="By feature: a limit, true, false, or null for unlimited."
    )

    renewal_type = models.CharField(max_length=10, choices=RenewalType, default=RenewalType.NONE)
    renewal_term_months = models.PositiveSmallIntegerField(
        null=True, blank=True, validators=[MinValueValidator(1), MaxValueValidator(240)]
    )
    notice_period = models.PositiveSmallIntegerField(default=60)
    notice_unit = models.CharField(max_length=6, choices=NoticeUnit, default=NoticeUnit.DAYS)
    uplift_index = models.CharField(
        max_length=50, blank=True, help_text="The price index that renewals follow; empty: prices stay."
    )
    uplift_floor_percent = PercentField(default=0)
    uplift_cap_percent = PercentField(default=5)
    uplift_notice_days = models.PositiveSmallIntegerField(
        default=0,
        help_text="An increase needs an announcement this long before the new term; else prices stay.",
    )

    convenience_allowed = models.BooleanField(
        default=False, help_text="Whether the customer may terminate without a cause."
    )
    minimum_term_end = models.DateField(
        null=True, blank=True, help_text="No termination for convenience takes effect before this day."
    )
    convenience_notice_days = models.PositiveSmallIntegerField(default=60)
    termination_fees = models.JSONField(
        default=list,
        blank=True,
        help_text="Steps by months since the start: an amount, or a percentage of the value still to run.",
    )
    cure_days = models.PositiveSmallIntegerField(default=30)
    holdover_allowed = models.BooleanField(
        default=False, help_text="Whether use after expiry is billed, at the holdover rate."
    )
    holdover_rate_percent = PercentField(default=100, validators=_NOT_NEGATIVE)

    not_to_exceed = MoneyField(
        null=True, blank=True, validators=_NOT_NEGATIVE, help_text="The sum of all invoices never exceeds it."
    )
    minimum_commitment = MoneyField(
        null=True, blank=True, validators=_NOT_NEGATIVE, help_text="At least this much is billed per period."
    )
    minimum_commitment_months = models.PositiveSmallIntegerField(
        default=12, validators=[MinValueValidator(1)]
    )

    is_retroactive = models.BooleanField(
        default=False, help_text="May take effect before its last signature; approvers see it."
    )
    confidential_terms = EncryptedTextField(blank=True, help_text="Encrypted; every reading is recorded.")

    last_amendment_number = models.PositiveIntegerField(default=0, editable=False)
    approved_at = models.DateTimeField(null=True, blank=True, editable=False)
    activated_at = models.DateTimeField(null=True, blank=True, editable=False)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")

    history = AuditedHistory(excluded_fields=["confidential_terms", "last_amendment_number"])
    objects = ContractQuerySet.as_manager()

    class Meta:
        db_table = "billing_contracts"
        ordering = ["-id"]
        permissions = [
            ("sign_contract", "Can record signatures"),
            ("activate_contract", "Can activate a contract"),
            ("suspend_contract", "Can suspend and resume a contract"),
            ("terminate_contract", "Can terminate a contract"),
            ("renew_contract", "Can record notices and renew a contract"),
            ("view_confidential_terms", "Can read confidential terms"),
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(end_date__isnull=True) | Q(end_date__gt=F("start_date")),
                name="contract_dates_ordered",
            ),
            # CON-10
            models.CheckConstraint(
                condition=~Q(renewal_type="auto")
                | Q(end_date__isnull=False, renewal_term_months__isnull=False),
                name="contract_auto_renewal_has_terms",
            ),
            models.CheckConstraint(
                condition=~Q(renewal_type="evergreen") | Q(end_date__isnull=True),
                name="contract_evergreen_has_no_end",
            ),
            models.CheckConstraint(
                condition=Q(parent__isnull=True) | ~Q(parent=F("id")), name="contract_not_its_own_parent"
            ),
            models.CheckConstraint(
                condition=~Q(contract_type="msa") | Q(parent__isnull=True), name="contract_msa_has_no_parent"
            ),
            models.CheckConstraint(
                condition=Q(predecessor__isnull=True) | ~Q(predecessor=F("id")),
                name="contract_not_its_own_predecessor",
            ),
            models.CheckConstraint(
                condition=Q(value__gte=0)
                & (Q(not_to_exceed__isnull=True) | Q(not_to_exceed__gte=0))
                & (Q(minimum_commitment__isnull=True) | Q(minimum_commitment__gte=0)),
                name="contract_amounts_not_negative",
            ),
            models.CheckConstraint(
                condition=Q(discount_percent__range=(0, 100), holdover_rate_percent__gte=0),
                name="contract_percentages_valid",
            ),
            models.CheckConstraint(
                condition=Q(uplift_cap_percent__gte=F("uplift_floor_percent")),
                name="contract_uplift_cap_above_floor",
            ),
            models.CheckConstraint(
                condition=Q(minimum_commitment_months__gte=1)
                & (Q(renewal_term_months__isnull=True) | Q(renewal_term_months__gte=1)),
                name="contract_months_positive",
            ),
            models.CheckConstraint(
                condition=Q(
                    status__in=["draft", "pending_approval", "awaiting_signature"], activated_at__isnull=True
                )
                | Q(
                    status__in=["active", "suspended", "expired", "renewed", "terminated"],
                    activated_at__isnull=False,
                ),
                name="contract_state_follows_activation",
            ),
        ]
        indexes = [
            models.Index(fields=["entity", "status"], name="contract_entity_status"),
            models.Index(fields=["end_date"], name="contract_end_date"),
        ]

    def __str__(self) -> str:
        return self.title

    @property
    def access_entity_id(self) -> int:
        return self.entity_id

    @property
    def access_department_id(self) -> int | None:
        return self.department_id

    @property
    def number(self) -> str:
        """How people name it: CTR-000042; empty before it is saved."""
        return f"CTR-{self.pk:06d}" if self.pk else ""

    @property
    def is_activated(self) -> bool:
        """Whether it was ever active: its base terms are fixed then, and it is never deleted (CON-01)."""
        return self.activated_at is not None

    @transition(field=status, source=ContractStatus.DRAFT, target=ContractStatus.PENDING_APPROVAL)
    def submit(self) -> None:
        """Approvers decide now."""

    @transition(
        field=status,
        source=[ContractStatus.PENDING_APPROVAL, ContractStatus.AWAITING_SIGNATURE],
        target=ContractStatus.DRAFT,
    )
    def send_back(self) -> None:
        """Rejected, withdrawn or to be changed."""

    @transition(
        field=status, source=ContractStatus.PENDING_APPROVAL, target=ContractStatus.AWAITING_SIGNATURE
    )
    def approve(self) -> None:
        """Both sides sign now."""

    @transition(
        field=status, source=ContractStatus.AWAITING_SIGNATURE, target=ContractStatus.PENDING_APPROVAL
    )
    def revise(self) -> None:
        """Its content has changed: what was approved and signed is another text (CON-02)."""

    @transition(field=status, source=ContractStatus.AWAITING_SIGNATURE, target=ContractStatus.ACTIVE)
    def activate(self) -> None:
        """The service has found nothing missing (CON-02)."""

    @transition(field=status, source=ContractStatus.ACTIVE, target=ContractStatus.SUSPENDED)
    def suspend(self) -> None:
        """Supply pauses (CON-17)."""

    @transition(field=status, source=ContractStatus.SUSPENDED, target=ContractStatus.ACTIVE)
    def resume(self) -> None:
        """Supply goes on."""

    @transition(field=status, source=[*RUNNING], target=ContractStatus.EXPIRED)
    def expire(self) -> None:
        """Its last term is over."""

    @transition(field=status, source=[*RUNNING, ContractStatus.EXPIRED], target=ContractStatus.RENEWED)
    def renew(self) -> None:
        """A successor has taken over."""

    @transition(field=status, source=[*RUNNING, ContractStatus.EXPIRED], target=ContractStatus.TERMINATED)
    def terminate(self) -> None:
        """Ended before its time (CON-15)."""

    @transition(
        field=status,
        source=[ContractStatus.TERMINATED, ContractStatus.EXPIRED],
        target=ContractStatus.ACTIVE,
    )
    def reinstate(self) -> None:
        """In force again, by an amendment (CON-16)."""


class ContractEvent(models.Model):
    """What happened to a contract and from which day on. Append-only: a trigger refuses UPDATE and DELETE (CON-01)."""

    contract = models.ForeignKey(Contract, on_delete=models.PROTECT, related_name="events")
    kind = models.CharField(max_length=16, choices=EventKind)
    effective_on = models.DateField()
    data = models.JSONField(default=dict, blank=True, encoder=DjangoJSONEncoder)
    reason = models.CharField(max_length=1000, blank=True)
    amendment = models.ForeignKey(
        "contracts.ContractAmendment", on_delete=models.PROTECT, null=True, blank=True, related_name="events"
    )
    actor = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(default=clock.now, editable=False)

    objects = OfContractQuerySet.as_manager()

    class Meta:
        db_table = "contract_events"
        ordering = ["contract", "id"]
        indexes = [models.Index(fields=["contract", "effective_on"], name="contract_event_by_date")]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} on {self.effective_on}"

    @property
    def access_entity_id(self) -> int:
        return self.contract.entity_id

    @property
    def access_department_id(self) -> int | None:
        return self.contract.department_id


class ContractStatusSpan(models.Model):
    """The state that a contract has from ``valid_from`` until before ``valid_to``: computed from its dates and events.

    Rewritten whole whenever one of them changes, so that the database can be asked for the state on a day.
    """

    contract = models.ForeignKey(Contract, on_delete=models.CASCADE, related_name="status_spans")
    status = models.CharField(max_length=20, choices=ContractStatus)
    valid_from = models.DateField()
    valid_to = models.DateField(null=True, blank=True)

    objects = StatusSpanQuerySet.as_manager()

    class Meta:
        db_table = "contract_status_spans"
        ordering = ["contract", "valid_from"]
        default_permissions = ()
        constraints = [
            models.CheckConstraint(
                condition=Q(valid_to__isnull=True) | Q(valid_to__gt=F("valid_from")),
                name="contract_span_ordered",
            ),
            no_overlap(
                same_number(F("contract_id")),
                start="valid_from",
                end="valid_to",
                name="contract_span_no_overlap",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_status_display()} from {self.valid_from}"


class BreachStatus(models.TextChoices):
    OPEN = "open", "Open"
    CURED = "cured", "Cured"
    TERMINATED = "terminated", "Led to termination"


class ContractBreach(TimestampedModel):
    """A breach that one side was notified of, and the days it has to cure it (CON-15)."""

    contract = models.ForeignKey(Contract, on_delete=models.PROTECT, related_name="breaches")
    breaching_side = models.CharField(max_length=8, choices=Side)
    description = models.CharField(max_length=1000)
    notice_received_on = models.DateField()
    cure_until = models.DateField(help_text="The first day on which it is too late.")
    status = models.CharField(max_length=10, choices=BreachStatus, default=BreachStatus.OPEN)
    cured_on = models.DateField(null=True, blank=True)

    history = AuditedHistory()
    objects = OfContractQuerySet.as_manager()

    class Meta:
        db_table = "contract_breaches"
        ordering = ["-id"]
        verbose_name_plural = "contract breaches"
        constraints = [
            models.CheckConstraint(
                condition=Q(cure_until__gte=F("notice_received_on")), name="contract_breach_dates_ordered"
            ),
            models.CheckConstraint(
                condition=Q(status="cured", cured_on__isnull=False)
                | Q(~Q(status="cured"), cured_on__isnull=True),
                name="contract_breach_cured_on_a_day",
            ),
        ]

    def __str__(self) -> str:
        return f"Breach notified on {self.notice_received_on}"

    @property
    def access_entity_id(self) -> int:
        return self.contract.entity_id

    @property
    def access_department_id(self) -> int | None:
        return self.contract.department_id
