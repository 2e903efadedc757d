"""What the API of contracts reads and shows."""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from contracts.models import (
    Contract,
    ContractAmendment,
    ContractDocument,
    ContractType,
    DocumentKind,
    RequiredSignatory,
    Side,
    Signature,
    SignatureMethod,
)
from contracts.terms.conditions import CONDITIONS, conditions_of
from contracts.terms.lines import price_line_of, sla_line_of
from core.api.serializers import (
    BillingModelSerializer,
    BillingSerializer,
    CurrencyField,
    MoneyStringField,
    ScopedRelatedField,
    UTCDateTimeField,
)
from core.models import User
from entities.models import Entity

STAMPS = ("created_at", "updated_at")
LARGEST_ID = 2**63 - 1
FREE_FORM = {"type": "object", "additionalProperties": True}
LINES_LIMIT = 200


class ContractReasonSerializer(BillingSerializer):
    """Why, if there is something to say; it stays with the contract."""

    reason = serializers.CharField(max_length=1000, required=False, allow_blank=True, default="")


# --- Contracts -------------------------------------------------------------------------------------------


class ContractSerializer(BillingModelSerializer):
    """A contract in a list: its place, dates, value, and its state today."""

    number = serializers.CharField(read_only=True)
    status = serializers.SerializerMethodField()

    class Meta:
        model = Contract
        fields: tuple[str, ...] = (
            "id", "number", "title", "reference", "contract_type", "status", "entity_id", "issuer_id",
            "department_id", "parent_id", "predecessor_id", "owner_id", "budget_id", "gl_code", "start_date",
            "end_date", "value", "currency", "renewal_type", "is_retroactive", "last_amendment_number",
            "approved_at", "activated_at", *STAMPS, "version",
        )  # fmt: skip
        read_only_fields: tuple[str, ...] = fields

    def get_status(self, contract: Any) -> str:
        """The state on this day, whether or not a job has run (CON-01)."""
        return str(getattr(contract, "current_status", contract.status))


class SignatureSerializer(BillingModelSerializer):
    """A signature that was given, with the hash of the signed file."""

    class Meta:
        model = Signature
        fields = ("id", "signed_at", "method", "document_sha256", "document_id", "voided_at", "void_reason")
        read_only_fields = fields


class SignatorySerializer(BillingModelSerializer):
    """Somebody who must sign; `signature` is null until they have, or when theirs has become void."""

    signature = serializers.SerializerMethodField()

    class Meta:
        model = RequiredSignatory
        fields: tuple[str, ...] = (
            "id", "contract_id", "amendment_id", "side", "name", "job_title", "email", "user_id", "position",
            "signature",
        )  # fmt: skip
        read_only_fields: tuple[str, ...] = fields

    @extend_schema_field(SignatureSerializer(allow_null=True))
    def get_signature(self, signatory: RequiredSignatory) -> Any:
        """The standing signature."""
        given = next((each for each in signatory.signatures.all() if each.voided_at is None), None)
        return None if given is None else SignatureSerializer(given, context=self.context).data


class ContractDetailSerializer(ContractSerializer):
    """A contract with its base terms, as they are signed; `GET …/terms?on=` says what holds on a day."""

    conditions = serializers.SerializerMethodField()
    prices = serializers.SerializerMethodField()
    sla_terms = serializers.SerializerMethodField()
    signatories = serializers.SerializerMethodField()
    has_confidential_terms = serializers.SerializerMethodField()

    class Meta(ContractSerializer.Meta):
        fields = (
            *ContractSerializer.Meta.fields, "conditions", "prices", "sla_terms", "signatories",
            "has_confidential_terms",
        )  # fmt: skip
        read_only_fields = fields

    @extend_schema_field(FREE_FORM)
    def get_conditions(self, contract: Contract) -> dict[str, Any]:
        """Dates, payment, renewal, notice, termination, caps and scope, as signed."""
        return conditions_of(contract).as_json()

    @extend_schema_field({"type": "array", "items": FREE_FORM})
    def get_prices(self, contract: Contract) -> list[dict[str, Any]]:
        """The prices in the form in which they are written."""
        return [price_line_of(term).as_json() for term in contract.price_terms.all()]

    @extend_schema_field({"type": "array", "items": FREE_FORM})
    def get_sla_terms(self, contract: Contract) -> list[dict[str, Any]]:
        """The service levels in the form in which they are written."""
        return [sla_line_of(term).as_json() for term in contract.sla_terms.all()]

    @extend_schema_field(SignatorySerializer(many=True))
    def get_signatories(self, contract: Contract) -> Any:
        """Who signs the contract itself."""
        own = [each for each in contract.signatories.all() if each.amendment_id is None]
        return SignatorySerializer(own, many=True, context=self.context).data

    def get_has_confidential_terms(self, contract: Contract) -> bool:
        """Whether there are some; reading them is recorded."""
        return bool(contract.confidential_terms)


