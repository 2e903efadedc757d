"""What settles invoices: payments, credit notes, write-offs; and what goes back to payers (INV-06)."""

from decimal import Decimal

from django.conf import settings
from django.db import models
from django.db.models import F, Q

from core.history import AuditedHistory
from core.models import TimestampedModel, VersionedModel
from core.money import EXACT, CurrencyField, MoneyField
from invoicing.models.invoice import Invoice
from invoicing.querysets import PaymentQuerySet, RefundQuerySet, SettlementQuerySet


class PaymentMethod(models.TextChoices):
    BANK_TRANSFER = "bank_transfer", "Bank transfer"
    DIRECT_DEBIT = "direct_debit", "Direct debit"
    CARD = "card", "Card"
    CASH = "cash", "Cash"
    CHEQUE = "cheque", "Cheque"
    OTHER = "other", "Other"


class PaymentStatus(models.TextChoices):
    RECEIVED = "received", "Received"
    REVERSED = "reversed", "Reversed"


class Payment(VersionedModel, TimestampedModel):
    """Money that ``issuer`` received from ``entity`` (the payer), in ``currency``.

    ``applied_amount`` is what it settles and what was refunded of it; the rest is a balance in the payer's favour.
    A payment that bounced is reversed, never deleted.
    """

    issuer = models.ForeignKey("entities.Entity", on_delete=models.PROTECT, related_name="received_payments")
    entity = models.ForeignKey("entities.Entity", on_delete=models.PROTECT, related_name="payments")
    amount = MoneyField()
    currency = CurrencyField()
    applied_amount = MoneyField(default=0)
    received_on = models.DateField(help_text="The day on which the money arrived.")
    method = models.CharField(max_length=15, choices=PaymentMethod, default=PaymentMethod.BANK_TRANSFER)
    reference = models.CharField(max_length=140, blank=True, help_text="What the payer wrote.")
    external_id = models.CharField(
        max_length=100,
        blank=True,
        help_text="The bank's or the other system's own name of it; the issuer takes each once.",
    )
    note = models.CharField(max_length=500, blank=True)
    status = models.CharField(max_length=10, choices=PaymentStatus, default=PaymentStatus.RECEIVED)
    reversed_at = models.DateTimeField(null=True, blank=True)
    reversal_reason = models.CharField(max_length=500, blank=True)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")

    history = AuditedHistory()
    objects = PaymentQuerySet.as_manager()

    class Meta:
        db_table = "payments"
        ordering = ["-received_on", "-id"]
        permissions = [("reverse_payment", "Can reverse a payment")]
        constraints = [
            models.CheckConstraint(condition=Q(amount__gt=0), name="payment_amount_positive"),
            models.CheckConstraint(
                condition=Q(applied_amount__gte=0, applied_amount__lte=F("amount")),
                name="payment_applied_within_amount",
            ),
            models.CheckConstraint(
                condition=Q(status="received", reversed_at__isnull=True)
                | Q(status="reversed", reversed_at__isnull=False, applied_amount=0),
                name="payment_reversed_settles_nothing",
            ),
            models.UniqueConstraint(
                fields=["issuer", "external_id"],
                condition=~Q(external_id="") & Q(status="received"),
                name="payment_external_id_once",
            ),
        ]
        indexes = [models.Index(fields=["entity", "-received_on"], name="payment_of_payer")]

    def __str__(self) -> str:
        return f"Payment {self.pk} of {self.received_on}"

    @property
    def access_entity_id(self) -> int:
        return self.entity_id

    @property
    def access_department_id(self) -> None:
        return None

    @property
    def unapplied_amount(self) -> Decimal:
        """What settles nothing yet: a balance in the payer's favour."""
        if self.status == PaymentStatus.REVERSED:
            return Decimal(0)
        return EXACT.subtract(self.amount, self.applied_amount)


class SettlementKind(models.TextChoices):
    PAYMENT = "payment", "Payment"
    CREDIT_NOTE = "credit_note", "Credit note"
    WRITE_OFF = "write_off", "Write-off"


class Settlement(models.Model):
    """One thing that settles a part of an invoice or debit note, in the invoice's currency; only ever added to.

    Taking one back is a second row with the negative amount that ``reverses`` it. The sum of the rows of an invoice
    is its ``settled_amount`` and never more than its total (INV-06).
    """

    invoice = models.ForeignKey(Invoice, on_delete=models.PROTECT, related_name="settlements")
    kind = models.CharField(max_length=12, choices=SettlementKind)
    payment = models.ForeignKey(Payment, on_delete=models.PROTECT, null=True, related_name="settlements")
    credit_note = models.ForeignKey(Invoice, on_delete=models.PROTECT, null=True, related_name="set_off")
    amount = MoneyField()
    settled_on = models.DateField()
    reason = models.CharField(max_length=500, blank=True)
    reverses = models.OneToOneField("self", on_delete=models.PROTECT, null=True, related_name="reversal")
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField()

    objects = SettlementQuerySet.as_manager()

    class Meta:
        db_table = "settlements"
        ordering = ["id"]
        default_permissions = ("view", "add")
        permissions = [
            ("reverse_settlement", "Can take back what settles an invoice"),
            ("write_off_settlement", "Can write off what is not paid"),
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(kind="payment", payment__isnull=False, credit_note__isnull=True)
                | Q(kind="credit_note", payment__isnull=True, credit_note__isnull=False)
                | Q(kind="write_off", payment__isnull=True, credit_note__isnull=True),
                name="settlement_has_its_source",
            ),
            models.CheckConstraint(
                condition=Q(amount__gt=0, reverses__isnull=True) | Q(amount__lt=0, reverses__isnull=False),
                name="settlement_negative_only_as_reversal",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} of {self.amount} on {self.invoice}"

    @property
    def access_entity_id(self) -> int:
        return self.invoice.entity_id

    @property
    def access_department_id(self) -> None:
        return None


class Refund(models.Model):
    """Money given back to the payer out of a payment or a credit note that settles nothing; only ever added to."""

    payment = models.ForeignKey(Payment, on_delete=models.PROTECT, null=True, related_name="refunds")
    credit_note = models.ForeignKey(Invoice, on_delete=models.PROTECT, null=True, related_name="refunds")
    entity = models.ForeignKey("entities.Entity", on_delete=models.PROTECT, related_name="refunds")
    issuer = models.ForeignKey("entities.Entity", on_delete=models.PROTECT, related_name="given_refunds")
    amount = MoneyField()
    currency = CurrencyField()
    refunded_on = models.DateField()
    method = models.CharField(max_length=15, choices=PaymentMethod, default=PaymentMethod.BANK_TRANSFER)
    reference = models.CharField(max_length=140, blank=True)
    reason = models.CharField(max_length=500)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField()

    objects = RefundQuerySet.as_manager()

    class Meta:
        db_table = "refunds"
        ordering = ["-id"]
        default_permissions = ("view", "add")
        constraints = [
            models.CheckConstraint(condition=Q(amount__gt=0), name="refund_amount_positive"),
            models.CheckConstraint(
                condition=Q(payment__isnull=False, credit_note__isnull=True)
                | Q(payment__isnull=True, credit_note__isnull=False),
                name="refund_has_one_source",
            ),
        ]

    def __str__(self) -> str:
        return f"Refund {self.pk} of {self.refunded_on}"

    @property
    def access_entity_id(self) -> int:
        return self.entity_id

    @property
    def access_department_id(self) -> None:
        return None
