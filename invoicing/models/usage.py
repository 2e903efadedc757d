"""Imported cost and usage in the FOCUS format (USE-01 to USE-05)."""

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django_fsm import transition

from core.history import AuditedHistory
from core.models import TimestampedModel, VersionedModel
from core.money import CurrencyField, ExactCostField
from core.states import StateField
from invoicing.querysets import (
    RejectedRowQuerySet,
    UsageImportQuerySet,
    UsageMappingRuleQuerySet,
    UsageRecordQuerySet,
)


class ImportStatus(models.TextChoices):
    WAITING = "waiting", "Waiting"
    RUNNING = "running", "Running"
    COMPLETED = "completed", "Completed"
    FAILED = "failed", "Failed"
    UNDONE = "undone", "Undone"


class UsageImport(TimestampedModel):
    """One file of cost taken in for ``entity`` and the entities below it (USE-01, USE-02).

    All rows of a file and the step to COMPLETED commit together, so a file is in as a whole or not at all.
    ``root`` is the top of the entity's group on the day of the import: a file, and a row, counts once in a
    group.

    Of a completed import, ``rows_read = rows_imported + rows_duplicate + rows_rejected``; rows that were put
    right later are counted in ``rows_repaired`` as well. ``billed_cost`` is the sum of the records that the
    import brought, repaired rows included.
    """

    entity = models.ForeignKey("entities.Entity", on_delete=models.PROTECT, related_name="usage_imports")
    root = models.ForeignKey("entities.Entity", on_delete=models.PROTECT, related_name="+")
    file_name = models.CharField(max_length=255)
    file = models.FileField(upload_to="usage/%Y/%m/", blank=True, max_length=255)
    file_sha256 = models.CharField(max_length=64)
    file_size = models.PositiveBigIntegerField(default=0, help_text="Bytes.")
    format_version = models.CharField(
        max_length=10, blank=True, help_text="FOCUS version the columns follow."
    )
    columns = models.JSONField(
        default=list,
        blank=True,
        help_text="The file's columns, in its order and spelling.",
    )
    status = StateField(
        max_length=10,
        choices=ImportStatus,
        default=ImportStatus.WAITING,
        protected=True,
    )
    rows_read = models.PositiveBigIntegerField(default=0)
    rows_imported = models.PositiveBigIntegerField(default=0)
    rows_duplicate = models.PositiveBigIntegerField(default=0)
    rows_repeated = models.PositiveBigIntegerField(
        default=0,
        help_text="Rows equal to an earlier row of the same file: taken as charges of their own.",
    )
    rows_rejected = models.PositiveBigIntegerField(default=0)
    rows_repaired = models.PositiveBigIntegerField(
        default=0, help_text="Rejected rows that were put right and are in now."
    )
    billed_cost = models.JSONField(
        default=dict,
        blank=True,
        help_text="Sum of BilledCost of the imported rows per currency, exact decimals as text.",
    )
    duplicate_cost = models.JSONField(
        default=dict,
        blank=True,
        help_text="Sum of BilledCost of the rows that earlier imports had brought, per currency.",
    )
    overlaps = models.JSONField(
        default=dict,
        blank=True,
        help_text="Which earlier imports had brought the duplicate rows: import number to rows.",
    )
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    error_code = models.CharField(max_length=50, blank=True)
    error_message = models.TextField(blank=True)
    error_line = models.PositiveBigIntegerField(null=True, blank=True)
    undone_at = models.DateTimeField(null=True, blank=True)
    undone_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
    )
    undo_reason = models.CharField(max_length=500, blank=True)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")

    history = AuditedHistory()
    objects = UsageImportQuerySet.as_manager()

    class Meta:
        db_table = "usage_imports"
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["root", "file_sha256"],
                condition=Q(status="completed"),
                name="usage_import_file_once_in_group",
            ),
            # The target of the composite foreign key that keeps a record and its import in one group.
            models.UniqueConstraint(fields=["id", "root"], name="usage_import_id_root"),
        ]

    def __str__(self) -> str:
        return self.file_name

    @property
    def access_entity_id(self) -> int:
        return self.entity_id

    @property
    def access_department_id(self) -> None:
        return None

    @transition(
        field=status,
        source=[ImportStatus.WAITING, ImportStatus.RUNNING, ImportStatus.FAILED],
        target=ImportStatus.WAITING,
    )
    def wait(self) -> None:
        """Wait to be started anew, after a failure or a process that died."""
        self.error_code = self.error_message = ""
        self.error_line = self.finished_at = None

    @transition(
        field=status,
        source=[ImportStatus.WAITING, ImportStatus.RUNNING, ImportStatus.FAILED],
        target=ImportStatus.RUNNING,
    )
    def start(self) -> None:
        """Begin, or begin anew after a failure or a process that died."""

    @transition(field=status, source=ImportStatus.RUNNING, target=ImportStatus.COMPLETED)
    def complete(self) -> None:
        """All rows are in."""

    @transition(
        field=status,
        source=[ImportStatus.WAITING, ImportStatus.RUNNING],
        target=ImportStatus.FAILED,
    )
    def fail(self) -> None:
        """Nothing of the file is in."""

    @transition(field=status, source=ImportStatus.COMPLETED, target=ImportStatus.UNDONE)
    def undo(self) -> None:
        """What the file brought is out again."""


