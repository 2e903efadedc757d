"""Invoices, credit and debit notes, their lines and numbers (INV-01 to INV-05, INV-08)."""

from decimal import Decimal

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django_fsm import transition

from core.history import AuditedHistory
from core.models import TimestampedModel, VersionedModel
from core.money import EXACT, CurrencyField, ExactCostField, MoneyField, RateField
from core.states import StateField
from entities.models import TaxTreatment
from invoicing.querysets import (
    InvoiceLineQuerySet,
    InvoiceQuerySet,
    NumberSeriesQuerySet,
)


class DocumentType(models.TextChoices):
    INVOICE = "invoice", "Invoice"
    CREDIT_NOTE = "credit_note", "Credit note"
    DEBIT_NOTE = "debit_note", "Debit note"


class InvoiceStatus(models.TextChoices):
    DRAFT = "draft", "Draft"
    ISSUED = "issued", "Issued"
    PARTIALLY_PAID = "partially_paid", "Partially paid"
    PAID = "paid", "Paid"
    VOID = "void", "Void"


OPEN_STATUSES = (InvoiceStatus.ISSUED, InvoiceStatus.PARTIALLY_PAID)
"""Posted, and something is still to be paid (of a credit note: to be used)."""

POSTED_STATUSES = (*OPEN_STATUSES, InvoiceStatus.PAID)
"""What counts: numbered and not withdrawn."""


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
    terms and rates as they were. From then on a trigger refuses every change but settling, disputing and voiding
    (INV-01). ``entity`` is who pays, ``bill_to`` whom the document is addressed to (ENT-02).

    A credit note gives back, and a debit note asks for more, on the invoice that it ``corrects``; amounts of both are
    positive. ``settled_amount`` is the sum of the settlements of an invoice or debit note; of a credit note it is how
    much of it was set off or refunded (INV-06). ``disputed_amount`` is what open disputes hold back of it.
    """

    document_type = models.CharField(max_length=12, choices=DocumentType, default=DocumentType.INVOICE)
    issuer = models.ForeignKey("entities.Entity", on_delete=models.PROTECT, related_name="issued_invoices")
    entity = models.ForeignKey("entities.Entity", on_delete=models.PROTECT, related_name="invoices")
    bill_to = models.ForeignKey(
        "entities.Entity", on_delete=models.PROTECT, related_name="addressed_invoices"
    )
    corrects = models.ForeignKey(
        "self",
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="corrections",
        help_text="The invoice that a credit or debit note corrects.",
    )
    reason = models.CharField(
        max_length=500, blank=True, db_default="", help_text="Why a credit or debit note was made."
    )
    status = StateField(
        max_length=15,
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
    settled_amount = MoneyField(default=0, db_default=0)
    disputed_amount = MoneyField(default=0, db_default=0)
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
                condition=Q(status="draft", document_type="invoice"),
                name="invoice_one_draft_per_period",
            ),
            models.CheckConstraint(
                condition=Q(document_type="invoice", corrects__isnull=True)
                | Q(~Q(document_type="invoice"), corrects__isnull=False),
                name="invoice_note_corrects_an_invoice",
            ),
            models.CheckConstraint(
                condition=Q(status__in=("draft", "issued", "void"), settled_amount=0)
                | Q(status="partially_paid", settled_amount__gt=0, settled_amount__lt=F("total"))
                | Q(status="paid", settled_amount__gte=0, settled_amount=F("total")),
                name="invoice_settled_as_its_status_says",
            ),
            models.CheckConstraint(
                condition=Q(disputed_amount=0) | Q(disputed_amount__gt=0, disputed_amount__lte=F("total")),
                name="invoice_disputed_within_total",
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
            models.Index(
                fields=["entity", "due_date"],
                condition=Q(status__in=("issued", "partially_paid")),
                name="invoice_open_of_payer",
            ),
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

    @transition(field=status, source=[InvoiceStatus.ISSUED, InvoiceStatus.PAID], target=InvoiceStatus.VOID)
    def void(self) -> None:
        """Withdraw the posted document, of which nothing is settled (paid: of a total of 0); its number stays taken."""

    @transition(field=status, source=list(POSTED_STATUSES), target=InvoiceStatus.PAID)
    def settle_whole(self) -> None:
        """Nothing is open any more; the service has set ``settled_amount``."""

    @transition(field=status, source=list(POSTED_STATUSES), target=InvoiceStatus.PARTIALLY_PAID)
    def settle_part(self) -> None:
        """A part is settled, also after another part was taken back."""

    @transition(field=status, source=list(POSTED_STATUSES), target=InvoiceStatus.ISSUED)
    def reopen(self) -> None:
        """All that settled it was taken back."""

    @property
    def is_posted(self) -> bool:
        return self.status in POSTED_STATUSES

    @property
    def is_credit_note(self) -> bool:
        return self.document_type == DocumentType.CREDIT_NOTE

    @property
    def open_amount(self) -> Decimal:
        """What is still to be paid; of a credit note, what is still to be set off or refunded."""
        return EXACT.subtract(self.total, self.settled_amount) if self.is_posted else Decimal(0)


class LineKind(models.TextChoices):
    USAGE = "usage", "Usage"
    ALLOCATION = "allocation", "Cost allocation"
    FEE = "fee", "Contract fee"
    CHARGE = "charge", "Further charge"


def _within(part: str, whole: str) -> Q:
    """Between nothing and the whole, which may be negative."""
    return Q(**{f"{whole}__gte": 0, f"{part}__gte": 0, f"{part}__lte": F(whole)}) | Q(
        **{f"{whole}__lt": 0, f"{part}__lte": 0, f"{part}__gte": F(whole)}
    )


class InvoiceLine(models.Model):
    """What one department (or the unallocated rest of an entity) owes for one thing.

    ``original_amount`` is exact in ``original_currency``; ``exact_amount`` is it at ``rate`` in the invoice's
    currency, with ``markup_percent`` added, still exact; ``amount`` is rounded, all lines together (USE-04, INV-04).
    Names are copies.
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
    contract = models.ForeignKey(
        "contracts.Contract",
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="invoice_lines",
        help_text="Of a contract fee.",
    )
    contract_line = models.CharField(
        max_length=60,
        blank=True,
        db_default="",
        help_text="The code of the contract's line that it bills.",
    )
    item_count = models.PositiveIntegerField(help_text="Billed items that make this line.")
    period_start = models.DateField()
    period_end = models.DateField()
    original_currency = CurrencyField()
    original_amount = ExactCostField()
    rate = RateField(default=1)
    rate_date = models.DateField(null=True, blank=True)
    rate_source = models.CharField(max_length=50, blank=True)
    markup_percent = models.DecimalField(
        max_digits=7,
        decimal_places=3,
        default=0,
        db_default=0,
        help_text="Added to the cost of usage that no contract prices.",
    )
    # 15 decimals of a cost, 10 of a rate and 5 of a mark-up's factor.
    exact_amount = models.DecimalField(max_digits=57, decimal_places=30)
    amount = MoneyField()
    tax_category = models.CharField(max_length=2, choices=TaxTreatment)
    tax_rate = models.DecimalField(max_digits=6, decimal_places=3, default=0)
    tax_amount = MoneyField(default=0)
    corrects_line = models.ForeignKey(
        "self",
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="corrections",
        help_text="The invoice's line that this line of a credit note gives back.",
    )
    credited_amount = MoneyField(
        default=0, db_default=0, help_text="Given back by credit notes, of the amount before tax."
    )
    credited_tax = MoneyField(default=0, db_default=0)

    objects = InvoiceLineQuerySet.as_manager()

    class Meta:
        db_table = "invoice_lines"
        ordering = ["invoice", "line_number"]
        constraints = [
            models.UniqueConstraint(fields=["invoice", "line_number"], name="invoice_line_number"),
            models.CheckConstraint(condition=Q(rate__gt=0), name="invoice_line_rate_positive"),
            models.CheckConstraint(
                condition=Q(markup_percent=0) | Q(markup_percent__gt=0, kind="usage"),
                name="invoice_line_markup_on_usage",
            ),
            models.CheckConstraint(
                condition=_within("credited_amount", "amount"), name="invoice_line_credited_within_amount"
            ),
            models.CheckConstraint(
                condition=_within("credited_tax", "tax_amount"), name="invoice_line_credited_within_tax"
            ),
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
    """Binds a usage record, a billable allocation or a contract fee to the line that bills it: once (INV-03).

    Voiding an invoice sets ``released_at``, which frees the item for another invoice; the row stays as the
    record of what the void document billed.
    """

    invoice_line = models.ForeignKey(InvoiceLine, on_delete=models.CASCADE, related_name="billed_items")
    # Indexed besides the partial constraints below: what a void document billed is looked up too.
    usage_record = models.ForeignKey(
        "invoicing.UsageRecord", on_delete=models.PROTECT, null=True, related_name="billed_items"
    )
    cost_allocation = models.ForeignKey(
        "entities.CostAllocation", on_delete=models.PROTECT, null=True, related_name="billed_items"
    )
    contract_fee = models.ForeignKey(
        "contracts.BillableFee", on_delete=models.PROTECT, null=True, related_name="billed_items"
    )
    released_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "billed_items"
        default_permissions = ()
        constraints = [
            models.CheckConstraint(
                condition=Q(
                    usage_record__isnull=False, cost_allocation__isnull=True, contract_fee__isnull=True
                )
                | Q(usage_record__isnull=True, cost_allocation__isnull=False, contract_fee__isnull=True)
                | Q(usage_record__isnull=True, cost_allocation__isnull=True, contract_fee__isnull=False),
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
            models.UniqueConstraint(
                fields=["contract_fee"],
                condition=Q(released_at__isnull=True),
                name="contract_fee_billed_once",
            ),
        ]

    def __str__(self) -> str:
        return f"item of line {self.invoice_line_id}"


class DocumentKind(models.TextChoices):
    PDF = "pdf", "PDF"
    FACTURX = "facturx", "Factur-X (PDF with XML)"
    CII = "cii", "CII (XML)"
    UBL = "ubl", "Peppol BIS Billing 3 (UBL, XML)"


class InvoiceDocument(models.Model):
    """A file of an issued invoice as it was first made from the snapshot; the same bytes ever after (INV-09)."""

    invoice = models.ForeignKey(Invoice, on_delete=models.PROTECT, related_name="documents")
    kind = models.CharField(
        max_length=10, choices=DocumentKind, default=DocumentKind.PDF, db_default=DocumentKind.PDF
    )
    file = models.FileField(upload_to="invoices/%Y/%m/", max_length=255)
    sha256 = models.CharField(max_length=64)
    size = models.PositiveBigIntegerField(help_text="Bytes.")
    created_at = models.DateTimeField()

    class Meta:
        db_table = "invoice_documents"
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(fields=["invoice", "kind"], name="invoice_document_once_per_kind"),
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} of {self.invoice}"
