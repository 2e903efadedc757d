"""Amendments, signatures and documents (CON-02 to CON-06)."""

from django.conf import settings
from django.core.serializers.json import DjangoJSONEncoder
from django.core.validators import RegexValidator
from django.db import models
from django.db.models import F, Q
from django_fsm import transition

from contracts.models.contract import Contract, Side
from contracts.querysets import OfContractQuerySet, SignatoryQuerySet, SignatureQuerySet
from core import clock
from core.crypto import EncryptedTextField
from core.history import AuditedHistory, current_channel, current_request_id
from core.models import TimestampedModel, VersionedModel
from core.states import StateField


class OfContract(models.Model):
    """What belongs to a contract is where the contract is."""

    class Meta:
        abstract = True

    contract: models.ForeignKey

    @property
    def access_entity_id(self) -> int:
        return self.contract.entity_id

    @property
    def access_department_id(self) -> int | None:
        return self.contract.department_id


class AmendmentStatus(models.TextChoices):
    DRAFT = "draft", "Draft"
    PENDING_APPROVAL = "pending_approval", "Pending approval"
    AWAITING_SIGNATURE = "awaiting_signature", "Awaiting signature"
    IN_FORCE = "in_force", "In force"
    VOID = "void", "Void"


class ContractAmendment(OfContract, VersionedModel, TimestampedModel):
    """A signed change of a contract's terms from ``effective_from`` on (CON-04).

    It gets its number when it is approved, under the lock of the contract: 1..n without gaps. ``changes`` has the
    form that `contracts.terms.changes` checks. In force it never changes; a numbered one is never deleted.
    """

    contract = models.ForeignKey(Contract, on_delete=models.PROTECT, related_name="amendments")
    number = models.PositiveIntegerField(null=True, blank=True, editable=False)
    title = models.CharField(max_length=200)
    effective_from = models.DateField()
    changes = models.JSONField(default=dict, encoder=DjangoJSONEncoder)
    status = StateField(max_length=20, choices=AmendmentStatus, default=AmendmentStatus.DRAFT, protected=True)
    is_retroactive = models.BooleanField(
        default=False, help_text="May take effect before its last signature; approvers see it."
    )
    approved_at = models.DateTimeField(null=True, blank=True, editable=False)
    in_force_at = models.DateTimeField(null=True, blank=True, editable=False)
    void_reason = models.CharField(max_length=1000, blank=True)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")

    history = AuditedHistory()
    objects = OfContractQuerySet.as_manager()

    class Meta:
        db_table = "contract_amendments"
        ordering = ["contract", F("number").asc(nulls_last=True), "id"]
        constraints = [
            models.UniqueConstraint(fields=["contract", "number"], name="contract_amendment_number_once"),
            models.CheckConstraint(
                condition=Q(number__isnull=True) | Q(number__gte=1), name="contract_amendment_number_positive"
            ),
            # CON-04: a draft has no number, a voided number stays.
            models.CheckConstraint(
                condition=Q(status__in=["draft", "pending_approval"], number__isnull=True)
                | Q(status__in=["awaiting_signature", "in_force"], number__isnull=False)
                | Q(status="void"),
                name="contract_amendment_numbered_when_approved",
            ),
            models.CheckConstraint(
                condition=Q(status="in_force", in_force_at__isnull=False)
                | Q(~Q(status="in_force"), in_force_at__isnull=True),
                name="contract_amendment_in_force_since",
            ),
        ]
        indexes = [models.Index(fields=["contract", "effective_from"], name="contract_amendment_by_date")]

    def __str__(self) -> str:
        return f"Amendment {self.number}" if self.number else f"Draft amendment “{self.title}”"

    @transition(field=status, source=AmendmentStatus.DRAFT, target=AmendmentStatus.PENDING_APPROVAL)
    def submit(self) -> None:
        """Approvers decide now."""

    @transition(field=status, source=AmendmentStatus.PENDING_APPROVAL, target=AmendmentStatus.DRAFT)
    def send_back(self) -> None:
        """Rejected, withdrawn or to be changed."""

    @transition(
        field=status, source=AmendmentStatus.PENDING_APPROVAL, target=AmendmentStatus.AWAITING_SIGNATURE
    )
    def approve(self) -> None:
        """The service has given it its number."""

    @transition(field=status, source=AmendmentStatus.AWAITING_SIGNATURE, target=AmendmentStatus.IN_FORCE)
    def bring_into_force(self) -> None:
        """Approved and signed by both sides."""

    @transition(
        field=status,
        source=[AmendmentStatus.DRAFT, AmendmentStatus.PENDING_APPROVAL, AmendmentStatus.AWAITING_SIGNATURE],
        target=AmendmentStatus.VOID,
    )
    def void(self) -> None:
        """Given up before it was in force; its number, if it has one, stays taken."""


