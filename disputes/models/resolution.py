"""How a dispute is resolved, and the documents that follow from it (DSP-11 to DSP-15)."""

from django.conf import settings
from django.db import models
from django.db.models import Q

from core.money import MoneyField
from disputes.models.dispute import BillingDispute, DisputeRound
from disputes.querysets import ResolutionQuerySet


class ResolutionType(models.TextChoices):
    CREDIT = "credit", "Credit"
    REFUND = "refund", "Refund"
    ADJUSTMENT = "adjustment", "Adjustment"
    NO_ACTION = "no_action", "No action"


class Outcome(models.TextChoices):
    """What is done in particular (DSP-15)."""

    CREDIT_NOTE = "credit_note", "Credit note"
    GOODWILL = "goodwill", "Goodwill credit"
    REFUND = "refund", "Refund"
    WRITE_OFF = "write_off", "Write-off"
    CREDIT_AND_REBILL = "credit_and_rebill", "Credit and bill again"
    DEBIT_NOTE = "debit_note", "Debit note"
    PRICE_FIX = "price_fix", "Price fixed for the future"
    REJECTED = "rejected", "Rejected"


OUTCOMES_OF = {
    ResolutionType.CREDIT: (Outcome.CREDIT_NOTE, Outcome.GOODWILL),
    ResolutionType.REFUND: (Outcome.REFUND,),
    ResolutionType.ADJUSTMENT: (
        Outcome.CREDIT_AND_REBILL,
        Outcome.DEBIT_NOTE,
        Outcome.WRITE_OFF,
        Outcome.PRICE_FIX,
    ),
    ResolutionType.NO_ACTION: (Outcome.REJECTED,),
}
"""The outcomes of each type; the first is meant where none is named."""

WITHOUT_MONEY = (Outcome.PRICE_FIX, Outcome.REJECTED)


class ResolutionStatus(models.TextChoices):
    PENDING = "pending", "Waiting for approval"
    APPLIED = "applied", "Carried out"
    RETURNED = "returned", "Returned"


class DisputeResolution(models.Model):
    """A proposed resolution; once it is approved, or needs no approval, it is carried out, once (DSP-13, DSP-15).

    ``amount`` is what is given back (of a debit note: asked for), including tax, in the invoice's currency. ``note``
    is for the customer, ``internal_note`` is not.
    """

    dispute = models.ForeignKey(BillingDispute, on_delete=models.PROTECT, related_name="resolutions")
    round = models.ForeignKey(DisputeRound, on_delete=models.PROTECT, related_name="resolutions")
    resolution_type = models.CharField(max_length=10, choices=ResolutionType)
    outcome = models.CharField(max_length=20, choices=Outcome)
    amount = MoneyField(default=0)
    note = models.CharField(max_length=2000)
    internal_note = models.CharField(max_length=2000, blank=True)
    status = models.CharField(max_length=8, choices=ResolutionStatus, default=ResolutionStatus.PENDING)
    proposed_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    proposed_at = models.DateTimeField()
    approval_request = models.ForeignKey(
        "approvals.ApprovalRequest", on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )
    decided_at = models.DateTimeField(null=True, blank=True)
    decided_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )
    return_reason = models.CharField(max_length=1000, blank=True)
    credit_note = models.ForeignKey(
        "invoicing.Invoice", on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )
    debit_note = models.ForeignKey(
        "invoicing.Invoice", on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )
    rebilled_as = models.ForeignKey(
        "invoicing.Invoice", on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )
    refund = models.ForeignKey(
        "invoicing.Refund", on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )
    write_off = models.ForeignKey(
        "invoicing.Settlement", on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )
    amendment = models.ForeignKey(
        "contracts.ContractAmendment", on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )

    objects = ResolutionQuerySet.as_manager()

    class Meta:
        db_table = "dispute_resolutions"
        ordering = ["id"]
        verbose_name = "resolution"
        default_permissions = ("view",)
        constraints = [
            models.UniqueConstraint(
                fields=["dispute"], condition=Q(status="pending"), name="dispute_one_pending_resolution"
            ),
            models.UniqueConstraint(
                fields=["round"], condition=Q(status="applied"), name="dispute_resolved_once_per_round"
            ),
            models.CheckConstraint(
                condition=Q(outcome__in=WITHOUT_MONEY, amount=0)
                | Q(~Q(outcome__in=WITHOUT_MONEY), amount__gt=0),
                name="dispute_resolution_amount_as_outcome",
            ),
            models.CheckConstraint(
                condition=Q(status="pending", decided_at__isnull=True)
                | Q(~Q(status="pending"), decided_at__isnull=False),
                name="dispute_resolution_decided",
            ),
            models.CheckConstraint(
                condition=~Q(status="applied")
                | Q(outcome="rejected")
                | Q(outcome__in=("credit_note", "goodwill", "credit_and_rebill"), credit_note__isnull=False)
                | Q(outcome="refund", credit_note__isnull=False, refund__isnull=False)
                | Q(outcome="debit_note", debit_note__isnull=False)
                | Q(outcome="write_off", write_off__isnull=False)
                | Q(outcome="price_fix", amendment__isnull=False),
                name="dispute_resolution_has_its_document",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_outcome_display()} for {self.dispute}"
