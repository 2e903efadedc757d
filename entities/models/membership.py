"""Who may act where: the only source of access (ENT-04, ENT-05)."""

from django.conf import settings
from django.db import models
from django.db.models import F, Q

from core.history import AuditedHistory
from core.models import TimestampedModel
from entities.querysets import MembershipQuerySet


class Role(models.TextChoices):
    ADMINISTRATOR = "administrator", "Administrator"
    FINANCE_MANAGER = "finance_manager", "Finance manager"
    FINANCE_STAFF = "finance_staff", "Finance staff"
    DEPARTMENT_MANAGER = "department_manager", "Department manager"
    APPROVER = "approver", "Approver"
    AUDITOR = "auditor", "Auditor"
    SERVICE_ACCOUNT = "service_account", "Service account"


class Membership(TimestampedModel):
    """A user's role at an entity, or at one department of it, with or without what lies below.

    ``include_descendants`` covers the entities (or departments) below the named one. In force from
    ``valid_from`` until before ``valid_to``; both may be open.
    """

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="memberships")
    entity = models.ForeignKey("entities.Entity", on_delete=models.PROTECT, related_name="memberships")
    department = models.ForeignKey(
        "entities.Department",
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="memberships",
    )
    role = models.CharField(max_length=20, choices=Role)
    include_descendants = models.BooleanField(default=True)
    valid_from = models.DateField(null=True, blank=True)
    valid_to = models.DateField(null=True, blank=True)

    history = AuditedHistory()
    objects = MembershipQuerySet.as_manager()

    class Meta:
        db_table = "memberships"
        ordering = ["user", "entity", "role"]
        permissions = [("manage_membership", "Can grant and end memberships")]
        constraints = [
            models.UniqueConstraint(
                fields=["user", "entity", "department", "role"],
                name="membership_once",
                nulls_distinct=False,
            ),
            models.CheckConstraint(
                condition=Q(valid_from__isnull=True)
                | Q(valid_to__isnull=True)
                | Q(valid_to__gt=F("valid_from")),
                name="membership_dates_ordered",
            ),
        ]
        indexes = [models.Index(fields=["user", "entity"], name="membership_user_entity")]

    def __str__(self) -> str:
        return f"{self.user} · {self.get_role_display()}"

    @property
    def access_entity_id(self) -> int:
        return self.entity_id

    @property
    def access_department_id(self) -> int | None:
        return self.department_id
