"""How people want to be told, and which of what they were told goes into their daily digest."""

from django.conf import settings
from django.db import models

from core.history import AuditedHistory
from core.models import TimestampedModel


class MailDelivery(models.TextChoices):
    IMMEDIATE = "immediate", "A mail at once"
    DIGEST = "digest", "One mail a day"


class ApprovalMailPreference(TimestampedModel):
    """One person's choice; who has made none gets a mail at once and is reminded.

    ``digest_sent_on`` is the last day, in the person's own time zone, whose digest was made.
    """

    user = models.OneToOneField(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="approval_mail_preference"
    )
    delivery = models.CharField(max_length=10, choices=MailDelivery, default=MailDelivery.IMMEDIATE)
    mute_reminders = models.BooleanField(
        default=False, help_text="No reminders, neither by mail nor on the page; escalations go on."
    )
    digest_sent_on = models.DateField(null=True, blank=True, editable=False)

    history = AuditedHistory(excluded_fields=["digest_sent_on"])

    class Meta:
        db_table = "approval_mail_preferences"
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.user} · {self.get_delivery_display()}"


class ApprovalNews(models.Model):
    """What a notification tells of: the mail takes its facts from here; ``digest`` is the daily mail that told it."""

    notification = models.OneToOneField(
        "core.Notification", on_delete=models.CASCADE, related_name="approval_news"
    )
    request = models.ForeignKey("approvals.ApprovalRequest", on_delete=models.CASCADE, related_name="+")
    task = models.ForeignKey(
        "approvals.ApprovalTask", on_delete=models.CASCADE, null=True, blank=True, related_name="+"
    )
    for_digest = models.BooleanField(default=False)
    digest = models.ForeignKey(
        "core.Notification", on_delete=models.CASCADE, null=True, blank=True, related_name="+"
    )

    class Meta:
        db_table = "approval_news"
        default_permissions = ()
        indexes = [
            models.Index(
                fields=["notification"],
                condition=models.Q(for_digest=True, digest__isnull=True),
                name="approval_news_for_digest",
            ),
            models.Index(fields=["digest"], name="approval_news_digest"),
        ]

    def __str__(self) -> str:
        return str(self.notification)
