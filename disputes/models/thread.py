"""What is said about a dispute: comments, mentions and files (DSP-18)."""

from django.conf import settings
from django.db import models
from django.db.models import Q

from core import clock
from core.history import current_channel
from disputes.models.dispute import BillingDispute
from disputes.querysets import AttachmentQuerySet, CommentQuerySet


class Visibility(models.TextChoices):
    INTERNAL = "internal", "Internal"
    CUSTOMER = "customer", "To the customer"


class Speaker(models.TextChoices):
    STAFF = "staff", "Staff"
    CUSTOMER = "customer", "Customer"
    SYSTEM = "system", "Automatic"


class DisputeComment(models.Model):
    """One version of a comment; never changed: an edit is a further version with the same ``thread_key``.

    An edit cannot make an internal comment public, nor a public one internal. What `SYSTEM` says is no answer of
    staff (DSP-05).
    """

    dispute = models.ForeignKey(BillingDispute, on_delete=models.PROTECT, related_name="comments")
    thread_key = models.UUIDField(help_text="The same for all versions of one comment.")
    version = models.PositiveSmallIntegerField(default=1)
    visibility = models.CharField(max_length=8, choices=Visibility)
    speaker = models.CharField(max_length=8, choices=Speaker)
    body = models.TextField(max_length=10_000)
    author = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    mentions = models.ManyToManyField(
        settings.AUTH_USER_MODEL, related_name="+", db_table="dispute_comment_mentions"
    )
    channel = models.CharField(max_length=10, blank=True, default=current_channel)
    created_at = models.DateTimeField(default=clock.now)

    objects = CommentQuerySet.as_manager()

    class Meta:
        db_table = "dispute_comments"
        ordering = ["id"]
        verbose_name = "comment"
        default_permissions = ("add", "view")
        constraints = [
            models.UniqueConstraint(fields=["thread_key", "version"], name="dispute_comment_version_once"),
            models.CheckConstraint(
                condition=~Q(speaker="customer") | Q(visibility="customer"),
                name="dispute_comment_of_customer_is_public",
            ),
            models.CheckConstraint(condition=~Q(body=""), name="dispute_comment_says_something"),
        ]
        indexes = [models.Index(fields=["dispute", "id"], name="dispute_comment_thread")]

    def __str__(self) -> str:
        return f"Comment {self.pk} on {self.dispute}"

    @property
    def is_internal(self) -> bool:
        return self.visibility == Visibility.INTERNAL


class DisputeAttachment(models.Model):
    """A file on a dispute, outside the web root, served only to who may see it; ``sha256`` is of its content."""

    dispute = models.ForeignKey(BillingDispute, on_delete=models.PROTECT, related_name="attachments")
    comment = models.ForeignKey(
        DisputeComment, on_delete=models.PROTECT, null=True, blank=True, related_name="attachments"
    )
    visibility = models.CharField(max_length=8, choices=Visibility)
    file = models.FileField(upload_to="disputes/%Y/%m/", max_length=255)
    name = models.CharField(max_length=255)
    content_type = models.CharField(max_length=100)
    size = models.PositiveBigIntegerField(help_text="Bytes.")
    sha256 = models.CharField(max_length=64)
    uploaded_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    uploaded_at = models.DateTimeField(default=clock.now)
    removed_at = models.DateTimeField(null=True, blank=True)
    removed_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )

    objects = AttachmentQuerySet.as_manager()

    class Meta:
        db_table = "dispute_attachments"
        ordering = ["id"]
        verbose_name = "file"
        default_permissions = ("add", "view")
        constraints = [
            models.UniqueConstraint(
                fields=["dispute", "sha256", "visibility"],
                condition=Q(removed_at__isnull=True),
                name="dispute_attachment_once",
            ),
        ]

    def __str__(self) -> str:
        return self.name