class MappingSource(models.TextChoices):
    TAG = "tag", "Value of a tag"
    SUB_ACCOUNT = "sub_account", "Sub-account"
    BILLING_ACCOUNT = "billing_account", "Billing account"
    SERVICE = "service", "Service"


class UsageMappingRule(VersionedModel, TimestampedModel):
    """Rows imported for ``entity`` whose ``source`` has ``value`` go to ``department`` (USE-03).

    The rule with the lowest ``priority`` that matches wins; at equal priority the older rule.
    """

    entity = models.ForeignKey(
        "entities.Entity", on_delete=models.PROTECT, related_name="usage_mapping_rules"
    )
    priority = models.PositiveIntegerField(default=100, help_text="Lower numbers are tried first.")
    source = models.CharField(max_length=16, choices=MappingSource, default=MappingSource.TAG)
    tag_key = models.CharField(
        max_length=128, blank=True, help_text="For a tag: its key, e.g. business_unit."
    )
    value = models.CharField(max_length=255)
    department = models.ForeignKey(
        "entities.Department",
        on_delete=models.PROTECT,
        related_name="usage_mapping_rules",
    )
    is_active = models.BooleanField(default=True)

    history = AuditedHistory()
    objects = UsageMappingRuleQuerySet.as_manager()

    class Meta:
        db_table = "usage_mapping_rules"
        ordering = ["entity", "priority", "id"]
        constraints = [
            models.UniqueConstraint(
                fields=["entity", "source", "tag_key", "value"],
                name="usage_mapping_rule_once",
            ),
            models.CheckConstraint(
                condition=(Q(source="tag") & ~Q(tag_key="")) | (~Q(source="tag") & Q(tag_key="")),
                name="usage_mapping_rule_tag_has_key",
            ),
        ]

    def __str__(self) -> str:
        what = self.tag_key if self.source == MappingSource.TAG else self.get_source_display()
        return f"{what} = {self.value}"

    @property
    def access_entity_id(self) -> int:
        return self.entity_id

    @property
    def access_department_id(self) -> None:
        return None


