"""What was done on a request, its files, and the links in its mails (APR-25, APR-26)."""

import datetime

from django.conf import settings
from django.db import models
from django.db.models import F, Q

from approvals.querysets import OfRequestQuerySet
from core import clock
from core.history import Channel, current_channel, current_request_id


class ActionKind(models.TextChoices):
    SUBMITTED = "submitted", "Submitted"
    EDITED = "edited", "Changed"
    APPROVED = "approved", "Approved"
    REJECTED = "rejected", "Rejected"
    CHANGES_REQUESTED = "changes_requested", "Asked for changes"
    RECALLED = "recalled", "Took the vote back"
    WITHDRAWN = "withdrawn", "Withdrawn"
    EXPIRED = "expired", "Expired"
    COMMENTED = "commented", "Commented"
    ATTACHED = "attached", "Attached a file"
    DETACHED = "detached", "Removed a file"
    DELEGATED = "delegated", "Passed on"
    REASSIGNED = "reassigned", "Reassigned"
    ESCALATED = "escalated", "Escalated"
    REMINDED = "reminded", "Reminded"
    CARRIED = "carried", "Vote of the level before counted again"
    AUTHORITY_ADDED = "authority_added", "Passed up for authority"
    BLOCKED = "blocked", "Blocked"
    RECALCULATED = "recalculated", "Approvers worked out anew"
    ROUND_STARTED = "round_started", "Approvals voided, new round"
    AUTO_APPROVED = "auto_approved", "Approved by rule"
    EMERGENCY_APPROVED = "emergency_approved", "Approved in an emergency"
    EMERGENCY_REVIEWED = "emergency_reviewed", "Emergency reviewed"
    EFFECT_BOOKED = "effect_booked", "Effect booked"
    EFFECT_FAILED = "effect_failed", "Effect failed"


VOTES = (ActionKind.APPROVED, ActionKind.REJECTED)


class ApprovalAction(models.Model):
    """One event of a request's life; append-only: a trigger refuses changes (APR-26).

    ``on_behalf_of`` is the approver for whom a delegate acted ("B for A"). ``content_hash`` is the fingerprint of
    what was decided on; ``details`` holds what else is worth knowing (the changed fields with old and new value).
    """

    request = models.ForeignKey("approvals.ApprovalRequest", on_delete=models.PROTECT, related_name="actions")
    round = models.PositiveSmallIntegerField()
    step = models.ForeignKey(
        "approvals.ApprovalStep", on_delete=models.PROTECT, null=True, blank=True, related_name="actions"
    )
    kind = models.CharField(max_length=20, choices=ActionKind)
    actor = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    on_behalf_of = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )
    comment = models.TextField(blank=True)
    content_hash = models.CharField(max_length=64, blank=True)
    rule_id = models.BigIntegerField(null=True, blank=True)
    rule_version = models.PositiveIntegerField(null=True, blank=True)
    details = models.JSONField(default=dict, blank=True)
    channel = models.CharField(max_length=10, blank=True, choices=Channel, default=current_channel)
    request_ref = models.CharField(
        "request id", max_length=64, blank=True, default=current_request_id, db_column="http_request_id"
    )
    created_at = models.DateTimeField(default=clock.now)

    objects = OfRequestQuerySet.as_manager()

    class Meta:
        db_table = "approval_actions"
        ordering = ["id"]
        constraints = [
            models.CheckConstraint(
                condition=~Q(kind__in=["rejected", "changes_requested", "emergency_approved"])
                | ~Q(comment=""),
                name="approval_action_says_why",
            ),
        ]
        indexes = [models.Index(fields=["request", "id"], name="approval_action_request")]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} · {self.actor}"

    @property
    def access_entity_id(self) -> int:
        return self.request.entity_id

    @property
    def access_department_id(self) -> int | None:
        return self.request.department_id


class ApprovalAttachment(models.Model):
    """A file on a request, served only to who may see the request; ``sha256`` is of its content."""

    request = models.ForeignKey(
        "approvals.ApprovalRequest", on_delete=models.PROTECT, related_name="attachments"
    )
    file = models.FileField(upload_to="approvals/%Y/%m/", max_length=255)
    name = models.CharField(max_length=255)
    content_type = models.CharField(max_length=100)
    size = models.PositiveBigIntegerField(help_text="Bytes.")
    sha256 = models.CharField(max_length=64)
    uploaded_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    uploaded_at = models.DateTimeField(default=clock.now)
    removed_at = models.DateTimeField(null=True, blank=True)

    objects = OfRequestQuerySet.as_manager()

    class Meta:
        db_table = "approval_attachments"
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(
                fields=["request", "sha256"],
                condition=Q(removed_at__isnull=True),
                name="approval_attachment_once",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def access_entity_id(self) -> int:
        return self.request.entity_id

    @property
    def access_department_id(self) -> int | None:
        return self.request.department_id


LONGEST_LINK = datetime.timedelta(hours=72)


class LinkAction(models.TextChoices):
    APPROVE = "approve", "Approve"
    REJECT = "reject", "Reject"


class ApprovalLink(models.Model):
    """A link in a mail: for one person, task, action and content, used once, for 72 hours at most (APR-25).

    Only the token's hash is stored: who reads the table cannot use the links.
    """

    token_hash = models.CharField(max_length=64, unique=True)
    task = models.ForeignKey("approvals.ApprovalTask", on_delete=models.PROTECT, related_name="links")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    action = models.CharField(max_length=10, choices=LinkAction)
    content_hash = models.CharField(max_length=64)
    created_at = models.DateTimeField(default=clock.now)
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        db_table = "approval_links"
        ordering = ["-id"]
        default_permissions = ()
        constraints = [
            models.CheckConstraint(
                condition=Q(expires_at__lte=F("created_at") + LONGEST_LINK),
                name="approval_link_lives_72_hours_at_most",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_action_display()} · {self.user}"
