"""Notices, renewals of terms, and the alerts before them (CON-10 to CON-14)."""

from django.conf import settings
from django.db import models
from django.db.models import F, Q

from contracts.fields import PercentField
from contracts.models.contract import Contract, Side, no_overlap
from contracts.models.paper import OfContract
from contracts.querysets import OfContractQuerySet
from core import clock
from core.constraints import same_number


class NoticeKind(models.TextChoices):
    END = "end", "Ends the contract"
    RENEW = "renew", "Exercises the option to renew"
    PRICE = "price", "Announces new prices"


class NoticeMethod(models.TextChoices):
    EMAIL = "email", "E-mail"
    LETTER = "letter", "Letter"
    REGISTERED = "registered", "Registered letter"
    PORTAL = "portal", "Portal"
    HAND = "hand", "By hand"


class RenewalNotice(OfContract):
    """A notice as it was received. Append-only (CON-11).

    ``term_number`` is the term at whose end it works: the running one if it came on time, else the following one.
    ``ends_on`` is the first day after that term. An announcement of new prices is on time if the next term's prices
    may rise by it (CON-14).
    """

    contract = models.ForeignKey(Contract, on_delete=models.PROTECT, related_name="renewal_notices")
    kind = models.CharField(max_length=5, choices=NoticeKind)
    side = models.CharField(max_length=8, choices=Side)
    method = models.CharField(max_length=10, choices=NoticeMethod)
    received_at = models.DateTimeField()
    on_time = models.BooleanField()
    deadline = models.DateField(help_text="The last day on which it is on time for the term it works for.")
    term_number = models.PositiveIntegerField()
    ends_on = models.DateField()
    note = models.CharField(max_length=1000, blank=True)
    recorded_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(default=clock.now, editable=False)

    objects = OfContractQuerySet.as_manager()

    class Meta:
        db_table = "contract_renewal_notices"
        ordering = ["contract", "id"]
        constraints = [
            models.UniqueConstraint(
                fields=["contract", "kind", "term_number"], name="contract_notice_once_per_term"
            ),
            models.CheckConstraint(condition=Q(term_number__gte=1), name="contract_notice_of_a_term"),
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()}: term {self.term_number}"


class TermRenewal(OfContract):
    """Term ``term_number`` of a contract, locked at the notice deadline of the one before it (CON-12).

    ``uplift_percent`` is what prices rise by from ``term_start`` on. It is provisional while the index is not
    published; settling it afterwards is the one change that a trigger allows (CON-14).
    """

    contract = models.ForeignKey(Contract, on_delete=models.PROTECT, related_name="term_renewals")
    term_number = models.PositiveIntegerField()
    term_start = models.DateField()
    term_end = models.DateField(help_text="The first day after the term.")
    index_name = models.CharField(max_length=50, blank=True)
    index_percent = PercentField(null=True, blank=True)
    uplift_percent = PercentField(default=0)
    is_provisional = models.BooleanField(default=False)
    settled_percent = PercentField(null=True, blank=True)
    settled_at = models.DateTimeField(null=True, blank=True)
    locked_at = models.DateTimeField(default=clock.now)
    locked_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")

    objects = OfContractQuerySet.as_manager()

    class Meta:
        db_table = "contract_term_renewals"
        ordering = ["contract", "term_number"]
        constraints = [
            models.UniqueConstraint(fields=["contract", "term_number"], name="contract_term_once"),
            models.CheckConstraint(condition=Q(term_number__gte=2), name="contract_term_after_the_first"),
            models.CheckConstraint(condition=Q(term_end__gt=F("term_start")), name="contract_term_ordered"),
            no_overlap(
                same_number(F("contract_id")),
                start="term_start",
                end="term_end",
                name="contract_term_no_overlap",
            ),
            models.CheckConstraint(
                condition=Q(settled_at__isnull=True, settled_percent__isnull=True)
                | Q(settled_at__isnull=False, settled_percent__isnull=False, is_provisional=True),
                name="contract_term_settled_if_provisional",
            ),
        ]

    def __str__(self) -> str:
        return f"Term {self.term_number} from {self.term_start}"


class RenewalAlert(OfContract):
    """That the people concerned were told, so many days before the notice deadline: once (CON-13).

    A deadline that was moved, by an amendment say, is another one.
    """

    contract = models.ForeignKey(Contract, on_delete=models.CASCADE, related_name="renewal_alerts")
    term_number = models.PositiveIntegerField()
    days = models.PositiveSmallIntegerField()
    deadline = models.DateField()
    sent_at = models.DateTimeField(default=clock.now)

    objects = OfContractQuerySet.as_manager()

    class Meta:
        db_table = "contract_renewal_alerts"
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["contract", "term_number", "days", "deadline"], name="contract_alert_once"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.days} days before {self.deadline}"
