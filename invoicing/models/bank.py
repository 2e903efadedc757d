"""What the bank says arrived: statements that were read in, and their transactions (INV-06)."""

from django.conf import settings
from django.db import models
from django.db.models import Q

from core.history import AuditedHistory
from core.models import TimestampedModel, VersionedModel
from core.money import CurrencyField, MoneyField
from invoicing.models.settlement import Payment
from invoicing.querysets import BankStatementQuerySet, BankTransactionQuerySet


class BankFileFormat(models.TextChoices):
    CAMT_053 = "camt.053", "CAMT.053"
    CSV = "csv", "CSV"


class BankStatement(TimestampedModel):
    """A file of the issuer's bank, read in once; what it holds are the transactions."""

    issuer = models.ForeignKey("entities.Entity", on_delete=models.PROTECT, related_name="bank_statements")
    file_name = models.CharField(max_length=255)
    file_sha256 = models.CharField(max_length=64)
    file_format = models.CharField(max_length=10, choices=BankFileFormat)
    account_iban = models.CharField("account", max_length=34, blank=True)
    first_day = models.DateField(null=True, blank=True)
    last_day = models.DateField(null=True, blank=True)
    rows_read = models.PositiveIntegerField(default=0)
    rows_known = models.PositiveIntegerField(
        default=0, help_text="Transactions that another file had brought already."
    )
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")

    history = AuditedHistory()
    objects = BankStatementQuerySet.as_manager()

    class Meta:
        db_table = "bank_statements"
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(fields=["issuer", "file_sha256"], name="bank_statement_file_once"),
        ]

    def __str__(self) -> str:
        return self.file_name

    @property
    def access_entity_id(self) -> int:
        return self.issuer_id

    @property
    def access_department_id(self) -> None:
        return None


class BankTransactionStatus(models.TextChoices):
    OPEN = "open", "Open"
    MATCHED = "matched", "Matched"
    IGNORED = "ignored", "Ignored"


class BankTransaction(VersionedModel, TimestampedModel):
    """One movement on the issuer's account; ``amount`` is positive for money that arrived.

    ``fingerprint`` is made of the bank's own id of it, else of its content and how often that content stood in the
    file: an overlapping file brings nothing twice. Matched means that ``payment`` records it.
    """

    statement = models.ForeignKey(BankStatement, on_delete=models.PROTECT, related_name="transactions")
    issuer = models.ForeignKey("entities.Entity", on_delete=models.PROTECT, related_name="+")
    fingerprint = models.CharField(max_length=64)
    line_number = models.PositiveIntegerField(help_text="Where it stands in the file.")
    booked_on = models.DateField()
    amount = MoneyField()
    currency = CurrencyField()
    counterparty_name = models.CharField(max_length=200, blank=True)
    counterparty_iban = models.CharField(max_length=34, blank=True)
    text = models.CharField(max_length=1000, blank=True)
    bank_reference = models.CharField(max_length=100, blank=True)
    status = models.CharField(
        max_length=10, choices=BankTransactionStatus, default=BankTransactionStatus.OPEN
    )
    payment = models.OneToOneField(
        Payment, on_delete=models.PROTECT, null=True, blank=True, related_name="bank_transaction"
    )
    ignored_reason = models.CharField(max_length=500, blank=True)

    history = AuditedHistory()
    objects = BankTransactionQuerySet.as_manager()

    class Meta:
        db_table = "bank_transactions"
        ordering = ["-booked_on", "-id"]
        constraints = [
            models.UniqueConstraint(fields=["issuer", "fingerprint"], name="bank_transaction_once"),
            models.CheckConstraint(
                condition=Q(status="matched", payment__isnull=False, amount__gt=0)
                | Q(~Q(status="matched"), payment__isnull=True),
                name="bank_transaction_matched_has_payment",
            ),
            models.CheckConstraint(
                condition=Q(status="ignored") & ~Q(ignored_reason="")
                | ~Q(status="ignored") & Q(ignored_reason=""),
                name="bank_transaction_ignored_has_reason",
            ),
        ]
        indexes = [
            models.Index(fields=["issuer", "counterparty_iban"], name="bank_transaction_payer_iban"),
            models.Index(fields=["statement", "status"], name="bank_transaction_to_do"),
        ]

    def __str__(self) -> str:
        return f"{self.counterparty_name or self.text[:40] or 'Transaction'} of {self.booked_on}"

    @property
    def access_entity_id(self) -> int:
        return self.issuer_id

    @property
    def access_department_id(self) -> None:
        return None
