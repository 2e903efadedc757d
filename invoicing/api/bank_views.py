"""The addresses of bank statements and their transactions."""

from typing import Any

from django.db.models import Count, Q, QuerySet
from rest_framework.decorators import action
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response

from core.api.base import BillingViewSet
from core.api.filters import BillingFilterSet, filter_fields
from core.api.parsers import StrictJSONParser
from core.api.schema import operation, operations
from invoicing.api.bank_serializers import (
    AcceptResultSerializer,
    BankReasonSerializer,
    BankStatementSerializer,
    BankTransactionProposalsSerializer,
    BankTransactionSerializer,
    BankUploadSerializer,
    MatchSerializer,
    shown_proposal,
)
from invoicing.bank.csv_file import FIELDS
from invoicing.models import BankStatement, BankTransaction, BankTransactionStatus
from invoicing.selectors.bank_matching import transaction_proposals
from invoicing.services.bank import (
    bank_statement_accept_certain,
    bank_statement_import,
    bank_transaction_ignore,
    bank_transaction_match,
    bank_transaction_undo,
    checked_parts,
)


class BankStatementFilter(BillingFilterSet):
    """Statements by issuer and day."""

    class Meta:
        model = BankStatement
        fields = filter_fields("issuer", "account_iban", ranges=["first_day", "last_day", "created_at"])


class BankTransactionFilter(BillingFilterSet):
    """Transactions by state, day and amount."""

    class Meta:
        model = BankTransaction
        fields = filter_fields(
            "issuer", "statement", "payment", lists=["status", "currency"], ranges=["booked_on", "amount"]
        )


def _with_counts(rows: QuerySet[BankStatement]) -> QuerySet[BankStatement]:
    return rows.annotate(
        open_count=Count("transactions", filter=Q(transactions__status=BankTransactionStatus.OPEN)),
        matched_count=Count("transactions", filter=Q(transactions__status=BankTransactionStatus.MATCHED)),
    )


