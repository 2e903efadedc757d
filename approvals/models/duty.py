"""Duties that one person must not hold together, and the exceptions from that (APR-15)."""

from django.conf import settings
from django.db import models
from django.db.models import F, Q

from approvals.querysets import DutyExceptionQuerySet
from core.history import AuditedHistory
from core.models import TimestampedModel, VersionedModel


class IncompatibleDuties(VersionedModel, TimestampedModel):
    """Two rights, such as "approvals.maintain_payee" and "invoicing.add_payment", that nobody holds together.

    With ``at_grant`` tested when a role is granted, over all that the person may do at the place; with ``at_action``
    when one duty is exercised on a document on which the same person exercised the other. A right that one role
    brings together with the other can only be tested at the action: nobody could be given that role.
    """

    name = models.CharField(max_length=200)
    first_permission = models.CharField(max_length=100)
    second_permission = models.CharField(max_length=100)
    at_grant = models.BooleanField(
        "Tested when a role is given", default=True, help_text="Nobody gets both rights at one place."
    )
    at_action = models.BooleanField(
        "Tested on each document", default=True, help_text="Nobody exercises both on the same document."
    )
    is_active = models.BooleanField(default=True)

    history = AuditedHistory()

    class Meta:
        db_table = "approval_incompatible_duties"
        verbose_name_plural = "incompatible duties"
        ordering = ["name"]
        constraints = [
            models.UniqueConstraint(
                fields=["first_permission", "second_permission"], name="approval_duties_once"
            ),
            models.CheckConstraint(
                condition=~Q(first_permission=F("second_permission")), name="approval_duties_differ"
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def access_entity_id(self) -> None:
        """They hold in every group of companies."""
        return None

    @property
    def access_department_id(self) -> None:
        return None

    @property
    def pair(self) -> frozenset[str]:
        """Both rights."""
        return frozenset({self.first_permission, self.second_permission})


class DutyException(TimestampedModel):
    """Somebody may hold incompatible duties until ``valid_to`` (exclusive); ``owner`` answers for it."""

    duties = models.ForeignKey(IncompatibleDuties, on_delete=models.PROTECT, related_name="exceptions")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    reason = models.CharField(max_length=500)
    valid_from = models.DateField()
    valid_to = models.DateField()

    history = AuditedHistory()
    objects = DutyExceptionQuerySet.as_manager()

    class Meta:
        db_table = "approval_duty_exceptions"
        ordering = ["-valid_to"]
        constraints = [
            models.CheckConstraint(
                condition=Q(valid_to__gt=F("valid_from")), name="approval_duty_exception_dates_ordered"
            ),
            models.CheckConstraint(
                condition=~Q(owner=F("user")), name="approval_duty_exception_owned_by_another"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.user}: {self.duties}"
