"""Delegations and limits: who may stand for whom, and up to which amount somebody's word is enough (APR-16, APR-18)."""

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q

from approvals.querysets import AuthorityLimitQuerySet, DelegationQuerySet
from core.history import AuditedHistory
from core.models import TimestampedModel, VersionedModel
from core.money import CurrencyField, MoneyField
from entities.models import Role


class Delegation(VersionedModel, TimestampedModel):
    """The delegate may decide what waits for the delegator in ``[valid_from, valid_to)``, to the second.

    Tasks stay the delegator's: what the delegate has not decided when it ends falls back by itself. Empty types
    and departments mean all; ``max_amount`` is in ``currency``, empty is the delegator's own limit.
    """

    delegator = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="delegations_given"
    )
    delegate = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="delegations_held"
    )
    request_types = ArrayField(models.CharField(max_length=50), default=list, blank=True)
    departments = models.ManyToManyField("entities.Department", blank=True, related_name="+")
    max_amount = MoneyField(null=True, blank=True)
    currency = CurrencyField(blank=True)
    valid_from = models.DateTimeField()
    valid_to = models.DateTimeField()
    reason = models.CharField(max_length=500)
    ended_at = models.DateTimeField(null=True, blank=True, editable=False)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+", editable=False
    )

    history = AuditedHistory(m2m_fields=[departments])
    objects = DelegationQuerySet.as_manager()

    class Meta:
        db_table = "approval_delegations"
        ordering = ["-valid_from", "-pk"]
        constraints = [
            models.CheckConstraint(
                condition=~Q(delegator=F("delegate")), name="approval_delegation_to_another"
            ),
            models.CheckConstraint(
                condition=Q(valid_to__gt=F("valid_from")), name="approval_delegation_dates_ordered"
            ),
            models.CheckConstraint(
                condition=Q(max_amount__isnull=True) | (Q(max_amount__gt=0) & ~Q(currency="")),
                name="approval_delegation_limit_in_a_currency",
            ),
        ]
        indexes = [
            models.Index(fields=["delegate", "valid_to"], name="approval_delegation_delegate"),
            models.Index(fields=["delegator", "valid_to"], name="approval_delegation_delegator"),
        ]

    def __str__(self) -> str:
        return f"{self.delegate} for {self.delegator}"


class AuthorityLimit(VersionedModel, TimestampedModel):
    """Up to which amount somebody's approval is enough by itself (APR-16); empty ``max_amount`` is without limit.

    Set for a person or for everyone with a role, at an entity with all below it or everywhere, for one type of
    request or for all. A person's own limit goes before their roles'; of several the nearest entity's counts, and
    there the highest. Whom no limit is set for has none. The ultimate approver is asked when no manager has enough.
    """

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="authority_limits",
    )
    role = models.CharField(max_length=20, choices=Role, blank=True)
    entity = models.ForeignKey(
        "entities.Entity", on_delete=models.PROTECT, null=True, blank=True, related_name="authority_limits"
    )
    request_type = models.CharField(max_length=50, blank=True)
    max_amount = MoneyField(null=True, blank=True)
    currency = CurrencyField()
    is_ultimate = models.BooleanField(
        default=False, help_text="Decides when no manager up the line has the authority."
    )

    history = AuditedHistory()
    objects = AuthorityLimitQuerySet.as_manager()

    class Meta:
        db_table = "approval_authority_limits"
        ordering = ["entity", "role", "user"]
        constraints = [
            models.CheckConstraint(
                condition=Q(user__isnull=False, role="") | (Q(user__isnull=True) & ~Q(role="")),
                name="approval_limit_of_a_person_or_a_role",
            ),
            models.CheckConstraint(
                condition=Q(max_amount__isnull=True) | Q(max_amount__gte=0),
                name="approval_limit_not_negative",
            ),
            models.CheckConstraint(
                condition=Q(is_ultimate=False) | Q(user__isnull=False, max_amount__isnull=True),
                name="approval_ultimate_is_a_person_without_limit",
            ),
            models.UniqueConstraint(
                fields=["user", "role", "entity", "request_type"],
                name="approval_limit_once",
                nulls_distinct=False,
            ),
            models.UniqueConstraint(
                fields=["entity", "request_type"],
                condition=Q(is_ultimate=True),
                name="approval_one_ultimate_approver",
                nulls_distinct=False,
            ),
        ]

    def __str__(self) -> str:
        return f"{self.user or self.get_role_display()}"

    @property
    def access_entity_id(self) -> int | None:
        return self.entity_id

    @property
    def access_department_id(self) -> None:
        return None