class UsageRecord(models.Model):
    """One charge of a FOCUS file. Immutable but for the department it is mapped to.

    ``billed_cost`` is exact, in ``currency``, and may be negative (credits). The record belongs to the
    period in which its charge period starts (USE-04); ``charge_date`` is that day in UTC. ``row_hash`` is
    the SHA-256 of the row's content and ``occurrence`` counts equal rows within a file: together they make
    the row's identity in its group (USE-02).

    Two composite keys of the migration check import and root, and department and entity, together; the single
    ones would check the same again, for each of millions of rows.
    """

    usage_import = models.ForeignKey(
        UsageImport,
        on_delete=models.PROTECT,
        related_name="records",
        db_constraint=False,
    )
    root = models.ForeignKey(
        "entities.Entity",
        on_delete=models.PROTECT,
        related_name="+",
        db_index=False,
        db_constraint=False,
    )
    entity = models.ForeignKey(
        "entities.Entity",
        on_delete=models.PROTECT,
        related_name="usage_records",
        db_index=False,
    )
    department = models.ForeignKey(
        "entities.Department",
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="usage_records",
        db_index=False,
        db_constraint=False,
        help_text="Empty: unallocated.",
    )
    mapping_rule = models.ForeignKey(
        UsageMappingRule,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        db_index=False,
    )
    line_number = models.PositiveBigIntegerField(help_text="Line of the file, the header being 1.")
    row_hash = models.BinaryField(max_length=32)
    occurrence = models.PositiveIntegerField(default=1)

    charge_period_start = models.DateTimeField()
    charge_period_end = models.DateTimeField()
    charge_date = models.DateField()
    billing_period_start = models.DateTimeField()
    billing_period_end = models.DateTimeField()
    currency = CurrencyField()
    billed_cost = ExactCostField()
    effective_cost = ExactCostField(null=True)
    list_cost = ExactCostField(null=True)
    contracted_cost = ExactCostField(null=True)
    charge_category = models.CharField(max_length=30)
    charge_class = models.CharField(max_length=30, blank=True)
    charge_frequency = models.CharField(max_length=30, blank=True)
    charge_description = models.TextField(blank=True)
    provider_name = models.CharField(max_length=255)
    publisher_name = models.CharField(max_length=255, blank=True)
    invoice_issuer_name = models.CharField(max_length=255, blank=True)
    service_category = models.CharField(max_length=100, blank=True)
    service_name = models.CharField(max_length=255)
    billing_account_id = models.CharField(max_length=255)
    billing_account_name = models.CharField(max_length=255, blank=True)
    sub_account_id = models.CharField(max_length=255, blank=True)
    sub_account_name = models.CharField(max_length=255, blank=True)
    resource_id = models.TextField(blank=True)
    resource_name = models.TextField(blank=True)
    resource_type = models.CharField(max_length=255, blank=True)
    region_id = models.CharField(max_length=100, blank=True)
    region_name = models.CharField(max_length=255, blank=True)
    sku_id = models.CharField(max_length=255, blank=True)
    sku_price_id = models.CharField(max_length=255, blank=True)
    pricing_category = models.CharField(max_length=50, blank=True)
    pricing_quantity = models.DecimalField(max_digits=38, decimal_places=15, null=True)
    pricing_unit = models.CharField(max_length=100, blank=True)
    consumed_quantity = models.DecimalField(max_digits=38, decimal_places=15, null=True)
    consumed_unit = models.CharField(max_length=100, blank=True)
    list_unit_price = models.DecimalField(max_digits=38, decimal_places=15, null=True)
    tags = models.JSONField(default=dict)
    extra = models.JSONField(default=dict, help_text="Columns of the file that have no field here.")

    objects = UsageRecordQuerySet.as_manager()

    class Meta:
        db_table = "usage_records"
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["root", "row_hash", "occurrence"],
                name="usage_record_once_in_group",
            ),
            models.CheckConstraint(
                condition=Q(charge_period_end__gte=F("charge_period_start")),
                name="usage_record_period_ordered",
            ),
        ]
        indexes = [
            models.Index(fields=["entity", "charge_date"], name="usage_entity_date"),
            models.Index(fields=["department", "charge_date"], name="usage_department_date"),
        ]

    def __str__(self) -> str:
        return self.charge_description or self.service_name

    @property
    def access_entity_id(self) -> int:
        return self.entity_id

    @property
    def access_department_id(self) -> int | None:
        return self.department_id


class RejectedRowStatus(models.TextChoices):
    OPEN = "open", "To repair"
    REPAIRED = "repaired", "Repaired"
    DISCARDED = "discarded", "Discarded"


class RejectedRow(TimestampedModel):
    """A row of a file that could not be taken in, kept with its reasons until repaired (USE-02)."""

    usage_import = models.ForeignKey(UsageImport, on_delete=models.PROTECT, related_name="rejected_rows")
    line_number = models.PositiveBigIntegerField()
    values = models.JSONField(
        help_text="Column name to the text that the file had, or that was put right since."
    )
    raw_text = models.TextField(
        blank=True, help_text="The line itself, where it could not be split into columns."
    )
    problems = models.JSONField(help_text="List of {column, code, detail}.")
    status = StateField(
        max_length=10,
        choices=RejectedRowStatus,
        default=RejectedRowStatus.OPEN,
        protected=True,
    )
    record = models.OneToOneField(
        UsageRecord,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="repaired_from",
    )
    resolution_reason = models.CharField(max_length=500, blank=True)

    history = AuditedHistory()
    objects = RejectedRowQuerySet.as_manager()

    class Meta:
        db_table = "usage_rejected_rows"
        ordering = ["usage_import", "line_number"]
        constraints = [
            models.UniqueConstraint(fields=["usage_import", "line_number"], name="rejected_row_line"),
            models.CheckConstraint(
                condition=Q(status="repaired", record__isnull=False)
                | (~Q(status="repaired") & Q(record__isnull=True)),
                name="rejected_row_repaired_has_record",
            ),
        ]

    def __str__(self) -> str:
        return f"line {self.line_number}"

    @property
    def access_entity_id(self) -> int:
        return self.usage_import.entity_id

    @property
    def access_department_id(self) -> None:
        return None

    @transition(field=status, source=RejectedRowStatus.OPEN, target=RejectedRowStatus.REPAIRED)
    def repair(self, record: UsageRecord) -> None:
        """The row was put right and went in as ``record``."""
        self.record = record

    @transition(field=status, source=RejectedRowStatus.OPEN, target=RejectedRowStatus.DISCARDED)
    def discard(self, reason: str) -> None:
        """The row will not go in, for a reason."""
        self.resolution_reason = reason