class SignatoryInputSerializer(BillingSerializer):
    """Who must sign: an internal signatory names the `user`, whose authority must cover the value."""

    side = serializers.ChoiceField(choices=Side.choices)
    name = serializers.CharField(max_length=200)
    job_title = serializers.CharField(max_length=100, required=False, allow_blank=True)
    email = serializers.EmailField(required=False, allow_blank=True)
    user_id = ScopedRelatedField(User.objects.all(), source="user", required=False, allow_null=True)
    position = serializers.IntegerField(required=False, allow_null=True, min_value=0, max_value=32767)


class ContractChangeSerializer(BillingModelSerializer):
    """What PATCH changes: anything before activation, afterwards only what was not signed."""

    reason = serializers.CharField(max_length=1000, required=False, allow_blank=True, write_only=True)
    feature_limits = serializers.JSONField(required=False)
    termination_fees = serializers.JSONField(required=False)

    class Meta:
        model = Contract
        fields: tuple[str, ...] = (
            "title", "reference", "contract_type", "parent_id", "predecessor_id", "issuer_id", "department_id",
            "owner_id", "budget_id", "gl_code", "is_retroactive", "confidential_terms", "reason", *CONDITIONS,
        )  # fmt: skip
        extra_kwargs = {name: {"required": False} for name in fields}


class ContractInputSerializer(ContractChangeSerializer):
    """A new contract. `auto_renew` and `renewal_notice_days` are short for renewal and notice terms."""

    entity_id = ScopedRelatedField(Entity.objects.all(), source="entity")
    title = serializers.CharField(max_length=200)
    contract_type = serializers.ChoiceField(choices=ContractType.choices, default=ContractType.STANDARD)
    start_date = serializers.DateField()
    value = MoneyStringField()
    currency = CurrencyField(required=False)
    auto_renew = serializers.BooleanField(required=False)
    renewal_notice_days = serializers.IntegerField(required=False, min_value=0, max_value=32767)
    prices = serializers.ListField(child=serializers.JSONField(), required=False, max_length=LINES_LIMIT)
    sla_terms = serializers.ListField(child=serializers.JSONField(), required=False, max_length=LINES_LIMIT)
    signatories = SignatoryInputSerializer(many=True, required=False)

    class Meta(ContractChangeSerializer.Meta):
        fields = (
            *(name for name in ContractChangeSerializer.Meta.fields if name != "reason"),
            "entity_id", "auto_renew", "renewal_notice_days", "prices", "sla_terms", "signatories",
        )  # fmt: skip
        extra_kwargs = {
            name: {"required": False}
            for name in ContractChangeSerializer.Meta.fields
            if name not in ("title", "start_date", "value", "reason")
        }

    reason = None  # type: ignore[assignment]  # a new contract has nothing to explain


class ConfidentialTermsSerializer(BillingSerializer):
    """The confidential terms, decrypted for this reader."""

    confidential_terms = serializers.CharField(read_only=True)


class ContractTermsSerializer(BillingSerializer):
    """What the contract says on a day: base, renewals and amendments in force folded together (CON-05)."""

    on = serializers.DateField(read_only=True)
    status = serializers.CharField(read_only=True)
    term_number = serializers.IntegerField(read_only=True)
    term_start = serializers.DateField(read_only=True)
    term_end = serializers.DateField(read_only=True, allow_null=True)
    amendments = serializers.ListField(child=serializers.IntegerField(), read_only=True)
    is_projected = serializers.BooleanField(read_only=True)
    conditions = serializers.DictField(read_only=True)
    prices = serializers.ListField(child=serializers.DictField(), read_only=True)
    sla_terms = serializers.ListField(child=serializers.DictField(), read_only=True)


class ContractTimelineSerializer(BillingSerializer):
    """One thing that happened."""

    at = UTCDateTimeField(read_only=True)
    effective_on = serializers.DateField(read_only=True)
    who = serializers.CharField(read_only=True)
    what = serializers.CharField(read_only=True)
    detail = serializers.CharField(read_only=True)


class ContractProblemSerializer(BillingSerializer):
    """Something that stands in the way."""

    code = serializers.CharField(read_only=True)
    detail = serializers.CharField(read_only=True)