class RequiredSignatory(OfContract, TimestampedModel):
    """Somebody who must sign the contract, or one of its amendments, for one side (CON-02)."""

    contract = models.ForeignKey(Contract, on_delete=models.CASCADE, related_name="signatories")
    amendment = models.ForeignKey(
        ContractAmendment,
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        related_name="signatories",
        help_text="Empty: signs the contract itself.",
    )
    side = models.CharField(max_length=8, choices=Side)
    name = models.CharField(max_length=200)
    job_title = models.CharField(max_length=100, blank=True)
    email = models.EmailField(blank=True)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
        help_text="An internal signatory: their authority must cover the value.",
    )
    position = models.PositiveSmallIntegerField(
        null=True, blank=True, help_text="Signing order: lower numbers sign first; empty: whenever."
    )

    history = AuditedHistory()
    objects = SignatoryQuerySet.as_manager()

    class Meta:
        db_table = "contract_signatories"
        ordering = ["contract", "position", "id"]
        verbose_name_plural = "required signatories"

    def __str__(self) -> str:
        return f"{self.name} ({self.get_side_display().lower()})"


class DocumentKind(models.TextChoices):
    AGREEMENT = "agreement", "Agreement"
    AMENDMENT = "amendment", "Amendment"
    NOTICE = "notice", "Notice"
    ATTACHMENT = "attachment", "Attachment"


class ContractDocument(OfContract):
    """A file of a contract, encrypted at rest. Never changed: another version is another document.

    Each file has a key of its own, held encrypted here: rotating the field keys touches no file (SEC-03).
    """

    contract = models.ForeignKey(Contract, on_delete=models.PROTECT, related_name="documents")
    amendment = models.ForeignKey(
        ContractAmendment, on_delete=models.PROTECT, null=True, blank=True, related_name="documents"
    )
    kind = models.CharField(max_length=10, choices=DocumentKind, default=DocumentKind.ATTACHMENT)
    name = models.CharField(max_length=200)
    content_type = models.CharField(max_length=100)
    size = models.PositiveBigIntegerField(help_text="Bytes before encryption.")
    sha256 = models.CharField(max_length=64, help_text="Of the file before encryption.")
    file = models.FileField(upload_to="contracts/%Y/%m/", max_length=255)
    data_key = EncryptedTextField(editable=False)
    uploaded_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(default=clock.now, editable=False)

    objects = OfContractQuerySet.as_manager()

    class Meta:
        db_table = "contract_documents"
        ordering = ["-id"]

    def __str__(self) -> str:
        return self.name


class SignatureMethod(models.TextChoices):
    HANDWRITTEN = "handwritten", "Handwritten"
    ELECTRONIC = "electronic", "Electronic"
    QUALIFIED = "qualified", "Qualified electronic"


class Signature(models.Model):
    """A signature that was given: a trigger lets nothing change but that it became void (CON-02).

    ``document_sha256`` is the hash of the signed file, ``content_sha256`` that of the terms as they then stood.
    """

    signatory = models.ForeignKey(RequiredSignatory, on_delete=models.PROTECT, related_name="signatures")
    signed_at = models.DateTimeField()
    method = models.CharField(max_length=12, choices=SignatureMethod, default=SignatureMethod.ELECTRONIC)
    document_sha256 = models.CharField(
        max_length=64,
        validators=[RegexValidator(r"^[0-9a-f]{64}\Z", "Give the SHA-256 as 64 small hexadecimal digits.")],
    )
    document = models.ForeignKey(
        ContractDocument, on_delete=models.PROTECT, null=True, blank=True, related_name="signatures"
    )
    content_sha256 = models.CharField(max_length=64, editable=False)
    recorded_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(default=clock.now, editable=False)
    voided_at = models.DateTimeField(null=True, blank=True)
    void_reason = models.CharField(max_length=1000, blank=True)

    objects = SignatureQuerySet.as_manager()

    class Meta:
        db_table = "contract_signatures"
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(
                fields=["signatory"], condition=Q(voided_at__isnull=True), name="contract_signature_once"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.signatory} on {self.signed_at:%Y-%m-%d}"

    @property
    def access_entity_id(self) -> int:
        return self.signatory.access_entity_id

    @property
    def access_department_id(self) -> int | None:
        return self.signatory.access_department_id


class AccessedPart(models.TextChoices):
    CONFIDENTIAL_TERMS = "confidential_terms", "Confidential terms"
    DOCUMENT = "document", "Document"


class AccessAction(models.TextChoices):
    OPENED = "opened", "Opened"
    CHANGED = "changed", "Changed"


class ContractAccess(OfContract):
    """Who opened or changed what is confidential. Append-only (SEC-02)."""

    contract = models.ForeignKey(Contract, on_delete=models.PROTECT, related_name="accesses")
    document = models.ForeignKey(
        ContractDocument, on_delete=models.PROTECT, null=True, blank=True, related_name="accesses"
    )
    part = models.CharField(max_length=20, choices=AccessedPart)
    action = models.CharField(max_length=8, choices=AccessAction)
    actor = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(default=clock.now, editable=False)
    channel = models.CharField(max_length=10, blank=True, default=current_channel, editable=False)
    request_id = models.CharField(max_length=64, blank=True, default=current_request_id, editable=False)

    objects = OfContractQuerySet.as_manager()

    class Meta:
        db_table = "contract_access_log"
        ordering = ["-id"]
        verbose_name_plural = "contract accesses"

    def __str__(self) -> str:
        return f"{self.get_part_display()} {self.get_action_display().lower()}"
