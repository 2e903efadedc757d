"""Invoices, their lines and numbers (INV-01 to INV-04)."""

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django_fsm import FSMField, transition

from core.history import AuditedHistory
from core.models import TimestampedModel, VersionedModel
from core.money import CurrencyField, ExactCostField, MoneyField, RateField
from entities.models import TaxTreatment
from invoicing.querysets import (
    InvoiceLineQuerySet,
    InvoiceQuerySet,
    NumberSeriesQuerySet,
)


class DocumentType(models.TextChoices):
    INVOICE = "invoice", "Invoice"


class InvoiceStatus(models.TextChoices):
    DRAFT = "draft", "Draft"
    ISSUED = "issued", "Issued"
    VOID = "void", "Void"


class NumberSeries(TimestampedModel):
    """The counter that numbers one issuer's documents of a type in a fiscal year, without gaps (INV-02).

    ``last_number`` and ``last_issue_date`` change only by the conditional UPDATE at issue, as the last lock of
    its transaction.
    """

    issuer = models.ForeignKey("entities.Entity", on_delete=models.PROTECT, related_name="number_series")
    document_type = models.CharField(max_length=12, choices=DocumentType)
    fiscal_year = models.PositiveSmallIntegerField(
        help_text="The calendar year in which the fiscal year ends."
    )
    prefix = models.CharField(
        max_length=30,
        help_text="Stands before the year and the number, e.g. ACME-INV-.",
    )
    last_number = models.PositiveBigIntegerField(default=0)
    last_issue_date = models.DateField(
        null=True,
        blank=True,
        help_text="No document of the series may be dated before it, so that numbers follow dates.",
    )

    history = AuditedHistory()
    objects = NumberSeriesQuerySet.as_manager()

    class Meta:
        db_table = "number_series"
        ordering = ["issuer", "document_type", "-fiscal_year"]
        verbose_name_plural = "number series"
        constraints = [
            models.UniqueConstraint(
                fields=["issuer", "document_type", "fiscal_year"],
                name="number_series_once",
            ),
            models.UniqueConstraint(
                fields=["issuer", "prefix", "fiscal_year"],
                name="number_series_prefix_once",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.prefix}{self.fiscal_year}"

    @property
    def access_entity_id(self) -> int:
        return self.issuer_id

    @property
    def access_department_id(self) -> None:
        return None


class Invoice(VersionedModel, TimestampedModel):
    """What ``issuer`` asks ``entity`` (the payer) to pay for ``[period_start, period_end)``, in ``currency``.

    Draft until issued. At issue it gets its number, its dates and ``snapshot``: names, addresses, tax ids,
    terms and rates as they were. From then on a trigger refuses every change but voiding (INV-01).
    ``entity`` is who pays, ``bill_to`` whom the document is addressed to (ENT-02).
    """

    document_type = models.CharField(max_length=12, choices=DocumentType, default=DocumentType.INVOICE)
    issuer = models.ForeignKey("entities.Entity", on_delete=models.PROTECT, related_name="issued_invoices")
    entity = models.ForeignKey("entities.Entity", on_delete=models.PROTECT, related_name="invoices")
    bill_to = models.ForeignKey(
        "entities.Entity", on_delete=models.PROTECT, related_name="addressed_invoices"
    )
    status = FSMField(
        max_length=10,
        choices=InvoiceStatus,
        default=InvoiceStatus.DRAFT,
        protected=True,
    )
    period_start = models.DateField()
    period_end = models.DateField(help_text="The first day after the period.")
    currency = CurrencyField()
    subtotal = MoneyField(default=0)
    tax_total = MoneyField(default=0)
    total = MoneyField(default=0)
    fiscal_year = models.PositiveSmallIntegerField(null=True, blank=True)
    sequence_number = models.PositiveBigIntegerField(null=True, blank=True)
    number = models.CharField(max_length=50, null=True, blank=True)
    issue_date = models.DateField(null=True, blank=True)
    due_date = models.DateField(null=True, blank=True)
    issued_at = models.DateTimeField(null=True, blank=True)
    issued_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
    )
    voided_at = models.DateTimeField(null=True, blank=True)
    voided_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
    )
    void_reason = models.CharField(max_length=500, blank=True)
    snapshot = models.JSONField(default=dict, blank=True)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")

    history = AuditedHistory(excluded_fields=["snapshot"])
    objects = InvoiceQuerySet.as_manager()

    class Meta:
        db_table = "invoices"
        ordering = ["-id"]
        permissions = [
            ("issue_invoice", "Can issue an invoice"),
            ("void_invoice", "Can void an invoice"),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["issuer", "document_type", "fiscal_year", "sequence_number"],
                name="invoice_sequence_once",
            ),
            models.UniqueConstraint(fields=["issuer", "number"], name="invoice_number_once"),
            models.UniqueConstraint(
                fields=["issuer", "entity", "period_start", "period_end"],
                condition=Q(status="draft"),
                name="invoice_one_draft_per_period",
            ),
            models.CheckConstraint(
                condition=Q(period_end__gt=F("period_start")),
                name="invoice_period_ordered",
            ),
            models.CheckConstraint(
                condition=Q(total=F("subtotal") + F("tax_total")),
                name="invoice_total_is_subtotal_and_tax",
            ),
            models.CheckConstraint(
                condition=Q(
                    status="draft",
                    number__isnull=True,
                    sequence_number__isnull=True,
                    issued_at__isnull=True,
                )
                | Q(
                    ~Q(status="draft"),
                    number__isnull=False,
                    sequence_number__isnull=False,
                    fiscal_year__isnull=False,
                    issue_date__isnull=False,
                    due_date__isnull=False,
                    issued_at__isnull=False,
                ),
                name="invoice_numbered_when_issued",
            ),
        ]
        indexes = [
            models.Index(fields=["entity", "-period_start"], name="invoice_entity_period"),
            models.Index(fields=["status", "due_date"], name="invoice_status_due"),
        ]

    def __str__(self) -> str:
        return self.number or f"Draft {self.pk}"

    @property
    def access_entity_id(self) -> int:
        return self.entity_id

    @property
    def access_department_id(self) -> None:
        return None

    @transition(field=status, source=InvoiceStatus.DRAFT, target=InvoiceStatus.ISSUED)
    def issue(self) -> None:
        """Post the document; the service has set number, dates and snapshot."""

    @transition(field=status, source=InvoiceStatus.ISSUED, target=InvoiceStatus.VOID)
    def void(self) -> None:
        """Withdraw the posted document; its number stays taken."""