@operations(
    list=operation(summary="List the bank statements that were read in."),
    retrieve=operation(summary="Get a bank statement."),
)
class BankStatementViewSet(BillingViewSet):
    """Bank statements: read in as CAMT.053 or CSV, each file and each transaction once."""

    queryset = BankStatement.objects.all()
    serializer_class = BankStatementSerializer
    input_serializers = {"create": BankUploadSerializer}
    output_serializers = {
        "transactions": BankTransactionProposalsSerializer,
        "accept_certain": AcceptResultSerializer,
    }
    action_permissions = {"create": None, "accept_certain": "invoicing.add_payment"}
    filterset_class = BankStatementFilter
    search_fields = ("file_name", "account_iban")
    ordering_fields = ("id", "created_at", "first_day", "last_day")

    def get_queryset(self) -> Any:
        return _with_counts(super().get_queryset())

    def get_parsers(self) -> list[Any]:
        """Files are taken here only."""
        if getattr(self, "action_map", {}).get("post") == "create":
            return [MultiPartParser()]
        return [StrictJSONParser()]

    @operation(
        summary="Read a bank statement in: CAMT.053, or CSV with its columns by name.",
        description="All of it or nothing; an error names the line. Transactions that are known add nothing.",
        request={"multipart/form-data": BankUploadSerializer},
        responses={201: BankStatementSerializer},
        errors={
            400: [
                "malformed_file", "not_camt_053", "columns_unknown", "invalid_amount", "other_account",
                "several_accounts", "empty_statement", "too_large", "not_an_issuer", "unknown_currency",
            ],
            409: ["statement_known"],
        },
    )  # fmt: skip
    def create(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """POST /bank-statements"""
        data = self.validated()
        file = data["file"]
        statement = bank_statement_import(
            actor=self.actor,
            issuer=data["issuer"],
            file_name=file.name,
            content=file.read(),
            currency=data.get("currency", ""),
            other_account=data["other_account"],
            mapping={name: data[f"column_{name}"] for name in FIELDS if data.get(f"column_{name}")},
        )
        return self.answer(statement, 201)

    @operation(
        summary="List the transactions of a statement, the open ones with proposals.",
        responses=BankTransactionProposalsSerializer(many=True),
    )
    @action(
        detail=True,
        methods=["get"],
        filterset_class=BankTransactionFilter,
        search_fields=(),
        ordering_fields=(),
    )
    def transactions(self, request: Request, pk: str) -> Response:
        statement: BankStatement = self.get_object()
        rows = BankTransaction.objects.filter(statement=statement).order_by("line_number", "id")
        filtered = BankTransactionFilter(request.query_params, queryset=rows, request=request)
        page: Any = self.paginate_queryset(filtered.qs)
        waiting = [row for row in page if row.status == BankTransactionStatus.OPEN]
        found = transaction_proposals(statement.issuer_id, waiting)
        for row in page:
            row.proposals = [shown_proposal(one, row.currency) for one in found.get(row.pk, [])]
        return self.get_paginated_response(BankTransactionProposalsSerializer(page, many=True).data)

    @operation(
        summary="Match every transaction whose proposal is certain; each by itself, with its result.",
        request=None,
        responses=AcceptResultSerializer,
    )
    @action(detail=True, methods=["post"], url_path="accept-certain")
    def accept_certain(self, request: Request, pk: str) -> Response:
        results = bank_statement_accept_certain(actor=self.actor, statement=self.get_object())
        return Response(AcceptResultSerializer({"results": results}).data)


@operations(
    list=operation(summary="List the bank transactions you see."),
    retrieve=operation(summary="Get a bank transaction."),
)
class BankTransactionViewSet(BillingViewSet):
    """What arrived on the issuers' accounts."""

    queryset = BankTransaction.objects.select_related("issuer")
    serializer_class = BankTransactionSerializer
    input_serializers = {
        "match": MatchSerializer,
        "ignore": BankReasonSerializer,
        "undo": BankReasonSerializer,
    }
    action_permissions = {
        "match": "invoicing.add_payment",
        "ignore": "invoicing.change_banktransaction",
        "undo": "invoicing.change_banktransaction",
    }
    filterset_class = BankTransactionFilter
    search_fields = ("counterparty_name", "counterparty_iban", "text", "bank_reference")
    ordering_fields = ("id", "booked_on", "amount")

    @operation(
        summary="Record the transaction as a payment, and what it settles.",
        request=MatchSerializer,
        responses=BankTransactionSerializer,
        example={"entity_id": 1, "applications": [{"invoice_id": 1, "amount": "100.00"}]},
        errors={
            400: ["currency_mismatch", "not_found", "duplicate_application"],
            409: ["not_open", "not_receivable", "other_account", "amount_exceeds_open", "balance_exceeded"],
        },
    )
    @action(detail=True, methods=["post"])
    def match(self, request: Request, pk: str) -> Response:
        row = self.get_object()
        data = self.validated()
        parts = data.get("applications")
        return self.answer(
            bank_transaction_match(
                actor=self.actor,
                bank_transaction=row,
                entity=data["entity"],
                applications=None if parts is None else checked_parts(parts),
            )
        )

    @operation(
        summary="Say that a transaction is no payer's money.",
        request=BankReasonSerializer,
        responses=BankTransactionSerializer,
        errors={400: ["reason_required"], 409: ["not_open"]},
        example={"reason": "Interest of the bank"},
    )
    @action(detail=True, methods=["post"])
    def ignore(self, request: Request, pk: str) -> Response:
        row = self.get_object()
        return self.answer(
            bank_transaction_ignore(actor=self.actor, bank_transaction=row, reason=self.validated()["reason"])
        )

    @operation(
        summary="Open a transaction again; the payment of a match is reversed.",
        request=BankReasonSerializer,
        responses=BankTransactionSerializer,
        errors={400: ["reason_required"], 409: ["not_done", "refunded"]},
        example={"reason": "It was another payer's"},
    )
    @action(detail=True, methods=["post"])
    def undo(self, request: Request, pk: str) -> Response:
        row = self.get_object()
        return self.answer(
            bank_transaction_undo(actor=self.actor, bank_transaction=row, reason=self.validated()["reason"])
        )