class ContractReadinessSerializer(BillingSerializer):
    """Whether the next step is possible, and all that is missing."""

    ready = serializers.BooleanField(read_only=True)
    missing = ContractProblemSerializer(many=True, read_only=True)


class SuspensionSerializer(BillingSerializer):
    """A suspension: whether fees go on, and whether the suspended days are added to the term (CON-17)."""

    reason = serializers.CharField(max_length=1000)
    billing_continues = serializers.BooleanField()
    extends_term = serializers.BooleanField(required=False, default=False)
    on = serializers.DateField(required=False)


class ResumptionSerializer(ContractReasonSerializer):
    """The first day in force again; today by default."""

    on = serializers.DateField(required=False)


class TerminationSerializer(BillingSerializer):
    """A termination for convenience by a notice received on a day, today by default (CON-15)."""

    reason = serializers.CharField(max_length=1000)
    received_on = serializers.DateField(required=False)


class TerminationPreviewSerializer(BillingSerializer):
    """What a termination would come to."""

    effective_on = serializers.DateField(read_only=True)
    fee = MoneyStringField(read_only=True)
    currency = serializers.CharField(read_only=True)
    explanation = serializers.CharField(read_only=True)


class PriceInputSerializer(BillingSerializer):
    """A price in the form that `GET` shows; the one with the same code is replaced."""

    price = serializers.JSONField()


class SlaInputSerializer(BillingSerializer):
    """A service level in the form that `GET` shows; the one with the same code is replaced."""

    sla_term = serializers.JSONField()


# --- Amendments and signatures ---------------------------------------------------------------------------


class DifferenceSerializer(BillingSerializer):
    """One difference, in words."""

    what = serializers.CharField(read_only=True)
    before = serializers.CharField(read_only=True, allow_blank=True)
    after = serializers.CharField(read_only=True, allow_blank=True)


class AmendmentSerializer(BillingModelSerializer):
    """An amendment; its number comes with the approval (CON-04)."""

    changes = serializers.DictField(read_only=True)
    signatories = SignatorySerializer(many=True, read_only=True)

    class Meta:
        model = ContractAmendment
        fields: tuple[str, ...] = (
            "id", "contract_id", "number", "title", "status", "effective_from", "changes", "is_retroactive",
            "approved_at", "in_force_at", "void_reason", "signatories", *STAMPS, "version",
        )  # fmt: skip
        read_only_fields: tuple[str, ...] = fields


class AmendmentInputSerializer(BillingSerializer):
    """A new amendment of an activated contract; without signatories those of the contract sign it."""

    title = serializers.CharField(max_length=200)
    effective_from = serializers.DateField()
    changes = serializers.JSONField()
    is_retroactive = serializers.BooleanField(required=False, default=False)
    signatories = SignatoryInputSerializer(many=True, required=False)


class AmendmentChangeSerializer(ContractReasonSerializer):
    """What may change until it is in force."""

    title = serializers.CharField(max_length=200, required=False)
    effective_from = serializers.DateField(required=False)
    changes = serializers.JSONField(required=False)
    is_retroactive = serializers.BooleanField(required=False)


class AmendmentVoidSerializer(BillingSerializer):
    """Why it is given up."""

    reason = serializers.CharField(max_length=1000)


class SignatureInputSerializer(BillingSerializer):
    """A signature that was given: the hash of the signed file, or the file kept here by its id (CON-02)."""

    document_sha256 = serializers.RegexField(r"^[0-9a-f]{64}\Z", required=False)
    document_id = serializers.IntegerField(required=False, min_value=1, max_value=LARGEST_ID)
    signed_at = UTCDateTimeField(required=False)
    method = serializers.ChoiceField(choices=SignatureMethod.choices, default=SignatureMethod.ELECTRONIC)


class DocumentSerializer(BillingModelSerializer):
    """What is known of a file; its content is one address further, and reading it is recorded."""

    class Meta:
        model = ContractDocument
        fields: tuple[str, ...] = (
            "id", "contract_id", "amendment_id", "kind", "name", "content_type", "size", "sha256",
            "uploaded_by_id", "created_at",
        )  # fmt: skip
        read_only_fields: tuple[str, ...] = fields


class DocumentInputSerializer(BillingSerializer):
    """A file for a contract or one of its amendments."""

    file = serializers.FileField()
    kind = serializers.ChoiceField(choices=DocumentKind.choices, default=DocumentKind.ATTACHMENT)
    amendment_id = serializers.IntegerField(required=False, min_value=1, max_value=LARGEST_ID)