class LineKind(models.TextChoices):
    USAGE = "usage", "Usage"
    ALLOCATION = "allocation", "Cost allocation"


class InvoiceLine(models.Model):
    """What one department (or the unallocated rest of an entity) owes for one thing.

    ``original_amount`` is exact in ``original_currency``; ``exact_amount`` is it at ``rate`` in the invoice's
    currency, still exact; ``amount`` is rounded, all lines together (USE-04, INV-04). Names are copies.
    """

    invoice = models.ForeignKey(Invoice, on_delete=models.PROTECT, related_name="lines")
    line_number = models.PositiveIntegerField()
    kind = models.CharField(max_length=12, choices=LineKind)
    entity = models.ForeignKey("entities.Entity", on_delete=models.PROTECT, related_name="+")
    entity_name = models.CharField(max_length=250)
    department = models.ForeignKey(
        "entities.Department",
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="invoice_lines",
    )
    department_code = models.CharField(max_length=50, blank=True)
    department_name = models.CharField(max_length=200, blank=True)
    gl_code = models.CharField("GL code", max_length=50, blank=True)
    description = models.CharField(max_length=500)
    provider = models.CharField(max_length=255, blank=True)
    service = models.CharField(max_length=255, blank=True)
    charge_category = models.CharField(max_length=30, blank=True)
    item_count = models.PositiveIntegerField(help_text="Billed items that make this line.")
    period_start = models.DateField()
    period_end = models.DateField()
    original_currency = CurrencyField()
    original_amount = ExactCostField()
    rate = RateField(default=1)
    rate_date = models.DateField(null=True, blank=True)
    rate_source = models.CharField(max_length=50, blank=True)
    exact_amount = models.DecimalField(max_digits=50, decimal_places=25)
    amount = MoneyField()
    tax_category = models.CharField(max_length=2, choices=TaxTreatment)
    tax_rate = models.DecimalField(max_digits=6, decimal_places=3, default=0)
    tax_amount = MoneyField(default=0)

    objects = InvoiceLineQuerySet.as_manager()

    class Meta:
        db_table = "invoice_lines"
        ordering = ["invoice", "line_number"]
        constraints = [
            models.UniqueConstraint(fields=["invoice", "line_number"], name="invoice_line_number"),
            models.CheckConstraint(condition=Q(rate__gt=0), name="invoice_line_rate_positive"),
        ]

    def __str__(self) -> str:
        return f"{self.line_number}. {self.description}"

    @property
    def access_entity_id(self) -> int:
        return self.invoice.entity_id

    @property
    def access_department_id(self) -> int | None:
        return self.department_id


class BilledItem(models.Model):
    """Binds a usage record or a billable allocation to the line that bills it: once, by constraint (INV-03).

    Voiding an invoice sets ``released_at``, which frees the item for another invoice; the row stays as the
    record of what the void document billed.
    """

    invoice_line = models.ForeignKey(InvoiceLine, on_delete=models.CASCADE, related_name="billed_items")
    usage_record = models.ForeignKey(
        "invoicing.UsageRecord",
        on_delete=models.PROTECT,
        null=True,
        related_name="billed_items",
        db_index=False,
    )
    cost_allocation = models.ForeignKey(
        "entities.CostAllocation",
        on_delete=models.PROTECT,
        null=True,
        related_name="billed_items",
        db_index=False,
    )
    released_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "billed_items"
        default_permissions = ()
        constraints = [
            models.CheckConstraint(
                condition=Q(usage_record__isnull=False, cost_allocation__isnull=True)
                | Q(usage_record__isnull=True, cost_allocation__isnull=False),
                name="billed_item_is_one_thing",
            ),
            models.UniqueConstraint(
                fields=["usage_record"],
                condition=Q(released_at__isnull=True),
                name="usage_record_billed_once",
            ),
            models.UniqueConstraint(
                fields=["cost_allocation"],
                condition=Q(released_at__isnull=True),
                name="cost_allocation_billed_once",
            ),
        ]

    def __str__(self) -> str:
        return f"item of line {self.invoice_line_id}"


class InvoiceDocument(models.Model):
    """The PDF of an issued invoice as it was first rendered from the snapshot; the same bytes ever after (INV-09)."""

    invoice = models.OneToOneField(Invoice, on_delete=models.PROTECT, related_name="document")
    file = models.FileField(upload_to="invoices/%Y/%m/", max_length=255)
    sha256 = models.CharField(max_length=64)
    size = models.PositiveBigIntegerField(help_text="Bytes.")
    created_at = models.DateTimeField()

    class Meta:
        db_table = "invoice_documents"
        default_permissions = ()

    def __str__(self) -> str:
        return f"PDF of {self.invoice}"
