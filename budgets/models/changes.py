"""Transfers, revisions, overrides and rollovers: changes of budgets that people decide (BUD-23 to BUD-25, BUD-29)."""

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django_fsm import transition

from budgets.querysets import BudgetChangeQuerySet, BudgetRolloverQuerySet, BudgetTransferQuerySet
from core.models import TimestampedModel
from core.money import MoneyField
from core.states import StateField


class DecisionStatus(models.TextChoices):
    PROPOSED = "proposed", "Proposed"
    APPROVED = "approved", "Approved"
    REJECTED = "rejected", "Rejected"


class Decided(TimestampedModel):
    """Asked for by one person and decided by another."""

    status = StateField(
        max_length=10,
        choices=DecisionStatus,
        default=DecisionStatus.PROPOSED,
        protected=True,
    )
    reason = models.CharField(max_length=500)
    requested_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    decided_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
    )
    decided_at = models.DateTimeField(null=True, blank=True)
    decision_comment = models.CharField(max_length=500, blank=True)

    class Meta:
        abstract = True

    @transition(field=status, source=DecisionStatus.PROPOSED, target=DecisionStatus.APPROVED)
    def approve(self) -> None:
        """Granted; its entries are posted in the same transaction."""

    @transition(field=status, source=DecisionStatus.PROPOSED, target=DecisionStatus.REJECTED)
    def reject(self) -> None:
        """Refused; nothing was posted."""


def decided_by_another(name: str) -> models.CheckConstraint:
    return models.CheckConstraint(
        condition=Q(decided_by__isnull=True) | ~Q(decided_by=F("requested_by")),
        name=name,
    )


class BudgetTransfer(Decided):
    """Money from one budget's allocation to another's of the same currency (BUD-24).

    The giving budget's owner approves and, above a threshold, somebody of finance besides; nobody twice, and not
    who asked. The approval that completes it moves the money.
    """

    from_budget = models.ForeignKey("budgets.Budget", on_delete=models.PROTECT, related_name="transfers_out")
    to_budget = models.ForeignKey("budgets.Budget", on_delete=models.PROTECT, related_name="transfers_in")
    amount = MoneyField()
    owner_approved_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
    )
    owner_approved_at = models.DateTimeField(null=True, blank=True)
    finance_approved_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
    )
    finance_approved_at = models.DateTimeField(null=True, blank=True)

    objects = BudgetTransferQuerySet.as_manager()

    class Meta:
        db_table = "budget_transfers"
        ordering = ["-id"]
        constraints = [
            models.CheckConstraint(condition=Q(amount__gt=0), name="budget_transfer_positive"),
            models.CheckConstraint(
                condition=~Q(from_budget=F("to_budget")),
                name="budget_transfer_between_two",
            ),
            decided_by_another("budget_transfer_decided_by_another"),
            models.CheckConstraint(
                condition=Q(owner_approved_by__isnull=True) | ~Q(owner_approved_by=F("requested_by")),
                name="budget_transfer_owner_is_another",
            ),
            models.CheckConstraint(
                condition=Q(finance_approved_by__isnull=True)
                | (
                    ~Q(finance_approved_by=F("requested_by"))
                    & (Q(owner_approved_by__isnull=True) | ~Q(finance_approved_by=F("owner_approved_by")))
                ),
                name="budget_transfer_finance_is_another",
            ),
            models.CheckConstraint(
                condition=~Q(status="approved") | Q(owner_approved_by__isnull=False),
                name="budget_transfer_approved_by_owner",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.from_budget} → {self.to_budget}"

    @property
    def access_entity_id(self) -> int:
        return self.from_budget.entity_id

    @property
    def access_department_id(self) -> int | None:
        return self.from_budget.department_id


class BudgetRevision(Decided):
    """A signed change of a budget's allocation; the old one stays in force until it is approved (BUD-25)."""

    budget = models.ForeignKey("budgets.Budget", on_delete=models.PROTECT, related_name="revisions")
    number = models.PositiveIntegerField()
    delta = MoneyField()

    objects = BudgetChangeQuerySet.as_manager()

    class Meta:
        db_table = "budget_revisions"
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(fields=["budget", "number"], name="budget_revision_number"),
            models.CheckConstraint(condition=~Q(delta=0), name="budget_revision_changes_something"),
            decided_by_another("budget_revision_decided_by_another"),
        ]

    def __str__(self) -> str:
        return f"Revision {self.number}"

    @property
    def access_entity_id(self) -> int:
        return self.budget.entity_id

    @property
    def access_department_id(self) -> int | None:
        return self.budget.department_id


class BudgetOverride(Decided):
    """Leave to exceed a budget once, up to ``limit`` (BUD-29)."""

    budget = models.ForeignKey("budgets.Budget", on_delete=models.PROTECT, related_name="overrides")
    limit = MoneyField()
    used_amount = MoneyField(null=True, blank=True)
    used_at = models.DateTimeField(null=True, blank=True)
    entry = models.OneToOneField(
        "budgets.BudgetEntry",
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="override",
    )
    before = models.JSONField(default=dict, blank=True, help_text="The budget's figures before its use.")
    after = models.JSONField(default=dict, blank=True)

    objects = BudgetChangeQuerySet.as_manager()

    class Meta:
        db_table = "budget_overrides"
        ordering = ["-id"]
        constraints = [
            models.CheckConstraint(condition=Q(limit__gt=0), name="budget_override_positive"),
            models.CheckConstraint(
                condition=Q(used_amount__isnull=True) | Q(used_amount__lte=F("limit")),
                name="budget_override_within_limit",
            ),
            decided_by_another("budget_override_decided_by_another"),
        ]

    def __str__(self) -> str:
        return f"Override of {self.budget}"

    @property
    def access_entity_id(self) -> int:
        return self.budget.entity_id

    @property
    def access_department_id(self) -> int | None:
        return self.budget.department_id


class RolloverStatus(models.TextChoices):
    POSTED = "posted", "Posted"
    UNDONE = "undone", "Undone"


class BudgetRollover(TimestampedModel):
    """What passed from a closed budget to its successor, once; undone only while the successor is unused (BUD-23)."""

    from_budget = models.ForeignKey("budgets.Budget", on_delete=models.PROTECT, related_name="rollovers_out")
    to_budget = models.ForeignKey("budgets.Budget", on_delete=models.PROTECT, related_name="rollovers_in")
    status = models.CharField(max_length=10, choices=RolloverStatus, default=RolloverStatus.POSTED)
    lines = models.JSONField(default=list, help_text="The rows that the preview showed and the run posted.")
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    undone_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
    )
    undone_at = models.DateTimeField(null=True, blank=True)

    objects = BudgetRolloverQuerySet.as_manager()

    class Meta:
        db_table = "budget_rollovers"
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["from_budget"],
                condition=Q(status="posted"),
                name="budget_rolled_over_once",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.from_budget} → {self.to_budget}"

    @property
    def access_entity_id(self) -> int:
        return self.from_budget.entity_id

    @property
    def access_department_id(self) -> int | None:
        return self.from_budget.department_id
