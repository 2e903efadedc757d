"""Rules and their levels: who decides on what (APR-01 to APR-08, APR-19)."""

from decimal import Decimal

from django.conf import settings
from django.contrib.postgres.constraints import ExclusionConstraint
from django.contrib.postgres.fields import RangeOperators
from django.db import models
from django.db.models import F, Func, Q, Value
from django.db.models.functions import Coalesce

from approvals.querysets import ApprovalLevelQuerySet, ApprovalRuleQuerySet
from core.constraints import same_number, same_text
from core.history import AuditedHistory
from core.models import TimestampedModel, VersionedModel
from core.money import CurrencyField, MoneyField
from entities.models import Role


class LevelFlow(models.TextChoices):
    """How the levels of a rule follow each other (APR-06)."""

    SEQUENTIAL = "sequential", "One after the other"
    PARALLEL = "parallel", "All at once"


class ApprovalRule(VersionedModel, TimestampedModel):
    """Says which levels decide on requests of a type, place and amount (APR-01).

    The amount band is ``[amount_from, amount_to)`` in ``currency``, the currency of the group's root entity
    (APR-02); it is compared with the request's amount at the rate of the day it is submitted. Rules are tried by
    priority, highest first: the first that matches decides, and each rule marked ``also`` adds its levels.
    In force for ``[valid_from, valid_to)``; both may be open.
    """

    name = models.CharField(max_length=200)
    description = models.TextField(blank=True)
    request_type = models.CharField(max_length=50, blank=True, help_text="Empty: every type of request.")
    entity = models.ForeignKey(
        "entities.Entity",
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="approval_rules",
        help_text="With all entities below it. Empty: every entity.",
    )
    department = models.ForeignKey(
        "entities.Department",
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="approval_rules",
        help_text="With all departments below it. Empty: every department.",
    )
    currency = CurrencyField(help_text="The currency of the band: that of the group's root entity.")
    amount_from = MoneyField(default=0, help_text="From this amount on, itself included.")
    amount_to = MoneyField(
        null=True, blank=True, help_text="Up to this amount, itself excluded. Empty: without limit."
    )
    priority = models.IntegerField(default=0, help_text="Rules with a higher number are tried first.")
    also = models.BooleanField(
        default=False, help_text="Adds its levels to those of the rule that decides, instead of deciding."
    )
    auto_approve = models.BooleanField(
        default=False, help_text="Approves at once and asks nobody. Only a rule that says so does (APR-03)."
    )
    may_exceed_budget = models.BooleanField(
        default=False,
        help_text="A request may ask for more than its budget has; the money must be there when it is approved.",
    )
    flow = models.CharField(max_length=10, choices=LevelFlow, default=LevelFlow.SEQUENTIAL)
    skip_repeated = models.BooleanField(
        default=True,
        help_text="Who approved one level need not approve the next one again (APR-17).",
    )
    valid_from = models.DateField(null=True, blank=True)
    valid_to = models.DateField(
        null=True, blank=True, help_text="The first day on which it no longer applies."
    )
    is_active = models.BooleanField(default=True)

    history = AuditedHistory()
    objects = ApprovalRuleQuerySet.as_manager()

    class Meta:
        db_table = "approval_rules"
        ordering = ["-priority", "amount_from", "pk"]
        constraints = [
            models.CheckConstraint(condition=Q(amount_from__gte=0), name="approval_rule_from_not_negative"),
            models.CheckConstraint(
                condition=Q(amount_to__isnull=True) | Q(amount_to__gt=F("amount_from")),
                name="approval_rule_band_ordered",
            ),
            models.CheckConstraint(
                condition=Q(valid_from__isnull=True)
                | Q(valid_to__isnull=True)
                | Q(valid_to__gt=F("valid_from")),
                name="approval_rule_dates_ordered",
            ),
            models.CheckConstraint(
                condition=~Q(also=True, auto_approve=True), name="approval_rule_also_asks_somebody"
            ),
            # APR-02: of two rules for the same, with the same priority, nobody could say which decides.
            ExclusionConstraint(
                name="approval_rule_no_overlap",
                expressions=[
                    (same_text(F("request_type")), RangeOperators.OVERLAPS),
                    (same_text(F("currency")), RangeOperators.OVERLAPS),
                    (same_number(Coalesce(F("entity_id"), Value(0))), RangeOperators.OVERLAPS),
                    (same_number(Coalesce(F("department_id"), Value(0))), RangeOperators.OVERLAPS),
                    (same_number(F("priority")), RangeOperators.OVERLAPS),
                    (
                        Func(
                            F("amount_from"),
                            F("amount_to"),
                            function="numrange",
                            output_field=models.DecimalField(),
                        ),
                        RangeOperators.OVERLAPS,
                    ),
                    (
                        Func(
                            F("valid_from"),
                            F("valid_to"),
                            function="daterange",
                            output_field=models.DateField(),
                        ),
                        RangeOperators.OVERLAPS,
                    ),
                ],
                condition=Q(is_active=True, also=False),
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def access_entity_id(self) -> int | None:
        return self.entity_id

    @property
    def access_department_id(self) -> int | None:
        return self.department_id

    def covers_amount(self, amount: Decimal) -> bool:
        """Whether an amount in the rule's currency lies in its band: the lower end included, the upper not."""
        return self.amount_from <= amount and (self.amount_to is None or amount < self.amount_to)


class ApproverKind(models.TextChoices):
    """Who is asked at a level (APR-05)."""

    USERS = "users", "Named people"
    ROLE = "role", "Everyone with a role at an entity"
    DEPARTMENT_MANAGER = "department_manager", "The department's manager"
    MANAGER = "manager", "The requester's managers, up to the first whose limit suffices"


class EscalationTarget(models.TextChoices):
    NOBODY = "", "Nobody"
    MANAGER = "manager", "The manager of who has not decided"
    USER = "user", "A person"
    ROLE = "role", "Everyone with a role at the entity"


class EscalationMode(models.TextChoices):
    ADD = "add", "Ask them too"
    REPLACE = "replace", "Ask them instead"


class TimerBasis(models.TextChoices):
    """In which hours reminders and escalations count (APR-19)."""

    CLOCK = "clock", "Hours of the clock"
    BUSINESS = "business", "The approver's working hours"


class ApprovalLevel(models.Model):
    """One level of a rule: who is asked, how many must agree, and what happens when nobody answers."""

    rule = models.ForeignKey(ApprovalRule, on_delete=models.CASCADE, related_name="levels")
    order = models.PositiveSmallIntegerField(help_text="Levels are asked from the lowest number on.")
    name = models.CharField(max_length=100, blank=True)
    approver_kind = models.CharField(max_length=20, choices=ApproverKind, default=ApproverKind.ROLE)
    users = models.ManyToManyField(settings.AUTH_USER_MODEL, blank=True, related_name="+")
    role = models.CharField(max_length=20, choices=Role, blank=True)
    entity = models.ForeignKey(
        "entities.Entity",
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
        help_text="Where the role is held. Empty: at the request's entity.",
    )
    required_approvals = models.PositiveSmallIntegerField(
        null=True,
        blank=True,
        default=1,
        help_text="How many must approve: 1 is any of them; empty is all.",
    )
    veto = models.BooleanField(
        default=True, help_text="One rejection ends the request. Off: only when enough can no longer approve."
    )
    comment_required = models.BooleanField(
        "Approving needs a comment",
        default=False,
        help_text="Who approves says why, and decides on each request by itself, never on several together (APR-24).",
    )
    fallback_role = models.CharField(
        max_length=20,
        choices=Role,
        default=Role.FINANCE_MANAGER,
        help_text="Asked when the level has too few people left, after the managers of those left out (APR-14).",
    )
    reminder_hours = models.PositiveSmallIntegerField(
        null=True, blank=True, default=24, help_text="First reminder, and every so many hours after it."
    )
    escalation_hours = models.PositiveSmallIntegerField(null=True, blank=True, default=48)
    escalation_target = models.CharField(
        max_length=10, choices=EscalationTarget, blank=True, default=EscalationTarget.MANAGER
    )
    escalation_user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )
    escalation_role = models.CharField(max_length=20, choices=Role, blank=True)
    escalation_mode = models.CharField(max_length=10, choices=EscalationMode, default=EscalationMode.ADD)
    escalation_hops = models.PositiveSmallIntegerField(
        default=3, help_text="Escalates at most so many times."
    )
    timer_basis = models.CharField(max_length=10, choices=TimerBasis, default=TimerBasis.CLOCK)

    history = AuditedHistory(m2m_fields=[users])
    objects = ApprovalLevelQuerySet.as_manager()

    class Meta:
        db_table = "approval_levels"
        ordering = ["rule", "order"]
        constraints = [
            models.UniqueConstraint(fields=["rule", "order"], name="approval_level_order_once"),
            models.CheckConstraint(
                condition=Q(required_approvals__isnull=True) | Q(required_approvals__gte=1),
                name="approval_level_needs_somebody",
            ),
            models.CheckConstraint(
                condition=~Q(approver_kind="role") | ~Q(role=""), name="approval_level_role_named"
            ),
            models.CheckConstraint(
                condition=~Q(escalation_target="user") | Q(escalation_user__isnull=False),
                name="approval_level_escalation_user_named",
            ),
            models.CheckConstraint(
                condition=~Q(escalation_target="role") | ~Q(escalation_role=""),
                name="approval_level_escalation_role_named",
            ),
            models.CheckConstraint(
                condition=(Q(reminder_hours__isnull=True) | Q(reminder_hours__gte=1))
                & (Q(escalation_hours__isnull=True) | Q(escalation_hours__gte=1)),
                name="approval_level_timers_positive",
            ),
        ]

    def __str__(self) -> str:
        return self.name or f"Level {self.order}"

    @property
    def access_entity_id(self) -> int | None:
        return self.rule.entity_id

    @property
    def access_department_id(self) -> int | None:
        return self.rule.department_id
