"""What the API of bank statements reads and shows."""

from typing import Any

from rest_framework import serializers

from core.api.serializers import (
    BillingModelSerializer,
    BillingSerializer,
    CurrencyField,
    MoneyStringField,
    ScopedRelatedField,
)
from entities.models import Entity
from invoicing.bank.csv_file import FIELDS
from invoicing.models import BankStatement, BankTransaction
from invoicing.selectors.bank_matching import Proposal


class BankUploadSerializer(BillingSerializer):
    """A CAMT.053 or CSV file of an issuer's account (multipart)."""

    file = serializers.FileField(max_length=255)
    issuer_id = ScopedRelatedField(Entity.objects.all(), source="issuer")
    currency = CurrencyField(
        required=False, help_text="Of the account of a CSV file; the issuer's unless given."
    )
    other_account = serializers.BooleanField(
        default=False, help_text="It is of another account of the issuer than its own IBAN."
    )

    def get_fields(self) -> dict[str, Any]:
        columns = {
            f"column_{name}": serializers.CharField(
                required=False,
                help_text=f"The name of the CSV's column with the {name}, if it is not recognised.",
            )
            for name in FIELDS
        }
        return {**super().get_fields(), **columns}


class BankStatementSerializer(BillingModelSerializer):
    """A file that was read in; `open_count` of its transactions wait for somebody."""

    open_count = serializers.IntegerField(read_only=True)
    matched_count = serializers.IntegerField(read_only=True)

    class Meta:
        model = BankStatement
        fields = (
            "id", "issuer_id", "file_name", "file_sha256", "file_format", "account_iban", "first_day", "last_day",
            "rows_read", "rows_known", "open_count", "matched_count", "created_at",
        )  # fmt: skip
        read_only_fields = fields


class ProposedPartSerializer(BillingSerializer):
    """What the payment would settle of a document."""

    invoice_id = serializers.IntegerField()
    number = serializers.CharField()
    amount = MoneyStringField()


class MatchProposalSerializer(BillingSerializer):
    """A likely match: score from 1 to 100 with its reasons; `certain` still wants somebody to confirm it."""

    entity_id = serializers.IntegerField()
    entity_name = serializers.CharField()
    score = serializers.IntegerField()
    certain = serializers.BooleanField()
    reasons = serializers.ListField(child=serializers.CharField())
    applications = ProposedPartSerializer(many=True)
    rest = MoneyStringField(help_text="What would stay as a balance.")


class BankTransactionSerializer(BillingModelSerializer):
    """A movement on the account; a positive amount arrived."""

    class Meta:
        model = BankTransaction
        fields: tuple[str, ...] = (
            "id", "statement_id", "issuer_id", "line_number", "booked_on", "amount", "currency", "counterparty_name",
            "counterparty_iban", "text", "bank_reference", "status", "payment_id", "ignored_reason", "version",
        )  # fmt: skip
        read_only_fields: tuple[str, ...] = fields


class BankTransactionProposalsSerializer(BankTransactionSerializer):
    """With what it most likely settles, the best first."""

    proposals = MatchProposalSerializer(many=True, read_only=True)

    class Meta(BankTransactionSerializer.Meta):
        fields = (*BankTransactionSerializer.Meta.fields, "proposals")
        read_only_fields = fields


class ApplicationSerializer(BillingSerializer):
    """A document and how much of it is settled; without an amount all that fits."""

    invoice_id = serializers.IntegerField()
    amount = MoneyStringField(required=False)


class MatchSerializer(BillingSerializer):
    """Whose payment it is and what it settles; without `applications` the oldest due first."""

    entity_id = ScopedRelatedField(Entity.objects.all(), source="entity")
    applications = ApplicationSerializer(many=True, required=False, allow_null=True)


class BankReasonSerializer(BillingSerializer):
    """Why."""

    reason = serializers.CharField(max_length=500)


class AcceptedSerializer(BillingSerializer):
    """What became of one transaction."""

    transaction_id = serializers.IntegerField(source="transaction.pk")
    payment_id = serializers.IntegerField(allow_null=True)
    refusal = serializers.CharField(help_text="Empty if it was matched.")


class AcceptResultSerializer(BillingSerializer):
    """Each certain match with its result."""

    results = AcceptedSerializer(many=True)


def shown_proposal(proposal: Proposal, currency: str) -> dict[str, Any]:
    """A proposal as MatchProposalSerializer reads it."""
    return {
        "entity_id": proposal.entity_id,
        "entity_name": proposal.entity_name,
        "score": proposal.score,
        "certain": proposal.certain,
        "reasons": list(proposal.reasons),
        "currency": currency,
        "rest": proposal.rest,
        "applications": [
            {
                "invoice_id": part.document.pk,
                "number": part.document.number,
                "amount": part.amount,
                "currency": currency,
            }
            for part in proposal.parts
        ],
    }
