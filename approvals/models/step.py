"""Steps and tasks: the levels of a request, frozen at submission, and who is asked at each (APR-05 to APR-08)."""

from django.conf import settings
from django.db import models
from django.db.models import Q

from approvals.models.rule import EscalationMode, EscalationTarget, TimerBasis
from approvals.querysets import ApprovalStepQuerySet, ApprovalTaskQuerySet


class StepStatus(models.TextChoices):
    WAITING = "waiting", "Waiting for its turn"
    OPEN = "open", "Being decided"
    BLOCKED = "blocked", "Nobody can decide"
    PASSED = "passed", "Passed"
    FAILED = "failed", "Failed"
    CANCELLED = "cancelled", "Cancelled"


class StepOrigin(models.TextChoices):
    RULE = "rule", "Rule"
    AUTHORITY = "authority", "Authority limit"


class ApprovalStep(models.Model):
    """One level of one round of a request; the level's settings are copied, so later edits change nothing."""

    request = models.ForeignKey("approvals.ApprovalRequest", on_delete=models.PROTECT, related_name="steps")
    round = models.PositiveSmallIntegerField()
    order = models.PositiveSmallIntegerField()
    name = models.CharField(max_length=100)
    origin = models.CharField(max_length=10, choices=StepOrigin, default=StepOrigin.RULE)
    rule_id = models.BigIntegerField(null=True, blank=True)
    rule_version = models.PositiveIntegerField(null=True, blank=True)
    why = models.CharField(max_length=500, help_text="The rule in words.")
    status = models.CharField(max_length=10, choices=StepStatus, default=StepStatus.WAITING)
    required_approvals = models.PositiveSmallIntegerField()
    veto = models.BooleanField(default=True)
    comment_required = models.BooleanField(default=False, db_default=False)
    fallback_role = models.CharField(max_length=20, blank=True)
    reminder_hours = models.PositiveSmallIntegerField(null=True, blank=True)
    escalation_hours = models.PositiveSmallIntegerField(null=True, blank=True)
    escalation_target = models.CharField(max_length=10, choices=EscalationTarget, blank=True)
    escalation_user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )
    escalation_role = models.CharField(max_length=20, blank=True)
    escalation_mode = models.CharField(max_length=10, choices=EscalationMode, default=EscalationMode.ADD)
    escalation_hops = models.PositiveSmallIntegerField(default=0)
    timer_basis = models.CharField(max_length=10, choices=TimerBasis, default=TimerBasis.CLOCK)
    hops_done = models.PositiveSmallIntegerField(default=0)
    opened_at = models.DateTimeField(null=True, blank=True)
    decided_at = models.DateTimeField(null=True, blank=True)
    escalates_at = models.DateTimeField(null=True, blank=True)

    objects = ApprovalStepQuerySet.as_manager()

    class Meta:
        db_table = "approval_steps"
        ordering = ["request", "round", "order"]
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(fields=["request", "round", "order"], name="approval_step_order_once"),
            models.CheckConstraint(
                condition=Q(required_approvals__gte=1), name="approval_step_needs_somebody"
            ),
        ]
        indexes = [
            models.Index(
                fields=["escalates_at"],
                condition=Q(status="open", escalates_at__isnull=False),
                name="approval_step_escalation",
            ),
        ]

    def __str__(self) -> str:
        return self.name


class TaskStatus(models.TextChoices):
    WAITING = "waiting", "Not yet asked"
    OPEN = "open", "Waiting for a decision"
    APPROVED = "approved", "Approved"
    REJECTED = "rejected", "Rejected"
    RETURNED = "returned", "Sent back"
    PASSED_ON = "passed_on", "Passed on"
    CANCELLED = "cancelled", "No longer needed"


class TaskOrigin(models.TextChoices):
    """Why this person is asked."""

    RULE = "rule", "Named by the rule"
    FALLBACK = "fallback", "In place of somebody who may not decide"
    AUTHORITY = "authority", "Has the authority that was missing"
    ESCALATION = "escalation", "Escalated"
    DELEGATED = "delegated", "Passed on by the approver"
    REASSIGNED = "reassigned", "Reassigned"


class ApprovalTask(models.Model):
    """One person asked at one step. ``acted_by`` differs from ``approver`` when a delegate decided for them."""

    step = models.ForeignKey(ApprovalStep, on_delete=models.PROTECT, related_name="tasks")
    request = models.ForeignKey("approvals.ApprovalRequest", on_delete=models.PROTECT, related_name="tasks")
    approver = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="approval_tasks"
    )
    status = models.CharField(max_length=10, choices=TaskStatus, default=TaskStatus.WAITING)
    origin = models.CharField(max_length=10, choices=TaskOrigin, default=TaskOrigin.RULE)
    for_whom = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
        help_text="In whose place this person is asked, where they stand for somebody.",
    )
    needs_right_there = models.BooleanField(
        default=True,
        db_default=True,
        help_text="Asked as the holder of a role: needs the right to decide where the request belongs. Who is asked "
        "by name or up a line of managers needs it anywhere (APR-14).",
    )
    opened_at = models.DateTimeField(null=True, blank=True)
    remind_at = models.DateTimeField(null=True, blank=True)
    reminders_sent = models.PositiveSmallIntegerField(default=0)
    acted_at = models.DateTimeField(null=True, blank=True)
    acted_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )

    objects = ApprovalTaskQuerySet.as_manager()

    class Meta:
        db_table = "approval_tasks"
        ordering = ["step", "id"]
        default_permissions = ()
        constraints = [
            # APR-07: whatever roles somebody holds, they are asked once at a level,
            models.UniqueConstraint(fields=["step", "approver"], name="approval_task_once_per_person"),
            # and vote once there, also when they stand for somebody else.
            models.UniqueConstraint(
                fields=["step", "acted_by"],
                condition=Q(status__in=["approved", "rejected"]),
                name="approval_one_vote_per_person",
            ),
            models.CheckConstraint(
                condition=~Q(status__in=["approved", "rejected"])
                | Q(acted_by__isnull=False, acted_at__isnull=False),
                name="approval_task_vote_has_a_voter",
            ),
        ]
        indexes = [
            models.Index(
                fields=["approver", "request"], condition=Q(status="open"), name="approval_task_inbox"
            ),
            models.Index(fields=["acted_by", "-acted_at"], name="approval_task_decided_by"),
            models.Index(
                fields=["remind_at"],
                condition=Q(status="open", remind_at__isnull=False),
                name="approval_task_reminders",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.approver} · {self.get_status_display()}"
