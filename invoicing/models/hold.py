"""What disputes hold back from being collected of invoices (DSP-03, DSP-14)."""

from django.conf import settings
from django.db import models
from django.db.models import Q

from core.history import AuditedHistory
from core.money import MoneyField
from invoicing.models.invoice import Invoice, InvoiceLine


class CollectionHold(models.Model):
    """An amount of an invoice, including tax and in its currency, that is not collected for now; kept for ever.

    Without ``due_date`` it is disputed: it counts in the invoice's ``disputed_amount`` until it is released. With one
    the dispute is decided: the amount is to be paid by that day (DSP-14). What was released never changes again.
    ``reference`` names the dispute, such as D-000017.
    """

    invoice = models.ForeignKey(Invoice, on_delete=models.PROTECT, related_name="holds")
    invoice_line = models.ForeignKey(InvoiceLine, on_delete=models.PROTECT, null=True, related_name="holds")
    amount = MoneyField(help_text="Including tax, in the invoice's currency.")
    reference = models.CharField(max_length=40)
    reason = models.CharField(max_length=500)
    due_date = models.DateField(
        null=True, blank=True, help_text="To be collected from that day; empty while it is disputed."
    )
    held_at = models.DateTimeField()
    held_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    released_at = models.DateTimeField(null=True, blank=True)
    released_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+"
    )
    release_reason = models.CharField(max_length=500, blank=True)

    history = AuditedHistory()

    class Meta:
        db_table = "collection_holds"
        ordering = ["id"]
        default_permissions = ()
        constraints = [
            models.CheckConstraint(condition=Q(amount__gt=0), name="collection_hold_amount_positive"),
            models.CheckConstraint(
                condition=Q(released_at__isnull=True, released_by__isnull=True, release_reason="")
                | Q(released_at__isnull=False, released_by__isnull=False),
                name="collection_hold_released_by_somebody",
            ),
        ]
        indexes = [
            models.Index(
                fields=["invoice"], condition=Q(released_at__isnull=True), name="collection_hold_unreleased"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.reference}: {self.amount} of {self.invoice}"

    @property
    def access_entity_id(self) -> int:
        return self.invoice.entity_id

    @property
    def access_department_id(self) -> None:
        return None

    @property
    def is_disputed(self) -> bool:
        """Whether it counts in the invoice's ``disputed_amount``."""
        return self.released_at is None and self.due_date is None
