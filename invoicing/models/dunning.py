"""Reminding payers of what is overdue: an issuer's levels, and the notices that were sent (DSP-03)."""

from django.conf import settings
from django.core.validators import MaxValueValidator
from django.db import models
from django.db.models import F, Q

from core.history import AuditedHistory
from core.models import TimestampedModel, VersionedModel
from core.money import CurrencyField, MoneyField
from invoicing.models.hold import CollectionHold
from invoicing.models.invoice import Invoice
from invoicing.querysets import DunningLevelQuerySet, DunningNoticeQuerySet

DUNNING_LANGUAGES = ("en", "de", "fr", "es")


class DunningLevel(VersionedModel, TimestampedModel):
    """What an issuer does ``days_overdue`` days after the due date: 1 is the first reminder.

    ``texts`` holds ``{"subject", "body"}`` by language (en, de, fr, es); a language without a text of its own gets
    the product's. An issuer without levels reminds nobody.
    """

    issuer = models.ForeignKey("entities.Entity", on_delete=models.PROTECT, related_name="dunning_levels")
    level = models.PositiveSmallIntegerField()
    days_overdue = models.PositiveSmallIntegerField(
        validators=[MaxValueValidator(3650)], help_text="Days after the due date."
    )
    is_active = models.BooleanField(default=True)
    texts = models.JSONField(default=dict, blank=True)

    history = AuditedHistory()
    objects = DunningLevelQuerySet.as_manager()

    class Meta:
        db_table = "dunning_levels"
        ordering = ["issuer", "level"]
        constraints = [
            models.UniqueConstraint(fields=["issuer", "level"], name="dunning_level_once"),
            models.UniqueConstraint(fields=["issuer", "days_overdue"], name="dunning_level_days_once"),
            models.CheckConstraint(
                condition=Q(level__gte=1, days_overdue__gte=1), name="dunning_level_counts"
            ),
        ]

    def __str__(self) -> str:
        return f"Level {self.level} of {self.issuer}"

    @property
    def access_entity_id(self) -> int:
        return self.issuer_id

    @property
    def access_department_id(self) -> None:
        return None


class DunningNotice(models.Model):
    """One letter of ``issuer`` to ``entity``: subject and body as they were sent; only ever added to."""

    issuer = models.ForeignKey("entities.Entity", on_delete=models.PROTECT, related_name="+")
    entity = models.ForeignKey("entities.Entity", on_delete=models.PROTECT, related_name="dunning_notices")
    level = models.PositiveSmallIntegerField()
    currency = CurrencyField()
    amount = MoneyField(help_text="What was demanded: open and not disputed.")
    dated = models.DateField()
    language = models.CharField(max_length=5)
    subject = models.CharField(max_length=200)
    body = models.TextField()
    recipient = models.EmailField(blank=True, help_text="Empty: there was no address; print and post it.")
    sent_at = models.DateTimeField(null=True, blank=True, help_text="When the mail left.")
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField()

    objects = DunningNoticeQuerySet.as_manager()

    class Meta:
        db_table = "dunning_notices"
        ordering = ["-id"]
        default_permissions = ("view", "add")
        constraints = [
            models.CheckConstraint(condition=Q(amount__gt=0), name="dunning_notice_amount_positive"),
        ]
        indexes = [models.Index(fields=["entity", "-dated"], name="dunning_notice_of_payer")]

    def __str__(self) -> str:
        return f"Reminder {self.pk} to {self.entity}, level {self.level}"

    @property
    def access_entity_id(self) -> int:
        return self.entity_id

    @property
    def access_department_id(self) -> None:
        return None


class DunnedDocument(models.Model):
    """A document that a notice demands, with what was open and disputed of it then; once per document and level.

    With ``hold`` it is the part of the document that a decided dispute had deferred to ``due_date`` (DSP-14): reminded
    of by that day, once per level. ``disputed_amount`` is what was not demanded here: disputed, deferred, or both.
    """

    notice = models.ForeignKey(DunningNotice, on_delete=models.PROTECT, related_name="documents")
    invoice = models.ForeignKey(Invoice, on_delete=models.PROTECT, related_name="dunned")
    hold = models.ForeignKey(CollectionHold, on_delete=models.PROTECT, null=True, related_name="dunned")
    level = models.PositiveSmallIntegerField()
    due_date = models.DateField()
    open_amount = MoneyField()
    disputed_amount = MoneyField(default=0)
    demanded_amount = MoneyField()

    class Meta:
        db_table = "dunned_documents"
        ordering = ["notice", "due_date", "id"]
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(
                fields=["invoice", "level"],
                condition=Q(hold__isnull=True),
                name="dunned_once_per_level",
            ),
            models.UniqueConstraint(
                fields=["hold", "level"],
                condition=Q(hold__isnull=False),
                name="deferred_dunned_once_per_level",
            ),
            models.CheckConstraint(
                condition=Q(
                    demanded_amount__gt=0,
                    demanded_amount=F("open_amount") - F("disputed_amount"),
                ),
                name="dunned_leaves_out_disputed",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.invoice} at level {self.level}"
