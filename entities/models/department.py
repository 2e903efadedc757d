"""Departments: the cost centres of an entity (ENT-03)."""

import datetime

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Upper

from core.history import AuditedHistory
from core.models import TimestampedModel, VersionedModel
from entities.querysets import DepartmentQuerySet


class CostCenterType(models.TextChoices):
    COST = "cost", "Cost centre"
    PROFIT = "profit", "Profit centre"
    REVENUE = "revenue", "Revenue centre"
    INVESTMENT = "investment", "Investment centre"
    SERVICE = "service", "Service centre"


class Department(VersionedModel, TimestampedModel):
    """A cost centre in the tree of one entity; the database refuses a cycle and a parent of another entity."""

    entity = models.ForeignKey("entities.Entity", on_delete=models.PROTECT, related_name="departments")
    parent = models.ForeignKey(
        "self", on_delete=models.PROTECT, null=True, blank=True, related_name="children"
    )
    name = models.CharField(max_length=200)
    code = models.CharField(max_length=50)
    cost_center_type = models.CharField(max_length=12, choices=CostCenterType, default=CostCenterType.COST)
    gl_code = models.CharField("GL code", max_length=50, blank=True)
    manager = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="managed_departments",
    )
    is_active = models.BooleanField(default=True)
    closed_on = models.DateField(
        null=True,
        blank=True,
        help_text="The first day on which it takes no cost any more; empty: open.",
    )

    history = AuditedHistory()
    objects = DepartmentQuerySet.as_manager()

    class Meta:
        db_table = "departments"
        ordering = ["entity", "code"]
        permissions = [("view_department_costs", "Can see what a department costs")]
        constraints = [
            models.UniqueConstraint("entity", Upper("code"), name="department_code_unique_in_entity"),
            # The target of composite foreign keys that keep a department and its entity together.
            models.UniqueConstraint(fields=["id", "entity"], name="department_id_entity"),
            models.CheckConstraint(
                condition=Q(parent__isnull=True) | ~Q(parent=F("id")),
                name="department_not_its_own_parent",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.code} {self.name}"

    @property
    def access_entity_id(self) -> int:
        return self.entity_id

    @property
    def access_department_id(self) -> int:
        return self.pk

    def takes_cost_on(self, day: datetime.date) -> bool:
        """Whether cost may be posted to it on ``day`` (ALC-05)."""
        return self.is_active and (self.closed_on is None or day < self.closed_on)


class DepartmentClosure(models.Model):
    """Every (ancestor, descendant) pair of departments, the pair with itself included. Kept by trigger."""

    ancestor = models.ForeignKey(Department, on_delete=models.DO_NOTHING, related_name="below")
    descendant = models.ForeignKey(Department, on_delete=models.DO_NOTHING, related_name="above")
    depth = models.PositiveSmallIntegerField()

    class Meta:
        db_table = "department_closure"
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(fields=["ancestor", "descendant"], name="department_closure_pair"),
        ]
